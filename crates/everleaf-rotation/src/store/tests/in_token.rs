//! Files of keys that are in a token.

use super::*;
use everleaf_pki::{HeldKey, PublicKey};
use std::sync::Arc;

/// Signs with a key that is here, under a URI of its own.
struct Token {
    key: PrivateKey,
    uri: String,
}

impl HeldKey for Token {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn uri(&self) -> &str {
        &self.uri
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let der = self.key.to_pkcs8_der().unwrap();
        let curve = &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(curve, &der).unwrap();
        let random = aws_lc_rs::rand::SystemRandom::new();
        Ok(pair.sign(&random, message).unwrap().as_ref().to_vec())
    }
}

fn uri(seed: u64) -> String {
    format!("pkcs11:token=node;id=%{seed:02X}?module-path=/l.so")
}

fn key(seed: u64) -> PrivateKey {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let uri = uri(seed);
    PrivateKey::held(Arc::new(Token { key, uri })).unwrap()
}

/// Files a request with a key in the token, and installs what is issued; it stays pending.
fn install_held(store: &mut dyn CertStore, seed: u64) -> Chain {
    let (pending, key) = conformance::prepare_with(client_order(), key(seed), seed, now());
    store.put_pending(&pending, &key).unwrap();
    let start = now() + SignedDuration::from_hours(seed.cast_signed());
    let chain = Authority::new().issue(&pending, start, start + SignedDuration::from_hours(8760));
    store.install(&chain, LOCAL).unwrap();
    chain
}

/// No key of the current, the last accepted or the pending certificate is ever left out, and others
/// are no longer named once the server has accepted a newer one.
#[test]
fn keys_are_named_as_long_as_they_are_needed() {
    let home = Home::new();
    for store in [
        &mut home.store() as &mut dyn CertStore,
        &mut MemoryStore::new("kubelet-client"),
    ] {
        install(store, 1).unwrap();
        store.accept().unwrap();
        assert!(store.key_uris().unwrap().is_empty());
        let (pending, held) = conformance::prepare_with(client_order(), key(2), 2, now());
        store.put_pending(&pending, &held).unwrap();
        assert_eq!(store.key_uris().unwrap(), [uri(2)]);
        let opened = store.load(now()).unwrap();
        assert_eq!(
            opened.pending.as_ref(),
            Some(&pending),
            "{:?}",
            opened.findings
        );
        store.discard_pending().unwrap();
        assert!(store.key_uris().unwrap().is_empty());

        let second = install_held(store, 3);
        store.discard_pending().unwrap();
        assert_eq!(store.key_uris().unwrap(), [uri(3)]);
        let opened = assert_current(store, &second);
        assert_eq!(opened.current.unwrap().key().uri(), Some(&*uri(3)));
        store.accept().unwrap();
        let third = install_held(store, 4);
        let mut uris = store.key_uris().unwrap();
        uris.sort();
        assert_eq!(
            uris,
            [uri(3), uri(4)],
            "the server has not accepted the new one"
        );
        // The one before may still be needed.
        let reverted = store.revert().unwrap();
        assert_eq!(reverted.key().uri(), Some(&*uri(3)));
        assert_eq!(store.key_uris().unwrap().len(), 2);
        store.install(&third, LOCAL).unwrap();
        store.accept().unwrap();
        store.discard_pending().unwrap();
        assert_eq!(
            store.key_uris().unwrap(),
            [uri(4)],
            "the token has little room"
        );
        // The key in a file is still there.
        let previous = store.load(now()).unwrap();
        assert!(!previous.is_first);
    }
}

/// Nothing is known of what cannot be read.
#[test]
fn an_unreadable_file_names_no_keys_that_could_be_spared() {
    let home = Home::new();
    install_held(&mut home.store(), 1);
    std::fs::remove_file(home.path("kubelet-client-pending.key")).unwrap();
    assert_eq!(home.store().key_uris().unwrap(), [uri(1)]);
    std::fs::create_dir(home.path("kubelet-client-pending.key")).unwrap();
    assert!(home.store().key_uris().is_err());
}
