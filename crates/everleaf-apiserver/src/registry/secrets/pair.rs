//! Whether a `kubernetes.io/tls` secret holds a certificate and its key. That it does not is no
//! fault: the writer is warned, as by Go's `tls.X509KeyPair`
//! (`pkg/registry/core/secret/strategy.go`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_pki::pem::{self, Block};
use everleaf_pki::{KeyError, Leaf, PrivateKey};
use serde_json::Value;

/// What is wrong with the pair, if anything.
pub(super) fn fault(secret: &Value) -> Option<String> {
    let bytes = |key: &str| {
        let text = secret["data"][key].as_str().unwrap_or_default();
        STANDARD.decode(text).unwrap_or_default()
    };
    let leaf = match first(&bytes("tls.crt"), |label| label == "CERTIFICATE") {
        Ok(block) => block,
        Err(labels) => return Some(no_certificate(&labels)),
    };
    let key = match first(&bytes("tls.key"), is_private_key) {
        Ok(block) => block,
        Err(labels) => return Some(no_key(&labels)),
    };
    let leaf = match Leaf::from_der(&leaf.der) {
        Ok(leaf) => leaf,
        Err(error) => return Some(format!("x509: {error}")),
    };
    match PrivateKey::from_der(&key.der) {
        Ok(key) if key.public_key() == leaf.public_key() => None,
        Ok(_) => Some("tls: private key does not match public key".to_owned()),
        Err(KeyError::Malformed { .. }) => Some("tls: failed to parse private key".to_owned()),
        // A key that we cannot use may be a good one.
        Err(_) => None,
    }
}

/// The first block that is wanted, or the labels of all there are.
fn first(text: &[u8], is_wanted: impl Fn(&str) -> bool) -> Result<Block, Vec<String>> {
    let mut labels = Vec::new();
    for block in pem::blocks(text) {
        if is_wanted(&block.label) {
            return Ok(block);
        }
        labels.push(block.label);
    }
    Err(labels)
}

fn is_private_key(label: &str) -> bool {
    label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY")
}

fn no_certificate(labels: &[String]) -> String {
    match labels {
        [] => "tls: failed to find any PEM data in certificate input".to_owned(),
        [one] if is_private_key(one) => {
            "tls: failed to find certificate PEM data in certificate input, but did find a \
             private key; PEM inputs may have been switched"
                .to_owned()
        }
        labels => format!(
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the \
             following types: [{}]",
            labels.join(" ")
        ),
    }
}

fn no_key(labels: &[String]) -> String {
    match labels {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [one] if one == "CERTIFICATE" => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        labels => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks \
             of the following types: [{}]",
            labels.join(" ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::{Issuer, KeyAlgorithm};
    use jiff::Timestamp;
    use serde_json::json;

    fn said(certificate: &str, key: &str) -> String {
        let data =
            json!({"tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key)});
        fault(&json!({ "data": data })).unwrap_or_default()
    }

    #[test]
    fn a_pair_is_a_certificate_and_its_key() {
        let key = || PrivateKey::from_ed25519_seed(&[1; 32]).unwrap();
        let end = Timestamp::from_second(2_000_000_000).unwrap();
        let issuer = Issuer::self_signed("ca", key(), [1; 16], Timestamp::UNIX_EPOCH, end).unwrap();
        let certificate = pem::encode("CERTIFICATE", issuer.certificate().der());
        let key = key().to_pem();
        let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256)
            .unwrap()
            .to_pem();
        assert_eq!(said(&certificate, &key), "");
        for (certificate, key, expected) in [
            (
                certificate.as_str(),
                other.as_str(),
                "does not match public key",
            ),
            ("", &key, "any PEM data in certificate input"),
            (&certificate, "", "any PEM data in key input"),
            (&key, &certificate, "PEM inputs may have been switched"),
            (
                &certificate,
                &certificate,
                "a certificate rather than a key",
            ),
            (&pem::encode("A", &[1]), &key, "following types: [A]"),
            (
                &certificate,
                &pem::encode("A B", &[1]),
                "following types: [A B]",
            ),
            (
                &pem::encode("CERTIFICATE", &[1]),
                &key,
                "x509: malformed certificate",
            ),
            (
                &certificate,
                &pem::encode("PRIVATE KEY", &[1]),
                "failed to parse private key",
            ),
        ] {
            let said = said(certificate, key);
            assert!(said.contains(expected), "{said}");
        }
    }
}
