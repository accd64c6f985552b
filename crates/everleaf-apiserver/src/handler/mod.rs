//! The walk of one request, as a plain function over (server, request, peer, now).
//!
//! A request walks through once, top to bottom: authentication → authorization → (404, 405) →
//! negotiation → decode → admission → strategy → validation → store → encode. TLS, sockets and the
//! runtime wrap it ([`crate::serve`]), for the controllers of `up` too; the
//! simulator polls it with virtual time. Nothing here reads a clock or draws randomness of its own.

mod apply;
pub(crate) mod audit;
mod body;
mod catalogue;
mod container;
mod create;
mod delete;
mod discovery;
mod goaway;
mod gzip;
mod health;
mod late_reissue;
mod limits;
mod list;
mod metrics;
mod object_meta;
mod oidc;
mod openapi;
mod origins;
mod ownership;
mod patch;
mod path;
mod query;
mod question;
mod read;
mod rehearsal;
mod respond;
mod retention;
mod revocation_list;
mod route;
mod select;
mod server;
mod token;
mod update;
mod version;
mod watch;
mod write;

#[cfg(test)]
pub(crate) mod tests;

use crate::audit::{Head, Stage, Trail};
use crate::authn::Peer;
use crate::authz::{Attributes, Authorizer};
use crate::registry::reviews::{self, Review};
use crate::registry::{Descriptor, names};
use crate::user::User;
use bytes::Bytes;
use everleaf_api::Status;
use everleaf_api::fields::FieldError;
use everleaf_api::status::GroupResource;
use everleaf_pki::Leaf;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, DATE, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use jiff::Timestamp;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use body::Body;
pub use goaway::Chance;
pub use limits::Limits;
pub use metrics::{ConfigFile, RequestLabels};
pub use rehearsal::{Credential, NotAdmitted};
pub use server::{Config, RandomSource, Server, StartError};
pub use version::Version;
pub use watch::WatchStream;

use limits::{Priority, Slot};
use path::page_not_found;
use query::Query;
use question::{asked, selectors};
use respond::{Form, Occasion, error, error_for};
use route::{Resolved, ResourcePath, Target, Unserved, Verb};

/// How often a request is judged anew after webhooks were asked.
const QUESTION_ROUNDS_MAX: usize = 32;

/// A request that is known and allowed, before its body has been read.
pub(crate) struct Admitted {
    method: Method,
    path: String,
    /// Where the user connects from; None: in this process, or somebody acts as another.
    origin: Option<IpAddr>,
    /// What [`wishes`] keeps of them.
    headers: HeaderMap,
    query: Query,
    /// What the client calls itself, see [`ownership::agent`].
    agent: String,
    target: Target,
    user: User,
    now: Timestamp,
    /// Held until the answer is ready; by a list, until it has been taken.
    slot: Option<Slot>,
    /// What is told of it; None: nothing.
    trail: Option<Arc<Trail>>,
    /// Who says what it may do, with what was asked already.
    authorizer: Authorizer,
    /// The certificate that a node registers or comes back with, where it may.
    shown: Option<Leaf>,
}

/// What is said of whoever asks.
pub(crate) struct Judges {
    /// Who it is.
    known: Result<User, Status>,
    /// Who says what they may do.
    authorizer: Authorizer,
}

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Longer than [`Limits::body_bytes_max`].
    TooLarge,
    /// The client went away or broke the protocol.
    Broken,
}

/// One request to a stored resource, as its step functions see it.
pub(crate) struct Call<'a> {
    descriptor: &'static Descriptor,
    namespace: &'a str,
    name: &'a str,
    subresource: &'a str,
    headers: &'a HeaderMap,
    query: &'a Query,
    /// See [`Admitted::agent`].
    agent: &'a str,
    body: &'a [u8],
    user: &'a User,
    /// See [`Admitted::origin`].
    origin: Option<IpAddr>,
    now: Timestamp,
    /// See [`Admitted::trail`].
    trail: Option<&'a Trail>,
    /// See [`Admitted::authorizer`].
    authorizer: &'a Authorizer,
}

impl Call<'_> {
    /// What errors of this request are about.
    fn about(&self) -> GroupResource<'static> {
        about(self.descriptor)
    }

    /// 422 for an object of this resource that breaks rules.
    fn invalid(&self, name: &str, errors: &[FieldError]) -> Status {
        let r#type = self.descriptor.stored().r#type;
        Status::invalid(r#type.group, r#type.kind, name, errors)
    }

    /// What whoever wrote `object` should know.
    fn strategy_warnings(&self, object: &Value) -> Vec<String> {
        if self.subresource.is_empty() {
            self.descriptor.strategy.warnings(object)
        } else {
            Vec::new()
        }
    }

    /// The namespace to list or watch; None for all.
    fn namespace_filter(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(self.namespace)
    }
}

impl Server {
    /// Answers one request: `peer` is what the transport knows of the other side, `now` the
    /// server's time. With the inline writer the future is ready at its first poll.
    pub async fn handle(
        &self,
        request: Request<Bytes>,
        peer: &Peer,
        now: Timestamp,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let judges = self.judges_for(&parts, peer, now).await;
        let response = match self.admit(parts, peer, now, judges) {
            Err(refused) => *refused,
            Ok(admitted) => match admitted.is_told().await {
                Err(untold) => *untold,
                Ok(()) if body.len() > self.limits.body_bytes_max => {
                    self.answer(admitted, Err(BodyError::TooLarge)).await
                }
                Ok(()) => self.answer(admitted, Ok(body)).await,
            },
        };
        audit::settle(response).await.map(Body::completed)
    }

    /// First half: who is it, and may they? Needs no body, so that a stranger's is never read.
    pub(crate) fn admit(
        &self,
        mut parts: Parts,
        peer: &Peer,
        now: Timestamp,
        judges: Judges,
    ) -> Result<Admitted, Box<Response<Body>>> {
        self.metrics.observe_peer(peer, now);
        let query = Query::parse(parts.uri.query().unwrap_or(""));
        let target = Target::parse(
            &parts.method,
            parts.uri.path(),
            query.as_ref().unwrap_or(&Query::default()),
        );
        let labels = RequestLabels::new(&target, &parts.method, query.as_ref().ok());
        let mut trail = None;
        let request = (query, target, judges);
        self.admit_target(&mut parts, (peer, now), request, &mut trail)
            .map_err(|status| {
                if status.code == StatusCode::TOO_MANY_REQUESTS.as_u16() {
                    self.metrics.count_termination(&labels, status.code);
                }
                let refusal = error_for(&parts.headers, &status);
                let mut response = self.finish(refusal, labels, now);
                audit::tell_refused(trail.take(), &status, &mut response);
                Box::new(response)
            })
    }

    fn admit_target(
        &self,
        parts: &mut Parts,
        (peer, now): (&Peer, Timestamp),
        (query, target, judges): (Result<Query, Status>, Target, Judges),
        trail: &mut Option<Arc<Trail>>,
    ) -> Result<Admitted, Status> {
        if let Ok(query) = &query
            && !target.is_long_running()
        {
            query.timeout()?;
        }
        let Judges { known, authorizer } = judges;
        parts.headers.remove(http::header::AUTHORIZATION);
        *trail = self.begin_trail(parts, (peer, now), &target, known.as_ref().ok());
        let real = known?;
        let impersonated = self.may(
            &real,
            parts,
            (&query, &target),
            &authorizer,
            trail.as_deref(),
        )?;
        let query = query?;
        let origin = peer.address.filter(|_| impersonated.is_none());
        let user = impersonated.unwrap_or(real);
        let slot = if peer.in_process.is_some() || target.is_long_running() {
            None
        } else {
            let priority = Priority::of(&user, &target);
            let is_mutating = target.is_mutating(&parts.method);
            self.inflight
                .enter(is_mutating, priority, &self.limits, now)?
        };
        Ok(Admitted {
            path: parts.uri.path().to_owned(),
            method: parts.method.clone(),
            headers: wishes(&parts.headers),
            agent: ownership::agent(&parts.headers),
            query,
            target,
            user,
            origin,
            now,
            slot,
            trail: trail.take(),
            authorizer,
            shown: self.shown_at(parts.uri.path(), peer),
        })
    }

    /// Whom `real` acts as in this request, if it is another; or why the request is refused.
    fn may(
        &self,
        real: &User,
        parts: &Parts,
        (query, target): (&Result<Query, Status>, &Target),
        authorizer: &Authorizer,
        trail: Option<&Trail>,
    ) -> Result<Option<User>, Status> {
        let objects = self.cache.as_ref();
        let verb = parts.method.as_str().to_ascii_lowercase();
        let (fields, labels) = match query {
            Ok(query) => selectors(target, query),
            Err(_) => (None, None),
        };
        let request = Attributes {
            field_selector: fields.as_ref(),
            label_selector: labels.as_ref(),
            ..asked(real, target, &verb, parts.uri.path())
        };
        let other = self
            .impersonation
            .effective(&parts.headers, &request, authorizer, objects)?;
        if let (Some(trail), Some(other)) = (trail, &other) {
            trail.impersonates(&other.user, &other.constraint);
        }
        let other = other.map(|other| other.user);
        if let Err(status) = query {
            return Err(status.clone());
        }
        let effective = Attributes {
            user: other.as_ref().unwrap_or(real),
            ..request
        };
        let decision = authorizer.authorize(&effective, objects);
        if let Some(trail) = trail {
            trail.judged(&decision);
        }
        if !decision.allowed {
            return Err(Authorizer::denied(&effective, &decision));
        }
        Ok(other)
    }

    /// Who is it, and who says what they may do, with what issuers of tokens and webhooks had to be
    /// asked for this head.
    pub(crate) async fn judges_for(&self, parts: &Parts, peer: &Peer, now: Timestamp) -> Judges {
        self.authenticator.freshen(&parts.headers, peer).await;
        let (path, objects) = (parts.uri.path(), self.cache.as_ref());
        let known = self
            .authenticator
            .authenticate(&parts.headers, path, peer, objects, now);
        let authorizer = self.authorizer.for_request(now);
        if let Ok(real) = &known
            && authorizer.has_webhook()
        {
            let query = Query::parse(parts.uri.query().unwrap_or(""));
            let nothing = Query::default();
            let target = query.as_ref().unwrap_or(&nothing);
            let target = Target::parse(&parts.method, parts.uri.path(), target);
            for _ in 0..QUESTION_ROUNDS_MAX {
                let _ = self.may(real, parts, (&query, &target), &authorizer, None);
                if !authorizer.ask().await {
                    break;
                }
            }
        }
        Judges { known, authorizer }
    }

    /// Second half: does what is asked.
    pub(crate) async fn answer(
        &self,
        mut admitted: Admitted,
        body: Result<Bytes, BodyError>,
    ) -> Response<Body> {
        let labels = RequestLabels::new(&admitted.target, &admitted.method, Some(&admitted.query));
        let now = admitted.now;
        let refuse = |status: &Status| error_for(&admitted.headers, status);
        let mut response = match body {
            Err(BodyError::TooLarge) => refuse(&Status::too_large(self.limits.body_bytes_max)),
            Err(BodyError::Broken) => {
                refuse(&Status::bad_request("the request body could not be read"))
            }
            Ok(body) => match &admitted.target {
                Target::Path => {
                    let outcome = self.path(&admitted, &body).await;
                    outcome.unwrap_or_else(|status| refuse(&status))
                }
                Target::Resource(path) => {
                    let outcome = self.resource_by_asking(&admitted, path, &body).await;
                    outcome.unwrap_or_else(|status| refuse(&status))
                }
            },
        };
        self.warn_of_deprecation(&admitted.target, &mut response);
        audit::tell_answer(self.catalogue.apis(), &admitted, &response);
        if let Target::Resource(_) = admitted.target {
            response = gzip::answer(&admitted.headers, response);
        }
        response.body_mut().hold(admitted.slot.take());
        let mut response = self.finish(response, labels, now);
        audit::attach(admitted.trail.take(), &mut response);
        response
    }

    /// An error that comes from around the walk: a panic.
    pub(crate) fn failed(status: &Status) -> Response<Body> {
        error(status)
    }

    /// The answer to a request that is given up, since it took too long; it counts as one that was
    /// answered so, and as one that was cut off (`apiserver/pkg/server/filters/timeout.go`).
    pub(crate) fn give_up(&self, method: &Method, uri: &Uri, now: Timestamp) -> Response<Body> {
        let query = Query::parse(uri.query().unwrap_or(""));
        let nothing = Query::default();
        let query = query.as_ref().unwrap_or(&nothing);
        let target = Target::parse(method, uri.path(), query);
        let labels = RequestLabels::new(&target, method, Some(query));
        let status = Status::timeout(
            "request did not complete within the allotted timeout",
            self.limits.retry_after_seconds,
        );
        self.metrics.count_termination(&labels, status.code);
        self.finish(error(&status), labels, now)
    }

    fn finish(
        &self,
        mut response: Response<Body>,
        labels: RequestLabels,
        now: Timestamp,
    ) -> Response<Body> {
        let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(date) = HeaderValue::from_str(&date) {
            response.headers_mut().insert(DATE, date);
        }
        self.metrics.count(&labels, response.status());
        response.extensions_mut().insert(labels);
        response
    }

    /// Begins again when something was refused that a webhook had to be asked for first: a refusal
    /// changes nothing, and a review never does.
    async fn resource_by_asking(
        &self,
        admitted: &Admitted,
        path: &ResourcePath,
        body: &[u8],
    ) -> Result<Response<Body>, Status> {
        let resolved = path.resolve(self.catalogue.apis());
        let is_review = matches!(resolved, Ok(Resolved::Review(_)));
        for _ in 0..QUESTION_ROUNDS_MAX {
            let outcome = self.resource(admitted, path, body).await;
            let code = outcome
                .as_ref()
                .map_or(500, |answer| answer.status().as_u16());
            let may_be_otherwise = is_review || code >= 400;
            if !(may_be_otherwise && admitted.authorizer.ask().await) {
                return outcome;
            }
        }
        Err(Status::internal(
            "webhooks were asked too much for this request",
        ))
    }

    async fn resource(
        &self,
        admitted: &Admitted,
        path: &ResourcePath,
        body: &[u8],
    ) -> Result<Response<Body>, Status> {
        let resolved = match path.resolve(self.catalogue.apis()) {
            Ok(resolved) => resolved,
            Err(Unserved::Status(status)) => return Err(status),
            Err(Unserved::Page) => return Ok(page_not_found()),
        };
        path.check_method(resolved, &admitted.method)?;
        // A slash is no part of a name there, but the beginning of what follows it.
        if path.has_name
            && !path.name.contains('/')
            && let Err(why) = names::path_segment(&path.name)
        {
            let name = &path.name;
            return Err(Status::bad_request(format!(
                "Name parameter invalid: {name:?}: {why}"
            )));
        }
        let descriptor = match resolved {
            Resolved::Stored(descriptor) => descriptor,
            Resolved::Review(review) => return self.review(admitted, path, review, body).await,
            Resolved::Token => return self.token(admitted, path, body),
        };
        let call = Call {
            descriptor,
            namespace: if descriptor.namespaced {
                &path.namespace
            } else {
                ""
            },
            name: &path.name,
            subresource: &path.subresource,
            headers: &admitted.headers,
            query: &admitted.query,
            agent: &admitted.agent,
            body,
            user: &admitted.user,
            origin: admitted.origin,
            now: admitted.now,
            trail: admitted.trail.as_deref(),
            authorizer: &admitted.authorizer,
        };
        // A create is judged by the store; and whoever says 0 takes what there is.
        let takes_any = match path.verb {
            Verb::Create | Verb::Unknown => true,
            Verb::Get | Verb::List | Verb::Watch => {
                call.query.value("resourceVersion") == Some("0")
            }
            _ => false,
        };
        if !takes_any && self.writer.upstream().is_some() {
            self.catch_up().await?;
        }
        match path.verb {
            Verb::Get => self.get(&call),
            Verb::List => self.list(&call),
            Verb::Watch => self.watch(&call),
            Verb::Create => self.create(&call).await,
            Verb::Update => self.update(&call).await,
            Verb::Patch => self.patch(&call).await,
            Verb::Delete => self.delete(&call).await,
            Verb::DeleteCollection => self.delete_collection(&call).await,
            Verb::Unknown => Err(method_not_allowed()),
        }
    }

    async fn review(
        &self,
        admitted: &Admitted,
        path: &ResourcePath,
        review: &'static Review,
        body: &[u8],
    ) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(&admitted.headers, &admitted.query, Occasion::Review)?;
        let mut object = create::decode(review.r#type, &admitted.headers, body)?.object;
        if let Some(trail) = &admitted.trail {
            trail.sent(review.r#type, &object, |_| {});
        }
        let manager = ownership::manager(&admitted.query, &admitted.agent);
        ownership::track_review(review.r#type, &mut object, (manager, admitted.now));
        reviews::prepare(review.resource, &object, &self.authenticator).await;
        let input = reviews::ReviewInput {
            user: &admitted.user,
            namespace: &path.namespace,
            authenticator: &self.authenticator,
            authorizer: &admitted.authorizer,
            objects: self.cache.as_ref(),
            now: admitted.now,
        };
        let answer = reviews::handle(review.resource, object, &input)?;
        Ok(form.plain(StatusCode::CREATED, review.r#type, &answer))
    }
}

fn method_not_allowed() -> Status {
    Status::method_not_allowed("the server does not allow this method on the requested resource")
}

/// What errors about objects of a resource are about.
fn about(descriptor: &Descriptor) -> GroupResource<'static> {
    GroupResource {
        group: descriptor.r#type.group,
        resource: descriptor.resource,
    }
}

/// How long the client of a request wants to wait for its answer, if it says so.
pub(crate) fn patience(query: Option<&str>) -> Option<Duration> {
    // Most say nothing.
    let query = query.filter(|query| query.contains("timeout="))?;
    Query::parse(query).ok()?.timeout().ok().flatten()
}

/// What of a head is still looked at after admission, in memory of its own: a head may have a
/// megabyte, and a request waits for its body with nothing but these.
fn wishes(head: &HeaderMap) -> HeaderMap {
    let mut wishes = HeaderMap::new();
    for name in [ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, IF_NONE_MATCH] {
        for value in head.get_all(&name) {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                wishes.append(&name, value);
            }
        }
    }
    wishes
}
