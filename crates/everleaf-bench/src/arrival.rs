//! When each node of an open load comes, and the chance that it takes.

use crate::plan::Arrival;
use std::time::Duration;

/// Moments after the start at which nodes come, in order; `None` where each waits for another one.
pub(crate) fn moments(arrival: Arrival, nodes: u32, chance: &mut Chance) -> Option<Vec<Duration>> {
    match arrival {
        Arrival::ClosedLoop { .. } => None,
        Arrival::Poisson { per_second } => {
            let mut at = 0.0;
            let mut next = || {
                at += chance.gap() / per_second;
                Duration::try_from_secs_f64(at).unwrap_or(Duration::MAX)
            };
            Some((0..nodes).map(|_| next()).collect())
        }
        Arrival::Herd { within } => {
            let mut moments: Vec<Duration> = (0..nodes)
                .map(|_| within.mul_f64(chance.fraction()))
                .collect();
            moments.sort_unstable();
            Some(moments)
        }
    }
}

/// Numbers by chance from a seed (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom
/// number generators", 2014). For loads, not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    fn fraction(&mut self) -> f64 {
        const STEPS: f64 = (1u64 << 53) as f64;
        (self.next() >> 11) as f64 / STEPS
    }

    /// Exponentially distributed with a mean of 1.
    fn gap(&mut self) -> f64 {
        -(1.0 - self.fraction()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: u32 = 20_000;

    fn seconds(arrival: Arrival, seed: u64) -> Vec<f64> {
        let moments = moments(arrival, NODES, &mut Chance::new(seed)).unwrap();
        moments.iter().map(Duration::as_secs_f64).collect()
    }

    #[test]
    fn a_closed_loop_has_no_moments() {
        let arrival = Arrival::ClosedLoop { in_flight: 3 };
        assert_eq!(moments(arrival, 5, &mut Chance::new(1)), None);
    }

    #[test]
    fn a_poisson_process_has_its_rate_and_gaps_without_memory() {
        let per_second = 250.0;
        for seed in [0, 1, 77] {
            let at = seconds(Arrival::Poisson { per_second }, seed);
            assert!(at.is_sorted());
            let rate = f64::from(NODES) / at[at.len() - 1];
            assert!((rate / per_second - 1.0).abs() < 0.03, "{rate}");
            // The share of gaps above their mean is 1/e; the standard deviation is the mean.
            let gaps: Vec<f64> = at.windows(2).map(|two| two[1] - two[0]).collect();
            let count = gaps.len() as f64;
            let mean = gaps.iter().sum::<f64>() / count;
            let long = gaps.iter().filter(|gap| **gap > mean).count() as f64 / count;
            assert!((long - (-1f64).exp()).abs() < 0.02, "{long}");
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
            assert!((variance.sqrt() / mean - 1.0).abs() < 0.05);
        }
    }

    #[test]
    fn a_herd_comes_within_its_time_and_evenly() {
        let within = Duration::from_secs(10);
        let at = seconds(Arrival::Herd { within }, 3);
        assert!(at.is_sorted());
        assert!(at.iter().all(|second| (0.0..10.0).contains(second)));
        let early = at.iter().filter(|second| **second < 5.0).count();
        assert!((9_700..10_300).contains(&early), "{early}");
    }

    #[test]
    fn the_same_seed_is_the_same_load_and_another_is_another() {
        let arrival = Arrival::Poisson { per_second: 9.0 };
        assert_eq!(seconds(arrival, 5), seconds(arrival, 5));
        assert_ne!(seconds(arrival, 5), seconds(arrival, 6));
    }
}
