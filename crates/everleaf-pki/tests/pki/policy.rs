//! Who may have a certificate: recognizer and signer rules, each refusal one change from the good
//! case.

use crate::fixture::{
    CLIENT, CLIENT_USAGES, CN, KUBELET_CLIENT, LEGACY, O, OU, PRINTABLE, RawRequest, SERVING,
    SERVING_USAGES, UTF8, attribute, node_request, strings, tlv,
};
use everleaf_pki::signer::{
    NotNodeClient, check_signer_policy, is_dns1123_subdomain, is_node_client,
};
use everleaf_pki::{Subject, VerifiedRequest};

const OK: Result<(), &str> = Ok(());
const DNS: u8 = 0x82;
const EMAIL: u8 = 0x81;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

#[track_caller]
fn recognize(
    request: &RawRequest,
    usages: &[&str],
    signer: &str,
    expected: Result<(), &'static str>,
) {
    let answer = is_node_client(signer, &request.verified(), &strings(usages));
    assert_eq!(
        answer.map_err(|why| why.to_string()),
        expected.map_err(str::to_owned)
    );
}

/// Upstream's cases (`pkg/controller/certificates/approver/sarapprove_test.go`).
#[test]
fn the_recognizer_takes_what_kubelets_send() {
    let node = node_request();
    let recognize_as = |usages: &[&str], signer: &str, expected| {
        recognize(&node, usages, signer, expected);
    };
    recognize_as(&CLIENT_USAGES, KUBELET_CLIENT, OK);
    recognize_as(&["client auth", "digital signature"], KUBELET_CLIENT, OK);
    let usages = Err("usages are not those of a kubelet client");
    recognize_as(&[], KUBELET_CLIENT, usages);
    recognize_as(&["client auth"], KUBELET_CLIENT, usages);
    recognize_as(
        &[&CLIENT_USAGES[..], &["server auth"]].concat(),
        KUBELET_CLIENT,
        usages,
    );
    // Compared as written: `signing` is another word.
    recognize_as(&["client auth", "signing"], KUBELET_CLIENT, usages);
    // As a set: repeats do not matter.
    recognize_as(
        &["client auth", "digital signature", "client auth"],
        KUBELET_CLIENT,
        OK,
    );
    let signer = Err("signer is not kubernetes.io/kube-apiserver-client-kubelet");
    for other in ["example.com/not-correct", SERVING, CLIENT, ""] {
        recognize_as(&CLIENT_USAGES, other, signer);
    }

    let refuse = |request: RawRequest, why| {
        recognize(&request, &CLIENT_USAGES, KUBELET_CLIENT, Err(why));
    };
    refuse(
        node_request().common_name(b"mike"),
        "subject common name does not begin with system:node:",
    );
    let organization = "subject organization is not system:nodes";
    let common_name = attribute(CN, PRINTABLE, b"system:node:n1");
    refuse(
        node_request().subject(std::slice::from_ref(&common_name)),
        organization,
    );
    let master = attribute(O, PRINTABLE, b"system:master");
    refuse(node_request().subject(&[master, common_name]), organization);
    refuse(
        node_request().also(O, UTF8, b"system:masters"),
        organization,
    );
    refuse(
        node_request().also(O, PRINTABLE, b"system:nodes"),
        organization,
    );
    for (tag, value) in [
        (DNS, &b"n1"[..]),
        (EMAIL, b"a@b"),
        (URI, b"a:b"),
        (IP, &[10, 0, 0, 1]),
    ] {
        refuse(
            node_request().san(tag, value),
            "subjectAltNames are not allowed",
        );
    }
    // What Go does not see does not block (spec 2.2).
    recognize(
        &node_request().san(0x88, &[0x2a]),
        &CLIENT_USAGES,
        KUBELET_CLIENT,
        OK,
    );
}

/// What upstream approves on its own and we leave for a person (spec 2.2, BETTER).
#[test]
fn the_recognizer_is_stricter_than_upstream() {
    let name = "node name in the common name is not a DNS-1123 subdomain";
    let long = format!("system:node:{}", "a".repeat(254));
    for common_name in [
        &b"system:node:"[..],
        b"system:node:N1",
        b"system:node:a\0",
        b"system:node:a\n",
        b"system:node:a b",
        b"system:node:a_b",
        b"system:node:.a",
        b"system:node:a-",
        b"system:node:a..b",
        "system:node:ü".as_bytes(),
        long.as_bytes(),
    ] {
        let request = node_request().common_name(common_name);
        recognize(&request, &CLIENT_USAGES, KUBELET_CLIENT, Err(name));
        // The signer, whose yes an operator asked for, keeps to upstream's rule.
        assert_eq!(
            policy(KUBELET_CLIENT, &request.verified(), &CLIENT_USAGES),
            Ok(())
        );
    }
    let longest = format!("system:node:{}", "a".repeat(253));
    let request = node_request().common_name(longest.as_bytes());
    recognize(&request, &CLIENT_USAGES, KUBELET_CLIENT, OK);

    let more = "subject holds more than one common name and organization system:nodes";
    for request in [
        node_request().also(CN, PRINTABLE, b"system:node:n2"),
        node_request().also(OU, PRINTABLE, b"unit"),
        node_request().also(O, 0x1a, b"system:masters"),
        node_request().also(O, 0x1c, b"\0\0\0a"),
    ] {
        recognize(&request, &CLIENT_USAGES, KUBELET_CLIENT, Err(more));
    }
    let weak = include_str!("../../testdata/openssl/request-rsa-1024.pem");
    let weak = VerifiedRequest::from_pem(weak.as_bytes()).unwrap();
    assert_eq!(*weak.subject(), Subject::node("n1"));
    let answer = is_node_client(KUBELET_CLIENT, &weak, &strings(&CLIENT_USAGES));
    assert_eq!(answer, Err(NotNodeClient::Key));
    // SHA-1 on a client request is tolerated, as upstream does.
    let sha1 = include_str!("../../testdata/openssl/request-p256-sha1.pem");
    let sha1 = VerifiedRequest::from_pem(sha1.as_bytes()).unwrap();
    assert_eq!(
        is_node_client(KUBELET_CLIENT, &sha1, &strings(&CLIENT_USAGES)),
        Ok(())
    );
}

fn policy(signer: &str, request: &VerifiedRequest, usages: &[&str]) -> Result<(), String> {
    check_signer_policy(signer, request, &strings(usages)).map_err(|broken| broken.to_string())
}

#[track_caller]
fn check(signer: &str, request: &RawRequest, usages: &[&str], expected: Result<(), &str>) {
    let outcome = policy(signer, &request.verified(), usages);
    assert_eq!(outcome.as_ref().map_err(String::as_str).copied(), expected);
}

#[test]
fn kube_apiserver_client_rules() {
    let odd = node_request()
        .common_name(b"anybody")
        .san(DNS, b"any.example");
    check(CLIENT, &odd, &CLIENT_USAGES, Ok(()));
    check(CLIENT, &odd, &["client auth"], Ok(()));
    let missing = "missing required usage for client certificate: client auth";
    check(CLIENT, &odd, &["digital signature"], Err(missing));
    check(CLIENT, &odd, &[], Err(missing));
    let invalid = "invalid usage for client certificate: server auth";
    check(CLIENT, &odd, &["client auth", "server auth"], Err(invalid));
    check(
        CLIENT,
        &odd,
        &["signing"],
        Err("invalid usage for client certificate: signing"),
    );
}

#[test]
fn kubelet_client_rules_and_their_order() {
    let usages = "usages did not match [client auth digital signature key encipherment]";
    check(KUBELET_CLIENT, &node_request(), &CLIENT_USAGES, Ok(()));
    check(
        KUBELET_CLIENT,
        &node_request(),
        &["digital signature", "client auth"],
        Ok(()),
    );
    check(
        KUBELET_CLIENT,
        &node_request(),
        &["client auth"],
        Err(usages),
    );
    check(
        KUBELET_CLIENT,
        &node_request(),
        &SERVING_USAGES,
        Err(usages),
    );
    // Each step repairs the fault that was named last: the order of spec 4.2.
    let all_names = [
        tlv(DNS, b"n1"),
        tlv(EMAIL, b"a@b"),
        tlv(IP, &[10, 0, 0, 1]),
        tlv(URI, b"a:b"),
    ];
    let nobody = node_request()
        .subject(&[attribute(CN, PRINTABLE, b"x")])
        .sans(&all_names);
    check(
        KUBELET_CLIENT,
        &nobody,
        &[],
        Err("subject organization is not system:nodes"),
    );
    let mut named = node_request().common_name(b"x");
    for (first, message) in [
        (0, "DNS subjectAltNames are not allowed"),
        (1, "Email subjectAltNames are not allowed"),
        (2, "IP subjectAltNames are not allowed"),
        (3, "URI subjectAltNames are not allowed"),
        (4, "subject common name does not begin with system:node:"),
    ] {
        named = named.sans(&all_names[first..]);
        check(KUBELET_CLIENT, &named, &[], Err(message));
    }
    check(KUBELET_CLIENT, &node_request(), &[], Err(usages));
}

#[test]
fn kubelet_serving_rules_and_their_order() {
    let good = node_request().san(DNS, b"n1");
    check(SERVING, &good, &SERVING_USAGES, Ok(()));
    check(
        SERVING,
        &good,
        &["server auth", "digital signature"],
        Ok(()),
    );
    check(
        SERVING,
        &node_request().san(IP, &[10, 0, 0, 1]),
        &SERVING_USAGES,
        Ok(()),
    );
    let usages = "usages did not match [digital signature key encipherment server auth]";
    let nobody = node_request().subject(&[attribute(CN, PRINTABLE, b"x")]);
    check(
        SERVING,
        &nobody,
        &[],
        Err("subject organization is not system:nodes"),
    );
    let named = node_request().common_name(b"x");
    check(
        SERVING,
        &named,
        &[],
        Err("DNS or IP subjectAltName is required"),
    );
    let only_email = named.clone().san(EMAIL, b"a@b");
    check(
        SERVING,
        &only_email,
        &[],
        Err("DNS or IP subjectAltName is required"),
    );
    let names = [tlv(DNS, b"n1"), tlv(URI, b"a:b"), tlv(EMAIL, b"a@b")];
    let all = named.clone().sans(&names);
    check(
        SERVING,
        &all,
        &[],
        Err("Email subjectAltNames are not allowed"),
    );
    let no_email = named.clone().sans(&names[..2]);
    check(
        SERVING,
        &no_email,
        &[],
        Err("URI subjectAltNames are not allowed"),
    );
    let dns = named.sans(&names[..1]);
    check(SERVING, &dns, &[], Err(usages));
    let common_name = "subject common name does not begin with system:node:";
    check(SERVING, &dns, &SERVING_USAGES, Err(common_name));
}

#[test]
fn legacy_unknown_has_no_rules() {
    check(LEGACY, &node_request().subject(&[]), &[], Ok(()));
}

#[test]
fn node_names_are_dns1123_subdomains() {
    for good in ["a", "0", "n1", "n-1.example.com", &"a".repeat(253)] {
        assert!(is_dns1123_subdomain(good), "{good}");
    }
    for bad in [
        "",
        "A",
        "-a",
        "a-",
        "a.",
        ".a",
        "a..b",
        "a_b",
        "ä",
        "a b",
        &"a".repeat(254),
    ] {
        assert!(!is_dns1123_subdomain(bad), "{bad}");
    }
}
