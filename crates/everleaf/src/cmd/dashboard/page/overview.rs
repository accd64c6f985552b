//! The fleet at a glance.

use super::super::snapshot::{DAYS, Snapshot};
use super::{
    Tab, apart, bar, cell, columns, day, figures, page, said, standing, state, table, verdict,
};
use crate::cmd::fleet::screen::{lapsing, next_to_renew, when};
use everleaf_api::duration::span;
use everleaf_controllers::skew::SKEW_TOLERATED;
use everleaf_controllers::why::Leader;
use everleaf_fleet::{Authority, Counts, Fleet, Identity, Kind, Standing, State};
use maud::{Markup, html};

/// Certificates that lapse are shown up to this number.
const LAPSES_MAX: usize = 8;
/// Certificates of users and programs.
const IDENTITIES_MAX: usize = 5;
/// Requests.
const REQUESTS_MAX: usize = 5;
/// Per cent of a life that a row of its shares spans.
const SHARE: i64 = 10;

/// The page.
pub(in super::super) fn show(snapshot: &Snapshot) -> String {
    let content = html! {
        div.columned {
            (lapses(snapshot))
            (standings(snapshot))
            (requests(snapshot))
            (shares(&snapshot.fleet))
            (issuance(snapshot))
            (authorities(snapshot))
            (clocks(snapshot))
            (rest(&snapshot.fleet))
            (identities(&snapshot.fleet))
        }
        (unseen(&snapshot.fleet))
    };
    page(Tab::Overview, "The fleet", snapshot, &content)
}

fn card(id: &str, title: &str, content: &Markup) -> Markup {
    html! {
        section.card id=(id) data-live aria-labelledby={ (id) "-title" } {
            h2 id={ (id) "-title" } { (title) }
            (content)
        }
    }
}

fn lapses(snapshot: &Snapshot) -> Markup {
    let (fleet, site) = (&snapshot.fleet, &*snapshot.site);
    let bad = lapsing(fleet);
    let content = html! {
        @if bad.is_empty() {
            p.big { "No node lapses, by all that is known." }
        } @else {
            p.big { strong { (bad.len()) } " of " (fleet.nodes.len() * Kind::ALL.len()) " certificates of nodes have lapsed or will, unless something changes." }
            ul.plain {
                @for (node, kind, holding) in bad.iter().take(LAPSES_MAX) {
                    li {
                        p { a href=(site.node(&node.name)) { (said(&node.name)) } " " (kind.as_str()) " "
                            (verdict(holding.outlook.verdict))
                            @if holding.outlook.lapses_at.is_some() { " " (when(holding, fleet.now)) } }
                        @if let Some(reason) = holding.outlook.first() { p.soft { (said(&reason.text)) } }
                    }
                }
            }
            @if bad.len() > LAPSES_MAX { p { a #all-lapsing href=(site.at("/nodes?by=lapse")) { "All, by when they lapse" } } }
        }
        @if let Some((opens, node)) = next_to_renew(fleet) {
            p.soft { "Next renewal: " a #next-renewal href=(site.node(&node.name)) { (said(&node.name)) } ", " (day(opens, fleet.now)) "." }
        }
    };
    card("lapsing", "Who lapses next", &content)
}

/// Of one standing.
const fn count(counts: &Counts, standing: Standing) -> usize {
    match standing {
        Standing::Fresh => counts.fresh,
        Standing::Due => counts.due,
        Standing::Late => counts.late,
        Standing::Expired => counts.expired,
        Standing::Revoked => counts.revoked,
        Standing::Untrusted => counts.untrusted,
        Standing::NotYetValid => counts.not_yet_valid,
        Standing::Unknown => counts.unknown,
    }
}

fn standings(snapshot: &Snapshot) -> Markup {
    let (fleet, site) = (&snapshot.fleet, &*snapshot.site);
    let counts = Kind::ALL.map(|kind| fleet.counts(kind));
    let rows: Vec<Markup> = Standing::ALL
        .into_iter()
        .map(|one| {
            let query = form_urlencoded::byte_serialize(one.as_str().as_bytes());
            let query: String = query.collect();
            html! {
                th role="rowheader" scope="row" { a href={ (site.at("/nodes?standing=")) (query) } { (standing(one)) } }
                @for (kind, counts) in Kind::ALL.iter().zip(&counts) {
                    @let count = count(counts, one);
                    (cell(kind.as_str(), &html! { span.soft[count == 0] { (count) } }))
                }
            }
        })
        .collect();
    let presences = fleet.presences();
    let content = html! {
        p.big {
            strong { (fleet.nodes.len()) } " nodes"
            @if fleet.gone > 0 { " (" (fleet.gone) " gone)" }
        }
        p.soft {
            @for (at, (presence, count)) in presences.iter().enumerate() {
                @if at > 0 { ", " } (count) " " (presence.as_str())
            }
        }
        (figures("Certificates by standing", &["Standing", "client", "serving"], &rows))
    };
    card("standing", "Certificates", &content)
}

fn requests(snapshot: &Snapshot) -> Markup {
    let (fleet, site) = (&snapshot.fleet, &*snapshot.site);
    let told = super::super::route::STATES
        .map(|one| html! { a id={ "state-" (one.as_str()) } href={ (site.at("/requests?state=")) (one.as_str()) } { (state(one)) " " (fleet.requests_in(one)) } });
    let content = html! {
        p.row { @for one in &told { (one) " " } }
        @if fleet.requests.is_empty() { p { "None waits, and none was refused." } }
        ul.plain {
            @for request in fleet.requests.iter().take(REQUESTS_MAX) { li { (super::requests::short(site, request, fleet.now)) } }
        }
    };
    let pending = fleet.requests_in(State::Pending);
    let title = match pending {
        0 => "Requests".to_owned(),
        pending => format!("Requests ({pending} pending)"),
    };
    card("requests", &title, &content)
}

/// How many certificates have used which share of their lives.
fn shares(fleet: &Fleet) -> Markup {
    const ROWS: usize = 11;
    let mut shares = [[0_i64; 2]; ROWS];
    for node in &fleet.nodes {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            if let Some(used) = node.holding(kind).life_used_percent {
                let row = usize::try_from(used.max(0) / SHARE).unwrap_or(ROWS);
                shares[row.min(ROWS - 1)][at] += 1;
            }
        }
    }
    let most = shares.iter().flatten().copied().max().unwrap_or_default();
    let rows: Vec<Markup> = shares
        .iter()
        .enumerate()
        .map(|(row, [client, serving])| {
            let from = row * 10;
            let name = match row + 1 == ROWS {
                true => "ended".to_owned(),
                false => format!("{from}–{} %", from + 10),
            };
            html! {
                th role="rowheader" scope="row" { (name) }
                (cell("client", &html! { (bar(*client, most)) " " (client) }))
                (cell("serving", &html! { (bar(*serving, most)) " " (serving) }))
            }
        })
        .collect();
    let content = figures(
        "Certificates by the share of life used",
        &["Life used", "client", "serving"],
        &rows,
    );
    card("life", "Share of life used", &content)
}

fn issuance(snapshot: &Snapshot) -> Markup {
    let load = &snapshot.load;
    let days: Vec<usize> = load
        .per_day
        .iter()
        .map(|count| usize::try_from(*count).unwrap_or(usize::MAX))
        .collect();
    let content = html! {
        @match &snapshot.pace {
            None => p { "Requests may not be read, so nobody can say what was issued." },
            Some(pace) => {
                p.big { strong { (pace.total()) } " issued within the last hour" }
                (columns(&pace.steps))
                p.soft { "In steps of five minutes; in the last one: " (pace.steps.last().unwrap_or(&0)) "." }
            }
        }
        p { strong { (load.total) } @if load.total == 1 { " renewal of a node is" } @else { " renewals of nodes are" } " foreseen within " (DAYS) " days"
            @if load.total > 0 { ", at most " (load.peak) " a day (" @match load.peak_day { 0 => "today", 1 => "tomorrow", days => { "in " (days) " days" } } ")" } "." }
        @if load.total > 0 { (columns(&days)) }
    };
    card("issuance", "Issuance", &content)
}

fn authorities(snapshot: &Snapshot) -> Markup {
    let now = snapshot.fleet.now;
    let row = |one: &Authority| {
        html! {
            (cell("Authority", &said(&one.subject)))
            (cell("Life used", &html! { (bar(one.life_used_percent, 100)) " " (one.life_used_percent) " %" }))
            (cell("Ends", &html! {
                @if one.not_after < now { strong.bad { "✕ ended " } }
                (day(one.not_after, now))
            }))
            (cell("Of", &html! { @if one.is_of_clients { "clients" } @else { "the server" } }))
        }
    };
    let rows: Vec<Markup> = snapshot.fleet.authorities.iter().map(row).collect();
    let content = html! {
        @if rows.is_empty() { p { "None is known." } }
        @else { (table("Certificate authorities", &["Authority", "Life used", "Ends", "Of"], &rows)) }
        h3 { "Roll to another CA" }
        @if snapshot.roll.is_empty() { p.soft { "No roll of the CA is known to be under way." } }
        @for line in &snapshot.roll { p { (said(line)) } }
    };
    card("authorities", "Certificate authority", &content)
}

fn clocks(snapshot: &Snapshot) -> Markup {
    let skew = snapshot.skew;
    let is_far = skew.unsigned_abs() > SKEW_TOLERATED.unsigned_abs();
    let seconds = skew.as_secs();
    let early = Kind::ALL.map(|kind| snapshot.fleet.counts(kind).not_yet_valid);
    let early: usize = early.iter().sum();
    let content = html! {
        p {
            @if is_far { strong.bad { "✕ " } }
            "The API server's clock "
            @if seconds.abs() <= 1 { "and this machine's agree to a second or two." }
            @else {
                "is " strong { (span(skew.unsigned_abs())) }
                @if seconds > 0 { " ahead of this machine's." } @else { " behind this machine's." }
            }
        }
        @if early > 0 {
            p { strong.bad { "✕ " (early) } " certificates begin in the future: a clock is wrong. "
                a #early href=(snapshot.site.at("/nodes?standing=not+yet+valid")) { "Which" } }
        } @else { p.soft { "No node has a certificate that begins in the future." } }
    };
    card("clocks", "Clocks", &content)
}

fn rest(fleet: &Fleet) -> Markup {
    let content = html! {
        @if fleet.leaders.is_empty() {
            p {
                @if fleet.revocations_are_enforced { "No Lease of controllers: those of `everleaf up` need none." }
                @else { "No Lease of controllers is seen." }
            }
        }
        @for (lease, leader) in &fleet.leaders {
            p {
                (lease) ": "
                @match leader {
                    Leader::Alive(holder) => { (said(holder)) " leads" },
                    Leader::Gone { holder, .. } => { strong.bad { "✕ " } (said(holder)) " has stopped" },
                    Leader::Nobody | Leader::Unknown => "nobody knows",
                }
            }
        }
        h3 { "Revoked" }
        @if fleet.revocations.is_empty() { p.soft { "Nothing." } }
        @else if !fleet.revocations_are_enforced { p { "This API server does not know revocations: it does not refuse these." } }
        @if !fleet.revocations.is_empty() {
            ul {
                @for one in &fleet.revocations {
                    li { (said(&one.target)) ": " (one.reason)
                        @if let Some(at) = one.at { ", " (apart(at, fleet.now)) } }
                }
            }
        }
    };
    card("controllers", "Controllers and revocations", &content)
}

/// Certificates of others than nodes, which nobody renews as far as is known.
fn identities(fleet: &Fleet) -> Markup {
    let mut all: Vec<_> = fleet.identities.iter().collect();
    let end = |one: &Identity| {
        one.holding
            .certificate
            .as_ref()
            .map(|certificate| certificate.not_after)
    };
    all.sort_by_key(|one| end(one));
    let content = html! {
        @if all.is_empty() { p.soft { "None that was issued through a request is known." } }
        ul.plain {
            @for one in all.iter().take(IDENTITIES_MAX) {
                li {
                    (said(&one.name)) " " (standing(one.holding.standing))
                    @if let Some(end) = end(one) { ", ends " (day(end, fleet.now)) }
                    br; span.soft { (said(&one.signer)) }
                }
            }
        }
        @if all.len() > IDENTITIES_MAX { p { "and " (all.len() - IDENTITIES_MAX) " more: " code { "everleaf status -o json" } } }
    };
    card("identities", "Certificates of users and programs", &content)
}

/// What could not be looked at.
fn unseen(fleet: &Fleet) -> Markup {
    html! {
        section #unseen data-live aria-label="Not seen" {
            @if !fleet.unseen.is_empty() {
                h2 { "Not seen" }
                ul { @for line in &fleet.unseen { li { (said(line)) } } }
            }
        }
    }
}
