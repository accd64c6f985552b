//! Certificates that were issued: whether they help the node.

use super::request::Case;
use super::{Fault, Finding, span};
use crate::builtin::BuiltinSigner;
use everleaf_api::csr::Csr;
use everleaf_api::meta;
use everleaf_pki::trust::{Presented, Purpose, Refusal, TrustBundle};
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

/// When it was asked for, and from when on it is valid.
pub(crate) type Order = (Option<Timestamp>, Timestamp);

/// Of two certificates of the same subject by the same signer, the later one is the other's
/// successor.
pub(crate) fn order(csr: Csr<'_>, leaf: &Leaf) -> Order {
    (meta::creation_timestamp(csr.0), leaf.not_before())
}

/// Whether the API server would take whoever shows it for its subject.
fn not_believed(case: &Case<'_>, chain: &Chain) -> Option<Finding> {
    if !is_client(case) {
        return None;
    }
    let bundle = bundle(case)?;
    let refusal = refusal(case, chain, &bundle)?;
    let later = believed_later(case, chain, &bundle);
    let leaf = chain.leaf();
    if later.iter().any(|later| later.is_successor) {
        return None;
    }
    let anchors = bundle.anchors().iter().map(Leaf::subject_text);
    let anchors: Vec<String> = anchors.collect();
    let mut lines = vec![
        format!("{}: {refusal}", serial(leaf)),
        format!(
            "the API server's authorities of clients: {}",
            anchors.join("; ")
        ),
    ];
    let was_replaced = later.first().map(|later| {
        format!(
            "csr/{}, which the same signer issued later, is believed: its CA was replaced since",
            later.csr
        )
    });
    let is_known = was_replaced.is_some();
    lines.extend(was_replaced);
    let mut finding = case.found(Fault::CertificateOtherCa, lines);
    if is_known {
        let of_signer = |command: &String| command.contains("if the signer has another CA");
        finding.commands.retain(|command| !of_signer(command));
    }
    Some(finding)
}

fn refusal(case: &Case<'_>, chain: &Chain, bundle: &TrustBundle) -> Option<Refusal> {
    let shown = Presented::from_ders(chain.ders()).ok()?;
    let judged = bundle.judge(&shown, Purpose::ClientAuth, case.evidence.now);
    judged.err()
}

/// A later certificate of the same signer, which the API server believes.
struct Later {
    csr: String,
    /// It has the same subject.
    is_successor: bool,
}

fn believed_later(case: &Case<'_>, chain: &Chain, bundle: &TrustBundle) -> Vec<Later> {
    let csr = case.csr();
    let leaf = chain.leaf();
    let requests = case.evidence.requests.read().into_iter().flatten();
    let requests = requests.map(Csr).filter(|other| {
        other.is_issued()
            && other.name() != csr.name()
            && other.signer_name() == csr.signer_name()
            && meta::creation_timestamp(other.0) >= meta::creation_timestamp(csr.0)
    });
    let later = requests.filter_map(|other| {
        let other_chain = Chain::from_pem(&other.certificate()).ok()?;
        let other_leaf = other_chain.leaf();
        let is_later = order(other, other_leaf) > order(csr, leaf);
        let is_believed = || refusal(case, &other_chain, bundle).is_none();
        (is_later && is_believed()).then(|| Later {
            csr: other.name().to_owned(),
            is_successor: other_leaf.subject_text() == leaf.subject_text(),
        })
    });
    later.collect()
}

/// Which request took the place of one whose certificate is of an authority that is not believed.
pub(super) fn replaced(case: &Case<'_>) -> Option<String> {
    if !is_client(case) {
        return None;
    }
    let bundle = bundle(case)?;
    let chain = Chain::from_pem(&case.csr().certificate()).ok()?;
    refusal(case, &chain, &bundle)?;
    let later = believed_later(case, &chain, &bundle);
    let successor = later.into_iter().find(|later| later.is_successor)?;
    Some(format!(
        "the API server does not believe its certificate; that of csr/{}, which took its place, it does",
        successor.csr
    ))
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
