//! Kubernetes Events: what happened to a request or a node, where `kubectl describe` shows it; what
//! happens to this process, its CAs and clocks, where `kubectl get events -A` does.
//!
//! Owns their form, and [`Spacing`]: that there is never a storm of them.

use crate::bucket::{Rate, TokenBucket};
use crate::notice::Notice;
use everleaf_api::csr::Csr;
use everleaf_api::duration::span;
use everleaf_api::meta;
use everleaf_time::{Monotonic, Now};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where Events about what has no namespace are filed. In the old group, as client-go's recorder
/// of leader election files them: servers before 1.22 refuse the new one for such objects.
pub(crate) const PATH: &str = "/api/v1/namespaces/default/events";
/// Longest message (kubernetes 1.37 `pkg/apis/core/validation/events.go`).
const MESSAGE_BYTES_MAX: usize = 1024;
/// What Events say they come from.
const COMPONENT: &str = "everleaf-controllers";

/// The same is said of one object once in this time; the next Event counts those between.
const REPEAT_AFTER: Duration = Duration::from_secs(10 * 60);
/// Events of one reason, over all objects.
const PER_REASON: Rate = Rate {
    per_second: 0.1,
    burst: 25,
};
/// Objects that are remembered per reason, at most; then some things may be said twice.
const TOLD_MAX: usize = 10_000;

/// Which Events are worth a call. However many requests have the same trouble, people get a few
/// dozen Events, and one every ten seconds after that.
#[derive(Debug, Default)]
pub(crate) struct Spacing {
    buckets: BTreeMap<&'static str, TokenBucket>,
    /// When something was last said of an object, and how often it was not said since.
    told: BTreeMap<(&'static str, String), (Monotonic, u32)>,
}

impl Spacing {
    /// `Some`: this is to be said of `object`, and how often it happened since the last time.
    pub(crate) fn admit(
        &mut self,
        reason: &'static str,
        object: &str,
        now: Monotonic,
    ) -> Option<u32> {
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        let key = (reason, object.to_owned());
        let (last, unsaid) = match self.told.get_mut(&key) {
            Some((last, unsaid)) => {
                *unsaid = unsaid.saturating_add(1);
                (Some(*last), *unsaid)
            }
            None => (None, 1),
        };
        if last.is_some_and(|last| now.since(last) < REPEAT_AFTER) {
            return None;
        }
        let bucket = self.buckets.entry(reason);
        if !bucket
            .or_insert_with(|| TokenBucket::new(PER_REASON))
            .try_take(now)
        {
            return None;
        }
        self.told.insert(key, (now, 0));
        Some(unsaid)
    }
}

/// An Event about a request; everything but an approval is a Warning. `message` is ASCII.
pub(crate) fn of(csr: Csr<'_>, reason: &str, message: &str, now: Now) -> Value {
    let object = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "name": csr.name(),
        "uid": csr.uid(),
    });
    about(object, reason, message, 1, now)
}

/// An Event about this process, if the notice is worth one. Neither a process nor its CA or clock
/// is an object of the API; the namespace of the control plane stands for it, which every cluster
/// has.
pub(crate) fn of_notice(notice: &Notice, now: Now) -> Option<Value> {
    let (reason, message) = about_process(notice)?;
    let involved = json!({ "apiVersion": "v1", "kind": "Namespace", "name": "kube-system" });
    // Paths and names may hold anything.
    let message: String = message.chars().flat_map(ascii).collect();
    Some(about(involved, reason, &message, 1, now))
}

fn ascii(letter: char) -> Vec<char> {
    match letter.is_ascii() && !letter.is_ascii_control() {
        true => vec![letter],
        false => letter.escape_default().collect(),
    }
}

/// Whole days in words: `1 day`.
pub(crate) const fn days_word(days: i64) -> &'static str {
    match days {
        1 => "day",
        _ => "days",
    }
}

/// How two clocks differ, for people; `offset` is the server's minus ours.
fn apart(offset: SignedDuration) -> String {
    let direction = match offset.is_negative() {
        true => "behind",
        false => "ahead of",
    };
    let apart = span(offset.unsigned_abs());
    format!("the API server's clock is {apart} {direction} that of the controllers")
}

/// The notices that are Events of their own, by reason, and their words.
fn about_process(notice: &Notice) -> Option<(&'static str, String)> {
    match notice {
        Notice::CaExpiring {
            signers,
            not_after,
            days,
        } if *days < 0 => Some((
            "SignerCAExpired",
            format!(
                "The CA of {signers} ended at {not_after}: approved requests stay without a certificate until it is renewed"
            ),
        )),
        Notice::CaExpiring {
            signers,
            not_after,
            days,
        } => Some((
            "SignerCAExpiring",
            format!(
                "The CA of {signers} ends at {not_after}, in {days} {}, and every certificate with it: renew it with the same key",
                days_word(*days)
            ),
        )),
        Notice::CaReloadFailed {
            signers,
            pair,
            error,
        } => Some((
            "CAReloadFailed",
            format!(
                "The changed CA files of {signers} ({pair}) are not used, the old CA keeps signing: {error}"
            ),
        )),
        Notice::CleaningSkipped { offset } => {
            let cause = offset.map_or("our clock was just set".to_owned(), apart);
            Some((
                "ClockSkewDetected",
                format!("no CSR is cleaned in this pass, since ages mean nothing: {cause}"),
            ))
        }
        Notice::ClockSkew {
            offset,
            apart: true,
        } => Some((
            "SignerClockSkew",
            format!(
                "{}; dates in certificates follow the signer's clock",
                apart(*offset)
            ),
        )),
        Notice::Truncated { signer, not_after } => Some((
            "CertificateLifetimeTruncated",
            format!(
                "Certificates of {signer} end with their CA, at {not_after}, earlier than their requests or --cluster-signing-duration ask: renew the CA to get the full lifetime"
            ),
        )),
        _ => None,
    }
}

/// An Event about any object without a namespace, which happened `count` times.
pub(crate) fn about(object: Value, reason: &str, message: &str, count: u32, now: Now) -> Value {
    let kind = match reason {
        "CSRApproved" => "Normal",
        _ => "Warning",
    };
    let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
    let at = meta::format_time(now.wall);
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "generateName": "everleaf-", "namespace": "default" },
        "involvedObject": object,
        "reason": reason,
        "message": &message[..end],
        "source": { "component": COMPONENT },
        "reportingComponent": COMPONENT,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": count,
        "type": kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::BuiltinSigner;
    use crate::fixture::now;
    use everleaf_time::Monotonic;

    fn of(notice: &Notice) -> Option<Value> {
        let now = Now {
            wall: now(),
            monotonic: Monotonic::default(),
        };
        of_notice(notice, now)
    }

    #[test]
    fn what_happens_to_a_ca_is_an_event_of_kube_system() {
        let (signers, pair) = (
            "kubernetes.io/kubelet-serving".to_owned(),
            "c::k".to_owned(),
        );
        let expiring = |days| Notice::CaExpiring {
            signers: signers.clone(),
            not_after: now(),
            days,
        };
        let failed = Notice::CaReloadFailed {
            signers: signers.clone(),
            pair: pair.clone(),
            error: "\u{e9}\n".repeat(1000),
        };
        let signer = BuiltinSigner::KubeletServing;
        for (notice, reason, words) in [
            (expiring(3), "SignerCAExpiring", "in 3 days"),
            (
                expiring(-1),
                "SignerCAExpired",
                "ended at 2026-11-20T12:00:00Z",
            ),
            (
                failed,
                "CAReloadFailed",
                "the old CA keeps signing: \\u{e9}\\n",
            ),
            (
                Notice::Truncated {
                    signer,
                    not_after: now(),
                },
                "CertificateLifetimeTruncated",
                "end with their CA, at 2026-11-20T12:00:00Z",
            ),
        ] {
            let event = of(&notice).unwrap();
            assert_eq!(event["reason"], reason);
            assert_eq!(event["type"], "Warning");
            assert_eq!(event["involvedObject"]["kind"], "Namespace");
            assert_eq!(event["involvedObject"]["name"], "kube-system");
            // An object without a namespace has its Events in this one.
            assert_eq!(event["metadata"]["namespace"], "default");
            let message = event["message"].as_str().unwrap();
            assert!(message.contains(words), "{message}");
            assert!(message.len() <= MESSAGE_BYTES_MAX);
        }
        let loaded = Notice::CaLoaded {
            signers,
            pair,
            not_after: now(),
            renewed: true,
        };
        assert_eq!(of(&loaded), None);
    }

    #[test]
    fn clocks_that_differ_are_events_by_the_same_table() {
        let skew = |apart| Notice::ClockSkew {
            offset: SignedDuration::from_mins(-10),
            apart,
        };
        for (notice, reason, words) in [
            (
                skew(true),
                "SignerClockSkew",
                "clock is 10m behind that of the controllers; dates in",
            ),
            (
                Notice::CleaningSkipped {
                    offset: Some(SignedDuration::from_mins(-10)),
                },
                "ClockSkewDetected",
                "ages mean nothing: the API server's clock is 10m behind",
            ),
            (
                Notice::CleaningSkipped { offset: None },
                "ClockSkewDetected",
                "our clock was just set",
            ),
        ] {
            let event = of(&notice).unwrap();
            assert_eq!(event["reason"], reason);
            let message = event["message"].as_str().unwrap();
            assert!(message.contains(words), "{message}");
        }
        assert_eq!(of(&skew(false)), None);
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_origin(Duration::from_secs(seconds))
    }

    #[test]
    fn the_same_is_said_once_in_ten_minutes_and_counted() {
        let mut spacing = Spacing::default();
        assert_eq!(spacing.admit("A", "n1", at(0)), Some(1));
        for second in 1..600 {
            assert_eq!(spacing.admit("A", "n1", at(second)), None);
        }
        assert_eq!(spacing.admit("B", "n1", at(5)), Some(1));
        assert_eq!(spacing.admit("A", "n1", at(600)), Some(600));
    }

    #[test]
    fn fifty_thousand_in_trouble_are_no_storm() {
        let mut spacing = Spacing::default();
        let said = |spacing: &mut Spacing, at| {
            let all = (0..50_000).map(|number| spacing.admit("A", &number.to_string(), at));
            all.filter(Option::is_some).count()
        };
        assert_eq!(said(&mut spacing, at(0)), 25);
        assert_eq!(said(&mut spacing, at(60)), 6);
    }
}
