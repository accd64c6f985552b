//! What is asked about signing requests, and what each answer means: machines without I/O.
//!
//! Owns the paths, the order of calls, and the translation of objects and failures into rotation's
//! outcomes. It refuses to know how a call is made, and what is done with an outcome: the agent
//! carries calls over TLS, a simulator in virtual time.
//!
//! A [`Dialogue`] is a few calls, one after the other. A [`Wait`] lists and watches one request
//! until it is decided.

use crate::client::{Answer, Failure, FailureClass};
use everleaf_api::csr::{self, Csr};
use everleaf_api::meta;
use everleaf_api::watch::{EventType, WatchEvent};
use everleaf_pki::{Chain, VerifiedRequest};
use everleaf_rotation::rotation::AWAIT_MAX;
use everleaf_rotation::{
    AwaitOutcome, ConfirmOutcome, ExistingRequest, Monotonic, PendingRequest, Refusal,
    RefusalClass, RequestUid, SubmitOutcome,
};
use http::Method;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

pub(super) const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SELF_REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
/// What refusals are about.
pub(super) const RESOURCE: &str = "certificatesigningrequests";

/// Longest single watch; then the server ends it and the wait lists again.
const WATCH_SECONDS_MAX: u64 = 300;

/// A call to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// `GET`, `POST` or `DELETE`.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// JSON, with the latter two.
    pub body: Option<Value>,
}

impl Call {
    fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
        }
    }

    fn post(path: &str, body: Value) -> Self {
        Self {
            method: Method::POST,
            path: path.to_owned(),
            body: Some(body),
        }
    }
}

/// Calls one after the other, until an answer settles it.
pub trait Dialogue {
    /// What comes of it.
    type Outcome;

    /// The call to make now.
    fn call(&self) -> Call;

    /// Takes in its answer. `None`: there is another call to make.
    fn answer(&mut self, answer: Result<Answer, Failure>) -> Option<Self::Outcome>;
}

/// Creates the request object under its own name. "Already exists" is looked at, not judged.
#[derive(Clone, Debug)]
pub struct Submit {
    pending: PendingRequest,
    exists: bool,
}

impl Submit {
    /// Submits this.
    pub fn new(pending: PendingRequest) -> Self {
        let exists = false;
        Self { pending, exists }
    }
}

impl Dialogue for Submit {
    type Outcome = SubmitOutcome;

    fn call(&self) -> Call {
        let pending = &self.pending;
        if self.exists {
            return Call::get(format!("{REQUESTS}/{}", encoded(pending.name.as_str())));
        }
        let usages: Vec<_> = pending.usages.iter().map(|usage| usage.as_str()).collect();
        let object = csr::build(
            pending.name.as_str(),
            "",
            &pending.request_pem,
            pending.signer_name.as_str(),
            &usages,
            pending.expiration_seconds,
        );
        Call::post(REQUESTS, object)
    }

    fn answer(&mut self, answer: Result<Answer, Failure>) -> Option<SubmitOutcome> {
        Some(match (answer, self.exists) {
            (Ok(answer), false) => SubmitOutcome::Created {
                uid: RequestUid::new(meta::uid(&answer.object)),
                server_date: answer.server_time,
            },
            (Ok(answer), true) => SubmitOutcome::AlreadyExists(facts(&answer, &self.pending)),
            (Err(failure), false) if failure.class == FailureClass::AlreadyExists => {
                self.exists = true;
                return None;
            }
            (Err(failure), exists) => {
                let verb = if exists { "get" } else { "create" };
                SubmitOutcome::Refused(refusal(verb, RESOURCE, failure))
            }
        })
    }
}

/// What `ensureCompatible` looks at (client-go util/certificate/csr), without a judgement.
pub(super) fn facts(answer: &Answer, pending: &PendingRequest) -> ExistingRequest {
    let csr = Csr(&answer.object);
    let request = VerifiedRequest::from_pem(&csr.request()).ok();
    let signer = csr.signer_name();
    let chain = Chain::from_pem(&csr.certificate()).ok();
    ExistingRequest {
        uid: RequestUid::new(csr.uid()),
        has_same_key: request
            .as_ref()
            .is_some_and(|request| *request.public_key() == pending.public_key),
        has_same_subject: request
            .as_ref()
            .is_some_and(|request| *request.subject() == pending.template.subject),
        has_same_signer: signer.is_empty()
            || pending.signer_name.as_str().is_empty()
            || signer == pending.signer_name.as_str(),
        is_refused: csr.has_condition(csr::DENIED) || csr.has_condition(csr::FAILED),
        certificate_not_after: chain.map(|chain| chain.not_after_earliest()),
        server_date: answer.server_time,
    }
}

/// Asks for the minor version of Kubernetes 1 that the server speaks for; `None` when it does not
/// say.
#[derive(Clone, Copy, Debug)]
pub struct AskVersion;

impl Dialogue for AskVersion {
    type Outcome = Option<u32>;

    fn call(&self) -> Call {
        Call::get("/version")
    }

    fn answer(&mut self, answer: Result<Answer, Failure>) -> Option<Option<u32>> {
        Some(answer.ok().and_then(|answer| minor(&answer.object)))
    }
}

fn minor(version: &Value) -> Option<u32> {
    let text = |name| version.get(name).and_then(Value::as_str);
    // Providers append: "21+".
    let minor = text("minor")?;
    let digits = minor
        .find(|byte: char| !byte.is_ascii_digit())
        .unwrap_or(minor.len());
    let minor = minor[..digits].parse().ok()?;
    (text("major") == Some("1")).then_some(minor)
}

/// Asks the server who we are, on a connection of its own, and believes nothing but the answer.
///
/// A 403 to this question came after authentication and proves as much as a review, unless the
/// server says that it took us for anonymous. A server before 1.28 may not know the question; it is
/// then asked for something that nodes may list and anonymous callers may not.
#[derive(Clone, Debug)]
pub struct Confirm {
    /// CN of the certificate that is presented, if one is.
    presented: Option<String>,
    is_unknown: bool,
}

impl Confirm {
    /// Confirms a credential; `presented` is the CN of its certificate, if it is one.
    pub fn new(presented: Option<String>) -> Self {
        Self {
            presented,
            is_unknown: false,
        }
    }

    fn judge_review(&self, answer: &Answer) -> ConfirmOutcome {
        let name = answer.object.pointer("/status/userInfo/username");
        match (name.and_then(Value::as_str), &self.presented) {
            (Some(name), Some(presented)) if name != presented => {
                taken_for(name, answer.server_time)
            }
            _ => ConfirmOutcome::Confirmed {
                server_date: answer.server_time,
            },
        }
    }
}

impl Dialogue for Confirm {
    type Outcome = ConfirmOutcome;

    fn call(&self) -> Call {
        if self.is_unknown {
            return Call::get(format!("{REQUESTS}?limit=1"));
        }
        let question = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "SelfSubjectReview",
        });
        Call::post(SELF_REVIEW, question)
    }

    fn answer(&mut self, answer: Result<Answer, Failure>) -> Option<ConfirmOutcome> {
        Some(match (answer, self.is_unknown) {
            (Ok(answer), false) => self.judge_review(&answer),
            (Ok(answer), true) => ConfirmOutcome::Confirmed {
                server_date: answer.server_time,
            },
            (Err(failure), true) => judge_refusal("list", RESOURCE, failure),
            (Err(failure), false) => match failure.class {
                FailureClass::NotFound | FailureClass::NotAnApi | FailureClass::Rejected => {
                    self.is_unknown = true;
                    return None;
                }
                _ => judge_refusal("create", "selfsubjectreviews", failure),
            },
        })
    }
}

fn judge_refusal(verb: &'static str, resource: &'static str, failure: Failure) -> ConfirmOutcome {
    match failure.class {
        FailureClass::Forbidden if failure.message.contains("system:anonymous") => {
            taken_for("system:anonymous", failure.server_time)
        }
        FailureClass::Forbidden => ConfirmOutcome::Confirmed {
            server_date: failure.server_time,
        },
        _ => ConfirmOutcome::Refused(refusal(verb, resource, failure)),
    }
}

fn taken_for(name: &str, server_date: Option<Timestamp>) -> ConfirmOutcome {
    ConfirmOutcome::Refused(Refusal {
        class: RefusalClass::Unauthorized,
        message: format!(
            "the server took us for {name:?}: the client certificate did not reach it (a proxy \
             that ends TLS?)"
        ),
        server_date,
    })
}

/// How long to wait for a verdict, and how long to pause when the wait is disturbed.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// First pause before a broken wait lists again.
    pub(super) pause_min: Duration,
    /// Longest such pause.
    pub(super) pause_max: Duration,
    /// The whole wait.
    pub(super) limit: Duration,
    /// The wait for any condition at all, if that is limited.
    pub(super) silence: Option<Duration>,
}

impl Patience {
    /// As client-go has it, with a back-off.
    pub(super) const USUAL: Self = Self {
        pause_min: Duration::from_secs(1),
        pause_max: Duration::from_secs(30),
        limit: AWAIT_MAX,
        silence: None,
    };

    /// As usual, and so long for a request without any condition.
    pub fn with_silence(silence: Option<Duration>) -> Self {
        Self {
            silence,
            ..Self::USUAL
        }
    }

    /// As usual, and at most so long in all.
    pub fn at_most(limit: Duration) -> Self {
        Self {
            limit,
            ..Self::USUAL
        }
    }

    /// The pause after `failure`, which follows one of `last`.
    pub(super) fn after(&self, failure: &Failure, last: Duration) -> Duration {
        failure
            .retry_after
            .unwrap_or(last * 2)
            .clamp(self.pause_min, self.pause_max)
    }
}

/// What a wait wants next.
#[derive(Debug)]
pub enum Step {
    /// Make this call and hand in its answer.
    Call(Call),
    /// Say that the wait is disturbed, by this; `None`: that it goes on.
    Disturbed(Option<Failure>),
    /// It is over.
    Done(AwaitOutcome),
    /// Open this watch and say whether it is open.
    Open(Call),
    /// Do nothing for so long.
    Pause(Duration),
    /// Hand in the next event of the watch.
    Read,
}

#[derive(Clone, Debug)]
enum Phase {
    Listing,
    Opening { version: String },
    Paused { until: Monotonic },
    Reading,
}

/// Waits for the verdict on a request: list, watch, and again after whatever interrupts it.
#[derive(Debug)]
pub struct Wait {
    pending: PendingRequest,
    patience: Patience,
    begun: Monotonic,
    has_condition: bool,
    pause: Duration,
    phase: Phase,
    steps: VecDeque<Step>,
    /// Whether the wait is disturbed: told once when it begins and once when it ends.
    trouble: Option<FailureClass>,
}

impl Wait {
    /// Waits for the verdict on `pending`, at most as long as `patience` says.
    pub fn new(pending: PendingRequest, patience: Patience, now: Monotonic) -> Self {
        Self {
            pending,
            patience,
            begun: now,
            has_condition: false,
            pause: patience.pause_min,
            phase: Phase::Listing,
            steps: VecDeque::new(),
            trouble: None,
        }
    }

    /// When [`Wait::step`] has to be asked again, whatever is under way.
    pub fn due(&self) -> Monotonic {
        let limit = self.patience.limit;
        let silence = self.patience.silence.filter(|_| !self.has_condition);
        self.begun + silence.map_or(limit, |max| max.min(limit))
    }

    /// What to do next.
    pub fn step(&mut self, now: Monotonic) -> Step {
        if let Some(step) = self.steps.pop_front() {
            return step;
        }
        if now >= self.due() {
            let is_over = now >= self.begun + self.patience.limit;
            return Step::Done(match is_over {
                true => AwaitOutcome::TimedOut,
                false => AwaitOutcome::Silent,
            });
        }
        let selector = encoded(&format!("metadata.name={}", self.pending.name));
        let path = format!("{REQUESTS}?fieldSelector={selector}");
        match &self.phase {
            Phase::Paused { until } if now < *until => Step::Pause(until.since(now)),
            Phase::Listing | Phase::Paused { .. } => {
                self.phase = Phase::Listing;
                Step::Call(Call::get(path))
            }
            Phase::Opening { version } => {
                let left = (self.begun + self.patience.limit).since(now).as_secs();
                Step::Open(Call::get(format!(
                    "{path}&watch=true&allowWatchBookmarks=true&resourceVersion={}\
                     &timeoutSeconds={}",
                    encoded(version),
                    left.clamp(1, WATCH_SECONDS_MAX)
                )))
            }
            Phase::Reading => Step::Read,
        }
    }

    /// The credential changed: what is under way is obsolete.
    pub fn restart(&mut self) {
        self.phase = Phase::Listing;
    }

    fn answer(&mut self, answer: Result<Answer, Failure>, now: Monotonic) {
        let list = match answer {
            Ok(list) => list,
            Err(failure) => return self.fail(failure, now),
        };
        if self.trouble.take().is_some() {
            self.steps.push_back(Step::Disturbed(None));
        }
        let items = list.object.get("items").and_then(Value::as_array);
        match items.and_then(|items| items.first()) {
            None => self.done(AwaitOutcome::Gone),
            Some(object) => self.see(object, list.server_time),
        }
        let version = meta::resource_version(&list.object).to_owned();
        self.phase = Phase::Opening { version };
    }

    /// Takes in the answer to whatever call was asked for, if it is not an open watch.
    pub fn hear(&mut self, answer: Result<Answer, Failure>, now: Monotonic) {
        match self.phase {
            Phase::Opening { .. } => self.opened(answer.map(|_| ()), now),
            _ => self.answer(answer, now),
        }
    }

    /// Takes in whether the watch is open.
    pub fn opened(&mut self, opened: Result<(), Failure>, now: Monotonic) {
        match opened {
            Ok(()) => self.phase = Phase::Reading,
            Err(failure) => self.fail(failure, now),
        }
    }

    /// Takes in what the watch brought; `None`: it ended. `server_time` is the server's clock now.
    pub fn read(
        &mut self,
        event: Result<Option<WatchEvent>, Failure>,
        server_time: Option<Timestamp>,
        now: Monotonic,
    ) {
        match event {
            Err(failure) => self.fail(failure, now),
            // The stream ended: list again.
            Ok(None) => self.list_again(self.patience.pause_min, now),
            Ok(Some(event)) => match event.kind {
                EventType::Added | EventType::Modified => self.see(&event.object, server_time),
                EventType::Deleted => self.done(AwaitOutcome::Gone),
                EventType::Error => self.fail(Failure::from_watch_error(&event.object), now),
                EventType::Bookmark => {}
            },
        }
    }

    fn see(&mut self, object: &Value, server_time: Option<Timestamp>) {
        self.has_condition |= !Csr(object).conditions().is_empty();
        if let Some(outcome) = verdict(object, &self.pending, server_time) {
            self.done(outcome);
        }
    }

    fn fail(&mut self, failure: Failure, now: Monotonic) {
        match failure.class {
            // The resource version was too old.
            FailureClass::Gone => self.list_again(self.patience.pause_min, now),
            FailureClass::Unauthorized => {
                let refusal = refusal("list", RESOURCE, failure);
                self.done(AwaitOutcome::Refused(refusal));
            }
            class => {
                let pause = self.patience.after(&failure, self.pause);
                if self.trouble.replace(class) != Some(class) {
                    self.steps.push_back(Step::Disturbed(Some(failure)));
                }
                self.list_again(pause, now);
            }
        }
    }

    fn list_again(&mut self, pause: Duration, now: Monotonic) {
        self.pause = pause;
        let until = now + pause;
        self.phase = Phase::Paused { until };
    }

    fn done(&mut self, outcome: AwaitOutcome) {
        self.steps.push_back(Step::Done(outcome));
    }
}

/// What an object says about its request (client-go `WaitForCertificate`); `None`: wait on.
pub(super) fn verdict(
    object: &Value,
    pending: &PendingRequest,
    server_date: Option<Timestamp>,
) -> Option<AwaitOutcome> {
    let csr = Csr(object);
    let is_other = |uid: &RequestUid| uid.as_str() != csr.uid();
    if pending.uid.as_ref().is_some_and(is_other) {
        return Some(AwaitOutcome::Gone);
    }
    let mut is_approved = false;
    for condition in csr.conditions() {
        let (reason, message) = (condition.reason, condition.message);
        match condition.kind.as_str() {
            csr::DENIED => return Some(AwaitOutcome::Denied { reason, message }),
            csr::FAILED => return Some(AwaitOutcome::Failed { reason, message }),
            csr::APPROVED => is_approved = true,
            _ => {}
        }
    }
    let certificate = csr.certificate();
    if !is_approved || certificate.is_empty() {
        return None;
    }
    Some(match Chain::from_pem(&certificate) {
        Ok(chain) => AwaitOutcome::Issued { chain, server_date },
        Err(error) => AwaitOutcome::Unreadable {
            message: error.to_string(),
        },
    })
}

/// Sorts a failure by what helps.
pub(super) fn refusal(verb: &'static str, resource: &'static str, failure: Failure) -> Refusal {
    let class = match failure.class {
        FailureClass::Unauthorized => RefusalClass::Unauthorized,
        FailureClass::Forbidden => RefusalClass::Forbidden { verb, resource },
        FailureClass::NotFound => RefusalClass::NotServed,
        FailureClass::TooManyRequests => RefusalClass::RateLimited {
            retry_after: failure.retry_after,
        },
        FailureClass::ServerError if failure.retry_after.is_some() => RefusalClass::RateLimited {
            retry_after: failure.retry_after,
        },
        FailureClass::Invalid if failure.message.contains("spec.usages") => {
            RefusalClass::UsagesRejected
        }
        FailureClass::Invalid if failure.message.contains("spec.request") => {
            RefusalClass::RequestRejected
        }
        FailureClass::Invalid | FailureClass::Rejected => RefusalClass::Invalid,
        FailureClass::NotAnApi => RefusalClass::Unexpected,
        FailureClass::Unreachable | FailureClass::ServerCertificateDates => {
            RefusalClass::Unreachable
        }
        _ => RefusalClass::Other,
    };
    Refusal {
        class,
        message: failure.message,
        server_date: failure.server_time,
    }
}

pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
