//! PodCertificateRequests: kubelets file them for pods that mount a certificate
//! (`pkg/registry/certificates/podcertificaterequest/strategy.go`,
//! `pkg/apis/certificates/validation/validation.go`). There is no approval: whoever may sign for
//! the signer writes the end of a request, once.
//!
//! For which pods a node may ask, and who may sign, is admission's question.
//!
//! They are stored as kube-apiserver 1.37 stores them, in the version that the release before knows
//! (`pkg/kubeapiserver/default_storage_factory_builder.go`): only in it a request can be without
//! PKCS#10, with the key and a signature beside it.

mod issued;
mod rules;
#[cfg(test)]
mod tests;

use self::rules::PodCertificateStrategy;
use super::apis::{Deprecated, Lifecycle};
use super::gates::Gate;
use super::{Descriptor, NAME_COLUMN, text_column};
use crate::read;
use everleaf_api::meta;
use everleaf_api::table::Column;
use everleaf_api::types;
use jiff::Timestamp;
use serde_json::Value;

/// The condition of a request that was granted.
const ISSUED: &str = "Issued";
/// The condition of a request that its signer does not grant.
const DENIED: &str = "Denied";
/// The condition of a request that its signer could not fulfil.
const FAILED: &str = "Failed";

/// PodCertificateRequests (certificates.k8s.io/v1beta1), as they are stored.
pub static BETA_POD_CERTIFICATE_REQUESTS: Descriptor = Descriptor {
    subresources: &["status"],
    strategy: &PodCertificateStrategy,
    resets: |endpoint| match endpoint {
        "status" => &[&["metadata"], &["spec"]],
        _ => &[&["status"]],
    },
    columns: COLUMNS,
    cells,
    selectable: &["spec.nodeName", "spec.podName", "spec.signerName"],
    selects_paths: true,
    field: |object, field| {
        let path = format!("/{}", field.replace('.', "/"));
        read::text(object, &path).to_owned()
    },
    unconditional_update: false,
    lifecycle: Lifecycle {
        introduced: 35,
        deprecated: Some(Deprecated {
            since: 37,
            removed: 40,
            replacement: Some("v1"),
        }),
    },
    gate: Some(Gate::PodCertificateRequest),
    ..Descriptor::namespaced(
        &types::BETA_POD_CERTIFICATE_REQUEST,
        "podcertificaterequests",
        "podcertificaterequest",
    )
};

/// PodCertificateRequests (certificates.k8s.io/v1).
pub static POD_CERTIFICATE_REQUESTS: Descriptor = Descriptor {
    r#type: &types::POD_CERTIFICATE_REQUEST,
    view_of: Some(&BETA_POD_CERTIFICATE_REQUESTS),
    lifecycle: Lifecycle {
        introduced: 37,
        deprecated: None,
    },
    ..BETA_POD_CERTIFICATE_REQUESTS
};

const COLUMNS: &[Column] = &[
    NAME_COLUMN,
    text_column("PodName", 0, "Name of the pod."),
    text_column("ServiceAccountName", 0, "The account that the pod runs as."),
    text_column("NodeName", 0, "The node that the pod runs on."),
    text_column("SignerName", 0, "Name of the requested signer."),
    text_column("State", 0, "Pending, Issued, Denied or Failed."),
    text_column(
        "UnverifiedUserAnnotations",
        0,
        "What the pod's author tells the signer.",
    ),
];

fn cells(object: &Value, _now: Timestamp) -> Vec<Value> {
    let spec = |member: &str| Value::from(read::text(&object["spec"], &format!("/{member}")));
    vec![
        meta::name(object).into(),
        spec("podName"),
        spec("serviceAccountName"),
        spec("nodeName"),
        spec("signerName"),
        state(object).unwrap_or("Pending").into(),
        annotations(object).into(),
    ]
}

/// As kubectl shows labels.
fn annotations(object: &Value) -> String {
    let all = object.pointer("/spec/unverifiedUserAnnotations");
    let all = all.and_then(Value::as_object).into_iter().flatten();
    let mut shown: Vec<String> = all
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if shown.is_empty() {
        return "<none>".to_owned();
    }
    shown.sort_unstable();
    shown.join(",")
}

/// How a request ended, if it did.
fn state(object: &Value) -> Option<&'static str> {
    let conditions = read::items(object, "/status/conditions");
    let ends = |kind: &&str| {
        let mut all = conditions.iter();
        all.any(|one| read::text(one, "/type") == *kind && read::text(one, "/status") == "True")
    };
    [ISSUED, DENIED, FAILED].into_iter().find(ends)
}
