//! Kinds of keys by the names that a KubeletConfiguration has for them.

use super::{KeyAlgorithm, MlDsa};

impl KeyAlgorithm {
    /// The kinds that a node's key may have, with their names in `clientCertificateKeyAlgorithm`
    /// and `serverCertificateKeyAlgorithm` (Kubernetes 1.38, `pkg/kubelet/apis/config/types.go`).
    pub const NAMED: [(&'static str, Self); 8] = [
        ("ECDSA-P256", Self::EcdsaP256),
        ("ECDSA-P384", Self::EcdsaP384),
        ("RSA-2048", Self::Rsa(2048)),
        ("RSA-3072", Self::Rsa(3072)),
        ("RSA-4096", Self::Rsa(4096)),
        ("ML-DSA-44", Self::MlDsa(MlDsa::MlDsa44)),
        ("ML-DSA-65", Self::MlDsa(MlDsa::MlDsa65)),
        ("ML-DSA-87", Self::MlDsa(MlDsa::MlDsa87)),
    ];

    /// The kind with this name.
    ///
    /// ```
    /// use everleaf_pki::{KeyAlgorithm, MlDsa};
    ///
    /// let named = KeyAlgorithm::parse("ML-DSA-65");
    /// assert_eq!(named, Some(KeyAlgorithm::MlDsa(MlDsa::MlDsa65)));
    /// assert_eq!(KeyAlgorithm::parse("DSA"), None);
    /// ```
    pub fn parse(name: &str) -> Option<Self> {
        let mut named = Self::NAMED.into_iter();
        named
            .find(|(other, _)| *other == name)
            .map(|(_, kind)| kind)
    }

    /// The names, for people: `A, B and C`.
    pub fn names() -> String {
        let names = Self::NAMED.map(|(name, _)| name);
        let [most @ .., last] = &names[..] else {
            return String::new();
        };
        format!("{} and {last}", most.join(", "))
    }

    /// About how hard the key is to break, in words of NIST (SP 800-57 part 1, FIPS 204): bits of
    /// security, and for ML-DSA, which is counted for quantum computers, too, the category.
    pub fn strength(self) -> String {
        let bits = match self {
            Self::MlDsa(set) => return format!("category {}, post-quantum", set.category()),
            Self::EcdsaP256 | Self::Ed25519 => 128,
            Self::EcdsaP384 => 192,
            Self::EcdsaP521 => 256,
            Self::Rsa(bits) => match bits {
                ..2048 => 80,
                2048..3072 => 112,
                3072..7680 => 128,
                7680.. => 192,
            },
        };
        format!("{bits} bits")
    }

    /// Kind and strength, for people: `ML-DSA-65 (category 3, post-quantum)`.
    pub fn with_strength(self) -> String {
        format!("{self} ({})", self.strength())
    }
}
