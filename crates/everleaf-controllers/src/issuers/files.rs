//! The files of a CA: reading them, and making an issuer of what was read.

use super::Terms;
use crate::config::CaFiles;
use crate::input;
use everleaf_pkcs11::{KeyUri, TokenKey};
use everleaf_pki::{CertificateError, Issuer, KeyError, PrivateKey, pem};
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Largest CA file that is read; a chain of ten with long names has a tenth of it.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of the files.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct FileBytes {
    certificate: Zeroizing<Vec<u8>>,
    chain: Option<Zeroizing<Vec<u8>>>,
    key: Zeroizing<Vec<u8>>,
    password: Option<Zeroizing<Vec<u8>>>,
}

impl FileBytes {
    pub(super) fn read(files: &CaFiles) -> Result<Self, String> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            chain: files.chain.as_deref().map(read).transpose()?,
            key: match token_uri(files) {
                Some(uri) => Zeroizing::new(uri.as_bytes().to_vec()),
                None => read(&files.key)?,
            },
            password: files.password.as_deref().map(read).transpose()?,
        })
    }

    /// An issuer of these bytes, which were those of `files`.
    pub(super) fn issuer(&self, files: &CaFiles, terms: Terms) -> Result<Issuer, String> {
        let mut issuer = match token_uri(files) {
            Some(uri) => self.with_token(uri)?,
            None => self.pair()?,
        };
        if let (Some(chain), Some(path)) = (&self.chain, &files.chain) {
            issuer = issuer
                .with_chain(chain)
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(match terms.spread_ca_end {
            true => issuer.spreading_ends(),
            false => issuer,
        })
    }

    fn with_token(&self, uri: &str) -> Result<Issuer, String> {
        let certificate =
            Issuer::certificate_from_pem(&self.certificate).map_err(|error| error.to_string())?;
        let uri = KeyUri::parse(uri).map_err(|error| error.to_string())?;
        let key = TokenKey::open(uri, certificate.public_key().clone())?;
        Issuer::with_key(certificate, Arc::new(key)).map_err(|error| error.to_string())
    }

    fn pair(&self) -> Result<Issuer, String> {
        let certificate = Issuer::certificate_from_pem(&self.certificate);
        let text =
            std::str::from_utf8(&self.key).map_err(|_| "the key file is not PEM".to_owned())?;
        let password = self.password.as_ref().map(|bytes| line(bytes));
        let key = PrivateKey::from_protected_pem(text, password);
        let issuer = certificate.and_then(|certificate| Issuer::new(certificate, key?));
        issuer.map_err(|error| {
            let holds = |bytes: &[u8], label: &str| {
                pem::blocks(bytes).any(|block| block.label.ends_with(label))
            };
            let are_swapped =
                holds(&self.certificate, "PRIVATE KEY") && holds(&self.key, "CERTIFICATE");
            match error {
                CertificateError::Key(KeyError::Encrypted) => "the private key is encrypted: name the file of its password with --cluster-signing-key-password-file".to_owned(),
                _ if are_swapped => "the file of the certificate holds the key, and that of the key the certificate: name them the other way round".to_owned(),
                error => error.to_string(),
            }
        })
    }
}

/// The URI of a key that is in a token.
fn token_uri(files: &CaFiles) -> Option<&str> {
    files.key.to_str().filter(|text| KeyUri::is_meant(text))
}

/// The first line, as `openssl -passin file:` takes it.
fn line(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let line = &bytes[..end.unwrap_or(bytes.len())];
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = input::read(path, CA_FILE_BYTES_MAX)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if bytes.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(bytes)
}
