//! A row per node.

use crate::print::harmless_line;
use comfy_table::{Table, presets};
use everleaf_api::meta::format_time;
use everleaf_fleet::{Fleet, Holding, Kind, Node, Verdict};
use jiff::Timestamp;

/// The table, without a line break at its end.
pub(super) fn table(fleet: &Fleet) -> String {
    let headings = [
        "NODE", "STATE", "CLIENT", "USED", "ENDS", "RENEWS", "SERVING", "USED", "ENDS", "RENEWS",
        "WHY",
    ];
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings);
    table.add_rows(fleet.nodes.iter().map(row));
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.trim_fmt()
}

fn row(node: &Node) -> Vec<String> {
    let mut cells = vec![harmless_line(&node.name), node.presence.as_str().to_owned()];
    for kind in Kind::ALL {
        cells.extend(holding(node.holding(kind)));
    }
    cells.push(harmless_line(&why(node)));
    cells
}

fn holding(holding: &Holding) -> [String; 4] {
    let used = holding.life_used_percent;
    let ends = holding.certificate.as_ref().map(|one| one.not_after);
    let renews = holding.renewal.map(|renewal| renewal.opens);
    [
        holding.standing.as_str().to_owned(),
        used.map_or_else(|| "-".to_owned(), |used| format!("{used}%")),
        day(ends),
        day(renews),
    ]
}

pub(super) fn day(at: Option<Timestamp>) -> String {
    at.map_or_else(
        || "-".to_owned(),
        |at| format_time(at).get(..10).unwrap_or("-").to_owned(),
    )
}

/// What is worth saying of a node: what does not simply renew.
fn why(node: &Node) -> String {
    let told = Kind::ALL.into_iter().filter_map(|kind| {
        let outlook = &node.holding(kind).outlook;
        let is_bad = matches!(outlook.verdict, Verdict::Lapses | Verdict::Lapsed);
        let first = outlook.first().filter(|_| is_bad)?;
        Some(format!("{}: {}", kind.as_str(), first.text))
    });
    let told: Vec<String> = told.collect();
    match told.is_empty() {
        true => "-".to_owned(),
        false => told.join("; "),
    }
}
