//! What is seen of a cluster: the handshakes of its API servers, and the objects that name CAs.
//! What follows is [`apart`](everleaf_controllers::roll::apart)'s.

use super::serving::ServerNames;
use crate::calls::Calls;
use anyhow::Result;
use everleaf_agent::Kubeconfig;
use everleaf_agent::join::{Announced, CaPin};
use everleaf_agent::kubeconfig::Trust;
use everleaf_controllers::greeting_of;
use everleaf_controllers::roll::apart::{Seen, Server};
use everleaf_pki::{Chain, Leaf};
use http::Method;
use serde_json::Value;
use std::collections::BTreeSet;

/// Where an API server writes whose client certificates it takes.
pub(super) const CLIENTS: (&str, &str) = ("kube-system", "extension-apiserver-authentication");
pub(super) const CLIENTS_KEY: &str = "client-ca-file";
const PODS: (&str, &str) = ("kube-system", "kube-root-ca.crt");
pub(super) const NEW_NODES: (&str, &str) = ("kube-public", "cluster-info");

/// All that is seen, and the names of the API servers.
pub(super) async fn look(
    calls: &Calls,
    kubeconfig: &Kubeconfig,
    servers: &[(String, u16)],
    known: &[Leaf],
) -> Result<(Seen, ServerNames)> {
    let mut names = ServerNames::default();
    let mut seen = Seen::default();
    for (host, port) in servers {
        let server = server(host, *port, known, &mut names).await;
        seen.servers.push(server);
    }
    let named = |object: Option<Value>, key: &str| {
        let object = object?;
        object["data"][key].as_str().map(pins)
    };
    seen.clients = named(read(calls, CLIENTS).await?, CLIENTS_KEY);
    seen.pods = named(read(calls, PODS).await?, "ca.crt");
    let new_nodes = read(calls, NEW_NODES).await?;
    let announced = new_nodes.and_then(|object| Announced::read_trusted(&object).ok());
    seen.new_nodes = announced.map(|announced| pins(&announced.ca_pem));
    if let Trust::Bundle(source) = &kubeconfig.cluster.trust {
        seen.kubeconfig = Some(pins(source.read()?.expose()));
    }
    Ok((seen, names))
}

/// A ConfigMap.
pub(super) async fn read(calls: &Calls, (namespace, name): (&str, &str)) -> Result<Option<Value>> {
    let what = format!("read the ConfigMap {namespace}/{name}");
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
    calls.object(&what, Method::GET, &path, None).await
}

/// Pins of the certificates of a PEM text; what cannot be read names nobody.
fn pins(pem: &str) -> BTreeSet<String> {
    let all = certificates(pem);
    all.iter().map(|ca| CaPin::of(ca).to_string()).collect()
}

pub(super) fn certificates(pem: &str) -> Vec<Leaf> {
    let chain = Chain::from_pem(pem.as_bytes());
    chain.map_or_else(|_| Vec::new(), |chain| chain.certificates().to_vec())
}

/// What an API server shows.
pub(super) async fn server(
    host: &str,
    port: u16,
    known: &[Leaf],
    names: &mut ServerNames,
) -> Server {
    let address = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let greeting = match greeting_of(host, port).await {
        Ok(greeting) => greeting,
        Err(error) => {
            return Server {
                address,
                trouble: Some(error.to_string()),
                ..Server::default()
            };
        }
    };
    let shown = greeting.certificates.iter();
    let shown: Vec<_> = shown.filter_map(|der| Leaf::from_der(der).ok()).collect();
    let signer = shown
        .first()
        .and_then(|leaf| known.iter().find(|ca| leaf.is_signed_by(ca)));
    names_of(&shown, names);
    let is_link = |link: &Leaf, to: &Leaf| {
        let mut others = known.iter().filter(|one| *one != to);
        others.any(|other| everleaf_pki::issuer::links(link, other, to))
    };
    let has_link = signer.is_some_and(|to| shown.iter().skip(1).any(|link| is_link(link, to)));
    let is_named = |ca: &&Leaf| {
        let mut all = greeting.authorities.iter();
        all.any(|name| name == ca.subject_der())
    };
    let accepted = known.iter().filter(is_named);
    let accepted = accepted.map(|ca| CaPin::of(ca).to_string()).collect();
    Server {
        address,
        trouble: None,
        accepts: (!greeting.authorities.is_empty()).then_some(accepted),
        served_by: signer.map_or_else(String::new, |ca| CaPin::of(ca).to_string()),
        has_link,
    }
}

fn names_of(shown: &[Leaf], names: &mut ServerNames) {
    if let Some(leaf) = shown.first() {
        names.take(leaf);
    }
}
