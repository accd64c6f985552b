//! PKCS#11 tokens, if this program was built with them.
//!
//! The names of the crate everleaf-pkcs11, with the feature `pkcs11`. Without it, the same names
//! refuse, the first of them [`TokenUri`], so that nothing gets to the others.

#[cfg(feature = "pkcs11")]
pub(crate) use everleaf_pkcs11::{Owner, TokenKey, TokenKeys};

#[cfg(feature = "pkcs11")]
pub use everleaf_pkcs11::TokenUri;

#[cfg(not(feature = "pkcs11"))]
pub use absent::TokenUri;

#[cfg(not(feature = "pkcs11"))]
pub(crate) use absent::{Owner, TokenKey, TokenKeys};

#[cfg(not(feature = "pkcs11"))]
mod absent {
    use everleaf_pki::{HeldKey, KeyAlgorithm, KeyError, PrivateKey, PublicKey};
    use std::fmt;

    const WITHOUT: &str = "this program was built without PKCS#11: use `everleaf agent`, or build with `--features pkcs11`";

    /// A token, of which there is none: nothing makes one of these.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct TokenUri(());

    impl TokenUri {
        /// Refuses.
        ///
        /// # Errors
        /// Always.
        pub fn parse(_text: &str) -> Result<Self, &'static str> {
            Err(WITHOUT)
        }

        pub(crate) fn object(&self) -> Option<&str> {
            None
        }
    }

    impl fmt::Display for TokenUri {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no token")
        }
    }

    #[derive(Clone)]
    pub(crate) struct TokenKeys;

    impl TokenKeys {
        pub(crate) fn new(_uri: TokenUri) -> Result<Self, String> {
            Ok(Self)
        }

        pub(crate) fn check(&self) -> Result<(), String> {
            Err(WITHOUT.to_owned())
        }

        pub(crate) fn generate(&self, _: &Owner, _: KeyAlgorithm) -> Result<PrivateKey, KeyError> {
            Err(KeyError::Elsewhere(WITHOUT.to_owned()))
        }

        pub(crate) fn retain(&self, _: &Owner, _: &[String]) -> Result<usize, KeyError> {
            Err(KeyError::Elsewhere(WITHOUT.to_owned()))
        }
    }

    #[derive(Clone)]
    pub(crate) struct Owner;

    impl Owner {
        pub(crate) fn new(_label: String, _of: &[&[u8]]) -> Self {
            Self
        }
    }

    pub(crate) enum TokenKey {}

    impl TokenKey {
        pub(crate) fn find(uri: &str, _public_key: PublicKey) -> Result<Self, String> {
            Err(format!("{uri}: {WITHOUT}"))
        }
    }

    impl HeldKey for TokenKey {
        fn public_key(&self) -> &PublicKey {
            match *self {}
        }

        fn uri(&self) -> &str {
            match *self {}
        }

        fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, String> {
            match *self {}
        }
    }
}
