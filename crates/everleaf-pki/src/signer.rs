//! Signer names and the policy of each built-in signer: subject, SANs, usages, duration.
//!
//! Two judges ask here: the approver, through [`is_node_client`], which may be stricter than
//! Kubernetes (what it does not recognize stays Pending for a person to decide), and the signer,
//! through [`check_signer_policy`], which must refuse exactly what Kubernetes refuses, with the
//! same words. Who may ask for what is authorization, and not known here.
//!
//! ```
//! use everleaf_pki::{KeyAlgorithm, PrivateKey, SignerName, Subject, Template, VerifiedRequest, signer};
//!
//! let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
//! let template = Template { subject: Subject::node("n1"), ..Template::default() };
//! let request = VerifiedRequest::from_pem(template.to_request_pem(&key)?.as_bytes())?;
//! let usages = ["digital signature".to_owned(), "client auth".to_owned()];
//!
//! let name = SignerName::KUBE_APISERVER_CLIENT_KUBELET;
//! assert_eq!(signer::is_node_client(name, &request, &usages), Ok(()));
//! assert_eq!(signer::check_signer_policy(name, &request, &usages), Ok(()));
//! assert_eq!(
//!     signer::check_signer_policy(SignerName::KUBELET_SERVING, &request, &usages),
//!     Err(signer::PolicyFailure::NoAltName),
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::key::usage_faults;
use crate::request::VerifiedRequest;
use std::collections::BTreeSet;
use std::time::Duration;

pub use crate::usage::{UnknownUsages, Usage};

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

impl std::fmt::Display for SignerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

const NODES_ORGANIZATION: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";
const CLIENT_AUTH: &str = "client auth";
const DIGITAL_SIGNATURE: &str = "digital signature";
const KEY_ENCIPHERMENT: &str = "key encipherment";
const SERVER_AUTH: &str = "server auth";

/// Usage sets of kubelet client requests; the short one since Kubernetes 1.27.
static NODE_CLIENT_USAGES: [&[&str]; 2] = [
    &[CLIENT_AUTH, DIGITAL_SIGNATURE, KEY_ENCIPHERMENT],
    &[CLIENT_AUTH, DIGITAL_SIGNATURE],
];
/// Usage sets of kubelet serving requests; the short one since Kubernetes 1.27.
static NODE_SERVING_USAGES: [&[&str]; 2] = [
    &[DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, SERVER_AUTH],
    &[DIGITAL_SIGNATURE, SERVER_AUTH],
];

/// Why a request is not that of a kubelet as a client; `Display` is for a log line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNodeClient {
    /// Addressed to another signer.
    #[error("signer is not kubernetes.io/kube-apiserver-client-kubelet")]
    Signer,
    /// O is something else, or more.
    #[error("subject organization is not system:nodes")]
    Organization,
    /// It has subject alternative names.
    #[error("subjectAltNames are not allowed")]
    AltNames,
    /// CN has another prefix.
    #[error("subject common name does not begin with system:node:")]
    CommonName,
    /// Neither of the two sets of usages.
    #[error("usages are not those of a kubelet client")]
    Usages,
    /// No object can have the name that follows the prefix.
    #[error("node name in the common name is not a DNS-1123 subdomain")]
    NodeName,
    /// The subject holds more than is read of it.
    #[error("subject holds more than one common name and organization system:nodes")]
    UnusualSubject,
    /// Usages that a key of its kind must not have.
    #[error("usages do not go with an ML-DSA key")]
    KeyUsages,
    /// The key is not fit to be signed.
    #[error("public key is weak or unsupported")]
    Key,
}

/// Node client recognizer of the approver: kubelet client signer, subject
/// of a node, no SANs, one of the two usage sets. Stricter than upstream: the node name must be a
/// DNS-1123 subdomain, the subject must hold one CN and the O and nothing else, not even values
/// that Go skips, and the key must be strong. Whether requestor and subject are the same ("self")
/// is the caller's comparison: `request.subject().common_name == username`.
///
/// # Errors
/// The first rule that does not hold.
pub fn is_node_client(
    signer_name: &str,
    request: &VerifiedRequest,
    usages: &[String],
) -> Result<(), NotNodeClient> {
    let subject = request.subject();
    let require = |holds: bool, otherwise| if holds { Ok(()) } else { Err(otherwise) };
    require(
        signer_name == SignerName::KUBE_APISERVER_CLIENT_KUBELET,
        NotNodeClient::Signer,
    )?;
    require(
        subject.organizations == [NODES_ORGANIZATION],
        NotNodeClient::Organization,
    )?;
    require(request.alt_names().is_empty(), NotNodeClient::AltNames)?;
    let node_name = subject
        .common_name
        .strip_prefix(NODE_PREFIX)
        .ok_or(NotNodeClient::CommonName)?;
    require(
        is_any_set(usages, &NODE_CLIENT_USAGES),
        NotNodeClient::Usages,
    )?;
    require(
        check_key_usages(request, usages).is_ok(),
        NotNodeClient::KeyUsages,
    )?;
    require(is_dns1123_subdomain(node_name), NotNodeClient::NodeName)?;
    require(
        !request.has_unusual_subject(),
        NotNodeClient::UnusualSubject,
    )?;
    let strength = request.public_key().check_strength();
    strength.map_err(|_| NotNodeClient::Key)
}

/// The rule of a built-in signer that a request breaks; `Display` is upstream's message, exact
/// (kubernetes 1.38 `pkg/apis/certificates/helpers.go`,
/// `pkg/controller/certificates/signer/signer.go`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFailure {
    /// Names of this kind (`DNS`, `Email`, `IP`, `URI`) may not be asked for.
    #[error("{0} subjectAltNames are not allowed")]
    AltNames(&'static str),
    /// CN is not a node's.
    #[error("subject common name does not begin with system:node:")]
    CommonName,
    /// A client may not have this usage.
    #[error("invalid usage for client certificate: {0}")]
    InvalidUsage(String),
    /// Usages that do not go with an ML-DSA key; what is wrong, a line each.
    #[error("validating usages for ml-dsa key: {0}")]
    KeyUsages(String),
    /// A client must ask for this usage.
    #[error("missing required usage for client certificate: {0}")]
    MissingUsage(&'static str),
    /// A server must have a DNS name or an address.
    #[error("DNS or IP subjectAltName is required")]
    NoAltName,
    /// O is not that of nodes.
    #[error("subject organization is not system:nodes")]
    Organization,
    /// Not a set of usages that a kubelet may have; the long one is named.
    #[error("usages did not match [{}]", .required.join(" "))]
    Usages {
        /// The long set.
        required: &'static [&'static str],
    },
    /// Nobody's rule.
    #[error("signer {0:?} is not a built-in signer")]
    UnknownSigner(String),
}

/// The signing rule of a built-in signer.
///
/// # Errors
/// The first rule that the request breaks.
pub fn check_signer_policy(
    signer_name: &str,
    request: &VerifiedRequest,
    usages: &[String],
) -> Result<(), PolicyFailure> {
    match signer_name {
        SignerName::KUBE_APISERVER_CLIENT => {
            check_client_usages(usages)?;
            check_key_usages(request, usages)
        }
        SignerName::KUBE_APISERVER_CLIENT_KUBELET => check_kubelet_client(request, usages),
        SignerName::KUBELET_SERVING => check_kubelet_serving(request, usages),
        SignerName::LEGACY_UNKNOWN => Ok(()),
        name => Err(PolicyFailure::UnknownSigner(name.to_owned())),
    }
}

/// Organization, DNS, email, IP, URI, CN, usages: the order decides which message is seen.
fn check_kubelet_client(request: &VerifiedRequest, usages: &[String]) -> Result<(), PolicyFailure> {
    check_organization(request)?;
    forbid("DNS", request.dns_names().is_empty())?;
    forbid("Email", request.email_addresses().is_empty())?;
    forbid("IP", request.ip_addresses().is_empty())?;
    forbid("URI", request.uris().is_empty())?;
    check_node_name(request)?;
    check_usage_sets(usages, &NODE_CLIENT_USAGES)?;
    check_key_usages(request, usages)
}

/// Organization, SAN presence, email, URI, usages, those of the key, CN.
fn check_kubelet_serving(
    request: &VerifiedRequest,
    usages: &[String],
) -> Result<(), PolicyFailure> {
    check_organization(request)?;
    if request.dns_names().is_empty() && request.ip_addresses().is_empty() {
        return Err(PolicyFailure::NoAltName);
    }
    forbid("Email", request.email_addresses().is_empty())?;
    forbid("URI", request.uris().is_empty())?;
    check_usage_sets(usages, &NODE_SERVING_USAGES)?;
    check_key_usages(request, usages)?;
    check_node_name(request)
}

/// Whether these are the usages of a kubelet's serving request: one of the two sets, as texts.
pub fn are_serving_usages(usages: &[String]) -> bool {
    is_any_set(usages, &NODE_SERVING_USAGES)
}

fn forbid(kind: &'static str, is_absent: bool) -> Result<(), PolicyFailure> {
    match is_absent {
        true => Ok(()),
        false => Err(PolicyFailure::AltNames(kind)),
    }
}

fn check_organization(request: &VerifiedRequest) -> Result<(), PolicyFailure> {
    match request.subject().organizations == [NODES_ORGANIZATION] {
        true => Ok(()),
        false => Err(PolicyFailure::Organization),
    }
}

fn check_node_name(request: &VerifiedRequest) -> Result<(), PolicyFailure> {
    match request.subject().common_name.starts_with(NODE_PREFIX) {
        true => Ok(()),
        false => Err(PolicyFailure::CommonName),
    }
}

/// The message always names the long set, as upstream.
fn check_usage_sets(
    usages: &[String],
    sets: &'static [&[&'static str]; 2],
) -> Result<(), PolicyFailure> {
    match is_any_set(usages, sets) {
        true => Ok(()),
        false => Err(PolicyFailure::Usages { required: sets[0] }),
    }
}

/// RFC 9881 5, of ML-DSA keys; of others nothing.
fn check_key_usages(request: &VerifiedRequest, usages: &[String]) -> Result<(), PolicyFailure> {
    if !request.public_key().is_ml_dsa() {
        return Ok(());
    }
    match usage_faults(usages) {
        faults if faults.is_empty() => Ok(()),
        faults => Err(PolicyFailure::KeyUsages(faults.join("\n"))),
    }
}

fn check_client_usages(usages: &[String]) -> Result<(), PolicyFailure> {
    const ALLOWED: [&str; 3] = [DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, CLIENT_AUTH];
    if let Some(other) = usages
        .iter()
        .find(|usage| !ALLOWED.contains(&usage.as_str()))
    {
        return Err(PolicyFailure::InvalidUsage(other.clone()));
    }
    match usages.iter().any(|usage| usage == CLIENT_AUTH) {
        true => Ok(()),
        false => Err(PolicyFailure::MissingUsage(CLIENT_AUTH)),
    }
}

/// Compares as sets of texts: `signing` is not `digital signature` here.
fn is_any_set(usages: &[String], sets: &[&[&str]; 2]) -> bool {
    let usages: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
    sets.iter()
        .any(|set| usages.len() == set.len() && set.iter().all(|usage| usages.contains(usage)))
}

/// RFC 1123 as Kubernetes checks names: dot-separated labels of lower-case letters, digits and
/// inner dashes, 253 bytes in all.
pub fn is_dns1123_subdomain(name: &str) -> bool {
    const BYTES_MAX: usize = 253;
    let is_label = |label: &str| {
        let is_inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= BYTES_MAX && name.split('.').all(is_label)
}

/// Granted duration: none → configured; > configured → configured; < 10 min → 10 min.
///
/// ```
/// use everleaf_pki::signer::granted_duration;
/// use std::time::Duration;
///
/// let hour = Duration::from_secs(3600);
/// assert_eq!(granted_duration(hour, None), hour);
/// assert_eq!(granted_duration(hour, Some(1800)), hour / 2);
/// assert_eq!(granted_duration(hour, Some(-60)), hour / 6);
/// ```
pub fn granted_duration(configured: Duration, requested_seconds: Option<i32>) -> Duration {
    const MIN: Duration = Duration::from_secs(600);
    let Some(seconds) = requested_seconds else {
        return configured;
    };
    let requested = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    if requested > configured {
        configured
    } else {
        requested.max(MIN)
    }
}
