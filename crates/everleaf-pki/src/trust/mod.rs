//! Which certificates are believed: the one place where a chain is judged.
//!
//! The API server asks it about client certificates, agent and controllers about the server's. The
//! rules are those of Go's `crypto/x509` (RFC 5280 with Go's liberties), because the other side of
//! every connection here is, or could be, a Go program: what kube-apiserver believes is believed,
//! what it refuses is refused. An anchor is judged like any other member of a chain: it must be a
//! CA, be in force, and may limit length, names and usages of what is below it. Who is no CA and
//! stands in the bundle vouches for itself alone.
//!
//! Not known here: possession of the key (TLS), revocation, time (an argument).
//!
//! ```
//! use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
//! use everleaf_pki::{Chain, Issuer, KeyAlgorithm, PrivateKey};
//! use jiff::Timestamp;
//!
//! let (from, to) = (Timestamp::from_second(1_700_000_000)?, Timestamp::from_second(1_800_000_000)?);
//! let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
//! let ca = Issuer::self_signed("example-ca", key, [7; 16], from, to)?;
//! let bundle = TrustBundle::from_pem(Chain::from(ca.certificate().clone()).to_pem().as_bytes())?;
//!
//! let shown = Presented::from_ders([ca.certificate().der()])?;
//! let path = bundle.judge(&shown, Purpose::ClientAuth, from)?;
//! assert_eq!(path.not_after(), to);
//! assert!(bundle.judge(&shown, Purpose::ClientAuth, Timestamp::UNIX_EPOCH).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod constraints;
mod effort;
mod host;
mod path;
mod policies;

pub(crate) use constraints::{NameConstraints, is_domain};
pub(crate) use path::check_authority;
pub(crate) use policies::Policies;

use crate::asn1::oid;
use crate::certificate::{CERTIFICATE_LABEL, CertificateError, Chain, Leaf};
use crate::pem;
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What a chain must be good for: an extended key usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client shows it to a server.
    ClientAuth,
    /// A server shows it to a client.
    ServerAuth,
}

impl Purpose {
    fn oid(self) -> ObjectIdentifier {
        match self {
            Self::ClientAuth => oid::CLIENT_AUTH,
            Self::ServerAuth => oid::SERVER_AUTH,
        }
    }
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ClientAuth => "client auth",
            Self::ServerAuth => "server auth",
        })
    }
}

/// Trust anchors: what a client or server was told to believe.
#[derive(Clone, Default)]
pub struct TrustBundle {
    anchors: Vec<Leaf>,
    /// Positions in `anchors` by subject, DER.
    by_subject: BTreeMap<Vec<u8>, Vec<usize>>,
    /// Certificates of the bundle, counted from 1, that are never in force, and why.
    never_valid: Vec<(usize, CertificateError)>,
}

/// What the other side showed: its certificate, and those it sent along.
#[derive(Clone, Debug)]
pub struct Presented {
    leaf: Leaf,
    intermediates: Vec<Leaf>,
}

/// Why a bundle cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// One of its certificates cannot be read.
    #[error("certificate {position} cannot be used: {reason}")]
    Unreadable {
        /// Which, counted from 1.
        position: usize,
        /// What is wrong with it.
        reason: CertificateError,
    },
    /// It holds no certificate.
    #[error("no PEM block labelled CERTIFICATE in it")]
    Empty,
}

/// What is wrong with one certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It is no CA, or does not say that it is.
    #[error("it is no CA certificate (basic constraints)")]
    NotAnAuthority,
    /// It is a CA that may not sign certificates.
    #[error("its key usage lacks keyCertSign")]
    NoCertSign,
    /// It did not make the signature, or the signature is of a kind that is not believed.
    #[error("{0}")]
    Signature(String),
    /// It holds a critical extension that nobody here understands.
    #[error("its critical extension {0} is not understood")]
    CriticalExtension(String),
    /// No two programs read such a one alike.
    #[error("{0}")]
    Ambiguous(&'static str),
    /// It is not in force yet.
    #[error("it begins at {0}")]
    NotYetValid(Timestamp),
    /// It is not in force any more.
    #[error("it ended at {0}")]
    Expired(Timestamp),
    /// It allows fewer CAs below it.
    #[error("it allows {0} CAs between itself and the certificate")]
    PathLength(u64),
    /// Its extended key usage leaves the purpose out.
    #[error("its extended key usage does not allow {0}")]
    Usage(Purpose),
}

/// Why a chain is not believed. Safe to log: no key in it, and names are escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The certificate itself.
    #[error("certificate: {0}")]
    Leaf(Fault),
    /// No way to an anchor; why the one that comes closest does not vouch for it.
    #[error("certificate is signed by no authority of the bundle{}", why(.0.as_ref()))]
    UnknownAuthority(Option<Fault>),
    /// The chain needs more signature checks than one judgement may cost.
    #[error("more than {0} signatures would have to be checked")]
    TooManySignatures(usize),
    /// The chain has more names, name constraints and policies than one judgement may compare.
    #[error("more than {0} names, limits and policies would have to be compared")]
    TooManyComparisons(usize),
    /// Somebody's extended key usage leaves the purpose out.
    #[error("{} does not allow {purpose} (extended key usage)", at(*.above))]
    Usage {
        /// What it was to be good for.
        purpose: Purpose,
        /// Whose: 0 the certificate, 1 its issuer, and so on.
        above: usize,
    },
    /// A CA asks for a certificate policy that the chain has not.
    #[error("certificate policies that an authority requires are missing")]
    Policies,
    /// A name that an authority may not give, or that cannot be compared with its limits.
    #[error("an authority may not vouch for it: {0}")]
    Name(String),
    /// The server is called otherwise.
    #[error("certificate is not for {host:?}, but for {}", listed(.names))]
    Host {
        /// Whom we wanted.
        host: String,
        /// DNS names and addresses in the certificate.
        names: Vec<String>,
    },
}

fn why(fault: Option<&Fault>) -> String {
    fault.map_or_else(String::new, |fault| {
        format!(": the one that comes closest does not count, since {fault}")
    })
}

fn at(above: usize) -> &'static str {
    match above {
        0 => "certificate",
        _ => "an authority above it",
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no name at all".to_owned(),
        names => names.join(", "),
    }
}

/// A believed chain: from when until when all its members are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Path {
    fn of(way: &[&Leaf]) -> Self {
        let not_before = way.iter().map(|member| member.not_before()).max();
        let not_after = way.iter().map(|member| member.not_after()).min();
        Self {
            not_before: not_before.expect("invariant: a way holds its leaf"),
            not_after: not_after.expect("invariant: a way holds its leaf"),
        }
    }

    /// The latest begin of its members.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The earliest end of its members.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// In force, both ends included.
    pub fn holds_at(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

impl Presented {
    /// Reads what a TLS peer sent, leaf first. An intermediate that is never in force is left out.
    ///
    /// # Errors
    /// One of them cannot be read, the leaf is never in force, or there is none. Go's TLS ends a
    /// connection over an unreadable intermediate, too.
    pub fn from_ders<'a>(
        ders: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, CertificateError> {
        let mut ders = ders.into_iter();
        let leaf = Leaf::from_der(ders.next().ok_or(CertificateError::NotFound)?)?;
        let mut intermediates = Vec::new();
        for der in ders {
            match Leaf::from_der(der) {
                // Each once: Go's pool keeps no copies, which would use up the search's signature
                // checks.
                Ok(intermediate) if intermediates.contains(&intermediate) => {}
                Ok(intermediate) => intermediates.push(intermediate),
                Err(CertificateError::NeverValid { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            leaf,
            intermediates,
        })
    }

    /// The certificate itself.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Those sent along, each once.
    pub fn intermediates(&self) -> &[Leaf] {
        &self.intermediates
    }
}

impl TrustBundle {
    /// Every CERTIFICATE block of a PEM text, each of which holds one certificate. Blocks of other
    /// labels, blocks with headers and text around are skipped (client-go `util/cert/pem.go`,
    /// ParseCertsPEM).
    ///
    /// # Errors
    /// [`BundleError::Unreadable`] for the first certificate that cannot be read,
    /// [`BundleError::Empty`].
    pub fn from_pem(text: &[u8]) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        for (index, block) in certificate_blocks(text).enumerate() {
            let position = index + 1;
            match Leaf::from_der(&block) {
                Ok(anchor) => bundle.add(anchor),
                // Readable, and of no use: no reason to believe nobody.
                Err(reason @ CertificateError::NeverValid { .. }) => {
                    bundle.never_valid.push((position, reason));
                }
                Err(reason) => return Err(BundleError::Unreadable { position, reason }),
            }
        }
        bundle.or_empty()
    }

    /// As [`TrustBundle::from_pem`], but blocks that are no certificate are skipped: how Go's
    /// clients read a bundle (`crypto/x509`, AppendCertsFromPEM).
    ///
    /// # Errors
    /// [`BundleError::Empty`] when nothing is left.
    pub fn from_pem_lenient(text: &[u8]) -> Result<Self, BundleError> {
        let blocks: Vec<Vec<u8>> = certificate_blocks(text).collect();
        Self::from_ders(blocks.iter().map(Vec::as_slice))
    }

    /// The certificates among these that can be read, DER.
    ///
    /// # Errors
    /// [`BundleError::Empty`] when there is none.
    pub fn from_ders<'a>(ders: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        for der in ders {
            if let Ok(anchor) = Leaf::from_der(der) {
                bundle.add(anchor);
            }
        }
        bundle.or_empty()
    }

    /// The anchors, in the order of the bundle, each once.
    pub fn anchors(&self) -> &[Leaf] {
        &self.anchors
    }

    /// Certificates that can vouch for nobody but themselves, whatever the time: a line each, to be
    /// told when a bundle is read.
    pub fn unable_to_vouch(&self, purpose: Purpose) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for (position, reason) in &self.never_valid {
            lines.push(format!("certificate {position}: {reason}"));
        }
        for anchor in &self.anchors {
            let fault = path::check_extensions(anchor.body())
                .and_then(|()| check_authority(anchor))
                .err();
            let fault =
                fault.or_else(|| (!anchor.allows(purpose.oid())).then_some(Fault::Usage(purpose)));
            lines.extend(fault.map(|fault| format!("{}: {fault}", anchor.subject_text())));
        }
        lines
    }

    /// Judges what somebody showed.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn judge(
        &self,
        shown: &Presented,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Path, Refusal> {
        path::find(self, &shown.leaf, &shown.intermediates, purpose, now)
    }

    /// Judges a server's certificate for `host`, a DNS name or an IP address.
    ///
    /// # Errors
    /// [`Refusal`]; dates of the certificate itself come first, then its names, then its issuers.
    pub fn judge_server(
        &self,
        shown: &Presented,
        host: &str,
        now: Timestamp,
    ) -> Result<Path, Refusal> {
        let leaf = &shown.leaf;
        path::check_dates(leaf, now).map_err(Refusal::Leaf)?;
        if !host::is_named(leaf, host) {
            let addresses = leaf.ip_addresses().iter().map(ToString::to_string);
            return Err(Refusal::Host {
                host: host.to_owned(),
                names: leaf.dns_names().iter().cloned().chain(addresses).collect(),
            });
        }
        self.judge(shown, Purpose::ServerAuth, now)
    }

    fn add(&mut self, anchor: Leaf) {
        if self.contains(&anchor) {
            return;
        }
        let subject = anchor.subject_der().to_vec();
        let positions = self.by_subject.entry(subject).or_default();
        positions.push(self.anchors.len());
        self.anchors.push(anchor);
    }

    fn or_empty(self) -> Result<Self, BundleError> {
        if self.anchors.is_empty() {
            return Err(BundleError::Empty);
        }
        Ok(self)
    }

    /// Anchors with this subject, DER.
    fn named(&self, subject: &[u8]) -> impl Iterator<Item = &Leaf> {
        let positions = self.by_subject.get(subject).into_iter().flatten();
        positions.map(|&position| &self.anchors[position])
    }

    fn contains(&self, certificate: &Leaf) -> bool {
        self.named(certificate.subject_der())
            .any(|anchor| anchor == certificate)
    }
}

/// A chain as its owner would show it.
impl From<&Chain> for Presented {
    fn from(chain: &Chain) -> Self {
        Self {
            leaf: chain.leaf().clone(),
            intermediates: chain.certificates()[1..].to_vec(),
        }
    }
}

/// Anchors that were read before; may be empty, and then believes nobody.
impl FromIterator<Leaf> for TrustBundle {
    fn from_iter<T: IntoIterator<Item = Leaf>>(anchors: T) -> Self {
        let mut bundle = Self::default();
        anchors.into_iter().for_each(|anchor| bundle.add(anchor));
        bundle
    }
}

impl std::fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TrustBundle({} anchors)", self.anchors.len())
    }
}

fn certificate_blocks(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    pem::blocks(text)
        .filter(|block| block.label == CERTIFICATE_LABEL && !block.has_headers)
        .map(|block| block.der)
}
