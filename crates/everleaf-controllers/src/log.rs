//! Notices as log lines, in the words that operators of kube-controller-manager search for.
//!
//! Upstream's texts stand in the message; everything a machine wants is in the fields.

use crate::election::Change;
use crate::election::flags::RESOURCE_NAME_DEFAULT;
use crate::election::lease::LockName;
use crate::notice::{About, Judgement, Notice};
use crate::serving::Rule;

/// The tracing macros under the name of the crate: which file writes the lines concerns nobody.
macro_rules! debug { ($($rest:tt)*) => { tracing::debug!(target: "everleaf_controllers", $($rest)*) } }
macro_rules! info { ($($rest:tt)*) => { tracing::info!(target: "everleaf_controllers", $($rest)*) } }
macro_rules! warn { ($($rest:tt)*) => { tracing::warn!(target: "everleaf_controllers", $($rest)*) } }

/// A line about one request, with the fields that all of them carry.
macro_rules! line {
    ($level:ident, $about:expr, $($rest:tt)*) => {{
        let About { csr, signer, uid, username } = $about;
        $level!(csr, uid, signer, username, $($rest)*)
    }};
}

mod waits;

fn log_judgement(
    about: &About,
    judgement: Judgement,
    policy: &str,
    rule: Option<Rule>,
    message: &str,
) {
    let rule = rule.map_or("all", Rule::name);
    let csr = &about.csr;
    match judgement {
        Judgement::Denied => line!(warn, about, policy, rule, "denied csr {csr:?}: {message}"),
        Judgement::WouldApprove => line!(
            info,
            about,
            policy,
            rule,
            "csr {csr:?} would be approved, and the policy only tells (mode: dry-run)"
        ),
        Judgement::WouldDeny => line!(
            warn,
            about,
            policy,
            rule,
            "csr {csr:?} would be denied, and the policy only tells (mode: dry-run): {message}"
        ),
        Judgement::Abstained => line!(
            info,
            about,
            policy,
            rule,
            "csr {csr:?} is left to others: {message}"
        ),
        Judgement::Waits => line!(info, about, policy, rule, "csr {csr:?} waits: {message}"),
    }
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
            Self::Held { .. } | Self::HeldForCa { .. } => waits::log_hold(self),
            Self::Judged {
                about,
                judgement,
                policy,
                rule,
                message,
            } => log_judgement(about, *judgement, policy, *rule, message),
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
                let why = why.as_ref().map(ToString::to_string).unwrap_or_default();
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
            Self::Failed { about, failure } => {
                let reason = failure.reason();
                line!(warn, about, reason, "csr {:?} failed: {failure}", about.csr);
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
                    notAfter = %leaf.not_after, latency_ms = ms, truncated,
                    "issued certificate for csr {:?}", about.csr
                );
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
            Self::EventRefused { csr, error } => {
                warn!(csr, "no Event tells about csr {csr:?}: {error}");
            }
            Self::IssuanceLog(standing) => waits::log_standing(standing),
            Self::NotRecalled { error } => warn!(
                "certificates that are in the issuance log and in no request any more are not known to the approval of \
                 serving requests: {error}"
            ),
            Self::NotLogged { about, error } => {
                let csr = &about.csr;
                line!(
                    debug,
                    about,
                    "csr {csr:?} is not signed: the issuance log cannot be written: {error}"
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
                "the signing CA expires in {days} {}, and every certificate with it",
                crate::event::days_word(*days)
            ),
            Self::CaNotBegun {
                signers,
                not_before,
            } => warn!(
                signers, notBefore = %not_before,
                "the signing CA begins only at {not_before}: nothing is issued until then; set this host's clock if it is \
                 behind, or put a CA in its place that has begun"
            ),
            Self::CaDoubtful { signers, doubt } => {
                warn!(signers, rule = doubt.rule, "a doubtful CA: {doubt}");
            }
            Self::CaLoaded {
                signers,
                pair,
                not_after,
                renewed,
            } => info!(
                signers, notAfter = %not_after,
                "Loaded a new cert/key pair for {pair:?}{}",
                match renewed {
                    true => ": the CA was renewed with its key, and what it has signed stays good",
                    false => "",
                }
            ),
            Self::CaReloadFailed {
                signers,
                pair,
                error,
            } => warn!(
                signers,
                "the changed CA files {pair:?} are not used, the old CA keeps signing: {error}"
            ),
            Self::Doubtful { about, warning } => warn!(
                csr = about.csr,
                signer = about.signer,
                rule = warning.rule,
                "a doubtful certificate: {warning} (said once for this signer)"
            ),
            Self::Truncated { signer, not_after } => warn!(
                signer = signer.name(), notAfter = %not_after,
                "certificates of {signer} end with their CA, earlier than \
                 --cluster-signing-duration asks: renew the CA to get the full lifetime"
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
            Self::CachesSynced { plural, objects } => log_synced(plural, *objects),
            Self::Kept(kept) => kept.log(),
            Self::PolicyLoaded {
                file,
                entries,
                warnings,
                ..
            } => {
                info!(file, entries, "loaded {file}");
                for warning in warnings {
                    warn!(file, "{file}: {warning}");
                }
            }
            Self::PolicyRefused { file, error, .. } => warn!(
                file,
                "{file} cannot be used, and what was read before stays in use: {error}"
            ),
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
            Self::Election {
                change,
                identity,
                lock,
            } => log_election(change, identity, lock),
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

fn log_synced(plural: &str, objects: usize) {
    match plural {
        "certificatesigningrequests" => info!(requests = objects, "caches are synced"),
        "endpoints" | "nodes" | "services" => {
            info!(objects, "{plural} are known, to judge serving requests by");
        }
        _ => info!(objects, "caches are synced: {plural}"),
    }
}

/// One line per change of who leads, and per thing that is in the way.
fn log_election(change: &Change, identity: &str, lock: &LockName) {
    // That of kube-controller-manager decides about all of its controllers, not only ours.
    let is_kcm = lock.name == RESOURCE_NAME_DEFAULT;
    match change {
        Change::Attempting => info!(identity, "Attempting to acquire leader lease {lock}..."),
        Change::Failing { error } => warn!(
            "cannot take part in the leader election about {lock}, so nothing is approved, signed or \
             cleaned here: {error}; trying again until it works"
        ),
        Change::Leading if is_kcm => info!(
            identity,
            "Successfully acquired lease {lock}: leading; a kube-controller-manager stands by with all \
             of its controllers meanwhile (beside one: everleaf controllers \
             --leader-elect-resource-name=everleaf-controllers)"
        ),
        Change::Leading => info!(identity, "Successfully acquired lease {lock}: leading"),
        Change::Lost { why } => warn!(
            identity,
            "leader election lost, nothing is written any more: {why}"
        ),
        Change::Recovered => info!("the lease {lock} can be read and written again"),
        Change::Released => info!(identity, "released lease {lock}: another may lead at once"),
        Change::ReleaseFailed { error } => warn!(
            identity,
            "cannot release lease {lock}, others wait until it has run out: {error}"
        ),
        Change::RenewalFailing { error, left } => warn!(
            identity,
            left_seconds = left.as_secs(),
            "cannot renew lease {lock}: {error}; leading ends in {} s unless it works before",
            left.as_secs()
        ),
        Change::Seen { holder } if is_kcm => info!(
            holder,
            "standing by: {holder} leads {lock}; nothing is approved, signed or cleaned here until it \
             is gone (to run beside a kube-controller-manager: everleaf controllers \
             --leader-elect-resource-name=everleaf-controllers)"
        ),
        Change::Seen { holder } => info!(
            holder,
            "standing by: {holder} leads {lock}; nothing is approved, signed or cleaned here until it \
             is gone"
        ),
        Change::SlowPath => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::BuiltinSigner;
    use crate::cleaner::Cause;
    use crate::record::{LeafFacts, Record};
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// Collects what a subscriber writes.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn text(notice: &Notice) -> String {
        let paper = Paper::default();
        let writer = paper.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || notice.log());
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn about() -> About {
        About {
            csr: "csr-abcde".to_owned(),
            signer: BuiltinSigner::KubeletServing.name().to_owned(),
            uid: "u-1".to_owned(),
            username: "system:node:n1".to_owned(),
        }
    }

    /// Texts that operators of kube-controller-manager search for.
    #[test]
    fn upstreams_texts() {
        let csr = || "csr-abcde".to_owned();
        let record = Arc::new(Record {
            name: csr(),
            ..Record::default()
        });
        let cause = Cause::Pending(Duration::from_secs(24 * 3600));
        let cases = [
            (
                Notice::Starting {
                    name: "csrsigning-kubelet-client",
                },
                "Starting certificate controller \"csrsigning-kubelet-client\"",
            ),
            (
                Notice::WaitingForCaches {
                    name: "csrapproving",
                },
                "Waiting for caches to sync for certificate-csrapproving",
            ),
            (
                Notice::SyncFailed {
                    csr: csr(),
                    error: "boom".to_owned(),
                },
                "Sync csr-abcde failed with : boom",
            ),
            (
                Notice::NotPermitted {
                    about: about(),
                    permissions: "selfnodeclient nodeclient".to_owned(),
                },
                "recognized csr \"csr-abcde\" as [selfnodeclient nodeclient] but subject access \
                 review was not approved",
            ),
            (
                Notice::SignerUnavailable {
                    about: about(),
                    error: "the signer has expired: NotAfter=2026-01-01T00:00:00Z".to_owned(),
                },
                "error auto signing csr: the signer has expired: NotAfter=",
            ),
            (
                Notice::SignersSkipped,
                "skipping CSR signer controller because no csr cert/key was specified",
            ),
            (
                Notice::CaLoaded {
                    signers: String::new(),
                    pair: "csr-controller::/path/ca.crt::/path/ca.key".to_owned(),
                    not_after: crate::fixture::now(),
                    renewed: false,
                },
                "Loaded a new cert/key pair for \"csr-controller::/path/ca.crt::/path/ca.key\"",
            ),
            (
                Notice::Cleaning { record, cause },
                "Cleaning CSR \"csr-abcde\" as it is more than 24h0m0s old and unhandled.",
            ),
        ];
        for (notice, expected) in cases {
            let text = text(&notice);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_ca_that_has_not_begun_says_what_to_do() {
        let text = text(&Notice::CaNotBegun {
            signers: String::new(),
            not_before: crate::fixture::now(),
        });
        let words = "the signing CA begins only at 2026-11-20T12:00:00Z: nothing is issued until then; set this host's clock";
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn an_issuance_is_traceable() {
        let leaf = LeafFacts {
            serial: "0A0B".to_owned(),
            ..LeafFacts::default()
        };
        let latency = Duration::from_millis(12);
        let text = text(&Notice::Issued {
            about: about(),
            latency,
            leaf,
            truncated: false,
        });
        for field in [
            "issued certificate for csr \"csr-abcde\"",
            "uid=\"u-1\"",
            "signer=\"kubernetes.io/kubelet-serving\"",
            "username=\"system:node:n1\"",
            "serial=\"0A0B\"",
            "notAfter=1970-01-01T00:00:00Z",
            "latency_ms=12",
        ] {
            assert!(text.contains(field), "{field}: {text}");
        }
    }
}
