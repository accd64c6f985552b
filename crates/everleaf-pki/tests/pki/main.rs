//! Tests of the crate from outside, one program: what Kubernetes and Go do, what other
//! implementations make of our certificates, what hostile input does.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose stage cannot be set has failed"
)]

mod authority;
mod certificate;
mod cross;
mod fixture;
mod golden;
mod hostile;
mod issue;
mod issuer;
mod odd_names;
mod policy;
mod request;
mod wycheproof;
