//! One operation on a path, and how both versions of OpenAPI write it
//! (`k8s.io/apiserver/pkg/endpoints/installer.go`).

use super::Form;
use super::definitions::{Definitions, kind_of};
use crate::schema::{Message, Type};
use crate::types::{DELETE_OPTIONS, STATUS};
use serde_json::{Map, Value, json};

/// What every answer may be written in.
const MEDIA_TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
/// What a stream of events may be written in, too.
const STREAMS: &[&str] = &[
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
/// The forms that a patch may have.
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// A parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// `string`, `integer` or `boolean`.
    pub(super) sort: &'static str,
    pub(super) is_in_path: bool,
    pub(super) doc: &'static str,
}

/// What a request's body holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    None,
    Object(&'static Type),
    /// DeleteOptions, or nothing.
    Options,
    Patch,
}

/// What an answer holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Object(&'static Type),
    /// The list of a type, or events of a watch: clients learn which by what they asked.
    List(&'static Type),
    Events,
    Status,
    /// JSON that is no object, such as the version.
    Plain(&'static Message),
}

/// An operation.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) id: String,
    pub(super) doc: String,
    pub(super) tag: String,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Body,
    /// Codes of success.
    pub(super) codes: &'static [u16],
    pub(super) answer: Answer,
    /// `list`, `get`, `post`, …; "" for what is about no kind.
    pub(super) action: &'static str,
    /// Group, version and kind that it is about.
    pub(super) kind: Option<(&'static str, &'static str, &'static str)>,
}

impl Parameter {
    pub(super) fn render(&self, form: Form) -> Value {
        let place = if self.is_in_path { "path" } else { "query" };
        let mut parameter = json!({"name": self.name, "in": place, "description": self.doc});
        if self.is_in_path {
            parameter["required"] = true.into();
        }
        match form {
            Form::V2 => {
                parameter["type"] = self.sort.into();
                parameter["uniqueItems"] = true.into();
            }
            Form::V3 => parameter["schema"] = json!({"type": self.sort, "uniqueItems": true}),
        }
        parameter
    }
}

impl Operation {
    pub(super) fn render(&self, form: Form, definitions: &mut Definitions) -> Value {
        let mut operation = json!({
            "tags": [self.tag],
            "description": self.doc,
            "operationId": self.id,
        });
        let mut parameters: Vec<Value> = Vec::new();
        self.render_body(form, definitions, &mut operation, &mut parameters);
        parameters.extend(
            self.parameters
                .iter()
                .map(|parameter| parameter.render(form)),
        );
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        operation["responses"] = self.responses(form, definitions);
        if form == Form::V2 {
            operation["produces"] = self.media_types().into();
            operation["schemes"] = json!(["https"]);
        }
        if !self.action.is_empty() {
            operation["x-kubernetes-action"] = self.action.into();
        }
        if let Some((group, version, kind)) = self.kind {
            operation["x-kubernetes-group-version-kind"] = kind_of(group, version, kind);
        }
        operation
    }

    fn render_body(
        &self,
        form: Form,
        definitions: &mut Definitions,
        operation: &mut Value,
        parameters: &mut Vec<Value>,
    ) {
        let any = ["*/*"].as_slice();
        let (schema, media_types, is_required) = match self.body {
            Body::None => (None, any, false),
            Body::Object(r#type) => (Some(definitions.of_type(r#type)), any, true),
            Body::Options => (Some(definitions.of_type(&DELETE_OPTIONS)), any, false),
            Body::Patch => (Some(definitions.patch()), PATCHES, true),
        };
        if form == Form::V2 {
            let consumes = match self.answer {
                Answer::Plain(_) => &MEDIA_TYPES[..1],
                Answer::Object(_) if self.kind.is_none() => MEDIA_TYPES,
                _ => media_types,
            };
            operation["consumes"] = consumes.into();
        }
        let Some(schema) = schema else {
            return;
        };
        match form {
            Form::V2 => {
                let mut body = json!({"name": "body", "in": "body", "schema": schema});
                if is_required {
                    body["required"] = true.into();
                }
                parameters.push(body);
            }
            Form::V3 => {
                operation["requestBody"] = json!({"content": content(media_types, &schema)});
                if is_required {
                    operation["requestBody"]["required"] = true.into();
                }
            }
        }
    }

    fn responses(&self, form: Form, definitions: &mut Definitions) -> Value {
        let schema = match self.answer {
            Answer::Object(r#type) => definitions.of_type(r#type),
            Answer::List(r#type) => definitions.list_of(r#type),
            Answer::Events => definitions.watch_event(),
            Answer::Status => definitions.of_type(&STATUS),
            Answer::Plain(message) => definitions.of_message(message),
        };
        let status = definitions.of_type(&STATUS);
        let media_types = self.media_types();
        let response = |doc: &str, media_types: &[&str], schema: &Value| match form {
            Form::V2 => json!({"description": doc, "schema": schema}),
            Form::V3 => json!({"description": doc, "content": content(media_types, schema)}),
        };
        let mut responses = Map::new();
        for code in self.codes {
            let doc = match code {
                201 => "Created",
                202 => "Accepted",
                _ => "OK",
            };
            responses.insert(code.to_string(), response(doc, &media_types, &schema));
        }
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        let refused = response("Refused; a Status says why", MEDIA_TYPES, &status);
        responses.insert("default".to_owned(), refused);
        Value::Object(responses)
    }

    fn media_types(&self) -> Vec<&'static str> {
        match self.answer {
            Answer::List(_) | Answer::Events => {
                MEDIA_TYPES.iter().chain(STREAMS).copied().collect()
            }
            Answer::Object(_) | Answer::Status => MEDIA_TYPES.to_vec(),
            Answer::Plain(..) => vec!["application/json"],
        }
    }
}

fn content(media_types: &[&str], schema: &Value) -> Value {
    let content = media_types
        .iter()
        .map(|name| ((*name).to_owned(), json!({"schema": schema})));
    Value::Object(content.collect())
}
