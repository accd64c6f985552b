//! Opening an encrypted PKCS#8 key (RFC 5958 3): PBES2 with PBKDF2 and AES-CBC (RFC 8018 6.2),
//! which is what OpenSSL 1.1 and newer write. `pkcs5` reads the parameters, AWS-LC does the work.

use super::KeyError;
use crate::asn1;
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use der::asn1::OctetStringRef;
use der::{Decode, Sequence};
use pkcs5::EncryptionScheme;
use pkcs5::pbes2::{EncryptionScheme as Cipher, Kdf, Pbkdf2Params, Pbkdf2Prf};
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// More iterations than this are not made: at 10 million, one opening takes seconds.
const ITERATIONS_MAX: u32 = 10_000_000;

#[derive(Sequence)]
struct EncryptedPrivateKeyInfo<'a> {
    algorithm: EncryptionScheme,
    data: &'a OctetStringRef,
}

/// The PKCS#8 DER within.
pub(super) fn open(der: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let unreadable = |error: der::Error| {
        KeyError::EncryptedOtherwise(format!(
            "a method that cannot be read ({})",
            asn1::words(&error)
        ))
    };
    let info = EncryptedPrivateKeyInfo::from_der(der).map_err(unreadable)?;
    let EncryptionScheme::Pbes2(parameters) = &info.algorithm else {
        return Err(KeyError::EncryptedOtherwise("PBES1".to_owned()));
    };
    let (cipher, key_len, iv) = match &parameters.encryption {
        Cipher::Aes128Cbc { iv } => (&AES_128, 16, iv),
        Cipher::Aes192Cbc { iv } => (&AES_192, 24, iv),
        Cipher::Aes256Cbc { iv } => (&AES_256, 32, iv),
        _ => {
            return Err(KeyError::EncryptedOtherwise(
                "a cipher other than AES-CBC".to_owned(),
            ));
        }
    };
    let Kdf::Pbkdf2(derivation) = &parameters.kdf else {
        return Err(KeyError::EncryptedOtherwise("scrypt".to_owned()));
    };
    let mut key = Zeroizing::new(vec![0; key_len]);
    derive(derivation, password, &mut key)?;
    let failed = |_| KeyError::Crypto("decrypting a key");
    let key = UnboundCipherKey::new(cipher, &key).map_err(failed)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(failed)?;
    let context = DecryptionContext::Iv128(FixedLength::from(*iv));
    let mut buffer = Zeroizing::new(info.data.as_bytes().to_vec());
    let clear = key
        .decrypt(&mut buffer, context)
        .map_err(|_| KeyError::WrongPassword)?;
    Ok(Zeroizing::new(clear.to_vec()))
}

fn derive(parameters: &Pbkdf2Params, password: &[u8], key: &mut [u8]) -> Result<(), KeyError> {
    let other = |text: String| Err(KeyError::EncryptedOtherwise(text));
    let algorithm = match parameters.prf {
        Pbkdf2Prf::HmacWithSha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        Pbkdf2Prf::HmacWithSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        Pbkdf2Prf::HmacWithSha384 => pbkdf2::PBKDF2_HMAC_SHA384,
        Pbkdf2Prf::HmacWithSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        _ => return other("PBKDF2 of an unusual hash".to_owned()),
    };
    let count = parameters.iteration_count;
    let Some(iterations) = NonZeroU32::new(count).filter(|_| count <= ITERATIONS_MAX) else {
        return other(format!("{count} iterations of PBKDF2"));
    };
    pbkdf2::derive(
        algorithm,
        iterations,
        parameters.salt.as_ref(),
        password,
        key,
    );
    Ok(())
}
