//! Logins with a token that is not accepted: they are no requests of the API, so the audit log does
//! not have them. They are counted, and told at most once a minute.

use std::time::Duration;

/// How often they are told while they go on.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Those that are not told yet.
#[derive(Debug, Default)]
pub(super) struct Refused {
    count: u64,
    told: Option<Duration>,
}

impl Refused {
    /// One more, `now` after the start; if they are to be told, how many there were since the last
    /// time.
    pub(super) fn add(&mut self, now: Duration) -> Option<u64> {
        self.count += 1;
        if self.told.is_some_and(|told| now < told + TOLD_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_told_once_a_minute() {
        let mut refused = Refused::default();
        for (seconds, expected) in [
            (0, Some(1)),
            (1, None),
            (59, None),
            (60, Some(3)),
            (300, Some(1)),
        ] {
            let told = refused.add(Duration::from_secs(seconds));
            assert_eq!(told, expected, "at {seconds} s");
        }
    }
}
