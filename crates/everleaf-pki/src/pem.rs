//! PEM as Go's `encoding/pem` reads it (leading text skipped), written canonically (64 columns).

/// One decoded block.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    /// The text between `BEGIN` and the dashes.
    pub label: String,
    /// True when RFC 1421 headers were present.
    pub has_headers: bool,
    /// Decoded body.
    pub der: Vec<u8>,
}
/// All well-formed blocks in order; malformed text is skipped, as Go does.
pub fn blocks(_text: &[u8]) -> impl Iterator<Item = Block> {
    std::iter::empty()
}
/// Canonical PEM, 64 columns, trailing newline.
pub fn encode(_label: &str, _der: &[u8]) -> String {
    unimplemented!()
}
