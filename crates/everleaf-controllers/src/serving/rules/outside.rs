//! What DNS and the node's own kubelet say: rules that need a [`Look`] outside the API server.

use super::owned::by_inventory;
use super::{Case, Finding, holding, list, violated};
use crate::serving::NODE_PREFIX;
use crate::serving::look::{Look, Present, Resolved, Saw};
use crate::serving::names::quote;
use crate::serving::policy::RenewalCheck;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Where kubelets serve unless their Node says otherwise (kubernetes 1.37 `pkg/cluster/ports`).
const KUBELET_PORT: u16 = 10250;

/// What was seen, or the request to look.
fn saw<'a>(case: &Case<'a>, look: Look) -> Result<&'a Saw, Finding> {
    let mut seen = case.facts.seen.iter();
    match seen.find(|(at, _)| *at == look) {
        Some((_, saw)) => Ok(saw),
        None => Err(Finding::Unseen(Box::new(look))),
    }
}

pub(super) fn dns_resolution(case: &Case<'_>) -> Finding {
    let Some(check) = &case.policy.dns_resolution else {
        return Finding::Skipped("dns_resolution is off");
    };
    let names: BTreeSet<String> = case.names().map(str::to_owned).collect();
    let look = Look::Names {
        names: names.clone(),
        servers: check.servers.clone(),
        timeout: check.timeout,
    };
    let nothing = BTreeMap::new();
    let resolved = match names.is_empty() {
        true => &nothing,
        false => match saw(case, look) {
            Ok(Saw::Names(resolved)) => resolved,
            // Nobody answers a question about names with a certificate.
            Ok(Saw::Kubelet(_)) => &nothing,
            Err(unseen) => return unseen,
        },
    };
    compare(case, resolved)
}

fn compare(case: &Case<'_>, resolved: &BTreeMap<String, Resolved>) -> Finding {
    let mut union: BTreeSet<IpAddr> = BTreeSet::new();
    let mut trouble = None;
    for (name, found) in resolved {
        let name = quote(name);
        if found.is_absent {
            return violated(format!("DNS knows no {name} (NXDOMAIN)"));
        }
        match &found.trouble {
            Some(why) => trouble = Some(format!("DNS cannot tell the addresses of {name}: {why}")),
            None if found.addresses.is_empty() => {
                return violated(format!("DNS has no address of {name}"));
            }
            None => {}
        }
        union.extend(&found.addresses);
    }
    let missing = case.addresses().find(|address| !union.contains(address));
    let is_any_unresolved = resolved.values().any(|found| found.addresses.is_empty());
    match (missing, trouble) {
        // An answer for one kind of address is enough where it has all of them.
        (None, _) if !is_any_unresolved => Finding::Passed,
        (_, Some(why)) => holding(why, None),
        (Some(address), None) => violated(format!(
            "no name that it asks for leads to {address} in DNS, which has {}",
            list(&union)
        )),
        (None, None) => Finding::Passed,
    }
}

/// What the certificate that the node's kubelet shows now says about the request.
enum Renewal {
    /// It is for the same names and addresses.
    Same,
    /// The inventory decides; why.
    FallsThrough(String),
    /// To be looked at, or waited for.
    Open(Finding),
}

/// Only an address that every other rule lets the node have is dialled, and only at a port that the
/// policy lists: what a Node says of itself must not send this process elsewhere.
fn target(case: &Case<'_>, check: &RenewalCheck) -> Result<SocketAddr, String> {
    let node = case.node.ok_or("there is no Node that says where")?;
    let port = node.kubelet_port.unwrap_or(KUBELET_PORT);
    if !check.ports.contains(&port) {
        return Err(format!(
            "its Node says port {port}, and renewal.ports has {}",
            list(&check.ports)
        ));
    }
    let asked: BTreeSet<IpAddr> = case.addresses().collect();
    let mut own = node.internal.iter();
    let address = own.find(|address| asked.contains(address));
    let address =
        address.ok_or("none of the addresses that it asks for is an InternalIP of its Node")?;
    Ok(SocketAddr::new(*address, port))
}

fn present(case: &Case<'_>, check: &RenewalCheck) -> Renewal {
    let address = match target(case, check) {
        Ok(address) => address,
        Err(why) => {
            return Renewal::FallsThrough(format!("the kubelet could not be dialled: {why}"));
        }
    };
    let look = Look::Kubelet {
        address,
        ca_file: check.ca_file.clone(),
    };
    let falls = |why: &str| Renewal::FallsThrough(format!("{why} ({address})"));
    match saw(case, look) {
        Err(unseen) => Renewal::Open(unseen),
        Ok(Saw::Kubelet(Present::Blind(why))) => Renewal::Open(holding(
            format!("renewal.ca_file cannot be used: {why}"),
            None,
        )),
        Ok(Saw::Kubelet(Present::Believed {
            common_name,
            names,
            addresses,
        })) => {
            let asked: BTreeSet<String> = case.names().map(str::to_owned).collect();
            let is_same = common_name.strip_prefix(NODE_PREFIX) == Some(case.node_name)
                && asked == *names
                && case.addresses().collect::<BTreeSet<_>>() == *addresses;
            match is_same {
                true => Renewal::Same,
                false => falls(
                    "the kubelet's present certificate is not for the same node, names and addresses",
                ),
            }
        }
        Ok(Saw::Kubelet(Present::Refused)) => {
            falls("the kubelet shows no certificate of renewal.ca_file that is in force")
        }
        Ok(Saw::Kubelet(Present::Unreached) | Saw::Names(_)) => {
            falls("the kubelet could not be dialled")
        }
    }
}

pub(super) fn inventory(case: &Case<'_>) -> Finding {
    let found = by_inventory(case);
    let is_broken = matches!(found, Finding::Violated(_) | Finding::Waiting { .. });
    let Some(check) = case.policy.renewal.as_ref().filter(|_| is_broken) else {
        return found;
    };
    match (present(case, check), found) {
        (Renewal::Same, _) => {
            Finding::Skipped("the node's present certificate says the same (S20)")
        }
        (Renewal::Open(finding), _) => finding,
        (Renewal::FallsThrough(why), Finding::Violated(broken)) => {
            violated(format!("{broken}; {why}"))
        }
        (Renewal::FallsThrough(why), found) => match found {
            Finding::Waiting { why: broken, .. } => holding(format!("{broken}; {why}"), None),
            found => found,
        },
    }
}

pub(super) fn renewal(case: &Case<'_>) -> Finding {
    let Some(check) = &case.policy.renewal else {
        return Finding::Skipped("renewal is off");
    };
    match by_inventory(case) {
        Finding::Violated(_) | Finding::Waiting { .. } => {}
        _ => return Finding::Skipped("the inventory has what it asks for"),
    }
    match present(case, check) {
        Renewal::Same => Finding::Passed,
        Renewal::FallsThrough(_) => {
            Finding::Skipped("it does not stand in for S18, which says why")
        }
        Renewal::Open(finding) => finding,
    }
}
