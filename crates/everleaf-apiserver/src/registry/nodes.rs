//! Nodes: what an agent or a kubelet tells of its machine.

mod rules;

use super::{AGE_COLUMN, Descriptor, NAME_COLUMN, age, text_column};
use crate::read;
use everleaf_api::table::Column;
use everleaf_api::{meta, types};
use jiff::Timestamp;
use serde_json::Value;

/// Prefix of the labels that give a node its roles.
const ROLE_LABEL_PREFIX: &str = "node-role.kubernetes.io/";
/// The older label, whose value is the role.
const ROLE_LABEL: &str = "kubernetes.io/role";

/// Kubelets register themselves; admission keeps each to its own.
pub static NODES: Descriptor = Descriptor {
    short_names: &["no"],
    storage: "minions",
    subresources: &["status"],
    strategy: &rules::NodeStrategy,
    resets: |endpoint| match endpoint {
        "status" => &[&["spec"]],
        _ => &[&["status"]],
    },
    columns: COLUMNS,
    cells,
    selectable: &["spec.unschedulable"],
    field: |object, _| is_unschedulable(object).to_string(),
    ..Descriptor::cluster(&types::NODE, "nodes", "node")
};

const COLUMNS: &[Column] = &[
    NAME_COLUMN,
    text_column("Status", 0, "The status of the node."),
    text_column("Roles", 0, "The roles of the node."),
    AGE_COLUMN,
    text_column("Version", 0, "Kubelet Version reported by the node."),
    text_column("Internal-IP", 1, "First address of type InternalIP."),
    text_column("External-IP", 1, "First address of type ExternalIP."),
    text_column("OS-Image", 1, "OS Image reported by the node."),
    text_column("Kernel-Version", 1, "Kernel Version reported by the node."),
    text_column("Container-Runtime", 1, "Container runtime and its version."),
];

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let reported = |member: &str| {
        let pointer = format!("/status/nodeInfo/{member}");
        match read::text(object, &pointer) {
            "" => "<unknown>".to_owned(),
            text => text.to_owned(),
        }
    };
    let mut kernel = reported("kernelVersion");
    match read::text(object, "/status/nodeInfo/architecture") {
        "" => {}
        architecture => kernel.push_str(&format!(" ({architecture})")),
    }
    vec![
        meta::name(object).into(),
        status(object).into(),
        roles(object).into(),
        age(object, now).into(),
        read::text(object, "/status/nodeInfo/kubeletVersion").into(),
        address(object, "InternalIP").into(),
        address(object, "ExternalIP").into(),
        reported("osImage").into(),
        kernel.into(),
        reported("containerRuntimeVersion").into(),
    ]
}

fn is_unschedulable(object: &Value) -> bool {
    object["spec"]["unschedulable"] == Value::Bool(true)
}

fn status(object: &Value) -> String {
    let ready = read::items(object, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let mut text = match ready.map(|condition| read::text(condition, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if is_unschedulable(object) {
        text.push_str(",SchedulingDisabled");
    }
    text
}

fn roles(object: &Value) -> String {
    let labels = object["metadata"]["labels"].as_object();
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_LABEL_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        return "<none>".to_owned();
    }
    roles.join(",")
}

fn address(object: &Value, kind: &str) -> String {
    read::items(object, "/status/addresses")
        .iter()
        .find(|address| address["type"] == kind)
        .map_or("<none>", |address| read::text(address, "/address"))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns() {
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let node = json!({"metadata": {"name": "n1", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "False"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Debian",
                    "architecture": "amd64"}}});
        let expected = json!([
            "n1",
            "NotReady,SchedulingDisabled",
            "edge,worker",
            "60m",
            "v1.37.0",
            "10.0.0.1",
            "<none>",
            "Debian",
            "<unknown> (amd64)",
            "<unknown>"
        ]);
        assert_eq!(Value::from(cells(&node, now)), expected);
        let bare = cells(&json!({"metadata": {"name": "n2"}}), now);
        assert_eq!(
            Value::from(&bare[..5]),
            json!(["n2", "Unknown", "<none>", "<unknown>", ""])
        );
    }
}
