//! A resource is one descriptor; the engine does the rest. One file per resource.
use crate::user::User;
use everleaf_api::{fields::FieldError, schema::Type, table::Column};
use everleaf_pki::VerifiedRequest;
use jiff::Timestamp;
use serde_json::Value;

/// What a strategy may know of the request.
pub struct Context<'a> {
    /// Effective user.
    pub user: &'a User,
    /// "" for the main resource, `approval`, `status`.
    pub subresource: &'a str,
    /// Server time, read once per request.
    pub now: Timestamp,
    /// A CSR's request, verified once on create (None: it does not parse; the error is validated below).
    pub request: Option<&'a Result<VerifiedRequest, everleaf_pki::RequestError>>,
}

/// Per-resource rules: pure functions.
pub trait Strategy: Send + Sync {
    /// Resets and fills what the server owns on create.
    fn prepare_create(&self, _object: &mut Value, _context: &Context<'_>) {}
    /// Field errors on create.
    fn validate_create(&self, _object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        Vec::new()
    }
    /// Forces back what this endpoint may not change.
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _context: &Context<'_>) {}
    /// Field errors on update.
    fn validate_update(
        &self,
        _new: &Value,
        _old: &Value,
        _context: &Context<'_>,
    ) -> Vec<FieldError> {
        Vec::new()
    }
}

/// A served resource.
pub struct Descriptor {
    /// Type.
    pub r#type: &'static Type,
    /// Plural.
    pub resource: &'static str,
    /// Singular.
    pub singular: &'static str,
    /// Short names.
    pub short_names: &'static [&'static str],
    /// Namespaced?
    pub namespaced: bool,
    /// Storage directory below the prefix: `certificatesigningrequests`, `minions`, …
    pub storage: &'static str,
    /// Verbs of the main resource, sorted.
    pub verbs: &'static [&'static str],
    /// Subresources served (`status`, `approval`), each get/patch/update.
    pub subresources: &'static [&'static str],
    /// Rules.
    pub strategy: &'static dyn Strategy,
    /// Table columns.
    pub columns: &'static [Column],
    /// Table cells of one object.
    pub cells: fn(&Value, Timestamp) -> Vec<Value>,
    /// Selectable fields besides metadata.name (and metadata.namespace when namespaced).
    pub selectable: &'static [&'static str],
    /// Value of a selectable field.
    pub field: fn(&Value, &str) -> String,
    /// PUT creates when missing.
    pub create_on_update: bool,
    /// PUT without resourceVersion overwrites.
    pub unconditional_update: bool,
    /// Name check: error text when bad.
    pub validate_name: fn(&str) -> Result<(), String>,
}
