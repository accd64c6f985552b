//! A server that is killed and paused under load, and what its clients saw: the short form of
//! `cargo xtask faults`.

use anyhow::Result;
use everleaf_faults::{Plan, Store, run};
use everleaf_stage::runner::{Test, Verdict, say};
use everleaf_stage::{Sandbox, ensure_that};

pub(super) const TESTS: &[Test] = &[Test {
    name: "what_was_acknowledged_is_seen_ever_after_and_each_change_is_told_once",
    long: true,
    run: faults,
}];

/// Rounds, of some three seconds each.
const ROUNDS: u32 = 3;
/// Faults that are planted into copies of what was seen.
const PLANTED: usize = 6;

fn faults(sandbox: &Sandbox) -> Result<Verdict> {
    let report = run(
        sandbox,
        Plan {
            store: Store::Embedded,
            rounds: ROUNDS,
            seed: 1,
            is_told: false,
        },
    )?;
    say(&report.to_string());
    ensure_that!(report.planted >= PLANTED, "{report}");
    Ok(Verdict::Passed)
}
