//! token-cleaner-controller: deletes bootstrap tokens that have expired.
//!
//! The rules of kubernetes 1.37 `pkg/controller/bootstrap/tokencleaner.go`, and two more. A token
//! is judged again every minute, since clocks are set. And it is kept while the API server's clock
//! and ours are further apart than the time for which it has been over: one of the two is wrong,
//! and a deletion cannot be taken back.

use super::cache::Cache;
use super::token::{Expiration, Token};
use super::{Kept, LOOK_INTERVAL, Moment, Reply, Rules, Verdict, Watched};
use crate::call::{Answer, Call, segment};
use crate::follower::Delta;
use crate::queue::Outcome;
use everleaf_time::CLOCK_STEP_MIN;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
/// What every API server answers to everybody.
const VERSION: &str = "/version";

/// What to do about one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It has expired, and both clocks say so.
    Delete,
    /// It has expired by our clock, which is this far apart from the API server's.
    Doubt {
        /// Server clock minus ours.
        offset: SignedDuration,
        /// Until our clock alone would be enough.
        wait: Duration,
    },
    /// It never expires.
    Keep,
    /// It expires after this long.
    Wait(Duration),
}

/// Judges a token by our clock, and by how far the API server's is from it.
pub fn decide(expiration: Expiration, now: Timestamp, offset: SignedDuration) -> Action {
    let end = match expiration {
        Expiration::Never => return Action::Keep,
        // No clock makes that good.
        Expiration::Unreadable => return Action::Delete,
        Expiration::At(end) => end,
    };
    let overdue = end.duration_until(now);
    if overdue.is_negative() {
        return Action::Wait(overdue.unsigned_abs());
    }
    let doubt = offset.abs().saturating_sub(overdue);
    match Duration::try_from(doubt) {
        Ok(wait) if !wait.is_zero() => Action::Doubt { offset, wait },
        _ => Action::Delete,
    }
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct TokenCleaner {
    tokens: Cache<Token>,
    /// The token before whose deletion the API server is asked for its time.
    asked: Option<String>,
    /// Tokens that were told to be doubtful.
    doubted: BTreeSet<String>,
}

impl TokenCleaner {
    fn later(wait: Duration) -> Verdict {
        Verdict::Done(Outcome::After(wait.min(LOOK_INTERVAL)))
    }
}

impl Rules for TokenCleaner {
    fn title(&self) -> &'static str {
        "token cleaner"
    }

    fn queue_name(&self) -> &'static str {
        "token_cleaner"
    }

    fn watches(&self) -> &'static [Watched] {
        &[Watched::Tokens]
    }

    fn take(&mut self, _: Watched, delta: Delta) -> Vec<String> {
        self.tokens.take(delta, |object| Token::read(&object))
    }

    fn is_synced(&self) -> bool {
        self.tokens.is_synced()
    }

    fn keys(&self) -> Vec<String> {
        self.tokens.iter().map(|(key, _)| key.clone()).collect()
    }

    fn judge(&mut self, key: &str, moment: Moment, told: &mut Vec<Kept>) -> Verdict {
        let was_asked = self.asked.take().is_some();
        let Some(token) = self.tokens.get(key) else {
            self.doubted.remove(key);
            return Verdict::Done(Outcome::Finished);
        };
        let path = format!("{SECRETS}/{}", segment(&token.name));
        let offset = moment.offset.unwrap_or(SignedDuration::ZERO);
        match decide(token.expiration, moment.now.wall, offset) {
            Action::Keep => Verdict::Done(Outcome::Finished),
            Action::Wait(wait) => Self::later(wait),
            Action::Doubt { offset, wait } => {
                // Less than that is the way of a header that counts whole seconds.
                if offset.unsigned_abs() > CLOCK_STEP_MIN && self.doubted.insert(key.to_owned()) {
                    let secret = key.to_owned();
                    told.push(Kept::TokenDoubted { secret, offset });
                }
                Self::later(wait)
            }
            Action::Delete if moment.offset.is_none() && !was_asked => {
                // Any answer tells the server's time; for this one nobody needs a right.
                self.asked = Some(key.to_owned());
                Verdict::Call(Call::new(Method::GET, VERSION, None))
            }
            Action::Delete => {
                told.push(Kept::TokenExpired {
                    secret: key.to_owned(),
                    expiration: token.expiration,
                });
                // Only if it is still the one that was judged.
                let options = json!({
                    "apiVersion": "v1",
                    "kind": "DeleteOptions",
                    "preconditions": { "uid": token.uid, "resourceVersion": token.resource_version },
                });
                Verdict::Call(Call::new(Method::DELETE, path, Some(options)))
            }
        }
    }

    fn answered(&mut self, key: &str, answer: &Answer, _: Moment, told: &mut Vec<Kept>) -> Reply {
        if self.asked.is_some() && answer.is_ok() {
            return Reply::Again;
        }
        let was_asked = self.asked.take().is_some();
        match answer {
            Ok(_) => Reply::Done(Outcome::After(LOOK_INTERVAL)),
            // It is gone or has changed, which the watch will say.
            Err(error) if matches!(error.code(), 404 | 409) => {
                Reply::Done(Outcome::After(LOOK_INTERVAL))
            }
            Err(error) => {
                let rights = "it needs delete on secrets in the namespace kube-system: \
                              see the Role system:controller:token-cleaner";
                told.push(Kept::TokenFailed {
                    secret: key.to_owned(),
                    what: if was_asked {
                        "asking for the time before deleting"
                    } else {
                        "deleting"
                    },
                    error: error.advised(rights),
                });
                let at_least = error.retry_after();
                Reply::Done(Outcome::Failed { at_least })
            }
        }
    }
}
