//! Protobuf → canonical object.
//!
//! Recursion follows the tables, which do not recurse; groups of unknown fields are bounded by
//! prost. Unknown fields are dropped: the tables hold every field that Kubernetes 1.37 knows, and
//! an object here is a tree of those.

use super::budget::{Budget, LIST_ITEMS_MAX};
use super::time::Instant;
use super::{DecodeError, fill, is_left_out, json_any, quantity, scalar, zero_item};
use crate::schema::{Field, Kind, Message, Type};
use crate::types::meta::LIST_META;
use bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use serde_json::{Map, Value, json};

/// What every protobuf document and every stored value begins with.
pub(crate) const MAGIC: &[u8; 4] = b"k8s\0";

/// Which members (paths with dots) are read.
#[derive(Clone, Debug, Default)]
pub(crate) enum Wanted<'a> {
    /// All.
    #[default]
    All,
    /// All but this one.
    But(&'a str),
    /// These, and what is below them.
    Only {
        paths: Vec<&'a str>,
        /// What is not kept is refused as if it were.
        checks: bool,
    },
}

impl Wanted<'_> {
    /// What is wanted below a member, or None when nothing is.
    fn below(&self, member: &str) -> Option<Self> {
        match self {
            Self::All => Some(Self::All),
            Self::But(path) => match path.strip_prefix(member) {
                Some("") => None,
                Some(rest) => Some(rest.strip_prefix('.').map_or(Self::All, Self::But)),
                None => Some(Self::All),
            },
            Self::Only { paths, checks } => {
                let mut below = Vec::new();
                for path in paths {
                    match path.strip_prefix(member) {
                        Some("") => return Some(Self::All),
                        Some(rest) => below.extend(rest.strip_prefix('.')),
                        None => {}
                    }
                }
                let (paths, checks) = (below, *checks);
                (!paths.is_empty()).then_some(Self::Only { paths, checks })
            }
        }
    }

    const fn checks(&self) -> bool {
        matches!(self, Self::Only { checks: true, .. })
    }
}

pub(crate) fn document(ty: &Type, body: &[u8], wanted: &Wanted<'_>) -> Result<Value, DecodeError> {
    let bad = |reason: String| DecodeError::mismatch(ty, format!("protobuf: {reason}"));
    let envelope = envelope(ty, body)?;
    if !ty.accepts(&envelope.api_version, &envelope.kind) {
        let (api_version, kind) = (&envelope.api_version, &envelope.kind);
        return Err(DecodeError::other_type(ty, api_version, kind));
    }
    let mut object = Map::new();
    let budget = &mut Budget::new();
    message(ty.message, envelope.raw, &mut object, wanted, budget).map_err(bad)?;
    object.insert("apiVersion".into(), Value::String(ty.api_version()));
    object.insert("kind".into(), ty.kind.into());
    Ok(Value::Object(object))
}

/// A list of such objects: `metadata` and `items`, these without apiVersion and kind.
pub(crate) fn list(ty: &Type, body: &[u8], wanted: &Wanted<'_>) -> Result<Value, DecodeError> {
    let bad = |reason: String| DecodeError::mismatch(ty, format!("protobuf: {reason}"));
    let envelope = envelope(ty, body)?;
    let kind = envelope.kind.strip_suffix("List").unwrap_or_default();
    if kind.is_empty() || !ty.accepts(&envelope.api_version, kind) {
        let (api_version, kind) = (&envelope.api_version, &envelope.kind);
        return Err(DecodeError::other_type(ty, api_version, kind));
    }
    let mut source = envelope.raw;
    let (mut metadata, mut items) = (Map::new(), Vec::new());
    while let Some((number, wire)) = next_key(&mut source).map_err(bad)? {
        match (number, wire) {
            (1, WireType::LengthDelimited) => {
                let payload = take(&mut source).map_err(bad)?;
                let budget = &mut Budget::new();
                message(&LIST_META, payload, &mut metadata, &Wanted::All, budget).map_err(bad)?;
            }
            (2, WireType::LengthDelimited) => {
                let payload = take(&mut source).map_err(bad)?;
                let mut item = Map::new();
                let budget = &mut Budget::new();
                message(ty.message, payload, &mut item, wanted, budget).map_err(bad)?;
                items.push(Value::Object(item));
                if items.len() > LIST_ITEMS_MAX {
                    let reason = format!("the list holds more than {LIST_ITEMS_MAX} items");
                    return Err(bad(reason));
                }
            }
            _ => skip(number, wire, &mut source).map_err(bad)?,
        }
    }
    Ok(json!({"metadata": metadata, "items": items}))
}

fn envelope<'a>(ty: &Type, body: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
    let Some(envelope) = body.strip_prefix(MAGIC) else {
        return Err(DecodeError::NotProtobuf);
    };
    let bad = |reason: String| DecodeError::mismatch(ty, format!("protobuf: {reason}"));
    if envelope.is_empty() {
        return Err(bad("nothing follows the magic bytes".to_owned()));
    }
    Envelope::read(envelope).map_err(bad)
}

/// `runtime.Unknown`.
#[derive(Default)]
pub(super) struct Envelope<'a> {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    pub(super) fn read(mut source: &'a [u8]) -> Result<Self, String> {
        let mut envelope = Envelope::default();
        while let Some((number, wire)) = next_key(&mut source)? {
            match (number, wire) {
                (1, WireType::LengthDelimited) => {
                    let mut type_meta = take(&mut source)?;
                    while let Some((number, wire)) = next_key(&mut type_meta)? {
                        match (number, wire) {
                            (1, WireType::LengthDelimited) => {
                                envelope.api_version = text(take(&mut type_meta)?)?;
                            }
                            (2, WireType::LengthDelimited) => {
                                envelope.kind = text(take(&mut type_meta)?)?;
                            }
                            _ => skip(number, wire, &mut type_meta)?,
                        }
                    }
                }
                (2, WireType::LengthDelimited) => envelope.raw = take(&mut source)?,
                (3, WireType::LengthDelimited) => {
                    if !take(&mut source)?.is_empty() {
                        return Err("the envelope's contentEncoding is not supported".into());
                    }
                }
                _ => skip(number, wire, &mut source)?,
            }
        }
        Ok(envelope)
    }
}

/// The type and the object of a bare `WatchEvent`.
pub(crate) fn watch_event(mut source: &[u8]) -> Result<(&str, &[u8]), String> {
    let (mut kind, mut object) = ("", &[][..]);
    while let Some((number, wire)) = next_key(&mut source)? {
        match (number, wire) {
            (1, WireType::LengthDelimited) => {
                let name = std::str::from_utf8(take(&mut source)?);
                kind = name.map_err(|_| "its type is not UTF-8")?;
            }
            (2, WireType::LengthDelimited) => {
                object = bytes_field(take(&mut source)?)?.unwrap_or_default();
            }
            _ => skip(number, wire, &mut source)?,
        }
    }
    Ok((kind, object))
}

fn message(
    table: &'static Message,
    mut source: &[u8],
    object: &mut Map<String, Value>,
    wanted: &Wanted<'_>,
    budget: &mut Budget,
) -> Result<(), String> {
    budget.object()?;
    while let Some((number, wire)) = next_key(&mut source)? {
        let Some(field) = table.field_by_number(number) else {
            skip(number, wire, &mut source)?;
            continue;
        };
        let at = |reason| format!("{}.{}: {reason}", table.name, field.json);
        let Some(below) = wanted.below(field.member) else {
            if wanted.checks() {
                budget.value()?;
                check(&field.kind, wire, &mut source, budget).map_err(at)?;
            } else {
                skip(number, wire, &mut source)?;
            }
            continue;
        };
        budget.value()?;
        value(field, wire, &mut source, object, &below, budget).map_err(at)?;
    }
    fill(table, object);
    Ok(())
}

/// Refuses one occurrence of a field as [`value`] does, and keeps nothing.
fn check(
    kind: &'static Kind,
    wire: WireType,
    source: &mut &[u8],
    budget: &mut Budget,
) -> Result<(), String> {
    expect(wire, kind)?;
    match kind {
        Kind::Bool | Kind::Int32 | Kind::Int64 => varint(source).map(drop),
        Kind::Map(item) => entry(item, take(source)?, budget).map(drop),
        Kind::List(item, _) => check_single(item, take(source)?, budget),
        kind => check_single(kind, take(source)?, budget),
    }
}

/// The same of [`single`].
fn check_single(kind: &'static Kind, payload: &[u8], budget: &mut Budget) -> Result<(), String> {
    match kind {
        Kind::String => utf8(payload).map(drop),
        Kind::Bytes => Ok(()),
        Kind::Message(table) => {
            budget.object()?;
            let mut source = payload;
            while let Some((number, wire)) = next_key(&mut source)? {
                let Some(field) = table.field_by_number(number) else {
                    skip(number, wire, &mut source)?;
                    continue;
                };
                budget.value()?;
                check(&field.kind, wire, &mut source, budget)
                    .map_err(|reason| format!("{}.{}: {reason}", table.name, field.json))?;
            }
            Ok(())
        }
        // Short or rare.
        kind => single(kind, payload, budget).map(drop),
    }
}

/// How values of a kind are on the wire.
pub(super) fn wire_of(kind: &Kind) -> WireType {
    match kind {
        Kind::Bool | Kind::Int32 | Kind::Int64 => WireType::Varint,
        _ => WireType::LengthDelimited,
    }
}

fn expect(wire: WireType, kind: &Kind) -> Result<(), String> {
    let expected = wire_of(kind);
    if wire == expected {
        return Ok(());
    }
    let (wire, expected) = (wire_words(wire), wire_words(expected));
    Err(format!("its wire type is {wire}, expected was {expected}"))
}

fn wire_words(wire: WireType) -> &'static str {
    match wire {
        WireType::Varint => "a varint",
        WireType::SixtyFourBit => "64 bits",
        WireType::LengthDelimited => "a length and bytes",
        WireType::StartGroup | WireType::EndGroup => "a group",
        WireType::ThirtyTwoBit => "32 bits",
    }
}

/// One occurrence of a field: sets it, or adds to what earlier occurrences left.
fn value(
    field: &'static Field,
    wire: WireType,
    source: &mut &[u8],
    object: &mut Map<String, Value>,
    wanted: &Wanted<'_>,
    budget: &mut Budget,
) -> Result<(), String> {
    expect(wire, &field.kind)?;
    match &field.kind {
        Kind::Message(table) => {
            let payload = take(source)?;
            let slot = object
                .entry(field.member)
                .or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = slot else {
                unreachable!("invariant: a message field only ever holds an object")
            };
            message(table, payload, inner, wanted, budget)
        }
        Kind::List(item, _) => {
            let value = single(item, take(source)?, budget)?;
            let slot = object
                .entry(field.member)
                .or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(items) = slot else {
                unreachable!("invariant: a list field only ever holds an array")
            };
            items.push(value.unwrap_or_else(|| zero_item(item)));
            Ok(())
        }
        Kind::Map(item) => {
            let (key, value) = entry(item, take(source)?, budget)?;
            let slot = object
                .entry(field.member)
                .or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(members) = slot else {
                unreachable!("invariant: a map field only ever holds an object")
            };
            members.insert(key, value);
            Ok(())
        }
        kind => {
            let value = match kind {
                Kind::Bool => Some(Value::Bool(varint(source)? != 0)),
                // Go keeps the low bits, as protobuf prescribes.
                Kind::Int32 => Some(Value::from(varint(source)? as i32)),
                Kind::Int64 => Some(Value::from(varint(source)? as i64)),
                kind => single(kind, take(source)?, budget)?,
            };
            match value.filter(|value| !is_left_out(field, value)) {
                Some(value) => object.insert(field.member.to_owned(), value),
                None => object.remove(field.member),
            };
            Ok(())
        }
    }
}

/// A length-delimited value of any kind; None for an empty time.
fn single(
    kind: &'static Kind,
    payload: &[u8],
    budget: &mut Budget,
) -> Result<Option<Value>, String> {
    let value = match kind {
        Kind::String => Value::String(text(payload)?),
        Kind::Bytes => Value::String(scalar::base64_text(payload)),
        Kind::Time | Kind::MicroTime => return time(kind, payload),
        Kind::Quantity => {
            let text = string_field(payload)?.unwrap_or_default();
            if text.is_empty() {
                return Ok(None);
            }
            Value::String(quantity::canonical(&text).ok_or("not a quantity")?)
        }
        Kind::ExtraValue => {
            let mut source = payload;
            let mut items = Vec::new();
            while let Some((number, wire)) = next_key(&mut source)? {
                if (number, wire) == (1, WireType::LengthDelimited) {
                    budget.value()?;
                    items.push(Value::String(text(take(&mut source)?)?));
                } else {
                    skip(number, wire, &mut source)?;
                }
            }
            Value::Array(items)
        }
        Kind::FieldsV1 => {
            let raw = bytes_field(payload)?.unwrap_or(b"{}");
            json_any::check(raw, budget)?;
            Value::String(text(raw)?)
        }
        Kind::Message(table) => {
            let mut object = Map::new();
            message(table, payload, &mut object, &Wanted::All, budget)?;
            Value::Object(object)
        }
        Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::List(..) | Kind::Map(_) => {
            unreachable!("invariant: no table nests lists, or lists numbers")
        }
    };
    Ok(Some(value))
}

/// `Timestamp{seconds=1, nanos=2}`; empty is unset.
pub(super) fn time(kind: &Kind, mut payload: &[u8]) -> Result<Option<Value>, String> {
    if payload.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0i64, 0i32);
    while let Some((number, wire)) = next_key(&mut payload)? {
        match (number, wire) {
            (1, WireType::Varint) => seconds = varint(&mut payload)? as i64,
            (2, WireType::Varint) => nanos = varint(&mut payload)? as i32,
            _ => skip(number, wire, &mut payload)?,
        }
    }
    // metav1.Time ignores the nanoseconds of the wire.
    let nanos = if matches!(kind, Kind::Time) { 0 } else { nanos };
    let instant = u32::try_from(nanos)
        .ok()
        .and_then(|nanos| Instant::new(seconds, nanos))
        .ok_or_else(|| format!("{seconds} s and {nanos} ns is no time of the years 0 to 9999"))?;
    Ok(match kind {
        _ if instant.is_go_zero() => None,
        Kind::Time => Some(Value::String(instant.time_text())),
        _ => Some(Value::String(instant.micro_time_text())),
    })
}

/// A map entry: key = 1, value = 2.
fn entry(
    kind: &'static Kind,
    mut payload: &[u8],
    budget: &mut Budget,
) -> Result<(String, Value), String> {
    let mut key = String::new();
    let mut value = None;
    while let Some((number, wire)) = next_key(&mut payload)? {
        match (number, wire) {
            (1, WireType::LengthDelimited) => key = text(take(&mut payload)?)?,
            (2, WireType::LengthDelimited) => value = single(kind, take(&mut payload)?, budget)?,
            _ => skip(number, wire, &mut payload)?,
        }
    }
    Ok((key, value.unwrap_or_else(|| zero_item(kind))))
}

/// Field 1 of a message of one string.
pub(super) fn string_field(payload: &[u8]) -> Result<Option<String>, String> {
    bytes_field(payload)?.map(text).transpose()
}

pub(super) fn bytes_field(mut payload: &[u8]) -> Result<Option<&[u8]>, String> {
    let mut found = None;
    while let Some((number, wire)) = next_key(&mut payload)? {
        if (number, wire) == (1, WireType::LengthDelimited) {
            found = Some(take(&mut payload)?);
        } else {
            skip(number, wire, &mut payload)?;
        }
    }
    Ok(found)
}

// === The wire, over a slice ===

/// The next field's number and wire type; None at the end.
pub(super) fn next_key(source: &mut &[u8]) -> Result<Option<(u32, WireType)>, String> {
    if !source.has_remaining() {
        return Ok(None);
    }
    decode_key(source)
        .map(Some)
        .map_err(|_| "truncated: no field begins there".to_owned())
}

pub(super) fn varint(source: &mut &[u8]) -> Result<u64, String> {
    decode_varint(source).map_err(|_| "truncated: a number has no end".to_owned())
}

/// A length-delimited payload, without copying.
pub(super) fn take<'a>(source: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let length = varint(source)?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= source.len());
    let Some(length) = length else {
        return Err("truncated: a length reaches past the end".into());
    };
    let (payload, rest) = source.split_at(length);
    *source = rest;
    Ok(payload)
}

fn text(payload: &[u8]) -> Result<String, String> {
    utf8(payload).map(str::to_owned)
}

fn utf8(payload: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(payload).map_err(|_| "not UTF-8".into())
}

fn skip(number: u32, wire: WireType, source: &mut &[u8]) -> Result<(), String> {
    skip_field(wire, number, source, DecodeContext::default())
        .map_err(|_| format!("truncated: field {number} has no end"))
}
