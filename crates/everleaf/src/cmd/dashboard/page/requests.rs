//! Requests without a certificate, and why.

use super::super::route::{PAGE, RequestQuery, STATES};
use super::super::site::Site;
use super::super::snapshot::Snapshot;
use super::{Slice, Tab, apart, cell, page, query_of, said, state, table};
use crate::print::harmless_line;
use everleaf_fleet::Request;
use jiff::Timestamp;
use maud::{Markup, html};

const HEADINGS: [&str; 4] = ["Request", "State", "From", "Why"];

/// The page.
pub(in super::super) fn show(snapshot: &Snapshot, query: &RequestQuery) -> String {
    let found = select(&snapshot.fleet.requests, query);
    let slice = Slice::of(found.len(), query.page, PAGE);
    let (now, site) = (snapshot.fleet.now, &*snapshot.site);
    let shown = &found[slice.first..slice.end];
    let rows: Vec<Markup> = shown
        .iter()
        .map(|request| row(site, request, now))
        .collect();
    let content = html! {
        (form(site, query))
        section #rows data-live aria-label="Requests" {
            (slice.show("requests without a certificate", &|page| link(site, query, page)))
            @if !rows.is_empty() { (table("Requests", &HEADINGS, &rows)) }
        }
    };
    page(Tab::Requests, "Requests", snapshot, &content)
}

/// The requests that are wanted.
pub(super) fn select<'r>(requests: &'r [Request], query: &RequestQuery) -> Vec<&'r Request> {
    let search = query.search.to_lowercase();
    let is_found = |request: &&Request| {
        let words = [&request.name, &request.requestor, &request.signer];
        let mut words = words.into_iter().chain(&request.node);
        query.state.is_none_or(|state| request.state == state)
            && words.any(|word| word.to_lowercase().contains(&search))
    };
    requests.iter().filter(is_found).collect()
}

fn link(site: &Site, query: &RequestQuery, page: usize) -> String {
    let mut link = query_of(site.at("/requests?"));
    if !query.search.is_empty() {
        link.append_pair("q", &query.search);
    }
    if let Some(state) = query.state {
        link.append_pair("state", state.as_str());
    }
    link.append_pair("page", &page.to_string());
    link.finish()
}

fn form(site: &Site, query: &RequestQuery) -> Markup {
    html! {
        form.filter method="get" action=(site.at("/requests")) role="search" {
            label { "Name, requestor, node or signer holds " input #q type="search" name="q" value=(harmless_line(&query.search)) maxlength="200" autocomplete="off" spellcheck="false"; }
            label {
                "State "
                select #state name="state" {
                    option value="" { "any" }
                    @for one in STATES {
                        option value=(one.as_str()) selected[query.state == Some(one)] { (one.as_str()) }
                    }
                }
            }
            button #show type="submit" { "Show" }
        }
    }
}

/// The cells of a request.
fn row(site: &Site, request: &Request, now: Timestamp) -> Markup {
    html! {
        (cell("Request", &html! {
            a href=(site.request(&request.name)) { (said(&request.name)) }
            @if let Some(node) = &request.node { br; span.soft { "for node " (said(node)) } }
        }))
        (cell("State", &html! {
            (state(request.state))
            @if let Some(filed) = request.filed { br; span.soft { "filed " (apart(filed, now)) } }
        }))
        (cell("From", &html! { (said(&request.requestor)) br; span.soft { (said(&request.signer)) } }))
        (cell("Why", &why(request)))
    }
}

/// A request in a list.
pub(super) fn short(site: &Site, request: &Request, now: Timestamp) -> Markup {
    html! {
        p {
            a href=(site.request(&request.name)) { (said(&request.name)) } " "
            (state(request.state))
            @if let Some(filed) = request.filed { span.soft { ", filed " (apart(filed, now)) } }
        }
        p { (why(request)) }
    }
}

fn why(request: &Request) -> Markup {
    html! {
        @match (&request.hold, request.is_explained) {
            (Some(hold), _) => { (said(&hold.title)) " " code { (said(&hold.fault)) } },
            (None, true) => (said(&request.why())),
            (None, false) => { @if let Some(text) = &request.said { (said(text)) } @else { "open it to see" } },
        }
    }
}
