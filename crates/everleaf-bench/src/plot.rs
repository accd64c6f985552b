//! Plots as inline SVG: curves and bars, in the colours of the page around them.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
/// Room for the numbers of the vertical axis, and above and below the plot.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 36.0;
/// Height of a bar with its name.
const BAR: f64 = 34.0;

/// A mark on an axis.
pub(crate) struct Mark {
    /// Where, from 0 to 1.
    pub(crate) at: f64,
    /// What it says.
    pub(crate) text: String,
}

/// A curve over marks.
pub(crate) struct Curve<'a> {
    /// What it shows, for who cannot see it.
    pub(crate) title: &'a str,
    /// Points from 0 to 1 in both directions, from left to right.
    pub(crate) points: Vec<(f64, f64)>,
    /// Whether what lies under it is filled.
    pub(crate) is_filled: bool,
    pub(crate) horizontal: Vec<Mark>,
    pub(crate) vertical: Vec<Mark>,
}

impl Curve<'_> {
    pub(crate) fn svg(&self) -> String {
        let mut svg = opened(self.title, HEIGHT);
        for Mark { at, text } in &self.vertical {
            let y = y(*at);
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                escaped(text)
            );
        }
        for Mark { at, text } in &self.horizontal {
            let x = x(*at);
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{:.1}"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 18.0,
                escaped(text)
            );
        }
        let points: Vec<String> = self
            .points
            .iter()
            .map(|(right, up)| format!("{:.1},{:.1}", x(*right), y(*up)))
            .collect();
        let points = points.join(" ");
        if let (true, Some(first), Some(last)) =
            (self.is_filled, self.points.first(), self.points.last())
        {
            let (floor, left, right) = (y(0.0), x(first.0), x(last.0));
            let _ = write!(
                svg,
                r#"<polygon class="area" points="{left:.1},{floor:.1} {points} {right:.1},{floor:.1}"/>"#
            );
        }
        let _ = write!(svg, r#"<polyline class="curve" points="{points}"/></svg>"#);
        svg
    }
}

/// Bars with their names and figures.
pub(crate) fn bars(title: &str, bars: &[(String, f64, String)]) -> String {
    let height = TOP + BAR * bars.len() as f64;
    let mut svg = opened(title, height);
    let most = bars
        .iter()
        .map(|bar| bar.1)
        .fold(f64::MIN_POSITIVE, f64::max);
    // Room for names on the left and for figures on the right.
    let (from, room) = (180.0, WIDTH - 180.0 - 120.0);
    for (index, (name, value, figure)) in bars.iter().enumerate() {
        let top = TOP + BAR * index as f64;
        let width = (room * value / most).max(1.0);
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text><rect class="bar" x="{from}" y="{top:.1}" width="{width:.1}" height="{:.1}" rx="3"/><text x="{:.1}" y="{:.1}">{}</text>"#,
            from - 8.0,
            top + 17.0,
            escaped(name),
            BAR - 10.0,
            from + width + 8.0,
            top + 17.0,
            escaped(figure)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Round numbers from 0 to a little over `most`, up to six of them.
pub(crate) fn round_marks(most: f64) -> Vec<f64> {
    let most = if most > 0.0 { most } else { 1.0 };
    let power = 10f64.powf((most / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| most / step <= 5.0)
        .unwrap_or(10.0 * power);
    let count = (most / step).ceil() as u32;
    (0..=count).map(|number| f64::from(number) * step).collect()
}

fn opened(title: &str, height: f64) -> String {
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{0}"><title>{0}</title>"#,
        escaped(title)
    )
}

fn x(right: f64) -> f64 {
    LEFT + right * (WIDTH - LEFT - RIGHT)
}

fn y(up: f64) -> f64 {
    HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)
}

/// Text as HTML and SVG take it.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_hold_the_most() {
        for (most, marks) in [
            (1.0, vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            (870.0, vec![0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]),
            (12.0, vec![0.0, 5.0, 10.0, 15.0]),
        ] {
            let seen = round_marks(most);
            assert_eq!(seen.len(), marks.len(), "{most}: {seen:?}");
            for (seen, mark) in seen.iter().zip(marks) {
                assert!((seen - mark).abs() < 1e-9, "{most}: {seen} {mark}");
            }
        }
        for most in [0.0, 1e-9, 3.3, 99.9, 1e9] {
            let marks = round_marks(most);
            assert!((2..=6).contains(&marks.len()), "{most}: {marks:?}");
            assert!(marks[marks.len() - 1] >= most);
        }
    }

    #[test]
    fn names_of_processes_are_no_markup() {
        let svg = bars("a \"b\"", &[("<x>".to_owned(), 1.0, "1 & 2".to_owned())]);
        assert!(
            svg.contains("&lt;x&gt;") && svg.contains("1 &amp; 2") && svg.contains("&quot;b&quot;")
        );
        assert!(!svg.contains("<x>"));
    }
}
