//! get, list and the opening of a watch.

use super::list::{ListStream, Objects as Listed};
use super::query::{ListOptions, Match, resource_version};
use super::respond::{Form, Occasion, with_body};
use super::select::Selection;
use super::watch::{WatchOrder, WatchStream};
use super::{Body, Call, Server, gzip};
use crate::objects::Objects;
use crate::registry::Descriptor;
use crate::registry::gates::Gate;
use crate::store::KEY_PREFIX;
use crate::watch_cache::{Scope, SnapshotError, Start, key_of};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use everleaf_api::Status;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// A watch without `timeoutSeconds` ends at random in this range (upstream's
/// `--min-request-timeout`), so that a fleet does not come back at once.
const WATCH_SECONDS: std::ops::Range<u64> = 1800..3600;
/// Longest watch a client may ask for.
const WATCH_SECONDS_MAX: u64 = 24 * 3600;

impl Server {
    pub(super) fn get(&self, call: &Call<'_>) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(call.headers, call.query, Occasion::Object)?;
        if let Some(revision) = resource_version(call.query.value("resourceVersion").unwrap_or(""))?
        {
            self.check_not_future(revision)?;
        }
        let stored = self
            .cache
            .get(call.descriptor.resource, call.namespace, call.name)
            .ok_or_else(|| self.absent(call, call.namespace, call.name))?;
        Ok(form.stored(StatusCode::OK, call.descriptor, &stored, call.now))
    }

    pub(super) fn list(&self, call: &Call<'_>) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(call.headers, call.query, Occasion::List)?;
        let options = ListOptions::parse(call.query, false)?;
        let selection = Selection::new(call.descriptor, &options)?;
        let place = self.place_of(&options)?;
        let resource = call.descriptor.resource;
        self.check_readable(call, &scope_of(call, &selection))?;
        let snapshot = self
            .cache
            .snapshot(resource, place.revision)
            .map_err(|SnapshotError::Expired { oldest }| expired(&place, oldest))?;
        // Whatever state will do is answered whole (`storage/cacher`, from the cache).
        let limit = match options.resource_version {
            Some(0) => 0,
            _ => options.limit,
        };
        if limit > 0 {
            self.cache.pin(resource, &snapshot, limit);
        }
        let walk = snapshot.walk(scope_of(call, &selection), &place.start);
        let objects = Listed::Selected(Box::new((walk, selection)));
        let revision = snapshot.revision();
        Ok(ListStream::answer(call, form, objects, revision, limit))
    }

    pub(super) fn watch(&self, call: &Call<'_>) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(call.headers, call.query, Occasion::Watch)?;
        let mut options = ListOptions::parse(call.query, true)?;
        select_name(call.name, &mut options)?;
        let selection = Selection::new(call.descriptor, &options)?;
        if self.cache.watcher_count() >= self.limits.watches_max {
            return Err(Status::too_many_requests(
                format!(
                    "too many watches are open (limit {})",
                    self.limits.watches_max
                ),
                self.limits.retry_after_seconds,
            ));
        }
        let scope = scope_of(call, &selection);
        let wants_state = options.send_initial_events == Some(true);
        let start = match options.resource_version.filter(|revision| *revision > 0) {
            Some(revision) => {
                self.check_not_future(revision)?;
                if wants_state {
                    Start::State
                } else {
                    Start::After(revision)
                }
            }
            None if options.send_initial_events == Some(false) => Start::Now,
            None => Start::State,
        };
        if start == Start::State {
            self.check_readable(call, &scope)?;
        }
        let feed = self
            .cache
            .watch(call.descriptor.resource, scope, start)
            .map_err(|SnapshotError::Expired { oldest }| {
                Status::expired(format!(
                    "too old resource version: {} ({oldest})",
                    options.resource_version.unwrap_or(0)
                ))
            })?;
        let seconds = match options.timeout_seconds {
            Some(seconds) => seconds.min(WATCH_SECONDS_MAX),
            None => self.random_in(WATCH_SECONDS),
        };
        let content_type = form.watch_type();
        let order = WatchOrder {
            descriptor: call.descriptor,
            selection,
            form,
            bookmarks: options.bookmarks,
            mark_initial_events_end: wants_state,
            timeout: Duration::from_secs(seconds),
            opened: call.now,
        };
        // Only the one that brings the state as well, for there is much of that.
        let is_gzipped = order.mark_initial_events_end
            && order.bookmarks
            && self
                .catalogue
                .apis()
                .gates()
                .has(Gate::WatchListCompression)
            && gzip::is_taken(call.headers);
        let stream = WatchStream::new(order, feed);
        let answer = |body| with_body(StatusCode::OK, content_type, body);
        Ok(match is_gzipped {
            true => gzip::told(answer(Body::gzipped_watch(stream))),
            false => answer(Body::watch(stream)),
        })
    }

    /// What a read of an object is answered that is not among those that can be read.
    pub(super) fn absent(&self, call: &Call<'_>, namespace: &str, name: &str) -> Status {
        let resource = call.descriptor.resource;
        match self.cache.unreadable(resource, namespace, name) {
            Some(reason) => unreadable(call.descriptor, &key_of(namespace, name), &reason),
            None => Status::not_found(call.about(), name),
        }
    }

    /// 500 where a list would lack an object that cannot be read.
    pub(super) fn check_readable(&self, call: &Call<'_>, scope: &Scope) -> Result<(), Status> {
        match self.cache.unreadable_in(call.descriptor, scope) {
            Some((key, reason)) => Err(unreadable(call.descriptor, &key, &reason)),
            None => Ok(()),
        }
    }

    /// 504 for a resource version that this server has not given yet.
    fn check_not_future(&self, revision: u64) -> Result<(), Status> {
        let current = self.cache.revision();
        if revision <= current {
            return Ok(());
        }
        Err(Status::too_large_resource_version(revision, current))
    }

    /// Where a list begins, and at which revision.
    fn place_of(&self, options: &ListOptions) -> Result<Place, Status> {
        if !options.continues.is_empty() {
            if options
                .resource_version
                .is_some_and(|revision| revision > 0)
            {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let place = Token::decode(&options.continues)?;
            if let Some(revision) = place.revision {
                self.check_not_future(revision)?;
            }
            return Ok(place);
        }
        let revision = options.resource_version.filter(|revision| *revision > 0);
        if let Some(revision) = revision {
            self.check_not_future(revision)?;
        }
        let exact = match options.matching {
            Some(Match::Exact) => true,
            Some(Match::NotOlderThan) => false,
            None => options.limit > 0,
        };
        Ok(Place {
            revision: revision.filter(|_| exact),
            start: String::new(),
        })
    }
}

/// The deprecated `/watch/…/name` path selects by that name, and it is what was authorized: a
/// selector beside it may only repeat it (`apiserver/pkg/endpoints/handlers/get.go`,
/// `ListResource`).
fn select_name(name: &str, options: &mut ListOptions) -> Result<(), Status> {
    if name.is_empty() || options.fields.required("metadata.name") == Some(name) {
        return Ok(());
    }
    if !options.fields.terms.is_empty() {
        return Err(Status::bad_request(
            "both a name and a field selector provided; please provide one or the other.",
        ));
    }
    let term = ("metadata.name".to_owned(), false, name.to_owned());
    options.fields.terms.push(term);
    Ok(())
}

/// As `apiserver/pkg/storage` says it, which has the key in the store and a reason.
fn unreadable(descriptor: &Descriptor, key: &str, reason: &str) -> Status {
    let storage = descriptor.storage;
    Status::internal(format!(
        "unable to read the stored object {KEY_PREFIX}{storage}/{key}: {reason}"
    ))
}

/// Where a list goes on.
struct Place {
    revision: Option<u64>,
    start: String,
}

/// Where the objects are that a request may mean.
pub(super) fn scope_of(call: &Call<'_>, selection: &Selection) -> Scope {
    Scope {
        namespace: call.namespace_filter().map(str::to_owned),
        name: selection.name().map(str::to_owned),
    }
}

/// The body of a continue token, as upstream's (`apiserver/pkg/storage/continue.go`).
#[derive(Serialize, Deserialize)]
pub(super) struct Token {
    v: String,
    /// -1: whatever is now.
    rv: i64,
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

impl Token {
    /// `next` is the first key of the next page. Upstream's `start` is the last key of this page
    /// plus a zero byte; both name the same place.
    pub(super) fn new(revision: u64, next: &str) -> Self {
        Self {
            v: TOKEN_VERSION.to_owned(),
            rv: i64::try_from(revision).unwrap_or(-1),
            start: next.to_owned(),
        }
    }

    pub(super) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(json!(self).to_string())
    }

    fn decode(text: &str) -> Result<Place, Status> {
        let bad = |what: &str| Status::bad_request(format!("continue key is not valid: {what}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| bad("it is not base64"))?;
        let token: Self =
            serde_json::from_slice(&bytes).map_err(|_| bad("it is none that a server gave"))?;
        if token
            .start
            .split('/')
            .any(|part| matches!(part, "" | "." | ".."))
        {
            return Err(bad(&token.start));
        }
        if token.v != TOKEN_VERSION || token.rv == 0 || token.start.is_empty() {
            return Err(bad("it is of an unknown version"));
        }
        Ok(Place {
            revision: u64::try_from(token.rv).ok(),
            start: token.start,
        })
    }
}

/// 410, with a token that goes on at the same place in the present state.
fn expired(place: &Place, oldest: u64) -> Status {
    if place.start.is_empty() {
        let asked = place.revision.unwrap_or(0);
        return Status::expired(format!("too old resource version: {asked} ({oldest})"));
    }
    let message = "The provided continue parameter is too old to display a consistent list result. You can \
         start a new list without the continue parameter, or use the continue token in this \
         response to retrieve the remainder of the results. Continuing with the provided token \
         results in an inconsistent list - objects that were created, modified, or deleted \
         between the time the first chunk was returned and now may show up in the list.";
    let token = Token {
        v: TOKEN_VERSION.to_owned(),
        rv: -1,
        start: place.start.clone(),
    };
    Status::expired_list(message, token.encode())
}
