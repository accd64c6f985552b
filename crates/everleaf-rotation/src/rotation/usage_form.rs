//! Which of two forms of usages a request has: with "key encipherment", or without.
//!
//! A kube-controller-manager before 1.25 recognises a kubelet's request only with it, and says
//! nothing to one without: the request would stay undecided for ever. Later ones take both
//! (`pkg/controller/certificates/approver/sarapprove.go`).

use std::time::Duration;

/// The first minor version of Kubernetes 1 that takes the short form.
const SHORT_SINCE_MINOR: u32 = 25;

/// How long a request stays without any condition until it is asked once more in the other form,
/// where the server's version is not known.
pub const SILENCE_MAX: Duration = Duration::from_secs(2 * 60);

/// What is known about the form that the control plane wants.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UsageForm {
    version: Version,
    /// The form that came first did not do; the other one stays until a certificate comes.
    is_switched: bool,
}

/// The server's minor version, as far as it was asked in this attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Version {
    #[default]
    Unasked,
    Unknown,
    Minor(u32),
}

impl UsageForm {
    /// The server has to be asked for its version.
    pub(super) fn is_unasked(self) -> bool {
        self.version == Version::Unasked
    }

    /// What it said; `None` when it said nothing that could be read.
    pub(super) fn learn(&mut self, minor: Option<u32>) {
        self.version = minor.map_or(Version::Unknown, Version::Minor);
    }

    /// The next attempt asks again: control planes are upgraded, and restored.
    pub(super) fn forget_version(&mut self) {
        self.version = Version::Unasked;
    }

    /// Whether to ask in the long form. `last_was_long`: the form of the certificate in use, which
    /// is one that worked.
    pub(super) fn is_long(self, last_was_long: bool) -> bool {
        match self.version {
            Version::Minor(minor) if minor < SHORT_SINCE_MINOR => true,
            Version::Minor(_) | Version::Unknown | Version::Unasked => {
                last_was_long != self.is_switched
            }
        }
    }

    /// Takes the other form from now on, once. False when that was done before.
    pub(super) fn switch(&mut self) -> bool {
        !std::mem::replace(&mut self.is_switched, true)
    }

    /// A certificate came: it tells the form itself.
    pub(super) fn settle(&mut self) {
        self.is_switched = false;
    }

    /// Whether silence would mean anything.
    pub(super) fn is_guess(self) -> bool {
        !self.is_switched && !matches!(self.version, Version::Minor(_))
    }
}

/// Whether the control plane of a server of that minor version wants the long form; not, where the
/// version is not known.
pub fn is_long_for(minor: Option<u32>) -> bool {
    let mut form = UsageForm::default();
    form.learn(minor);
    form.is_long(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_decides_and_else_what_worked() {
        let form = |minor| {
            let mut form = UsageForm::default();
            form.learn(minor);
            form
        };
        assert!(form(Some(24)).is_long(false));
        assert!(!form(Some(25)).is_long(false));
        assert!(form(Some(37)).is_long(true), "what worked goes on working");
        assert!(!form(None).is_long(false));
        assert!(form(None).is_long(true));
        assert!(form(None).is_guess() && !form(Some(21)).is_guess());
    }

    #[test]
    fn there_are_never_more_than_two() {
        let mut form = UsageForm::default();
        form.learn(None);
        assert!(form.switch() && form.is_long(false));
        assert!(!form.switch() && form.is_long(false) && !form.is_guess());
        form.settle();
        assert!(form.is_long(true), "the certificate tells");
    }
}
