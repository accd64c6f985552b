//! A forecast for people.

use super::wide::{self, day};
use crate::print::{answer, harmless_line, table};
use anyhow::Result;
use everleaf_api::duration::span;
use everleaf_fleet::{Fleet, Forecast, Kind, Lapse, Unforeseen};
use jiff::SignedDuration;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Rows of a table that nobody asked to be wide.
const ROWS_MAX: usize = 20;
/// Names in a line.
const NAMES_MAX: usize = 5;
/// Lines of the histogram, and the columns of its longest bar.
const BARS_MAX: usize = 14;
const BAR_WIDTH: usize = 40;

/// Prints it; with a fleet all of it, a row per node included.
pub(super) fn show(
    forecast: &Forecast,
    server: &str,
    wide: Option<&Fleet>,
    was_probed: bool,
) -> Result<()> {
    let rows_max = if wide.is_some() { usize::MAX } else { ROWS_MAX };
    answer(&format!(
        "{server} from {} to {} ({}): {}",
        day(Some(forecast.from)),
        day(Some(forecast.until)),
        counted(forecast.days, "day"),
        counted(forecast.nodes, "node")
    ))?;
    show_lapses(forecast, rows_max)?;
    for kind in Kind::ALL {
        show_unknown(forecast, kind, was_probed)?;
    }
    for authority in &forecast.authorities_ending {
        let subject = harmless_line(&authority.subject);
        let end = day(Some(authority.not_after));
        answer(&format!(
            "\nThe authority {subject} ends on {end}: no certificate below it is believed after that."
        ))?;
    }
    show_identities(forecast, rows_max)?;
    answer("")?;
    for line in histogram(forecast) {
        answer(&line)?;
    }
    if let Some(fleet) = wide {
        answer("")?;
        answer(&wide::table(fleet))?;
    }
    if !forecast.unseen.is_empty() {
        answer("\nNot seen:")?;
        for line in &forecast.unseen {
            answer(&format!("  {}", harmless_line(line)))?;
        }
    }
    Ok(())
}

/// `1 node`, `2 nodes`.
fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn show_lapses(forecast: &Forecast, rows_max: usize) -> Result<()> {
    answer("")?;
    let renewing = forecast.renewing;
    if forecast.lapses.is_empty() {
        let text = format!(
            "No node lapses, by all that is known; of their certificates, {renewing} renew by themselves."
        );
        return answer(&text);
    }
    let lapsed = forecast.lapses.iter().filter(|lapse| lapse.has_lapsed);
    let lapsed = lapsed.count();
    let will = forecast.lapses.len() - lapsed;
    answer(&format!(
        "Certificates that have lapsed: {lapsed}; that will unless something changes: {will}; that renew by themselves: {renewing}."
    ))?;
    let row = |lapse: &Lapse| {
        let when = match lapse.at {
            None => "now".to_owned(),
            Some(at) if lapse.has_lapsed => {
                format!(
                    "{} ago",
                    span(forecast.from.duration_since(at).unsigned_abs())
                )
            }
            Some(at) => format!(
                "in {}",
                span(at.duration_since(forecast.from).unsigned_abs())
            ),
        };
        let reasons: Vec<&str> = lapse.reasons.iter().map(|reason| &*reason.text).collect();
        vec![
            harmless_line(&lapse.node),
            lapse.kind.as_str().to_owned(),
            when,
            day(lapse.at),
            harmless_line(&reasons.join("; ")),
        ]
    };
    let rows: Vec<Vec<String>> = forecast.lapses.iter().take(rows_max).map(row).collect();
    table(&["node", "certificate", "lapses", "ends", "why"], &rows)?;
    let rest = forecast.lapses.get(rows_max..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(());
    }
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for lapse in rest {
        let code = lapse
            .reasons
            .first()
            .map_or("", |reason| reason.code.as_str());
        *codes.entry(code).or_default() += 1;
    }
    let codes: Vec<String> = codes
        .iter()
        .map(|(code, count)| format!("{code} {count}"))
        .collect();
    answer(&format!(
        "and {} more (-o wide): {}",
        rest.len(),
        codes.join(", ")
    ))
}

fn show_unknown(forecast: &Forecast, kind: Kind, was_probed: bool) -> Result<()> {
    let of_kind = forecast.unknown.iter().filter(|one| one.kind == kind);
    let of_kind: Vec<&Unforeseen> = of_kind.collect();
    if of_kind.is_empty() {
        return Ok(());
    }
    let names = of_kind.iter().take(NAMES_MAX);
    let names: Vec<String> = names.map(|one| harmless_line(&one.node)).collect();
    let more = match of_kind.len().saturating_sub(NAMES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let why = match kind {
        Kind::Client => {
            "the API forgets an issued request after an hour; an issuance log tells (--issuance-log)"
        }
        Kind::Serving if was_probed => {
            "no request is seen, and its kubelet could not be asked (-o json says why of each)"
        }
        Kind::Serving => {
            "no request is seen, and a kubelet may sign its own; it tells when it is asked (--probe)"
        }
    };
    answer(&format!(
        "\nNot known is the {} certificate of {}, {}{more}: {why}.",
        kind.as_str(),
        counted(of_kind.len(), "node"),
        names.join(", ")
    ))
}

fn show_identities(forecast: &Forecast, rows_max: usize) -> Result<()> {
    if forecast.identities.is_empty() {
        return Ok(());
    }
    answer("\nOf others than nodes, which nobody renews as far as is known:")?;
    let rows = forecast.identities.iter().take(rows_max).map(|identity| {
        vec![
            harmless_line(&identity.name),
            harmless_line(&identity.signer),
            day(identity.holding.outlook.lapses_at),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    table(&["name", "signer", "ends"], &rows)?;
    match forecast.identities.len().saturating_sub(rows_max) {
        0 => Ok(()),
        more => answer(&format!("and {more} more (-o wide)")),
    }
}

/// Renewals over time, in as many lines as fit.
pub(super) fn histogram(forecast: &Forecast) -> Vec<String> {
    let load = &forecast.load;
    if load.total == 0 {
        return vec!["No renewal is foreseen.".to_owned()];
    }
    let at = |days: usize| {
        let hours = i64::try_from(days).unwrap_or(0).saturating_mul(24);
        let at = forecast.from.checked_add(SignedDuration::from_hours(hours));
        day(at.ok())
    };
    let mut lines = vec![format!(
        "Renewals: {} in {}, at most {} in a day ({})",
        load.total,
        counted(forecast.days, "day"),
        load.peak,
        at(load.peak_day)
    )];
    let step = load.per_day.len().div_ceil(BARS_MAX).max(1);
    let sums: Vec<u64> = load
        .per_day
        .chunks(step)
        .map(|days| days.iter().sum())
        .collect();
    let most = sums.iter().copied().max().unwrap_or(1).max(1);
    for (index, sum) in sums.iter().enumerate() {
        let width = usize::try_from(sum.saturating_mul(BAR_WIDTH as u64).div_ceil(most));
        let bar = "#".repeat(width.unwrap_or(BAR_WIDTH));
        let mut line = format!("  {} {sum:>8}", at(index * step));
        if !bar.is_empty() {
            let _ = write!(line, "  {bar}");
        }
        lines.push(line);
    }
    lines
}
