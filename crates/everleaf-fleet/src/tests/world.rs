//! A fleet on paper: nodes, requests and certificates, each said in one call.

use crate::certificate::Certificate;
use crate::facts::{Facts, Probe};
use crate::fleet::Fleet;
use crate::forecast::Forecast;
use crate::holding::{Holding, Kind};
use crate::outlook::Code;
use everleaf_api::csr;
use everleaf_api::revocation::Revocations;
use everleaf_controllers::issuance::Entry;
use everleaf_controllers::why::{Evidence, Known};
use everleaf_pki::{Chain, Issuer, Leaf, PrivateKey, SignerName, Subject, Template, Usage};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) const fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// What a log tells of a certificate.
pub(crate) fn entry(common_name: &str, start: Timestamp, end: Timestamp) -> Entry {
    let digest = format!("{common_name} {start} {end}");
    let mut seed = 0xcbf2_9ce4_8422_2325_u64;
    let digits: String = (0..4_u64)
        .map(|round| {
            for byte in digest.bytes() {
                seed = (seed ^ u64::from(byte) ^ round).wrapping_mul(0x0100_0000_01b3);
            }
            format!("{seed:016x}")
        })
        .collect();
    Entry {
        signer: SignerName::KUBE_APISERVER_CLIENT_KUBELET.to_owned(),
        cn: common_name.to_owned(),
        serial: digits[..12].to_uppercase(),
        cert_sha256: digits,
        not_before: start.to_string(),
        not_after: end.to_string(),
        csr: "csr-logged".to_owned(),
        ..Entry::default()
    }
}

pub(crate) fn certificate(common_name: &str, start: Timestamp, end: Timestamp) -> Certificate {
    Certificate::logged(&entry(common_name, start, end)).unwrap()
}

pub(crate) struct World {
    pub(crate) facts: Facts,
    issuer: Issuer,
    serial: u64,
}

impl World {
    /// It is noon of the first of July 2030; the authority lasts until 2060.
    pub(crate) fn new() -> Self {
        Self::with_authority_until("2060-01-01T00:00:00Z")
    }

    pub(crate) fn with_authority_until(end: &str) -> Self {
        // Authorities of other years are other ones.
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&end.as_bytes()[..4]);
        let key = PrivateKey::from_ed25519_seed(&seed).unwrap();
        let start = at("2025-01-01T00:00:00Z");
        let issuer = Issuer::self_signed("fleet-ca", key, [1; 16], start, at(end)).unwrap();
        let pem = Chain::from(issuer.certificate().clone()).to_pem();
        let now = at("2030-07-01T12:00:00Z");
        let evidence = Evidence {
            now,
            local: now,
            version: Known::Read("v1.37.0-everleaf.0.1".to_owned()),
            requests: Known::Read(Vec::new()),
            nodes: Known::Read(Vec::new()),
            leases: Known::Read(Vec::new()),
            revocations: Known::Absent,
            client_ca: Known::Read(pem),
            ..Evidence::default()
        };
        Self {
            facts: Facts {
                evidence,
                log: Known::Absent,
                ..Facts::default()
            },
            issuer,
            serial: 0,
        }
    }

    /// From now on another authority signs, and is the only one that is trusted.
    pub(crate) fn replace_authority(&mut self, end: &str) {
        let other = Self::with_authority_until(end);
        self.issuer = other.issuer;
        self.facts.evidence.client_ca = other.facts.evidence.client_ca;
    }

    /// Key identifier of the authority that signs.
    pub(crate) fn key_id(&self) -> String {
        let id = self.issuer.certificate().subject_key_id().unwrap();
        crate::certificate::hex(id)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.facts.evidence.now
    }

    /// A Node whose kubelet says this of `Ready`, since a day.
    pub(crate) fn node(&mut self, name: &str, ready: &str) {
        let since = (self.now() - days(1)).to_string();
        let node = json!({
            "metadata": {"name": name},
            "status": {
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.37.1"},
            },
        });
        list(&mut self.facts.evidence.nodes).push(node);
    }

    pub(crate) fn leaf(&mut self, common_name: &str, start: Timestamp, end: Timestamp) -> Leaf {
        self.serial += 1;
        let mut bytes = [3; 32];
        bytes[..8].copy_from_slice(&self.serial.to_be_bytes());
        let key = PrivateKey::from_ed25519_seed(&bytes).unwrap();
        let template = Template {
            subject: Subject {
                common_name: common_name.to_owned(),
                organizations: vec!["system:nodes".to_owned()],
            },
            ..Template::default()
        };
        let mut serial = [0x40; 16];
        serial[8..].copy_from_slice(&self.serial.to_be_bytes());
        let usages = [Usage::DigitalSignature, Usage::ClientAuth];
        let issued =
            self.issuer
                .issue_own(&template, key.public_key(), &usages, serial, start, end);
        issued.unwrap().leaf().clone()
    }

    /// A request of this node, filed at `filed`.
    pub(crate) fn request(&mut self, name: &str, node: &str, kind: Kind, filed: Timestamp) {
        let signer = match kind {
            Kind::Client => SignerName::KUBE_APISERVER_CLIENT_KUBELET,
            Kind::Serving => SignerName::KUBELET_SERVING,
        };
        let key = PrivateKey::from_ed25519_seed(&[9; 32]).unwrap();
        let template = Template {
            subject: Subject::node(node),
            ..Template::default()
        };
        let pem = template.to_request_pem(&key).unwrap();
        let usages = ["digital signature", "client auth"];
        let mut object = csr::build(name, "", &pem, signer, &usages, None);
        object["metadata"]["creationTimestamp"] = filed.to_string().into();
        object["spec"]["username"] = format!("system:node:{node}").into();
        list(&mut self.facts.evidence.requests).push(object);
    }

    /// The last request, otherwise.
    pub(crate) fn last(&mut self) -> &mut Value {
        list(&mut self.facts.evidence.requests).last_mut().unwrap()
    }

    /// A certificate of this node that was issued `ago` and lasts `life`.
    pub(crate) fn issued(
        &mut self,
        node: &str,
        kind: Kind,
        ago: SignedDuration,
        life: SignedDuration,
    ) {
        let start = self.now() - ago;
        let leaf = self.leaf(&format!("system:node:{node}"), start, start + life);
        let name = format!("csr-{node}-{}-{}", kind.as_str(), self.serial);
        self.request(&name, node, kind, start);
        let pem = Chain::from(leaf).to_pem();
        csr::push_condition(self.last(), csr::APPROVED, "AutoApproved", "", None);
        csr::set_certificate(self.last(), &pem);
    }

    pub(crate) fn logged(&mut self, node: &str, start: Timestamp, end: Timestamp) {
        let mut book = self.facts.log.read().cloned().unwrap_or_default();
        book.note(&entry(&format!("system:node:{node}"), start, end));
        self.facts.log = Known::Read(book);
    }

    pub(crate) fn log(&mut self, entry: &Entry) {
        let mut book = self.facts.log.read().cloned().unwrap_or_default();
        book.note(entry);
        self.facts.log = Known::Read(book);
    }

    pub(crate) fn revoke(&mut self, data: &Value) {
        let map = json!({ "data": data });
        self.facts.evidence.revocations = Known::Read(Revocations::of_config_map(&map));
    }

    pub(crate) fn probe(&mut self, node: &str, probe: Probe) {
        self.facts.probes.insert(node.to_owned(), probe);
    }

    pub(crate) fn fleet(&self) -> Fleet {
        Fleet::of(&self.facts)
    }

    pub(crate) fn forecast(&self, days: usize) -> Forecast {
        Forecast::of(&self.fleet(), days)
    }
}

pub(crate) fn list(known: &mut Known<Vec<Value>>) -> &mut Vec<Value> {
    match known {
        Known::Read(list) => list,
        _ => panic!("not read"),
    }
}

/// One certificate of one node.
pub(crate) fn holding(fleet: &Fleet, node: &str, kind: Kind) -> Holding {
    let found = fleet.nodes.iter().find(|one| one.name == node);
    found.unwrap().holding(kind).clone()
}

/// Names of the reasons.
pub(crate) fn codes(holding: &Holding) -> Vec<Code> {
    let reasons = holding.outlook.reasons.iter();
    reasons.map(|reason| reason.code).collect()
}
