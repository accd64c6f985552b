//! From an approved request to a chain: policy, field by field as the Kubernetes signer, lint, then
//! sign.
//!
//! What a certificate says is the same, byte for byte, as what
//! kube-controller-manager would write for the request (but for serial number, signature and
//! the listed improvements: no weak keys, no repeated names, serial numbers that are never short).
//! The certificate is linted before the CA key is used, and its signature is verified before
//! anybody sees it. Who may have a certificate was decided before: an [`ApprovedRequest`] says so.

mod build;
mod crl;
mod doubts;
mod key;
mod link;
mod lint;
mod named;
mod parents;

pub use crl::{RevocationList, Revoked};
pub use doubts::spread_end;
pub use key::{ecdsa_digest, ecdsa_signature, has_signed};
pub use link::links;
pub use named::GivenNames;

use crate::certificate::{CertificateError, Chain, Leaf};
use crate::extension::{self, AltNames, KeyUsageBits};
use crate::key::{HeldKey, KeyError, PrivateKey, PublicKey};
use crate::name::{Name, Subject};
use crate::pem;
use crate::request::{Template, VerifiedRequest};
use crate::signature::SignatureAlgorithm;
use crate::signer::{self, SignerName, Usage};
use crate::trust;
use crate::usage::{UnknownUsages, x509_usages};
use aws_lc_rs::digest;
use build::Content;
use jiff::Timestamp;
use key::SigningKey;
use lint::{Finding, Frame};
use std::sync::Arc;
use std::time::Duration;

/// Why nothing was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The request breaks the signer's rule: permanent; the text goes into the Failed condition
    /// with its reason.
    #[error("{message}")]
    Policy {
        /// Condition reason: `SignerValidationFailure`, `UnsupportedKey`, `UnknownUsage`,
        /// `PolicyViolation`.
        reason: &'static str,
        /// Condition message.
        message: String,
    },
    /// The issuer cannot sign now (expired, not begun, …): the same request may be issued later.
    #[error("{0}")]
    Issuer(String),
    /// Bad key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl IssueError {
    fn policy(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Policy {
            reason,
            message: message.into(),
        }
    }
}

impl From<UnknownUsages> for IssueError {
    fn from(unknown: UnknownUsages) -> Self {
        Self::policy("UnknownUsage", unknown.to_string())
    }
}

impl From<Finding> for IssueError {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::Key(error) => Self::policy("UnsupportedKey", error.to_string()),
            Finding::Request(text) => Self::policy("PolicyViolation", text),
            Finding::Issuer(text) => Self::Issuer(format!("refusing to sign: {text}")),
        }
    }
}

/// Why a request may not be signed: it is not approved, or it was denied, or it already failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotApproved {
    /// No `Approved` condition.
    #[error("the request is not approved")]
    Pending,
    /// A `Denied` condition; it outweighs `Approved`.
    #[error("the request is denied")]
    Denied,
    /// A `Failed` condition: a signer gave up on it.
    #[error("the request has failed")]
    Failed,
}

/// Witness: the request was Approved and neither Denied nor Failed. The only thing
/// [`Issuer::issue`] accepts, and [`ApprovedRequest::new`] is the only way to make one: a signer
/// hands in the condition types it read from the object, in the same turn in which it signs.
///
/// ```compile_fail
/// # fn forge(request: everleaf_pki::VerifiedRequest) {
/// // The fields are private: approval cannot be asserted without stating the conditions.
/// let forged = everleaf_pki::ApprovedRequest {
///     request,
///     signer_name: everleaf_pki::SignerName::new("kubernetes.io/kubelet-serving"),
///     usages: vec![],
///     expiration_seconds: None,
/// };
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ApprovedRequest {
    request: VerifiedRequest,
    signer_name: SignerName,
    usages: Vec<Usage>,
    expiration_seconds: Option<i32>,
}

impl ApprovedRequest {
    /// Joins a request with the facts that allow signing it. `conditions` are the types of the
    /// object's conditions; the presence of `Approved` and `Denied` counts whatever their status,
    /// as upstream has it, and a `Failed` condition whose status is `False` is to be left out.
    ///
    /// # Errors
    /// [`NotApproved`].
    pub fn new(
        request: VerifiedRequest,
        signer_name: SignerName,
        usages: Vec<Usage>,
        expiration_seconds: Option<i32>,
        conditions: &[&str],
    ) -> Result<Self, NotApproved> {
        if conditions.contains(&"Denied") {
            return Err(NotApproved::Denied);
        }
        if !conditions.contains(&"Approved") {
            return Err(NotApproved::Pending);
        }
        if conditions.contains(&"Failed") {
            return Err(NotApproved::Failed);
        }
        Ok(Self {
            request,
            signer_name,
            usages,
            expiration_seconds,
        })
    }

    /// The verified request.
    pub fn request(&self) -> &VerifiedRequest {
        &self.request
    }

    /// Who should sign.
    pub fn signer_name(&self) -> &SignerName {
        &self.signer_name
    }

    /// Usages as requested.
    pub fn usages(&self) -> &[Usage] {
        &self.usages
    }

    /// `spec.expirationSeconds`.
    pub fn expiration_seconds(&self) -> Option<i32> {
        self.expiration_seconds
    }
}

/// How a signer issues.
#[derive(Clone, Debug)]
pub struct Profile {
    /// `--cluster-signing-duration`: the longest lifetime granted.
    pub duration: Duration,
    /// Backdating of notBefore; 5 min.
    pub backdate: Duration,
}

impl Default for Profile {
    /// Upstream's: 8760 h, backdated by 5 min.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(8760 * 3600),
            backdate: Duration::from_secs(300),
        }
    }
}

/// A signed chain and what an operator should hear about it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The chain (leaf only, unless [`Issuer::with_chain`] gave it more).
    pub chain: Chain,
    /// True when notAfter was capped by the end of the CA, or of a parent of it.
    pub truncated: bool,
    /// Lint warnings: sound, but worth knowing.
    pub warnings: Vec<Warning>,
}

/// What a lint has to say about something sound. `Display` is its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule: a short name that stays, as `long_lifetime`.
    pub rule: &'static str,
    /// What it found, for people.
    pub text: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The key and certificate that actually sign.
pub struct Issuer {
    certificate: Leaf,
    key: SigningKey,
    algorithm: SignatureAlgorithm,
    /// What stands above the certificate, nearest first, as far as it is known.
    parents: Vec<Leaf>,
    /// The earliest end among the certificate and its parents.
    limit: Timestamp,
    spreads_ends: bool,
}

/// Lifetimes shorter than this are not shortened by the backdate at their end (Kubernetes 1.22+).
const SHORT_LIFETIME: Duration = Duration::from_secs(8 * 3600);

impl Issuer {
    /// Loads and checks a CA: exactly one certificate, CA:TRUE, keyCertSign, key matches.
    /// Upstream takes a certificate that is no CA; we refuse it.
    ///
    /// # Errors
    /// `expected 1 certificate, found N`, or what is missing.
    pub fn from_pem(certificate_pem: &[u8], key_pem: &str) -> Result<Self, CertificateError> {
        let certificate = Self::certificate_from_pem(certificate_pem)?;
        Self::new(certificate, PrivateKey::from_pem(key_pem)?)
    }

    /// The one certificate of a CA file.
    ///
    /// # Errors
    /// `expected 1 certificate, found N`, or why it cannot be read.
    pub fn certificate_from_pem(pem: &[u8]) -> Result<Leaf, CertificateError> {
        let chain = match Chain::from_pem(pem) {
            Err(CertificateError::NotFound) => return Err(CertificateError::Count(0)),
            other => other?,
        };
        match chain.certificates() {
            [certificate] => Ok(certificate.clone()),
            several => Err(CertificateError::Count(several.len())),
        }
    }

    /// Joins a CA certificate and its key, with the checks of [`Self::from_pem`].
    ///
    /// # Errors
    /// [`CertificateError::NotAnIssuer`] or [`CertificateError::KeyMismatch`].
    pub fn new(certificate: Leaf, key: PrivateKey) -> Result<Self, CertificateError> {
        Self::join(certificate, SigningKey::Here(key))
    }

    /// As [`Self::new`], with a key that is somewhere else.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_key(certificate: Leaf, key: Arc<dyn HeldKey>) -> Result<Self, CertificateError> {
        Self::join(certificate, SigningKey::Elsewhere(key))
    }

    fn join(certificate: Leaf, key: SigningKey) -> Result<Self, CertificateError> {
        let refuse = |reason| CertificateError::NotAnIssuer {
            subject: certificate.subject_text(),
            reason,
        };
        // Nobody would believe what it signs.
        trust::check_authority(&certificate).map_err(|fault| refuse(fault.to_string()))?;
        if certificate.public_key() != key.public_key() {
            return Err(CertificateError::KeyMismatch {
                subject: certificate.subject_text(),
            });
        }
        Ok(Self {
            algorithm: SignatureAlgorithm::for_certificate(key.public_key().algorithm()?),
            key,
            parents: Vec::new(),
            limit: certificate.not_after(),
            spreads_ends: false,
            certificate,
        })
    }

    /// The same issuer below the certificates of a chain file, PEM, nearest first. They go along
    /// with every leaf (a self-signed one excepted), and none of them is outlived by a leaf. Its
    /// own certificate goes along, too, unless it is self-signed.
    ///
    /// # Errors
    /// [`CertificateError::NotItsChain`] when one did not sign what is before it, or is no CA.
    pub fn with_chain(mut self, pem: &[u8]) -> Result<Self, CertificateError> {
        self.parents = parents::read(&self.certificate, pem)?;
        let ends = self.parents.iter().map(Leaf::not_after);
        self.limit = ends.fold(self.certificate.not_after(), Timestamp::min);
        Ok(self)
    }

    /// The same issuer; certificates that its end cuts short end up to 30 days before it, not all
    /// in one second (see [`spread_end`]).
    pub fn spreading_ends(mut self) -> Self {
        self.spreads_ends = true;
        self
    }

    /// A new self-signed CA named `common_name`, valid `not_before … not_after` (whole seconds),
    /// SKI present. `serial` is 16 random bytes, shaped as in [`Self::issue`].
    ///
    /// # Errors
    /// When the dates are out of order or out of range, or signing fails.
    pub fn self_signed(
        common_name: &str,
        key: PrivateKey,
        serial: [u8; 16],
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Self, CertificateError> {
        let subject = Name::from(Subject {
            common_name: common_name.into(),
            organizations: Vec::new(),
        })
        .to_der();
        let usage = KeyUsageBits(
            KeyUsageBits::DIGITAL_SIGNATURE | KeyUsageBits::CERT_SIGN | KeyUsageBits::CRL_SIGN,
        );
        let key_id = key_identifier(key.public_key());
        let content = Content {
            serial: shape_serial(serial),
            issuer_der: &subject,
            not_before,
            not_after,
            subject_der: subject.clone(),
            public_key: key.public_key().clone(),
            extensions: vec![
                usage.to_extension(),
                extension::basic_constraints(true),
                extension::subject_key_identifier(&key_id),
            ],
        };
        let algorithm = SignatureAlgorithm::for_certificate(key.algorithm());
        let tbs = content
            .to_tbs(algorithm)
            .map_err(CertificateError::Unsound)?;
        let key = SigningKey::Here(key);
        let certificate = build::sign(&tbs, algorithm, &key)?;
        Self::join(certificate, key)
    }

    /// The earliest end among the CA certificate and its known parents: no leaf lives longer.
    pub fn limit(&self) -> Timestamp {
        self.limit
    }

    /// The CA certificate.
    pub fn certificate(&self) -> &Leaf {
        &self.certificate
    }

    /// PEM of the CA certificate.
    pub fn certificate_pem(&self) -> String {
        pem::encode(
            crate::certificate::CERTIFICATE_LABEL,
            self.certificate.der(),
        )
    }

    /// The CA key (to be written to disk by `up`); `None` when it is somewhere else.
    pub fn key(&self) -> Option<&PrivateKey> {
        match &self.key {
            SigningKey::Elsewhere(_) => None,
            SigningKey::Here(key) => Some(key),
        }
    }

    /// Whether signing waits for somebody else, and should not be done where waiting does harm.
    pub fn signs_elsewhere(&self) -> bool {
        self.key().is_none()
    }

    /// Field by field as kube-controller-manager's signer: policy, build, lint, sign, verify own
    /// signature. `serial` is 16 random bytes; the issuer shapes them into [2^64, 2^127).
    ///
    /// # Errors
    /// [`IssueError::Policy`] when the request can never be issued, else a transient error.
    pub fn issue(
        &self,
        approved: &ApprovedRequest,
        profile: &Profile,
        serial: [u8; 16],
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        let request = &approved.request;
        let usages: Vec<String> = approved
            .usages
            .iter()
            .map(|usage| usage.as_str().to_owned())
            .collect();
        signer::check_signer_policy(approved.signer_name.as_str(), request, &usages)
            .map_err(|broken| IssueError::policy("SignerValidationFailure", broken.to_string()))?;
        let duration = signer::granted_duration(profile.duration, approved.expiration_seconds);
        let random = serial
            .last_chunk()
            .map_or(0, |low| u64::from_be_bytes(*low));
        let validity = self.validity(duration, profile.backdate, now, random)?;
        let (leaf, warnings) = self.issue_leaf(
            request.name().to_der(),
            request.public_key(),
            request.alt_names(),
            &approved.usages,
            serial,
            validity.not_before,
            validity.not_after,
        )?;
        Ok(Issued {
            chain: self.chain_of(leaf)?,
            truncated: validity.truncated,
            warnings,
        })
    }

    /// A certificate the process makes for itself, without a CSR: the API server's serving
    /// certificate, admin.conf's client certificate. The dates are whole seconds.
    ///
    /// # Errors
    /// When it would outlive the CA, or a name or the key is unsound.
    pub fn issue_own(
        &self,
        template: &Template,
        public_key: &PublicKey,
        usages: &[Usage],
        serial: [u8; 16],
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Chain, IssueError> {
        let (leaf, _) = self.issue_leaf(
            Name::from(template.subject.clone()).to_der(),
            public_key,
            &template.alt_names(),
            usages,
            serial,
            not_before,
            not_after,
        )?;
        Ok(leaf.into())
    }

    /// The leaf, and what has to be sent along with it.
    fn chain_of(&self, leaf: Leaf) -> Result<Chain, IssueError> {
        let mut certificates = vec![leaf];
        if !self.parents.is_empty() {
            let above = std::iter::once(&self.certificate).chain(&self.parents);
            certificates.extend(above.filter(|one| !parents::is_root(one)).cloned());
        }
        Chain::new(certificates).map_err(|error| IssueError::Issuer(error.to_string()))
    }

    /// notBefore and notAfter, and whether the CA's end cut them. `random` spreads what was cut.
    fn validity(
        &self,
        duration: Duration,
        backdate: Duration,
        now: Timestamp,
        random: u64,
    ) -> Result<ValidityPeriod, IssueError> {
        let ca_not_after = self.limit;
        let out_of_range = |_| {
            IssueError::Issuer(format!(
                "the lifetime of {} seconds is out of range",
                duration.as_secs()
            ))
        };
        let not_before = now.checked_sub(backdate).map_err(out_of_range)?;
        // Stricter than upstream: nobody would believe what it signs, and a trusted certificate
        // comes as soon as it can.
        let ca_not_before = self.certificate.not_before();
        if now < ca_not_before {
            return Err(IssueError::Issuer(format!(
                "the signing CA has not begun: NotBefore={ca_not_before}, and it is {now}"
            )));
        }
        if not_before >= ca_not_after {
            return Err(IssueError::Issuer(format!(
                "the signer has expired: NotAfter={ca_not_after}"
            )));
        }
        if now >= ca_not_after {
            return Err(IssueError::Issuer(format!(
                "refusing to sign a certificate that expired in the past: NotAfter={ca_not_after}"
            )));
        }
        let start = if duration < SHORT_LIFETIME {
            now
        } else {
            not_before
        };
        let wanted = start.checked_add(duration).map_err(out_of_range)?;
        // A little before the end counts as cut, too, where ends are spread: else those who ask for
        // just that would all get it.
        let end = match self.spreads_ends {
            true => spread_end(ca_not_after, now, random),
            false => ca_not_after,
        };
        Ok(ValidityPeriod {
            not_before,
            not_after: wanted.min(end),
            truncated: wanted > end,
        })
    }

    /// Builds, lints, signs and verifies; answers the leaf and the lint's warnings.
    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of a certificate, each used once"
    )]
    fn issue_leaf(
        &self,
        subject_der: Vec<u8>,
        public_key: &PublicKey,
        names: &AltNames,
        usages: &[Usage],
        serial: [u8; 16],
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<(Leaf, Vec<Warning>), IssueError> {
        let issuer = self.certificate.body();
        // Copied, never computed: clients compare the bytes. Go leaves it out where subject and
        // issuer are the same; OpenSSL would take such a leaf for self-signed.
        let authority_key_id = issuer.subject_key_id.as_deref();
        let extensions =
            build::leaf_extensions(x509_usages(usages), names, &subject_der, authority_key_id);
        let content = Content {
            serial: shape_serial(serial),
            issuer_der: &issuer.subject_der,
            not_before,
            not_after,
            subject_der,
            public_key: public_key.clone(),
            extensions,
        };
        let algorithm = self.algorithm;
        let tbs = content.to_tbs(algorithm).map_err(IssueError::Issuer)?;
        let frame = Frame {
            issuer,
            limit: self.limit,
            algorithm,
        };
        let warnings = lint::check(&tbs, &frame)?;
        // `sign` checks the signature with the key's public half, which is the certificate's
        // (`new`).
        let leaf = build::sign(&tbs, algorithm, &self.key)
            .map_err(|error| IssueError::Issuer(error.to_string()))?;
        Ok((leaf, warnings))
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({:?})", self.certificate)
    }
}

struct ValidityPeriod {
    not_before: Timestamp,
    not_after: Timestamp,
    truncated: bool,
}

/// Shapes random bytes into [2^64, 2^127): positive, 9 to 16 bytes of DER content, at least 64
/// random bits.
fn shape_serial(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[0] &= 0x7f;
    let number = u128::from_be_bytes(bytes);
    const MIN: u128 = 1 << 64;
    // One chance in 2^63, and then the low 64 bits are the random ones.
    let shaped = if number < MIN { number | MIN } else { number };
    shaped.to_be_bytes()
}

/// RFC 7093 method 1: the leftmost 160 bits of SHA-256 of the key, as Go makes since 1.25.
fn key_identifier(public_key: &PublicKey) -> Vec<u8> {
    digest::digest(&digest::SHA256, public_key.key_bytes()).as_ref()[..20].to_vec()
}
