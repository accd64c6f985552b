//! Scenarios with a name: what a seeded bug has to get past.

use crate::rng::Rng;
use crate::scenario::{Change, Host, Noise, Scenario, days};
use everleaf_pki::MlDsa;
use jiff::SignedDuration;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// The names.
pub const NAMES: [&str; 11] = [
    "two-years",
    "storm",
    "ten-years-node",
    "ten-years-both",
    "short-lived",
    "clock-loop",
    "crashes",
    "loop",
    "steal",
    "strip",
    "post-quantum",
];

/// The scenario of that name, with this seed.
pub fn named(name: &str, seed: u64) -> Option<Scenario> {
    Some(match name {
        "two-years" => two_years(seed),
        "storm" => storm(seed),
        "ten-years-node" => ten_years(seed, &[Host::Node(0)]),
        "ten-years-both" => ten_years(seed, &[Host::ControlPlane, Host::Node(0)]),
        "short-lived" => short_lived(seed),
        "clock-loop" => clock_loop(seed),
        "crashes" => crashes(seed),
        "loop" => hostile_loop(seed),
        "steal" => calm(seed).with(HOUR, Change::Steal(1)),
        // Just after its bootstrap token brought it its first certificate.
        "strip" => calm(seed).with(Duration::ZERO, Change::Strip(0, 10 * MINUTE)),
        "post-quantum" => post_quantum(seed),
        _ => return None,
    })
}

fn calm(seed: u64) -> Scenario {
    Scenario::calm(seed)
}

/// Power is lost again and again just after the server has stored a request.
fn crashes(seed: u64) -> Scenario {
    let calm = Scenario {
        nodes: 1,
        duration: days(1),
        noise: Noise {
            downtime_max: MINUTE,
            ..Noise::default()
        },
        ..calm(seed)
    };
    (0..120).fold(calm, |scenario, count| {
        let at = Duration::from_secs(5) * count;
        scenario.with(at, Change::CrashUnheard(0))
    })
}

/// Another holder of a bootstrap token asks in a node's name, whose certificates last an hour.
fn hostile_loop(seed: u64) -> Scenario {
    let calm = Scenario {
        nodes: 2,
        duration: 2 * HOUR,
        signing_duration: HOUR,
        ..calm(seed)
    };
    calm.with(10 * MINUTE, Change::Loop(0, 100 * MINUTE))
}

/// Five nodes for half a year of 30 days' certificates, under lost messages and power.
fn two_years(seed: u64) -> Scenario {
    Scenario {
        nodes: 5,
        duration: days(180),
        signing_duration: days(30),
        noise: Noise {
            request_loss_per_mille: 50,
            response_loss_per_mille: 50,
            power_loss_per_mille: 50,
            downtime_max: 4 * HOUR,
            drift_ppm_max: 50,
        },
        ..Scenario::calm(seed)
    }
}

/// The user's story: a certificate of ten years, clocks set to eight days before its end, a
/// restart.
fn ten_years(seed: u64, hosts: &[Host]) -> Scenario {
    let ahead = SignedDuration::from_hours(24 * (3650 - 8 - 2));
    let calm = Scenario {
        nodes: 1,
        duration: days(12),
        signing_duration: days(3650),
        serving: true,
        ..Scenario::calm(seed)
    };
    let set = hosts.iter().fold(calm, |scenario, host| {
        scenario.with(days(2), Change::Clock(*host, ahead))
    });
    set.with(days(2) + MINUTE, Change::Restart(0))
}

/// A fleet is given ML-DSA keys node by node, and the usual ones again, while messages and power
/// are lost. Every agent starts anew with each change, and keeps its certificate until it is due.
fn post_quantum(seed: u64) -> Scenario {
    let sets = [MlDsa::MlDsa44, MlDsa::MlDsa65, MlDsa::MlDsa87];
    let scenario = Scenario {
        duration: days(9),
        serving: true,
        noise: Noise {
            request_loss_per_mille: 20,
            response_loss_per_mille: 20,
            power_loss_per_mille: 20,
            downtime_max: MINUTE,
            drift_ppm_max: 50,
        },
        ..Scenario::calm(seed)
    };
    (0..).zip(sets).fold(scenario, |scenario, (node, set)| {
        let after = HOUR * 6 * node;
        scenario
            .with(days(2) + after, Change::Keys(node, Some(set)))
            .with(days(5) + after, Change::Keys(node, None))
    })
}

/// Certificates of an hour.
fn short_lived(seed: u64) -> Scenario {
    Scenario {
        nodes: 3,
        duration: days(2),
        signing_duration: HOUR,
        serving: true,
        noise: Noise {
            request_loss_per_mille: 20,
            response_loss_per_mille: 20,
            power_loss_per_mille: 20,
            downtime_max: MINUTE,
            drift_ppm_max: 50,
        },
        ..Scenario::calm(seed)
    }
}

/// A node whose clock is most of a lifetime ahead finds every new certificate old at birth.
fn clock_loop(seed: u64) -> Scenario {
    let calm = Scenario {
        nodes: 2,
        duration: days(3),
        signing_duration: days(10),
        ..Scenario::calm(seed)
    };
    let ahead = SignedDuration::from_hours(24 * 9 + 12);
    let calm = calm.with(HOUR, Change::Clock(Host::Node(0), ahead));
    calm.with(days(1), Change::Restart(0))
}

/// Everything that may happen within the fault budget, at times that the seed draws.
fn storm(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed).branch("storm");
    let nodes = 3;
    let mut storm = Scenario {
        nodes,
        duration: days(40),
        signing_duration: days(10),
        serving: true,
        noise: Noise {
            request_loss_per_mille: 30,
            response_loss_per_mille: 30,
            power_loss_per_mille: 30,
            downtime_max: HOUR,
            drift_ppm_max: 100,
        },
        ..Scenario::calm(seed)
    };
    for _ in 0..40 {
        let at = HOUR + MINUTE * u32::try_from(rng.below(39 * 24 * 60)).unwrap_or(0);
        let node = u32::try_from(rng.below(u64::from(nodes))).unwrap_or(0);
        let minutes = MINUTE * u32::try_from(1 + rng.below(90)).unwrap_or(1);
        let ppm = i64::try_from(rng.below(400)).unwrap_or(0) - 200;
        // At most a day in each direction, and back: certificates have a day left when they are
        // due.
        let back_and_forth = SignedDuration::from_mins(i64::try_from(rng.below(600)).unwrap_or(0));
        match rng.below(9) {
            0 => storm = storm.with(at, Change::ControllersDown(minutes)),
            1 | 2 => storm = storm.with(at, Change::CrashUnheard(node)),
            3 => storm = storm.with(at, Change::Cut(node, minutes)),
            4 => storm = storm.with(at, Change::Drift(Host::Node(node), ppm)),
            5 => storm = storm.with(at, Change::Restart(node)),
            6 => storm = storm.with(at, Change::ServerDown(minutes)),
            7 => storm = storm.with(at, Change::Suspend(node, minutes)),
            _ => {
                let clock = |by| Change::Clock(Host::Node(node), by);
                storm = storm
                    .with(at, clock(back_and_forth))
                    .with(at + minutes, clock(-back_and_forth));
            }
        }
    }
    storm
}
