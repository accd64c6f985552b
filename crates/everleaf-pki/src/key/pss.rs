//! RSASSA-PSS with SHA-256 and a salt of any length (RFC 8017 8.1.2), as Go's `rsa.SignPSS` makes
//! it when nobody tells it how long: as long as there is room for. Our cryptographic library checks
//! salts of the hash's length alone. Nothing here is secret.

use aws_lc_rs::digest::{self, SHA256};
use std::cmp::Ordering;

const HASH_BYTES: usize = 32;
/// Largest modulus, in bytes.
const MODULUS_BYTES_MAX: usize = 1024;
/// What an encoded message ends with.
const TRAILER: u8 = 0xbc;

/// Does the signature fit the message and the key? `modulus` is big-endian, without leading zeros.
pub(super) fn verify(modulus: &[u8], exponent: u64, message: &[u8], signature: &[u8]) -> bool {
    let is_sound = modulus.len() <= MODULUS_BYTES_MAX
        && modulus.last().is_some_and(|b| b & 1 == 1)
        // As Go's `crypto/rsa`. Under the exponent 1 everything is its own signature.
        && exponent & 1 == 1
        && (3..=i32::MAX as u64).contains(&exponent);
    if !is_sound || signature.len() != modulus.len() || signature >= modulus {
        return false;
    }
    let encoded = power(signature, exponent, modulus);
    let bits = modulus.len() * 8 - modulus[0].leading_zeros() as usize - 1;
    is_encoding_of(message, &encoded[modulus.len() - bits.div_ceil(8)..], bits)
        && encoded[..modulus.len() - bits.div_ceil(8)]
            .iter()
            .all(|byte| *byte == 0)
}

/// RFC 8017 9.1.2, whatever the salt's length.
fn is_encoding_of(message: &[u8], encoded: &[u8], bits: usize) -> bool {
    let Some(masked_bytes) = encoded.len().checked_sub(HASH_BYTES + 1) else {
        return false;
    };
    let (masked, rest) = encoded.split_at(masked_bytes);
    let (hash, trailer) = rest.split_at(HASH_BYTES);
    let unused = 8 * encoded.len() - bits;
    let used = 0xff_u8 >> unused;
    if trailer != [TRAILER] || masked.first().is_none_or(|first| first & !used != 0) {
        return false;
    }
    let mut block: Vec<u8> = masked.iter().zip(mask(hash)).map(|(a, b)| a ^ b).collect();
    block[0] &= used;
    let Some(one) = block.iter().position(|byte| *byte != 0) else {
        return false;
    };
    let (mark, salt) = block[one..].split_at(1);
    let digest = sha256(&[message]);
    mark == [1] && sha256(&[&[0; 8], digest.as_ref(), salt]).as_ref() == hash
}

/// MGF1 with SHA-256 (RFC 8017 B.2.1).
fn mask(seed: &[u8]) -> impl Iterator<Item = u8> {
    (0_u32..).flat_map(move |counter| {
        let block = sha256(&[seed, &counter.to_be_bytes()]);
        block.as_ref().to_vec()
    })
}

fn sha256(parts: &[&[u8]]) -> digest::Digest {
    let mut context = digest::Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish()
}

/// `base^exponent mod modulus`, big-endian, as long as the modulus, which is odd.
fn power(base: &[u8], exponent: u64, modulus: &[u8]) -> Vec<u8> {
    let field = Field::new(limbs(modulus, modulus.len().div_ceil(4)));
    let base = field.multiply(&limbs(base, field.modulus.len()), &field.square);
    let mut result = field.multiply(&field.one(), &field.square);
    for bit in (0..u64::BITS - exponent.leading_zeros()).rev() {
        result = field.multiply(&result, &result);
        if exponent >> bit & 1 == 1 {
            result = field.multiply(&result, &base);
        }
    }
    let result = field.multiply(&result, &field.one());
    let bytes: Vec<u8> = result
        .iter()
        .rev()
        .flat_map(|limb| limb.to_be_bytes())
        .collect();
    bytes[bytes.len() - modulus.len()..].to_vec()
}

/// Digits of 32 bits, the least first.
fn limbs(bytes: &[u8], count: usize) -> Vec<u32> {
    let digit = |chunk: &[u8]| {
        chunk
            .iter()
            .fold(0, |digit, byte| digit << 8 | u32::from(*byte))
    };
    let mut limbs: Vec<u32> = bytes.rchunks(4).map(digit).collect();
    limbs.resize(count, 0);
    limbs
}

/// Numbers below an odd modulus, multiplied as Montgomery does it: `a * b / 2^(32 n)`.
struct Field {
    modulus: Vec<u32>,
    /// `-1 / modulus`, of the least digit.
    inverse: u32,
    /// `2^(64 n)`, which takes a number into that form.
    square: Vec<u32>,
}

impl Field {
    fn new(modulus: Vec<u32>) -> Self {
        // Newton: each step doubles the bits that are right, of which an odd number has three.
        let inverse = (0..4).fold(modulus[0], |inverse, _| {
            inverse.wrapping_mul(2_u32.wrapping_sub(modulus[0].wrapping_mul(inverse)))
        });
        let mut field = Self {
            inverse: inverse.wrapping_neg(),
            square: Vec::new(),
            modulus,
        };
        let mut square = field.one();
        for _ in 0..64 * field.modulus.len() {
            square = field.double(square);
        }
        field.square = square;
        field
    }

    fn one(&self) -> Vec<u32> {
        let mut one = vec![0; self.modulus.len()];
        one[0] = 1;
        one
    }

    fn double(&self, mut number: Vec<u32>) -> Vec<u32> {
        let mut carry = 0;
        for limb in &mut number {
            (*limb, carry) = (*limb << 1 | carry, *limb >> 31);
        }
        number.push(carry);
        self.reduced(number)
    }

    fn multiply(&self, a: &[u32], b: &[u32]) -> Vec<u32> {
        let count = self.modulus.len();
        let mut sum = vec![0_u32; count + 2];
        for digit in b {
            add_product(&mut sum, a, *digit);
            let factor = sum[0].wrapping_mul(self.inverse);
            add_product(&mut sum, &self.modulus, factor);
            // The least digit is zero now.
            sum.remove(0);
            sum.push(0);
        }
        sum.truncate(count + 1);
        self.reduced(sum)
    }

    /// A number below twice the modulus, with a digit more than that has.
    fn reduced(&self, mut number: Vec<u32>) -> Vec<u32> {
        let top = number.pop().unwrap_or(0);
        let is_below = number.iter().rev().cmp(self.modulus.iter().rev()) == Ordering::Less;
        if top == 0 && is_below {
            return number;
        }
        let mut borrow = false;
        for (limb, other) in number.iter_mut().zip(&self.modulus) {
            let (rest, first) = limb.overflowing_sub(*other);
            let (rest, second) = rest.overflowing_sub(u32::from(borrow));
            (*limb, borrow) = (rest, first || second);
        }
        number
    }
}

/// `sum += factors * digit`; what overflows goes on above.
#[expect(clippy::cast_possible_truncation, reason = "the upper half is carried")]
fn add_product(sum: &mut [u32], factors: &[u32], digit: u32) {
    let mut carry = 0_u64;
    for (place, limb) in sum.iter_mut().enumerate() {
        let factor = factors.get(place).copied().unwrap_or(0);
        let total = u64::from(*limb) + u64::from(factor) * u64::from(digit) + carry;
        (*limb, carry) = (total as u32, total >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::super::PublicKey;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    const MESSAGE: &[u8] = b"pod-uid";

    /// What Go's `crypto` signed, as kubelets do.
    fn proofs() -> Vec<(&'static str, PublicKey, Vec<u8>)> {
        let text = include_str!("../../testdata/go/proofs-of-possession.txt");
        let proof = |line: &'static str| {
            let mut words = line.split(' ');
            let mut next = || words.next().unwrap();
            let name = next();
            let mut bytes = || STANDARD.decode(next()).unwrap();
            let key = PublicKey::from_spki_der(&bytes()).unwrap();
            (name, key, bytes())
        };
        text.lines().map(proof).collect()
    }

    #[test]
    fn what_go_signs_is_believed() {
        let proofs = proofs();
        assert_eq!(proofs.len(), 9);
        for (name, key, proof) in proofs {
            assert!(key.has_signed(MESSAGE, &proof), "{name}");
        }
    }

    #[test]
    fn whatever_is_changed_is_not() {
        for (name, key, proof) in proofs() {
            assert!(
                !key.has_signed(b"pod-uie", &proof),
                "{name}: another message"
            );
            assert!(!key.has_signed(MESSAGE, &[]), "{name}: nothing");
            assert!(!key.has_signed(MESSAGE, &proof[1..]), "{name}: cut");
            assert!(
                !key.has_signed(MESSAGE, &vec![0; proof.len()]),
                "{name}: zeros"
            );
            assert!(
                !key.has_signed(MESSAGE, &vec![0xff; proof.len()]),
                "{name}: too large"
            );
            for place in [0, 1, proof.len() / 2, proof.len() - 1] {
                let mut changed = proof.clone();
                changed[place] ^= 1;
                assert!(!key.has_signed(MESSAGE, &changed), "{name}: byte {place}");
            }
            for (other, other_key, _) in proofs() {
                if other_key != key {
                    assert!(!other_key.has_signed(MESSAGE, &proof), "{name} by {other}");
                }
            }
        }
    }
}
