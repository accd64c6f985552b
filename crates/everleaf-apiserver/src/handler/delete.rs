//! delete and deletecollection.
//!
//! There is no garbage collector and no grace period: an object without finalizers goes at once,
//! whatever propagation was asked for (a finalizer that says so would wait for a collector for
//! ever). One with finalizers is marked, and goes with the last of them.

use super::create::decode;
use super::list::{ListStream, Objects as Listed};
use super::query::{ListOptions, Query, check_dry_run};
use super::read::scope_of;
use super::respond::{Form, Occasion};
use super::retention::REMOVALS_AT_ONCE_MAX;
use super::select::Selection;
use super::write::{ATTEMPTS_MAX, Encoded, MODIFIED};
use super::{Body, Call, Server};
use crate::admission::{self, Attributes, Operation};
use crate::objects::{Objects, Stored};
use crate::writer::{Expected, Refusal};
use everleaf_api::fields::{FieldError, quote};
use everleaf_api::status::GroupResource;
use everleaf_api::{Status, meta, types};
use http::{Response, StatusCode};
use serde_json::Value;
use std::sync::Arc;

/// What a delete was asked to do.
#[derive(Debug, Default)]
struct DeleteOptions {
    uid: Option<String>,
    resource_version: Option<String>,
    dry_run: bool,
}

/// How a delete ended.
enum Deleted {
    /// The object is gone (or would be); its last state.
    Gone(Arc<Stored>),
    /// It waits for its finalizers; its present state.
    Marked(Value),
}

impl Server {
    pub(super) async fn delete(&self, call: &Call<'_>) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(call.headers, call.query, Occasion::Object)?;
        let options = DeleteOptions::parse(call)?;
        let deleted = self.delete_one(call, call.namespace, call.name, &options);
        match deleted.await? {
            Deleted::Marked(object) => {
                Ok(form.object(StatusCode::OK, call.descriptor, &object, call.now))
            }
            Deleted::Gone(stored) if call.descriptor.returns_deleted => {
                Ok(form.object(StatusCode::OK, call.descriptor, &stored.object(), call.now))
            }
            Deleted::Gone(stored) => {
                let object = stored.object();
                let status = Status::deleted(call.about(), &stored.name, meta::uid(&object));
                Ok(form.plain(StatusCode::OK, &types::STATUS, &status.to_value()))
            }
        }
    }

    pub(super) async fn delete_collection(
        &self,
        call: &Call<'_>,
    ) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(call.headers, call.query, Occasion::List)?;
        let options = DeleteOptions::parse(call)?;
        let list = ListOptions::parse(call.query, false)?;
        let selection = Selection::new(call.descriptor, &list)?;
        self.check_readable(call, &scope_of(call, &selection))?;
        let snapshot = self
            .cache
            .snapshot(call.descriptor.resource, None)
            .map_err(|_| Status::internal("the present state cannot be read"))?;
        let mut found = snapshot
            .walk(scope_of(call, &selection), "")
            .filter(|stored| selection.covers(stored))
            .take(if list.limit == 0 {
                usize::MAX
            } else {
                list.limit
            });
        let mut deleted = Vec::new();
        loop {
            let some: Vec<_> = found.by_ref().take(REMOVALS_AT_ONCE_MAX).collect();
            if some.is_empty() {
                break;
            }
            let removals = some
                .iter()
                .map(|stored| self.delete_one(call, &stored.namespace, &stored.name, &options));
            let outcomes = self.remove_together(removals).await;
            for (outcome, stored) in outcomes.into_iter().zip(some) {
                match outcome {
                    Ok(_) => deleted.push(stored),
                    // Somebody else was faster.
                    Err(status) if status.code == StatusCode::NOT_FOUND.as_u16() => {}
                    Err(status) => return Err(status),
                }
            }
        }
        let deleted = Listed::Given(Arc::new(deleted), 0);
        Ok(ListStream::answer(
            call,
            form,
            deleted,
            snapshot.revision(),
            0,
        ))
    }

    async fn delete_one(
        &self,
        call: &Call<'_>,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        let descriptor = call.descriptor;
        for _ in 0..ATTEMPTS_MAX {
            let current = self
                .cache
                .get(descriptor.resource, namespace, name)
                .ok_or_else(|| self.absent(call, namespace, name))?;
            let object = current.object();
            options.check(call, &current, &object)?;
            let attributes = Attributes {
                operation: Operation::Delete,
                resource: descriptor.resource,
                group: descriptor.r#type.group,
                subresource: "",
                namespace,
                name,
                user: call.user,
                old: Some(&object),
                request: None,
            };
            admission::mutate(&attributes, None, self.cache.as_ref(), call.authorizer)?;
            admission::validate(&attributes, None, self.cache.as_ref(), call.authorizer)?;
            if options.dry_run {
                drop(object);
                return Ok(Deleted::Gone(current));
            }
            let outcome = if meta::finalizers(&object).next().is_some() {
                self.mark(call, &current, object.into_owned()).await
            } else if descriptor.is_container {
                let container = (&*current, None);
                self.delete_container(descriptor, container, call.now)
                    .await?;
                return Ok(Deleted::Gone(current));
            } else {
                let gone = self.propose_delete(descriptor, &current).await;
                gone.map(Deleted::Gone)
            };
            match outcome {
                Ok(deleted) => return Ok(deleted),
                Err(Refusal::Changed | Refusal::Exists) => {}
                Err(refusal) => return Err(self.refused(refusal)),
            }
        }
        Err(Status::conflict(call.about(), name, MODIFIED))
    }

    /// Sets the deletion timestamp of an object that has finalizers.
    async fn mark(
        &self,
        call: &Call<'_>,
        current: &Stored,
        mut object: Value,
    ) -> Result<Deleted, Refusal> {
        if meta::deletion_timestamp(&object).is_some() {
            return Ok(Deleted::Marked(object));
        }
        mark_deleted(&mut object, &meta::format_time(call.now));
        let descriptor = call.descriptor;
        descriptor.strategy.mark_deleted(&mut object);
        let expected = Expected::Revision(current.revision);
        let encoded = Encoded::new(descriptor, &mut object);
        let marked = self
            .propose_put(descriptor, encoded, expected, None)
            .await?;
        Ok(Deleted::Marked(marked.object().into_owned()))
    }
}

/// Writes what says that an object is on its way out.
pub(super) fn mark_deleted(object: &mut Value, now: &str) {
    let metadata = meta::metadata_mut(object);
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64)
        && generation > 0
    {
        // A client may have begun at the end of all numbers.
        metadata.insert("generation".to_owned(), generation.saturating_add(1).into());
    }
    metadata.insert("deletionTimestamp".to_owned(), now.into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), 0.into());
}

impl DeleteOptions {
    /// From the body, if there is one, else from the query.
    fn parse(call: &Call<'_>) -> Result<Self, Status> {
        let mut options = Self::default();
        let body = if call.body.is_empty() {
            Value::Null
        } else {
            let options = decode(&types::DELETE_OPTIONS, call.headers, call.body)?.object;
            if let Some(trail) = call.trail {
                trail.sent(&types::DELETE_OPTIONS, &options, |_| {});
            }
            options
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        options.uid = text(&body["preconditions"]["uid"]);
        options.resource_version = text(&body["preconditions"]["resourceVersion"]);
        let of_body = body["dryRun"].as_array().into_iter().flatten();
        // A body is all that counts; the query is for who sends none.
        let of_query = call.query.values("dryRun").filter(|_| body.is_null());
        let dry_runs: Vec<&str> = of_body.filter_map(Value::as_str).chain(of_query).collect();
        let mut errors: Vec<FieldError> = Vec::new();
        check_propagation(&body, call.query, &mut errors);
        check_dry_run(&dry_runs, &mut errors);
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        options.dry_run = !dry_runs.is_empty();
        Ok(options)
    }

    /// 409 when a precondition does not hold. Upstream names the kind here, not the resource.
    fn check(&self, call: &Call<'_>, current: &Stored, object: &Value) -> Result<(), Status> {
        let version = current.revision.to_string();
        let conditions = [
            (
                "UID",
                &self.uid,
                meta::uid(object),
                "deleted and then recreated",
            ),
            (
                "ResourceVersion",
                &self.resource_version,
                version.as_str(),
                "modified",
            ),
        ];
        for (what, wanted, found, why) in conditions {
            let Some(wanted) = wanted else { continue };
            if wanted != found {
                let about = GroupResource {
                    group: call.descriptor.r#type.group,
                    resource: call.descriptor.r#type.kind,
                };
                let text = format!(
                    "the {what} in the precondition ({wanted}) does not match the {what} in record \
                     ({found}). The object might have been {why}"
                );
                return Err(Status::conflict(about, &current.name, &text));
            }
        }
        Ok(())
    }
}

/// What may be asked of dependents (`meta/v1/validation`, `ValidateDeleteOptions`), in the body or,
/// without one, in the query.
fn check_propagation(body: &Value, query: &Query, errors: &mut Vec<FieldError>) {
    const PATH: &str = "propagationPolicy";
    let of_query = || query.value(PATH).filter(|_| body.is_null());
    let Some(policy) = body[PATH].as_str().or_else(of_query) else {
        return;
    };
    let orphans = query.value("orphanDependents").filter(|_| body.is_null());
    if body["orphanDependents"].is_boolean() || orphans.is_some() {
        let text = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(FieldError::invalid(PATH, &quote(policy), text));
    }
    if !matches!(policy, "Foreground" | "Background" | "Orphan") {
        let known = &["Foreground", "Background", "Orphan", "nil"];
        errors.push(FieldError::not_supported(PATH, &quote(policy), known));
    }
}

#[cfg(test)]
mod tests {
    use super::mark_deleted;
    use serde_json::json;

    #[test]
    fn the_generation_does_not_turn_over() {
        let now = "2030-01-01T00:00:00Z";
        for (before, after) in [(1, 2), (i64::MAX, i64::MAX)] {
            let mut object = json!({"metadata": {"generation": before}});
            mark_deleted(&mut object, now);
            assert_eq!(object["metadata"]["generation"], after);
            assert_eq!(object["metadata"]["deletionTimestamp"], now);
        }
    }
}
