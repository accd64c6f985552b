//! Client certificates: verified on each request, at the request's time, against the client CA bundle
//! (`apiserver/pkg/authentication/request/x509/x509.go`).
//!
//! A chain that verified is remembered until one of its certificates ends, so that the requests of a long-lived connection
//! cost a hash and a look-up; what is remembered dies with the bundle it was verified against. Failures are not
//! remembered.
//!
//! webpki is stricter than Go about leaves of version 1 (what `openssl x509 -req` makes without an extension file) and
//! CA certificates used as leaves; those are verified directly against the bundle. A leaf that is itself in the bundle
//! is refused.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use everleaf_pki::{Leaf, pem};
use jiff::Timestamp;
use rustls::DistinguishedName;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter};

use super::{ConfigError, subject_uid::subject_uid};
use crate::user::User;

/// Key of [`User::extra`] that says with which certificate somebody came.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// Most certificates a client may send besides its leaf.
const INTERMEDIATES_MAX: usize = 16;
/// Most verified chains remembered per generation; two generations are kept.
const REMEMBERED_MAX: usize = 8_192;

/// Why a presented certificate is refused. Safe to log: holds no key and nothing the client chose beyond error kinds.
#[derive(Debug)]
pub(super) enum Refusal {
    TooManyIntermediates,
    Malformed(String),
    NotVerified(webpki::Error),
    BadUid(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyIntermediates => {
                write!(f, "more than {INTERMEDIATES_MAX} intermediate certificates")
            }
            Self::Malformed(error) => write!(f, "certificate cannot be read: {error}"),
            Self::NotVerified(error) => {
                write!(
                    f,
                    "certificate does not verify against the client CA bundle: {error}"
                )
            }
            Self::BadUid(error) => write!(f, "certificate cannot be used: {error}"),
        }
    }
}

/// A trust anchor with what webpki does not look at: its own dates.
struct Anchor {
    certificate: Leaf,
    anchor: TrustAnchor<'static>,
}

/// The client CA bundle, and the chains that verified against it.
pub(super) struct ClientCa {
    anchors: Vec<Anchor>,
    remembered: Mutex<Remembered>,
}

/// An identity and the span in which its whole chain is valid.
#[derive(Clone)]
struct Verified {
    /// None: the certificate is good but names nobody.
    user: Option<User>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Verified {
    fn holds_at(&self, now: Timestamp) -> bool {
        is_within(self.not_before, self.not_after, now)
    }
}

/// Validity in whole seconds, both ends included.
fn is_within(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> bool {
    (not_before.as_second()..=not_after.as_second()).contains(&now.as_second())
}

/// A bounded map that forgets by generations: what was not asked for during one whole generation is gone.
#[derive(Default)]
struct Remembered {
    young: HashMap<[u8; 32], Verified>,
    old: HashMap<[u8; 32], Verified>,
}

impl Remembered {
    fn recall(&mut self, leaf: &[u8; 32]) -> Option<Verified> {
        if let Some(verified) = self.young.get(leaf) {
            return Some(verified.clone());
        }
        let verified = self.old.remove(leaf)?;
        self.remember(*leaf, verified.clone());
        Some(verified)
    }

    fn remember(&mut self, leaf: [u8; 32], verified: Verified) {
        if self.young.len() >= REMEMBERED_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(leaf, verified);
    }
}

impl ClientCa {
    /// Reads a PEM bundle: every CERTIFICATE block is an anchor, other blocks are skipped.
    pub(super) fn from_pem(bundle: &[u8]) -> Result<Self, ConfigError> {
        let mut anchors = Vec::new();
        let blocks = pem::blocks(bundle).filter(|block| block.label == "CERTIFICATE");
        for (index, block) in blocks.enumerate() {
            let bad = |reason: String| ConfigError::BadClientCa {
                position: index + 1,
                reason,
            };
            let certificate = Leaf::from_der(&block.der).map_err(|error| bad(error.to_string()))?;
            let der = CertificateDer::from(block.der);
            let anchor = webpki::anchor_from_trusted_cert(&der)
                .map_err(|error| bad(error.to_string()))?
                .to_owned();
            anchors.push(Anchor {
                certificate,
                anchor,
            });
        }
        if anchors.is_empty() {
            return Err(ConfigError::NoClientCa);
        }
        Ok(Self {
            anchors,
            remembered: Mutex::default(),
        })
    }

    /// The bundle as canonical PEM.
    pub(super) fn pem(&self) -> String {
        self.anchors
            .iter()
            .map(|anchor| pem::encode("CERTIFICATE", anchor.certificate.der()))
            .collect()
    }

    /// Subjects of the anchors.
    pub(super) fn subjects(&self) -> Vec<DistinguishedName> {
        self.anchors
            .iter()
            .map(|anchor| DistinguishedName::in_sequence(&anchor.anchor.subject))
            .collect()
    }

    /// The user a certificate names; None when it verifies but has no common name.
    pub(super) fn authenticate(
        &self,
        leaf: &[u8],
        intermediates: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<Option<User>, Refusal> {
        let fingerprint = sha256(leaf);
        let recalled = self.with_remembered(|remembered| remembered.recall(&fingerprint));
        if let Some(verified) = recalled.filter(|verified| verified.holds_at(now)) {
            return Ok(verified.user);
        }
        // Also when a remembered chain has ended: another path may still hold.
        let verified = self.verify(leaf, intermediates, fingerprint, now)?;
        let user = verified.user.clone();
        self.with_remembered(|remembered| remembered.remember(fingerprint, verified));
        Ok(user)
    }

    fn with_remembered<T>(&self, act: impl FnOnce(&mut Remembered) -> T) -> T {
        // A map of finished values: what a panicking thread left behind is whole.
        act(&mut self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }

    fn verify(
        &self,
        leaf: &[u8],
        intermediates: &[Vec<u8>],
        fingerprint: [u8; 32],
        now: Timestamp,
    ) -> Result<Verified, Refusal> {
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(Refusal::TooManyIntermediates);
        }
        // webpki takes anchors on faith; an authority whose own certificate has ended is none any more.
        let anchors: Vec<TrustAnchor<'_>> = self
            .anchors
            .iter()
            .filter(|a| is_within(a.certificate.not_before(), a.certificate.not_after(), now))
            .map(|a| a.anchor.clone())
            .collect();
        let der = CertificateDer::from(leaf);
        let intermediates: Vec<CertificateDer<'_>> = intermediates
            .iter()
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let end_entity = match EndEntityCert::try_from(&der) {
            Ok(end_entity) => end_entity,
            Err(error @ webpki::Error::UnsupportedCertVersion) => {
                return self.verify_directly(leaf, fingerprint, now, error);
            }
            Err(error) => return Err(Refusal::NotVerified(error)),
        };
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let outcome = end_entity.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            ClientAuth,
            None,
            None,
        );
        let path = match outcome {
            Ok(path) => path,
            Err(error @ webpki::Error::CaUsedAsEndEntity) => {
                return self.verify_directly(leaf, fingerprint, now, error);
            }
            Err(error) => return Err(Refusal::NotVerified(error)),
        };
        let mut verified = Verified::of(&read(leaf)?, fingerprint)?;
        for certificate in path.intermediate_certificates() {
            verified.narrow(&read(&certificate.der())?);
        }
        for anchor in &self.anchors {
            if anchor.anchor == *path.anchor()
                && is_within(
                    anchor.certificate.not_before(),
                    anchor.certificate.not_after(),
                    now,
                )
            {
                verified.narrow(&anchor.certificate);
            }
        }
        Ok(verified)
    }

    /// Verifies a leaf that webpki does not take, for `error`, when an authority of the bundle signed it itself. An
    /// authority with name constraints is left to webpki.
    fn verify_directly(
        &self,
        leaf: &[u8],
        fingerprint: [u8; 32],
        now: Timestamp,
        error: webpki::Error,
    ) -> Result<Verified, Refusal> {
        let leaf = read(leaf)?;
        let is_current = |leaf: &Leaf| is_within(leaf.not_before(), leaf.not_after(), now);
        let signer = self.anchors.iter().find(|anchor| {
            is_current(&anchor.certificate)
                && anchor.anchor.name_constraints.is_none()
                && anchor.certificate != leaf
                && leaf.is_signed_by(&anchor.certificate)
        });
        match signer {
            Some(signer) if is_current(&leaf) && leaf.allows_client_auth() => {
                let mut verified = Verified::of(&leaf, fingerprint)?;
                verified.narrow(&signer.certificate);
                Ok(verified)
            }
            _ => Err(Refusal::NotVerified(error)),
        }
    }
}

fn read(der: &[u8]) -> Result<Leaf, Refusal> {
    Leaf::from_der(der).map_err(|error| Refusal::Malformed(error.to_string()))
}

impl Verified {
    fn of(leaf: &Leaf, fingerprint: [u8; 32]) -> Result<Self, Refusal> {
        let uid = subject_uid(leaf.subject_der()).map_err(Refusal::BadUid)?;
        Ok(Self {
            user: user_of(leaf, uid, fingerprint),
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
        })
    }

    fn narrow(&mut self, certificate: &Leaf) {
        self.not_before = self.not_before.max(certificate.not_before());
        self.not_after = self.not_after.min(certificate.not_after());
    }
}

fn user_of(leaf: &Leaf, uid: String, fingerprint: [u8; 32]) -> Option<User> {
    let subject = leaf.subject();
    if subject.common_name.is_empty() {
        return None;
    }
    let hex: String = fingerprint.iter().map(|b| format!("{b:02x}")).collect();
    let credential = format!("X509SHA256={hex}");
    Some(User {
        name: subject.common_name.clone(),
        uid,
        groups: subject.organizations.clone(),
        extra: BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![credential])]),
    })
}

fn sha256(der: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Extended key usage holds clientAuth or anyExtendedKeyUsage, or is absent: what Go's `x509.Verify` accepts.
struct ClientAuth;

/// id-kp-clientAuth, 1.3.6.1.5.5.7.3.2
const CLIENT_AUTH: KeyPurposeId<'static> =
    KeyPurposeId::new(&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02]);
/// anyExtendedKeyUsage, 2.5.29.37.0
const ANY: KeyPurposeId<'static> = KeyPurposeId::new(&[0x55, 0x1d, 0x25, 0x00]);

impl ExtendedKeyUsageValidator for ClientAuth {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut others = false;
        for purpose in purposes {
            let purpose = purpose?;
            if purpose == CLIENT_AUTH || purpose == ANY {
                return Ok(());
            }
            others = true;
        }
        if others {
            return Err(webpki::Error::RequiredEkuNotFoundContext(
                webpki::RequiredEkuNotFoundContext {
                    required: webpki::KeyUsage::client_auth(),
                    present: Vec::new(),
                },
            ));
        }
        Ok(())
    }
}
