//! Whether anybody is there to approve or to sign, and may.

use super::evidence::{Evidence, Leader, Manager, Question};
use super::request::Case;
use super::{Fault, Finding};
use crate::builtin::BuiltinSigner;
use everleaf_api::csr::{APPROVED, Csr};
use jiff::Timestamp;

/// The Lease of all that runs every controller.
const LEASE: &str = "kube-controller-manager";

/// Who is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Approver,
    Signer,
}

/// Why nobody has worked on the request that somebody should have worked on.
pub(super) fn blockers(case: &Case<'_>, role: Role) -> Vec<Finding> {
    let evidence = case.evidence;
    let silent = match role {
        Role::Approver => Fault::ApproverSilent,
        Role::Signer => Fault::SignerSilent,
    };
    let nobody_may = not_permitted(case, role);
    match leader(case, role) {
        Leader::Unknown => nobody_may.into_iter().collect(),
        Leader::Nobody if !case.is_late() => Vec::new(),
        Leader::Nobody => vec![absent(case, role)],
        Leader::Gone { holder, renewed } => {
            let line = format!(
                "the Lease kube-system/{LEASE} is held by {holder}, last renewed at {renewed}; it is {} now",
                evidence.now
            );
            vec![case.found(Fault::LeaderGone, [line])]
        }
        Leader::Alive(holder) => {
            let off = switched_off(case, role, &holder);
            if let Some(finding) = off.or(nobody_may) {
                return vec![finding];
            }
            if !case.is_late() {
                return Vec::new();
            }
            vec![case.found(silent, [format!("{holder} leads, and has not")])]
        }
    }
}

/// Who leads. Controllers may run under another Lease, or under none: then their work shows them.
fn leader(case: &Case<'_>, role: Role) -> Leader {
    let evidence = case.evidence;
    let known = evidence.leader(LEASE);
    if matches!(known, Leader::Alive(_) | Leader::Unknown) {
        return known;
    }
    if let Leader::Alive(holder) = evidence.leader("everleaf-controllers") {
        return Leader::Alive(holder);
    }
    let waits_since = case.waits_since();
    match last_work(evidence, role) {
        Some(at) if Some(at) > waits_since => {
            Leader::Alive(format!("somebody who worked on another request at {at}"))
        }
        _ => known,
    }
}

/// When somebody last did such work by itself.
fn last_work(evidence: &Evidence, role: Role) -> Option<Timestamp> {
    let requests = evidence.requests.read()?.iter().map(Csr);
    let work = requests.filter(|csr| match role {
        Role::Approver => !csr.is_issued() || csr.has_condition(APPROVED),
        Role::Signer => csr.is_issued(),
    });
    let approved = work.flat_map(|csr| csr.conditions()).filter(|one| {
        one.kind == APPROVED
            && (role == Role::Signer
                || [crate::approver::REASON, crate::serving::APPROVED_REASON]
                    .contains(&one.reason.as_str()))
    });
    approved.filter_map(|one| one.last_update_time).max()
}

fn absent(case: &Case<'_>, role: Role) -> Finding {
    let mut shown = vec![format!("nobody holds the Lease kube-system/{LEASE}")];
    if case.evidence.is_everleaf() {
        shown.push(
            "the API server is Everleaf's: everleaf up brings the controllers, everleaf apiserver alone does not"
                .to_owned(),
        );
    }
    let fault = match role {
        Role::Approver => Fault::ApproverAbsent,
        Role::Signer => Fault::SignerAbsent,
    };
    case.found(fault, shown)
}

/// The pods of the one that leads; all, if none is recognizably its.
fn leading<'a>(evidence: &'a Evidence, holder: &str) -> Vec<Manager<'a>> {
    let host = holder.split('_').next().unwrap_or_default();
    let managers = evidence.managers();
    let is_leading = |manager: &&Manager<'_>| !host.is_empty() && manager.name.ends_with(host);
    match managers.iter().filter(is_leading).count() {
        0 => managers,
        _ => managers.iter().filter(is_leading).copied().collect(),
    }
}

/// What the flags of the leader leave out.
fn switched_off(case: &Case<'_>, role: Role, holder: &str) -> Option<Finding> {
    let managers = leading(case.evidence, holder);
    let manager = managers.first()?;
    let mut context = case.context.clone();
    context.set("pod", manager.name);
    let (short, long, off) = match role {
        Role::Approver => (
            "csrapproving",
            "certificatesigningrequest-approving-controller",
            Fault::ApproverSwitchedOff,
        ),
        Role::Signer => (
            "csrsigning",
            "certificatesigningrequest-signing-controller",
            Fault::SignerSwitchedOff,
        ),
    };
    let at = |text: String| vec![format!("pod {}: {text}", manager.name)];
    if managers.iter().all(|manager| !manager.runs(short, long)) {
        let list = manager.flag("controllers").unwrap_or_default();
        return Some(context.found(off, at(format!("--controllers={list}"))));
    }
    if role == Role::Approver {
        return None;
    }
    let signer = BuiltinSigner::parse(case.csr().signer_name()).ok()?;
    if managers.iter().any(|manager| signs(manager, signer)) {
        return None;
    }
    let others = BuiltinSigner::ALL.into_iter();
    let others: Vec<&str> = others
        .filter(|other| manager.flag(&flag_of(*other)).is_some())
        .map(BuiltinSigner::name)
        .collect();
    if others.is_empty() {
        let line = "no flag --cluster-signing-cert-file".to_owned();
        return Some(context.found(Fault::SignerUnconfigured, at(line)));
    }
    let line = format!(
        "it signs for {}; there is no flag --{}",
        others.join(", "),
        flag_of(signer)
    );
    Some(context.found(Fault::SignerPartly, at(line)))
}

fn signs(manager: &Manager<'_>, signer: BuiltinSigner) -> bool {
    let has = |flag: &str| manager.flag(flag).is_some_and(|value| !value.is_empty());
    has("cluster-signing-cert-file") || has(&flag_of(signer))
}

/// The flag with a signer's own CA certificate.
fn flag_of(signer: BuiltinSigner) -> String {
    let middle = match signer {
        BuiltinSigner::KubeApiserverClient => "kube-apiserver-client",
        BuiltinSigner::KubeApiserverClientKubelet => "kubelet-client",
        BuiltinSigner::KubeletServing => "kubelet-serving",
        BuiltinSigner::LegacyUnknown => "legacy-unknown",
    };
    format!("cluster-signing-{middle}-cert-file")
}

/// None of the accounts under which controllers run may do it.
pub(super) fn not_permitted(case: &Case<'_>, role: Role) -> Option<Finding> {
    let (verb, fault) = match role {
        Role::Approver => ("approve", Fault::ApproverNotPermitted),
        Role::Signer => ("sign", Fault::SignerNotPermitted),
    };
    let signer = case.csr().signer_name();
    let accounts = case.evidence.accounts();
    let answers: Option<Vec<bool>> = accounts
        .iter()
        .map(|user| {
            case.evidence.may(&Question::Account {
                user: user.clone(),
                verb,
                signer: signer.to_owned(),
            })
        })
        .collect();
    let may = answers?.into_iter().any(|allowed| allowed);
    (!may).then(|| {
        let line = format!(
            "none of these may {verb} for {signer}: {}",
            accounts.join(", ")
        );
        case.found(fault, [line])
    })
}
