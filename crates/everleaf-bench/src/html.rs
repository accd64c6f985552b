//! The report as one page: no script, nothing fetched, readable in dark and in light.

use crate::plot::{self, Curve, Mark, escaped};
use crate::report::{Percentiles, Report};
use crate::text;
use std::fmt::Write as _;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--page:#fff;--mark:#1a7f37}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--page:#0d1117;--mark:#3fb950}}\
body{background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:720px;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:2rem}p.soft{color:var(--soft)}\
table{border-collapse:collapse;width:100%}th,td{border-bottom:1px solid var(--line);padding:.3rem .6rem .3rem 0;text-align:left;vertical-align:top}\
th{font-weight:600}td.error{overflow-wrap:anywhere}\
svg{width:100%;height:auto}svg text{fill:var(--soft);font:12px system-ui,sans-serif}\
.grid{stroke:var(--line)}.curve{fill:none;stroke:var(--mark);stroke-width:2}.area{fill:var(--mark);opacity:.15}.bar{fill:var(--mark)}";

impl Report {
    /// The report as one page of HTML.
    pub fn html(&self) -> String {
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width,initial-scale=1\"><title>everleaf bench: {}</title><style>{STYLE}</style></head><body>\n\
             <h1>everleaf bench</h1>\n<p>{}</p>\n<table>",
            escaped(&self.server),
            escaped(&text::headline(self)),
        );
        for (what, figure) in text::rows(self) {
            let (what, figure) = (escaped(what.trim()), escaped(&figure));
            let _ = write!(
                page,
                "<tr><th scope=\"row\">{what}</th><td>{figure}</td></tr>"
            );
        }
        let _ = write!(
            page,
            "</table>\n<p class=\"soft\">{}</p>\n",
            escaped(&self.generator.verdict)
        );
        for (title, plot) in [
            (
                "Request to certificate, by percentile",
                latency(&self.latency.certificate),
            ),
            ("Certificates per second, over time", throughput(self)),
            ("Processor time per certificate", processors(self)),
        ] {
            let _ = writeln!(page, "<h2>{title}</h2>\n{plot}");
        }
        page.push_str(&memory(self));
        page.push_str(&errors(self));
        let version = escaped(&self.version);
        let prefix = escaped(&self.load.prefix);
        let _ = write!(
            page,
            "<p class=\"soft\">everleaf {version}; names begin with {prefix}; keys: {}</p>\n</body></html>\n",
            escaped(&self.load.key_algorithm)
        );
        page
    }
}

/// Durations over percentiles; each mark is ten times rarer than the one before.
fn latency(durations: &Percentiles) -> String {
    const NINES: [(f64, &str); 5] = [
        (0.0, "0"),
        (90.0, "90"),
        (99.0, "99"),
        (99.9, "99.9"),
        (99.99, "99.99"),
    ];
    let rarity = |percentile: f64| -(1.0 - percentile / 100.0).max(1e-9).log10();
    let rarest = durations
        .curve
        .last()
        .map_or(1.0, |point| rarity(point.0))
        .max(0.3);
    let marks = plot::round_marks(durations.max);
    let most = marks[marks.len() - 1];
    let shown = NINES
        .iter()
        .filter(|(percentile, _)| rarity(*percentile) <= rarest);
    Curve {
        title: "request to certificate in milliseconds over percentiles",
        points: durations
            .curve
            .iter()
            .map(|(percentile, ms)| (rarity(*percentile) / rarest, ms / most))
            .collect(),
        is_filled: false,
        horizontal: shown
            .map(|(percentile, text)| Mark {
                at: rarity(*percentile) / rarest,
                text: format!("{text} %"),
            })
            .collect(),
        vertical: vertical(&marks, " ms"),
    }
    .svg()
}

fn throughput(report: &Report) -> String {
    let series = &report.series;
    let most = series.per_second.iter().copied().fold(0.0, f64::max);
    let marks = plot::round_marks(most);
    let top = marks[marks.len() - 1];
    let seconds = series.step_seconds * series.per_second.len() as f64;
    let times = plot::round_marks(seconds);
    let whole = seconds.max(series.step_seconds);
    Curve {
        title: "certificates per second over time",
        points: series
            .per_second
            .iter()
            .enumerate()
            .map(|(step, rate)| {
                let middle = (step as f64 + 0.5) * series.step_seconds;
                (middle / whole, rate / top)
            })
            .collect(),
        is_filled: true,
        horizontal: times
            .iter()
            .filter(|time| **time <= whole)
            .map(|time| Mark {
                at: time / whole,
                text: format!("{} s", number(*time)),
            })
            .collect(),
        vertical: vertical(&marks, "/s"),
    }
    .svg()
}

fn processors(report: &Report) -> String {
    let bar = |name: &str, ms: f64| (name.to_owned(), ms, text::milliseconds(ms));
    let mut bars: Vec<_> = report
        .processes
        .iter()
        .filter(|process| !process.has_ended)
        .map(|process| bar(&process.name, process.cpu_ms_per_certificate))
        .collect();
    bars.push(bar(
        "the generator itself",
        report.generator.cpu_ms_per_certificate,
    ));
    plot::bars("processor time per certificate", &bars)
}

fn vertical(marks: &[f64], unit: &str) -> Vec<Mark> {
    let most = marks[marks.len() - 1];
    marks
        .iter()
        .map(|mark| Mark {
            at: mark / most,
            text: format!("{}{unit}", number(*mark)),
        })
        .collect()
}

/// Without the noise of binary fractions.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn memory(report: &Report) -> String {
    if report.processes.is_empty() {
        return String::new();
    }
    let mut html = "<h2>Resident memory</h2>\n<table><tr><th scope=\"col\">process</th><th scope=\"col\">before</th>\
                    <th scope=\"col\">after</th><th scope=\"col\">peak</th></tr>"
        .to_owned();
    for process in &report.processes {
        let figure = |bytes| match process.has_ended {
            true => "ended".to_owned(),
            false => text::mebibytes(bytes),
        };
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&process.name),
            figure(process.memory_before),
            figure(process.memory_after),
            figure(process.memory_peak)
        );
    }
    html.push_str("</table>\n");
    html
}

fn errors(report: &Report) -> String {
    let mut html = String::new();
    for (title, errors) in [
        ("Errors", &report.errors),
        ("Tried again, in vain the first time", &report.retries),
    ] {
        if errors.is_empty() {
            continue;
        }
        let _ = write!(html, "<h2>{title}</h2>\n<table>");
        for error in errors {
            let _ = write!(
                html,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"error\">{}</td></tr>",
                escaped(&error.kind),
                text::grouped(error.count),
                escaped(&error.example)
            );
        }
        html.push_str("</table>\n");
    }
    html
}

#[cfg(test)]
mod tests {
    use crate::report::tests::example;

    #[test]
    fn the_page_stands_alone() {
        let page = example().html();
        for forbidden in ["<script", "http-equiv", "src=", "url(", "@import", "<link"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        for (open, close) in [
            ("<table>", "</table>"),
            ("<tr>", "</tr>"),
            ("<h2>", "</h2>"),
        ] {
            assert_eq!(
                page.matches(open).count(),
                page.matches(close).count(),
                "{open}"
            );
        }
        assert!(page.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn what_others_say_is_no_markup() {
        let page = example().html();
        assert!(page.contains("no &lt;such&gt; node") && !page.contains("<such>"));
    }

    #[test]
    fn a_load_of_which_nothing_came_has_a_page() {
        let mut report = example();
        report.series.per_second.clear();
        report.latency.certificate.curve.truncate(1);
        report.latency.certificate.max = 0.0;
        report.processes.clear();
        let page = report.html();
        assert!(!page.contains("NaN") && !page.contains("inf\""), "{page}");
    }
}
