//! Actions of the cores, performed: reviews, writes, deletions, and what their failure means.
//!
//! A write carries the resource version that was decided on. When it meets a newer one, the request
//! is read again and decided again, once; after that the queue comes back with backoff. Nothing is
//! ever written twice on the strength of one decision.

use crate::approver::{self, Leave, Review};
use crate::builtin::BuiltinSigner;
use crate::client::{ApiError, OBJECT_BYTES_MAX, RIGHTS_HINT, segment};
use crate::index::OpenRequest;
use crate::notice::Notice;
use crate::queue::Outcome;
use crate::record::{LeafFacts, Record};
use crate::signer::{self, Issuance};
use crate::workplace::{Workplace, about};
use everleaf_api::csr::{self, APPROVED, Csr, FAILED};
use everleaf_api::review::Verdict;
use everleaf_pki::ApprovedRequest;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Path of the collection.
pub(crate) const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// What a worker does with a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    Approve,
    Sign(BuiltinSigner),
}

/// A key in a worker's hands.
pub(crate) struct Job<'a> {
    pub(crate) workplace: &'a Workplace,
    pub(crate) task: Task,
    pub(crate) name: &'a str,
    /// When the request became ready to be worked on.
    pub(crate) ready_at: Instant,
}

impl Job<'_> {
    /// Does what is due for the request and says when to come back.
    pub(crate) async fn run(&self) -> Outcome {
        let Some(cached) = self.workplace.open(self.name) else {
            return Outcome::Finished;
        };
        let error = match self.attempt(&cached).await {
            Ok(outcome) => return outcome,
            Err(error) => error,
        };
        if error.code() != 409 {
            return self.give_up(&error);
        }
        self.tell(Notice::Conflict {
            about: about(cached.csr()),
        });
        let live = match self.read_live().await {
            Ok(live) => OpenRequest::new(live),
            Err(error) => return self.give_up(&error),
        };
        match self.attempt(&live).await {
            Ok(outcome) => outcome,
            Err(error) if error.code() == 409 => Outcome::FAILED,
            Err(error) => self.give_up(&error),
        }
    }

    async fn attempt(&self, request: &OpenRequest) -> Result<Outcome, ApiError> {
        match self.task {
            Task::Approve => self.approve(request).await,
            Task::Sign(signer) => self.sign(request, signer).await,
        }
    }

    async fn approve(&self, request: &OpenRequest) -> Result<Outcome, ApiError> {
        let about = about(request.csr());
        let hold = self.workplace.hold(request);
        let mut reviews: Vec<Review> = Vec::new();
        // Ends: each turn either returns or answers one more recognizer's question.
        loop {
            match approver::decide(request, &reviews, hold) {
                approver::Action::Review { permission } => {
                    let allowed = self.review(request.csr(), permission).await?;
                    reviews.push(Review {
                        permission,
                        allowed,
                    });
                }
                approver::Action::Approve {
                    reason,
                    message,
                    rule,
                } => {
                    let mut object = writable(request);
                    csr::push_condition(&mut object, APPROVED, reason, message, None);
                    self.write("approval", &object).await?;
                    self.tell(Notice::Approved {
                        about,
                        latency: self.ready_at.elapsed(),
                        rule,
                    });
                    return Ok(Outcome::Finished);
                }
                approver::Action::Hold(delay) => {
                    let subject = request.request().map(|request| request.subject());
                    let common_name = subject.map(|subject| subject.common_name.clone());
                    let common_name = common_name.unwrap_or_default();
                    self.tell(Notice::Held {
                        about,
                        common_name,
                        delay,
                    });
                    return Ok(Outcome::After(delay));
                }
                approver::Action::Leave(leave) => {
                    let outcome = match leave {
                        Leave::NotPermitted => Outcome::FAILED,
                        _ => Outcome::Finished,
                    };
                    let permissions = approver::permissions_text(&reviews);
                    let notice = match leave {
                        Leave::Decided => return Ok(outcome),
                        Leave::NotPermitted => Notice::NotPermitted { about, permissions },
                        Leave::Unreadable(error) => Notice::Unfit {
                            about,
                            rule: "unreadable",
                            error,
                        },
                        Leave::Unrecognized(why) => Notice::Unrecognized { about, why },
                        Leave::WeakKey(error) => Notice::Unfit {
                            about,
                            rule: "weak_key",
                            error,
                        },
                    };
                    self.tell(notice);
                    return Ok(outcome);
                }
            }
        }
    }

    async fn sign(
        &self,
        request: &OpenRequest,
        signer: BuiltinSigner,
    ) -> Result<Outcome, ApiError> {
        match signer::decide(request, signer) {
            signer::Action::Leave => Ok(Outcome::Finished),
            signer::Action::Fail { reason, message } => self.fail(request, reason, message).await,
            signer::Action::Sign(approved) => self.issue(request, signer, &approved).await,
        }
    }

    async fn issue(
        &self,
        request: &OpenRequest,
        signer: BuiltinSigner,
        approved: &ApprovedRequest,
    ) -> Result<Outcome, ApiError> {
        let Some(issuer) = self.workplace.issuer(signer) else {
            return Ok(Outcome::Finished);
        };
        let about = about(request.csr());
        let unavailable = |error| {
            self.tell(Notice::SignerUnavailable {
                about: about.clone(),
                error,
            });
            Ok(Outcome::FAILED)
        };
        let serial = match (self.workplace.serials)() {
            Ok(serial) => serial,
            Err(error) => return unavailable(error),
        };
        let duration = self.workplace.signing_duration;
        self.tell(Notice::Signing {
            about: about.clone(),
            common_name: approved.request().subject().common_name.clone(),
            duration: everleaf_pki::signer::granted_duration(
                duration,
                approved.expiration_seconds(),
            ),
        });
        let now = self.workplace.now();
        match signer::issue(&issuer.current(), approved, duration, serial, now) {
            Issuance::Failed { reason, message } => self.fail(request, reason, message).await,
            Issuance::Unavailable(error) => unavailable(error),
            Issuance::Issued(issued) => {
                let mut object = writable(request);
                csr::set_certificate(&mut object, &issued.chain.to_pem());
                self.write("status", &object).await?;
                if issued.truncated {
                    self.workplace
                        .tell_truncated(signer, issued.chain.leaf().not_after());
                }
                self.tell(Notice::Issued {
                    about,
                    latency: self.ready_at.elapsed(),
                    leaf: LeafFacts::of(issued.chain.leaf()),
                    truncated: issued.truncated,
                });
                Ok(Outcome::Finished)
            }
        }
    }

    async fn fail(
        &self,
        request: &OpenRequest,
        reason: &'static str,
        message: String,
    ) -> Result<Outcome, ApiError> {
        let mut object = writable(request);
        let now = Some(self.workplace.now());
        csr::push_condition(&mut object, FAILED, reason, &message, now);
        self.write("status", &object).await?;
        self.tell(Notice::Failed {
            about: about(request.csr()),
            reason,
            message,
        });
        Ok(Outcome::Finished)
    }

    /// Asks the API server whether the requestor may create `permission`.
    async fn review(&self, csr: Csr<'_>, permission: &str) -> Result<bool, ApiError> {
        let body = approver::review_body(csr, permission);
        let api = &self.workplace.api;
        let answer = api
            .call(Method::POST, REVIEWS, Some(&body), OBJECT_BYTES_MAX)
            .await?;
        Ok(Verdict::of(&parse(&answer)?).allowed)
    }

    async fn write(&self, subresource: &str, object: &Value) -> Result<(), ApiError> {
        let path = format!("{CSRS}/{}/{subresource}", segment(self.name));
        self.workplace
            .api
            .call(Method::PUT, &path, Some(object), OBJECT_BYTES_MAX)
            .await?;
        Ok(())
    }

    async fn read_live(&self) -> Result<Value, ApiError> {
        let path = format!("{CSRS}/{}", segment(self.name));
        parse(
            &self
                .workplace
                .api
                .call(Method::GET, &path, None, OBJECT_BYTES_MAX)
                .await?,
        )
    }

    /// An error that this attempt cannot mend.
    fn give_up(&self, error: &ApiError) -> Outcome {
        if error.code() == 404 {
            // The request was deleted meanwhile: nothing is left to do.
            return Outcome::Finished;
        }
        // That the server is away is told once, by the client, not for each request.
        if !matches!(error, ApiError::Unreachable(_)) {
            let what = match self.task {
                Task::Approve => "error updating approval for csr",
                Task::Sign(_) => "error updating signature for csr",
            };
            let hint = match error.code() {
                403 => RIGHTS_HINT,
                _ => "",
            };
            let error = format!("{what}: {error}{hint}");
            self.tell(Notice::SyncFailed {
                csr: self.name.to_owned(),
                error,
            });
        }
        Outcome::Failed {
            at_least: error.retry_after(),
        }
    }

    fn tell(&self, notice: Notice) {
        self.workplace.telemetry.tell(&notice);
    }
}

/// Deletes a request if it is still the one that was judged. `Ok(false)`: it changed or is gone.
pub(crate) async fn delete(workplace: &Workplace, record: &Record) -> Result<bool, ApiError> {
    let path = format!("{CSRS}/{}", segment(&record.name));
    let options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": { "uid": record.uid, "resourceVersion": record.resource_version },
    });
    let api = &workplace.api;
    match api
        .call(Method::DELETE, &path, Some(&options), OBJECT_BYTES_MAX)
        .await
    {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.code(), 404 | 409) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Parses an answer that must be JSON.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::Malformed(format!("the answer is not JSON: {error}")))
}

/// A copy of the object that a server accepts: items of a list do not say what they are.
fn writable(request: &OpenRequest) -> Value {
    let mut object = request.object().clone();
    object["apiVersion"] = json!("certificates.k8s.io/v1");
    object["kind"] = json!("CertificateSigningRequest");
    object
}

/// Works on keys of one queue until told to stop; finishes the key in hand first.
pub(crate) async fn work(
    workplace: Arc<Workplace>,
    task: Task,
    mut stop: tokio::sync::watch::Receiver<bool>,
) {
    let queue = match task {
        Task::Approve => &workplace.approvals,
        Task::Sign(signer) => match workplace.signing.get(&signer) {
            Some(queue) => queue,
            None => return,
        },
    };
    loop {
        let (name, waited) = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            next = workplace.next(queue) => next,
        };
        let begun = Instant::now();
        let ready_at = begun.checked_sub(waited).unwrap_or(begun);
        let job = Job {
            workplace: &workplace,
            task,
            name: &name,
            ready_at,
        };
        let outcome = job.run().await;
        workplace.done(queue, &name, outcome, begun.elapsed());
    }
}

/// Upper bound for finishing the keys in hand when stopping.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(5);
