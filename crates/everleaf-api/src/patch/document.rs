//! One patch: read from a body, applied to an object.

use super::reading::{self, Findings};
use super::strategic::{Object, strategic_merge};
use super::{go_text, json, merge};
use crate::Status;
use crate::fields::{FieldError, quote};
use crate::schema::{Decoded, Type, WARNINGS_MAX};
use serde_json::Value;

/// A kind of patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own.
    Strategic,
}

/// A patch as it came.
#[derive(Debug)]
pub struct Patch {
    patch_type: PatchType,
    document: Value,
    /// Repeated and unknown members of the patch itself.
    findings: Vec<String>,
    /// No refusal may show what is in it.
    is_confidential: bool,
}

/// Reads JSON of any sort, counted, for [`crate::managed::apply`]; with it, what is repeated in it.
///
/// # Errors
/// 400 for text that is not JSON, or holds more than a body may.
pub fn read_object(body: &[u8]) -> Result<(Value, Vec<String>), Status> {
    reading::read(body, Findings::of_object())
}

impl PatchType {
    /// Every kind, in the order in which upstream lists them.
    pub const ALL: [Self; 3] = [Self::Json, Self::Merge, Self::Strategic];

    /// The kind of that `Content-Type`, parameters aside.
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or("");
        let mut all = Self::ALL.into_iter();
        all.find(|patch_type| patch_type.media_type() == media_type)
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

impl Patch {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 for text that is not JSON, or holds more than a body may.
    pub fn read(patch_type: PatchType, body: &[u8]) -> Result<Self, Status> {
        let findings = match patch_type {
            PatchType::Json => Findings::of_operations(),
            PatchType::Merge | PatchType::Strategic => Findings::of_object(),
        };
        let (mut document, findings) = reading::read(body, findings)?;
        if patch_type == PatchType::Strategic {
            whole_numbers_as_integers(&mut document);
        }
        Ok(Self {
            patch_type,
            document,
            findings,
            is_confidential: false,
        })
    }

    /// With contents that no refusal may show.
    #[must_use]
    pub fn confidential(mut self) -> Self {
        self.is_confidential = true;
        self
    }

    /// The object that the patch makes of `original`, both canonical. With `findings`, what is
    /// unknown or repeated in the patch and unknown in the result is told in [`Decoded::warnings`];
    /// without, some malformed patches are not noticed.
    ///
    /// # Errors
    /// 400 for a patch of the wrong form, 413 for one with too many operations, 422 for one that
    /// cannot be applied, or whose result is no object of this type.
    pub fn apply(
        &self,
        original: &Value,
        ty: &'static Type,
        findings: bool,
    ) -> Result<Decoded, Status> {
        let object = match self.patch_type {
            PatchType::Json => json::apply(printed(original, ty), &self.document, findings)?,
            PatchType::Merge => {
                self.check_merge_form(findings)?;
                let mut object = original.clone();
                merge(&mut object, &self.document);
                object
            }
            PatchType::Strategic => Value::Object(self.apply_strategic(original, ty)?),
        };
        let mut decoded = ty
            .decode_value(object)
            .map_err(|error| self.refusal(bare_reason(&error.to_string())))?;
        if findings {
            let mut warnings = self.findings.clone();
            warnings.append(&mut decoded.warnings);
            warnings.truncate(WARNINGS_MAX);
            decoded.warnings = warnings;
        } else {
            decoded.warnings.clear();
        }
        Ok(decoded)
    }

    /// 422 that blames the patch, shown as upstream shows it: a strategic one as Go prints a map,
    /// others as JSON.
    pub fn refusal(&self, detail: &str) -> Status {
        let value = match self.patch_type {
            _ if self.is_confidential => "<secret contents redacted>".to_owned(),
            PatchType::Strategic => go_text::text(&self.document),
            PatchType::Json | PatchType::Merge => go_text::shorten(self.document.to_string()),
        };
        let error = FieldError::invalid("patch", &quote(&value), detail);
        Status::invalid("", "", "", &[error])
    }

    fn apply_strategic(&self, original: &Value, ty: &'static Type) -> Result<Object, Status> {
        let changes = match &self.document {
            Value::Object(changes) => changes.clone(),
            Value::Null => Object::new(),
            other => return Err(no_object(other, "")),
        };
        let original = original.as_object().cloned().unwrap_or_default();
        let mut object = strategic_merge(original, changes, ty.message)?;
        // What the patch says about the type does not count, as long as it is a text.
        for (member, value) in [("apiVersion", ty.api_version()), ("kind", ty.kind.into())] {
            if object.get(member).is_some_and(Value::is_string) {
                object.insert(member.to_owned(), Value::String(value));
            }
        }
        Ok(object)
    }

    fn check_merge_form(&self, findings: bool) -> Result<(), Status> {
        match &self.document {
            Value::Object(_) => Ok(()),
            Value::Null => Err(Status::bad_request("Invalid JSON Patch")),
            other if findings => Err(no_object(other, "error decoding patch: ")),
            Value::Array(_) => Err(self.refusal("a list is no object")),
            _ => Err(Status::bad_request("Invalid JSON Patch")),
        }
    }
}

/// An object as clients see it, nulls included: that is what they test for.
fn printed(object: &Value, ty: &'static Type) -> Value {
    serde_json::from_slice(&ty.encode_json(object)).unwrap_or_else(|_| object.clone())
}

/// What the decoder says without what it says first, which is about a body:
/// `… cannot be handled as a ConfigMap: `.
fn bare_reason(message: &str) -> &str {
    let (_, after) = message
        .split_once(" cannot be handled as a ")
        .unwrap_or(("", message));
    after.split_once(": ").map_or(message, |(_, reason)| reason)
}

/// `1.0` becomes `1`: upstream takes it for an integer, in this kind of patch only.
fn whole_numbers_as_integers(value: &mut Value) {
    /// From here on not every integer is a float.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            if let Some(float) = float.filter(|f| f.fract() == 0.0 && f.abs() < EXACT_MAX) {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers_as_integers),
        Value::Object(members) => members.values_mut().for_each(whole_numbers_as_integers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// 400 in the words of Go's decoder.
fn no_object(found: &Value, prefix: &str) -> Status {
    Status::bad_request(format!(
        "{prefix}json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
        go_text::json_sort(found)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{CONFIG_MAP, CSI_NODE, LEASE, NODE};
    use serde_json::json;

    fn apply(
        patch_type: PatchType,
        original: Value,
        ty: &'static Type,
        patch: &str,
    ) -> Result<Value, Status> {
        let original = ty.decode_value(original)?.object;
        let patch = Patch::read(patch_type, patch.as_bytes())?;
        Ok(patch.apply(&original, ty, true)?.object)
    }

    #[test]
    fn tests_of_a_json_patch_see_what_clients_see() {
        let node = json!({"metadata": {"name": "n"}, "status": {"conditions": [{"type": "A", "status": "True"}]}});
        let seen = r#"{"type": "A", "status": "True", "lastHeartbeatTime": null, "lastTransitionTime": null}"#;
        let test =
            format!(r#"[{{"op": "test", "path": "/status/conditions/0", "value": {seen}}}]"#);
        assert!(apply(PatchType::Json, node, &NODE, &test).is_ok());
    }

    #[test]
    fn whole_floats_are_integers_in_strategic_patches_only() {
        let patched = |patch_type, number: &str| {
            let lease = json!({"metadata": {"name": "l"}});
            let patch = format!(r#"{{"spec": {{"leaseDurationSeconds": {number}}}}}"#);
            let patched = apply(patch_type, lease, &LEASE, &patch).ok()?;
            patched["spec"]["leaseDurationSeconds"].as_i64()
        };
        assert_eq!(patched(PatchType::Strategic, "40.0"), Some(40));
        assert_eq!(patched(PatchType::Strategic, "4e1"), Some(40));
        assert_eq!(patched(PatchType::Strategic, "40.5"), None);
        assert_eq!(patched(PatchType::Strategic, "1e300"), None);
        assert_eq!(patched(PatchType::Merge, "40.0"), None);
        assert_eq!(patched(PatchType::Merge, "40"), Some(40));
    }

    /// Each change of the driver walks its list, which may be as long as an object allows.
    #[test]
    fn one_item_is_not_changed_again_and_again() {
        let patched = |changes: usize| {
            let driver = json!({"name": "d", "nodeID": "n", "topologyKeys": ["a", "b"]});
            let original = json!({"metadata": {"name": "n"}, "spec": {"drivers": [driver]}});
            let take_out = json!({"name": "d", "$deleteFromPrimitiveList/topologyKeys": ["a"]});
            let patch = json!({"spec": {"drivers": vec![take_out; changes]}}).to_string();
            let patched = apply(PatchType::Strategic, original, &CSI_NODE, &patch);
            patched.map(|node| node["spec"]["drivers"][0]["topologyKeys"].clone())
        };
        for changes in [1, 17] {
            assert_eq!(patched(changes).ok(), Some(json!(["b"])), "{changes}");
        }
        assert_eq!(patched(18).map_err(|status| status.code), Err(400));
    }

    /// Comparing the long name with each place of the order byte by byte would take minutes.
    #[test]
    fn a_long_name_in_a_long_order() {
        let long = "x".repeat(256 * 1024);
        let mut order = vec!["y"; 20_000];
        order.push(&long);
        let patch =
            json!({"metadata": {"finalizers": [long], "$setElementOrder/finalizers": order}});
        let lease = json!({"metadata": {"name": "l"}});
        let patched = apply(PatchType::Strategic, lease, &LEASE, &patch.to_string());
        let patched = patched.map(|lease| lease["metadata"]["finalizers"].clone());
        assert_eq!(patched.ok(), Some(json!([long])));
    }

    #[test]
    fn a_refusal_shows_the_patch_and_the_reason() {
        let map = || json!({"metadata": {"name": "a"}});
        let told = |patch_type, patch| {
            let refused = apply(patch_type, map(), &CONFIG_MAP, patch);
            refused.expect_err("no ConfigMap").message
        };
        let reason = "json: cannot unmarshal number into Go struct field ConfigMap.data of type \
                      map[string]string";
        assert_eq!(
            told(PatchType::Merge, r#"{"data": 5}"#),
            format!(r#" "" is invalid: patch: Invalid value: "{{\"data\":5}}": {reason}"#)
        );
        assert_eq!(
            told(PatchType::Strategic, r#"{"data": 5}"#),
            format!(r#" "" is invalid: patch: Invalid value: "map[data:5]": {reason}"#)
        );
        let long = format!(r#"{{"data": 5, "more": "{}"}}"#, "x".repeat(1_000_000));
        assert!(told(PatchType::Merge, &long).len() < 5_000);
    }
}
