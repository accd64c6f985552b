//! rustls' questions about certificates, answered by [`everleaf_pki::trust`]; and its errors, in
//! people's words.
//!
//! Two verifiers: [`ServerVerifier`] for whoever connects (agent, controllers), [`PossessionOnly`]
//! for the API server, which judges client certificates later, on each request. Both check the
//! handshake's signature in one place, for certificates that rustls itself cannot read, too. No
//! rule about certificates stands here.
//!
//! ```
//! use rustls::{CertificateError, Error};
//!
//! let error = Error::InvalidCertificate(CertificateError::BadEncoding);
//! assert_eq!(everleaf_tls::words(&error), "the certificate cannot be read");
//! ```

mod certificate;
mod possession;
mod server;
mod signature;
mod words;

pub use possession::PossessionOnly;
pub use server::{ServerVerifier, refusal_of};
pub use words::{chain_words, words};
