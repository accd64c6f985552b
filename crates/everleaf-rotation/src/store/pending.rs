//! The pending request: key and handle, persisted before submission, removed after install.

use crate::effect::Order;
use everleaf_pki::{PublicKey, SignerName, Template, Usage};
use jiff::Timestamp;

/// Name of a request object on the server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestName(String);

impl RequestName {
    /// Any text; the server validates the form.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RequestName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// UID of a request object: tells a re-created object from the one we made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestUid(String);

impl RequestUid {
    /// As the server gave it.
    pub fn new(uid: impl Into<String>) -> Self {
        Self(uid.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RequestUid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One request on its way. Holds no secret: the key lies beside it in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRequest {
    /// Name of the object, chosen by the node (digest of the content), so that a lost answer is found
    /// again.
    pub name: RequestName,
    /// UID of the object, once the server has told it.
    pub uid: Option<RequestUid>,
    /// What was asked for. A changed wish makes the request worthless.
    pub template: Template,
    /// Who should sign.
    pub signer_name: SignerName,
    /// Usages, in the order sent.
    pub usages: Vec<Usage>,
    /// `spec.expirationSeconds`.
    pub expiration_seconds: Option<i32>,
    /// PEM `CERTIFICATE REQUEST`, exactly as sent.
    pub request_pem: String,
    /// The public half of the pending key.
    pub public_key: PublicKey,
    /// When it was prepared, by this host's wall clock.
    pub created: Timestamp,
}

impl PendingRequest {
    /// The record of a request just built for `order`.
    pub fn new(
        order: Order,
        name: RequestName,
        request_pem: String,
        public_key: PublicKey,
        created: Timestamp,
    ) -> Self {
        Self {
            name,
            uid: None,
            template: order.template,
            signer_name: order.signer_name,
            usages: order.usages,
            expiration_seconds: order.expiration_seconds,
            request_pem,
            public_key,
            created,
        }
    }
}
