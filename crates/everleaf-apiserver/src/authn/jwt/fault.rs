//! Why a token does not count: in words for the log, in few enough kinds to count by.

use std::fmt;

/// Why a token of a known issuer does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    what: String,
}

/// The kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// The keys of the issuer have not come yet.
    NoKeys,
    /// The issuer publishes no key that could have signed it.
    UnknownKey,
    /// The key that it names did not sign it.
    Signature,
    /// Signed in a way that does not count.
    Algorithm,
    Expired,
    NotYetValid,
    /// Meant for somebody else.
    Audience,
    /// A claim is missing, of another form, or makes no user.
    Claims,
    /// A rule of the configuration does not hold.
    Rule,
}

impl Reason {
    /// As a metric spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoKeys => "no_keys",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Algorithm => "algorithm",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::Rule => "rule",
        }
    }
}

impl Fault {
    pub(super) fn new(reason: Reason, what: impl Into<String>) -> Self {
        Self {
            reason,
            what: what.into(),
        }
    }

    /// A rule does not hold.
    pub(super) fn rule(what: String) -> Self {
        Self::new(Reason::Rule, what)
    }

    /// Newer keys may tell otherwise.
    pub(super) fn may_be_of_newer_keys(&self) -> bool {
        matches!(self.reason, Reason::UnknownKey | Reason::Signature)
    }
}

/// What is said of a claim.
impl From<String> for Fault {
    fn from(what: String) -> Self {
        Self::new(Reason::Claims, what)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
