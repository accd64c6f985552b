//! Certificate signing requests: which wait, were refused, or should be gone.

use super::found::Found;
use super::seen::Seen;
use super::{Fault, away, counted};
use crate::builtin::BuiltinSigner;
use crate::cleaner::{Action, Ages, PASS_INTERVAL, decide};
use crate::record::Record;
use everleaf_api::csr::{APPROVED, Csr, DENIED, FAILED};
use everleaf_api::meta;
use everleaf_pki::VerifiedRequest;
use everleaf_pki::request::RequestError;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Controllers decide within seconds; what is older waits for something.
const LATE: SignedDuration = SignedDuration::from_mins(2);
/// So many open requests of one requestor, or so many within an hour, are a flood. A token that
/// many machines share may have more.
const FLOOD_MIN: usize = 16;
const FLOOD_MIN_OF_TOKEN: usize = 500;

pub(super) fn look(seen: &Seen, found: &mut Found) -> String {
    let Some(requests) = found.read("requests", &seen.cluster.requests) else {
        return String::new();
    };
    let now = seen.cluster.now;
    for object in requests {
        let csr = Csr(object);
        if csr.is_issued() {
            continue;
        }
        if csr.has_condition(DENIED) {
            decided(csr, DENIED, Fault::RequestsDenied, found);
        } else if csr.has_condition(FAILED) {
            decided(csr, FAILED, Fault::RequestsFailed, found);
        } else {
            waiting(csr, now, found);
        }
    }
    old(seen, found);
    floods(seen, found);
    counted(requests.len(), "request")
}

/// Since when it is waited for: its approval, else its creation.
fn waits_since(csr: Csr<'_>) -> Option<Timestamp> {
    let conditions = csr.conditions();
    let approved = conditions.iter().find(|one| one.kind == APPROVED);
    let approved = approved.and_then(|one| one.last_update_time);
    approved.or_else(|| meta::creation_timestamp(csr.0))
}

fn line(csr: Csr<'_>, what: &str) -> String {
    format!("csr/{} by {}: {what}", csr.name(), csr.username())
}

fn decided(csr: Csr<'_>, kind: &str, fault: Fault, found: &mut Found) {
    let conditions = csr.conditions();
    let condition = conditions.iter().find(|one| one.kind == kind);
    let why = condition.map_or(String::new(), |one| match one.message.is_empty() {
        true => one.reason.clone(),
        false => format!("{}: {}", one.reason, one.message),
    });
    found.add(fault, line(csr, &why), &[("csr", csr.name())]);
}

fn waiting(csr: Csr<'_>, now: Timestamp, found: &mut Found) {
    let names = [("csr", csr.name())];
    let since = waits_since(csr).unwrap_or(now);
    let state = match csr.has_condition(APPROVED) {
        true => "approved",
        false => "filed",
    };
    let text = format!("{}, {state} {}", csr.signer_name(), away(since, now));
    let signer = BuiltinSigner::parse(csr.signer_name());
    let unreadable = VerifiedRequest::from_pem(&csr.request()).err();
    let unreadable = unreadable.filter(|error| !is_unknown_key(error));
    let text = match &unreadable {
        Some(error) => line(csr, &error.to_string()),
        None => line(csr, &text),
    };
    let fault = match signer {
        _ if unreadable.is_some() => Fault::RequestsUnreadable,
        Err(_) if csr.signer_name().starts_with("kubernetes.io/") => Fault::RequestsMisspelt,
        Err(_) => Fault::RequestsForeign,
        Ok(_) if csr.has_condition(APPROVED) => Fault::RequestsNotIssued,
        Ok(BuiltinSigner::KubeApiserverClientKubelet) => Fault::RequestsWaiting,
        Ok(BuiltinSigner::KubeletServing) => Fault::ServingWaiting,
        Ok(BuiltinSigner::KubeApiserverClient | BuiltinSigner::LegacyUnknown) => {
            Fault::RequestsForPeople
        }
    };
    // Of these, controllers may be about to decide.
    let is_at_work = matches!(
        fault,
        Fault::RequestsForeign
            | Fault::RequestsNotIssued
            | Fault::RequestsWaiting
            | Fault::ServingWaiting
    );
    if !is_at_work || now.duration_since(since) > LATE {
        found.add(fault, text, &names);
    }
}

/// Keys that may be good, and that nothing here can judge.
fn is_unknown_key(error: &RequestError) -> bool {
    matches!(error, RequestError::Key(_) | RequestError::Algorithm(_))
}

/// What the cleaner would have deleted a pass and a quarter of an hour ago.
fn old(seen: &Seen, found: &mut Found) {
    let late = SignedDuration::try_from(PASS_INTERVAL).unwrap_or(SignedDuration::ZERO);
    let late = late.saturating_add(SignedDuration::from_mins(15));
    let Ok(then) = seen.cluster.now.checked_sub(late) else {
        return;
    };
    let ages = Ages::default();
    for object in seen.cluster.requests.read().into_iter().flatten() {
        let record = Record::of(Csr(object));
        if let Action::Delete(cause) = decide(&record, then, &ages) {
            let text = format!("csr/{}: {cause}", record.name);
            found.add(Fault::RequestsOld, text, &[]);
        }
    }
}

fn floods(seen: &Seen, found: &mut Found) {
    let now = seen.cluster.now;
    let mut by_requestor: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for object in seen.cluster.requests.read().into_iter().flatten() {
        let csr = Csr(object);
        let counts = by_requestor.entry(csr.username()).or_default();
        let age = meta::creation_timestamp(object).map(|at| now.duration_since(at));
        counts.0 += usize::from(age.is_some_and(|age| age < SignedDuration::from_hours(1)));
        counts.1 += usize::from(csr.condition_text() == "Pending");
    }
    for (requestor, (recent, open)) in by_requestor {
        let limit = match requestor.starts_with("system:bootstrap:") {
            true => FLOOD_MIN_OF_TOKEN,
            false => FLOOD_MIN,
        };
        if recent.max(open) >= limit {
            let text = format!("{requestor}: {recent} within the last hour, {open} open");
            found.add(Fault::RequestsFlood, text, &[("requestor", requestor)]);
        }
    }
}
