//! Observers that run beside the system and say when an invariant does not hold. One file each.

pub mod bounded_requests;
pub mod issued;
pub mod no_key_in_payload;
pub mod usable_credential;

pub use bounded_requests::BoundedRequests;
pub use issued::Issued;
pub use no_key_in_payload::NoKeyInPayload;
pub use usable_credential::UsableCredential;
