//! What a call came to when it gave no answer.

/// A call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No endpoint could be connected to: nothing was sent.
    #[error("no etcd member can be reached: {what}")]
    Unreachable {
        /// Each endpoint with what it said.
        what: String,
    },
    /// The connection broke, or nothing came in time, after the call was sent.
    #[error("{endpoint} did not answer: {what}")]
    Lost {
        /// Of which member.
        endpoint: String,
        /// What happened.
        what: String,
    },
    /// The member answered with an error.
    #[error("{endpoint} refused: {message}")]
    Refused {
        /// Which member.
        endpoint: String,
        /// Which kind.
        code: Code,
        /// In its words.
        message: String,
    },
}

/// Kinds of refusal (`google.golang.org/grpc/codes`), those that somebody acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// The revision is compacted, or still to come.
    OutOfRange,
    /// A quota is used up.
    ResourceExhausted,
    /// The member cannot serve now: no leader, a timeout, it stops.
    Unavailable,
    /// Any other.
    Other(u32),
}

impl Code {
    pub(crate) fn of(number: u32) -> Self {
        match number {
            8 => Self::ResourceExhausted,
            11 => Self::OutOfRange,
            14 => Self::Unavailable,
            other => Self::Other(other),
        }
    }
}

impl Error {
    /// Whether what was asked may have been done all the same, so that a write must not be told to
    /// have failed.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Unreachable { .. } => false,
            Self::Lost { .. } => true,
            Self::Refused { code, message, .. } => match code {
                // `etcdserver: request timed out`: it was proposed, and may still come through.
                Code::Unavailable => !message.contains("no leader"),
                Code::OutOfRange | Code::ResourceExhausted => false,
                // Nonsense, not allowed, not now, not known, not logged in: refused at the door.
                Code::Other(3 | 7 | 9 | 12 | 16) => false,
                Code::Other(_) => true,
            },
        }
    }

    /// Whether it may be otherwise at another member, or a little later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::Refused { code, .. } => *code == Code::Unavailable,
        }
    }

    /// Whether the revision that was asked for is compacted.
    pub fn is_compacted(&self) -> bool {
        matches!(
            self,
            Self::Refused { code: Code::OutOfRange, message, .. } if message.contains("compacted")
        )
    }

    /// Whether the database is full.
    pub fn is_no_space(&self) -> bool {
        matches!(
            self,
            Self::Refused { code: Code::ResourceExhausted, message, .. }
                if message.contains("space exceeded")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_done_is_told_from_what_was_not() {
        let check = |number: u32, message: &str, is_ambiguous: bool| {
            let error = Error::Refused {
                endpoint: "http://a:2379".to_owned(),
                code: Code::of(number),
                message: message.to_owned(),
            };
            assert_eq!(error.is_ambiguous(), is_ambiguous, "{error}");
        };
        check(14, "etcdserver: request timed out", true);
        check(14, "etcdserver: no leader", false);
        check(8, "etcdserver: mvcc: database space exceeded", false);
        check(
            11,
            "etcdserver: mvcc: required revision has been compacted",
            false,
        );
        check(7, "etcdserver: permission denied", false);
        check(2, "context deadline exceeded", true);
        let what = "connection refused".to_owned();
        assert!(!Error::Unreachable { what: what.clone() }.is_ambiguous());
        let endpoint = "http://a:2379".to_owned();
        assert!(Error::Lost { endpoint, what }.is_ambiguous());
    }
}
