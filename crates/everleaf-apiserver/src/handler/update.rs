//! update: an object is replaced, through its main endpoint or a subresource.

use everleaf_api::fields::FieldError;
use everleaf_api::{Status, meta};
use http::{Response, StatusCode};
use serde_json::Value;

use super::create::{decode, judge_warnings, place, with_warnings};
use super::query::{WriteOptions, resource_version};
use super::respond::{Form, Occasion};
use super::{Body, Call, Server, object_meta};
use crate::admission::{self, Attributes, Operation};
use crate::authz;
use crate::objects::{Objects, Stored};
use crate::registry::Context;
use crate::registry::namespaces::NAMESPACES;
use crate::writer::{Expected, Refusal};

/// Times an update without resourceVersion starts over because somebody else was faster.
pub(super) const ATTEMPTS_MAX: usize = 5;
/// What a conflict says; clients and tests match it.
pub(super) const MODIFIED: &str = "the object has been modified; please apply your changes to the \
                                   latest version and try again";

/// How an attempt ended.
enum Attempt {
    /// Written, or nothing to write: the object as it is now.
    Done(Value),
    /// Somebody was faster.
    Overtaken,
}

impl Server {
    pub(super) async fn update(&self, call: &Call<'_>) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(call.headers, call.query, Occasion::Object)?;
        let options = WriteOptions::parse(call.query, "UpdateOptions")?;
        let mut decoded = decode(call.descriptor.r#type, call.headers, call.body)?;
        let mut warnings = judge_warnings(&mut decoded, options)?;
        let mut object = decoded.object;
        warnings.extend(object_meta::drop_repeated_owners(&mut object, false));
        let updated = self.update_decoded(call, object, options).await;
        let answer = updated.map(|(code, object)| {
            warnings.extend(call.strategy_warnings(&object));
            form.object(code, call.descriptor, &object, call.now)
        });
        with_warnings(call, answer, &warnings)
    }

    async fn update_decoded(
        &self,
        call: &Call<'_>,
        mut object: Value,
        options: WriteOptions,
    ) -> Result<(StatusCode, Value), Status> {
        check_name(call, &object)?;
        place(call, &mut object)?;
        let present = self
            .cache
            .get(call.descriptor.resource, call.namespace, call.name);
        if present.is_some() {
            let updated = self
                .write_back(call, options, |old| {
                    check_uid(call, &object, old)?;
                    Ok(object.clone())
                })
                .await?;
            return Ok((StatusCode::OK, updated));
        }
        if !call.descriptor.create_on_update || !call.subresource.is_empty() {
            return Err(Status::not_found(call.about(), call.name));
        }
        let uid = meta::uid(&object);
        if !uid.is_empty() {
            return Err(uid_conflict(call, uid, ""));
        }
        self.authorize_create(call)?;
        let created = self.create_object(call, object, options).await?;
        Ok((StatusCode::CREATED, created))
    }

    /// The verb of the request is update; who creates by it needs the right to create as well
    /// (`apiserver/pkg/endpoints/handlers/update.go`: `withAuthorization`).
    fn authorize_create(&self, call: &Call<'_>) -> Result<(), Status> {
        let question = authz::Attributes {
            verb: "create",
            group: call.descriptor.r#type.group,
            version: call.descriptor.r#type.version,
            resource: call.descriptor.resource,
            namespace: call.namespace,
            name: call.name,
            ..authz::Attributes::of(call.user)
        };
        self.authorizer.check(&question, self.cache.as_ref())
    }

    /// Reads, lets `change` make the new object, writes; again when somebody else was faster. The
    /// resourceVersion that `change` leaves in the object is the precondition.
    pub(super) async fn write_back(
        &self,
        call: &Call<'_>,
        options: WriteOptions,
        mut change: impl FnMut(&Value) -> Result<Value, Status>,
    ) -> Result<Value, Status> {
        for _ in 0..ATTEMPTS_MAX {
            let current = self
                .cache
                .get(call.descriptor.resource, call.namespace, call.name)
                .ok_or_else(|| Status::not_found(call.about(), call.name))?;
            let old = current.object();
            let object = change(&old)?;
            check_resource_version(call, &object, &current)?;
            let written = self.attempt(call, options, (&current, &old), object);
            match written.await? {
                Attempt::Done(object) => return Ok(object),
                Attempt::Overtaken => {}
            }
        }
        Err(Status::conflict(call.about(), call.name, MODIFIED))
    }

    async fn attempt(
        &self,
        call: &Call<'_>,
        options: WriteOptions,
        (current, old): (&Stored, &Value),
        mut object: Value,
    ) -> Result<Attempt, Status> {
        let descriptor = call.descriptor;
        let attributes = Attributes {
            operation: Operation::Update,
            resource: descriptor.resource,
            group: descriptor.r#type.group,
            subresource: call.subresource,
            namespace: call.namespace,
            name: call.name,
            user: call.user,
            old: Some(old),
            request: None,
        };
        admission::mutate(&attributes, Some(&mut object), self.cache.as_ref())?;
        let context = Context {
            user: call.user,
            subresource: call.subresource,
            now: call.now,
            request: None,
        };
        object_meta::prepare_update(&mut object, old);
        descriptor
            .strategy
            .prepare_update(&mut object, old, &context);
        let mut errors = object_meta::validate(descriptor, &object);
        errors.extend(object_meta::validate_update(&object, old));
        errors.extend(descriptor.strategy.validate_update(&object, old, &context));
        if !errors.is_empty() {
            return Err(call.invalid(call.name, &errors));
        }
        admission::validate(
            &attributes,
            Some(&object),
            self.cache.as_ref(),
            &self.authorizer,
        )?;
        self.store_update(call, options, (current, old), object)
            .await
    }

    async fn store_update(
        &self,
        call: &Call<'_>,
        options: WriteOptions,
        (current, old): (&Stored, &Value),
        mut object: Value,
    ) -> Result<Attempt, Status> {
        let descriptor = call.descriptor;
        meta::set(&mut object, "resourceVersion", "");
        if descriptor.stored().r#type.encode_protobuf(&object) == current.bytes {
            return Ok(Attempt::Done(old.clone()));
        }
        let version = current.revision.to_string();
        if options.dry_run {
            meta::set(&mut object, "resourceVersion", &version);
            return Ok(Attempt::Done(object));
        }
        let last_finalizer_gone = meta::deletion_timestamp(&object).is_some()
            && meta::finalizers(&object).next().is_none();
        if last_finalizer_gone && descriptor.resource == NAMESPACES.resource {
            self.delete_namespace(current, call.now).await?;
            meta::set(&mut object, "resourceVersion", &version);
            return Ok(Attempt::Done(object));
        }
        let outcome = if last_finalizer_gone {
            self.propose_delete(descriptor, current).await
        } else {
            let expected = Expected::Revision(current.revision);
            self.propose_put(descriptor, object.clone(), expected, None)
                .await
        };
        match outcome {
            Ok(_) if last_finalizer_gone => {
                meta::set(&mut object, "resourceVersion", &version);
                Ok(Attempt::Done(object))
            }
            Ok(stored) => {
                let new = stored.object().into_owned();
                self.count_issuance(descriptor, old, &new);
                self.make_room(descriptor.stored()).await;
                Ok(Attempt::Done(new))
            }
            Err(Refusal::Changed | Refusal::Exists) => Ok(Attempt::Overtaken),
            Err(refusal) => Err(self.refused(refusal)),
        }
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

/// 409 when the body names another uid: it means an object that is gone.
fn check_uid(call: &Call<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    match (meta::uid(object), meta::uid(old)) {
        ("", _) => Ok(()),
        (wanted, found) if wanted == found => Ok(()),
        (wanted, found) => Err(uid_conflict(call, wanted, found)),
    }
}

fn uid_conflict(call: &Call<'_>, wanted: &str, found: &str) -> Status {
    let text = format!(
        "StorageError: invalid object, Code: 4, Key: , ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    );
    Status::conflict(call.about(), call.name, &text)
}

/// The body's resourceVersion is a precondition; some resources demand one.
fn check_resource_version(call: &Call<'_>, object: &Value, current: &Stored) -> Result<(), Status> {
    match resource_version(meta::resource_version(object))? {
        Some(revision) if revision == current.revision => Ok(()),
        None | Some(0) if call.descriptor.unconditional_update => Ok(()),
        None | Some(0) => {
            let errors = [FieldError::invalid(
                "metadata.resourceVersion",
                "0",
                "must be specified for an update",
            )];
            // Upstream names the resource here, not the kind.
            let about = call.about();
            Err(Status::invalid(
                about.group,
                about.resource,
                call.name,
                &errors,
            ))
        }
        Some(_) => Err(Status::conflict(call.about(), call.name, MODIFIED)),
    }
}
