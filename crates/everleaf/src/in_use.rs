//! What was read and is in use, and is read again: a renewed certificate, a changed configuration.

use crate::told::Told;
use anyhow::Result;
use tokio::time::Instant;

/// Something that was read and is in use.
pub(crate) struct InUse<T> {
    what: String,
    known: T,
    told: Told,
}

/// What came of another look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is as it was.
    Same,
    /// What is new is in use.
    Taken,
    /// It cannot be used.
    Refused,
}

impl<T: PartialEq> InUse<T> {
    pub(crate) fn new(what: impl Into<String>, known: T) -> Self {
        Self {
            what: what.into(),
            known,
            told: Told::default(),
        }
    }

    pub(crate) fn known(&self) -> &T {
        &self.known
    }

    /// Looks again, at `now`: what is new is taken. What cannot be used is told, again while it
    /// lasts, and what was in use stays.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        read: impl FnOnce() -> Result<T>,
        take: impl FnOnce(&T) -> Result<()>,
    ) -> Look {
        let what = &self.what;
        let outcome = read().and_then(|found| {
            if found == self.known {
                return Ok(Look::Same);
            }
            take(&found)?;
            self.known = found;
            tracing::info!("{what} was read again");
            Ok(Look::Taken)
        });
        match outcome {
            Ok(look) => {
                self.told.forget();
                look
            }
            Err(error) => {
                let text = crate::failure::chain(&error);
                if self.told.is_news(&text, now) {
                    tracing::warn!("{text}; the {what} that was read before stays in use");
                }
                Look::Refused
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn what_cannot_be_used_is_tried_again_and_what_was_in_use_stays() {
        let now = Instant::now();
        let mut in_use = InUse::new("thing", 1);
        let mut taken = Vec::new();
        let look = in_use.look(now, || Ok(1), |_| unreachable!("it is in use"));
        assert_eq!(look, Look::Same);
        let look = in_use.look(
            now,
            || Err(anyhow!("gone")),
            |_| unreachable!("nothing was read"),
        );
        assert_eq!(look, Look::Refused);
        for works in [false, false, true] {
            let look = in_use.look(
                now,
                || Ok(2),
                |found| {
                    taken.push((*found, works));
                    works.then_some(()).ok_or_else(|| anyhow!("half of it"))
                },
            );
            assert_eq!(look == Look::Taken, works);
            assert_eq!(*in_use.known() == 2, works);
        }
        assert_eq!(taken, [(2, false), (2, false), (2, true)]);
        let look = in_use.look(now, || Ok(2), |_| unreachable!("it is in use"));
        assert_eq!(look, Look::Same);
    }
}
