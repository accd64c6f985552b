//! One request: what it asks for, where it stands and why, and the two decisions.

use super::super::route::Verdict;
use super::super::site::Site;
use super::super::snapshot::Snapshot;
use super::{Tab, instant, page, said};
use everleaf_api::csr::{APPROVED, Csr, DENIED, FAILED};
use everleaf_controllers::why::{Diagnosis, Finding};
use everleaf_pki::{Chain, VerifiedRequest};
use maud::{Markup, html};
use serde_json::Value;

/// Characters of the sentence that goes with a decision.
pub(in super::super) const MESSAGE_MAX: usize = 500;

/// A request that was read.
pub(in super::super) struct Shown<'a> {
    pub(in super::super) name: &'a str,
    /// `None`: there is none of this name, or it may not be read.
    pub(in super::super) object: Option<&'a Value>,
    pub(in super::super) diagnosis: &'a Diagnosis,
    /// What has just been done.
    pub(in super::super) done: Option<Verdict>,
}

/// The page.
pub(in super::super) fn show(snapshot: &Snapshot, shown: &Shown<'_>) -> String {
    let diagnosis = shown.diagnosis;
    let content = html! {
        @if let Some(done) = shown.done.filter(|done| is_done(*done, shown.object)) {
            p.done role="status" { "✓ You have " (done.done()) " this request." }
        }
        div #request data-live {
            p.big { "It is " strong { (said(&diagnosis.standing)) } "." }
            @if diagnosis.findings.is_empty() { p { (said(&diagnosis.summary)) } }
            @for finding in &diagnosis.findings { (found(finding)) }
        }
        @if let Some(object) = shown.object {
            (asked(&snapshot.site, Csr(object)))
            (decision(&snapshot.site, Csr(object), shown))
        }
        @if !diagnosis.unseen.is_empty() {
            h2 { "Not seen" }
            ul { @for line in &diagnosis.unseen { li { (said(line)) } } }
        }
    };
    page(Tab::Requests, shown.name, snapshot, &content)
}

/// The page of a decision that did not come about.
pub(in super::super) fn undecided(snapshot: &Snapshot, name: &str, why: &str) -> String {
    let content = html! {
        p.failed role="alert" { "✕ " (said(why)) }
        p { a #back href=(snapshot.site.request(name)) { "Back to " (said(name)) } }
    };
    page(Tab::Requests, "Not decided", snapshot, &content)
}

fn found(finding: &Finding) -> Markup {
    html! {
        section.card {
            h2 { (finding.title) " " code { (finding.fault) } }
            dl {
                @if !finding.evidence.is_empty() {
                    dt { "Seen" }
                    dd { @for line in &finding.evidence { p { (said(line)) } } }
                }
                dt { "Why" } dd { (finding.cause) }
                dt { "Do" }
                dd {
                    (finding.remedy)
                    @for command in &finding.commands { pre { code { (said(command)) } } }
                }
            }
        }
    }
}

/// Whether that decision stands there: the address alone, which anybody can write into a link, says
/// nothing.
fn is_done(verdict: Verdict, object: Option<&Value>) -> bool {
    let kind = match verdict {
        Verdict::Approve => APPROVED,
        Verdict::Deny => DENIED,
    };
    object.is_some_and(|object| Csr(object).has_condition(kind))
}

/// Whether a person may still decide.
fn is_open(csr: Csr<'_>) -> bool {
    !csr.is_issued()
        && ![APPROVED, DENIED, FAILED]
            .iter()
            .any(|kind| csr.has_condition(kind))
}

fn decision(site: &Site, csr: Csr<'_>, shown: &Shown<'_>) -> Markup {
    let form = |verdict: Verdict, label: &str, message: &Markup| {
        html! {
            form.decide method="post" action={ (site.request(shown.name)) "/" (verdict.as_str()) } {
                input type="hidden" name="key" value=(site.form_key);
                input type="hidden" name="uid" value=(csr.uid());
                (message)
                button id=(verdict.as_str()) type="submit" class=(verdict.as_str()) { (label) }
            }
        }
    };
    html! {
        section #decision data-live aria-label="Decision" {
            @if is_open(csr) {
                h2 { "Decide" }
                p { "Approving lets " strong { (said(csr.signer_name())) } " issue a certificate for what stands above. Both decisions are final; "
                    "the API server judges whether you may take them." }
                div.row {
                    (form(Verdict::Approve, "Approve", &html! {}))
                    (form(Verdict::Deny, "Deny", &html! {
                        label { "Reason, for whoever reads the request "
                            input #message type="text" name="message" maxlength=(MESSAGE_MAX) autocomplete="off"; }
                    }))
                }
            }
        }
    }
}

/// What the request says itself.
fn asked(site: &Site, csr: Csr<'_>) -> Markup {
    let object = VerifiedRequest::from_pem(&csr.request());
    let list = |values: &[String]| html! { @for value in values { div { (said(value)) } } };
    html! {
        section #asked data-live aria-labelledby="asked-title" {
            h2 #asked-title { "What it asks for" }
            dl {
                dt { "Signer" } dd { (said(csr.signer_name())) }
                dt { "Usages" } dd { (said(&csr.usages().join(", "))) }
                @if let Some(seconds) = csr.expiration_seconds() { dt { "For" } dd { (seconds) " s" } }
                @match &object {
                    Ok(request) => (inside(request)),
                    Err(error) => { dt { "Its content" } dd { "cannot be read: " (said(&error.to_string())) } },
                }
                dt { "Filed by" } dd { (said(csr.username())) }
                dt { "Groups" } dd { (list(&csr.groups())) }
                @if let Some(at) = everleaf_api::meta::creation_timestamp(csr.0) { dt { "Filed at" } dd { (instant(at)) } }
                @for condition in csr.conditions() {
                    dt { (said(&condition.kind)) }
                    dd { (said(&condition.reason)) @if !condition.message.is_empty() { ": " (said(&condition.message)) }
                        @if let Some(at) = condition.last_update_time { ", " (instant(at)) } }
                }
                (issued(site, csr))
            }
        }
    }
}

fn inside(request: &VerifiedRequest) -> Markup {
    let names = [
        ("DNS names", request.dns_names()),
        ("E-mail", request.email_addresses()),
        ("URIs", request.uris()),
    ];
    let subject = request.subject();
    let key = request.public_key().algorithm();
    html! {
        dt { "Subject CN" } dd { strong { (said(&subject.common_name)) } }
        @if !subject.organizations.is_empty() { dt { "Subject O" } dd { @for one in &subject.organizations { div { (said(one)) } } } }
        @for (what, values) in names {
            @if !values.is_empty() { dt { (what) } dd { @for value in values { div { (said(value)) } } } }
        }
        @if !request.ip_addresses().is_empty() {
            dt { "Addresses" } dd { @for one in request.ip_addresses() { div { (one) } } }
        }
        dt { "Key" } dd { @match key { Ok(key) => (key), Err(error) => (said(&error.to_string())) } }
    }
}

fn issued(site: &Site, csr: Csr<'_>) -> Markup {
    let chain = Chain::from_pem(&csr.certificate());
    html! {
        @if let Ok(chain) = chain {
            @let leaf = chain.leaf();
            dt { "Certificate" }
            dd {
                div { "serial " (leaf.serial()) }
                div { (instant(leaf.not_before())) " to " (instant(leaf.not_after())) }
                @if let Some(node) = leaf.subject().common_name.strip_prefix("system:node:") {
                    div { "node " a href=(site.node(node)) { (said(node)) } }
                }
            }
        }
    }
}
