//! What objects look like, as OpenAPI schemas, from the tables alone
//! (`k8s.io/kube-openapi/pkg/generators` makes upstream's from Go's tags and comments).

use super::Form;
use crate::schema::{Field, Kind, ListKind, ListPatch, Message, Package, Presence, Type};
use crate::types::API_GROUP;
use serde_json::{Map, Value, json};

const META: Package = Package("io.k8s.apimachinery.pkg.apis.meta.v1");
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const API_VERSION_DOC: &str = "Group and version that this object is written in, such as \
                               certificates.k8s.io/v1; without it, those of the path.";
const KIND_DOC: &str = "Kind of this object, in CamelCase; without it, that of the path.";

/// The definitions that a document refers to, by name.
pub(super) struct Definitions {
    form: Form,
    /// Groups and versions of the document: options are kinds of each.
    versions: Vec<(&'static str, &'static str)>,
    found: Map<String, Value>,
}

impl Definitions {
    pub(super) fn new(form: Form, versions: Vec<(&'static str, &'static str)>) -> Self {
        Self {
            form,
            versions,
            found: Map::new(),
        }
    }

    pub(super) fn into_map(self) -> Map<String, Value> {
        self.found
    }

    /// A reference to a kind.
    pub(super) fn of_type(&mut self, r#type: &'static Type) -> Value {
        let name = r#type.message.definition();
        if !self.found.contains_key(&name) {
            self.add_message(r#type.message);
            let of_every_group = r#type.group == "meta.k8s.io";
            let kinds = match of_every_group {
                true => self.kinds_everywhere(r#type.kind),
                false => json!([kind_of(r#type.group, r#type.version, r#type.kind)]),
            };
            self.make_root(&name, kinds);
            // Of a kind that is only listed we know less than a file of it may hold. Older clients
            // check files by version 2, and shall hear from the server that it takes none.
            let mut fields = r#type.message.fields.iter();
            if self.form == Form::V2 && fields.all(|field| field.json == "metadata") {
                self.leave_open(&name);
            }
        }
        self.reference(&name)
    }

    /// Lets a definition stand for objects with any members.
    fn leave_open(&mut self, name: &str) {
        let definition = self.found.get_mut(name).and_then(Value::as_object_mut);
        if let Some(definition) = definition {
            definition.remove("properties");
        }
    }

    /// A reference to the list of a kind.
    pub(super) fn list_of(&mut self, r#type: &'static Type) -> Value {
        let name = format!("{}List", r#type.message.definition());
        if !self.found.contains_key(&name) {
            let items = self.of_type(r#type);
            let metadata = self.of_message(&crate::types::meta::LIST_META);
            let mut metadata = self.member(metadata, "Version of the list, and how to go on.");
            self.set_default(&mut metadata, json!({}));
            let kind = format!("{}List", r#type.kind);
            let list = json!({
                "type": "object",
                "description": format!("A list of objects of kind {}.", r#type.kind),
                "required": ["items"],
                "properties": {
                    "items": {"type": "array", "items": items, "description": "The objects."},
                    "metadata": metadata,
                },
            });
            self.found.insert(name.clone(), list);
            let kinds = json!([kind_of(r#type.group, r#type.version, &kind)]);
            self.make_root(&name, kinds);
        }
        self.reference(&name)
    }

    /// A reference to the event of a watch.
    pub(super) fn watch_event(&mut self) -> Value {
        let name = format!("{}.WatchEvent", META.0);
        if !self.found.contains_key(&name) {
            let raw = self.free_form(RAW_EXTENSION, "An object of any kind.");
            let object = self.member(raw, "The object, or a Status when the type is ERROR.");
            let mut r#type = json!({
                "type": "string",
                "description": "ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.",
            });
            self.set_default(&mut r#type, json!(""));
            let kinds = self.kinds_everywhere("WatchEvent");
            let event = json!({
                "type": "object",
                "description": "One change that a watch tells of.",
                "required": ["type", "object"],
                "properties": {"type": r#type, "object": object},
                "x-kubernetes-group-version-kind": kinds,
            });
            self.found.insert(name.clone(), event);
        }
        self.reference(&name)
    }

    /// A reference to a patch: what it looks like depends on its media type.
    pub(super) fn patch(&mut self) -> Value {
        let name = format!("{}.Patch", META.0);
        self.free_form(
            &name,
            "Changes to an object, in the form that the media type names.",
        )
    }

    /// A reference to a definition in hand.
    fn given(&mut self, name: &str, definition: Value) -> Value {
        self.found.entry(name).or_insert(definition);
        self.reference(name)
    }

    fn reference(&self, name: &str) -> Value {
        match self.form {
            Form::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Form::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }

    fn free_form(&mut self, name: &str, doc: &str) -> Value {
        self.given(name, json!({"type": "object", "description": doc}))
    }

    fn kinds_everywhere(&self, kind: &str) -> Value {
        let mut versions = self.versions.clone();
        // Options without a group are what the library of each client registers first.
        if !versions.contains(&("", "v1")) {
            versions.insert(0, ("", "v1"));
        }
        let kinds = versions
            .iter()
            .map(|(group, version)| kind_of(group, version, kind));
        Value::Array(kinds.collect())
    }

    /// `apiVersion` and `kind`, which no message has, and the kinds that have this definition.
    fn make_root(&mut self, name: &str, kinds: Value) {
        let Some(definition) = self.found.get_mut(name) else {
            return;
        };
        for (member, doc) in [("apiVersion", API_VERSION_DOC), ("kind", KIND_DOC)] {
            definition["properties"][member] = json!({"type": "string", "description": doc});
        }
        definition["x-kubernetes-group-version-kind"] = kinds;
    }

    /// A reference to what is no kind of its own.
    pub(super) fn of_message(&mut self, message: &'static Message) -> Value {
        // The one kind that others hold.
        if message.definition() == API_GROUP.message.definition() {
            return self.of_type(&API_GROUP);
        }
        let name = message.definition();
        if !self.found.contains_key(&name) {
            self.add_message(message);
        }
        self.reference(&name)
    }

    fn add_message(&mut self, message: &'static Message) {
        let name = message.definition();
        // Before its fields: a message may hold itself.
        self.found.insert(name.clone(), Value::Null);
        let fields = message.fields.iter();
        let properties = fields.map(|field| (field.json.to_owned(), self.field(field)));
        let mut definition = json!({
            "type": "object",
            "description": message.doc,
            "properties": properties.collect::<Map<_, _>>(),
        });
        let fields = message.fields.iter();
        let required: Vec<&str> = fields
            .filter(|field| field.is_required)
            .map(|field| field.json)
            .collect();
        if !required.is_empty() {
            definition["required"] = required.into();
        }
        if message.is_atomic {
            definition["x-kubernetes-map-type"] = "atomic".into();
        }
        self.found.insert(name, definition);
    }

    fn field(&mut self, field: &'static Field) -> Value {
        let schema = self.kind(&field.kind);
        let mut schema = self.member(schema, field.doc);
        if field.presence == Presence::Always || field.is_zero_default {
            match field.kind {
                Kind::String => self.set_default(&mut schema, json!("")),
                Kind::Bool => self.set_default(&mut schema, json!(false)),
                Kind::Int32 | Kind::Int64 => self.set_default(&mut schema, json!(0)),
                Kind::Message(_) => self.set_default(&mut schema, json!({})),
                _ => {}
            }
        }
        if let Some(number) = field.default {
            self.set_default(&mut schema, number.into());
        }
        if !field.values.is_empty() {
            match field.kind {
                Kind::List(..) => schema["items"]["enum"] = field.values.into(),
                _ => schema["enum"] = field.values.into(),
            }
        }
        match &field.kind {
            Kind::List(_, ListKind::Atomic) => schema["x-kubernetes-list-type"] = "atomic".into(),
            Kind::List(_, ListKind::Set) => schema["x-kubernetes-list-type"] = "set".into(),
            Kind::List(_, ListKind::Map(keys)) => {
                schema["x-kubernetes-list-type"] = "map".into();
                schema["x-kubernetes-list-map-keys"] = (*keys).into();
            }
            _ => {}
        }
        match field.list_patch {
            ListPatch::Replace => {}
            ListPatch::Union => schema["x-kubernetes-patch-strategy"] = "merge".into(),
            ListPatch::By(key) => {
                schema["x-kubernetes-patch-strategy"] = "merge".into();
                schema["x-kubernetes-patch-merge-key"] = key.into();
            }
        }
        schema
    }

    fn kind(&mut self, kind: &'static Kind) -> Value {
        match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Int32 => json!({"type": "integer", "format": "int32"}),
            Kind::Int64 => json!({"type": "integer", "format": "int64"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "format": "byte"}),
            Kind::Time => self.time("Time", "A time as RFC 3339 writes it, in whole seconds."),
            Kind::MicroTime => self.time(
                "MicroTime",
                "A time as RFC 3339 writes it, in microseconds.",
            ),
            Kind::Quantity => {
                let doc = "A number with a unit, such as 100m, 1.5 or 16Gi.";
                let mut quantity = json!({"description": doc});
                match self.form {
                    Form::V2 => quantity["type"] = "string".into(),
                    Form::V3 => quantity["oneOf"] = json!([{"type": "string"}, {"type": "number"}]),
                }
                self.given(QUANTITY, quantity)
            }
            Kind::FieldsV1 => {
                let name = format!("{}.FieldsV1", META.0);
                self.free_form(&name, "A set of fields, as a tree of their names.")
            }
            Kind::ExtraValue => json!({"type": "array", "items": {"type": "string"}}),
            Kind::Message(message) => self.of_message(message),
            Kind::List(item, _) => json!({"type": "array", "items": self.kind(item)}),
            Kind::Map(item) => {
                json!({"type": "object", "additionalProperties": self.kind(item)})
            }
        }
    }

    fn time(&mut self, name: &str, doc: &str) -> Value {
        let name = format!("{}.{name}", META.0);
        let time = json!({"type": "string", "format": "date-time", "description": doc});
        self.given(&name, time)
    }

    /// A schema as that of a member with its own documentation. In version 3, nothing may stand
    /// beside a reference.
    fn member(&self, schema: Value, doc: &str) -> Value {
        let mut member = match self.form {
            Form::V3 if schema.get("$ref").is_some() => json!({"allOf": [schema]}),
            _ => schema,
        };
        member["description"] = doc.into();
        member
    }

    /// Upstream leaves defaults out of version 2.
    fn set_default(&self, schema: &mut Value, value: Value) {
        if self.form == Form::V3 {
            schema["default"] = value;
        }
    }
}

/// `x-kubernetes-group-version-kind` of a kind.
pub(super) fn kind_of(group: &str, version: &str, kind: &str) -> Value {
    let group = if group == "meta.k8s.io" { "" } else { group };
    json!({"group": group, "version": version, "kind": kind})
}
