//! A small language for requests in tests: each case says how it differs from a good request.
//!
//! `kubelet_client("n1")` is a kubelet's client request as a kubelet files it, by the node itself;
//! every method changes one thing.

use crate::index::OpenRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey, SignerName, Subject, Template};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub(crate) struct Fixture {
    object: Value,
    template: Template,
    key: KeyAlgorithm,
    request: Option<String>,
}

pub(crate) fn kubelet_client(node: &str) -> Fixture {
    let user = format!("system:node:{node}");
    fixture(
        SignerName::KUBE_APISERVER_CLIENT_KUBELET,
        Template {
            subject: subject(&user, &["system:nodes"]),
            ..Template::default()
        },
        &["digital signature", "key encipherment", "client auth"],
        &user,
    )
}

pub(crate) fn kubelet_serving(node: &str) -> Fixture {
    let user = format!("system:node:{node}");
    let template = Template {
        subject: subject(&user, &["system:nodes"]),
        dns_names: vec![node.to_owned()],
        ..Template::default()
    };
    let usages = ["digital signature", "key encipherment", "server auth"];
    fixture(SignerName::KUBELET_SERVING, template, &usages, &user)
}

pub(crate) fn api_client(name: &str, group: &str) -> Fixture {
    fixture(
        SignerName::KUBE_APISERVER_CLIENT,
        Template {
            subject: subject(name, &[group]),
            ..Template::default()
        },
        &["digital signature", "key encipherment", "client auth"],
        "admin",
    )
}

pub(crate) fn subject(common_name: &str, organizations: &[&str]) -> Subject {
    Subject {
        common_name: common_name.to_owned(),
        organizations: organizations.iter().map(|one| (*one).to_owned()).collect(),
    }
}

fn fixture(signer: &str, template: Template, usages: &[&str], user: &str) -> Fixture {
    let object = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {
            "name": "csr-abcde",
            "uid": "11111111-2222-3333-4444-555555555555",
            "resourceVersion": "7",
            "creationTimestamp": "2026-11-20T11:59:00Z",
        },
        "spec": {
            "signerName": signer,
            "usages": usages,
            "username": user,
            "uid": "u-1",
            "groups": ["system:nodes", "system:authenticated"],
            "extra": { "example.com/key": ["a", "b"] },
        },
        "status": {},
    });
    Fixture {
        object,
        template,
        key: KeyAlgorithm::EcdsaP256,
        request: None,
    }
}

impl Fixture {
    pub(crate) fn by(mut self, username: &str) -> Self {
        self.object["spec"]["username"] = json!(username);
        self
    }

    pub(crate) fn for_signer(mut self, name: &str) -> Self {
        self.object["spec"]["signerName"] = json!(name);
        self
    }

    pub(crate) fn usages(mut self, usages: &[&str]) -> Self {
        self.object["spec"]["usages"] = json!(usages);
        self
    }

    pub(crate) fn common_name(mut self, name: &str) -> Self {
        self.template.subject.common_name = name.to_owned();
        self
    }

    pub(crate) fn organizations(mut self, names: &[&str]) -> Self {
        self.template.subject.organizations = names.iter().map(|one| (*one).to_owned()).collect();
        self
    }

    pub(crate) fn dns(mut self, name: &str) -> Self {
        self.template.dns_names.push(name.to_owned());
        self
    }

    pub(crate) fn ip(mut self, address: &str) -> Self {
        self.template.ip_addresses.push(address.parse().unwrap());
        self
    }

    pub(crate) fn key(mut self, algorithm: KeyAlgorithm) -> Self {
        self.key = algorithm;
        self
    }

    pub(crate) fn groups(mut self, groups: &[&str]) -> Self {
        self.object["spec"]["groups"] = json!(groups);
        self
    }

    pub(crate) fn without_names(mut self) -> Self {
        self.template.dns_names.clear();
        self
    }

    pub(crate) fn without_all_names(mut self) -> Self {
        self.template.ip_addresses.clear();
        self.without_names()
    }

    pub(crate) fn expiration_seconds(mut self, seconds: i64) -> Self {
        self.object["spec"]["expirationSeconds"] = json!(seconds);
        self
    }

    /// These bytes as `spec.request`, whatever the rest says.
    pub(crate) fn request(mut self, text: &str) -> Self {
        self.request = Some(text.to_owned());
        self
    }

    pub(crate) fn condition(mut self, kind: &str, status: &str) -> Self {
        let condition = json!({ "type": kind, "status": status, "reason": "r", "message": "m" });
        let conditions = &mut self.object["status"]["conditions"];
        match conditions.as_array_mut() {
            Some(list) => list.push(condition),
            None => *conditions = json!([condition]),
        }
        self
    }

    pub(crate) fn approved(self) -> Self {
        self.condition("Approved", "True")
    }

    pub(crate) fn certificate(mut self, pem: &str) -> Self {
        self.object["status"]["certificate"] = json!(STANDARD.encode(pem));
        self
    }

    pub(crate) fn object(self) -> Value {
        let mut object = self.object;
        let pem = self.request.unwrap_or_else(|| {
            let key = PrivateKey::generate(self.key).unwrap();
            self.template.to_request_pem(&key).unwrap()
        });
        object["spec"]["request"] = json!(STANDARD.encode(pem));
        object
    }

    pub(crate) fn open(self) -> OpenRequest {
        OpenRequest::new(self.object())
    }
}

/// A CA that is valid from a day before [`now`] for this long after it.
pub(crate) fn authority(left: SignedDuration) -> Issuer {
    authority_between(now() - SignedDuration::from_hours(24), now() + left)
}

pub(crate) fn authority_between(begin: Timestamp, end: Timestamp) -> Issuer {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    Issuer::self_signed("test-ca", key, [9; 16], begin, end).unwrap()
}

pub(crate) fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// A kubelet's request for node n1 with an RSA key of 1024 bits.
pub(crate) const WEAK_REQUEST: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIIBbzCB2QIBADAwMRUwEwYDVQQKDAxzeXN0ZW06bm9kZXMxFzAVBgNVBAMMDnN5
c3RlbTpub2RlOm4xMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCtGgZXtMSU
o6/33TwVGqkGu++dZifB8h8wo0USGulZNeoCT+OdxoAs/1JBpscmTcADBu1xFf+0
YQoH46h5fzA+PQBVbCHSMIO1Jhc7uIZR1UME0VNGFQkf+yCktPvPVBffKVdfO7gf
+JnXucd8yrBt7UlPk1knxLrsSEwiK5B04wIDAQABoAAwDQYJKoZIhvcNAQELBQAD
gYEATPET8nkDhMRciYjERSXSCjPo6YEIRtxV8IrXawbcZQBsijxEMvTkOm6j5LbR
cAfc0tVSUrUfbzL9XmndvfO5VYm8hBnoEmwCNx8Vlb0TD2PpFKtK/dCbUJ573yeV
90+SnUL26wtz+QZ9ja1qd7ZjC83lcrx3YVDJ0FfaroFyGfw=
-----END CERTIFICATE REQUEST-----
";
