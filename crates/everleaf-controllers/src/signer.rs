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
            Action::Fail { reason, message } => return format!("{reason}: {message}"),
            Action::Sign(approved) => approved,
        };
        match issue(
            &authority(SignedDuration::from_hours(1000)),
            &approved,
            HOUR,
            [3; 16],
            now(),
        ) {
            Issuance::Failed { reason, message } => format!("{reason}: {message}"),
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

    /// Upstream cases 2 to 5, 31, 32: whose turn it is.
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

    /// Upstream cases 26 to 30 and the messages of spec 4.2.
    #[test]
    fn rules_of_each_signer() {
        let policy = |text: &str| format!("{REASON_POLICY}: {text}");
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
            &format!("{REASON_USAGE}: unrecognized usage values: [\"dancing\"]"),
        );
    }

    /// Upstream retries for ever; its requestor never learns.
    #[test]
    fn a_request_that_cannot_be_read_fails() {
        for text in ["", "garbage"] {
            let text = outcome(kubelet_client("n1").approved().request(text));
            assert!(text.starts_with(REASON_UNPARSEABLE), "{text}");
        }
    }

    #[test]
    fn weak_keys_fail() {
        let text = outcome(kubelet_client("n1").approved().request(WEAK_REQUEST));
        assert!(text.starts_with("UnsupportedKey: "), "{text}");
    }

    /// Upstream cases 36 to 42 (24 h here: below 8 h the end is not backdated) and 58 to 60.
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

    /// Upstream cases 48, 50, 51: the CA's end.
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
