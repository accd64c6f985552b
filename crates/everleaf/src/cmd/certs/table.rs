//! The table of `everleaf certs`: in 80 columns, but for paths, which stay whole to be copied.

use super::entry::Entry;
use crate::print::harmless_line;
use std::fmt::Write;

/// Columns of a terminal that nobody has widened.
const WIDTH: usize = 80;
/// Of the columns before the subject, with two blanks after each.
const WIDTHS: [usize; 5] = [15, 8, 6, 12, 12];

/// The table, without a line break at its end.
pub(super) fn of(certificates: &[Entry], has_colour: bool) -> String {
    let mut text = row(
        &["STANDING", "LEFT", "USED", "EXPIRES", "RENEWS", "SUBJECT"],
        None,
    );
    for entry in certificates {
        let file = harmless_line(&entry.file_cell());
        for line in fold(&file, " → ") {
            let _ = write!(text, "\n{line}");
        }
        let cells = entry.short_row();
        let cells: Vec<String> = cells.iter().map(|cell| harmless_line(cell)).collect();
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        let colour = has_colour.then(|| match (entry.is_bad(), entry.problems().is_empty()) {
            (true, _) => "31",
            (false, false) => "33",
            (false, true) => "32",
        });
        let _ = write!(text, "\n{}", row(&cells, colour));
        let problems = entry.problems().iter().map(|problem| ("  ! ", problem));
        let remarks = entry.remarks().iter().map(|remark| ("  - ", remark));
        for (mark, words) in problems.chain(remarks) {
            for (index, line) in wrap(&harmless_line(words), WIDTH - 4).iter().enumerate() {
                let mark = if index == 0 { mark } else { "    " };
                let _ = write!(text, "\n{mark}{line}");
            }
        }
    }
    text
}

/// Cells in their columns; the first, the standing, in a colour.
fn row(cells: &[&str], colour: Option<&str>) -> String {
    let mut text = String::new();
    let mut used = 0;
    for (index, cell) in cells.iter().enumerate() {
        let width = WIDTHS.get(index).copied();
        let shown = cut(cell, width.map_or(WIDTH - used, |width| width - 1));
        let pad = width.map_or(0, |width| width - shown.chars().count());
        match colour.filter(|_| index == 0) {
            Some(colour) => {
                let _ = write!(text, "\u{1b}[{colour}m{shown}\u{1b}[0m");
            }
            None => text.push_str(&shown),
        }
        text.extend(std::iter::repeat_n(' ', pad));
        used += width.unwrap_or(0);
    }
    text.trim_end().to_owned()
}

/// At most `width` characters, with a mark where some are missing.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// One line, or two where it would be too long, parted at `mark`.
fn fold(text: &str, mark: &str) -> Vec<String> {
    match text.split_once(mark) {
        Some((first, second)) if text.chars().count() > WIDTH => {
            vec![first.to_owned(), format!("  → {second}")]
        }
        _ => vec![text.to_owned()],
    }
}

/// Words in lines of at most `width`, as far as the words allow.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("invariant: there is a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !last.is_empty() {
            last.push(' ');
        }
        last.push_str(word);
    }
    lines
}
