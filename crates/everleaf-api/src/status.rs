//! `metav1.Status`: every error of the API, with upstream's codes, reasons and words (spec/api.md 4.8).
use crate::fields::FieldError;
use serde_json::Value;

/// A failure (or the Success of a delete). Build with the constructors below.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP code.
    pub code: u16,
    /// Machine-readable reason, e.g. `NotFound`; empty for none.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// `details` (None = member absent).
    pub details: Option<Value>,
    /// Seconds for the Retry-After header.
    pub retry_after_seconds: Option<u32>,
}

/// What an error is about: resource (plural) and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupResource<'a> {
    /// Group.
    pub group: &'a str,
    /// Plural resource.
    pub resource: &'a str,
}

impl Status {
    /// 400
    pub fn bad_request(_message: impl Into<String>) -> Self {
        unimplemented!()
    }
    /// 401
    pub fn unauthorized() -> Self {
        unimplemented!()
    }
    /// 403 `R "name" is forbidden: text`; empty name: `R is forbidden: text`.
    pub fn forbidden(_about: GroupResource<'_>, _name: &str, _text: &str) -> Self {
        unimplemented!()
    }
    /// 403 for a path: `forbidden: text`.
    pub fn forbidden_path(_text: &str) -> Self {
        unimplemented!()
    }
    /// 404 for an object.
    pub fn not_found(_about: GroupResource<'_>, _name: &str) -> Self {
        unimplemented!()
    }
    /// 404 `the server could not find the requested resource`.
    pub fn no_such_resource() -> Self {
        unimplemented!()
    }
    /// 405
    pub fn method_not_allowed(_text: &str) -> Self {
        unimplemented!()
    }
    /// 406
    pub fn not_acceptable() -> Self {
        unimplemented!()
    }
    /// 409 AlreadyExists
    pub fn already_exists(_about: GroupResource<'_>, _name: &str) -> Self {
        unimplemented!()
    }
    /// 409 Conflict: `Operation cannot be fulfilled on R "name": text`.
    pub fn conflict(_about: GroupResource<'_>, _name: &str, _text: &str) -> Self {
        unimplemented!()
    }
    /// 410 Expired
    pub fn expired(_message: impl Into<String>) -> Self {
        unimplemented!()
    }
    /// 413
    pub fn too_large(_limit_bytes: usize) -> Self {
        unimplemented!()
    }
    /// 415
    pub fn unsupported_media_type() -> Self {
        unimplemented!()
    }
    /// 422 `Kind.group "name" is invalid: …` with causes.
    pub fn invalid(_group: &str, _kind: &str, _name: &str, _errors: &[FieldError]) -> Self {
        unimplemented!()
    }
    /// 429 with Retry-After.
    pub fn too_many_requests(_message: impl Into<String>, _retry_after_seconds: u32) -> Self {
        unimplemented!()
    }
    /// 500
    pub fn internal(_message: impl Into<String>) -> Self {
        unimplemented!()
    }
    /// 503
    pub fn unavailable(_message: impl Into<String>) -> Self {
        unimplemented!()
    }
    /// 504
    pub fn timeout(_message: impl Into<String>, _retry_after_seconds: u32) -> Self {
        unimplemented!()
    }
    /// JSON-shaped `Status` object (kind Status, apiVersion v1).
    pub fn to_value(&self) -> Value {
        unimplemented!()
    }
    /// Reads a Status answer of a server (clients); None when it is not one.
    pub fn from_json(_body: &[u8]) -> Option<Self> {
        unimplemented!()
    }
}
