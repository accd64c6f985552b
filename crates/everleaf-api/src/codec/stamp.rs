//! Stored bytes → the same bytes with a resourceVersion, without a tree between: what typed clients
//! are sent.
//!
//! Only for bytes as [`proto_write`] writes them, metadata first and its fields
//! by number. For all others the answer is None, and the way over the tree is right.

use super::proto_read::{Envelope, MAGIC, next_key, take, varint};
use super::proto_write;
use crate::schema::{Kind, Message, Type};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// The whole document.
pub(crate) fn document(ty: &Type, stored: &[u8], resource_version: &str) -> Option<Vec<u8>> {
    let pieces = Pieces::find(ty, stored, resource_version)?;
    let mut out = proto_write::envelope_begin(&ty.api_version(), ty.kind, pieces.len() + 64);
    pieces.nest(&mut out);
    out.extend_from_slice(&proto_write::ENVELOPE_END);
    Some(out)
}

/// Adds the object as an item of a list.
pub(crate) fn list_item(
    out: &mut Vec<u8>,
    ty: &Type,
    stored: &[u8],
    resource_version: &str,
) -> Option<()> {
    Pieces::find(ty, stored, resource_version)?.nest(out);
    Some(())
}

/// An object, cut where its resourceVersion is.
struct Pieces<'a> {
    /// Numbers of `metadata`, and of `resourceVersion` in it.
    numbers: (u32, u32),
    /// The fields of metadata before the resourceVersion, and after it.
    before: &'a [u8],
    version: &'a str,
    after: &'a [u8],
    /// What follows metadata.
    rest: &'a [u8],
}

impl<'a> Pieces<'a> {
    fn find(ty: &Type, stored: &'a [u8], version: &'a str) -> Option<Self> {
        let envelope = Envelope::read(stored.strip_prefix(MAGIC)?).ok()?;
        if !ty.accepts(&envelope.api_version, &envelope.kind) {
            return None;
        }
        let (metadata, table) = metadata(ty.message)?;
        let known = table.field("resourceVersion")?.number;
        let mut rest = envelope.raw;
        if next_key(&mut rest).ok()? != Some((metadata, WireType::LengthDelimited)) {
            return None;
        }
        let fields = take(&mut rest).ok()?;
        let mut after = fields;
        loop {
            let begin = after;
            let end = |rest: &[u8]| fields.len() - rest.len();
            match next_key(&mut after).ok()? {
                Some((number, wire)) if number < known => match wire {
                    WireType::Varint => drop(varint(&mut after).ok()?),
                    WireType::LengthDelimited => drop(take(&mut after).ok()?),
                    _ => return None,
                },
                Some((number, WireType::LengthDelimited)) if number == known => {
                    take(&mut after).ok()?;
                    return Some(Self {
                        numbers: (metadata, known),
                        before: &fields[..end(begin)],
                        version,
                        after,
                        rest,
                    });
                }
                // It is always written, even when empty.
                _ => return None,
            }
        }
    }

    fn metadata_len(&self) -> usize {
        let version = self.version.len();
        self.before.len() + 1 + encoded_len_varint(version as u64) + version + self.after.len()
    }

    fn len(&self) -> usize {
        let metadata = self.metadata_len();
        1 + encoded_len_varint(metadata as u64) + metadata + self.rest.len()
    }

    /// Writes the object as field 2: that of an envelope, and of a list.
    fn nest(&self, out: &mut Vec<u8>) {
        let (metadata, version) = self.numbers;
        out.reserve(self.len() + 16);
        length_delimited(out, 2, self.len());
        length_delimited(out, metadata, self.metadata_len());
        out.extend_from_slice(self.before);
        proto_write::bytes(out, version, self.version.as_bytes());
        out.extend_from_slice(self.after);
        out.extend_from_slice(self.rest);
    }
}

fn metadata(table: &'static Message) -> Option<(u32, &'static Message)> {
    let field = table.field("metadata")?;
    match &field.kind {
        // Keys of both fields are one byte.
        Kind::Message(metadata) if field.number < 16 => Some((field.number, metadata)),
        _ => None,
    }
}

fn length_delimited(out: &mut Vec<u8>, number: u32, length: usize) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CONFIG_MAP;

    fn stored(raw: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut stored = proto_write::envelope_begin("v1", "ConfigMap", 64);
        proto_write::nested(&mut stored, 2, raw);
        stored
    }

    /// What others wrote is read in full; only what we write ourselves is stamped.
    #[test]
    fn other_orders_are_left_to_the_tree() {
        let whole = stored(|raw| {
            proto_write::nested(raw, 1, |fields| {
                proto_write::bytes(fields, 1, b"a");
                proto_write::bytes(fields, 6, b"");
                proto_write::bytes(fields, 8, b"");
            });
        });
        let stamped = document(&CONFIG_MAP, &whole, "9").expect("as we write it");
        let object = CONFIG_MAP.decode_protobuf(&stamped).expect("sound");
        assert_eq!(object["metadata"]["resourceVersion"], "9");
        assert_eq!(object["metadata"]["name"], "a");
        let without_version = stored(|raw| {
            proto_write::nested(raw, 1, |fields| {
                proto_write::bytes(fields, 1, b"a");
                proto_write::bytes(fields, 8, b"");
            });
        });
        let metadata_later = stored(|raw| {
            proto_write::bytes(raw, 2, b"");
            proto_write::nested(raw, 1, |fields| proto_write::bytes(fields, 6, b""));
        });
        for others in [&without_version[..], &metadata_later, &whole[..20], b"k8s"] {
            assert_eq!(document(&CONFIG_MAP, others, "9"), None);
            assert_eq!(list_item(&mut Vec::new(), &CONFIG_MAP, others, "9"), None);
        }
    }
}
