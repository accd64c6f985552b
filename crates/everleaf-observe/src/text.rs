//! The Prometheus text format, version 0.0.4.

use std::fmt::{self, Write as _};

/// What the numbers of a family do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts what was measured, by size.
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// What tells one series of a family from another, in the order it was given:
/// `verb="GET",code="200"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(String);

impl From<&[(&str, &str)]> for Labels {
    fn from(pairs: &[(&str, &str)]) -> Self {
        let mut labels = Self::default();
        for (name, value) in pairs {
            labels.push(name, value);
        }
        labels
    }
}

impl<const N: usize> From<&[(&str, &str); N]> for Labels {
    fn from(pairs: &[(&str, &str); N]) -> Self {
        Self::from(&pairs[..])
    }
}

impl From<&Self> for Labels {
    fn from(labels: &Self) -> Self {
        labels.clone()
    }
}

impl Labels {
    fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.extend([name, "=\""]);
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                _ => self.0.push(c),
            }
        }
        self.0.push('"');
    }
}

/// A histogram with fixed upper bounds, which ascend and are finite.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    total: u64,
}

impl Histogram {
    /// Nothing measured yet.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len()],
            sum: 0.,
            total: 0,
        }
    }

    /// Counts one measurement.
    pub fn observe(&mut self, value: f64) {
        if let Some(place) = self.bounds.iter().position(|bound| value <= *bound) {
            self.counts[place] += 1;
        }
        self.sum += value;
        self.total += 1;
    }
}

/// The text so far.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a family. `help` is one line without backslashes.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        Family { text: self, name }
    }

    /// The body of an answer.
    pub fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("invariant: a String takes any text");
    }
}

/// The series of one name.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut Text,
    name: &'a str,
}

impl Family<'_> {
    /// One number.
    pub fn sample(&mut self, labels: impl Into<Labels>, value: f64) {
        if value == f64::INFINITY {
            self.series("", &labels.into(), "+Inf");
        } else {
            self.series("", &labels.into(), value);
        }
    }

    /// One whole number.
    pub fn count(&mut self, labels: impl Into<Labels>, value: u64) {
        self.series("", &labels.into(), value);
    }

    /// All series of one histogram.
    pub fn histogram(&mut self, labels: impl Into<Labels>, histogram: &Histogram) {
        let labels = labels.into();
        let mut bucket = |bound: &str, count: u64| {
            let mut labels = labels.clone();
            labels.push("le", bound);
            self.series("_bucket", &labels, count);
        };
        let mut below = 0;
        for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
            below += count;
            bucket(&bound.to_string(), below);
        }
        bucket("+Inf", histogram.total);
        self.series("_sum", &labels, histogram.sum);
        self.series("_count", &labels, histogram.total);
    }

    fn series(&mut self, suffix: &str, labels: &Labels, value: impl fmt::Display) {
        let (name, labels) = (self.name, &labels.0);
        if labels.is_empty() {
            self.text.line(format_args!("{name}{suffix} {value}"));
        } else {
            let line = format_args!("{name}{suffix}{{{labels}}} {value}");
            self.text.line(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_written_as_prometheus_reads_them() {
        let mut text = Text::default();
        let mut family = text.family("a_total", Kind::Counter, "What it is.");
        family.count(&[], 3);
        family.count(&[("x", "q\"\\\n"), ("y", "")], 4);
        let mut family = text.family("b", Kind::Gauge, "Another.");
        family.sample(&[], f64::INFINITY);
        family.sample(&[], -2.5);
        let expected = r#"# HELP a_total What it is.
# TYPE a_total counter
a_total 3
a_total{x="q\"\\\n",y=""} 4
# HELP b Another.
# TYPE b gauge
b +Inf
b -2.5
"#;
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn buckets_count_all_that_is_no_larger() {
        let mut histogram = Histogram::new(&[0.5, 60.]);
        for value in [0.5, 0.25, 7., 61.] {
            histogram.observe(value);
        }
        let mut text = Text::default();
        let labels = Labels::from(&[("x", "y")]);
        text.family("t", Kind::Histogram, "Waits.")
            .histogram(&labels, &histogram);
        let text = text.finish();
        let lines: Vec<_> = text.lines().skip(2).collect();
        let expected = [
            r#"t_bucket{x="y",le="0.5"} 2"#,
            r#"t_bucket{x="y",le="60"} 3"#,
            r#"t_bucket{x="y",le="+Inf"} 4"#,
            r#"t_sum{x="y"} 68.75"#,
            r#"t_count{x="y"} 4"#,
        ];
        assert_eq!(lines, expected);
    }
}
