//! One node.

use super::super::site::Site;
use super::super::snapshot::Snapshot;
use super::{Tab, day, instant, page, said, standing, used, verdict};
use everleaf_fleet::{Certificate, Holding, Keeper, Kind, Node, Source};
use everleaf_pki::signer::is_dns1123_subdomain;
use jiff::Timestamp;
use maud::{Markup, html};

/// The page. `commands` say how to look closer.
pub(in super::super) fn show(snapshot: &Snapshot, node: &Node, commands: &[String]) -> String {
    let (now, site) = (snapshot.fleet.now, &*snapshot.site);
    let requests = snapshot.fleet.requests.iter();
    let requests: Vec<_> = requests
        .filter(|request| request.node.as_deref() == Some(&node.name))
        .collect();
    let content = html! {
        div #node data-live {
            p.big {
                (node.presence.as_str())
                @if let Some(since) = node.since { " since " (day(since, now)) }
                @if let Some(version) = &node.kubelet_version { ", kubelet " (said(version)) }
            }
            div.grid {
                @for kind in Kind::ALL { (certificate(site, kind, node.holding(kind), now)) }
            }
            @if !requests.is_empty() {
                h2 { "Requests of it without a certificate" }
                ul { @for request in requests {
                    li { a href=(site.request(&request.name)) { (said(&request.name)) } ": " (super::state(request.state)) ", " (said(&request.why())) }
                } }
            }
        }
        @if is_dns1123_subdomain(&node.name) {
            h2 { "Look closer" }
            @for command in commands { pre { code { (said(command)) } } }
        }
    };
    page(Tab::Nodes, &node.name, snapshot, &content)
}

fn certificate(site: &Site, kind: Kind, holding: &Holding, now: Timestamp) -> Markup {
    let title = match kind {
        Kind::Client => "Client certificate, toward the API server",
        Kind::Serving => "Serving certificate, of its own server",
    };
    html! {
        section.card {
            h2 { (title) }
            p.big { (standing(holding.standing)) ", " (verdict(holding.outlook.verdict)) }
            ul { @for reason in &holding.outlook.reasons { li { (said(&reason.text)) } } }
            @if let Some(failure) = &holding.probe_failure { p { "Its kubelet was asked: " (said(failure)) } }
            @match &holding.certificate {
                None => p.soft { "No certificate of it was seen. That says nothing of whether it has one." },
                Some(certificate) => (dates(site, certificate, holding, now)),
            }
        }
    }
}

fn dates(site: &Site, certificate: &Certificate, holding: &Holding, now: Timestamp) -> Markup {
    let source = match certificate.source {
        Source::Log => "in the issuance log",
        Source::Request => "in its request",
        Source::Probe => "shown by its kubelet",
    };
    let keeper = match holding.keeper {
        Keeper::EverleafAgent => "an agent of Everleaf",
        Keeper::Kubelet => "a kubelet",
        Keeper::Unknown => "not known",
    };
    html! {
        dl {
            dt { "Life used" } dd { (used(holding)) }
            dt { "Valid from" } dd { (instant(certificate.not_before)) }
            dt { "Ends" } dd { (instant(certificate.not_after)) " (" (super::apart(certificate.not_after, now)) ")" }
            @if let Some(renewal) = holding.renewal {
                dt { "Renews" }
                dd {
                    @if renewal.opens == renewal.until { "at " (instant(renewal.opens)) }
                    @else { "between " (instant(renewal.opens)) " and " (instant(renewal.until)) }
                }
            }
            dt { "Kept by" } dd { (keeper) }
            dt { "Subject" } dd { "CN=" (said(&certificate.common_name)) }
            dt { "Serial" } dd.code { (said(&certificate.serial)) }
            dt { "SHA-256" } dd.code { (said(&certificate.sha256)) }
            dt { "Seen" } dd { (source) }
            @if let Some(csr) = &certificate.csr {
                dt { "Request" } dd { a href=(site.request(csr)) { (said(csr)) } }
            }
            @if let Some(by) = &holding.revoked_by { dt { "Revoked by" } dd { (said(by)) } }
        }
    }
}
