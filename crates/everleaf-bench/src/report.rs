//! What a load measured, as it is told to programs: the form of `-o json`, which stays.

use crate::plan::{Arrival, Connections, Plan, Signer, Wait};
use crate::process::{Process, Usage};
use crate::record::{Durations, Errors, Record, STEP};
use crate::trouble::Trouble;
use crate::verdict::{self, Facts, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The form of this document; another number when something in it changes its meaning or goes.
const FORM: u32 = 1;
/// Points of the curve of percentiles: 50 of 100, 75, 87.5 and so on.
const HALVINGS: i32 = 14;
/// Most points of the series over time.
const POINTS_MAX: usize = 120;

/// What a load measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Number of this document's form.
    pub form: u32,
    /// Version of the generator.
    pub version: String,
    /// The API server.
    pub server: String,
    /// What was to be done.
    pub load: LoadReport,
    /// What became of it.
    pub certificates: Certificates,
    /// How long it took until the last certificate.
    pub seconds: f64,
    /// Certificates per second over that time.
    pub per_second: f64,
    /// Durations, in milliseconds.
    pub latency: Latency,
    /// Certificates that were not issued, by kind.
    pub errors: Vec<ErrorReport>,
    /// What was tried again and cost no certificate, by kind.
    pub retries: Vec<ErrorReport>,
    /// The processes that were watched.
    pub processes: Vec<ProcessReport>,
    /// The generator itself.
    pub generator: Generator,
    /// The machine's load averages at the end over 1, 5 and 15 minutes.
    pub load_average: Option<[f64; 3]>,
    /// Certificates over time.
    pub series: Series,
    /// What became of the requests, if they were to be deleted.
    pub cleanup: Option<Cleaned>,
}

/// What was to be done.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadReport {
    /// How many nodes.
    pub nodes: u32,
    /// `closed`, `poisson` or `herd`.
    pub arrival: &'static str,
    /// Nodes under way at once, of a closed loop.
    pub in_flight: Option<u32>,
    /// Nodes per second on average, of a Poisson process.
    pub rate: Option<f64>,
    /// Seconds within which all come, of a herd.
    pub herd_seconds: Option<f64>,
    /// Shared connections; none when each node has its own.
    pub connections: Option<u32>,
    /// `watch`, `informer` or `poll`.
    pub wait: &'static str,
    /// Seconds between two looks, when polling.
    pub poll_seconds: Option<f64>,
    /// `client` or `serving`.
    pub signer: &'static str,
    /// How often each node asks again.
    pub renewals: u32,
    /// Kind of the keys.
    pub key_algorithm: String,
    /// Longest wait for one certificate, in seconds.
    pub timeout_seconds: f64,
    /// How all names begin.
    pub prefix: String,
}

/// What became of the certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    /// How many were to be issued.
    pub wanted: u64,
    /// How many were.
    pub issued: u64,
    /// How many were asked for in vain.
    pub failed: u64,
    /// How many were not asked for, or were under way when it was stopped.
    pub unfinished: u64,
    /// Whether it was stopped.
    pub was_stopped: bool,
}

/// Durations.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// From the sending of the request to the certificate.
    pub certificate: Percentiles,
    /// Of it those that nodes asked for with a certificate that was just issued.
    pub renewal: Option<Percentiles>,
    /// From the sending of the request to the answer that it is there.
    pub create: Percentiles,
}

/// Durations in milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// How many.
    pub count: u64,
    /// The shortest.
    pub min: f64,
    /// Their mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// 90 of 100 were shorter.
    pub p90: f64,
    /// 99 of 100 were shorter.
    pub p99: f64,
    /// 999 of 1,000 were shorter.
    #[serde(rename = "p99.9")]
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The curve: pairs of percentile and duration.
    pub curve: Vec<(f64, f64)>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorReport {
    /// One word for it.
    pub kind: String,
    /// How often.
    pub count: u64,
    /// The first time, in words.
    pub example: String,
}

/// A process that was watched.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessReport {
    /// What it is called.
    pub name: String,
    /// Its number.
    pub pid: u32,
    /// Whether it ended before the load did; then it is not known what it used.
    pub has_ended: bool,
    /// Processor time that it used meanwhile.
    pub cpu_seconds: f64,
    /// The same per certificate, in milliseconds.
    pub cpu_ms_per_certificate: f64,
    /// Resident memory before, in bytes.
    pub memory_before: u64,
    /// The same at the end.
    pub memory_after: u64,
    /// The most since it started.
    pub memory_peak: u64,
}

/// The generator itself.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generator {
    /// Processor time that it used.
    pub cpu_seconds: f64,
    /// The same per certificate, in milliseconds.
    pub cpu_ms_per_certificate: f64,
    /// Processors that it may use.
    pub processors: u32,
    /// The share of them that it used.
    pub processor_share: f64,
    /// How late its timers came, 99th of 100, in milliseconds.
    pub timers_late_ms: f64,
    /// How late nodes came to an open load, 99th of 100, in milliseconds.
    pub nodes_late_ms: Option<f64>,
    /// Whether the rate is its own.
    pub is_bottleneck: bool,
    /// The same in words.
    pub verdict: String,
}

/// Certificates over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// Width of a step.
    pub step_seconds: f64,
    /// Certificates per second in each.
    pub per_second: Vec<f64>,
}

/// What became of the requests at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cleaned {
    /// How many were deleted, or were gone.
    pub deleted: u64,
    /// How many were not.
    pub left: u64,
    /// Why not, the first time.
    pub example: Option<String>,
}

impl Cleaned {
    pub(crate) fn count(&mut self, name: &str, deleted: Result<(), Trouble>) {
        match deleted {
            Ok(()) => self.deleted += 1,
            Err(trouble) if trouble.kind() == "not-found" => self.deleted += 1,
            Err(trouble) => {
                self.left += 1;
                self.example.get_or_insert_with(|| trouble.of(name));
            }
        }
    }
}

/// A process before and after.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) process: Process,
    pub(crate) before: Usage,
    /// None when it has ended.
    pub(crate) after: Option<Usage>,
}

/// What was measured around the load.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) server: String,
    pub(crate) elapsed: Duration,
    pub(crate) own: Duration,
    pub(crate) late_ms: f64,
    pub(crate) processors: u32,
    pub(crate) watched: Vec<Watched>,
    pub(crate) load_average: Option<[f64; 3]>,
    pub(crate) was_stopped: bool,
    pub(crate) cleaned: Option<Cleaned>,
}

impl Report {
    pub(crate) fn new(plan: &Plan, record: &Record, measured: Measured) -> Self {
        let wanted = plan.certificates();
        let seconds = record.last.as_secs_f64();
        let processes: Vec<ProcessReport> = measured
            .watched
            .iter()
            .map(|watched| process(watched, record.issued))
            .collect();
        Self {
            form: FORM,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            server: measured.server.clone(),
            load: load(plan),
            certificates: Certificates {
                wanted,
                issued: record.issued,
                failed: record.failed,
                unfinished: wanted.saturating_sub(record.issued + record.failed),
                was_stopped: measured.was_stopped,
            },
            seconds,
            per_second: share(record.issued as f64, seconds),
            latency: Latency {
                certificate: percentiles(&record.latency),
                renewal: (plan.renewals > 0).then(|| percentiles(&record.renewal)),
                create: percentiles(&record.create),
            },
            errors: errors(&record.errors),
            retries: errors(&record.retries),
            processes,
            generator: generator(record, &measured),
            load_average: measured.load_average,
            series: series(&record.steps),
            cleanup: measured.cleaned,
        }
    }

    /// Whether all certificates were issued.
    pub fn is_complete(&self) -> bool {
        self.certificates.issued == self.certificates.wanted
    }
}

fn load(plan: &Plan) -> LoadReport {
    let (arrival, in_flight, rate, herd_seconds) = match plan.arrival {
        Arrival::ClosedLoop { in_flight } => ("closed", Some(in_flight), None, None),
        Arrival::Poisson { per_second } => ("poisson", None, Some(per_second), None),
        Arrival::Herd { within } => ("herd", None, None, Some(within.as_secs_f64())),
    };
    let (wait, poll_seconds) = match plan.wait {
        Wait::Watch => ("watch", None),
        Wait::Informer => ("informer", None),
        Wait::Poll { interval } => ("poll", Some(interval.as_secs_f64())),
    };
    LoadReport {
        nodes: plan.nodes,
        arrival,
        in_flight,
        rate,
        herd_seconds,
        connections: match plan.connections {
            Connections::Shared(count) => Some(count),
            Connections::PerNode => None,
        },
        wait,
        poll_seconds,
        signer: match plan.signer {
            Signer::Client => "client",
            Signer::Serving => "serving",
        },
        renewals: plan.renewals,
        key_algorithm: plan.key_algorithm.to_string(),
        timeout_seconds: plan.timeout.as_secs_f64(),
        prefix: plan.prefix.to_string(),
    }
}

fn generator(record: &Record, measured: &Measured) -> Generator {
    let watched = measured.watched.iter().map(used).sum();
    let facts = Facts {
        own: measured.own,
        watched: (!measured.watched.is_empty()).then_some(watched),
        elapsed: measured.elapsed,
        processors: measured.processors,
        late_ms: measured.late_ms,
    };
    let verdict: Verdict = verdict::judge(facts);
    let is_open = record.lateness.count() > 0;
    Generator {
        cpu_seconds: measured.own.as_secs_f64(),
        cpu_ms_per_certificate: each_ms(measured.own, record.issued),
        processors: measured.processors,
        processor_share: facts.share(),
        timers_late_ms: measured.late_ms,
        nodes_late_ms: is_open.then(|| record.lateness.percentile_ms(99.0)),
        is_bottleneck: verdict.is_bottleneck(),
        verdict: verdict.to_string(),
    }
}

fn process(watched: &Watched, issued: u64) -> ProcessReport {
    let after = watched.after.unwrap_or_default();
    ProcessReport {
        name: watched.process.name.clone(),
        pid: watched.process.pid,
        has_ended: watched.after.is_none(),
        cpu_seconds: used(watched).as_secs_f64(),
        cpu_ms_per_certificate: each_ms(used(watched), issued),
        memory_before: watched.before.resident,
        memory_after: after.resident,
        memory_peak: after.peak,
    }
}

fn used(watched: &Watched) -> Duration {
    let after = watched.after.unwrap_or_default();
    after.cpu.saturating_sub(watched.before.cpu)
}

fn percentiles(durations: &Durations) -> Percentiles {
    let at = |percentile| durations.percentile_ms(percentile);
    let few = (durations.count() as f64).log2().ceil() as i32;
    let curve = (1..=HALVINGS.min(few.max(1)))
        .map(|halving| 100.0 * (1.0 - 0.5f64.powi(halving)))
        .map(|percentile| (percentile, at(percentile)));
    Percentiles {
        count: durations.count(),
        min: durations.min_ms(),
        mean: durations.mean_ms(),
        p50: at(50.0),
        p90: at(90.0),
        p99: at(99.0),
        p999: at(99.9),
        max: durations.max_ms(),
        curve: [(0.0, durations.min_ms())]
            .into_iter()
            .chain(curve)
            .collect(),
    }
}

fn errors(errors: &BTreeMap<&'static str, Errors>) -> Vec<ErrorReport> {
    let mut all: Vec<ErrorReport> = errors
        .iter()
        .map(|(kind, errors)| ErrorReport {
            kind: (*kind).to_owned(),
            count: errors.count,
            example: errors.example.clone(),
        })
        .collect();
    all.sort_by_key(|error| std::cmp::Reverse(error.count));
    all
}

/// As many points as can be told apart.
fn series(steps: &[u32]) -> Series {
    let width = steps.len().div_ceil(POINTS_MAX).max(1);
    let step_seconds = STEP.as_secs_f64() * width as f64;
    let rate = |steps: &[u32]| {
        let count: u64 = steps.iter().copied().map(u64::from).sum();
        count as f64 / step_seconds
    };
    Series {
        step_seconds,
        per_second: steps.chunks(width).map(rate).collect(),
    }
}

fn each_ms(time: Duration, count: u64) -> f64 {
    share(time.as_secs_f64() * 1e3, count as f64)
}

/// 0 where there is nothing to share among.
fn share(what: f64, among: f64) -> f64 {
    if among > 0.0 { what / among } else { 0.0 }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::Prefix;
    use crate::record::Turn;
    use everleaf_pki::KeyAlgorithm;

    /// A report of 1,000 certificates of which two failed, for the tests of its forms.
    pub(crate) fn example() -> Report {
        let plan = Plan {
            nodes: 501,
            arrival: Arrival::ClosedLoop { in_flight: 64 },
            connections: Connections::Shared(4),
            wait: Wait::Watch,
            signer: Signer::Client,
            renewals: 1,
            key_algorithm: KeyAlgorithm::EcdsaP256,
            timeout: Duration::from_secs(60),
            prefix: Prefix::new("bench-1").unwrap(),
            seed: 1,
            cleans_up: true,
        };
        let mut record = Record::default();
        for number in 0..1000u64 {
            let took = Duration::from_micros(5_000 + 37 * number);
            let turn = if number % 2 == 0 {
                Turn::First
            } else {
                Turn::Renewal
            };
            record.created(took / 4);
            record.issued(turn, took, Duration::from_millis(2 * number));
        }
        record.failed(
            "bench-1-7",
            &Trouble::Denied("Policy: no <such> node".to_owned()),
        );
        record.retried("POST /x", &Trouble::NoAnswer(Duration::from_secs(1)));
        let mebibytes = |count: u64| count << 20;
        let usage = |seconds, resident, peak| Usage {
            cpu: Duration::from_secs(seconds),
            resident: mebibytes(resident),
            peak: mebibytes(peak),
        };
        let watched = |name: &str, pid, before, after| Watched {
            process: Process {
                name: name.to_owned(),
                pid,
            },
            before,
            after,
        };
        let measured = Measured {
            server: "https://127.0.0.1:6443".to_owned(),
            elapsed: Duration::from_secs(2),
            own: Duration::from_millis(250),
            late_ms: 1.5,
            processors: 2,
            watched: vec![
                watched("up", 7, usage(1, 20, 22), Some(usage(3, 60, 71))),
                watched("etcd", 8, usage(1, 30, 30), None),
            ],
            load_average: Some([1.0, 2.0, 3.0]),
            was_stopped: false,
            cleaned: Some(Cleaned {
                deleted: 1000,
                left: 2,
                example: Some("bench-1-7: no".to_owned()),
            }),
        };
        Report::new(&plan, &record, measured)
    }

    #[test]
    fn figures_follow_from_what_was_counted() {
        let report = example();
        let certificates = report.certificates;
        assert_eq!((certificates.wanted, certificates.issued), (1002, 1000));
        assert_eq!((certificates.failed, certificates.unfinished), (1, 1));
        assert!(!report.is_complete());
        assert!((report.per_second - 1000.0 / 1.998).abs() < 1e-6);
        assert_eq!(report.latency.certificate.count, 1000);
        assert_eq!(
            report.latency.renewal.as_ref().map(|one| one.count),
            Some(500)
        );
        let p99 = report.latency.certificate.p99;
        assert!((p99 / 41.63 - 1.0).abs() < 0.01, "{p99}");
        assert!((report.processes[0].cpu_ms_per_certificate - 2.0).abs() < 1e-9);
        assert!(report.processes[1].has_ended);
        assert!((report.generator.cpu_ms_per_certificate - 0.25).abs() < 1e-9);
        assert!(!report.generator.is_bottleneck);
    }

    #[test]
    fn the_document_for_programs_stays_as_it_is() {
        let mut value = serde_json::to_value(example()).unwrap();
        let series = value["series"]["perSecond"].take();
        assert_eq!(series.as_array().map(Vec::len), Some(20));
        value["version"] = "X".into();
        insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
    }

    #[test]
    fn nothing_issued_is_a_report_too() {
        let report = example();
        let plan_of_nothing = Record::default();
        assert_eq!(percentiles(&plan_of_nothing.latency).curve.len(), 2);
        assert_eq!(series(&[]).per_second.len(), 0);
        assert_eq!(each_ms(Duration::from_secs(1), 0), 0.0);
        assert!(report.latency.create.p50 > 0.0);
    }

    #[test]
    fn a_long_run_has_a_series_of_bounded_length() {
        let series = series(&vec![1; 36_000]);
        assert_eq!(series.per_second.len(), POINTS_MAX);
        assert!(
            series
                .per_second
                .iter()
                .all(|rate| (rate - 10.0).abs() < 1e-9)
        );
    }
}
