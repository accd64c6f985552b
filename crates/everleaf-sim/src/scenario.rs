//! What is simulated: the size of the fleet, how long, which faults by chance, and what happens
//! when.
//!
//! **Fault budget.** No node may lapse as long as it is down, asleep or cut off, in all, for less
//! than the shortest window between rotation deadline and expiry: 10 % of what the signer grants.
//! A scenario that keeps nodes down for longer describes a world in which nodes lapse, rightly.
//!
//! A scenario is data, and one line of text: what [`Display`](fmt::Display) writes, `parse` reads.

use everleaf_pki::{KeyAlgorithm, MlDsa};
use jiff::SignedDuration;
use std::fmt;
use std::str::FromStr;
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
    /// How long the authority is valid from the beginning on; `None`: to the end of the century.
    pub authority: Option<Duration>,
    /// Whether nodes keep a serving certificate, too.
    pub serving: bool,
    /// Whether nodes whose certificate has ended come back by their old key.
    pub late: bool,
    /// Faults by chance.
    pub noise: Noise,
    /// What happens, in order of time.
    pub steps: Vec<Step>,
}

/// Faults that strike by chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
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

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// True time since the beginning.
    pub at: Duration,
    /// What.
    pub change: Change,
}

/// Whose clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The one of API server and controllers.
    ControlPlane,
    /// A node, by number.
    Node(u32),
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The wall clock of a host is set forward, or back.
    Clock(Host, SignedDuration),
    /// The controllers are away for so long; the server answers.
    ControllersDown(Duration),
    /// The node loses power as soon as the server has stored its next request, before it hears of
    /// that.
    CrashUnheard(u32),
    /// The node is cut off for so long.
    Cut(u32, Duration),
    /// From now on the clock gains so many microseconds per second.
    Drift(Host, i64),
    /// The agent is started anew with keys of another kind configured; `None`: the usual one.
    Keys(u32, Option<MlDsa>),
    /// Who holds another bootstrap token asks in the name of the node for so long, again as soon
    /// as it was issued what it asked for.
    Loop(u32, Duration),
    /// The node is off for so long. What ends meanwhile is no fault; the node is to be back soon
    /// afterwards.
    Off(u32, Duration),
    /// The agent is started anew.
    Restart(u32),
    /// API server and controllers are away for so long.
    ServerDown(Duration),
    /// Somebody who may file requests, and nothing else, asks for the node's client certificate.
    Steal(u32),
    /// A proxy between the node and the server takes the client certificate away for so long.
    Strip(u32, Duration),
    /// The node is suspended for so long.
    Suspend(u32, Duration),
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
            duration: days(7),
            signing_duration: days(1),
            authority: None,
            serving: false,
            late: false,
            noise: Noise::default(),
            steps: Vec::new(),
        }
    }

    /// The same, with one more thing that happens.
    pub fn with(mut self, at: Duration, change: Change) -> Self {
        self.steps.push(Step { at, change });
        self
    }
}

/// The kind of keys that nodes have unless the scenario says otherwise.
const USUAL_KEYS: &str = "usual";

/// So many days.
pub const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// A text that is no scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no part of a scenario")]
pub struct ParseError(String);

/// A whole number of the largest unit that it is a multiple of.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (unit, word) = UNITS
            .into_iter()
            .find(|(unit, _)| seconds.is_multiple_of(*unit) && seconds > 0)
            .unwrap_or((1, "s"));
        write!(f, "{}{word}", seconds / unit)
    }
}

const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];

impl FromStr for Span {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parsed = UNITS.into_iter().find_map(|(unit, word)| {
            let number: u64 = text.strip_suffix(word)?.parse().ok()?;
            Some(Self(Duration::from_secs(number.checked_mul(unit)?)))
        });
        parsed.ok_or_else(|| ParseError(text.to_owned()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane => f.write_str("control-plane"),
            Self::Node(node) => write!(f, "n{node}"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(host, by) => {
                let sign = if by.is_negative() { '-' } else { '+' };
                write!(f, "clock {host} {sign}{}", Span(by.unsigned_abs()))
            }
            Self::ControllersDown(time) => write!(f, "controllers-down {}", Span(*time)),
            Self::CrashUnheard(node) => write!(f, "crash-unheard n{node}"),
            Self::Cut(node, time) => write!(f, "cut n{node} {}", Span(*time)),
            Self::Drift(host, ppm) => write!(f, "drift {host} {ppm}"),
            Self::Keys(node, None) => write!(f, "keys n{node} {USUAL_KEYS}"),
            Self::Keys(node, Some(set)) => write!(f, "keys n{node} {}", set.name()),
            Self::Loop(node, time) => write!(f, "loop n{node} {}", Span(*time)),
            Self::Off(node, time) => write!(f, "off n{node} {}", Span(*time)),
            Self::Restart(node) => write!(f, "restart n{node}"),
            Self::ServerDown(time) => write!(f, "server-down {}", Span(*time)),
            Self::Steal(node) => write!(f, "steal n{node}"),
            Self::Strip(node, time) => write!(f, "strip n{node} {}", Span(*time)),
            Self::Suspend(node, time) => write!(f, "suspend n{node} {}", Span(*time)),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Noise {
            request_loss_per_mille: requests,
            response_loss_per_mille: responses,
            power_loss_per_mille: power,
            downtime_max,
            drift_ppm_max: drift,
        } = self.noise;
        write!(
            f,
            "seed={} nodes={} for={} grant={} serving={} loss={requests}/{responses} \
             power={power}/{} drift={drift}",
            self.seed,
            self.nodes,
            Span(self.duration),
            Span(self.signing_duration),
            self.serving,
            Span(downtime_max),
        )?;
        if let Some(authority) = self.authority {
            write!(f, " ca={}", Span(authority))?;
        }
        if self.late {
            f.write_str(" late=true")?;
        }
        for Step { at, change } in &self.steps {
            write!(f, "; {} {change}", Span(*at))?;
        }
        Ok(())
    }
}

impl FromStr for Scenario {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut parts = text.split(';').map(str::trim);
        let mut scenario = Self::calm(0);
        for pair in parts.next().unwrap_or_default().split_whitespace() {
            let error = || ParseError(pair.to_owned());
            let (name, value) = pair.split_once('=').ok_or_else(error)?;
            scenario.set(name, value).ok_or_else(error)?;
        }
        for part in parts {
            let step = step(part).ok_or_else(|| ParseError(part.to_owned()))?;
            scenario.steps.push(step);
        }
        Ok(scenario)
    }
}

impl Scenario {
    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        let noise = &mut self.noise;
        match name {
            "seed" => self.seed = value.parse().ok()?,
            "nodes" => self.nodes = value.parse().ok()?,
            "for" => self.duration = span(value)?,
            "grant" => self.signing_duration = span(value)?,
            "ca" => self.authority = Some(span(value)?),
            "serving" => self.serving = value.parse().ok()?,
            "late" => self.late = value.parse().ok()?,
            "loss" => {
                let (requests, responses) = value.split_once('/')?;
                noise.request_loss_per_mille = requests.parse().ok()?;
                noise.response_loss_per_mille = responses.parse().ok()?;
            }
            "power" => {
                let (power, downtime) = value.split_once('/')?;
                noise.power_loss_per_mille = power.parse().ok()?;
                noise.downtime_max = span(downtime)?;
            }
            "drift" => noise.drift_ppm_max = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

fn span(text: &str) -> Option<Duration> {
    text.parse().ok().map(|Span(time)| time)
}

fn step(text: &str) -> Option<Step> {
    let mut words = text.split_whitespace();
    let at = span(words.next()?)?;
    let verb = words.next()?;
    let mut word = || words.next();
    let node = |text: &str| text.strip_prefix('n')?.parse::<u32>().ok();
    let host = |text: &str| match text {
        "control-plane" => Some(Host::ControlPlane),
        other => node(other).map(Host::Node),
    };
    let change = match verb {
        "clock" => {
            let host = host(word()?)?;
            let by = word()?;
            let time = SignedDuration::try_from(span(by.get(1..)?)?).ok()?;
            match by.chars().next()? {
                '+' => Change::Clock(host, time),
                '-' => Change::Clock(host, -time),
                _ => return None,
            }
        }
        "controllers-down" => Change::ControllersDown(span(word()?)?),
        "crash-unheard" => Change::CrashUnheard(node(word()?)?),
        "cut" => Change::Cut(node(word()?)?, span(word()?)?),
        "drift" => Change::Drift(host(word()?)?, word()?.parse().ok()?),
        "keys" => Change::Keys(node(word()?)?, keys(word()?)?),
        "loop" => Change::Loop(node(word()?)?, span(word()?)?),
        "off" => Change::Off(node(word()?)?, span(word()?)?),
        "restart" => Change::Restart(node(word()?)?),
        "server-down" => Change::ServerDown(span(word()?)?),
        "steal" => Change::Steal(node(word()?)?),
        "strip" => Change::Strip(node(word()?)?, span(word()?)?),
        "suspend" => Change::Suspend(node(word()?)?, span(word()?)?),
        _ => return None,
    };
    words.next().is_none().then_some(Step { at, change })
}

fn keys(text: &str) -> Option<Option<MlDsa>> {
    match KeyAlgorithm::parse(text) {
        Some(KeyAlgorithm::MlDsa(set)) => Some(Some(set)),
        _ => (text == USUAL_KEYS).then_some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_one_line_and_back() {
        let line = "seed=8 nodes=4 for=90d grant=3650d serving=true loss=50/40 power=300/20d \
                    drift=50 ca=30d late=true; 3d clock n0 +3642d; 3d clock control-plane -90m; 4d suspend n1 6h; \
                    5d cut n2 2h; 6d server-down 1h; 7d controllers-down 30s; 8d crash-unheard n0; \
                    9d drift n3 -200; 10d restart n1; 11d loop n0 2h; 12d steal n1; \
                    13d strip n0 5m; 14d keys n1 ML-DSA-65; 15d keys n1 usual; 16d off n2 365d";
        let scenario: Scenario = line.parse().unwrap();
        assert_eq!(scenario.to_string(), line);
        assert_eq!(scenario.steps.len(), 15);
        for nonsense in [
            "seed",
            "seed=x",
            "colour=red",
            "seed=1; 3d fly n0",
            "seed=1; 3d cut n0",
            "seed=1; 3d keys n0 RSA-2048",
        ] {
            assert!(nonsense.parse::<Scenario>().is_err(), "{nonsense}");
        }
    }
}
