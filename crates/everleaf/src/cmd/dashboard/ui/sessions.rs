//! Who has logged in with a token: a table in memory, and when each entry of it ends.
//!
//! An entry says nothing of what its token is worth: that is judged anew each time. Time is an
//! argument, counted from the start of the process.

use everleaf_agent::Secret;
use std::collections::HashMap;
use std::time::Duration;

/// Longest life of a session.
pub(super) const LIFE_MAX: Duration = Duration::from_secs(8 * 3600);
/// A session that nobody uses ends.
const IDLE_MAX: Duration = Duration::from_secs(3600);
/// Sessions at once.
const SESSIONS_MAX: usize = 256;
/// Of one user: with one more, the oldest ends.
const PER_USER_MAX: usize = 8;

/// Sessions by the secret in the browser's cookie.
#[derive(Default)]
pub(super) struct Sessions(HashMap<String, Session>);

struct Session {
    token: Secret,
    user: String,
    begun: Duration,
    used: Duration,
}

impl Session {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.begun) >= LIFE_MAX || now.saturating_sub(self.used) >= IDLE_MAX
    }
}

impl Sessions {
    /// Begins a session of `user`, who came with `token`; false: there are too many of others.
    pub(super) fn begin(&mut self, id: String, token: Secret, user: &str, now: Duration) -> bool {
        self.0.retain(|_, session| !session.is_over(now));
        let own = self.0.iter().filter(|(_, session)| session.user == user);
        let own: Vec<_> = own.map(|(id, session)| (session.begun, id)).collect();
        if own.len() >= PER_USER_MAX {
            let oldest = own.into_iter().min().map(|(_, id)| id.clone());
            oldest.and_then(|id| self.0.remove(&id));
        }
        if self.0.len() >= SESSIONS_MAX {
            return false;
        }
        let user = user.to_owned();
        let session = Session {
            token,
            user,
            begun: now,
            used: now,
        };
        self.0.insert(id, session);
        true
    }

    /// The token of a session, which is used now.
    pub(super) fn r#use(&mut self, id: &str, now: Duration) -> Option<Secret> {
        let session = self.0.get_mut(id).filter(|session| !session.is_over(now))?;
        session.used = now;
        Some(session.token.clone())
    }

    /// Whether a session goes on.
    pub(super) fn has(&self, id: &str, now: Duration) -> bool {
        self.0.get(id).is_some_and(|session| !session.is_over(now))
    }

    /// Ends a session.
    pub(super) fn end(&mut self, id: &str) {
        self.0.remove(id);
    }
}

/// A token as it was typed, or pasted with what stands before it in a request.
pub(super) fn bare_token(typed: &str) -> &str {
    let typed = typed.trim();
    match typed.split_once(char::is_whitespace) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
        _ => typed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_be_pasted_as_it_stands_in_a_request() {
        for typed in ["x", " x\n", "Bearer x", "bearer  x", "BEARER\tx "] {
            assert_eq!(bare_token(typed), "x", "{typed:?}");
        }
        for typed in ["Bearer", "Bearerx", "Basic x", ""] {
            assert_eq!(bare_token(typed), typed);
        }
    }

    const START: Duration = Duration::from_secs(1000);

    fn begin(sessions: &mut Sessions, id: &str, user: &str, now: Duration) -> bool {
        sessions.begin(id.to_owned(), Secret::new(format!("t-{id}")), user, now)
    }

    #[test]
    fn a_session_ends_by_its_age_and_when_nobody_uses_it() {
        let mut sessions = Sessions::default();
        assert!(begin(&mut sessions, "a", "ann", START));
        assert_eq!(sessions.r#use("b", START).map(|_| ()), None);
        let token = sessions.r#use("a", START).unwrap();
        assert_eq!(token.expose(), "t-a");
        let idle = START + IDLE_MAX;
        assert!(sessions.has("a", idle - Duration::from_secs(1)));
        assert!(!sessions.has("a", idle) && sessions.r#use("a", idle).is_none());
        let mut now = START;
        while now + IDLE_MAX / 2 < START + LIFE_MAX {
            now += IDLE_MAX / 2;
            assert!(sessions.r#use("a", now).is_some(), "{now:?}");
        }
        assert!(sessions.r#use("a", START + LIFE_MAX).is_none());
    }

    #[test]
    fn a_session_that_was_ended_is_gone() {
        let mut sessions = Sessions::default();
        assert!(begin(&mut sessions, "a", "ann", START));
        assert!(begin(&mut sessions, "b", "ann", START));
        sessions.end("a");
        assert!(!sessions.has("a", START) && sessions.has("b", START));
    }

    #[test]
    fn nobody_has_all_of_them() {
        let mut sessions = Sessions::default();
        for number in 0..PER_USER_MAX + 2 {
            let now = START + Duration::from_secs(number as u64);
            assert!(begin(&mut sessions, &format!("ann-{number}"), "ann", now));
        }
        let now = START + Duration::from_secs(60);
        let lives = |sessions: &Sessions, id: &str| sessions.has(id, now);
        assert!(!lives(&sessions, "ann-0") && !lives(&sessions, "ann-1"));
        assert!(lives(&sessions, "ann-2") && lives(&sessions, "ann-9"));
        for number in PER_USER_MAX..SESSIONS_MAX {
            let user = format!("user-{number}");
            assert!(begin(&mut sessions, &user, &user, now));
        }
        assert!(!begin(&mut sessions, "late", "late", now));
        assert!(
            begin(&mut sessions, "again", "ann", now),
            "in place of her oldest"
        );
        assert!(
            begin(&mut sessions, "late", "late", now + LIFE_MAX),
            "the others have ended"
        );
    }
}
