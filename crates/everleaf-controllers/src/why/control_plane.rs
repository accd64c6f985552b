//! Whether anybody is there to approve or to sign, and may.

use super::evidence::{Evidence, Leader, Manager, Question};
use super::request::Case;
use super::{Context, Fault, Finding, since, span};
use crate::builtin::BuiltinSigner;
use crate::queue::BACKOFF_MAX;
use everleaf_api::csr::{APPROVED, Csr};
use jiff::{SignedDuration, Timestamp};

/// The Lease of all that runs every controller.
pub(crate) const LEASE: &str = "kube-controller-manager";

/// Work of controllers without a Lease that is not older shows that they run.
const RECENT: SignedDuration = SignedDuration::from_mins(10);

/// Who is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
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
        Leader::Gone {
            holder,
            renewed,
            keeps_others_out,
            seconds,
        } => {
            let line = format!(
                "the Lease kube-system/{LEASE} is held by {holder}, last renewed at {renewed}; it is {} now",
                evidence.now
            );
            let fault = match keeps_others_out {
                true => Fault::LeaderDead,
                false => Fault::LeaderGone,
            };
            let mut lines = vec![line];
            if keeps_others_out {
                lines.push(format!(
                    "leaseDurationSeconds is {seconds}: so long others wait from when they first see it"
                ));
            }
            vec![on_host(case, &holder).found(fault, lines)]
        }
        Leader::Alive(holder) => {
            let off = switched_off(case, role, &holder);
            if let Some(finding) = off.or(nobody_may) {
                return vec![finding];
            }
            if !case.is_late() {
                return Vec::new();
            }
            let lines = vec![format!("{holder} leads, and has not"), retry_line(case)];
            vec![on_host(case, &holder).found(silent, lines)]
        }
    }
}

/// A process has no pod: its host is what the name of a holder begins with.
fn on_host(case: &Case<'_>, holder: &str) -> Context {
    let mut context = case.context.clone();
    if let Some((host, _)) = holder.split_once('_') {
        context.set("host", host);
    }
    context
}

/// Until when controllers come back to what they once refused. Each wait is double the one before
/// ([`crate::queue`], and client-go's `ItemExponentialFailureRateLimiter`): no longer than all
/// before together, nearly.
pub(super) fn retry_line(case: &Case<'_>) -> String {
    let waited = since(case.waits_since(), case.evidence.now);
    let longest = SignedDuration::try_from(BACKOFF_MAX).unwrap_or(SignedDuration::MAX);
    let within = waited.clamp(SignedDuration::from_secs(30), longest);
    format!(
        "if what held it was put right just now, running controllers try again by themselves within {}",
        span(within.unsigned_abs())
    )
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
    // Everleaf's all-in-one server has controllers that hold no Lease: a little older work of
    // theirs shows them, too, for a request that has to be tried again.
    let recent = evidence.now.checked_sub(RECENT).ok();
    let recent = recent.filter(|_| evidence.is_everleaf() && known == Leader::Nobody);
    match last_work(evidence, role) {
        Some(at) if Some(at) > waits_since || recent.is_some_and(|begin| at > begin) => {
            Leader::Alive(format!("somebody who worked on another request at {at}"))
        }
        _ => known,
    }
}

/// When somebody last did such work by itself.
pub(crate) fn last_work(evidence: &Evidence, role: Role) -> Option<Timestamp> {
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
    if case.evidence.is_everleaf() {
        return unseen(case);
    }
    let fault = match role {
        Role::Approver => Fault::ApproverAbsent,
        Role::Signer => Fault::SignerAbsent,
    };
    let line = format!("nobody holds the Lease kube-system/{LEASE}");
    case.found(fault, [line])
}

/// The controllers of `everleaf up` hold no Lease; an `everleaf apiserver` alone has none.
pub(super) fn unseen(case: &Case<'_>) -> Finding {
    let lines = [
        format!(
            "the API server is Everleaf's, nobody holds the Lease kube-system/{LEASE}, and no stored request shows recent work"
        ),
        "by its rules and rights, controllers that run would go on with it now".to_owned(),
        retry_line(case),
    ];
    case.found(Fault::ControllersUnseen, lines)
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

pub(crate) fn signs(manager: &Manager<'_>, signer: BuiltinSigner) -> bool {
    let has = |flag: &str| manager.flag(flag).is_some_and(|value| !value.is_empty());
    has("cluster-signing-cert-file") || has(&flag_of(signer))
}

/// The flag with a signer's own CA certificate.
pub(crate) fn flag_of(signer: BuiltinSigner) -> String {
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
