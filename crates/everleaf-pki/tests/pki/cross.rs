//! What other implementations make of our requests and certificates: rustls-webpki, x509-parser,
//! rcgen, and the `openssl` program where there is one.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "only here a test starts a program and leaves it files"
)]

use crate::fixture::{self, Case, NOW_S, SERVING_USAGES, at, case, node_template};
use everleaf_pki::{
    Chain, Issuer, KeyAlgorithm, Leaf, MlDsa, PrivateKey, Template, VerifiedRequest, pem,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::process::Command;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};

const ALGORITHMS: [KeyAlgorithm; 8] = [
    KeyAlgorithm::EcdsaP256,
    KeyAlgorithm::EcdsaP384,
    KeyAlgorithm::EcdsaP521,
    KeyAlgorithm::Ed25519,
    KeyAlgorithm::Rsa(2048),
    KeyAlgorithm::MlDsa(MlDsa::MlDsa44),
    KeyAlgorithm::MlDsa(MlDsa::MlDsa65),
    KeyAlgorithm::MlDsa(MlDsa::MlDsa87),
];

/// What x509-parser's verifier lacks.
fn is_beyond_x509_parser(algorithm: KeyAlgorithm) -> bool {
    matches!(algorithm, KeyAlgorithm::EcdsaP521 | KeyAlgorithm::MlDsa(_))
}

fn ca(algorithm: KeyAlgorithm) -> Issuer {
    let key = PrivateKey::generate(algorithm).unwrap();
    Issuer::self_signed(
        "cross-ca",
        key,
        [3; 16],
        at(1_500_000_000),
        at(3_000_000_000),
    )
    .unwrap()
}

fn serving_template() -> Template {
    Template {
        dns_names: fixture::strings(&["n1", "n1.example.com"]),
        ip_addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        ..node_template("n1")
    }
}

fn client(algorithm: KeyAlgorithm) -> Case {
    let (_, request) = fixture::request(algorithm, &node_template("n1"));
    case(request, &["digital signature", "client auth"])
}

fn serving(algorithm: KeyAlgorithm) -> Case {
    let (_, request) = fixture::request(algorithm, &serving_template());
    case(request, &SERVING_USAGES)
}

/// Verifies with webpki at `now_s`.
fn webpki(chain: &Chain, ca: &Leaf, usage: KeyUsage, now_s: i64) -> Result<(), webpki::Error> {
    let certificate = CertificateDer::from(chain.leaf().der());
    let ca = CertificateDer::from(ca.der());
    let anchor = anchor_from_trusted_cert(&ca).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now_s as u64));
    EndEntityCert::try_from(&certificate)?
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor],
            &[],
            now,
            usage,
            None,
            None,
        )
        .map(drop)
}

#[test]
fn webpki_accepts_what_we_issue_for_its_purpose() {
    for issuer_algorithm in ALGORITHMS {
        let issuer = ca(issuer_algorithm);
        let ca = issuer.certificate();
        let client = client(KeyAlgorithm::EcdsaP256)
            .issue(&issuer)
            .unwrap()
            .chain;
        let check = |chain: &Chain, usage: KeyUsage| webpki(chain, ca, usage, NOW_S);
        assert_eq!(
            check(&client, KeyUsage::client_auth()),
            Ok(()),
            "{issuer_algorithm}"
        );
        assert!(check(&client, KeyUsage::server_auth()).is_err());
        let serving = serving(KeyAlgorithm::EcdsaP256)
            .issue(&issuer)
            .unwrap()
            .chain;
        assert_eq!(
            check(&serving, KeyUsage::server_auth()),
            Ok(()),
            "{issuer_algorithm}"
        );
        assert!(check(&serving, KeyUsage::client_auth()).is_err());
        // Dates: the first and last valid second, and their neighbours.
        let (from, to) = (
            client.leaf().not_before().as_second(),
            client.leaf().not_after().as_second(),
        );
        for (second, valid) in [(from - 1, false), (from, true), (to, true), (to + 1, false)] {
            let outcome = webpki(&client, ca, KeyUsage::client_auth(), second);
            assert_eq!(outcome.is_ok(), valid, "{second}");
        }
    }
}

/// Each kind of ML-DSA key under each, and under and above P-256.
#[test]
fn webpki_accepts_chains_that_mix_kinds_of_keys() {
    let post_quantum = MlDsa::ALL.map(KeyAlgorithm::MlDsa);
    for issuer_algorithm in post_quantum.into_iter().chain([KeyAlgorithm::EcdsaP256]) {
        let issuer = ca(issuer_algorithm);
        for algorithm in post_quantum {
            let (_, request) = fixture::request(algorithm, &node_template("n1"));
            let case = case(request, &["digital signature", "client auth"]);
            let chain = case.issue(&issuer).unwrap().chain;
            assert_eq!(
                webpki(&chain, issuer.certificate(), KeyUsage::client_auth(), NOW_S),
                Ok(()),
                "{algorithm} under {issuer_algorithm}"
            );
        }
    }
}

/// Keys, requests and certificates of ML-DSA that rcgen made.
#[test]
fn we_read_rcgens_ml_dsa() {
    for algorithm in [
        &rcgen::PKCS_ML_DSA_44,
        &rcgen::PKCS_ML_DSA_65,
        &rcgen::PKCS_ML_DSA_87,
    ] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new(vec!["n1".to_owned()]).unwrap();
        let request = params.serialize_request(&key).unwrap().pem().unwrap();
        let request = VerifiedRequest::from_pem(request.as_bytes()).unwrap();
        assert!(request.public_key().is_ml_dsa());
        let leaf = Leaf::from_der(params.self_signed(&key).unwrap().der()).unwrap();
        assert!(leaf.is_signed_by(&leaf));
        let ours = PrivateKey::from_pem(&key.serialize_pem()).unwrap();
        assert_eq!(ours.public_key(), request.public_key());
        assert_eq!(*ours.to_pkcs8_der().unwrap(), key.serialize_der());
    }
}

#[test]
fn webpki_finds_the_names() {
    let issuer = ca(KeyAlgorithm::EcdsaP256);
    let chain = serving(KeyAlgorithm::EcdsaP256)
        .issue(&issuer)
        .unwrap()
        .chain;
    let certificate = CertificateDer::from(chain.leaf().der());
    let certificate = EndEntityCert::try_from(&certificate).unwrap();
    let is_valid = |name: &'static str| {
        certificate
            .verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap())
            .is_ok()
    };
    for name in ["n1", "n1.example.com", "10.0.0.1", "fd00::1"] {
        assert!(is_valid(name), "{name}");
    }
    assert!(!is_valid("n2") && !is_valid("10.0.0.2"));
}

#[test]
fn x509_parser_verifies_what_we_issue() {
    for algorithm in ALGORITHMS {
        if is_beyond_x509_parser(algorithm) {
            continue;
        }
        let issuer = ca(algorithm);
        let chain = serving(algorithm).issue(&issuer).unwrap().chain;
        let (_, ca) = X509Certificate::from_der(issuer.certificate().der()).unwrap();
        let (rest, leaf) = X509Certificate::from_der(chain.leaf().der()).unwrap();
        assert!(rest.is_empty());
        assert_eq!(
            leaf.verify_signature(Some(ca.public_key())),
            Ok(()),
            "{algorithm}"
        );
        assert_eq!(ca.verify_signature(None), Ok(()), "{algorithm}");
        assert!(ca.is_ca() && !leaf.is_ca());
    }
}

#[test]
fn x509_parser_reads_our_requests() {
    for algorithm in ALGORITHMS {
        let key = PrivateKey::generate(algorithm).unwrap();
        let text = serving_template().to_request_pem(&key).unwrap();
        let der = pem::blocks(text.as_bytes()).next().unwrap().der;
        let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
        let subject = request.certification_request_info.subject.to_string();
        assert_eq!(subject, "O=system:nodes, CN=system:node:n1");
        if !is_beyond_x509_parser(algorithm) {
            assert_eq!(request.verify_signature(), Ok(()), "{algorithm}");
        }
    }
}

#[test]
fn we_read_rcgens_requests_and_certificates() {
    use rcgen::{CertificateParams, DnType, KeyPair};
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["n1".to_owned(), "10.0.0.1".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:nodes");
    params
        .distinguished_name
        .push(DnType::CommonName, "system:node:n1");
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let request = VerifiedRequest::from_pem(request.as_bytes()).unwrap();
    assert_eq!(request.subject().common_name, "system:node:n1");
    assert_eq!(
        (request.dns_names(), request.ip_addresses().len()),
        (&["n1".to_owned()][..], 1)
    );
    let certificate = params.self_signed(&key).unwrap();
    let leaf = Leaf::from_der(certificate.der()).unwrap();
    assert!(leaf.is_signed_by(&leaf));
    assert!(PrivateKey::from_pem(&key.serialize_pem()).is_ok());
}

/// A scratch directory and the `openssl` program; `None`, with a printed reason, without it.
struct OpenSsl {
    directory: std::path::PathBuf,
}

impl OpenSsl {
    fn find(test: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("skipped: no openssl program on this machine");
            return None;
        }
        let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        std::fs::create_dir_all(&directory).unwrap();
        Some(Self { directory })
    }

    /// What this program can verify: ML-DSA from OpenSSL 3.5 on.
    fn algorithms(&self) -> impl Iterator<Item = KeyAlgorithm> + use<> {
        let knows_ml_dsa = self.run("list -signature-algorithms").contains("ML-DSA-65");
        ALGORITHMS
            .into_iter()
            .filter(move |algorithm| knows_ml_dsa || !matches!(algorithm, KeyAlgorithm::MlDsa(_)))
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.directory.join(name), text).unwrap();
    }

    /// Runs `openssl` with blank-separated arguments; answers what it printed, errors included.
    #[track_caller]
    fn run(&self, arguments: &str) -> String {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&self.directory)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {text}");
        text
    }
}

#[test]
fn openssl_verifies_what_we_issue() {
    let Some(openssl) = OpenSsl::find("issue") else {
        return;
    };
    for algorithm in openssl.algorithms() {
        let issuer = ca(algorithm);
        openssl.put("ca.pem", &issuer.certificate_pem());
        for (name, case, purpose) in [
            ("client", client(algorithm), "sslclient"),
            ("serving", serving(algorithm), "sslserver"),
        ] {
            let chain = case.issue(&issuer).unwrap().chain;
            openssl.put("leaf.pem", &chain.to_pem());
            let verified = openssl.run(&format!(
                "verify -x509_strict -attime {NOW_S} -purpose {purpose} -CAfile ca.pem leaf.pem"
            ));
            assert_eq!(verified.trim(), "leaf.pem: OK", "{algorithm} {name}");
            let subject =
                openssl.run("x509 -in leaf.pem -noout -subject -serial -fingerprint -sha256");
            let fingerprint = chain.leaf().fingerprint().to_string().to_uppercase();
            let lines: Vec<&str> = subject.lines().collect();
            assert_eq!(lines[0], "subject=O = system:nodes, CN = system:node:n1");
            assert_eq!(lines[1], format!("serial={}", chain.leaf().serial()));
            assert!(lines[2].replace(':', "").ends_with(&fingerprint));
        }
    }
}

#[test]
fn openssl_reads_our_requests_and_keys() {
    let Some(openssl) = OpenSsl::find("request") else {
        return;
    };
    for algorithm in openssl.algorithms() {
        let key = PrivateKey::generate(algorithm).unwrap();
        openssl.put(
            "request.pem",
            &serving_template().to_request_pem(&key).unwrap(),
        );
        let verified = openssl.run("req -in request.pem -noout -verify");
        assert!(verified.contains("verify OK"), "{algorithm}: {verified}");
        openssl.put("key.pem", &key.to_pem());
        openssl.put(
            "key8.pem",
            &pem::encode("PRIVATE KEY", &key.to_pkcs8_der().unwrap()),
        );
        let public = openssl.run("pkey -in key.pem -pubout");
        assert_eq!(
            public,
            pem::encode("PUBLIC KEY", key.public_key().spki_der())
        );
        assert_eq!(
            public,
            openssl
                .run("pkey -in key8.pem -check -pubout")
                .replace("Key is valid\n", "")
        );
    }
}

#[test]
fn we_read_openssls_keys_and_requests() {
    let Some(openssl) = OpenSsl::find("read") else {
        return;
    };
    for arguments in [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out key.pem",
        "genpkey -algorithm ED25519 -out key.pem",
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -quiet -out key.pem",
        "ecparam -name prime256v1 -genkey -out key.pem",
    ] {
        openssl.run(arguments);
        openssl
            .run("req -new -key key.pem -subj /O=system:nodes/CN=system:node:n1 -out request.pem");
        let text = openssl.run("pkey -in key.pem");
        let key = PrivateKey::from_pem(&text).unwrap();
        let request = openssl.run("req -in request.pem");
        let request = VerifiedRequest::from_pem(request.as_bytes()).unwrap();
        assert_eq!(request.public_key(), key.public_key(), "{arguments}");
    }
}
