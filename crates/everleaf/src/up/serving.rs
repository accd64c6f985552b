//! The approval of serving certificates in `up`: what its controllers may, and what they know.

use super::address::{self, Addresses};
use super::grants::{self, Present};
use anyhow::Result;
use everleaf_apiserver::handler::Server;
use everleaf_controllers::ServingConfig;
use everleaf_controllers::serving::{Claim, Origin};
use jiff::Timestamp;
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;

/// Name of the ClusterRole and of its binding.
const ROLE: &str = "everleaf:kubelet-serving-approver";

/// Lets the controllers' service account approve serving requests. An operator's change stays.
pub(super) async fn grant(server: &Server, now: Timestamp) -> Result<()> {
    let read = ["get", "list", "watch"];
    let rules = json!([
        {
            "apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
            "resourceNames": ["kubernetes.io/kubelet-serving"], "verbs": ["approve"],
        },
        {"apiGroups": [""], "resources": ["nodes", "services", "endpoints"], "verbs": read},
    ]);
    let account = "certificate-controller";
    grants::grant(server, (ROLE, rules), account, Present::Kept, now).await
}

/// The server is in this process, and so is what it knows of connections.
pub(super) fn approval(
    given: ServingConfig,
    server: &Arc<Server>,
    addresses: &Addresses,
) -> ServingConfig {
    let names = addresses.dns_names.iter().cloned().map(Claim::Name);
    let ips = addresses.ip_addresses.iter().copied().map(Claim::Address);
    let api_server = names.chain(ips).collect();
    let server = Arc::clone(server);
    let listens_on = addresses.listens_on;
    let host_name = addresses.host_name.clone();
    ServingConfig {
        origins: Some(Arc::new(move |csr| {
            let from = server.origin_of(csr)?;
            let own = [address::primary(), address::primary_v6()];
            let mut origin = origin(from, listens_on, own);
            origin.host_name = origin.is_server_host.then(|| host_name.clone());
            Some(origin)
        })),
        api_server,
        ..given
    }
}

/// Which machine a connection comes from: this one, if it came over the loopback interface or from
/// one of its own addresses.
fn origin(from: IpAddr, listens_on: IpAddr, primary: [Option<IpAddr>; 2]) -> Origin {
    let mut own: Vec<IpAddr> = primary.into_iter().flatten().collect();
    if !listens_on.is_unspecified() && !own.contains(&listens_on) {
        own.push(listens_on);
    }
    let is_server_host = from.is_loopback() || own.contains(&from);
    Origin {
        addresses: if is_server_host { own } else { vec![from] },
        is_server_host,
        host_name: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_tells_the_machine() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (own, other) = (ip("10.0.0.5"), ip("10.0.0.9"));
        let here = |from, listens_on| origin(from, listens_on, [Some(own), None]);
        let all = ip("0.0.0.0");
        assert_eq!(here(ip("127.0.0.1"), all).addresses, [own]);
        assert!(here(ip("::1"), all).is_server_host);
        assert!(here(own, all).is_server_host);
        let remote = here(other, all);
        assert_eq!(
            (remote.addresses, remote.is_server_host),
            (vec![other], false)
        );
        let listening = here(ip("127.0.0.1"), ip("10.1.1.1"));
        assert_eq!(listening.addresses, [own, ip("10.1.1.1")]);
        assert!(origin(other, other, [None, None]).is_server_host);
    }
}
