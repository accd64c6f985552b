//! The providers' ciphers, with the layouts that kube-apiserver has.
//!
//! | provider | after the prefix | authenticated |
//! |---|---|---|
//! | aescbc | IV of 16 bytes, AES-CBC with PKCS #7 | nothing |
//! | aesgcm | nonce of 12 bytes, AES-GCM, tag of 16 | value and key in the store |
//! | secretbox | nonce of 24 bytes, Poly1305 tag of 16, XSalsa20 | value |

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use crypto_secretbox::XSalsa20Poly1305;
use crypto_secretbox::aead::{AeadInPlace as _, KeyInit as _};

const GCM_NONCE_BYTES: usize = 12;
const GCM_TAG_BYTES: usize = 16;
const CBC_IV_BYTES: usize = 16;
const SECRETBOX_NONCE_BYTES: usize = 24;
const SECRETBOX_TAG_BYTES: usize = 16;

/// A provider with its key.
pub(super) enum Cipher {
    Identity,
    AesCbc(Box<(PaddedBlockEncryptingKey, PaddedBlockDecryptingKey)>),
    AesGcm(Box<LessSafeKey>),
    Secretbox(Box<XSalsa20Poly1305>),
}

impl Cipher {
    /// None: the key has a length that it cannot have.
    pub(super) fn aes_cbc(key: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &AES_128,
            24 => &AES_192,
            32 => &AES_256,
            _ => return None,
        };
        let unbound = || UnboundCipherKey::new(algorithm, key).ok();
        let encrypting = PaddedBlockEncryptingKey::cbc_pkcs7(unbound()?).ok()?;
        let decrypting = PaddedBlockDecryptingKey::cbc_pkcs7(unbound()?).ok()?;
        Some(Self::AesCbc(Box::new((encrypting, decrypting))))
    }

    /// None: the key has a length that it cannot have.
    pub(super) fn aes_gcm(key: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            _ => return None,
        };
        let unbound = UnboundKey::new(algorithm, key).ok()?;
        Some(Self::AesGcm(Box::new(LessSafeKey::new(unbound))))
    }

    /// None: the key has a length that it cannot have.
    pub(super) fn secretbox(key: &[u8]) -> Option<Self> {
        let cipher = XSalsa20Poly1305::new_from_slice(key).ok()?;
        Some(Self::Secretbox(Box::new(cipher)))
    }

    /// The prefix, and after it the value, encrypted; `place` is authenticated where that can be.
    pub(super) fn seal(&self, prefix: &[u8], value: &[u8], place: &[u8]) -> Option<Vec<u8>> {
        let mut out = prefix.to_vec();
        match self {
            Self::Identity => out.extend_from_slice(value),
            Self::AesCbc(pair) => {
                let (encrypting, _) = &**pair;
                let mut text = value.to_vec();
                let context = encrypting.encrypt(&mut text).ok()?;
                let iv: &[u8] = (&context).try_into().ok()?;
                out.extend_from_slice(iv);
                out.append(&mut text);
            }
            Self::AesGcm(cipher) => {
                let nonce: [u8; GCM_NONCE_BYTES] = random()?;
                out.extend_from_slice(&nonce);
                let mut text = value.to_vec();
                let nonce = Nonce::assume_unique_for_key(nonce);
                cipher
                    .seal_in_place_append_tag(nonce, Aad::from(place), &mut text)
                    .ok()?;
                out.append(&mut text);
            }
            Self::Secretbox(cipher) => {
                let nonce: [u8; SECRETBOX_NONCE_BYTES] = random()?;
                out.extend_from_slice(&nonce);
                let mut text = value.to_vec();
                let tag = cipher
                    .encrypt_in_place_detached(&nonce.into(), b"", &mut text)
                    .ok()?;
                out.extend_from_slice(&tag);
                out.append(&mut text);
            }
        }
        Some(out)
    }

    /// The value behind what came after the prefix; None: it is not whole, or of another key.
    pub(super) fn open(&self, sealed: &[u8], place: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Identity => Some(sealed.to_vec()),
            Self::AesCbc(pair) => {
                let (_, decrypting) = &**pair;
                let (iv, text) = sealed.split_at_checked(CBC_IV_BYTES)?;
                let iv: [u8; CBC_IV_BYTES] = iv.try_into().ok()?;
                let context = DecryptionContext::Iv128(FixedLength::from(&iv));
                let mut text = text.to_vec();
                let value = decrypting.decrypt(&mut text, context).ok()?.len();
                text.truncate(value);
                Some(text)
            }
            Self::AesGcm(cipher) => {
                let (nonce, text) = sealed.split_at_checked(GCM_NONCE_BYTES)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                let mut text = text.to_vec();
                if text.len() < GCM_TAG_BYTES {
                    return None;
                }
                let value = cipher.open_in_place(nonce, Aad::from(place), &mut text);
                let value = value.ok()?.len();
                text.truncate(value);
                Some(text)
            }
            Self::Secretbox(cipher) => {
                let (nonce, rest) = sealed.split_at_checked(SECRETBOX_NONCE_BYTES)?;
                let (tag, text) = rest.split_at_checked(SECRETBOX_TAG_BYTES)?;
                let nonce: [u8; SECRETBOX_NONCE_BYTES] = nonce.try_into().ok()?;
                let tag: [u8; SECRETBOX_TAG_BYTES] = tag.try_into().ok()?;
                let mut text = text.to_vec();
                cipher
                    .decrypt_in_place_detached(&nonce.into(), b"", &mut text, &tag.into())
                    .ok()?;
                Some(text)
            }
        }
    }
}

/// Nonces are never used twice: of aesgcm's, so few bytes are random that a key is good for no more
/// than 2³² writes (NIST SP 800-38D, 8.3).
fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).ok()?;
    Some(bytes)
}
