//! A healthy cluster, and ways to spoil it.

use crate::builtin::BuiltinSigner;
use crate::fixture::{Fixture, authority, kubelet_client, kubelet_serving, now};
use crate::index::OpenRequest;
use crate::signer::{self, Action, Issuance};
use crate::why::{Diagnosis, Evidence, Known, diagnose_node, diagnose_request, questions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_pki::{Chain, Issuer};
use jiff::{SignedDuration, ToSpan};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) struct World {
    pub(super) evidence: Evidence,
    pub(super) ca: Issuer,
    /// The name to ask about, when it is a node.
    node: Option<String>,
    keeps_answers: bool,
}

pub(super) fn day(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

impl World {
    pub(super) fn client(node: &str) -> Self {
        Self::with(kubelet_client(node))
    }

    pub(super) fn serving(node: &str) -> Self {
        Self::with(kubelet_serving(node).ip("10.0.0.1"))
    }

    pub(super) fn with(request: Fixture) -> Self {
        let object = request.object();
        let mut world = Self {
            evidence: healthy(),
            ca: authority(day(4000)),
            node: None,
            keeps_answers: false,
        };
        world.trust();
        world.put(object);
        world
    }

    fn trust(&mut self) {
        let pem = Chain::from(self.ca.certificate().clone()).to_pem();
        self.evidence.client_ca = Known::Read(pem);
    }

    /// Another CA signs, and is trusted.
    pub(super) fn with_ca(mut self, ca: Issuer) -> Self {
        self.ca = ca;
        self.trust();
        self
    }

    /// The request as it is asked about, and as it stands in the list.
    fn put(&mut self, object: Value) {
        self.evidence.requests = Known::Read(vec![object.clone()]);
        self.evidence.request = Known::Read(object);
    }

    pub(super) fn object(&self) -> Value {
        self.evidence.request.read().unwrap().clone()
    }

    pub(super) fn change(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let mut object = self.object();
        change(&mut object);
        self.put(object);
        self
    }

    pub(super) fn condition(self, kind: &str, reason: &str, message: &str) -> Self {
        self.change(|object| {
            let condition = json!({
                "type": kind, "status": "True", "reason": reason, "message": message,
                "lastUpdateTime": "2026-11-20T11:59:01Z",
            });
            match object["status"]["conditions"].as_array_mut() {
                Some(list) => list.push(condition),
                None => object["status"]["conditions"] = json!([condition]),
            }
        })
    }

    pub(super) fn approved(self) -> Self {
        self.condition("Approved", "ByTest", "by a person")
    }

    /// Signed by the CA, as the signer does it.
    pub(super) fn issued(self) -> Self {
        self.issued_for(Duration::from_secs(86_400))
    }

    pub(super) fn issued_for(self, duration: Duration) -> Self {
        self.issued_at(duration, SignedDuration::ZERO)
    }

    /// Signed by a signer whose clock is off by `offset`.
    pub(super) fn issued_at(self, duration: Duration, offset: SignedDuration) -> Self {
        let open = OpenRequest::new(self.object());
        let signer = BuiltinSigner::parse(open.csr().signer_name()).unwrap();
        let Action::Sign(approved) = signer::decide(&open, signer) else {
            panic!("not signed: {}", open.object());
        };
        let issuance = signer::issue(&self.ca, &approved, duration, [9; 16], now() + offset);
        let Issuance::Issued(issued) = issuance else {
            panic!("not issued");
        };
        let pem = issued.chain.to_pem();
        self.change(|object| object["status"]["certificate"] = json!(STANDARD.encode(pem)))
    }

    pub(super) fn young(mut self) -> Self {
        self.evidence.now = now() - 50.seconds();
        self.evidence.local = self.evidence.now;
        self
    }

    pub(super) fn of_node(mut self, name: &str) -> Self {
        self.node = Some(name.to_owned());
        self
    }

    pub(super) fn edit(mut self, edit: impl FnOnce(&mut Evidence)) -> Self {
        edit(&mut self.evidence);
        self
    }

    pub(super) fn on_everleaf(self) -> Self {
        self.edit(|evidence| {
            evidence.version = Known::Read("v1.37.0-everleaf.0.1".to_owned());
        })
    }

    /// Authorization says no to whatever contains this.
    pub(super) fn refusing(mut self, part: &str) -> Self {
        let object = self.object();
        for question in questions(&self.evidence, &object) {
            let body = question.body(&object).to_string();
            let allowed = !body.contains(part);
            self.evidence.answers.insert(question, Known::Read(allowed));
        }
        self.keeps_answers = true;
        self
    }

    pub(super) fn event(self, reason: &str, message: &str) -> Self {
        let name = self.object()["metadata"]["name"].clone();
        self.edit(|evidence| {
            evidence.events = Known::Read(vec![json!({
                "reason": reason, "message": message, "lastTimestamp": "2026-11-20T11:59:30Z",
                "involvedObject": { "kind": "CertificateSigningRequest", "name": name },
            })]);
        })
    }

    /// The flags of the kube-controller-manager.
    pub(crate) fn manager(self, flags: &[&str]) -> Self {
        self.edit(|evidence| evidence.pods = Known::Read(vec![manager("v1.37.1", flags)]))
    }

    pub(crate) fn node_object(self, change: impl FnOnce(&mut Value)) -> Self {
        self.edit(|evidence| {
            let Known::Read(nodes) = &mut evidence.nodes else {
                panic!("no nodes");
            };
            change(&mut nodes[0]);
        })
    }

    pub(super) fn diagnose(mut self) -> Diagnosis {
        if let (Known::Read(object), false) = (self.evidence.request.clone(), self.keeps_answers) {
            for question in questions(&self.evidence, &object) {
                self.evidence.answers.insert(question, Known::Read(true));
            }
        }
        match &self.node {
            Some(node) => diagnose_node(node, &self.evidence),
            None => diagnose_request("csr-abcde", &self.evidence),
        }
    }
}

pub(crate) fn manager(version: &str, flags: &[&str]) -> Value {
    let mut command = vec!["kube-controller-manager"];
    command.extend(flags);
    json!({
        "metadata": { "name": "kube-controller-manager-cp1", "namespace": "kube-system" },
        "spec": { "containers": [{
            "name": "kube-controller-manager",
            "image": format!("registry.k8s.io/kube-controller-manager:{version}"),
            "command": command,
        }] },
    })
}

pub(crate) fn lease(name: &str, renewed: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "kube-system" },
        "spec": {
            "holderIdentity": "cp1_11111111-2222-4333-8444-555555555555",
            "leaseDurationSeconds": 15,
            "renewTime": renewed,
        },
    })
}

pub(crate) fn node(name: &str, address: &str) -> Value {
    json!({
        "metadata": { "name": name, "uid": name, "creationTimestamp": "2026-11-01T00:00:00Z" },
        "status": {
            "addresses": [
                { "type": "Hostname", "address": name },
                { "type": "InternalIP", "address": address },
            ],
            "conditions": [{ "type": "Ready", "status": "True", "message": "kubelet is posting" }],
            "nodeInfo": { "kubeletVersion": "v1.37.1" },
        },
    })
}

pub(crate) fn healthy() -> Evidence {
    const ROLE: &str = "system:certificates.k8s.io:certificatesigningrequests:";
    let renewed = "2026-11-20T11:59:55.000000Z";
    let role = |name: &str| format!("{ROLE}{name}");
    Evidence {
        now: now(),
        local: now(),
        version: Known::Read("v1.37.1".to_owned()),
        request: Known::Absent,
        requests: Known::Read(Vec::new()),
        nodes: Known::Read(vec![node("n1", "10.0.0.1")]),
        services: Known::Read(vec![json!({
            "metadata": { "name": "kubernetes", "namespace": "default" },
            "spec": { "clusterIP": "10.96.0.1" },
        })]),
        endpoints: Known::Read(Vec::new()),
        revocations: Known::Absent,
        events: Known::Read(Vec::new()),
        leases: Known::Read(vec![
            lease("kube-controller-manager", renewed),
            lease("everleaf-kubelet-serving-approver", renewed),
        ]),
        node_lease: Known::Absent,
        pods: Known::Read(vec![manager(
            "v1.37.1",
            &[
                "--cluster-signing-cert-file=/ca.crt",
                "--controllers=*,bootstrapsigner",
            ],
        )]),
        bindings: Known::Read(Vec::new()),
        roles: Known::Read(vec![role("nodeclient"), role("selfnodeclient")]),
        tokens: Known::Read([("abcdef".to_owned(), None)].into()),
        client_ca: Known::Absent,
        kubelet: Known::Read((200, "ok".to_owned())),
        ..Evidence::default()
    }
}
