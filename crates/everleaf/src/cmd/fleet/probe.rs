//! What kubelets show on their own ports.

use everleaf_api::meta;
use everleaf_controllers::certificates_shown;
use everleaf_fleet::{Probe, probe_address};
use everleaf_pki::Leaf;
use everleaf_tls::chain_words;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longest for one kubelet.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Kubelets that are asked at once.
const AT_ONCE_MAX: usize = 64;

/// Asks the kubelet of each of these Nodes which certificate it has. Nothing is shown to them.
pub(super) async fn probe(nodes: &[Value]) -> BTreeMap<String, Probe> {
    let mut probes = BTreeMap::new();
    let mut asking: JoinSet<(String, Probe)> = JoinSet::new();
    for node in nodes {
        let name = meta::name(node).to_owned();
        let address = match probe_address(node) {
            Ok(address) => address,
            Err(why) => {
                probes.insert(name, Probe::Failed(why));
                continue;
            }
        };
        while asking.len() >= AT_ONCE_MAX {
            probes.extend(asking.join_next().await.and_then(Result::ok));
        }
        asking.spawn(async move { (name, ask(address).await) });
    }
    while let Some(asked) = asking.join_next().await {
        probes.extend(asked.ok());
    }
    probes
}

async fn ask(address: SocketAddr) -> Probe {
    let failed = |why: String| Probe::Failed(format!("its kubelet at {address}: {why}"));
    match timeout(ANSWER_MAX, certificates_shown(address)).await {
        Err(_) => failed(format!("no answer within {} s", ANSWER_MAX.as_secs())),
        Ok(Err(error)) => failed(chain_words(&error)),
        Ok(Ok(shown)) => match shown.first().map(|der| Leaf::from_der(der)) {
            Some(Ok(leaf)) => Probe::Shown(Box::new(leaf)),
            Some(Err(error)) => failed(error.to_string()),
            None => failed("it shows no certificate".to_owned()),
        },
    }
}
