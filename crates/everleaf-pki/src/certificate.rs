//! Certificates, chains, credentials (chain + key).
//!
//! A [`Leaf`] is a certificate that was read, with the fields that Everleaf and Kubernetes act
//! on; a [`Chain`] is a leaf and its intermediates; a [`Credential`] a chain and the key that
//! fits it. Whether a certificate is valid *now* is not known here: callers compare dates.
//!
//! ```
//! use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey};
//! use jiff::Timestamp;
//!
//! let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
//! let (from, to) = (Timestamp::from_second(1_700_000_000)?, Timestamp::from_second(1_800_000_000)?);
//! let issuer = Issuer::self_signed("example-ca", key, [7; 16], from, to)?;
//! let leaf = issuer.certificate();
//! assert_eq!(leaf.subject().common_name, "example-ca");
//! assert_eq!(leaf.not_after(), to);
//! assert_eq!(leaf.lifetime().seconds, 100_000_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chain;
mod credential;
mod read;

pub(crate) use chain::CERTIFICATE_LABEL;
pub use chain::Chain;
pub use credential::Credential;

use crate::asn1::oid;
use crate::extension::KeyUsageBits;
use crate::key::{KeyError, PublicKey};
use crate::name::Subject;
use crate::request::Template;
use crate::{name, signature};
use aws_lc_rs::digest;
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;
use read::{Outer, TbsView};
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) use read::TbsView as CertificateBody;

/// SHA-256 of a DER: a certificate's, or a public key's. `Display` is lower hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// What SHA-256 gave.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// That.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Serial number, big-endian, minimal. `Display` is upper hex as openssl prints it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// From big-endian bytes, whose leading zeros do not count.
    ///
    /// ```
    /// # use everleaf_pki::Serial;
    /// assert_eq!(Serial::new(&[0, 10]), Serial::new(&[10]));
    /// assert_eq!(Serial::new(&[0, 0]).to_string(), "00");
    /// ```
    pub fn new(bytes: &[u8]) -> Self {
        let last = bytes.len().saturating_sub(1);
        let first = bytes.iter().position(|byte| *byte != 0);
        Self(bytes[first.unwrap_or(last)..].to_vec())
    }

    /// Without leading zeros.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Display for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// `notAfter − notBefore`, whole seconds, always positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime {
    /// Seconds.
    pub seconds: i64,
}

/// As kube-controller-manager, which ends with this message when the file holds the issuer and its
/// parents.
const ONE_CERTIFICATE_HINT: &str =
    ": leave only the one that belongs to the key in the file (its parents go into trust bundles)";

/// Why a certificate, chain or credential cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The bytes are not an X.509 certificate.
    #[error("malformed certificate: {0}")]
    Malformed(String),
    /// The text holds no certificate.
    #[error("no certificate found: expected a PEM block `CERTIFICATE`")]
    NotFound,
    /// A CA file must hold exactly one certificate; upstream's message, and what to do about it.
    #[error("expected 1 certificate, found {0}{hint}", hint = if *.0 > 1 { ONE_CERTIFICATE_HINT } else { "" })]
    Count(usize),
    /// `notAfter` is not after `notBefore`.
    #[error("the certificate is never valid: notBefore {not_before}, notAfter {not_after}")]
    NeverValid {
        /// `notBefore`.
        not_before: Timestamp,
        /// `notAfter`.
        not_after: Timestamp,
    },
    /// The certificate cannot be used to issue others.
    #[error("the certificate {subject} cannot sign others: {reason}")]
    NotAnIssuer {
        /// Its subject.
        subject: String,
        /// What it lacks.
        reason: String,
    },
    /// The certificates of a chain file do not stand above the issuer.
    #[error("the chain file does not fit the CA certificate {subject}: {reason}")]
    NotItsChain {
        /// Subject of the CA certificate.
        subject: String,
        /// What is wrong.
        reason: String,
    },
    /// The private key belongs to another certificate.
    #[error("the private key does not match the certificate {subject}")]
    KeyMismatch {
        /// Subject of the certificate.
        subject: String,
    },
    /// The private key is unusable.
    #[error("private key: {0}")]
    Key(#[from] KeyError),
    /// A certificate that was to be made would not be sound.
    #[error("refusing to sign: {0}")]
    Unsound(String),
}

/// A parsed end-entity (or CA) certificate whose `notAfter` is after its `notBefore`. Cheap to
/// clone.
#[derive(Clone)]
pub struct Leaf {
    parts: Arc<Parts>,
}

/// What was read from a certificate, owned.
struct Parts {
    der: Vec<u8>,
    body: TbsView,
    outer: Outer,
    serial: Serial,
    fingerprint: Fingerprint,
}

impl Leaf {
    /// Parses DER.
    ///
    /// # Errors
    /// Malformed or trailing bytes, a negative serial number, dates out of order, repeated
    /// extensions.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let (leaf, rest) = Self::read_first(der)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed("trailing bytes".into()));
        }
        Ok(leaf)
    }

    /// Parses the certificate at the start of `der`; answers the bytes after it.
    fn read_first(der: &[u8]) -> Result<(Self, &[u8]), CertificateError> {
        let (outer, whole, rest) = Outer::read(der)?;
        let body = TbsView::read(&whole[outer.tbs.clone()])?;
        let parts = Parts {
            serial: Serial::new(&body.serial),
            fingerprint: fingerprint(whole),
            der: whole.to_vec(),
            body,
            outer,
        };
        Ok((
            Self {
                parts: Arc::new(parts),
            },
            rest,
        ))
    }

    /// DER bytes.
    pub fn der(&self) -> &[u8] {
        &self.parts.der
    }

    /// `notBefore`.
    pub fn not_before(&self) -> Timestamp {
        self.parts.body.not_before
    }

    /// `notAfter`.
    pub fn not_after(&self) -> Timestamp {
        self.parts.body.not_after
    }

    /// `notAfter − notBefore`.
    pub fn lifetime(&self) -> Lifetime {
        let seconds = self.not_after().as_second() - self.not_before().as_second();
        Lifetime { seconds }
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        self.parts.fingerprint
    }

    /// Serial number.
    pub fn serial(&self) -> &Serial {
        &self.parts.serial
    }

    /// Key identifier of the issuer that it names, if it names one.
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.parts.body.authority_key_id.as_deref()
    }

    /// Subject as Go reads it.
    pub fn subject(&self) -> &Subject {
        &self.parts.body.subject.subject
    }

    /// Subject as it stands in the certificate: a DER Name.
    pub fn subject_der(&self) -> &[u8] {
        &self.parts.body.subject_der
    }

    /// The values of one attribute of the subject, in order, by its object identifier in dots.
    /// Empty for what is no object identifier.
    pub fn subject_values(&self, attribute: &str) -> Vec<String> {
        ObjectIdentifier::new(attribute).map_or_else(
            |_| Vec::new(),
            |attribute| name::values_of(self.subject_der(), attribute),
        )
    }

    /// Subject, for people: `CN=…,O=…` (RFC 4514-like).
    pub fn subject_text(&self) -> String {
        name::text_of(&self.parts.body.subject_der)
    }

    /// Issuer, for people: `CN=…,O=…` (RFC 4514-like).
    pub fn issuer_text(&self) -> String {
        name::text_of(&self.parts.body.issuer_der)
    }

    /// DNS SANs.
    pub fn dns_names(&self) -> &[String] {
        &self.parts.body.names.dns_names
    }

    /// IP SANs; IPv4-mapped IPv6 addresses as IPv4.
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.parts.body.names.ip_addresses
    }

    /// Email SANs.
    pub fn email_addresses(&self) -> &[String] {
        &self.parts.body.names.email_addresses
    }

    /// URI SANs.
    pub fn uris(&self) -> &[String] {
        &self.parts.body.names.uris
    }

    /// Subject key identifier, if it has one.
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.parts.body.subject_key_id.as_deref()
    }

    /// Public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.parts.body.public_key
    }

    /// basicConstraints CA.
    pub fn is_ca(&self) -> bool {
        let constraints = self.parts.body.basic_constraints;
        constraints.is_some_and(|constraints| constraints.is_ca)
    }

    /// Extended key usage holds clientAuth (or any), or is absent and so not limited
    /// (RFC 5280 4.2.1.12; Go's verifier says the same).
    pub fn allows_client_auth(&self) -> bool {
        self.allows(oid::CLIENT_AUTH)
    }

    /// Extended key usage holds serverAuth (or any), or is absent and so not limited.
    pub fn allows_server_auth(&self) -> bool {
        self.allows(oid::SERVER_AUTH)
    }

    /// Key usage holds key encipherment: the long form of a kubelet's usages.
    pub fn allows_key_encipherment(&self) -> bool {
        let usage = self.parts.body.key_usage.unwrap_or_default();
        usage.contains(KeyUsageBits::KEY_ENCIPHERMENT)
    }

    /// Key usage holds keyCertSign, or is absent and so not limited (RFC 5280 4.2.1.3).
    pub fn allows_cert_sign(&self) -> bool {
        let usage = self.parts.body.key_usage;
        usage.is_none_or(|usage| usage.contains(KeyUsageBits::CERT_SIGN))
    }

    /// Whether its own signature is over SHA-1, which nobody believes any more.
    pub fn has_sha1_signature(&self) -> bool {
        let algorithm = self.parts.outer.algorithm.as_ref();
        algorithm.is_ok_and(|algorithm| algorithm.is_sha1())
    }

    /// Key usage holds cRLSign, or is absent and so not limited (RFC 5280 4.2.1.3).
    pub fn allows_crl_sign(&self) -> bool {
        let usage = self.parts.body.key_usage;
        usage.is_none_or(|usage| usage.contains(KeyUsageBits::CRL_SIGN))
    }

    /// True when `issuer`'s key made this certificate's signature and the names chain. Dates and
    /// constraints are not looked at. SHA-1 signatures do not count.
    pub fn is_signed_by(&self, issuer: &Self) -> bool {
        self.body().issuer_der == issuer.body().subject_der
            && self.verify_signature(issuer.public_key()).is_ok()
    }

    /// Checks that `key` made this certificate's signature.
    ///
    /// # Errors
    /// The signature does not fit, or its algorithm is unknown or broken (SHA-1, MD5).
    pub fn verify_signature(&self, key: &PublicKey) -> Result<(), CertificateError> {
        let outer = &self.parts.outer;
        let malformed = |text: String| CertificateError::Malformed(text);
        let algorithm = outer
            .algorithm
            .clone()
            .map_err(|error| malformed(error.to_string()))?;
        if algorithm.is_sha1() {
            return Err(malformed(
                "signature algorithm SHA-1 is broken and refused".into(),
            ));
        }
        let der = &self.parts.der;
        signature::verify(
            key,
            algorithm,
            &der[outer.tbs.clone()],
            &der[outer.signature.clone()],
        )
        .map_err(|error| malformed(error.to_string()))
    }

    /// "Satisfies the template": CN equal, wanted DNS names, IPs and Os present.
    /// More names than wanted are fine; usages, issuer and key are not compared.
    ///
    /// # Errors
    /// What is missing, for a log line.
    pub fn satisfies(&self, template: &Template) -> Result<(), String> {
        let subject = self.subject();
        let wanted = &template.subject;
        if subject.common_name != wanted.common_name {
            return Err(format!(
                "common name is {:?}, wanted {:?}",
                subject.common_name, wanted.common_name
            ));
        }
        let missing =
            |kind: &str, name: &dyn std::fmt::Display| format!("{kind} {name} is missing");
        for name in &template.dns_names {
            if !self.dns_names().contains(name) {
                return Err(missing("DNS name", name));
            }
        }
        for address in &template.ip_addresses {
            if !self.ip_addresses().contains(&address.to_canonical()) {
                return Err(missing("IP address", address));
            }
        }
        for uri in &template.uris {
            if !self.uris().contains(uri) {
                return Err(missing("URI", uri));
            }
        }
        for organization in &wanted.organizations {
            if !subject.organizations.contains(organization) {
                return Err(missing("organization", organization));
            }
        }
        Ok(())
    }

    /// Everything read from the certificate.
    pub(crate) fn body(&self) -> &CertificateBody {
        &self.parts.body
    }

    /// Extended key usage holds `purpose` or "any", or names nothing.
    pub(crate) fn allows(&self, purpose: ObjectIdentifier) -> bool {
        self.parts.body.purposes.as_ref().is_none_or(|purposes| {
            purposes.is_empty()
                || purposes.contains(&purpose)
                || purposes.contains(&oid::ANY_EXTENDED_KEY_USAGE)
        })
    }
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Leaf {}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Leaf({}, serial {}, {}..{})",
            self.subject_text(),
            self.serial(),
            self.not_before(),
            self.not_after()
        )
    }
}

pub(crate) fn fingerprint(der: &[u8]) -> Fingerprint {
    let hash = digest::digest(&digest::SHA256, der);
    Fingerprint(
        hash.as_ref()
            .try_into()
            .expect("invariant: SHA-256 has 32 bytes"),
    )
}
