//! ML-DSA (FIPS 204): the three parameter sets, and keys in the forms of RFC 9881.

use super::{KeyError, PublicKey, PublicKeyKind};
use crate::asn1::{self, SEQUENCE, oid};
use crate::signature::{SignatureAlgorithm, SignatureError};
use crate::signer::Usage;
use aws_lc_rs::encoding::{AsDer, AsRawBytes, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::signature::{
    self as algorithms, KeyPair, PqdsaKeyPair, PqdsaSigningAlgorithm, PqdsaVerificationAlgorithm,
};
use der::asn1::ObjectIdentifier;
use zeroize::Zeroizing;

/// A parameter set of ML-DSA, the signature scheme of FIPS 204 that quantum computers are not known
/// to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MlDsa {
    /// ML-DSA-44
    MlDsa44,
    /// ML-DSA-65
    MlDsa65,
    /// ML-DSA-87
    MlDsa87,
}

impl MlDsa {
    /// All three, the weakest first.
    pub const ALL: [Self; 3] = [Self::MlDsa44, Self::MlDsa65, Self::MlDsa87];

    /// Its name in FIPS 204, which is Kubernetes', too.
    pub fn name(self) -> &'static str {
        match self {
            Self::MlDsa44 => "ML-DSA-44",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
        }
    }

    /// Security category of NIST: 2 is as hard to break as a collision of SHA-256, 3 as AES-192, 5
    /// as AES-256 (FIPS 204 4).
    pub fn category(self) -> u32 {
        match self {
            Self::MlDsa44 => 2,
            Self::MlDsa65 => 3,
            Self::MlDsa87 => 5,
        }
    }

    /// Length of a public key, in bytes (FIPS 204 table 2).
    pub fn public_key_bytes(self) -> usize {
        match self {
            Self::MlDsa44 => 1312,
            Self::MlDsa65 => 1952,
            Self::MlDsa87 => 2592,
        }
    }

    /// Length of a signature, in bytes (FIPS 204 table 2).
    pub fn signature_bytes(self) -> usize {
        match self {
            Self::MlDsa44 => 2420,
            Self::MlDsa65 => 3309,
            Self::MlDsa87 => 4627,
        }
    }

    /// What a key and a signature take in PEM, in bytes: by so much a request is longer than one
    /// with an ECDSA key may be, at least.
    pub fn pem_bytes(self) -> usize {
        /// Bytes in a line of PEM, and what they are written as, with the end of the line.
        const LINE: (usize, usize) = (48, 65);
        let bytes = self.public_key_bytes() + self.signature_bytes();
        bytes.div_ceil(LINE.0) * LINE.1
    }

    /// The object identifier of its keys and of its signatures (RFC 9881 2).
    pub(crate) fn oid(self) -> ObjectIdentifier {
        match self {
            Self::MlDsa44 => oid::ML_DSA_44,
            Self::MlDsa65 => oid::ML_DSA_65,
            Self::MlDsa87 => oid::ML_DSA_87,
        }
    }

    /// The set with this object identifier.
    pub(crate) fn from_oid(id: ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.oid() == id)
    }

    pub(crate) fn verification(self) -> &'static PqdsaVerificationAlgorithm {
        match self {
            Self::MlDsa44 => &algorithms::ML_DSA_44,
            Self::MlDsa65 => &algorithms::ML_DSA_65,
            Self::MlDsa87 => &algorithms::ML_DSA_87,
        }
    }

    fn signing(self) -> &'static PqdsaSigningAlgorithm {
        match self {
            Self::MlDsa44 => &algorithms::ML_DSA_44_SIGNING,
            Self::MlDsa65 => &algorithms::ML_DSA_65_SIGNING,
            Self::MlDsa87 => &algorithms::ML_DSA_87_SIGNING,
        }
    }

    /// Whether a public key can be one of this set: no parameters (RFC 9881 2), and the length of
    /// its set. (Every such string of bytes is a key.)
    pub(super) fn check_public(self, parameters: &[u8], key: &[u8]) -> Result<(), KeyError> {
        if !parameters.is_empty() {
            return Err(KeyError::malformed_public(format!(
                "an {self} key has no parameters"
            )));
        }
        let wanted = self.public_key_bytes();
        if key.len() != wanted {
            return Err(KeyError::malformed_public(format!(
                "an {self} key has {wanted} bytes, not {}",
                key.len()
            )));
        }
        Ok(())
    }

    /// Whether a signature has the one length that it can have.
    pub(crate) fn check_signature(self, signature: &[u8]) -> Result<(), SignatureError> {
        let wanted = self.signature_bytes();
        match signature.len() == wanted {
            true => Ok(()),
            false => Err(SignatureError::Length {
                algorithm: SignatureAlgorithm::MlDsa(self),
                wanted,
                found: signature.len(),
            }),
        }
    }
}

impl std::fmt::Display for MlDsa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl PublicKey {
    /// Whether it is a key of ML-DSA, of any parameter set.
    pub fn is_ml_dsa(&self) -> bool {
        matches!(self.kind(), PublicKeyKind::MlDsa(_))
    }

    /// By how much a PEM text with this key and a signature of it may be longer than others, in
    /// bytes; for limits that are made for ECDSA and RSA keys.
    pub fn pem_bytes_more(&self) -> usize {
        match self.kind() {
            PublicKeyKind::MlDsa(set) => set.pem_bytes(),
            _ => 0,
        }
    }
}

/// A key pair of one of the sets; AWS-LC keeps its secrets.
pub(super) struct Pair {
    set: MlDsa,
    pair: PqdsaKeyPair,
}

impl Pair {
    pub(super) fn generate(set: MlDsa) -> Result<Self, KeyError> {
        let pair = PqdsaKeyPair::generate(set.signing())
            .map_err(|_| KeyError::Crypto("generating a key"))?;
        Ok(Self { set, pair })
    }

    pub(super) fn from_seed(set: MlDsa, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let pair = PqdsaKeyPair::from_seed(set.signing(), seed)
            .map_err(|_| KeyError::Crypto("reading an ML-DSA seed"))?;
        Ok(Self { set, pair })
    }

    /// The three forms of RFC 9881 6: a seed, an expanded key, or both, which have to fit.
    pub(super) fn from_pkcs8(set: MlDsa, der: &[u8]) -> Result<Self, KeyError> {
        let pair = PqdsaKeyPair::from_pkcs8(set.signing(), der).map_err(|error| {
            KeyError::malformed_private(format!(
                "the {set} key is refused, {}; it is a seed of 32 bytes, an expanded key, or both of one key (RFC 9881)",
                super::rejection(error.description_())
            ))
        })?;
        Ok(Self { set, pair })
    }

    pub(super) fn public_der(&self) -> Result<PublicKeyX509Der<'static>, KeyError> {
        self.pair
            .public_key()
            .as_der()
            .map_err(|_| KeyError::Crypto("encoding a public key"))
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.set.signature_bytes()];
        let length = self
            .pair
            .sign(message, &mut signature)
            .map_err(|_| KeyError::Crypto("signing"))?;
        signature.truncate(length);
        Ok(signature)
    }

    /// PKCS#8 with the seed, which is what Go, OpenSSL and rustls write; with the expanded key
    /// where the seed was never known.
    pub(super) fn pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        const ENCODES: &str = "invariant: a key that was accepted can be encoded";
        let private = self.pair.private_key();
        let seeded: Result<Pkcs8V1Der<'_>, _> = private.as_der();
        match seeded {
            Ok(der) => Zeroizing::new(der.as_ref().to_vec()),
            Err(_) => expanded_der(self.set, private.as_raw_bytes().expect(ENCODES).as_ref()),
        }
    }
}

/// `OneAsymmetricKey` around an expanded key (RFC 9881 6).
fn expanded_der(set: MlDsa, expanded: &[u8]) -> Zeroizing<Vec<u8>> {
    const VERSION_0: &[u8] = &[0x02, 0x01, 0x00];
    const OCTET_STRING: u8 = 0x04;
    /// More than is put around the key, so that no buffer is moved.
    const AROUND_BYTES_MAX: usize = 64;
    let buffer = || Zeroizing::new(Vec::with_capacity(expanded.len() + AROUND_BYTES_MAX));
    let mut key = buffer();
    asn1::write_element(&mut key, OCTET_STRING, expanded);
    let mut info = buffer();
    info.extend_from_slice(VERSION_0);
    asn1::write_element(&mut info, SEQUENCE, &asn1::encoded(&set.oid()));
    asn1::write_element(&mut info, OCTET_STRING, &key);
    let mut der = buffer();
    asn1::write_element(&mut der, SEQUENCE, &info);
    der
}

/// Usages that a certificate of an ML-DSA key must not have: such a key signs, and does nothing
/// else (RFC 9881 5). In the order in which Kubernetes names them.
pub const FORBIDDEN_USAGES: [Usage; 5] = [
    Usage::DataEncipherment,
    Usage::DecipherOnly,
    Usage::EncipherOnly,
    Usage::KeyAgreement,
    Usage::KeyEncipherment,
];

/// Usages of which a certificate of an ML-DSA key must have one (RFC 9881 5), in the order in which
/// Kubernetes names them. `signing` is not among them, although it means `digital signature`.
pub const REQUIRED_USAGES: [Usage; 4] = [
    Usage::CertSign,
    Usage::ContentCommitment,
    Usage::CrlSign,
    Usage::DigitalSignature,
];

/// The texts of usages, as Go prints a list of strings: `[cert sign crl sign]`.
pub fn listed(usages: &[Usage]) -> String {
    let texts: Vec<&str> = usages.iter().map(|usage| usage.as_str()).collect();
    format!("[{}]", texts.join(" "))
}

/// What is wrong with the usages of a request for an ML-DSA key, all of it, in the words of the
/// signers of Kubernetes 1.38 (`pkg/apis/certificates/helpers.go`, `ValidateMLDSAKeyUsages`).
///
/// ```
/// use everleaf_pki::key::usage_faults;
///
/// assert!(usage_faults(&["client auth", "digital signature"]).is_empty());
/// assert_eq!(
///     usage_faults(&["client auth", "digital signature", "key encipherment"]),
///     ["usage key encipherment cannot be used with an ML-DSA signed certificate request"],
/// );
/// ```
pub fn usage_faults<T: AsRef<str>>(usages: &[T]) -> Vec<String> {
    let has = |wanted: &Usage| usages.iter().any(|usage| usage.as_ref() == wanted.as_str());
    let mut faults: Vec<String> = FORBIDDEN_USAGES
        .iter()
        .filter(|usage| has(usage))
        .map(|usage| {
            format!("usage {usage} cannot be used with an ML-DSA signed certificate request")
        })
        .collect();
    if !REQUIRED_USAGES.iter().any(has) {
        faults.push(format!(
            "usages must contain at least one of {}",
            listed(&REQUIRED_USAGES)
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyAlgorithm, PrivateKey};

    fn key(set: MlDsa) -> PrivateKey {
        PrivateKey::generate(KeyAlgorithm::MlDsa(set)).unwrap()
    }

    #[test]
    fn keys_are_written_as_seeds_and_read_back() {
        for set in MlDsa::ALL {
            let key = key(set);
            assert_eq!(key.algorithm(), KeyAlgorithm::MlDsa(set));
            let pem = key.to_pem();
            assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"), "{set}");
            // Version, algorithm, [0] with 32 bytes: a seed and nothing else.
            assert_eq!(key.to_pkcs8_der().unwrap().len(), 54, "{set}");
            let again = PrivateKey::from_pem(&pem).unwrap();
            assert_eq!(again.public_key(), key.public_key());
            assert_eq!(again.to_pkcs8_der().unwrap(), key.to_pkcs8_der().unwrap());
        }
    }

    /// The forms of RFC 9881 6 beside the seed.
    #[test]
    fn expanded_keys_and_both_forms_are_read() {
        for set in MlDsa::ALL {
            let seed = [7; 32];
            let pair = Pair::from_seed(set, &seed).unwrap();
            let public = PrivateKey::from_pair(super::super::Pair::MlDsa(pair)).unwrap();
            let public = public.public_key().clone();
            let pair = Pair::from_seed(set, &seed).unwrap();
            let raw = pair.pair.private_key().as_raw_bytes().unwrap();
            let expanded = expanded_der(set, raw.as_ref());
            let read = PrivateKey::from_der(&expanded).unwrap();
            assert_eq!(read.public_key(), &public, "{set}");
            // Nobody can compute the seed from it, so it stays what it was.
            assert_eq!(read.to_pkcs8_der().unwrap(), expanded, "{set}");
            assert_eq!(
                PrivateKey::from_pem(&read.to_pem()).unwrap().public_key(),
                &public
            );

            let both = |seed: [u8; 32]| {
                let parts = [asn1::element(4, &seed), asn1::element(4, raw.as_ref())].concat();
                let info = [
                    vec![2, 1, 0],
                    asn1::element(SEQUENCE, &asn1::encoded(&set.oid())),
                    asn1::element(4, &asn1::element(SEQUENCE, &parts)),
                ];
                asn1::element(SEQUENCE, &info.concat())
            };
            let read = PrivateKey::from_der(&both(seed)).unwrap();
            assert_eq!(read.public_key(), &public, "{set}");
            let error = PrivateKey::from_der(&both([8; 32])).unwrap_err();
            assert!(error.to_string().contains(set.name()), "{error}");
        }
    }

    #[test]
    fn private_keys_of_another_set_or_length_are_refused() {
        let seed = |set: MlDsa, length: usize| {
            let info = [
                vec![2, 1, 0],
                asn1::element(SEQUENCE, &asn1::encoded(&set.oid())),
                asn1::element(4, &asn1::element(0x80, &vec![7; length])),
            ];
            asn1::element(SEQUENCE, &info.concat())
        };
        assert!(PrivateKey::from_der(&seed(MlDsa::MlDsa65, 32)).is_ok());
        for length in [0, 31, 33, 64] {
            assert!(PrivateKey::from_der(&seed(MlDsa::MlDsa65, length)).is_err());
        }
        let pair = Pair::from_seed(MlDsa::MlDsa44, &[7; 32]).unwrap();
        let raw = pair.pair.private_key().as_raw_bytes().unwrap();
        let error = PrivateKey::from_der(&expanded_der(MlDsa::MlDsa87, raw.as_ref())).unwrap_err();
        assert!(error.to_string().contains("ML-DSA-87"), "{error}");
    }

    #[test]
    fn public_keys_have_no_parameters_and_one_length() {
        let spki = |algorithm: &[u8], key: &[u8]| {
            let key = asn1::encoded(&asn1::bit_string(key));
            asn1::element(
                SEQUENCE,
                &[asn1::element(SEQUENCE, algorithm), key].concat(),
            )
        };
        for set in MlDsa::ALL {
            let id = asn1::encoded(&set.oid());
            let length = set.public_key_bytes();
            let good = PublicKey::from_spki_der(&spki(&id, &vec![1; length])).unwrap();
            assert_eq!(*good.kind(), PublicKeyKind::MlDsa(set));
            assert_eq!(good.check_strength(), Ok(()));
            assert!(good.can_prove_possession());
            for wrong in [0, 32, length - 1, length + 1] {
                let error = PublicKey::from_spki_der(&spki(&id, &vec![1; wrong])).unwrap_err();
                let error = error.to_string();
                assert!(error.contains(set.name()) && error.contains(&length.to_string()));
            }
            let null = [id, vec![5, 0]].concat();
            let error = PublicKey::from_spki_der(&spki(&null, &vec![1; length])).unwrap_err();
            assert!(error.to_string().contains("no parameters"), "{error}");
        }
    }

    #[test]
    fn all_that_is_wrong_with_usages_is_said() {
        let all: Vec<&str> = FORBIDDEN_USAGES
            .iter()
            .map(|usage| usage.as_str())
            .collect();
        let faults = usage_faults(&all);
        assert_eq!(faults.len(), 6);
        assert_eq!(
            faults[5],
            "usages must contain at least one of [cert sign content commitment crl sign digital signature]"
        );
        for usage in REQUIRED_USAGES {
            assert!(usage_faults(&[usage.as_str()]).is_empty(), "{usage}");
        }
        assert_eq!(usage_faults(&["signing", "client auth"]).len(), 1);
    }
}
