//! Names and addresses that no careful administrator would give a node: what
//! kube-controller-manager makes of them (testdata/README.md), ours makes, too.

use crate::fixture::{self, CLIENT, KUBELET_CLIENT, LEGACY, SERVING, ca, case};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_pki::{IssueError, VerifiedRequest};

const RECORDED: &str = include_str!("../../testdata/go/odd-names.txt");

/// The columns of verdicts, with the usages that were asked for.
const SIGNERS: [(&str, &str); 4] = [
    (SERVING, "server auth"),
    (KUBELET_CLIENT, "client auth"),
    (CLIENT, "client auth"),
    (LEGACY, "server auth"),
];

#[test]
fn odd_names_are_issued_as_kube_controller_manager_issues_them() {
    let ca = ca();
    let mut differences = Vec::new();
    for line in RECORDED.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [label, request, verdicts @ .., names] = columns.as_slice() else {
            panic!("a line of {} columns", columns.len());
        };
        let request = VerifiedRequest::from_der(&STANDARD.decode(request).unwrap());
        for ((signer, usage), recorded) in SIGNERS.into_iter().zip(verdicts) {
            let ours = match &request {
                Err(_) => "malformed".to_owned(),
                Ok(request) => {
                    let usages = ["digital signature", usage];
                    match case(request.clone(), &usages).signer(signer).issue(&ca) {
                        Ok(issued) => {
                            let der = issued.chain.leaf().der();
                            assert!(holds(der, names), "{label}: other names");
                            "issued".to_owned()
                        }
                        Err(IssueError::Policy { reason, message }) => {
                            let reason = reason.replace("SignerValidationFailure", "failed");
                            format!("{reason}: {message}")
                        }
                        Err(other) => format!("retried: {other}"),
                    }
                }
            };
            if ours != *recorded {
                differences.push(format!("{label}, {signer}: {recorded}; ours: {ours}"));
            }
        }
    }
    assert!(RECORDED.lines().count() > 90);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Whether a certificate holds a subjectAltName of these names, but for repeats: ours has none.
fn holds(certificate: &[u8], names: &str) -> bool {
    let find = |wanted: &[u8]| {
        certificate
            .windows(wanted.len())
            .any(|window| window == wanted)
    };
    if names == "-" {
        return !find(fixture::SAN);
    }
    let mut distinct: Vec<Vec<u8>> = Vec::new();
    for name in elements(&elements(&STANDARD.decode(names).unwrap())[0].1) {
        let element = fixture::tlv(name.0, &name.1);
        if !distinct.contains(&element) {
            distinct.push(element);
        }
    }
    find(&fixture::extension(fixture::SAN, &fixture::seq(&distinct)))
}

/// Tag and content of each element.
fn elements(mut der: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut elements = Vec::new();
    while let [tag, short, ..] = *der {
        let (header, length) = match short {
            0x81 => (3, usize::from(der[2])),
            0x82 => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
            length => (2, usize::from(length)),
        };
        elements.push((tag, der[header..header + length].to_vec()));
        der = &der[header + length..];
    }
    elements
}
