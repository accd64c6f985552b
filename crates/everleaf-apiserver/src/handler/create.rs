//! create: a body becomes an object.

use everleaf_api::fields::ERRORS_SHOWN_MAX;
use everleaf_api::negotiate::{self, Encoding};
use everleaf_api::schema::{Decoded, Type};
use everleaf_api::{Status, meta};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

use super::query::{FieldValidation, WriteOptions};
use super::respond::{Form, Occasion, error_for, warn};
use super::{Body, Call, Server, issuance, object_meta};
use crate::admission::{self, Attributes, Operation};
use crate::objects::Objects;
use crate::registry::Context;
use crate::writer::{Expected, Refusal};

/// Names tried for a `generateName` before giving up.
const GENERATED_NAMES_MAX: usize = 8;
/// Members of metadata that only the server writes.
const SERVER_MEMBERS: [&str; 6] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
    "uid",
];

impl Server {
    pub(super) async fn create(&self, call: &Call<'_>) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(call.headers, call.query, Occasion::Object)?;
        let options = WriteOptions::parse(call.query, "CreateOptions")?;
        let mut decoded = decode(call.descriptor.r#type, call.headers, call.body)?;
        let mut warnings = judge_warnings(&mut decoded, options)?;
        let mut object = decoded.object;
        warnings.extend(object_meta::drop_repeated_owners(&mut object, false));
        let created = match place(call, &mut object) {
            Ok(()) => self.create_object(call, object, options).await,
            Err(status) => Err(status),
        };
        let answer = created.map(|stored| {
            warnings.extend(call.strategy_warnings(&stored));
            form.object(StatusCode::CREATED, call.descriptor, &stored, call.now)
        });
        with_warnings(call, answer, &warnings)
    }

    /// Creates a decoded, placed object; also for a PUT that may create.
    pub(super) async fn create_object(
        &self,
        call: &Call<'_>,
        mut object: Value,
        options: WriteOptions,
    ) -> Result<Value, Status> {
        if !meta::resource_version(&object).is_empty() {
            return Err(Status::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let descriptor = call.descriptor;
        let metadata = meta::metadata_mut(&mut object);
        for member in SERVER_MEMBERS {
            metadata.remove(member);
        }
        let request = issuance::verify(descriptor, &object);
        let name = meta::name(&object).to_owned();
        let attributes = Attributes {
            operation: Operation::Create,
            resource: descriptor.resource,
            group: descriptor.r#type.group,
            subresource: "",
            namespace: call.namespace,
            name: &name,
            user: call.user,
            old: None,
            request: request.as_ref(),
        };
        admission::mutate(&attributes, Some(&mut object), self.cache.as_ref())?;
        fill_metadata(&mut object, &self.new_uid(), call.now);
        let base = match name.as_str() {
            "" => meta::generate_name(&object).to_owned(),
            _ => String::new(),
        };
        if !base.is_empty() {
            meta::set(&mut object, "name", &self.generated_name(&base));
        }
        let context = Context {
            user: call.user,
            subresource: "",
            now: call.now,
            request: request.as_ref(),
        };
        descriptor.strategy.prepare_create(&mut object, &context);
        let mut errors = object_meta::validate(descriptor, &object);
        errors.extend(descriptor.strategy.validate_create(&object, &context));
        if !errors.is_empty() {
            return Err(call.invalid(meta::name(&object), &errors));
        }
        admission::validate(
            &attributes,
            Some(&object),
            self.cache.as_ref(),
            &self.authorizer,
        )?;
        let stored = self.store_new(call, object, &base, options.dry_run).await?;
        self.make_room(descriptor.stored()).await;
        Ok(stored)
    }

    /// Stores it, under another generated name when the first is taken.
    async fn store_new(
        &self,
        call: &Call<'_>,
        mut object: Value,
        base: &str,
        dry_run: bool,
    ) -> Result<Value, Status> {
        let attempts = if base.is_empty() {
            1
        } else {
            GENERATED_NAMES_MAX
        };
        let tally_max = self.unsigned_requests_max(call.descriptor, call.user);
        for attempt in 0..attempts {
            if attempt > 0 {
                meta::set(&mut object, "name", &self.generated_name(base));
            }
            let exists = self
                .cache
                .get(
                    call.descriptor.resource,
                    call.namespace,
                    meta::name(&object),
                )
                .is_some();
            if exists {
                continue;
            }
            if dry_run {
                return Ok(object);
            }
            let proposed = self
                .propose_put(call.descriptor, object.clone(), Expected::Absent, tally_max)
                .await;
            match proposed {
                Ok(stored) => return Ok(stored.object().into_owned()),
                Err(Refusal::Exists) => {}
                Err(refusal) => return Err(self.refused(refusal)),
            }
        }
        let name = meta::name(&object);
        Err(if base.is_empty() {
            Status::already_exists(call.about(), name)
        } else {
            Status::generate_name_conflict(call.about(), name)
        })
    }
}

/// Decodes a body by its `Content-Type`.
pub(super) fn decode(
    r#type: &'static Type,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Decoded, Status> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    match negotiate::content_type(content_type)? {
        Encoding::Json => r#type.decode_json(body),
        Encoding::Yaml => {
            let tree: Value = serde_saphyr::from_slice(body).map_err(|error| {
                Status::bad_request(format!("the body is not valid YAML: {error}"))
            })?;
            r#type.decode_value(tree)
        }
        Encoding::Protobuf => Ok(Decoded {
            object: r#type.decode_protobuf(body)?,
            warnings: Vec::new(),
        }),
    }
}

/// The answer with what was found wrong in the body; a refusal tells it, too.
pub(super) fn with_warnings(
    call: &Call<'_>,
    answer: Result<Response<Body>, Status>,
    warnings: &[String],
) -> Result<Response<Body>, Status> {
    if warnings.is_empty() {
        return answer;
    }
    let mut response = answer.unwrap_or_else(|status| error_for(call.headers, &status));
    for warning in warnings {
        warn(response.headers_mut(), warning);
    }
    Ok(response)
}

/// What `fieldValidation` makes of findings: nothing, warnings, or 400.
pub(super) fn judge_warnings(
    decoded: &mut Decoded,
    options: WriteOptions,
) -> Result<Vec<String>, Status> {
    let warnings = std::mem::take(&mut decoded.warnings);
    match options.field_validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(warnings),
        FieldValidation::Strict if warnings.is_empty() => Ok(warnings),
        FieldValidation::Strict => Err(Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            decoded.object["kind"].as_str().unwrap_or(""),
            meta::version(&decoded.object),
            decoded.object["kind"].as_str().unwrap_or(""),
            warnings[..warnings.len().min(ERRORS_SHOWN_MAX)].join(", "),
        ))),
    }
}

/// Puts an object where the path says, or 400 when it says otherwise.
pub(super) fn place(call: &Call<'_>, object: &mut Value) -> Result<(), Status> {
    if call.descriptor.namespaced {
        match meta::namespace(object) {
            "" => {}
            namespace if namespace == call.namespace => {}
            _ => {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on \
                     the request",
                ));
            }
        }
    }
    meta::set(object, "namespace", call.namespace);
    Ok(())
}

/// Identity and birth of a new object.
pub(super) fn fill_metadata(object: &mut Value, uid: &str, now: Timestamp) {
    meta::set(object, "uid", uid);
    meta::set(object, "creationTimestamp", &meta::format_time(now));
}
