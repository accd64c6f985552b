//! From an approved request to a chain: policy, field by field as the Kubernetes signer, lint, then sign.
use crate::certificate::{CertificateError, Chain, Leaf};
use crate::key::{KeyError, PrivateKey};
use crate::request::{Template, VerifiedRequest};
use crate::signer::{SignerName, Usage};
use jiff::Timestamp;
use std::time::Duration;

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The request breaks the signer's rule: permanent; the text goes into the Failed condition with its reason.
    #[error("{message}")]
    Policy {
        /// Condition reason: SignerValidationFailure, UnsupportedKey, UnknownUsage, …
        reason: &'static str,
        /// Condition message.
        message: String,
    },
    /// The issuer cannot sign now (expired, …): transient.
    #[error("{0}")]
    Issuer(String),
    /// Bad key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Witness: the request was Approved and neither Denied nor Failed. Made only by the signer's decision.
#[derive(Clone, Debug)]
pub struct ApprovedRequest {
    /// The verified request.
    pub request: VerifiedRequest,
    /// Who should sign.
    pub signer_name: SignerName,
    /// Usages as requested.
    pub usages: Vec<Usage>,
    /// `spec.expirationSeconds`.
    pub expiration_seconds: Option<i32>,
}

/// How a signer issues.
#[derive(Clone, Debug)]
pub struct Profile {
    /// `--cluster-signing-duration`.
    pub duration: Duration,
    /// Backdating of notBefore; 5 min.
    pub backdate: Duration,
}

/// A signed chain and what an operator should hear about it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The chain (leaf only, unless an issuer chain is configured).
    pub chain: Chain,
    /// True when notAfter was capped by the CA's.
    pub truncated: bool,
}

/// The key and certificate that actually sign.
pub struct Issuer(());
impl Issuer {
    /// Loads and checks a CA: exactly one certificate, CA:TRUE, keyCertSign, key matches.
    pub fn from_pem(_certificate_pem: &[u8], _key_pem: &str) -> Result<Self, CertificateError> {
        unimplemented!()
    }
    /// A new self-signed CA named `common_name`, valid `not_before … not_after`, SKI present.
    pub fn self_signed(
        _common_name: &str,
        _key: PrivateKey,
        _serial: [u8; 16],
        _not_before: Timestamp,
        _not_after: Timestamp,
    ) -> Result<Self, CertificateError> {
        unimplemented!()
    }
    /// The CA certificate.
    pub fn certificate(&self) -> &Leaf {
        unimplemented!()
    }
    /// PEM of the CA certificate.
    pub fn certificate_pem(&self) -> String {
        unimplemented!()
    }
    /// The CA key (to be written to disk by `up`).
    pub fn key(&self) -> &PrivateKey {
        unimplemented!()
    }
    /// Field by field as spec/controllers.md 4.4: policy, build, lint, sign, verify own signature.
    /// `serial` is 16 random bytes; the issuer shapes them into [2^64, 2^127).
    pub fn issue(
        &self,
        _approved: &ApprovedRequest,
        _profile: &Profile,
        _serial: [u8; 16],
        _now: Timestamp,
    ) -> Result<Issued, IssueError> {
        unimplemented!()
    }
    /// A certificate the process makes for itself, without a CSR: the API server's serving certificate, admin.conf's client certificate.
    pub fn issue_own(
        &self,
        _template: &Template,
        _public_key: &crate::key::PublicKey,
        _usages: &[Usage],
        _serial: [u8; 16],
        _not_before: Timestamp,
        _not_after: Timestamp,
    ) -> Result<Chain, IssueError> {
        unimplemented!()
    }
}
