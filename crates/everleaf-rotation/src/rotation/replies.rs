//! Taking in what the server said: to a submission, a wait, and a question about a credential.

use super::trust::REFUSALS_MAX;
use super::verdict::{Verdict, judge};
use super::{Rotation, Step, key_form, refused_names};
use crate::backoff::Schedule;
use crate::effect::{CredentialChoice, Effect};
use crate::event::{
    AwaitOutcome, ConfirmOutcome, ExistingRequest, Refusal, RefusalClass, SubmitOutcome,
};
use crate::notice::{FailedStep, LeafSummary, Notice, RefusedNames};
use crate::store::{PendingRequest, RequestUid};
use crate::time::{Now, whole_seconds};
use everleaf_pki::Chain;
use jiff::Timestamp;
use std::time::Duration;

/// A useless pending key is replaced at most this often.
const REKEY_SPACING: Duration = Duration::from_secs(5 * 60);
/// The longest wait for a certificate that begins in the future, or that `Retry-After` can ask for.
const PATIENCE_MAX: Duration = Duration::from_secs(60 * 60);

impl Rotation {
    pub(super) fn take_submitted(
        &mut self,
        now: Now,
        credential: CredentialChoice,
        outcome: SubmitOutcome,
    ) {
        match outcome {
            SubmitOutcome::Created { uid, .. } => self.take_handle(now, credential, uid, false),
            SubmitOutcome::AlreadyExists(existing) => match unusable(&existing, now.wall) {
                None => self.take_handle(now, credential, existing.uid, true),
                Some(reason) => self.rekey(now, reason),
            },
            SubmitOutcome::Refused(refusal) => self.take_submit_refusal(now, credential, refusal),
        }
    }

    /// The object exists on the server, under this UID.
    fn take_handle(
        &mut self,
        now: Now,
        credential: CredentialChoice,
        uid: RequestUid,
        existed: bool,
    ) {
        self.is_server_healthy = true;
        self.stuck = None;
        self.accepted_as(now, credential);
        let Some(pending) = &mut self.pending else {
            return;
        };
        pending.uid = Some(uid.clone());
        let name = pending.name.clone();
        self.effects
            .push_back(Effect::RecordPending(pending.clone()));
        self.tell(Notice::RequestSubmitted {
            name,
            uid,
            credential,
            existed,
        });
    }

    /// A request authenticated by `credential` was let in.
    pub(super) fn accepted_as(&mut self, now: Now, credential: CredentialChoice) {
        if credential == CredentialChoice::Current && !self.trust.is_confirmed {
            self.trust.confirm();
            if let Some(leaf) = &self.current {
                self.notices.push_back(Notice::Confirmed {
                    leaf: self.summary(leaf),
                });
            }
            self.accept_at = Some(now.monotonic);
        }
    }

    /// Gives up a pending key whose object is of no use, and makes another; not too often.
    fn rekey(&mut self, now: Now, reason: &'static str) {
        if let Some(last) = self.rekeyed_at {
            let until = last + REKEY_SPACING;
            if now.monotonic < until {
                self.retry_at = Some(until);
            }
        }
        self.rekeyed_at = Some(now.monotonic);
        self.discard(now, reason);
    }

    fn take_submit_refusal(&mut self, now: Now, credential: CredentialChoice, refusal: Refusal) {
        self.is_server_healthy = refusal.class.is_server_healthy();
        if self.take_refused_names(now, &refusal) {
            return;
        }
        match refusal.class {
            RefusalClass::Unauthorized => {
                self.take_unauthorized(now, FailedStep::Submit, credential, refusal);
            }
            RefusalClass::UsagesRejected
                if self.has_choice_of_usages() && self.usage_form.switch() =>
            {
                self.attempt = None;
                self.discard(
                    now,
                    "the server wants other usages; asking in the other form",
                );
            }
            RefusalClass::RequestRejected if self.switch_key(&refusal.message) => {
                self.attempt = None;
                self.discard_told(now);
            }
            RefusalClass::Forbidden { .. } => self.take_forbidden(now, credential, refusal),
            RefusalClass::UsagesRejected
            | RefusalClass::RequestRejected
            | RefusalClass::Invalid
            | RefusalClass::NotServed
            | RefusalClass::Other
            | RefusalClass::RateLimited { .. }
            | RefusalClass::Unexpected
            | RefusalClass::Unreachable => self.fail_refused(now, FailedStep::Submit, refusal),
        }
    }

    /// The request was refused, for this reason: whether the next one has another kind of key.
    fn switch_key(&mut self, message: &str) -> bool {
        let Some(pending) = &self.pending else {
            return false;
        };
        let (name, kind) = (pending.name.clone(), *pending.public_key.kind());
        if !self.key_choice.switch(&pending.public_key) {
            return false;
        }
        self.tell(Notice::KeyRefused {
            name,
            kind,
            message: message.to_owned(),
        });
        true
    }

    /// An admission policy may refuse a name before there is an object to decide about.
    fn take_refused_names(&mut self, now: Now, refusal: &Refusal) -> bool {
        let class = &refusal.class;
        if !matches!(
            class,
            RefusalClass::Forbidden { .. } | RefusalClass::Invalid | RefusalClass::RequestRejected
        ) {
            return false;
        }
        let names = self.leave_out(&refusal.message);
        let (RefusedNames::LeftOut(_), Some(pending)) = (&names, &self.pending) else {
            return false;
        };
        self.tell(Notice::RequestDecided {
            name: pending.name.clone(),
            condition: "Refused",
            reason: String::new(),
            message: refusal.message.clone(),
            names,
            wait: Duration::ZERO,
        });
        self.discard_told(now);
        true
    }

    /// 403: the server knows the credential and does not let it ask. Another may be allowed to.
    fn take_forbidden(&mut self, now: Now, credential: CredentialChoice, refusal: Refusal) {
        match self.trust.forbid(credential, &self.candidates()) {
            Some(next) => self.tell(Notice::CredentialForbidden {
                credential,
                message: refusal.message,
                next,
            }),
            None => self.fail_refused(now, FailedStep::Submit, refusal),
        }
    }

    /// 401: the next credential is tried at once; a serving machine has only one.
    fn take_unauthorized(
        &mut self,
        now: Now,
        step: FailedStep,
        credential: CredentialChoice,
        refusal: Refusal,
    ) {
        if !self.config.id.renews_itself() {
            return self.fail_refused(now, step, refusal);
        }
        self.trust.refuse(credential);
        self.tell(Notice::CredentialRefused {
            credential,
            times: 1,
        });
    }

    pub(super) fn take_awaited(
        &mut self,
        now: Now,
        credential: CredentialChoice,
        outcome: AwaitOutcome,
    ) {
        let Some(pending) = self.pending.clone() else {
            return;
        };
        match outcome {
            AwaitOutcome::Issued { chain, server_date } => {
                self.take_issued(now, &pending, chain, server_date.unwrap_or(now.wall));
                self.accepted_as(now, credential);
            }
            AwaitOutcome::Denied { reason, message } => {
                self.take_decision(now, "Denied", reason, message);
            }
            AwaitOutcome::Failed { reason, message } => {
                self.take_decision(now, "Failed", reason, message);
            }
            AwaitOutcome::Unreadable { message } => {
                let reason = "UnreadableCertificate".to_owned();
                self.take_decision(now, "Issued", reason, message);
            }
            AwaitOutcome::Gone => {
                self.tell(Notice::RequestGone {
                    name: pending.name.clone(),
                });
                let message = "the request was deleted or replaced on the server".to_owned();
                self.fail(now, FailedStep::Await, Schedule::Attempt, None, message);
                self.discard_told(now);
            }
            AwaitOutcome::Refused(refusal) => {
                self.is_server_healthy = refusal.class.is_server_healthy();
                if refusal.class == RefusalClass::Unauthorized {
                    self.take_unauthorized(now, FailedStep::Await, credential, refusal);
                } else {
                    self.fail_refused(now, FailedStep::Await, refusal);
                }
            }
            AwaitOutcome::Silent => {
                self.accepted_as(now, credential);
                if self.usage_form.switch() {
                    self.attempt = None;
                    self.discard(
                        now,
                        "nobody said anything to it for 2 minutes, and the server's version is not known; asking once more \
                         with the other usages, since control planes before 1.25 want key encipherment",
                    );
                }
            }
            AwaitOutcome::TimedOut => {
                self.tell(Notice::RequestUndecided {
                    name: pending.name.clone(),
                });
                let message =
                    "nobody approved or denied the request, or nobody signed it".to_owned();
                self.fail(now, FailedStep::Await, Schedule::Attempt, None, message);
            }
        }
    }

    fn take_issued(
        &mut self,
        now: Now,
        pending: &PendingRequest,
        chain: Chain,
        server_date: Timestamp,
    ) {
        let leaf = LeafSummary::of(chain.leaf());
        self.is_server_healthy = true;
        self.tell(Notice::Issued {
            name: pending.name.clone(),
            leaf: leaf.clone(),
            after: now.wall.duration_since(pending.created),
        });
        match judge(pending, chain.leaf(), server_date) {
            Verdict::Install(differences) => {
                for difference in differences {
                    self.tell(Notice::LeafDiffers {
                        leaf: leaf.clone(),
                        difference,
                    });
                }
                self.ask(
                    now,
                    Step::Installing(server_date),
                    Effect::Install { chain },
                );
            }
            Verdict::Reject(reason) => {
                self.tell(Notice::LeafRejected { leaf, reason });
                self.wait_after_decision(now);
                self.discard_told(now);
            }
            Verdict::TooEarly(wait) => {
                let reason = format!(
                    "it begins at {}, after the server's date {}; it is asked for again then",
                    leaf.not_before,
                    whole_seconds(server_date)
                );
                self.tell(Notice::LeafRejected { leaf, reason });
                let wait = wait
                    .saturating_add(Duration::from_secs(1))
                    .min(PATIENCE_MAX);
                self.retry_at = Some(now.monotonic + wait);
            }
        }
    }

    fn take_decision(
        &mut self,
        now: Now,
        condition: &'static str,
        reason: String,
        message: String,
    ) {
        if let Some(pending) = &self.pending {
            let name = pending.name.clone();
            let text = format!("{reason} {message}");
            let names = self.leave_out(&text);
            // A signer that cannot read the key says so in words of its library.
            let is_about_key = condition == "Failed" || key_form::names_key(&text);
            let wait = match names {
                _ if is_about_key && self.switch_key(&message) => Duration::ZERO,
                // At once: each round leaves out one name at least, and the limit on requests
                // holds.
                RefusedNames::LeftOut(_) => Duration::ZERO,
                RefusedNames::All | RefusedNames::Unnamed => self.wait_after_decision(now),
            };
            self.tell(Notice::RequestDecided {
                name,
                condition,
                reason,
                message,
                names,
                wait,
            });
        }
        self.discard_told(now);
    }

    /// Leaves out the names of the pending request that `text` refuses, if others are left.
    fn leave_out(&mut self, text: &str) -> RefusedNames {
        let Some(pending) = &self.pending else {
            return RefusedNames::Unnamed;
        };
        let (names, rest) = refused_names::judge(&pending.template, text);
        if rest.is_some() {
            self.template = rest;
        }
        names
    }

    pub(super) fn wait_after_decision(&mut self, now: Now) -> Duration {
        self.decisions = self.decisions.saturating_add(1);
        let wait = Schedule::Decided.wait(self.decisions, &mut self.jitter);
        self.retry_at = Some(now.monotonic + wait);
        wait
    }

    pub(super) fn take_confirmation(
        &mut self,
        now: Now,
        credential: CredentialChoice,
        outcome: ConfirmOutcome,
    ) {
        let refusal = match outcome {
            ConfirmOutcome::Confirmed { .. } => {
                self.is_server_healthy = true;
                return self.take_confirmed(now, credential);
            }
            ConfirmOutcome::Refused(refusal) => refusal,
        };
        self.is_server_healthy = refusal.class.is_server_healthy();
        if refusal.class != RefusalClass::Unauthorized {
            return self.confirm_later(now, refusal);
        }
        if credential != CredentialChoice::Current {
            self.tell(Notice::CredentialRefused {
                credential,
                times: 1,
            });
            self.trust.refuse(credential);
            return self.trust.refuse(CredentialChoice::Current);
        }
        self.trust.refusals = self.trust.refusals.saturating_add(1);
        let times = self.trust.refusals;
        self.tell(Notice::CredentialRefused { credential, times });
        // Also of what is certainly refused: a new one may have to wait for long, and meanwhile it
        // may be let in again.
        let wait = Schedule::Confirm.wait(times, &mut self.jitter);
        self.trust.confirm_at = now.monotonic + wait;
        if times < REFUSALS_MAX {
            return;
        }
        if self.has_other_accepted() && !self.trust.is_refused(CredentialChoice::LastAccepted) {
            let credential = CredentialChoice::LastAccepted;
            self.ask(
                now,
                Step::Confirming(credential),
                Effect::Confirm { credential },
            );
        } else {
            self.trust.refuse(CredentialChoice::Current);
        }
    }

    fn take_confirmed(&mut self, now: Now, credential: CredentialChoice) {
        self.stuck = None;
        self.failures = 0;
        if credential == CredentialChoice::Current {
            self.accepted_as(now, credential);
        } else {
            // The server knows the earlier credential and refuses the current one: go back to it.
            self.ask(now, Step::Reverting, Effect::Revert);
        }
    }

    fn confirm_later(&mut self, now: Now, refusal: Refusal) {
        self.trust.confirm_failures = self.trust.confirm_failures.saturating_add(1);
        let failures = self.trust.confirm_failures;
        let wait = Schedule::Confirm.wait(failures, &mut self.jitter);
        self.trust.confirm_at = now.monotonic + wait;
        self.tell(Notice::Failed {
            step: FailedStep::Confirm,
            class: Some(refusal.class),
            message: refusal.message,
            failures,
            wait,
        });
    }

    pub(super) fn fail_refused(&mut self, now: Now, step: FailedStep, refusal: Refusal) {
        let (schedule, floor) = match refusal.class {
            RefusalClass::RateLimited { retry_after } => (Schedule::Attempt, retry_after),
            RefusalClass::Forbidden { .. }
            | RefusalClass::NotServed
            | RefusalClass::UsagesRejected => (Schedule::Patient, None),
            RefusalClass::Invalid
            | RefusalClass::RequestRejected
            | RefusalClass::Other
            | RefusalClass::Unauthorized
            | RefusalClass::Unexpected
            | RefusalClass::Unreachable => (Schedule::Attempt, None),
        };
        self.stuck = None;
        let floor = floor.unwrap_or_default().min(PATIENCE_MAX);
        let wait = self.next_wait(schedule).max(floor);
        self.fail_for(now, step, wait, Some(refusal.class), refusal.message);
    }
}

/// Why an object found under our name cannot be taken for our request, if it cannot.
fn unusable(existing: &ExistingRequest, now: Timestamp) -> Option<&'static str> {
    if !existing.has_same_key {
        Some("an object of its name has another key")
    } else if !existing.has_same_subject {
        Some("an object of its name has another subject")
    } else if !existing.has_same_signer {
        Some("an object of its name asks another signer")
    } else if existing.is_refused {
        Some("it was denied or failed before")
    } else if existing
        .certificate_not_after
        .is_some_and(|end| end < existing.server_date.unwrap_or(now))
    {
        Some("its certificate has expired")
    } else {
        None
    }
}
