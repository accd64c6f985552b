//! Issuing: upstream's signer cases, then what is ours.

use crate::fixture::{
    self, CLIENT, CLIENT_USAGES, Case, KUBELET_CLIENT, LEGACY, NOW_S, RawRequest, SERVING,
    SERVING_USAGES, at, ca, ca_until, case, node_request, node_template, now, strings, tlv,
};
use everleaf_pki::issuer::NotApproved;
use everleaf_pki::{
    ApprovedRequest, IssueError, Issuer, KeyAlgorithm, Leaf, PrivateKey, Profile, SignerName,
    VerifiedRequest,
};
use jiff::Timestamp;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

/// Which signers issue, which fail, and the message then.
#[track_caller]
fn check(case: &Case, expected: Result<(), &str>) {
    match (case.issue(&ca()), expected) {
        (Ok(issued), Ok(())) => assert_eq!(issued.chain.certificates().len(), 1),
        (Err(IssueError::Policy { reason, message }), Err(wanted)) => {
            assert_eq!(
                (reason, message.as_str()),
                ("SignerValidationFailure", wanted)
            );
        }
        (outcome, _) => panic!("{outcome:?}, expected {expected:?}"),
    }
}

#[track_caller]
fn issued(case: &Case) -> Leaf {
    case.issue(&ca()).unwrap().chain.leaf().clone()
}

fn node() -> Case {
    case(node_request().verified(), &CLIENT_USAGES)
}

fn nameless() -> Case {
    case(node_request().subject(&[]).verified(), &[])
}

#[test]
fn signers_of_cases_26_to_30() {
    let (_, hello) = fixture::request(
        KeyAlgorithm::EcdsaP256,
        &fixture::template("hello-world", &["some-org"]),
    );
    check(&case(hello.clone(), &CLIENT_USAGES).signer(CLIENT), Ok(()));
    let usages = [&CLIENT_USAGES[..], &["server auth"]].concat();
    check(
        &case(hello, &usages).signer(CLIENT),
        Err("invalid usage for client certificate: server auth"),
    );
    check(&node().signer(KUBELET_CLIENT), Ok(()));
    check(&nameless().signer(LEGACY), Ok(()));
    let serving = node_request().san(0x82, b"example.com").verified();
    check(&case(serving, &SERVING_USAGES).signer(SERVING), Ok(()));
}

/// Cases 31 and 32, and that a denial outweighs an approval.
#[test]
fn only_approved_requests_are_signed() {
    let approve = |conditions: &[&str]| {
        let name = SignerName::new(SERVING);
        ApprovedRequest::new(node_request().verified(), name, vec![], None, conditions).map(drop)
    };
    assert_eq!(approve(&["Approved"]), Ok(()));
    assert_eq!(approve(&["Custom", "Approved"]), Ok(()));
    assert_eq!(approve(&["Approved", "Failed"]), Err(NotApproved::Failed));
    assert_eq!(approve(&[]), Err(NotApproved::Pending));
    assert_eq!(approve(&["Failed"]), Err(NotApproved::Pending));
    assert_eq!(approve(&["Approved", "Denied"]), Err(NotApproved::Denied));
}

/// Cases 33 to 35: signers that are not built in have no rule, so nothing is signed for them.
#[test]
fn unknown_signers_are_refused() {
    for name in [
        "kubernetes.io/not-recognised",
        "example.com/sample-name",
        "",
    ] {
        let error = node().signer(name).issue(&ca()).unwrap_err();
        assert!(
            error.to_string().ends_with("is not a built-in signer"),
            "{error}"
        );
    }
}

/// Case 24, read by an independent parser.
#[test]
fn a_kubelet_request_signed_by_an_rsa_ca() {
    let key = PrivateKey::generate(KeyAlgorithm::Rsa(2048)).unwrap();
    let issuer =
        Issuer::self_signed("rsa-ca", key, [1; 16], at(1_500_000_000), at(3_000_000_000)).unwrap();
    let (_, request) = fixture::request(KeyAlgorithm::EcdsaP256, &node_template("k-a-node-s36b"));
    let usages = ["signing", "key encipherment", "server auth", "client auth"];
    let issued = case(request, &usages).issue(&issuer).unwrap();
    let (rest, certificate) = X509Certificate::from_der(issued.chain.leaf().der()).unwrap();
    assert!(rest.is_empty());
    assert_eq!(certificate.version.0, 2);
    assert_eq!(
        certificate.subject().to_string(),
        "O=system:nodes, CN=system:node:k-a-node-s36b"
    );
    assert_eq!(certificate.issuer().to_string(), "CN=rsa-ca");
    assert_eq!(
        certificate.signature_algorithm.algorithm.to_id_string(),
        "1.2.840.113549.1.1.11"
    );
    let key_usage = certificate.key_usage().unwrap().unwrap();
    assert!(key_usage.critical);
    assert_eq!(
        key_usage.value.to_string(),
        "Digital Signature, Key Encipherment"
    );
    let constraints = certificate.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && !constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, None);
    let ids: Vec<String> = certificate
        .extensions()
        .iter()
        .map(|extension| extension.oid.to_id_string())
        .collect();
    // keyUsage, extKeyUsage, basicConstraints, authorityKeyIdentifier: nothing else.
    assert_eq!(ids, ["2.5.29.15", "2.5.29.37", "2.5.29.19", "2.5.29.35"]);
    let purposes = certificate.extended_key_usage().unwrap().unwrap();
    assert!(purposes.value.server_auth && purposes.value.client_auth && !purposes.critical);
    // serverAuth before clientAuth, as Go enumerates.
    let bytes = certificate.extensions()[1].value;
    assert_eq!((bytes[11], bytes[21]), (1, 2));
}

/// notBefore and notAfter relative to now, in seconds.
#[track_caller]
fn check_validity(case: &Case, not_before_s: i64, not_after_s: i64) {
    let leaf = issued(case);
    assert_eq!(leaf.not_before(), at(NOW_S + not_before_s));
    assert_eq!(leaf.not_after(), at(NOW_S + not_after_s));
}

const HOUR: i64 = 3600;

#[test]
fn durations_of_cases_25_and_36_to_47() {
    // 25: asking for more than configured is ignored; short lives are not cut by the backdate.
    check_validity(&node().expiration(3 * 3600), -300, HOUR);
    for (expiration_s, granted_s) in [
        (1800, 1800),
        (10_800, 3600),
        (-60, 600),
        (599, 600),
        (600, 600),
        (3600, 3600),
    ] {
        check_validity(&node().expiration(expiration_s), -300, granted_s);
    }
    check_validity(&node(), -300, HOUR);
    // 43: no backdate.
    check_validity(&node().backdate_s(0), 0, HOUR);
    // 47, and just below and at the threshold of 8 h.
    check_validity(&node().ttl_s(8 * 3600 - 1), -300, 8 * HOUR - 1);
    check_validity(&node().ttl_s(8 * 3600), -300, 8 * HOUR - 300);
}

/// Cases 58 to 60: what comes of a configured day.
#[test]
fn lifetimes_of_cases_58_to_60() {
    for (expiration_s, lifetime_s) in [
        (None, 24 * HOUR),
        (Some(24 * HOUR), 24 * HOUR),
        (Some(48 * HOUR), 24 * HOUR),
        (Some(20 * HOUR), 20 * HOUR),
        (Some(10 * HOUR), 10 * HOUR),
        (Some(2 * HOUR), 2 * HOUR + 300),
        (Some(1800), 2100),
        (Some(600), 900),
    ] {
        let mut case = node().ttl_s(24 * 3600);
        case.expiration_seconds = expiration_s.map(|seconds| seconds as i32);
        assert_eq!(
            issued(&case).lifetime().seconds,
            lifetime_s,
            "{expiration_s:?}"
        );
    }
}

/// Case 48, and the message to the operator.
#[test]
fn the_end_of_the_ca_caps() {
    let issuer = ca_until(at(NOW_S + 24 * HOUR));
    let capped = node().ttl_s(48 * 3600).issue(&issuer).unwrap();
    assert_eq!(
        capped.chain.leaf().not_after(),
        issuer.certificate().not_after()
    );
    assert!(capped.truncated);
    let short = node().ttl_s(23 * 3600).issue(&issuer).unwrap();
    assert!(!short.truncated);
    // Exactly at the end is not cut.
    let exact = node().ttl_s(24 * 3600 + 300).issue(&issuer).unwrap();
    assert_eq!(
        exact.chain.leaf().not_after(),
        issuer.certificate().not_after()
    );
    assert!(!exact.truncated);
}

/// Cases 50 and 51.
#[test]
fn an_expired_ca_signs_nothing() {
    let outcome = |ca_end_s: i64, now_s: i64| {
        let error = node()
            .now_s(now_s)
            .issue(&ca_until(at(ca_end_s)))
            .unwrap_err();
        assert!(
            matches!(error, IssueError::Issuer(_)),
            "the request may be signed when the CA is renewed"
        );
        error.to_string()
    };
    let end = "2027-01-15T08:00:00Z";
    assert_eq!(
        outcome(NOW_S, NOW_S + 300),
        format!("the signer has expired: NotAfter={end}")
    );
    let past = format!("refusing to sign a certificate that expired in the past: NotAfter={end}");
    assert_eq!(outcome(NOW_S, NOW_S + 60), past);
    assert_eq!(outcome(NOW_S, NOW_S), past);
    assert!(node().now_s(NOW_S - 1).issue(&ca_until(at(NOW_S))).is_ok());
}

#[test]
fn fractions_of_a_second_are_cut() {
    let mut case = node();
    case.now = Timestamp::new(NOW_S, 999_999_999).unwrap();
    check_validity(&case, -300, HOUR);
}

/// The ten-year certificate that first crosses the end of UTCTime.
#[test]
fn dates_from_2050_on_are_generalized_times() {
    let ten_years = 87_600 * 3600;
    let before: Timestamp = "2039-12-30T00:00:00Z".parse().unwrap();
    let after: Timestamp = "2040-01-10T00:00:00Z".parse().unwrap();
    for (now, tag) in [(before, 0x17), (after, 0x18)] {
        let leaf = issued(&node().ttl_s(ten_years).now_s(now.as_second()));
        let (_, parsed) = X509Certificate::from_der(leaf.der()).unwrap();
        assert_eq!(
            parsed.validity().not_after.timestamp(),
            leaf.not_after().as_second()
        );
        let text = leaf.not_after().strftime("%Y%m%d%H%M%SZ").to_string();
        let text = if tag == 0x17 { &text[2..] } else { &text[..] };
        let element = tlv(tag, text.as_bytes());
        assert!(
            leaf.der()
                .windows(element.len())
                .any(|bytes| bytes == element),
            "{now}"
        );
    }
}

/// Case 43: the link to the issuer.
#[test]
fn the_leaf_names_its_issuer() {
    let issuer = ca();
    let leaf = node().issue(&issuer).unwrap().chain.leaf().clone();
    assert!(leaf.is_signed_by(issuer.certificate()));
    let (_, parsed) = X509Certificate::from_der(leaf.der()).unwrap();
    let (_, parsed_ca) = X509Certificate::from_der(issuer.certificate().der()).unwrap();
    assert_eq!(parsed.issuer().as_raw(), parsed_ca.subject().as_raw());
    let key_id = |certificate: &X509Certificate<'_>| {
        certificate
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    id.key_identifier.as_ref().map(|id| id.0.to_vec())
                }
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            })
    };
    assert_eq!(key_id(&parsed).unwrap(), key_id(&parsed_ca).unwrap());
    assert!(key_id(&parsed).is_some_and(|id| id.len() == 20));
}

/// Cases 44, 45, 52, 53, 54 end to end: which usage extensions appear.
#[test]
fn usage_extensions_appear_only_when_used() {
    let ids = |usages: &[&str]| {
        let leaf = issued(&case(node_request().verified(), usages));
        let (_, parsed) = X509Certificate::from_der(leaf.der()).unwrap();
        (
            parsed.key_usage().unwrap().map(|usage| usage.value.flags),
            parsed.extended_key_usage().unwrap().is_some(),
        )
    };
    assert_eq!(ids(&["signing"]), (Some(1), false));
    assert_eq!(ids(&["client auth"]), (None, true));
    assert_eq!(ids(&["client auth", "client auth"]), (None, true));
    assert_eq!(ids(&[]), (None, false));
    assert_eq!(ids(&["decipher only"]), (Some(1 << 8), false));
}

/// Case 49 and its neighbours: names of all kinds survive, in Go's order; the others are lost.
#[test]
fn names_survive_without_repeats() {
    let request = node_request().sans(&[
        tlv(0x86, b"spiffe://example/n1"),
        tlv(0x87, &[10, 0, 0, 1]),
        tlv(0x82, b"n1"),
        tlv(0x88, &[0x2a]),
        tlv(0x81, b"a@example.com"),
        tlv(0x82, b"n1"),
        tlv(
            0x87,
            &"::ffff:10.0.0.1"
                .parse::<std::net::Ipv6Addr>()
                .unwrap()
                .octets(),
        ),
    ]);
    let verified = request.verified();
    assert_eq!(
        verified.dns_names().len(),
        2,
        "the request shows what was written"
    );
    let leaf = issued(&case(verified, &["client auth"]));
    let (_, parsed) = X509Certificate::from_der(leaf.der()).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert!(!names.critical);
    let texts: Vec<String> = names
        .value
        .general_names
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        texts,
        [
            "DNSName(n1)",
            "RFC822Name(a@example.com)",
            "IPAddress(0a:00:00:01)",
            "URI(spiffe://example/n1)"
        ]
    );
}

#[test]
fn requested_extensions_are_dropped() {
    let ca_true = [0x30, 0x03, 0x01, 0x01, 0xff];
    let wish = fixture::extension(&[0x06, 3, 0x55, 0x1d, 0x13], &ca_true);
    let usage = fixture::extension(fixture::KEY_USAGE, &[0x03, 2, 1, 6]);
    let request = node_request().attribute(fixture::extension_request(&[wish, usage]));
    let leaf = issued(&case(request.verified(), &CLIENT_USAGES));
    assert!(!leaf.is_ca());
}

/// Permanent refusals, with the reason for the Failed condition.
#[test]
fn what_can_never_be_issued_says_why() {
    let refusal = |request: &RawRequest, usages: &[&str]| match case(request.verified(), usages)
        .issue(&ca())
        .unwrap_err()
    {
        IssueError::Policy { reason, message } => (reason, message),
        other => panic!("{other}"),
    };
    for usage in ["cert sign", "crl sign"] {
        let (reason, message) = refusal(&node_request(), &[usage]);
        assert_eq!(reason, "PolicyViolation");
        assert_eq!(
            message,
            format!("usage {usage:?} is not for end-entity certificates")
        );
    }
}

/// kube-controller-manager signs with a CA that begins tomorrow, and nobody believes what it
/// signed.
#[test]
fn a_ca_that_has_not_begun_signs_nothing_yet() {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let (begin, end) = (NOW_S + 60, NOW_S + 1_000_000);
    let ca = Issuer::self_signed("ca", key, [9; 16], at(begin), at(end)).unwrap();
    let case = case(node_request().verified(), &CLIENT_USAGES);
    let error = case.clone().now_s(begin - 1).issue(&ca).unwrap_err();
    assert!(matches!(error, IssueError::Issuer(_)));
    assert_eq!(
        error.to_string(),
        "the signing CA has not begun: NotBefore=2027-01-15T08:01:00Z, and it is 2027-01-15T08:00:59Z"
    );
    case.now_s(begin).issue(&ca).unwrap();
}

/// A weak key: refused for good, with a reason of its own.
#[test]
fn weak_keys_get_no_certificate() {
    let text = include_str!("../../testdata/openssl/request-rsa-1024.pem");
    let weak = VerifiedRequest::from_pem(text.as_bytes()).unwrap();
    let error = case(weak.clone(), &CLIENT_USAGES).issue(&ca()).unwrap_err();
    let expected = IssueError::Policy {
        reason: "UnsupportedKey",
        message: "weak key: RSA 1024: 2048 to 8192 bits are accepted".into(),
    };
    assert_eq!(error, expected);
    let own = ca().issue_own(
        &node_template("n1"),
        weak.public_key(),
        &[],
        [1; 16],
        now(),
        at(NOW_S + 9),
    );
    assert_eq!(own.unwrap_err(), expected);
}

/// [2^64, 2^127): never short, never negative, whatever the random bytes are.
#[test]
fn serial_numbers_are_shaped() {
    let issuer = ca();
    let approved = node().approved();
    let serial = |bytes: [u8; 16]| {
        let issued = issuer
            .issue(&approved, &Profile::default(), bytes, now())
            .unwrap();
        issued.chain.leaf().serial().clone()
    };
    assert_eq!(serial([0; 16]).to_string(), "010000000000000000");
    assert_eq!(
        serial([0xff; 16]).to_string(),
        format!("7F{}", "FF".repeat(15))
    );
    let mut low = [0; 16];
    low[8..].fill(0xaa);
    assert_eq!(serial(low).to_string(), format!("01{}", "AA".repeat(8)));
    low[7] = 1;
    assert_eq!(serial(low).to_string(), format!("01{}", "AA".repeat(8)));
}

#[test]
fn warnings_name_what_is_worth_knowing() {
    let warnings = |case: Case| -> Vec<String> {
        let warnings = case.issue(&ca()).unwrap().warnings;
        warnings.iter().map(ToString::to_string).collect()
    };
    let short = ["digital signature", "client auth"];
    assert_eq!(
        warnings(case(node_request().verified(), &short)),
        strings(&[])
    );
    assert_eq!(
        warnings(case(node_request().verified(), &short).ttl_s(87_600 * 3600)),
        strings(&["valid for 3650 days: nothing revokes it before its end"])
    );
    assert_eq!(
        warnings(node()),
        strings(&["key encipherment means nothing for Ed25519 keys"])
    );
    let both = ["client auth", "server auth", "any"];
    assert_eq!(warnings(case(node_request().verified(), &both)).len(), 2);
}
