//! From key to credential, for every kind of key.
use everleaf_pki::*;
use jiff::Timestamp;

#[test]
fn all_key_kinds_issue() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let end = Timestamp::from_second(2_600_000_000).unwrap();
    for algorithm in [
        KeyAlgorithm::EcdsaP256,
        KeyAlgorithm::EcdsaP384,
        KeyAlgorithm::EcdsaP521,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::Rsa(2048),
    ] {
        let ca = Issuer::self_signed(
            "ca",
            PrivateKey::generate(algorithm).unwrap(),
            [3; 16],
            now,
            end,
        )
        .unwrap();
        let ca = Issuer::from_pem(ca.certificate_pem().as_bytes(), &ca.key().to_pem()).unwrap();
        let key = PrivateKey::generate(algorithm).unwrap();
        let template = Template {
            subject: Subject::node("n1"),
            ..Default::default()
        };
        let request =
            VerifiedRequest::from_pem(template.to_request_pem(&key).unwrap().as_bytes()).unwrap();
        let approved = ApprovedRequest::new(
            request,
            SignerName::new(SignerName::KUBE_APISERVER_CLIENT_KUBELET),
            vec![Usage::DigitalSignature, Usage::ClientAuth],
            None,
            &["Approved"],
        )
        .unwrap();
        let issued = ca
            .issue(&approved, &Profile::default(), [2; 16], now)
            .unwrap();
        let credential = Credential::new(issued.chain, key).unwrap();
        let again = Credential::from_pem(credential.to_pem().as_bytes()).unwrap();
        assert_eq!(again.leaf().issuer_text(), "CN=ca");
        assert_eq!(
            again.leaf().subject_text(),
            "CN=system:node:n1,O=system:nodes"
        );
        assert!(again.leaf().is_signed_by(ca.certificate()));
    }
}
