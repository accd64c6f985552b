//! What one judgement may cost, whoever shows what.
//!
//! Signatures are counted as Go does (`maxChainSignatureChecks`). Names and policies are counted
//! here because whoever holds some CA below the bundle may show thousands of names, limits,
//! policies and ways in one TLS message, and their product would keep a server busy for many
//! seconds. Go had the same limit of comparisons until it sorted its limits, in 1.26.

use super::Refusal;
use crate::key::{PublicKey, PublicKeyKind};

/// Signatures that one judgement checks.
pub(super) const SIGNATURE_CHECKS_MAX: usize = 100;
/// Names, limits and policies that one judgement compares, over all ways.
pub(super) const COMPARISONS_MAX: usize = 250_000;

/// For how many checks of signatures one by this key counts. An RSA key of 8192 bits with a long
/// exponent costs thrice what the dearest other key costs, and needs nobody's trust to be shown.
pub(super) fn weight(key: &PublicKey) -> usize {
    const RSA_BITS_USUAL: u32 = 4_096;
    match key.kind() {
        PublicKeyKind::Rsa { bits } if *bits > RSA_BITS_USUAL => 3,
        _ => 1,
    }
}

/// Comparisons that are left.
#[derive(Debug)]
pub(super) struct Effort {
    comparisons_left: usize,
}

impl Effort {
    /// All of them.
    pub(super) fn new() -> Self {
        Self {
            comparisons_left: COMPARISONS_MAX,
        }
    }

    /// Counts comparisons about to be made.
    ///
    /// # Errors
    /// They would be too many; then all later ones are, too.
    pub(super) fn spend(&mut self, comparisons: usize) -> Result<(), Refusal> {
        match self.comparisons_left.checked_sub(comparisons) {
            Some(left) => {
                self.comparisons_left = left;
                Ok(())
            }
            None => {
                self.comparisons_left = 0;
                Err(Refusal::TooManyComparisons(COMPARISONS_MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asn1::{SEQUENCE, element, encoded, oid};

    #[test]
    fn long_rsa_keys_count_thrice() {
        let weight_of = |bits: usize| {
            let modulus = [&[0][..], &vec![0xff; bits / 8]].concat();
            let key = [element(0x02, &modulus), element(0x02, &[3])].concat();
            let key = [&[0][..], &element(SEQUENCE, &key)].concat();
            let algorithm = [encoded(&oid::RSA_ENCRYPTION), vec![5, 0]].concat();
            let parts = [element(SEQUENCE, &algorithm), element(0x03, &key)].concat();
            weight(&PublicKey::from_spki_der(&element(SEQUENCE, &parts)).unwrap())
        };
        assert_eq!([2048, 4096, 4104, 8192].map(weight_of), [1, 1, 3, 3]);
    }

    #[test]
    fn what_is_spent_is_gone() {
        let mut effort = Effort::new();
        assert_eq!(effort.spend(COMPARISONS_MAX), Ok(()));
        assert_eq!(effort.spend(0), Ok(()));
        assert_eq!(
            effort.spend(1),
            Err(Refusal::TooManyComparisons(COMPARISONS_MAX))
        );
        let mut effort = Effort::new();
        assert!(effort.spend(COMPARISONS_MAX + 1).is_err());
        assert!(effort.spend(1).is_err());
    }
}
