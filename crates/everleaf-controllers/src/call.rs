//! One call to the API server as plain data, and what its answer says. No I/O.
//!
//! Machines ([`crate::attempt`], [`crate::cleaner`], [`crate::follower`]) ask for a [`Call`] and
//! are told its [`Answer`]; who carries it, over TLS or in process or in virtual time, is not
//! their affair.

use bytes::Bytes;
use everleaf_api::Status;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::time::Duration;

/// Largest answer to a call about one object.
pub const OBJECT_BYTES_MAX: usize = 8 << 20;
/// Longest Retry-After that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// Path of the signing requests.
pub(crate) const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A call to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Verb of HTTP.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// JSON, if any.
    pub body: Option<Value>,
    /// What is expected.
    pub expect: Expect,
}

/// What kind of answer a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A stream that stays open: it is answered, with nothing, once the server has opened it.
    Stream,
    /// A whole body of at most this many bytes.
    Whole(usize),
}

impl Call {
    /// A call about one object.
    pub fn new(method: Method, path: impl Into<String>, body: Option<Value>) -> Self {
        Self {
            method,
            path: path.into(),
            body,
            expect: Expect::Whole(OBJECT_BYTES_MAX),
        }
    }

    /// The same call, with another expectation.
    pub(crate) fn expecting(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }
}

/// The body of a 2xx answer, or why there is none.
pub type Answer = Result<Bytes, CallError>;

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// An answer that is not what the API promises.
    #[error("{0}")]
    Malformed(String),
    /// The server said no.
    #[error("{status}")]
    Refused {
        /// Why.
        status: Box<Status>,
        /// How long it wants to be left alone.
        retry_after: Duration,
    },
    /// The answer is larger than allowed, in bytes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// No answer.
    #[error("{0}")]
    Unreachable(String),
}

impl CallError {
    /// HTTP code of a refusal, else 0.
    pub fn code(&self) -> u16 {
        match self {
            Self::Refused { status, .. } => status.code,
            _ => 0,
        }
    }

    /// How long the server asked to be left alone.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => Duration::ZERO,
        }
    }
}

impl CallError {
    /// The error, and what to do about it if it is about who asks. `rights` says which are wanted,
    /// where it is they.
    pub(crate) fn advised(&self, rights: &str) -> String {
        let text = self.to_string();
        let advice = match self.code() {
            401 => {
                "the server does not know the credential of the kubeconfig, or it has ended: renew it there"
            }
            // Whoever granted rights then would grant them to everybody.
            403 if text.contains("\"system:anonymous\"") => {
                "the server took this for anonymous: the kubeconfig holds no credential that it knows"
            }
            403 if text.contains("cannot impersonate") => {
                "let that user impersonate the other, or take `as` out of the kubeconfig"
            }
            403 if text.contains("cannot get path") => {
                "the server's URL in the kubeconfig seems to have a wrong path"
            }
            403 => rights,
            _ => return text,
        };
        format!("{text} ({advice})")
    }
}

/// What a complete answer of the server says.
///
/// # Errors
/// For every code but 2xx.
pub fn read_answer(code: StatusCode, headers: &HeaderMap, body: Bytes) -> Answer {
    if code.is_success() {
        return Ok(body);
    }
    let status = Status::from_json(&body).filter(|status| status.code == code.as_u16());
    let status = status.unwrap_or_else(|| Status {
        code: code.as_u16(),
        reason: "",
        message: format!("the server answered {code} without saying why"),
        details: None,
        retry_after_seconds: None,
        continue_token: None,
    });
    let header = headers
        .get(http::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let seconds = header
        .or(status.retry_after_seconds.map(u64::from))
        .unwrap_or(0);
    Err(CallError::Refused {
        status: Box::new(status),
        retry_after: Duration::from_secs(seconds).min(RETRY_AFTER_MAX),
    })
}

/// Parses an answer that must be JSON.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, CallError> {
    serde_json::from_slice(bytes)
        .map_err(|error| CallError::Malformed(format!("the answer is not JSON: {error}")))
}

/// What a path segment cannot hold as it is: all but unreserved characters (RFC 3986 section 2.3)
/// and the colon.
const NOT_IN_A_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// One path segment, or one value of a query, percent-encoded.
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, NOT_IN_A_SEGMENT).to_string()
}

/// Whether a server with this `gitVersion` is Everleaf's, such as `v1.37.0-everleaf.0.1`.
pub fn is_everleaf(git_version: &str) -> bool {
    git_version.contains("-everleaf.")
}

/// What to say about a refusal for lack of rights.
pub(crate) const RIGHTS_HINT: &str =
    "the controllers need the rights of the ClusterRole system:controller:certificate-controller";

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody is told to grant rights where it is the credential that is at fault.
    #[test]
    fn advice_is_for_what_is_at_fault() {
        for (code, message, expected) in [
            (401, "Unauthorized", "renew it there"),
            (403, r#"leases is forbidden: User "x" cannot get"#, "wanted"),
            (
                403,
                r#"User "system:anonymous" cannot get resource "leases""#,
                "took this for anonymous",
            ),
            (
                403,
                r#"User "x" cannot impersonate-on:user-info:get resource "users""#,
                "take `as` out",
            ),
            (403, r#"User "x" cannot get path "/foo/apis""#, "wrong path"),
            (500, "broken", "broken"),
        ] {
            let body = format!(r#"{{"kind":"Status","code":{code},"message":{message:?}}}"#);
            let code = StatusCode::from_u16(code).unwrap();
            let error = read_answer(code, &HeaderMap::new(), body.into()).unwrap_err();
            let text = error.advised("wanted");
            assert!(text.contains(expected), "{text}");
            let is_about_rights = expected == "wanted";
            assert_eq!(text.contains("(wanted)"), is_about_rights, "{text}");
        }
    }
}
