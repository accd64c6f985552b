//! YAML in, without ever quoting it in an error: what we read may hold tokens and keys.

use serde::de::DeserializeOwned;

/// Parses one document; the error says what and where, not the text.
pub(crate) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}
