//! Reading requests: what is refused, and what Go does not see but we count.

use crate::fixture::{
    self, CN, O, PRINTABLE, SAN, UTF8, attribute, extension, extension_request, node_request,
    node_template, seq, tlv,
};
use everleaf_pki::request::digest_name;
use everleaf_pki::{KeyAlgorithm, KeyError, PrivateKey, RequestError, VerifiedRequest, pem};

macro_rules! openssl {
    ($name:literal) => {
        include_str!(concat!("../../testdata/openssl/", $name))
    };
}

fn read(text: &str) -> Result<VerifiedRequest, RequestError> {
    VerifiedRequest::from_pem(text.as_bytes())
}

#[test]
fn only_the_first_pem_block_counts() {
    let good = node_request().pem();
    assert!(read(&format!("leading text\n{good}")).is_ok());
    assert!(
        read(&format!(
            "{good}-----BEGIN ATTESTATION-----\nAQID\n-----END ATTESTATION-----\n"
        ))
        .is_ok()
    );
    let with_headers = good.replacen("-----\n", "-----\nComment: x\n\n", 1);
    assert!(read(&with_headers).is_ok());
    // A malformed block is text.
    let broken = "-----BEGIN CERTIFICATE REQUEST-----\n!\n-----END CERTIFICATE REQUEST-----\n";
    assert!(read(&format!("{broken}{good}")).is_ok());

    assert_eq!(read("").unwrap_err(), RequestError::NotPem);
    assert_eq!(read(broken).unwrap_err(), RequestError::NotPem);
    let label = |label: &str| pem::encode(label, &node_request().der());
    for name in [
        "NEW CERTIFICATE REQUEST",
        "CERTIFICATE",
        "certificate request",
    ] {
        let error = read(&label(name)).unwrap_err();
        assert_eq!(error, RequestError::WrongLabel(name.into()));
        assert!(
            read(&format!("{}{good}", label(name))).is_err(),
            "later blocks are ignored"
        );
    }
    let empty = pem::encode("CERTIFICATE REQUEST", &[]);
    assert!(matches!(read(&empty), Err(RequestError::Malformed(_))));
}

#[test]
fn a_wrong_signature_is_refused() {
    let der = node_request().der();
    let other = node_request().common_name(b"system:node:n2").der();
    let mut flipped = der.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(
        VerifiedRequest::from_der(&flipped).unwrap_err(),
        RequestError::WrongSignature
    );
    // The signature of another request with the same key.
    let mut swapped = other;
    let at = swapped.len() - 64;
    swapped[at..].copy_from_slice(&der[der.len() - 64..]);
    assert_eq!(
        VerifiedRequest::from_der(&swapped).unwrap_err(),
        RequestError::WrongSignature
    );
    let mut trailing = der;
    trailing.push(0);
    assert!(matches!(
        VerifiedRequest::from_der(&trailing),
        Err(RequestError::Malformed(_))
    ));
}

#[test]
fn sha1_is_tolerated_and_md5_is_not() {
    for text in [
        openssl!("request-rsa-sha1.pem"),
        openssl!("request-p256-sha1.pem"),
    ] {
        assert!(read(text).unwrap().is_sha1_signed());
    }
    let error = read(openssl!("request-rsa-md5.pem"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("MD5 with RSA is broken"), "{error}");
    // The library has no SHA-1 for P-384; nobody makes such requests.
    let error = read(openssl!("request-p384-sha1.pem"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot be checked here"), "{error}");
}

/// Readable, as upstream, so that they can be stored; the strength rule refuses them later.
#[test]
fn weak_keys_are_read_and_judged_later() {
    for text in [
        openssl!("request-rsa-1024.pem"),
        openssl!("request-rsa-e3.pem"),
    ] {
        let request = read(text).unwrap();
        assert!(matches!(
            request.public_key().check_strength(),
            Err(KeyError::Weak(_))
        ));
    }
}

#[test]
fn private_keys_that_cannot_be_used_say_why() {
    let error = |text: &str| PrivateKey::from_pem(text).unwrap_err();
    assert_eq!(error(openssl!("key-encrypted.pem")), KeyError::Encrypted);
    assert_eq!(
        error(openssl!("key-rsa-encrypted-headers.pem")),
        KeyError::EncryptedOldWay
    );
    assert!(matches!(
        error(openssl!("key-rsa-1024.pem")),
        KeyError::Malformed { .. }
    ));
    assert!(matches!(
        error(openssl!("key-secp256k1.pem")),
        KeyError::Unsupported(_)
    ));
    assert_eq!(error("no key"), KeyError::NotFound);
    assert_eq!(error(&node_request().pem()), KeyError::NotFound);
    for der in [&[][..], &[0x30, 0], &[0x30, 3, 2, 1, 0], &[0x02, 1, 0]] {
        let text = pem::encode("PRIVATE KEY", der);
        assert!(
            matches!(error(&text), KeyError::Malformed { .. }),
            "{der:?}"
        );
    }
    assert!(PrivateKey::generate(KeyAlgorithm::Rsa(1024)).is_err());
}

/// One key, in each form that OpenSSL writes; what it was encrypted with does not matter.
#[test]
fn encrypted_keys_open_with_their_password() {
    let key = PrivateKey::from_pem(openssl!("key-p256-sec1-with-parameters.pem")).unwrap();
    for text in [
        openssl!("key-p256-pbes2-default.pem"),
        openssl!("key-p256-pbes2-aes128-sha512.pem"),
        openssl!("key-p256-pbes2-aes192-sha1.pem"),
    ] {
        let open = |password| PrivateKey::from_protected_pem(text, password);
        let opened = open(Some(&b"everleaf"[..])).unwrap();
        assert_eq!(opened.public_key(), key.public_key());
        assert_eq!(open(Some(b"wrong")).unwrap_err(), KeyError::WrongPassword);
        assert_eq!(open(None).unwrap_err(), KeyError::Encrypted);
    }
    for (text, method) in [
        (openssl!("key-p256-scrypt.pem"), "scrypt"),
        (
            openssl!("key-p256-pbes2-des3.pem"),
            "a method that cannot be read",
        ),
        (
            openssl!("key-p256-pbes1.pem"),
            "a method that cannot be read",
        ),
    ] {
        let error = PrivateKey::from_protected_pem(text, Some(b"everleaf")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(method), "{error}");
        assert!(
            error.contains("openssl pkcs8 -topk8 -v2 aes-256-cbc"),
            "{error}"
        );
    }
    // A plain key needs no password, and one does no harm.
    let plain = openssl!("key-p256-sec1-with-parameters.pem");
    assert!(PrivateKey::from_protected_pem(plain, Some(b"x")).is_ok());
}

/// The file decides how often a hash is made: not without a limit.
#[test]
fn an_encrypted_key_cannot_ask_for_hours() {
    let oid = |arcs: &[u8]| {
        tlv(
            0x06,
            &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d], arcs].concat(),
        )
    };
    let sha256 = seq(&[oid(&[2, 9]), tlv(0x05, &[])]);
    let iterations = tlv(0x02, &[0x7f, 0xff, 0xff, 0xff]);
    let derivation = seq(&[
        oid(&[1, 5, 12]),
        seq(&[tlv(0x04, &[1; 8]), iterations, sha256]),
    ]);
    let aes256 = tlv(0x06, &[0x60, 0x86, 0x48, 0x01, 0x65, 3, 4, 1, 42]);
    let cipher = seq(&[aes256, tlv(0x04, &[2; 16])]);
    let scheme = seq(&[oid(&[1, 5, 13]), seq(&[derivation, cipher])]);
    let text = pem::encode(
        "ENCRYPTED PRIVATE KEY",
        &seq(&[scheme, tlv(0x04, &[3; 48])]),
    );
    let error = PrivateKey::from_protected_pem(&text, Some(b"everleaf")).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("2147483647 iterations of PBKDF2"), "{error}");
}

#[test]
fn other_attributes_are_ignored() {
    let request = read(openssl!("request-attributes.pem")).unwrap();
    assert_eq!(request.dns_names(), ["n1"]);
    let odd = node_request().attribute(seq(&[vec![0x06, 1, 0x2a], tlv(0x31, &[])]));
    assert!(VerifiedRequest::from_der(&odd.der()).is_ok());
}

/// Two extensions of one kind, in one attribute or in two, could be read differently by two
/// parsers.
#[test]
fn repeated_extensions_are_refused_across_attributes() {
    let names = |name: &[u8]| extension(SAN, &seq(&[tlv(0x82, name)]));
    let one = extension_request(&[names(b"n1")]);
    let two = extension_request(&[names(b"n1"), names(b"n2")]);
    let is_ok = |request: fixture::RawRequest| VerifiedRequest::from_der(&request.der()).is_ok();
    assert!(is_ok(node_request().attribute(one.clone())));
    assert!(!is_ok(node_request().attribute(two)));
    assert!(!is_ok(node_request().attribute(one.clone()).attribute(one)));
}

#[test]
fn unusual_subjects_are_counted_before_their_values_are_read() {
    let usual = node_request();
    assert!(!usual.verified().has_unusual_subject());
    let serial_number = &[0x06, 3, 0x55, 4, 5];
    for (request, why) in [
        (
            usual.clone().also(CN, PRINTABLE, b"system:node:n1"),
            "two common names",
        ),
        (
            usual.clone().also(serial_number, PRINTABLE, b"1"),
            "another attribute",
        ),
        (usual.clone().also(O, 0x1c, b"\0\0\0a"), "UniversalString"),
        (
            usual.clone().also(O, 0x1a, b"system:masters"),
            "VisibleString",
        ),
        (usual.clone().also(O, 0x02, b"\x01"), "INTEGER"),
        (usual.clone().also(O, 0x05, b""), "NULL"),
        (
            usual
                .clone()
                .subject(&[attribute(O, PRINTABLE, b"system:nodes")]),
            "no common name",
        ),
    ] {
        let request = request.verified();
        assert!(request.has_unusual_subject(), "{why}");
        assert_eq!(request.subject().organizations, ["system:nodes"], "{why}");
    }
    let two_organizations = usual.also(O, UTF8, b"system:masters").verified();
    assert!(!two_organizations.has_unusual_subject());
    assert_eq!(
        two_organizations.subject().organizations,
        ["system:nodes", "system:masters"]
    );
}

/// The public key is the P-256 base point.
#[test]
fn digest_names_are_client_gos() {
    let key =
        PrivateKey::from_pem(include_str!("../../testdata/go/key-p256-one-sec1.pem")).unwrap();
    let name = |usages: &[&str]| {
        let spki = key.public_key().spki_der();
        digest_name(spki, "system:node:n1", &["system:nodes"], usages)
    };
    assert_eq!(
        name(&["digital signature", "key encipherment", "client auth"]),
        "node-csr-7PMj6sqcCHEU85YGV91zg3irAOI3DvNgQFsY1Jspsbw"
    );
    assert_eq!(
        name(&["digital signature", "client auth"]),
        "node-csr-ZAK5k7jaDenZEG-dy61F8D3gFX4vUqfMLVTvaJKpRuw"
    );
}

#[test]
fn templates_that_cannot_be_written_are_refused() {
    let key = PrivateKey::from_ed25519_seed(&[1; 32]).unwrap();
    let mut template = node_template("n1");
    template.dns_names = vec!["grün".into()];
    let error = template.to_request_pem(&key).unwrap_err().to_string();
    assert!(error.contains("\"grün\" is not ASCII"), "{error}");
}

#[test]
fn debug_output_keeps_secrets() {
    let key = PrivateKey::from_ed25519_seed(&[1; 32]).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey(Ed25519, …)");
    assert_eq!(format!("{:?}", key.public_key()), "PublicKey(Ed25519)");
    assert!(format!("{:?}", node_request().verified()).contains("system:node:n1"));
}
