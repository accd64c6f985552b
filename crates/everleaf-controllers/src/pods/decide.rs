//! What is made of one request. No I/O, no clock, no randomness.

use super::policy::{LIFETIME_MIN, Policy};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_api::meta;
use everleaf_pki::signer::is_dns1123_subdomain;
use everleaf_pki::{GivenNames, IssueError, Issued, Issuer, Usage, VerifiedRequest};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::time::Duration;

/// Certificates begin this long before they are issued, for peers whose clock is a little behind;
/// the API server takes less than five minutes.
const BACKDATE: SignedDuration = SignedDuration::from_mins(2);
/// Least time between the beginning of the renewal and either end of the certificate; the API
/// server insists on it.
const REFRESH_MARGIN: SignedDuration = SignedDuration::from_mins(10);
/// Of a certificate's lifetime, in percent, the part after which its kubelet begins to renew it: at
/// least …
const REFRESH_PERCENT_MIN: i64 = 60;
/// … and up to so much more, so that pods that began together do not renew together.
const REFRESH_PERCENT_SPREAD: i64 = 10;
/// Kinds of keys as the conditions tell them.
const KEYS: &str = "RSA of 3072 or 4096 bits, ECDSA on P-256, P-384 or P-521, Ed25519";
/// Annotations that are named in a refusal.
const ANNOTATIONS_SHOWN_MAX: usize = 5;

/// What is to be done about a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// It is another signer's, or has ended.
    Leave,
    /// Its key is in members that v1 does not show: it has to be read as v1beta1.
    Reread,
    /// It is not granted, and never will be.
    Refuse(Refusal),
    /// A certificate is issued by this plan.
    Sign(Box<Plan>),
}

/// Why a request is not granted; `Display` is the message of its condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It says more than the signer knows.
    #[error("this signer knows no unverifiedUserAnnotations, and the request has {0}")]
    Annotations(String),
    /// Its key will not do.
    #[error("{0}; use {KEYS}")]
    Key(String),
    /// Pods of this namespace get none.
    #[error("pods of the namespace {0} get no certificates of this signer")]
    Namespace(String),
    /// No name can be made of its service account.
    #[error("{0}")]
    Name(String),
    /// The key is not in a PKCS#10 request, but in members of v1beta1, which is not to be had.
    #[error(
        "there is no PKCS#10 request: kubelets before 1.37 show their key in another form, which can be read only \
         while the API server serves certificates.k8s.io/v1beta1"
    )]
    OtherForm,
    /// Whoever asks has not shown that he holds the key, or the request cannot be read.
    #[error("no proof that the pod's key is held by who asks: {0}")]
    Unproven(String),
}

impl Refusal {
    /// Type of the condition: Failed where nobody decided.
    pub const fn condition(&self) -> &'static str {
        match self {
            Self::Annotations(_) | Self::Key(_) | Self::Namespace(_) => "Denied",
            Self::Name(_) | Self::OtherForm | Self::Unproven(_) => "Failed",
        }
    }

    /// Its reason: Kubernetes' own where it has one.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Annotations(_) => "InvalidUnverifiedUserAnnotations",
            Self::Key(_) => "UnsupportedKeyType",
            Self::Namespace(_) => "NamespaceNotAllowed",
            Self::Name(_) => "NameNotPossible",
            Self::OtherForm => "NoPKCS10Request",
            Self::Unproven(_) => "ProofOfPossessionFailed",
        }
    }
}

/// What v1beta1 shows of a request.
#[derive(Clone, Copy, Debug)]
pub enum Older<'a> {
    /// Nobody has looked.
    Unread,
    /// The API server does not serve that version.
    Unserved,
    /// The same object.
    Read(&'a Value),
}

/// How a request is granted.
#[derive(Clone, Debug)]
pub struct Plan {
    request: VerifiedRequest,
    names: GivenNames,
    /// Lifetime, the time before it is issued included.
    lifetime: Duration,
}

/// A certificate, and when it is to be renewed.
#[derive(Debug)]
pub struct Made {
    /// The chain.
    pub issued: Issued,
    /// When the kubelet should begin.
    pub begin_refresh_at: Timestamp,
}

/// Decides about a PodCertificateRequest of v1. `older` counts where it shows no PKCS#10 request.
pub fn decide(object: &Value, older: Older<'_>, policy: &Policy) -> Action {
    let spec = |member: &str| object["spec"][member].as_str().unwrap_or_default();
    if spec("signerName") != policy.signer() || has_ended(object) {
        return Action::Leave;
    }
    match plan(object, older, policy) {
        Ok(Some(plan)) => Action::Sign(Box::new(plan)),
        Ok(None) => Action::Reread,
        Err(refusal) => Action::Refuse(refusal),
    }
}

/// Issued, denied or failed.
pub(super) fn has_ended(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let ends = |one: &Value| {
        let kind = one["type"].as_str().unwrap_or_default();
        one["status"] == "True" && ["Issued", "Denied", "Failed"].contains(&kind)
    };
    conditions.is_some_and(|all| all.iter().any(ends))
}

/// None: it has to be read as v1beta1 first.
fn plan(object: &Value, older: Older<'_>, policy: &Policy) -> Result<Option<Plan>, Refusal> {
    let namespace = meta::namespace(object);
    if !policy.is_for(namespace) {
        return Err(Refusal::Namespace(namespace.to_owned()));
    }
    let spec = &object["spec"];
    refuse_annotations(&spec["unverifiedUserAnnotations"])?;
    let request = match (proven(spec)?, older) {
        (Some(request), _) => request,
        (None, Older::Unread) => return Ok(None),
        (None, Older::Unserved) => return Err(Refusal::OtherForm),
        (None, Older::Read(older)) => proven(&older["spec"])?.ok_or(Refusal::OtherForm)?,
    };
    let strength = request.public_key().check_strength();
    strength.map_err(|error| Refusal::Key(error.to_string()))?;
    let account = spec["serviceAccountName"].as_str().unwrap_or_default();
    // The API server has checked that; what is made of it would be an identity.
    for name in [namespace, account] {
        if !is_dns1123_subdomain(name) {
            return Err(Refusal::Name(format!("{name:?} is no name of an account")));
        }
    }
    let names = policy.names(namespace, account).map_err(Refusal::Name)?;
    let wanted = spec["maxExpirationSeconds"].as_u64();
    let wanted = wanted.map_or(policy.lifetime(), Duration::from_secs);
    Ok(Some(Plan {
        request,
        names,
        lifetime: wanted.min(policy.lifetime()),
    }))
}

/// The key, with the proof that whoever asks holds it: a PKCS#10 request, or a signature over the
/// pod's UID, which v1beta1 has besides. None: neither is shown.
fn proven(spec: &Value) -> Result<Option<VerifiedRequest>, Refusal> {
    let unproven = |error: &dyn std::fmt::Display| Refusal::Unproven(error.to_string());
    let bytes = |member: &str| {
        let text = spec[member].as_str().unwrap_or_default();
        STANDARD.decode(text).map_err(|error| unproven(&error))
    };
    let (stub, key) = (bytes("stubPKCS10Request")?, bytes("pkixPublicKey")?);
    let request = if !stub.is_empty() {
        VerifiedRequest::from_der(&stub)
    } else if !key.is_empty() {
        let pod = spec["podUID"].as_str().unwrap_or_default();
        VerifiedRequest::from_proof(&key, pod.as_bytes(), &bytes("proofOfPossession")?)
    } else {
        return Ok(None);
    };
    request.map(Some).map_err(|error| unproven(&error))
}

fn refuse_annotations(annotations: &Value) -> Result<(), Refusal> {
    let keys = annotations
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key);
    let keys: Vec<&str> = keys.map(String::as_str).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let mut shown = keys[..keys.len().min(ANNOTATIONS_SHOWN_MAX)].join(", ");
    if keys.len() > ANNOTATIONS_SHOWN_MAX {
        shown.push_str(" and more");
    }
    Err(Refusal::Annotations(shown))
}

impl Plan {
    /// The SPIFFE ID.
    pub fn uri(&self) -> &str {
        self.names.uris.first().map_or("", String::as_str)
    }

    /// Has `issuer` sign. `now` is the API server's time, which it compares the dates with;
    /// `serial` is 16 random bytes.
    ///
    /// # Errors
    /// Why it cannot be signed now: the CA has not begun, or ends too soon for the shortest
    /// certificate that the API server takes, or its key cannot be used.
    pub fn issue(&self, issuer: &Issuer, serial: [u8; 16], now: Timestamp) -> Result<Made, String> {
        let not_begun = issuer.certificate().not_before();
        if now < not_begun {
            return Err(format!(
                "the signing CA has not begun: NotBefore={not_begun}, and it is {now}"
            ));
        }
        let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let out_of_range = |error: jiff::Error| error.to_string();
        let not_before = whole.checked_sub(BACKDATE).map_err(out_of_range)?;
        let wanted = not_before
            .checked_add(self.lifetime)
            .map_err(out_of_range)?;
        let not_after = wanted.min(issuer.limit());
        let lifetime = not_before.duration_until(not_after);
        if lifetime.unsigned_abs() < LIFETIME_MIN || lifetime.is_negative() {
            let limit = issuer.limit();
            return Err(format!(
                "the signing CA ends too soon, at {limit}: a pod's certificate lives for an hour at least"
            ));
        }
        let usages = [
            Usage::DigitalSignature,
            Usage::ServerAuth,
            Usage::ClientAuth,
        ];
        let dates = (not_before, not_after);
        let issued = issuer.issue_named(&self.request, &self.names, &usages, serial, dates);
        let mut issued = issued.map_err(|error: IssueError| error.to_string())?;
        issued.truncated = wanted > not_after;
        Ok(Made {
            issued,
            begin_refresh_at: begin_refresh_at(not_before, lifetime, serial),
        })
    }
}

/// Some time after most of the lifetime, by `random`.
fn begin_refresh_at(
    not_before: Timestamp,
    lifetime: SignedDuration,
    random: [u8; 16],
) -> Timestamp {
    let spread = REFRESH_PERCENT_SPREAD * i64::from(random[15]) / i64::from(u8::MAX);
    let seconds = lifetime.as_secs() * (REFRESH_PERCENT_MIN + spread) / 100;
    let latest = lifetime.as_secs() - REFRESH_MARGIN.as_secs();
    let seconds = seconds.clamp(REFRESH_MARGIN.as_secs(), latest);
    let after = SignedDuration::from_secs(seconds);
    not_before.checked_add(after).unwrap_or(not_before)
}
