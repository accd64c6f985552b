//! update: an object is replaced, through its main endpoint or a subresource.

use super::create::{place, read_object};
use super::query::WriteOptions;
use super::respond::{Form, Occasion};
use super::write::{Target, answer};
use super::{Body, Call, Server};
use crate::authz;
use everleaf_api::{Status, meta};
use http::Response;
use serde_json::Value;

impl Server {
    pub(super) async fn update(&self, call: &Call<'_>) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(call.headers, call.query, Occasion::Object)?;
        let options = WriteOptions::parse(call.query, "UpdateOptions")?;
        let (mut object, warnings) = read_object(call, options)?;
        let may_create = call.descriptor.create_on_update && call.subresource.is_empty();
        let target = if may_create {
            Target::Any
        } else {
            Target::Present
        };
        let placed = check_name(call, &object).and_then(|()| place(call, &mut object));
        let mut sent = Some(object);
        let make = |old: Option<&Value>| {
            let object = match sent.take() {
                Some(object) => object,
                // Who was overtaken reads the body again: that is rare, a copy would be for all.
                None => {
                    let (mut object, _) = read_object(call, options)?;
                    place(call, &mut object)?;
                    object
                }
            };
            match (meta::uid(&object), old.map_or("", meta::uid)) {
                // It means an object that is gone.
                (wanted, found) if !wanted.is_empty() && wanted != found => {
                    return Err(uid_conflict(call, wanted, found));
                }
                _ => {}
            }
            if old.is_none() {
                self.authorize_create(call)?;
            }
            Ok(object)
        };
        let written = match placed {
            Ok(()) => self.write(call, options, target, make).await,
            Err(status) => Err(status),
        };
        Ok(answer(call, form, written, warnings))
    }

    /// The verb of the request is update; who creates by it needs the right to create as well
    /// (`apiserver/pkg/endpoints/handlers/update.go`: `withAuthorization`).
    pub(super) fn authorize_create(&self, call: &Call<'_>) -> Result<(), Status> {
        let question = authz::Attributes {
            verb: "create",
            group: call.descriptor.r#type.group,
            version: call.descriptor.r#type.version,
            resource: call.descriptor.resource,
            namespace: call.namespace,
            name: call.name,
            ..authz::Attributes::of(call.user)
        };
        call.authorizer.check(&question, self.cache.as_ref())
    }
}

/// 400 when the body's name is not that of the path.
pub(super) fn check_name(call: &Call<'_>, object: &Value) -> Result<(), Status> {
    match meta::name(object) {
        "" => Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name
        ))),
        name if name == call.name => Ok(()),
        name => Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name
        ))),
    }
}

fn uid_conflict(call: &Call<'_>, wanted: &str, found: &str) -> Status {
    let text = format!(
        "StorageError: invalid object, Code: 4, Key: , ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    );
    Status::conflict(call.about(), call.name, &text)
}
