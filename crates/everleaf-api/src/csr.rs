//! A typed view of CertificateSigningRequest for those who read it (controllers, agent, registry),
//! and builders for writers. It knows the object, not the certificate inside it.

use crate::codec::scalar;
use crate::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Condition type.
pub const APPROVED: &str = "Approved";
/// Condition type.
pub const DENIED: &str = "Denied";
/// Condition type.
pub const FAILED: &str = "Failed";

/// What the names of requests begin with by which a node only tries out a renewal
/// (`everleaf agent rehearse`): nobody uses the certificate after that minute, so it says nothing
/// about how the node stands.
pub const REHEARSAL_PREFIX: &str = "everleaf-rehearsal-";

/// Whether a request of this name only tries out a renewal.
pub fn is_rehearsal(name: &str) -> bool {
    name.starts_with(REHEARSAL_PREFIX)
}

/// A borrowed view over a CSR object.
#[derive(Debug, Clone, Copy)]
pub struct Csr<'a>(pub &'a Value);

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `Approved`, `Denied` or `Failed`; others have no effect.
    pub kind: String,
    /// True, False, Unknown.
    pub status: String,
    /// One word for programs, as `AutoApproved`.
    pub reason: String,
    /// A sentence for people; may be empty.
    pub message: String,
    /// lastUpdateTime.
    pub last_update_time: Option<Timestamp>,
}

impl<'a> Csr<'a> {
    /// metadata.name
    pub fn name(&self) -> &'a str {
        meta::name(self.0)
    }

    /// metadata.uid
    pub fn uid(&self) -> &'a str {
        meta::uid(self.0)
    }

    /// spec.request decoded from base64: PEM bytes. Empty when absent.
    pub fn request(&self) -> Vec<u8> {
        bytes(&self.0["spec"]["request"])
    }

    /// spec.signerName
    pub fn signer_name(&self) -> &'a str {
        self.spec_text("signerName")
    }

    /// spec.usages
    pub fn usages(&self) -> Vec<String> {
        strings(&self.0["spec"]["usages"])
    }

    /// spec.expirationSeconds
    pub fn expiration_seconds(&self) -> Option<i32> {
        self.0["spec"]["expirationSeconds"]
            .as_i64()
            .and_then(|seconds| i32::try_from(seconds).ok())
    }

    /// spec.username
    pub fn username(&self) -> &'a str {
        self.spec_text("username")
    }

    /// spec.groups
    pub fn groups(&self) -> Vec<String> {
        strings(&self.0["spec"]["groups"])
    }

    fn spec_text(&self, member: &str) -> &'a str {
        self.0["spec"][member].as_str().unwrap_or_default()
    }

    /// status.conditions
    pub fn conditions(&self) -> Vec<Condition> {
        let text = |condition: &Value, member: &str| {
            condition[member].as_str().unwrap_or_default().to_owned()
        };
        self.raw_conditions()
            .map(|condition| Condition {
                kind: text(condition, "type"),
                status: text(condition, "status"),
                reason: text(condition, "reason"),
                message: text(condition, "message"),
                last_update_time: condition["lastUpdateTime"]
                    .as_str()
                    .and_then(meta::parse_time),
            })
            .collect()
    }

    fn raw_conditions(&self) -> impl Iterator<Item = &'a Value> {
        self.0["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
    }

    /// A condition of that type is present, whatever its status.
    pub fn has_condition(&self, kind: &str) -> bool {
        self.raw_conditions()
            .any(|condition| condition["type"] == kind)
    }

    /// status.certificate decoded: PEM bytes; empty when absent.
    pub fn certificate(&self) -> Vec<u8> {
        bytes(&self.0["status"]["certificate"])
    }

    /// True when status.certificate is not empty; cheaper than decoding it.
    pub fn is_issued(&self) -> bool {
        self.0["status"]["certificate"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    }

    /// `Pending`, `Approved,Issued`, … as kubectl prints it. Only the types of the conditions
    /// count.
    pub fn condition_text(&self) -> String {
        let base = if self.has_condition(DENIED) {
            DENIED
        } else if self.has_condition(APPROVED) {
            APPROVED
        } else {
            "Pending"
        };
        let mut text = base.to_owned();
        if self.has_condition(FAILED) {
            text.push_str(",Failed");
        }
        if self.is_issued() {
            text.push_str(",Issued");
        }
        text
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    value
        .as_str()
        .and_then(scalar::base64_bytes)
        .unwrap_or_default()
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// A new CSR object for a create (exactly one of name, generate_name non-empty).
pub fn build(
    name: &str,
    generate_name: &str,
    request_pem: &str,
    signer_name: &str,
    usages: &[&str],
    expiration_seconds: Option<i32>,
) -> Value {
    let mut object = json!({
        "kind": "CertificateSigningRequest",
        "apiVersion": "certificates.k8s.io/v1",
        "metadata": {},
        "spec": {
            "request": scalar::base64_text(request_pem.as_bytes()),
            "signerName": signer_name,
            "usages": usages,
        },
        "status": {},
    });
    meta::set(&mut object, "name", name);
    meta::set(&mut object, "generateName", generate_name);
    if let Some(seconds) = expiration_seconds {
        object["spec"]["expirationSeconds"] = seconds.into();
    }
    object
}

/// Appends a condition (status True; lastTransitionTime left to the server).
pub fn push_condition(
    object: &mut Value,
    kind: &str,
    reason: &str,
    message: &str,
    last_update_time: Option<Timestamp>,
) {
    let mut condition =
        json!({"type": kind, "status": "True", "reason": reason, "message": message});
    if let Some(time) = last_update_time {
        condition["lastUpdateTime"] = meta::format_time(time).into();
    }
    let conditions = &mut status_mut(object)["conditions"];
    match conditions {
        Value::Array(conditions) => conditions.push(condition),
        other => *other = Value::Array(vec![condition]),
    }
}

/// Sets status.certificate from PEM.
pub fn set_certificate(object: &mut Value, pem: &str) {
    status_mut(object)["certificate"] = scalar::base64_text(pem.as_bytes()).into();
}

/// `status`, made an object when it is none.
fn status_mut(object: &mut Value) -> &mut Value {
    if !object.is_object() {
        *object = json!({});
    }
    let status = &mut object["status"];
    if !status.is_object() {
        *status = json!({});
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CERTIFICATE_SIGNING_REQUEST;

    /// Spec tests 75 to 79, and the rest of the combinations.
    #[test]
    fn condition_text_follows_the_types() {
        let check = |kinds: &[&str], issued: bool, text: &str| {
            let mut object = build("a", "", "pem", "example.com/a", &["any"], None);
            for kind in kinds {
                push_condition(&mut object, kind, "", "", None);
            }
            if issued {
                set_certificate(&mut object, "pem");
            }
            assert_eq!(Csr(&object).condition_text(), text);
        };
        check(&[], false, "Pending");
        check(&["Other"], false, "Pending");
        check(&[], true, "Pending,Issued");
        check(&[FAILED], false, "Pending,Failed");
        check(&[APPROVED], false, "Approved");
        check(&[APPROVED], true, "Approved,Issued");
        check(&[APPROVED, FAILED], false, "Approved,Failed");
        check(&[FAILED, APPROVED], true, "Approved,Failed,Issued");
        check(&[DENIED], false, "Denied");
        check(&[DENIED], true, "Denied,Issued");
        check(&[APPROVED, DENIED], false, "Denied");
        assert_eq!(Csr(&json!(null)).condition_text(), "Pending");
    }

    #[test]
    fn what_is_built_is_canonical_and_reads_back() {
        let mut object = build(
            "",
            "csr-",
            "PEM",
            "example.com/a",
            &["client auth"],
            Some(3600),
        );
        let decoded = CERTIFICATE_SIGNING_REQUEST
            .decode_value(object.clone())
            .unwrap();
        assert_eq!(
            (decoded.object, decoded.warnings),
            (object.clone(), Vec::<String>::new())
        );
        let view = Csr(&object);
        assert_eq!((view.name(), view.uid(), view.username()), ("", "", ""));
        assert_eq!(view.request(), b"PEM");
        assert_eq!(view.signer_name(), "example.com/a");
        assert_eq!(view.usages(), ["client auth"]);
        assert_eq!(view.expiration_seconds(), Some(3600));
        assert_eq!(view.certificate(), b"");
        let time = meta::parse_time("2026-01-02T03:04:05Z");
        push_condition(&mut object, APPROVED, "AutoApproved", "by rule", time);
        assert_eq!(
            Csr(&object).conditions(),
            [Condition {
                kind: "Approved".into(),
                status: "True".into(),
                reason: "AutoApproved".into(),
                message: "by rule".into(),
                last_update_time: time,
            }]
        );
        // An object from elsewhere, with anything in the place of status.
        let mut odd = json!({"status": 7});
        push_condition(&mut odd, DENIED, "", "", None);
        set_certificate(&mut odd, "x");
        assert_eq!(Csr(&odd).condition_text(), "Denied,Issued");
    }
}
