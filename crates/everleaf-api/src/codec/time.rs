//! RFC 3339 in the two forms that Kubernetes uses, for every year of four digits. (jiff's
//! `Timestamp` ends a day before the last of them, so calendar arithmetic on whole days is done
//! here.)

use jiff::Timestamp;

/// 0001-01-01T00:00:00Z, which Go calls the zero time and treats as unset.
const GO_ZERO_SECONDS: i64 = -62_135_596_800;
/// The first and last second that a four-digit year can show.
const SECONDS_MIN: i64 = -62_167_219_200;
const SECONDS_MAX: i64 = 253_402_300_799;
const DAY_SECONDS: i64 = 86_400;

/// An instant in the years 0 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instant {
    /// Since 1970, rounded down.
    pub(crate) seconds: i64,
    /// 0 to 999,999,999.
    pub(crate) nanos: u32,
}

impl Instant {
    /// None outside the years that RFC 3339 can write.
    pub(crate) fn new(seconds: i64, nanos: u32) -> Option<Self> {
        let fits = (SECONDS_MIN..=SECONDS_MAX).contains(&seconds) && nanos < 1_000_000_000;
        fits.then_some(Self { seconds, nanos })
    }

    /// Clamped to the years 0 to 9999.
    pub(crate) fn from_timestamp(at: Timestamp) -> Self {
        let nanos = at.as_nanosecond();
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or_default();
        let rest = u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default();
        Self {
            seconds: seconds.clamp(SECONDS_MIN, SECONDS_MAX),
            nanos: rest,
        }
    }

    /// Clamped to what jiff can hold.
    pub(crate) fn to_timestamp(self) -> Timestamp {
        let nanos = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos);
        Timestamp::from_nanosecond(nanos).unwrap_or(Timestamp::MAX)
    }

    /// True for the instant that Go treats as unset.
    pub(crate) fn is_go_zero(self) -> bool {
        self.seconds == GO_ZERO_SECONDS && self.nanos == 0
    }

    /// metav1.Time: whole seconds.
    pub(crate) fn time_text(self) -> String {
        let mut text = self.date_time_text(20);
        text.push('Z');
        text
    }

    /// metav1.MicroTime: six digits of fraction.
    pub(crate) fn micro_time_text(self) -> String {
        let mut text = self.date_time_text(27);
        text.push('.');
        let micros = i64::from(self.nanos / 1000);
        for pair in [micros / 10_000, micros / 100 % 100, micros % 100] {
            push_pair(&mut text, pair);
        }
        text.push('Z');
        text
    }

    fn date_time_text(self, capacity: usize) -> String {
        let (year, month, day) = civil(self.seconds.div_euclid(DAY_SECONDS));
        let second_of_day = self.seconds.rem_euclid(DAY_SECONDS);
        let mut text = String::with_capacity(capacity);
        push_pair(&mut text, year / 100);
        push_pair(&mut text, year % 100);
        for (separator, value) in [
            ('-', month),
            ('-', day),
            ('T', second_of_day / 3600),
            (':', second_of_day / 60 % 60),
            (':', second_of_day % 60),
        ] {
            text.push(separator);
            push_pair(&mut text, value);
        }
        text
    }
}

/// Two digits of a number below 100.
fn push_pair(text: &mut String, value: i64) {
    for digit in [value / 10, value % 10] {
        text.push(char::from(b'0' + digit as u8));
    }
}

/// A parsed RFC 3339 text, and how long its fraction was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParsedTime {
    pub(crate) instant: Instant,
    pub(crate) fraction_digits: usize,
}

/// Reads RFC 3339 with any length of fraction (digits past nanoseconds are dropped), as Go's
/// `time.Parse` does: the hour may have one digit, the fraction a comma, an offset 24 hours and 60
/// minutes. Strict otherwise: upper-case `T` and `Z`, every other digit in its place, no 60th
/// second.
pub(crate) fn parse(text: &str) -> Option<ParsedTime> {
    let (date, time) = text.as_bytes().split_at_checked(11)?;
    let (hour, time) = match time {
        [hour, b':', ..] => (digits(&[*hour])?, &time[1..]),
        [tens, ones, b':', ..] => (digits(&[*tens, *ones])?, &time[2..]),
        _ => return None,
    };
    if time.len() < 7 || [date[4], date[7], date[10], time[0], time[3]] != *b"--T::" {
        return None;
    }
    let (year, month, day) = (&date[..4], &date[5..7], &date[8..10]);
    let days = days_since_1970(digits(year)?, digits(month)?, digits(day)?)?;
    let (minute, second) = (digits(&time[1..3])?, digits(&time[4..6])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, fraction_digits, rest) = fraction(&time[6..])?;
    let offset_seconds = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 24 || minutes > 60 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset_seconds;
    let instant = Instant::new(seconds, nanos)?;
    Some(ParsedTime {
        instant,
        fraction_digits,
    })
}

/// Nanoseconds and digits of an optional fraction, and what follows it.
fn fraction(b: &[u8]) -> Option<(u32, usize, &[u8])> {
    if !matches!(b.first(), Some(b'.' | b',')) {
        return Some((0, 0, b));
    }
    let length = b[1..].iter().take_while(|b| b.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let nanos = (0..9).fold(0, |sum, place| {
        let digit = if place < length {
            b[1 + place] - b'0'
        } else {
            0
        };
        sum * 10 + u32::from(digit)
    });
    Some((nanos, length, &b[1 + length..]))
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |sum, b| {
        b.is_ascii_digit().then(|| sum * 10 + i64::from(b - b'0'))
    })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; None when there is no such date. Years
/// are counted from March, so that the leap day comes last (Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms").
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Year, month and day of a count of days since 1970-01-01: the inverse.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every day of ten thousand years, there and back, and in step.
    #[test]
    fn calendar_is_its_own_inverse() {
        let (mut expected, mut count) = (days_since_1970(0, 1, 1).unwrap(), 0);
        for year in 0..=9999 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(days) = days_since_1970(year, month, day) {
                        assert_eq!(days, expected);
                        assert_eq!(civil(days), (year, month, day));
                        expected += 1;
                        count += 1;
                    }
                }
            }
        }
        assert_eq!(count, 25 * 146_097);
        assert_eq!(days_since_1970(1970, 1, 1), Some(0));
    }

    /// What Go 1.26 reads, and what it does not.
    #[test]
    fn forms_of_a_time() {
        for (text, read) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T3:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T3:04:05,5Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T3:04:05+24:60", "2026-01-01T02:04:05Z"),
            ("2026-01-02T03:04:05-23:60", "2026-01-03T03:04:05Z"),
            ("2026-01-02T03:04:05-00:00", "2026-01-02T03:04:05Z"),
        ] {
            assert_eq!(parse(text).unwrap().instant.time_text(), read, "{text}");
        }
        for text in [
            "",
            "2026-01-02T",
            "2026-01-02T3",
            "2026-01-02T03:04:05",
            "2026-01-02T:04:05Z",
            "2026-01-02T003:04:05Z",
            "2026-01-02T 3:04:05Z",
            "2026-01-02T3:4:05Z",
            "2026-1-02T03:04:05Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05+24:61",
            "2026-01-02T03:04:05+25:00",
            "2026-01-02T24:00:00Z",
            "2026-01-02t03:04:05z",
            "2026-01-02T03:04:60Z",
            "2026-01-0\u{e9}T03:04:05Z",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn limits_of_the_calendar() {
        for (text, seconds) in [
            ("0000-01-01T00:00:00Z", SECONDS_MIN),
            ("0001-01-01T00:00:00Z", GO_ZERO_SECONDS),
            ("9999-12-31T23:59:59Z", SECONDS_MAX),
        ] {
            let parsed = parse(text).unwrap().instant;
            assert_eq!(parsed, Instant { seconds, nanos: 0 });
            assert_eq!(parsed.time_text(), text);
        }
        assert_eq!(Instant::new(SECONDS_MAX + 1, 0), None);
        assert_eq!(Instant::new(SECONDS_MIN - 1, 0), None);
        let last = Instant::new(SECONDS_MAX, 0).unwrap();
        assert_eq!(last.to_timestamp(), Timestamp::MAX);
        let before_1970 = Timestamp::from_nanosecond(-1_500_000_000).unwrap();
        let instant = Instant::from_timestamp(before_1970);
        assert_eq!(
            instant,
            Instant {
                seconds: -2,
                nanos: 500_000_000
            }
        );
        assert_eq!(instant.to_timestamp(), before_1970);
    }
}
