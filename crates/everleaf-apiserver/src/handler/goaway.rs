//! Whether a client over HTTP/2 is asked to connect anew. Behind a load balancer that spreads
//! connections, and not requests, clients that never leave stay where they once came
//! (`apiserver/pkg/server/filters/goaway.go`).

use super::Server;

/// How likely a request is to be answered with a wish for another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chance(
    /// A draw below it strikes.
    u64,
);

impl Chance {
    /// No request.
    pub const NEVER: Self = Self(0);
    /// The most that there may be: one request of fifty.
    pub const MAX: f64 = 0.02;

    /// From 0 to [`Chance::MAX`]; None for anything else.
    pub fn new(share: f64) -> Option<Self> {
        /// Numbers that can be drawn.
        const DRAWS: f64 = 18_446_744_073_709_551_616.0;
        if !(0.0..=Self::MAX).contains(&share) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a fiftieth of all numbers at most, and none below zero"
        )]
        let below = (share * DRAWS) as u64;
        Some(Self(below))
    }

    /// Whether a number that was drawn from all is one of those that strike.
    fn strikes(self, draw: u64) -> bool {
        draw < self.0
    }
}

impl Server {
    /// Is the client of this request to connect anew for the next one? What it has under way is not
    /// touched.
    pub(crate) fn sends_away(&self) -> bool {
        let chance = self.limits.goaway;
        chance != Chance::NEVER && chance.strikes(u64::from_le_bytes(self.random_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_is_a_share_of_all_draws() {
        for bad in [-0.001, 0.021, f64::NAN, f64::INFINITY] {
            assert_eq!(Chance::new(bad), None, "{bad}");
        }
        assert_eq!(Chance::new(0.0), Some(Chance::NEVER));
        let fiftieth = Chance::new(0.02).unwrap();
        let struck = (0..1_000_u64).filter(|step| fiftieth.strikes(step * (u64::MAX / 1_000)));
        assert_eq!(struck.count(), 21, "0 and the next twenty");
        assert!(!Chance::NEVER.strikes(0));
    }
}
