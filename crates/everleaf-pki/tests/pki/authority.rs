//! What goes over from a CA to its leaves, byte for byte: also from CAs that others made.

use crate::fixture::{
    CLIENT_USAGES, CN, NOW_S, O, PRINTABLE, UTF8, at, attribute, ca, ca_until, case, name,
    node_request, now, seq, tlv,
};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use everleaf_pki::issuer::spread_end;
use everleaf_pki::{
    CertificateError, Chain, HeldKey, Issuer, KeyAlgorithm, Leaf, PrivateKey, PublicKey,
};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

const T61: u8 = 0x14;
const DAY: i64 = 24 * 3600;

/// A certificate as a CA of another make has it: any name, and a key identifier of its own or none.
fn foreign(subject: &[u8], key_id: Option<&[u8]>, key: &PrivateKey) -> Leaf {
    let algorithm = seq(&[vec![0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
    let constraints = seq(&[
        vec![0x06, 3, 0x55, 0x1d, 0x13],
        tlv(0x04, &[0x30, 3, 1, 1, 0xff]),
    ]);
    let key_id =
        key_id.map(|id| seq(&[vec![0x06, 3, 0x55, 0x1d, 0x0e], tlv(0x04, &tlv(0x04, id))]));
    let extensions: Vec<Vec<u8>> = std::iter::once(constraints).chain(key_id).collect();
    let tbs = seq(&[
        vec![0xa0, 3, 2, 1, 2],
        vec![0x02, 1, 7],
        algorithm.clone(),
        subject.to_vec(),
        seq(&[tlv(0x17, b"200101000000Z"), tlv(0x17, b"400101000000Z")]),
        subject.to_vec(),
        key.public_key().spki_der().to_vec(),
        tlv(0xa3, &seq(&extensions)),
    ]);
    let pair = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &key.to_pkcs8_der().unwrap(),
    )
    .unwrap();
    let signature = pair.sign(&SystemRandom::new(), &tbs).unwrap();
    let signature = [&[0][..], signature.as_ref()].concat();
    Leaf::from_der(&seq(&[tbs, algorithm, tlv(0x03, &signature)])).unwrap()
}

/// Value of an extension, by an independent parser.
fn extension_value(leaf: &Leaf, id: &str) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(leaf.der()).unwrap();
    let found = parsed
        .extensions()
        .iter()
        .find(|one| one.oid.to_id_string() == id);
    found.map(|extension| extension.value.to_vec())
}

const AUTHORITY_KEY_ID: &str = "2.5.29.35";

/// GnuTLS, NSS, wolfSSL, Go and rustls compare the bytes of the two names; OpenSSL, Java, NSS,
/// wolfSSL and GnuTLS those of the two identifiers.
#[test]
fn name_and_key_identifier_are_the_cas_own_bytes() {
    let pair = [attribute(CN, UTF8, b"two"), attribute(O, T61, b"values")].concat();
    let multi_valued = seq(&[tlv(0x31, &pair)]);
    let subjects = [
        name(&[attribute(CN, UTF8, b"kubernetes")]),
        name(&[attribute(CN, T61, b"kubern\xe9tes")]),
        name(&[
            attribute(CN, PRINTABLE, b"kubernetes"),
            attribute(O, UTF8, b"b"),
        ]),
        multi_valued,
    ];
    for subject in subjects {
        for key_id in [
            None,
            Some(&[0xde, 0xad][..]),
            Some(&[7; 20][..]),
            Some(&[9; 64][..]),
        ] {
            let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
            let certificate = foreign(&subject, key_id, &key);
            let issuer = Issuer::new(certificate, key).unwrap();
            let case = case(node_request().verified(), &CLIENT_USAGES);
            let leaf = case.issue(&issuer).unwrap().chain.leaf().clone();
            let (_, parsed) = X509Certificate::from_der(leaf.der()).unwrap();
            assert_eq!(parsed.issuer().as_raw(), subject);
            // The key identifier alone: [0], and nothing behind it.
            let expected = key_id.map(|id| seq(&[tlv(0x80, id)]));
            assert_eq!(extension_value(&leaf, AUTHORITY_KEY_ID), expected);
        }
    }
}

/// Go leaves the identifier out, and OpenSSL then takes the leaf for self-signed.
#[test]
fn a_leaf_that_is_called_like_its_ca_names_the_key() {
    let issuer = ca();
    let request = node_request().subject(&[attribute(CN, PRINTABLE, b"test-ca")]);
    let issued = case(request.verified(), &["client auth"])
        .issue(&issuer)
        .unwrap();
    let key_id = issuer.certificate().subject_key_id().unwrap();
    assert_eq!(
        extension_value(issued.chain.leaf(), AUTHORITY_KEY_ID),
        Some(seq(&[tlv(0x80, key_id)]))
    );
}

#[test]
fn a_ca_of_ours_has_a_key_identifier() {
    let issuer = ca();
    assert_eq!(
        issuer.certificate().subject_key_id().map(<[u8]>::len),
        Some(20)
    );
    assert_eq!(
        extension_value(issuer.certificate(), AUTHORITY_KEY_ID),
        None
    );
}

/// A kubelet whose certificate lacks a name that it asked for asks again at once, so the name stays
/// as it is.
#[test]
fn names_that_no_client_finds_are_told() {
    for (name, expected) in [
        (
            &b"n1.example."[..],
            "DNS name \"n1.example.\" ends with a dot",
        ),
        (b"worker_1", "DNS name \"worker_1\" is not made of"),
        (b"n1\nx", "DNS name \"n1\\nx\" is not made of"),
    ] {
        let case = case(node_request().san(0x82, name).verified(), &["server auth"]);
        let issued = case.issue(&ca()).unwrap();
        assert_eq!(issued.chain.leaf().dns_names()[0].as_bytes(), name);
        let [warning] = &issued.warnings[..] else {
            panic!("{:?}", issued.warnings)
        };
        assert_eq!(warning.rule, "dns_name");
        assert!(warning.text.starts_with(expected), "{warning}");
    }
}

#[test]
fn what_is_doubtful_about_a_ca() {
    let year = Duration::from_secs(365 * 24 * 3600);
    let rules = |issuer: &Issuer| -> Vec<&'static str> {
        issuer
            .doubts(year, now())
            .iter()
            .map(|doubt| doubt.rule)
            .collect()
    };
    assert_eq!(rules(&ca_until(at(NOW_S + 730 * DAY))), [""; 0]);
    assert_eq!(rules(&ca_until(at(NOW_S + 729 * DAY))), ["ca_ends_soon"]);
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let bare = foreign(&name(&[attribute(CN, UTF8, b"ca")]), None, &key);
    let expected = [
        "ca_without_key_identifier",
        "ca_constraints_not_critical",
        "ca_without_key_usage",
    ];
    assert_eq!(rules(&Issuer::new(bare, key).unwrap()), expected);
}

/// A root, an intermediate below it, both PEM, and the intermediate as an issuer.
fn hierarchy(root_end: i64, end: i64) -> (String, Issuer) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
    let params = |common_name: &str, last: i64| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(last as u64);
        params
    };
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root_params = params("root", root_end);
    let root = root_params.self_signed(&root_key).unwrap();
    let signer = rcgen::Issuer::new(root_params, root_key);
    let below = params("intermediate", end)
        .signed_by(&key, &signer)
        .unwrap();
    let issuer = Issuer::from_pem(below.pem().as_bytes(), &key.serialize_pem()).unwrap();
    (root.pem(), issuer)
}

/// Every member of the chain caps; the root is not sent, the intermediate is.
#[test]
fn a_chain_goes_along_and_caps() {
    let (root, issuer) = hierarchy(NOW_S + 10 * DAY, NOW_S + 300 * DAY);
    let year = case(node_request().verified(), &CLIENT_USAGES).ttl_s(365 * 24 * 3600);
    let alone = year.issue(&issuer).unwrap();
    assert_eq!(alone.chain.certificates().len(), 1);
    assert_eq!(alone.chain.leaf().not_after(), at(NOW_S + 300 * DAY));
    let own = issuer.certificate_pem();
    for file in [root.clone(), format!("{own}{root}")] {
        let key = issuer.key().unwrap().to_pem();
        let again = Issuer::from_pem(own.as_bytes(), &key).unwrap();
        let issuer = again.with_chain(file.as_bytes()).unwrap();
        let issued = year.issue(&issuer).unwrap();
        assert!(issued.truncated);
        assert_eq!(issued.chain.leaf().not_after(), at(NOW_S + 10 * DAY));
        assert_eq!(
            issued.chain.certificates()[1..],
            [issuer.certificate().clone()]
        );
        let expired = year
            .clone()
            .now_s(NOW_S + 11 * DAY)
            .issue(&issuer)
            .unwrap_err();
        assert!(
            expired.to_string().starts_with("the signer has expired"),
            "{expired}"
        );
    }
}

#[test]
fn a_chain_that_is_another_cas_is_refused() {
    let (root, issuer) = hierarchy(NOW_S + 10 * DAY, NOW_S + 300 * DAY);
    let (other, _) = hierarchy(NOW_S + 10 * DAY, NOW_S + 300 * DAY);
    let twice = format!("{root}{other}");
    let leaf = case(node_request().verified(), &CLIENT_USAGES)
        .issue(&issuer)
        .unwrap()
        .chain
        .to_pem();
    let again = || {
        let key = PrivateKey::from_pem(&issuer.key().unwrap().to_pem()).unwrap();
        Issuer::new(issuer.certificate().clone(), key).unwrap()
    };
    for (file, expected) in [
        (other, "did not sign"),
        (twice, "did not sign"),
        (leaf, "cannot sign others"),
        (root.repeat(9), "more than 8 certificates"),
    ] {
        let error = again().with_chain(file.as_bytes()).unwrap_err();
        assert!(matches!(error, CertificateError::NotItsChain { .. }));
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    assert_eq!(
        again().with_chain(b"").unwrap_err(),
        CertificateError::NotFound
    );
}

/// 5 % of what is left, 30 days at most, nothing within the last 30 days.
#[test]
fn ends_are_spread_before_the_end_of_the_ca() {
    let earlier_s = |left_s: i64, random: u64| {
        let limit = at(NOW_S + left_s);
        limit.as_second() - spread_end(limit, now(), random).as_second()
    };
    assert_eq!(earlier_s(30 * DAY, u64::MAX), 0);
    assert_eq!(earlier_s(-DAY, u64::MAX), 0);
    assert_eq!(earlier_s(31 * DAY, 0), 0);
    assert_eq!(earlier_s(40 * DAY, u64::MAX), 2 * DAY - 1);
    assert_eq!(earlier_s(40 * DAY, u64::MAX / 2), DAY - 1);
    assert_eq!(earlier_s(3650 * DAY, u64::MAX), 30 * DAY - 1);

    let issuer = ca_until(at(NOW_S + 300 * DAY)).spreading_ends();
    let end = |serial: [u8; 16]| {
        let case = case(node_request().verified(), &CLIENT_USAGES).ttl_s(365 * 24 * 3600);
        let issued = issuer
            .issue(&case.approved(), &case.profile, serial, now())
            .unwrap();
        assert!(issued.truncated);
        issued.chain.leaf().not_after().as_second() - NOW_S
    };
    assert_eq!(end([0; 16]), 300 * DAY);
    assert_eq!(end([0xff; 16]), 285 * DAY + 1);
    let short = case(node_request().verified(), &CLIENT_USAGES).ttl_s(100 * 24 * 3600);
    assert!(!short.issue(&issuer).unwrap().truncated);
}

/// A key that answers as it is told to.
struct Elsewhere(
    PrivateKey,
    fn(&PrivateKey, &[u8]) -> Result<Vec<u8>, String>,
);

impl HeldKey for Elsewhere {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn uri(&self) -> &str {
        "pkcs11:object=ca"
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        (self.1)(&self.0, message)
    }
}

fn sign(key: &PrivateKey, message: &[u8]) -> Result<Vec<u8>, String> {
    let pair = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &key.to_pkcs8_der().unwrap(),
    );
    let signature = pair.unwrap().sign(&SystemRandom::new(), message).unwrap();
    Ok(signature.as_ref().to_vec())
}

/// What a token signs is verified before anybody sees it.
#[test]
fn a_key_may_be_elsewhere() {
    type Behaviour = fn(&PrivateKey, &[u8]) -> Result<Vec<u8>, String>;
    let with = |behaviour: Behaviour| {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let subject = name(&[attribute(CN, UTF8, b"ca")]);
        let certificate = foreign(&subject, Some(&[1; 20]), &key);
        let issuer = Issuer::with_key(certificate, Arc::new(Elsewhere(key, behaviour))).unwrap();
        assert!(issuer.signs_elsewhere() && issuer.key().is_none());
        case(node_request().verified(), &CLIENT_USAGES).issue(&issuer)
    };
    let issued: Chain = with(sign).unwrap().chain;
    assert_eq!(issued.leaf().issuer_text(), "CN=ca");
    let wrong = with(|key, message| sign(key, &message[1..])).unwrap_err();
    assert!(
        wrong.to_string().contains("does not fit the public key"),
        "{wrong}"
    );
    let away = with(|_, _| Err("the token is away".into())).unwrap_err();
    assert!(
        matches!(away, everleaf_pki::IssueError::Issuer(_)),
        "tried again later"
    );
    assert!(away.to_string().contains("the token is away"), "{away}");
    let (one, other) = (
        PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(),
        PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(),
    );
    let certificate = foreign(&name(&[attribute(CN, UTF8, b"ca")]), None, &one);
    let error = Issuer::with_key(certificate, Arc::new(Elsewhere(other, sign))).unwrap_err();
    assert!(matches!(error, CertificateError::KeyMismatch { .. }));
}
