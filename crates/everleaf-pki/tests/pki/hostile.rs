//! Properties: what is written reads back, and no input makes a reader panic or lie.

use crate::fixture::{self, NOW_S, RawRequest, at, ca, case, node_request, now, tlv};
use everleaf_pki::{
    Chain, Credential, IssueError, Issuer, KeyAlgorithm, Leaf, PrivateKey, Profile, Subject,
    Template, Usage, VerifiedRequest, pem, signer,
};
use jiff::Timestamp;
use proptest::prelude::*;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

static CA: LazyLock<Issuer> = LazyLock::new(ca);
static KEY: LazyLock<PrivateKey> =
    LazyLock::new(|| PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,20}", "\\PC{0,8}", any::<String>()]
}

fn dns_name() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\\.[a-z0-9]{1,5}){0,3}"
}

fn template() -> impl Strategy<Value = Template> {
    (
        text(),
        prop::collection::vec(text(), 0..4),
        prop::collection::vec(dns_name(), 0..4),
        prop::collection::vec(any::<IpAddr>(), 0..4),
    )
        .prop_map(
            |(common_name, organizations, dns_names, ip_addresses)| Template {
                subject: Subject {
                    common_name,
                    organizations,
                },
                dns_names,
                ip_addresses,
                ..Template::default()
            },
        )
}

fn usages() -> impl Strategy<Value = Vec<Usage>> {
    // Without the two that no end entity may have.
    let allowed: Vec<Usage> = Usage::ALL
        .into_iter()
        .filter(|usage| !matches!(usage, Usage::CertSign | Usage::CrlSign))
        .collect();
    prop::collection::vec(prop::sample::select(allowed), 0..6)
}

fn request(template: &Template) -> VerifiedRequest {
    let pem = template.to_request_pem(&KEY).unwrap();
    VerifiedRequest::from_pem(pem.as_bytes()).unwrap()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn requests_read_back(template in template()) {
        let request = request(&template);
        prop_assert_eq!(&request.subject().common_name, &template.subject.common_name);
        // Go sorts the values of one attribute by their encoding.
        prop_assert_eq!(
            sorted(request.subject().organizations.clone()),
            sorted(template.subject.organizations.clone())
        );
        prop_assert_eq!(request.dns_names(), &template.dns_names[..]);
        let canonical: Vec<IpAddr> =
            template.ip_addresses.iter().map(IpAddr::to_canonical).collect();
        prop_assert_eq!(request.ip_addresses(), &canonical[..]);
        prop_assert_eq!(request.public_key(), KEY.public_key());
        prop_assert_eq!(
            request.has_unusual_subject(),
            template.subject.common_name.is_empty()
        );
    }

    #[test]
    fn what_is_issued_satisfies_the_request(
        template in template(),
        usages in usages(),
        ttl_s in 600..400_000_000_u64,
        expiration_s in proptest::option::of(any::<i32>()),
        serial in any::<[u8; 16]>(),
    ) {
        let mut case = case(request(&template), &[]).ttl_s(ttl_s);
        case.usages = usages.clone();
        case.expiration_seconds = expiration_s;
        let issued = CA.issue(&case.approved(), &case.profile, serial, now()).unwrap();
        let leaf = issued.chain.leaf();
        prop_assert_eq!(leaf.satisfies(&template), Ok(()));
        prop_assert!(leaf.is_signed_by(CA.certificate()) && !leaf.is_ca());
        prop_assert_eq!(leaf.public_key(), KEY.public_key());
        let end = CA.certificate().not_after();
        prop_assert!(leaf.not_after() <= end);
        prop_assert_eq!(issued.truncated && leaf.not_after() != end, false);
        let granted = signer::granted_duration(Duration::from_secs(ttl_s), expiration_s).as_secs() as i64;
        if !issued.truncated {
            let extra = if granted < 8 * 3600 { 300 } else { 0 };
            prop_assert_eq!(leaf.lifetime().seconds, granted + extra);
        }
        let is_purpose = |usage: &Usage| matches!(
            usage,
            Usage::Any | Usage::ServerAuth | Usage::ClientAuth | Usage::CodeSigning
                | Usage::EmailProtection | Usage::SMime | Usage::IpsecEndSystem
                | Usage::IpsecTunnel | Usage::IpsecUser | Usage::Timestamping
                | Usage::OcspSigning | Usage::MicrosoftSgc | Usage::NetscapeSgc
        );
        let unlimited = !usages.iter().any(is_purpose) || usages.contains(&Usage::Any);
        prop_assert_eq!(
            leaf.allows_client_auth(),
            unlimited || usages.contains(&Usage::ClientAuth)
        );
        // Shaped into [2^64, 2^127).
        let serial = leaf.serial().as_bytes().to_vec();
        prop_assert!((9..=16).contains(&serial.len()) && (serial.len() < 16 || serial[0] < 0x80));
        // And it reads back from its PEM.
        let again = Chain::from_pem(issued.chain.to_pem().as_bytes()).unwrap();
        prop_assert_eq!(&again, &issued.chain);
    }

    #[test]
    fn granted_durations_stay_in_bounds(configured_s in 0..u64::from(u32::MAX), asked in any::<i32>()) {
        let configured = Duration::from_secs(configured_s);
        let granted = signer::granted_duration(configured, Some(asked));
        let floor = Duration::from_secs(600);
        prop_assert!(granted <= configured.max(floor));
        prop_assert!(granted >= configured.min(floor));
        prop_assert_eq!(signer::granted_duration(configured, None), configured);
    }

    #[test]
    fn pem_reads_back(label in "[A-Z ]{1,20}", der in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = pem::encode(&label, &der);
        let found: Vec<pem::Block> = pem::blocks(text.as_bytes()).collect();
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!((&found[0].label, &found[0].der), (&label, &der));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    fn mutated_input_is_read_or_refused(
        sample in 0..4_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..4),
    ) {
        let mut bytes = SAMPLES[sample].clone();
        for (at, kind, value) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, value),
                _ => bytes.truncate(at),
            }
        }
        read_all(&bytes);
        // Whatever still reads as a request was signed by its key: only its original is.
        if let Ok(request) = VerifiedRequest::from_der(&bytes) {
            prop_assert!(bytes == SAMPLES[sample], "{:?}", request);
        }
    }
}

/// A request, a serving request, a certificate, a private key.
static SAMPLES: LazyLock<[Vec<u8>; 4]> = LazyLock::new(|| {
    let serving = node_request().sans(&[tlv(0x82, b"n1"), tlv(0x87, &[10, 0, 0, 1])]);
    let leaf = case(serving.verified(), &["server auth"])
        .issue(&CA)
        .unwrap();
    [
        node_request().der(),
        serving.der(),
        leaf.chain.leaf().der().to_vec(),
        KEY.to_pkcs8_der().unwrap().to_vec(),
    ]
});

/// Feeds bytes to every reader, bare and inside PEM, and uses what they make of it.
fn read_all(bytes: &[u8]) {
    if let Ok(leaf) = Leaf::from_der(bytes) {
        let _ = format!("{leaf:?} {} {}", leaf.issuer_text(), leaf.serial());
        assert!(leaf.lifetime().seconds > 0);
        let _ = leaf.is_signed_by(CA.certificate()) || leaf.public_key().check_strength().is_ok();
    }
    if let Ok(request) = VerifiedRequest::from_der(bytes) {
        let case = case(request, &["client auth"]);
        let _ = case.issue(&CA);
    }
    let _ = PrivateKey::from_der(bytes);
    for label in ["CERTIFICATE", "CERTIFICATE REQUEST", "EC PRIVATE KEY"] {
        let text = pem::encode(label, bytes);
        let _ = VerifiedRequest::from_pem(text.as_bytes());
        let _ = Credential::from_pem(text.as_bytes());
        let _ = Issuer::from_pem(text.as_bytes(), &text);
    }
    let _ = VerifiedRequest::from_pem(bytes);
    let _ = Chain::from_pem(bytes);
}

/// Large requests cost time in proportion: 3 MiB is what the API server lets in.
#[test]
fn large_requests_are_read_in_linear_time() {
    const NAMES: usize = 200_000;
    let names = vec![tlv(0x82, b"a"); NAMES];
    let request: RawRequest = node_request().sans(&names);
    let verified = request.verified();
    assert_eq!(verified.dns_names().len(), NAMES);
    // Repeats are dropped before anything is signed.
    let leaf = case(verified, &["client auth"]).issue(&CA).unwrap();
    assert_eq!(leaf.chain.leaf().dns_names().len(), 1);
    let extensions = vec![fixture::extension(&[0x06, 1, 0x2a], &[]); 50_000];
    let request = node_request().attribute(fixture::extension_request(&extensions));
    assert!(VerifiedRequest::from_der(&request.der()).is_err());
}

#[test]
fn deep_nesting_is_not_followed() {
    let mut bytes = Vec::new();
    for _ in 0..10_000 {
        bytes = [
            &[0x30, 0x83][..],
            &(bytes.len() as u32).to_be_bytes()[1..],
            &bytes,
        ]
        .concat();
    }
    read_all(&bytes);
}

#[test]
fn lifetimes_beyond_the_calendar_are_refused() {
    let case = case(node_request().verified(), &[]).ttl_s(u64::MAX);
    let error = case.issue(&CA).unwrap_err();
    assert!(matches!(error, IssueError::Issuer(_)), "{error}");
    let key = PrivateKey::from_ed25519_seed(&[2; 32]).unwrap();
    let before = Issuer::self_signed("ca", key, [1; 16], at(-10), at(NOW_S));
    assert!(before.is_err(), "no certificate dates before 1970");
    assert_eq!(Profile::default().backdate, Duration::from_secs(300));
}

/// A certificate's dates are its maker's choice: Go's zero time, RFC 5280's "no end", and dates
/// that are none.
#[test]
fn dates_at_the_edges_of_the_calendar() {
    let der = CA.certificate().der().to_vec();
    let utc = |text: &str| [&[0x17, 13][..], text.as_bytes()].concat();
    let generalized = |text: &str| [&[0x18, 15][..], text.as_bytes()].concat();
    let read = |not_before: Vec<u8>, not_after: Vec<u8>| {
        Leaf::from_der(&with_dates(&der, &[not_before, not_after].concat()))
            .map(|leaf| (leaf.not_before().to_string(), leaf.not_after().to_string()))
            .map_err(|error| error.to_string())
    };
    let dates = |before: &str, after: &str| Ok((before.to_owned(), after.to_owned()));
    assert_eq!(
        read(generalized("00010101000000Z"), utc("491231235959Z")),
        dates("0001-01-01T00:00:00Z", "2049-12-31T23:59:59Z")
    );
    assert_eq!(
        read(utc("500101000000Z"), generalized("99991231235959Z")),
        dates("1950-01-01T00:00:00Z", &Timestamp::MAX.to_string())
    );
    for bad in [
        utc("261301000000Z"),
        utc("260230000000Z"),
        utc("260101000060Z"),
        utc("2601010000000"),
        utc("2a0101000000Z"),
        generalized("2026010100000Z0"),
        vec![0x17, 0],
        vec![0x04, 1, 0],
    ] {
        assert!(read(bad.clone(), utc("491231235959Z")).is_err(), "{bad:?}");
    }
}

/// The certificate with another `Validity`; the signature no longer fits, which reading does not
/// mind.
fn with_dates(der: &[u8], validity: &[u8]) -> Vec<u8> {
    let wrap = |content: &[u8]| tlv(0x30, content);
    let element = |der: &[u8]| {
        let (header, length) = match der[1] {
            short @ 0..=0x7f => (2, usize::from(short)),
            0x81 => (3, usize::from(der[2])),
            _ => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
        };
        (header, header + length)
    };
    let content = &der[element(der).0..];
    let (tbs, rest) = content.split_at(element(content).1);
    let body = &tbs[element(tbs).0..];
    // version, serial, algorithm, issuer, then validity
    let at = (0..4).fold(0, |at, _| at + element(&body[at..]).1);
    let after = at + element(&body[at..]).1;
    wrap(
        &[
            wrap(&[&body[..at], &wrap(validity), &body[after..]].concat()),
            rest.to_vec(),
        ]
        .concat(),
    )
}
