//! What a cluster says of itself in `kube-public/cluster-info`, and whether to believe it.

use super::{BootstrapToken, CaPin};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use everleaf_pki::{TrustBundle, jws, pem};
use serde::Deserialize;
use serde_json::Value;

/// What the keys of signatures begin with; the token's id follows.
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

/// Why a cluster is not joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// Nobody answers, or no API server.
    #[error("{0}")]
    Unreachable(String),
    /// It does not answer to whoever is nobody.
    #[error(
        "the API server does not show kube-public/cluster-info to a machine that it does not know yet: {0}; anonymous requests have to be \
         allowed there (--anonymous-auth), and kubeadm's Role kubeadm:bootstrap-signer-clusterinfo has to be bound to system:anonymous"
    )]
    Hidden(String),
    /// There is no such ConfigMap.
    #[error(
        "the cluster has no ConfigMap kube-public/cluster-info, which names its authority: `everleaf up` and `kubeadm init phase \
         bootstrap-token` make it"
    )]
    NoClusterInfo,
    /// The ConfigMap is not what it should be.
    #[error("the ConfigMap kube-public/cluster-info cannot be used: {0}")]
    Unusable(String),
    /// Nobody has signed it with this token.
    #[error(
        "kube-public/cluster-info is not signed for the token {0}: the token is unknown, has ended, is not for signing, or no controller \
         `bootstrapsigner` runs there; see `everleaf token list`, or make another one (everleaf token create --print-join-command)"
    )]
    NotSigned(String),
    /// Somebody has, with another secret.
    #[error(
        "the signature of kube-public/cluster-info does not fit the token {0}: its secret part is wrong, or this is not the API server that \
         it is for; copy the join command again"
    )]
    WrongSignature(String),
    /// None of its authorities is the one that was named.
    #[error(
        "the authority there is {found}, and none of the hashes given with --ca-cert-hash: this is not the cluster that the join command is for, \
         or its authority was replaced since; make the command again (everleaf token create --print-join-command)"
    )]
    OtherAuthority {
        /// The hashes of those that are there.
        found: String,
    },
    /// The server has no certificate of that authority.
    #[error("the API server does not prove to belong to the authority that it names: {0}")]
    NotProven(String),
    /// Twice asked, two answers.
    #[error("kube-public/cluster-info changed while it was read")]
    Changed,
}

impl DiscoveryError {
    /// Whether it may come right without anybody's help.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::NoClusterInfo | Self::NotSigned(_) | Self::Changed
        )
    }
}

/// What was announced by somebody who knows the token's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The cluster's authorities, PEM, one after another.
    pub ca_pem: String,
    /// Where it says that its API server is.
    pub server: String,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    clusters: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    cluster: Stanza,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Stanza {
    #[serde(default)]
    server: String,
    #[serde(default)]
    certificate_authority_data: String,
}

impl Announced {
    /// Reads the ConfigMap, which has to be signed with `token`.
    pub fn read(config_map: &Value, token: &BootstrapToken) -> Result<Self, DiscoveryError> {
        let unusable = |what: &str| DiscoveryError::Unusable(what.to_owned());
        let data = &config_map["data"];
        let text = data["kubeconfig"].as_str();
        let text = text.ok_or_else(|| unusable("it has no kubeconfig"))?;
        let id = token.id();
        let signature = data[format!("{SIGNATURE_PREFIX}{id}")].as_str();
        let signature = signature.ok_or_else(|| DiscoveryError::NotSigned(id.to_owned()))?;
        let secret = token.secret().expose().as_bytes();
        if !jws::is_signed(id, secret, text.as_bytes(), signature) {
            return Err(DiscoveryError::WrongSignature(id.to_owned()));
        }
        Self::of_kubeconfig(text).map_err(|what| unusable(&what))
    }

    /// Reads the ConfigMap for somebody who has it from a server that is trusted anyway.
    pub fn read_trusted(config_map: &Value) -> Result<Self, DiscoveryError> {
        let text = config_map["data"]["kubeconfig"].as_str();
        let read = text.ok_or_else(|| "it has no kubeconfig".to_owned());
        read.and_then(Self::of_kubeconfig)
            .map_err(DiscoveryError::Unusable)
    }

    fn of_kubeconfig(text: &str) -> Result<Self, String> {
        let document: Document = serde_saphyr::from_str(text)
            .map_err(|_| "its kubeconfig is no YAML of that kind".to_owned())?;
        let first = document.clusters.into_iter().next();
        let cluster = first.ok_or("its kubeconfig names no cluster")?.cluster;
        let der = BASE64_STANDARD.decode(cluster.certificate_authority_data.trim());
        let ca_pem = der.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let ca_pem = ca_pem.filter(|pem| !pem.is_empty());
        let ca_pem = ca_pem.ok_or("its kubeconfig has no certificate-authority-data")?;
        let bundle = TrustBundle::from_pem(ca_pem.as_bytes());
        bundle.map_err(|error| format!("its certificate-authority-data: {error}"))?;
        Ok(Self {
            ca_pem,
            server: cluster.server,
        })
    }

    /// The hashes of its authorities, each once.
    pub fn pins(&self) -> Vec<CaPin> {
        let mut pins = Vec::new();
        for (pin, _) in self.authorities() {
            if !pins.contains(&pin) {
                pins.push(pin);
            }
        }
        pins
    }

    /// Those of its authorities that are pinned, PEM.
    pub(super) fn pinned(&self, pins: &[CaPin]) -> Result<String, DiscoveryError> {
        let fit = self
            .authorities()
            .into_iter()
            .filter(|(pin, _)| pins.contains(pin));
        let pem: String = fit.map(|(_, pem)| pem).collect();
        if !pem.is_empty() {
            return Ok(pem);
        }
        let found = self.pins().iter().map(ToString::to_string).collect();
        let found: Vec<String> = found;
        Err(DiscoveryError::OtherAuthority {
            found: found.join(", "),
        })
    }

    fn authorities(&self) -> Vec<(CaPin, String)> {
        let bundle = TrustBundle::from_pem(self.ca_pem.as_bytes());
        let anchors = bundle.as_ref().map_or(&[][..], TrustBundle::anchors);
        let each = anchors
            .iter()
            .map(|anchor| (CaPin::of(anchor), pem::encode("CERTIFICATE", anchor.der())));
        each.collect()
    }
}
