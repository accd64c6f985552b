//! Versions that have to go together.

use super::Fault;
use super::found::Found;
use super::seen::Seen;
use everleaf_api::csr::Csr;
use everleaf_api::meta;
use everleaf_pki::pem;
use serde_json::Value;

/// From this release on, controllers take usages without key encipherment …
const SHORT_USAGES: u32 = 25;
/// … and from this one on, kubelets ask so.
const ASKED_SHORT: u32 = 27;
/// From this release of Kubernetes on, requests may have ML-DSA keys. Everleaf takes them in any.
const ML_DSA: u32 = 38;
/// A kubelet may be so many minor versions older than the API server.
const KUBELET_BEHIND_MAX: u32 = 3;

/// DER of the object identifiers 2.16.840.1.101.3.4.3.17 to .19, without the last arc (FIPS 204).
const ML_DSA_OID: [u8; 10] = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03];

pub(super) fn look(seen: &Seen, found: &mut Found) -> String {
    let cluster = &seen.cluster;
    if cluster.requests.is_absent() {
        let line = cluster.version.read().cloned().unwrap_or_default();
        found.add(Fault::VersionsNoApi, line, &[]);
    }
    found.read("the API server's version", &cluster.version);
    let Some(server) = cluster.minor() else {
        return String::new();
    };
    let managers = cluster.managers();
    for manager in &managers {
        let Some(minor) = manager.minor() else {
            continue;
        };
        if minor > server || minor + 1 < server {
            let line = format!("pod {}: 1.{minor}, the API server 1.{server}", manager.name);
            found.add(Fault::VersionsManager, line, &[("pod", manager.name)]);
        }
    }
    let oldest = managers.iter().filter_map(|manager| manager.minor()).min();
    let oldest = oldest.map_or(server, |minor| minor.min(server));
    for node in found.read("nodes", &cluster.nodes).into_iter().flatten() {
        kubelet(node, server, oldest, found);
    }
    if server < ML_DSA && !cluster.is_everleaf() {
        for object in cluster.requests.read().into_iter().flatten() {
            let csr = Csr(object);
            if !csr.is_issued() && has_ml_dsa_key(csr) {
                let line = format!(
                    "csr/{} by {}; the API server is 1.{server}",
                    csr.name(),
                    csr.username()
                );
                found.add(Fault::VersionsMlDsa, line, &[("csr", csr.name())]);
            }
        }
    }
    format!("the API server is 1.{server}")
}

fn kubelet(node: &Value, server: u32, oldest: u32, found: &mut Found) {
    let version = node["status"]["nodeInfo"]["kubeletVersion"]
        .as_str()
        .unwrap_or_default();
    let minor = version
        .strip_prefix("v1.")
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let Some(minor) = minor.and_then(|digits| digits.parse::<u32>().ok()) else {
        return;
    };
    let name = meta::name(node);
    let line = format!("node {name}: {version}, the API server 1.{server}");
    let names = [("node", name)];
    if minor >= ASKED_SHORT && oldest < SHORT_USAGES {
        let line = format!("node {name}: {version}, the control plane 1.{oldest}");
        found.add(Fault::VersionsUsages, line, &names);
    } else if minor > server {
        found.add(Fault::VersionsKubeletNewer, line, &names);
    } else if minor + KUBELET_BEHIND_MAX < server {
        found.add(Fault::VersionsKubeletOld, line, &names);
    }
}

/// Whether the request can be read or not: its algorithm's identifier stands in it as it is.
fn has_ml_dsa_key(csr: Csr<'_>) -> bool {
    let text = csr.request();
    let der = pem::blocks(&text)
        .next()
        .map(|block| block.der)
        .unwrap_or_default();
    let mut windows = der.windows(ML_DSA_OID.len() + 1);
    windows.any(|bytes| bytes.starts_with(&ML_DSA_OID) && (17..=19).contains(&bytes[10]))
}
