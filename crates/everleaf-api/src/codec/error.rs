//! Why bytes are no document of a type.

use super::json_read::shorten;
use crate::schema::Type;
use crate::status::Status;
use std::borrow::Cow;

/// Why a document could not be read. What clients are told of it is its text; as a [`Status`] it is
/// a 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There is nothing.
    #[error("the request body is empty: send a {kind} as JSON")]
    Empty {
        /// What was expected.
        kind: &'static str,
    },
    /// It is not JSON.
    #[error("the body is not a {kind} in valid JSON: {what}")]
    NotJson {
        /// What was expected.
        kind: &'static str,
        /// Where, and what is wrong there.
        what: String,
    },
    /// It is not Kubernetes' protobuf.
    #[error(
        "the body is not Kubernetes protobuf: it must begin with the bytes 6b 38 73 00 (\"k8s\\0\"); \
         send application/json for JSON"
    )]
    NotProtobuf,
    /// A value does not fit its field.
    #[error("{kind} in version \"{version}\" cannot be handled as a {kind}: {what}")]
    Mismatch {
        /// What was expected.
        kind: &'static str,
        /// In which version.
        version: &'static str,
        /// Which value, and why.
        what: String,
    },
    /// It says that it is of another version.
    #[error(
        "the API version in the data ({found}) does not match the expected API version ({expected})"
    )]
    OtherVersion {
        /// What it says.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// It says that it is something else.
    #[error("the body is a {kind} of {version}, this address takes a {expected}")]
    OtherKind {
        /// What it says to be.
        kind: String,
        /// In which version.
        version: String,
        /// What was expected, as `Secret of v1`.
        expected: String,
    },
}

impl DecodeError {
    pub(crate) fn mismatch(ty: &Type, what: impl Into<Cow<'static, str>>) -> Self {
        Self::Mismatch {
            kind: ty.kind,
            version: ty.version,
            what: what.into().into_owned(),
        }
    }

    /// For a document that names another type.
    pub(crate) fn other_type(ty: &Type, api_version: &str, kind: &str) -> Self {
        let (version, kind) = (shorten(api_version), shorten(kind));
        let expected = ty.api_version();
        if kind.is_empty() || kind == ty.kind {
            let found = version;
            return Self::OtherVersion { found, expected };
        }
        Self::OtherKind {
            kind,
            version,
            expected: format!("{} of {expected}", ty.kind),
        }
    }
}

impl From<DecodeError> for Status {
    fn from(error: DecodeError) -> Self {
        Self::bad_request(error.to_string())
    }
}
