//! When a failure that lasts is told: at each change, and again while it goes on.

use std::time::Duration;
use tokio::time::Instant;

/// How often the same failure is told.
const TELL_AGAIN: Duration = Duration::from_secs(600);

/// What was told last of one thing that fails, and when.
#[derive(Debug, Default)]
pub(crate) struct Told(Option<(String, Instant)>);

impl Told {
    /// Whether `text` is to be told at `now`; it counts as told then.
    pub(crate) fn is_news(&mut self, text: &str, now: Instant) -> bool {
        let is_news = match &self.0 {
            None => true,
            Some((before, at)) => before != text || *at + TELL_AGAIN <= now,
        };
        if is_news {
            self.0 = Some((text.to_owned(), now));
        }
        is_news
    }

    /// It works again.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_each_change_and_again_every_ten_minutes() {
        let mut told = Told::default();
        let begin = Instant::now();
        for (seconds, text, expected) in [
            (0, "a", true),
            (599, "a", false),
            (600, "a", true),
            (601, "b", true),
            (602, "a", true),
            (603, "a", false),
        ] {
            let now = begin + Duration::from_secs(seconds);
            assert_eq!(told.is_news(text, now), expected, "{text} at {seconds} s");
        }
        told.forget();
        assert!(told.is_news("a", begin));
    }
}
