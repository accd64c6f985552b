//! Base64. [Quantities](super::quantity) and [times](super::time) have files of their own.

use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// Standard alphabet with padding; unused bits must be zero.
static CANONICAL: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new());

/// The same, but like Go's decoder it does not look at unused bits.
static LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Bytes as base64 text.
pub(crate) fn base64_text(bytes: &[u8]) -> String {
    CANONICAL.encode(bytes)
}

/// The bytes of base64 text; line breaks are skipped, as Go does. None when it is not base64.
pub(crate) fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    CANONICAL.decode(text).ok().or_else(|| {
        let joined: Vec<u8> = text
            .bytes()
            .filter(|b| !matches!(b, b'\n' | b'\r'))
            .collect();
        LENIENT.decode(joined).ok()
    })
}

/// Base64 text as we would have written it. None when it is not base64.
pub(crate) fn base64_canonical(text: &str) -> Option<String> {
    match CANONICAL.decode(text) {
        Ok(_) => Some(text.to_owned()),
        Err(_) => base64_bytes(text).map(|bytes| base64_text(&bytes)),
    }
}
