//! PKCS#10 certification requests: building and strict, Go-compatible parsing.
use crate::key::{KeyError, PrivateKey, PublicKey};
use std::net::IpAddr;

/// The parts of a distinguished name that Kubernetes uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// `CN`; of several, the last (as Go reads them). Empty when absent.
    pub common_name: String,
    /// Every `O`, in order.
    pub organizations: Vec<String>,
}

/// What a certificate should say: the wanted contents of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Subject.
    pub subject: Subject,
    /// DNS SANs.
    pub dns_names: Vec<String>,
    /// IP SANs.
    pub ip_addresses: Vec<IpAddr>,
}
impl Template {
    /// PEM `CERTIFICATE REQUEST` signed by `key`.
    pub fn to_request_pem(&self, _key: &PrivateKey) -> Result<String, KeyError> {
        unimplemented!()
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// placeholder: not PEM, wrong label, malformed DER, unsupported key or algorithm, bad signature.
    #[error("{0}")]
    Malformed(String),
}

/// A parsed PKCS#10 request whose self-signature was checked. The only thing an issuer accepts.
#[derive(Clone, Debug)]
pub struct VerifiedRequest(());
impl VerifiedRequest {
    /// Parses `spec.request`: the first PEM block must be `CERTIFICATE REQUEST`; later blocks are ignored.
    pub fn from_pem(_pem: &[u8]) -> Result<Self, RequestError> {
        unimplemented!()
    }
    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        unimplemented!()
    }
    /// Subject as Go reads it.
    pub fn subject(&self) -> &Subject {
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
    /// Email SANs.
    pub fn email_addresses(&self) -> &[String] {
        unimplemented!()
    }
    /// URI SANs.
    pub fn uris(&self) -> &[String] {
        unimplemented!()
    }
    /// Count of SANs Go does not see (otherName, directoryName, registeredID, …).
    pub fn other_san_count(&self) -> usize {
        unimplemented!()
    }
    /// True when the subject holds anything besides exactly one CN and O values of string types Go reads
    /// (strict reading for the recognizers; spec/controllers.md 2.2).
    pub fn has_unusual_subject(&self) -> bool {
        unimplemented!()
    }
}
