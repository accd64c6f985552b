//! Which approved requests are signed, which end as failed, which wait.
//!
//! [`decide`] is the only maker of an [`ApprovedRequest`], the witness that an issuer insists on.
//! A request that can never be signed is failed with a reason (a permanent state that its
//! requestor sees); trouble of the issuer itself never is: the request waits for it. The fields of
//! the certificate are everleaf-pki's; this module refuses to know them.

use crate::builtin::BuiltinSigner;
use crate::index::{OpenRequest, Stage, holds, stage};
use everleaf_api::csr::FAILED;
use everleaf_pki::signer::{self, PolicyFailure, UnknownUsages};
use everleaf_pki::{
    ApprovedRequest, IssueError, Issued, Issuer, Profile, RequestError, SignerName, Usage,
};
use jiff::Timestamp;
use std::time::Duration;

/// The CSR API dates certificates 5 minutes back, for clients whose clock is a little behind.
const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// What the signer does about a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Append the Failed condition: nothing will ever make this request signable.
    Fail(Failure),
    /// Not approved, closed, or another signer's.
    Leave,
    /// Sign it.
    Sign(Box<ApprovedRequest>),
}

/// What came of the attempt to issue.
#[derive(Debug)]
pub enum Issuance {
    /// Append the Failed condition.
    Failed(Failure),
    /// Record the certificate.
    Issued(Issued),
    /// The issuer cannot sign now; try again later.
    Unavailable(String),
}

/// Why a request can never be signed; `Display` is the message of its Failed condition. Where
/// Kubernetes fails a request, reason and message are its own (1.37
/// `pkg/controller/certificates/signer/signer.go`, `handle`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The issuer refuses what would be issued.
    #[error("{message}")]
    Issuance {
        /// Condition reason.
        reason: &'static str,
        /// Condition message.
        message: String,
    },
    /// It breaks the rule of its signer.
    #[error(transparent)]
    Policy(#[from] PolicyFailure),
    /// It is no readable certification request (Kubernetes tries again for ever).
    #[error(transparent)]
    Unparseable(#[from] RequestError),
    /// It has a usage that no certificate can express.
    #[error(transparent)]
    UnknownUsages(#[from] UnknownUsages),
}

impl Failure {
    /// Reason of the Failed condition.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Issuance { reason, .. } => reason,
            Self::Policy(_) => "SignerValidationFailure",
            Self::Unparseable(_) => "RequestUnparseable",
            Self::UnknownUsages(_) => "UnknownUsage",
        }
    }
}

/// Decides what `signer` does about a request.
pub fn decide(request: &OpenRequest, signer: BuiltinSigner) -> Action {
    if stage(request.csr()) != Stage::Approved(Some(signer)) {
        return Action::Leave;
    }
    match check(request, signer) {
        Ok(Some(approved)) => Action::Sign(Box::new(approved)),
        Ok(None) => Action::Leave,
        Err(failure) => Action::Fail(failure),
    }
}

/// Why `signer` would fail this request if it were approved, if it would.
pub fn failure(request: &OpenRequest, signer: BuiltinSigner) -> Option<Failure> {
    check(request, signer).err()
}

fn check(request: &OpenRequest, signer: BuiltinSigner) -> Result<Option<ApprovedRequest>, Failure> {
    let csr = request.csr();
    let verified = request.request().map_err(RequestError::clone)?;
    // Usages are judged as texts first: the rule's own message comes before "unknown usage".
    let texts = csr.usages();
    signer::check_signer_policy(signer.name(), verified, &texts)?;
    let usages = Usage::parse_all(&texts)?;
    let conditions = csr.conditions();
    // A Failed condition that does not hold is no end of the request.
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
    Ok(approved.ok())
}

/// Has `issuer` sign. `now` is the signer's clock; all dates follow it. `serial` is 16 random
/// bytes.
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
        Err(IssueError::Policy { reason, message }) => {
            Issuance::Failed(Failure::Issuance { reason, message })
        }
        Err(error) => Issuance::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{
        Fixture, WEAK_REQUEST, api_client, authority, kubelet_client, kubelet_serving, now,
    };
    use jiff::SignedDuration;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Decides as the request's own signer and, if told to sign, has a fresh CA sign for an hour.
    fn outcome(request: Fixture) -> String {
        let request = request.open();
        let signer = BuiltinSigner::parse(request.csr().signer_name()).unwrap();
        let approved = match decide(&request, signer) {
            Action::Leave => return "leave".to_owned(),
            Action::Fail(failure) => return format!("{}: {failure}", failure.reason()),
            Action::Sign(approved) => approved,
        };
        match issue(
            &authority(SignedDuration::from_hours(1000)),
            &approved,
            HOUR,
            [3; 16],
            now(),
        ) {
            Issuance::Failed(failure) => format!("{}: {failure}", failure.reason()),
            Issuance::Issued(issued) => {
                format!("issued {}", issued.chain.leaf().lifetime().seconds)
            }
            Issuance::Unavailable(error) => format!("unavailable: {error}"),
        }
    }

    #[track_caller]
    fn check(request: Fixture, expected: &str) {
        assert_eq!(outcome(request), expected);
    }

    /// Whose turn it is.
    #[test]
    fn only_approved_requests_are_signed() {
        let request = || kubelet_serving("n1");
        check(request(), "leave");
        check(request().condition("Denied", "True"), "leave");
        check(request().approved().condition("Denied", "True"), "leave");
        check(request().approved().condition("Denied", "False"), "leave");
        check(request().approved().condition("Failed", "True"), "leave");
        check(request().approved().condition("Failed", ""), "leave");
        check(request().approved().certificate("x"), "leave");
        check(request().condition("Approved", "False"), "issued 3900");
        check(
            request().approved().condition("Failed", "False"),
            "issued 3900",
        );
        let request = request().approved().open();
        assert!(matches!(
            decide(&request, BuiltinSigner::LegacyUnknown),
            Action::Leave
        ));
    }

    /// The messages of Kubernetes, word for word (1.37 `pkg/apis/certificates/helpers.go`).
    #[test]
    fn rules_of_each_signer() {
        let policy = |text: &str| format!("SignerValidationFailure: {text}");
        let client = || api_client("hello-world", "some-org").approved();
        check(client(), "issued 3900");
        check(
            client().usages(&["digital signature", "client auth", "server auth"]),
            &policy("invalid usage for client certificate: server auth"),
        );
        check(
            client().usages(&["digital signature"]),
            &policy("missing required usage for client certificate: client auth"),
        );
        check(kubelet_client("n1").approved(), "issued 3900");
        check(
            kubelet_client("n1").approved().dns("n1"),
            &policy("DNS subjectAltNames are not allowed"),
        );
        check(
            kubelet_client("n1")
                .approved()
                .organizations(&["x"])
                .dns("n1"),
            &policy("subject organization is not system:nodes"),
        );
        check(
            kubelet_serving("n1").approved().dns("example.com"),
            "issued 3900",
        );
        check(
            kubelet_serving("n1").approved().without_names(),
            &policy("DNS or IP subjectAltName is required"),
        );
        check(
            kubelet_serving("n1").approved().usages(&["client auth"]),
            &policy("usages did not match [digital signature key encipherment server auth]"),
        );
        let legacy = || client().for_signer(SignerName::LEGACY_UNKNOWN);
        check(
            legacy().common_name("").organizations(&[]).usages(&[]),
            "issued 3900",
        );
        check(
            legacy().usages(&["client auth", "dancing"]),
            "UnknownUsage: unrecognized usage values: [\"dancing\"]",
        );
    }

    /// Upstream retries for ever; its requestor never learns.
    #[test]
    fn a_request_that_cannot_be_read_fails() {
        for text in ["", "garbage"] {
            let text = outcome(kubelet_client("n1").approved().request(text));
            assert!(text.starts_with("RequestUnparseable: "), "{text}");
        }
    }

    #[test]
    fn weak_keys_fail() {
        let text = outcome(kubelet_client("n1").approved().request(WEAK_REQUEST));
        assert!(text.starts_with("UnsupportedKey: "), "{text}");
    }

    /// As kubernetes 1.37 `signer.go`, `duration` (24 h here: below 8 h the end is not backdated).
    #[test]
    fn lifetimes() {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let lifetime = |seconds: Option<i64>| {
            let request = api_client("c", "g").approved();
            let request = seconds
                .into_iter()
                .fold(request, Fixture::expiration_seconds)
                .open();
            let Action::Sign(approved) = decide(&request, BuiltinSigner::KubeApiserverClient)
            else {
                panic!("not signed")
            };
            let issuer = authority(SignedDuration::from_hours(1000));
            match issue(&issuer, &approved, DAY, [3; 16], now()) {
                Issuance::Issued(issued) => issued.chain.leaf().lifetime().seconds,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(lifetime(None), 86_400);
        assert_eq!(lifetime(Some(86_400)), 86_400);
        assert_eq!(lifetime(Some(2 * 86_400)), 86_400);
        assert_eq!(lifetime(Some(20 * 3600)), 20 * 3600);
        assert_eq!(lifetime(Some(2 * 3600)), 2 * 3600 + 300);
        assert_eq!(lifetime(Some(600)), 900);
        assert_eq!(lifetime(Some(599)), 900);
        assert_eq!(lifetime(Some(-60)), 900);
    }

    /// The CA's end (kubernetes 1.37 `pkg/controller/certificates/authority/policies.go`).
    #[test]
    fn the_end_of_the_ca() {
        let request = kubelet_client("n1").approved().open();
        let Action::Sign(approved) = decide(&request, BuiltinSigner::KubeApiserverClientKubelet)
        else {
            panic!("not signed")
        };
        let issue =
            |left: SignedDuration| issue(&authority(left), &approved, HOUR * 48, [3; 16], now());
        match issue(SignedDuration::from_hours(24)) {
            Issuance::Issued(issued) => {
                assert!(issued.truncated);
                let end = now() + SignedDuration::from_hours(24);
                assert_eq!(issued.chain.leaf().not_after(), end);
            }
            other => panic!("{other:?}"),
        }
        match issue(SignedDuration::from_mins(-1)) {
            Issuance::Unavailable(error) => assert!(error.contains("refusing to sign"), "{error}"),
            other => panic!("{other:?}"),
        }
        match issue(SignedDuration::from_hours(-2)) {
            Issuance::Unavailable(error) => {
                assert!(
                    error.contains("the signer has expired: NotAfter="),
                    "{error}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
