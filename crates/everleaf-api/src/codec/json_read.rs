//! JSON text or a parsed tree → canonical object, with findings. One visitor serves both sources.
//!
//! It reads as Go's strict decoder does (`sigs.k8s.io/json`): keys are case-sensitive, `null` means absent, numbers must
//! be whole and in range, unknown and repeated keys are found and reported, not refused. One difference: a repeated
//! object replaces the earlier one, where Go merges the two.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::budget::Budget;
use super::{fill, is_left_out, zero_item};
use super::{scalar, time};
use crate::fields::quote;
use crate::schema::{Decoded, Kind, Message, Type, WARNINGS_MAX};
use crate::status::Status;

/// Longest name or value that a message echoes, in characters.
const ECHO_MAX: usize = 128;

pub(crate) fn from_slice(ty: &Type, body: &[u8]) -> Result<Decoded, Status> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Status::bad_request(format!(
            "the request body is empty: send a {} as JSON",
            ty.kind
        )));
    }
    let mut source = serde_json::Deserializer::from_slice(body);
    read(ty, |document| {
        let envelope = document.deserialize(&mut source)?;
        source.end()?;
        Ok(envelope)
    })
}

pub(crate) fn from_value(ty: &Type, value: Value) -> Result<Decoded, Status> {
    read(ty, |document| document.deserialize(value))
}

/// Runs the visitor and turns what it found into the answer.
fn read(
    ty: &Type,
    run: impl FnOnce(DocumentSeed<'_>) -> Result<Envelope, serde_json::Error>,
) -> Result<Decoded, Status> {
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
        Some(mismatch) => Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: {mismatch}",
            ty.kind, ty.version, ty.kind
        )),
        None => Status::bad_request(format!(
            "the body is not a {} in valid JSON: {error}",
            ty.kind
        )),
    })?;
    if !ty.accepts(&envelope.api_version, &envelope.kind) {
        return Err(wrong_type(ty, &envelope.api_version, &envelope.kind));
    }
    let mut object = envelope.object;
    object.insert("apiVersion".into(), Value::String(ty.api_version()));
    object.insert("kind".into(), ty.kind.into());
    Ok(Decoded {
        object: Value::Object(object),
        warnings: reader.warnings,
    })
}

/// 400 for a body that says it is something else.
pub(crate) fn wrong_type(ty: &Type, api_version: &str, kind: &str) -> Status {
    let (api_version, kind) = (shorten(api_version), shorten(kind));
    if kind.is_empty() || kind == ty.kind {
        Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            ty.api_version()
        ))
    } else {
        Status::bad_request(format!(
            "the body is a {kind} of {api_version}, this address takes a {} of {}",
            ty.kind,
            ty.api_version()
        ))
    }
}

/// Text cut to what a message may echo.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(ECHO_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

struct Reader {
    path: Vec<Step>,
    warnings: Vec<String>,
    /// The first value of a wrong type, in words; set just before the visitor gives up.
    mismatch: Option<String>,
    budget: Budget,
}

enum Step {
    Field(&'static str),
    Key(String),
    Index(usize),
}

impl Reader {
    /// `spec.usages[1]`, with `last` appended.
    fn path_to(&self, last: &str) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Index(index) => text.push_str(&format!("[{index}]")),
                Step::Field(name) => push_name(&mut text, name),
                Step::Key(name) => push_name(&mut text, name),
            }
        }
        push_name(&mut text, &shorten(last));
        text
    }

    fn warn(&mut self, what: &str, name: &str) {
        if self.warnings.len() >= WARNINGS_MAX {
            return;
        }
        let finding = format!("{what} field {}", quote(&self.path_to(name)));
        if !self.warnings.contains(&finding) {
            self.warnings.push(finding);
        }
    }

    fn fail<E: Error>(&mut self, message: String) -> E {
        let error = E::custom(&message);
        self.mismatch = Some(message);
        error
    }

    fn count<E: Error>(&mut self, counted: Result<(), String>) -> Result<(), E> {
        counted.map_err(|message| self.fail(message))
    }
}

fn push_name(text: &mut String, name: &str) {
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
struct ObjectVisitor<'r, 't> {
    message: &'static Message,
    type_meta: Option<&'t mut [String; 2]>,
    reader: &'r mut Reader,
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
                    match value.filter(|value| !is_left_out(field, value)) {
                        Some(value) => object.insert(field.json.to_owned(), value),
                        None => object.remove(field.json),
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

/// Finds a key in the table without copying it; looks first where the last one ended, since most bodies are in order.
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

// === One value of a field ===

/// Reads one value; None for `null` and for what means unset.
struct ValueSeed<'r> {
    kind: &'static Kind,
    /// The message it belongs to, for error texts.
    owner: &'static str,
    reader: &'r mut Reader,
}

impl ValueSeed<'_> {
    /// Go's words for a value of the wrong sort.
    fn mismatch<E: Error>(self, found: &str) -> E {
        let names = self.reader.path.iter().filter_map(|step| match step {
            Step::Field(name) => Some(*name),
            Step::Key(name) => Some(name.as_str()),
            Step::Index(_) => None,
        });
        let path = names.collect::<Vec<_>>().join(".");
        let message = format!(
            "json: cannot unmarshal {found} into Go struct field {}.{} of type {}",
            self.owner,
            shorten(&path),
            go_name(self.kind)
        );
        self.reader.fail(message)
    }

    /// A text that breaks its grammar, in our words.
    fn malformed<E: Error>(self, text: &str, wanted: &str) -> E {
        let message = format!(
            "{}: {} is not {wanted}",
            self.reader.path_to(""),
            quote(&shorten(text))
        );
        self.reader.fail(message.replacen(".:", ":", 1))
    }

    fn number<E: Error>(self, number: i64) -> Result<Option<Value>, E> {
        match self.kind {
            Kind::Int32 if i32::try_from(number).is_ok() => Ok(Some(number.into())),
            Kind::Int64 => Ok(Some(number.into())),
            Kind::Quantity => Ok(Some(Value::String(number.to_string()))),
            Kind::Int32 => Err(self.mismatch(&format!("number {number}"))),
            _ => Err(self.mismatch("number")),
        }
    }
}

/// The type's name as Go prints it in such messages.
fn go_name(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "bool".into(),
        Kind::Int32 => "int32".into(),
        Kind::Int64 => "int64".into(),
        Kind::String => "string".into(),
        Kind::Bytes => "[]uint8".into(),
        Kind::Time => "v1.Time".into(),
        Kind::MicroTime => "v1.MicroTime".into(),
        Kind::Quantity => "resource.Quantity".into(),
        Kind::ExtraValue => "v1.ExtraValue".into(),
        Kind::FieldsV1 => "v1.FieldsV1".into(),
        Kind::Message(message) => format!("v1.{}", message.name),
        Kind::List(item, _) => format!("[]{}", go_name(item)),
        Kind::Map(value) => format!("map[string]{}", go_name(value)),
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Option<Value>;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        let counted = self.reader.budget.value();
        self.reader.count(counted)?;
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&go_name(self.kind))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        match self.kind {
            Kind::Bool => Ok(Some(value.into())),
            _ => Err(self.mismatch("bool")),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.number(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.number(value),
            Err(_) => Err(self.mismatch(&format!("number {value}"))),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        match self.kind {
            Kind::Quantity => Ok(Some(Value::String(value.to_string()))),
            Kind::Int32 | Kind::Int64 => Err(self.mismatch(&format!("number {value}"))),
            _ => Err(self.mismatch("number")),
        }
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Self::Value, E> {
        match self.kind {
            Kind::String => Ok(Some(Value::String(value))),
            _ => self.visit_str(&value),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        match self.kind {
            Kind::String => Ok(Some(value.into())),
            Kind::Bytes => match scalar::base64_bytes(value) {
                Some(bytes) => Ok(Some(Value::String(scalar::base64_text(&bytes)))),
                None => Err(self.malformed(value, "base64 (standard alphabet, with padding)")),
            },
            Kind::Time => match time::parse(value) {
                Some(time) if time.instant.is_go_zero() => Ok(None),
                Some(time) => Ok(Some(Value::String(time.instant.time_text()))),
                None => Err(self.malformed(value, "a time such as 2006-01-02T15:04:05Z")),
            },
            Kind::MicroTime => match time::parse(value) {
                Some(time) if time.has_fraction => {
                    Ok(Some(Value::String(time.instant.micro_time_text())))
                }
                _ => Err(self.malformed(
                    value,
                    "a time with a fraction, such as 2006-01-02T15:04:05.000000Z",
                )),
            },
            Kind::Quantity if scalar::is_quantity(value) => Ok(Some(value.into())),
            Kind::Quantity => Err(self.malformed(value, "a quantity such as 500m or 16Gi")),
            _ => Err(self.mismatch("string")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Self::Value, A::Error> {
        let item = match self.kind {
            Kind::List(item, _) => *item,
            Kind::ExtraValue => &Kind::String,
            _ => return Err(self.mismatch("array")),
        };
        let Self { owner, reader, .. } = self;
        let mut items = Vec::new();
        loop {
            reader.path.push(Step::Index(items.len()));
            let value = source.next_element_seed(ValueSeed {
                kind: item,
                owner,
                reader,
            })?;
            reader.path.pop();
            match value {
                Some(value) => items.push(value.unwrap_or_else(|| zero_item(item))),
                None => return Ok(Some(Value::Array(items))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, source: A) -> Result<Self::Value, A::Error> {
        match self.kind {
            Kind::Message(message) => {
                let visitor = ObjectVisitor {
                    message,
                    type_meta: None,
                    reader: self.reader,
                };
                Ok(Some(Value::Object(visitor.visit_map(source)?)))
            }
            Kind::Map(value) => self.map_of(value, source),
            Kind::FieldsV1 => AnySeed {
                budget: &mut self.reader.budget,
            }
            .visit_map(source)
            .map(Some),
            _ => Err(self.mismatch("object")),
        }
    }
}

impl ValueSeed<'_> {
    fn map_of<'de, A: MapAccess<'de>>(
        self,
        kind: &'static Kind,
        mut source: A,
    ) -> Result<Option<Value>, A::Error> {
        let Self { owner, reader, .. } = self;
        let counted = reader.budget.object();
        reader.count(counted)?;
        let mut map = Map::new();
        while let Some(key) = source.next_key::<String>()? {
            if map.contains_key(&key) {
                reader.warn("duplicate", &key);
            }
            reader.path.push(Step::Key(key));
            let value = source.next_value_seed(ValueSeed {
                kind,
                owner,
                reader,
            })?;
            let Some(Step::Key(key)) = reader.path.pop() else {
                unreachable!("invariant: every seed pops what it pushed")
            };
            map.insert(key, value.unwrap_or_else(|| zero_item(kind)));
        }
        Ok(Some(Value::Object(map)))
    }
}

// === Free-form JSON ===

/// Any JSON, counted. Depth is bounded by the source (serde_json stops at 128).
pub(crate) struct AnySeed<'b> {
    pub(crate) budget: &'b mut Budget,
}

impl<'de> DeserializeSeed<'de> for AnySeed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        self.budget.value().map_err(Error::custom)?;
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnySeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = source.next_element_seed(AnySeed {
            budget: self.budget,
        })? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        self.budget.object().map_err(Error::custom)?;
        let mut map = Map::new();
        while let Some(key) = source.next_key::<String>()? {
            let value = source.next_value_seed(AnySeed {
                budget: self.budget,
            })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
