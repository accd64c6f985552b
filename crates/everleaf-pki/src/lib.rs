//! What a certificate is, and who may have one.
//!
//! This crate owns keys, PKCS#10 requests, certificates and chains, the issuer that turns an
//! approved request into a chain, and the per-signer policy (subject, usages, SANs, lifetime).
//! It refuses to know about Kubernetes objects, clocks, disks, sockets and runtimes: time and
//! randomness come in as arguments.

pub mod certificate;
pub mod issuer;
pub mod key;
pub mod pem;
pub mod request;
pub mod signer;

pub use certificate::{CertificateError, Chain, Credential, Fingerprint, Leaf, Lifetime, Serial};
pub use issuer::{ApprovedRequest, IssueError, Issued, Issuer, Profile};
pub use key::{KeyAlgorithm, KeyError, KeySource, PrivateKey, PublicKey, SystemKeySource};
pub use request::{RequestError, Subject, Template, VerifiedRequest};
pub use signer::{SignerName, Usage};
