//! `POST /pki/late-reissue`: a node registers, or comes back although its certificate has ended
//! ([`crate::late_reissue`] decides). What was decided is stored before it is answered.

use super::ownership;
use super::respond::{JSON, response, to_json};
use super::{Admitted, Body, Server};
use crate::authn::{CREDENTIAL_ID, Peer, credential_id};
use crate::late_reissue::{
    Decision, Knock, PATH, Policy, Record, TOKEN_LIFETIME, decide, digest, hex, node_uid, token,
};
use crate::objects::Objects;
use crate::user::NODE_PREFIX;
use crate::writer::Refusal;
use everleaf_api::revocation::{self, Entry, Reason, Revocations, Target};
use everleaf_api::{Status, meta};
use everleaf_observe::text::{Kind, Text};
use everleaf_pki::Leaf;
use http::{Method, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Longest body, in bytes.
const BODY_BYTES_MAX: usize = 4096;
/// Longest name of an attempt, in bytes.
const ATTEMPT_BYTES_MAX: usize = 128;
/// How often it is decided anew when somebody else writes at the same time.
const ROUNDS_MAX: usize = 8;
/// After how long the same is told again.
const TELL_AGAIN: SignedDuration = SignedDuration::from_mins(10);
/// Who reports Events, and revokes.
const REPORTER: &str = "everleaf-late-reissue";
/// What an audit tells.
const ANNOTATION: &str = "everleaf.io/late-reissue";

/// How knocks ended, for metrics: all are told from the start on, so that the first is noticed.
const RESULTS: [&str; 11] = [
    "exhausted",
    "locked",
    "no_node",
    "other_node",
    "recovered",
    "recovered_again",
    "recovered_last",
    "registered",
    "too_old",
    "unknown_state",
    "unregistered",
];

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Knocks(Mutex<BTreeMap<&'static str, u64>>);

impl Knocks {
    fn count(&self, result: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(result).or_default() += 1;
    }

    pub(super) fn write(&self, text: &mut Text) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "Nodes that registered for late re-issue or asked for it, by what came of it.";
        let mut family = text.family("everleaf_late_reissue_total", Kind::Counter, help);
        for result in RESULTS {
            let count = counts.get(result).copied().unwrap_or(0);
            family.count(&[("result", result)], count);
        }
    }
}

/// Whether a request is one of these: it is so only where a policy is given.
pub(super) fn is_late_reissue(admitted: &Admitted) -> bool {
    admitted.shown.is_some() && admitted.method == Method::POST
}

/// What a node says.
struct Said {
    state: String,
    /// SHA-256 of the attempt's name.
    attempt: String,
}

/// A knock was decided, and what follows is stored.
struct Done {
    result: &'static str,
    /// For the audit, and the node if it is refused.
    words: String,
    answer: Option<Value>,
}

impl Server {
    /// The certificate that a node registers or comes back with, where it may.
    pub(super) fn shown_at(&self, path: &str, peer: &Peer) -> Option<Leaf> {
        self.authenticator.late_reissue().filter(|_| path == PATH)?;
        Leaf::from_der(peer.certificates.first()?).ok()
    }

    pub(super) async fn late_reissue(
        &self,
        admitted: &Admitted,
        body: &[u8],
    ) -> Result<Response<Body>, Status> {
        let (Some(policy), Some(leaf)) = (self.authenticator.late_reissue(), &admitted.shown)
        else {
            return Err(Status::no_such_resource());
        };
        let said = read(body)?;
        let node = node_of(admitted, leaf)?;
        let done = self
            .knock((node, leaf), &said, policy, admitted.now)
            .await?;
        self.knocks.count(done.result);
        if let Some(trail) = &admitted.trail {
            trail.annotate(ANNOTATION, format!("{}: {}", done.result, done.words));
        }
        match done.answer {
            Some(answer) => Ok(response(StatusCode::OK, JSON, to_json(&answer))),
            None => Err(Status::forbidden_path(&format!(
                "late re-issue of {node}: {}",
                done.words
            ))),
        }
    }

    /// Decides, and stores what follows; anew, when somebody else was faster.
    async fn knock(
        &self,
        (node, leaf): (&str, &Leaf),
        said: &Said,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Done, Status> {
        let fingerprint = leaf.fingerprint().to_string();
        let fresh_key = hex(&self.random_bytes::<32>());
        for _ in 0..ROUNDS_MAX {
            self.catch_up().await?;
            let objects = self.cache.as_ref();
            let Some(node_uid) = node_uid(objects, node) else {
                return Ok(Done {
                    result: "no_node",
                    words: format!("there is no Node object {node}"),
                    answer: None,
                });
            };
            let stored = Record::stored(objects, node);
            let secret = stored.as_ref().map(|stored| stored.object());
            let record = secret.as_deref().and_then(Record::of_secret);
            let knock = Knock {
                node,
                node_uid: &node_uid,
                leaf: &fingerprint,
                not_before: leaf.not_before(),
                not_after: leaf.not_after(),
                state: &said.state,
                attempt: &said.attempt,
                fresh_key: &fresh_key,
            };
            let decision = decide(record.as_ref(), &knock, policy, now);
            let secret_text = hex(&self.random_bytes::<32>());
            let (next, done) = outcome(decision, node, policy, (&secret_text, now));
            let Some(next) = next else {
                self.follow_up((node, &node_uid), record.as_ref(), &done, now)
                    .await?;
                return Ok(done);
            };
            let object = next.to_secret(node, secret.as_deref());
            drop(secret);
            match self
                .put_over(ownership::SERVER, "secrets", (object, stored), now)
                .await
            {
                Ok(_) => {
                    self.follow_up((node, &node_uid), Some(&next), &done, now)
                        .await?;
                    return Ok(done);
                }
                Err(Refusal::Exists | Refusal::Changed) => {}
                Err(refusal) => return Err(self.refused(refusal)),
            }
        }
        Err(self.refused(Refusal::Changed))
    }

    /// What is told, and revoked, once the record is stored.
    async fn follow_up(
        &self,
        (node, node_uid): (&str, &str),
        record: Option<&Record>,
        done: &Done,
        now: Timestamp,
    ) -> Result<(), Status> {
        let (kind, reason) = match done.result {
            "recovered" | "recovered_last" => ("Normal", "LateReissue"),
            "recovered_again" | "registered" => return Ok(()),
            "locked" => ("Warning", "LateReissueLocked"),
            _ => ("Warning", "LateReissueRefused"),
        };
        let is_locked = done.result == "locked";
        if let Some(record) = record.filter(|record| is_locked && record.must_revoke) {
            self.revoke(node, &record.leaf, now).await?;
            self.is_revoked(node, record, now).await;
        }
        // One Event for each node and reason, told anew now and then: whoever knocks for ever
        // fills neither the store nor the log.
        let name = format!("{node}.{}", reason.to_ascii_lowercase());
        if self.was_told(&name, &done.words, now) {
            return Ok(());
        }
        match done.answer {
            Some(_) => tracing::info!(node, "late re-issue: {}", done.words),
            None => tracing::warn!(node, "late re-issue is refused: {}", done.words),
        }
        let time = meta::format_time(now);
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": "default"},
            "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid},
            "type": kind, "reason": reason, "message": done.words,
            "source": {"component": REPORTER}, "reportingComponent": REPORTER,
            "firstTimestamp": time, "lastTimestamp": time, "count": 1,
        });
        if let Err(error) = self.put("events", event, now).await {
            tracing::debug!(node, %error, "no Event about late re-issue");
        }
        Ok(())
    }

    /// Notes that what had to be revoked is: whoever takes that back is not to be overruled. Should
    /// it fail, it is revoked once more.
    async fn is_revoked(&self, node: &str, record: &Record, now: Timestamp) {
        let Some(stored) = Record::stored(self.cache.as_ref(), node) else {
            return;
        };
        let secret = stored.object().into_owned();
        if Record::of_secret(&secret).as_ref() != Some(record) {
            return;
        }
        let done = Record {
            must_revoke: false,
            ..record.clone()
        };
        let object = (done.to_secret(node, Some(&secret)), Some(stored));
        if let Err(error) = self
            .put_over(ownership::SERVER, "secrets", object, now)
            .await
        {
            tracing::debug!(node, %error, "that the node is revoked could not be noted");
        }
    }

    /// Whether an Event of this name has said the same lately.
    fn was_told(&self, name: &str, words: &str, now: Timestamp) -> bool {
        let told = self.cache.get("events", "default", name);
        told.is_some_and(|told| {
            let event = told.object();
            let at = meta::parse_time(event["lastTimestamp"].as_str().unwrap_or_default());
            let is_recent = at.is_some_and(|at| now.duration_since(at).abs() < TELL_AGAIN);
            is_recent && event["message"] == words
        })
    }

    /// Revokes what the node was issued until now, and the certificate that it showed last by
    /// itself: not every signer dates back.
    async fn revoke(&self, node: &str, leaf: &str, now: Timestamp) -> Result<(), Status> {
        let targets = [
            Target::Node(node.to_owned()),
            Target::Credential(leaf.to_owned()),
        ];
        let entry = Entry {
            at: Some(now),
            reason: Reason::KeyCompromise,
            node: node.to_owned(),
            by: REPORTER.to_owned(),
            ..Entry::default()
        };
        for _ in 0..ROUNDS_MAX {
            let (namespace, name) = (revocation::NAMESPACE, revocation::NAME);
            let present = self.cache.get("configmaps", namespace, name);
            let mut object = match &present {
                Some(stored) => stored.object().into_owned(),
                None => json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": name, "namespace": namespace},
                }),
            };
            let present_ones = Revocations::of_config_map(&object);
            if targets.iter().all(|target| present_ones.has(target)) {
                return Ok(());
            }
            let mut own = Revocations::default();
            for target in targets.clone() {
                own.put(target, entry.clone());
            }
            for (key, text) in own.to_data() {
                object["data"][key] = text;
            }
            match self
                .put_over(ownership::SERVER, "configmaps", (object, present), now)
                .await
            {
                Ok(_) => {
                    tracing::warn!(node, "what the node was issued until now is revoked");
                    return Ok(());
                }
                Err(Refusal::Exists | Refusal::Changed) => self.catch_up().await?,
                Err(refusal) => return Err(self.refused(refusal)),
            }
        }
        Err(self.refused(Refusal::Changed))
    }
}

/// What is to be stored, if anything, and what is answered then.
fn outcome(
    decision: Decision,
    node: &str,
    policy: &Policy,
    (secret, now): (&str, Timestamp),
) -> (Option<Record>, Done) {
    let left = |record: &Record| policy.recoveries_max.saturating_sub(record.recoveries);
    let answer =
        |record: &Record| json!({"state": record.state(node), "recoveriesLeft": left(record)});
    match decision {
        Decision::Registered(record) => {
            let done = Done {
                result: "registered",
                words: format!("join state {}", record.counter),
                answer: Some(answer(&record)),
            };
            (Some(record), done)
        }
        Decision::Recovered { record, is_again } => {
            let until = now.saturating_add(TOKEN_LIFETIME).unwrap_or(Timestamp::MAX);
            let record = Record {
                token: digest(secret),
                token_until: Some(until),
                ..record
            };
            let left = left(&record);
            let mut answer = answer(&record);
            answer["token"] = token(node, secret).into();
            answer["tokenExpires"] = meta::format_time(until).into();
            let done = Done {
                result: match (is_again, left) {
                    (true, _) => "recovered_again",
                    (false, 0) => "recovered_last",
                    (false, _) => "recovered",
                },
                words: format!(
                    "the node comes back although its certificate has ended; {left} more recoveries are left"
                ),
                answer: Some(answer),
            };
            (Some(record), done)
        }
        Decision::Locked(record) => {
            let done = Done {
                result: "locked",
                words: format!("the node is locked: {}", record.locked),
                answer: None,
            };
            (Some(record), done)
        }
        Decision::Refused(refusal) => {
            let done = Done {
                result: refusal.word(),
                words: refusal.to_string(),
                answer: None,
            };
            (None, done)
        }
    }
}

/// The node that whoever asks is: known by that certificate and nothing else, and acting as nobody
/// else.
fn node_of<'a>(admitted: &'a Admitted, leaf: &Leaf) -> Result<&'a str, Status> {
    let name = &admitted.user.name;
    let node = name.strip_prefix(NODE_PREFIX).unwrap_or_default();
    let known_by = admitted.user.extra.get(CREDENTIAL_ID);
    let is_known_by_it = known_by.is_some_and(|ids| *ids == [credential_id(leaf)]);
    if node.is_empty() || !is_known_by_it {
        return Err(Status::forbidden_path(
            "late re-issue is for nodes, by their own client certificate",
        ));
    }
    Ok(node)
}

fn read(body: &[u8]) -> Result<Said, Status> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Status::too_large(BODY_BYTES_MAX));
    }
    let said: Value = serde_json::from_slice(body).map_err(|error| {
        Status::bad_request(format!("late re-issue: the body is no JSON: {error}"))
    })?;
    let word = |key: &str| said[key].as_str().unwrap_or_default();
    let attempt = word("attempt");
    if attempt.is_empty() || attempt.len() > ATTEMPT_BYTES_MAX {
        return Err(Status::bad_request(format!(
            "late re-issue: attempt: give it a name of 1 to {ATTEMPT_BYTES_MAX} bytes that nobody can guess"
        )));
    }
    Ok(Said {
        state: word("state").to_owned(),
        attempt: digest(attempt),
    })
}
