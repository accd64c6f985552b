//! Go duration syntax (`87600h0m0s`), and Kubernetes' human durations (`5m3s`, `2d4h`).

use crate::fields::quote;
use std::time::Duration;

/// Longest duration that Go can hold: 2^63 - 1 nanoseconds, some 292 years.
const NANOS_MAX: u128 = i64::MAX as u128;

/// Units, longest names first so that `ms` is not read as `m`.
const UNITS: [(&str, u128); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Parses Go's syntax: numbers with units (`ns us ms s m h`, fractions allowed), and `d` for days
/// besides.
///
/// ```
/// # use everleaf_api::duration::parse_go;
/// # use std::time::Duration;
/// assert_eq!(parse_go("87600h0m0s"), Ok(Duration::from_secs(315_360_000)));
/// assert_eq!(parse_go("1.5h"), Ok(Duration::from_secs(5400)));
/// ```
///
/// # Errors
/// A sentence that says what is wrong and what would be right. Negative durations are an error
/// here: nothing that takes one has a use for them.
pub fn parse_go(text: &str) -> Result<Duration, String> {
    let fail = |reason: String| Err(format!("{} is no duration: {reason}", quote(text)));
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.is_empty() {
        return fail("write a number and a unit, such as 90m or 8760h".into());
    }
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total: u128 = 0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (nanos, after) = match number_and_unit(rest) {
            Ok(part) => part,
            Err(reason) => return fail(reason),
        };
        // Each is far below 2^127, so this cannot overflow.
        total += nanos;
        if total > NANOS_MAX {
            return fail(
                "longer than Go can express, at most 2562047h47m16s (some 292 years)".into(),
            );
        }
        rest = after;
    }
    if text.starts_with('-') && total > 0 {
        return fail("it is negative".into());
    }
    let seconds = u64::try_from(total / 1_000_000_000).unwrap_or(u64::MAX);
    let nanos = u32::try_from(total % 1_000_000_000).unwrap_or_default();
    Ok(Duration::new(seconds, nanos))
}

/// One `1.5h`: its nanoseconds (capped just above the limit), and what follows.
fn number_and_unit(text: &str) -> Result<(u128, &str), String> {
    let (whole, after) = split_digits(text);
    let (fraction, after) = match after.strip_prefix('.') {
        Some(after) => split_digits(after),
        None => ("", after),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(format!("expected a number at {}", quote(after)));
    }
    let unit_end = after
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(after.len());
    let (unit, rest) = after.split_at(unit_end);
    if unit.is_empty() {
        let number = &text[..text.len() - after.len()];
        return Err(format!("{number} lacks a unit (h, m, s, ms, us, ns or d)"));
    }
    let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!(
            "unknown unit {} (use h, m, s, ms, us, ns or d)",
            quote(unit)
        ));
    };
    let whole = whole.bytes().fold(0u128, |sum, b| {
        (sum * 10 + u128::from(b - b'0')).min(NANOS_MAX + 1)
    });
    // Floating point, because Go does: 0.333333333333333333h is 20m there. Digits past the
    // nineteenth are ignored, as there.
    let (part, scale) = fraction
        .bytes()
        .take(19)
        .fold((0u128, 1u128), |(sum, scale), b| {
            (sum * 10 + u128::from(b - b'0'), scale * 10)
        });
    let part = (part as f64 * (*size as f64 / scale as f64)) as u128;
    let nanos = (whole * size).min(NANOS_MAX + 1) + part;
    Ok((nanos, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// A length of time for people, as kubectl shows ages: `2s`, `5m`, `182d`; below a second in
/// milliseconds.
pub fn span(length: Duration) -> String {
    if !length.is_zero() && length < Duration::from_secs(1) {
        return format!("{}ms", length.as_millis());
    }
    let rounded = length.saturating_add(Duration::from_millis(500));
    human(i64::try_from(rounded.as_secs()).unwrap_or(i64::MAX))
}

/// `duration.HumanDuration` of a number of seconds (negative allowed): two or three significant
/// figures.
pub fn human(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    // The smaller unit is dropped when there is none of it.
    let pair = |big: i64, big_unit: char, small: i64, small_unit: char| match small {
        0 => format!("{big}{big_unit}"),
        small => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        // A second of clock skew is forgiven.
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(seconds / MINUTE, 'm', seconds % MINUTE, 's'),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => pair(seconds / HOUR, 'h', seconds / MINUTE % 60, 'm'),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => pair(seconds / DAY, 'd', seconds / HOUR % 24, 'h'),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => pair(seconds / YEAR, 'y', seconds / DAY % 365, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_as_go_does() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("+5s", 5_000_000_000),
            ("5s", 5_000_000_000),
            ("1478s", 1_478_000_000_000),
            ("5.s", 5_000_000_000),
            (".5s", 500_000_000),
            ("5.6s", 5_600_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12\u{b5}s", 12_000),
            ("12\u{3bc}s", 12_000),
            ("13ms", 13_000_000),
            ("3h30m", 12_600_000_000_000),
            ("10.5s4m", 250_500_000_000),
            ("39h9m14.425s", 140_954_425_000_000),
            ("52763797000ns", 52_763_797_000),
            ("0.333333333333333333333h", 1_200_000_000_000),
            ("0.100000000000000000000h", 360_000_000_000),
            ("9223372036854775807ns", i64::MAX as u64),
            ("87600h0m0s", 315_360_000_000_000_000),
            ("1d", 86_400_000_000_000),
        ] {
            assert_eq!(parse_go(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        for (text, reason) in [
            ("", "write a number and a unit"),
            ("3", "3 lacks a unit"),
            ("-", "write a number and a unit"),
            ("s", "expected a number"),
            (".", "expected a number"),
            (".s", "expected a number"),
            ("1h3", "3 lacks a unit"),
            ("3000000h", "292 years"),
            ("9223372036854775808ns", "292 years"),
            ("99999999999999999999999999999999999999999999h", "292 years"),
            ("1y", "unknown unit \"y\""),
            ("10 m", "unknown unit \" m\""),
            ("-1h", "negative"),
            ("1e3s", "unknown unit \"e\""),
        ] {
            let error = parse_go(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn lengths_of_time_are_told_as_kubectl_tells_ages() {
        for (milliseconds, text) in [
            (0, "0s"),
            (7, "7ms"),
            (1_499, "1s"),
            (1_500, "2s"),
            (3_700_000, "61m"),
            (86_400_000 * 400, "400d"),
        ] {
            assert_eq!(span(Duration::from_millis(milliseconds)), text);
        }
        assert!(span(Duration::MAX).ends_with('y'));
    }
}
