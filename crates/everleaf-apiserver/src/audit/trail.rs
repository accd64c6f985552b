//! What goes with a request and remembers what is to be told of it.

use super::event::{Event, ObjectReference};
use super::log::Line;
use super::{Auditor, Format, Level, Stage, Verdict};
use crate::authn::Peer;
use crate::authz::{Attributes, Decision};
use crate::user::User;
use everleaf_api::meta;
use everleaf_api::schema::Type;
use http::HeaderMap;
use http::header::USER_AGENT;
use http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest `User-Agent` that is told, in bytes.
const AGENT_BYTES_MAX: usize = 1024;
/// A request that is given up after this long was given up by the server.
const GIVEN_UP: SignedDuration = SignedDuration::from_secs(60);
/// Annotations of a verdict about a request.
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

/// What is told of one request, from its head to the end of its answer.
pub(crate) struct Trail {
    auditor: Arc<Auditor>,
    verdict: Verdict,
    state: Mutex<State>,
}

struct State {
    event: Event,
    /// Lines that the log does not have yet.
    outbox: Vec<Line>,
    /// Nothing more is told.
    is_complete: bool,
    /// When a request without an answer is given up.
    patience: SignedDuration,
}

/// The head of a request, as a trail begins with it.
pub(crate) struct Head<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) peer: &'a Peer,
    /// None: nobody was authenticated.
    pub(crate) user: Option<&'a User>,
    pub(crate) request: &'a Attributes<'a>,
    /// The name of the request.
    pub(crate) id: String,
    pub(crate) received: Timestamp,
    /// How long the client wants to wait, if it says so.
    pub(crate) patience: Option<Duration>,
}

impl Trail {
    /// Of a request that has come in; None when the policy wants nothing told of it.
    pub(crate) fn begin(auditor: &Arc<Auditor>, head: &Head<'_>) -> Option<Arc<Self>> {
        let verdict = auditor.policy.judge(head.user, head.request);
        auditor.counts.levels[verdict.level as usize].fetch_add(1, Ordering::Relaxed);
        if verdict.level == Level::None {
            return None;
        }
        let uri = &head.parts.uri;
        let event = Event {
            level: verdict.level,
            id: head.id.clone(),
            uri: uri
                .path_and_query()
                .map_or("/", |uri| uri.as_str())
                .to_owned(),
            verb: head.request.verb.to_owned(),
            user: head.user.cloned(),
            impersonated: None,
            constraint: String::new(),
            source_ips: source_ips(&head.parts.headers, head.peer.address),
            agent: agent(&head.parts.headers),
            object: reference(head.request),
            status: None,
            request: None,
            response: None,
            is_cut: false,
            received: head.received,
            annotations: std::collections::BTreeMap::new(),
        };
        let trail = Self {
            auditor: Arc::clone(auditor),
            verdict,
            state: Mutex::new(State {
                event,
                outbox: Vec::new(),
                is_complete: false,
                patience: head
                    .patience
                    .and_then(|patience| SignedDuration::try_from(patience).ok())
                    .map_or(GIVEN_UP, |patience| patience.min(GIVEN_UP)),
            }),
        };
        if head.user.is_some() {
            trail.reach(Stage::RequestReceived);
        }
        Some(Arc::new(trail))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As whom the request is made, and by which constrained way.
    pub(crate) fn impersonates(&self, user: &User, constraint: &str) {
        let event = &mut self.lock().event;
        event.impersonated = Some(user.clone());
        constraint.clone_into(&mut event.constraint);
    }

    /// What was decided about it, and why.
    pub(crate) fn judged(&self, decision: &Decision) {
        let annotations = &mut self.lock().event.annotations;
        let (word, reason) = match (decision.allowed, decision.error.as_str()) {
            (true, _) => ("allow", decision.reason.as_str()),
            (false, "") => ("forbid", decision.reason.as_str()),
            (false, _) => ("", "internal error"),
        };
        if !word.is_empty() {
            annotations.insert(DECISION, word.to_owned());
        }
        annotations.insert(REASON, reason.to_owned());
    }

    /// The object that was sent, with what it leaves unsaid. `complete` makes it so.
    pub(crate) fn sent(&self, r#type: &Type, object: &Value, complete: impl FnOnce(&mut Value)) {
        let mut state = self.lock();
        let State { event, .. } = &mut *state;
        let reference = event.object.get_or_insert_default();
        for (known, told) in [
            (&mut reference.namespace, meta::namespace(object)),
            (&mut reference.name, meta::name(object)),
            (&mut reference.uid, meta::uid(object)),
            (
                &mut reference.resource_version,
                meta::resource_version(object),
            ),
        ] {
            if known.is_empty() {
                told.clone_into(known);
            }
        }
        if event.level < Level::Request {
            return;
        }
        let mut object = object.clone();
        complete(&mut object);
        if self.verdict.omits_managed_fields {
            meta::metadata_mut(&mut object).remove("managedFields");
        }
        let json = r#type.encode_json(&object);
        event.request = String::from_utf8(json).ok();
    }

    /// The patch that was sent.
    pub(crate) fn sent_patch(&self, patch: &Value) {
        let event = &mut self.lock().event;
        if event.level >= Level::Request {
            event.request = Some(patch.to_string());
        }
    }

    /// Is what was answered told?
    pub(crate) fn tells_answers(&self) -> bool {
        self.verdict.level >= Level::RequestResponse
    }

    /// What was answered; a Status is told in any case.
    pub(crate) fn answered(&self, mut answer: Value) {
        let event = &mut self.lock().event;
        let is_status = answer["kind"] == "Status" && answer["apiVersion"] == "v1";
        if is_status && let Value::Object(members) = &answer {
            event.status = Some(status(members));
        }
        if event.level < Level::RequestResponse {
            return;
        }
        if self.verdict.omits_managed_fields {
            drop_managed_fields(&mut answer);
        }
        event.response = Some(answer.to_string());
    }

    /// What was answered is too long to be told.
    pub(crate) fn answered_too_much(&self) {
        self.lock().event.is_cut = true;
    }

    /// A further fact about it.
    pub(crate) fn annotate(&self, name: &'static str, value: String) {
        self.lock().event.annotations.insert(name, value);
    }

    /// Is it told, too, when the answer begins?
    pub(crate) fn is_long_running(&self) -> bool {
        let state = self.lock();
        state.event.verb == "watch" && state.event.object.is_some()
    }

    /// Was nobody authenticated?
    pub(crate) fn is_of_nobody(&self) -> bool {
        self.lock().event.user.is_none()
    }

    /// The code of the answer.
    pub(crate) fn coded(&self, code: u16) {
        let status = &mut self.lock().event.status;
        let status = status.get_or_insert_with(|| status_of(&[]));
        status.insert("code".to_owned(), code.into());
    }

    /// It has reached a stage.
    pub(crate) fn reach(&self, stage: Stage) {
        let mut state = self.lock();
        if state.is_complete {
            return;
        }
        state.is_complete = matches!(stage, Stage::ResponseComplete | Stage::Panic);
        if self.verdict.omitted.contains(stage) {
            return;
        }
        let at = match stage {
            Stage::RequestReceived => state.event.received,
            _ => (self.auditor.clock)(),
        };
        let text = match self.auditor.log.format() {
            Format::Json => state.event.to_json(stage, at),
            Format::Legacy => state.event.to_legacy(stage),
        };
        self.auditor.counts.events.fetch_add(1, Ordering::Relaxed);
        state.outbox.push(Line::new(text));
    }

    /// Nothing more is told: the end of whom nobody knows is its beginning.
    pub(crate) fn close(&self) {
        self.lock().is_complete = true;
    }

    /// Hands what there is to the log, and waits for it as long as the log's mode says. False when
    /// it could not be written and the mode is the strict one.
    pub(crate) async fn settle(&self) -> bool {
        let lines = std::mem::take(&mut self.lock().outbox);
        if lines.is_empty() {
            return true;
        }
        self.auditor.log.write(lines).await
    }

    /// A request was refused because it could not be told.
    pub(crate) fn count_rejected(&self) {
        self.auditor.counts.rejected.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request may end without an answer: given up, or by a defect. A watch ends so always.
impl Drop for Trail {
    fn drop(&mut self) {
        let ended = {
            let mut state = self.lock();
            let took = (self.auditor.clock)().duration_since(state.event.received);
            let ended = match &state.event.status {
                _ if std::thread::panicking() => Some(status_of(&[
                    ("status", "Failure".into()),
                    (
                        "message",
                        "APIServer panic'd: the server's log says more".into(),
                    ),
                    ("reason", "InternalError".into()),
                    ("code", 500.into()),
                ])),
                Some(_) => None,
                None if took >= state.patience => Some(status_of(&[
                    ("status", "Failure".into()),
                    (
                        "message",
                        "Timeout: request did not complete within the allotted timeout".into(),
                    ),
                    ("reason", "Timeout".into()),
                    ("code", 504.into()),
                ])),
                None => Some(status_of(&[
                    ("status", "Success".into()),
                    ("message", "Connection closed early".into()),
                    ("code", 200.into()),
                ])),
            };
            if !state.is_complete && ended.is_some() {
                state.event.status = ended;
            }
            state.is_complete
        };
        if !ended {
            self.reach(if std::thread::panicking() {
                Stage::Panic
            } else {
                Stage::ResponseComplete
            });
        }
        let lines = std::mem::take(&mut self.lock().outbox);
        self.auditor.log.write_without_waiting(lines);
    }
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail")
            .field("verdict", &self.verdict)
            .finish_non_exhaustive()
    }
}

fn reference(request: &Attributes<'_>) -> Option<ObjectReference> {
    if request.resource.is_empty() {
        return None;
    }
    // A selector names what is listed or watched, not what is deleted with others.
    let name = match request.verb {
        "deletecollection" => String::new(),
        _ => request.name.to_owned(),
    };
    Some(ObjectReference {
        resource: request.resource.to_owned(),
        namespace: request.namespace.to_owned(),
        name,
        api_group: request.group.to_owned(),
        api_version: request.version.to_owned(),
        subresource: request.subresource.to_owned(),
        ..ObjectReference::default()
    })
}

/// What of a Status is told: its members without those of a list.
fn status(answer: &Map<String, Value>) -> Map<String, Value> {
    let kept = ["status", "message", "reason", "details", "code"];
    let kept: Vec<(&str, Value)> = kept
        .into_iter()
        .filter_map(|member| Some((member, answer.get(member)?.clone())))
        .collect();
    status_of(&kept)
}

fn status_of(members: &[(&str, Value)]) -> Map<String, Value> {
    let mut status = Map::new();
    status.insert("metadata".to_owned(), Value::Object(Map::new()));
    for (member, value) in members {
        status.insert((*member).to_owned(), value.clone());
    }
    status
}

/// Of an object, the items of a list, and the objects in a Table.
fn drop_managed_fields(answer: &mut Value) {
    let drop = |object: &mut Value| {
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            metadata.remove("managedFields");
        }
    };
    drop(answer);
    for list in ["items", "rows"] {
        let items = answer.get_mut(list).and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            match item.get_mut("object") {
                Some(object) if list == "rows" => drop(object),
                _ => drop(item),
            }
        }
    }
}

/// From where it comes, by those who passed it on and by the connection, which nobody can feign
/// (`apimachinery/pkg/util/net`, `SourceIPs`).
fn source_ips(headers: &HeaderMap, address: Option<IpAddr>) -> Vec<String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let parse = |text: &str| text.trim().parse::<IpAddr>().ok();
    let forwarded = header("x-forwarded-for").unwrap_or("");
    let mut ips: Vec<IpAddr> = forwarded.split(',').filter_map(parse).collect();
    if let Some(real) = header("x-real-ip").and_then(parse)
        && !ips.contains(&real)
    {
        ips.push(real);
    }
    if let Some(address) = address
        && ips.last() != Some(&address)
    {
        ips.push(address);
    }
    ips.iter().map(IpAddr::to_string).collect()
}

fn agent(headers: &HeaderMap) -> String {
    let value = headers.get(USER_AGENT).map(|value| value.as_bytes());
    let value = value.unwrap_or_default();
    if value.len() <= AGENT_BYTES_MAX {
        return String::from_utf8_lossy(value).into_owned();
    }
    let cut = String::from_utf8_lossy(&value[..AGENT_BYTES_MAX]);
    format!("{cut}...TRUNCATED")
}
