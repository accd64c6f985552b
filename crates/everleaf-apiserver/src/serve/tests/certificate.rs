//! Serving certificates: what kube-apiserver serves is served, what cannot be is told in words.

use super::super::ServingCertificate;
use super::fixture::{ENDS, TestServer, authority, credential};
use crate::fixture::{VERSION_1_KEY_PEM, VERSION_1_PEM};
use everleaf_pki::{PrivateKey, Usage};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use std::sync::Arc;

/// A certificate with a critical extension of nobody's, and its key.
fn with_unknown_critical_extension() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["everleaf.test".to_owned()]).unwrap();
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 9, 9, 9], vec![5, 0]);
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Go's server looks at the key alone; so does this one, and clients judge.
#[tokio::test(start_paused = true)]
async fn a_certificate_that_rustls_cannot_verify_is_served() {
    let fixture = TestServer::new();
    let odd = with_unknown_critical_extension();
    let old = (VERSION_1_PEM.to_owned(), VERSION_1_KEY_PEM.to_owned());
    for (chain, key) in [old, odd] {
        fixture
            .certificate
            .replace(chain.as_bytes(), key.as_bytes())
            .unwrap();
        let client = Arc::new(fixture.client(None, "http/1.1"));
        let refusal = fixture.connect(&client).await.unwrap_err();
        let told = everleaf_tls::chain_words(&refusal);
        assert!(told.starts_with("the certificate "), "{told}");
        assert!(!told.contains(['(', '{']), "{told}");
    }
}

#[test]
fn what_cannot_be_served_is_told_in_words() {
    let ca = authority("ca");
    let one = credential(&ca, "one", Usage::ServerAuth, ENDS);
    let other = credential(&ca, "other", Usage::ServerAuth, ENDS);
    let chain = one.chain().to_pem();
    let key = one.key().to_pem();
    let cut = &key[..key.len() / 2];
    let broken = everleaf_pki::pem::encode("CERTIFICATE", &[0x30, 3, 2, 1, 1]);
    let broken_key = everleaf_pki::pem::encode("PRIVATE KEY", &[0x30, 3, 2, 1, 1]);
    let encrypted = everleaf_pki::pem::encode("ENCRYPTED PRIVATE KEY", &[0x30, 0]);
    let der = PrivateKey::from_pem(&key).unwrap().to_pkcs8_der().unwrap();
    let request = everleaf_pki::pem::encode("CERTIFICATE REQUEST", &[0x30, 0]);
    let cases: [(&[u8], &[u8], &str); 11] = [
        (b"", key.as_bytes(), "certificate: the file is empty"),
        (chain.as_bytes(), b"", "key: the file is empty"),
        (b"hello", key.as_bytes(), "certificate: it is not PEM"),
        (
            chain.as_bytes(),
            cut.as_bytes(),
            "key: it is not PEM, or damaged",
        ),
        (
            one.leaf().der(),
            key.as_bytes(),
            "`openssl x509 -inform DER`",
        ),
        (chain.as_bytes(), &der, "`openssl pkey -inform DER`"),
        (
            key.as_bytes(),
            chain.as_bytes(),
            "were the two files swapped?",
        ),
        (request.as_bytes(), key.as_bytes(), "`CERTIFICATE REQUEST`"),
        (
            broken.as_bytes(),
            key.as_bytes(),
            "certificate: malformed certificate",
        ),
        (chain.as_bytes(), encrypted.as_bytes(), "decrypt it first"),
        (chain.as_bytes(), broken_key.as_bytes(), "key: "),
    ];
    for (chain, key, words) in cases {
        let error = ServingCertificate::from_pem(chain, key).unwrap_err();
        let told = error.to_string();
        assert!(told.contains(words), "{told}");
        for mark in ["Error", "(", "{", "Some", "Invalid"] {
            assert!(!told.contains(mark), "{told}");
        }
    }
    let mismatch = ServingCertificate::from_pem(chain.as_bytes(), other.key().to_pem().as_bytes());
    let told = mismatch.unwrap_err().to_string();
    assert!(
        told.contains("not the one of the serving certificate"),
        "{told}"
    );
    assert!(told.contains("CN=one"), "{told}");
}
