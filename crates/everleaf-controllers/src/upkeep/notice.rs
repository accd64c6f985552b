//! What these controllers tell: the words that operators of kube-controller-manager search for.

use super::token::Expiration;
use crate::metrics::{self, Metrics};
use crate::pods::Refusal;
use crate::record::LeafFacts;
use jiff::SignedDuration;
use std::time::Duration;

/// The tracing macros under the name of the crate.
macro_rules! debug { ($($rest:tt)*) => { tracing::debug!(target: "everleaf_controllers", $($rest)*) } }
macro_rules! info { ($($rest:tt)*) => { tracing::info!(target: "everleaf_controllers", $($rest)*) } }
macro_rules! warn { ($($rest:tt)*) => { tracing::warn!(target: "everleaf_controllers", $($rest)*) } }

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kept {
    /// cluster-info could not be signed; it is tried again.
    ClusterInfoFailed {
        /// Why.
        error: String,
    },
    /// cluster-info was written, with new signatures or without old ones.
    ClusterInfoSigned {
        /// How many it has now.
        signatures: usize,
    },
    /// An old PodCertificateRequest was deleted.
    PodCertificateCleaned {
        /// Namespace and name.
        request: String,
    },
    /// A pod's certificate could not be signed, logged or written; it is tried again.
    PodCertificateFailed {
        /// Namespace and name.
        request: String,
        /// Why.
        error: String,
    },
    /// A pod's certificate was recorded.
    PodCertificateIssued {
        /// Namespace and name.
        request: String,
        /// SPIFFE ID.
        uri: String,
        /// The leaf.
        leaf: LeafFacts,
    },
    /// A PodCertificateRequest was denied, or failed for good.
    PodCertificateRefused {
        /// Namespace and name.
        request: String,
        /// Why.
        refusal: Refusal,
    },
    /// An old PodCertificateRequest could not be deleted; it is tried again.
    PodCleaningFailed {
        /// Namespace and name.
        request: String,
        /// Why.
        error: String,
    },
    /// The certificate revocation list could not be signed or written; it is tried again.
    RevocationListFailed {
        /// Why.
        error: String,
    },
    /// A new certificate revocation list was written.
    RevocationListPublished {
        /// Certificates in it.
        revoked: usize,
    },
    /// A namespace has no kube-root-ca.crt, or not the right one; it is tried again.
    RootCaFailed {
        /// Which.
        namespace: String,
        /// Why.
        error: String,
    },
    /// The file of a CA has changed, and what is published follows.
    RootCaLoaded {
        /// Which.
        file: String,
    },
    /// The file of a CA has changed to something that cannot be published (said once per
    /// change).
    RootCaRefused {
        /// Which.
        file: String,
        /// Why.
        error: String,
    },
    /// A namespace was looked at, and written to if need be.
    RootCaSynced {
        /// Which.
        namespace: String,
        /// 200, or the code of the error; 500: there was no answer.
        code: u16,
        /// For how long.
        took: Duration,
    },
    /// A controller starts.
    Starting {
        /// Its name in upstream's words.
        title: &'static str,
    },
    /// An expired token is kept: which clock is right is not known (said once per token).
    TokenDoubted {
        /// Namespace and name.
        secret: String,
        /// Server clock minus ours.
        offset: SignedDuration,
    },
    /// An expired token is about to be deleted: the audit record.
    TokenExpired {
        /// Namespace and name.
        secret: String,
        /// When.
        expiration: Expiration,
    },
    /// A signer has no ClusterTrustBundle, or not the right one alone; it is tried again.
    TrustBundleFailed {
        /// Which.
        signer: String,
        /// Why.
        error: String,
    },
    /// The ClusterTrustBundles of a signer were looked at, and written to if need be.
    TrustBundleSynced {
        /// Which.
        signer: String,
        /// 200, or the code of the error; 500: there was no answer.
        code: u16,
        /// For how long.
        took: Duration,
    },
    /// The server has no ClusterTrustBundles (said once).
    TrustBundlesAbsent,
    /// A call about a token failed; it is tried again.
    TokenFailed {
        /// Namespace and name.
        secret: String,
        /// What was tried with it: `deleting`.
        what: &'static str,
        /// Why.
        error: String,
    },
}

impl Kept {
    /// Counts it.
    pub(crate) fn record(&self, metrics: &Metrics) {
        let of_pods = match self {
            Self::PodCertificateCleaned { .. } => Some((metrics::PODS_CLEANED, Vec::new())),
            Self::PodCertificateFailed { .. } => Some((metrics::PODS_RETRIED, Vec::new())),
            Self::PodCertificateIssued { .. } => Some((metrics::PODS_ISSUED, Vec::new())),
            Self::PodCertificateRefused { refusal, .. } => {
                Some((metrics::PODS_REFUSED, vec![("reason", refusal.reason())]))
            }
            _ => None,
        };
        if let Some((metric, labels)) = of_pods {
            return metrics.count(metric, &labels);
        }
        let (syncs, durations, code, took) = match self {
            Self::RootCaSynced { code, took, .. } => (
                metrics::ROOT_CA_SYNCS,
                metrics::ROOT_CA_SYNC_DURATION,
                code,
                took,
            ),
            Self::TrustBundleSynced { code, took, .. } => (
                metrics::TRUST_BUNDLE_SYNCS,
                metrics::TRUST_BUNDLE_SYNC_DURATION,
                code,
                took,
            ),
            _ => return,
        };
        let code = code.to_string();
        let labels = [("code", code.as_str())];
        metrics.count(syncs, &labels);
        metrics.observe(durations, &labels, *took);
    }

    /// The same, of a bootstrap token.
    fn log_token(&self) {
        match self {
            Self::TokenDoubted { secret, offset } => warn!(
                secret,
                offset_seconds = offset.as_secs(),
                "the bootstrap token {secret} has expired by our clock and is kept: the API server's clock is {} s {} \
                 ours, so one of the two is wrong; set it right, or delete the token by hand",
                offset.as_secs().abs(),
                if offset.is_negative() {
                    "behind"
                } else {
                    "ahead of"
                }
            ),
            Self::TokenExpired { secret, expiration } => match expiration {
                Expiration::At(end) => info!(secret, expiration = %end, "Deleting expired secret"),
                _ => info!(
                    secret,
                    "Deleting expired secret: nobody can read its expiration (RFC 3339)"
                ),
            },
            Self::TokenFailed {
                secret,
                what,
                error,
            } => warn!(secret, "Error {what} secret: {error}; trying again"),
            _ => {}
        }
    }

    /// The same, of PodCertificateRequests.
    fn log_pod(&self) {
        match self {
            Self::PodCertificateCleaned { request } => {
                info!(
                    request,
                    "deleted the PodCertificateRequest {request}: it is old"
                );
            }
            Self::PodCertificateFailed { request, error } => warn!(
                request,
                "the PodCertificateRequest {request} has no certificate yet: {error}; trying again"
            ),
            Self::PodCertificateIssued { request, uri, leaf } => info!(
                request,
                uri,
                serial = leaf.serial,
                not_after = %leaf.not_after,
                "issued a certificate for the PodCertificateRequest {request}"
            ),
            Self::PodCertificateRefused { request, refusal } => info!(
                request,
                reason = refusal.reason(),
                "the PodCertificateRequest {request} is {}: {refusal}",
                refusal.condition().to_ascii_lowercase()
            ),
            Self::PodCleaningFailed { request, error } => warn!(
                request,
                "unable to delete PodCertificateRequest {request}: {error}; trying again"
            ),
            _ => {}
        }
    }

    /// Writes it to the log.
    pub(crate) fn log(&self) {
        match self {
            Self::PodCertificateCleaned { .. }
            | Self::PodCertificateFailed { .. }
            | Self::PodCertificateIssued { .. }
            | Self::PodCertificateRefused { .. }
            | Self::PodCleaningFailed { .. } => self.log_pod(),
            Self::ClusterInfoFailed { error } => {
                warn!("Error updating ConfigMap kube-public/cluster-info: {error}; trying again");
            }
            Self::ClusterInfoSigned { signatures } => info!(
                signatures,
                "kube-public/cluster-info is signed for each valid bootstrap token"
            ),
            Self::RevocationListFailed { error } => warn!(
                "the certificate revocation list cannot be renewed: {error}; trying again; the last one is good for at most a week"
            ),
            Self::RevocationListPublished { revoked } => info!(
                revoked,
                "a new certificate revocation list is in kube-public/everleaf-revocation-list"
            ),
            Self::RootCaFailed { namespace, error } => {
                warn!(
                    namespace,
                    "syncing {namespace:?} failed: {error}; trying again"
                );
            }
            Self::RootCaLoaded { file } => {
                info!(file, "{file} has changed: what is published of it follows");
            }
            Self::RootCaRefused { file, error } => warn!(
                file,
                "the changed CA is not published, the old one stays: {error}"
            ),
            Self::RootCaSynced {
                namespace,
                code,
                took,
            } => {
                let ms = took.as_millis();
                debug!(namespace, code, took_ms = ms, "Finished syncing namespace");
            }
            Self::Starting { title } => info!("Starting {title} controller"),
            Self::TokenDoubted { .. } | Self::TokenExpired { .. } | Self::TokenFailed { .. } => {
                self.log_token();
            }
            Self::TrustBundleFailed { signer, error } => {
                warn!(
                    signer,
                    "syncing the ClusterTrustBundle of {signer} failed: {error}; trying again"
                );
            }
            Self::TrustBundleSynced { signer, code, took } => {
                let ms = took.as_millis();
                debug!(
                    signer,
                    code,
                    took_ms = ms,
                    "Finished syncing ClusterTrustBundle"
                );
            }
            Self::TrustBundlesAbsent => info!(
                "the API server has no clustertrustbundles (Kubernetes has them since 1.33 as v1beta1, if switched \
                 on, and since 1.37 as v1): nothing is published there until it has"
            ),
        }
    }
}
