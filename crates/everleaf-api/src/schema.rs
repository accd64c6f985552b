//! One table per type: JSON name, protobuf number, kind, presence, list kind, default, one line of documentation.
use crate::status::Status;
use serde_json::Value;

/// A message: an ordered table of fields (JSON is emitted in this order).
#[derive(Debug)]
pub struct Message {
    /// Name, e.g. `CertificateSigningRequestSpec`.
    pub name: &'static str,
    /// One line.
    pub doc: &'static str,
    /// The fields.
    pub fields: &'static [Field],
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// JSON name.
    pub json: &'static str,
    /// Protobuf field number.
    pub number: u32,
    /// Type.
    pub kind: Kind,
    /// When it is emitted.
    pub presence: Presence,
    /// One line.
    pub doc: &'static str,
}

/// Type of a field. Owner: everleaf-api may add variants.
#[derive(Debug)]
#[non_exhaustive]
pub enum Kind {
    /// bool
    Bool,
    /// int32
    Int32,
    /// int64
    Int64,
    /// string
    String,
    /// bytes, base64 in JSON
    Bytes,
    /// metav1.Time
    Time,
    /// metav1.MicroTime
    MicroTime,
    /// nested message
    Message(&'static Message),
    /// list of
    List(&'static Kind, ListKind),
    /// map from string to
    Map(&'static Kind),
}

/// How a list merges (server-side apply, strategic merge).
#[derive(Debug)]
pub enum ListKind {
    /// replaced as a whole
    Atomic,
    /// set of scalars
    Set,
    /// keyed
    Map(&'static [&'static str]),
}

/// When a field is emitted, per Go's tags.
#[derive(Debug, PartialEq, Eq)]
pub enum Presence {
    /// No omitempty: always.
    Always,
    /// omitempty.
    OmitEmpty,
    /// Pointer: nil differs from zero.
    Pointer,
}

/// A served type: group, version, kind and its root message.
#[derive(Debug)]
pub struct Type {
    /// API group, `""` for core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Root message.
    pub message: &'static Message,
}

/// A decoded body: the pruned, defaulted object, and what was wrong with its fields.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// JSON-shaped object with apiVersion and kind set.
    pub object: Value,
    /// Strict-decoding findings such as `unknown field "spec.foo"`.
    pub warnings: Vec<String>,
}

impl Type {
    /// `group/version`, or the version for core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.into()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
    /// Decodes a JSON body (also finds duplicate keys). Missing apiVersion/kind default to this type's; others: 400.
    pub fn decode_json(&self, _body: &[u8]) -> Result<Decoded, Status> {
        unimplemented!()
    }
    /// Same for an already parsed tree (YAML bodies, patched objects).
    pub fn decode_value(&self, _value: Value) -> Result<Decoded, Status> {
        unimplemented!()
    }
    /// Decodes `k8s\0` + Unknown envelope.
    pub fn decode_protobuf(&self, _body: &[u8]) -> Result<Value, Status> {
        unimplemented!()
    }
    /// JSON text in table order, apiVersion/kind first as Kubernetes prints (kind, apiVersion, metadata, …).
    pub fn encode_json(&self, _object: &Value) -> Vec<u8> {
        unimplemented!()
    }
    /// `k8s\0` + Unknown envelope; the stored form when resourceVersion is empty.
    pub fn encode_protobuf(&self, _object: &Value) -> Vec<u8> {
        unimplemented!()
    }
}
