//! Notices as log lines, in the words that operators of kube-controller-manager search for.
//!
//! Upstream's texts stand in the message (spec 8.3); everything a machine wants is in the fields.

use crate::notice::{About, Notice};
use tracing::{debug, info, warn};

/// A line about one request, with the fields that all of them carry.
macro_rules! line {
    ($level:ident, $about:expr, $($rest:tt)*) => {{
        let About { csr, signer, uid, username } = $about;
        $level!(csr, uid, signer, username, $($rest)*)
    }};
}

impl Notice {
    /// Writes the notice to the log.
    pub fn log(&self) {
        if !(self.log_approval() || self.log_signing() || self.log_cleaning() || self.log_issuer())
        {
            self.log_surroundings();
        }
    }

    /// What the approver did. Returns false for other notices.
    fn log_approval(&self) -> bool {
        match self {
            Self::Approved {
                about,
                latency,
                rule,
            } => {
                let ms = latency.as_millis();
                line!(
                    info,
                    about,
                    rule,
                    latency_ms = ms,
                    "approved csr {:?}",
                    about.csr
                );
            }
            Self::Held {
                about,
                common_name,
                delay,
            } => {
                let seconds = delay.as_secs();
                line!(
                    warn,
                    about,
                    cn = common_name,
                    delay_seconds = seconds,
                    "{common_name} asks for certificates again and again although its last one \
                     has most of its life left: approval waits {seconds} s; check that node's \
                     clock (kubectl certificate approve {} overrides)",
                    about.csr
                );
            }
            Self::NotPermitted { about, permissions } => line!(
                debug,
                about,
                "recognized csr {:?} as [{permissions}] but subject access review was not approved",
                about.csr
            ),
            Self::Unfit { about, rule, error } => {
                line!(
                    warn,
                    about,
                    rule,
                    "csr {:?} stays pending: {error}",
                    about.csr
                );
            }
            Self::Unrecognized { about, why } => {
                line!(debug, about, "csr {:?} is not recognized: {why}", about.csr);
            }
            _ => return false,
        }
        true
    }

    /// What a signer did, and what may happen to any write.
    fn log_signing(&self) -> bool {
        match self {
            Self::Conflict { about } => {
                line!(
                    debug,
                    about,
                    "csr {:?} changed meanwhile, reading it again",
                    about.csr
                );
            }
            Self::Failed {
                about,
                reason,
                message,
            } => {
                line!(warn, about, reason, "csr {:?} failed: {message}", about.csr);
            }
            Self::Issued {
                about,
                leaf,
                latency,
                truncated,
            } => {
                let ms = latency.as_millis();
                line!(
                    info, about, cn = leaf.common_name, serial = leaf.serial,
                    sha256 = leaf.fingerprint, notBefore = %leaf.not_before,
                    notAfter = %leaf.not_after, latency_ms = ms,
                    "issued certificate for csr {:?}", about.csr
                );
                if *truncated {
                    line!(
                        warn, about, notAfter = %leaf.not_after,
                        "the certificate ends with its CA, earlier than --cluster-signing-duration \
                         asks: renew the CA to get the full lifetime"
                    );
                }
            }
            Self::SignerUnavailable { about, error } => {
                line!(warn, about, "error auto signing csr: {error}");
            }
            Self::Signing {
                about,
                common_name,
                duration,
            } => {
                let seconds = duration.as_secs();
                line!(
                    debug,
                    about,
                    cn = common_name,
                    duration_seconds = seconds,
                    "signing csr {:?}",
                    about.csr
                );
            }
            Self::SyncFailed { csr, error } => warn!(csr, "Sync {csr} failed with : {error}"),
            _ => return false,
        }
        true
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
