//! Where the node's private keys are: in the files of the cert dir, or in a PKCS#11 token.
//!
//! A key in a token is named in its file by a URI. What makes keys, and deletes those that no file
//! names any more, is a [`KeySource`]; that of files is [`SystemKeySource`]. Nothing falls from a
//! token back to files by itself. The keys of profiles are in files: their programs read them.

use crate::config::Config;
use crate::managed::Machine;
use crate::token::{Owner, TokenKeys, TokenUri};
use everleaf_pki::{KeyAlgorithm, KeyError, KeySource, PrivateKey, SystemKeySource};
use everleaf_rotation::store::dir::read_file;
use everleaf_rotation::{CertStore, KeyForm};
use std::path::Path;

/// Where it is told apart which machine this is (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";
/// Longest file of that name that is read.
const MACHINE_ID_BYTES_MAX: u64 = 4096;
/// What the labels of keys begin with, unless the URI has an `object`.
const LABEL_PREFIX: &str = "everleaf";

/// `--key-store`: where the node's own keys are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeyStore {
    /// Nobody said: in files, unless there are keys in a token already.
    #[default]
    Unsaid,
    /// In files, whatever was before.
    Files,
    /// In this token.
    Token(Box<TokenUri>),
}

impl KeyStore {
    /// Reads `file` or a `pkcs11:` URI.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "file" => Ok(Self::Files),
            _ if text.starts_with("pkcs11:") => TokenUri::parse(text)
                .map(|uri| Self::Token(Box::new(uri)))
                .map_err(|error| error.to_string()),
            _ => Err(format!(
                "{text:?} is no key store: give `file`, or pkcs11:token=NAME?module-path=/LIBRARY.so&pin-source=file:/PIN"
            )),
        }
    }

    /// Whether keys of this kind can be made there.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, algorithm: KeyAlgorithm) -> Result<(), String> {
        let fits = matches!(algorithm, KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384);
        match self {
            Self::Token(_) if !fits => Err(format!(
                "{algorithm} keys cannot be in a token: choose ECDSA-P256 or ECDSA-P384"
            )),
            _ => Ok(()),
        }
    }
}

/// Makes the keys of one certificate.
pub(crate) struct Keys {
    configured: Box<dyn KeySource>,
    usual: Box<dyn KeySource>,
    are_in_token: bool,
}

impl Keys {
    /// Of one of the node's own certificates, whose files begin with `prefix`.
    ///
    /// # Errors
    /// When the token's thread cannot begin.
    pub(crate) fn of_node(
        config: &Config,
        algorithm: KeyAlgorithm,
        prefix: &str,
    ) -> Result<Self, String> {
        let KeyStore::Token(uri) = &config.key_store else {
            return Ok(Self::in_files(algorithm));
        };
        let keys = TokenKeys::new((**uri).clone())?;
        let owner = owner(config, uri, prefix);
        let source = |algorithm| {
            Box::new(TokenSource {
                keys: keys.clone(),
                owner: owner.clone(),
                algorithm,
            })
        };
        Ok(Self {
            configured: source(algorithm),
            usual: source(KeyAlgorithm::EcdsaP256),
            are_in_token: true,
        })
    }

    pub(crate) fn in_files(algorithm: KeyAlgorithm) -> Self {
        Self {
            configured: Box::new(SystemKeySource(algorithm)),
            usual: Box::new(SystemKeySource::default()),
            are_in_token: false,
        }
    }

    /// A fresh key of this form.
    pub(crate) fn generate(&mut self, form: KeyForm) -> Result<PrivateKey, KeyError> {
        match form {
            KeyForm::Configured => self.configured.generate(),
            KeyForm::Usual => self.usual.generate(),
        }
    }

    /// Deletes from the token what no file of `store` names. What is left over then, by a crash or
    /// a token that is away, goes the next time.
    pub(crate) fn sweep(&mut self, store: &dyn CertStore, manager: &str) {
        if !self.are_in_token {
            return;
        }
        let used = match store.key_uris() {
            Ok(used) => used,
            Err(error) => {
                tracing::warn!(manager, %error, "keys that no certificate uses stay in the token for now");
                return;
            }
        };
        match self.configured.retain(&used) {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(
                manager,
                deleted,
                "keys that no certificate uses any more are deleted from the token"
            ),
            Err(error) => {
                tracing::warn!(manager, %error, "keys that no certificate uses stay in the token for now");
            }
        }
    }
}

/// Says why this cannot go on with the keys that are there, or that a token is away for now.
pub(crate) fn check(config: &Config, machines: &[Machine]) -> Result<(), String> {
    match &config.key_store {
        KeyStore::Files => Ok(()),
        KeyStore::Token(uri) => {
            let keys = TokenKeys::new((**uri).clone())?;
            match keys.check() {
                Ok(()) => tracing::info!(
                    key_store = %uri,
                    "the node's keys are made in this token, and stay there"
                ),
                Err(error) => tracing::warn!(
                    %error,
                    "the token cannot be used now; nothing is renewed, nor shown, until it can: it is tried again"
                ),
            }
            Ok(())
        }
        KeyStore::Unsaid => {
            let own = machines.iter().filter(|machine| machine.keeper.is_none());
            // What cannot be read now is told when it is loaded.
            let mut uris = own.flat_map(|machine| machine.store.key_uris().unwrap_or_default());
            match uris.next() {
                None => Ok(()),
                Some(uri) => Err(format!(
                    "a key of this node is in a token ({uri}), and no --key-store is given: give the token's URI, or \
                     `--key-store file` if the next key is to be made in a file"
                )),
            }
        }
    }
}

/// Whose keys they are: another node, cert dir or certificate that shares the token has others.
fn owner(config: &Config, uri: &TokenUri, prefix: &str) -> Owner {
    let machine = read_file(Path::new(MACHINE_ID), MACHINE_ID_BYTES_MAX).unwrap_or_default();
    let start = uri.object().unwrap_or(LABEL_PREFIX);
    let label = format!("{start}-{}-{prefix}", config.node_name);
    let dir = config.cert_dir.as_os_str().as_encoded_bytes();
    Owner::new(label, &[&machine, config.node_name.as_bytes(), dir])
}

/// Keys of one kind, made in a token.
struct TokenSource {
    keys: TokenKeys,
    owner: Owner,
    algorithm: KeyAlgorithm,
}

impl KeySource for TokenSource {
    fn generate(&mut self) -> Result<PrivateKey, KeyError> {
        self.keys.generate(&self.owner, self.algorithm)
    }

    fn retain(&mut self, used: &[String]) -> Result<usize, KeyError> {
        self.keys.retain(&self.owner, used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "pkcs11:token=node?module-path=/usr/lib/softhsm/libsofthsm2.so";

    #[test]
    fn a_key_store_is_files_or_a_token() {
        assert_eq!(KeyStore::parse("file"), Ok(KeyStore::Files));
        let token = KeyStore::parse(TOKEN).unwrap();
        assert!(matches!(token, KeyStore::Token(_)));
        for (text, expected) in [
            ("files", "give `file`, or pkcs11:"),
            ("", "give `file`, or pkcs11:"),
            ("pkcs11:token=node", "?module-path="),
            ("pkcs11:id=%01?module-path=/l.so", "leave it out"),
            (
                "pkcs11:?module-path=/l.so&pin-value=1357",
                "put it into a file",
            ),
        ] {
            let error = KeyStore::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("1357"), "{error}");
        }
        assert_eq!(token.check(KeyAlgorithm::EcdsaP384), Ok(()));
        let error = token.check(KeyAlgorithm::Rsa(2048)).unwrap_err();
        assert!(error.contains("choose ECDSA-P256"), "{error}");
        assert_eq!(KeyStore::Files.check(KeyAlgorithm::Rsa(2048)), Ok(()));
    }

    /// What is swept is told apart by all of these.
    #[test]
    fn two_that_share_a_token_have_different_keys() {
        let config = |node: &str, dir: &str| Config::for_node(node, "/k".into(), dir.into());
        let plain = TokenUri::parse(TOKEN).unwrap();
        let one = owner(&config("n1", "/a"), &plain, "kubelet-client");
        assert_eq!(one.label, "everleaf-n1-kubelet-client");
        assert_eq!(one, owner(&config("n1", "/a"), &plain, "kubelet-client"));
        let serving = owner(&config("n1", "/a"), &plain, "kubelet-server");
        assert_ne!(one.label, serving.label);
        assert_ne!(
            one.label,
            owner(&config("n2", "/a"), &plain, "kubelet-client").label
        );
        assert_ne!(
            one.tag,
            owner(&config("n1", "/b"), &plain, "kubelet-client").tag
        );
        let text = "pkcs11:object=rack-7?module-path=/l.so";
        let named = TokenUri::parse(text).unwrap();
        let label = owner(&config("n1", "/a"), &named, "kubelet-client").label;
        assert_eq!(label, "rack-7-n1-kubelet-client");
    }
}
