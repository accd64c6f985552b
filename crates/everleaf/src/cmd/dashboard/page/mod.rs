//! The pages: functions of a [`Snapshot`] and a query, to HTML. Everything that others have named
//! or said is escaped by [`maud`], and shown without what a terminal or a reader's eye would obey
//! ([`said`]).
//!
//! What may change while it is looked at stands in elements with an id and `data-live`, which the
//! script replaces one by one. No colour says anything that a word does not say.

pub(super) mod login;
pub(super) mod node;
pub(super) mod nodes;
pub(super) mod overview;
pub(super) mod request;
pub(super) mod requests;
#[cfg(test)]
pub(super) mod tests;

use super::site::Site;
use super::snapshot::Snapshot;
use crate::print::harmless_line;
use everleaf_api::duration::span;
use everleaf_api::meta::format_time;
use everleaf_fleet::{Holding, Standing, State, Verdict};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

/// Where a page stands in the navigation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Nodes,
    Requests,
}

/// A whole page.
pub(super) fn page(tab: Tab, title: &str, snapshot: &Snapshot, content: &Markup) -> String {
    let pending = snapshot.fleet.requests_in(State::Pending);
    let current = |one: Tab| (one == tab).then_some("page");
    let version = snapshot.version.as_deref().unwrap_or("version unknown");
    let site = &*snapshot.site;
    let body = html! {
        a.skip href="#main" { "Skip to the content" }
        header {
            p.name { "Everleaf" }
            nav aria-label="Pages" {
                a href=(site.at("/")) aria-current=[current(Tab::Overview)] { "Overview" }
                a href=(site.at("/nodes")) aria-current=[current(Tab::Nodes)] { "Nodes" }
                a href=(site.at("/requests")) aria-current=[current(Tab::Requests)] {
                    "Requests"
                    span #pending data-live { @if pending > 0 { " (" (pending) " pending)" } }
                }
            }
            p #live role="status" data-events=(site.at("/events")) data-stranger=(site.stranger) {
                "Not live: reload the page to see changes."
            }
            (leave(site))
        }
        main #main tabindex="-1" { h1 { (said(title)) } (content) }
        footer #moment data-live data-number=(snapshot.number) {
            p {
                (said(&snapshot.server)) " (" (said(version)) ")"
                @if !snapshot.user.is_empty() { ", as " strong { (said(&snapshot.user)) } }
            }
            p { "As of " (instant(snapshot.fleet.now)) " by the API server's clock." }
        }
        script src=(site.at("/script.js")) {}
    };
    whole(site, title, &body)
}

/// A page that shows nothing of a cluster.
pub(super) fn plain(site: &Site, title: &str, text: &str) -> String {
    bare(site, title, &html! { p { (said(text)) } })
}

/// A page that shows nothing of a cluster, with more than a sentence.
pub(super) fn bare(site: &Site, title: &str, content: &Markup) -> String {
    let body = html! {
        header { p.name { "Everleaf" } (leave(site)) }
        main #main { h1 { (said(title)) } (content) }
    };
    whole(site, title, &body)
}

/// The way out, for whoever came in by a form.
fn leave(site: &Site) -> Markup {
    html! {
        @if site.has_session {
            form.leave method="post" action=(site.at("/logout")) {
                input type="hidden" name="key" value=(site.form_key);
                button #leave type="submit" { "Log out" }
            }
        }
    }
}

fn whole(site: &Site, title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (said(title)) " – Everleaf" }
                link rel="icon" href=(site.at("/icon.svg"));
                link rel="stylesheet" href=(site.at("/style.css"));
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// Words of others: in one line, and without what turns letters round.
pub(super) fn said(text: &str) -> Markup {
    let text = harmless_line(text);
    html! { (text) }
}

/// A link that ends with `?`, to be filled in.
fn query_of(path: String) -> form_urlencoded::Serializer<'static, String> {
    let length = path.len();
    form_urlencoded::Serializer::for_suffix(path, length)
}

/// A standing as a sign and a word.
fn standing(standing: Standing) -> Markup {
    let (class, sign) = match standing {
        Standing::Fresh => ("good", "●"),
        Standing::Due => ("good", "◐"),
        Standing::Late => ("warn", "▲"),
        Standing::Expired => ("bad", "✕"),
        Standing::Revoked => ("bad", "⊘"),
        Standing::Untrusted => ("bad", "≠"),
        Standing::NotYetValid => ("bad", "◷"),
        Standing::Unknown => ("soft", "?"),
    };
    signed(class, sign, standing.as_str())
}

/// Where a request stands, as a sign and a word.
fn state(state: State) -> Markup {
    let (class, sign) = match state {
        State::Pending => ("warn", "…"),
        State::Approved => ("good", "✓"),
        State::Denied => ("bad", "⊘"),
        State::Failed => ("bad", "✕"),
    };
    signed(class, sign, state.as_str())
}

/// What becomes of a certificate, as a sign and a word.
fn verdict(verdict: Verdict) -> Markup {
    match verdict {
        Verdict::Renews => signed("good", "●", "renews"),
        Verdict::Lapses => signed("warn", "▲", "lapses"),
        Verdict::Lapsed => signed("bad", "✕", "has lapsed"),
        Verdict::Unknown => signed("soft", "?", "unknown"),
    }
}

fn signed(class: &str, sign: &str, word: &str) -> Markup {
    html! { span class={ "sign " (class) } { span aria-hidden="true" { (sign) } " " (word) } }
}

/// A bar of so much of a whole; whoever does not see it has the number beside it.
fn bar(part: i64, whole: i64) -> Markup {
    let width = part.clamp(0, whole.max(1)).saturating_mul(100) / whole.max(1);
    html! {
        svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect.all width="100" height="8" {}
            rect.part width=(width) height="8" {}
        }
    }
}

/// Columns over time.
fn columns(values: &[usize]) -> Markup {
    const HEIGHT: usize = 40;
    let most = values.iter().copied().max().unwrap_or_default().max(1);
    let width = values.len() * 10;
    html! {
        svg.columns viewBox={ "0 0 " (width) " " (HEIGHT) } preserveAspectRatio="none" aria-hidden="true" {
            @for (at, value) in values.iter().enumerate() {
                @let height = (value * HEIGHT).div_ceil(most);
                rect.part x=(at * 10) y=(HEIGHT - height) width="9" height=(height) {}
            }
            rect.all x="0" y=(HEIGHT - 1) width=(width) height="1" {}
        }
    }
}

/// How much of its life a certificate has used.
fn used(holding: &Holding) -> Markup {
    match holding.life_used_percent {
        None => html! { "–" },
        Some(used) => html! { (bar(used, 100)) " " (used) " %" },
    }
}

/// An instant, to the second.
fn instant(at: Timestamp) -> Markup {
    let text = format_time(at);
    html! { time datetime=(text) { (text) } }
}

/// An instant by its day, and how far it is away.
fn day(at: Timestamp, now: Timestamp) -> Markup {
    let text = format_time(at);
    let day = text.get(..10).unwrap_or(&text);
    html! { time datetime=(text) title=(text) { (day) } ", " (apart(at, now)) }
}

fn apart(at: Timestamp, now: Timestamp) -> String {
    let length = span(at.duration_since(now).unsigned_abs());
    match at < now {
        true => format!("{length} ago"),
        false => format!("in {length}"),
    }
}

/// A cell of a table, which on a narrow screen stands below its heading.
fn cell(heading: &str, content: &Markup) -> Markup {
    html! { td role="cell" data-heading=(heading) { div { (content) } } }
}

fn head(headings: &[&str]) -> Markup {
    html! {
        thead role="rowgroup" {
            tr role="row" {
                @for heading in headings { th role="columnheader" scope="col" { (heading) } }
            }
        }
    }
}

/// A table, which on a narrow screen is a list of cards.
fn table(label: &str, headings: &[&str], rows: &[Markup]) -> Markup {
    html! {
        table.cards role="table" aria-label=(label) {
            (head(headings))
            tbody role="rowgroup" { @for row in rows { tr role="row" { (row) } } }
        }
    }
}

/// A table of few narrow columns, which stays one on every screen.
fn figures(label: &str, headings: &[&str], rows: &[Markup]) -> Markup {
    html! {
        table.figures aria-label=(label) {
            (head(headings))
            tbody role="rowgroup" { @for row in rows { tr role="row" { (row) } } }
        }
    }
}

/// Which rows of all are shown, and the ways to the others.
pub(super) struct Slice {
    pub(super) first: usize,
    pub(super) end: usize,
    pub(super) all: usize,
    page: usize,
    pages: usize,
}

impl Slice {
    /// The page of that number, or the last one that there is.
    pub(super) fn of(all: usize, page: usize, size: usize) -> Self {
        let pages = all.div_ceil(size).max(1);
        let page = page.clamp(1, pages);
        let first = (page - 1) * size;
        Self {
            first,
            end: all.min(first + size),
            all,
            page,
            pages,
        }
    }

    /// `link` of a page, from its number.
    fn show(&self, what: &str, link: &dyn Fn(usize) -> String) -> Markup {
        html! {
            nav.pager aria-label="More rows" {
                span {
                    @if self.all == 0 { "No " (what) "." }
                    @else { (self.first + 1) "–" (self.end) " of " (self.all) " " (what) }
                }
                @if self.page > 1 { a #earlier rel="prev" href=(link(self.page - 1)) { "← earlier" } }
                @if self.page < self.pages { a #later rel="next" href=(link(self.page + 1)) { "later →" } }
            }
        }
    }
}
