//! When to be called again. Nothing in this crate reads a clock: a caller reads both once per turn
//! and hands them in as [`Now`].

use jiff::Timestamp;
use std::time::Duration;

pub use everleaf_time::{Monotonic, Now, StepDetector};

/// For a text: nobody reads fractions of a second.
pub(crate) fn whole_seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}

/// Longest nap of an embedder: however far the next deadline is, it looks at the wall clock again
/// after this long, so that suspend and clock steps are noticed without a restart.
pub const NAP_MAX: Duration = Duration::from_secs(60);

/// When [`Rotation::handle_timeout`](crate::Rotation::handle_timeout) wants to be called: as soon
/// as either point is reached. Calling earlier is harmless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// Point on the wall clock (a rotation deadline, a `notBefore`).
    pub wall: Option<Timestamp>,
    /// Point on the monotonic clock (back-off, spacing, an answer overdue).
    pub monotonic: Option<Monotonic>,
}

impl Wake {
    /// How long to sleep, seen from `now`: until the earlier of the two points, at most `nap_max`
    /// (usually [`NAP_MAX`]), zero when one has passed.
    ///
    /// ```
    /// use everleaf_rotation::{Monotonic, NAP_MAX, Now, Wake};
    /// use std::time::Duration;
    ///
    /// let now = Now { wall: jiff::Timestamp::UNIX_EPOCH, monotonic: Monotonic::default() };
    /// let wake = Wake { wall: None, monotonic: Some(now.monotonic + Duration::from_secs(7)) };
    /// assert_eq!(wake.nap(now, NAP_MAX), Duration::from_secs(7));
    /// assert_eq!(Wake::default().nap(now, NAP_MAX), NAP_MAX);
    /// ```
    pub fn nap(self, now: Now, nap_max: Duration) -> Duration {
        let wall = self.wall.map(|at| {
            let left = at.duration_since(now.wall);
            Duration::try_from(left).unwrap_or(Duration::ZERO)
        });
        let monotonic = self.monotonic.map(|at| at.since(now.monotonic));
        [wall, monotonic]
            .into_iter()
            .flatten()
            .fold(nap_max, Duration::min)
    }
}
