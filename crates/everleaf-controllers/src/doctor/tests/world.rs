//! A healthy cluster on a healthy node, and ways to spoil it.

use crate::builtin::BuiltinSigner;
use crate::doctor::{
    Answer, Audience, Bundle, Directory, Host, KubeconfigFile, OnDisk, Report, Right, Section,
    Seen, Server, TokenFacts, examine,
};
use crate::fixture::{Fixture, authority, kubelet_client, kubelet_serving, now};
use crate::index::OpenRequest;
use crate::signer::{self, Action, Issuance};
use crate::why::Known;
use crate::why::tests::world::healthy;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_pki::{Chain, Issuer, KeyAlgorithm, PrivateKey, Template, Usage};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

pub(super) const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";
pub(super) const DAY: Duration = Duration::from_secs(86_400);

pub(super) struct World {
    pub(super) seen: Seen,
    pub(super) ca: Issuer,
}

pub(super) fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

pub(super) fn pem_of(ca: &Issuer) -> String {
    Chain::from(ca.certificate().clone()).to_pem()
}

/// Another CA, with a name of its own.
pub(super) fn another(name: &str, begin: Timestamp, end: Timestamp) -> Issuer {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    Issuer::self_signed(name, key, [7; 16], begin, end).unwrap()
}

pub(super) fn stranger() -> Issuer {
    another("stranger", now() - hours(24), now() + hours(24 * 4000))
}

/// A certificate for the API server, or whoever else has this name.
pub(super) fn server_by(ca: &Issuer, name: &str, begin: Timestamp, end: Timestamp) -> Chain {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let template = Template {
        dns_names: vec![name.to_owned()],
        ..Template::default()
    };
    let (serial, usages) = ([8; 16], [Usage::ServerAuth]);
    ca.issue_own(&template, key.public_key(), &usages, serial, begin, end)
        .unwrap()
}

/// A node's client certificate.
pub(super) fn client_by(ca: &Issuer, begin: Timestamp, end: Timestamp) -> Chain {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let template = Template {
        subject: crate::fixture::subject("system:node:n1", &["system:nodes"]),
        ..Template::default()
    };
    let (serial, usages) = ([6; 16], [Usage::ClientAuth]);
    ca.issue_own(&template, key.public_key(), &usages, serial, begin, end)
        .unwrap()
}

pub(super) fn ders(chain: &Chain) -> Known<Vec<Vec<u8>>> {
    Known::Read(chain.ders().map(<[u8]>::to_vec).collect())
}

/// This request, approved and issued by `ca`, by a clock that is off by `offset`.
pub(super) fn issued(
    ca: &Issuer,
    request: Fixture,
    life: Duration,
    offset: SignedDuration,
) -> Value {
    let mut object = approved(request.object());
    let open = OpenRequest::new(object.clone());
    let signer = BuiltinSigner::parse(open.csr().signer_name()).unwrap();
    let Action::Sign(ready) = signer::decide(&open, signer) else {
        panic!("not signed: {object}");
    };
    let Issuance::Issued(issued) = signer::issue(ca, &ready, life, [9; 16], now() + offset) else {
        panic!("not issued");
    };
    object["status"]["certificate"] = json!(STANDARD.encode(issued.chain.to_pem()));
    object
}

pub(super) fn conditioned(mut object: Value, kind: &str) -> Value {
    object["status"]["conditions"] = json!([{
        "type": kind, "status": "True", "reason": "ByTest", "message": "by a person",
        "lastUpdateTime": "2026-11-20T11:59:01Z",
    }]);
    object
}

pub(super) fn approved(object: Value) -> Value {
    conditioned(object, "Approved")
}

/// Filed, and decided, at this instant.
pub(super) fn at(mut object: Value, time: &str) -> Value {
    object["metadata"]["creationTimestamp"] = json!(time);
    if object["status"]["conditions"][0].is_object() {
        object["status"]["conditions"][0]["lastUpdateTime"] = json!(time);
    }
    object
}

pub(super) fn named(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
}

pub(super) fn token(id: &str, end: Option<Timestamp>) -> TokenFacts {
    let mut data = json!({
        "token-id": STANDARD.encode(id), "token-secret": STANDARD.encode("0123456789abcdef"),
        "usage-bootstrap-authentication": STANDARD.encode("true"),
        "usage-bootstrap-signing": STANDARD.encode("true"),
        "auth-extra-groups": STANDARD.encode(GROUP),
    });
    if let Some(end) = end {
        data["expiration"] = json!(STANDARD.encode(end.to_string()));
    }
    TokenFacts::of(&json!({
        "metadata": { "name": format!("bootstrap-token-{id}"), "namespace": "kube-system" },
        "type": "bootstrap.kubernetes.io/token", "data": data,
    }))
    .unwrap()
}

impl World {
    pub(super) fn healthy() -> Self {
        let ca = authority(hours(24 * 4000));
        let server = server_by(&ca, "api.test", now() - hours(24), now() + hours(24 * 365));
        let pem = pem_of(&ca);
        let bundle = |origin: &str, audience| Bundle {
            origin: origin.to_owned(),
            audience,
            pem: Known::Read(pem.clone()),
        };
        let mut cluster = healthy();
        cluster.client_ca = Known::Read(pem.clone());
        cluster.requests = Known::Read(vec![
            named(
                issued(&ca, kubelet_client("n1"), DAY, SignedDuration::ZERO),
                "client",
            ),
            named(
                issued(
                    &ca,
                    kubelet_serving("n1").ip("10.0.0.1"),
                    DAY,
                    SignedDuration::ZERO,
                ),
                "serving",
            ),
        ]);
        let rights = Right::all(&[vec![GROUP.to_owned()]]);
        let answer = |right: &Right| !matches!(right, Right::AnybodyJoins | Right::EveryPodJoins);
        let seen = Seen {
            cluster,
            server: Server {
                url: "https://api.test:6443".to_owned(),
                authority: "api.test:6443".to_owned(),
                name: "api.test".to_owned(),
                answer: Answer::Yes,
                shown: ders(&server),
                readiness: Known::Read((200, "ok".to_owned())),
                trusts_anybody: false,
                credential: Some(
                    client_by(&ca, now() - hours(1), now() + hours(240))
                        .leaf()
                        .clone(),
                ),
                kubeconfig: "/etc/admin.conf".to_owned(),
            },
            bundles: vec![
                bundle("admin.conf", Audience::Kubeconfig),
                bundle("extension-apiserver-authentication", Audience::Clients),
                bundle("kube-root-ca.crt", Audience::Pods),
                bundle("cluster-info", Audience::Joining),
            ],
            without_root_ca: Known::Read(Vec::new()),
            rights: rights
                .into_iter()
                .map(|right| (right.clone(), Known::Read(answer(&right))))
                .collect(),
            node_leases: Known::Read(Vec::new()),
            tokens: Known::Read(vec![token("abcdef", Some(now() + hours(20)))]),
            cluster_info: Known::Read(json!({ "data": { "jws-kubeconfig-abcdef": "x" } })),
            revocations: Known::Absent,
            revocation_list: Known::Absent,
            host: host(&ca),
        };
        Self { seen, ca }
    }

    pub(super) fn edit(mut self, edit: impl FnOnce(&mut Seen, &Issuer)) -> Self {
        edit(&mut self.seen, &self.ca);
        self
    }

    /// One more request.
    pub(super) fn filed(self, object: Value) -> Self {
        self.edit(|seen, _| {
            let Known::Read(requests) = &mut seen.cluster.requests else {
                panic!("no requests");
            };
            requests.push(object);
        })
    }

    /// One more bundle that a person has named.
    pub(super) fn with_bundle(self, pem: &str) -> Self {
        self.edit(|seen, _| {
            seen.bundles.push(Bundle {
                origin: "other.crt".to_owned(),
                audience: Audience::Named,
                pem: Known::Read(pem.to_owned()),
            });
        })
    }

    pub(super) fn examine(&self) -> Report {
        examine(&self.seen, Section::ALL)
    }
}

/// A node that has its certificate for three hours.
fn host(ca: &Issuer) -> Host {
    let cert_dir = PathBuf::from("/var/lib/kubelet/pki");
    let on_disk = |prefix: &str, is_needed, chain: Chain| OnDisk {
        prefix: prefix.to_owned(),
        is_needed,
        path: cert_dir.join(format!("{prefix}-current.pem")),
        mode: 0o100_600,
        chain: Known::Read(Ok(chain)),
        key: Some(Ok(())),
        renews_at: Some(now() + hours(100)),
        others: 2,
        pending: None,
    };
    let (begin, end) = (now() - hours(3), now() + hours(200));
    let client = on_disk("kubelet-client", true, client_by(ca, begin, end));
    let current = client.path.clone();
    Host {
        node: "n1".to_owned(),
        directory: Known::Read(Directory {
            mode: 0o40_755,
            is_volatile: Some(false),
        }),
        credentials: vec![
            client,
            on_disk("kubelet-server", false, server_by(ca, "n1", begin, end)),
        ],
        kubeconfig: KubeconfigFile {
            path: PathBuf::from("/etc/kubernetes/kubelet.conf"),
            content: Known::Read(Ok(())),
            mode: 0o100_600,
            holds_secret: false,
            names_no_ca: false,
            client_certificate: Some(current),
            holds_certificate: false,
        },
        cert_dir,
    }
}
