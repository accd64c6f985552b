//! The load-state table: from what is there to what to do first.
//!
//! One pure function, asked after start, after a retry, after a wake-up and after a clock step; there
//! is no other path (spec/agent.md 2.5 and 5.1). It knows no time: gates such as back-off, spacing and
//! the request limit are the machine's.

use crate::effect::CredentialChoice;
use crate::notice::{Block, Cause, StuckReason};
use crate::rotation::Kind;
use crate::standing::Standing;

/// What the store, the clock, the server and the embedder say, reduced to what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// What the certificate is for.
    pub kind: Kind,
    /// Standing of the current credential by our clock.
    pub standing: Standing,
    /// The current leaf lacks something that the template wants.
    pub lacks_wanted: bool,
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
        return match situation.kind {
            Kind::Serving => FirstStep::Block(Block::NoClientCredential),
            Kind::Client if situation.any_credential => FirstStep::Stuck(StuckReason::AllRefused),
            Kind::Client => FirstStep::Stuck(StuckReason::NoCredential),
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
        Standing::Fresh | Standing::NotYetValid => {
            situation.lacks_wanted.then_some(Cause::Template)
        }
    }
}
