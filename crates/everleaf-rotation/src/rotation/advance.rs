//! One turn of the machine: look at the clock, ask what comes first, ask for it.

use super::spacing::Gate;
use super::trust::{Holder, candidates};
use super::{
    AWAIT_MAX, LAST_LOOK_MAX, PENDING_AGE_MAX, Rotation, SILENCE_MAX, Step, TEMPLATE_DEBOUNCE,
};
use crate::backoff::Schedule;
use crate::effect::{CredentialChoice, Effect, Order};
use crate::notice::{Block, Cause, FailedStep, Notice, StuckReason};
use crate::standing::Standing;
use crate::startup::{FirstStep, PendingState, Situation, first_step};
use crate::time::{Now, Wake};
use everleaf_pki::{Leaf, Template, Usage};
use jiff::Timestamp;
use std::time::Duration;

/// How long an answer may take, beyond what the effect itself may take.
const ANSWER_MAX: Duration = Duration::from_secs(2 * 60);
/// Below this lifetime the back-dating of signers leaves hardly any time to renew.
const LIFETIME_SHORT_SECONDS: i64 = 10 * 60;

impl Rotation {
    /// Notices a step of the wall clock since the last turn: it means only "compute again".
    pub(super) fn observe_clock(&mut self, now: Now) {
        let Some(by) = self.clock_steps.observe(now) else {
            return;
        };
        self.tell(Notice::ClockStepped { by, now: now.wall });
        self.spacing
            .clock_stepped(Standing::of(self.current.as_ref(), now.wall));
        self.must_load = true;
    }

    /// Gives up an answer that does not come.
    pub(super) fn give_up_overdue(&mut self, now: Now) {
        if self.step == Step::Idle || now.monotonic < self.answer_by {
            return;
        }
        let step = match self.step {
            Step::AskingVersion => FailedStep::Submit,
            Step::Awaiting(_) => {
                self.effects.push_back(Effect::CancelAwait);
                FailedStep::Await
            }
            Step::Confirming(_) => FailedStep::Confirm,
            Step::Installing(_) => FailedStep::Install,
            Step::Loading => FailedStep::Load,
            Step::Preparing => FailedStep::Prepare,
            Step::Submitting(_) => FailedStep::Submit,
            Step::Accepting | Step::Discarding | Step::Reverting | Step::Idle => FailedStep::Store,
        };
        self.step = Step::Idle;
        self.must_load = true;
        self.fail(
            now,
            step,
            Schedule::Attempt,
            None,
            "no answer came".to_owned(),
        );
    }

    /// Asks for what comes first, if nothing is outstanding and no gate is closed.
    pub(super) fn advance(&mut self, now: Now) {
        self.publish();
        if self.step != Step::Idle {
            return self.wait_for_answer(now);
        }
        if let Some(retry_at) = self.retry_at {
            if now.monotonic < retry_at {
                return self.sleep_until(retry_at);
            }
            self.end_back_off();
        }
        if self.look_again_at.is_some_and(|at| at <= now.monotonic) {
            self.look_again_at = None;
            self.must_load = true;
        }
        if self.must_load {
            return self.ask(now, Step::Loading, Effect::Load);
        }
        if self.accept_at.is_some_and(|at| at <= now.monotonic) {
            self.accept_at = None;
            return self.ask(now, Step::Accepting, Effect::Accept);
        }
        let step = first_step(&self.situation(now));
        self.carry_on(now, step);
    }

    fn carry_on(&mut self, now: Now, step: FirstStep) {
        if let FirstStep::Wait = step {
            return self.rest(now, None);
        }
        if let FirstStep::Block(block) = step {
            return self.rest(now, Some((block, None)));
        }
        if let FirstStep::Prepare(cause) = step
            && let Some(gate) = self.gate(now, cause)
        {
            return self.rest_at_gate(now, gate);
        }
        if !self.is_fresh {
            return self.ask(now, Step::Loading, Effect::Load);
        }
        self.unblock();
        self.tell_holder();
        if let Some(credential) = self.must_ask_version(&step) {
            return self.ask(now, Step::AskingVersion, Effect::AskVersion { credential });
        }
        match step {
            FirstStep::Await(credential) => self.await_verdict(now, credential),
            FirstStep::Discard(reason) => self.discard(now, reason),
            FirstStep::Prepare(cause) => self.prepare(now, cause),
            FirstStep::Stuck(reason) => self.be_stuck(now, reason),
            FirstStep::Submit(credential) => self.submit(now, credential),
            FirstStep::Block(_) | FirstStep::Wait => {}
        }
    }

    /// Before a request is made, sent or awaited, where the server's version decides how it has to
    /// look.
    fn must_ask_version(&self, step: &FirstStep) -> Option<CredentialChoice> {
        let is_about_request = matches!(
            step,
            FirstStep::Prepare(_) | FirstStep::Submit(_) | FirstStep::Await(_)
        );
        if !is_about_request || !self.has_choice_of_usages() || !self.usage_form.is_unasked() {
            return None;
        }
        self.trust.best(&self.candidates())
    }

    pub(super) fn has_choice_of_usages(&self) -> bool {
        !self.config.usages_long.is_empty()
    }

    /// The form to ask in now.
    pub(super) fn usages(&self) -> &Vec<Usage> {
        let was_long = |leaf: &Leaf| leaf.allows_key_encipherment();
        let last_was_long = self.current.as_ref().is_some_and(was_long);
        if self.has_choice_of_usages() && self.usage_form.is_long(last_was_long) {
            &self.config.usages_long
        } else {
            &self.config.usages
        }
    }

    pub(super) fn situation(&self, now: Now) -> Situation {
        let candidates = self.candidates();
        Situation {
            renewed_by: self.config.id.renewed_by(),
            standing: match self.standing(now.wall) {
                Standing::Due if !self.config.renews => Standing::Fresh,
                standing => standing,
            },
            lacks_wanted: self.lacks_wanted(),
            is_early: self.early().is_some_and(|at| at <= now.wall),
            is_refused: self.config.id.renews_itself()
                && self.trust.is_refused(CredentialChoice::Current),
            has_template: self.wanted(now.wall).is_some(),
            pending: self.pending_state(now),
            credential: self.trust.best(&candidates),
            any_credential: !candidates.is_empty(),
        }
    }

    pub(super) fn candidates(&self) -> Vec<CredentialChoice> {
        let other_accepted = self
            .last_accepted
            .as_ref()
            .filter(|_| self.has_other_accepted());
        candidates(
            self.config.id.renewed_by(),
            self.holder_of(self.current.as_ref()),
            self.holder_of(other_accepted),
            self.sources,
        )
    }

    fn holder_of(&self, leaf: Option<&Leaf>) -> Holder {
        Holder::of(leaf, self.template.as_ref())
    }

    /// Whether there is a last accepted credential besides the current one.
    pub(super) fn has_other_accepted(&self) -> bool {
        let fingerprint = |leaf: &Option<Leaf>| leaf.as_ref().map(Leaf::fingerprint);
        self.last_accepted.is_some()
            && fingerprint(&self.last_accepted) != fingerprint(&self.current)
    }

    pub(super) fn lacks_wanted(&self) -> bool {
        self.lack().is_some()
    }

    /// What the current leaf lacks of what is wanted.
    fn lack(&self) -> Option<String> {
        let (leaf, template) = (self.current.as_ref()?, self.template.as_ref()?);
        leaf.satisfies(template).err()
    }

    /// What to ask for. When nothing is known and the certificate nears its end, what it says
    /// already.
    fn wanted(&self, now: Timestamp) -> Option<Template> {
        self.template.clone().or_else(|| {
            let leaf = self.current.as_ref()?;
            let used = now.duration_since(leaf.not_before()).as_secs();
            let is_late = i128::from(used) * 5 >= i128::from(leaf.lifetime().seconds) * 4;
            is_late.then(|| Template {
                subject: leaf.subject().clone(),
                dns_names: leaf.dns_names().to_vec(),
                ip_addresses: leaf.ip_addresses().to_vec(),
                uris: leaf.uris().to_vec(),
            })
        })
    }

    fn pending_state(&self, now: Now) -> PendingState {
        let Some(pending) = &self.pending else {
            return PendingState::Absent;
        };
        if self
            .current
            .as_ref()
            .is_some_and(|leaf| leaf.public_key() == &pending.public_key)
        {
            return PendingState::Installed;
        }
        if pending.signer_name != self.config.signer_name {
            return PendingState::Outdated("it asks another signer");
        }
        if pending.expiration_seconds != self.config.expiration_seconds {
            return PendingState::Outdated("it asks for another duration");
        }
        if pending.usages != self.config.usages && pending.usages != self.config.usages_long {
            return PendingState::Outdated("it asks for other usages");
        }
        if self.template_changed_for(&pending.template) && now.monotonic >= self.template_settles_at
        {
            return PendingState::Outdated("what is wanted has changed");
        }
        if self
            .pending_ends
            .as_ref()
            .is_some_and(|(_, end)| now.monotonic >= *end)
        {
            return PendingState::Outdated("it is older than 24 hours");
        }
        if pending.uid.is_some() {
            PendingState::Submitted
        } else if !self.usage_form.is_unasked() && pending.usages != *self.usages() {
            PendingState::Outdated("the server wants the other form of usages")
        } else {
            PendingState::Prepared
        }
    }

    fn template_changed_for(&self, asked: &Template) -> bool {
        self.template.as_ref().is_some_and(|wanted| wanted != asked)
    }

    /// Why a new request must wait, if it must: spacing, limit, or a template that has not settled.
    fn gate(&mut self, now: Now, cause: Cause) -> Option<Gate> {
        if now.monotonic < self.template_settles_at {
            return Some(Gate::Spaced(self.template_settles_at));
        }
        // A request for what the certificate says would be given up a moment later, perhaps while
        // a person approves it, if the node's addresses are others by then.
        if self.template.is_none() && now.monotonic < self.template_due_by {
            return Some(Gate::Spaced(self.template_due_by));
        }
        let lifetime = self.current.as_ref().map(|leaf| {
            Duration::from_secs(u64::try_from(leaf.lifetime().seconds / 2).unwrap_or(0))
        });
        self.spacing.gate(now.monotonic, cause, lifetime)
    }

    fn rest_at_gate(&mut self, now: Now, gate: Gate) {
        let (until, block) = match gate {
            Gate::Spaced(until) => (until, None),
            Gate::Limited(until) => (
                until,
                Some((Block::TooManyRequests, Some(until.since(now.monotonic)))),
            ),
        };
        self.rest(now, block);
        if self.step == Step::Idle {
            self.wake_at(until);
        }
    }

    /// Nothing is to be asked for now. Finds out whether the current credential is accepted, if
    /// that is not known; else waits.
    fn rest(&mut self, now: Now, block: Option<(Block, Option<Duration>)>) {
        if self.needs_confirmation() && self.trust.confirm_at <= now.monotonic {
            let credential = CredentialChoice::Current;
            return self.ask(
                now,
                Step::Confirming(credential),
                Effect::Confirm { credential },
            );
        }
        self.is_fresh = false;
        self.attempt = None;
        self.usage_form.forget_version();
        let is_blocked = block.is_some();
        match block {
            Some((block, wait)) if self.told.block != Some(block) => {
                self.unblock();
                self.told.block = Some(block);
                self.tell(Notice::Blocked { block, wait });
            }
            Some(_) => {}
            None => self.unblock(),
        }
        self.tell_standing(now);
        self.wake = Wake {
            wall: self.next_change(now.wall),
            monotonic: None,
        };
        if self.needs_confirmation() {
            self.wake_at(self.trust.confirm_at);
        }
        if let Some(at) = self.accept_at {
            self.wake_at(at);
        }
        self.look_again(now, is_blocked);
    }

    fn needs_confirmation(&self) -> bool {
        self.config.id.renews_itself() && self.current.is_some() && !self.trust.is_confirmed
    }

    /// When the standing of the current leaf changes next, by our clock.
    fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let leaf = self.current.as_ref()?;
        let changes = [leaf.not_before(), self.due(leaf), leaf.not_after()];
        let changes = changes.into_iter().chain(self.early());
        changes.filter(|change| *change > now).min()
    }

    fn tell_standing(&mut self, now: Now) {
        let Some(leaf) = self.current.clone() else {
            return;
        };
        let fingerprint = Some(leaf.fingerprint());
        let is_early = Standing::of(Some(&leaf), now.wall) == Standing::NotYetValid;
        if is_early && self.told.not_yet_valid != fingerprint {
            self.told.not_yet_valid = fingerprint;
            self.tell(Notice::NotYetValid {
                leaf: self.summary(&leaf),
                node: now.wall,
            });
        }
        if leaf.lifetime().seconds < LIFETIME_SHORT_SECONDS
            && self.told.short_lifetime != fingerprint
        {
            self.told.short_lifetime = fingerprint;
            self.tell(Notice::ShortLifetime {
                leaf: self.summary(&leaf),
            });
        }
        let deadline = Some(self.due(&leaf)).filter(|deadline| *deadline > now.wall);
        if self.told.waiting != Some(deadline) {
            self.told.waiting = Some(deadline);
            self.tell(Notice::Waiting { deadline });
        }
    }

    /// Tells that the certificate held is another node's, and what asks in its place.
    fn tell_holder(&mut self) {
        let (Some(leaf), Some(template)) = (&self.current, &self.template) else {
            return;
        };
        if !self.config.id.renews_itself() || self.holder_of(Some(leaf)) != Holder::Other {
            return;
        }
        let next = self.trust.best(&self.candidates());
        let next = next.filter(|credential| *credential != CredentialChoice::Current);
        let told = (leaf.fingerprint(), next);
        if self.told.not_this_nodes == Some(told) {
            return;
        }
        let notice = Notice::NotThisNodes {
            leaf: self.summary(leaf),
            holder: leaf.subject().common_name.clone(),
            wanted: template.subject.common_name.clone(),
            next,
        };
        self.told.not_this_nodes = Some(told);
        self.tell(notice);
    }

    fn unblock(&mut self) {
        if let Some(block) = self.told.block.take() {
            self.tell(Notice::Unblocked { block });
        }
    }

    fn prepare(&mut self, now: Now, cause: Cause) {
        let Some(template) = self.wanted(now.wall) else {
            return;
        };
        self.begin_attempt(cause);
        let usages = self.usages().clone();
        let order = Order {
            template,
            signer_name: self.config.signer_name.clone(),
            usages,
            expiration_seconds: self.config.expiration_seconds,
            key: self.key_choice.form(),
        };
        self.ask(now, Step::Preparing, Effect::Prepare(order));
    }

    fn begin_attempt(&mut self, cause: Cause) {
        if self.attempt != Some(cause) {
            self.attempt = Some(cause);
            let lack = self.lack().filter(|_| cause == Cause::Template);
            self.tell(Notice::AttemptBegan { cause, lack });
        }
    }

    fn submit(&mut self, now: Now, credential: CredentialChoice) {
        let Some(pending) = self.pending.clone() else {
            return;
        };
        self.ask(
            now,
            Step::Submitting(credential),
            Effect::Submit {
                pending,
                credential,
            },
        );
    }

    fn await_verdict(&mut self, now: Now, credential: CredentialChoice) {
        let Some(pending) = self.pending.clone() else {
            return;
        };
        self.ask(
            now,
            Step::Awaiting(credential),
            Effect::Await {
                pending,
                credential,
                silence_max: self.silence_max(),
            },
        );
        self.answer_by = self.answer_by + AWAIT_MAX;
        self.wait_for_answer(now);
    }

    /// Silence says something only where the form of the usages was a guess.
    fn silence_max(&self) -> Option<Duration> {
        (self.has_choice_of_usages() && self.usage_form.is_guess()).then_some(SILENCE_MAX)
    }

    pub(super) fn discard(&mut self, now: Now, reason: &'static str) {
        if let Some(pending) = &self.pending {
            let name = pending.name.clone();
            let is_installed = self.pending_state(now) == PendingState::Installed;
            if !is_installed {
                self.tell(Notice::PendingDiscarded { name, reason });
            }
        }
        self.discard_told(now);
    }

    /// The same, after a notice that says why.
    pub(super) fn discard_told(&mut self, now: Now) {
        self.ask(now, Step::Discarding, Effect::DiscardPending);
    }

    fn be_stuck(&mut self, now: Now, reason: StuckReason) {
        self.stuck_rounds = self.stuck_rounds.saturating_add(1);
        let wait = Schedule::Stuck.wait(self.stuck_rounds, &mut self.jitter);
        if self.stuck != Some(reason) {
            self.stuck = Some(reason);
            let leaf = self.current.as_ref().map(|leaf| self.summary(leaf));
            self.tell(Notice::Stuck { reason, leaf, wait });
        }
        self.retry_at = Some(now.monotonic + wait);
        self.sleep_until(now.monotonic + wait);
    }

    /// A wait after a failure is over: everything is read and tried again.
    pub(super) fn end_back_off(&mut self) {
        self.retry_at = None;
        self.is_fresh = false;
        self.attempt = None;
        self.usage_form.forget_version();
        if self.stuck.is_some() {
            self.trust.forgive();
            self.must_load = true;
        }
    }

    /// Asks for an effect; its answer is expected within [`ANSWER_MAX`].
    pub(super) fn ask(&mut self, now: Now, step: Step, effect: Effect) {
        assert!(
            self.step == Step::Idle,
            "one effect is outstanding at a time"
        );
        self.step = step;
        self.answer_by = now.monotonic + ANSWER_MAX;
        self.effects.push_back(effect);
        self.wake = Wake {
            wall: None,
            monotonic: Some(self.answer_by),
        };
    }

    fn wait_for_answer(&mut self, now: Now) {
        self.wake = Wake {
            wall: None,
            monotonic: Some(self.answer_by),
        };
        if !matches!(self.step, Step::Awaiting(_)) {
            return;
        }
        match self.pending_state(now) {
            PendingState::Outdated(_) => {
                self.effects.push_back(Effect::CancelAwait);
                self.step = Step::Idle;
                self.is_fresh = true;
                self.advance(now);
            }
            _ if now.monotonic < self.template_settles_at => {
                self.wake_at(self.template_settles_at);
            }
            _ => {}
        }
    }

    fn publish(&mut self) {
        let Some(leaf) = &self.current else { return };
        // What goes out with another node's certificate goes out in that node's name.
        if self.config.id.renews_itself() && self.holder_of(Some(leaf)) == Holder::Other {
            return;
        }
        if self.published != Some(leaf.fingerprint()) {
            self.published = Some(leaf.fingerprint());
            self.effects
                .push_back(Effect::Publish { leaf: leaf.clone() });
        }
    }

    pub(super) fn tell(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }

    /// When a template that was just changed counts.
    pub(super) fn settle_template(&mut self, now: Now, was_known: bool) {
        if was_known {
            self.template_settles_at = now.monotonic + TEMPLATE_DEBOUNCE;
        }
    }

    /// Remembers when the pending request becomes too old. Measured on the monotonic clock from the
    /// moment it is first seen, so that a step of the wall clock does not age it.
    pub(super) fn age_pending(&mut self, now: Now) {
        let Some(pending) = &self.pending else {
            self.pending_ends = None;
            return;
        };
        if self
            .pending_ends
            .as_ref()
            .is_some_and(|(name, _)| *name == pending.name)
        {
            return;
        }
        let age = Duration::try_from(now.wall.duration_since(pending.created)).unwrap_or_default();
        let left = PENDING_AGE_MAX.saturating_sub(age);
        let left = match pending.uid {
            // It may have been answered while this was off; only the server's word ends it, if that
            // comes soon.
            Some(_) => left.max(LAST_LOOK_MAX),
            None => left,
        };
        self.pending_ends = Some((pending.name.clone(), now.monotonic + left));
    }
}
