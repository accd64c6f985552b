//! rustls' questions about certificates, answered by [`everleaf_pki::trust`].
//!
//! Two verifiers: [`ServerVerifier`] for whoever connects (agent, controllers), [`PossessionOnly`] for the API server, which
//! judges client certificates later, on each request. Both check the handshake's signature in one place, for certificates
//! that rustls itself cannot read, too. No rule about certificates stands here.

mod possession;
mod server;
mod signature;

pub use possession::PossessionOnly;
pub use server::{ServerVerifier, refusal_of};
