//! PEM as Go's `encoding/pem` reads it (leading text skipped), written canonically (64 columns).
//!
//! Kubernetes reads every certificate, request and key through Go's decoder, so what counts as
//! a block is what that decoder finds: text around and between blocks is ignored, a malformed
//! block is text, headers are tolerated. A request that kube-apiserver would read differently
//! from us must not exist. This module knows labels and bytes, not what they mean.
//!
//! ```
//! use everleaf_pki::pem;
//!
//! let text = pem::encode("CERTIFICATE", &[1, 2, 3]);
//! let block = pem::blocks(text.as_bytes()).next().expect("one block");
//! assert_eq!(block.label, "CERTIFICATE");
//! assert_eq!(block.der, [1, 2, 3]);
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr, memmem, memrchr_iter};
use zeroize::{Zeroize, Zeroizing};

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

impl std::fmt::Debug for Block {
    /// Prints the label only: the body may be a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({}, {} bytes)", self.label, self.der.len())
    }
}

/// All well-formed blocks in order; malformed text is skipped, as Go does.
pub fn blocks(text: &[u8]) -> impl Iterator<Item = Block> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (block, after) = next_block(rest)?;
        rest = after;
        Some(block)
    })
}

/// What stands in a file of PEM blocks, whatever its encoding: for files of one's own, which
/// editors and `cat` have been at. UTF-16 with a byte order mark is decoded, byte order marks are
/// dropped, bytes that are no UTF-8 stand as U+FFFD (they can only be text around blocks), and an
/// END line that a BEGIN follows without a line break gets one.
///
/// Not for what decides whom to believe in a server: there a file says what Go's decoder finds in
/// it.
pub fn legible(bytes: &[u8]) -> Zeroizing<String> {
    let units = |from: fn([u8; 2]) -> u16| -> Vec<u16> {
        let pairs = bytes[2..].chunks_exact(2);
        pairs.map(|pair| from([pair[0], pair[1]])).collect()
    };
    // Two bytes of a mark before plain text are only garbage.
    let is_wide = bytes[2.min(bytes.len())..]
        .iter()
        .take(2)
        .any(|byte| *byte == 0);
    let text = Zeroizing::new(match bytes {
        [0xff, 0xfe, ..] if is_wide => String::from_utf16_lossy(&units(u16::from_le_bytes)),
        [0xfe, 0xff, ..] if is_wide => String::from_utf16_lossy(&units(u16::from_be_bytes)),
        [0xff, 0xfe, rest @ ..] | [0xfe, 0xff, rest @ ..] => {
            String::from_utf8_lossy(rest).into_owned()
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    });
    let unmarked = Zeroizing::new(text.replace('\u{feff}', ""));
    Zeroizing::new(unmarked.replace("----------BEGIN ", "-----\n-----BEGIN "))
}

/// Canonical PEM, 64 columns, trailing newline.
pub fn encode(label: &str, der: &[u8]) -> String {
    let mut text = String::new();
    encode_into(&mut text, label, der);
    text
}

/// [`encode`] for secrets: the text is wiped on drop and no copy of it is left behind.
pub(crate) fn encode_secret(label: &str, der: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    encode_into(&mut text, label, der);
    text
}

/// Appends a block. Reserves all room first, so that a secret is never left in a freed buffer.
pub(crate) fn encode_into(text: &mut String, label: &str, der: &[u8]) {
    /// 48 bytes become one line of 64 columns.
    const LINE_BYTES: usize = 48;
    text.reserve_exact(encoded_len(label, der.len()));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut line = [0u8; LINE_BYTES / 3 * 4];
    for chunk in der.chunks(LINE_BYTES) {
        let length = STANDARD
            .encode_slice(chunk, &mut line)
            .expect("invariant: 48 bytes encode to 64 characters");
        text.push_str(std::str::from_utf8(&line[..length]).expect("invariant: base64 is ASCII"));
        text.push('\n');
    }
    line.zeroize();
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
}

/// Bytes that [`encode_into`] appends.
pub(crate) fn encoded_len(label: &str, der_len: usize) -> usize {
    let base64 = der_len.div_ceil(3) * 4;
    let frame = "-----BEGIN -----\n".len() + "-----END -----\n".len();
    base64 + base64.div_ceil(64) + 2 * label.len() + frame
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";

/// Finds the first well-formed block; answers it and the text after its END line.
fn next_block(text: &[u8]) -> Option<(Block, &[u8])> {
    let mut rest = text;
    loop {
        // The first END line decides; its BEGIN is the last one before it. So a BEGIN line
        // without an END is skipped.
        let end = memmem::find(rest, END)?;
        let after_end = end + END.len();
        let begin =
            last_begin(&rest[..end]).filter(|&begin| begin == 0 || rest[begin - 1] == b'\n');
        if let Some(begin) = begin {
            match read_block(rest, begin + BEGIN.len(), end) {
                Attempt::Block(block, after) => return Some((block, after)),
                Attempt::Text => {}
                Attempt::Nothing => return None,
            }
        }
        rest = &rest[after_end..];
    }
}

/// Where the last BEGIN stands. It ends with a blank, and a body hardly has any: so it is passed
/// over fast.
fn last_begin(text: &[u8]) -> Option<usize> {
    memrchr_iter(b' ', text)
        .find(|&blank| text[..=blank].ends_with(BEGIN))
        .map(|blank| blank + 1 - BEGIN.len())
}

/// What came of one BEGIN/END pair.
enum Attempt<'a> {
    Block(Block, &'a [u8]),
    /// Malformed: it counts as text, the search goes on after its END.
    Text,
    /// Go gives up on the whole input here.
    Nothing,
}

/// Reads the block whose label starts at `label_start` and whose body ends at `end` (the
/// newline before `-----END `).
fn read_block(text: &[u8], label_start: usize, end: usize) -> Attempt<'_> {
    let (label_line, mut body_start) = line_at(text, label_start);
    let Some(label) = label_line.strip_suffix(DASHES) else {
        return Attempt::Text;
    };
    let mut has_headers = false;
    loop {
        if body_start == text.len() {
            return Attempt::Nothing;
        }
        let (line, next) = line_at(text, body_start);
        if !line.contains(&b':') {
            break;
        }
        has_headers = true;
        body_start = next;
    }
    // Headers that swallowed the END line leave no body.
    if has_headers && body_start > end {
        // Beyond the END line's own dashes, Go's cursor is past its mark and it stops searching.
        return if body_start > end + END.len() {
            Attempt::Nothing
        } else {
            Attempt::Text
        };
    }
    // The END line repeats the label and holds nothing else.
    let trailer = &text[end + END.len()..];
    let Some(after_label) = trailer
        .strip_prefix(label)
        .and_then(|rest| rest.strip_prefix(DASHES))
    else {
        return Attempt::Text;
    };
    let (rest_of_line, after) = line_at(after_label, 0);
    if !rest_of_line.is_empty() {
        return Attempt::Text;
    }
    // An empty block has its END line where the body would start.
    let body = if body_start < end {
        &text[body_start..end]
    } else {
        &[]
    };
    let Some(der) = decode_base64(body) else {
        return Attempt::Text;
    };
    let block = Block {
        label: String::from_utf8_lossy(label).into_owned(),
        has_headers,
        der,
    };
    Attempt::Block(block, &after_label[after..])
}

/// The line at `start` without line ending and trailing blanks, and where the next one starts.
fn line_at(text: &[u8], start: usize) -> (&[u8], usize) {
    let tail = &text[start..];
    let (line, next) = match memchr(b'\n', tail) {
        Some(newline) => {
            let line = &tail[..newline];
            (
                line.strip_suffix(b"\r").unwrap_or(line),
                start + newline + 1,
            )
        }
        None => (tail, text.len()),
    };
    let blanks = line
        .iter()
        .rev()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    (&line[..line.len() - blanks], next)
}

/// Standard base64 with padding; blanks and line ends are ignored, trailing bits are not judged.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    const LENIENT_BITS: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
    );
    let mut dense = Zeroizing::new(Vec::with_capacity(text.len()));
    // Line by line, for most lines have nothing else to be left out.
    for line in text.split(|byte| *byte == b'\n') {
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
        if line.iter().any(is_blank) {
            dense.extend(line.iter().copied().filter(|byte| !is_blank(byte)));
        } else {
            dense.extend_from_slice(line);
        }
    }
    LENIENT_BITS.decode(&*dense).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Good, broken and mutilated texts, with the blocks that Go finds in them.
    #[test]
    fn blocks_are_found_as_go_does() {
        for line in include_str!("../testdata/go/pem.txt").lines() {
            let (input, expected) = line.split_once('\t').unwrap();
            let input = bytes(input);
            let found: Vec<String> = blocks(&input)
                .map(|block| {
                    let label = hex(block.label.as_bytes());
                    format!("{label},{},{}", block.has_headers, hex(&block.der))
                })
                .collect();
            assert_eq!(
                found.join(";"),
                expected,
                "{:?}",
                String::from_utf8_lossy(&input)
            );
        }
    }

    #[test]
    fn encoding_reads_back_and_reserves_exactly() {
        for length in [0, 1, 2, 3, 47, 48, 49, 96, 1000] {
            let der: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let text = encode("X Y", &der);
            assert_eq!(text.len(), encoded_len("X Y", der.len()), "{length}");
            let found: Vec<Block> = blocks(text.as_bytes()).collect();
            let expected = Block {
                label: "X Y".into(),
                has_headers: false,
                der,
            };
            assert_eq!(found, [expected]);
            assert!(text.lines().all(|line| line.len() <= 64));
        }
    }

    #[test]
    fn debug_shows_no_body() {
        let block = Block {
            label: "PRIVATE KEY".into(),
            has_headers: false,
            der: vec![42; 3],
        };
        assert_eq!(format!("{block:?}"), "Block(PRIVATE KEY, 3 bytes)");
    }

    /// Each of these made a quadratic reader slow; a linear one finishes at once.
    #[test]
    fn long_hostile_texts_are_read_once() {
        const REPEATS: usize = 100_000;
        for piece in [
            "-----BEGIN A-----\n",
            "\n-----END A-----",
            "-----BEGIN A-----\n\n-----END B-----\n",
            "a:b\n",
        ] {
            let text = format!("-----BEGIN A-----\n{}", piece.repeat(REPEATS));
            assert!(blocks(text.as_bytes()).count() <= 1, "{piece:?}");
        }
    }

    #[test]
    fn files_that_were_mistreated_are_legible() {
        let (one, two) = (encode("A", &[1; 60]), encode("B", &[2; 60]));
        let wide = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let text = format!("\u{feff}{text}");
            text.encode_utf16().flat_map(bytes).collect()
        };
        let both = format!("{one}{two}");
        let bytes = |parts: &[&[u8]]| parts.concat();
        for (what, file) in [
            ("as it is", both.clone().into_bytes()),
            (
                "latin-1 before",
                bytes(&[b"# Schl\xfcssel\n", both.as_bytes()]),
            ),
            (
                "latin-1 between",
                bytes(&[one.as_bytes(), b"\xe9\n", two.as_bytes()]),
            ),
            ("UTF-8 mark", bytes(&[b"\xef\xbb\xbf", both.as_bytes()])),
            (
                "UTF-8 mark between",
                bytes(&[one.as_bytes(), b"\xef\xbb\xbf", two.as_bytes()]),
            ),
            (
                "UTF-16 mark before bytes",
                bytes(&[b"\xff\xfe", both.as_bytes()]),
            ),
            ("UTF-16, little end first", wide(&both, u16::to_le_bytes)),
            ("UTF-16, big end first", wide(&both, u16::to_be_bytes)),
            (
                "no line break",
                bytes(&[one.trim_end().as_bytes(), two.trim_end().as_bytes()]),
            ),
            ("CRLF", both.replace('\n', "\r\n").into_bytes()),
        ] {
            let labels: Vec<String> = blocks(legible(&file).as_bytes())
                .map(|block| block.label)
                .collect();
            assert_eq!(labels, ["A", "B"], "{what}");
        }
        for short in [&b""[..], b"\xff", b"\xff\xfe", b"\xff\xfe\x00"] {
            assert_eq!(blocks(legible(short).as_bytes()).count(), 0);
        }
    }
}
