//! Byte for byte what Go writes: keys, requests, certificates (testdata/README.md).

use crate::fixture::{self, at};
use everleaf_pki::{
    ApprovedRequest, Chain, Issuer, PrivateKey, Profile, RequestError, SignerName, Subject,
    Template, Usage, VerifiedRequest, pem,
};
use std::time::Duration;

macro_rules! go {
    ($name:literal) => {
        include_str!(concat!("../../testdata/go/", $name))
    };
}

const SERIAL: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const YEAR: Duration = Duration::from_secs(8760 * 3600);

fn der(text: &str) -> Vec<u8> {
    pem::blocks(text.as_bytes()).next().unwrap().der
}

fn request(text: &str) -> VerifiedRequest {
    VerifiedRequest::from_pem(text.as_bytes()).unwrap()
}

#[test]
fn keys_are_read_and_written_as_go_does() {
    for (traditional, pkcs8) in [
        (go!("key-p256-one-sec1.pem"), go!("key-p256-one-pkcs8.pem")),
        (go!("key-p384-sec1.pem"), go!("key-p384-pkcs8.pem")),
        (go!("key-p521-sec1.pem"), go!("key-p521-pkcs8.pem")),
        (go!("key-rsa-pkcs1.pem"), go!("key-rsa-pkcs8.pem")),
        (go!("key-ed25519-pkcs8.pem"), go!("key-ed25519-pkcs8.pem")),
    ] {
        let key = PrivateKey::from_pem(traditional).unwrap();
        assert_eq!(*key.to_pem(), traditional);
        let from_pkcs8 = PrivateKey::from_pem(pkcs8).unwrap();
        assert_eq!(*from_pkcs8.to_pem(), traditional);
        assert_eq!(key.public_key(), from_pkcs8.public_key());
        assert_eq!(
            *key.to_pkcs8_der().unwrap(),
            der(pkcs8),
            "{:?}",
            key.algorithm()
        );
    }
}

#[test]
fn an_ec_parameters_block_before_the_key_is_skipped() {
    let parameters = pem::encode(
        "EC PARAMETERS",
        &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
    );
    let text = format!("{parameters}{}", go!("key-p256-one-sec1.pem"));
    assert!(PrivateKey::from_pem(&text).is_ok());
}

#[test]
fn requests_are_written_as_go_does() {
    let serving = Template {
        subject: Subject::node("n1"),
        dns_names: fixture::strings(&["n1", "n1.example"]),
        ip_addresses: ["10.0.0.1", "fd00::1", "::ffff:10.0.0.2"]
            .map(|ip| ip.parse().unwrap())
            .into(),
        ..Template::default()
    };
    let client = fixture::node_template("n1");
    let nameless = Template {
        subject: Subject::default(),
        dns_names: vec!["n1".into()],
        ..client.clone()
    };
    let ed25519 = PrivateKey::from_ed25519_seed(&[7; 32]).unwrap();
    let rsa = PrivateKey::from_pem(go!("key-rsa-pkcs1.pem")).unwrap();
    for (template, key, expected) in [
        (&client, &ed25519, go!("request-ed25519-client.pem")),
        (&serving, &ed25519, go!("request-ed25519-serving.pem")),
        (
            &nameless,
            &ed25519,
            go!("request-ed25519-empty-subject.pem"),
        ),
        (&client, &rsa, go!("request-rsa-client.pem")),
    ] {
        assert_eq!(template.to_request_pem(key).unwrap(), expected);
    }
}

/// ECDSA signatures differ each time; everything before them must not.
#[test]
fn ecdsa_requests_differ_from_gos_in_the_signature_only() {
    for (key, expected) in [
        (go!("key-p256-one-sec1.pem"), go!("request-p256-client.pem")),
        (go!("key-p384-sec1.pem"), go!("request-p384-client.pem")),
        (go!("key-p521-sec1.pem"), go!("request-p521-client.pem")),
    ] {
        let key = PrivateKey::from_pem(key).unwrap();
        let ours = der(&fixture::node_template("n1").to_request_pem(&key).unwrap());
        assert_eq!(signed_part(&ours), signed_part(&der(expected)));
    }
}

/// The first element inside a SEQUENCE, then the algorithm: all but the signature.
fn signed_part(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let skip = |bytes: &[u8]| -> (usize, usize) {
        match bytes[1] {
            length @ 0..=127 => (2, usize::from(length)),
            0x81 => (3, usize::from(bytes[2])),
            _ => (4, usize::from(bytes[2]) << 8 | usize::from(bytes[3])),
        }
    };
    let inner = &der[skip(der).0..];
    let (header, length) = skip(inner);
    let (first, rest) = inner.split_at(header + length);
    let (header, length) = skip(rest);
    (first.to_vec(), rest[..header + length].to_vec())
}

#[test]
fn requests_made_by_go_verify() {
    for text in [
        go!("request-ed25519-client.pem"),
        go!("request-p256-client.pem"),
        go!("request-p256-sha384.pem"),
        go!("request-p384-client.pem"),
        go!("request-p521-client.pem"),
        go!("request-rsa-client.pem"),
        go!("request-rsa-sha384-rsa.pem"),
        go!("request-rsa-sha512-rsa.pem"),
        go!("request-rsa-sha256-rsapss.pem"),
        go!("request-rsa-sha384-rsapss.pem"),
        go!("request-rsa-sha512-rsapss.pem"),
    ] {
        let request = request(text);
        assert_eq!(*request.subject(), Subject::node("n1"));
        assert!(!request.has_unusual_subject() && !request.is_sha1_signed());
    }
}

#[test]
fn all_kinds_of_names_are_read() {
    let request = request(go!("request-all-names.pem"));
    assert_eq!(request.dns_names(), ["n1"]);
    assert_eq!(request.email_addresses(), ["a@example.com"]);
    assert_eq!(
        request.ip_addresses(),
        ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(request.uris(), ["spiffe://example/n1"]);
}

#[test]
fn p224_is_refused_with_the_way_out() {
    let error = VerifiedRequest::from_pem(go!("request-p224-client.pem").as_bytes()).unwrap_err();
    assert!(matches!(error, RequestError::Algorithm(_)), "{error}");
    assert!(error.to_string().contains("ECDSA P-224"), "{error}");
    assert!(error.to_string().contains("use P-256"), "{error}");
}

struct Leaf {
    ca: (&'static str, &'static str),
    request: &'static str,
    usages: &'static [Usage],
    now_s: i64,
    duration: Duration,
    expected: &'static str,
}

const ED25519_CA: (&str, &str) = (go!("ca-ed25519.pem"), "");
const RSA_CA: (&str, &str) = (go!("ca-rsa.pem"), go!("key-rsa-pkcs1.pem"));
const P256_CA: (&str, &str) = (go!("ca-p256.pem"), go!("key-p256-one-sec1.pem"));
const CLIENT: &[Usage] = &[
    Usage::KeyEncipherment,
    Usage::DigitalSignature,
    Usage::ClientAuth,
];

const LEAVES: &[Leaf] = &[
    Leaf {
        ca: ED25519_CA,
        request: go!("request-ed25519-client.pem"),
        usages: CLIENT,
        now_s: fixture::NOW_S,
        duration: YEAR,
        expected: go!("leaf-ed25519-client.pem"),
    },
    Leaf {
        ca: RSA_CA,
        request: go!("request-ed25519-client.pem"),
        usages: CLIENT,
        now_s: fixture::NOW_S,
        duration: YEAR,
        expected: go!("leaf-rsa-client.pem"),
    },
    Leaf {
        ca: P256_CA,
        request: go!("request-ed25519-client.pem"),
        usages: CLIENT,
        now_s: fixture::NOW_S,
        duration: YEAR,
        expected: go!("leaf-p256-client.pem"),
    },
    Leaf {
        ca: ED25519_CA,
        request: go!("request-ed25519-serving.pem"),
        usages: &[Usage::Signing, Usage::ServerAuth],
        now_s: fixture::NOW_S,
        duration: YEAR,
        expected: go!("leaf-serving.pem"),
    },
    // notBefore is the last UTCTime, notAfter a GeneralizedTime.
    Leaf {
        ca: ED25519_CA,
        request: go!("request-ed25519-client.pem"),
        usages: &[Usage::DigitalSignature, Usage::ClientAuth],
        now_s: 2_524_607_999,
        duration: YEAR,
        expected: go!("leaf-2050.pem"),
    },
    // Short, so not shortened; no key usage bit; names critical because the subject is empty.
    Leaf {
        ca: ED25519_CA,
        request: go!("request-ed25519-empty-subject.pem"),
        usages: &[Usage::ClientAuth],
        now_s: fixture::NOW_S,
        duration: Duration::from_secs(3600),
        expected: go!("leaf-empty-subject.pem"),
    },
    Leaf {
        ca: ED25519_CA,
        request: go!("request-all-names.pem"),
        usages: CLIENT,
        now_s: fixture::NOW_S,
        duration: YEAR,
        expected: go!("leaf-all-names.pem"),
    },
];

#[test]
fn certificates_are_written_as_gos_signer_does() {
    for leaf in LEAVES {
        let (certificate, key) = leaf.ca;
        let key = match key {
            "" => PrivateKey::from_ed25519_seed(&[9; 32]).unwrap().to_pem(),
            pem => pem.to_owned().into(),
        };
        let issuer = Issuer::from_pem(certificate.as_bytes(), &key).unwrap();
        let approved = ApprovedRequest::new(
            request(leaf.request),
            SignerName::new(SignerName::LEGACY_UNKNOWN),
            leaf.usages.to_vec(),
            None,
            &["Approved"],
        )
        .unwrap();
        let profile = Profile {
            duration: leaf.duration,
            ..Profile::default()
        };
        let issued = issuer
            .issue(&approved, &profile, SERIAL, at(leaf.now_s))
            .unwrap();
        if leaf.ca == P256_CA {
            let (ours, theirs) = (issued.chain.leaf().der(), der(leaf.expected));
            assert_eq!(signed_part(ours), signed_part(&theirs));
        } else {
            assert_eq!(issued.chain.to_pem(), leaf.expected);
        }
    }
}

#[test]
fn certificates_made_by_go_are_read_back() {
    let chain = Chain::from_pem(go!("leaf-serving.pem").as_bytes()).unwrap();
    let leaf = chain.leaf();
    assert_eq!(
        leaf.serial().to_string(),
        "0102030405060708090A0B0C0D0E0F10"
    );
    assert_eq!(leaf.subject_text(), "CN=system:node:n1,O=system:nodes");
    assert_eq!(leaf.issuer_text(), "CN=go-ed25519-ca");
    assert_eq!(leaf.not_before(), at(fixture::NOW_S - 300));
    assert_eq!(leaf.dns_names(), ["n1", "n1.example"]);
    assert_eq!(leaf.ip_addresses().len(), 3);
    assert!(leaf.allows_server_auth() && !leaf.allows_client_auth() && !leaf.is_ca());
    let ca = Chain::from_pem(go!("ca-ed25519.pem").as_bytes()).unwrap();
    assert!(leaf.is_signed_by(ca.leaf()) && !ca.leaf().is_signed_by(leaf));
}
