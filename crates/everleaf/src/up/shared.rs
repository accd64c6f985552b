//! Several `up`s whose objects are in one etcd: they are of one authority, and of their controllers
//! those of one run.
//!
//! What belongs to a server (its certificate, its kubeconfigs, its node) each keeps for itself;
//! what belongs to the cluster is done by whoever leads. The lease is kube-controller-manager's, so
//! that one of those, or `everleaf controllers`, is excluded, too.

use super::authority::Authority;
use super::data_dir::{BROUGHT_ALONG, DataDir};
use super::entropy;
use super::system::wall_clock;
use crate::shutdown::Shutdown;
use anyhow::{Result, anyhow, bail};
use everleaf_agent::Clock;
use everleaf_apiserver::bootstrap::EXTENSION_APISERVER_AUTHENTICATION;
use everleaf_apiserver::handler::Server;
use everleaf_apiserver::user::{AUTHENTICATED, User};
use everleaf_controllers::{Config, ElectionOptions, RunError, run_all_elected};
use everleaf_pki::Leaf;
use everleaf_pki::trust::TrustBundle;
use jiff::Timestamp;
use serde_json::json;
use std::sync::Arc;

/// As whom the lease is held: kube-controller-manager, who may by Kubernetes' own rules.
const CANDIDATE: &str = "system:kube-controller-manager";
/// Where every API server publishes the CAs by which it knows its clients.
const CLIENT_CAS: &str = "client-ca-file";
/// Why a roll is not begun where there may be other servers.
pub(super) const NO_ROLL: &str = "the objects are in an etcd, which other servers may share: this server can neither give them \
     another CA nor see what they have issued, so that nodes would be refused; `everleaf ca roll run` replaces the CA of a cluster \
     that `everleaf apiserver` and `everleaf controllers` serve (docs/ca.md)";

/// Takes the cluster for this CA, or finds that it is this CA's; refuses to serve one that knows
/// its clients by another: each server would refuse the other's nodes, and write over what it
/// publishes.
///
/// Of servers that find an empty etcd at the same moment, one makes the ConfigMap.
pub(super) async fn claim(
    dir: &DataDir,
    server: &Server,
    authority: &Authority,
    prefix: &str,
    now: Timestamp,
) -> Result<()> {
    let first = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": EXTENSION_APISERVER_AUTHENTICATION, "namespace": "kube-system"},
        "data": {CLIENT_CAS: authority.ca_pem},
    });
    let stored = server.put_if_absent("configmaps", first, now).await;
    let stored = stored.map_err(|why| {
        anyhow!(
            "cannot write the ConfigMap kube-system/{EXTENSION_APISERVER_AUTHENTICATION}: {why}"
        )
    })?;
    let object = stored.object();
    let published = object["data"][CLIENT_CAS].as_str().unwrap_or_default();
    match refusal(&authority.anchors, published) {
        None => Ok(()),
        Some(theirs) => Err(refused(dir, authority, &theirs, prefix)),
    }
}

/// The CAs that are published, if none of them is one of these. What nobody can read says nothing:
/// the start writes it anew. A CA that was renewed has its key still.
fn refusal(own: &[Leaf], published: &str) -> Option<Vec<Leaf>> {
    let bundle = TrustBundle::from_pem_lenient(published.as_bytes()).ok()?;
    let theirs = bundle.anchors();
    let is_one = |a: &Leaf, b: &Leaf| {
        a.public_key().spki_der() == b.public_key().spki_der() && a.subject() == b.subject()
    };
    let is_ours = own
        .iter()
        .any(|own| theirs.iter().any(|one| is_one(own, one)));
    (!is_ours).then(|| theirs.to_vec())
}

fn refused(dir: &DataDir, authority: &Authority, theirs: &[Leaf], prefix: &str) -> anyhow::Error {
    let (cluster, own) = (named(theirs), named(&authority.anchors));
    let pki = dir.path("pki");
    let (pki, prefix) = (pki.display(), prefix.trim_matches('/'));
    anyhow!(
        "the cluster in this etcd has another CA ({cluster}) than this data directory ({own}): each would refuse the other's nodes. \
         To add this server to the cluster, copy {} from the data directory of a server of the cluster over those in {pki}, and start \
         again. If instead the cluster is to have this CA, and no other server runs, remove what says otherwise, and start again: \
         etcdctl del /{prefix}/configmaps/kube-system/{EXTENSION_APISERVER_AUTHENTICATION} (nodes whose certificates the other CA has \
         signed then have to bootstrap again)",
        BROUGHT_ALONG.join(", "),
    )
}

fn named(anchors: &[Leaf]) -> String {
    let names = anchors.iter().map(|anchor| {
        let (subject, fingerprint) = (anchor.subject_text(), anchor.fingerprint());
        format!("{subject}, SHA-256 {fingerprint}")
    });
    names.collect::<Vec<_>>().join("; ")
}

/// Runs the controllers whenever it is this server's turn, until `shutdown`. Whoever loses the
/// lease stands by again: the server that it is part of goes on meanwhile.
pub(super) async fn take_turns(
    server: Arc<Server>,
    runs: Vec<(kube::Client, Config)>,
    host_name: String,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) -> Result<()> {
    let whom = User {
        name: CANDIDATE.to_owned(),
        groups: vec![AUTHENTICATED.to_owned()],
        ..User::default()
    };
    let service = server.in_process(whom, wall_clock(&clock));
    let client = kube::Client::new(service, "default");
    let options = ElectionOptions::default();
    loop {
        let Some(election) = options.enter(&host_name, entropy::bytes()?) else {
            bail!("the controllers of servers that share an etcd need an election");
        };
        let (client, runs) = (client.clone(), runs.clone());
        match run_all_elected(client, runs, election, shutdown.clone().asked()).await {
            Err(RunError::LeadershipLost(why)) => {
                tracing::warn!("the controllers stand by again, since their lease is lost: {why}");
            }
            ended => return Ok(ended?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey};

    fn ca(name: &str, key: &str, from: &str) -> Leaf {
        let key = PrivateKey::from_pem(key).unwrap();
        let (begin, end) = (
            from.parse().unwrap(),
            "2090-01-01T00:00:00Z".parse().unwrap(),
        );
        let issuer = Issuer::self_signed(name, key, [7; 16], begin, end).unwrap();
        issuer.certificate().clone()
    }

    fn key() -> String {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        key.to_pem().to_string()
    }

    fn pem(leaf: &Leaf) -> String {
        everleaf_pki::pem::encode("CERTIFICATE", leaf.der())
    }

    #[test]
    fn another_authority_is_refused_and_a_renewed_one_is_not() {
        let (one, two) = (key(), key());
        let own = ca("everleaf-ca", &one, "2020-01-01T00:00:00Z");
        let renewed = ca("everleaf-ca", &one, "2021-01-01T00:00:00Z");
        let other = ca("everleaf-ca", &two, "2020-01-01T00:00:00Z");
        let is_refused =
            |own: &Leaf, published: &str| refusal(std::slice::from_ref(own), published).is_some();
        assert!(!is_refused(&own, &pem(&own)));
        assert!(!is_refused(&renewed, &pem(&own)), "the key is the same");
        assert!(is_refused(&other, &pem(&own)), "the name is the same");
        let both = pem(&own) + &pem(&other);
        assert!(
            !is_refused(&other, &both),
            "as kube-apiservers publish them"
        );
        assert!(!is_refused(&own, ""), "nobody has published any");
    }
}
