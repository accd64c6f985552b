//! Server-side apply: a configuration is laid over an object, or becomes one.

use super::create::{place, read_yaml};
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
        if let Some(trail) = call.trail {
            trail.sent_patch(&configuration.object);
        }
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

/// Numbers such as 5.0 are whole, however they are written.
fn make_whole(value: &mut Value) {
    /// Above it, not every whole number has a form of its own.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Object(members) => members.values_mut().for_each(make_whole),
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            if let Some(float) = float.filter(|f| f.fract() == 0.0 && f.abs() < EXACT_MAX) {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "it is whole, and not too big"
                )]
                let whole = float as i64;
                *value = whole.into();
            }
        }
        _ => {}
    }
}

impl Configuration {
    /// From JSON, else from YAML.
    fn read(body: &[u8]) -> Result<Self, Status> {
        let (object, repeated) = match patch::read_object(body) {
            Ok((object, findings)) => {
                let repeated = (!findings.is_empty()).then(|| findings.join(", "));
                (object, repeated)
            }
            Err(_) => read_yaml(body)?,
        };
        match object {
            Value::Object(_) => {
                let mut object = object;
                make_whole(&mut object);
                Ok(Self { object, repeated })
            }
            Value::Null => Ok(Self {
                object: Value::Object(serde_json::Map::new()),
                repeated,
            }),
            _ => Err(Status::bad_request(
                "error decoding patch: it is not an object",
            )),
        }
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
