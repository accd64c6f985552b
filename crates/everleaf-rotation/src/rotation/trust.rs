//! Which credentials the server is known to accept or refuse.

use crate::effect::CredentialChoice;
use crate::event::Sources;
use crate::rotation::Kind;
use crate::time::Monotonic;
use std::collections::BTreeSet;

/// How many 401 answers in a row, seconds apart, prove that a credential is refused when nothing else
/// is at stake.
pub(super) const REFUSALS_MAX: u32 = 3;

/// Memory of the server's answers about credentials.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    /// Answered 401 since the last success.
    refused: BTreeSet<CredentialChoice>,
    /// The current credential made an authenticated request.
    pub(super) is_confirmed: bool,
    /// When to ask about the current credential, unless it is confirmed.
    pub(super) confirm_at: Monotonic,
    /// Unanswered questions about it in a row.
    pub(super) confirm_failures: u32,
    /// 401 answers about it in a row.
    pub(super) refusals: u32,
}

impl Trust {
    /// The current credential is a new one, to be confirmed at once.
    pub(super) fn renew(&mut self, now: Monotonic) {
        *self = Self {
            confirm_at: now,
            ..Self::default()
        };
    }

    /// The server accepted the current credential.
    pub(super) fn confirm(&mut self) {
        self.is_confirmed = true;
        self.confirm_failures = 0;
        self.refusals = 0;
        self.refused.remove(&CredentialChoice::Current);
    }

    /// The server refused `credential`.
    pub(super) fn refuse(&mut self, credential: CredentialChoice) {
        self.refused.insert(credential);
        if credential == CredentialChoice::Current {
            self.is_confirmed = false;
        }
    }

    /// Whether the server refuses `credential`.
    pub(super) fn is_refused(&self, credential: CredentialChoice) -> bool {
        self.refused.contains(&credential)
    }

    /// Everything may be tried again.
    pub(super) fn forgive(&mut self) {
        self.refused.clear();
        self.refusals = 0;
    }

    /// Credentials outside the store changed; what was refused may be another one now.
    pub(super) fn sources_changed(&mut self) {
        self.refused.remove(&CredentialChoice::Kubeconfig);
        self.refused.remove(&CredentialChoice::Bootstrap);
    }

    /// The first of `candidates` that was not refused.
    pub(super) fn best(&self, candidates: &[CredentialChoice]) -> Option<CredentialChoice> {
        candidates
            .iter()
            .copied()
            .find(|choice| !self.is_refused(*choice))
    }
}

/// The credentials there are, in the order of trial.
pub(super) fn candidates(
    kind: Kind,
    has_current: bool,
    has_other_accepted: bool,
    sources: Sources,
) -> Vec<CredentialChoice> {
    let all = match kind {
        Kind::Client => [
            (has_current, CredentialChoice::Current),
            (has_other_accepted, CredentialChoice::LastAccepted),
            (sources.kubeconfig, CredentialChoice::Kubeconfig),
            (sources.bootstrap, CredentialChoice::Bootstrap),
        ]
        .to_vec(),
        Kind::Serving => vec![(sources.client, CredentialChoice::ClientCredential)],
    };
    all.into_iter()
        .filter_map(|(exists, choice)| exists.then_some(choice))
        .collect()
}
