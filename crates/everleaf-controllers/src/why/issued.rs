//! Certificates that were issued: whether they help the node.

use super::request::Case;
use super::{Fault, Finding, span};
use crate::builtin::BuiltinSigner;
use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
use everleaf_pki::{Chain, Leaf};
use jiff::{SignedDuration, Timestamp};

/// A CA with less than this left is told.
const CA_SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
/// What a signer may take off a lifetime that was asked for without anybody minding.
const SHORT_BY: SignedDuration = SignedDuration::from_mins(6);

pub(super) fn judge(case: &Case<'_>, certificate: &[u8]) -> Vec<Finding> {
    let chain = match Chain::from_pem(certificate) {
        Ok(chain) => chain,
        Err(error) => return vec![case.found(Fault::CertificateUnreadable, [error.to_string()])],
    };
    let leaf = chain.leaf();
    let now = case.evidence.now;
    let mut findings = Vec::new();
    if let Ok(request) = case.request.request()
        && request.public_key().spki_der() != leaf.public_key().spki_der()
    {
        findings.push(case.found(Fault::CertificateOtherKey, [serial(leaf)]));
    }
    if leaf.not_after() <= now {
        let line = format!(
            "it ended at {}, {} ago",
            leaf.not_after(),
            ago(leaf.not_after(), now)
        );
        findings.push(case.found(Fault::CertificateEnded, [line]));
    } else if leaf.not_before() > now {
        let line = format!(
            "it begins at {}; the API server's clock says {now}",
            leaf.not_before()
        );
        findings.push(case.found(Fault::CertificateNotBegun, [line]));
    } else {
        findings.extend(not_believed(case, &chain));
    }
    findings.extend(lifetime(case, leaf));
    findings
}

fn serial(leaf: &Leaf) -> String {
    format!("certificate {} of {}", leaf.serial(), leaf.issuer_text())
}

fn ago(then: Timestamp, now: Timestamp) -> String {
    span(now.duration_since(then).unsigned_abs())
}

fn bundle(case: &Case<'_>) -> Option<TrustBundle> {
    let pem = case.evidence.client_ca.read()?;
    TrustBundle::from_pem_lenient(pem.as_bytes()).ok()
}

fn is_client(case: &Case<'_>) -> bool {
    let signer = BuiltinSigner::parse(case.csr().signer_name());
    matches!(
        signer,
        Ok(BuiltinSigner::KubeApiserverClient | BuiltinSigner::KubeApiserverClientKubelet)
    )
}

/// Whether the API server would take whoever shows it for its subject.
fn not_believed(case: &Case<'_>, chain: &Chain) -> Option<Finding> {
    if !is_client(case) {
        return None;
    }
    let bundle = bundle(case)?;
    let shown = Presented::from_ders(chain.ders()).ok()?;
    let refusal = bundle
        .judge(&shown, Purpose::ClientAuth, case.evidence.now)
        .err()?;
    let anchors = bundle.anchors().iter().map(Leaf::subject_text);
    let anchors: Vec<String> = anchors.collect();
    let lines = [
        format!("{}: {refusal}", serial(chain.leaf())),
        format!(
            "the API server's authorities of clients: {}",
            anchors.join("; ")
        ),
    ];
    Some(case.found(Fault::CertificateOtherCa, lines))
}

fn lifetime(case: &Case<'_>, leaf: &Leaf) -> Vec<Finding> {
    let mut findings = Vec::new();
    let now = case.evidence.now;
    let bundle = bundle(case).unwrap_or_default();
    let issuer = bundle
        .anchors()
        .iter()
        .find(|anchor| leaf.is_signed_by(anchor));
    if let Some(issuer) = issuer.filter(|issuer| issuer.not_after() > now) {
        let left = now.duration_until(issuer.not_after());
        let line = format!("{} ends at {}", issuer.subject_text(), issuer.not_after());
        if left < CA_SOON {
            let line = format!("{line}, in {}", span(left.unsigned_abs()));
            findings.push(case.found(Fault::CaEndsSoon, [line]));
        } else if leaf.not_after() == issuer.not_after() {
            findings.push(case.found(Fault::CertificateTruncated, [line]));
        }
    }
    if let Some(asked) = case.csr().expiration_seconds()
        && findings.is_empty()
    {
        let asked = SignedDuration::from_secs(i64::from(asked));
        let got = leaf.not_before().duration_until(leaf.not_after());
        if got + SHORT_BY < asked {
            let line = format!(
                "{} was asked for, {} was given",
                span(asked.unsigned_abs()),
                span(got.unsigned_abs())
            );
            findings.push(case.found(Fault::CertificateShort, [line]));
        }
    }
    findings
}

/// A CA that cannot sign now, by what the API server says of its authorities of clients: none of
/// them is in force.
pub(super) fn authority_out_of_force(case: &Case<'_>) -> Option<Finding> {
    let now = case.evidence.now;
    let bundle = bundle(case)?;
    let anchors = bundle.anchors();
    let line = |anchor: &Leaf| {
        format!(
            "{} is valid from {} to {}; the API server's clock says {now}",
            anchor.subject_text(),
            anchor.not_before(),
            anchor.not_after()
        )
    };
    let newest = anchors.iter().max_by_key(|anchor| anchor.not_after())?;
    if newest.not_after() <= now {
        return Some(case.found(Fault::CaEnded, [line(newest)]));
    }
    let begins = anchors.iter().all(|anchor| anchor.not_before() > now);
    begins.then(|| case.found(Fault::CaNotBegun, [line(newest)]))
}
