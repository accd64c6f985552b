//! What people read on stdout: what every program of ours writes, and tables.

use comfy_table::{ContentArrangement, Table, presets};
pub(crate) use everleaf_node::print::{
    Unwritten, answer, harmless, harmless_line, has_colour, json, line, yaml,
};
use std::io::IsTerminal;

/// Columns of the terminal that stdout is; none: it is none, or does not say.
pub(crate) fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Writes rows under upper-case headings, as kubectl does; wrapped to the terminal's width if
/// stdout is one.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    table.add_rows(rows);
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    answer(table.trim_fmt().as_str())
}
