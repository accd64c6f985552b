//! Scalars whose text has a grammar: base64, quantities.

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

/// True for the grammar of `resource.Quantity`: sign, digits with an optional point, then nothing,
/// an SI or binary suffix, or a decimal exponent.
pub(crate) fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number_end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_end);
    if !number.bytes().any(|b| b.is_ascii_digit())
        || number.bytes().filter(|b| *b == b'.').count() > 1
    {
        return false;
    }
    match suffix {
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti"
        | "Pi" | "Ei" => true,
        _ => suffix.strip_prefix(['e', 'E']).is_some_and(|exponent| {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
        }),
    }
}
