//! Late re-issue, the node's side: how a node whose certificate has ended, and that has no
//! bootstrap credential, asks Everleaf's API server for another one by proof of its old key.
//!
//! While its certificate is good, a node registers with it, once per certificate, and keeps the
//! **join state** that the server answers: a count that both sides know. When no credential is
//! accepted any more, it shows that state with the ended certificate, by which TLS proves the key,
//! and is given a token for its next request. Owns when to knock, what is kept meanwhile, and what
//! an answer means: a machine without I/O, which the simulator drives, too. It refuses to know how
//! a call is carried and how a request is filed; with the token, that goes the way of a bootstrap.
//!
//! **Answers get lost.** Before anything is sent, the attempt's name is on disk; it stays the same
//! until an answer to a registration has been kept. The server takes the same attempt twice for
//! one. The answer to a recovery is never kept: the next registration brings it again, so that a
//! node that dies in between only repeats itself.

mod door;
mod kept;

#[cfg(test)]
mod tests;

pub(crate) use door::{Answered, Door};
pub use kept::{FILE_NAME, KEPT_BYTES_MAX, Kept, KeptError};

use crate::client::{Answer, Failure, FailureClass};
use crate::csr_api::conversation::{Call, Dialogue};
use crate::secret::Secret;
use everleaf_api::meta;
use everleaf_pki::Fingerprint;
use everleaf_rotation::Monotonic;
use http::Method;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// Where the server is asked.
const PATH: &str = "/pki/late-reissue";
/// How the server begins when it was late re-issue that it refused, and nothing before it.
const REFUSED: &str = "forbidden: late re-issue of ";
/// First pause after a knock that came to nothing, and after one that brought a token.
const PAUSE_MIN: Duration = Duration::from_secs(30);
/// Longest pause while the node has no other way in.
const PAUSE_LATE_MAX: Duration = Duration::from_secs(10 * 60);
/// Longest pause while its certificate is good: it is about next year.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);
/// How long a token is taken to be good when the server does not say.
const TOKEN_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// What matters of the node's own certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The current certificate.
    pub leaf: Fingerprint,
    /// The server has accepted it since the agent started.
    pub is_confirmed: bool,
    /// No credential is accepted, and nothing more can be tried.
    pub is_stuck: bool,
}

/// A call to make.
#[derive(Clone, Debug)]
pub struct Knock {
    body: Value,
}

impl Dialogue for Knock {
    type Outcome = Result<Answer, Failure>;

    fn call(&self) -> Call {
        Call {
            method: Method::POST,
            path: PATH.to_owned(),
            body: Some(self.body.clone()),
        }
    }

    fn answer(&mut self, answer: Result<Answer, Failure>) -> Option<Self::Outcome> {
        Some(answer)
    }
}

/// What came of a knock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The node may come back late.
    Registered {
        /// How often, as the server's policy is.
        recoveries_left: u64,
    },
    /// A token for the next request is there.
    Recovered {
        /// How often the node may do so again.
        recoveries_left: u64,
    },
    /// The server knows nothing of late re-issue.
    NotOffered {
        /// The node has no other way in.
        is_late: bool,
    },
    /// The server does not let the node in.
    Refused {
        /// The node has no other way in.
        is_late: bool,
        /// The server's words.
        why: String,
    },
    /// It could not be asked.
    Disturbed(String),
}

impl Heard {
    /// Each word of [`as_str`](Self::as_str).
    pub const RESULTS: [&str; 5] = [
        "disturbed",
        "not_offered",
        "recovered",
        "refused",
        "registered",
    ];

    /// A word for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Registered { .. } => "registered",
            Self::Recovered { .. } => "recovered",
            Self::NotOffered { .. } => "not_offered",
            Self::Refused { .. } => "refused",
            Self::Disturbed(_) => "disturbed",
        }
    }

    /// Whether an operator has to do something before the node comes back.
    pub fn needs_operator(&self) -> bool {
        matches!(
            self,
            Self::NotOffered { is_late: true } | Self::Refused { is_late: true, .. }
        )
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered { recoveries_left } => write!(
                f,
                "late re-issue is arranged: should this certificate end while the node is off, it comes back by its key \
                 ({recoveries_left} times at most)"
            ),
            Self::Recovered { recoveries_left } => write!(
                f,
                "the certificate has ended, and the server lets this node in by its old key; it may do so \
                 {recoveries_left} more times"
            ),
            Self::NotOffered { is_late: false } => f.write_str(
                "--late-reissue: the API server does not offer it (everleaf apiserver or up with --late-reissue-max-age \
                 does): should this certificate end while the node is off, the node needs a new bootstrap token",
            ),
            Self::NotOffered { is_late: true } => f.write_str(
                "the certificate has ended, and the API server offers no late re-issue, or does not believe it",
            ),
            Self::Refused { why, is_late: true } => {
                write!(f, "the certificate has ended, and the API server refuses: {why}")
            }
            Self::Refused { why, .. } => write!(f, "--late-reissue: the API server refuses: {why}"),
            Self::Disturbed(why) => write!(f, "late re-issue could not be asked for: {why}"),
        }
    }
}

/// What the node was given for its next request.
#[derive(Debug)]
struct Token {
    secret: Secret,
    until: Monotonic,
}

/// What one certificate's late re-issue has come to.
#[derive(Debug, Default)]
pub struct LateReissue {
    kept: Kept,
    token: Option<Token>,
    /// The certificate that is shown by the knock under way, and whether it is late.
    knocking: Option<(Fingerprint, bool)>,
    /// Not before this, if the node is lost, or in good order, as it was when that was said.
    pause: Option<(Monotonic, bool)>,
    failures: u32,
}

impl LateReissue {
    /// Goes on with what is on disk.
    pub fn new(kept: Kept) -> Self {
        Self {
            kept,
            ..Self::default()
        }
    }

    /// What has to be on disk.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Begins what is due: what is [`kept`](Self::kept) then must be on disk before the call is
    /// made; if it cannot be, [`give_up`](Self::give_up). `name` makes a name that nobody can
    /// guess.
    pub fn begin(
        &mut self,
        facts: Facts,
        now: Monotonic,
        name: impl FnOnce() -> String,
    ) -> Option<Knock> {
        if self.token.as_ref().is_some_and(|token| token.until <= now) {
            self.token = None;
        }
        if self.knocking.is_some() || self.wake(facts).is_none_or(|due| due > now) {
            return None;
        }
        self.knocking = Some((facts.leaf, facts.is_stuck));
        let attempt = self.kept.attempt.get_or_insert_with(name);
        let mut body = json!({"attempt": attempt});
        if let Some(state) = &self.kept.state {
            body["state"] = state.as_str().into();
        }
        Some(Knock { body })
    }

    /// When the next knock is due, by the facts of now; none: no knock is.
    pub fn wake(&self, facts: Facts) -> Option<Monotonic> {
        let leaf = facts.leaf.to_string();
        let must_register = facts.is_confirmed && self.kept.certificate.as_ref() != Some(&leaf);
        if self.knocking.is_some() || !(facts.is_stuck || must_register) {
            return None;
        }
        // What was paused for next year's sake is not waited for when it has come to it, nor does a
        // node that is back wait with its registration.
        let paused = self.pause.filter(|(_, is_late)| *is_late == facts.is_stuck);
        Some(paused.map_or(Monotonic::default(), |(until, _)| until))
    }

    /// What was begun could not be kept.
    pub fn give_up(&mut self, now: Monotonic) {
        let is_late = self.knocking.take().is_some_and(|(_, is_late)| is_late);
        self.rest(now, is_late);
    }

    /// Takes in the answer. What is [`kept`](Self::kept) after a registration should be on disk;
    /// until it is, the same attempt goes on.
    pub fn take(&mut self, answer: Result<Answer, Failure>, now: Monotonic) -> Heard {
        let (leaf, is_late) = match self.knocking.take() {
            Some(knocking) => knocking,
            None => return Heard::Disturbed("nothing was asked".to_owned()),
        };
        let heard = match answer {
            Ok(answer) => self.admitted(&answer, leaf, now),
            Err(failure) => refused(failure, is_late),
        };
        match heard {
            Heard::Registered { .. } => {
                self.failures = 0;
                self.pause = None;
            }
            // The token should do; if the node is at its wits' end again, it knocks again.
            _ => self.rest(now, is_late),
        }
        heard
    }

    fn admitted(&mut self, answer: &Answer, leaf: Fingerprint, now: Monotonic) -> Heard {
        let object = &answer.object;
        let word = |key: &str| object[key].as_str().filter(|text| !text.is_empty());
        let recoveries_left = object["recoveriesLeft"].as_u64().unwrap_or(0);
        let Some(state) = word("state") else {
            return Heard::Disturbed("the answer holds no join state".to_owned());
        };
        let Some(token) = word("token") else {
            self.token = None;
            self.kept = Kept {
                state: Some(state.to_owned()),
                attempt: None,
                certificate: Some(leaf.to_string()),
            };
            return Heard::Registered { recoveries_left };
        };
        let expires = word("tokenExpires").and_then(meta::parse_time);
        // By the server's clock, which alone counts.
        let left = expires
            .zip(answer.server_time)
            .and_then(|(until, now)| Duration::try_from(until.duration_since(now)).ok());
        self.token = Some(Token {
            secret: Secret::new(token.to_owned()),
            until: now + left.unwrap_or(TOKEN_LIFETIME).min(TOKEN_LIFETIME),
        });
        Heard::Recovered { recoveries_left }
    }

    /// The token for the next request, if there is one.
    pub fn token(&self, now: Monotonic) -> Option<&Secret> {
        let token = self.token.as_ref().filter(|token| now < token.until);
        token.map(|token| &token.secret)
    }

    /// Whether a knock is under way, or has just brought a token.
    pub fn is_at_it(&self, now: Monotonic) -> bool {
        self.knocking.is_some() || self.token(now).is_some()
    }

    fn rest(&mut self, now: Monotonic, is_late: bool) {
        let max = match is_late {
            true => PAUSE_LATE_MAX,
            false => PAUSE_MAX,
        };
        let doubled = PAUSE_MIN.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        self.pause = Some((now + doubled.min(max), is_late));
    }
}

fn refused(failure: Failure, is_late: bool) -> Heard {
    let is_about_it = failure.message.contains(REFUSED);
    match failure.class {
        FailureClass::Forbidden if is_about_it => Heard::Refused {
            is_late,
            why: failure.message,
        },
        // Who it was asked does not know the certificate: while it is good, that is for others to
        // find out.
        FailureClass::Unauthorized if is_late => Heard::NotOffered { is_late },
        FailureClass::Forbidden
        | FailureClass::NotFound
        | FailureClass::NotAnApi
        | FailureClass::Rejected => Heard::NotOffered { is_late },
        _ => Heard::Disturbed(failure.message),
    }
}
