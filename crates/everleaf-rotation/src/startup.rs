//! The load-state table: from what is there to what to do first.
//!
//! One pure function, asked after start, after a retry, after a wake-up and after a clock step;
//! there is no other path. It knows no time: gates such as back-off, spacing and the request limit
//! are the machine's.

use crate::certificate::RenewedBy;
use crate::effect::CredentialChoice;
use crate::notice::{Block, Cause, StuckReason};
use crate::standing::Standing;

/// What the store, the clock, the server and the embedder say, reduced to what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// Whose certificate authenticates the requests for this one.
    pub renewed_by: RenewedBy,
    /// Standing of the current credential by our clock.
    pub standing: Standing,
    /// The current leaf lacks something that the template wants.
    pub lacks_wanted: bool,
    /// The current credential is to be renewed now, for its CA's sake.
    pub is_early: bool,
    /// The server refuses the current credential.
    pub is_refused: bool,
    /// There is something to ask for.
    pub has_template: bool,
    /// The persisted request.
    pub pending: PendingState,
    /// The first credential that exists and was not refused.
    pub credential: Option<CredentialChoice>,
    /// Some credential exists, refused or not.
    pub any_credential: bool,
}

/// What is known of the persisted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingState {
    /// There is none.
    Absent,
    /// Its key is the current credential's: a crash came between install and clean-up.
    Installed,
    /// It is not worth waiting for, for this reason.
    Outdated(&'static str),
    /// On disk; whether the server has it is not known.
    Prepared,
    /// The server has it.
    Submitted,
}

/// What to do first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstStep {
    /// Wait for the verdict on the pending request.
    Await(CredentialChoice),
    /// Nothing can be asked for, or with.
    Block(Block),
    /// Remove the pending request, then ask again.
    Discard(&'static str),
    /// Make a new request.
    Prepare(Cause),
    /// Only a person can help; go on trying slowly.
    Stuck(StuckReason),
    /// Create the pending request on the server.
    Submit(CredentialChoice),
    /// Nothing is due.
    Wait,
}

/// The first step in `situation`.
pub fn first_step(situation: &Situation) -> FirstStep {
    let cause = cause(situation);
    match (situation.pending, cause) {
        (PendingState::Installed, _) => {
            return FirstStep::Discard("its certificate is installed");
        }
        (PendingState::Outdated(reason), _) => return FirstStep::Discard(reason),
        (PendingState::Prepared, None) => return FirstStep::Discard("it is no longer needed"),
        (PendingState::Absent, None) => return FirstStep::Wait,
        (PendingState::Absent, Some(_)) if !situation.has_template => {
            return FirstStep::Block(Block::NoTemplate);
        }
        // A request that the server has is seen through, needed or not: that costs nothing.
        (PendingState::Absent | PendingState::Prepared, Some(_)) | (PendingState::Submitted, _) => {
        }
    }
    let Some(credential) = situation.credential else {
        return match situation.renewed_by {
            RenewedBy::Another => FirstStep::Block(Block::NoClientCredential),
            RenewedBy::Itself if situation.any_credential => {
                FirstStep::Stuck(StuckReason::AllRefused)
            }
            RenewedBy::Itself => FirstStep::Stuck(StuckReason::NoCredential),
        };
    };
    match (situation.pending, cause) {
        (PendingState::Submitted, _) => FirstStep::Await(credential),
        (PendingState::Prepared, _) => FirstStep::Submit(credential),
        (_, Some(cause)) => FirstStep::Prepare(cause),
        (_, None) => FirstStep::Wait,
    }
}

/// Why a rotation is needed, if it is.
fn cause(situation: &Situation) -> Option<Cause> {
    match situation.standing {
        Standing::Absent => Some(Cause::Absent),
        _ if situation.is_refused => Some(Cause::Refused),
        Standing::Expired => Some(Cause::Expired),
        Standing::Due => Some(Cause::Deadline),
        // Not yet valid: the server's clock decides, so it is used and not renewed.
        Standing::Fresh | Standing::NotYetValid if situation.lacks_wanted => Some(Cause::Template),
        Standing::Fresh | Standing::NotYetValid => situation.is_early.then_some(Cause::Authority),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CredentialChoice::{Bootstrap, ClientCredential, Current, Kubeconfig};
    use Standing::{Absent, Due, Expired, Fresh, NotYetValid};

    /// A client that holds a fresh certificate and nothing else.
    const SETTLED: Situation = Situation {
        renewed_by: RenewedBy::Itself,
        standing: Fresh,
        lacks_wanted: false,
        is_early: false,
        is_refused: false,
        has_template: true,
        pending: PendingState::Absent,
        credential: Some(Current),
        any_credential: true,
    };

    /// A client with nothing but a bootstrap credential.
    const NEW: Situation = Situation {
        standing: Absent,
        credential: Some(Bootstrap),
        ..SETTLED
    };

    #[track_caller]
    fn check(situation: Situation, expected: FirstStep) {
        assert_eq!(first_step(&situation), expected, "{situation:?}");
    }

    fn standing(standing: Standing) -> Situation {
        Situation {
            standing,
            ..SETTLED
        }
    }

    fn pending(standing: Standing, pending: PendingState) -> Situation {
        Situation {
            standing,
            pending,
            ..SETTLED
        }
    }

    #[test]
    fn without_a_pending_request_the_standing_decides() {
        check(standing(Fresh), FirstStep::Wait);
        check(standing(NotYetValid), FirstStep::Wait);
        check(standing(Due), FirstStep::Prepare(Cause::Deadline));
        check(standing(Expired), FirstStep::Prepare(Cause::Expired));
        check(NEW, FirstStep::Prepare(Cause::Absent));
    }

    #[test]
    fn rows_of_the_start_up_table() {
        // Nothing, an inline credential in the kubeconfig: it asks for the first certificate.
        let inline = Situation {
            credential: Some(Kubeconfig),
            ..NEW
        };
        check(inline, FirstStep::Prepare(Cause::Absent));
        // Expired, refused by the server, and a bootstrap credential: recovers.
        let lapsed = Situation {
            credential: Some(Bootstrap),
            is_refused: true,
            ..SETTLED
        };
        check(
            Situation {
                standing: Expired,
                ..lapsed
            },
            FirstStep::Prepare(Cause::Refused),
        );
        check(lapsed, FirstStep::Prepare(Cause::Refused));
        // The same without any: only a person can help.
        let lost = Situation {
            credential: None,
            is_refused: true,
            ..SETTLED
        };
        check(
            Situation {
                standing: Expired,
                ..lost
            },
            FirstStep::Stuck(StuckReason::AllRefused),
        );
        // Nothing at all.
        let empty = Situation {
            credential: None,
            any_credential: false,
            ..NEW
        };
        check(empty, FirstStep::Stuck(StuckReason::NoCredential));
    }

    #[test]
    fn a_pending_request_is_resumed() {
        for standing in [Fresh, NotYetValid, Due, Expired, Absent] {
            check(
                pending(standing, PendingState::Submitted),
                FirstStep::Await(Current),
            );
        }
        for standing in [Due, Expired, Absent] {
            check(
                pending(standing, PendingState::Prepared),
                FirstStep::Submit(Current),
            );
        }
        // With what there is: after a 401 the next one.
        let next = pending(Due, PendingState::Submitted);
        check(
            Situation {
                credential: Some(Bootstrap),
                ..next
            },
            FirstStep::Await(Bootstrap),
        );
        // Even when the template is not known yet: it asks for what was wanted.
        check(
            Situation {
                has_template: false,
                ..pending(Absent, PendingState::Submitted)
            },
            FirstStep::Await(Current),
        );
    }

    #[test]
    fn a_pending_request_that_is_of_no_use_goes_first() {
        for standing in [Fresh, Due, Expired, Absent] {
            check(
                pending(standing, PendingState::Outdated("why")),
                FirstStep::Discard("why"),
            );
            check(
                pending(standing, PendingState::Installed),
                FirstStep::Discard("its certificate is installed"),
            );
        }
        check(
            pending(Fresh, PendingState::Prepared),
            FirstStep::Discard("it is no longer needed"),
        );
    }

    #[test]
    fn a_template_that_is_not_satisfied_rotates_a_fresh_certificate() {
        let lacking = Situation {
            lacks_wanted: true,
            ..SETTLED
        };
        check(lacking, FirstStep::Prepare(Cause::Template));
        check(
            Situation {
                standing: NotYetValid,
                ..lacking
            },
            FirstStep::Prepare(Cause::Template),
        );
        check(
            Situation {
                standing: Due,
                ..lacking
            },
            FirstStep::Prepare(Cause::Deadline),
        );
    }

    #[test]
    fn without_a_template_nothing_is_asked() {
        let unknown = Situation {
            has_template: false,
            ..NEW
        };
        check(unknown, FirstStep::Block(Block::NoTemplate));
        check(
            Situation {
                has_template: false,
                ..SETTLED
            },
            FirstStep::Wait,
        );
    }

    #[test]
    fn a_serving_machine_waits_for_the_client_certificate() {
        let serving = Situation {
            renewed_by: RenewedBy::Another,
            credential: None,
            ..NEW
        };
        let serving = Situation {
            any_credential: false,
            ..serving
        };
        check(serving, FirstStep::Block(Block::NoClientCredential));
        let ready = Situation {
            credential: Some(ClientCredential),
            ..serving
        };
        check(ready, FirstStep::Prepare(Cause::Absent));
    }
}
