//! Kubernetes' protobuf form, read and written by a table of its own (`messages.txt`).
//!
//! Trees look like JSON. What is empty is left out on both ways: the wire form does not tell an
//! empty text from none.

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const TABLE: &str = include_str!("messages.txt");
/// What every document begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Deepest nesting that is read.
const DEPTH_MAX: usize = 16;

/// A field: number, name, how often, type.
struct Field {
    number: u64,
    name: &'static str,
    rule: &'static str,
    kind: &'static str,
}

fn fields(message: &str) -> Option<Vec<Field>> {
    if let Some(item) = message.strip_suffix("List")
        && message != "List"
        && fields(item).is_some()
    {
        let item = TABLE
            .lines()
            .find_map(|line| line.split_once(':').filter(|(name, _)| *name == item))?
            .0;
        return Some(vec![
            Field {
                number: 1,
                name: "metadata",
                rule: "",
                kind: "ListMeta",
            },
            Field {
                number: 2,
                name: "items",
                rule: "many",
                kind: item,
            },
        ]);
    }
    let line = TABLE
        .lines()
        .find_map(|line| line.strip_prefix(message)?.strip_prefix(": "))?;
    let field = |text: &'static str| {
        let words: Vec<&'static str> = text.split_whitespace().collect();
        let (rule, kind) = match words[2..] {
            [kind] => ("", kind),
            [rule, kind] => (rule, kind),
            _ => return None,
        };
        let number = words[0].parse().ok()?;
        Some(Field {
            number,
            name: words[1],
            rule,
            kind,
        })
    };
    line.split(',').map(field).collect()
}

/// A document's tree, `apiVersion` and `kind` included; says so within the tree when it cannot be
/// read.
pub fn decode_document(bytes: &[u8]) -> Value {
    try_decode_document(bytes).unwrap_or_else(|error| json!({"unreadable": format!("{error:#}")}))
}

fn try_decode_document(bytes: &[u8]) -> Result<Value> {
    let bytes = bytes.strip_prefix(MAGIC).context("no k8s magic")?;
    let envelope = decode("Unknown", bytes, 0)?;
    let kind = envelope["typeMeta"]["kind"].as_str().context("no kind")?;
    let raw = BASE64.decode(envelope["raw"].as_str().unwrap_or_default())?;
    let api_version = envelope["typeMeta"]["apiVersion"].as_str();
    let mut tree = decode(&message_of(kind, api_version), &raw, 0)?;
    tree["kind"] = kind.into();
    tree["apiVersion"] = envelope["typeMeta"]["apiVersion"].clone();
    Ok(json!({"protobuf": tree}))
}

/// The message of a document: two groups have an Event.
fn message_of(kind: &str, api_version: Option<&str>) -> String {
    match api_version {
        Some("events.k8s.io/v1") => format!("New{kind}"),
        _ => kind.to_owned(),
    }
}

/// The events of a watch: frames of 4 bytes of length and a bare WatchEvent.
pub fn decode_watch(mut bytes: &[u8]) -> Value {
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((frame, rest)) = rest.split_at_checked(length) else {
            events.push(json!({"unreadable": "a frame is cut"}));
            break;
        };
        bytes = rest;
        let event = decode("WatchEvent", frame, 0).unwrap_or_default();
        let raw = BASE64.decode(event["object"]["raw"].as_str().unwrap_or_default());
        let object = decode_document(&raw.unwrap_or_default());
        events.push(json!({"type": event["type"], "object": object["protobuf"]}));
    }
    Value::Array(events)
}

fn decode(message: &str, mut bytes: &[u8], depth: usize) -> Result<Value> {
    if depth > DEPTH_MAX {
        bail!("nested too deep");
    }
    let fields = fields(message).with_context(|| format!("{message} is not in the table"))?;
    let mut tree = Map::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = fields.iter().find(|field| field.number == key >> 3);
        let value = match key & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?)?;
                let (content, rest) = bytes.split_at_checked(length).context("cut short")?;
                bytes = rest;
                Wire::Bytes(content)
            }
            other => bail!("{message}: wire type {other}"),
        };
        let Some(field) = field else {
            tree.insert(format!("?{}", key >> 3), value.show());
            continue;
        };
        put(&mut tree, field, &value, depth)
            .with_context(|| format!("{message}.{}", field.name))?;
    }
    Ok(Value::Object(tree))
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Wire<'_> {
    fn show(&self) -> Value {
        match self {
            Self::Number(number) => (*number).into(),
            Self::Bytes(bytes) => format!("{bytes:02x?}").into(),
        }
    }

    fn bytes(&self) -> Result<&[u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => bail!("a number where bytes belong"),
        }
    }
}

fn put(tree: &mut Map<String, Value>, field: &Field, wire: &Wire<'_>, depth: usize) -> Result<()> {
    if field.rule == "map" {
        let (key, value) = entry(field, wire.bytes()?, depth)?;
        let members = tree.entry(field.name).or_insert_with(|| json!({}));
        members[key] = value;
        return Ok(());
    }
    let value = scalar(field.kind, wire, depth)?;
    if field.rule == "many" {
        let values = tree.entry(field.name).or_insert_with(|| json!([]));
        values.as_array_mut().context("a list")?.push(value);
    } else if !is_empty(&value) {
        tree.insert(field.name.to_owned(), value);
    }
    Ok(())
}

fn entry(field: &Field, mut bytes: &[u8], depth: usize) -> Result<(String, Value)> {
    let (mut key, mut value) = (String::new(), Value::Null);
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let length = usize::try_from(varint(&mut bytes)?)?;
        let (content, rest) = bytes.split_at_checked(length).context("cut short")?;
        bytes = rest;
        match tag {
            0x0a => key = String::from_utf8(content.to_vec())?,
            _ => value = scalar(field.kind, &Wire::Bytes(content), depth)?,
        }
    }
    Ok((key, value))
}

fn scalar(kind: &str, wire: &Wire<'_>, depth: usize) -> Result<Value> {
    Ok(match (kind, wire) {
        ("int", Wire::Number(number)) => number.cast_signed().into(),
        ("bool", Wire::Number(number)) => (*number != 0).into(),
        ("string", _) => String::from_utf8(wire.bytes()?.to_vec())?.into(),
        ("bytes", _) => BASE64.encode(wire.bytes()?).into(),
        ("time" | "micro", _) => time(kind, wire.bytes()?)?,
        ("Quantity", _) => decode(kind, wire.bytes()?, depth + 1)?["string"].take(),
        ("ExtraValue", _) => decode(kind, wire.bytes()?, depth + 1)?["items"].take(),
        _ => decode(kind, wire.bytes()?, depth + 1)?,
    })
}

/// `Timestamp{seconds = 1, nanos = 2}`; nothing in it: no time.
fn time(kind: &str, mut bytes: &[u8]) -> Result<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = varint(&mut bytes)?.cast_signed();
        if tag >> 3 == 1 {
            seconds = number;
        } else {
            nanos = i32::try_from(number)?;
        }
    }
    let time = Timestamp::new(seconds, nanos)?;
    Ok(if kind == "micro" {
        format!("{time:.6}")
    } else {
        time.to_string()
    }
    .into())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().context("cut short")?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    bail!("a number that does not end")
}

/// A JSON-like tree with `apiVersion` and `kind` as a document.
pub fn encode_document(tree: &Value) -> Result<Vec<u8>> {
    let kind = tree["kind"].as_str().context("protobuf needs a kind")?;
    let mut meta = Vec::new();
    put_bytes(
        &mut meta,
        1,
        tree["apiVersion"].as_str().unwrap_or_default().as_bytes(),
    );
    put_bytes(&mut meta, 2, kind.as_bytes());
    let mut document = MAGIC.to_vec();
    put_bytes(&mut document, 1, &meta);
    let message = message_of(kind, tree["apiVersion"].as_str());
    put_bytes(&mut document, 2, &encode(&message, tree)?);
    put_bytes(&mut document, 3, b"");
    put_bytes(&mut document, 4, b"");
    Ok(document)
}

fn encode(message: &str, tree: &Value) -> Result<Vec<u8>> {
    let fields = fields(message).with_context(|| format!("{message} is not in the table"))?;
    let mut out = Vec::new();
    for (name, value) in tree.as_object().context("a map")? {
        if matches!(name.as_str(), "kind" | "apiVersion")
            && message != "RoleRef"
            && message != "Subject"
            && message != "OwnerReference"
            && message != "ObjectReference"
        {
            continue;
        }
        let field = fields.iter().find(|field| field.name == name);
        let field = field.with_context(|| format!("{message} has no {name}"))?;
        match (field.rule, value) {
            ("many", Value::Array(values)) => {
                for value in values {
                    encode_field(&mut out, field, value)?;
                }
            }
            ("map", Value::Object(members)) => {
                for (key, value) in members {
                    let mut entry = Vec::new();
                    put_bytes(&mut entry, 1, key.as_bytes());
                    let second = Field {
                        number: 2,
                        name: "value",
                        rule: "",
                        kind: field.kind,
                    };
                    encode_field(&mut entry, &second, value)?;
                    put_bytes(&mut out, field.number, &entry);
                }
            }
            _ => encode_field(&mut out, field, value)?,
        }
    }
    Ok(out)
}

fn encode_field(out: &mut Vec<u8>, field: &Field, value: &Value) -> Result<()> {
    let text = || value.as_str().context("a text is needed");
    match field.kind {
        "int" => {
            let number = value.as_i64().context("a number is needed")?;
            put_number(out, field.number, number.cast_unsigned());
        }
        "bool" => put_number(out, field.number, u64::from(value == &Value::Bool(true))),
        "string" => put_bytes(out, field.number, text()?.as_bytes()),
        "bytes" => put_bytes(out, field.number, &BASE64.decode(text()?)?),
        "time" | "micro" => {
            let time: Timestamp = text()?.parse()?;
            let mut content = Vec::new();
            put_number(&mut content, 1, time.as_second().cast_unsigned());
            put_number(
                &mut content,
                2,
                i64::from(time.subsec_nanosecond()).cast_unsigned(),
            );
            put_bytes(out, field.number, &content);
        }
        "Quantity" => put_bytes(
            out,
            field.number,
            &encode("Quantity", &json!({"string": value}))?,
        ),
        "ExtraValue" => put_bytes(
            out,
            field.number,
            &encode("ExtraValue", &json!({"items": value}))?,
        ),
        message => put_bytes(out, field.number, &encode(message, value)?),
    }
    Ok(())
}

fn put_number(out: &mut Vec<u8>, field: u64, number: u64) {
    put_varint(out, field << 3);
    put_varint(out, number);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let tree = json!({
            "kind": "CertificateSigningRequest", "apiVersion": "certificates.k8s.io/v1",
            "metadata": {"name": "a", "labels": {"x": "y"}, "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"request": "AAEC", "usages": ["client auth"], "expirationSeconds": 600, "extra": {"k": ["v", "w"]}},
        });
        let document = encode_document(&tree).unwrap();
        assert_eq!(decode_document(&document)["protobuf"], tree);
    }

    #[test]
    fn every_message_can_be_read() {
        for line in TABLE
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            let (name, _) = line.split_once(':').unwrap();
            for field in fields(name).unwrap() {
                let scalar = ["string", "bytes", "int", "bool", "time", "micro"];
                assert!(
                    scalar.contains(&field.kind) || fields(field.kind).is_some(),
                    "{name}.{}",
                    field.name
                );
            }
        }
    }
}
