//! One table per type: JSON name, protobuf number, kind, presence, list kind and one line of
//! documentation.
//!
//! Everything that reads or writes an object goes through these tables; nothing is written per
//! type. This module owns what a table *is* and the entry points; the work happens in `codec`, the
//! tables themselves are in [`types`](crate::types).
//!
//! An object in hand is a `serde_json::Value` in **canonical form**: exactly what a Kubernetes
//! server of version 1.37 would print for it, minus the `null`s. So a required string that was
//! absent is `""`, an embedded struct that was absent is `{}`, an empty optional list is absent,
//! times are whole seconds in UTC. Two objects that mean the same are equal trees.
//!
//! ```
//! use everleaf_api::types;
//!
//! let body = br#"{"metadata":{"name":"web","colour":"red"},"spec":{"signerName":"example.com/web","request":"aGk="}}"#;
//! let decoded = types::CERTIFICATE_SIGNING_REQUEST.decode_json(body)?;
//! assert_eq!(decoded.warnings, [r#"unknown field "metadata.colour""#]);
//! assert_eq!(decoded.object["kind"], "CertificateSigningRequest");
//! # Ok::<(), everleaf_api::Status>(())
//! ```

use crate::codec;
use crate::codec::proto_read::Wanted;
use bytes::Bytes;
use serde_json::Value;

pub use crate::codec::DecodeError;

/// Where messages are defined, as OpenAPI documents name it: `io.k8s.api.certificates.v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package(pub &'static str);

/// A message: an ordered table of fields (JSON is emitted in this order).
#[derive(Debug)]
pub struct Message {
    /// Where it is defined.
    pub package: Package,
    /// Name, e.g. `CertificateSigningRequestSpec`.
    pub name: &'static str,
    /// One line.
    pub doc: &'static str,
    /// The fields.
    pub fields: &'static [Field],
    /// Whoever applies it owns it as a whole (`x-kubernetes-map-type: atomic`).
    pub is_atomic: bool,
    /// Positions in `fields`, by ascending protobuf number: the order on the wire.
    by_number: [u8; FIELDS_MAX],
}

/// Most fields that one message may have.
pub(crate) const FIELDS_MAX: usize = 32;

/// One field.
#[derive(Debug)]
pub struct Field {
    /// JSON name.
    pub json: &'static str,
    /// Name in a decoded object: the JSON name, but for a type that shows objects of another
    /// ([`Field::held_as`]).
    pub member: &'static str,
    /// Protobuf field number.
    pub number: u32,
    /// What its value may be; anything else is 400.
    pub kind: Kind,
    /// When it is emitted.
    pub presence: Presence,
    /// How its list merges under a strategic merge patch.
    pub list_patch: ListPatch,
    /// An object without it is not whole, as OpenAPI documents tell.
    pub is_required: bool,
    /// Absent means zero, though it is not printed.
    pub is_zero_default: bool,
    /// The number that absent means, and that a server fills in.
    pub default: Option<i64>,
    /// Values that it, or each item of its list, may have; empty: any.
    pub values: &'static [&'static str],
    /// One line.
    pub doc: &'static str,
}

/// Type of a field.
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
    /// metav1.Time: RFC 3339 in whole seconds; `{seconds, nanos}` in protobuf
    Time,
    /// metav1.MicroTime: RFC 3339 with six digits
    MicroTime,
    /// resource.Quantity: a string such as `100Mi` (a bare number is accepted); `{string=1}` in
    /// protobuf
    Quantity,
    /// certificates' and authorization's ExtraValue: a list of strings; `{items=1}` in protobuf
    ExtraValue,
    /// metav1.FieldsV1: any JSON object, kept as its text; `{raw=1}` holding that text in protobuf
    FieldsV1,
    /// nested message
    Message(&'static Message),
    /// list of
    List(&'static Kind, ListKind),
    /// map from string to
    Map(&'static Kind),
}

/// How a list merges under server-side apply.
#[derive(Debug)]
pub enum ListKind {
    /// replaced as a whole
    Atomic,
    /// set of scalars
    Set,
    /// keyed
    Map(&'static [&'static str]),
}

/// How a list merges under a strategic merge patch, per Go's tags `patchStrategy` and
/// `patchMergeKey`. Not always as under server-side apply: the conditions of a signing request are
/// keyed there and replaced here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListPatch {
    /// No strategy: the list of the patch replaces the old one.
    Replace,
    /// `merge` without a key: scalars are added to those that are there.
    Union,
    /// `merge` with a key: objects that share the member's value merge.
    By(&'static str),
}

/// When a field is emitted, per Go's tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Not omitted in JSON: zero is printed (`""`, `{}`, and `null` for times, bytes and lists).
    /// Every embedded struct is of this sort.
    Always,
    /// Omitted from JSON when zero, still written to protobuf.
    OmitEmpty,
    /// Pointer: absent differs from zero, in both encodings.
    Pointer,
    /// Pointer that JSON does not omit: absent is printed as `null`.
    Nullable,
}

impl Presence {
    /// True when absent differs from zero.
    pub const fn is_pointer(self) -> bool {
        matches!(self, Self::Pointer | Self::Nullable)
    }

    /// True when JSON has the member even if the object has not.
    pub(crate) const fn is_always_printed(self) -> bool {
        matches!(self, Self::Always | Self::Nullable)
    }
}

/// A served type: group, version, kind and its root message.
#[derive(Debug)]
pub struct Type {
    /// API group, `""` for core.
    pub group: &'static str,
    /// As `v1`; with the group it is `apiVersion`.
    pub version: &'static str,
    /// As `CertificateSigningRequest`; a body of another kind is refused.
    pub kind: &'static str,
    /// Root message.
    pub message: &'static Message,
}

/// A decoded body: the pruned, canonical object, and what was wrong with its fields.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Canonical object with apiVersion and kind set.
    pub object: Value,
    /// Strict-decoding findings such as `unknown field "spec.foo"`, in document order, each once,
    /// at most [`WARNINGS_MAX`].
    pub warnings: Vec<String>,
}

/// Most findings reported for one body.
pub const WARNINGS_MAX: usize = 100;

/// What ends a protobuf document of any type, see [`Type::begin_list_protobuf`].
pub const LIST_PROTOBUF_END: [u8; 4] = codec::proto_write::ENVELOPE_END;

const UNMANAGED: Wanted<'static> = Wanted::But("metadata.managedFields");

/// One object's JSON text, ready to be sent alone, in a watch event or inside a list. Cloning
/// shares the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedJson {
    text: Bytes,
    /// Where the member after `kind` and `apiVersion` begins.
    body: usize,
}

impl Package {
    /// A table of this package. Evaluated at compile time: too many fields or a repeated number do
    /// not compile.
    pub const fn message(
        self,
        name: &'static str,
        doc: &'static str,
        fields: &'static [Field],
    ) -> Message {
        assert!(fields.len() <= FIELDS_MAX, "more fields than FIELDS_MAX");
        let mut by_number = [0u8; FIELDS_MAX];
        let mut placed = 0;
        while placed < fields.len() {
            // Insertion sort: the tables are short and this runs in the compiler.
            let mut at = placed;
            while at > 0 && fields[by_number[at - 1] as usize].number > fields[placed].number {
                by_number[at] = by_number[at - 1];
                at -= 1;
            }
            assert!(
                at == 0 || fields[by_number[at - 1] as usize].number != fields[placed].number,
                "two fields of one number"
            );
            by_number[at] = placed as u8;
            placed += 1;
        }
        Message {
            package: self,
            name,
            doc,
            fields,
            is_atomic: false,
            by_number,
        }
    }
}

impl Message {
    /// Whoever applies it owns it as a whole.
    pub const fn atomic(mut self) -> Self {
        self.is_atomic = true;
        self
    }

    /// The name that OpenAPI documents have for it: `io.k8s.api.core.v1.Secret`.
    pub fn definition(&self) -> String {
        format!("{}.{}", self.package.0, self.name)
    }

    /// The field of that JSON name (case-sensitive).
    pub fn field(&self, json: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.json == json)
    }

    /// The field of that protobuf number.
    pub fn field_by_number(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.number == number)
    }

    /// Places in `fields`, each with its protobuf number, in the order of these.
    pub(crate) fn places_by_number(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        let places = self.by_number[..self.fields.len()].iter();
        places.map(|place| (usize::from(*place), self.fields[usize::from(*place)].number))
    }

    /// The fields in the order of their protobuf numbers.
    pub fn fields_by_number(&self) -> impl Iterator<Item = &'static Field> + '_ {
        self.by_number[..self.fields.len()]
            .iter()
            .map(|index| &self.fields[usize::from(*index)])
    }
}

impl Field {
    /// One line of a table.
    pub const fn new(
        json: &'static str,
        number: u32,
        kind: Kind,
        presence: Presence,
        doc: &'static str,
    ) -> Self {
        Self {
            json,
            member: json,
            number,
            kind,
            presence,
            list_patch: ListPatch::Replace,
            is_required: false,
            is_zero_default: false,
            default: None,
            values: &[],
            doc,
        }
    }

    /// An object without it is not whole.
    pub const fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// Absent means zero, though it is not printed.
    pub const fn zero_by_default(mut self) -> Self {
        self.is_zero_default = true;
        self
    }

    /// Absent means this number, which a server fills in ([`Type::fill_defaults`]).
    pub const fn default_number(mut self, number: i64) -> Self {
        assert!(
            matches!(self.kind, Kind::Int32 | Kind::Int64) && self.presence.is_pointer(),
            "only of a number can one tell that it is absent"
        );
        self.default = Some(number);
        self
    }

    /// It, or each item of its list, is one of these, sorted.
    pub const fn one_of(mut self, values: &'static [&'static str]) -> Self {
        self.values = values;
        self
    }

    /// A decoded object has it under the name that another version of the type gives it: both
    /// versions are two views of one object.
    pub const fn held_as(mut self, member: &'static str) -> Self {
        self.member = member;
        self
    }

    /// A strategic merge patch adds to the list (`patchStrategy:"merge"`).
    pub const fn merged(mut self) -> Self {
        assert!(
            matches!(self.kind, Kind::List(..)),
            "only lists have a patch strategy"
        );
        self.list_patch = ListPatch::Union;
        self
    }

    /// A strategic merge patch merges the list's objects by this member
    /// (`patchStrategy:"merge" patchMergeKey:"…"`).
    pub const fn merged_by(self, key: &'static str) -> Self {
        let mut field = self.merged();
        field.list_patch = ListPatch::By(key);
        field
    }
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

    /// True when a body that names `api_version` and `kind` (either may be empty) is meant for this
    /// type. Options types (`meta.k8s.io`) are registered in every group, so any version is theirs:
    /// client-go sends DeleteOptions under the version of what it deletes.
    pub fn accepts(&self, api_version: &str, kind: &str) -> bool {
        let version_fits = api_version.is_empty()
            || self.group == "meta.k8s.io"
            || match api_version.split_once('/') {
                Some((group, version)) => group == self.group && version == self.version,
                None => self.group.is_empty() && api_version == self.version,
            };
        version_fits && (kind.is_empty() || kind == self.kind)
    }

    /// Decodes a JSON body. Keys are matched case-sensitively, unknown and repeated ones are
    /// reported in [`Decoded::warnings`] (the last of a repeated key wins). Missing apiVersion and
    /// kind default to this type's.
    ///
    /// # Errors
    /// Text that is not JSON (or nests deeper than 128), another type's apiVersion or kind, a value
    /// of the wrong type, naming the field.
    pub fn decode_json(&self, body: &[u8]) -> Result<Decoded, DecodeError> {
        codec::json_read::from_slice(self, body)
    }

    /// Same for an already parsed tree (YAML bodies, patched objects); repeated keys are gone by
    /// then.
    ///
    /// # Errors
    /// As [`Type::decode_json`].
    pub fn decode_value(&self, value: Value) -> Result<Decoded, DecodeError> {
        codec::json_read::from_value(self, value)
    }

    /// Decodes a protobuf body: `k8s\0`, then the `runtime.Unknown` envelope. Unknown fields are
    /// dropped.
    ///
    /// # Errors
    /// A missing prefix, malformed or over-deep bytes, or another type in the envelope.
    pub fn decode_protobuf(&self, body: &[u8]) -> Result<Value, DecodeError> {
        codec::proto_read::document(self, body, &Wanted::All)
    }

    /// The same of some members alone, named as `spec.signerName`: what a selector looks at costs
    /// no tree of the rest.
    ///
    /// # Errors
    /// As [`Type::decode_protobuf`], as far as it was read.
    pub fn decode_protobuf_members(
        &self,
        body: &[u8],
        only: &[&str],
    ) -> Result<Value, DecodeError> {
        let wanted = match only {
            [] => Wanted::All,
            some => Wanted::Only {
                paths: some.to_vec(),
                checks: false,
            },
        };
        codec::proto_read::document(self, body, &wanted)
    }

    /// The same of at least one member, of a body that could be read whole: any other is refused as
    /// [`Type::decode_protobuf`] refuses it.
    ///
    /// # Errors
    /// As [`Type::decode_protobuf`].
    pub fn decode_sound_protobuf_members(
        &self,
        body: &[u8],
        only: &[&str],
    ) -> Result<Value, DecodeError> {
        let wanted = Wanted::Only {
            paths: only.to_vec(),
            checks: true,
        };
        codec::proto_read::document(self, body, &wanted)
    }

    /// The same of all members but `metadata.managedFields`: half of the tree, and most clients do
    /// not look at it. A write without it keeps what there is.
    ///
    /// # Errors
    /// As [`Type::decode_protobuf`].
    pub fn decode_protobuf_unmanaged(&self, body: &[u8]) -> Result<Value, DecodeError> {
        codec::proto_read::document(self, body, &UNMANAGED)
    }

    /// A list of such objects, as [`Type::begin_list_protobuf`] begins one: its `metadata` and its
    /// `items`, these without apiVersion, kind and `metadata.managedFields`.
    ///
    /// # Errors
    /// As [`Type::decode_protobuf`].
    pub fn decode_list_protobuf_unmanaged(&self, body: &[u8]) -> Result<Value, DecodeError> {
        codec::proto_read::list(self, body, &UNMANAGED)
    }

    /// Fills in the numbers that absent fields mean, as a server does with what it decodes.
    pub fn fill_defaults(&self, object: &mut Value) {
        codec::defaults::fill(self.message, object);
    }

    /// JSON text in table order, kind and apiVersion first as Kubernetes prints it, no newline at
    /// the end. Members that the table does not know or whose type does not fit are left out.
    pub fn encode_json(&self, object: &Value) -> Vec<u8> {
        codec::json_write::document(self, object).0
    }

    /// The same text, able to serve as a list item too.
    pub fn encode(&self, object: &Value) -> EncodedJson {
        let (text, body) = codec::json_write::document(self, object);
        EncodedJson {
            text: text.into(),
            body,
        }
    }

    /// The text of what `stored` decodes to, under this resourceVersion: `stored` is what
    /// [`Type::encode_protobuf`] made, and no tree is made of it. None: it was made by others, and
    /// not in that form; decode it.
    pub fn transcode(&self, stored: &[u8], resource_version: &str) -> Option<EncodedJson> {
        let (text, body) = codec::transcode::document(self, stored, resource_version)?;
        Some(EncodedJson {
            text: text.into(),
            body,
        })
    }

    /// `k8s\0` + `runtime.Unknown` envelope, byte for byte what Go's generated code writes. The
    /// stored form when `metadata.resourceVersion` is empty.
    pub fn encode_protobuf(&self, object: &Value) -> Vec<u8> {
        codec::proto_write::document(self, object)
    }

    /// The document of what `stored` decodes to, under this resourceVersion: `stored` is what
    /// [`Type::encode_protobuf`] made, and no tree is made of it. None: it was made by others, and
    /// not in that form; decode it.
    pub fn stamp(&self, stored: &[u8], resource_version: &str) -> Option<Vec<u8>> {
        codec::stamp::document(self, stored, resource_version)
    }

    /// A list document of this type's items: kind `…List`, then `metadata` (resourceVersion,
    /// continue, remainingItemCount; see [`list_meta`](crate::meta::list_meta)) and the items,
    /// which upstream prints without kind and apiVersion.
    pub fn encode_list_json<'a>(
        &self,
        list_meta: &Value,
        items: impl IntoIterator<Item = &'a EncodedJson>,
    ) -> Vec<u8> {
        codec::json_write::list(self, list_meta, items.into_iter())
    }

    /// The beginning of the same list as protobuf, in its envelope: its items have `items_bytes`
    /// together, each as [`Type::encode_item_protobuf`] writes it, and after them comes
    /// [`LIST_PROTOBUF_END`].
    pub fn begin_list_protobuf(&self, list_meta: &Value, items_bytes: usize) -> Vec<u8> {
        codec::proto_write::list_begin(self, list_meta, items_bytes)
    }

    /// Adds one item of that list to `out`.
    pub fn encode_item_protobuf(&self, out: &mut Vec<u8>, item: &Value) {
        codec::proto_write::list_item(out, self, item);
    }

    /// Adds as an item of that list what [`Type::stamp`] makes of `stored`. None: nothing was
    /// added; decode it.
    pub fn stamp_item(
        &self,
        out: &mut Vec<u8>,
        stored: &[u8],
        resource_version: &str,
    ) -> Option<()> {
        codec::stamp::list_item(out, self, stored, resource_version)
    }
}

impl EncodedJson {
    /// The whole document, with kind and apiVersion: for a single object or a watch event.
    pub fn document(&self) -> &Bytes {
        &self.text
    }

    /// What follows the opening brace of a list item: the document without kind and apiVersion,
    /// closing brace included.
    pub fn item_body(&self) -> &[u8] {
        &self.text[self.body..]
    }
}
