//! CertificateSigningRequests: what the server stamps, what each endpoint may change, which
//! requests are well-formed (`pkg/registry/certificates/certificates/strategy.go`,
//! `pkg/apis/certificates/validation/validation.go`).
//!
//! Who may approve or sign is admission's question, and whether a request deserves it is the
//! controllers'.

pub(crate) mod conditions;
mod issuance;
mod strategy;
mod table;
mod validate;

use self::strategy::CsrStrategy;
pub(super) use self::validate::signer_name_rules;
use super::{Descriptor, names};
use crate::read;
use everleaf_api::types;
use serde_json::Value;

/// CertificateSigningRequests.
pub static CERTIFICATE_SIGNING_REQUESTS: Descriptor = Descriptor {
    short_names: &["csr"],
    subresources: &["approval", "status"],
    strategy: &CsrStrategy,
    resets: |endpoint| match endpoint {
        "approval" => &[&["spec"], &["status", "certificate"]],
        "status" => &[&["spec"], &["status", "conditions"]],
        _ => &[&["spec"], &["status"]],
    },
    columns: table::COLUMNS,
    cells: table::cells,
    selectable: &["spec.signerName"],
    selects_paths: true,
    field: selectable_field,
    validate_name: names::path_segment,
    tally: Some(issuance::UNSIGNED),
    verify: Some(issuance::verify),
    issued: Some(issuance::issued),
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

#[cfg(test)]
mod tests;
