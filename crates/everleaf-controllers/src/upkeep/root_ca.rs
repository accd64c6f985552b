//! The CA that is published: read from its file, and again when that has changed.

use super::Kept;
use crate::input;
use everleaf_pki::{TrustBundle, pem};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Largest file that is read; a ConfigMap and a ClusterTrustBundle can hold this much.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the CA comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootCaSource {
    /// A file of one certificate or more, PEM; looked at again every minute.
    File(PathBuf),
    /// Their text.
    Memory(String),
}

/// The CA cannot be published.
#[derive(Debug, thiserror::Error)]
#[error("the CA cannot be published: {0}")]
pub struct RootCaError(pub(crate) String);

/// A CA that may be replaced while it is published.
#[derive(Clone, Debug)]
pub struct Bundle(Arc<RwLock<Arc<str>>>);

impl Bundle {
    /// That text.
    pub fn new(text: &str) -> Self {
        Self(Arc::new(RwLock::new(text.into())))
    }

    /// What is published now.
    pub fn current(&self) -> Arc<str> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, text: &str) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = text.into();
    }
}

/// The CA, and where it was read.
#[derive(Debug)]
pub struct RootCa {
    bundle: Bundle,
    file: Option<PathBuf>,
    /// The last trouble that was told, so that it is told once.
    refused: Mutex<Option<String>>,
}

impl RootCa {
    /// Reads it.
    ///
    /// # Errors
    /// When it cannot be read, or is nothing that may be published.
    pub fn load(source: &RootCaSource) -> Result<Self, RootCaError> {
        let (text, file) = match source {
            RootCaSource::File(path) => (read(path), Some(path.clone())),
            RootCaSource::Memory(text) => {
                let checked = check(text).map(|()| text.clone());
                (
                    checked.map_err(|what| format!("the kubeconfig's {what}")),
                    None,
                )
            }
        };
        Ok(Self {
            bundle: Bundle::new(&text.map_err(RootCaError)?),
            file,
            refused: Mutex::default(),
        })
    }

    /// What is published.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Looks at the file again. `Some`: it has changed, to something usable or not. Blocks on the
    /// disk.
    pub fn look(&self) -> Option<Kept> {
        let path = self.file.as_ref()?;
        let file = path.display().to_string();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match read(path) {
            Ok(text) => {
                *refused = None;
                if *text == *self.bundle.current() {
                    return None;
                }
                self.bundle.replace(&text);
                Some(Kept::RootCaLoaded { file })
            }
            Err(error) if refused.as_ref() == Some(&error) => None,
            Err(error) => {
                *refused = Some(error.clone());
                Some(Kept::RootCaRefused { file, error })
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let fail = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let bytes = input::read(path, FILE_BYTES_MAX).map_err(fail)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{shown}: it is not UTF-8"))?;
    check(text).map_err(|what| format!("{shown}: its {what}"))?;
    Ok(text.to_owned())
}

/// Whether every pod may have this text, and can verify a server by it.
fn check(text: &str) -> Result<(), String> {
    if pem::blocks(text.as_bytes()).any(|block| block.label.contains("PRIVATE KEY")) {
        return Err("text holds a private key, which every pod could read".to_owned());
    }
    let bundle = TrustBundle::from_pem(text.as_bytes());
    bundle
        .map(drop)
        .map_err(|error| format!("certificates cannot be used: {error}"))
}
