//! Rights to join and to renew, as authorization answers; the bindings of RBAC are its evidence.

use super::found::Found;
use super::right::Right;
use super::seen::Seen;
use super::{Fault, counted};
use crate::why::{Known, items};
use everleaf_api::meta;
use serde_json::Value;

/// What kubeadm binds.
const NODE_CLIENT: &str = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";
const SELF_NODE_CLIENT: &str =
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
const BOOTSTRAPPER: &str = "system:node-bootstrapper";

pub(super) fn look(seen: &Seen, found: &mut Found) -> String {
    let bindings = found
        .read("ClusterRoleBindings", &seen.cluster.bindings)
        .cloned();
    let bindings = bindings.unwrap_or_default();
    if let Some(roles) = found.read("ClusterRoles", &seen.cluster.roles) {
        for role in [NODE_CLIENT, SELF_NODE_CLIENT] {
            if !roles.iter().any(|one| one == role) {
                found.add(Fault::RoleAbsent, format!("ClusterRole {role}"), &[]);
            }
        }
    }
    // Whom they let in is a question for each.
    found.read("bootstrap tokens", &seen.tokens);
    let mut hidden = None;
    for (right, answer) in &seen.rights {
        match answer {
            Known::Read(allowed) => judge(right, *allowed, &bindings, found),
            Known::Absent => {}
            Known::Hidden(why) => hidden = Some(why),
        }
    }
    if let Some(why) = hidden {
        found.not_seen("rights of others", why);
    }
    for (role, subject) in too_many(&bindings) {
        let line = format!("{role} is bound to {subject}");
        found.add(Fault::EverybodyJoins, line, &[]);
    }
    counted(seen.rights.len(), "question")
}

fn judge(right: &Right, allowed: bool, bindings: &[Value], found: &mut Found) {
    let holders = |role: &str| {
        let holders = holders(bindings, role);
        match holders.is_empty() {
            true => format!("no ClusterRoleBinding for {role}"),
            false => format!("{role} is bound to {}", holders.join(", ")),
        }
    };
    match (right, allowed) {
        (Right::Join(groups), false) => {
            let group = groups.split(',').next().unwrap_or_default();
            let line = format!("tokens of {groups}: {}", holders(BOOTSTRAPPER));
            found.add(Fault::JoinRightAbsent, line, &[("group", group)]);
        }
        (Right::JoinApproved(groups), false) => {
            let group = groups.split(',').next().unwrap_or_default();
            let line = format!("tokens of {groups}: {}", holders(NODE_CLIENT));
            found.add(Fault::JoinApprovalAbsent, line, &[("group", group)]);
        }
        (Right::File, false) => {
            let line = "a user system:node:… of the group system:nodes".to_owned();
            found.add(Fault::NodeFilingAbsent, line, &[]);
        }
        (Right::Renew, false) => {
            found.add(Fault::RenewalRightAbsent, holders(SELF_NODE_CLIENT), &[]);
        }
        (Right::AnybodyJoins, true) => {
            found.add(Fault::AnybodyJoins, holders(NODE_CLIENT), &[]);
        }
        (Right::EveryPodJoins, true) => {
            let line = "the service account default/default has the right".to_owned();
            found.add(Fault::EverybodyJoins, line, &[]);
        }
        _ => {}
    }
}

/// Names of the subjects that have a ClusterRole everywhere.
fn holders(bindings: &[Value], role: &str) -> Vec<String> {
    let of_role = bindings.iter().filter(|one| one["roleRef"]["name"] == role);
    let subjects = of_role.flat_map(|one| items(one, "/subjects"));
    subjects
        .filter_map(|subject| {
            let (kind, name) = (subject["kind"].as_str()?, meta_name(subject)?);
            Some(format!("{kind} {name}"))
        })
        .collect()
}

fn meta_name(subject: &Value) -> Option<&str> {
    subject["name"].as_str()
}

/// Bindings to all users, of what makes nodes.
fn too_many(bindings: &[Value]) -> Vec<(&str, String)> {
    const ALL: [&str; 2] = ["system:authenticated", "system:serviceaccounts"];
    let mut found = Vec::new();
    for binding in bindings {
        let role = binding["roleRef"]["name"].as_str().unwrap_or_default();
        if ![NODE_CLIENT, SELF_NODE_CLIENT].contains(&role) {
            continue;
        }
        let names = items(binding, "/subjects").filter_map(meta_name);
        for name in names.filter(|name| ALL.contains(name)) {
            found.push((role, format!("{name} by {}", meta::name(binding))));
        }
    }
    found
}
