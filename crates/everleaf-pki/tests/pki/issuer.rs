//! Loading and making issuers, and the certificates a process makes for itself.

use crate::fixture::{NOW_S, at, ca, ca_until, node_template, now, strings};
use everleaf_pki::{
    CertificateError, Credential, GivenNames, Issuer, KeyAlgorithm, PrivateKey, Subject, Template,
    Usage, VerifiedRequest,
};
use jiff::SignedDuration;

#[test]
fn issuers_are_checked_when_loaded() {
    let issuer = ca();
    let key = issuer.key().unwrap().to_pem();
    let pem = issuer.certificate_pem();
    let load = |certificate: &str, key: &str| Issuer::from_pem(certificate.as_bytes(), key);
    assert!(load(&pem, &key).is_ok());
    for (text, count) in [(String::new(), 0), (format!("{pem}{pem}"), 2)] {
        let message = load(&text, &key).unwrap_err().to_string();
        let upstream = format!("expected 1 certificate, found {count}");
        assert!(message.starts_with(&upstream), "{message}");
        assert_eq!(
            message.contains("belongs to the key"),
            count > 1,
            "{message}"
        );
    }
    let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256)
        .unwrap()
        .to_pem();
    assert!(matches!(
        load(&pem, &other),
        Err(CertificateError::KeyMismatch { .. })
    ));

    let leaf_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let leaf = issuer
        .issue_own(
            &node_template("n1"),
            leaf_key.public_key(),
            &[],
            [1; 16],
            now(),
            at(NOW_S + 9),
        )
        .unwrap();
    let error = load(&leaf.to_pem(), &leaf_key.to_pem()).unwrap_err();
    assert!(
        error.to_string().contains("it is no CA certificate"),
        "{error}"
    );
}

#[test]
fn a_ca_without_key_cert_sign_is_refused() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
    let key = KeyPair::generate().unwrap();
    let load = |usages: &[KeyUsagePurpose]| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = usages.to_vec();
        let certificate = params.self_signed(&key).unwrap();
        Issuer::from_pem(certificate.pem().as_bytes(), &key.serialize_pem())
    };
    assert!(load(&[KeyUsagePurpose::KeyCertSign]).is_ok());
    assert!(
        load(&[]).is_ok(),
        "without the extension every usage is allowed"
    );
    let error = load(&[KeyUsagePurpose::CrlSign]).unwrap_err().to_string();
    assert!(
        error.ends_with("its key usage lacks keyCertSign"),
        "{error}"
    );
}

#[test]
fn certificates_of_ones_own_must_be_sound() {
    let issuer = ca_until(at(NOW_S + 100));
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let own = |template: &Template, to_s: i64| {
        issuer.issue_own(
            template,
            key.public_key(),
            &[Usage::ServerAuth],
            [5; 16],
            now(),
            at(to_s),
        )
    };
    let template = Template {
        subject: Subject {
            common_name: "kube-apiserver".into(),
            organizations: vec![],
        },
        dns_names: strings(&["localhost"]),
        ip_addresses: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        ..Template::default()
    };
    let chain = own(&template, NOW_S + 100).unwrap();
    assert_eq!(chain.leaf().ip_addresses(), template.ip_addresses);
    assert!(chain.leaf().satisfies(&template).is_ok());
    assert!(Credential::new(chain, key_again(&key)).is_ok());
    let error = own(&template, NOW_S + 101).unwrap_err().to_string();
    assert_eq!(
        error,
        "refusing to sign: the certificate would outlive the CA certificate"
    );
    assert!(own(&template, NOW_S).is_err(), "never valid");
    let not_ascii = Template {
        dns_names: strings(&["köln"]),
        ..template
    };
    assert!(
        own(&not_ascii, NOW_S + 100).is_err(),
        "nobody could read it"
    );
}

fn key_again(key: &PrivateKey) -> PrivateKey {
    PrivateKey::from_pem(&key.to_pem()).unwrap()
}

#[test]
fn self_signed_needs_dates_in_order() {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let error = Issuer::self_signed("ca", key, [1; 16], now(), now()).unwrap_err();
    assert!(
        matches!(error, CertificateError::NeverValid { .. }),
        "{error}"
    );
}

/// The key is the request's; every name is the signer's.
#[test]
fn names_of_the_signer_and_the_key_of_the_request() {
    let issuer = ca();
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let asked = node_template("n1").to_request_pem(&key).unwrap();
    let request = VerifiedRequest::from_pem(asked.as_bytes()).unwrap();
    let names = GivenNames {
        dns_names: strings(&["shop.default.svc"]),
        uris: strings(&["spiffe://example.org/ns/default/sa/shop"]),
    };
    let dates = (now(), at(NOW_S + 3600));
    let usages = [
        Usage::DigitalSignature,
        Usage::ServerAuth,
        Usage::ClientAuth,
    ];
    let issue =
        |names: &GivenNames, dates| issuer.issue_named(&request, names, &usages, [5; 16], dates);
    let leaf = issue(&names, dates).unwrap().chain.leaf().clone();
    assert_eq!(leaf.subject(), &Subject::default());
    assert_eq!(leaf.public_key(), key.public_key());
    assert_eq!(
        (leaf.dns_names(), leaf.uris()),
        (&*names.dns_names, &*names.uris)
    );
    assert_eq!((leaf.not_before(), leaf.not_after()), dates);
    assert!(leaf.allows_client_auth() && leaf.allows_server_auth() && !leaf.is_ca());
    assert!(leaf.is_signed_by(issuer.certificate()));
    let late = (now(), issuer.limit() + SignedDuration::from_secs(1));
    assert!(issue(&names, late).is_err(), "it would outlive the CA");
}
