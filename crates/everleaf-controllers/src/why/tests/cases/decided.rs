//! Requests that somebody has decided about.

use super::{Cases, without_leases};
use crate::fixture::{
    api_client, authority, authority_between, kubelet_client, kubelet_serving, now,
};
use crate::why::Fault;
use crate::why::tests::world::{World, day};
use jiff::SignedDuration;
use serde_json::json;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const TEN_YEARS: Duration = Duration::from_secs(86_400 * 3650);

fn client() -> World {
    World::client("n1").approved()
}

fn api() -> World {
    World::with(api_client("ann", "admins")).approved()
}

/// Failed by the rule of its signer.
fn by_rule(world: World) -> World {
    world.condition("Failed", "SignerValidationFailure", "the signer's words")
}

fn with_reason(reason: &str) -> World {
    client().condition("Failed", reason, "the signer's words")
}

/// Somebody denied it.
pub(super) fn denied() -> Cases {
    vec![
        (
            Fault::DeniedByHand,
            World::client("n1").condition("Denied", "KubectlDeny", "no"),
        ),
        (
            Fault::DeniedAndApproved,
            client().condition("Denied", "KubectlDeny", "no"),
        ),
    ]
}

/// It is approved, and not signed.
pub(super) fn signers() -> Cases {
    vec![
        (Fault::SignerAbsent, client().edit(without_leases)),
        (
            Fault::ControllersUnseen,
            client().edit(without_leases).on_everleaf(),
        ),
        (
            Fault::SignerUnconfigured,
            client().manager(&["--controllers=*"]),
        ),
        (
            Fault::SignerPartly,
            client().manager(&["--cluster-signing-kubelet-serving-cert-file=/s.crt"]),
        ),
        (
            Fault::SignerSwitchedOff,
            client().manager(&[
                "--controllers=*,-csrsigning",
                "--cluster-signing-cert-file=/a",
            ]),
        ),
        (Fault::SignerNotPermitted, client().refusing("\"sign\"")),
        (
            Fault::CaEnded,
            client().with_ca(authority_between(now() - day(9), now() - day(1))),
        ),
        (
            Fault::CaEnded,
            client().event("SignerCAExpired", "the CA of this signer ended"),
        ),
        (
            Fault::CaNotBegun,
            client().with_ca(authority_between(now() + day(1), now() + day(9))),
        ),
        (
            Fault::LogUnwritable,
            client().event("IssuanceLogUnavailable", "no space left on the device"),
        ),
        (
            Fault::CaUnusable,
            client().event("SigningFailed", "the private key does not match"),
        ),
        (
            Fault::UsagesNobodyKnows,
            World::with(
                api_client("ann", "admins")
                    .usages(&["telepathy"])
                    .for_signer("kubernetes.io/legacy-unknown"),
            )
            .approved(),
        ),
        (Fault::SignerSilent, client()),
        (
            Fault::SignerForeign,
            World::with(kubelet_client("n1").for_signer("example.com/x")).approved(),
        ),
    ]
}

/// The signer gave up on it.
pub(super) fn failed() -> Cases {
    vec![
        (
            Fault::FailedOrganization,
            by_rule(World::with(kubelet_client("n1").organizations(&["x"])).approved()),
        ),
        (
            Fault::FailedCommonName,
            by_rule(World::with(kubelet_client("n1").common_name("ann")).approved()),
        ),
        (
            Fault::FailedAltNames,
            by_rule(World::with(kubelet_client("n1").dns("a")).approved()),
        ),
        (
            Fault::FailedNoAltName,
            by_rule(World::with(kubelet_serving("n1").without_all_names()).approved()),
        ),
        (
            Fault::FailedUsages,
            by_rule(World::with(kubelet_client("n1").usages(&["server auth"])).approved()),
        ),
        (
            Fault::FailedClientUsages,
            by_rule(World::with(api_client("ann", "x").usages(&["server auth"])).approved()),
        ),
        (Fault::FailedKey, with_reason("UnsupportedKey")),
        (Fault::FailedUnknownUsages, with_reason("UnknownUsage")),
        (
            Fault::FailedUnreadable,
            World::with(kubelet_client("n1").request("no PEM"))
                .approved()
                .condition("Failed", "RequestUnparseable", "x"),
        ),
        (Fault::FailedLint, with_reason("PolicyViolation")),
        (Fault::FailedByOther, with_reason("NoIdea")),
        (
            Fault::OldUsages,
            World::with(kubelet_serving("n1").usages(&["digital signature", "server auth"]))
                .approved()
                .condition(
                    "Failed",
                    "SignerValidationFailure",
                    "usages did not match [digital signature key encipherment server auth]",
                ),
        ),
    ]
}

/// It is issued.
pub(super) fn issued() -> Cases {
    let other_key = client().issued().object()["status"]["certificate"].clone();
    vec![
        (
            Fault::CertificateUnreadable,
            client().change(|object| object["status"]["certificate"] = json!("bm8=")),
        ),
        (
            Fault::CertificateOtherKey,
            client().change(|object| object["status"]["certificate"] = other_key),
        ),
        (
            Fault::CertificateEnded,
            client().issued_at(HOUR, SignedDuration::from_hours(-20)),
        ),
        (
            Fault::CertificateNotBegun,
            client().issued_at(HOUR, SignedDuration::from_hours(3)),
        ),
        (
            Fault::CertificateOtherCa,
            client().issued().with_ca(authority(day(400))),
        ),
        (
            Fault::CertificateTruncated,
            client().with_ca(authority(day(400))).issued_for(TEN_YEARS),
        ),
        (
            Fault::CertificateShort,
            api()
                .change(|object| object["spec"]["expirationSeconds"] = json!(86_400))
                .issued_for(HOUR),
        ),
        (
            Fault::CaEndsSoon,
            client().with_ca(authority(day(9))).issued(),
        ),
    ]
}
