//! Why a request did not succeed, in the classes that rotation acts on.

use everleaf_api::Status;
use everleaf_api::http_date::http_date;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// A request that did not succeed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Whose fault it is and what can be done.
    pub class: FailureClass,
    /// For people.
    pub message: String,
    /// When to try again, if the server said.
    pub retry_after: Option<Duration>,
    /// The server's clock, if a verified server answered.
    pub server_time: Option<Timestamp>,
}

/// The classes of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureClass {
    /// Nobody answered, or not over a connection that we trust.
    Unreachable,
    /// The server's certificate is outside its validity by this node's clock. One of both clocks
    /// is wrong, or the certificate must be renewed.
    ServerCertificateDates,
    /// Somebody answered who is not an API server (a proxy's page, a load balancer's error).
    NotAnApi,
    /// 400 or another code that will not get better by itself.
    Rejected,
    /// 401: the server does not know this credential.
    Unauthorized,
    /// 403: known, but not permitted.
    Forbidden,
    /// 404 from an API server.
    NotFound,
    /// 409 with reason AlreadyExists.
    AlreadyExists,
    /// 409 otherwise.
    Conflict,
    /// 410: the resource version is too old.
    Gone,
    /// 422: the object breaks a rule.
    Invalid,
    /// 429.
    TooManyRequests,
    /// 5xx from an API server.
    ServerError,
}

impl FailureClass {
    /// A word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::ServerCertificateDates => "server-certificate-dates",
            Self::NotAnApi => "not-an-api",
            Self::Rejected => "rejected",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Invalid => "invalid",
            Self::TooManyRequests => "too-many-requests",
            Self::ServerError => "server-error",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// Nobody answered.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self {
            class: FailureClass::Unreachable,
            message: message.into(),
            retry_after: None,
            server_time: None,
        }
    }

    /// Reads an answer with a code other than 2xx.
    pub(super) fn from_answer(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let retry_after = retry_after(headers);
        let server_time = server_time(headers);
        let Some(status) = Status::from_json(body) else {
            return Self {
                class: FailureClass::NotAnApi,
                message: format!(
                    "the answer ({code}) does not come from an API server; check the server URL \
                     and any proxy in between"
                ),
                retry_after,
                server_time,
            };
        };
        Self {
            class: classify(code, status.reason),
            message: if status.message.is_empty() {
                code.to_string()
            } else {
                status.message
            },
            retry_after: retry_after.or_else(|| {
                status
                    .retry_after_seconds
                    .map(|s| Duration::from_secs(s.into()))
            }),
            server_time,
        }
    }

    /// Reads the Status inside an ERROR event of a watch.
    pub fn from_watch_error(object: &Value) -> Self {
        let Some(status) = Status::from_value(object) else {
            return Self::unreachable("the watch ended with an error that is no Status");
        };
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            class: classify(code, status.reason),
            message: status.message,
            retry_after: None,
            server_time: None,
        }
    }
}

fn classify(code: StatusCode, reason: &str) -> FailureClass {
    match code.as_u16() {
        401 => FailureClass::Unauthorized,
        403 => FailureClass::Forbidden,
        404 => FailureClass::NotFound,
        409 if reason == "AlreadyExists" => FailureClass::AlreadyExists,
        409 => FailureClass::Conflict,
        410 => FailureClass::Gone,
        422 => FailureClass::Invalid,
        429 => FailureClass::TooManyRequests,
        500.. => FailureClass::ServerError,
        _ => FailureClass::Rejected,
    }
}

/// `Retry-After` in seconds; the date form is not used by API servers.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// The server's clock from the `Date` header (RFC 9110 section 6.6.1).
pub(super) fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(http::header::DATE)?.to_str().ok()?;
    http_date(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, reason: &str) -> String {
        format!(
            r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"m","reason":"{reason}","code":{code}}}"#
        )
    }

    #[test]
    fn every_answer_has_its_class() {
        use FailureClass::*;
        let cases = [
            (400, "BadRequest", Rejected),
            (401, "Unauthorized", Unauthorized),
            (403, "Forbidden", Forbidden),
            (404, "NotFound", NotFound),
            (405, "MethodNotAllowed", Rejected),
            (409, "AlreadyExists", AlreadyExists),
            (409, "Conflict", Conflict),
            (410, "Expired", Gone),
            (413, "RequestEntityTooLarge", Rejected),
            (422, "Invalid", Invalid),
            (429, "TooManyRequests", TooManyRequests),
            (500, "InternalError", ServerError),
            (503, "ServiceUnavailable", ServerError),
            (504, "Timeout", ServerError),
        ];
        for (code, reason, class) in cases {
            let code = StatusCode::from_u16(code).unwrap();
            let body = status(code.as_u16(), reason);
            let failure = Failure::from_answer(code, &HeaderMap::new(), body.as_bytes());
            assert_eq!(failure.class, class, "{code} {reason}");
            assert_eq!(failure.message, "m");
        }
        for body in ["", "<html>no</html>", "{}", "{\"kind\":\"Pod\"}"] {
            let failure =
                Failure::from_answer(StatusCode::NOT_FOUND, &HeaderMap::new(), body.as_bytes());
            assert_eq!(failure.class, NotAnApi, "{body:?}");
        }
    }

    #[test]
    fn headers_tell_the_servers_clock_and_patience() {
        let mut headers = HeaderMap::new();
        headers.insert("date", "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        headers.insert("retry-after", "17".parse().unwrap());
        let body = status(429, "TooManyRequests");
        let failure =
            Failure::from_answer(StatusCode::TOO_MANY_REQUESTS, &headers, body.as_bytes());
        assert_eq!(failure.retry_after, Some(Duration::from_secs(17)));
        let expected: Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(failure.server_time, Some(expected));
    }
}
