//! Stored bytes → JSON text, without a tree between: what is read most is written so.
//!
//! Only for bytes as [`proto_write`](super::proto_write) writes them: fields by number, each once,
//! maps by key. For all others the answer is None, and the way over the tree is right.

use super::json_write::{json_text, string, type_meta};
use super::proto_read::{
    Envelope, MAGIC, bytes_field, next_key, string_field, take, time, varint, wire_of,
};
use super::{quantity, zero};
use crate::schema::{FIELDS_MAX, Field, Kind, Message, Presence, Type};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::encoding::WireType;
use serde_json::Value;

/// The text, and where the member after `kind` and `apiVersion` begins. The object shows
/// `resource_version` as its own.
pub(crate) fn document(
    ty: &Type,
    stored: &[u8],
    resource_version: &str,
) -> Option<(Vec<u8>, usize)> {
    let envelope = Envelope::read(stored.strip_prefix(MAGIC)?).ok()?;
    if !ty.accepts(&envelope.api_version, &envelope.kind) {
        return None;
    }
    let mut out = Vec::with_capacity(stored.len() * 3 / 2 + 256);
    type_meta(&mut out, ty.kind, &ty.api_version());
    // The comma belongs to the document, not to the item form.
    out.push(b',');
    let body = out.len();
    members(&mut out, ty.message, envelope.raw, Some(resource_version))?;
    if out.len() == body {
        out.pop();
        out.push(b'}');
        return Some((out, body - 1));
    }
    out.push(b'}');
    Some((out, body))
}

/// What one field has in a message: all its occurrences, keys included; they follow one another.
#[derive(Clone, Copy, Default)]
struct Span {
    begin: usize,
    end: usize,
}

/// The members without braces, comma-separated.
fn members(
    out: &mut Vec<u8>,
    table: &'static Message,
    source: &[u8],
    resource_version: Option<&str>,
) -> Option<()> {
    let spans = spans(table, source)?;
    let start = out.len();
    for (field, span) in table.fields.iter().zip(spans) {
        let rollback = out.len();
        if out.len() > start {
            out.push(b',');
        }
        string(out, field.json);
        out.push(b':');
        // Only the metadata of the object itself has it, and only the object has metadata first.
        let shown = resource_version.filter(|_| match field.kind {
            Kind::Message(_) => field.json == "metadata",
            _ => field.json == "resourceVersion",
        });
        if !member(out, field, &source[span.begin..span.end], shown)? {
            out.truncate(rollback);
        }
    }
    Some(())
}

/// Where each field of a table is, by its place in the table. None: not in ascending order, or one
/// that the table does not know.
fn spans(table: &'static Message, source: &[u8]) -> Option<[Span; FIELDS_MAX]> {
    let mut spans = [Span::default(); FIELDS_MAX];
    let mut rest = source;
    let mut order = table.places_by_number();
    let (mut place, mut known) = order.next()?;
    loop {
        let begin = source.len() - rest.len();
        let Some((number, wire)) = next_key(&mut rest).ok()? else {
            return Some(spans);
        };
        while known != number {
            (place, known) = order.next()?;
        }
        let field = &table.fields[place];
        let span = &mut spans[place];
        let is_repeated = matches!(field.kind, Kind::List(..) | Kind::Map(_));
        if wire != wire_of(&field.kind) || (span.end > 0 && !is_repeated) {
            return None;
        }
        match wire {
            WireType::Varint => drop(varint(&mut rest).ok()?),
            _ => drop(take(&mut rest).ok()?),
        }
        if span.end == 0 {
            span.begin = begin;
        }
        span.end = source.len() - rest.len();
    }
}

/// The value of a member; false when the text leaves it out.
fn member(
    out: &mut Vec<u8>,
    field: &'static Field,
    mut occurrences: &[u8],
    resource_version: Option<&str>,
) -> Option<bool> {
    let is_always = field.presence.is_always_printed();
    if let (Kind::String, Some(shown)) = (&field.kind, resource_version) {
        string(out, shown);
        return Some(!shown.is_empty());
    }
    if occurrences.is_empty() {
        return absent(out, field, resource_version);
    }
    let omits_empty = field.presence == Presence::OmitEmpty;
    match &field.kind {
        Kind::List(item, _) => {
            out.push(b'[');
            let mut is_first = true;
            while next_key(&mut occurrences).ok()?.is_some() {
                if !std::mem::take(&mut is_first) {
                    out.push(b',');
                }
                single(out, item, take(&mut occurrences).ok()?)?;
            }
            out.push(b']');
            Some(true)
        }
        Kind::Map(item) => {
            map(out, item, occurrences)?;
            Some(true)
        }
        Kind::Bool | Kind::Int32 | Kind::Int64 => number(out, field, occurrences),
        kind => {
            next_key(&mut occurrences).ok()?;
            let payload = take(&mut occurrences).ok()?;
            match kind {
                Kind::Message(table) => {
                    out.push(b'{');
                    members(out, table, payload, resource_version)?;
                    out.push(b'}');
                    return Some(true);
                }
                Kind::String | Kind::Bytes if omits_empty && payload.is_empty() => {
                    return Some(false);
                }
                // A nil one is not written, an empty one may be: the tree knows what that means.
                Kind::ExtraValue if payload.is_empty() => return None,
                _ => {}
            }
            if single(out, kind, payload)? {
                return Some(true);
            }
            // An unset time or quantity.
            if is_always {
                out.extend_from_slice(b"null");
            }
            Some(is_always)
        }
    }
}

/// A truth value or a number; false when the text leaves it out.
fn number(out: &mut Vec<u8>, field: &'static Field, mut occurrence: &[u8]) -> Option<bool> {
    next_key(&mut occurrence).ok()?;
    let value = varint(&mut occurrence).ok()?;
    let number = match field.kind {
        Kind::Int32 => i64::from(value as i32),
        _ => value as i64,
    };
    match field.kind {
        _ if field.presence == Presence::OmitEmpty && number == 0 => return Some(false),
        Kind::Bool if value == 0 => out.extend_from_slice(b"false"),
        Kind::Bool => out.extend_from_slice(b"true"),
        _ => out.extend_from_slice(number.to_string().as_bytes()),
    }
    Some(true)
}

/// What the text says of a field that is not there.
fn absent(
    out: &mut Vec<u8>,
    field: &'static Field,
    resource_version: Option<&str>,
) -> Option<bool> {
    match (field.presence, &field.kind) {
        (Presence::Nullable, _) => out.extend_from_slice(b"null"),
        (Presence::Always, Kind::Message(table)) => {
            out.push(b'{');
            members(out, table, &[], resource_version)?;
            out.push(b'}');
        }
        (Presence::Always, kind) => match zero(kind) {
            None => out.extend_from_slice(b"null"),
            Some(Value::String(_)) => out.extend_from_slice(b"\"\""),
            Some(Value::Bool(_)) => out.extend_from_slice(b"false"),
            Some(Value::Number(_)) => out.push(b'0'),
            Some(_) => return None,
        },
        _ => return Some(false),
    }
    Some(true)
}

/// A length-delimited value; false, and nothing written, for an unset time or quantity.
fn single(out: &mut Vec<u8>, kind: &'static Kind, payload: &[u8]) -> Option<bool> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    match kind {
        Kind::String => string(out, text(payload)?),
        Kind::Bytes => {
            out.push(b'"');
            let at = out.len();
            out.resize(at + payload.len().div_ceil(3) * 4, 0);
            STANDARD.encode_slice(payload, &mut out[at..]).ok()?;
            out.push(b'"');
        }
        Kind::Time | Kind::MicroTime => match time(kind, payload).ok()? {
            Some(Value::String(text)) => string(out, &text),
            _ => return Some(false),
        },
        Kind::Quantity => {
            let text = string_field(payload).ok()?.unwrap_or_default();
            if text.is_empty() {
                return Some(false);
            }
            string(out, &quantity::canonical(&text)?);
        }
        Kind::ExtraValue => {
            let mut rest = payload;
            out.push(b'[');
            let mut is_first = true;
            while let Some((number, wire)) = next_key(&mut rest).ok()? {
                if (number, wire) != (1, WireType::LengthDelimited) {
                    return None;
                }
                if !std::mem::take(&mut is_first) {
                    out.push(b',');
                }
                string(out, text(take(&mut rest).ok()?)?);
            }
            out.push(b']');
        }
        Kind::FieldsV1 => json_text(out, text(bytes_field(payload).ok()??)?),
        Kind::Message(table) => {
            out.push(b'{');
            members(out, table, payload, None)?;
            out.push(b'}');
        }
        Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::List(..) | Kind::Map(_) => return None,
    }
    Some(true)
}

/// Entries of key 1 and value 2, by ascending key.
fn map(out: &mut Vec<u8>, item: &'static Kind, mut occurrences: &[u8]) -> Option<()> {
    let mut last: Option<&[u8]> = None;
    out.push(b'{');
    while next_key(&mut occurrences).ok()?.is_some() {
        let mut entry = take(&mut occurrences).ok()?;
        let mut part = |number| {
            let key = next_key(&mut entry).ok()??;
            let is_next = key == (number, WireType::LengthDelimited);
            is_next.then(|| take(&mut entry).ok())?
        };
        let (key, value) = (part(1)?, part(2)?);
        if !entry.is_empty() || last.is_some_and(|last| last >= key) {
            return None;
        }
        if last.is_some() {
            out.push(b',');
        }
        last = Some(key);
        string(out, std::str::from_utf8(key).ok()?);
        out.push(b':');
        if !single(out, item, value)? {
            return None;
        }
    }
    out.push(b'}');
    Some(())
}
