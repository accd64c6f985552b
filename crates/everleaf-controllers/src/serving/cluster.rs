//! What the cluster says about its nodes, and which addresses are its own.
//!
//! Owns the index of Nodes, of the addresses of Services and of the API server, fed by followers;
//! it answers who else reports a name, and what belongs to everybody. It refuses to know requests
//! and policies.

use everleaf_api::meta;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// What a Node object says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `status.addresses` of types `InternalIP` and `ExternalIP`, canonical.
    pub addresses: BTreeSet<IpAddr>,
    /// `status.addresses` of types `Hostname`, `InternalDNS` and `ExternalDNS`, in lower case and
    /// without a trailing dot.
    pub names: BTreeSet<String>,
    /// `status.addresses` of type `InternalIP`, canonical, in order.
    pub internal: Vec<IpAddr>,
    /// `status.daemonEndpoints.kubeletEndpoint.Port`.
    pub kubelet_port: Option<u16>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// The `Ready` condition is `True`.
    pub is_ready: bool,
    /// Another Node of this name was there before, as far as anybody saw.
    pub is_recreated: bool,
}

impl NodeFacts {
    /// Reads a Node object.
    pub fn of(node: &Value) -> Self {
        let mut facts = Self {
            name: meta::name(node).to_owned(),
            uid: text(node, "/metadata/uid"),
            created: text(node, "/metadata/creationTimestamp").parse().ok(),
            labels: texts(node, "/metadata/labels"),
            annotations: texts(node, "/metadata/annotations"),
            ..Self::default()
        };
        let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port");
        let port = port.and_then(Value::as_u64);
        facts.kubelet_port = port.and_then(|port| port.try_into().ok());
        for entry in items(node, "/status/addresses") {
            let address = entry["address"].as_str().unwrap_or_default();
            let kind = entry["type"].as_str().unwrap_or_default();
            match (kind, address.parse::<IpAddr>()) {
                // A kubelet reports its address as its host name where it has no other.
                ("InternalIP" | "ExternalIP" | "Hostname", Ok(ip)) => {
                    if kind == "InternalIP" {
                        facts.internal.push(ip.to_canonical());
                    }
                    facts.addresses.insert(ip.to_canonical());
                }
                ("Hostname" | "InternalDNS" | "ExternalDNS", Err(_)) => {
                    let name = address.trim_end_matches('.').to_ascii_lowercase();
                    if !name.is_empty() {
                        facts.names.insert(name);
                    }
                }
                _ => {}
            }
        }
        facts.is_ready = items(node, "/status/conditions")
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        facts
    }

    /// Whether it has the role that only an administrator can give.
    pub fn is_control_plane(&self) -> bool {
        const ROLES: [&str; 2] = [
            "node-role.kubernetes.io/control-plane",
            "node-role.kubernetes.io/master",
        ];
        ROLES.iter().any(|role| self.labels.contains_key(*role))
    }

    /// What it may be called and reached by, as the keys of the index.
    fn claims(&self) -> impl Iterator<Item = Claim> {
        let names = self.names.iter().cloned().map(Claim::Name);
        names.chain(self.addresses.iter().copied().map(Claim::Address))
    }
}

/// A name or an address that somebody claims.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// An IP address, canonical.
    Address(IpAddr),
    /// A DNS name, lower case.
    Name(String),
}

impl Claim {
    /// The name or address of a URL's `host[:port]`.
    pub fn of_host(host: &str) -> Option<Self> {
        let host = match host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => host,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) => Some(Self::Address(address.to_canonical())),
            Err(_) if host.is_empty() => None,
            Err(_) => Some(Self::Name(host.to_ascii_lowercase())),
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// What is followed besides requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `default/kubernetes`, where the API server is reached.
    Endpoints,
    /// Nodes.
    Nodes,
    /// Services.
    Services,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endpoints => "the endpoints of the API server",
            Self::Nodes => "nodes",
            Self::Services => "services",
        })
    }
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Endpoints, Self::Nodes, Self::Services];
}

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    nodes: BTreeMap<String, NodeFacts>,
    claims: BTreeMap<Claim, BTreeSet<String>>,
    /// Names of Nodes that were deleted, so that one of the same name is known for another.
    deleted: BTreeSet<String>,
    /// Addresses by the key of the object that has them.
    services: BTreeMap<String, Vec<Claim>>,
    endpoints: BTreeMap<String, Vec<IpAddr>>,
    /// How often each stands in `services`.
    service_claims: BTreeMap<Claim, usize>,
    /// Host names and addresses under which the API server is known.
    api_server: BTreeSet<Claim>,
    synced: BTreeSet<Source>,
    unlisted: BTreeMap<Source, BTreeSet<String>>,
}

/// Nodes of the past whose names are remembered.
const DELETED_MAX: usize = 100_000;

impl Cluster {
    /// Names and addresses of the API server that are known without asking.
    pub fn set_api_server(&mut self, hosts: impl IntoIterator<Item = Claim>) {
        self.api_server = hosts.into_iter().collect();
    }

    /// The Node of this name.
    pub fn node(&self, name: &str) -> Option<&NodeFacts> {
        self.nodes.get(name)
    }

    /// Whether there was a Node of this name, and is none now, as far as anybody saw.
    pub fn is_deleted(&self, name: &str) -> bool {
        self.deleted.contains(name) && !self.nodes.contains_key(name)
    }

    /// Another Node that reports the same.
    pub fn other_claimant(&self, claim: &Claim, node: &str) -> Option<&str> {
        let holders = self.claims.get(claim)?;
        holders
            .iter()
            .find(|other| *other != node)
            .map(String::as_str)
    }

    /// Whether a Service is reached there.
    pub fn is_service(&self, claim: &Claim) -> bool {
        self.service_claims.contains_key(claim)
    }

    /// Whether pods reach a Service by this name: `name.namespace`, which their resolvers complete.
    pub fn is_service_name(&self, name: &str) -> bool {
        name.split_once('.').is_some_and(|(name, namespace)| {
            self.services.contains_key(&format!("{namespace}/{name}"))
        })
    }

    /// Whether the API server is reached there.
    pub fn is_api_server(&self, claim: &Claim) -> bool {
        let in_endpoints = |address: &IpAddr| {
            self.endpoints
                .values()
                .any(|addresses| addresses.contains(address))
        };
        self.api_server.contains(claim)
            || matches!(claim, Claim::Address(address) if in_endpoints(address))
    }

    /// The first source of which no complete list was seen yet.
    pub fn missing(&self) -> Option<Source> {
        Source::ALL
            .into_iter()
            .find(|source| !self.synced.contains(source))
    }

    /// Takes in an object of `source`. Returns the name of the Node that changed.
    pub fn put(&mut self, source: Source, object: &Value) -> Option<String> {
        let key = meta::key(object);
        if key.is_empty() {
            return None;
        }
        if let Some(unlisted) = self.unlisted.get_mut(&source) {
            unlisted.remove(&key);
        }
        match source {
            Source::Nodes => return self.put_node(NodeFacts::of(object)),
            Source::Services => {
                self.delete_service(&key);
                let claims = service_claims(object);
                for claim in &claims {
                    *self.service_claims.entry(claim.clone()).or_default() += 1;
                }
                self.services.insert(key, claims);
            }
            Source::Endpoints => {
                if key == "default/kubernetes" {
                    self.endpoints.insert(key, endpoint_addresses(object));
                }
            }
        }
        None
    }

    fn put_node(&mut self, mut node: NodeFacts) -> Option<String> {
        let name = node.name.clone();
        let older = self.nodes.get(&name);
        if older.is_some_and(|older| *older == node) {
            return None;
        }
        node.is_recreated = self.deleted.contains(&name)
            || older.is_some_and(|older| older.is_recreated || older.uid != node.uid);
        self.forget_claims(&name);
        for claim in node.claims() {
            self.claims.entry(claim).or_default().insert(name.clone());
        }
        self.nodes.insert(name.clone(), node);
        Some(name)
    }

    fn forget_claims(&mut self, name: &str) {
        let Some(node) = self.nodes.get(name) else {
            return;
        };
        for claim in node.claims() {
            if let Some(holders) = self.claims.get_mut(&claim) {
                holders.remove(name);
                if holders.is_empty() {
                    self.claims.remove(&claim);
                }
            }
        }
    }

    fn delete_service(&mut self, key: &str) {
        for claim in self.services.remove(key).unwrap_or_default() {
            if let Some(count) = self.service_claims.get_mut(&claim) {
                *count -= 1;
                if *count == 0 {
                    self.service_claims.remove(&claim);
                }
            }
        }
    }

    /// Forgets a deleted object. Returns the name of the Node that is gone.
    pub fn delete(&mut self, source: Source, key: &str) -> Option<String> {
        match source {
            Source::Nodes => {
                self.forget_claims(key);
                self.nodes.remove(key)?;
                if self.deleted.len() < DELETED_MAX {
                    self.deleted.insert(key.to_owned());
                }
                return Some(key.to_owned());
            }
            Source::Services => self.delete_service(key),
            Source::Endpoints => {
                self.endpoints.remove(key);
            }
        }
        None
    }

    /// A complete list of `source` begins.
    pub fn begin_list(&mut self, source: Source) {
        let keys = match source {
            Source::Nodes => self.nodes.keys().cloned().collect(),
            Source::Services => self.services.keys().cloned().collect(),
            Source::Endpoints => self.endpoints.keys().cloned().collect(),
        };
        self.unlisted.insert(source, keys);
    }

    /// It is complete; what was not in it is gone.
    pub fn end_list(&mut self, source: Source) {
        for key in self.unlisted.remove(&source).unwrap_or_default() {
            self.delete(source, &key);
        }
        self.synced.insert(source);
    }
}

/// Everything a Service is reached by, and what it stands for.
fn service_claims(service: &Value) -> Vec<Claim> {
    let ingress = || items(service, "/status/loadBalancer/ingress");
    let addresses = service.pointer("/spec/clusterIP").into_iter();
    let texts = addresses
        .chain(items(service, "/spec/clusterIPs"))
        .chain(items(service, "/spec/externalIPs"))
        .chain(service.pointer("/spec/loadBalancerIP"))
        .chain(ingress().map(|entry| &entry["ip"]))
        .filter_map(Value::as_str);
    // `None` and the empty text are no addresses.
    let addresses = texts.filter_map(|text| text.parse::<IpAddr>().ok());
    let addresses = addresses.map(|address| Claim::Address(address.to_canonical()));
    let names = ingress()
        .map(|entry| &entry["hostname"])
        .chain(service.pointer("/spec/externalName"))
        .filter_map(Value::as_str)
        .filter(|name| !name.is_empty())
        .map(|name| Claim::Name(name.trim_end_matches('.').to_ascii_lowercase()));
    let claims: BTreeSet<Claim> = addresses.chain(names).collect();
    claims.into_iter().collect()
}

fn endpoint_addresses(endpoints: &Value) -> Vec<IpAddr> {
    items(endpoints, "/subsets")
        .flat_map(|subset| items(subset, "/addresses").chain(items(subset, "/notReadyAddresses")))
        .filter_map(|address| address["ip"].as_str()?.parse::<IpAddr>().ok())
        .map(|ip| ip.to_canonical())
        .collect()
}

fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let list = object.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn text(object: &Value, pointer: &str) -> String {
    let text = object.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn texts(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let map = object.pointer(pointer).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}
