//! Nodes, and the certificates that the API knows of them.

use super::found::Found;
use super::seen::Seen;
use super::{Fault, away, counted};
use crate::serving::NodeFacts;
use crate::skew::SKEW_TOLERATED;
use crate::why::evidence::written_at;
use crate::why::items;
use crate::why::node::LOOP_MIN;
use everleaf_api::csr::{Csr, is_rehearsal};
use everleaf_api::duration::span;
use everleaf_api::meta;
use everleaf_pki::{Chain, Leaf, SignerName};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) fn look(seen: &Seen, found: &mut Found) -> String {
    let nodes = found
        .read("nodes", &seen.cluster.nodes)
        .cloned()
        .unwrap_or_default();
    found.read("requests", &seen.cluster.requests);
    for standing in standings(seen) {
        lapse(&standing, seen.cluster.now, found);
        serving_names(&standing, &nodes, found);
        looped(&standing, found);
    }
    for node in &nodes {
        silent(node, seen.cluster.now, found);
    }
    for lease in found
        .read("Leases of nodes", &seen.node_leases)
        .into_iter()
        .flatten()
    {
        clock(lease, seen.cluster.now, found);
    }
    match seen.cluster.nodes.read() {
        Some(_) => counted(nodes.len(), "node"),
        None => String::new(),
    }
}

/// One certificate of a node, as far as stored requests tell.
struct Standing {
    node: String,
    is_client: bool,
    /// The newest that was issued, and its request.
    newest: Option<(Leaf, String)>,
    /// A younger request waits.
    has_asked: bool,
    /// Certificates within the last hour.
    recent: usize,
}

/// How each node stands with each of its certificates.
fn standings(seen: &Seen) -> Vec<Standing> {
    let mut by_key: BTreeMap<(String, bool), Vec<Csr<'_>>> = BTreeMap::new();
    for object in seen.cluster.requests.read().into_iter().flatten() {
        let csr = Csr(object);
        if is_rehearsal(csr.name()) {
            continue;
        }
        let is_client = match csr.signer_name() {
            SignerName::KUBE_APISERVER_CLIENT_KUBELET => true,
            SignerName::KUBELET_SERVING => false,
            _ => continue,
        };
        if let Some(node) = node_of(csr) {
            by_key.entry((node, is_client)).or_default().push(csr);
        }
    }
    let standing = |((node, is_client), mut requests): ((String, bool), Vec<Csr<'_>>)| {
        requests.sort_by_key(|csr| std::cmp::Reverse(meta::creation_timestamp(csr.0)));
        let newest = requests.iter().position(|csr| csr.is_issued());
        let leaf = newest.and_then(|at| {
            let csr = requests[at];
            let chain = Chain::from_pem(&csr.certificate()).ok()?;
            Some((chain.leaf().clone(), csr.name().to_owned()))
        });
        let hour = SignedDuration::from_hours(1);
        let is_recent = |csr: &&Csr<'_>| {
            let age = meta::creation_timestamp(csr.0).map(|at| seen.cluster.now.duration_since(at));
            csr.is_issued() && age.is_some_and(|age| age < hour)
        };
        Standing {
            recent: requests.iter().filter(is_recent).count(),
            has_asked: newest != Some(0),
            newest: leaf,
            node,
            is_client,
        }
    };
    by_key.into_iter().map(standing).collect()
}

/// Whose certificate a request is for: who filed it, else whom its certificate names.
fn node_of(csr: Csr<'_>) -> Option<String> {
    let strip = |user: &str| user.strip_prefix("system:node:").map(str::to_owned);
    strip(csr.username()).or_else(|| {
        let chain = Chain::from_pem(&csr.certificate()).ok()?;
        strip(&chain.leaf().subject().common_name)
    })
}

/// Whether it ends, or has, and nobody has asked for the next one.
fn lapse(standing: &Standing, now: Timestamp, found: &mut Found) {
    let Some((leaf, csr)) = &standing.newest else {
        return;
    };
    let end = leaf.not_after();
    let lifetime = leaf.lifetime().seconds;
    // A kubelet and our agent renew before nine tenths of it are over.
    let is_late = end.duration_since(now).as_secs() < lifetime / 10;
    let has_ended = end <= now;
    if !is_late || (standing.has_asked && !has_ended) {
        return;
    }
    let fault = match (standing.is_client, has_ended) {
        (true, true) => Fault::NodeLapsed,
        (true, false) => Fault::NodeLapses,
        (false, _) => Fault::ServingLapses,
    };
    let line = format!(
        "node {}: the certificate of csr/{csr} ends at {end}, {}",
        standing.node,
        away(end, now)
    );
    found.add(fault, line, &[("node", &standing.node)]);
}

/// Addresses of the Node that its newest serving certificate does not name.
fn serving_names(standing: &Standing, nodes: &[Value], found: &mut Found) {
    let (false, Some((leaf, csr))) = (standing.is_client, &standing.newest) else {
        return;
    };
    let Some(node) = nodes.iter().find(|node| meta::name(node) == standing.node) else {
        return;
    };
    let facts = NodeFacts::of(node);
    let named: Vec<_> = leaf
        .ip_addresses()
        .iter()
        .map(std::net::IpAddr::to_canonical)
        .collect();
    let missing = facts
        .internal
        .iter()
        .filter(|address| !named.contains(address));
    let missing: Vec<String> = missing.map(ToString::to_string).collect();
    if missing.is_empty() {
        return;
    }
    let line = format!(
        "node {}: csr/{csr} does not name {}",
        standing.node,
        missing.join(", ")
    );
    found.add(Fault::ServingOtherNames, line, &[("node", &standing.node)]);
}

fn looped(standing: &Standing, found: &mut Found) {
    if standing.recent >= LOOP_MIN {
        let kind = if standing.is_client {
            "client"
        } else {
            "serving"
        };
        let line = format!(
            "node {}: {} {kind} certificates within the last hour",
            standing.node, standing.recent
        );
        found.add(Fault::NodeLoop, line, &[("node", &standing.node)]);
    }
}

fn silent(node: &Value, now: Timestamp, found: &mut Found) {
    let mut conditions = items(node, "/status/conditions");
    let Some(ready) = conditions.find(|one| one["type"] == "Ready" && one["status"] == "Unknown")
    else {
        return;
    };
    let since = ready["lastTransitionTime"]
        .as_str()
        .and_then(meta::parse_time);
    let since = since.map_or(String::new(), |at| format!(", {}", away(at, now)));
    let message = ready["message"].as_str().unwrap_or_default();
    let name = meta::name(node);
    found.add(
        Fault::NodeSilent,
        format!("node {name}: {message}{since}"),
        &[("node", name)],
    );
}

/// A node stamps its Lease by its own clock, the API server the write by its own.
fn clock(lease: &Value, now: Timestamp, found: &mut Found) {
    let renewed = lease["spec"]["renewTime"].as_str();
    let Some(renewed) = renewed.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return;
    };
    let ahead = renewed.duration_since(now);
    let behind = written_at(lease).map(|written| written.duration_since(renewed));
    let apart = match behind {
        _ if ahead > SKEW_TOLERATED => format!("{} ahead", span(ahead.unsigned_abs())),
        Some(behind) if behind > SKEW_TOLERATED => {
            format!("{} behind", span(behind.unsigned_abs()))
        }
        _ => return,
    };
    let name = meta::name(lease);
    let line = format!("node {name}: its Lease says {renewed}, {apart}");
    found.add(Fault::NodeClock, line, &[("node", name)]);
}
