//! Dates in the headers of HTTP.

use jiff::Timestamp;

/// Parses a `Date` header, in any of the three forms that a recipient must take (RFC 9110 section
/// 5.6.7).
pub fn http_date(text: &str) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Timestamp::try_from(date).ok()
}

/// Writes it, in whole seconds, as every sender must (RFC 9110 section 5.6.7).
pub fn written(time: Timestamp) -> String {
    httpdate::fmt_http_date(time.max(Timestamp::UNIX_EPOCH).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, expected) in [
            (
                "Sun, 06 Nov 1994 08:49:37 GMT",
                Some("1994-11-06T08:49:37Z"),
            ),
            (
                " Fri, 20 Nov 2026 00:00:00 GMT ",
                Some("2026-11-20T00:00:00Z"),
            ),
            (
                "Sunday, 06-Nov-94 08:49:37 GMT",
                Some("1994-11-06T08:49:37Z"),
            ),
            ("Sun Nov  6 08:49:37 1994", Some("1994-11-06T08:49:37Z")),
            ("", None),
            ("2026-11-20T00:00:00Z", None),
        ] {
            let expected = expected.map(|text| text.parse::<Timestamp>().unwrap());
            assert_eq!(http_date(text), expected, "{text:?}");
        }
        let time = "1994-11-06T08:49:37.9Z".parse().unwrap();
        assert_eq!(written(time), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
