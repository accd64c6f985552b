//! A fleet on one screen: at most 24 lines, as long as the terminal's, however large it is.

use crate::print::harmless_line;
use everleaf_api::duration::span;
use everleaf_api::meta::format_time;
use everleaf_controllers::why::Leader;
use everleaf_fleet::{Authority, Counts, Fleet, Holding, Kind, Node, State, Verdict};
use jiff::Timestamp;

/// Columns of a terminal that nobody has widened.
pub(super) const WIDTH: usize = 80;
/// Certificates that lapse are shown up to this number.
const LAPSES_MAX: usize = 5;
/// Requests.
const REQUESTS_MAX: usize = 4;
/// Authorities.
const AUTHORITIES_MAX: usize = 2;
/// Columns of a name in a list.
const NAME_WIDTH: usize = 20;

/// The lines.
pub(super) fn of(
    fleet: &Fleet,
    server: &str,
    version: Option<&str>,
    columns: usize,
) -> Vec<String> {
    let version = version.map_or(String::new(), |version| format!(" ({version})"));
    let now = format_time(fleet.now);
    let mut lines = vec![format!("{server}{version} at {now}")];
    lines.push(nodes(fleet));
    lines.extend(certificates(fleet));
    lines.extend(lapses(fleet));
    lines.extend(requests(fleet));
    lines.extend(authorities(fleet));
    lines.push(revocations(fleet));
    lines.push(controllers(fleet));
    lines.extend(unseen(fleet));
    lines
        .iter()
        .map(|line| fitted(&harmless_line(line), columns))
        .collect()
}

/// No longer than a line.
fn fitted(line: &str, columns: usize) -> String {
    cut(line, columns.max(1)).trim_end().to_owned()
}

fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width - 1).chain(['…']).collect(),
    }
}

fn nodes(fleet: &Fleet) -> String {
    let presences = fleet.presences();
    let told = presences
        .iter()
        .map(|(presence, count)| format!("{count} {}", presence.as_str()));
    let told: Vec<String> = told.collect();
    let gone = match fleet.gone {
        0 => String::new(),
        gone => format!(" ({gone} gone)"),
    };
    let all = fleet.nodes.len();
    match told.is_empty() {
        true => format!("Nodes         none{gone}"),
        false => format!("Nodes         {all}: {}{gone}", told.join(", ")),
    }
}

fn certificates(fleet: &Fleet) -> Vec<String> {
    let row = |name: &str, cells: [&str; 6]| {
        let [fresh, due, late, expired, revoked, unknown] = cells;
        format!("{name:<12}{fresh:>8}{due:>8}{late:>8}{expired:>10}{revoked:>10}{unknown:>10}")
    };
    let head = ["fresh", "due", "late", "expired", "revoked", "unknown"];
    let mut lines = vec![row("Certificates", head)];
    for kind in Kind::ALL {
        let counts = fleet.counts(kind);
        let Counts {
            fresh,
            due,
            late,
            expired,
            revoked,
            unknown,
            untrusted,
            not_yet_valid,
        } = counts;
        let cells = [fresh, due, late, expired, revoked, unknown].map(|count| count.to_string());
        let mut line = row(
            &format!("  {}", kind.as_str()),
            cells.each_ref().map(|one| &**one),
        );
        if untrusted > 0 {
            line.push_str(&format!("  {untrusted} untrusted"));
        }
        if not_yet_valid > 0 {
            line.push_str(&format!("  {not_yet_valid} not yet"));
        }
        lines.push(line);
    }
    lines
}

/// Those that have lapsed or will, the next to do so first, and those that have last.
pub(in crate::cmd) fn lapsing(fleet: &Fleet) -> Vec<(&Node, Kind, &Holding)> {
    let all = fleet.nodes.iter();
    let all = all.flat_map(|node| Kind::ALL.map(|kind| (node, kind, node.holding(kind))));
    let is_bad = |verdict| matches!(verdict, Verdict::Lapses | Verdict::Lapsed);
    let mut bad: Vec<_> = all
        .filter(|(_, _, holding)| is_bad(holding.outlook.verdict))
        .collect();
    bad.sort_by_key(|(_, _, holding)| {
        let outlook = &holding.outlook;
        let at = outlook.lapses_at;
        // Of what has ended, the last to end is news.
        let long_ago = at.filter(|_| outlook.verdict == Verdict::Lapsed);
        (
            outlook.verdict == Verdict::Lapsed,
            std::cmp::Reverse(long_ago),
            at,
        )
    });
    bad
}

fn lapses(fleet: &Fleet) -> Vec<String> {
    let bad = lapsing(fleet);
    if bad.is_empty() {
        return vec![match next_renewal(fleet) {
            Some(next) => format!("Lapsing       none known; {next}"),
            None => "Lapsing       none known".to_owned(),
        }];
    }
    let lapsed = bad
        .iter()
        .filter(|(_, _, holding)| holding.outlook.verdict == Verdict::Lapsed);
    let lapsed = lapsed.count();
    let mut lines = vec![format!(
        "Lapsing       {} will unless something changes, {lapsed} have lapsed",
        bad.len() - lapsed
    )];
    for (node, kind, holding) in bad.iter().take(LAPSES_MAX) {
        let name = cut(&node.name, NAME_WIDTH);
        let when = when(holding, fleet.now);
        let why = holding.outlook.first().map_or("", |reason| &reason.text);
        lines.push(format!(
            "  {name:<NAME_WIDTH$} {:<7} {when:<9} {why}",
            kind.as_str()
        ));
    }
    lines
}

/// When it lapses, or did.
pub(in crate::cmd) fn when(holding: &Holding, now: Timestamp) -> String {
    match holding.outlook.lapses_at {
        None => "now".to_owned(),
        Some(at) if at < now => format!("{} ago", span(now.duration_since(at).unsigned_abs())),
        Some(at) => format!("in {}", span(at.duration_since(now).unsigned_abs())),
    }
}

fn next_renewal(fleet: &Fleet) -> Option<String> {
    let (opens, node) = next_to_renew(fleet)?;
    let name = cut(&node.name, NAME_WIDTH);
    let day = format_time(opens);
    let day = day.get(..10).unwrap_or(&day);
    Some(format!("next renewal on {day}: {name}"))
}

/// Who renews next, and from when on.
pub(in crate::cmd) fn next_to_renew(fleet: &Fleet) -> Option<(Timestamp, &Node)> {
    let all = fleet.nodes.iter();
    let all = all.flat_map(|node| Kind::ALL.map(|kind| (node, node.holding(kind))));
    all.filter_map(|(node, holding)| Some((holding.renewal?.opens, node)))
        .min_by_key(|(opens, _)| *opens)
}

fn requests(fleet: &Fleet) -> Vec<String> {
    let states = [
        State::Pending,
        State::Approved,
        State::Denied,
        State::Failed,
    ];
    let told = states.map(|state| format!("{} {}", fleet.requests_in(state), state.as_str()));
    let mut lines = vec![format!("Requests      {}", told.join(", "))];
    for request in fleet.requests.iter().take(REQUESTS_MAX) {
        let name = cut(&request.name, NAME_WIDTH);
        let age = request.filed.map_or_else(String::new, |filed| {
            span(fleet.now.duration_since(filed).unsigned_abs())
        });
        let why = request.why();
        let state = request.state.as_str();
        lines.push(format!("  {name:<NAME_WIDTH$} {state:<8} {age:<6} {why}"));
    }
    lines
}

fn authorities(fleet: &Fleet) -> Vec<String> {
    let told = |authority: &Authority| {
        let left = authority.not_after.duration_since(fleet.now);
        let end = format_time(authority.not_after);
        let end = end.get(..10).unwrap_or(&end).to_owned();
        let subject = &authority.subject;
        match left.is_negative() {
            true => format!("{subject} ENDED at {end}"),
            false => format!("{subject} ends {end}, in {}", span(left.unsigned_abs())),
        }
    };
    let more = fleet.authorities.len().saturating_sub(AUTHORITIES_MAX);
    let shown = fleet.authorities.iter().take(AUTHORITIES_MAX);
    let mut lines: Vec<String> = shown
        .map(|one| format!("              {}", told(one)))
        .collect();
    match lines.first_mut() {
        Some(first) => first.replace_range(..11, "Authorities"),
        None => lines.push("Authorities   none is known".to_owned()),
    }
    if more > 0
        && let Some(last) = lines.last_mut()
    {
        last.push_str(&format!(" (and {more} more)"));
    }
    lines
}

fn revocations(fleet: &Fleet) -> String {
    let targets: Vec<&str> = fleet.revocations.iter().map(|one| &*one.target).collect();
    if targets.is_empty() {
        return "Revoked       nothing".to_owned();
    }
    let unheard = match fleet.revocations_are_enforced {
        true => "",
        false => " (this API server does not know revocations)",
    };
    format!(
        "Revoked       {}{unheard}: {}",
        targets.len(),
        targets.join(", ")
    )
}

fn controllers(fleet: &Fleet) -> String {
    let told = fleet.leaders.iter().map(|(lease, leader)| match leader {
        Leader::Alive(holder) => format!("{lease}: {holder} leads"),
        Leader::Gone { holder, .. } => format!("{lease}: {holder} has stopped"),
        Leader::Nobody | Leader::Unknown => format!("{lease}: nobody knows"),
    });
    let told: Vec<String> = told.collect();
    match (told.is_empty(), fleet.revocations_are_enforced) {
        (false, _) => format!("Controllers   {}", told.join("; ")),
        (true, true) => "Controllers   no Lease: those of `everleaf up` need none".to_owned(),
        (true, false) => "Controllers   no Lease of any is seen".to_owned(),
    }
}

fn unseen(fleet: &Fleet) -> Vec<String> {
    let Some(first) = fleet.unseen.first() else {
        return Vec::new();
    };
    let more = match fleet.unseen.len() - 1 {
        0 => String::new(),
        more => format!("(and {more} more, -o json) "),
    };
    vec![format!("Not seen      {more}{first}")]
}
