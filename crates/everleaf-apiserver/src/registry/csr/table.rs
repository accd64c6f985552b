//! `kubectl get csr` (`pkg/printers/internalversion/printers.go`).

use crate::registry::{AGE_COLUMN, NAME_COLUMN, age, text_column};
use everleaf_api::{csr::Csr, duration, meta, table::Column};
use jiff::Timestamp;
use serde_json::Value;

pub(super) const COLUMNS: &[Column] = &[
    NAME_COLUMN,
    AGE_COLUMN,
    text_column(
        "SignerName",
        0,
        "signerName indicates the requested signer, and is a qualified name.",
    ),
    text_column(
        "Requestor",
        0,
        "Name of the user who created the request, as stamped by the server.",
    ),
    text_column(
        "RequestedDuration",
        0,
        "Lifetime the requestor asks for; the signer may grant another.",
    ),
    text_column(
        "Condition",
        0,
        "Pending, Approved or Denied; then Failed and Issued where they apply.",
    ),
];

pub(super) fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let csr = Csr(object);
    let or_none = |text: String| {
        if text.is_empty() {
            "<none>".to_owned()
        } else {
            text
        }
    };
    let requested = csr
        .expiration_seconds()
        .map(|seconds| duration::human(i64::from(seconds)))
        .unwrap_or_default();
    vec![
        meta::name(object).into(),
        age(object, now).into(),
        or_none(csr.signer_name().to_owned()).into(),
        csr.username().into(),
        or_none(requested).into(),
        csr.condition_text().into(),
    ]
}
