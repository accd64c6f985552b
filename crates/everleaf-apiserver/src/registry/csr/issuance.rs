//! What the server does for certificate signing requests beyond any other resource: verify a
//! request once, bound how many one identity may have open, and see how durations are honored.

use crate::read;
use crate::registry::{Holder, Issued, Tally, spent_account};
use crate::user::User;
use everleaf_api::csr::{Csr, DENIED};
use everleaf_pki::{Chain, RecentRequests, RequestError, SignerName, VerifiedRequest};
use serde_json::Value;

/// Prefix of the user names of bootstrap tokens.
const TOKEN_USER_PREFIX: &str = "system:bootstrap:";
/// Signers named one by one in metrics; all others are `other`, to bound the labels.
const BUILT_IN_SIGNER_PREFIX: &str = "kubernetes.io/";
/// How far a granted duration may be from the wanted one and still count as honored: this much …
const HONORED_SLACK_SECONDS: i64 = 5 * 60;
/// … plus this share of it.
const HONORED_SLACK_PERCENT: i64 = 5;

pub(super) fn verify(
    csr: &Value,
    recent: &RecentRequests,
) -> Result<VerifiedRequest, RequestError> {
    recent.from_pem(&Csr(csr).request())
}

/// Unsigned requests of one requestor.
pub(super) const UNSIGNED: Tally = Tally {
    account: requestor_until_signed,
    members: &[
        "spec.signerName",
        "spec.username",
        "status.certificate",
        "status.conditions",
    ],
    holder,
};

fn holder(user: &User) -> Option<Holder> {
    if user.node_name().is_some() {
        Some(Holder::Node)
    } else if user.name.starts_with(TOKEN_USER_PREFIX) {
        Some(Holder::Token)
    } else {
        None
    }
}

/// A request counts for its requestor until it is signed; one that was denied in an account beside,
/// since a node whose requests are denied must be able to file one that is not. Requests to other
/// signers than that of kubelets' client certificates have an account of their own: a node whose
/// serving requests nobody approves files one after the other, and must still be able to renew the
/// certificate it lives by.
fn requestor_until_signed(object: &Value) -> Option<String> {
    if !read::text(object, "/status/certificate").is_empty() {
        return None;
    }
    let requestor = read::text(object, "/spec/username");
    let account = match read::text(object, "/spec/signerName") {
        SignerName::KUBE_APISERVER_CLIENT_KUBELET => requestor.to_owned(),
        _ => format!("{requestor} (other signers)"),
    };
    Some(match Csr(object).has_condition(DENIED) {
        true => spent_account(&account),
        false => account,
    })
}

/// Whether the duration that was asked for is that of the certificate, when an update issues one
/// (`pkg/registry/certificates/certificates/storage/metrics.go`).
pub(super) fn issued(old: &Value, new: &Value) -> Option<Issued> {
    let (old, new) = (Csr(old), Csr(new));
    if old.is_issued() || !new.is_issued() {
        return None;
    }
    let wanted = i64::from(new.expiration_seconds()?);
    let signer = match new.signer_name() {
        name if name.starts_with(BUILT_IN_SIGNER_PREFIX) => name,
        _ => "other",
    };
    let is_honored = Chain::from_pem(&new.certificate())
        .is_ok_and(|chain| is_honored(wanted, chain.leaf().lifetime().seconds));
    Some(Issued {
        signer: signer.to_owned(),
        is_honored,
    })
}

fn is_honored(wanted_seconds: i64, granted_seconds: i64) -> bool {
    let slack = HONORED_SLACK_SECONDS + wanted_seconds * HONORED_SLACK_PERCENT / 100;
    (wanted_seconds - granted_seconds).abs() < slack
}

#[cfg(test)]
mod tests {
    use super::is_honored;

    #[test]
    fn honored_means_near_enough() {
        let day = 86_400;
        for (granted, honored) in [
            (day, true),
            (day + 4619, true),
            (day + 4620, false),
            (day - 4619, true),
            (day - 4620, false),
            (0, false),
        ] {
            assert_eq!(is_honored(day, granted), honored, "{granted}");
        }
        assert!(is_honored(600, 600 + 329));
        assert!(!is_honored(600, 600 + 330));
    }
}
