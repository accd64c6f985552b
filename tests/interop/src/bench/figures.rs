//! What loads measured, as a table of medians and ratios.

use anyhow::{Context, Result};
use serde_json::Value;
use std::fmt;

/// What one load measured.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Processor time of the whole system per certificate.
    pub(crate) cpu_ms: f64,
    /// Certificates per second.
    pub(crate) per_second: f64,
    /// From the request to the certificate.
    pub(crate) p50_ms: f64,
    /// The same, 99th of 100.
    pub(crate) p99_ms: f64,
    /// The most memory of all its processes together.
    pub(crate) peak_mib: f64,
    /// The generator's own processor time per certificate.
    pub(crate) generator_ms: f64,
    /// The machine's load average over one minute.
    pub(crate) load: f64,
}

impl Figures {
    /// Reads what `everleaf bench -o json` printed.
    pub(crate) fn read(text: &[u8]) -> Result<Self> {
        let report: Value = serde_json::from_slice(text).context("the report is not JSON")?;
        let number = |pointer: &str| {
            let value = report.pointer(pointer).and_then(Value::as_f64);
            value.with_context(|| format!("the report has no {pointer}"))
        };
        let processes = report["processes"].as_array();
        let sum = |field: &str| -> f64 {
            let all = processes.into_iter().flatten();
            all.filter_map(|process| process[field].as_f64()).sum()
        };
        Ok(Self {
            cpu_ms: sum("cpuMsPerCertificate"),
            per_second: number("/perSecond")?,
            p50_ms: number("/latency/certificate/p50")?,
            p99_ms: number("/latency/certificate/p99")?,
            peak_mib: sum("memoryPeak") / f64::from(1 << 20),
            generator_ms: number("/generator/cpuMsPerCertificate")?,
            load: number("/loadAverage/0").unwrap_or_default(),
        })
    }
}

/// A system's rounds: with shared connections, and with one each.
struct Column {
    name: &'static str,
    rounds: Vec<[Figures; 2]>,
}

/// Figures of all systems; the first is what the others are compared with.
pub(crate) struct Table {
    nodes: u32,
    rounds: usize,
    columns: Vec<Column>,
}

/// A row: its words, the load (0 shared, 1 each), the figure, digits, and whether less is better,
/// if it is to be compared.
type Row = (
    &'static str,
    usize,
    fn(&Figures) -> f64,
    usize,
    Option<bool>,
);

const ROWS: [Row; 10] = [
    (
        "processor time per certificate, ms",
        0,
        |one| one.cpu_ms,
        2,
        Some(true),
    ),
    (
        "the same, a connection each",
        1,
        |one| one.cpu_ms,
        2,
        Some(true),
    ),
    (
        "certificates per second",
        0,
        |one| one.per_second,
        0,
        Some(false),
    ),
    (
        "the same, a connection each",
        1,
        |one| one.per_second,
        0,
        Some(false),
    ),
    (
        "request to certificate, median, ms",
        0,
        |one| one.p50_ms,
        0,
        Some(true),
    ),
    ("99th of 100, ms", 0, |one| one.p99_ms, 0, Some(true)),
    (
        "median, a connection each, ms",
        1,
        |one| one.p50_ms,
        0,
        Some(true),
    ),
    (
        "99th of 100, a connection each, ms",
        1,
        |one| one.p99_ms,
        0,
        Some(true),
    ),
    (
        "peak memory after both, MiB",
        1,
        |one| one.peak_mib,
        0,
        Some(true),
    ),
    (
        "the generator's own processor time per certificate, ms",
        0,
        |one| one.generator_ms,
        2,
        None,
    ),
];

impl Table {
    pub(crate) fn new(nodes: u32, rounds: usize) -> Self {
        Self {
            nodes,
            rounds,
            columns: Vec::new(),
        }
    }

    /// Adds a round of a system.
    pub(crate) fn add(&mut self, name: &'static str, figures: [Figures; 2]) {
        match self.columns.iter_mut().find(|column| column.name == name) {
            Some(column) => column.rounds.push(figures),
            None => self.columns.push(Column {
                name,
                rounds: vec![figures],
            }),
        }
    }

    fn load_averages(&self) -> (f64, f64) {
        let all = self
            .columns
            .iter()
            .flat_map(|column| &column.rounds)
            .flatten();
        all.map(|one| one.load)
            .fold((f64::INFINITY, 0.0), |(least, most), load| {
                (load.min(least), load.max(most))
            })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| {} nodes, 64 under way, each watches its request |",
            self.nodes
        )?;
        for (index, column) in self.columns.iter().enumerate() {
            write!(
                f,
                " {} |{}",
                column.name,
                if index > 0 { " times |" } else { "" }
            )?;
        }
        write!(f, "\n|---|")?;
        for index in 0..self.columns.len() {
            write!(f, "---|{}", if index > 0 { "---|" } else { "" })?;
        }
        for (what, load, figure, digits, less_is_better) in ROWS {
            write!(f, "\n| {what} |")?;
            let mut first = None;
            for column in &self.columns {
                let value = median(column.rounds.iter().map(|round| figure(&round[load])));
                write!(f, " {value:.digits$} |")?;
                match (first, less_is_better) {
                    (None, _) => first = Some(value),
                    (Some(first), Some(true)) => write!(f, " {} |", times(first, value))?,
                    (Some(first), Some(false)) => write!(f, " {} |", times(value, first))?,
                    (Some(_), None) => write!(f, " |")?,
                }
            }
        }
        let (least, most) = self.load_averages();
        write!(
            f,
            "\n\nMedians of {} rounds in turn; \"times\": how many times better. Load average of the machine, the measurement \
             itself included: {least:.1} to {most:.1}.",
            self.rounds
        )
    }
}

fn times(larger: f64, smaller: f64) -> String {
    if smaller > 0.0 {
        format!("{:.1}", larger / smaller)
    } else {
        String::new()
    }
}

/// The middle one; of an even number the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(scale: f64) -> Figures {
        Figures {
            cpu_ms: 10.0 * scale,
            per_second: 100.0 / scale,
            p50_ms: 400.0 * scale,
            p99_ms: 600.0 * scale,
            peak_mib: 500.0 * scale,
            generator_ms: 0.3,
            load: 2.0 + scale,
        }
    }

    #[test]
    fn the_table_compares_medians_with_the_first_system() {
        let mut table = Table::new(1000, 3);
        for round in [1.0, 1.1, 9.0] {
            table.add("real", [figures(round), figures(round)]);
            table.add("ours", [figures(round / 5.0), figures(round / 5.0)]);
        }
        let text = table.to_string();
        for line in [
            "| 1000 nodes, 64 under way, each watches its request | real | ours | times |",
            "|---|---|---|---|",
            "| processor time per certificate, ms | 11.00 | 2.20 | 5.0 |",
            "| certificates per second | 91 | 455 | 5.0 |",
            "| the generator's own processor time per certificate, ms | 0.30 | 0.30 | |",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert!(text.ends_with("2.2 to 11.0."), "{text}");
    }

    #[test]
    fn a_report_is_read() {
        let text = br#"{"perSecond": 5, "latency": {"certificate": {"p50": 1, "p99": 2}}, "loadAverage": [3, 2, 1],
            "processes": [{"cpuMsPerCertificate": 1.5, "memoryPeak": 1048576}, {"cpuMsPerCertificate": 0.5, "memoryPeak": 2097152}],
            "generator": {"cpuMsPerCertificate": 0.2}}"#;
        let figures = Figures::read(text).unwrap();
        assert!((figures.cpu_ms - 2.0).abs() < 1e-9 && (figures.peak_mib - 3.0).abs() < 1e-9);
        assert!(Figures::read(b"{}").is_err());
    }
}
