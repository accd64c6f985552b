//! What belongs to the node, by the cluster and by the operator.

use super::{Case, Finding, PENDING_MAX, holding, list, violated, waiting};
use crate::serving::names::{aliases, any_holds, quote};
use crate::serving::policy::Comparison;
use crate::serving::{Claim, Facts, Inventory, PERMISSION, environment};
use everleaf_api::csr::Csr;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// A kubelet may file its request a moment before its Node is there (its times are whole seconds).
const NODE_RACE: SignedDuration = SignedDuration::from_secs(10);
/// A request that a newer one has replaced for so long is denied.
const SUPERSEDED_AFTER: Duration = Duration::from_secs(15 * 60);

fn created(csr: Csr<'_>) -> Option<Timestamp> {
    let text = csr.0["metadata"]["creationTimestamp"].as_str()?;
    text.parse().ok()
}

fn no_node(case: &Case<'_>) -> String {
    let name = quote(case.node_name);
    match case.facts.origin {
        None => format!("there is no Node {name}"),
        Some(origin) => format!(
            "there is no Node {name}, and it asks for more than its own name and the address that it connects from ({})",
            list(&origin.addresses)
        ),
    }
}

pub(super) fn node(case: &Case<'_>) -> Finding {
    let Some(node) = case.node else {
        return match case.is_proved_by_origin() {
            true => Finding::Skipped("it connects from the addresses that it asks for"),
            false => waiting(no_node(case)),
        };
    };
    if let (Some(filed), Some(begun)) = (created(case.csr), node.created) {
        let race = match node.is_recreated {
            true => SignedDuration::ZERO,
            false => NODE_RACE,
        };
        if begun.duration_since(filed) > race {
            return violated(format!(
                "the request is of {filed}, and the Node {} was made after it, at {begun}",
                quote(&node.name)
            ));
        }
    }
    Finding::Passed
}

pub(super) fn node_names(case: &Case<'_>) -> Finding {
    let is_required = case.policy.require_node_addresses;
    if !is_required && case.facts.inventory.is_some() {
        return Finding::Skipped("require_node_addresses is off, and the inventory says more");
    }
    let known = case.node.filter(|_| is_required).map(|node| &node.names);
    let is_own = |name: &str| {
        (case.policy.allow_node_name && name == case.node_name)
            || known.is_some_and(|known| known.contains(name))
            || case
                .policy
                .dns_regex
                .iter()
                .any(|regex| regex.is_match(name))
    };
    if let Some(name) = case.names().find(|name| !is_own(name)) {
        if !is_required {
            return violated(format!(
                "{} is neither the node's name nor matched by dns_regex",
                quote(name)
            ));
        }
        return waiting(format!(
            "{} is no name of the node; its Node names {}",
            quote(name),
            list(known.into_iter().flatten())
        ));
    }
    if case.policy.comparison == Comparison::Exact {
        let asked: BTreeSet<&str> = case.names().collect();
        let missing = known.into_iter().flatten();
        let missing = missing.filter(|name| !asked.contains(name.as_str()));
        let missing: Vec<_> = missing.collect();
        if !missing.is_empty() {
            return waiting(format!(
                "it does not ask for {}, which its Node names (comparison: exact)",
                list(missing)
            ));
        }
    }
    Finding::Passed
}

pub(super) fn node_addresses(case: &Case<'_>) -> Finding {
    if !case.policy.require_node_addresses {
        return Finding::Skipped("require_node_addresses is off");
    }
    let known = case.node.map(|node| &node.addresses);
    let is_own = |address: &IpAddr| {
        known.is_some_and(|known| known.contains(address))
            || (case.node.is_none() && case.comes_from(*address))
    };
    if let Some(address) = case.addresses().find(|address| !is_own(address)) {
        return waiting(format!(
            "{address} is no address of the node; its Node has {}",
            list(known.into_iter().flatten())
        ));
    }
    if case.policy.comparison == Comparison::Exact {
        let asked: BTreeSet<IpAddr> = case.addresses().collect();
        let missing = known.into_iter().flatten();
        let missing: Vec<_> = missing.filter(|address| !asked.contains(address)).collect();
        if !missing.is_empty() {
            return waiting(format!(
                "it does not ask for {}, which its Node has (comparison: exact)",
                list(missing)
            ));
        }
    }
    Finding::Passed
}

/// Another Node's word does not take from a node its own name, nor what a valid certificate gave
/// it.
fn is_proved(case: &Case<'_>, claim: &Claim) -> bool {
    let Facts { issued, now, .. } = *case.facts;
    matches!(claim, Claim::Name(name) if name == case.node_name)
        || issued.is_holder(claim, case.node_name, now)
}

/// Whether what a certificate gave another node is no one else's: of a machine that is gone an
/// address goes to the next one, its own name does not. A node without a Node object is not gone.
/// Nodes of one machine have its address in common, and the connection proves which machine it is.
fn is_still_theirs(case: &Case<'_>, claim: &Claim, other: &str) -> bool {
    if matches!(claim, Claim::Address(address) if case.comes_from(*address)) {
        return false;
    }
    matches!(claim, Claim::Name(name) if name == other) || !case.facts.cluster.is_deleted(other)
}

pub(super) fn unique(case: &Case<'_>) -> Finding {
    if !case.policy.unique_across_nodes {
        return Finding::Skipped("unique_across_nodes is off");
    }
    for claim in case.claims() {
        let forms: Vec<Claim> = match &claim {
            Claim::Address(address) => aliases(*address).map(Claim::Address).collect(),
            Claim::Name(_) => vec![claim.clone()],
        };
        let mut others = forms.iter().filter_map(|form| {
            let other = case.facts.cluster.other_claimant(form, case.node_name)?;
            Some((form, other))
        });
        if let Some((form, other)) = others.next()
            && !is_proved(case, &claim)
        {
            return violated(format!("the Node {} has {form}, too", quote(other)));
        }
        let issued = case.facts.issued;
        let mut held = forms
            .iter()
            .filter_map(|form| issued.other_holder(form, case.node_name, case.facts.now));
        if let Some((other, until)) = held.find(|(other, _)| is_still_theirs(case, &claim, other)) {
            return violated(format!(
                "the Node {} has a certificate for {claim} that is valid until {until}",
                quote(other)
            ));
        }
        // A name that is another Node's own, whatever that one's addresses say.
        if let Claim::Name(name) = &claim
            && name != case.node_name
            && case.facts.cluster.node(name).is_some()
        {
            return violated(format!("{} is the name of another Node", quote(name)));
        }
    }
    let key = case.request.map(|request| request.public_key().spki_der());
    let holder = key.ok().and_then(|key| {
        let issued = case.facts.issued;
        issued.other_holder_of_key(key, case.node_name, case.facts.now)
    });
    if let Some(other) = holder {
        return violated(format!(
            "its key is that of a certificate of the node {}",
            quote(other)
        ));
    }
    Finding::Passed
}

pub(super) fn ranges(case: &Case<'_>) -> Finding {
    let policy = case.policy;
    if policy.allowed_cidrs.is_empty() && policy.deny_cidrs.is_empty() {
        return Finding::Skipped("no ranges are given");
    }
    for address in case.addresses() {
        if any_holds(&policy.deny_cidrs, address) {
            return violated(format!(
                "{address} lies in a denied range ({})",
                list(&policy.deny_cidrs)
            ));
        }
        // Every form of it must be allowed.
        let is_allowed = |alias: IpAddr| {
            let mut ranges = policy.allowed_cidrs.iter();
            ranges.any(|range| range.contains(&alias))
        };
        if !policy.allowed_cidrs.is_empty() && !is_allowed(address) {
            return violated(format!(
                "{address} lies in none of the allowed ranges ({})",
                list(&policy.allowed_cidrs)
            ));
        }
    }
    Finding::Passed
}

/// What the inventory says, before a renewal may stand in for it.
pub(super) fn by_inventory(case: &Case<'_>) -> Finding {
    let inventory: &Inventory = match case.facts.inventory {
        None => return Finding::Skipped("the policy names none"),
        Some(Err(error)) => {
            return holding(format!("the inventory cannot be read: {error}"), None);
        }
        Some(Ok(inventory)) => inventory,
    };
    let Some(entry) = inventory.of(case.node_name) else {
        return violated(format!(
            "the inventory does not know the node {}",
            quote(case.node_name)
        ));
    };
    for claim in case.claims() {
        let text = claim.to_string();
        if text != case.node_name && !entry.contains(&text) {
            return violated(format!(
                "{claim} is not the node's by the inventory, which has {}",
                list(entry)
            ));
        }
    }
    Finding::Passed
}

pub(super) fn expressions(case: &Case<'_>) -> Finding {
    let Ok(request) = case.request else {
        return Finding::Skipped("no request");
    };
    if case.policy.cel.is_empty() {
        return Finding::Skipped("the policy has none");
    }
    let environment = environment(case.csr, request, case.facts, case.node);
    for predicate in &case.policy.cel {
        if let Err(why) = predicate.check(&environment) {
            return violated(why);
        }
    }
    Finding::Passed
}

pub(super) fn permission(case: &Case<'_>) -> Finding {
    if !case.policy.require_permission {
        return Finding::Skipped("require_permission is off");
    }
    let mut reviews = case.facts.reviews.iter();
    match reviews.find(|review| review.permission == PERMISSION) {
        None => Finding::Unreviewed,
        Some(review) if review.allowed => Finding::Passed,
        Some(_) => Finding::Foreign(format!(
            "{} may not create certificatesigningrequests/{PERMISSION}",
            quote(case.csr.username())
        )),
    }
}

pub(super) fn superseded(case: &Case<'_>) -> Finding {
    let (newer, age) = (case.facts.newer, case.facts.age);
    if newer > 0 && age > SUPERSEDED_AFTER {
        return violated("the node has filed a newer request");
    }
    match newer >= PENDING_MAX {
        true => holding(
            format!("the node has {newer} newer requests, which come first"),
            None,
        ),
        false => Finding::Passed,
    }
}

pub(super) fn limits(case: &Case<'_>) -> Finding {
    match case.facts.limited {
        None => Finding::Passed,
        Some(limited) => holding(limited.what, Some(limited.delay)),
    }
}
