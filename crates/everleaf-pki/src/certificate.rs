//! Certificates, chains, credentials (chain + key).
use crate::key::{PrivateKey, PublicKey};
use crate::request::Subject;
use jiff::Timestamp;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// SHA-256 of a certificate's DER. `Display` is lower hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);
/// Serial number, big-endian, minimal. `Display` is upper hex as openssl prints it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(pub Vec<u8>);
/// `notAfter − notBefore`, whole seconds, always positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime {
    /// Seconds.
    pub seconds: i64,
}

/// Why a certificate, chain or credential cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// placeholder
    #[error("{0}")]
    Malformed(String),
}

/// A parsed end-entity (or CA) certificate whose `notAfter` is after its `notBefore`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leaf(());
impl Leaf {
    /// Parses DER.
    pub fn from_der(_der: &[u8]) -> Result<Self, CertificateError> {
        unimplemented!()
    }
    /// DER bytes.
    pub fn der(&self) -> &[u8] {
        unimplemented!()
    }
    /// `notBefore`.
    pub fn not_before(&self) -> Timestamp {
        unimplemented!()
    }
    /// `notAfter`.
    pub fn not_after(&self) -> Timestamp {
        unimplemented!()
    }
    /// `notAfter − notBefore`.
    pub fn lifetime(&self) -> Lifetime {
        unimplemented!()
    }
    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        unimplemented!()
    }
    /// Serial number.
    pub fn serial(&self) -> &Serial {
        unimplemented!()
    }
    /// Subject as Go reads it.
    pub fn subject(&self) -> &Subject {
        unimplemented!()
    }
    /// Issuer, for people: `CN=…,O=…` (RFC 4514-like).
    pub fn issuer_text(&self) -> String {
        unimplemented!()
    }
    /// DNS SANs.
    pub fn dns_names(&self) -> &[String] {
        unimplemented!()
    }
    /// IP SANs.
    pub fn ip_addresses(&self) -> &[IpAddr] {
        unimplemented!()
    }
    /// Public key.
    pub fn public_key(&self) -> &PublicKey {
        unimplemented!()
    }
    /// basicConstraints CA.
    pub fn is_ca(&self) -> bool {
        unimplemented!()
    }
    /// Extended key usage holds clientAuth (or any).
    pub fn allows_client_auth(&self) -> bool {
        unimplemented!()
    }
    /// Extended key usage holds serverAuth (or any).
    pub fn allows_server_auth(&self) -> bool {
        unimplemented!()
    }
    /// True when `issuer`'s key made this certificate's signature and the names chain.
    pub fn is_signed_by(&self, _issuer: &Leaf) -> bool {
        unimplemented!()
    }
    /// "Satisfies the template" (spec/agent.md 5.5): CN equal, wanted DNS names, IPs and Os present.
    pub fn satisfies(&self, _template: &crate::request::Template) -> Result<(), String> {
        unimplemented!()
    }
}

/// Leaf plus intermediates, in order.
#[derive(Clone, Debug)]
pub struct Chain(());
impl Chain {
    /// Every CERTIFICATE block of a PEM text; at least one.
    pub fn from_pem(_pem: &[u8]) -> Result<Self, CertificateError> {
        unimplemented!()
    }
    /// The end-entity certificate.
    pub fn leaf(&self) -> &Leaf {
        unimplemented!()
    }
    /// All certificates, leaf first.
    pub fn certificates(&self) -> &[Leaf] {
        unimplemented!()
    }
    /// Canonical PEM, leaf first.
    pub fn to_pem(&self) -> String {
        unimplemented!()
    }
}

/// A chain plus its private key, as one unit; the key is known to match the leaf.
pub struct Credential(());
impl Credential {
    /// Joins a chain and its key; an error when they do not match.
    pub fn new(_chain: Chain, _key: PrivateKey) -> Result<Self, CertificateError> {
        unimplemented!()
    }
    /// Reads one PEM text holding certificates and a key, in either order.
    pub fn from_pem(_pem: &[u8]) -> Result<Self, CertificateError> {
        unimplemented!()
    }
    /// Kubelet layout: certificates, leaf first, then exactly one key block (spec/agent.md 3.2).
    pub fn to_pem(&self) -> Zeroizing<String> {
        unimplemented!()
    }
    /// The chain.
    pub fn chain(&self) -> &Chain {
        unimplemented!()
    }
    /// The end-entity certificate.
    pub fn leaf(&self) -> &Leaf {
        self.chain().leaf()
    }
    /// The private key.
    pub fn key(&self) -> &PrivateKey {
        unimplemented!()
    }
}
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(…)")
    }
}
