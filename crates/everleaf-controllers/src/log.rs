//! Notices as log lines, in the words that operators of kube-controller-manager search for.
//!
//! Upstream's texts stand in the message (spec 8.3); everything a machine wants is in the fields.

use crate::notice::{About, Notice};
use tracing::{debug, info, warn};

impl Notice {
    /// Writes the notice to the log.
    pub fn log(&self) {
        if !(self.log_request() || self.log_cleaning() || self.log_issuer()) {
            self.log_surroundings();
        }
    }

    /// Notices about one request. Returns false for the others.
    fn log_request(&self) -> bool {
        match self {
            Self::Approved {
                about,
                latency,
                rule,
            } => {
                let About {
                    csr,
                    signer,
                    uid,
                    username,
                } = about;
                let ms = latency.as_millis();
                info!(
                    csr,
                    uid,
                    signer,
                    username,
                    rule,
                    latency_ms = ms,
                    "approved csr {csr:?}"
                );
            }
            Self::Conflict { about } => {
                debug!(
                    csr = about.csr,
                    uid = about.uid,
                    "csr changed meanwhile, reading it again"
                );
            }
            Self::Failed {
                about,
                reason,
                message,
            } => {
                let About {
                    csr,
                    signer,
                    uid,
                    username,
                } = about;
                warn!(
                    csr,
                    uid, signer, username, reason, "csr {csr:?} failed: {message}"
                );
            }
            Self::Held {
                about,
                common_name,
                delay,
            } => {
                let About {
                    csr,
                    signer,
                    uid,
                    username,
                } = about;
                let seconds = delay.as_secs();
                warn!(
                    csr,
                    uid,
                    signer,
                    username,
                    cn = common_name,
                    delay_seconds = seconds,
                    "{common_name} asks for certificates again and again although its last one \
                     has most of its life left: approval waits {seconds} s; check that node's \
                     clock (kubectl certificate approve {csr} overrides)"
                );
            }
            Self::Issued { .. } | Self::Signing { .. } => self.log_issuance(),
            Self::NotPermitted { about, permissions } => {
                let csr = &about.csr;
                debug!(
                    csr,
                    uid = about.uid,
                    username = about.username,
                    "recognized csr {csr:?} as [{permissions}] but subject access review was not \
                     approved"
                );
            }
            Self::SyncFailed { csr, error } => warn!(csr, "Sync {csr} failed with : {error}"),
            Self::Unfit { about, rule, error } => {
                let About {
                    csr,
                    signer,
                    uid,
                    username,
                } = about;
                warn!(
                    csr,
                    uid, signer, username, rule, "csr {csr:?} stays pending: {error}"
                );
            }
            Self::Unrecognized { about, why } => {
                debug!(
                    csr = about.csr,
                    uid = about.uid,
                    signer = about.signer,
                    "not ours: {why}"
                );
            }
            _ => return false,
        }
        true
    }

    fn log_issuance(&self) {
        match self {
            Self::Issued {
                about,
                common_name,
                fingerprint,
                latency,
                not_after,
                not_before,
                serial,
                truncated,
            } => {
                let About {
                    csr,
                    signer,
                    uid,
                    username,
                } = about;
                let ms = latency.as_millis();
                info!(
                    csr, uid, signer, username, cn = common_name, serial, sha256 = fingerprint,
                    notBefore = %not_before, notAfter = %not_after, latency_ms = ms,
                    "issued certificate for csr {csr:?}"
                );
                if *truncated {
                    warn!(
                        csr, signer, notAfter = %not_after,
                        "the certificate ends with its CA, earlier than --cluster-signing-duration \
                         asks: renew the CA to get the full lifetime"
                    );
                }
            }
            Self::Signing {
                about,
                common_name,
                duration,
            } => {
                let About {
                    csr,
                    signer,
                    uid,
                    username,
                } = about;
                let seconds = duration.as_secs();
                debug!(
                    csr,
                    uid,
                    signer,
                    username,
                    cn = common_name,
                    duration_seconds = seconds,
                    "signing csr {csr:?}"
                );
            }
            _ => {}
        }
    }

    fn log_cleaning(&self) -> bool {
        match self {
            Self::Cleaning { record, cause } => {
                let leaf = record.leaf().cloned().unwrap_or_default();
                info!(
                    csr = record.name,
                    uid = record.uid,
                    signer = record.signer_name,
                    username = record.username,
                    cn = leaf.common_name,
                    serial = leaf.serial,
                    sha256 = leaf.fingerprint,
                    state = cause.state(),
                    "Cleaning CSR {:?} {cause}",
                    record.name
                );
            }
            Self::CleaningFailed { csr, error } => {
                warn!(csr, "unable to delete CSR {csr:?}: {error}");
            }
            Self::CleaningSkipped {
                offset: Some(offset),
            } => warn!(
                offset_seconds = offset.as_secs(),
                "no CSR is cleaned: our clock and the API server's are apart, so ages mean nothing"
            ),
            Self::CleaningSkipped { offset: None } => {
                warn!("no CSR is cleaned in this pass: our clock was just set");
            }
            Self::CleaningUnreadable { csr, error } => {
                warn!(
                    csr,
                    "CSR {csr:?} is kept: its certificate cannot be read: {error}"
                );
            }
            _ => return false,
        }
        true
    }

    fn log_issuer(&self) -> bool {
        match self {
            Self::CaExpiring {
                signers,
                not_after,
                days,
            } if *days < 0 => warn!(
                signers, notAfter = %not_after,
                "the signing CA has expired: nothing is issued until it is renewed"
            ),
            Self::CaExpiring {
                signers,
                not_after,
                days,
            } => warn!(
                signers, notAfter = %not_after, days,
                "the signing CA expires in {days} days, and every certificate with it"
            ),
            Self::CaLoaded {
                signers,
                pair,
                not_after,
            } => info!(
                signers, notAfter = %not_after,
                "Loaded a new cert/key pair for {pair:?}"
            ),
            Self::CaReloadFailed {
                signers,
                pair,
                error,
            } => warn!(
                signers,
                "the changed CA files {pair:?} are not used, the old CA keeps signing: {error}"
            ),
            Self::SignerUnavailable { about, error } => {
                let About {
                    csr,
                    signer,
                    uid,
                    username,
                } = about;
                warn!(
                    csr,
                    uid, signer, username, "error auto signing csr: {error}"
                );
            }
            Self::SignersSkipped => info!(
                "skipping CSR signer controller because no csr cert/key was specified: approved \
                 requests stay without a certificate"
            ),
            _ => return false,
        }
        true
    }

    fn log_surroundings(&self) {
        match self {
            Self::CachesSynced { requests } => info!(requests, "caches are synced"),
            Self::ClockSkew {
                offset,
                apart: true,
            } => warn!(
                offset_seconds = offset.as_secs(),
                "the API server's clock is {} s {} ours; dates in certificates follow ours",
                offset.as_secs().abs(),
                if offset.is_negative() {
                    "behind"
                } else {
                    "ahead of"
                }
            ),
            Self::ClockSkew {
                offset,
                apart: false,
            } => info!(
                offset_seconds = offset.as_secs(),
                "our clock and the API server's agree again"
            ),
            Self::ClockStepped { step } => {
                warn!(
                    step_seconds = step.as_secs(),
                    "our clock was set, or the machine slept"
                );
            }
            Self::ServerReachable {
                what,
                error: Some(error),
            } => warn!("cannot {what}: {error}; trying again until it works"),
            Self::ServerReachable { what, error: None } => info!("can {what} again"),
            Self::Starting { name } => info!("Starting certificate controller {name:?}"),
            Self::WaitingForCaches { name } => {
                info!("Waiting for caches to sync for certificate-{name}");
            }
            _ => {}
        }
    }
}
