//! Server-side apply: a configuration is laid over an object, or becomes one.

use super::create::place;
use super::ownership::with_endpoint;
use super::query::{FieldValidation, WriteOptions};
use super::respond::{Form, Occasion};
use super::update::check_name;
use super::write::{Target, answer};
use super::{Body, Call, Server, object_meta};
use everleaf_api::managed::{self, Write};
use everleaf_api::{Status, meta, patch};
use http::Response;
use serde_json::Value;

/// Its media type; a body may be JSON, which is YAML.
pub(super) const MEDIA_TYPE: &str = "application/apply-patch+yaml";

/// What somebody applies.
struct Configuration {
    object: Value,
    /// Members that are repeated, in words.
    repeated: Option<String>,
}

impl Server {
    pub(super) async fn apply(&self, call: &Call<'_>) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(call.headers, call.query, Occasion::Object)?;
        let options = WriteOptions::parse_apply(call.query)?;
        let configuration = Configuration::read(call.body)?;
        let target = if call.subresource.is_empty() {
            Target::Any
        } else {
            Target::Present
        };
        let mut warnings = Vec::new();
        let make = |old: Option<&Value>| {
            let mut object = lay(call, old, &configuration.object, options)?;
            warnings = configuration.findings(options)?;
            if old.is_none() {
                refuse_uid(call, &object)?;
                // A version of what is not there means nothing here.
                meta::set(&mut object, "resourceVersion", "");
            }
            place(call, &mut object)?;
            check_name(call, &object)?;
            if old.is_none() {
                self.authorize_create(call)?;
            }
            warnings.extend(object_meta::drop_repeated_owners(&mut object, true));
            Ok(object)
        };
        let written = self.write(call, options, target, make).await;
        Ok(answer(call, form, written, warnings))
    }
}

fn lay(
    call: &Call<'_>,
    old: Option<&Value>,
    configuration: &Value,
    options: WriteOptions,
) -> Result<Value, Status> {
    let now = meta::format_time(call.now);
    let write = Write {
        manager: call.manager(),
        now: &now,
    };
    with_endpoint(call.descriptor, call.subresource, |endpoint| {
        managed::apply(endpoint, old, configuration, &write, options.force)
    })
}

/// Whoever names an object by its uid does not mean a new one.
fn refuse_uid(call: &Call<'_>, object: &Value) -> Result<(), Status> {
    let uid = meta::uid(object);
    if uid.is_empty() {
        return Ok(());
    }
    let text = format!(
        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
    );
    Err(Status::conflict(call.about(), call.name, &text))
}

impl Configuration {
    /// From JSON, else from YAML.
    fn read(body: &[u8]) -> Result<Self, Status> {
        let (object, repeated) = match patch::read_object(body) {
            Ok((object, findings)) => {
                let repeated = (!findings.is_empty()).then(|| findings.join(", "));
                (object, repeated)
            }
            Err(_) => Self::read_yaml(body)?,
        };
        match object {
            Value::Object(_) => Ok(Self { object, repeated }),
            Value::Null => Ok(Self {
                object: Value::Object(serde_json::Map::new()),
                repeated,
            }),
            _ => Err(Status::bad_request(
                "error decoding patch: it is not an object",
            )),
        }
    }

    /// Of what is repeated the last counts.
    fn read_yaml(body: &[u8]) -> Result<(Value, Option<String>), Status> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok((Value::Null, None));
        }
        let strict = serde_saphyr::from_slice(body);
        let repeated = match strict {
            Ok(object) => return Ok((object, None)),
            Err(error) => error.to_string(),
        };
        let lenient = serde_saphyr::options! {
            duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
            with_snippet: false,
        };
        let object = serde_saphyr::from_slice_with_options(body, lenient)
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
        Ok((object, Some(repeated)))
    }

    /// What `fieldValidation` makes of members that are repeated.
    fn findings(&self, options: WriteOptions) -> Result<Vec<String>, Status> {
        let Some(repeated) = &self.repeated else {
            return Ok(Vec::new());
        };
        match options.field_validation {
            FieldValidation::Ignore => Ok(Vec::new()),
            FieldValidation::Warn => Ok(vec![repeated.clone()]),
            FieldValidation::Strict => {
                let text = format!("error strict decoding patch: {repeated}");
                Err(Status::bad_request(text))
            }
        }
    }
}
