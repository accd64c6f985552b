//! Canonical object → JSON text as Go writes it: table order, HTML-safe escapes, `null` where a
//! required time, list or byte string is unset.

use super::{is_left_out, sorted_entries, zero};
use crate::schema::{EncodedJson, Kind, Message, Presence, Type};
use serde_json::{Map, Value};

/// The text, and where the member after `kind` and `apiVersion` begins.
pub(crate) fn document(ty: &Type, object: &Value) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(2048);
    type_meta(&mut out, ty.kind, &ty.api_version());
    let empty = Map::new();
    let members = object.as_object().unwrap_or(&empty);
    // The comma belongs to the document, not to the item form.
    out.push(b',');
    let body = out.len();
    members_of(&mut out, ty.message, members);
    if out.len() == body {
        out.pop();
        out.push(b'}');
        return (out, body - 1);
    }
    out.push(b'}');
    (out, body)
}

pub(crate) fn list<'a>(
    ty: &Type,
    list_meta: &Value,
    items: impl Iterator<Item = &'a EncodedJson>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    type_meta(&mut out, &format!("{}List", ty.kind), &ty.api_version());
    out.extend_from_slice(b",\"metadata\":");
    message(&mut out, &crate::types::meta::LIST_META, list_meta);
    out.extend_from_slice(b",\"items\":[");
    for (index, item) in items.enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        out.extend_from_slice(item.item_body());
    }
    out.extend_from_slice(b"]}");
    out
}

/// `{"kind":…,"apiVersion":…`
pub(super) fn type_meta(out: &mut Vec<u8>, kind: &str, api_version: &str) {
    out.extend_from_slice(b"{\"kind\":");
    string(out, kind);
    out.extend_from_slice(b",\"apiVersion\":");
    string(out, api_version);
}

fn message(out: &mut Vec<u8>, table: &Message, value: &Value) {
    out.push(b'{');
    if let Value::Object(members) = value {
        members_of(out, table, members);
    } else {
        members_of(out, table, &Map::new());
    }
    out.push(b'}');
}

/// The members without braces, comma-separated.
fn members_of(out: &mut Vec<u8>, table: &Message, members: &Map<String, Value>) {
    let start = out.len();
    for field in table.fields {
        let present = members
            .get(field.member)
            .filter(|value| fits(&field.kind, value));
        let always_printed = field.presence.is_always_printed();
        if present.is_none() && !always_printed {
            continue;
        }
        // A list that is there and empty is one that somebody made: what was decoded has none.
        let is_made = |value: &Value| field.presence == Presence::Always && value.is_array();
        let left_out = present.is_none_or(|value| is_left_out(field, value) && !is_made(value));
        if left_out && !always_printed {
            continue;
        }
        if out.len() > start {
            out.push(b',');
        }
        string(out, field.json);
        out.push(b':');
        match present.filter(|_| !left_out) {
            Some(value) => one(out, &field.kind, value),
            None if field.presence == Presence::Nullable => out.extend_from_slice(b"null"),
            None => match (&field.kind, zero(&field.kind)) {
                (Kind::Message(table), _) => message(out, table, &Value::Null),
                (kind, Some(value)) => one(out, kind, &value),
                (_, None) => out.extend_from_slice(b"null"),
            },
        }
    }
}

/// True when a value has the JSON sort that the kind asks for.
fn fits(kind: &Kind, value: &Value) -> bool {
    match kind {
        Kind::Bool => value.is_boolean(),
        Kind::Int32 | Kind::Int64 => value.is_i64(),
        Kind::String | Kind::Bytes | Kind::Time | Kind::MicroTime | Kind::Quantity => {
            value.is_string()
        }
        // An object that was written by hand may have the tree of that text.
        Kind::FieldsV1 => value.is_string() || value.is_object(),
        Kind::ExtraValue | Kind::List(..) => value.is_array(),
        Kind::Message(_) | Kind::Map(_) => value.is_object(),
    }
}

/// One value that is known to fit, or zero in its place.
fn one(out: &mut Vec<u8>, kind: &Kind, value: &Value) {
    match (kind, value) {
        (Kind::Message(table), value) => message(out, table, value),
        (Kind::List(item, _), Value::Array(items)) => array(out, item, items),
        (Kind::ExtraValue, Value::Array(items)) => array(out, &Kind::String, items),
        (Kind::Map(item), Value::Object(members)) => {
            out.push(b'{');
            for (index, (key, value)) in sorted_entries(members).into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                string(out, key);
                out.push(b':');
                item_or_zero(out, item, value);
            }
            out.push(b'}');
        }
        (Kind::FieldsV1, Value::String(text)) => json_text(out, text),
        (_, value) => any(out, value),
    }
}

/// A JSON text as it is, but for Go's escapes.
pub(super) fn json_text(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'<' => out.extend_from_slice(b"\\u003c"),
            b'>' => out.extend_from_slice(b"\\u003e"),
            b'&' => out.extend_from_slice(b"\\u0026"),
            byte => out.push(byte),
        }
    }
}

fn array(out: &mut Vec<u8>, item: &Kind, items: &[Value]) {
    out.push(b'[');
    for (index, value) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item_or_zero(out, item, value);
    }
    out.push(b']');
}

fn item_or_zero(out: &mut Vec<u8>, item: &Kind, value: &Value) {
    if fits(item, value) {
        one(out, item, value);
    } else {
        one(out, item, &super::zero_item(item));
    }
}

/// Any JSON, members by name.
pub(crate) fn any(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                any(out, item);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (index, (key, value)) in sorted_entries(members).into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                string(out, key);
                out.push(b':');
                any(out, value);
            }
            out.push(b'}');
        }
    }
}

/// Bytes that may need an escape: most need none, and this loop is where encoding spends its time.
static NEEDS_A_LOOK: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] =
            byte < 0x20 || matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xa8 | 0xa9);
        byte += 1;
    }
    table
};

/// A string with Go's escapes: `<`, `>`, `&` and the two line separators of JavaScript are escaped
/// as well.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut copied = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if !NEEDS_A_LOOK[usize::from(*byte)] {
            continue;
        }
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            b'<' | b'>' | b'&' | 0..0x20 => &[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ],
            // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
            0xa8 if bytes[..index].ends_with(&[0xe2, 0x80]) => b"\\u2028",
            0xa9 if bytes[..index].ends_with(&[0xe2, 0x80]) => b"\\u2029",
            _ => continue,
        };
        let end = if *byte >= 0x80 { index - 2 } else { index };
        out.extend_from_slice(&bytes[copied..end]);
        out.extend_from_slice(escape);
        copied = index + 1;
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        for (text, escaped) in [
            ("plain ünïcode ☃ 𝄞", r#""plain ünïcode ☃ 𝄞""#),
            ("\"\\\n\r\t\u{8}\u{c}", r#""\"\\\n\r\t\b\f""#),
            ("\0\u{1f}\u{7f}", "\"\\u0000\\u001f\u{7f}\""),
            ("<a href='&'>", r#""\u003ca href='\u0026'\u003e""#),
            ("\u{2028}a\u{2029}", r#""\u2028a\u2029""#),
            // The same last bytes in other characters.
            ("\u{a8}\u{a9}\u{2068}", "\"\u{a8}\u{a9}\u{2068}\""),
        ] {
            let mut out = Vec::new();
            string(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), escaped);
        }
    }
}
