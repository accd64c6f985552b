//! Signer names and the policy of each built-in signer: subject, SANs, usages, duration.
use crate::request::VerifiedRequest;
use std::time::Duration;

/// The name of a signer such as `kubernetes.io/kube-apiserver-client-kubelet`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignerName(String);
impl SignerName {
    /// `kubernetes.io/kube-apiserver-client`
    pub const KUBE_APISERVER_CLIENT: &'static str = "kubernetes.io/kube-apiserver-client";
    /// `kubernetes.io/kube-apiserver-client-kubelet`
    pub const KUBE_APISERVER_CLIENT_KUBELET: &'static str =
        "kubernetes.io/kube-apiserver-client-kubelet";
    /// `kubernetes.io/kubelet-serving`
    pub const KUBELET_SERVING: &'static str = "kubernetes.io/kubelet-serving";
    /// `kubernetes.io/legacy-unknown`
    pub const LEGACY_UNKNOWN: &'static str = "kubernetes.io/legacy-unknown";
    /// Any text; the API server validates the form.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key usage of the CSR API, by its wire text (`digital signature`, `client auth`, …; 23 values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Usage {
    /// `signing`
    Signing,
    /// `digital signature`
    DigitalSignature,
    /// `key encipherment`
    KeyEncipherment,
    /// `client auth`
    ClientAuth,
    /// `server auth`
    ServerAuth, /* … the owner completes the 23 */
}
impl Usage {
    /// The wire text.
    pub fn as_str(self) -> &'static str {
        unimplemented!()
    }
    /// Parses the wire text exactly.
    pub fn parse(_text: &str) -> Option<Self> {
        unimplemented!()
    }
    /// All 23 wire texts, sorted.
    pub fn vocabulary() -> &'static [&'static str] {
        unimplemented!()
    }
}

/// What a recognizer looks at (spec/controllers.md 2.2): subject, SANs, usages, signer and, for "self", the requestor.
/// Node client recognizer of the approver, with the stricter name rules of "BETTER". Err = why not (for a log line).
pub fn is_node_client(
    _signer_name: &str,
    _request: &VerifiedRequest,
    _usages: &[String],
) -> Result<(), &'static str> {
    unimplemented!()
}

/// The signing rule of a built-in signer (spec/controllers.md 4.2); the error text is upstream's message, exact.
pub fn check_signer_policy(
    _signer_name: &str,
    _request: &VerifiedRequest,
    _usages: &[String],
) -> Result<(), String> {
    unimplemented!()
}

/// Granted duration (spec/controllers.md 4.5): none → configured; > configured → configured; < 10 min → 10 min.
pub fn granted_duration(_configured: Duration, _requested_seconds: Option<i32>) -> Duration {
    unimplemented!()
}
