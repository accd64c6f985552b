//! JSON → one value of a field, by its kind. [`json_read`](super::json_read) calls it for each
//! field of a message, and is called back for nested ones.

use super::json_any::AnySeed;
use super::json_read::{ObjectVisitor, Reader, Step, shorten};
use super::{json_any, quantity, scalar, time, zero_item};
use crate::fields::quote;
use crate::schema::Kind;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Digits of fraction that a `MicroTime` has, no more and no fewer.
const MICRO_DIGITS: usize = 6;

/// Reads one value; None for `null` and for what means unset.
pub(super) struct ValueSeed<'r> {
    pub(super) kind: &'static Kind,
    /// The message it belongs to, for error texts.
    pub(super) owner: &'static str,
    pub(super) reader: &'r mut Reader,
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
        let text = quote(&shorten(text));
        let message = format!("{}: {text} is not {wanted}", self.reader.path());
        self.reader.fail(message)
    }

    fn number<E: Error>(self, number: i64) -> Result<Option<Value>, E> {
        match self.kind {
            Kind::Int32 if i32::try_from(number).is_ok() => Ok(Some(number.into())),
            Kind::Int64 => Ok(Some(number.into())),
            Kind::Quantity => self.visit_str(&number.to_string()),
            Kind::FieldsV1 => Ok(unreadable_fields()),
            Kind::Int32 => Err(self.mismatch(&format!("number {number}"))),
            _ => Err(self.mismatch("number")),
        }
    }
}

/// What is no object is no set of fields, and yet no fault of the object that it is in: it becomes
/// a set that nobody can read, by which managers are dropped.
fn unreadable_fields() -> Option<Value> {
    Some(Value::String(r#"{"?":{}}"#.to_owned()))
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
            Err(_) if matches!(self.kind, Kind::Bytes) => Err(self.mismatch("number")),
            Err(_) => Err(self.mismatch(&format!("number {value}"))),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        match self.kind {
            Kind::Quantity => self.visit_str(&value.to_string()),
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
            Kind::Bytes => match scalar::base64_canonical(value) {
                Some(text) => Ok(Some(Value::String(text))),
                // Never the text: of a Secret it is what nobody may see.
                None => Err(self.reader.fail(format!(
                    "{}: its value is not base64 (standard alphabet, with padding)",
                    self.reader.path()
                ))),
            },
            Kind::Time => match time::parse(value) {
                Some(time) if time.instant.is_go_zero() => Ok(None),
                Some(time) => Ok(Some(Value::String(time.instant.time_text()))),
                None => Err(self.malformed(value, "a time such as 2006-01-02T15:04:05Z")),
            },
            Kind::MicroTime => match time::parse(value) {
                Some(time) if time.fraction_digits == MICRO_DIGITS => {
                    Ok(Some(Value::String(time.instant.micro_time_text())))
                }
                _ => Err(self.malformed(
                    value,
                    "a time with six digits of fraction, such as 2006-01-02T15:04:05.000000Z",
                )),
            },
            Kind::Quantity => match quantity::canonical(value.trim()) {
                Some(text) => Ok(Some(Value::String(text))),
                None => Err(self.malformed(value, "a quantity such as 500m or 16Gi")),
            },
            // An object in hand that is decoded again after a patch.
            Kind::FieldsV1
                if json_any::check(value.as_bytes(), &mut self.reader.budget).is_ok() =>
            {
                Ok(Some(value.into()))
            }
            Kind::FieldsV1 => Ok(unreadable_fields()),
            _ => Err(self.mismatch("string")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Self::Value, A::Error> {
        let item = match self.kind {
            Kind::List(item, _) => *item,
            Kind::ExtraValue => &Kind::String,
            Kind::FieldsV1 => {
                let budget = &mut self.reader.budget;
                AnySeed { budget }.visit_seq(source)?;
                return Ok(unreadable_fields());
            }
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
            Kind::FieldsV1 => {
                let budget = &mut self.reader.budget;
                let value = AnySeed { budget }.visit_map(source)?;
                Ok(Some(Value::String(value.to_string())))
            }
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
