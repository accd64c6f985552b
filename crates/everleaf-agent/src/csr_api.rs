//! Signing requests on an API server: create one, find an existing one, wait for the verdict.
//!
//! Owns the paths, and the translation of objects and failures into rotation's outcomes. It refuses
//! to know when to ask and what to do with an answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use everleaf_api::csr::{self, Csr};
use everleaf_api::meta;
use everleaf_api::watch::EventType;
use everleaf_pki::{Chain, VerifiedRequest};
use everleaf_rotation::rotation::AWAIT_MAX;
use everleaf_rotation::{
    AwaitOutcome, ConfirmOutcome, ExistingRequest, PendingRequest, Refusal, RefusalClass,
    RequestUid, SubmitOutcome,
};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::access::{Access, Identity};
use crate::client::{Answer, ApiClient, Failure, FailureClass, Watch};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SELF_REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const RESOURCE: &str = "certificatesigningrequests";

/// How long to wait for a verdict, and how long to pause when the wait is disturbed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// First pause before a broken wait lists again.
    pause_min: Duration,
    /// Longest such pause.
    pause_max: Duration,
    /// The whole wait.
    limit: Duration,
    /// The wait for any condition at all, if that is limited.
    silence: Option<Duration>,
}

impl Patience {
    /// As client-go has it, with a back-off.
    pub(crate) const USUAL: Self = Self {
        pause_min: Duration::from_secs(1),
        pause_max: Duration::from_secs(30),
        limit: AWAIT_MAX,
        silence: None,
    };

    /// As usual, and so long for a request without any condition.
    pub(crate) fn with_silence(silence: Option<Duration>) -> Self {
        Self {
            silence,
            ..Self::USUAL
        }
    }

    /// The pause after `failure`, which follows one of `last`.
    fn after(&self, failure: &Failure, last: Duration) -> Duration {
        failure
            .retry_after
            .unwrap_or(last * 2)
            .clamp(self.pause_min, self.pause_max)
    }
}

/// Longest single watch; then the server ends it and the wait lists again.
const WATCH_SECONDS_MAX: u64 = 300;

/// Creates the request object under its own name. "Already exists" is looked at, not judged.
pub(crate) async fn submit(
    client: &ApiClient,
    access: &Access,
    pending: &PendingRequest,
) -> SubmitOutcome {
    let usages: Vec<_> = pending.usages.iter().map(|usage| usage.as_str()).collect();
    let object = csr::build(
        pending.name.as_str(),
        "",
        &pending.request_pem,
        pending.signer_name.as_str(),
        &usages,
        pending.expiration_seconds,
    );
    match client.create(access, REQUESTS, &object).await {
        Ok(Answer {
            object,
            server_time,
        }) => SubmitOutcome::Created {
            uid: RequestUid::new(meta::uid(&object)),
            server_date: server_time,
        },
        Err(failure) if failure.class == FailureClass::AlreadyExists => {
            existing(client, access, pending).await
        }
        Err(failure) => SubmitOutcome::Refused(refusal("create", RESOURCE, failure)),
    }
}

async fn existing(client: &ApiClient, access: &Access, pending: &PendingRequest) -> SubmitOutcome {
    let path = format!("{REQUESTS}/{}", encoded(pending.name.as_str()));
    match client.get(access, &path).await {
        Ok(answer) => SubmitOutcome::AlreadyExists(facts(&answer, pending)),
        Err(failure) => SubmitOutcome::Refused(refusal("get", RESOURCE, failure)),
    }
}

/// What `ensureCompatible` looks at (client-go util/certificate/csr), without a judgement.
fn facts(answer: &Answer, pending: &PendingRequest) -> ExistingRequest {
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
        certificate_not_after: chain
            .and_then(|chain| chain.certificates().iter().map(|c| c.not_after()).min()),
        server_date: answer.server_time,
    }
}

/// With what to wait: fixed, or whatever the client machine holds by then.
#[derive(Clone, Debug)]
pub(crate) enum Waiter {
    /// One access throughout.
    Fixed(Access),
    /// Follows the client certificate: after a rotation the wait goes on over a new connection.
    Following(watch::Receiver<Option<Access>>),
}

impl Waiter {
    fn access(&mut self) -> Option<Access> {
        match self {
            Self::Fixed(access) => Some(access.clone()),
            Self::Following(current) => current.borrow_and_update().clone(),
        }
    }

    async fn changed(&mut self) {
        match self {
            Self::Following(current) if current.has_changed().is_ok() => {
                if current.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            _ => std::future::pending().await,
        }
    }
}

/// Waits for the verdict on a request, at most as long as `patience` says.
pub(crate) async fn await_verdict(
    client: &ApiClient,
    mut waiter: Waiter,
    pending: &PendingRequest,
    patience: &Patience,
) -> AwaitOutcome {
    let deadline = Instant::now() + patience.limit;
    let has_condition = AtomicBool::new(false);
    let mut pause = patience.pause_min;
    let mut trouble = Trouble::default();
    let wait = async {
        loop {
            let Some(access) = waiter.access() else {
                waiter.changed().await;
                continue;
            };
            let round = tokio::select! {
                round = list_then_watch(client, &access, pending, deadline, &has_condition, &mut trouble) => round,
                () = waiter.changed() => continue,
            };
            match round {
                Ok(Some(outcome)) => return outcome,
                // The stream ended, or the resource version was too old: list again.
                Ok(None) => pause = patience.pause_min,
                Err(failure) if failure.class == FailureClass::Gone => pause = patience.pause_min,
                Err(failure) if failure.class == FailureClass::Unauthorized => {
                    return AwaitOutcome::Refused(refusal("list", RESOURCE, failure));
                }
                Err(failure) => {
                    trouble.met(pending, &failure);
                    pause = patience.after(&failure, pause);
                }
            }
            tokio::time::sleep(pause).await;
        }
    };
    let mut wait = std::pin::pin!(wait);
    if let Some(silence) = patience.silence {
        let silent_at = deadline.min(Instant::now() + silence);
        match tokio::time::timeout_at(silent_at, &mut wait).await {
            Ok(outcome) => return outcome,
            Err(_) if !has_condition.load(Ordering::Relaxed) => return AwaitOutcome::Silent,
            Err(_) => {}
        }
    }
    tokio::time::timeout_at(deadline, wait)
        .await
        .unwrap_or(AwaitOutcome::TimedOut)
}

/// The minor version of Kubernetes 1 that the server speaks for; `None` when it does not say.
pub(crate) async fn server_minor(client: &ApiClient, access: &Access) -> Option<u32> {
    let answer = client.get(access, "/version").await.ok()?;
    let text = |name| answer.object.get(name).and_then(Value::as_str);
    // Providers append: "21+".
    let minor = text("minor")?;
    let digits = minor
        .find(|byte: char| !byte.is_ascii_digit())
        .unwrap_or(minor.len());
    let minor = minor[..digits].parse().ok()?;
    (text("major") == Some("1")).then_some(minor)
}

/// Whether a wait is disturbed; told once when it begins and once when it ends.
#[derive(Debug, Default)]
struct Trouble(Option<FailureClass>);

impl Trouble {
    fn met(&mut self, pending: &PendingRequest, failure: &Failure) {
        if self.0.replace(failure.class) != Some(failure.class) {
            tracing::warn!(
                csr = pending.name.as_str(),
                error = %failure,
                "waiting for the certificate is disturbed; trying again"
            );
        }
    }

    fn ended(&mut self, pending: &PendingRequest) {
        if self.0.take().is_some() {
            let csr = pending.name.as_str();
            tracing::info!(csr, "waiting for the certificate goes on");
        }
    }
}

async fn list_then_watch(
    client: &ApiClient,
    access: &Access,
    pending: &PendingRequest,
    deadline: Instant,
    has_condition: &AtomicBool,
    trouble: &mut Trouble,
) -> Result<Option<AwaitOutcome>, Failure> {
    let selector = format!(
        "?fieldSelector={}",
        encoded(&format!("metadata.name={}", pending.name))
    );
    let list = client.get(access, &format!("{REQUESTS}{selector}")).await?;
    trouble.ended(pending);
    let items = list.object.get("items").and_then(Value::as_array);
    match items.and_then(|items| items.first()) {
        None => return Ok(Some(AwaitOutcome::Gone)),
        Some(object) => {
            note_condition(object, has_condition);
            if let Some(outcome) = verdict(object, pending, list.server_time) {
                return Ok(Some(outcome));
            }
        }
    }
    let left = deadline.saturating_duration_since(Instant::now()).as_secs();
    let path = format!(
        "{REQUESTS}{selector}&watch=true&allowWatchBookmarks=true&resourceVersion={}\
         &timeoutSeconds={}",
        encoded(meta::resource_version(&list.object)),
        left.clamp(1, WATCH_SECONDS_MAX)
    );
    let mut watch: Watch = client.watch(access, &path).await?;
    while let Some(event) = watch.next().await? {
        let outcome = match event.kind {
            EventType::Added | EventType::Modified => {
                note_condition(&event.object, has_condition);
                verdict(&event.object, pending, watch.server_time())
            }
            EventType::Deleted => Some(AwaitOutcome::Gone),
            EventType::Bookmark | EventType::Error => None,
        };
        if outcome.is_some() {
            return Ok(outcome);
        }
    }
    Ok(None)
}

fn note_condition(object: &Value, has_condition: &AtomicBool) {
    if !Csr(object).conditions().is_empty() {
        has_condition.store(true, Ordering::Relaxed);
    }
}

/// What an object says about its request (client-go `WaitForCertificate`); `None`: wait on.
fn verdict(
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

/// Asks the server who we are, on a connection of its own, and believes nothing but the answer.
///
/// A 403 to this question came after authentication and proves as much as a review, unless the
/// server says that it took us for anonymous. A server before 1.28 may not know the question; it is
/// then asked for something that nodes may list and anonymous callers may not.
pub(crate) async fn confirm(client: &ApiClient, access: &Access) -> ConfirmOutcome {
    let client = client.fresh();
    let question = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "SelfSubjectReview",
    });
    let failure = match client.create(access, SELF_REVIEW, &question).await {
        Ok(answer) => return judge_review(&answer, access),
        Err(failure) => failure,
    };
    match failure.class {
        FailureClass::NotFound | FailureClass::NotAnApi | FailureClass::Rejected => {
            match client.get(access, &format!("{REQUESTS}?limit=1")).await {
                Ok(answer) => ConfirmOutcome::Confirmed {
                    server_date: answer.server_time,
                },
                Err(failure) => judge_refusal("list", RESOURCE, failure),
            }
        }
        _ => judge_refusal("create", "selfsubjectreviews", failure),
    }
}

fn judge_review(answer: &Answer, access: &Access) -> ConfirmOutcome {
    let name = answer.object.pointer("/status/userInfo/username");
    match (name.and_then(Value::as_str), &access.identity) {
        (Some(name), Identity::Certificate(presented))
            if name != presented.leaf().subject().common_name =>
        {
            taken_for(name, answer.server_time)
        }
        _ => ConfirmOutcome::Confirmed {
            server_date: answer.server_time,
        },
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

/// Sorts a failure by what helps.
pub(crate) fn refusal(verb: &'static str, resource: &'static str, failure: Failure) -> Refusal {
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

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests;
