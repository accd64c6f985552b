use super::super::build::{self, Content};
use super::super::{Issuer, shape_serial};
use super::*;
use crate::extension;
use crate::key::{KeyAlgorithm, PrivateKey};
use crate::signature::Hash;
use std::net::IpAddr;
use x509_cert::ext::Extension;

const ALGORITHM: SignatureAlgorithm = SignatureAlgorithm::Ecdsa(Hash::Sha256);
const BEGIN_S: i64 = 1_700_000_000;
/// 2060-01-01T00:00:00Z, which only a GeneralizedTime can say.
const END_S: i64 = 2_840_140_800;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn ca() -> Issuer {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    Issuer::self_signed("ca", key, [9; 16], at(BEGIN_S), at(END_S)).unwrap()
}

/// A sound certificate of `ca`, before one thing is changed.
fn content(ca: &Issuer) -> Content<'_> {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    Content {
        serial: shape_serial([0xab; 16]),
        issuer_der: ca.certificate().subject_der(),
        not_before: at(BEGIN_S),
        not_after: at(END_S),
        subject_der: ca.certificate().subject_der().to_vec(),
        public_key: key.public_key().clone(),
        extensions: build::leaf_extensions(
            (KeyUsageBits(KeyUsageBits::DIGITAL_SIGNATURE), Vec::new()),
            &names(),
            ca.certificate().subject_der(),
            ca.certificate().subject_key_id(),
        ),
    }
}

fn names() -> AltNames {
    AltNames {
        dns_names: vec!["n1".into()],
        ip_addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        ..AltNames::default()
    }
}

fn judge(ca: &Issuer, tbs: &[u8]) -> Result<Vec<Warning>, Finding> {
    let frame = Frame {
        issuer: ca.certificate().body(),
        limit: ca.limit(),
        algorithm: ALGORITHM,
    };
    check(tbs, &frame)
}

/// What the lint says once `change` was made.
#[track_caller]
fn check_refused(expected: &str, change: impl FnOnce(&mut Content<'_>)) {
    let ca = ca();
    let mut content = content(&ca);
    change(&mut content);
    let text = match judge(&ca, &content.to_tbs(ALGORITHM).unwrap()) {
        Err(Finding::Issuer(text) | Finding::Request(text)) => text,
        Err(Finding::Key(error)) => error.to_string(),
        Ok(_) => panic!("{expected}: not refused"),
    };
    assert!(text.contains(expected), "{expected}: {text}");
}

/// Puts an extension in the place of the one with its identifier.
fn put(content: &mut Content<'_>, new: Extension) {
    let of = |one: &Extension| one.extn_id == new.extn_id;
    content.extensions.retain(|one| !of(one));
    content.extensions.push(new);
}

fn put_names(content: &mut Content<'_>, names: &AltNames) {
    put(content, names.to_extension(false));
}

#[test]
fn a_sound_certificate_passes() {
    let ca = ca();
    let tbs = content(&ca).to_tbs(ALGORITHM).unwrap();
    let rules: Vec<_> = judge(&ca, &tbs)
        .unwrap()
        .iter()
        .map(|one| one.rule)
        .collect();
    assert_eq!(rules, ["long_lifetime"], "as long as its CA");
}

#[test]
fn frame() {
    check_refused("serial number is not in", |c| c.serial = [0; 16]);
    check_refused("never valid", |c| c.not_before = c.not_after);
    check_refused("would outlive the CA", |c| c.not_after = at(END_S + 1));
    check_refused("the issuer is not the CA's subject", |c| {
        c.issuer_der = EMPTY_NAME;
    });
    let id = |c: &mut Content<'_>, id: &[u8]| put(c, extension::authority_key_identifier(id));
    check_refused("the authority key identifier is not", |c| id(c, &[1; 20]));
    check_refused("the authority key identifier is not", |c| {
        c.extensions
            .retain(|one| one.extn_id != oid::AUTHORITY_KEY_IDENTIFIER);
    });
    check_refused("would be a CA", |c| {
        put(c, extension::basic_constraints(true))
    });
    check_refused("would be a CA", |c| {
        c.extensions
            .retain(|one| one.extn_id != oid::BASIC_CONSTRAINTS);
    });
    check_refused("is repeated", |c| {
        c.extensions.push(extension::basic_constraints(false));
    });
    for bit in [KeyUsageBits::CERT_SIGN, KeyUsageBits::CRL_SIGN] {
        check_refused("not for end-entity", |c| {
            put(c, KeyUsageBits(bit).to_extension())
        });
    }
}

/// Clients that look at issuer and serial number refuse it once the CA was renewed.
#[test]
fn an_issuer_is_identified_by_key_alone() {
    check_refused("names more than the key", |c| {
        let key_id = extension::authority_key_identifier(&[1]).extn_value;
        let inner = &key_id.as_bytes()[2..];
        let serial = [0x82, 1, 1];
        let members = [inner, &serial[..]].concat();
        let value = crate::asn1::element(crate::asn1::SEQUENCE, &members);
        put(
            c,
            extension::extension(oid::AUTHORITY_KEY_IDENTIFIER, false, value),
        );
    });
}

#[test]
fn alternative_names() {
    check_refused("is repeated", |c| {
        let dns_names = vec!["n1".into(), "n1".into()];
        put_names(
            c,
            &AltNames {
                dns_names,
                ..names()
            },
        );
    });
    check_refused("must be critical exactly", |c| {
        put(c, names().to_extension(true))
    });
    check_refused("an IPv4 address is written as IPv6", |c| {
        let IpAddr::V4(v4) = names().ip_addresses[0] else {
            panic!("an IPv4 address")
        };
        let address = crate::asn1::element(0x87, &v4.to_ipv6_mapped().octets());
        let value = crate::asn1::element(crate::asn1::SEQUENCE, &address);
        put(c, extension::extension(oid::SUBJECT_ALT_NAME, false, value));
    });
    check_refused("an IP address has 4 or 16 octets, not 5", |c| {
        let value = crate::asn1::element(crate::asn1::SEQUENCE, &[0x87, 5, 1, 2, 3, 4, 5]);
        put(c, extension::extension(oid::SUBJECT_ALT_NAME, false, value));
    });
}

/// Signed as kube-controller-manager signs them, and told.
#[test]
fn doubtful_names() {
    let long = "a".repeat(64);
    let longer = ["abc"; 64].join(".");
    for bad in [
        "worker_1", "", ".", "a..b", "-n1", "n1-", "n 1", "n1\0", "*", "n.*", &long, &longer,
    ] {
        let doubt = doubt_about(bad).unwrap_or_else(|| panic!("{bad}"));
        assert!(doubt.starts_with("is not made of letters"), "{bad}");
    }
    assert!(doubt_about("n1.example.").is_some_and(|text| text.starts_with("ends with a dot")));
    for good in [
        "n1",
        "N1.example",
        "*.example.com",
        "1a",
        "xn--bcher-kva.example",
    ] {
        assert_eq!(doubt_about(good), None, "{good}");
    }
}

/// What the reader of certificates takes, and a certificate of ours must not be.
#[test]
fn encoding() {
    let ca = ca();
    let sound = content(&ca).to_tbs(ALGORITHM).unwrap();
    let changed = |from: &[u8], to: &[u8]| {
        let at = sound
            .windows(from.len())
            .position(|window| window == from)
            .unwrap();
        let mut tbs = sound.clone();
        tbs[at..at + to.len()].copy_from_slice(to);
        match judge(&ca, &tbs) {
            Err(Finding::Issuer(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    let version = changed(&[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 1]);
    assert!(version.contains("not version 3"), "{version}");
    // A GeneralizedTime of a year that UTCTime can say.
    let date = changed(b"20600101", b"20400101");
    assert!(date.contains("a date is not in the one form"), "{date}");
    for other in [
        SignatureAlgorithm::Ecdsa(Hash::Sha1),
        SignatureAlgorithm::Ed25519,
    ] {
        let error = judge(&ca, &content(&ca).to_tbs(other).unwrap()).unwrap_err();
        let expected = "the signature algorithm is not that of the CA's key";
        assert_eq!(error, Finding::Issuer(expected.into()));
    }
}
