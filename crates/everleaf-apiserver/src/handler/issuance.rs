//! What the engine does for certificate signing requests beyond any other resource: verify a request
//! once, bound how many one identity may have open, and count how durations were honored.

use everleaf_api::csr::Csr;
use everleaf_pki::{Chain, RequestError, VerifiedRequest};
use serde_json::Value;

use super::Server;
use crate::registry::{Descriptor, csr::CERTIFICATE_SIGNING_REQUESTS};
use crate::user::User;

/// Prefix of the user names of bootstrap tokens.
const TOKEN_USER_PREFIX: &str = "system:bootstrap:";
/// Signers named one by one in metrics; all others are `other`, to bound the labels.
const BUILT_IN_SIGNER_PREFIX: &str = "kubernetes.io/";
/// How far a granted duration may be from the wanted one and still count as honored: this much …
const HONORED_SLACK_SECONDS: i64 = 5 * 60;
/// … plus this share of it.
const HONORED_SLACK_PERCENT: i64 = 5;

fn is_csr(descriptor: &Descriptor) -> bool {
    descriptor.resource == CERTIFICATE_SIGNING_REQUESTS.resource
}

/// Verifies the request of a new CSR; None for any other resource. The one place where the server
/// checks a request's signature.
pub(super) fn verify(
    descriptor: &Descriptor,
    object: &Value,
) -> Option<Result<VerifiedRequest, RequestError>> {
    is_csr(descriptor).then(|| VerifiedRequest::from_pem(&Csr(object).request()))
}

impl Server {
    /// How many unsigned requests `user` may have; None: any number.
    pub(super) fn unsigned_requests_max(
        &self,
        descriptor: &Descriptor,
        user: &User,
    ) -> Option<usize> {
        if !is_csr(descriptor) {
            None
        } else if user.node_name().is_some() {
            Some(self.limits.unsigned_requests_per_node_max)
        } else if user.name.starts_with(TOKEN_USER_PREFIX) {
            Some(self.limits.unsigned_requests_per_token_max)
        } else {
            None
        }
    }

    /// Counts requested and honored durations when an update issues a certificate
    /// (`pkg/registry/certificates/certificates/storage/metrics.go`).
    pub(super) fn count_issuance(&self, descriptor: &Descriptor, old: &Value, new: &Value) {
        let (old, new) = (Csr(old), Csr(new));
        if !is_csr(descriptor) || !old.certificate().is_empty() || new.certificate().is_empty() {
            return;
        }
        let Some(wanted) = new.expiration_seconds() else {
            return;
        };
        let signer = match new.signer_name() {
            name if name.starts_with(BUILT_IN_SIGNER_PREFIX) => name,
            _ => "other",
        };
        let honored = Chain::from_pem(&new.certificate())
            .is_ok_and(|chain| is_honored(i64::from(wanted), chain.leaf().lifetime().seconds));
        self.metrics.count_duration(signer, honored);
    }
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
