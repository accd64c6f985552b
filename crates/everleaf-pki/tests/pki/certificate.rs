//! Certificates, chains, credentials as files hold them.

use crate::fixture::{self, CLIENT_USAGES, NOW_S, at, ca, case, node_request, node_template, now};
use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
use everleaf_pki::{
    CertificateError, Chain, Credential, Issuer, KeyAlgorithm, Leaf, PrivateKey, Template, Usage,
    pem,
};

struct Node {
    issuer: Issuer,
    chain: Chain,
    key: PrivateKey,
}

fn node() -> Node {
    let issuer = ca();
    let (key, request) = fixture::request(KeyAlgorithm::EcdsaP256, &node_template("n1"));
    let chain = case(request, &CLIENT_USAGES).issue(&issuer).unwrap().chain;
    Node { issuer, chain, key }
}

#[test]
fn credentials_are_read_in_either_order() {
    let node = node();
    let certificates = format!("{}{}", node.chain.to_pem(), node.issuer.certificate_pem());
    let key = node.key.to_pem();
    for text in [
        format!("{certificates}{}", *key),
        format!("{}{certificates}", *key),
        format!("text\n{}more\n{certificates}", *key),
    ] {
        let credential = Credential::from_pem(text.as_bytes()).unwrap();
        assert_eq!(credential.chain().certificates().len(), 2);
        assert_eq!(credential.leaf(), node.chain.leaf());
        // Written again: certificates, then exactly one key.
        assert_eq!(*credential.to_pem(), format!("{certificates}{}", *key));
    }
}

#[test]
fn credentials_must_fit_together() {
    let node = node();
    let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let text = format!("{}{}", node.chain.to_pem(), *other.to_pem());
    let error = Credential::from_pem(text.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the private key does not match the certificate CN=system:node:n1,O=system:nodes"
    );
    let only_key = node.key.to_pem();
    assert_eq!(
        Credential::from_pem(only_key.as_bytes()).unwrap_err(),
        CertificateError::NotFound
    );
    let only_chain = node.chain.to_pem();
    let error = Credential::from_pem(only_chain.as_bytes()).unwrap_err();
    assert!(matches!(error, CertificateError::Key(_)), "{error}");
    let debug = format!("{:?}", Credential::new(node.chain, node.key).unwrap());
    assert!(
        debug.starts_with("Credential(Leaf(CN=system:node:n1,O=system:nodes, serial "),
        "{debug}"
    );
}

#[test]
fn chains_keep_every_certificate_in_order() {
    let node = node();
    let (leaf, issuer) = (node.chain.leaf(), node.issuer.certificate());
    let both = [leaf.der(), issuer.der()];
    let one_block = pem::encode("CERTIFICATE", &both.concat());
    let two_blocks = both.map(|der| pem::encode("CERTIFICATE", der)).concat();
    for text in [one_block, two_blocks.clone()] {
        let chain = Chain::from_pem(text.as_bytes()).unwrap();
        assert!(chain.ders().eq(both));
        assert_eq!(chain.to_pem(), two_blocks);
        assert_eq!(chain.not_after_earliest(), leaf.not_after());
    }
    let with_headers =
        pem::encode("CERTIFICATE", leaf.der()).replacen("-----\n", "-----\nA: b\n\n", 1);
    assert_eq!(
        Chain::from_pem(with_headers.as_bytes()),
        Err(CertificateError::NotFound)
    );
    let broken = format!("{two_blocks}{}", pem::encode("CERTIFICATE", &[0x30, 0]));
    assert!(matches!(
        Chain::from_pem(broken.as_bytes()),
        Err(CertificateError::Malformed(_))
    ));
    assert_eq!(Chain::from_pem(b""), Err(CertificateError::NotFound));
    assert_eq!(Chain::new(Vec::new()), Err(CertificateError::NotFound));
}

#[test]
fn fingerprints_and_serials_print_as_openssl_does() {
    let leaf = node().chain.leaf().clone();
    let fingerprint = leaf.fingerprint().to_string();
    assert_eq!(fingerprint.len(), 64);
    assert!(
        fingerprint
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    );
    assert_eq!(leaf.serial().to_string(), format!("2B{}", "AB".repeat(15)));
}

#[test]
fn a_leaf_satisfies_a_template_when_it_holds_all_of_it() {
    let wanted = Template {
        dns_names: fixture::strings(&["n1"]),
        ip_addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        ..node_template("n1")
    };
    let issuer = ca();
    let (_, request) = fixture::request(KeyAlgorithm::EcdsaP256, &wanted);
    let leaf = case(request, &["server auth"])
        .issue(&issuer)
        .unwrap()
        .chain
        .leaf()
        .clone();
    let check = |change: &dyn Fn(&mut Template), expected: Result<(), &str>| {
        let mut template = wanted.clone();
        change(&mut template);
        let outcome = leaf.satisfies(&template);
        assert_eq!(outcome.as_ref().map_err(String::as_str).copied(), expected);
    };
    check(&|_| (), Ok(()));
    // More than wanted is fine.
    check(&|template| template.dns_names.clear(), Ok(()));
    check(&|template| template.ip_addresses.truncate(1), Ok(()));
    check(&|template| template.subject.organizations.clear(), Ok(()));
    // Addresses compare as they print in Go.
    check(
        &|template| template.ip_addresses[0] = "::ffff:10.0.0.1".parse().unwrap(),
        Ok(()),
    );
    check(
        &|template| template.subject.common_name.push('2'),
        Err("common name is \"system:node:n1\", wanted \"system:node:n12\""),
    );
    check(
        &|template| template.dns_names.push("n2".into()),
        Err("DNS name n2 is missing"),
    );
    check(
        &|template| template.ip_addresses.push("10.0.0.2".parse().unwrap()),
        Err("IP address 10.0.0.2 is missing"),
    );
    check(
        &|template| template.subject.organizations.push("o".into()),
        Err("organization o is missing"),
    );
}

#[test]
fn signatures_and_names_must_both_chain() {
    let (first, second) = (node(), node());
    // Both issuers have the same name and different keys.
    assert!(first.chain.leaf().is_signed_by(first.issuer.certificate()));
    assert!(!first.chain.leaf().is_signed_by(second.issuer.certificate()));
    // Same key, other name.
    let key = PrivateKey::from_pem(&first.issuer.key().unwrap().to_pem()).unwrap();
    let renamed = Issuer::self_signed("other", key, [1; 16], at(0), at(NOW_S * 2)).unwrap();
    assert!(!first.chain.leaf().is_signed_by(renamed.certificate()));
    assert!(
        first
            .chain
            .leaf()
            .verify_signature(renamed.certificate().public_key())
            .is_ok()
    );
    let issuer = first.issuer.certificate();
    assert!(issuer.is_signed_by(issuer));
}

#[test]
fn altered_certificates_do_not_verify() {
    let node = node();
    let der = node.chain.leaf().der();
    for index in 0..der.len() {
        let mut altered = der.to_vec();
        altered[index] ^= 1;
        if let Ok(leaf) = Leaf::from_der(&altered) {
            assert!(
                !leaf.is_signed_by(node.issuer.certificate()),
                "byte {index}"
            );
        }
    }
}

/// RFC 5280 4.2.1.12: without the extension every purpose is allowed; Go agrees.
#[test]
fn purposes_are_those_of_the_extension() {
    let allows = |usages: &[Usage]| {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let chain = ca()
            .issue_own(
                &node_template("n1"),
                key.public_key(),
                usages,
                [1; 16],
                now(),
                at(NOW_S + 60),
            )
            .unwrap();
        (
            chain.leaf().allows_client_auth(),
            chain.leaf().allows_server_auth(),
        )
    };
    assert_eq!(allows(&[Usage::ClientAuth]), (true, false));
    assert_eq!(allows(&[Usage::ServerAuth]), (false, true));
    assert_eq!(allows(&[Usage::CodeSigning]), (false, false));
    assert_eq!(allows(&[Usage::Any]), (true, true));
    assert_eq!(allows(&[]), (true, true));
}

#[test]
fn requests_are_cheap_to_clone() {
    let request = node_request().verified();
    let clone = request.clone();
    assert!(std::ptr::eq(request.subject(), clone.subject()));
    let leaf = ca().certificate().clone();
    assert!(std::ptr::eq(leaf.der(), leaf.clone().der()));
}

#[test]
fn sha1_signatures_do_not_count() {
    let text = include_str!("../../testdata/openssl/certificate-sha1.pem");
    let chain = Chain::from_pem(text.as_bytes()).unwrap();
    let leaf = chain.leaf();
    assert!(!leaf.is_signed_by(leaf));
    let error = leaf
        .verify_signature(leaf.public_key())
        .unwrap_err()
        .to_string();
    assert!(error.contains("SHA-1 is broken"), "{error}");
}

/// Replaces the last `from` in a certificate by `to`, of the same length.
fn with_last(der: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = der
        .windows(from.len())
        .rposition(|bytes| bytes == from)
        .unwrap();
    let mut altered = der.to_vec();
    altered[at..at + to.len()].copy_from_slice(to);
    altered
}

#[test]
fn contradictions_are_malformed() {
    let node = node();
    let der = node.chain.leaf().der();
    let refusal = |der: &[u8]| Leaf::from_der(der).unwrap_err().to_string();
    // ecdsa-with-SHA256 becomes ecdsa-with-SHA384, outside the signed part only.
    let algorithm = |hash: u8| [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, hash];
    let outer = with_last(der, &algorithm(2), &algorithm(3));
    assert!(refusal(&outer).contains("inner and outer signature algorithm differ"));
    // Version 1 and 2 have no extensions: such a certificate is read, as Go reads it, and believed
    // by nobody.
    for version in [0, 1] {
        let old = with_last(der, &[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, version]);
        let leaf = Leaf::from_der(&old).unwrap();
        let pinned: TrustBundle = [leaf.clone()].into_iter().collect();
        let shown = Presented::from_ders([leaf.der()]).unwrap();
        let refusal = pinned.judge(&shown, Purpose::ClientAuth, leaf.not_before());
        assert!(
            refusal
                .unwrap_err()
                .to_string()
                .contains("its version does not know")
        );
    }
    let unknown = with_last(der, &[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 3]);
    assert!(Leaf::from_der(&unknown).is_err());
    // A negative serial number.
    let serial = node.chain.leaf().serial().as_bytes().to_vec();
    let mut negative = serial.clone();
    negative[0] |= 0x80;
    assert!(refusal(&with_last(der, &serial, &negative)).contains("serial number is negative"));
}

#[test]
fn credentials_and_issuers_may_cross_threads() {
    fn shareable<T: Send + Sync>() {}
    shareable::<Credential>();
    shareable::<Issuer>();
    shareable::<everleaf_pki::VerifiedRequest>();
}
