//! The model: from facts to every node and identity.

use crate::authority::{self, Authority};
use crate::certificate::{Certificate, Source};
use crate::facts::{Facts, Probe};
use crate::holding::{Holding, Keeper, Kind, Standing};
use crate::node::{Node, Presence, Seen};
use crate::outlook::{Around, Outlook, judge};
use crate::request::{self, Request, State};
use crate::text;
use crate::trust::Clients;
use everleaf_api::csr::{Csr, is_rehearsal};
use everleaf_api::meta;
use everleaf_api::revocation::{self, Revocations};
use everleaf_controllers::why::{Evidence, Known, Leader};
use everleaf_pki::Chain;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Where no Node object says which nodes there are, one whose certificates have ended for so long
/// is taken for gone.
const GONE_AFTER: SignedDuration = SignedDuration::from_hours(24 * 30);

/// How many certificates stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// [`Standing::Fresh`]
    pub fresh: usize,
    /// [`Standing::Due`]
    pub due: usize,
    /// [`Standing::Late`]
    pub late: usize,
    /// [`Standing::Expired`]
    pub expired: usize,
    /// [`Standing::Revoked`]
    pub revoked: usize,
    /// [`Standing::Untrusted`]
    pub untrusted: usize,
    /// [`Standing::NotYetValid`]
    pub not_yet_valid: usize,
    /// [`Standing::Unknown`]
    pub unknown: usize,
}

impl Counts {
    fn count(&mut self, standing: Standing) {
        let one = match standing {
            Standing::Fresh => &mut self.fresh,
            Standing::Due => &mut self.due,
            Standing::Late => &mut self.late,
            Standing::Expired => &mut self.expired,
            Standing::Revoked => &mut self.revoked,
            Standing::Untrusted => &mut self.untrusted,
            Standing::NotYetValid => &mut self.not_yet_valid,
            Standing::Unknown => &mut self.unknown,
        };
        *one += 1;
    }
}

/// A certificate of somebody who is no node: a user, a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Subject CN.
    pub name: String,
    /// The signer that issued it.
    pub signer: String,
    /// It, and what becomes of it.
    pub holding: Holding,
}

/// One entry of the revocations that still refuses something.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// What is refused, such as `node/n1` or `serial 5B36`.
    pub target: String,
    /// The node whose certificate it is; empty: that is not known.
    pub node: String,
    /// Why (RFC 5280 5.3.1).
    pub reason: &'static str,
    /// Since when.
    #[serde(
        serialize_with = "text::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub at: Option<Timestamp>,
}

/// See the crate's documentation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// The API server's clock, by which all is judged.
    #[serde(serialize_with = "text::time")]
    pub now: Timestamp,
    /// Every node, by name.
    pub nodes: Vec<Node>,
    /// Certificates of others that have not ended, by name and signer.
    pub identities: Vec<Identity>,
    /// Nodes that are taken for gone: their certificates have ended, and there is no Node of them.
    pub gone: usize,
    /// Requests without a certificate, those that may still get one first, each the oldest first.
    pub requests: Vec<Request>,
    /// The authorities that are known, the one that ends first at the front.
    pub authorities: Vec<Authority>,
    /// What is refused although it is good.
    pub revocations: Vec<Revocation>,
    /// Whether this API server refuses it: only Everleaf's does.
    pub revocations_are_enforced: bool,
    /// Who works on requests, by Lease, as far as there is one.
    #[serde(serialize_with = "leaders")]
    pub leaders: Vec<(&'static str, Leader)>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

fn leaders<S: serde::Serializer>(
    leaders: &[(&'static str, Leader)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let told = leaders.iter().map(|(lease, leader)| {
        let (holder, is_alive) = match leader {
            Leader::Alive(holder) => (Some(holder.as_str()), true),
            Leader::Gone { holder, .. } => (Some(holder.as_str()), false),
            Leader::Nobody | Leader::Unknown => (None, false),
        };
        serde_json::json!({"lease": lease, "holder": holder, "isAlive": is_alive})
    });
    serializer.collect_seq(told)
}

/// The newest certificate of somebody.
struct Found {
    certificate: Certificate,
    /// When its issuance was asked for, as far as that is known; else its beginning.
    asked: Timestamp,
    keeper: Keeper,
    /// An authority of clients vouches for it; `None`: nobody can tell.
    vouched: Option<bool>,
}

/// What is gathered of a node before it is judged.
#[derive(Default)]
struct Gathered<'a> {
    object: Option<&'a Value>,
    certificates: BTreeMap<Kind, Found>,
    requests: BTreeMap<Kind, &'a Request>,
}

impl Fleet {
    /// The fleet that these facts are of.
    pub fn of(facts: &Facts) -> Self {
        let evidence = &facts.evidence;
        let now = evidence.now;
        let authorities = authorities(facts);
        let requests = requests(evidence);
        let mut clients = Clients::of(evidence);
        let (mut gathered, others) = gather(facts, &requests, &mut clients);
        let has_nodes = evidence.nodes.read().is_some_and(|nodes| !nodes.is_empty());
        let before = gathered.len();
        gathered.retain(|_, node| !is_gone(node, has_nodes, now));
        let gone = before - gathered.len();
        let revocations = evidence.revocations.read();
        let judging = Judging {
            facts,
            authorities: &authorities,
            revocations,
            clients: &clients,
            now,
        };
        let nodes = gathered
            .into_iter()
            .map(|(name, node)| judging.node(name, node));
        let nodes = nodes.collect();
        let identities = judging.identities(others);
        let revoked = revocations.map(|revocations| in_force(revocations, now));
        Self {
            now,
            nodes,
            identities,
            gone,
            revocations: revoked.unwrap_or_default(),
            revocations_are_enforced: evidence.is_everleaf(),
            leaders: Evidence::LEASES
                .into_iter()
                .map(|lease| (lease, evidence.leader(lease)))
                .filter(|(_, leader)| *leader != Leader::Nobody)
                .collect(),
            unseen: unseen(facts),
            requests,
            authorities,
        }
    }

    /// How many certificates of a kind stand where.
    pub fn counts(&self, kind: Kind) -> Counts {
        let mut counts = Counts::default();
        for node in &self.nodes {
            counts.count(node.holding(kind).standing);
        }
        counts
    }

    /// How many nodes are what by their Node object.
    pub fn presences(&self) -> BTreeMap<Presence, usize> {
        let mut presences = BTreeMap::new();
        for node in &self.nodes {
            *presences.entry(node.presence).or_default() += 1;
        }
        presences
    }

    /// How many requests stand there.
    pub fn requests_in(&self, state: State) -> usize {
        let requests = self.requests.iter();
        requests.filter(|request| request.state == state).count()
    }
}

fn authorities(facts: &Facts) -> Vec<Authority> {
    let pem = facts.evidence.client_ca.read().map_or("", String::as_str);
    let clients = Chain::from_pem(pem.as_bytes()).ok();
    let clients = clients.iter().flat_map(Chain::certificates);
    let all = clients.map(|leaf| (leaf, true));
    let all = all.chain(facts.authorities.iter().map(|leaf| (leaf, false)));
    let mut seen = BTreeSet::new();
    let all = all.filter(|(leaf, _)| seen.insert(leaf.fingerprint()));
    let now = facts.evidence.now;
    let mut all: Vec<Authority> = all
        .map(|(leaf, is_of_clients)| Authority::of(leaf, is_of_clients, now))
        .collect();
    all.sort_by_key(|authority| authority.not_after);
    all
}

fn requests(evidence: &Evidence) -> Vec<Request> {
    let mut holds = request::holds(evidence);
    let objects = evidence.requests.read().into_iter().flatten();
    let open = objects.filter_map(|object| {
        let csr = Csr(object);
        let mut request = Request::of(object, State::of(csr)?, request::node_of(csr));
        if let Some(hold) = holds.remove(&request.name) {
            request.is_explained = true;
            request.hold = hold;
        }
        Some(request)
    });
    let mut open: Vec<Request> = open.collect();
    open.sort_by(|one, other| {
        let key = |request: &Request| (!request.state.is_open(), request.filed);
        (key(one), &one.name).cmp(&(key(other), &other.name))
    });
    open
}

/// Newest certificates of those who are no nodes, by subject and signer.
type Others = BTreeMap<(String, String), Found>;

fn gather<'a>(
    facts: &'a Facts,
    requests: &'a [Request],
    clients: &mut Clients,
) -> (BTreeMap<String, Gathered<'a>>, Others) {
    let evidence = &facts.evidence;
    let mut nodes: BTreeMap<String, Gathered<'a>> = BTreeMap::new();
    let mut others = Others::new();
    for object in evidence.nodes.read().into_iter().flatten() {
        let node = nodes.entry(meta::name(object).to_owned()).or_default();
        node.object = Some(object);
    }
    let mut note = |signer: &str, found: Found| {
        let name = &found.certificate.common_name;
        let node = Kind::of_signer(signer).zip(request::node_of_subject(name));
        match node {
            Some((kind, node)) => {
                put(
                    &mut nodes.entry(node).or_default().certificates,
                    kind,
                    found,
                );
            }
            None => put(&mut others, (name.clone(), signer.to_owned()), found),
        }
    };
    if let Some(log) = facts.log.read() {
        for (signer, certificate) in log.iter() {
            let found = Found {
                asked: certificate.not_before,
                certificate: certificate.clone(),
                keeper: Keeper::Unknown,
                vouched: None,
            };
            clients.note_of(signer, &found.certificate);
            note(signer, found);
        }
    }
    for object in evidence.requests.read().into_iter().flatten() {
        let csr = Csr(object);
        if State::of(csr).is_some() || is_rehearsal(csr.name()) {
            continue;
        }
        if let Ok(chain) = Chain::from_pem(&csr.certificate()) {
            let leaf = chain.leaf();
            let found = Found {
                certificate: Certificate::of(leaf, Source::Request, Some(csr.name())),
                asked: meta::creation_timestamp(object).unwrap_or(leaf.not_before()),
                keeper: Keeper::of(object),
                vouched: clients.vouch(&chain),
            };
            clients.note_of(csr.signer_name(), &found.certificate);
            note(csr.signer_name(), found);
        }
    }
    add_requests(requests, &mut nodes);
    add_probes(facts, &mut nodes);
    (nodes, others)
}

/// The newest request of each node for each of its certificates.
fn add_requests<'a>(requests: &'a [Request], nodes: &mut BTreeMap<String, Gathered<'a>>) {
    for request in requests {
        let (Some(kind), Some(node)) = (request.kind(), &request.node) else {
            continue;
        };
        if is_rehearsal(&request.name) {
            continue;
        }
        let newest = &mut nodes.entry(node.clone()).or_default().requests;
        // What may still be issued counts more than what was refused at the same moment.
        let is_newer = |known: &&Request| {
            (known.filed, known.state.is_open()) < (request.filed, request.state.is_open())
        };
        if newest.get(&kind).is_none_or(is_newer) {
            newest.insert(kind, request);
        }
    }
}

/// What a kubelet shows takes the place of what it was issued.
fn add_probes(facts: &Facts, nodes: &mut BTreeMap<String, Gathered<'_>>) {
    for (name, probe) in &facts.probes {
        let (Probe::Shown(leaf), Some(node)) = (probe, nodes.get_mut(name)) else {
            continue;
        };
        let shown = Certificate::of(leaf, Source::Probe, None);
        let known = node.certificates.remove(&Kind::Serving);
        let known = known.filter(|known| known.certificate.sha256 == shown.sha256);
        let found = Found {
            asked: known.as_ref().map_or(shown.not_before, |known| known.asked),
            keeper: known.map_or(Keeper::Unknown, |known| known.keeper),
            vouched: None,
            certificate: shown,
        };
        node.certificates.insert(Kind::Serving, found);
    }
}

/// Keeps the newer one; of the same certificate the one that tells more.
fn put<K: Ord>(certificates: &mut BTreeMap<K, Found>, key: K, found: Found) {
    let is_newer = |known: &Found| {
        let age = |found: &Found| (found.certificate.not_before, found.certificate.source);
        age(known) <= age(&found)
    };
    if certificates.get(&key).is_none_or(is_newer) {
        certificates.insert(key, found);
    }
}

/// Whether a node that has no Node is no node any more.
fn is_gone(node: &Gathered<'_>, has_nodes: bool, now: Timestamp) -> bool {
    let ends = node.certificates.values();
    let Some(end) = ends.map(|found| found.certificate.not_after).max() else {
        return false;
    };
    let for_long = match has_nodes {
        true => SignedDuration::ZERO,
        false => GONE_AFTER,
    };
    let is_open = node
        .requests
        .values()
        .any(|request| request.state.is_open());
    node.object.is_none() && !is_open && now.duration_since(end) > for_long
}

/// What nodes are judged by, together.
struct Judging<'a> {
    facts: &'a Facts,
    authorities: &'a [Authority],
    revocations: Option<&'a Revocations>,
    clients: &'a Clients,
    now: Timestamp,
}

impl Judging<'_> {
    fn node(&self, name: String, mut gathered: Gathered<'_>) -> Node {
        let seen = Seen::of(gathered.object, &self.facts.evidence);
        let [client, serving] = Kind::ALL.map(|kind| {
            let found = gathered.certificates.remove(&kind);
            let request = gathered.requests.get(&kind).copied();
            let mut holding = self.holding(&name, kind, found, request, &seen);
            if kind == Kind::Serving
                && let Some(Probe::Failed(why)) = self.facts.probes.get(&name)
            {
                holding.probe_failure = Some(why.clone());
            }
            let around = Around {
                seen: &seen,
                request: request.filter(|one| holding.request.as_ref() == Some(&one.name)),
                authority: self.authority(&holding),
                now: self.now,
            };
            holding.outlook = judge(&holding, &around);
            holding
        });
        Node {
            name,
            presence: seen.presence,
            since: seen.since,
            kubelet_version: seen.version,
            client,
            serving,
        }
    }

    fn holding(
        &self,
        node: &str,
        kind: Kind,
        found: Option<Found>,
        request: Option<&Request>,
        seen: &Seen,
    ) -> Holding {
        let asked = found.as_ref().map(|found| found.asked);
        let keeper = found.as_ref().map(|found| found.keeper).unwrap_or_default();
        let is_everleaf = self.facts.evidence.is_everleaf();
        let keeper = match (keeper, &seen.version, seen.presence) {
            // A kubelet that reports is one, whoever has forgotten its request.
            (Keeper::Unknown, Some(_), _) => Keeper::Kubelet,
            // A kubelet has a Node. Everleaf's server notes of no request who created it.
            (Keeper::Unknown, None, Presence::Absent) if is_everleaf => Keeper::EverleafAgent,
            _ => keeper,
        };
        let is_distrusted = kind == Kind::Client
            && found.as_ref().is_some_and(|found| {
                found.vouched == Some(false) || self.clients.have_dropped(&found.certificate)
            });
        let certificate = found.map(|found| found.certificate);
        let revoked = certificate
            .as_ref()
            .and_then(|certificate| self.revoked_by(certificate, node, kind));
        let mut holding = Holding::dated(certificate, keeper, revoked, self.now);
        if is_distrusted {
            holding.distrust();
        }
        let is_newer = |request: &&Request| asked.is_none_or(|asked| request.filed > Some(asked));
        let request = request.filter(is_newer);
        holding.request = request.map(|request| request.name.clone());
        holding
    }

    fn revoked_by(&self, certificate: &Certificate, node: &str, kind: Kind) -> Option<String> {
        // A kubelet may have made its serving certificate itself, in any name.
        let common_name = match kind {
            Kind::Client => certificate.common_name.clone(),
            Kind::Serving => format!("system:node:{node}"),
        };
        self.refused(certificate, &common_name)
    }

    fn refused(&self, certificate: &Certificate, common_name: &str) -> Option<String> {
        let by = self.revocations?.refuses(revocation::Facts {
            serial: &certificate.serial,
            credential: &certificate.sha256,
            common_name,
            not_before: certificate.not_before,
        })?;
        Some(by.to_string())
    }

    fn authority(&self, holding: &Holding) -> Option<&Authority> {
        authority::last(holding.certificate.as_ref()?, self.authorities)
    }

    fn identities(&self, others: Others) -> Vec<Identity> {
        let all = others.into_iter().filter_map(|((name, signer), found)| {
            let revoked = self.refused(&found.certificate, &name);
            let ends = found.certificate.not_after;
            let certificate = Some(found.certificate);
            let mut holding = Holding::dated(certificate, found.keeper, revoked, self.now);
            holding.outlook = Outlook::by_hand(ends);
            (ends >= self.now).then_some(Identity {
                name,
                signer,
                holding,
            })
        });
        all.collect()
    }
}

fn in_force(revocations: &Revocations, now: Timestamp) -> Vec<Revocation> {
    let entries = revocations.iter().filter(|(_, entry)| !entry.is_over(now));
    let entries = entries.map(|(target, entry)| Revocation {
        target: target.to_string(),
        node: entry.node.clone(),
        reason: entry.reason.as_str(),
        at: entry.at,
    });
    entries.collect()
}

/// What a fleet is judged by and could not be read.
fn unseen(facts: &Facts) -> Vec<String> {
    let evidence = &facts.evidence;
    let mut unseen = Vec::new();
    let mut say = |what: &str, why: Option<&String>| {
        unseen.extend(why.map(|why| format!("{what}: {why}")));
    };
    say("requests", hidden(&evidence.requests));
    say("nodes", hidden(&evidence.nodes));
    say("leases", hidden(&evidence.leases));
    say("the authorities of clients", hidden(&evidence.client_ca));
    say("the issuance log", hidden(&facts.log));
    say("revocations", hidden(&evidence.revocations));
    unseen
}

fn hidden<T>(known: &Known<T>) -> Option<&String> {
    match known {
        Known::Hidden(why) => Some(why),
        Known::Read(_) | Known::Absent => None,
    }
}
