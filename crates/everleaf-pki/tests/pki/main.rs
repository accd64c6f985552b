//! Tests of the crate from outside, one program: what Kubernetes and Go do, what other
//! implementations make of our certificates, what hostile input does.

mod certificate;
mod fixture;
mod golden;
mod issue;
mod policy;
mod request;
