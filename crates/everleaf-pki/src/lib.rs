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
//! ```
//! use everleaf_pki::{
//!     ApprovedRequest, Issuer, KeyAlgorithm, PrivateKey, Profile, SignerName, Subject, Template,
//!     Usage, VerifiedRequest,
//! };
//! use jiff::Timestamp;
//!
//! let now = Timestamp::from_second(1_800_000_000)?;
//! let ca_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
//! let ca_end = Timestamp::from_second(2_800_000_000)?;
//! let issuer = Issuer::self_signed("everleaf-ca", ca_key, [1; 16], now, ca_end)?;
//!
//! let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
//! let template = Template { subject: Subject::node("n1"), ..Template::default() };
//! let request = VerifiedRequest::from_pem(template.to_request_pem(&key)?.as_bytes())?;
//! let approved = ApprovedRequest::new(
//!     request,
//!     SignerName::new(SignerName::KUBE_APISERVER_CLIENT_KUBELET),
//!     vec![Usage::DigitalSignature, Usage::ClientAuth],
//!     None,
//!     &["Approved"],
//! )?;
//! let issued = issuer.issue(&approved, &Profile::default(), [2; 16], now)?;
//! assert!(issued.chain.leaf().is_signed_by(issuer.certificate()));
//! assert_eq!(issued.chain.leaf().subject().common_name, "system:node:n1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod certificate;
pub mod issuer;
pub mod key;
pub mod pem;
pub mod request;
pub mod signer;
pub mod trust;

mod asn1;
mod extension;
mod name;
mod signature;
mod usage;

pub use certificate::{CertificateError, Chain, Credential, Fingerprint, Leaf, Lifetime, Serial};
pub use issuer::{ApprovedRequest, IssueError, Issued, Issuer, Profile};
pub use key::{
    KeyAlgorithm, KeyError, KeyNumbers, KeySource, PrivateKey, PublicKey, PublicKeyKind,
    SystemKeySource,
};
pub use request::{RequestError, Subject, Template, VerifiedRequest};
pub use signer::{SignerName, Usage};
pub use trust::{Purpose, TrustBundle};
