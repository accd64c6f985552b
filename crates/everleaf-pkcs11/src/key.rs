//! A key in a token.

use crate::token::{KeyName, Trouble};
use crate::uri::KeyUri;
use crate::worker::{Use, Worker};
use everleaf_pki::issuer::has_signed;
use everleaf_pki::{HeldKey, PublicKey};
use std::sync::Arc;

/// A key in a token.
pub struct TokenKey {
    pub(crate) worker: Arc<Worker>,
    pub(crate) uri: String,
    pub(crate) name: KeyName,
    pub(crate) public_key: PublicKey,
    used_for: Use,
}

impl TokenKey {
    /// A CA's key at this URI, which has to be that of `public_key`: it has to sign once. Blocks.
    ///
    /// # Errors
    /// Why it cannot be used, for people; never with a PIN in it.
    pub fn open(uri: KeyUri, public_key: PublicKey) -> Result<Self, String> {
        let used_for = Use::Authority;
        // Said before anybody looks for the token, or tells it a PIN: no token could help.
        if public_key.is_ml_dsa() {
            return Err(format!(
                "{uri}: the CA certificate has an {} key, which cannot be in a token yet: give the key as a PEM file, or \
                 a CA of RSA, ECDSA or Ed25519",
                public_key.kind()
            ));
        }
        // A thread of its own: a token that hangs makes nobody else's requests wait.
        let worker = Arc::new(Worker::new(uri.token().clone(), used_for)?);
        let key = Self::new(worker, &uri, public_key, used_for);
        key.prove().map_err(|trouble| key.words(trouble))?;
        Ok(key)
    }

    pub(crate) fn new(
        worker: Arc<Worker>,
        uri: &KeyUri,
        public_key: PublicKey,
        used_for: Use,
    ) -> Self {
        let name = KeyName {
            label: uri.object().map(str::to_owned),
            id: uri.id().map(<[u8]>::to_vec),
        };
        let uri = uri.to_string();
        Self {
            worker,
            uri,
            name,
            public_key,
            used_for,
        }
    }

    /// Has the token find the key, and sign with it if it was not found before.
    pub(crate) fn prove(&self) -> Result<(), Trouble> {
        let (name, public_key) = (self.name.clone(), self.public_key.clone());
        self.worker
            .ask(move |token| token.within(|open| open.find(&name, &public_key).map(|_| ())))
    }

    pub(crate) fn words(&self, trouble: Trouble) -> String {
        // A node's is one of several in the token that it was told, and named by a label.
        let name = match (self.used_for, &self.name.label) {
            (Use::Node, Some(label)) => label,
            _ => &self.uri,
        };
        format!("{name}: {trouble}")
    }
}

impl HeldKey for TokenKey {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn uri(&self) -> &str {
        &self.uri
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let (name, public_key) = (self.name.clone(), self.public_key.clone());
        let text = message.to_vec();
        let signed = self
            .worker
            .ask(move |token| token.within(|open| open.sign(&name, &public_key, &text)));
        match signed {
            Ok(signature) if has_signed(&self.public_key, message, &signature) => Ok(signature),
            Ok(_) => Err(self.words(Trouble::Other(format!(
                "the token's signature does not fit the {}",
                self.used_for.certificate()
            )))),
            Err(trouble) => Err(self.words(trouble)),
        }
    }
}

impl Use {
    /// What a key has to belong to.
    pub(crate) fn certificate(self) -> &'static str {
        match self {
            Self::Authority => "CA certificate",
            Self::Node => "certificate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::{MlDsa, PrivateKey};

    #[test]
    fn an_ml_dsa_key_of_a_ca_is_refused_in_words() {
        let uri = KeyUri::parse("pkcs11:object=ca?module-path=/nowhere.so").unwrap();
        let key = PrivateKey::from_ml_dsa_seed(MlDsa::MlDsa65, &[7; 32]).unwrap();
        let error = TokenKey::open(uri, key.public_key().clone()).err().unwrap();
        assert!(error.starts_with("pkcs11:"), "{error}");
        let expected = "an ML-DSA-65 key, which cannot be in a token yet";
        assert!(error.contains(expected), "{error}");
    }
}
