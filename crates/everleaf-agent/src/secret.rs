//! Text that must never be shown: bearer tokens and inline private keys.

use std::fmt;
use zeroize::Zeroizing;

/// A secret text: zeroized when dropped, `Debug` prints nothing of it, no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// No text, where one must be given.
    pub fn empty() -> Self {
        Self::new(String::new())
    }

    /// Whether it can be sent in a header of HTTP; the error goes on from "the token".
    pub(crate) fn fits_a_header(&self) -> Result<(), &'static str> {
        match http::HeaderValue::from_bytes(self.0.as_bytes()) {
            Ok(_) => Ok(()),
            Err(_) => Err("holds line breaks or other characters that no header may"),
        }
    }

    /// The text itself. The name is meant to stand out in review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
