//! A credential as a PKCS#12 file (RFC 7292), for programs that want key and certificates in one
//! encrypted file: Java, Windows.
//!
//! The key is encrypted by PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC (RFC 8018 6.2), the whole
//! is authenticated by HMAC-SHA256: what OpenSSL 3 writes, and Java reads since 8u301. The
//! certificates, which anybody may see, are in clear.
//!
//! Salts and initialization vector are derived from the private key and the password, so that the
//! same credential gives the same file, which a keeper can compare. Nobody without the key can
//! foresee them, and no two keys share them.

use crate::asn1::{self, SEQUENCE, SET, encoded};
use crate::certificate::Credential;
use crate::key::KeyError;
use aws_lc_rs::cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac, pbkdf2};
use der::asn1::ObjectIdentifier;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// Iterations of both derivations: what Java's keytool makes.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).expect("it is more than zero");
/// Length of salts, in bytes.
const SALT_BYTES: usize = 16;
/// Length of the identifier that ties the key to its certificate.
const LOCAL_KEY_BYTES: usize = 20;
/// Block length of SHA-256, in bytes.
const BLOCK_BYTES: usize = 64;

const OCTET_STRING: u8 = 0x04;
const INTEGER: u8 = 0x02;
const BMP_STRING: u8 = 0x1e;
const EXPLICIT_0: u8 = 0xa0;
const NULL: &[u8] = &[0x05, 0x00];
const VERSION_3: &[u8] = &[INTEGER, 0x01, 0x03];

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.2");
const CERTIFICATE_BAG: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.3");
const X509_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.22.1");
const FRIENDLY_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.20");
const LOCAL_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.21");
const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
const HMAC_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.9");
const AES_256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// The file: the key, its certificate and the intermediates, called `name` (Java: the alias).
///
/// # Errors
/// When the password is empty or not ASCII, which programs do not agree about how to encode, or
/// encryption fails.
pub fn encode(
    credential: &Credential,
    name: &str,
    password: &str,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let is_plain = password
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if password.is_empty() || !is_plain {
        return Err(KeyError::Unsupported(
            "a PKCS#12 password must be of printable ASCII characters".to_owned(),
        ));
    }
    let pkcs8 = credential.key().to_pkcs8_der()?;
    let derived = |what: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &pkcs8);
        let mut context = hmac::Context::with_key(&key);
        for part in [what, "\0", name, "\0", password] {
            context.update(part.as_bytes());
        }
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&context.sign().as_ref()[..SALT_BYTES]);
        salt
    };
    let fingerprint = credential.leaf().fingerprint();
    let id = &fingerprint.as_bytes()[..LOCAL_KEY_BYTES];
    let attributes = attributes(name, id);
    let (salt, iv) = (derived("salt"), derived("iv"));
    let shrouded = shrouded(&pkcs8, password, &salt, iv)?;
    let key = bag(&KEY_BAG, &shrouded, &attributes);
    let mut certificates = Vec::new();
    for (at, der) in credential.chain().ders().enumerate() {
        let attributes = if at == 0 { &attributes[..] } else { &[] };
        let mut value = encoded(&X509_CERTIFICATE);
        value.extend(explicit(&asn1::element(OCTET_STRING, der)));
        let value = asn1::element(SEQUENCE, &value);
        certificates.extend(bag(&CERTIFICATE_BAG, &value, attributes));
    }
    let mut contents = data(&asn1::element(SEQUENCE, &key));
    contents.extend(data(&asn1::element(SEQUENCE, &certificates)));
    let safe = asn1::element(SEQUENCE, &contents);
    let mut file = VERSION_3.to_vec();
    file.extend(data(&safe));
    file.extend(mac(&safe, password, &derived("mac")));
    Ok(Zeroizing::new(asn1::element(SEQUENCE, &file)))
}

fn explicit(content: &[u8]) -> Vec<u8> {
    asn1::element(EXPLICIT_0, content)
}

/// `ContentInfo` of type data.
fn data(content: &[u8]) -> Vec<u8> {
    let mut info = encoded(&DATA);
    info.extend(explicit(&asn1::element(OCTET_STRING, content)));
    asn1::element(SEQUENCE, &info)
}

/// `SafeBag`.
fn bag(kind: &ObjectIdentifier, value: &[u8], attributes: &[u8]) -> Vec<u8> {
    let mut bag = encoded(kind);
    bag.extend(explicit(value));
    if !attributes.is_empty() {
        asn1::write_element(&mut bag, SET, attributes);
    }
    asn1::element(SEQUENCE, &bag)
}

/// Name and identifier, in the order of DER.
fn attributes(name: &str, id: &[u8]) -> Vec<u8> {
    let utf16: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let attribute = |kind: &ObjectIdentifier, value: &[u8]| {
        let mut attribute = encoded(kind);
        asn1::write_element(&mut attribute, SET, value);
        asn1::element(SEQUENCE, &attribute)
    };
    let mut all = [
        attribute(&FRIENDLY_NAME, &asn1::element(BMP_STRING, &utf16)),
        attribute(&LOCAL_KEY_ID, &asn1::element(OCTET_STRING, id)),
    ];
    all.sort();
    all.concat()
}

fn iterations() -> Vec<u8> {
    asn1::element(INTEGER, &ITERATIONS.get().to_be_bytes()[2..])
}

/// `EncryptedPrivateKeyInfo`.
fn shrouded(
    pkcs8: &[u8],
    password: &str,
    salt: &[u8],
    iv: [u8; SALT_BYTES],
) -> Result<Vec<u8>, KeyError> {
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ITERATIONS,
        salt,
        password.as_bytes(),
        &mut *key,
    );
    let failed = |_| KeyError::Crypto("encrypting a key");
    let cipher = UnboundCipherKey::new(&AES_256, &*key).map_err(failed)?;
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(cipher).map_err(failed)?;
    let mut buffer = Zeroizing::new(pkcs8.to_vec());
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    cipher
        .less_safe_encrypt(&mut *buffer, context)
        .map_err(failed)?;
    let mut prf = encoded(&HMAC_SHA256);
    prf.extend(NULL);
    let mut parameters = asn1::element(OCTET_STRING, salt);
    parameters.extend(iterations());
    parameters.extend(asn1::element(SEQUENCE, &prf));
    let mut derivation = encoded(&PBKDF2);
    derivation.extend(asn1::element(SEQUENCE, &parameters));
    let mut encryption = encoded(&AES_256_CBC);
    encryption.extend(asn1::element(OCTET_STRING, &iv));
    let mut scheme = asn1::element(SEQUENCE, &derivation);
    scheme.extend(asn1::element(SEQUENCE, &encryption));
    let mut algorithm = encoded(&PBES2);
    algorithm.extend(asn1::element(SEQUENCE, &scheme));
    let mut info = asn1::element(SEQUENCE, &algorithm);
    info.extend(asn1::element(OCTET_STRING, &buffer));
    Ok(asn1::element(SEQUENCE, &info))
}

/// `MacData` over the content of the authenticated safe.
fn mac(safe: &[u8], password: &str, salt: &[u8]) -> Vec<u8> {
    let key = mac_key(password, salt);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), safe);
    let mut algorithm = encoded(&SHA256);
    algorithm.extend(NULL);
    let mut info = asn1::element(SEQUENCE, &algorithm);
    info.extend(asn1::element(OCTET_STRING, tag.as_ref()));
    let mut data = asn1::element(SEQUENCE, &info);
    data.extend(asn1::element(OCTET_STRING, salt));
    data.extend(iterations());
    asn1::element(SEQUENCE, &data)
}

/// RFC 7292 B.2 for a key as long as the hash: one round of its loop.
fn mac_key(password: &str, salt: &[u8]) -> Zeroizing<Vec<u8>> {
    /// "Key material for MACing".
    const PURPOSE: u8 = 3;
    let utf16 = password.encode_utf16().chain([0]);
    let password = Zeroizing::new(utf16.flat_map(u16::to_be_bytes).collect::<Vec<u8>>());
    let mut input = Zeroizing::new(vec![PURPOSE; BLOCK_BYTES]);
    for part in [salt, &password] {
        let length = part.len().div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
        input.extend(part.iter().cycle().take(length));
    }
    let mut hash = Zeroizing::new(digest::digest(&digest::SHA256, &input).as_ref().to_vec());
    for _ in 1..ITERATIONS.get() {
        let next = digest::digest(&digest::SHA256, &hash);
        hash.copy_from_slice(next.as_ref());
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Chain;
    use crate::issuer::Issuer;
    use crate::key::{KeyAlgorithm, PrivateKey};
    use jiff::Timestamp;

    /// A CA's own credential: any will do.
    fn credential() -> Credential {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let pem = key.to_pem();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let issuer = Issuer::self_signed("web", key, [1; 16], at(0), at(1_000_000)).unwrap();
        let chain = Chain::from_pem(issuer.certificate_pem().as_bytes()).unwrap();
        Credential::new(chain, PrivateKey::from_pem(&pem).unwrap()).unwrap()
    }

    #[test]
    fn the_same_credential_gives_the_same_file_and_nothing_else_does() {
        let (one, other) = (credential(), credential());
        let file = |credential, name, password| encode(credential, name, password).unwrap();
        let first = file(&one, "web", "secret");
        assert_eq!(first, file(&one, "web", "secret"));
        for again in [
            file(&other, "web", "secret"),
            file(&one, "api", "secret"),
            file(&one, "web", "secret2"),
        ] {
            assert_ne!(first, again);
        }
        let key = one.key().to_pkcs8_der().unwrap();
        let is_in_clear = first
            .windows(32)
            .any(|part| key.windows(32).any(|own| own == part));
        // The public half is in the certificate; the private one comes before it.
        let private = &key[..key.len() / 2];
        let has_private = first
            .windows(32)
            .any(|part| private.windows(32).any(|own| own == part));
        assert!(is_in_clear && !has_private);
    }

    #[test]
    fn a_password_that_programs_read_differently_is_refused() {
        for password in ["", "pässword", "line\nbreak", "\u{0}"] {
            assert!(
                encode(&credential(), "web", password).is_err(),
                "{password:?}"
            );
        }
        assert!(encode(&credential(), "web", "two words!").is_ok());
    }
}
