//! Replacing a CA by another one under a fleet that goes on: what comes next, and for whom it
//! waits.
//!
//! Owns the phases and every reason to go on to the next. It refuses to know where keys and
//! certificates are kept and who publishes them: whoever carries a roll out makes the world as
//! [`Roll::trusted`], [`Roll::signs`] and [`Roll::renewal`] say, and only then asks [`next`].
//!
//! ```text
//!              every node trusts both          nothing by the old one is in use, finish was allowed
//!   Publish ──────────────────────▶ Renew ──────────────────────▶ (the new one alone)
//!      │ back                         │ back: the two change places, and it goes on
//!      ▼                              ▼
//!   (the old one alone)             Renew
//! ```
//!
//! The old CA signs and serves in the first phase, the new one in the second; both are trusted in
//! either. So no certificate that is in use is ever of a CA that somebody does not trust.

pub mod apart;
mod census;
mod command;
mod document;
#[cfg(test)]
mod tests;

pub use census::Census;
pub use command::{Change, Command, answer, obey};
use everleaf_api::authorities::{Renewal, Word};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Certificates that are renewed in a minute, unless another number is given.
pub const PER_MINUTE_DEFAULT: u32 = 60;
/// A certificate that was issued this long ago is in use where nobody says so: a kubelet installs
/// it within seconds.
const SETTLED: SignedDuration = SignedDuration::from_mins(10);
/// Within this an agent looks, unless it was told otherwise, and a little more.
const LOOK: SignedDuration = SignedDuration::from_mins(11);

/// Where a roll stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Both CAs are published; the old one signs.
    Publish,
    /// The new one signs; what the old one has signed is renewed.
    Renew,
}

impl Phase {
    /// The word: `publish`, `renew`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Renew => "renew",
        }
    }
}

/// Which CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    /// Its subject, for people.
    pub subject: String,
    /// `sha256:` and the hash of its public key.
    pub pin: String,
    /// Its subject key identifier, lower hex.
    pub key_id: String,
}

/// A roll that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll {
    /// The CA that goes.
    pub from: Authority,
    /// The CA that comes.
    pub to: Authority,
    /// Where it stands.
    pub phase: Phase,
    /// Another one as soon as phase or CAs are others. What nodes say counts when they say it of
    /// this one: a word of before could be true no more, whatever they have done since.
    pub epoch: i64,
    /// Since when.
    pub since: Timestamp,
    /// Nothing goes on by itself.
    pub is_paused: bool,
    /// Whether the old CA may be dropped once nobody needs it.
    pub may_finish: bool,
    /// How many certificates are renewed in a minute.
    pub per_minute: u32,
    /// When what the old CA has signed is renewed, once that has begun.
    pub renewal: Option<Renewal>,
    /// Who needs no proof in this phase, because a person says so: `node/NAME`, `user/NAME`.
    pub assumed: BTreeSet<String>,
}

impl Roll {
    /// The first phase.
    pub fn begin(from: Authority, to: Authority, start: Start, now: Timestamp) -> Self {
        Self {
            from,
            to,
            phase: Phase::Publish,
            epoch: now.as_millisecond(),
            since: now,
            is_paused: false,
            may_finish: start.may_finish,
            per_minute: start.per_minute.max(1),
            renewal: None,
            assumed: BTreeSet::new(),
        }
    }

    /// The same, where it takes others a while until the new CA signs: what the old one has signed
    /// is renewed in a time that begins only then.
    pub fn renewing_later(self) -> Self {
        Self {
            renewal: None,
            ..self
        }
    }

    /// Whether the old CA is dropped by itself, as soon as nobody needs it.
    pub fn ends_by_itself(&self) -> bool {
        self.may_finish && !self.is_paused
    }

    /// What it does next, by itself or when told, for people.
    pub fn outlook(&self) -> String {
        let from = &self.from.subject;
        let end = format!(
            "it will end by itself when nobody needs {from} any more, which is dropped then; to take that back: everleaf ca roll pause"
        );
        match self.phase {
            _ if self.is_paused => {
                "paused: nothing goes on by itself before: everleaf ca roll resume".to_owned()
            }
            _ if self.ends_by_itself() => end,
            Phase::Publish => "it goes on by itself when everybody trusts both".to_owned(),
            Phase::Renew => {
                format!("{from} is trusted until somebody says: everleaf ca roll finish")
            }
        }
    }

    /// The CAs by which nodes and the API server know each other.
    pub fn trusted(&self) -> [&Authority; 2] {
        [&self.from, &self.to]
    }

    /// What a node says of this epoch.
    fn word_of<'a>(&self, holder: &'a Holder) -> Option<&'a Word> {
        let word = holder.word.as_ref()?;
        (word.epoch == self.epoch.to_string()).then_some(word)
    }

    /// The CA that signs, and that the API server's own certificate is of.
    pub fn signs(&self) -> &Authority {
        match self.phase {
            Phase::Publish => &self.from,
            Phase::Renew => &self.to,
        }
    }
}

/// A roll that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When the one CA was left alone.
    pub at: Timestamp,
    /// The CA that is alone now.
    pub stays: Authority,
    /// The CA that is trusted no more.
    pub dropped: Authority,
}

impl Ended {
    /// What has become of the CAs, for people.
    pub fn words(&self) -> String {
        format!(
            "the last roll of the CA ended at {:.0}: {} stays alone, {} was dropped",
            self.at, self.stays.subject, self.dropped.subject
        )
    }
}

/// How a roll is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// How many certificates are renewed in a minute.
    pub per_minute: u32,
    /// Whether the old CA may be dropped without being told once more.
    pub may_finish: bool,
}

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// What it says about itself.
    pub word: Option<Word>,
    /// A kubelet runs there, for whose trust an agent cannot speak.
    pub runs_kubelet: bool,
    /// The newest certificate of each signer that has not ended.
    pub newest: BTreeMap<String, Issued>,
    /// The latest end of what the CA that goes has signed for it, where that is still to come.
    pub old_until: Option<Timestamp>,
}

/// A certificate, as the issuance log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Key identifier of its CA, lower hex.
    pub key_id: String,
    /// When it was signed.
    pub at: Timestamp,
}

/// Who has certificates, or is a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// By node name.
    pub nodes: BTreeMap<String, Holder>,
    /// Others with client certificates of the CA that goes, by common name: until when.
    pub users: BTreeMap<String, Timestamp>,
    /// Nodes of which no client certificate is accepted: all are revoked, or of CAs that were
    /// dropped before. None of them can ever answer, so nobody waits for them.
    pub refused: BTreeSet<String>,
}

/// Somebody for whom a roll waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Straggler {
    /// `node/NAME` or `user/NAME`.
    pub who: String,
    /// What is missing, and what helps.
    pub why: String,
}

/// How many have come how far in a phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// For whom it waits.
    pub waited_for: Vec<Straggler>,
    /// Who has shown nothing, and need not, because a person said so.
    pub assumed: Vec<Straggler>,
    /// How many have shown what the phase asks for.
    pub proven: usize,
}

impl Tally {
    /// How many there are.
    pub fn all(&self) -> usize {
        self.proven + self.assumed.len() + self.waited_for.len()
    }
}

/// Who has shown in this phase what it asks for, and who has not.
pub fn tally(roll: &Roll, fleet: &Fleet, now: Timestamp) -> Tally {
    let nodes = fleet.nodes.iter();
    let nodes = nodes.filter(|(name, _)| !fleet.refused.contains(*name));
    let nodes = nodes.map(|(name, holder)| {
        let why = match roll.phase {
            Phase::Publish => distrust(roll, name, holder, now),
            Phase::Renew => old_certificate(roll, holder, now),
        };
        (format!("node/{name}"), why)
    });
    let users = fleet.users.iter().filter(|(_, until)| **until > now);
    let users = users.filter(|_| roll.phase == Phase::Renew);
    let users = users.map(|(name, until)| {
        let why = format!(
            "has a client certificate of the old CA until {until:.0}, and nobody can tell whether it is in use"
        );
        (format!("user/{name}"), Some(why))
    });
    let mut tally = Tally::default();
    for (who, why) in nodes.chain(users) {
        match why {
            None => tally.proven += 1,
            Some(why) if roll.assumed.contains(&who) => tally.assumed.push(Straggler { who, why }),
            Some(why) => tally.waited_for.push(Straggler { who, why }),
        }
    }
    tally
}

/// Why it is not known that this node trusts both CAs.
fn distrust(roll: &Roll, name: &str, holder: &Holder, now: Timestamp) -> Option<String> {
    if holder.runs_kubelet {
        return Some(format!(
            "a kubelet reads its CAs only when it starts: put those of kube-public/everleaf-authorities into its kubeconfig, restart \
             it, and say so: everleaf ca roll assume {name}"
        ));
    }
    let Some(word) = roll.word_of(holder) else {
        if holder.word.is_some() {
            return Some("has not answered to this phase yet".to_owned());
        }
        return Some(
            match now.duration_since(roll.since) < LOOK {
                true => "does not say which CAs it trusts yet: an Everleaf agent looks within ten minutes",
                false => {
                    "does not say which CAs it trusts: no Everleaf agent runs there, an older one, or one that does not look (--ca-refresh-interval)"
                }
            }
            .to_owned(),
        );
    };
    let lacks = roll
        .trusted()
        .into_iter()
        .find(|one| !word.trusts.contains(&one.pin));
    lacks.map(|one| format!("does not trust {} yet", one.subject))
}

/// Why it is not known that this node uses nothing of the old CA any more.
fn old_certificate(roll: &Roll, holder: &Holder, now: Timestamp) -> Option<String> {
    if let Some(word) = roll.word_of(holder).filter(|_| !holder.runs_kubelet) {
        let mut uses = word.certificates.iter();
        return match uses.find(|(_, pin)| **pin != roll.to.pin) {
            Some((what, _)) => Some(unrenewed(roll, what, now)),
            None if word.certificates.contains_key("client") => None,
            None => Some("says nothing of a client certificate".to_owned()),
        };
    }
    if holder.word.is_some() && !holder.runs_kubelet {
        return Some("has not answered to this phase yet".to_owned());
    }
    let until = holder.old_until.filter(|until| *until > now)?;
    let is_new = |one: &Issued| {
        let age = now.duration_since(one.at);
        one.key_id == roll.to.key_id && age >= SETTLED
    };
    let is_renewed = !holder.newest.is_empty() && holder.newest.values().all(is_new);
    (!is_renewed).then(|| {
        format!(
            "has certificates of the old CA until {until:.0}, and renews them at its own time; sooner: delete them there and restart it"
        )
    })
}

/// A certificate that is still of the old CA; past the time for that, with what may keep it.
fn unrenewed(roll: &Roll, what: &str, now: Timestamp) -> String {
    let late = roll.renewal.is_some_and(|renewal| {
        let over = now.duration_since(renewal.until);
        over > LOOK
    });
    let yet = format!("its {what} certificate is not of the new CA yet");
    match late {
        false => yet,
        true => format!(
            "{yet}, and the time for that is over: its log says why; an agent files at most five requests an hour, which several rolls within an hour use up"
        ),
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and only for a moment"
)]
pub enum Next {
    /// Nothing changes.
    Stay,
    /// The roll goes on like this.
    Go(Roll),
    /// Nobody needs the CA that goes: it is dropped.
    Finish,
}

/// What comes next, now that the world is as `roll` says.
pub fn next(roll: &Roll, fleet: &Fleet, now: Timestamp) -> Next {
    if roll.is_paused {
        return Next::Stay;
    }
    let waited_for = tally(roll, fleet, now).waited_for;
    match roll.phase {
        Phase::Publish if waited_for.is_empty() => {
            let renewing = Roll {
                phase: Phase::Renew,
                epoch: roll.epoch + 1,
                since: now,
                assumed: BTreeSet::new(),
                ..roll.clone()
            };
            Next::Go(with_renewal(renewing, fleet, now))
        }
        Phase::Renew if roll.renewal.is_none() => Next::Go(with_renewal(roll.clone(), fleet, now)),
        Phase::Renew if waited_for.is_empty() && roll.may_finish => Next::Finish,
        Phase::Publish | Phase::Renew => Next::Stay,
    }
}

/// Two certificates for each node that has not renewed, so many in a minute.
fn with_renewal(roll: Roll, fleet: &Fleet, now: Timestamp) -> Roll {
    let left = tally(&roll, fleet, now).waited_for;
    let nodes = left
        .iter()
        .filter(|one| one.who.starts_with("node/"))
        .count();
    let certificates = u64::try_from(2 * nodes).unwrap_or(u64::MAX);
    let seconds = certificates
        .saturating_mul(60)
        .div_ceil(u64::from(roll.per_minute.max(1)));
    let window = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    let until = now.checked_add(window).unwrap_or(now);
    Roll {
        renewal: Some(Renewal { from: now, until }),
        ..roll
    }
}
