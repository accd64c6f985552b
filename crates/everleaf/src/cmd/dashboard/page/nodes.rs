//! All nodes: searched, sorted and paged here, so that five thousand are as quick as five.

use super::super::route::{NodeQuery, Order, PAGE};
use super::super::site::Site;
use super::super::snapshot::Snapshot;
use super::{Slice, Tab, cell, day, page, query_of, said, standing, table, used};
use crate::print::harmless_line;
use everleaf_fleet::{Holding, Kind, Node, Standing, Verdict};
use jiff::Timestamp;
use maud::{Markup, html};
use std::cmp::Reverse;

const HEADINGS: [&str; 6] = [
    "Node",
    "State",
    "Client",
    "Serving",
    "Renews",
    "What does not renew",
];

/// The page.
pub(in super::super) fn show(snapshot: &Snapshot, query: &NodeQuery) -> String {
    let (now, site) = (snapshot.fleet.now, &*snapshot.site);
    let found = select(&snapshot.fleet.nodes, query);
    let slice = Slice::of(found.len(), query.page, PAGE);
    let shown = &found[slice.first..slice.end];
    let rows: Vec<Markup> = shown.iter().map(|node| row(site, node, now)).collect();
    let pager = slice.show("nodes", &|page| link(site, query, page));
    let content = html! {
        (form(site, query))
        section #rows data-live aria-label="Nodes" {
            (pager)
            @if !rows.is_empty() { (table("Nodes", &HEADINGS, &rows)) }
        }
    };
    page(Tab::Nodes, "Nodes", snapshot, &content)
}

/// The nodes that are wanted, in the order that is.
pub(super) fn select<'n>(nodes: &'n [Node], query: &NodeQuery) -> Vec<&'n Node> {
    let search = query.search.to_lowercase();
    let is_found = |node: &&Node| {
        let is_at = |standing| {
            Kind::ALL
                .iter()
                .any(|kind| node.holding(*kind).standing == standing)
        };
        query.standing.is_none_or(is_at) && node.name.to_lowercase().contains(&search)
    };
    let mut found: Vec<&Node> = nodes.iter().filter(is_found).collect();
    match query.order {
        Order::Name => found.sort_by(|one, other| one.name.cmp(&other.name)),
        Order::Lapse => found.sort_by_key(|node| {
            Kind::ALL
                .map(|kind| lapse(node.holding(kind)))
                .into_iter()
                .min()
        }),
        Order::Used => found.sort_by_key(|node| {
            let used = Kind::ALL.map(|kind| node.holding(kind).life_used_percent);
            Reverse(used.into_iter().max())
        }),
        Order::End => found.sort_by_key(|node| {
            let ends = Kind::ALL
                .into_iter()
                .filter_map(|kind| Some(node.holding(kind).certificate.as_ref()?.not_after));
            // Those of which nothing is known come last.
            ends.min().map_or((true, None), |end| (false, Some(end)))
        }),
    }
    found
}

/// Who has lapsed comes before who will, and that before who renews, the earliest first.
fn lapse(holding: &Holding) -> (Verdict, Option<Timestamp>) {
    let at = match holding.outlook.verdict {
        Verdict::Lapsed | Verdict::Lapses => holding.outlook.lapses_at,
        Verdict::Renews | Verdict::Unknown => holding.renewal.map(|renewal| renewal.opens),
    };
    (holding.outlook.verdict, at)
}

fn link(site: &Site, query: &NodeQuery, page: usize) -> String {
    let mut link = query_of(site.at("/nodes?"));
    if !query.search.is_empty() {
        link.append_pair("q", &query.search);
    }
    if let Some(standing) = query.standing {
        link.append_pair("standing", standing.as_str());
    }
    link.append_pair("by", query.order.as_str());
    link.append_pair("page", &page.to_string());
    link.finish()
}

fn form(site: &Site, query: &NodeQuery) -> Markup {
    let order = |order: Order| match order {
        Order::Lapse => "who lapses first",
        Order::Used => "share of life used",
        Order::End => "end",
        Order::Name => "name",
    };
    html! {
        form.filter method="get" action=(site.at("/nodes")) role="search" {
            label { "Name holds " input #q type="search" name="q" value=(harmless_line(&query.search)) maxlength="200" autocomplete="off" spellcheck="false"; }
            label {
                "Standing "
                select #standing name="standing" {
                    option value="" { "any" }
                    @for one in Standing::ALL {
                        option value=(one.as_str()) selected[query.standing == Some(one)] { (one.as_str()) }
                    }
                }
            }
            label {
                "Sort by "
                select #by name="by" {
                    @for one in Order::ALL {
                        option value=(one.as_str()) selected[query.order == one] { (order(one)) }
                    }
                }
            }
            button #show type="submit" { "Show" }
        }
    }
}

fn row(site: &Site, node: &Node, now: Timestamp) -> Markup {
    let renews = Kind::ALL
        .into_iter()
        .filter_map(|kind| node.holding(kind).renewal);
    let renews = renews.map(|renewal| renewal.opens).min();
    html! {
        (cell("Node", &html! { a href=(site.node(&node.name)) { (said(&node.name)) } }))
        (cell("State", &html! { (node.presence.as_str()) }))
        @for (kind, heading) in Kind::ALL.into_iter().zip(["Client", "Serving"]) {
            (cell(heading, &certificate(node.holding(kind), now)))
        }
        (cell("Renews", &html! { @match renews { Some(at) => (day(at, now)), None => "–" } }))
        (cell("What does not renew", &trouble(node)))
    }
}

fn certificate(holding: &Holding, now: Timestamp) -> Markup {
    html! {
        (standing(holding.standing))
        @if let Some(certificate) = &holding.certificate {
            br; (used(holding)) br; span.soft { "ends " (day(certificate.not_after, now)) }
        }
    }
}

/// What is worth saying of a node: what does not simply renew.
fn trouble(node: &Node) -> Markup {
    let bad = Kind::ALL.into_iter().filter_map(|kind| {
        let outlook = &node.holding(kind).outlook;
        let is_bad = matches!(outlook.verdict, Verdict::Lapses | Verdict::Lapsed);
        outlook
            .first()
            .filter(|_| is_bad)
            .map(|first| (kind, first))
    });
    let bad: Vec<_> = bad.collect();
    html! {
        @if bad.is_empty() { "–" }
        @for (kind, reason) in bad { p { (kind.as_str()) ": " (said(&reason.text)) } }
    }
}
