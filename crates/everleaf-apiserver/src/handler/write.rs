//! The one way of an object into the store: decoded → prepared → judged → encoded once → proposed.
//!
//! Whoever writes enters with data: where (the [`Call`]), what may be there before ([`Target`]),
//! and what makes the new object of it. A body, a patch and what the server installs itself differ
//! in nothing else; the endpoints below a resource (status, approval, finalize) are its strategy's
//! affair.

use super::container::Emptied;
use super::query::{WriteOptions, resource_version};
use super::respond::{Form, error_for, warn};
use super::{Body, Call, Server, object_meta};
use crate::admission::{self, Attributes, Operation};
use crate::objects::{Objects, Stored};
use crate::registry::{Context, Descriptor};
use crate::writer::{Expected, Refusal};
use bytes::Bytes;
use everleaf_api::fields::FieldError;
use everleaf_api::{Status, managed, meta};
use http::{Response, StatusCode};
use serde_json::Value;
use std::sync::Arc;

/// Times a write without resourceVersion starts over because somebody else was faster: each time
/// another one has got through, and no more than so many write at once.
pub(super) const ATTEMPTS_MAX: usize = 256;
/// Names tried for a `generateName` before giving up.
const GENERATED_NAMES_MAX: usize = 8;
/// What a conflict says; clients and tests match it.
pub(super) const MODIFIED: &str = "the object has been modified; please apply your changes to the \
                                   latest version and try again";
/// Members of metadata that only the server writes.
const SERVER_MEMBERS: [&str; 5] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "selfLink",
    "uid",
];

/// What may be there before a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Nothing: the object is new.
    New,
    /// The object of the call's name.
    Present,
    /// Whether it exists or not.
    Any,
}

/// What a write ended in.
pub(super) struct Written {
    /// 201 or 200.
    code: StatusCode,
    shown: Shown,
    /// See [`Call::strategy_warnings`].
    warnings: Vec<String>,
}

/// What whoever wrote an object is shown.
enum Shown {
    /// As it is stored now.
    Stored(Arc<Stored>),
    /// What would be stored (a dry run), or what was and is gone.
    Unstored(Value),
}

/// How an attempt ended.
enum Attempt {
    /// Written, or nothing to write: the object as it is now.
    Done(Shown, Vec<String>),
    /// Somebody was faster.
    Overtaken,
}

/// The stored form of an object, made once.
pub(super) struct Encoded(pub(super) Bytes);

impl Encoded {
    pub(super) fn new(descriptor: &'static Descriptor, object: &mut Value) -> Self {
        meta::set(object, "resourceVersion", "");
        Self(descriptor.stored().r#type.encode_protobuf(object).into())
    }
}

impl Server {
    /// Writes what `make` makes of the present object (None: there is none); again when somebody
    /// else was faster. The resourceVersion that `make` leaves in the object is the precondition.
    pub(super) async fn write(
        &self,
        call: &Call<'_>,
        options: WriteOptions,
        target: Target,
        mut make: impl FnMut(Option<&Value>) -> Result<Value, Status>,
    ) -> Result<Written, Status> {
        for _ in 0..ATTEMPTS_MAX {
            let current = match target {
                Target::New => None,
                Target::Present | Target::Any => {
                    self.cache
                        .get(call.descriptor.resource, call.namespace, call.name)
                }
            };
            let Some(current) = current else {
                if target != Target::New {
                    let absent = self.absent(call, call.namespace, call.name);
                    if target == Target::Present || absent.code != 404 {
                        return Err(absent);
                    }
                }
                let object = call.owned(options, None, make(None)?);
                let (shown, warnings) = self.create_new(call, options, object).await?;
                let code = StatusCode::CREATED;
                return Ok(Written {
                    code,
                    shown,
                    warnings,
                });
            };
            let old = current.object();
            let object = call.owned(options, Some(&old), make(Some(&old))?);
            check_resource_version(call, &object, &current)?;
            let written = self.replace(call, options, (&current, &old), object);
            if let Attempt::Done(shown, warnings) = written.await? {
                let code = StatusCode::OK;
                return Ok(Written {
                    code,
                    shown,
                    warnings,
                });
            }
        }
        Err(Status::conflict(call.about(), call.name, MODIFIED))
    }

    /// Prepares and judges an object that is to be stored in place of `old`, or anew; the base of
    /// its name, if the name is generated.
    fn judge(
        &self,
        call: &Call<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<String, Status> {
        let descriptor = call.descriptor;
        let name = match old {
            None => meta::name(object).to_owned(),
            Some(_) => call.name.to_owned(),
        };
        let verify = descriptor.verify.filter(|_| old.is_none());
        let request = verify.map(|verify| verify(object, &self.requests));
        let (operation, subresource) = match old {
            None => (Operation::Create, ""),
            Some(_) => (Operation::Update, call.subresource),
        };
        let attributes = Attributes {
            operation,
            resource: descriptor.resource,
            group: descriptor.r#type.group,
            subresource,
            namespace: call.namespace,
            name: &name,
            user: call.user,
            old,
            request: request.as_ref(),
        };
        let cache = self.cache.as_ref();
        admission::mutate(&attributes, Some(object), cache, call.authorizer)?;
        let base = match name.as_str() {
            "" => meta::generate_name(object).to_owned(),
            _ => String::new(),
        };
        if !base.is_empty() {
            meta::set(object, "name", &self.generated_name(&base));
        }
        let context = Context {
            user: call.user,
            subresource,
            now: call.now,
            request: request.as_ref(),
            gates: self.catalogue.apis().gates(),
        };
        let errors = self.prepare(descriptor, object, old, &context);
        if !errors.is_empty() {
            return Err(call.invalid(meta::name(object), &errors));
        }
        admission::validate(&attributes, Some(object), cache, call.authorizer)?;
        Ok(base)
    }

    /// Fills what the server owns; what is wrong with the rest.
    pub(super) fn prepare(
        &self,
        descriptor: &'static Descriptor,
        object: &mut Value,
        old: Option<&Value>,
        context: &Context<'_>,
    ) -> Vec<FieldError> {
        let strategy = descriptor.strategy;
        let Some(old) = old else {
            meta::set(object, "uid", &self.new_uid());
            let now = meta::format_time(context.now);
            meta::set(object, "creationTimestamp", &now);
            strategy.prepare_create(object, context);
            let mut errors = object_meta::validate(descriptor, object);
            errors.extend(strategy.validate_create(object, context));
            return errors;
        };
        object_meta::prepare_update(object, old);
        strategy.prepare_update(object, old, context);
        let mut errors = object_meta::validate(descriptor, object);
        errors.extend(object_meta::validate_update(object, old));
        errors.extend(strategy.validate_update(object, old, context));
        errors
    }

    /// Stores a new object, under another generated name when the first is taken.
    async fn create_new(
        &self,
        call: &Call<'_>,
        options: WriteOptions,
        mut object: Value,
    ) -> Result<(Shown, Vec<String>), Status> {
        if !meta::resource_version(&object).is_empty() {
            return Err(Status::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let base = self.judge(call, &mut object, None)?;
        let descriptor = call.descriptor;
        let attempts = if base.is_empty() {
            1
        } else {
            GENERATED_NAMES_MAX
        };
        let tally = descriptor.tally.as_ref();
        let holder = tally.and_then(|tally| (tally.holder)(call.user));
        let tally_max = holder.map(|holder| self.limits.unsigned_requests_max(holder));
        for attempt in 0..attempts {
            if attempt > 0 {
                meta::set(&mut object, "name", &self.generated_name(&base));
            }
            let (resource, name) = (descriptor.resource, meta::name(&object));
            let is_there = || self.cache.get(resource, call.namespace, name).is_some();
            // Where others write, too, it may be gone by now; and a dry run asks nobody else.
            if is_there() || options.dry_run {
                self.catch_up().await?;
            }
            if is_there() {
                continue;
            }
            let warnings = call.strategy_warnings(&object);
            if options.dry_run {
                return Ok((Shown::Unstored(object), warnings));
            }
            let encoded = Encoded::new(descriptor, &mut object);
            let proposed = self.propose_put(descriptor, encoded, Expected::Absent, tally_max);
            match proposed.await {
                Ok(stored) => {
                    self.make_room(descriptor.stored()).await;
                    return Ok((Shown::Stored(stored), warnings));
                }
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

    /// Stores an object in place of another; with its last finalizer, one that is being deleted
    /// goes.
    async fn replace(
        &self,
        call: &Call<'_>,
        options: WriteOptions,
        (current, old): (&Arc<Stored>, &Value),
        mut object: Value,
    ) -> Result<Attempt, Status> {
        self.judge(call, &mut object, Some(old))?;
        managed::keep_times(&mut object, old);
        let descriptor = call.descriptor;
        let warnings = call.strategy_warnings(&object);
        let encoded = Encoded::new(descriptor, &mut object);
        let is_current = self.encryption.is_current(descriptor, current.seal);
        if encoded.0 == current.bytes && is_current {
            return Ok(Attempt::Done(Shown::Stored(Arc::clone(current)), warnings));
        }
        let is_going = meta::deletion_timestamp(&object).is_some()
            && meta::finalizers(&object).next().is_none();
        if is_going && descriptor.is_container && !options.dry_run {
            let container = (&**current, Some(&object));
            let emptied = self.delete_container(descriptor, container, call.now);
            return match emptied.await? {
                Emptied::Held(stored) => Ok(Attempt::Done(Shown::Stored(stored), warnings)),
                Emptied::Overtaken => Ok(Attempt::Overtaken),
                Emptied::Gone => {
                    let version = current.revision.to_string();
                    meta::set(&mut object, "resourceVersion", &version);
                    Ok(Attempt::Done(Shown::Unstored(object), warnings))
                }
            };
        }
        let is_gone = is_going && !descriptor.strategy.is_held(&object);
        let outcome = if options.dry_run {
            None
        } else if !is_gone {
            let expected = Expected::Revision(current.revision);
            Some(self.propose_put(descriptor, encoded, expected, None).await)
        } else {
            Some(self.propose_delete(descriptor, current).await)
        };
        match outcome {
            Some(Ok(stored)) if !is_gone => {
                let issued = descriptor.issued.and_then(|issued| issued(old, &object));
                if let Some(issued) = issued {
                    self.metrics
                        .count_duration(&issued.signer, issued.is_honored);
                }
                self.make_room(descriptor.stored()).await;
                Ok(Attempt::Done(Shown::Stored(stored), warnings))
            }
            None | Some(Ok(_)) => {
                let version = current.revision.to_string();
                meta::set(&mut object, "resourceVersion", &version);
                Ok(Attempt::Done(Shown::Unstored(object), warnings))
            }
            Some(Err(Refusal::Changed | Refusal::Exists)) => Ok(Attempt::Overtaken),
            Some(Err(refusal)) => Err(self.refused(refusal)),
        }
    }
}

impl Call<'_> {
    /// What was made of a request, with what it leaves unsaid, and with the managers of its fields.
    fn owned(&self, options: WriteOptions, old: Option<&Value>, mut object: Value) -> Value {
        if old.is_none() {
            let metadata = meta::metadata_mut(&mut object);
            for member in SERVER_MEMBERS {
                metadata.remove(member);
            }
        }
        // From here on it is an object as they are stored, whichever version it came in.
        object["apiVersion"] = self.descriptor.stored().r#type.api_version().into();
        self.descriptor.r#type.fill_defaults(&mut object);
        self.descriptor.strategy.default(&mut object);
        if !options.is_applied {
            self.track(old, &mut object);
        }
        object
    }
}

/// The answer to a write, with what was found wrong in the body; a refusal tells it, too.
pub(super) fn answer(
    call: &Call<'_>,
    form: Form,
    written: Result<Written, Status>,
    mut warnings: Vec<String>,
) -> Response<Body> {
    let mut response = match written {
        Ok(written) => {
            warnings.extend(written.warnings);
            match written.shown {
                Shown::Stored(stored) => {
                    form.stored(written.code, call.descriptor, &stored, call.now)
                }
                Shown::Unstored(object) => {
                    form.object(written.code, call.descriptor, &object, call.now)
                }
            }
        }
        Err(status) => error_for(call.headers, &status),
    };
    for warning in &warnings {
        warn(response.headers_mut(), warning);
    }
    response
}

/// The object's resourceVersion is a precondition; some resources demand one.
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
