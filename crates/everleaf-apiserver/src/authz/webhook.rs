//! The webhook authorizer: another server is asked (`SubjectAccessReview`), and what it said is
//! remembered for a while (`apiserver/plugin/pkg/authorizer/webhook`).
//!
//! A verdict is a function without I/O here, too. What is not known yet becomes an open question of
//! the request; the handler has open questions answered, and judges again.

use super::condition::{self, Condition};
use super::{Attributes, Decision};
use crate::user::User;
use everleaf_api::selector::LabelTest;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Verdicts that are remembered, as upstream.
const REMEMBERED_MAX: usize = 8192;
/// Longest question whose answer is remembered, in bytes.
const QUESTION_BYTES_MAX: usize = 16 * 1024;
/// How often a question is sent, and how long the first pause is; each next one is half as long
/// again (upstream's `DefaultRetryBackoff`).
const TRIES_MAX: u32 = 5;
const RETRY_FIRST: Duration = Duration::from_millis(500);

/// Sends one review, and brings what came back.
pub type Ask = Arc<dyn Fn(Value) -> BoxFuture<'static, Result<Value, Unanswered>> + Send + Sync>;

/// Why a webhook gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// What happened.
    pub what: String,
    /// Trying again may help.
    pub is_passing: bool,
}

/// What a webhook that cannot be asked counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    /// As one that says nothing.
    NoOpinion,
    /// As one that refuses.
    Deny,
}

/// A version of SubjectAccessReview.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewVersion {
    /// `v1`
    V1,
    /// `v1beta1`, which calls groups `group`.
    V1beta1,
}

impl ReviewVersion {
    /// The one that is called so.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1beta1),
            _ => None,
        }
    }
}

/// How a webhook is asked.
#[derive(Clone)]
pub struct WebhookConfig {
    /// What refusals call it.
    pub name: String,
    /// In which version.
    pub version: ReviewVersion,
    /// How long a yes counts.
    pub authorized_ttl: Duration,
    /// How long anything else counts.
    pub unauthorized_ttl: Duration,
    /// How long one try may take.
    pub timeout: Duration,
    /// What counts when it cannot be asked.
    pub failure_policy: FailurePolicy,
    /// It is asked only when these hold.
    pub conditions: Vec<Condition>,
    /// How it is reached.
    pub ask: Ask,
}

impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a webhook said of a question, or that it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow(String),
    Deny(String),
    NoOpinion(String),
    Failed(String),
}

/// A webhook, and what it said lately.
pub(super) struct Webhook {
    config: WebhookConfig,
    remembered: Mutex<HashMap<String, (Verdict, Timestamp, Timestamp)>>,
}

/// A question that nobody has answered yet.
pub(super) struct Question {
    pub(super) webhook: Arc<Webhook>,
    pub(super) key: String,
    spec: Value,
}

/// What a webhook makes of a request.
pub(super) enum Opinion {
    /// It decides.
    Decided(Decision),
    /// Others decide; with its reason and what went wrong.
    None { reason: String, error: String },
    /// It has to be asked.
    Open(Question),
}

impl Webhook {
    pub(super) fn new(config: WebhookConfig) -> Self {
        Self {
            config,
            remembered: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Verdict, Timestamp, Timestamp)>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Its opinion, if it is known: `answered` are those of this request.
    pub(super) fn opinion(
        self: &Arc<Self>,
        attributes: &Attributes<'_>,
        answered: &HashMap<String, Verdict>,
        now: Timestamp,
    ) -> Opinion {
        let spec = spec(attributes);
        match self.is_concerned(&condition::environment(attributes, &spec)) {
            Ok(true) => {}
            Ok(false) => {
                return Opinion::None {
                    reason: String::new(),
                    error: String::new(),
                };
            }
            Err(error) => return self.judge(Verdict::Failed(error)),
        }
        let key = format!("{} {spec}", self.config.name);
        if let Some(verdict) = answered.get(&key) {
            return self.judge(verdict.clone());
        }
        if let Some((verdict, from, until)) = self.lock().get(&key)
            && (*from..*until).contains(&now)
        {
            return self.judge(verdict.clone());
        }
        Opinion::Open(Question {
            webhook: Arc::clone(self),
            key,
            spec,
        })
    }

    /// One condition that does not hold is enough; else one that cannot be told is a failure.
    fn is_concerned(&self, environment: &Value) -> Result<bool, String> {
        let mut fault = None;
        for condition in &self.config.conditions {
            match condition.holds(environment) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => fault = Some(error),
            }
        }
        fault.map_or(Ok(true), Err)
    }

    fn judge(&self, verdict: Verdict) -> Opinion {
        let decided = |allowed, reason, error| {
            Opinion::Decided(Decision {
                allowed,
                reason,
                error,
            })
        };
        match verdict {
            Verdict::Allow(reason) => decided(true, reason, String::new()),
            Verdict::Deny(reason) => decided(false, reason, String::new()),
            Verdict::NoOpinion(reason) => Opinion::None {
                reason,
                error: String::new(),
            },
            Verdict::Failed(error) => match self.config.failure_policy {
                FailurePolicy::Deny => decided(false, String::new(), error),
                FailurePolicy::NoOpinion => Opinion::None {
                    reason: String::new(),
                    error,
                },
            },
        }
    }

    fn remember(&self, key: &str, verdict: &Verdict, now: Timestamp) {
        let ttl = match verdict {
            Verdict::Failed(_) => return,
            Verdict::Allow(_) => self.config.authorized_ttl,
            Verdict::Deny(_) | Verdict::NoOpinion(_) => self.config.unauthorized_ttl,
        };
        let until = SignedDuration::try_from(ttl).ok();
        let until = until.and_then(|ttl| now.checked_add(ttl).ok());
        let Some(until) = until.filter(|until| *until > now && key.len() <= QUESTION_BYTES_MAX)
        else {
            return;
        };
        let mut remembered = self.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, (_, from, until)| (*from..*until).contains(&now));
        }
        if remembered.len() >= REMEMBERED_MAX {
            let mut ends: Vec<Timestamp> = remembered.values().map(|(_, _, end)| *end).collect();
            ends.sort();
            let soonest = ends[REMEMBERED_MAX / 8];
            remembered.retain(|_, (_, _, until)| *until > soonest);
        }
        remembered.insert(key.to_owned(), (verdict.clone(), now, until));
    }
}

impl Question {
    /// Asks, again when that may help.
    pub(super) async fn ask(self, now: Timestamp) -> (String, Verdict) {
        let config = &self.webhook.config;
        let review = review(config.version, &self.spec);
        let mut pause = RETRY_FIRST;
        let mut tries = 1;
        let verdict = loop {
            let answer = timeout(config.timeout, (config.ask)(review.clone())).await;
            let fault = match answer {
                Ok(Ok(answer)) => {
                    let verdict = read(&answer);
                    if let Verdict::Failed(fault) = &verdict {
                        let name = &config.name;
                        tracing::warn!(
                            "the authorization webhook {name:?} cannot be understood: {fault}"
                        );
                    }
                    break verdict;
                }
                Ok(Err(fault)) => fault,
                Err(_) => Unanswered {
                    what: format!("no answer within {:?}", config.timeout),
                    is_passing: true,
                },
            };
            if !fault.is_passing || tries == TRIES_MAX {
                tracing::warn!(
                    "the authorization webhook {:?} gave no answer: {}",
                    config.name,
                    fault.what
                );
                break Verdict::Failed(format!("webhook {:?}: {}", config.name, fault.what));
            }
            sleep(pause).await;
            pause = pause * 3 / 2;
            tries += 1;
        };
        self.webhook.remember(&self.key, &verdict, now);
        (self.key, verdict)
    }
}

fn read(answer: &Value) -> Verdict {
    if let Err(fault) = check_form(answer) {
        return Verdict::Failed(fault);
    }
    let status = &answer["status"];
    let reason = status["reason"].as_str().unwrap_or("").to_owned();
    match (status["allowed"] == true, status["denied"] == true) {
        (_, true) => Verdict::Deny(reason),
        (true, false) => Verdict::Allow(reason),
        (false, false) if status.is_object() => Verdict::NoOpinion(reason),
        (false, false) => Verdict::Failed("its answer has no status".to_owned()),
    }
}

/// An answer of another form says nothing: who meant "no" by it must not be taken for silent.
fn check_form(answer: &Value) -> Result<(), String> {
    let says = |member: &str, known: &[&str]| match &answer[member] {
        Value::Null => true,
        Value::String(text) => known.contains(&text.as_str()),
        _ => false,
    };
    let versions = ["authorization.k8s.io/v1", "authorization.k8s.io/v1beta1"];
    if !says("kind", &["SubjectAccessReview"]) || !says("apiVersion", &versions) {
        return Err("its answer is no SubjectAccessReview".to_owned());
    }
    for member in ["allowed", "denied"] {
        let value = &answer["status"][member];
        if !value.is_null() && !value.is_boolean() {
            return Err(format!(
                "status.{member} of its answer is neither true nor false"
            ));
        }
    }
    Ok(())
}

fn review(version: ReviewVersion, spec: &Value) -> Value {
    let mut spec = spec.clone();
    let version = match version {
        ReviewVersion::V1 => "v1",
        ReviewVersion::V1beta1 => {
            if let Some(members) = spec.as_object_mut()
                && let Some(groups) = members.remove("groups")
            {
                members.insert("group".to_owned(), groups);
            }
            "v1beta1"
        }
    };
    json!({
        "apiVersion": format!("authorization.k8s.io/{version}"),
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": spec,
        "status": {"allowed": false},
    })
}

/// What is asked, as the `spec` of a review in `v1`.
fn spec(attributes: &Attributes<'_>) -> Value {
    let User {
        name,
        uid,
        groups,
        extra,
    } = attributes.user;
    let mut spec = Map::new();
    let mut put = |member: &str, value: Value| spec.insert(member.to_owned(), value);
    if attributes.resource.is_empty() {
        let asked = texts(&[("path", attributes.path), ("verb", attributes.verb)]);
        put("nonResourceAttributes", asked.into());
    } else {
        put("resourceAttributes", resource_attributes(attributes).into());
    }
    for (member, text) in [("user", name), ("uid", uid)] {
        if !text.is_empty() {
            put(member, text.as_str().into());
        }
    }
    if !groups.is_empty() {
        put("groups", json!(groups));
    }
    if !extra.is_empty() {
        put("extra", json!(extra));
    }
    Value::Object(spec)
}

fn texts(members: &[(&str, &str)]) -> Map<String, Value> {
    let given = members.iter().filter(|(_, text)| !text.is_empty());
    given
        .map(|(name, text)| ((*name).to_owned(), (*text).into()))
        .collect()
}

fn resource_attributes(attributes: &Attributes<'_>) -> Map<String, Value> {
    let mut asked = texts(&[
        ("namespace", attributes.namespace),
        ("verb", attributes.verb),
        ("group", attributes.group),
        ("version", attributes.version),
        ("resource", attributes.resource),
        ("subresource", attributes.subresource),
        ("name", attributes.name),
    ]);
    let requirement = |key: &str, operator: &str, values: &[String]| {
        let mut requirement = json!({"key": key, "operator": operator});
        if !values.is_empty() {
            requirement["values"] = json!(values);
        }
        requirement
    };
    let fields = attributes
        .field_selector
        .iter()
        .flat_map(|selector| &selector.terms);
    let fields: Vec<Value> = fields
        .map(|(key, is_not, value)| {
            let operator = if *is_not { "NotIn" } else { "In" };
            requirement(key, operator, std::slice::from_ref(value))
        })
        .collect();
    let labels = attributes
        .label_selector
        .iter()
        .flat_map(|selector| selector.terms());
    // What has no form there is left out: the question is then a broader one.
    let labels: Vec<Value> = labels
        .filter_map(|term| match &term.test {
            LabelTest::In(values) => Some(requirement(&term.key, "In", values)),
            LabelTest::NotIn(values) => Some(requirement(&term.key, "NotIn", values)),
            LabelTest::Exists => Some(requirement(&term.key, "Exists", &[])),
            LabelTest::DoesNotExist => Some(requirement(&term.key, "DoesNotExist", &[])),
            _ => None,
        })
        .collect();
    for (member, requirements) in [("fieldSelector", fields), ("labelSelector", labels)] {
        if !requirements.is_empty() {
            asked.insert(member.to_owned(), json!({"requirements": requirements}));
        }
    }
    asked
}

#[cfg(test)]
mod tests;
