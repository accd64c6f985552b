//! `resource.Quantity`: its grammar, and the one text of each (`apimachinery/pkg/api/resource`).

/// Digits that are computed with. What has more keeps its text.
const DIGITS_MAX: usize = 30;
/// Digits that Go computes with in 64 bits.
const FAST_DIGITS: usize = 18;
const BINARY_FAST_DIGITS: usize = 14;
/// Nothing is smaller than a thousandth: all quantities of ours are of resources, which upstream
/// rounds up to it.
const SCALE_MIN: i64 = -3;
/// The same beyond which an exponent is nobody's honest quantity, and keeps its text.
const EXPONENT_MAX: i64 = 1_000;
/// The largest binary quantity.
const BINARY_MAX: u128 = i64::MAX as u128;

/// Decimal suffixes by their power of ten.
const DECIMAL: [(&str, i64); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
/// Binary suffixes, each ten powers of two above the one before.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Exponent,
    Binary,
}

/// A quantity as it is written.
struct Parts<'t> {
    is_negative: bool,
    /// Before the point, without leading zeros.
    whole: &'t str,
    /// After it.
    fraction: &'t str,
    /// Power of ten, or of two.
    exponent: i64,
    format: Format,
}

/// The canonical text of a quantity; None when it is none.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let parts = Parts::read(text)?;
    if parts.is_kept() {
        return Some(text.to_owned());
    }
    Some(parts.written().unwrap_or_else(|| text.to_owned()))
}

impl<'t> Parts<'t> {
    /// Sign, digits with an optional point, then nothing, a suffix, or a decimal exponent.
    fn read(text: &'t str) -> Option<Self> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let end = unsigned.find(|c| !is_number(c)).unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let (exponent, format) = read_suffix(suffix)?;
        Some(Self {
            is_negative: text.starts_with('-'),
            whole: whole.trim_start_matches('0'),
            fraction,
            exponent,
            format,
        })
    }

    /// Go keeps the text of most quantities that are canonical already, and of some that are not.
    fn is_kept(&self) -> bool {
        let whole = if self.whole.is_empty() {
            "0"
        } else {
            self.whole
        };
        let digits = format!("{whole}{}", self.fraction);
        if self.format == Format::Binary {
            let value: u128 = digits.parse().unwrap_or(0);
            let scale = usize::try_from(self.exponent * 3 / 10).unwrap_or(usize::MAX);
            let is_short = digits.len().saturating_add(scale) <= BINARY_FAST_DIGITS;
            return is_short && self.fraction.is_empty() && value & 7 != 0;
        }
        let fraction = i64::try_from(self.fraction.len()).unwrap_or(i64::MAX);
        let scale = self.exponent - fraction;
        digits.len() <= FAST_DIGITS
            && scale >= SCALE_MIN
            && scale % 3 == 0
            && !digits.ends_with("000")
            && !digits.starts_with('0')
    }

    /// None when there is more to it than is computed with.
    fn written(&self) -> Option<String> {
        let digits = format!("{}{}", self.whole, self.fraction);
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Some("0".to_owned());
        }
        if digits.len() > DIGITS_MAX || self.exponent.abs() > EXPONENT_MAX {
            return None;
        }
        let value: u128 = digits.parse().ok()?;
        let fraction = i64::try_from(self.fraction.len()).ok()?;
        let text = match self.format {
            Format::Binary => binary(value, -fraction, self.exponent)?,
            format => decimal(value, self.exponent - fraction, format)?,
        };
        Some(if self.is_negative {
            format!("-{text}")
        } else {
            text
        })
    }
}

fn read_suffix(suffix: &str) -> Option<(i64, Format)> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((*exponent, Format::Decimal));
    }
    if let Some(power) = BINARY.iter().position(|name| *name == suffix) {
        return Some((i64::try_from(power).ok()? * 10, Format::Binary));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let exponent: i32 = exponent.parse().ok().filter(|_| is_number)?;
    Some((exponent.into(), Format::Exponent))
}

/// `value` · 10^`scale`.
fn decimal(mut value: u128, mut scale: i64, format: Format) -> Option<String> {
    while scale < SCALE_MIN {
        // Whoever wants some gets some.
        value = value.div_ceil(10);
        scale += 1;
        if value == 1 {
            scale = scale.max(SCALE_MIN);
        }
    }
    while value.is_multiple_of(10) {
        value /= 10;
        scale += 1;
    }
    while scale % 3 != 0 {
        value = value.checked_mul(10)?;
        scale -= 1;
    }
    let suffix = DECIMAL.iter().find(|(_, exponent)| *exponent == scale);
    Some(match suffix {
        _ if scale == 0 => value.to_string(),
        Some((suffix, _)) if format != Format::Exponent => format!("{value}{suffix}"),
        _ => format!("{value}e{scale}"),
    })
}

/// `value` · 10^`scale` · 2^`power`; `scale` is not above 0.
fn binary(value: u128, scale: i64, power: i64) -> Option<String> {
    let power = u32::try_from(power).ok()?;
    let shifted = value.checked_mul(1u128.checked_shl(power)?)?;
    let one = 10u128.checked_pow(u32::try_from(-scale).ok()?)?;
    if shifted >= BINARY_MAX.checked_mul(one)? {
        return Some(BINARY_MAX.to_string());
    }
    // What is small, or no whole number, is no number of KiB.
    if shifted < one.checked_mul(1024)? || !shifted.is_multiple_of(one) {
        return decimal(shifted, scale, Format::Decimal);
    }
    let mut value = shifted / one;
    let mut suffix = 0;
    while value.is_multiple_of(1024) && suffix + 1 < BINARY.len() {
        value /= 1024;
        suffix += 1;
    }
    Some(format!("{value}{}", BINARY[suffix]))
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn one_text_for_each() {
        for (text, expected) in [
            ("0", "0"),
            ("0.0", "0"),
            ("-0", "0"),
            ("5", "5"),
            ("5000m", "5"),
            ("500m", "500m"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1.5", "1500m"),
            ("1.500", "1.500"),
            ("+5", "+5"),
            ("005", "005"),
            ("1000", "1k"),
            ("1000k", "1M"),
            ("1500k", "1500k"),
            ("0.1M", "100k"),
            ("1e3", "1e3"),
            ("1000e3", "1e6"),
            ("1E3", "1E3"),
            ("10e2", "1e3"),
            ("1e-3", "1e-3"),
            ("0.9n", "1m"),
            ("-0.9n", "-1m"),
            ("1e-30", "1e-3"),
            ("1024Ki", "1Mi"),
            ("1024", "1024"),
            ("1.5Gi", "1536Mi"),
            ("1536Mi", "1536Mi"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("8Ei", "9223372036854775807"),
            ("1000E", "1e21"),
            ("18446744073709551616", "18446744073709551616"),
            ("-1024Mi", "-1Gi"),
            (
                "100000000000000000000000000000000000000001",
                "100000000000000000000000000000000000000001",
            ),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            ".",
            "5 ",
            "5K",
            "5mi",
            "1e",
            "1e1.5",
            "1..2",
            "--5",
            "e3",
            "1e99999999999",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
