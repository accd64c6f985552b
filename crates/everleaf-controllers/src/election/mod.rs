//! Leader election: which of several processes may act. One machine, without I/O.
//!
//! It owns when to read, claim, renew and give up a [`lease`], and from when to when this process
//! leads; it refuses to know how a call is made and what leading means. The protocol is that of
//! client-go's `tools/leaderelection`, so that a kube-controller-manager and we exclude each other:
//!
//! - Only local, monotonic time counts. A lease is free when it did not *change* for as long as it
//!   promises, measured since we saw the change; the times in it were written by other clocks.
//! - Every write is conditional on the version that was read, so of two claims one fails.
//! - A leader that cannot renew leaves before anybody else may count the lease as free.
//!
//! ```text
//!             free, claimed               not renewed in time, or another holder
//!  Standby ─────────────────▶ Leading ──────────────────────────────────────────▶ End(Lost)
//!     │ stop                     │ stop, or the loops ended
//!     │                          ▼
//!     │                      Finishing ─ loops ended ─▶ Releasing
//!     ▼                                                    ▼
//!  End(Stopped) ◀──────────────────────────────────────────┘
//! ```
//!
//! Stricter than client-go where it may be without a peer noticing: the time to leave counts from
//! when the last successful renewal was *sent* (client-go: answered), and never exceeds what the
//! lease promises to others; a leader that finds another holder leaves at once, instead of trying
//! again until its renew deadline. The lease is released on the way out, which client-go's users
//! opt into (`ReleaseOnCancel`). While the lease is not surely ours nothing is
//! [permitted](permit::Permit): a renewal failed, none succeeded for the renew deadline, the wall
//! clock says that so much time went by, as after a sleep. What nobody can see, as client-go
//! cannot: clocks that run at different *rates* beyond the ratio of lease duration to renew
//! deadline, and a sleep that left its mark on neither clock.

pub mod flags;
pub mod lease;
pub mod permit;
#[cfg(test)]
mod tests;

use everleaf_time::{Monotonic, Now};
use lease::{LockName, Record};
use permit::Permit;
use serde_json::Value;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Waits of a process that does not lead are between 1 and 1 + this times the retry period
/// (client-go `JitterFactor`).
pub(crate) const JITTER_FACTOR: f64 = 1.2;

/// The least time that one call may take, however short the renew deadline is.
const CALL_MIN: Duration = Duration::from_secs(1);

/// What an election is about, and as whom we take part.
#[derive(Clone, Debug, PartialEq)]
pub struct ElectionConfig {
    /// Who we are: different for every process.
    pub identity: String,
    /// `--leader-elect-lease-duration`
    pub lease_duration: Duration,
    /// `--leader-elect-resource-namespace` and `-name`
    pub lock: LockName,
    /// `--leader-elect-renew-deadline`
    pub renew_deadline: Duration,
    /// `--leader-elect-retry-period`
    pub retry_period: Duration,
    /// Spreads the attempts of several processes: different for every process.
    pub seed: u64,
}

/// A call to make.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// POST.
    Create(Value),
    /// GET.
    Read,
    /// PUT: conditional, the object carries the version that was read.
    Replace(Value),
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Somebody was faster (409).
    Conflict(String),
    /// No answer in time, or a refusal.
    Failed(String),
    /// The lease, as the server has it now.
    Lease(Value),
    /// There is no such lease (404).
    Missing(String),
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The call in flight ended.
    Answered(Answer),
    /// The loops that [`Effect::Lead`] started have ended, by themselves or after
    /// [`Effect::Finish`]: nothing writes any more.
    LoopsEnded,
    /// The process is to end.
    StopAsked,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make this call, within this time. A call that is still in flight is abandoned.
    Call(Call, Duration),
    /// It is over: abandon everything, the loops first.
    End(Ending),
    /// Have the loops finish what is in hand.
    Finish,
    /// Start the loops.
    Lead,
    /// Tell people.
    Tell(Change),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// We led and may not any more, for this reason.
    Lost(String),
    /// We were asked to stop, or our loops ended.
    Stopped,
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// We want to lead.
    Attempting,
    /// We do not lead and cannot even see who does (said once per reason).
    Failing {
        /// Why.
        error: String,
    },
    /// We lead from now on.
    Leading,
    /// We led, and do not any more.
    Lost {
        /// Why.
        why: String,
    },
    /// What was failing works again.
    Recovered,
    /// The lease is free for others.
    Released,
    /// The lease could not be given up: others have to wait until it has run out.
    ReleaseFailed {
        /// Why.
        error: String,
    },
    /// A renewal failed while we lead (said once per reason).
    RenewalFailing {
        /// Why.
        error: String,
        /// How long we go on leading without one.
        left: Duration,
    },
    /// Somebody else leads, whom we did not know as the leader.
    Seen {
        /// Who.
        holder: String,
    },
    /// Our claim of the lease could not be renewed at the first attempt, and the lease was read
    /// again. Counted, not told.
    SlowPath,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Loops finish; no renewals. At `until` they are stopped the hard way.
    Finishing {
        until: Monotonic,
    },
    /// Leading until then, unless a renewal succeeds before.
    Leading {
        until: Monotonic,
    },
    Over,
    /// The lease is being given up; not longer than this.
    Releasing {
        until: Monotonic,
    },
    Standby,
}

/// A call that was made and not answered.
#[derive(Clone, Copy, Debug)]
struct Flight {
    purpose: Purpose,
    /// When the attempt began that it belongs to.
    attempt: Monotonic,
    sent: Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Create or replace the lease, after reading it.
    Claim,
    Read,
    Release,
    /// Replace the lease as we know it, without reading it first.
    Renew,
}

/// The lease as we saw it last.
#[derive(Clone, Debug)]
struct Observed {
    object: Value,
    record: Record,
    /// When we saw it *change*.
    since: Monotonic,
}

/// See the module documentation.
#[derive(Clone, Debug)]
pub struct Election {
    config: ElectionConfig,
    effects: VecDeque<Effect>,
    flight: Option<Flight>,
    observed: Option<Observed>,
    /// What the last renewal permits; nothing once another one has failed.
    permit: Option<Permit>,
    phase: Phase,
    /// Waits with jitter so far.
    waits: u64,
    /// The leader as it was told, ourselves excepted.
    told_holder: String,
    told_failure: Option<String>,
    /// When the next attempt is due, if none is in flight.
    wake: Monotonic,
}

// === driving it ===

impl Election {
    /// Stands by from `now` on; the first attempt is due at once.
    pub fn new(config: ElectionConfig, now: Now) -> Self {
        Self {
            effects: VecDeque::from([Effect::Tell(Change::Attempting)]),
            flight: None,
            observed: None,
            permit: None,
            phase: Phase::Standby,
            waits: 0,
            told_holder: String::new(),
            told_failure: None,
            wake: now.monotonic,
            config,
        }
    }

    /// Takes what happened.
    pub fn handle_event(&mut self, now: Now, event: Event) {
        if self.is_past_deadline(now) {
            return;
        }
        match event {
            Event::Answered(answer) => {
                if let Some(flight) = self.flight.take() {
                    self.answered(now, flight, answer);
                }
            }
            Event::LoopsEnded => match self.phase {
                Phase::Leading { .. } | Phase::Finishing { .. } => {
                    let until = now.monotonic + self.config.renew_deadline;
                    self.phase = Phase::Releasing { until };
                    self.call(now, now.monotonic, Purpose::Read, Call::Read);
                }
                Phase::Over | Phase::Releasing { .. } | Phase::Standby => {}
            },
            Event::StopAsked => match self.phase {
                Phase::Leading { until } => {
                    self.flight = None;
                    self.phase = Phase::Finishing { until };
                    self.effects.push_back(Effect::Finish);
                }
                Phase::Standby => self.end(Ending::Stopped),
                Phase::Finishing { .. } | Phase::Over | Phase::Releasing { .. } => {}
            },
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.is_past_deadline(now) || self.flight.is_some() || now.monotonic < self.wake {
            return;
        }
        match (self.phase, &self.observed) {
            (Phase::Standby, _) | (Phase::Leading { .. }, None) => {
                self.call(now, now.monotonic, Purpose::Read, Call::Read);
            }
            (Phase::Leading { .. }, Some(observed)) => {
                let lease = lease::renewed(
                    &observed.object,
                    &self.config.identity,
                    self.config.lease_duration,
                    now.wall,
                );
                self.call(now, now.monotonic, Purpose::Renew, Call::Replace(lease));
            }
            (Phase::Finishing { .. } | Phase::Over | Phase::Releasing { .. }, _) => {}
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Election::handle_timeout`] is due; `None`: not before something happens.
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let wake = self.flight.is_none().then_some(self.wake);
        match self.phase {
            Phase::Finishing { until } | Phase::Releasing { until } => Some(until),
            Phase::Leading { until } => Some(wake.map_or(until, |wake| wake.min(until))),
            Phase::Over => None,
            Phase::Standby => wake,
        }
    }

    /// Whether this process may act at `now`.
    pub fn leads(&self, now: Monotonic) -> bool {
        match self.phase {
            Phase::Finishing { until } | Phase::Leading { until } => now < until,
            Phase::Over | Phase::Releasing { .. } | Phase::Standby => false,
        }
    }

    /// What may be written: nothing when `None`, else while it allows.
    pub fn permit(&self) -> Option<Permit> {
        match self.phase {
            Phase::Finishing { .. } | Phase::Leading { .. } => self.permit,
            Phase::Over | Phase::Releasing { .. } | Phase::Standby => None,
        }
    }

    /// Whom we take part as.
    pub fn config(&self) -> &ElectionConfig {
        &self.config
    }

    /// The lease as it was seen last.
    pub fn lease(&self) -> Option<&Value> {
        self.observed.as_ref().map(|observed| &observed.object)
    }
}

// === deciding ===

impl Election {
    /// Leaves when it is time to, whatever just happened.
    fn is_past_deadline(&mut self, now: Now) -> bool {
        match self.phase {
            Phase::Leading { until } | Phase::Finishing { until } if now.monotonic >= until => {
                let why = match &self.told_failure {
                    Some(error) => format!("the lease could not be renewed in time: {error}"),
                    None => "the lease could not be renewed in time".to_owned(),
                };
                self.lose(why);
                true
            }
            Phase::Releasing { until } if now.monotonic >= until => {
                self.release_failed("no answer in time".to_owned());
                true
            }
            Phase::Over => true,
            _ => false,
        }
    }

    fn answered(&mut self, now: Now, flight: Flight, answer: Answer) {
        match (flight.purpose, answer) {
            (Purpose::Read, Answer::Lease(lease)) => {
                self.observe(now, lease);
                self.judge(now, flight.attempt);
            }
            (Purpose::Read, Answer::Missing(_)) => self.claim_missing(now, flight.attempt),
            (Purpose::Claim | Purpose::Renew, Answer::Lease(lease)) => {
                self.observe(now, lease);
                self.hold(now, flight);
            }
            // As client-go: whatever it was, a look at the lease tells more.
            (Purpose::Renew, _) => {
                self.permit = None;
                self.tell(Change::SlowPath);
                self.call(now, flight.attempt, Purpose::Read, Call::Read);
            }
            (Purpose::Release, Answer::Lease(_)) => {
                self.tell(Change::Released);
                self.end(Ending::Stopped);
            }
            (Purpose::Release, Answer::Conflict(_)) => {
                self.call(now, flight.attempt, Purpose::Read, Call::Read);
            }
            // Several stand by, one of the others was faster.
            (Purpose::Claim, Answer::Conflict(_)) if self.phase == Phase::Standby => {
                self.wake_with_jitter(now);
            }
            (
                Purpose::Claim | Purpose::Read | Purpose::Release,
                Answer::Conflict(error) | Answer::Failed(error) | Answer::Missing(error),
            ) => self.failed(now, flight.attempt, error),
        }
    }

    /// Decides about a lease that was just read.
    fn judge(&mut self, now: Now, attempt: Monotonic) {
        let Some(Observed {
            object,
            record,
            since,
        }) = &self.observed
        else {
            return;
        };
        let is_ours = record.holder == self.config.identity;
        let is_free = record.holder.is_empty();
        let is_valid = now.monotonic < *since + record.duration;
        match self.phase {
            Phase::Releasing { .. } if is_ours => {
                let lease = lease::released(object, now.wall);
                self.call(now, attempt, Purpose::Release, Call::Replace(lease));
            }
            Phase::Releasing { .. } => self.end(Ending::Stopped),
            Phase::Leading { .. } if !is_ours && !is_free => {
                let why = format!("{} holds the lease now", record.holder);
                self.lose(why);
            }
            Phase::Standby if !is_ours && !is_free && is_valid => {
                let holder = record.holder.clone();
                self.recovered();
                if self.told_holder != holder {
                    self.told_holder.clone_from(&holder);
                    self.tell(Change::Seen { holder });
                }
                self.wake_with_jitter(now);
            }
            Phase::Leading { .. } | Phase::Standby => {
                let lease = self.claim_of(object, now);
                self.call(now, attempt, Purpose::Claim, Call::Replace(lease));
            }
            Phase::Finishing { .. } | Phase::Over => {}
        }
    }

    /// The lease does not exist, or not any more.
    fn claim_missing(&mut self, now: Now, attempt: Monotonic) {
        let fresh = match (self.phase, &self.observed) {
            // Somebody deleted it under a leader, who puts it back as it was.
            (Phase::Leading { .. }, Some(observed)) => {
                lease::reborn(&observed.object, &self.config.lock)
            }
            (Phase::Leading { .. } | Phase::Standby, _) => lease::unclaimed(&self.config.lock),
            (Phase::Finishing { .. } | Phase::Over | Phase::Releasing { .. }, _) => {
                return self.end(Ending::Stopped);
            }
        };
        let lease = self.claim_of(&fresh, now);
        self.call(now, attempt, Purpose::Claim, Call::Create(lease));
    }

    /// The server confirmed that we hold the lease.
    fn hold(&mut self, now: Now, flight: Flight) {
        let until = flight.sent.monotonic + self.leading_without_renewal();
        if now.monotonic >= until {
            return self.failed(now, flight.attempt, "the answer came too late".to_owned());
        }
        match self.phase {
            Phase::Standby => {
                self.told_failure = None;
                self.tell(Change::Leading);
                self.effects.push_back(Effect::Lead);
            }
            Phase::Leading { .. } => self.recovered(),
            Phase::Finishing { .. } | Phase::Over | Phase::Releasing { .. } => return,
        }
        self.permit = Some(Permit {
            sent: flight.sent,
            within: self.config.renew_deadline,
        });
        self.phase = Phase::Leading { until };
        self.wake = now.monotonic + self.config.retry_period;
    }

    /// An attempt brought nothing.
    fn failed(&mut self, now: Now, attempt: Monotonic, error: String) {
        let is_news = self.told_failure.as_ref() != Some(&error);
        match self.phase {
            Phase::Standby => {
                self.wake_with_jitter(now);
                if is_news {
                    self.told_failure = Some(error.clone());
                    self.tell(Change::Failing { error });
                }
            }
            Phase::Leading { until } => {
                self.wake = now.monotonic.max(attempt + self.config.retry_period);
                if is_news {
                    let left = until.since(now.monotonic);
                    self.told_failure = Some(error.clone());
                    self.tell(Change::RenewalFailing { error, left });
                }
            }
            Phase::Releasing { .. } => self.release_failed(error),
            Phase::Finishing { .. } | Phase::Over => {}
        }
    }

    /// Takes note of the lease, and of the time if it says something new.
    fn observe(&mut self, now: Now, object: Value) {
        let record = Record::of(&object);
        let since = match &self.observed {
            Some(before) if before.record == record => before.since,
            _ => now.monotonic,
        };
        self.observed = Some(Observed {
            object,
            record,
            since,
        });
    }

    /// How long after sending a renewal that succeeded we may lead without another: as long as
    /// client-go tries, but never longer than the lease tells others to wait.
    fn leading_without_renewal(&self) -> Duration {
        let tried = self.config.retry_period + self.config.renew_deadline;
        tried.min(Duration::from_secs(self.config.lease_duration.as_secs()))
    }
}

// === saying it ===

impl Election {
    fn call(&mut self, now: Now, attempt: Monotonic, purpose: Purpose, call: Call) {
        self.flight = Some(Flight {
            purpose,
            attempt,
            sent: now,
        });
        // client-go `NewFromKubeconfig`: one hung call must not cost the leadership.
        let within = CALL_MIN.max(self.config.renew_deadline / 2);
        self.effects.push_back(Effect::Call(call, within));
    }

    fn claim_of(&self, lease: &Value, now: Now) -> Value {
        let ElectionConfig {
            identity,
            lease_duration,
            ..
        } = &self.config;
        lease::claimed(lease, identity, *lease_duration, now.wall)
    }

    fn tell(&mut self, change: Change) {
        self.effects.push_back(Effect::Tell(change));
    }

    fn recovered(&mut self) {
        if self.told_failure.take().is_some() {
            self.tell(Change::Recovered);
        }
    }

    fn lose(&mut self, why: String) {
        self.tell(Change::Lost { why: why.clone() });
        self.end(Ending::Lost(why));
    }

    fn release_failed(&mut self, error: String) {
        self.tell(Change::ReleaseFailed { error });
        self.end(Ending::Stopped);
    }

    fn end(&mut self, ending: Ending) {
        self.phase = Phase::Over;
        self.flight = None;
        self.effects.push_back(Effect::End(ending));
    }

    fn wake_with_jitter(&mut self, now: Now) {
        // Enough to spread attempts: a hash of the seed and the number of the wait.
        self.waits = self.waits.wrapping_add(1);
        let mut hasher = DefaultHasher::new();
        (self.config.seed, self.waits).hash(&mut hasher);
        let bits = hasher.finish();
        let fraction = f64::from(u32::try_from(bits >> 32).unwrap_or(u32::MAX)) / 4_294_967_296.0;
        let wait = self
            .config
            .retry_period
            .mul_f64(1.0 + JITTER_FACTOR * fraction);
        self.wake = now.monotonic + wait;
    }
}
