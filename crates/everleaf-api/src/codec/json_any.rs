//! Free-form JSON, counted: for FieldsV1, the one field without a table.

use super::budget::Budget;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Counts the members of a JSON object in text; nothing is kept of them.
///
/// # Errors
/// A text that is no JSON object, or holds more than a body may.
pub(crate) fn check(text: &[u8], budget: &mut Budget) -> Result<(), String> {
    let mut source = serde_json::Deserializer::from_slice(text);
    CheckSeed { budget }
        .deserialize(&mut source)
        .and_then(|()| source.end())
        .map_err(|error| format!("not a JSON object: {error}"))
}

/// An object of objects, as sets of fields are; what else is in it is not looked at.
struct CheckSeed<'b> {
    budget: &'b mut Budget,
}

impl<'de> DeserializeSeed<'de> for CheckSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for CheckSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<(), A::Error> {
        self.budget.object().map_err(Error::custom)?;
        while source.next_key::<IgnoredAny>()?.is_some() {
            self.budget.value().map_err(Error::custom)?;
            source.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

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
