//! The text of a patch → a tree, counted, with findings: members that are repeated and, in
//! operations of a JSON patch, unknown (`sigs.k8s.io/json` in strict mode).

use crate::Status;
use crate::codec::budget::Budget;
use crate::codec::json_read::{push_name, shorten};
use crate::fields::quote;
use crate::schema::WARNINGS_MAX;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Members of an operation (RFC 6902, section 4).
const OPERATION_MEMBERS: [&str; 4] = ["op", "path", "from", "value"];

/// What is found on the way.
#[derive(Debug)]
pub(super) struct Findings {
    path: String,
    depth: u32,
    of_operations: bool,
    /// Within a member that upstream skips.
    is_skipped: bool,
    texts: Vec<String>,
}

impl Findings {
    /// For a patch that is an object: anything may stand in it, once.
    pub(super) fn of_object() -> Self {
        Self {
            path: String::new(),
            depth: 0,
            of_operations: false,
            is_skipped: false,
            texts: Vec::new(),
        }
    }

    /// For a list of operations, whose members are known.
    pub(super) fn of_operations() -> Self {
        Self {
            of_operations: true,
            ..Self::of_object()
        }
    }

    fn add(&mut self, what: &str) {
        if self.is_skipped || self.texts.len() >= WARNINGS_MAX {
            return;
        }
        let prefix = if self.of_operations {
            "json patch "
        } else {
            ""
        };
        let text = format!("{prefix}{what} field {}", quote(&self.path));
        if !self.texts.contains(&text) {
            self.texts.push(text);
        }
    }

    fn is_unknown(&self, member: &str) -> bool {
        self.of_operations && self.depth == 2 && !OPERATION_MEMBERS.contains(&member)
    }
}

/// Reads a whole body.
pub(super) fn read(body: &[u8], findings: Findings) -> Result<(Value, Vec<String>), Status> {
    let (mut findings, mut budget, mut excess) = (findings, Budget::new(), None);
    let mut source = serde_json::Deserializer::from_slice(body);
    let seed = Seed {
        findings: &mut findings,
        budget: &mut budget,
        excess: &mut excess,
    };
    let document = seed.deserialize(&mut source);
    match document.and_then(|document| source.end().map(|()| document)) {
        Ok(document) => Ok((document, findings.texts)),
        Err(_) => Err(Status::bad_request(
            excess.unwrap_or_else(|| "invalid JSON patch".to_owned()),
        )),
    }
}

/// Any JSON value.
struct Seed<'r> {
    findings: &'r mut Findings,
    budget: &'r mut Budget,
    /// Why there was too much of it.
    excess: &'r mut Option<String>,
}

impl Seed<'_> {
    fn inner(&mut self) -> Seed<'_> {
        Seed {
            findings: self.findings,
            budget: self.budget,
            excess: self.excess,
        }
    }

    fn count<E: Error>(&mut self, counted: Result<(), String>) -> Result<(), E> {
        counted.map_err(|message| {
            let error = E::custom(&message);
            *self.excess = Some(message);
            error
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(mut self, source: D) -> Result<Value, D::Error> {
        let counted = self.budget.value();
        self.count(counted)?;
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
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
    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut source: A) -> Result<Value, A::Error> {
        let (mut items, here) = (Vec::new(), self.findings.path.len());
        self.findings.depth += 1;
        loop {
            self.findings.path.push_str(&format!("[{}]", items.len()));
            let item = source.next_element_seed(self.inner())?;
            self.findings.path.truncate(here);
            match item {
                Some(item) => items.push(item),
                None => break,
            }
        }
        self.findings.depth -= 1;
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut source: A) -> Result<Value, A::Error> {
        let counted = self.budget.object();
        self.count(counted)?;
        let (mut members, here) = (Map::new(), self.findings.path.len());
        self.findings.depth += 1;
        while let Some(key) = source.next_key::<String>()? {
            push_name(&mut self.findings.path, &shorten(&key));
            let was_skipped = self.findings.is_skipped;
            if self.findings.is_unknown(&key) {
                self.findings.add("unknown");
                self.findings.is_skipped = true;
            } else if members.contains_key(&key) {
                self.findings.add("duplicate");
            }
            let value = source.next_value_seed(self.inner())?;
            self.findings.is_skipped = was_skipped;
            self.findings.path.truncate(here);
            members.insert(key, value);
        }
        self.findings.depth -= 1;
        Ok(Value::Object(members))
    }
}
