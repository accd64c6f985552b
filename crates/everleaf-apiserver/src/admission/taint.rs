//! TaintNodesByCondition: a Node is born not ready (`plugin/pkg/admission/nodetaint/admission.go`).

use super::{Attributes, Operation};
use crate::read;
use serde_json::{Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) fn not_ready(attributes: &Attributes<'_>, node: &mut Value) {
    if !attributes.is(Operation::Create, "nodes", "") {
        return;
    }
    let there = read::items(node, "/spec/taints").iter().any(|taint| {
        read::text(taint, "/key") == NOT_READY && read::text(taint, "/effect") == "NoSchedule"
    });
    if there {
        return;
    }
    let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
    let Some(node) = node.as_object_mut() else {
        return;
    };
    let spec = node.entry("spec").or_insert_with(|| json!({}));
    if spec.is_null() {
        *spec = json!({});
    }
    if let Some(spec) = spec.as_object_mut() {
        match spec.get_mut("taints").and_then(Value::as_array_mut) {
            Some(taints) => taints.push(taint),
            None => {
                spec.insert("taints".to_owned(), json!([taint]));
            }
        }
    }
}
