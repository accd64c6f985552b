//! Keys and requests of all nodes, made before the clock starts: their cost is no part of what is
//! measured.

use crate::plan::{Plan, Prefix, Signer};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use everleaf_pki::{KeyAlgorithm, KeyError, PrivateKey, SignerName, Subject, Template};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// A request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    /// Name of the object.
    pub(crate) name: String,
    /// The object as JSON.
    pub(crate) body: Bytes,
    /// The key, where the node goes on with its certificate.
    pub(crate) key: Option<PrivateKey>,
}

/// What one node asks for, in this order.
#[derive(Debug)]
pub(crate) struct Requests {
    /// The client certificate that it needs before anything is measured.
    pub(crate) before: Option<Request>,
    /// Its first certificate.
    pub(crate) first: Request,
    /// Those that it asks for with the one it has.
    pub(crate) renewals: Vec<Request>,
}

/// Makes all of them on `threads` threads; `made` counts nodes that are done.
///
/// # Errors
/// When a key cannot be made.
pub(crate) fn prepare(
    plan: &Plan,
    threads: u32,
    made: &AtomicU64,
) -> Result<Vec<Requests>, KeyError> {
    let share = plan.nodes.div_ceil(threads.max(1)).max(1);
    let ranges: Vec<Range<u32>> = (0..plan.nodes)
        .step_by(share as usize)
        .map(|from| from..plan.nodes.min(from.saturating_add(share)))
        .collect();
    let part = |range: Range<u32>| {
        range
            .map(|number| {
                let requests = of_node(plan, number);
                made.fetch_add(1, Ordering::Relaxed);
                requests
            })
            .collect::<Result<Vec<Requests>, KeyError>>()
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = ranges
            .into_iter()
            .map(|range| scope.spawn(|| part(range)))
            .collect();
        let mut all = Vec::with_capacity(plan.nodes as usize);
        for part in parts {
            let part = part.join();
            all.extend(part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

/// The name of a node.
pub(crate) fn node_name(prefix: &Prefix, number: u32) -> String {
    format!("{prefix}-{number}")
}

fn of_node(plan: &Plan, number: u32) -> Result<Requests, KeyError> {
    let node = node_name(&plan.prefix, number);
    let is_serving = plan.signer == Signer::Serving;
    // Only the client certificate is shown to anybody.
    let goes_on = !is_serving && plan.renewals > 0;
    let request = |suffix: String, signer: Signer, keeps_key: bool| {
        request(
            &node,
            &suffix,
            number,
            signer,
            plan.key_algorithm,
            keeps_key,
        )
    };
    let before = is_serving
        .then(|| request("-client".to_owned(), Signer::Client, true))
        .transpose()?;
    let renewals = (1..=plan.renewals)
        .map(|time| {
            request(
                format!("-r{time}"),
                plan.signer,
                goes_on && time < plan.renewals,
            )
        })
        .collect::<Result<_, _>>()?;
    Ok(Requests {
        before,
        first: request(String::new(), plan.signer, goes_on)?,
        renewals,
    })
}

fn request(
    node: &str,
    suffix: &str,
    number: u32,
    signer: Signer,
    algorithm: KeyAlgorithm,
    keeps_key: bool,
) -> Result<Request, KeyError> {
    let key = PrivateKey::generate(algorithm)?;
    let pem = template(node, number, signer).to_request_pem(&key)?;
    let name = format!("{node}{suffix}");
    // Nothing in it has to be escaped: names are DNS names, the rest is ours.
    let body = format!(
        r#"{{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{{"name":"{name}"}},"spec":{{"request":"{}","signerName":"{}","usages":[{}]}}}}"#,
        BASE64_STANDARD.encode(pem),
        signer_name(signer),
        usages(signer, algorithm),
    );
    Ok(Request {
        name,
        body: body.into(),
        key: keeps_key.then_some(key),
    })
}

/// What the certificate is to say; a serving certificate needs an address, which no two nodes
/// share.
fn template(node: &str, number: u32, signer: Signer) -> Template {
    let subject = Subject::node(node);
    match signer {
        Signer::Client => Template {
            subject,
            ..Template::default()
        },
        Signer::Serving => Template {
            subject,
            dns_names: vec![node.to_owned()],
            ip_addresses: vec![address(number)],
            ..Template::default()
        },
    }
}

/// An address of 10.0.0.0/8.
fn address(number: u32) -> IpAddr {
    let [_, a, b, c] = number.to_be_bytes();
    Ipv4Addr::new(10, a, b, c).into()
}

fn signer_name(signer: Signer) -> &'static str {
    match signer {
        Signer::Client => SignerName::KUBE_APISERVER_CLIENT_KUBELET,
        Signer::Serving => SignerName::KUBELET_SERVING,
    }
}

/// As a kubelet asks: keys that can encipher are to be allowed to
/// (`pkg/kubelet/certificate/kubelet.go`).
fn usages(signer: Signer, algorithm: KeyAlgorithm) -> &'static str {
    let is_rsa = matches!(algorithm, KeyAlgorithm::Rsa(_));
    match (signer, is_rsa) {
        (Signer::Client, false) => r#""digital signature","client auth""#,
        (Signer::Client, true) => r#""key encipherment","digital signature","client auth""#,
        (Signer::Serving, false) => r#""digital signature","server auth""#,
        (Signer::Serving, true) => r#""key encipherment","digital signature","server auth""#,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Arrival, Connections, Wait};
    use everleaf_pki::VerifiedRequest;
    use serde_json::Value;
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn plan(signer: Signer, renewals: u32) -> Plan {
        Plan {
            nodes: 7,
            arrival: Arrival::ClosedLoop { in_flight: 2 },
            connections: Connections::PerNode,
            wait: Wait::Watch,
            signer,
            renewals,
            key_algorithm: KeyAlgorithm::EcdsaP256,
            timeout: Duration::from_secs(1),
            prefix: Prefix::new("b").unwrap(),
            seed: 1,
            cleans_up: false,
        }
    }

    #[test]
    fn each_request_is_a_whole_one_with_a_name_and_a_key_of_its_own() {
        let made = AtomicU64::new(0);
        let all = prepare(&plan(Signer::Client, 2), 3, &made).unwrap();
        assert_eq!((all.len(), made.into_inner()), (7, 7));
        let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for (number, node) in all.iter().enumerate() {
            assert!(node.before.is_none() && node.first.key.is_some());
            assert!(node.renewals[0].key.is_some() && node.renewals[1].key.is_none());
            for request in std::iter::once(&node.first).chain(&node.renewals) {
                let object: Value = serde_json::from_slice(&request.body).unwrap();
                assert_eq!(object["metadata"]["name"], *request.name);
                let pem = object["spec"]["request"].as_str().unwrap();
                let pem = BASE64_STANDARD.decode(pem).unwrap();
                let verified = VerifiedRequest::from_pem(&pem).unwrap();
                let node = format!("system:node:b-{number}");
                assert_eq!(verified.subject().common_name, node);
                names.insert(request.name.clone());
                keys.insert(verified.public_key().spki_der().to_vec());
            }
        }
        assert_eq!((names.len(), keys.len()), (21, 21));
    }

    #[test]
    fn a_serving_certificate_has_names_and_is_asked_for_with_a_client_certificate() {
        let all = prepare(&plan(Signer::Serving, 1), 1, &AtomicU64::new(0)).unwrap();
        let node = &all[3];
        assert!(node.before.as_ref().unwrap().key.is_some());
        let object: Value = serde_json::from_slice(&node.first.body).unwrap();
        assert_eq!(
            object["spec"]["signerName"],
            "kubernetes.io/kubelet-serving"
        );
        let pem = object["spec"]["request"].as_str().unwrap();
        let pem = BASE64_STANDARD.decode(pem).unwrap();
        let verified = VerifiedRequest::from_pem(&pem).unwrap();
        assert_eq!(verified.dns_names(), ["b-3"]);
        assert_eq!(verified.ip_addresses(), [IpAddr::from([10, 0, 0, 3])]);
        assert!(node.first.key.is_none());
    }
}
