//! A typed view of CertificateSigningRequest for those who read it (controllers, agent, registry), and builders for writers.
use serde_json::Value;
/// Condition type.
pub const APPROVED: &str = "Approved";
/// Condition type.
pub const DENIED: &str = "Denied";
/// Condition type.
pub const FAILED: &str = "Failed";

/// A borrowed view over a CSR object.
#[derive(Debug, Clone, Copy)]
pub struct Csr<'a>(pub &'a Value);
/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Type.
    pub kind: String,
    /// True, False, Unknown.
    pub status: String,
    /// Reason.
    pub reason: String,
    /// Message.
    pub message: String,
    /// lastUpdateTime.
    pub last_update_time: Option<jiff::Timestamp>,
}
impl<'a> Csr<'a> {
    /// metadata.name
    pub fn name(&self) -> &'a str {
        unimplemented!()
    }
    /// metadata.uid
    pub fn uid(&self) -> &'a str {
        unimplemented!()
    }
    /// spec.request decoded from base64: PEM bytes.
    pub fn request(&self) -> Vec<u8> {
        unimplemented!()
    }
    /// spec.signerName
    pub fn signer_name(&self) -> &'a str {
        unimplemented!()
    }
    /// spec.usages
    pub fn usages(&self) -> Vec<String> {
        unimplemented!()
    }
    /// spec.expirationSeconds
    pub fn expiration_seconds(&self) -> Option<i32> {
        unimplemented!()
    }
    /// spec.username
    pub fn username(&self) -> &'a str {
        unimplemented!()
    }
    /// status.conditions
    pub fn conditions(&self) -> Vec<Condition> {
        unimplemented!()
    }
    /// A condition of that type is present, whatever its status.
    pub fn has_condition(&self, _kind: &str) -> bool {
        unimplemented!()
    }
    /// status.certificate decoded: PEM bytes; empty when absent.
    pub fn certificate(&self) -> Vec<u8> {
        unimplemented!()
    }
    /// `Pending`, `Approved,Issued`, … as kubectl prints it.
    pub fn condition_text(&self) -> String {
        unimplemented!()
    }
}
/// A new CSR object for a create (exactly one of name, generate_name non-empty).
pub fn build(
    _name: &str,
    _generate_name: &str,
    _request_pem: &str,
    _signer_name: &str,
    _usages: &[&str],
    _expiration_seconds: Option<i32>,
) -> Value {
    unimplemented!()
}
/// Appends a condition (status True; lastTransitionTime left to the server).
pub fn push_condition(
    _object: &mut Value,
    _kind: &str,
    _reason: &str,
    _message: &str,
    _last_update_time: Option<jiff::Timestamp>,
) {
    unimplemented!()
}
/// Sets status.certificate from PEM.
pub fn set_certificate(_object: &mut Value, _pem: &str) {
    unimplemented!()
}
