//! Taking in events: each changes what is known, none decides what comes next.
//! What the server said is taken in by `replies`.

use super::spacing::Born;
use super::{Rotation, Step, TEMPLATE_DEBOUNCE};
use crate::backoff::Schedule;
use crate::event::{Event, Loaded, RefusalClass, Sources};
use crate::notice::{FailedStep, LeafSummary, Notice};
use crate::standing::Standing;
use crate::store::{RequestName, StoreError};
use crate::time::Now;
use everleaf_pki::{Leaf, Template};
use jiff::Timestamp;
use std::time::Duration;

/// Two clocks that differ by less agree: a leaf that is due at birth is simply short.
const SKEW_MIN: Duration = Duration::from_secs(60);
/// Doubts of the embedder about the current credential are looked into at most this often.
const DOUBT_SPACING: Duration = Duration::from_secs(10);

impl Rotation {
    pub(super) fn take_in(&mut self, now: Now, event: Event) {
        match event {
            Event::ClockStepped => self.must_load = true,
            Event::CredentialRefused => self.doubt(now),
            Event::RenewalWanted(early) => self.early = early,
            Event::SourcesChanged(sources) => self.take_sources(sources),
            Event::TemplateChanged(template) => self.take_template(now, template),
            Event::Accepted { .. }
            | Event::Awaited { .. }
            | Event::ConfirmAnswered { .. }
            | Event::Discarded
            | Event::Installed { .. }
            | Event::Loaded(_)
            | Event::Prepared(_)
            | Event::Reverted { .. }
            | Event::StoreFailed(_)
            | Event::Submitted { .. }
            | Event::VersionAnswered { .. } => self.take_answer(now, event),
        }
    }

    /// An answer counts when it is the one expected. A late one is ignored; if it says that the
    /// store was changed, the store is read again.
    fn take_answer(&mut self, now: Now, event: Event) {
        match (self.step, event) {
            (Step::Accepting, Event::Accepted { deleted }) => self.take_accepted(deleted),
            (Step::AskingVersion, Event::VersionAnswered { minor }) => {
                self.step = Step::Idle;
                self.usage_form.learn(minor);
            }
            (Step::Awaiting(credential), Event::Awaited { name, outcome })
                if self.is_pending(&name) =>
            {
                self.step = Step::Idle;
                self.take_awaited(now, credential, outcome);
            }
            (
                Step::Confirming(asked),
                Event::ConfirmAnswered {
                    credential,
                    outcome,
                },
            ) if asked == credential => {
                self.step = Step::Idle;
                self.take_confirmation(now, credential, outcome);
            }
            (Step::Discarding, Event::Discarded) => {
                self.step = Step::Idle;
                self.pending = None;
                self.age_pending(now);
            }
            (Step::Installing(server_date), Event::Installed { leaf }) => {
                self.step = Step::Idle;
                self.take_installed(now, Some(server_date), leaf);
            }
            (Step::Loading, Event::Loaded(loaded)) => {
                self.step = Step::Idle;
                self.take_loaded(now, loaded);
            }
            (Step::Preparing, Event::Prepared(pending)) => {
                self.step = Step::Idle;
                self.spacing.prepared(now.monotonic);
                self.tell(Notice::RequestPrepared {
                    name: pending.name.clone(),
                });
                self.pending = Some(pending);
                self.age_pending(now);
            }
            (Step::Reverting, Event::Reverted { leaf }) => {
                self.step = Step::Idle;
                self.take_reverted(now, leaf);
            }
            (Step::Submitting(credential), Event::Submitted { name, outcome })
                if self.is_pending(&name) =>
            {
                self.step = Step::Idle;
                self.take_submitted(now, credential, outcome);
            }
            (_, Event::StoreFailed(error)) => self.take_store_failure(now, &error),
            (_, Event::Installed { .. } | Event::Prepared(_) | Event::Reverted { .. }) => {
                self.must_load = true;
            }
            _ => {}
        }
    }

    fn is_pending(&self, name: &RequestName) -> bool {
        self.pending
            .as_ref()
            .is_some_and(|pending| pending.name == *name)
    }

    fn take_sources(&mut self, sources: Sources) {
        if self.sources == sources {
            return;
        }
        let was = std::mem::replace(&mut self.sources, sources);
        self.trust.sources_changed();
        // Somebody has put another credential there, perhaps because of the failure.
        let is_replaced =
            was.kubeconfig != sources.kubeconfig || was.bootstrap != sources.bootstrap;
        let is_waiting = self.stuck.is_some() || (is_replaced && self.retry_at.is_some());
        if is_waiting && self.step == Step::Idle {
            self.end_back_off();
        }
    }

    fn take_template(&mut self, now: Now, template: Option<Template>) {
        if self.wished == template {
            return;
        }
        let was_known = self.template.is_some();
        // Whoever refused a name is asked again when the node has other names.
        self.wished.clone_from(&template);
        self.template = template;
        self.settle_template(now, was_known);
    }

    fn doubt(&mut self, now: Now) {
        if self.trust.is_confirmed {
            self.trust.is_confirmed = false;
            self.trust.confirm_at = now.monotonic + DOUBT_SPACING;
        }
    }

    fn take_loaded(&mut self, now: Now, loaded: Loaded) {
        for finding in loaded.findings {
            self.tell(Notice::StoreRecovered(finding));
        }
        let is_first = !std::mem::replace(&mut self.was_loaded, true);
        if is_first {
            self.template_due_by = now.monotonic + TEMPLATE_DEBOUNCE;
        }
        self.take_sources(loaded.sources);
        self.pending = loaded.pending;
        self.age_pending(now);
        self.last_accepted = loaded.last_accepted;
        let seen = loaded.current.as_ref().map(Leaf::fingerprint);
        let is_other = seen != self.current.as_ref().map(Leaf::fingerprint);
        let replaced = std::mem::replace(&mut self.current, loaded.current);
        self.is_first = loaded.is_first;
        if is_first || is_other {
            self.trust.renew(now.monotonic);
            self.spacing.forget();
            self.accept_at = None;
            self.tell(Notice::Loaded {
                standing: self.standing(now.wall),
                leaf: self.current.as_ref().map(|leaf| self.summary(leaf)),
                pending: self.pending.as_ref().map(|pending| pending.name.clone()),
            });
        }
        match (self.current.clone(), &self.pending) {
            // An install that was carried out, and whose answer was lost.
            (Some(leaf), Some(pending)) if is_other && *leaf.public_key() == pending.public_key => {
                self.current = replaced;
                self.take_installed(now, None, leaf);
            }
            (_, Some(pending)) if is_first => {
                let name = pending.name.clone();
                if pending.usages != *self.usages() {
                    // A second request in the other form, from before a restart.
                    self.usage_form.switch();
                }
                self.tell(Notice::RequestResumed { name });
            }
            _ => {}
        }
        self.must_load = false;
        self.is_fresh = true;
    }

    fn take_accepted(&mut self, deleted: usize) {
        self.step = Step::Idle;
        self.last_accepted = self.current.clone();
        if deleted > 0 {
            self.tell(Notice::Pruned { deleted });
        }
    }

    fn take_installed(&mut self, now: Now, server_date: Option<Timestamp>, leaf: Leaf) {
        let usual = LeafSummary::of(&leaf);
        let replaced = self.current.as_ref().map(|old| {
            (
                LeafSummary::of(old),
                now.wall.duration_since(old.not_before()),
            )
        });
        self.is_first = self.current.is_none();
        self.current = Some(leaf.clone());
        self.trust.renew(now.monotonic);
        self.failures = 0;
        self.decisions = 0;
        self.stuck_rounds = 0;
        self.stuck = None;
        self.rekeyed_at = None;
        self.usage_form.settle();
        self.key_choice.settle();
        self.tell(Notice::Installed {
            replaced,
            leaf: self.summary(&leaf),
        });
        // Whether a clock is wrong shows by the usual rule, whatever is wanted of this certificate.
        let standing = Standing::of(Some(&leaf), now.wall);
        let seen_from = server_date.unwrap_or(leaf.not_before());
        let life = Duration::try_from(leaf.not_after().duration_since(seen_from));
        let born = Born {
            server: seen_from,
            life: life.unwrap_or(Duration::ZERO),
            standing,
            due_in: usual.deadline.duration_since(now.wall),
            lacks_wanted: self.lacks_wanted(),
        };
        let wait = self.spacing.installed(now.monotonic, born);
        let skewed_from = server_date
            .filter(|server| now.wall.duration_since(*server).unsigned_abs() > SKEW_MIN)
            .filter(|_| standing != Standing::Fresh);
        if let Some(server) = skewed_from {
            let node = now.wall;
            self.tell(Notice::ClockSkew {
                node,
                server,
                leaf: usual,
                wait,
            });
        }
        if standing == Standing::NotYetValid && skewed_from.is_some() {
            self.told.not_yet_valid = Some(leaf.fingerprint());
        }
        // Nobody can tell whether peers accept a serving certificate; its signer vouches for it.
        self.accept_at = (!self.config.id.renews_itself()).then_some(now.monotonic);
    }

    fn take_reverted(&mut self, now: Now, leaf: Leaf) {
        self.is_first = false;
        self.tell(Notice::Reverted {
            leaf: self.summary(&leaf),
        });
        self.current = Some(leaf.clone());
        self.last_accepted = Some(leaf);
        self.spacing.forget();
        self.trust.renew(now.monotonic);
        self.trust.confirm();
        // What the signer gave was refused; asking again at once would bring the same.
        self.wait_after_decision(now);
    }

    fn take_store_failure(&mut self, now: Now, error: &StoreError) {
        let step = match self.step {
            Step::Accepting | Step::Discarding | Step::Reverting => FailedStep::Store,
            Step::Installing(_) => FailedStep::Install,
            Step::Loading => FailedStep::Load,
            Step::Preparing => FailedStep::Prepare,
            Step::AskingVersion
            | Step::Awaiting(_)
            | Step::Confirming(_)
            | Step::Idle
            | Step::Submitting(_) => return,
        };
        if self.step == Step::Accepting {
            let wait = Schedule::Patient.ceiling();
            self.accept_at = Some(now.monotonic + wait);
        }
        self.step = Step::Idle;
        self.must_load |= step == FailedStep::Store || step == FailedStep::Install;
        self.fail(now, step, Schedule::Attempt, None, chain_text(error));
    }

    /// An attempt failed: tells it, and closes the gate for a while.
    pub(super) fn fail(
        &mut self,
        now: Now,
        step: FailedStep,
        schedule: Schedule,
        class: Option<RefusalClass>,
        message: String,
    ) {
        let wait = self.next_wait(schedule);
        self.fail_for(now, step, wait, class, message);
    }

    /// How long one failure more closes the gate.
    pub(super) fn next_wait(&mut self, schedule: Schedule) -> Duration {
        schedule.wait(self.failures.saturating_add(1), &mut self.jitter)
    }

    /// As [`fail`](Self::fail), with a wait that is known.
    pub(super) fn fail_for(
        &mut self,
        now: Now,
        step: FailedStep,
        wait: Duration,
        class: Option<RefusalClass>,
        message: String,
    ) {
        self.failures = self.failures.saturating_add(1);
        let failures = self.failures;
        self.retry_at = Some(now.monotonic + wait);
        self.tell(Notice::Failed {
            step,
            class,
            message,
            failures,
            wait,
        });
    }
}

/// An error and all its sources, in one line.
fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
