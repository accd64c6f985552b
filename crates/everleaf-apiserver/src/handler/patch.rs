//! patch: JSON merge patch (RFC 7386). Other patch types are answered 415 until they are served.

use everleaf_api::fields::{FieldError, quote};
use everleaf_api::schema::Decoded;
use everleaf_api::{Status, meta, patch};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;

use super::create::{judge_warnings, place};
use super::query::WriteOptions;
use super::respond::{Form, Occasion, warn};
use super::update::check_name;
use super::{Body, Call, Server};
use crate::objects::Objects;

const MERGE_PATCH: &str = "application/merge-patch+json";

impl Server {
    pub(super) async fn patch(&self, call: &Call<'_>) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(call.headers, call.query, Occasion::Object)?;
        check_content_type(call.headers)?;
        let options = WriteOptions::parse(call.query, "PatchOptions")?;
        let patch: Value = serde_json::from_slice(call.body)
            .map_err(|error| Status::bad_request(format!("the patch is not JSON: {error}")))?;
        if !patch.is_object() {
            return Err(inapplicable("a merge patch must be an object"));
        }
        let apply = |old: &Value| self.apply(call, &patch, old);
        // Findings are judged once, against the object as it is at the start.
        let mut warnings = Vec::new();
        if let Some(current) = self
            .cache
            .get(call.descriptor.resource, call.namespace, call.name)
        {
            warnings = judge_warnings(&mut apply(&current.object())?, options)?;
        }
        let object = self
            .write_back(call, options, |old| Ok(apply(old)?.object))
            .await?;
        let mut response = form.object(StatusCode::OK, call.descriptor, &object, call.now);
        for warning in &warnings {
            warn(response.headers_mut(), warning);
        }
        Ok(response)
    }

    fn apply(&self, call: &Call<'_>, patch: &Value, old: &Value) -> Result<Decoded, Status> {
        let mut object = old.clone();
        patch::merge(&mut object, patch);
        let mut decoded = call
            .descriptor
            .r#type
            .decode_value(object)
            .map_err(|status| inapplicable(&status.message))?;
        check_name(call, &decoded.object)?;
        place(call, &mut decoded.object)?;
        let uid = meta::uid(&decoded.object);
        if !uid.is_empty() && uid != meta::uid(old) {
            let error = FieldError::invalid("metadata.uid", &quote(uid), "field is immutable");
            return Err(call.invalid(call.name, &[error]));
        }
        Ok(decoded)
    }
}

/// 415 for any other kind of patch.
fn check_content_type(headers: &HeaderMap) -> Result<(), Status> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if media_type.eq_ignore_ascii_case(MERGE_PATCH) {
        Ok(())
    } else {
        Err(Status::unsupported_media_type_listing(&[MERGE_PATCH]))
    }
}

/// 422 for a patch whose result is no object of this type.
fn inapplicable(detail: &str) -> Status {
    Status::invalid("", "", "", &[FieldError::invalid("patch", "{}", detail)])
}
