//! The report for people.

use crate::report::{ErrorReport, LoadReport, Percentiles, ProcessReport, Report};
use std::fmt::{self, Write as _};

/// A report as people read it on a terminal.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", headline(self))?;
        for (what, figure) in rows(self) {
            writeln!(f, "{what:<20} {figure}")?;
        }
        for (title, errors) in [("errors", &self.errors), ("tried again", &self.retries)] {
            for error in errors {
                let ErrorReport {
                    kind,
                    count,
                    example,
                } = error;
                writeln!(
                    f,
                    "{title:<20} {} × {kind}, such as {example}",
                    grouped(*count)
                )?;
            }
        }
        writeln!(f, "\n{}", table(self))?;
        write!(f, "{}", self.generator.verdict)
    }
}

/// What was done, in one sentence.
pub(crate) fn headline(report: &Report) -> String {
    let LoadReport {
        nodes,
        connections,
        wait,
        renewals,
        signer,
        ..
    } = &report.load;
    let mut text = format!(
        "{} nodes on {}, ",
        grouped(u64::from(*nodes)),
        report.server
    );
    text.push_str(&arrival(&report.load));
    text.push_str(&match connections {
        Some(1) => ", one shared connection".to_owned(),
        Some(count) => format!(", {count} shared connections"),
        None => ", a connection each".to_owned(),
    });
    text.push_str(match *wait {
        "informer" => ", one list and watch for all",
        "poll" => ", each polls",
        _ => ", each watches its request",
    });
    if *signer == "serving" {
        text.push_str(", serving certificates");
    }
    match renewals {
        0 => {}
        1 => text.push_str(", each asks once more with what it has"),
        more => {
            let _ = write!(text, ", each asks {more} more times with what it has");
        }
    }
    if report.certificates.was_stopped {
        text.push_str(" (stopped before the end)");
    }
    text
}

fn arrival(load: &LoadReport) -> String {
    if let Some(in_flight) = load.in_flight {
        format!("{in_flight} under way at a time")
    } else if let Some(rate) = load.rate {
        format!("{rate} per second on average")
    } else {
        let seconds = load.herd_seconds.unwrap_or_default();
        format!("all within {seconds} s")
    }
}

/// The figures of the whole load.
pub(crate) fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let certificates = &report.certificates;
    let mut issued = format!(
        "{} of {}",
        grouped(certificates.issued),
        grouped(certificates.wanted)
    );
    if certificates.failed > 0 {
        let _ = write!(issued, ", {} failed", grouped(certificates.failed));
    }
    if certificates.unfinished > 0 {
        let _ = write!(
            issued,
            ", {} not finished",
            grouped(certificates.unfinished)
        );
    }
    let mut rows = vec![
        ("issued", issued),
        (
            "rate",
            format!(
                "{:.0} per second, {:.2} s",
                report.per_second, report.seconds
            ),
        ),
        ("request to issued", durations(&report.latency.certificate)),
    ];
    if let Some(renewal) = &report.latency.renewal {
        rows.push(("  of renewals", durations(renewal)));
    }
    rows.push(("request to answer", durations(&report.latency.create)));
    if let Some(late) = report.generator.nodes_late_ms {
        rows.push((
            "came late",
            format!("99 of 100 at most {}", milliseconds(late)),
        ));
    }
    if let Some(averages) = report.load_average {
        let [one, five, fifteen] = averages;
        let text = format!("{one:.1} {five:.1} {fifteen:.1} (1, 5, 15 minutes)");
        rows.push(("load average", text));
    }
    if let Some(cleaned) = &report.cleanup {
        let mut text = format!("{} requests", grouped(cleaned.deleted));
        if let Some(example) = &cleaned.example {
            let _ = write!(text, ", {} left, such as {example}", grouped(cleaned.left));
        }
        rows.push(("deleted", text));
    }
    rows
}

fn durations(durations: &Percentiles) -> String {
    if durations.count == 0 {
        return "none".to_owned();
    }
    let Percentiles {
        p50,
        p90,
        p99,
        p999,
        max,
        ..
    } = *durations;
    [
        ("p50", p50),
        ("p90", p90),
        ("p99", p99),
        ("p99.9", p999),
        ("max", max),
    ]
    .map(|(name, ms)| format!("{name} {}", milliseconds(ms)))
    .join("  ")
}

/// Three digits, in the unit that people say it in.
pub(crate) fn milliseconds(ms: f64) -> String {
    match ms {
        ..10.0 => format!("{ms:.2} ms"),
        10.0..100.0 => format!("{ms:.1} ms"),
        100.0..10_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1e3),
    }
}

/// Processes, the generator last.
fn table(report: &Report) -> String {
    let mut rows = vec![
        [
            "PROCESS",
            "CPU/CERT",
            "CPU",
            "MEMORY BEFORE",
            "AFTER",
            "PEAK",
        ]
        .map(str::to_owned),
    ];
    rows.extend(report.processes.iter().map(process_row));
    rows.push([
        "generator".to_owned(),
        milliseconds(report.generator.cpu_ms_per_certificate),
        format!("{:.2} s", report.generator.cpu_seconds),
        String::new(),
        String::new(),
        String::new(),
    ]);
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths);
        let text: String = cells
            .map(|(cell, width)| format!("{cell:<width$}   "))
            .collect();
        text.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn process_row(process: &ProcessReport) -> [String; 6] {
    if process.has_ended {
        let mut row = [const { String::new() }; 6];
        row[0].clone_from(&process.name);
        row[1] = "ended".to_owned();
        return row;
    }
    [
        process.name.clone(),
        milliseconds(process.cpu_ms_per_certificate),
        format!("{:.2} s", process.cpu_seconds),
        mebibytes(process.memory_before),
        mebibytes(process.memory_after),
        mebibytes(process.memory_peak),
    ]
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// With a comma between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    #[test]
    fn people_read_it() {
        insta::assert_snapshot!(example().to_string());
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345, "12,345"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
