//! What a certificate is, and who may have one.
//!
//! This crate owns keys, PKCS#10 requests, certificates and chains, the issuer that turns an
//! approved request into a chain, and the per-signer policy (subject, usages, SANs, lifetime).
//! It refuses to know about Kubernetes objects, clocks, disks, sockets and runtimes: time and
//! randomness come in as arguments.
//!
//! A certificate's way, with the type that proves each step:
//!
//! ```text
//! Template + PrivateKey ──▶ PEM ──▶ VerifiedRequest ──▶ ApprovedRequest ──▶ Issued (Chain)
//!   what is wanted       request    signature checked   Approved, not Denied   policy, lint, sign
//! ```
//!
//! From key to certificate:
//!
#![doc = "```"]
#![doc = include_str!("../examples/one_certificate.rs")]
#![doc = "```"]

pub mod certificate;
pub mod issuer;
pub mod jws;
pub mod key;
pub mod pem;
pub mod pkcs12;
pub mod request;
pub mod signer;
pub mod trust;

mod asn1;
mod extension;
mod name;
mod signature;
mod usage;

pub use certificate::{CertificateError, Chain, Credential, Fingerprint, Leaf, Lifetime, Serial};
pub use issuer::{ApprovedRequest, GivenNames, IssueError, Issued, Issuer, Profile, Warning};
pub use key::{
    HeldKey, KeyAlgorithm, KeyError, KeyNumbers, KeySource, MlDsa, PrivateKey, PublicKey,
    PublicKeyKind, SystemKeySource,
};
pub use name::Subject;
pub use request::{RecentRequests, RequestError, Template, VerifiedRequest};
pub use signer::{SignerName, Usage};
pub use trust::{Purpose, TrustBundle};
