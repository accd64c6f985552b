//! The serving certificate: where its names come from, and whose credential asks for it.

use super::World;
use crate::config::Config;
use crate::kubeconfig::Names;
use crate::testing::api::SERVING_SIGNER;
use crate::testing::with_inline;
use everleaf_api::csr::{self, Csr};
use everleaf_api::meta;
use everleaf_pki::Chain;
use everleaf_rotation::{CertificateId, Notice};

pub(super) fn serving(world: &World) -> Config {
    let mut config = world.config();
    config.serving = true;
    config.node_ips = vec!["127.0.0.1".parse().unwrap()];
    config
}

/// The serving request waits for approval; it asks for what the command line says without a Node.
#[tokio::test]
async fn a_serving_certificate_waits_for_approval() {
    let world = World::new().await;
    let mut agent = world.start(serving(&world));
    let is_serving = |id: &CertificateId, notice: &Notice, wanted: fn(&Notice) -> bool| {
        !id.renews_itself() && wanted(notice)
    };
    agent
        .until(|id, notice| {
            is_serving(id, notice, |n| matches!(n, Notice::RequestSubmitted { .. }))
        })
        .await;
    let requests = world.api.requests();
    let request = requests
        .iter()
        .find(|object| Csr(object).signer_name() == SERVING_SIGNER)
        .unwrap();
    assert_eq!(Csr(request).usages(), ["digital signature", "server auth"]);
    world.api.decide(meta::name(request), csr::APPROVED);
    agent
        .until(|id, notice| is_serving(id, notice, |n| matches!(n, Notice::Installed { .. })))
        .await;
    agent.stop().await;
    let pem = std::fs::read(world.pki().join("kubelet-server-current.pem")).unwrap();
    let chain = Chain::from_pem(&pem).unwrap();
    assert_eq!(chain.leaf().dns_names(), ["n1"]);
    assert_eq!(chain.leaf().ip_addresses(), serving(&world).node_ips);
    let serving_create = world.creates().pop().unwrap();
    assert!(
        serving_create.leaf.is_some(),
        "asked with the client certificate"
    );
}

#[tokio::test]
async fn the_node_objects_addresses_go_first() {
    let world = World::new().await;
    world
        .api
        .state
        .lock()
        .unwrap()
        .approves
        .insert(SERVING_SIGNER);
    world.api.state.lock().unwrap().node = Some(serde_json::json!({
        "status": {"addresses": [
            {"type": "InternalIP", "address": "10.0.0.7"}, {"type": "Hostname", "address": "seven"},
        ]},
    }));
    let mut agent = world.start(serving(&world));
    agent
        .until(|id, n| !id.renews_itself() && matches!(n, Notice::Installed { .. }))
        .await;
    agent.stop().await;
    let pem = std::fs::read(world.pki().join("kubelet-server-current.pem")).unwrap();
    let leaf = Chain::from_pem(&pem).unwrap().leaf().clone();
    assert_eq!(leaf.dns_names(), ["seven"]);
    assert_eq!(
        leaf.ip_addresses(),
        ["10.0.0.7".parse::<std::net::IpAddr>().unwrap()]
    );
}

#[tokio::test]
async fn a_serving_certificate_alone_uses_the_kubeconfigs_credential() {
    let world = World::new().await;
    world
        .api
        .state
        .lock()
        .unwrap()
        .approves
        .insert(SERVING_SIGNER);
    let mut config = serving(&world);
    config.client = false;
    config.bootstrap = None;
    let credential = world.api.ca.node("n1", 100);
    with_inline(world.server.cluster(&world.api.ca), &credential)
        .write(&world.kubeconfig(), &Names::BOOTSTRAP)
        .unwrap();
    let mut agent = world.start(config);
    agent
        .until(|id, n| !id.renews_itself() && matches!(n, Notice::Installed { .. }))
        .await;
    agent.stop().await;
    let leaf = world.creates().pop().unwrap().leaf.unwrap();
    assert_eq!(leaf.fingerprint(), credential.leaf().fingerprint());
}
