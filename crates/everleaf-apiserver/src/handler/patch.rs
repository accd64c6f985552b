//! patch: an object is changed by a JSON, merge or strategic merge patch; the fourth kind is
//! [`apply`].

use super::create::place;
use super::query::{FieldValidation, WriteOptions};
use super::respond::{Form, Occasion};
use super::update::check_name;
use super::write::{Target, answer};
use super::{Body, Call, Server, apply, object_meta};
use everleaf_api::Status;
use everleaf_api::patch::{Patch, PatchType};
use everleaf_api::schema::Decoded;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use serde_json::Value;

impl Server {
    pub(super) async fn patch(&self, call: &Call<'_>) -> Result<Response<Body>, Status> {
        let media_type = media_type(call.headers);
        if media_type == apply::MEDIA_TYPE {
            return self.apply(call).await;
        }
        let patch_type =
            PatchType::of_content_type(media_type).ok_or_else(Status::unsupported_patch_type)?;
        let form = Form::negotiate(call.headers, call.query, Occasion::Object)?;
        let options = WriteOptions::parse(call.query, "PatchOptions")?;
        let patch = Patch::read(patch_type, call.body)?;
        let patch = match call.descriptor.strategy.is_confidential() {
            true => patch.confidential(),
            false => patch,
        };
        if let (Some(trail), Ok(patch)) = (call.trail, serde_json::from_slice(call.body)) {
            trail.sent_patch(&patch);
        }
        let mut warnings = Vec::new();
        let make = |old: Option<&Value>| {
            let missing = || Status::not_found(call.about(), call.name);
            let mut decoded = patched(call, &patch, options, old.ok_or_else(missing)?)?;
            warnings = decoded.warnings;
            warnings.extend(object_meta::drop_repeated_owners(&mut decoded.object, true));
            Ok(decoded.object)
        };
        let written = self.write(call, options, Target::Present, make).await;
        Ok(answer(call, form, written, warnings))
    }
}

fn patched(
    call: &Call<'_>,
    patch: &Patch,
    options: WriteOptions,
    old: &Value,
) -> Result<Decoded, Status> {
    let findings = options.field_validation != FieldValidation::Ignore;
    let mut decoded = match call.descriptor.view_of {
        None => patch.apply(old, call.descriptor.r#type, findings)?,
        // A patch is about what the client sees.
        Some(_) => {
            let shown = serde_json::from_slice(&call.descriptor.r#type.encode_json(old));
            let shown = shown.map_err(|error| Status::internal(error.to_string()))?;
            patch.apply(&shown, call.descriptor.r#type, findings)?
        }
    };
    if options.field_validation == FieldValidation::Strict && !decoded.warnings.is_empty() {
        let findings = decoded.warnings.join(", ");
        return Err(patch.refusal(&format!("strict decoding error: {findings}")));
    }
    place(call, &mut decoded.object)?;
    check_name(call, &decoded.object)?;
    Ok(decoded)
}

/// The `Content-Type` without its parameters, or "".
fn media_type(headers: &HeaderMap) -> &str {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or("");
    content_type.split(';').next().unwrap_or("")
}
