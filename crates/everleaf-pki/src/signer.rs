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
//!     Err("DNS or IP subjectAltName is required".to_owned()),
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
const NODE_CLIENT_USAGES: [&[&str]; 2] = [
    &[CLIENT_AUTH, DIGITAL_SIGNATURE, KEY_ENCIPHERMENT],
    &[CLIENT_AUTH, DIGITAL_SIGNATURE],
];
/// Usage sets of kubelet serving requests; the short one since Kubernetes 1.27.
const NODE_SERVING_USAGES: [&[&str]; 2] = [
    &[DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, SERVER_AUTH],
    &[DIGITAL_SIGNATURE, SERVER_AUTH],
];

/// Node client recognizer of the approver: kubelet client signer, subject
/// of a node, no SANs, one of the two usage sets. Stricter than upstream: the node name must be a
/// DNS-1123 subdomain, the subject must hold one CN and the O and nothing else, not even values
/// that Go skips, and the key must be strong. Whether requestor and subject are the same ("self")
/// is the caller's comparison: `request.subject().common_name == username`.
///
/// # Errors
/// Why not, for a log line.
pub fn is_node_client(
    signer_name: &str,
    request: &VerifiedRequest,
    usages: &[String],
) -> Result<(), &'static str> {
    let subject = request.subject();
    let require =
        |holds: bool, otherwise: &'static str| if holds { Ok(()) } else { Err(otherwise) };
    require(
        signer_name == SignerName::KUBE_APISERVER_CLIENT_KUBELET,
        "signer is not kubernetes.io/kube-apiserver-client-kubelet",
    )?;
    require(
        subject.organizations == [NODES_ORGANIZATION],
        "subject organization is not system:nodes",
    )?;
    require(
        request.alt_names().is_empty(),
        "subjectAltNames are not allowed",
    )?;
    let node_name = subject
        .common_name
        .strip_prefix(NODE_PREFIX)
        .ok_or("subject common name does not begin with system:node:")?;
    require(
        is_any_set(usages, &NODE_CLIENT_USAGES),
        "usages are not those of a kubelet client",
    )?;
    require(
        is_dns1123_subdomain(node_name),
        "node name in the common name is not a DNS-1123 subdomain",
    )?;
    require(
        !request.has_unusual_subject(),
        "subject holds more than one common name and organization system:nodes",
    )?;
    request
        .public_key()
        .check_strength()
        .map_err(|_| "public key is weak or unsupported")
}

/// The signing rule of a built-in signer; the error text is upstream's message, exact.
///
/// # Errors
/// The first rule that the request breaks; for a signer that is not built in, a text saying so.
pub fn check_signer_policy(
    signer_name: &str,
    request: &VerifiedRequest,
    usages: &[String],
) -> Result<(), String> {
    match signer_name {
        SignerName::KUBE_APISERVER_CLIENT => check_client_usages(usages),
        SignerName::KUBE_APISERVER_CLIENT_KUBELET => check_kubelet_client(request, usages),
        SignerName::KUBELET_SERVING => check_kubelet_serving(request, usages),
        SignerName::LEGACY_UNKNOWN => Ok(()),
        name => Err(format!("signer {name:?} is not a built-in signer")),
    }
}

/// Organization, DNS, email, IP, URI, CN, usages: the order decides which message is seen.
fn check_kubelet_client(request: &VerifiedRequest, usages: &[String]) -> Result<(), String> {
    check_organization(request)?;
    let forbidden = |is_empty: bool, kind: &str| {
        if is_empty {
            Ok(())
        } else {
            Err(format!("{kind} subjectAltNames are not allowed"))
        }
    };
    forbidden(request.dns_names().is_empty(), "DNS")?;
    forbidden(request.email_addresses().is_empty(), "Email")?;
    forbidden(request.ip_addresses().is_empty(), "IP")?;
    forbidden(request.uris().is_empty(), "URI")?;
    check_node_name(request)?;
    check_usage_sets(usages, &NODE_CLIENT_USAGES)
}

/// Organization, SAN presence, email, URI, usages, CN.
fn check_kubelet_serving(request: &VerifiedRequest, usages: &[String]) -> Result<(), String> {
    check_organization(request)?;
    if request.dns_names().is_empty() && request.ip_addresses().is_empty() {
        return Err("DNS or IP subjectAltName is required".into());
    }
    if !request.email_addresses().is_empty() {
        return Err("Email subjectAltNames are not allowed".into());
    }
    if !request.uris().is_empty() {
        return Err("URI subjectAltNames are not allowed".into());
    }
    check_usage_sets(usages, &NODE_SERVING_USAGES)?;
    check_node_name(request)
}

fn check_organization(request: &VerifiedRequest) -> Result<(), String> {
    if request.subject().organizations == [NODES_ORGANIZATION] {
        return Ok(());
    }
    Err("subject organization is not system:nodes".into())
}

fn check_node_name(request: &VerifiedRequest) -> Result<(), String> {
    if request.subject().common_name.starts_with(NODE_PREFIX) {
        return Ok(());
    }
    Err("subject common name does not begin with system:node:".into())
}

/// The message always names the long set, as upstream.
fn check_usage_sets(usages: &[String], sets: &[&[&str]; 2]) -> Result<(), String> {
    if is_any_set(usages, sets) {
        return Ok(());
    }
    Err(format!("usages did not match [{}]", sets[0].join(" ")))
}

fn check_client_usages(usages: &[String]) -> Result<(), String> {
    const ALLOWED: [&str; 3] = [DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, CLIENT_AUTH];
    if let Some(other) = usages
        .iter()
        .find(|usage| !ALLOWED.contains(&usage.as_str()))
    {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if !usages.iter().any(|usage| usage == CLIENT_AUTH) {
        return Err(format!(
            "missing required usage for client certificate: {CLIENT_AUTH}"
        ));
    }
    Ok(())
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
