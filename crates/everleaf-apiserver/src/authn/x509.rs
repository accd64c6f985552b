//! Client certificates: verified on each request, at the request's time, against the client CA
//! bundle (`apiserver/pkg/authentication/request/x509/x509.go`). Which chain is believed is
//! [`everleaf_pki::trust`]'s business; here it becomes an identity.
//!
//! A chain that verified is remembered until one of its certificates ends, so that the requests of
//! a long-lived connection cost a hash and a look-up; what is remembered dies with the bundle it
//! was verified against. Failures are not remembered.

use super::refusals::clipped;
use crate::user::User;
use aws_lc_rs::digest::{Context, SHA256};
use everleaf_pki::{
    CertificateError, Leaf, PublicKeyKind, pem,
    trust::{self, BundleError, Path, Presented, Purpose, TrustBundle},
};
use jiff::Timestamp;
use rustls::DistinguishedName;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Mutex, PoisonError},
};

/// Key of [`User::extra`] that says with which certificate somebody came.
pub(crate) const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// Attribute of a subject that is the user's UID, on from Kubernetes 1.33.
const UID_ATTRIBUTE: &str = "1.3.6.1.4.1.57683.2";
/// Most certificates a client may send besides its leaf. Go has no limit of its own; TLS messages
/// have one.
const INTERMEDIATES_MAX: usize = 128;
/// Largest RSA key that may be shown, in bits.
const RSA_BITS_MAX: u32 = 8_192;
/// Most verified chains remembered per generation; two generations are kept.
const REMEMBERED_MAX: usize = 8_192;

/// Why a presented certificate is refused. Safe to log: holds no key, and names are escaped.
#[derive(Debug)]
pub(super) enum Refusal {
    TooManyIntermediates,
    Malformed(CertificateError),
    BadKey(PublicKeyKind),
    NotBelieved(trust::Refusal),
    BadUid(&'static str),
    /// Good, but refused by this entry of the list.
    Revoked(String),
    /// Good, but of this name.
    NoFrontProxy(String),
}

impl Refusal {
    /// In few enough words to count by.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::TooManyIntermediates => "chain",
            Self::Malformed(_) => "malformed",
            Self::BadKey(_) => "key",
            Self::NotBelieved(trust::Refusal::Leaf(_)) => "certificate",
            Self::NotBelieved(trust::Refusal::UnknownAuthority(_)) => "unknown_authority",
            Self::NotBelieved(_) => "chain",
            Self::BadUid(_) => "uid",
            Self::Revoked(_) => "revoked",
            Self::NoFrontProxy(_) => "no_front_proxy",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyIntermediates => {
                write!(f, "more than {INTERMEDIATES_MAX} intermediate certificates")
            }
            Self::Malformed(error) => write!(f, "certificate cannot be read: {error}"),
            Self::BadKey(kind) => write!(f, "no handshake proves possession of its key: {kind}"),
            Self::NotBelieved(refusal) => write!(f, "{refusal}"),
            Self::BadUid(error) => write!(f, "certificate cannot be used: {error}"),
            Self::Revoked(by) => write!(
                f,
                "it has been revoked ({by}); see `everleaf ca revocations`"
            ),
            Self::NoFrontProxy(name) => write!(
                f,
                "it speaks for others, and {name:?} is no common name of a front proxy"
            ),
        }
    }
}

/// The client CA bundle, and the chains that verified against it.
pub(super) struct ClientCa {
    bundle: TrustBundle,
    remembered: Mutex<Remembered>,
}

/// An identity and the span in which its whole chain is valid.
#[derive(Clone)]
struct Verified {
    /// None: the certificate is good but names nobody.
    user: Option<User>,
    path: Path,
}

/// A bounded map that forgets by generations: what was not asked for during one whole generation is
/// gone.
#[derive(Default)]
struct Remembered {
    young: HashMap<[u8; 32], Verified>,
    old: HashMap<[u8; 32], Verified>,
}

impl Remembered {
    fn recall(&mut self, shown: &[u8; 32]) -> Option<Verified> {
        if let Some(verified) = self.young.get(shown) {
            return Some(verified.clone());
        }
        let verified = self.old.remove(shown)?;
        self.remember(*shown, verified.clone());
        Some(verified)
    }

    fn remember(&mut self, shown: [u8; 32], verified: Verified) {
        if self.young.len() >= REMEMBERED_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(shown, verified);
    }
}

impl ClientCa {
    /// Reads a PEM bundle and tells in the log which of its certificates are no authorities.
    pub(super) fn from_pem(bundle: &[u8]) -> Result<Self, BundleError> {
        let bundle = TrustBundle::from_pem(bundle)?;
        for weakness in bundle.unable_to_vouch(Purpose::ClientAuth) {
            tracing::warn!(
                "client CA bundle: {weakness}; no client certificate is believed because of it"
            );
        }
        Ok(Self {
            bundle,
            remembered: Mutex::default(),
        })
    }

    /// The bundle as canonical PEM.
    pub(super) fn pem(&self) -> String {
        let anchors = self.bundle.anchors().iter();
        anchors
            .map(|anchor| pem::encode("CERTIFICATE", anchor.der()))
            .collect()
    }

    /// Subjects of the anchors.
    pub(super) fn subjects(&self) -> Vec<DistinguishedName> {
        let anchors = self.bundle.anchors().iter();
        anchors
            .map(|anchor| DistinguishedName::from(anchor.subject_der().to_vec()))
            .collect()
    }

    /// The user a certificate names; None when it verifies but has no common name.
    pub(super) fn authenticate(
        &self,
        leaf: &[u8],
        intermediates: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<Option<User>, Refusal> {
        let shown = digest_of_all(leaf, intermediates);
        let recalled = self.with_remembered(|remembered| remembered.recall(&shown));
        if let Some(verified) = recalled.filter(|verified| verified.path.holds_at(now)) {
            return Ok(verified.user);
        }
        // Also when a remembered chain has ended: another path may still hold.
        let verified = self.verify(leaf, intermediates, now)?;
        let user = verified.user.clone();
        self.with_remembered(|remembered| remembered.remember(shown, verified));
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
        now: Timestamp,
    ) -> Result<Verified, Refusal> {
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(Refusal::TooManyIntermediates);
        }
        let ders = std::iter::once(leaf).chain(intermediates.iter().map(Vec::as_slice));
        let shown = Presented::from_ders(ders).map_err(Refusal::Malformed)?;
        check_keys(&shown)?;
        let path = self
            .bundle
            .judge(&shown, Purpose::ClientAuth, now)
            .map_err(Refusal::NotBelieved)?;
        let user = user_of(shown.leaf())?;
        Ok(Verified { user, path })
    }
}

/// What Go's TLS asks of the keys that a client shows (`crypto/tls`, processCertsFromClient).
fn check_keys(shown: &Presented) -> Result<(), Refusal> {
    let own = shown.leaf().public_key();
    if !own.can_prove_possession() {
        return Err(Refusal::BadKey(*own.kind()));
    }
    let is_large =
        |kind: &PublicKeyKind| matches!(kind, PublicKeyKind::Rsa { bits } if *bits > RSA_BITS_MAX);
    let mut kinds = shown
        .intermediates()
        .iter()
        .map(|leaf| *leaf.public_key().kind());
    match kinds.find(is_large) {
        Some(kind) => Err(Refusal::BadKey(kind)),
        None => Ok(()),
    }
}

/// Nobody without a common name; then nothing else of the subject is looked at.
fn user_of(leaf: &Leaf) -> Result<Option<User>, Refusal> {
    let subject = leaf.subject();
    if subject.common_name.is_empty() {
        return Ok(None);
    }
    let credential = credential_id(leaf);
    Ok(Some(User {
        name: subject.common_name.clone(),
        uid: uid_of(leaf)?,
        groups: subject.organizations.clone(),
        extra: BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![credential])]),
    }))
}

/// What it says of this certificate.
pub(crate) fn credential_id(leaf: &Leaf) -> String {
    format!("X509SHA256={}", leaf.fingerprint())
}

fn uid_of(leaf: &Leaf) -> Result<String, Refusal> {
    let mut values = leaf.subject_values(UID_ATTRIBUTE).into_iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(String::new()),
        (Some(uid), None) if uid.is_empty() => {
            Err(Refusal::BadUid("its user UID attribute is empty"))
        }
        (Some(uid), None) => Ok(uid),
        (Some(_), Some(_)) => Err(Refusal::BadUid("it has several user UID attributes")),
    }
}

/// Subject, serial number and issuer of a certificate, as far as it can be read, to stand behind
/// "refused".
pub(super) fn whose(leaf: &[u8]) -> String {
    Leaf::from_der(leaf).map_or_else(
        |_| String::new(),
        |leaf| {
            let (subject, issuer) = (leaf.subject_text(), leaf.issuer_text());
            let (subject, issuer) = (clipped(&subject), clipped(&issuer));
            format!(
                " ({subject}, serial number {}, issued by {issuer})",
                leaf.serial()
            )
        },
    )
}

/// Under which a verdict is remembered: all that was shown, since it is part of what was judged.
pub(super) fn digest_of_all(leaf: &[u8], intermediates: &[Vec<u8>]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for der in std::iter::once(leaf).chain(intermediates.iter().map(Vec::as_slice)) {
        context.update(&der.len().to_be_bytes());
        context.update(der);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}
