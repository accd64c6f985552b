//! A node, and what its object says of it.

use crate::holding::{Holding, Kind};
use crate::text;
use everleaf_api::meta;
use everleaf_controllers::why::Evidence;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

/// Where a kubelet listens that does not say (kubernetes `pkg/cluster/ports`).
const KUBELET_PORT: u16 = 10_250;

/// What its Node object says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Presence {
    /// Its kubelet reports, and is ready.
    Ready,
    /// Its kubelet reports, and is not ready.
    NotReady,
    /// Its kubelet has stopped reporting: it is off, or cut off.
    Silent,
    /// There is a Node, and nobody has reported for it.
    NeverReported,
    /// There is no Node of this name.
    Absent,
    /// Nodes could not be read.
    Unseen,
}

impl Presence {
    /// In a word or two.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Silent => "silent",
            Self::NeverReported => "never reported",
            Self::Absent => "no Node",
            Self::Unseen => "unseen",
        }
    }
}

/// A node of the fleet: whoever has a Node object, or a certificate or request in the name of
/// `system:node:…`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What its Node object says.
    pub presence: Presence,
    /// Since when it says so.
    #[serde(
        serialize_with = "text::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub since: Option<Timestamp>,
    /// Version of its kubelet, as that reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubelet_version: Option<String>,
    /// Its certificate toward the API server.
    pub client: Holding,
    /// The certificate of its own server.
    pub serving: Holding,
}

impl Node {
    /// One of its certificates.
    pub fn holding(&self, kind: Kind) -> &Holding {
        match kind {
            Kind::Client => &self.client,
            Kind::Serving => &self.serving,
        }
    }
}

/// What is seen of a Node object; none: there is no such object.
pub(crate) struct Seen {
    pub(crate) presence: Presence,
    pub(crate) since: Option<Timestamp>,
    pub(crate) version: Option<String>,
}

impl Seen {
    pub(crate) fn of(node: Option<&Value>, evidence: &Evidence) -> Self {
        let Some(node) = node else {
            let presence = match evidence.nodes.read() {
                Some(_) => Presence::Absent,
                None => Presence::Unseen,
            };
            return Self {
                presence,
                since: None,
                version: None,
            };
        };
        let ready = conditions(node).find(|condition| condition["type"] == "Ready");
        let presence = match ready.and_then(|ready| ready["status"].as_str()) {
            Some("True") => Presence::Ready,
            Some("False") => Presence::NotReady,
            Some(_) => Presence::Silent,
            None => Presence::NeverReported,
        };
        let since = ready.and_then(|ready| ready["lastTransitionTime"].as_str());
        let version = node["status"]["nodeInfo"]["kubeletVersion"].as_str();
        Self {
            presence,
            since: since.and_then(meta::parse_time),
            version: version
                .filter(|version| !version.is_empty())
                .map(str::to_owned),
        }
    }
}

fn conditions(node: &Value) -> impl Iterator<Item = &Value> {
    let list = node["status"]["conditions"].as_array();
    list.into_iter().flatten()
}

/// Where the kubelet of a Node listens: its first `InternalIP`, and the port that it reports.
///
/// # Errors
/// The Node has no such address.
pub fn probe_address(node: &Value) -> Result<SocketAddr, String> {
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let mut internal = addresses.filter(|address| address["type"] == "InternalIP");
    let address = internal
        .next()
        .and_then(|address| address["address"].as_str());
    let address = address.ok_or("its Node has no InternalIP")?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("its InternalIP {address:?} is no address"))?;
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port.and_then(|port| u16::try_from(port).ok());
    let port = port.filter(|port| *port != 0).unwrap_or(KUBELET_PORT);
    Ok(SocketAddr::new(address, port))
}
