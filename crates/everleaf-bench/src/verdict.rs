//! Whether the load itself was what bounded the rate.

use std::fmt;
use std::time::Duration;

/// Share of all processors from which on a generator has no room left.
const FULL: f64 = 0.8;
/// Least processor time of a generator that can be compared: others are counted in hundredths of a
/// second.
const COMPARED_MIN: Duration = Duration::from_millis(200);
/// Lateness of 1 of 100 timers from which on work waits for a processor.
const LATE_MS: f64 = 25.0;

/// What it is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Processor time of the generator.
    pub(crate) own: Duration,
    /// Of the processes that it watched, if it watched any.
    pub(crate) watched: Option<Duration>,
    /// How long it ran.
    pub(crate) elapsed: Duration,
    /// Processors that it may use.
    pub(crate) processors: u32,
    /// Lateness of its timers, 99th of 100.
    pub(crate) late_ms: f64,
}

/// The judgement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It had time left.
    Idle(Facts),
    /// It used nearly all processors.
    Full(Facts),
    /// It used more than what it measures.
    Heavier(Facts),
    /// It waited for processors that others used.
    Starved(Facts),
}

impl Facts {
    /// The share of all processors that the generator used.
    pub(crate) fn share(&self) -> f64 {
        let all = self.elapsed.as_secs_f64() * f64::from(self.processors);
        if all > 0.0 {
            self.own.as_secs_f64() / all
        } else {
            0.0
        }
    }
}

impl PartialEq for Facts {
    fn eq(&self, other: &Self) -> bool {
        (self.own, self.watched, self.elapsed, self.processors)
            == (other.own, other.watched, other.elapsed, other.processors)
            && self.late_ms.total_cmp(&other.late_ms).is_eq()
    }
}

/// Judges.
pub(crate) fn judge(facts: Facts) -> Verdict {
    let is_heavier =
        facts.own >= COMPARED_MIN && facts.watched.is_some_and(|watched| watched < facts.own);
    if facts.share() >= FULL {
        Verdict::Full(facts)
    } else if is_heavier {
        Verdict::Heavier(facts)
    } else if facts.late_ms >= LATE_MS {
        Verdict::Starved(facts)
    } else {
        Verdict::Idle(facts)
    }
}

impl Verdict {
    /// Whether the rate is the generator's own.
    pub(crate) fn is_bottleneck(self) -> bool {
        matches!(self, Self::Full(_) | Self::Heavier(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle(facts) => write!(
                f,
                "the generator was not the bottleneck: it used {:.0} % of {} processors, and 99 of 100 of its timers were \
                 at most {:.1} ms late",
                facts.share() * 100.0,
                facts.processors,
                facts.late_ms
            ),
            Self::Full(facts) => write!(
                f,
                "the generator was the bottleneck: it used {:.0} % of {} processors; run it on another machine",
                facts.share() * 100.0,
                facts.processors,
            ),
            Self::Heavier(_) => f.write_str(
                "the generator was the bottleneck where it shares processors with what it measures: it used more \
                 processor time than they did; processor time per certificate counts, the rate is its own",
            ),
            Self::Starved(facts) => write!(
                f,
                "the generator had to wait for a processor: 1 of 100 of its timers was more than {:.0} ms late; other \
                 work on this machine, the server's if it runs here, bounds rate and latency",
                facts.late_ms
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(own: f64, watched: Option<f64>, late_ms: f64) -> Facts {
        Facts {
            own: Duration::from_secs_f64(own),
            watched: watched.map(Duration::from_secs_f64),
            elapsed: Duration::from_secs(10),
            processors: 2,
            late_ms,
        }
    }

    #[test]
    fn a_generator_that_fills_the_processors_or_outweighs_the_server_says_so() {
        let judged = |own, watched, late| {
            let verdict = judge(facts(own, watched, late));
            (verdict.is_bottleneck(), verdict.to_string())
        };
        for (own, watched, late, bottleneck, words) in [
            (4.0, None, 1.0, false, "used 20 % of 2 processors"),
            (4.0, Some(15.0), 1.0, false, "not the bottleneck"),
            (
                16.5,
                None,
                1.0,
                true,
                "used 82 % of 2 processors; run it on",
            ),
            (16.5, Some(1.0), 90.0, true, "used 82 %"),
            (
                9.0,
                Some(8.0),
                1.0,
                true,
                "more processor time than they did",
            ),
            (0.1, Some(0.05), 1.0, false, "not the bottleneck"),
            (4.0, Some(15.0), 40.0, false, "more than 40 ms late"),
            (0.0, None, 25.0, false, "had to wait"),
        ] {
            let (is, text) = judged(own, watched, late);
            assert_eq!(is, bottleneck, "{text}");
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_run_without_time_has_no_share() {
        let none = Facts {
            elapsed: Duration::ZERO,
            ..facts(1.0, None, 0.0)
        };
        assert!(!judge(none).is_bottleneck());
    }
}
