//! The API server: whether it answers, whom it shows itself to be, and its clock.

use super::found::Found;
use super::seen::{Answer, Audience, Seen, Server};
use super::{Fault, away, ends_soon};
use crate::skew::SKEW_TOLERATED;
use crate::why::Known;
use everleaf_api::duration::span;
use everleaf_pki::trust::{Fault as Refused, Presented, Purpose, Refusal, TrustBundle};
use jiff::Timestamp;

pub(super) fn look(seen: &Seen, found: &mut Found) -> String {
    let server = &seen.server;
    if server.trusts_anybody {
        let line = format!("{} says insecure-skip-tls-verify", server.kubeconfig);
        found.add(Fault::ServerUnverified, line, &[]);
    }
    let is_blamed = certificate(seen, found);
    match &server.answer {
        Answer::None(why) if !is_blamed => {
            found.add(
                Fault::ServerUnreachable,
                format!("{}: {why}", server.url),
                &[],
            );
        }
        Answer::Refused(why) => {
            found.add(
                Fault::CredentialRefused,
                format!("{}: {why}", server.url),
                &[],
            );
        }
        Answer::NotAsked => {
            found.unasked("the API server", super::not_asked(seen));
        }
        _ => {}
    }
    if server.answer == Answer::Yes {
        clock(seen, found);
        if let Known::Read((status, text)) = &server.readiness
            && *status >= 500
        {
            let line = format!("/readyz ({status}): {}", text.trim());
            found.add(Fault::ServerNotReady, line, &[]);
        }
    }
    credential(seen, found);
    match (server.url.is_empty(), seen.cluster.version.read()) {
        (true, _) => String::new(),
        (false, Some(version)) => format!("{} is {version}", server.url),
        (false, None) => server.url.clone(),
    }
}

fn clock(seen: &Seen, found: &mut Found) {
    let (local, now) = (seen.cluster.local, seen.cluster.now);
    let offset = local.duration_since(now);
    if offset.abs() > SKEW_TOLERATED {
        let side = if offset.is_negative() {
            "behind"
        } else {
            "ahead of"
        };
        let apart = span(offset.unsigned_abs());
        let line = format!("this machine says {local}, the API server {now}: {apart} {side} it");
        found.add(Fault::ClockSkew, line, &[]);
    }
}

/// Judges what the server shows; whether something is wrong with it.
fn certificate(seen: &Seen, found: &mut Found) -> bool {
    let server = &seen.server;
    if server.answer == Answer::NotAsked && server.shown.read().is_none() {
        return false;
    }
    let Some(ders) = found.read("the API server's certificate", &server.shown) else {
        return false;
    };
    let shown = match Presented::from_ders(ders.iter().map(Vec::as_slice)) {
        Ok(shown) => shown,
        Err(error) => {
            let line = format!("what it shows cannot be read: {error}");
            found.add(Fault::ServerCertificateUntrusted, line, &[]);
            return true;
        }
    };
    let leaf = shown.leaf();
    let whose = format!("{} of {}", leaf.subject_text(), leaf.issuer_text());
    // Without a server's clock, this machine's is all there is.
    let now = clock_to_judge_by(seen);
    if ends_soon(leaf, now) {
        let line = format!(
            "{whose} ends at {}, {}",
            leaf.not_after(),
            away(leaf.not_after(), now)
        );
        found.add(Fault::ServerCertificateEnds, line, &[]);
    }
    let mut bundles = seen.bundles.iter();
    let bundle = bundles.find(|bundle| bundle.audience == Audience::Kubeconfig);
    let Some(bundle) = bundle.and_then(|bundle| bundle.pem.read()) else {
        return false;
    };
    let bundle = TrustBundle::from_pem_lenient(bundle.as_bytes()).unwrap_or_default();
    let Err(refusal) = bundle.judge_server(&shown, &server.name, now) else {
        return false;
    };
    let fault = match &refusal {
        Refusal::Host { .. } => Fault::ServerCertificateName,
        Refusal::Leaf(Refused::Expired(_) | Refused::NotYetValid(_)) => {
            Fault::ServerCertificateEnded
        }
        _ => Fault::ServerCertificateUntrusted,
    };
    found.add(fault, format!("{whose}: {refusal}"), &[]);
    match fault {
        Fault::ServerCertificateUntrusted => of_own_authorities(server, &bundle, found),
        // Names are looked at first. A certificate of nobody's means more than its names.
        Fault::ServerCertificateName => {
            if let Err(refusal) = bundle.judge(&shown, Purpose::ServerAuth, now) {
                let line = format!("{whose}: {refusal}");
                found.add(Fault::ServerCertificateUntrusted, line, &[]);
                of_own_authorities(server, &bundle, found);
            }
        }
        _ => {}
    }
    true
}

/// Where the authorities that do not vouch for the server have signed the user's certificate, too,
/// it is not enough to trust another one.
fn of_own_authorities(server: &Server, bundle: &TrustBundle, found: &mut Found) {
    let mut anchors = bundle.anchors().iter();
    if let Some(credential) = &server.credential
        && anchors.any(|anchor| credential.is_signed_by(anchor))
    {
        let line = format!(
            "the authorities of {} have signed its client certificate ({}), too",
            server.kubeconfig,
            credential.subject_text()
        );
        found.add(Fault::ServerCertificateUntrusted, line, &[]);
    }
}

fn clock_to_judge_by(seen: &Seen) -> Timestamp {
    match seen.server.answer {
        Answer::Yes => seen.cluster.now,
        _ => seen.cluster.local,
    }
}

fn credential(seen: &Seen, found: &mut Found) {
    let Some(leaf) = &seen.server.credential else {
        return;
    };
    let now = clock_to_judge_by(seen);
    let end = leaf.not_after();
    let line = format!(
        "{} of {}: {end}, {}",
        leaf.subject_text(),
        seen.server.kubeconfig,
        away(end, now)
    );
    if end <= now {
        found.add(Fault::CredentialEnded, line, &[]);
    } else if ends_soon(leaf, now) {
        found.add(Fault::CredentialEnds, line, &[]);
    }
}
