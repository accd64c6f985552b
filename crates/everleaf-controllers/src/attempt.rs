//! One attempt at one request: review, approve, sign or fail it. A machine without I/O.
//!
//! It owns the order of calls, what their failure means, and what is told when. A write carries the
//! resource version that was decided on. When it meets a newer one, the request is read again and
//! decided again, once; after that the queue comes back with backoff. Nothing is ever written twice
//! on the strength of one decision.
//!
//! ```text
//!            ┌── review ◀─┐
//!  Deciding ─┼────────────┴─▶ Reviewing
//!     ▲      ├─▶ Announced ─▶ Logging ─▶ Writing ─▶ Done
//!     │      └─ nothing to write ─────────────────▶ Done
//!     └───── Rereading ◀─ 409, once
//! ```

mod holding;
mod signing;

use crate::approver::{self, Facts, Leave, Review};
use crate::builtin::BuiltinSigner;
use crate::call::{Answer, CSRS, Call, CallError, REVIEWS, RIGHTS_HINT, parse_as, segment};
use crate::core::Core;
use crate::event;
use crate::index::OpenRequest;
use crate::issuance::Entry;
use crate::notice::{About, Judgement, Notice};
use crate::queue::Outcome;
use crate::record::LeafFacts;
use crate::serving::{self, Look, Rule, Saw};
use crate::signer::Failure;
use everleaf_api::csr::{self, APPROVED, DENIED};
use everleaf_api::review::Verdict;
use everleaf_api::types::{CERTIFICATE_SIGNING_REQUEST, SUBJECT_ACCESS_REVIEW};
use everleaf_pki::{ApprovedRequest, SignerName};
use everleaf_time::{Monotonic, Now};
use http::Method;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

/// What to say about a refusal to take an Event.
const EVENT_RIGHTS_HINT: &str = "it needs create on events in the namespace default";
/// What to say about a refusal to approve a serving request.
const SERVING_RIGHTS_HINT: &str = "it needs the verb approve on signers named kubernetes.io/kubelet-serving, and update on \
     certificatesigningrequests/approval: see the ClusterRole everleaf:kubelet-serving-approver";
/// What approves serving requests, in logs and metrics.
const SERVING_RULE: &str = "kubelet_serving";

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Approve it.
    Approve,
    /// Sign it.
    Sign(BuiltinSigner),
}

impl Task {
    /// Upstream's name of the loop that does it.
    pub const fn loop_name(self) -> &'static str {
        match self {
            Self::Approve => "csrapproving",
            Self::Sign(signer) => signer.loop_name(),
        }
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Make this call and hand in its answer.
    Call(Call),
    /// It is over; the queue says when to come back.
    Done(Outcome),
    /// Make this entry of the issuance log durable and hand in whether it is
    /// ([`Attempt::logged`]); only if [`Core::logging`].
    Log(Box<Entry>),
    /// Look at this, outside the API server, and hand in what was seen ([`Attempt::looked`]). It
    /// may take seconds.
    Look(Box<Look>),
    /// Tell people, before the next step.
    Tell(Box<Notice>),
}

/// Where an attempt stands.
#[derive(Debug)]
enum Phase {
    /// Said that it is about to sign this; signs next.
    Announced(Box<ApprovedRequest>),
    Deciding,
    /// Everything was asked for or said.
    Ended,
    /// Waits for the issuance log; what is written after it.
    Logging {
        object: Value,
        written: Written,
    },
    Looking(Box<Look>),
    /// Leaves Events; what comes after them.
    Noting {
        rest: VecDeque<Value>,
        outcome: Outcome,
    },
    Rereading,
    Reviewing {
        permission: String,
    },
    /// What to tell once it is written.
    Writing(Written),
}

/// What is being written.
#[derive(Debug)]
enum Written {
    Approval {
        rule: String,
        event: Option<Box<Value>>,
    },
    Denial {
        rule: Rule,
        policy: String,
        message: String,
        event: Box<Value>,
    },
    Certificate {
        leaf: LeafFacts,
        truncated: bool,
    },
    Failure(Failure),
}

/// See the module documentation.
#[derive(Debug)]
pub struct Attempt {
    task: Task,
    name: String,
    /// When the request became ready to be worked on.
    ready_at: Monotonic,
    request: Option<Arc<OpenRequest>>,
    /// Decided from a live read: a conflict ends the attempt.
    is_live: bool,
    phase: Phase,
    reviews: Vec<Review>,
    seen: Vec<(Look, Saw)>,
    steps: VecDeque<Step>,
}

impl Attempt {
    /// An attempt at `request`, if there still is one.
    pub(crate) fn new(
        task: Task,
        name: String,
        request: Option<Arc<OpenRequest>>,
        ready_at: Monotonic,
    ) -> Self {
        Self {
            task,
            name,
            ready_at,
            request,
            is_live: false,
            phase: Phase::Deciding,
            reviews: Vec::new(),
            seen: Vec::new(),
            steps: VecDeque::new(),
        }
    }

    /// What to do next. After a [`Step::Call`], its answer has to be handed in before.
    pub fn step(&mut self, core: &Core, now: Now) -> Step {
        // Ends: each turn of `advance` says at least one thing, or moves on to what does.
        loop {
            if let Some(step) = self.steps.pop_front() {
                return step;
            }
            self.advance(core, now);
        }
    }

    fn advance(&mut self, core: &Core, now: Now) {
        let Some(request) = self.request.clone() else {
            return self.done(Outcome::Finished);
        };
        match (std::mem::replace(&mut self.phase, Phase::Ended), self.task) {
            (Phase::Announced(approved), Task::Sign(signer)) => {
                self.issue(&request, signer, &approved, core, now);
            }
            (Phase::Deciding, Task::Approve) => self.approve(&request, core, now),
            (Phase::Deciding, Task::Sign(signer)) => self.sign(&request, signer, core, now),
            // Asked again without an answer: the call was not made.
            _ => self.done(Outcome::FAILED),
        }
    }

    fn approve(&mut self, request: &OpenRequest, core: &Core, now: Now) {
        if request.csr().signer_name() == SignerName::KUBELET_SERVING
            && let Some(decision) = core.decide_serving(request, &self.reviews, &self.seen, now)
        {
            return self.judge_serving(request, &decision, core, now);
        }
        let facts = Facts {
            hold: core.hold(request, now),
            reviews: &self.reviews,
        };
        let about = About::of(request.csr());
        match approver::decide(request, &facts, core.policy()).action {
            approver::Action::Review { permission } => self.review(request, permission),
            approver::Action::Approve { .. } if self.holds_for_ca(request, core, now) => {}
            approver::Action::Approve { message, rule } => {
                if let Some(delay) = core.take_turn(request, now) {
                    return self.hold(request, delay, core, now);
                }
                let mut object = writable(request);
                csr::push_condition(&mut object, APPROVED, approver::REASON, &message, None);
                let event = None;
                self.write("approval", object, Written::Approval { rule, event });
            }
            approver::Action::Hold(delay) => self.hold(request, delay, core, now),
            approver::Action::Leave(leave) => self.leave(about, leave),
        }
    }

    fn review(&mut self, request: &OpenRequest, permission: String) {
        let body = approver::review_body(request.csr(), &permission);
        self.call(Call::new(Method::POST, REVIEWS, Some(body)));
        self.phase = Phase::Reviewing { permission };
    }

    /// Does what the policy for serving requests came to.
    fn judge_serving(
        &mut self,
        request: &OpenRequest,
        decision: &serving::Decision,
        core: &Core,
        now: Now,
    ) {
        use serving::Verdict;
        match &decision.verdict {
            Verdict::Look(_, look) => {
                self.steps.push_back(Step::Look(look.clone()));
                self.phase = Phase::Looking(look.clone());
            }
            Verdict::Review => self.review(request, serving::PERMISSION.to_owned()),
            Verdict::Approve if decision.is_dry_run => {
                self.judged(request, decision, Judgement::WouldApprove, None, core);
                self.done(Outcome::Finished);
            }
            Verdict::Deny(rule) if decision.is_dry_run => {
                self.judged(request, decision, Judgement::WouldDeny, Some(*rule), core);
                self.done(Outcome::Finished);
            }
            Verdict::Approve => match core.hold(request, now) {
                Some(delay) => self.hold(request, delay, core, now),
                None if self.holds_for_ca(request, core, now) => {}
                None => match core.take_turn(request, now) {
                    Some(delay) => self.hold(request, delay, core, now),
                    None => self.record_verdict(request, decision, None, now),
                },
            },
            Verdict::Deny(rule) => self.record_verdict(request, decision, Some(*rule), now),
            Verdict::Abstain(rule) => {
                let told = self.judged(request, decision, Judgement::Abstained, *rule, core);
                let outcome = match rule {
                    // A permission may be granted later, and nothing here would change with it.
                    Some(Rule::Permission) => Outcome::FAILED,
                    _ => Outcome::Finished,
                };
                let is_others = matches!(
                    rule,
                    None | Some(Rule::Signer | Rule::State | Rule::Requestor | Rule::Permission)
                );
                match told && !is_others && !decision.is_dry_run {
                    true => self.note_waiting(request, decision, *rule, outcome, now),
                    false => self.done(outcome),
                }
            }
            Verdict::Wait(rule, delay) => {
                let told = self.judged(request, decision, Judgement::Waits, Some(*rule), core);
                let outcome = Outcome::After(*delay);
                match told && !decision.is_dry_run {
                    true => self.note_waiting(request, decision, Some(*rule), outcome, now),
                    false => self.done(outcome),
                }
            }
        }
    }

    /// Leaves an Event that says why the request stays Pending.
    fn note_waiting(
        &mut self,
        request: &OpenRequest,
        decision: &serving::Decision,
        rule: Option<Rule>,
        outcome: Outcome,
        now: Now,
    ) {
        let reason = match rule {
            Some(Rule::Limits) => "CSRRateLimited",
            _ => "CSRWaiting",
        };
        let event = event::of(request.csr(), reason, &decision.message(), now);
        self.note(event, outcome);
    }

    /// Tells what the policy came to, if that is news.
    fn judged(
        &mut self,
        request: &OpenRequest,
        decision: &serving::Decision,
        judgement: Judgement,
        rule: Option<Rule>,
        core: &Core,
    ) -> bool {
        let about = About::of(request.csr());
        let message = decision.message();
        let state = core.serving();
        let is_news = state.is_none_or(|state| state.is_news(&about.uid, &message));
        if is_news {
            self.tell(Notice::Judged {
                about,
                judgement,
                policy: decision.policy.clone(),
                rule,
                message,
            });
        }
        is_news
    }

    /// Writes the condition that approves (`rule`: `None`) or denies.
    fn record_verdict(
        &mut self,
        request: &OpenRequest,
        decision: &serving::Decision,
        rule: Option<Rule>,
        now: Now,
    ) {
        let (kind, event_reason) = match rule {
            None => (APPROVED, "CSRApproved"),
            Some(_) => (DENIED, "CSRDenied"),
        };
        let (reason, message) = (decision.reason(), decision.message());
        let mut object = writable(request);
        csr::push_condition(&mut object, kind, reason, &message, None);
        let event = Box::new(event::of(request.csr(), event_reason, &message, now));
        let written = match rule {
            None => Written::Approval {
                rule: SERVING_RULE.to_owned(),
                event: Some(event),
            },
            Some(rule) => Written::Denial {
                rule,
                policy: decision.policy.clone(),
                message,
                event,
            },
        };
        self.write("approval", object, written);
    }

    /// Leaves an Event, then is done. That it could not be left is told, and changes nothing.
    fn note(&mut self, event: Value, outcome: Outcome) {
        self.note_all(VecDeque::from([event]), outcome);
    }

    /// Leaves Events, one after the other, then is done.
    fn note_all(&mut self, mut events: VecDeque<Value>, outcome: Outcome) {
        let Some(event) = events.pop_front() else {
            return self.done(outcome);
        };
        self.call(Call::new(Method::POST, event::PATH, Some(event)));
        self.phase = Phase::Noting {
            rest: events,
            outcome,
        };
    }

    fn leave(&mut self, about: About, leave: Leave) {
        let (outcome, notice) = match leave {
            Leave::Decided => return self.done(Outcome::Finished),
            Leave::NotPermitted => {
                let permissions = approver::permissions_text(&self.reviews);
                (Outcome::FAILED, Notice::NotPermitted { about, permissions })
            }
            Leave::Unreadable(error) => {
                let rule = "unreadable";
                (Outcome::Finished, Notice::Unfit { about, rule, error })
            }
            Leave::Unrecognized(why) => (Outcome::Finished, Notice::Unrecognized { about, why }),
            Leave::WeakKey(error) => {
                let rule = "weak_key";
                (Outcome::Finished, Notice::Unfit { about, rule, error })
            }
        };
        self.tell(notice);
        self.done(outcome);
    }

    fn write(&mut self, subresource: &str, object: Value, written: Written) {
        let path = format!("{CSRS}/{}/{subresource}", segment(&self.name));
        self.call(Call::new(Method::PUT, path, Some(object)));
        self.phase = Phase::Writing(written);
    }

    /// Takes in the answer to the call that was asked for.
    pub fn answer(&mut self, answer: &Answer, core: &Core, now: Now) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        if let Phase::Noting { rest, outcome } = phase {
            if let Err(error @ CallError::Refused { .. }) = answer {
                let (csr, error) = (self.name.clone(), error.advised(EVENT_RIGHTS_HINT));
                self.tell(Notice::EventRefused { csr, error });
            }
            return self.note_all(rest, outcome);
        }
        let parsed = match (&phase, answer) {
            // What a write answers is not looked at: the watch brings the object.
            (Phase::Writing(_), Ok(_)) => Ok(Value::Null),
            (Phase::Reviewing { .. }, Ok(body)) => parse_as(&SUBJECT_ACCESS_REVIEW, body),
            (_, Ok(body)) => parse_as(&CERTIFICATE_SIGNING_REQUEST, body),
            (_, Err(error)) => Err(error.clone()),
        };
        match (phase, parsed) {
            (Phase::Writing(written), Ok(_)) => self.written(written, core, now),
            (Phase::Reviewing { permission }, Ok(review)) => {
                let allowed = Verdict::of(&review).allowed;
                self.reviews.push(Review {
                    permission,
                    allowed,
                });
                self.phase = Phase::Deciding;
            }
            (Phase::Rereading, Ok(object)) => {
                let mut read = OpenRequest::new(object);
                if let Some(older) = &self.request {
                    read.inherit(older);
                }
                self.request = Some(Arc::new(read));
                self.is_live = true;
                self.reviews.clear();
                self.seen.clear();
                self.phase = Phase::Deciding;
            }
            (Phase::Reviewing { .. } | Phase::Writing(_), Err(error)) if error.code() == 409 => {
                self.meet_newer();
            }
            (_, Err(error)) => self.give_up(&error),
            // An answer that nobody asked for changes nothing.
            (phase, Ok(_)) => self.phase = phase,
        }
    }

    /// Takes in what was seen where [`Step::Look`] asked to look.
    pub fn looked(&mut self, saw: Saw) {
        if let Phase::Looking(look) = std::mem::replace(&mut self.phase, Phase::Ended) {
            self.seen.push((*look, saw));
            self.phase = Phase::Deciding;
        }
    }

    fn written(&mut self, written: Written, core: &Core, now: Now) {
        let Some(request) = self.request.clone() else {
            return self.done(Outcome::Finished);
        };
        let about = About::of(request.csr());
        let latency = now.monotonic.since(self.ready_at);
        match written {
            Written::Approval { rule, event } => {
                if let (Some(state), Some(node)) =
                    (core.serving(), serving::requestor(request.csr()))
                    && event.is_some()
                {
                    state.approved(node, now);
                }
                self.tell(Notice::Approved {
                    about,
                    latency,
                    rule,
                });
                if let Some(event) = event {
                    return self.note(*event, Outcome::Finished);
                }
            }
            Written::Denial {
                rule,
                policy,
                message,
                event,
            } => {
                self.tell(Notice::Judged {
                    about,
                    judgement: Judgement::Denied,
                    policy,
                    rule: Some(rule),
                    message,
                });
                return self.note(*event, Outcome::Finished);
            }
            Written::Failure(failure) => self.tell(Notice::Failed { about, failure }),
            Written::Certificate { leaf, truncated } => {
                let truncation = core.truncation(self.task, truncated);
                if let Some(notice) = &truncation {
                    self.tell(notice.clone());
                }
                self.tell(Notice::Issued {
                    about,
                    latency,
                    leaf,
                    truncated,
                });
                if let Some(event) = truncation.and_then(|notice| event::of_notice(&notice, now)) {
                    return self.note(event, Outcome::Finished);
                }
            }
        }
        self.done(Outcome::Finished);
    }

    /// A write met a newer version of the request.
    fn meet_newer(&mut self) {
        let Some(request) = self.request.as_ref().filter(|_| !self.is_live) else {
            return self.done(Outcome::FAILED);
        };
        let about = About::of(request.csr());
        self.tell(Notice::Conflict { about });
        let path = format!("{CSRS}/{}", segment(&self.name));
        self.call(Call::new(Method::GET, path, None));
        self.phase = Phase::Rereading;
    }

    /// An error that this attempt cannot mend.
    fn give_up(&mut self, error: &CallError) {
        if error.code() == 404 {
            // The request was deleted meanwhile: nothing is left to do.
            return self.done(Outcome::Finished);
        }
        // That the server is away is told once, by the client, not for each request.
        if !matches!(error, CallError::Unreachable(_)) {
            let what = match self.task {
                Task::Approve => "error updating approval for csr",
                Task::Sign(_) => "error updating signature for csr",
            };
            let request = self.request.as_ref();
            let signer = request.map(|request| request.csr().signer_name());
            let rights = match (self.task, signer) {
                (Task::Approve, Some(SignerName::KUBELET_SERVING)) => SERVING_RIGHTS_HINT,
                _ => RIGHTS_HINT,
            };
            let error = format!("{what}: {}", error.advised(rights));
            let csr = self.name.clone();
            self.tell(Notice::SyncFailed { csr, error });
        }
        let at_least = error.retry_after();
        self.done(Outcome::Failed { at_least });
    }

    fn call(&mut self, call: Call) {
        self.steps.push_back(Step::Call(call));
    }

    fn tell(&mut self, notice: Notice) {
        self.steps.push_back(Step::Tell(Box::new(notice)));
    }

    fn done(&mut self, outcome: Outcome) {
        self.steps.push_back(Step::Done(outcome));
    }
}

/// A copy of the object that a server accepts: items of a list do not say what they are.
fn writable(request: &OpenRequest) -> Value {
    let mut object = request.object().clone();
    object["apiVersion"] = json!("certificates.k8s.io/v1");
    object["kind"] = json!("CertificateSigningRequest");
    object
}
