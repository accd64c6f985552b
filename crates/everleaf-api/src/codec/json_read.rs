//! JSON text or a parsed tree → canonical object, with findings. One visitor serves both sources.
//!
//! It reads as Go's strict decoder does (`sigs.k8s.io/json`): keys are case-sensitive, `null` means
//! absent, numbers must be whole and in range, unknown and repeated keys are found and reported,
//! not refused. One difference: a repeated object replaces the earlier one, where Go merges the
//! two.

use super::budget::Budget;
use super::json_value::ValueSeed;
use super::{DecodeError, fill, is_left_out};
use crate::fields::quote;
use crate::schema::{Decoded, Field, Kind, Message, Type, WARNINGS_MAX};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};

/// Longest name or value that a message echoes, in characters.
const ECHO_MAX: usize = 128;

pub(crate) fn from_slice(ty: &Type, body: &[u8]) -> Result<Decoded, DecodeError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(DecodeError::Empty { kind: ty.kind });
    }
    let mut source = serde_json::Deserializer::from_slice(body);
    read(ty, |document| {
        let envelope = document.deserialize(&mut source)?;
        source.end()?;
        Ok(envelope)
    })
}

pub(crate) fn from_value(ty: &Type, value: Value) -> Result<Decoded, DecodeError> {
    read(ty, |document| document.deserialize(value))
}

/// Runs the visitor and turns what it found into the answer.
fn read(
    ty: &Type,
    run: impl FnOnce(DocumentSeed<'_>) -> Result<Envelope, serde_json::Error>,
) -> Result<Decoded, DecodeError> {
    let mut reader = Reader {
        path: Vec::new(),
        warnings: Vec::new(),
        mismatch: None,
        budget: Budget::new(),
    };
    let outcome = run(DocumentSeed {
        message: ty.message,
        reader: &mut reader,
    });
    let envelope = outcome.map_err(|error| match reader.mismatch.take() {
        Some(mismatch) => DecodeError::mismatch(ty, mismatch),
        None => DecodeError::NotJson {
            kind: ty.kind,
            what: error.to_string(),
        },
    })?;
    if !ty.accepts(&envelope.api_version, &envelope.kind) {
        let (api_version, kind) = (&envelope.api_version, &envelope.kind);
        return Err(DecodeError::other_type(ty, api_version, kind));
    }
    let mut object = envelope.object;
    object.insert("apiVersion".into(), Value::String(ty.api_version()));
    object.insert("kind".into(), ty.kind.into());
    Ok(Decoded {
        object: Value::Object(object),
        warnings: reader.warnings,
    })
}

/// Text cut to what a message may echo.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(ECHO_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

pub(super) struct Reader {
    pub(super) path: Vec<Step>,
    warnings: Vec<String>,
    /// The first value of a wrong type, in words; set just before the visitor gives up.
    mismatch: Option<String>,
    pub(super) budget: Budget,
}

pub(super) enum Step {
    Field(&'static str),
    Key(String),
    Index(usize),
}

impl Reader {
    /// Where the reader is: `spec.usages[1]`.
    pub(super) fn path(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Index(index) => text.push_str(&format!("[{index}]")),
                Step::Field(name) => push_name(&mut text, name),
                Step::Key(name) => push_name(&mut text, name),
            }
        }
        text
    }

    pub(super) fn warn(&mut self, what: &str, name: &str) {
        if self.warnings.len() >= WARNINGS_MAX {
            return;
        }
        let mut path = self.path();
        push_name(&mut path, &shorten(name));
        let finding = format!("{what} field {}", quote(&path));
        if !self.warnings.contains(&finding) {
            self.warnings.push(finding);
        }
    }

    pub(super) fn fail<E: Error>(&mut self, message: String) -> E {
        let error = E::custom(&message);
        self.mismatch = Some(message);
        error
    }

    pub(super) fn count<E: Error>(&mut self, counted: Result<(), String>) -> Result<(), E> {
        counted.map_err(|message| self.fail(message))
    }
}

pub(crate) fn push_name(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(name);
}

// === The document: apiVersion, kind and the root message ===

struct Envelope {
    api_version: String,
    kind: String,
    object: Map<String, Value>,
}

struct DocumentSeed<'r> {
    message: &'static Message,
    reader: &'r mut Reader,
}

impl<'de> DeserializeSeed<'de> for DocumentSeed<'_> {
    type Value = Envelope;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Envelope, D::Error> {
        let DocumentSeed { message, reader } = self;
        let mut type_meta = [String::new(), String::new()];
        let visitor = ObjectVisitor {
            message,
            type_meta: Some(&mut type_meta),
            reader,
        };
        let object = source.deserialize_map(visitor)?;
        let [api_version, kind] = type_meta;
        Ok(Envelope {
            api_version,
            kind,
            object,
        })
    }
}

/// Reads one message. At the root `type_meta` takes apiVersion and kind.
pub(super) struct ObjectVisitor<'r, 't> {
    pub(super) message: &'static Message,
    pub(super) type_meta: Option<&'t mut [String; 2]>,
    pub(super) reader: &'r mut Reader,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_, '_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a JSON object ({})", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Self::Value, A::Error> {
        let Self {
            message,
            mut type_meta,
            reader,
        } = self;
        let counted = reader.budget.object();
        reader.count(counted)?;
        let mut object = Map::new();
        let mut seen = 0u64;
        let mut expected = 0;
        while let Some(key) = source.next_key_seed(KeySeed {
            message,
            at_root: type_meta.is_some(),
            expected,
        })? {
            match key {
                Key::Field(index) => {
                    expected = index + 1;
                    let field = &message.fields[index];
                    note_repeat(&mut seen, index, field.json, reader);
                    reader.path.push(Step::Field(field.json));
                    let seed = ValueSeed {
                        kind: &field.kind,
                        owner: message.name,
                        reader,
                    };
                    let value = source.next_value_seed(seed)?;
                    reader.path.pop();
                    let value = value.map(|value| one_way_of_reset(field, value));
                    match value.filter(|value| !is_left_out(field, value)) {
                        Some(value) => object.insert(field.member.to_owned(), value),
                        None => object.remove(field.member),
                    };
                }
                Key::TypeMeta(index) => {
                    note_repeat(&mut seen, 62 + index, TYPE_META[index], reader);
                    reader.path.push(Step::Field(TYPE_META[index]));
                    let seed = ValueSeed {
                        kind: &Kind::String,
                        owner: message.name,
                        reader,
                    };
                    let value = source.next_value_seed(seed)?;
                    reader.path.pop();
                    if let (Some(slots), Some(Value::String(text))) = (&mut type_meta, value) {
                        slots[index] = text;
                    }
                }
                Key::Unknown(name) => {
                    reader.warn("unknown", &name);
                    source.next_value::<IgnoredAny>()?;
                }
            }
        }
        fill(message, &mut object);
        Ok(object)
    }
}

/// Who sends an empty list of managers wants there to be none, as with one empty entry; no list
/// leaves them as they are. An object in hand has no empty lists, so it has the entry.
fn one_way_of_reset(field: &Field, value: Value) -> Value {
    if field.json == "managedFields" && value == json!([]) {
        return json!([{}]);
    }
    value
}

/// The two members that stand outside the message.
const TYPE_META: [&str; 2] = ["apiVersion", "kind"];

fn note_repeat(seen: &mut u64, bit: usize, name: &'static str, reader: &mut Reader) {
    if *seen & (1 << bit) != 0 {
        reader.warn("duplicate", name);
    }
    *seen |= 1 << bit;
}

enum Key {
    Field(usize),
    TypeMeta(usize),
    Unknown(String),
}

/// Finds a key in the table without copying it; looks first where the last one ended, since most
/// bodies are in order.
struct KeySeed {
    message: &'static Message,
    at_root: bool,
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Key, D::Error> {
        source.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
        let fields = self.message.fields;
        if fields
            .get(self.expected)
            .is_some_and(|field| field.json == name)
        {
            return Ok(Key::Field(self.expected));
        }
        if let Some(index) = fields.iter().position(|field| field.json == name) {
            return Ok(Key::Field(index));
        }
        if self.at_root
            && let Some(index) = TYPE_META.iter().position(|known| *known == name)
        {
            return Ok(Key::TypeMeta(index));
        }
        Ok(Key::Unknown(name.to_owned()))
    }
}
