//! The certificate revocation list: what was revoked ([`everleaf_api::revocation`]), signed by the
//! CA that signs for nodes, for whoever judges certificates without asking the API server.
//!
//! It is made anew when something is revoked, and otherwise a day after the last one, six days
//! before that says that it ends: a list that is late makes others refuse good certificates.

use super::cache::Cache;
use super::{Kept, LOOK_INTERVAL, Moment, Reply, Rules, Verdict, Watched};
use crate::call::{Answer, Call, parse};
use crate::follower::Delta;
use crate::issuance::{hex, sha256};
use crate::issuers::SharedIssuer;
use crate::queue::Outcome;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_api::meta;
use everleaf_api::revocation::{
    LIST_DER, LIST_NAME, LIST_NAMESPACE, LIST_PEM, NAME, NAMESPACE, Revocations, Target,
};
use everleaf_pki::Serial;
use everleaf_pki::issuer::Revoked;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

/// For how long a list is good.
const VALID: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Age at which the next one is made.
const RENEWED_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// How far `thisUpdate` lies back, for clocks that are behind, as in certificates.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// For how long an ended certificate stays in the list: each one is in a list that was made after
/// its end (RFC 5280 3.3).
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Tells that a list was changed by somebody else.
const CONTENT_DIGEST: &str = "contentDigest";
/// The one thing in the queue.
const KEY: &str = "revocation list";

/// See the module documentation.
pub struct RevocationListPublisher {
    issuer: SharedIssuer,
    revocations: Cache<Value>,
    published: Cache<Value>,
    /// Certificates in what is being written.
    writing: usize,
}

impl RevocationListPublisher {
    /// Signs with this CA.
    pub fn new(issuer: SharedIssuer) -> Self {
        Self {
            issuer,
            revocations: Cache::default(),
            published: Cache::default(),
            writing: 0,
        }
    }

    /// Sorted by serial number.
    fn revoked(&self, now: Timestamp) -> Vec<Revoked> {
        let object = self.revocations.get(&format!("{NAMESPACE}/{NAME}"));
        let all = object.map(Revocations::of_config_map).unwrap_or_default();
        let kept = |until: Timestamp| until.checked_add(KEPT).is_ok_and(|last| last < now);
        let entries = all.iter().filter_map(|(target, entry)| {
            let Target::Serial(serial) = target else {
                return None;
            };
            (!entry.until.is_some_and(kept)).then_some(Revoked {
                serial: Serial::new(&bytes_of(serial)?),
                at: entry.at.unwrap_or(now),
                reason: entry.reason.number(),
            })
        });
        entries.collect()
    }
}

/// A serial number of at most 20 octets (RFC 5280 4.1.2.2).
fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let padded = format!("{}{hex}", if hex.len() % 2 == 1 { "0" } else { "" });
    let is_hex = padded.bytes().all(|byte| byte.is_ascii_hexdigit());
    if padded.is_empty() || padded.len() > 40 || !is_hex {
        return None;
    }
    let pairs = (0..padded.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(padded.get(at..at + 2)?, 16).ok())
        .collect()
}

/// What a list is made of, apart from its dates: it is not signed again for nothing.
fn digest(ca: &[u8], revoked: &[Revoked]) -> String {
    let entries = revoked
        .iter()
        .map(|one| format!("{} {}\n", one.serial, one.reason));
    let text = entries.collect::<String>();
    hex(&sha256(&[ca, text.as_bytes()].concat()))
}

/// What a published list says of itself.
#[derive(Default)]
struct Published<'a> {
    /// When it was made; none if it is not as it was written: somebody changed it.
    since: Option<Timestamp>,
    number: u64,
    /// What it is made of.
    digest: &'a str,
}

impl<'a> Published<'a> {
    fn read(object: &'a Value) -> Self {
        let word = |key: &str| object["data"][key].as_str().unwrap_or_default();
        let der = object["binaryData"][LIST_DER].as_str().unwrap_or_default();
        let is_whole = word(CONTENT_DIGEST) == content_digest(word(LIST_PEM), der);
        Self {
            since: meta::parse_time(word("thisUpdate")).filter(|_| is_whole),
            number: word("number").parse().unwrap_or_default(),
            digest: word("digest"),
        }
    }

    /// A list's number grows (RFC 5280 5.2.3), also when the one before was deleted: it is the time
    /// in seconds where that is more.
    fn next_number(&self, now: Timestamp) -> u64 {
        let time = u64::try_from(now.as_second()).unwrap_or_default();
        self.number.saturating_add(1).max(time)
    }
}

/// Of both forms of a list.
fn content_digest(pem: &str, der: &str) -> String {
    hex(&sha256(&[pem.as_bytes(), der.as_bytes()].concat()))
}

impl Rules for RevocationListPublisher {
    fn title(&self) -> &'static str {
        "certificate revocation list publisher"
    }

    fn queue_name(&self) -> &'static str {
        "certificate_revocation_list_publisher"
    }

    fn watches(&self) -> &'static [Watched] {
        &[Watched::Revocations, Watched::RevocationList]
    }

    fn take(&mut self, watched: Watched, delta: Delta) -> Vec<String> {
        let keys = match watched {
            Watched::Revocations => self.revocations.take(delta, Some),
            _ => self.published.take(delta, Some),
        };
        let concerns = keys.first().map(|_| KEY.to_owned());
        concerns.into_iter().collect()
    }

    fn is_synced(&self) -> bool {
        self.revocations.is_synced() && self.published.is_synced()
    }

    fn keys(&self) -> Vec<String> {
        vec![KEY.to_owned()]
    }

    fn may_block(&self) -> bool {
        self.issuer.current().signs_elsewhere()
    }

    fn judge(&mut self, _: &str, moment: Moment, told: &mut Vec<Kept>) -> Verdict {
        let now = moment.server();
        let issuer = self.issuer.current();
        let revoked = self.revoked(now);
        let digest = digest(issuer.certificate().der(), &revoked);
        let published = self.published.get(&format!("{LIST_NAMESPACE}/{LIST_NAME}"));
        let standing = published.map(Published::read).unwrap_or_default();
        // A list from the future was made by a clock that was ahead.
        let age = standing.since.map(|since| now.duration_since(since));
        let is_fresh = age.is_some_and(|age| !age.is_negative() && age < RENEWED_AFTER);
        if is_fresh && standing.digest == digest {
            return Verdict::Done(Outcome::After(LOOK_INTERVAL));
        }
        let begin = now.checked_sub(BACKDATE).unwrap_or(now);
        let end = now.checked_add(VALID).unwrap_or(Timestamp::MAX);
        let number = standing.next_number(now);
        let list = match issuer.revocation_list(&revoked, number, (begin, end)) {
            Ok(list) => list,
            Err(error) => {
                let error = error.to_string();
                told.push(Kept::RevocationListFailed { error });
                return Verdict::Done(Outcome::Failed {
                    at_least: Duration::from_secs(60),
                });
            }
        };
        self.writing = revoked.len();
        let mut object = published.cloned().unwrap_or_else(
            || json!({"metadata": {"name": LIST_NAME, "namespace": LIST_NAMESPACE}}),
        );
        // The items of a list do not say what they are.
        object["apiVersion"] = "v1".into();
        object["kind"] = "ConfigMap".into();
        let (pem, der) = (list.to_pem(), STANDARD.encode(list.der()));
        object["data"] = json!({
            CONTENT_DIGEST: content_digest(&pem, &der),
            LIST_PEM: pem,
            "digest": digest,
            "nextUpdate": meta::format_time(end),
            "number": number.to_string(),
            "thisUpdate": meta::format_time(now),
        });
        object["binaryData"] = json!({LIST_DER: der});
        let path = format!("/api/v1/namespaces/{LIST_NAMESPACE}/configmaps");
        Verdict::Call(match published {
            None => Call::new(Method::POST, path, Some(object)),
            Some(_) => Call::new(Method::PUT, format!("{path}/{LIST_NAME}"), Some(object)),
        })
    }

    fn answered(&mut self, _: &str, answer: &Answer, _: Moment, told: &mut Vec<Kept>) -> Reply {
        let error = match answer {
            Ok(bytes) => {
                let key = format!("{LIST_NAMESPACE}/{LIST_NAME}");
                let stored = parse(bytes).ok().filter(|one| meta::key(one) == key);
                if let Some(stored) = stored {
                    self.published.take(Delta::Put(stored), Some);
                }
                let revoked = self.writing;
                told.push(Kept::RevocationListPublished { revoked });
                return Reply::Done(Outcome::After(LOOK_INTERVAL));
            }
            Err(error) => error,
        };
        // What is there now will be seen.
        if error.code() != 409 {
            let error = error.advised(RIGHTS);
            told.push(Kept::RevocationListFailed { error });
        }
        Reply::Done(Outcome::Failed {
            at_least: error.retry_after(),
        })
    }
}

/// What is needed.
const RIGHTS: &str = "it needs create on configmaps in the namespace kube-public, and update on everleaf-revocation-list there: see \
     docs/revoke.md";
