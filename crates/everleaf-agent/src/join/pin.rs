//! Which public key an authority has, in kubeadm's way of writing it.

use everleaf_pki::{Fingerprint, Leaf};
use std::fmt;

const PREFIX: &str = "sha256:";

/// SHA-256 of an authority's SubjectPublicKeyInfo: `sha256:` and 64 hex digits
/// (`cmd/kubeadm/app/util/pubkeypin`). It outlives a renewal with the same key.
///
/// ```
/// use everleaf_agent::join::CaPin;
///
/// let text = format!("sha256:{}", "0a".repeat(32));
/// assert_eq!(CaPin::parse(&text).unwrap().to_string(), text);
/// assert!(CaPin::parse("sha256:0a").is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaPin(Fingerprint);

impl CaPin {
    /// That of an authority.
    pub fn of(authority: &Leaf) -> Self {
        Self(authority.public_key().fingerprint())
    }

    /// Reads one; the error says how to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let hint = "write it like sha256: and 64 hex digits, as `everleaf token create --print-join-command` prints it";
        let digits = text.trim().strip_prefix(PREFIX).ok_or(hint)?;
        let is_hex = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut digest = [0; 32];
        for (index, byte) in digest.iter_mut().enumerate() {
            let pair = digits.get(2 * index..2 * index + 2).filter(|_| is_hex);
            *byte = u8::from_str_radix(pair.ok_or(hint)?, 16).map_err(|_| hint)?;
        }
        Ok(Self(Fingerprint::new(digest)))
    }
}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}
