//! What a node keeps on disk for late re-issue: no key, and no token.

use serde::{Deserialize, Serialize};

/// Name of the file in the cert dir.
pub const FILE_NAME: &str = "late-reissue.json";
/// Largest such file that is read, in bytes.
pub const KEPT_BYTES_MAX: u64 = 16 << 10;

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kept {
    /// The server's last word that was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<String>,
    /// Name of an attempt whose answer has not been kept yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempt: Option<String>,
    /// SHA-256 of the certificate that was registered last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificate: Option<String>,
}

/// A file that nobody can read.
#[derive(Debug, thiserror::Error)]
#[error("it is not what was written there: {0}")]
pub struct KeptError(#[from] serde_json::Error);

impl Kept {
    /// Reads the content of the file.
    ///
    /// # Errors
    /// It is no such file, or torn.
    pub fn read(text: &[u8]) -> Result<Self, KeptError> {
        Ok(serde_json::from_slice(text)?)
    }

    /// The content of the file.
    pub fn text(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        format!("{text}\n")
    }
}
