//! Who may come back: one function.

use super::{Policy, Record};
use jiff::Timestamp;
use std::fmt;

/// A node at the door. That the certificate is of an authority of ours, names the node, is not
/// revoked, and that its key was proven, has been checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Knock<'a> {
    /// The node that the certificate names.
    pub(crate) node: &'a str,
    /// UID of the Node object, which exists.
    pub(crate) node_uid: &'a str,
    /// SHA-256 of the certificate.
    pub(crate) leaf: &'a str,
    /// Its beginning.
    pub(crate) not_before: Timestamp,
    /// Its end.
    pub(crate) not_after: Timestamp,
    /// The join state that is shown; "" for none.
    pub(crate) state: &'a str,
    /// SHA-256 of what the node calls this attempt: it says the same until it was answered.
    pub(crate) attempt: &'a str,
    /// Randomness for a new record's key, hex.
    pub(crate) fresh_key: &'a str,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Store this, then answer with its join state.
    Registered(Record),
    /// Store this with a new token, then answer with both.
    Recovered {
        /// What is to be stored.
        record: Record,
        /// An answer to the same attempt was lost: it is not counted again.
        is_again: bool,
    },
    /// Store this, then refuse.
    Locked(Record),
    /// Nothing changes.
    Refused(Refusal),
}

/// Why a node may not come back. The words go to the node's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It ended too long ago.
    TooOld { ended: Timestamp },
    /// It recovered as often as it may.
    Exhausted { recoveries: u32 },
    /// It was locked, for this reason.
    Locked(String),
    /// It never registered.
    Unregistered,
    /// The Node object is another one than it registered for.
    OtherNode,
    /// No join state of this server's.
    UnknownState,
}

impl Refusal {
    /// A word to count by.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::TooOld { .. } => "too_old",
            Self::Exhausted { .. } => "exhausted",
            Self::Locked(_) => "locked",
            Self::Unregistered => "unregistered",
            Self::OtherNode => "other_node",
            Self::UnknownState => "unknown_state",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooOld { ended } => write!(
                f,
                "the certificate ended at {ended}, longer ago than --late-reissue-max-age allows"
            ),
            Self::Exhausted { recoveries } => write!(
                f,
                "the node has recovered {recoveries} times, as often as --late-reissue-max-recoveries allows"
            ),
            Self::Locked(why) => write!(f, "the node is locked: {why}"),
            Self::Unregistered => {
                f.write_str("the node never registered for it while its certificate was good")
            }
            Self::OtherNode => {
                f.write_str("the Node object was deleted and made anew since the node registered")
            }
            Self::UnknownState => f.write_str(
                "it shows no join state, or one that this server did not make for this node",
            ),
        }
    }
}

/// How a knock goes on from what is recorded.
enum Step {
    /// From this counter to the next.
    Next(u64),
    /// The answer to the last step was lost.
    Again,
}

/// What becomes of a knock, at the server's `now`.
pub(crate) fn decide(
    record: Option<&Record>,
    knock: &Knock<'_>,
    policy: &Policy,
    now: Timestamp,
) -> Decision {
    let is_late = knock.not_after < now;
    let known = record.filter(|record| record.node_uid == knock.node_uid);
    let Some(known) = known else {
        return match record {
            None if is_late => Decision::Refused(Refusal::Unregistered),
            Some(_) if is_late => Decision::Refused(Refusal::OtherNode),
            _ => Decision::Registered(first(knock)),
        };
    };
    if !known.locked.is_empty() {
        return Decision::Refused(Refusal::Locked(known.locked.clone()));
    }
    let step = match known.counter_of(knock.node, knock.state) {
        // Beyond what is recorded: the server was put back to an older state, and the node cannot
        // have it from anybody else.
        Some(counter) if counter >= known.counter => Step::Next(counter),
        Some(counter) if is_answer_lost(known, knock, counter, is_late) => Step::Again,
        Some(counter) => return Decision::Locked(locked(known, knock, counter, now)),
        None if is_late => return Decision::Refused(Refusal::UnknownState),
        // Made anew, with a good certificate: whoever still has an older join state is noticed.
        None => Step::Next(known.counter),
    };
    let moved = moved(known, knock, &step, is_late);
    if !is_late {
        return Decision::Registered(moved);
    }
    let is_again = matches!(step, Step::Again) && known.is_recovering;
    recovered(known, knock, moved, is_again, (policy, now))
}

fn recovered(
    known: &Record,
    knock: &Knock<'_>,
    moved: Record,
    is_again: bool,
    (policy, now): (&Policy, Timestamp),
) -> Decision {
    if now.duration_since(knock.not_after) > policy.age_max {
        let ended = knock.not_after;
        return Decision::Refused(Refusal::TooOld { ended });
    }
    if is_again {
        let record = moved;
        return Decision::Recovered { record, is_again };
    }
    if known.recoveries >= policy.recoveries_max {
        let recoveries = known.recoveries;
        return Decision::Refused(Refusal::Exhausted { recoveries });
    }
    let record = Record {
        recoveries: known.recoveries + 1,
        recovered_from: Some(moved.counter - 1),
        ..moved
    };
    Decision::Recovered { record, is_again }
}

/// A node that is not known yet.
fn first(knock: &Knock<'_>) -> Record {
    Record {
        key: knock.fresh_key.to_owned(),
        node_uid: knock.node_uid.to_owned(),
        counter: 1,
        attempt: knock.attempt.to_owned(),
        leaf: knock.leaf.to_owned(),
        not_before: Some(knock.not_before),
        ..Record::default()
    }
}

/// The same attempt as the one that led to what is recorded: its answer never arrived. After the
/// end only with the same certificate or a younger one: who has an older one did not make that
/// step.
fn is_answer_lost(known: &Record, knock: &Knock<'_>, counter: u64, is_late: bool) -> bool {
    counter.checked_add(1) == Some(known.counter)
        && known.attempt == knock.attempt
        && (!is_late
            || known
                .not_before
                .is_some_and(|from| knock.not_before >= from))
}

fn moved(known: &Record, knock: &Knock<'_>, step: &Step, is_late: bool) -> Record {
    Record {
        counter: match step {
            Step::Next(counter) => counter.saturating_add(1),
            Step::Again => known.counter,
        },
        attempt: knock.attempt.to_owned(),
        leaf: knock.leaf.to_owned(),
        not_before: Some(knock.not_before),
        is_recovering: is_late,
        token: String::new(),
        token_until: None,
        ..known.clone()
    }
}

/// Somebody else has been here from the same state on: there are two copies of the key.
fn locked(known: &Record, knock: &Knock<'_>, counter: u64, now: Timestamp) -> Record {
    // Whether the one that recovered from this state is the node, nobody can tell: what it was
    // issued is revoked. Where the other one registered with a good certificate, it is the node,
    // and what is shown here is an old copy.
    let must_revoke = known.recovered_from == Some(counter);
    let what = match must_revoke {
        true => "a join state was shown from which somebody else has recovered",
        false => "a join state was shown that had been used already",
    };
    Record {
        token: String::new(),
        token_until: None,
        must_revoke,
        locked: format!(
            "{what} ({counter}; the newest is {}), at {now}, with the certificate {}: there are two copies of the node's key",
            known.counter, knock.leaf
        ),
        ..known.clone()
    }
}
