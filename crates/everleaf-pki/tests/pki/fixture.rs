//! A small language for requests: a normal node's request, and one change per test.
//!
//! Requests are written byte by byte and signed here, not by the crate under test, so that they
//! can say what no decent client would.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use everleaf_pki::{
    ApprovedRequest, IssueError, Issued, Issuer, KeyAlgorithm, PrivateKey, Profile, SignerName,
    Subject, Template, Usage, VerifiedRequest,
};
use jiff::Timestamp;
use std::time::Duration;

pub(crate) const CLIENT: &str = SignerName::KUBE_APISERVER_CLIENT;
pub(crate) const KUBELET_CLIENT: &str = SignerName::KUBE_APISERVER_CLIENT_KUBELET;
pub(crate) const SERVING: &str = SignerName::KUBELET_SERVING;
pub(crate) const LEGACY: &str = SignerName::LEGACY_UNKNOWN;

pub(crate) const CLIENT_USAGES: [&str; 3] =
    ["digital signature", "key encipherment", "client auth"];
pub(crate) const SERVING_USAGES: [&str; 3] =
    ["digital signature", "key encipherment", "server auth"];

pub(crate) const PRINTABLE: u8 = 0x13;
pub(crate) const UTF8: u8 = 0x0c;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// 2027-01-15T08:00:00Z
pub(crate) const NOW_S: i64 = 1_800_000_000;

pub(crate) fn now() -> Timestamp {
    at(NOW_S)
}

pub(crate) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A CA from the epoch's 2017 to 2065.
pub(crate) fn ca() -> Issuer {
    ca_until(at(3_000_000_000))
}

pub(crate) fn ca_until(end: Timestamp) -> Issuer {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    Issuer::self_signed("test-ca", key, [9; 16], at(1_500_000_000), end).unwrap()
}

/// Any element.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        length @ 0..=127 => out.push(length as u8),
        length @ 128..=255 => out.extend([0x81, length as u8]),
        length @ 256..=65_535 => out.extend([0x82, (length >> 8) as u8, length as u8]),
        length => out.extend([
            0x83,
            (length >> 16) as u8,
            (length >> 8) as u8,
            length as u8,
        ]),
    }
    out.extend(content);
    out
}

pub(crate) fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// Object identifiers of X.520 attributes and of extensions.
pub(crate) const CN: &[u8] = &[0x06, 3, 0x55, 4, 3];
pub(crate) const O: &[u8] = &[0x06, 3, 0x55, 4, 10];
pub(crate) const OU: &[u8] = &[0x06, 3, 0x55, 4, 11];
pub(crate) const SAN: &[u8] = &[0x06, 3, 0x55, 0x1d, 0x11];
pub(crate) const KEY_USAGE: &[u8] = &[0x06, 3, 0x55, 0x1d, 0x0f];
const EXTENSION_REQUEST: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];

/// An `AttributeTypeAndValue`.
pub(crate) fn attribute(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    seq(&[kind.to_vec(), tlv(tag, value)])
}

/// A name of one-valued RDNs.
pub(crate) fn name(attributes: &[Vec<u8>]) -> Vec<u8> {
    seq(&attributes
        .iter()
        .map(|attribute| tlv(0x31, attribute))
        .collect::<Vec<_>>())
}

pub(crate) fn extension(id: &[u8], value: &[u8]) -> Vec<u8> {
    seq(&[id.to_vec(), tlv(0x04, value)])
}

/// An `extensionRequest` attribute holding these extensions.
pub(crate) fn extension_request(extensions: &[Vec<u8>]) -> Vec<u8> {
    seq(&[EXTENSION_REQUEST.to_vec(), tlv(0x31, &seq(extensions))])
}

/// A request under construction; [`node_request`] is the normal one.
#[derive(Clone)]
pub(crate) struct RawRequest {
    pub(crate) subject: Vec<u8>,
    /// Attributes, whole elements.
    pub(crate) attributes: Vec<Vec<u8>>,
    seed: [u8; 32],
}

/// What a kubelet named `n1` sends for its client certificate.
pub(crate) fn node_request() -> RawRequest {
    RawRequest {
        subject: name(&[
            attribute(O, PRINTABLE, b"system:nodes"),
            attribute(CN, PRINTABLE, b"system:node:n1"),
        ]),
        attributes: Vec::new(),
        seed: [7; 32],
    }
}

impl RawRequest {
    pub(crate) fn subject(mut self, attributes: &[Vec<u8>]) -> Self {
        self.subject = name(attributes);
        self
    }

    pub(crate) fn common_name(self, value: &[u8]) -> Self {
        self.subject(&[
            attribute(O, PRINTABLE, b"system:nodes"),
            attribute(CN, UTF8, value),
        ])
    }

    /// One more subject attribute.
    pub(crate) fn also(mut self, kind: &[u8], tag: u8, value: &[u8]) -> Self {
        let (header, content) = self.subject.split_at(2);
        assert!(header[1] < 0x80, "only short subjects are extended");
        let mut content = content.to_vec();
        content.extend(tlv(0x31, &attribute(kind, tag, value)));
        self.subject = tlv(0x30, &content);
        self
    }

    /// One subject alternative name of a context tag.
    pub(crate) fn san(self, tag: u8, value: &[u8]) -> Self {
        self.sans(&[tlv(tag, value)])
    }

    pub(crate) fn sans(mut self, names: &[Vec<u8>]) -> Self {
        self.attributes = vec![extension_request(&[extension(SAN, &seq(names))])];
        self
    }

    pub(crate) fn attribute(mut self, attribute: Vec<u8>) -> Self {
        self.attributes.push(attribute);
        self
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
        let pair = Ed25519KeyPair::from_seed_unchecked(&self.seed).unwrap();
        let point = [&[0][..], pair.public_key().as_ref()].concat();
        let info = seq(&[
            vec![0x02, 0x01, 0x00],
            self.subject.clone(),
            seq(&[ED25519.to_vec(), tlv(0x03, &point)]),
            tlv(0xa0, &self.attributes.concat()),
        ]);
        let signature = [&[0][..], pair.sign(&info).as_ref()].concat();
        seq(&[info, ED25519.to_vec(), tlv(0x03, &signature)])
    }

    pub(crate) fn pem(&self) -> String {
        everleaf_pki::pem::encode("CERTIFICATE REQUEST", &self.der())
    }

    pub(crate) fn verified(&self) -> VerifiedRequest {
        VerifiedRequest::from_pem(self.pem().as_bytes()).unwrap()
    }
}

/// An approved request: change what the test is about, then `issue`.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) request: VerifiedRequest,
    pub(crate) signer_name: &'static str,
    pub(crate) usages: Vec<Usage>,
    pub(crate) expiration_seconds: Option<i32>,
    pub(crate) profile: Profile,
    pub(crate) now: Timestamp,
}

/// Any signer, any content: the signer that has no rules.
pub(crate) fn case(request: VerifiedRequest, usages: &[&str]) -> Case {
    Case {
        request,
        signer_name: LEGACY,
        usages: Usage::parse_all(usages).unwrap(),
        expiration_seconds: None,
        profile: Profile {
            duration: Duration::from_secs(3600),
            ..Profile::default()
        },
        now: now(),
    }
}

impl Case {
    pub(crate) fn signer(mut self, name: &'static str) -> Self {
        self.signer_name = name;
        self
    }

    pub(crate) fn ttl_s(mut self, seconds: u64) -> Self {
        self.profile.duration = Duration::from_secs(seconds);
        self
    }

    pub(crate) fn backdate_s(mut self, seconds: u64) -> Self {
        self.profile.backdate = Duration::from_secs(seconds);
        self
    }

    pub(crate) fn expiration(mut self, seconds: i32) -> Self {
        self.expiration_seconds = Some(seconds);
        self
    }

    pub(crate) fn now_s(mut self, second: i64) -> Self {
        self.now = at(second);
        self
    }

    pub(crate) fn approved(&self) -> ApprovedRequest {
        ApprovedRequest::new(
            self.request.clone(),
            SignerName::new(self.signer_name),
            self.usages.clone(),
            self.expiration_seconds,
            &["Approved"],
        )
        .unwrap()
    }

    pub(crate) fn issue(&self, issuer: &Issuer) -> Result<Issued, IssueError> {
        issuer.issue(&self.approved(), &self.profile, [0xab; 16], self.now)
    }
}

/// A request for `template` by a fresh key.
pub(crate) fn request(
    algorithm: KeyAlgorithm,
    template: &Template,
) -> (PrivateKey, VerifiedRequest) {
    let key = PrivateKey::generate(algorithm).unwrap();
    let pem = template.to_request_pem(&key).unwrap();
    (key, VerifiedRequest::from_pem(pem.as_bytes()).unwrap())
}

pub(crate) fn template(common_name: &str, organizations: &[&str]) -> Template {
    Template {
        subject: Subject {
            common_name: common_name.into(),
            organizations: strings(organizations),
        },
        ..Template::default()
    }
}

pub(crate) fn node_template(name: &str) -> Template {
    Template {
        subject: Subject::node(name),
        ..Template::default()
    }
}
