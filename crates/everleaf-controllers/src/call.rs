//! One call to the API server as plain data, and what its answer says. No I/O.
//!
//! Machines ([`crate::attempt`], [`crate::cleaner`], [`crate::follower`]) ask for a [`Call`] and
//! are told its [`Answer`]; who carries it, over TLS or in process or in virtual time, is not
//! their affair.

use bytes::Bytes;
use everleaf_api::Status;
use everleaf_api::schema::{DecodeError, Type};
use everleaf_api::types::{CERTIFICATE_SIGNING_REQUEST, SUBJECT_ACCESS_REVIEW};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::time::Duration;

/// Largest answer to a call about one object.
pub const OBJECT_BYTES_MAX: usize = 8 << 20;
/// Longest Retry-After that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// Path of the signing requests.
pub(crate) const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// Path of the access reviews.
pub(crate) const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// As client-go asks: a server without protobuf answers in JSON.
const PROTOBUF_OR_JSON: &str = "application/vnd.kubernetes.protobuf,application/json";

/// A call to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Verb of HTTP.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// An object, if any.
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

    /// The call as HTTP, but for what a client says of itself: in protobuf where `type_of` has a
    /// type, else in JSON.
    ///
    /// # Errors
    /// Its path is none.
    pub fn request(&self) -> Result<Request<Bytes>, CallError> {
        // Who deletes sends options, and is not told of the object.
        let r#type = type_of(&self.path).filter(|_| self.method != Method::DELETE);
        let mut request = Request::builder().method(&self.method).uri(&*self.path);
        request = request.header(ACCEPT, r#type.map_or(JSON, |_| PROTOBUF_OR_JSON));
        let body = match (&self.body, r#type) {
            (None, _) => Bytes::new(),
            (Some(object), Some(r#type)) => {
                request = request.header(CONTENT_TYPE, PROTOBUF);
                r#type.encode_protobuf(object).into()
            }
            (Some(object), None) => {
                request = request.header(CONTENT_TYPE, JSON);
                object.to_string().into()
            }
        };
        let request = request.body(body);
        request.map_err(|error| CallError::Malformed(error.to_string()))
    }
}

/// The type of what is sent and answered in protobuf below this path: what each certificate needs.
pub(crate) fn type_of(path: &str) -> Option<&'static Type> {
    if path.starts_with(CSRS) {
        Some(&CERTIFICATE_SIGNING_REQUEST)
    } else if path == REVIEWS {
        Some(&SUBJECT_ACCESS_REVIEW)
    } else {
        None
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
    let status = Status::from_body(&body).filter(|status| status.code == code.as_u16());
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

/// Parses an answer that is an object of this type, in either encoding.
pub(crate) fn parse_as(r#type: &Type, bytes: &[u8]) -> Result<Value, CallError> {
    in_either(r#type.decode_protobuf_unmanaged(bytes), bytes)
}

/// Parses an answer that is a list of such objects, in either encoding.
pub(crate) fn parse_list(r#type: Option<&Type>, bytes: &[u8]) -> Result<Value, CallError> {
    match r#type {
        None => parse(bytes),
        Some(r#type) => in_either(r#type.decode_list_protobuf_unmanaged(bytes), bytes),
    }
}

fn in_either(decoded: Result<Value, DecodeError>, bytes: &[u8]) -> Result<Value, CallError> {
    match decoded {
        Err(DecodeError::NotProtobuf) => parse(bytes),
        decoded => decoded.map_err(|error| CallError::Malformed(format!("the answer: {error}"))),
    }
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
    use serde_json::json;

    /// What each certificate needs travels in protobuf; options of a delete, and all else, in JSON.
    #[test]
    fn calls_are_encoded_by_what_they_are_about() {
        let object = || Some(json!({ "metadata": { "name": "a" } }));
        let one = format!("{CSRS}/a");
        let approval = format!("{one}/approval");
        for (method, path, is_protobuf) in [
            (Method::PUT, &*approval, true),
            (Method::POST, REVIEWS, true),
            (Method::DELETE, &*one, false),
            (Method::POST, "/api/v1/namespaces/default/events", false),
        ] {
            let request = Call::new(method, path, object()).request().unwrap();
            let sent = &request.headers()[CONTENT_TYPE];
            assert_eq!(sent == PROTOBUF, is_protobuf, "{path}");
            assert_eq!(request.body().starts_with(b"k8s\0"), is_protobuf, "{path}");
            assert_eq!(request.headers()[ACCEPT] == PROTOBUF_OR_JSON, is_protobuf);
        }
        let request = Call::new(Method::GET, one, None).request().unwrap();
        assert!(request.body().is_empty() && !request.headers().contains_key(CONTENT_TYPE));
    }

    /// An object, and a refusal, in the encoding that the server chose.
    #[test]
    fn answers_are_read_in_either_encoding() {
        let ty = &CERTIFICATE_SIGNING_REQUEST;
        let object = json!({ "metadata": { "name": "a" }, "spec": { "username": "u" } });
        for body in [ty.encode_protobuf(&object), ty.encode_json(&object)] {
            let read = parse_as(ty, &body).unwrap();
            assert_eq!(read["metadata"]["name"], "a");
            assert_eq!(read["spec"]["username"], "u");
        }
        let error = parse_as(ty, b"k8s\0\xff").unwrap_err().to_string();
        assert!(error.contains("CertificateSigningRequest"), "{error}");
        let status = Status::too_large(7);
        for body in [status.to_protobuf(), status.to_json()] {
            let code = StatusCode::PAYLOAD_TOO_LARGE;
            let error = read_answer(code, &HeaderMap::new(), body.into()).unwrap_err();
            assert_eq!(
                (error.code(), error.to_string()),
                (413, status.message.clone())
            );
        }
    }

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
