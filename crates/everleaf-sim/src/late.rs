//! Late re-issue of a simulated node: the agent's machine, and what its disk keeps of it.

use crate::disk::PowerLoss;
use crate::rng::Rng;
use everleaf_agent::client::{Answer, Failure};
use everleaf_agent::late_reissue::{Heard, Kept, LateReissue};
use everleaf_rotation::Monotonic;

/// Names of attempts.
pub struct Names(Rng);

impl Names {
    /// The next one.
    pub fn name(&mut self) -> String {
        format!("{:016x}{:016x}", self.0.next_word(), self.0.next_word())
    }
}

/// See the module documentation.
pub struct Late {
    /// What decides.
    pub machine: LateReissue,
    /// Names of attempts.
    pub names: Names,
    disk: String,
    tokens: u64,
}

impl Late {
    /// Of a node that has never registered.
    pub fn new(rng: &Rng) -> Self {
        Self {
            machine: LateReissue::default(),
            names: Names(rng.branch("attempts")),
            disk: String::new(),
            tokens: 0,
        }
    }

    /// The agent ends: what is not on disk is gone.
    pub fn restart(&mut self) {
        let kept = Kept::read(self.disk.as_bytes()).unwrap_or_default();
        self.machine = LateReissue::new(kept);
    }

    /// Writes what has to be on disk, whole or not at all; true: power was lost before or after.
    pub fn keep(&mut self, power: &mut PowerLoss) -> bool {
        let text = self.machine.kept().text();
        let strike = power.strike();
        if strike.is_none_or(|operations| operations % 2 == 1) {
            self.disk = text;
        }
        strike.is_some()
    }

    /// Takes in the answer to a knock; what it means, and whether power was lost while it was
    /// kept.
    pub fn take(
        &mut self,
        answer: Result<Answer, Failure>,
        now: Monotonic,
        power: &mut PowerLoss,
    ) -> (Heard, bool) {
        let heard = self.machine.take(answer, now);
        let is_lost = match &heard {
            Heard::Registered { .. } => self.keep(power),
            Heard::Recovered { .. } => {
                self.tokens += 1;
                false
            }
            _ => false,
        };
        (heard, is_lost)
    }

    /// How many tokens there were.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The token for the next request, if there is one.
    pub fn token(&self, now: Monotonic) -> Option<&str> {
        self.machine.token(now).map(|token| token.expose())
    }
}
