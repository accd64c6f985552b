//! What upstream's tests ask of `pkg/apis/certificates/validation` and
//! `pkg/registry/certificates/certificates`, and more.

use super::CERTIFICATE_SIGNING_REQUESTS as CSRS;
use crate::{
    fixture::{self, certificate_pem, csr, request_pem},
    read,
    registry::Context,
    user::User,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use everleaf_api::fields::FieldError;
use everleaf_pki::{RequestError, VerifiedRequest};
use jiff::Timestamp;
use serde_json::{Value, json};

const NOW: &str = "2030-01-01T00:00:00Z";

fn context<'a>(
    user: &'a User,
    subresource: &'a str,
    request: Option<&'a Result<VerifiedRequest, RequestError>>,
) -> Context<'a> {
    Context {
        user,
        subresource,
        now: NOW.parse().expect("a time"),
        request,
        gates: &crate::registry::gates::USUAL,
    }
}

/// A well-formed request object.
fn good() -> Value {
    csr("example.com/signer", &request_pem("bob", &[]))
}

/// `path reason` of each error, in order.
fn summary(errors: &[FieldError]) -> Vec<String> {
    errors
        .iter()
        .map(|error| {
            format!(
                "{} {}",
                error.path,
                error.reason.trim_start_matches("FieldValue")
            )
        })
        .collect()
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "r", "lastUpdateTime": "2029-01-01T00:00:00Z", "lastTransitionTime": "2029-01-01T00:00:00Z"})
}

fn with(kinds: &[&str], certificate: &str) -> Value {
    let mut object = good();
    let conditions: Vec<Value> = kinds.iter().map(|kind| condition(kind)).collect();
    if !conditions.is_empty() {
        object["status"]["conditions"] = conditions.into();
    }
    if !certificate.is_empty() {
        object["status"]["certificate"] = STANDARD.encode(certificate).into();
    }
    object
}

/// The validator alone, without what the strategy forces back.
fn update(endpoint: &str, new: &Value, old: &Value) -> Vec<String> {
    let user = User::default();
    summary(
        &CSRS
            .strategy
            .validate_update(new, old, &context(&user, endpoint, None)),
    )
}

/// Strategy and validator, as a request meets them: errors and the object that would be stored.
fn put(endpoint: &str, new: &Value, old: &Value) -> (Vec<String>, Value) {
    let user = User::default();
    let context = context(&user, endpoint, None);
    let mut new = new.clone();
    CSRS.strategy.prepare_update(&mut new, old, &context);
    let errors = summary(&CSRS.strategy.validate_update(&new, old, &context));
    (errors, new)
}

const NONE: [&str; 0] = [];
const FORBIDDEN: [&str; 1] = ["status.conditions Forbidden"];

mod create;
mod ml_dsa;
mod strategy;
mod update;
