//! Who has certificates and is a node, as the API alone tells it, where no issuance log does.

use super::{Fleet, Holder, Issued, Roll};
use everleaf_api::authorities::Word;
use everleaf_api::csr::Csr;
use everleaf_api::meta;
use everleaf_pki::{Chain, Leaf};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Subjects of nodes' certificates.
const NODE_PREFIX: &str = "system:node:";
/// How far signers backdate certificates.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// What a cluster's API has.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Nodes.
    pub nodes: Vec<Value>,
    /// Leases of nodes.
    pub leases: Vec<Value>,
    /// Requests for certificates; those of long ago are cleaned away.
    pub requests: Vec<Value>,
}

impl Fleet {
    /// Takes in where kubelets run, by Nodes.
    pub fn take_node(&mut self, node: &Value) {
        let version = node["status"]["nodeInfo"]["kubeletVersion"].as_str();
        let holder = self.nodes.entry(meta::name(node).to_owned()).or_default();
        holder.runs_kubelet = version.is_some_and(|version| !version.is_empty());
    }
}

impl Census {
    /// What a roll knows by it. Whoever has a Lease or a Node is a node. What a kubelet has is
    /// known by its requests alone: where these are cleaned away, it counts as of the CA that goes,
    /// until that one ends.
    pub fn fleet(&self, roll: &Roll, goes: &Leaf, comes: &Leaf, now: Timestamp) -> Fleet {
        let mut fleet = Fleet::default();
        let mut requests: Vec<_> = self.requests.iter().collect();
        requests.sort_by_key(|request| meta::creation_timestamp(request));
        for request in requests {
            take_request(&mut fleet, request, roll, (goes, comes), now);
        }
        for lease in &self.leases {
            let holder = fleet.nodes.entry(meta::name(lease).to_owned()).or_default();
            holder.word = Word::of_lease(lease);
        }
        for node in &self.nodes {
            fleet.take_node(node);
        }
        for holder in fleet.nodes.values_mut() {
            if holder.old_until.is_none() && holder.newest.is_empty() {
                holder.old_until = Some(goes.not_after());
            }
        }
        fleet
    }
}

fn take_request(
    fleet: &mut Fleet,
    request: &Value,
    roll: &Roll,
    (goes, comes): (&Leaf, &Leaf),
    now: Timestamp,
) {
    let csr = Csr(request);
    let Ok(chain) = Chain::from_pem(&csr.certificate()) else {
        return;
    };
    let leaf = chain.leaf();
    let until = leaf.not_after();
    let (is_old, is_new) = (leaf.is_signed_by(goes), leaf.is_signed_by(comes));
    if until <= now || !is_old && !is_new {
        return;
    }
    let name = &leaf.subject().common_name;
    let Some(node) = name.strip_prefix(NODE_PREFIX) else {
        if is_old && leaf.allows_client_auth() {
            let end = fleet.users.entry(name.clone()).or_insert(until);
            *end = until.max(*end);
        }
        return;
    };
    let holder: &mut Holder = fleet.nodes.entry(node.to_owned()).or_default();
    if is_old {
        holder.old_until = holder.old_until.max(Some(until));
    }
    let signed_by = match is_new {
        true => &roll.to,
        false => &roll.from,
    };
    // Whoever approved it may have taken hours.
    let signed = leaf.not_before().checked_add(BACKDATE).ok();
    let at = meta::creation_timestamp(request).max(signed);
    let issued = Issued {
        key_id: signed_by.key_id.clone(),
        at: at.unwrap_or(now),
    };
    holder.newest.insert(csr.signer_name().to_owned(), issued);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roll::{Authority, Phase, Start, tally};
    use base64::Engine as _;
    use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey, Subject, Template, Usage};
    use serde_json::json;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn issuer(name: &str) -> Issuer {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (from, to) = (at("2020-01-01T00:00:00Z"), at("2040-01-01T00:00:00Z"));
        Issuer::self_signed(name, key, [1; 16], from, to).unwrap()
    }

    fn request(by: &Issuer, name: &str, signer: &str, filed: &str) -> Value {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let template = Template {
            subject: Subject {
                common_name: name.to_owned(),
                organizations: Vec::new(),
            },
            ..Template::default()
        };
        let usages = [Usage::DigitalSignature, Usage::ClientAuth];
        let (begin, end) = (at("2029-01-01T00:00:00Z"), at("2031-01-01T00:00:00Z"));
        let chain = by.issue_own(&template, key.public_key(), &usages, [2; 16], begin, end);
        let pem = chain.unwrap().to_pem();
        let certificate = base64::prelude::BASE64_STANDARD.encode(pem);
        json!({
            "metadata": {"name": format!("{name}-{signer}"), "creationTimestamp": filed},
            "spec": {"signerName": signer},
            "status": {"certificate": certificate},
        })
    }

    #[test]
    fn what_is_not_known_of_a_kubelet_is_not_taken_for_done() {
        let (old, new) = (issuer("old"), issuer("new"));
        let which = |name: &str| Authority {
            subject: format!("CN={name}"),
            pin: name.to_owned(),
            key_id: name.to_owned(),
        };
        let now = at("2030-01-01T01:00:00Z");
        let start = Start {
            per_minute: 60,
            may_finish: true,
        };
        let mut roll = Roll::begin(which("old"), which("new"), start, now);
        roll.phase = Phase::Renew;
        let kubelet = |name: &str| json!({"metadata": {"name": name}, "status": {"nodeInfo": {"kubeletVersion": "v1.37.2"}}});
        let word = json!({"trusts": [], "certificates": {"client": "new"}, "epoch": roll.epoch.to_string()});
        let lease = json!({
            "metadata": {"name": "agent", "annotations": {everleaf_api::authorities::WORD: word.to_string()}},
        });
        let client = "kubernetes.io/kube-apiserver-client-kubelet";
        let census = Census {
            nodes: ["cleaned", "renewed", "both"].map(kubelet).to_vec(),
            leases: vec![lease],
            requests: vec![
                request(&new, "system:node:renewed", client, "2030-01-01T00:10:00Z"),
                request(&old, "system:node:renewed", client, "2030-01-01T00:00:00Z"),
                request(&new, "system:node:both", client, "2030-01-01T00:10:00Z"),
                request(&old, "system:node:both", "serving", "2030-01-01T00:00:00Z"),
                request(&old, "alice", "user", "2030-01-01T00:00:00Z"),
                request(&issuer("other"), "bob", "user", "2030-01-01T00:00:00Z"),
            ],
        };
        let fleet = census.fleet(&roll, old.certificate(), new.certificate(), now);
        let tally = tally(&roll, &fleet, now);
        let who: Vec<_> = tally.waited_for.iter().map(|one| &one.who).collect();
        assert_eq!(who, ["node/both", "node/cleaned", "user/alice"]);
        assert_eq!(
            tally.proven, 2,
            "the agent, and the kubelet that has renewed"
        );
    }
}
