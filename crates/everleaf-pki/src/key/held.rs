//! Keys that are not in the memory of this process: in a token, an HSM, a service.
//!
//! On disk such a key is its URI (RFC 7512) in the PEM block that OpenSSL's pkcs11-provider reads
//! in place of a private key (its `docs/provider-pkcs11.7.md`; a SEQUENCE of a description and the
//! URI), then its public half, by which we know whether a certificate belongs to it.

use super::{KeyError, PublicKey};
use crate::asn1::{self, SEQUENCE};
use crate::pem;
use der::{Reader, SliceReader, Tag};
use std::sync::Arc;

/// A private key that is not in the memory of this process: of a CA, or of a node. What it signs
/// is verified with its public half before anybody sees it, so a faulty one can stop the issuing
/// or the renewal of certificates, and nothing worse.
pub trait HeldKey: Send + Sync {
    /// Its public half, by which it is matched with the certificate.
    fn public_key(&self) -> &PublicKey;

    /// Where it is: a `pkcs11:` URI (RFC 7512), with no PIN in it.
    fn uri(&self) -> &str;

    /// Signs `message` as certificates are signed with such a key: ECDSA over the hash that fits
    /// the curve (SHA-256, SHA-384, SHA-512), as a DER `Ecdsa-Sig-Value` (RFC 3279 2.2.3); Ed25519;
    /// RSA PKCS#1 v1.5 with SHA-256. It may block, but not for ever.
    ///
    /// # Errors
    /// Why there is no signature, in a line for people. No PIN and no key in it.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String>;
}

/// The PEM label of a key in a token.
pub(super) const URI_LABEL: &str = "PKCS#11 PROVIDER URI";
/// That of its public half.
pub(super) const PUBLIC_LABEL: &str = "PUBLIC KEY";
/// What the block begins with.
const DESCRIPTION: &[u8] = b"PKCS#11 Provider URI v1.0";
const VISIBLE_STRING: u8 = 0x1a;
const UTF8_STRING: u8 = 0x0c;

/// Where a key is, and who signs with it, if that is known.
pub(super) struct Held {
    pub(super) uri: String,
    pub(super) signer: Option<Arc<dyn HeldKey>>,
}

impl Held {
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.signer {
            Some(signer) => signer.sign(message).map_err(KeyError::Elsewhere),
            None => Err(KeyError::InToken(self.uri.clone())),
        }
    }

    /// The URI first: whoever wants a key takes the first block that is one.
    pub(super) fn to_pem(&self, public_key: &PublicKey) -> String {
        let description = asn1::element(VISIBLE_STRING, DESCRIPTION);
        let uri = asn1::element(UTF8_STRING, self.uri.as_bytes());
        let der = asn1::element(SEQUENCE, &[description, uri].concat());
        pem::encode(URI_LABEL, &der) + &pem::encode(PUBLIC_LABEL, public_key.spki_der())
    }
}

/// The URI in a block of [`URI_LABEL`].
pub(super) fn read_uri(der: &[u8]) -> Result<String, KeyError> {
    let read = || -> der::Result<Vec<u8>> {
        let mut reader = SliceReader::new(der)?;
        let body = asn1::read_content(&mut reader, Tag::Sequence)?;
        reader.finish()?;
        let mut body = SliceReader::new(body)?;
        asn1::read_content(&mut body, Tag::VisibleString)?;
        let uri = asn1::read_content(&mut body, Tag::Utf8String)?;
        body.finish()?;
        Ok(uri.to_vec())
    };
    let uri = read().map_err(|error| KeyError::malformed_private(asn1::words(&error)))?;
    String::from_utf8(uri)
        .map_err(|_| KeyError::malformed_private("the URI of the key is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyAlgorithm, PrivateKey};

    const URI: &str = "pkcs11:token=node;id=%01?module-path=/l.so";

    /// Signs with a key that is here.
    struct Token(PrivateKey);

    impl HeldKey for Token {
        fn public_key(&self) -> &PublicKey {
            self.0.public_key()
        }

        fn uri(&self) -> &str {
            URI
        }

        fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, String> {
            Err("the token is not there".to_owned())
        }
    }

    fn held() -> PrivateKey {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        PrivateKey::held(Arc::new(Token(key))).unwrap()
    }

    #[test]
    fn a_key_in_a_token_is_kept_as_its_uri() {
        let key = held();
        let text = key.to_pem();
        assert!(
            text.starts_with("-----BEGIN PKCS#11 PROVIDER URI-----\nMEca"),
            "{}",
            *text
        );
        assert!(!text.contains("PRIVATE"), "{}", *text);
        let again = PrivateKey::from_stored_pem(&text).unwrap();
        assert_eq!(again.uri(), Some(URI));
        assert_eq!(again.public_key(), key.public_key());
        assert_eq!(again.algorithm(), KeyAlgorithm::EcdsaP256);
        assert!(matches!(again.to_pkcs8_der(), Err(KeyError::InToken(_))));
        assert_eq!(*again.to_pem(), *text);
        // Where a key has to be in the file, it is said that it is not.
        let error = PrivateKey::from_pem(&text).unwrap_err().to_string();
        assert!(error.contains("in a token: pkcs11:token=node"), "{error}");
    }

    #[test]
    fn whoever_has_only_the_uri_signs_nothing() {
        let key = held();
        let algorithm = crate::signature::SignatureAlgorithm::for_certificate(key.algorithm());
        let error = key.sign(algorithm, b"m").unwrap_err();
        assert_eq!(error.to_string(), "the token is not there");
        let again = PrivateKey::from_stored_pem(&key.to_pem()).unwrap();
        let error = again.sign(algorithm, b"m").unwrap_err();
        assert!(matches!(error, KeyError::InToken(_)), "{error}");
    }

    #[test]
    fn a_broken_block_is_no_key() {
        let text = held().to_pem();
        let without = text.split("-----BEGIN PUBLIC").next().unwrap();
        let error = PrivateKey::from_stored_pem(without)
            .unwrap_err()
            .to_string();
        assert!(error.contains("without its PUBLIC KEY"), "{error}");
        for der in [
            &[][..],
            b"0\0",
            b"\x30\x03\x1a\x01a",
            b"\x30\x06\x1a\x01a\x0c\x01\xff",
        ] {
            let text = pem::encode(URI_LABEL, der);
            let error = PrivateKey::from_stored_pem(&text).unwrap_err();
            assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
        }
    }
}
