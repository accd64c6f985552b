//! A tree of random generators from one seed.
//!
//! Each purpose takes its own branch, so that one more draw here does not reshuffle everything
//! there. The generator is rotation's: small, well mixed, and not for secrets.

use everleaf_rotation::backoff::Generator;

/// A generator, and the root of a subtree of generators.
#[derive(Clone, Debug)]
pub struct Rng {
    seed: u64,
    generator: Generator,
}

impl Rng {
    /// The root of the tree that `seed` names.
    pub fn new(seed: u64) -> Self {
        let generator = Generator::from_seed(seed);
        Self { seed, generator }
    }

    /// The branch named `name`. It depends on this node's seed and the name only, not on how much
    /// has been drawn.
    pub fn branch(&self, name: &str) -> Self {
        // FNV-1a over the name, then one mixing step with the parent's seed.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut child = Self::new(self.seed ^ hash);
        let seed = child.next_word();
        Self::new(seed)
    }

    /// The next 64 bits.
    pub fn next_word(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// A number below `bound`; zero when `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_word()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(u64::MAX)
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn branches_do_not_depend_on_draws() {
        let mut root = Rng::new(7);
        let before = root.branch("network").next_word();
        root.next_word();
        assert_eq!(root.branch("network").next_word(), before);
        assert_ne!(root.branch("disk").next_word(), before);
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::new(1);
        assert!((0..10_000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(0), 0);
    }
}
