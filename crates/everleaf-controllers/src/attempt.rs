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
//!     ▲      ├─▶ Announced ─▶ Writing ─▶ Done
//!     │      └─ nothing to write ──────▶ Done
//!     └───── Rereading ◀─ 409, once
//! ```

use crate::approver::{self, Facts, Leave, Review};
use crate::builtin::BuiltinSigner;
use crate::call::{Answer, CSRS, Call, CallError, RIGHTS_HINT, parse, segment};
use crate::core::Core;
use crate::index::OpenRequest;
use crate::notice::{About, Notice};
use crate::queue::Outcome;
use crate::record::LeafFacts;
use crate::signer::{self, Failure, Issuance};
use everleaf_api::csr::{self, APPROVED, FAILED};
use everleaf_api::review::Verdict;
use everleaf_pki::ApprovedRequest;
use everleaf_time::{Monotonic, Now};
use http::Method;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

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
    Approval { rule: String },
    Certificate { leaf: LeafFacts, truncated: bool },
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
        let facts = Facts {
            hold: core.hold(request, now),
            reviews: &self.reviews,
        };
        let about = About::of(request.csr());
        match approver::decide(request, &facts, core.policy()).action {
            approver::Action::Review { permission } => {
                let body = approver::review_body(request.csr(), &permission);
                self.call(Call::new(Method::POST, REVIEWS, Some(body)));
                self.phase = Phase::Reviewing { permission };
            }
            approver::Action::Approve { message, rule } => {
                let mut object = writable(request);
                csr::push_condition(&mut object, APPROVED, approver::REASON, &message, None);
                self.write("approval", object, Written::Approval { rule });
            }
            approver::Action::Hold(delay) => {
                core.begin_hold(request, delay, now);
                let subject = request.request().map(|request| request.subject());
                let common_name = subject.map(|subject| subject.common_name.clone());
                self.tell(Notice::Held {
                    about,
                    common_name: common_name.unwrap_or_default(),
                    delay,
                });
                self.done(Outcome::After(delay));
            }
            approver::Action::Leave(leave) => self.leave(about, leave),
        }
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

    fn sign(&mut self, request: &OpenRequest, signer: BuiltinSigner, core: &Core, now: Now) {
        match signer::decide(request, signer) {
            signer::Action::Leave => self.done(Outcome::Finished),
            signer::Action::Fail(failure) => self.fail(request, failure, now),
            signer::Action::Sign(_) if core.issuer(signer).is_none() => {
                self.done(Outcome::Finished);
            }
            signer::Action::Sign(approved) => {
                self.tell(Notice::Signing {
                    about: About::of(request.csr()),
                    common_name: approved.request().subject().common_name.clone(),
                    duration: everleaf_pki::signer::granted_duration(
                        core.signing_duration(),
                        approved.expiration_seconds(),
                    ),
                });
                self.phase = Phase::Announced(approved);
            }
        }
    }

    fn issue(
        &mut self,
        request: &OpenRequest,
        signer: BuiltinSigner,
        approved: &ApprovedRequest,
        core: &Core,
        now: Now,
    ) {
        match core.issue(signer, approved, now) {
            Issuance::Failed(failure) => self.fail(request, failure, now),
            Issuance::Unavailable(error) => {
                let about = About::of(request.csr());
                self.tell(Notice::SignerUnavailable { about, error });
                self.done(Outcome::FAILED);
            }
            Issuance::Issued(issued) => {
                let mut object = writable(request);
                csr::set_certificate(&mut object, &issued.chain.to_pem());
                let written = Written::Certificate {
                    leaf: LeafFacts::of(issued.chain.leaf()),
                    truncated: issued.truncated,
                };
                self.write("status", object, written);
            }
        }
    }

    fn fail(&mut self, request: &OpenRequest, failure: Failure, now: Now) {
        let mut object = writable(request);
        let (reason, message) = (failure.reason(), failure.to_string());
        csr::push_condition(&mut object, FAILED, reason, &message, Some(now.wall));
        self.write("status", object, Written::Failure(failure));
    }

    fn write(&mut self, subresource: &str, object: Value, written: Written) {
        let path = format!("{CSRS}/{}/{subresource}", segment(&self.name));
        self.call(Call::new(Method::PUT, path, Some(object)));
        self.phase = Phase::Writing(written);
    }

    /// Takes in the answer to the call that was asked for.
    pub fn answer(&mut self, answer: &Answer, core: &Core, now: Now) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        let parsed = match (&phase, answer) {
            // What a write answers is not looked at: the watch brings the object.
            (Phase::Writing(_), Ok(_)) => Ok(Value::Null),
            (_, Ok(body)) => parse(body),
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
                self.request = Some(Arc::new(OpenRequest::new(object)));
                self.is_live = true;
                self.reviews.clear();
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

    fn written(&mut self, written: Written, core: &Core, now: Now) {
        let Some(request) = self.request.clone() else {
            return self.done(Outcome::Finished);
        };
        let about = About::of(request.csr());
        let latency = now.monotonic.since(self.ready_at);
        match written {
            Written::Approval { rule } => self.tell(Notice::Approved {
                about,
                latency,
                rule,
            }),
            Written::Failure(failure) => self.tell(Notice::Failed { about, failure }),
            Written::Certificate { leaf, truncated } => {
                if let (true, Task::Sign(signer)) = (truncated, self.task)
                    && core.is_first_truncated(signer, leaf.not_after)
                {
                    let not_after = leaf.not_after;
                    self.tell(Notice::Truncated { signer, not_after });
                }
                self.tell(Notice::Issued {
                    about,
                    latency,
                    leaf,
                    truncated,
                });
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
            let error = format!("{what}: {}", error.advised(RIGHTS_HINT));
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
