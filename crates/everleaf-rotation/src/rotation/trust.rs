//! Which credentials the server is known to accept or refuse.

use crate::certificate::RenewedBy;
use crate::effect::CredentialChoice;
use crate::event::Sources;
use crate::time::Monotonic;
use everleaf_pki::{Leaf, Template};
use std::collections::BTreeSet;

/// How many 401 answers in a row, seconds apart, prove that a credential is refused when nothing
/// else is at stake.
pub(super) const REFUSALS_MAX: u32 = 3;

/// Memory of the server's answers about credentials.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    /// Answered 401 since the last success.
    refused: BTreeSet<CredentialChoice>,
    /// Let in and answered 403 since the last attempt with all of them.
    forbidden: BTreeSet<CredentialChoice>,
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

    /// The server let `credential` in and forbade it to ask. Returns the next of `candidates` that
    /// may be allowed to; with none left, the next attempt begins with the first again.
    pub(super) fn forbid(
        &mut self,
        credential: CredentialChoice,
        candidates: &[CredentialChoice],
    ) -> Option<CredentialChoice> {
        self.forbidden.insert(credential);
        let next = self
            .usable(candidates)
            .find(|c| !self.forbidden.contains(c));
        if next.is_none() {
            self.forbidden.clear();
        }
        next
    }

    /// Whether the server refuses `credential`.
    pub(super) fn is_refused(&self, credential: CredentialChoice) -> bool {
        self.refused.contains(&credential)
    }

    /// Everything may be tried again.
    pub(super) fn forgive(&mut self) {
        self.refused.clear();
        self.forbidden.clear();
        self.refusals = 0;
    }

    /// Credentials outside the store changed; what was refused may be another one now.
    pub(super) fn sources_changed(&mut self) {
        for credential in [CredentialChoice::Kubeconfig, CredentialChoice::Bootstrap] {
            self.refused.remove(&credential);
            self.forbidden.remove(&credential);
        }
    }

    /// The first of `candidates` that was not refused, rather one that is not forbidden to ask.
    pub(super) fn best(&self, candidates: &[CredentialChoice]) -> Option<CredentialChoice> {
        self.usable(candidates)
            .find(|choice| !self.forbidden.contains(choice))
            .or_else(|| self.usable(candidates).next())
    }

    fn usable<'a>(
        &'a self,
        candidates: &'a [CredentialChoice],
    ) -> impl Iterator<Item = CredentialChoice> + 'a {
        candidates
            .iter()
            .copied()
            .filter(|choice| !self.is_refused(*choice))
    }
}

/// Whose certificate a slot of the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// There is none.
    Nobody,
    /// Of the name that is wanted.
    This,
    /// Of another name: the host was renamed, or its disk copied from another host.
    Other,
}

impl Holder {
    /// The holder of `leaf`, where a certificate of the name in `wanted` is wanted.
    pub(super) fn of(leaf: Option<&Leaf>, wanted: Option<&Template>) -> Self {
        match (leaf, wanted) {
            (None, _) => Self::Nobody,
            (Some(leaf), Some(wanted))
                if leaf.subject().common_name != wanted.subject.common_name =>
            {
                Self::Other
            }
            (Some(_), _) => Self::This,
        }
    }
}

/// The credentials there are, in the order of trial. A certificate of another name comes last: a
/// server forbids it to ask for this one (NodeRestriction, since 1.21), or nobody approves what it
/// asks.
pub(super) fn candidates(
    renewed_by: RenewedBy,
    current: Holder,
    other_accepted: Holder,
    sources: Sources,
) -> Vec<CredentialChoice> {
    let all = match renewed_by {
        RenewedBy::Itself => [
            (current == Holder::This, CredentialChoice::Current),
            (
                other_accepted == Holder::This,
                CredentialChoice::LastAccepted,
            ),
            (sources.kubeconfig.is_some(), CredentialChoice::Kubeconfig),
            (sources.bootstrap.is_some(), CredentialChoice::Bootstrap),
            (current == Holder::Other, CredentialChoice::Current),
            (
                other_accepted == Holder::Other,
                CredentialChoice::LastAccepted,
            ),
        ]
        .to_vec(),
        RenewedBy::Another => vec![(sources.client.is_some(), CredentialChoice::ClientCredential)],
    };
    all.into_iter()
        .filter_map(|(exists, choice)| exists.then_some(choice))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CredentialVersion;
    use CredentialChoice::{Bootstrap, ClientCredential, Current, Kubeconfig, LastAccepted};
    use Holder::{Nobody, Other, This};

    #[test]
    fn whose_certificate_it_is_decides_the_order() {
        let outside = Sources {
            kubeconfig: Some(CredentialVersion(1)),
            bootstrap: Some(CredentialVersion(1)),
            client: None,
        };
        let nothing = Sources::default();
        for (current, accepted, sources, expected) in [
            (
                This,
                This,
                outside,
                vec![Current, LastAccepted, Kubeconfig, Bootstrap],
            ),
            (
                This,
                Other,
                outside,
                vec![Current, Kubeconfig, Bootstrap, LastAccepted],
            ),
            (
                Other,
                This,
                outside,
                vec![LastAccepted, Kubeconfig, Bootstrap, Current],
            ),
            (
                Other,
                Other,
                outside,
                vec![Kubeconfig, Bootstrap, Current, LastAccepted],
            ),
            (Nobody, Nobody, outside, vec![Kubeconfig, Bootstrap]),
            (Other, Nobody, nothing, vec![Current]),
            (Nobody, Nobody, nothing, vec![]),
        ] {
            let found = candidates(RenewedBy::Itself, current, accepted, sources);
            assert_eq!(found, expected, "{current:?}, {accepted:?}, {sources:?}");
        }
        let client = Sources {
            client: Some(CredentialVersion(1)),
            ..nothing
        };
        let found = candidates(RenewedBy::Another, Other, Other, client);
        assert_eq!(found, [ClientCredential]);
    }

    #[test]
    fn forbidden_leads_to_the_next_and_at_last_to_the_first_again() {
        let all = [Current, Kubeconfig, Bootstrap];
        let mut trust = Trust::default();
        assert_eq!(trust.best(&all), Some(Current));
        assert_eq!(trust.forbid(Current, &all), Some(Kubeconfig));
        trust.refuse(Kubeconfig);
        assert_eq!(trust.best(&all), Some(Bootstrap));
        assert_eq!(trust.best(&[Current]), Some(Current), "there is no other");
        assert_eq!(trust.forbid(Bootstrap, &all), None);
        assert_eq!(trust.best(&all), Some(Current));
    }
}
