//! What is simulated: the size of the fleet, how long, and which faults.
//!
//! **Fault budget.** No node may lapse as long as it is down, in all, for less than the shortest window
//! between rotation deadline and expiry: 10 % of what the signer grants. A scenario that keeps nodes down
//! for longer describes a world in which nodes lapse, rightly.

use std::time::Duration;

/// A scripted world. The same scenario and seed give the same run, to the byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Root of all randomness.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u32,
    /// How long faults go on.
    pub duration: Duration,
    /// What the signer grants (`--cluster-signing-duration`).
    pub signing_duration: Duration,
    /// Requests that never arrive, in thousandths.
    pub request_loss_per_mille: u32,
    /// Answers that never arrive although the server has done what it was asked, in thousandths.
    pub response_loss_per_mille: u32,
    /// Disk effects during which power is lost, in thousandths.
    pub power_loss_per_mille: u32,
    /// A node that lost power is back after at most this long.
    pub downtime_max: Duration,
    /// Clocks gain or lose at most this, in microseconds per second.
    pub drift_ppm_max: u32,
}

impl Scenario {
    /// How long a healed fleet may take until every node holds a fresh certificate: the longest
    /// back-off of a machine and one issuance.
    pub const CONVERGENCE: Duration = Duration::from_secs(2 * 3600);

    /// A small fleet without faults.
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            nodes: 3,
            duration: Duration::from_secs(7 * 86_400),
            signing_duration: Duration::from_secs(86_400),
            request_loss_per_mille: 0,
            response_loss_per_mille: 0,
            power_loss_per_mille: 0,
            downtime_max: Duration::from_secs(600),
            drift_ppm_max: 0,
        }
    }
}
