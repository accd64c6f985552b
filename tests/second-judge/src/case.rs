//! What is to be judged: a bundle, what somebody showed, and when; also as one string of bytes, for
//! a fuzzer.

use crate::der::{self, Node, SEQUENCE};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512};
use rcgen::{PKCS_ED25519, PKCS_RSA_SHA256, SigningKey};
use std::sync::LazyLock;

/// Keys that sign: 0 to 7 Ed25519, 8 P-256, 9 P-384, 10 P-521, 11 RSA 2048. Always the same, so
/// that a chain can be written down without its signatures.
pub static KEYS: LazyLock<Vec<KeyPair>> = LazyLock::new(|| {
    let ed25519 = (0..8_u8).map(|number| {
        const BEFORE_SEED: &[u8] =
            b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        let pkcs8 = [BEFORE_SEED, &[number + 1; 32]].concat();
        KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &PKCS_ED25519).unwrap()
    });
    let others = [
        (
            &include_bytes!("../keys/p256.pk8")[..],
            &PKCS_ECDSA_P256_SHA256,
        ),
        (include_bytes!("../keys/p384.pk8"), &PKCS_ECDSA_P384_SHA384),
        (include_bytes!("../keys/p521.pk8"), &PKCS_ECDSA_P521_SHA512),
        (include_bytes!("../keys/rsa2048.pk8"), &PKCS_RSA_SHA256),
    ];
    let others = others.map(|(pkcs8, algorithm)| {
        KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.to_vec().into(), algorithm).unwrap()
    });
    ed25519.chain(others).collect()
});

/// One judgement to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Seconds since 1970.
    pub now: u32,
    /// Certificates; of those shown, the first is the leaf.
    pub members: Vec<Member>,
}

/// A certificate of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// It stands in the bundle; else it is shown.
    pub is_anchor: bool,
    /// What it is.
    pub form: Form,
}

/// A certificate, or what becomes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Whole(Vec<u8>),
    /// A `TBSCertificate` and the number of the key that signs it.
    Signed {
        /// DER.
        tbs: Vec<u8>,
        /// Which of [`KEYS`], modulo their number.
        key: u8,
    },
}

const ANCHOR: u8 = 0x80;
const WHOLE: u8 = 0x40;
const KEY: u8 = 0x3f;

impl Case {
    /// DER of the bundle.
    pub fn anchors(&self) -> Vec<Vec<u8>> {
        self.ders(true)
    }

    /// DER of what was shown, leaf first.
    pub fn shown(&self) -> Vec<Vec<u8>> {
        self.ders(false)
    }

    fn ders(&self, is_anchor: bool) -> Vec<Vec<u8>> {
        let members = self.members.iter();
        members
            .filter(|member| member.is_anchor == is_anchor)
            .map(Member::der)
            .collect()
    }

    /// As bytes: the time, then each member as a head (role, form, key), a length and its DER.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.now.to_le_bytes().to_vec();
        for member in &self.members {
            let role = if member.is_anchor { ANCHOR } else { 0 };
            let (form, der) = match &member.form {
                Form::Whole(der) => (WHOLE, der),
                Form::Signed { tbs, key } => (key & KEY, tbs),
            };
            let length = u16::try_from(der.len()).unwrap_or(u16::MAX);
            bytes.push(role | form);
            bytes.extend(length.to_le_bytes());
            bytes.extend(&der[..usize::from(length)]);
        }
        bytes
    }

    /// Reads any bytes; what is cut short ends where it ends.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (now, mut rest) = bytes.split_first_chunk::<4>()?;
        let mut members = Vec::new();
        while let Some((&[head, low, high], after)) = rest.split_first_chunk::<3>() {
            let length = usize::from(u16::from_le_bytes([low, high])).min(after.len());
            let (der, after) = after.split_at(length);
            let key = head & KEY;
            let form = match head & WHOLE {
                0 => Form::Signed {
                    tbs: der.to_vec(),
                    key,
                },
                _ => Form::Whole(der.to_vec()),
            };
            let is_anchor = head & ANCHOR != 0;
            members.push(Member { is_anchor, form });
            rest = after;
        }
        let now = u32::from_le_bytes(*now);
        Some(Self { now, members })
    }
}

impl Member {
    /// The certificate.
    pub fn der(&self) -> Vec<u8> {
        match &self.form {
            Form::Whole(der) => der.clone(),
            Form::Signed { tbs, key } => sign(tbs, usize::from(*key)),
        }
    }

    /// Its bytes, to be changed: of the certificate or of what will be signed.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        match &mut self.form {
            Form::Whole(der) => der,
            Form::Signed { tbs, .. } => tbs,
        }
    }

    /// The same certificate as what is to be signed, with the key that signed it.
    pub fn to_be_signed(is_anchor: bool, der: &[u8], key: usize) -> Self {
        let whole = Node::read(der).unwrap();
        let tbs = whole.children()[0].write();
        let key = u8::try_from(key).unwrap();
        let form = Form::Signed { tbs, key };
        Self { is_anchor, form }
    }
}

/// A certificate of these contents, signed with that key, whatever algorithm the contents name.
pub fn sign(tbs: &[u8], key: usize) -> Vec<u8> {
    let key = &KEYS[key % KEYS.len()];
    let signature = SigningKey::sign(key, tbs).unwrap();
    let algorithm = algorithm_of(tbs).unwrap_or_else(|| der::element(SEQUENCE, &[]));
    let bits = der::element(0x03, &[&[0], &signature[..]].concat());
    der::element(SEQUENCE, &[tbs, &algorithm, &bits].concat())
}

/// The `signature` field.
fn algorithm_of(tbs: &[u8]) -> Option<Vec<u8>> {
    const VERSION: u8 = 0xa0;
    let (_, content, _) = der::split(tbs)?;
    let (tag, _, after_first) = der::split(content)?;
    let rest = match tag {
        VERSION => der::split(after_first)?.2,
        _ => after_first,
    };
    let (tag, algorithm, _) = der::split(rest)?;
    Some(der::element(tag, algorithm))
}
