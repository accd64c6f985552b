//! What brings each fault about.

mod client;
mod decided;
mod nodes;
mod pending;
mod serving;

use super::world::{World, lease};
use crate::fixture::kubelet_client;
use crate::why::{Evidence, Fault, Known};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_pki::pem;
use serde_json::Value;

type Cases = Vec<(Fault, World)>;

/// Each fault with what brings it about.
pub(super) fn all() -> Cases {
    [
        pending::requests(),
        pending::controllers(),
        client::requests(),
        client::permissions(),
        serving::requests(),
        serving::nodes(),
        serving::policies(),
        serving::told(),
        decided::denied(),
        decided::signers(),
        decided::failed(),
        decided::issued(),
        nodes::machines(),
        nodes::kubelets(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A request whose signature is not its key's.
fn damaged() -> String {
    let object = kubelet_client("n1").object();
    let text = object["spec"]["request"].as_str().unwrap();
    let pem = STANDARD.decode(text).unwrap();
    let block = pem::blocks(&pem).next().unwrap();
    let mut der = block.der;
    let at = der.len() - 6;
    der[at] ^= 1;
    let body = STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}

fn leases(names: &[(&str, &str)]) -> Known<Vec<Value>> {
    Known::Read(
        names
            .iter()
            .map(|(name, renewed)| lease(name, renewed))
            .collect(),
    )
}

fn without_leases(evidence: &mut Evidence) {
    evidence.leases = leases(&[]);
}
