//! Whether controllers run, lead, and do all of their work.

use super::Fault;
use super::found::Found;
use super::seen::Seen;
use crate::builtin::BuiltinSigner;
use crate::skew::SKEW_TOLERATED;
use crate::why::control_plane::{LEASE, Role, last_work, signs};
use crate::why::evidence::{Evidence, Leader, Manager};
use everleaf_api::duration::span;
use everleaf_api::meta;
use jiff::{SignedDuration, Timestamp};

/// Work that is not older shows controllers without a Lease.
const RECENT: SignedDuration = SignedDuration::from_hours(1);

/// Leases that controllers of ours may hold instead.
const OURS: [&str; 2] = ["everleaf-controllers", "everleaf-kubelet-serving-approver"];

pub(super) fn look(seen: &Seen, found: &mut Found) -> String {
    let cluster = &seen.cluster;
    found.read("Leases of kube-system", &cluster.leases);
    found.read("pods of the control plane", &cluster.pods);
    clocks(cluster, found);
    let leader = cluster.leader(LEASE);
    let managers = cluster.managers();
    if !managers.is_empty() {
        duties(&managers, found);
    }
    let others = OURS.iter().map(|name| cluster.leader(name));
    let ours = others.into_iter().find_map(|leader| match leader {
        Leader::Alive(holder) => Some(holder),
        _ => None,
    });
    match (leader, ours) {
        (Leader::Alive(holder), _) | (_, Some(holder)) => format!("{holder} leads"),
        (
            Leader::Gone {
                holder, renewed, ..
            },
            None,
        ) => {
            let host = holder.split('_').next().unwrap_or_default();
            let line = format!(
                "{LEASE} is held by {holder}, last renewed at {renewed}; it is {} now",
                cluster.now
            );
            found.add(Fault::ControllersGone, line, &[("host", host)]);
            String::new()
        }
        (Leader::Nobody, None) => nobody(cluster, found),
        (Leader::Unknown, None) => String::new(),
    }
}

/// Everleaf's own server has controllers that hold no Lease: only their work shows them.
fn nobody(cluster: &Evidence, found: &mut Found) -> String {
    let work = [Role::Approver, Role::Signer].map(|role| last_work(cluster, role));
    let recent = cluster.now.checked_sub(RECENT).ok();
    let last = work.into_iter().flatten().max();
    if let Some(last) = last
        && recent.is_some_and(|begin| last > begin)
    {
        return format!("no Lease; somebody approved or signed at {last}");
    }
    if cluster.is_everleaf() {
        // Nothing to do leaves no trace; what waits is told of the requests.
        return "those of Everleaf's server hold no Lease".to_owned();
    }
    if cluster.requests.read().is_some() && cluster.leases.read().is_some() {
        let line = match last {
            Some(last) => {
                format!("nobody holds {LEASE}; the last work that is stored is of {last}")
            }
            None => format!("nobody holds {LEASE}, and no stored request shows work"),
        };
        found.add(Fault::ControllersAbsent, line, &[]);
    }
    String::new()
}

/// Holders stamp their Leases by their own clocks.
fn clocks(cluster: &Evidence, found: &mut Found) {
    for lease in cluster.leases.read().into_iter().flatten() {
        let name = meta::name(lease);
        if name != LEASE && !OURS.contains(&name) {
            continue;
        }
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        let renewed = lease["spec"]["renewTime"].as_str();
        let Some(renewed) = renewed.and_then(|text| text.parse::<Timestamp>().ok()) else {
            continue;
        };
        let ahead = renewed.duration_since(cluster.now);
        if ahead > SKEW_TOLERATED {
            let line = format!(
                "{name}: {holder} says {renewed}, {} ahead",
                span(ahead.unsigned_abs())
            );
            let host = holder.split('_').next().unwrap_or_default();
            found.add(Fault::ControllersClock, line, &[("host", host)]);
        }
    }
}

/// What the flags of every kube-controller-manager leave out.
fn duties(managers: &[Manager<'_>], found: &mut Found) {
    let first = managers[0];
    let names = [("pod", first.name)];
    let list = first.flag("controllers").unwrap_or_default();
    for (short, long, fault) in [
        (
            "csrapproving",
            "certificatesigningrequest-approving-controller",
            Fault::ApproverOff,
        ),
        (
            "csrsigning",
            "certificatesigningrequest-signing-controller",
            Fault::SignerOff,
        ),
        (
            "csrcleaner",
            "certificatesigningrequest-cleaner-controller",
            Fault::CleanerOff,
        ),
    ] {
        if managers.iter().all(|manager| !manager.runs(short, long)) {
            found.add(
                fault,
                format!("pod {}: --controllers={list}", first.name),
                &names,
            );
        }
    }
    let signs = |manager: &Manager<'_>| signs(manager, BuiltinSigner::KubeApiserverClientKubelet);
    if !managers.iter().any(signs) {
        let line = format!(
            "pod {}: neither --cluster-signing-cert-file nor --cluster-signing-kubelet-client-cert-file",
            first.name
        );
        found.add(Fault::SignerUnconfigured, line, &names);
    }
}
