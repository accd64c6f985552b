//! From a key to a certificate, in the steps that the types prove.
//!
//! `cargo run -p everleaf-pki --example one_certificate`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use everleaf_pki::{ApprovedRequest, Issuer, KeyAlgorithm, PrivateKey, Profile, SignerName};
use everleaf_pki::{Subject, Template, Usage, VerifiedRequest};
use jiff::Timestamp;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = Timestamp::from_second(1_800_000_000)?;
    let ca_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let ca_end = Timestamp::from_second(2_800_000_000)?;
    let issuer = Issuer::self_signed("everleaf-ca", ca_key, [1; 16], now, ca_end)?;

    // A node makes a key, and a request that proves that it holds it.
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let template = Template {
        subject: Subject::node("n1"),
        ..Template::default()
    };
    let pem = template.to_request_pem(&key)?;

    // A signer checks the proof, that the request was approved, and what its policy says.
    let request = VerifiedRequest::from_pem(pem.as_bytes())?;
    let approved = ApprovedRequest::new(
        request,
        SignerName::new(SignerName::KUBE_APISERVER_CLIENT_KUBELET),
        vec![Usage::DigitalSignature, Usage::ClientAuth],
        None,
        &["Approved"],
    )?;
    let issued = issuer.issue(&approved, &Profile::default(), [2; 16], now)?;

    let leaf = issued.chain.leaf();
    assert!(leaf.is_signed_by(issuer.certificate()));
    assert_eq!(leaf.subject().common_name, "system:node:n1");
    println!("{leaf:?}");
    Ok(())
}
