//! Why a node did not get a certificate.

use everleaf_agent::client::{Failure, FailureClass};
use std::borrow::Cow;
use std::time::Duration;

/// Why a node did not get one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Trouble {
    /// A call failed.
    #[error("{0}")]
    Call(Failure),
    /// The request was denied.
    #[error("it was denied: {0}")]
    Denied(String),
    /// The signer says that it cannot sign it.
    #[error("the signer failed: {0}")]
    SignerFailed(String),
    /// The request is gone.
    #[error("the request was deleted before it had a certificate")]
    Deleted,
    /// It took too long.
    #[error(
        "no certificate within {} s; the request is there: \"everleaf why csr/NAME\" says what it waits for",
        .0.as_secs_f64()
    )]
    NoCertificate(Duration),
    /// Not even the answer to the create came.
    #[error("no answer to the create within {} s", .0.as_secs_f64())]
    NoAnswer(Duration),
    /// The certificate that came is none that its node could use.
    #[error("the certificate cannot be used: {0}")]
    BadCertificate(String),
}

impl Trouble {
    /// One word for it; what has the same word is counted together.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Call(failure) => failure.class.as_str(),
            Self::Denied(_) => "denied",
            Self::SignerFailed(_) => "signer-failed",
            Self::Deleted => "deleted",
            Self::NoCertificate(_) => "no-certificate",
            Self::NoAnswer(_) => "no-answer",
            Self::BadCertificate(_) => "bad-certificate",
        }
    }

    /// Whether a node that waits may wait on: it is the connection's fault, or the watch's.
    pub(crate) fn may_pass(&self) -> bool {
        let Self::Call(failure) = self else {
            return false;
        };
        matches!(
            failure.class,
            FailureClass::Unreachable
                | FailureClass::Gone
                | FailureClass::ServerError
                | FailureClass::TooManyRequests
        )
    }

    /// Says it of this request.
    pub(crate) fn of(&self, name: &str) -> String {
        let words: Cow<'_, str> = match self {
            Self::NoCertificate(_) => self.to_string().replace("NAME", name).into(),
            other => other.to_string().into(),
        };
        format!("{name}: {words}")
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Call(failure)
    }
}
