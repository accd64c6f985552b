//! What the pages show: a fleet at one instant, and what stands around it.

use super::site::Site;
use crate::cmd::fleet::Live;
use everleaf_fleet::{Fleet, Forecast, Load, Pace};
use jiff::SignedDuration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many were made in this process.
static NUMBERS: AtomicU64 = AtomicU64::new(0);
/// Days of which the renewals are foreseen.
pub(super) const DAYS: usize = 30;

/// See the module documentation.
pub(super) struct Snapshot {
    /// No other one of this process has it.
    pub(super) number: u64,
    pub(super) fleet: Fleet,
    /// The API server, as the kubeconfig has it.
    pub(super) server: String,
    pub(super) version: Option<String>,
    /// Who the API server says that this is; empty: it does not say.
    pub(super) user: String,
    /// The API server's clock minus this machine's.
    pub(super) skew: SignedDuration,
    /// What was issued; `None`: requests may not be read.
    pub(super) pace: Option<Pace>,
    /// Renewals of the next [`DAYS`].
    pub(super) load: Load,
    /// How far a roll of the CA has come, line by line; empty: there is none.
    pub(super) roll: Vec<String>,
    /// Where the pages are that show it.
    pub(super) site: Arc<Site>,
}

impl Snapshot {
    /// What is known now.
    pub(super) fn of(live: &Live, (site, user): (&Arc<Site>, &str), roll: &[String]) -> Self {
        let (seen, fleet) = (live.seen(), live.fleet());
        let evidence = &seen.facts.evidence;
        let load = Forecast::of(&fleet, DAYS).load;
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            server: seen.server.clone(),
            version: evidence.version.read().cloned(),
            user: user.to_owned(),
            skew: evidence.now.duration_since(evidence.local),
            pace: Pace::of(evidence),
            load,
            roll: roll.to_vec(),
            site: Arc::clone(site),
            fleet,
        }
    }
}
