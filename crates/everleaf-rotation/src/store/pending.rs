//! The pending request: key and handle, persisted before submission, removed after install.

use crate::effect::Order;
use everleaf_pki::{
    KeyError, PrivateKey, PublicKey, SignerName, Subject, Template, Usage, VerifiedRequest,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

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
    /// Name of the object, chosen by the node (digest of the content), so that a lost answer is
    /// found again.
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

/// The record on disk. Kept apart from the domain type, and versioned, so that either can change.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    version: u32,
    name: String,
    uid: Option<String>,
    common_name: String,
    organizations: Vec<String>,
    dns_names: Vec<String>,
    ip_addresses: Vec<IpAddr>,
    /// Absent in records of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    uris: Vec<String>,
    signer_name: String,
    usages: Vec<String>,
    expiration_seconds: Option<i32>,
    request: String,
    created: String,
}

/// The version this code writes, and the only one it reads.
const RECORD_VERSION: u32 = 1;

/// The record as JSON.
pub(super) fn encode(pending: &PendingRequest) -> String {
    let template = &pending.template;
    let record = Record {
        version: RECORD_VERSION,
        name: pending.name.as_str().to_owned(),
        uid: pending.uid.as_ref().map(|uid| uid.as_str().to_owned()),
        common_name: template.subject.common_name.clone(),
        organizations: template.subject.organizations.clone(),
        dns_names: template.dns_names.clone(),
        ip_addresses: template.ip_addresses.clone(),
        uris: template.uris.clone(),
        signer_name: pending.signer_name.as_str().to_owned(),
        usages: pending
            .usages
            .iter()
            .map(|usage| usage.as_str().to_owned())
            .collect(),
        expiration_seconds: pending.expiration_seconds,
        request: pending.request_pem.clone(),
        created: pending.created.to_string(),
    };
    serde_json::to_string_pretty(&record)
        .expect("invariant: a record of strings and numbers encodes")
}

/// The request and its key from what lies on disk; a text that says why not.
pub(super) fn decode(
    record: &[u8],
    key_pem: &[u8],
) -> Result<(PendingRequest, PrivateKey), String> {
    let record: Record = serde_json::from_slice(record)
        .map_err(|error| format!("its record is no record: {error}"))?;
    if record.version != RECORD_VERSION {
        return Err(format!(
            "its record has the unknown version {}",
            record.version
        ));
    }
    let key = read_key(key_pem).map_err(|error| format!("its key cannot be used: {error}"))?;
    let request = VerifiedRequest::from_pem(record.request.as_bytes())
        .map_err(|error| format!("its request cannot be used: {error}"))?;
    if request.public_key() != key.public_key() {
        return Err("its key is not that of its request".to_owned());
    }
    let usages: Option<Vec<Usage>> = record
        .usages
        .iter()
        .map(|text| Usage::parse(text))
        .collect();
    let pending = PendingRequest {
        name: RequestName::new(record.name),
        uid: record.uid.map(RequestUid::new),
        template: Template {
            subject: Subject {
                common_name: record.common_name,
                organizations: record.organizations,
            },
            dns_names: record.dns_names,
            ip_addresses: record.ip_addresses,
            uris: record.uris,
        },
        signer_name: SignerName::new(record.signer_name),
        usages: usages.ok_or("it names an unknown usage")?,
        expiration_seconds: record.expiration_seconds,
        request_pem: record.request,
        public_key: key.public_key().clone(),
        created: record
            .created
            .parse()
            .map_err(|error| format!("its date is no date: {error}"))?,
    };
    Ok((pending, key))
}

/// A private key from the bytes of a file, or where it is.
pub(super) fn read_key(pem: &[u8]) -> Result<PrivateKey, KeyError> {
    PrivateKey::from_stored_pem(std::str::from_utf8(pem).unwrap_or_default())
}
