//! Which approved requests are signed, which end as failed, which wait.
//!
//! [`decide`] is the only maker of an [`ApprovedRequest`], the witness that an issuer insists on.
//! A request that can never be signed is failed with a reason (a permanent state that its
//! requestor sees); trouble of the issuer itself never is: the request waits for it. The fields of
//! the certificate are everleaf-pki's; this module refuses to know them.

use crate::builtin::BuiltinSigner;
use crate::index::{OpenRequest, Stage, holds, stage};
use everleaf_api::csr::FAILED;
use everleaf_pki::{
    ApprovedRequest, IssueError, Issued, Issuer, Profile, SignerName, Usage, signer,
};
use jiff::Timestamp;
use std::time::Duration;

/// The CSR API dates certificates 5 minutes back, for clients whose clock is a little behind.
const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// Upstream's one reason for a Failed condition.
pub const REASON_POLICY: &str = "SignerValidationFailure";
/// The request is no readable certification request.
pub const REASON_UNPARSEABLE: &str = "RequestUnparseable";
/// A usage that no certificate can express.
pub const REASON_USAGE: &str = "UnknownUsage";

/// What the signer does about a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Append the Failed condition: nothing will ever make this request signable.
    Fail {
        /// Condition reason.
        reason: &'static str,
        /// Condition message.
        message: String,
    },
    /// Not approved, closed, or another signer's.
    Leave,
    /// Sign it.
    Sign(Box<ApprovedRequest>),
}

/// What came of the attempt to issue.
#[derive(Debug)]
pub enum Issuance {
    /// Append the Failed condition.
    Failed {
        /// Condition reason.
        reason: &'static str,
        /// Condition message.
        message: String,
    },
    /// Record the certificate.
    Issued(Issued),
    /// The issuer cannot sign now; try again later.
    Unavailable(String),
}

/// Decides what `signer` does about a request.
pub fn decide(request: &OpenRequest, signer: BuiltinSigner) -> Action {
    let csr = request.csr();
    if stage(csr) != Stage::Approved(Some(signer)) {
        return Action::Leave;
    }
    let verified = match request.request() {
        Ok(verified) => verified,
        Err(error) => {
            return Action::Fail {
                reason: REASON_UNPARSEABLE,
                message: error.to_string(),
            };
        }
    };
    // Usages are judged as texts first: the rule's own message comes before "unknown usage".
    let texts = csr.usages();
    if let Err(message) = signer::check_signer_policy(signer.name(), verified, &texts) {
        return Action::Fail {
            reason: REASON_POLICY,
            message,
        };
    }
    let usages = match Usage::parse_all(&texts) {
        Ok(usages) => usages,
        Err(unknown) => {
            return Action::Fail {
                reason: REASON_USAGE,
                message: unknown.to_string(),
            };
        }
    };
    let conditions = csr.conditions();
    // A Failed condition that does not hold is no end of the request (spec 4.1).
    let standing: Vec<&str> = conditions
        .iter()
        .filter(|condition| condition.kind != FAILED || holds(condition))
        .map(|condition| condition.kind.as_str())
        .collect();
    let approved = ApprovedRequest::new(
        verified.clone(),
        SignerName::new(signer.name()),
        usages,
        csr.expiration_seconds(),
        &standing,
    );
    approved.map_or(Action::Leave, |approved| Action::Sign(Box::new(approved)))
}

/// Has `issuer` sign. `now` is the signer's clock; all dates follow it. `serial` is 16 random bytes.
pub fn issue(
    issuer: &Issuer,
    approved: &ApprovedRequest,
    signing_duration: Duration,
    serial: [u8; 16],
    now: Timestamp,
) -> Issuance {
    let profile = Profile {
        duration: signing_duration,
        backdate: BACKDATE,
    };
    match issuer.issue(approved, &profile, serial, now) {
        Ok(issued) => Issuance::Issued(issued),
        Err(IssueError::Policy { reason, message }) => Issuance::Failed { reason, message },
        Err(error) => Issuance::Unavailable(error.to_string()),
    }
}
