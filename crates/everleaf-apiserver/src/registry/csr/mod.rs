//! CertificateSigningRequests: what the server stamps, what each endpoint may change, which requests are well-formed
//! (`pkg/registry/certificates/certificates/strategy.go`,
//! `pkg/apis/certificates/validation/validation.go`).
//!
//! Who may approve or sign is admission's question, and whether a request deserves it is the controllers'.

pub(crate) mod conditions;
mod strategy;
mod table;
mod validate;

use everleaf_api::types;
use everleaf_pki::SignerName;
use serde_json::Value;

use self::strategy::CsrStrategy;
use super::{Descriptor, names};
use crate::read;

/// CertificateSigningRequests.
pub static CERTIFICATE_SIGNING_REQUESTS: Descriptor = Descriptor {
    short_names: &["csr"],
    subresources: &["approval", "status"],
    strategy: &CsrStrategy,
    columns: table::COLUMNS,
    cells: table::cells,
    selectable: &["spec.signerName"],
    field: selectable_field,
    validate_name: names::path_segment,
    tally: Some(requestor_until_signed),
    compact: true,
    ..Descriptor::cluster(
        &types::CERTIFICATE_SIGNING_REQUEST,
        "certificatesigningrequests",
        "certificatesigningrequest",
    )
};

fn selectable_field(object: &Value, field: &str) -> String {
    match field {
        "spec.signerName" => read::text(object, "/spec/signerName").to_owned(),
        _ => String::new(),
    }
}

/// A request counts for its requestor until it is signed. Requests to other signers than that of kubelets' client
/// certificates have an account of their own: a node whose serving requests nobody approves files one after the other,
/// and must still be able to renew the certificate it lives by.
fn requestor_until_signed(object: &Value) -> Option<String> {
    if !read::text(object, "/status/certificate").is_empty() {
        return None;
    }
    let requestor = read::text(object, "/spec/username");
    Some(match read::text(object, "/spec/signerName") {
        SignerName::KUBE_APISERVER_CLIENT_KUBELET => requestor.to_owned(),
        _ => format!("{requestor} (other signers)"),
    })
}

#[cfg(test)]
mod tests;
