//! kube-apiserver-serving-clustertrustbundle-publisher-controller: the CA of the API server as a
//! ClusterTrustBundle, for pods that mount it; likewise the CAs of our own signers, if asked to.
//!
//! The rules of kubernetes 1.37
//! `pkg/controller/certificates/clustertrustbundlepublisher/publisher.go`: a bundle's name is made
//! of its text; the right one is made first, then every other one of that signer is deleted. What
//! is more: the CA may change while it runs, the API may come and go, and whoever publishes other
//! bundles for the same signer is contradicted only so often.

use super::cache::Cache;
use super::root_ca::Bundle;
use super::{Kept, Moment, Reply, Rules, Verdict, Watched};
use crate::call::{Answer, Call, CallError, parse, segment};
use crate::follower::Delta;
use crate::issuance::{hex, sha256};
use crate::queue::Outcome;
use everleaf_api::meta;
use everleaf_time::Monotonic;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The signer of the API server's certificates.
pub const API_SERVER: &str = "kubernetes.io/kube-apiserver-serving";
/// Bytes of the hash that end a name.
const HASH_BYTES: usize = 12;
/// Shortest time between two corrections for one signer.
const CORRECTION_PAUSE: Duration = Duration::from_secs(10);

/// What the bundle of a signer is called that has this text.
pub fn bundle_name(signer: &str, text: &str) -> String {
    let hash = hex(&sha256(text.as_bytes())[..HASH_BYTES]);
    format!("{}{hash}", prefix(signer))
}

/// What the names of a signer's bundles begin with: the API server takes no others.
fn prefix(signer: &str) -> String {
    format!("{}:", signer.replace('/', ":"))
}

/// The work on one signer.
#[derive(Clone, Debug)]
struct Turn {
    begun: Monotonic,
    /// The bundle that is being deleted, if one is.
    deletes: Option<String>,
}

/// See the module documentation.
#[derive(Debug)]
pub struct TrustBundlePublisher {
    /// Path of the group in the version that the server has them in; "": in none.
    api: &'static str,
    /// By signer.
    bundles: BTreeMap<String, Bundle>,
    /// When something was written for each; only what is still of interest.
    corrected: BTreeMap<String, Monotonic>,
    published: Cache<Value>,
    told_absent: bool,
    /// The work in hand.
    turn: Option<Turn>,
}

impl TrustBundlePublisher {
    /// Publishes these, by signer.
    pub fn new(bundles: BTreeMap<String, Bundle>) -> Self {
        Self {
            api: "",
            bundles,
            corrected: BTreeMap::new(),
            published: Cache::default(),
            told_absent: false,
            turn: None,
        }
    }

    /// The next call about a signer, and the bundle that it deletes, if it does.
    fn next(&self, signer: &str) -> Option<(Call, Option<String>)> {
        let text = self.bundles.get(signer)?.current();
        let name = bundle_name(signer, &text);
        let all = format!("{}/clustertrustbundles", self.api);
        let Some(stored) = self.published.get(&name) else {
            let object = json!({
                "apiVersion": self.api.trim_start_matches("/apis/"),
                "kind": "ClusterTrustBundle",
                "metadata": {"name": name},
                "spec": {"signerName": signer, "trustBundle": &*text},
            });
            return Some((Call::new(Method::POST, all, Some(object)), None));
        };
        if stored["spec"]["trustBundle"] != *text {
            let mut object = stored.clone();
            // The items of a list do not say what they are.
            object["apiVersion"] = self.api.trim_start_matches("/apis/").into();
            object["kind"] = "ClusterTrustBundle".into();
            object["spec"]["trustBundle"] = (&*text).into();
            let path = format!("{all}/{}", segment(&name));
            return Some((Call::new(Method::PUT, path, Some(object)), None));
        }
        let is_other = |(other, object): &(&String, &Value)| {
            **other != name && object["spec"]["signerName"] == signer
        };
        let (other, object) = self.published.iter().find(is_other)?;
        // Only if it is still the one that was seen.
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {
                "uid": meta::uid(object), "resourceVersion": meta::resource_version(object),
            },
        });
        let path = format!("{all}/{}", segment(other));
        let call = Call::new(Method::DELETE, path, Some(options));
        Some((call, Some(other.clone())))
    }

    /// Ends the work on a signer.
    fn synced(&mut self, signer: &str, error: Option<&CallError>, now: Monotonic) -> Kept {
        let begun = self.turn.take().map_or(now, |turn| turn.begun);
        Kept::TrustBundleSynced {
            signer: signer.to_owned(),
            code: super::ca_publisher::code(error),
            took: now.since(begun),
        }
    }
}

impl Rules for TrustBundlePublisher {
    fn title(&self) -> &'static str {
        "ClusterTrustBundle CA cert publisher"
    }

    fn queue_name(&self) -> &'static str {
        "ca_cert_publisher_cluster_trust_bundles"
    }

    fn watches(&self) -> &'static [Watched] {
        &[Watched::TrustBundles]
    }

    fn take(&mut self, _: Watched, delta: Delta) -> Vec<String> {
        if let Delta::Served(api) = delta {
            self.api = api;
            return self.keys();
        }
        let is_ours = |object: &Value| {
            let signer = object["spec"]["signerName"].as_str();
            signer.is_some_and(|signer| self.bundles.contains_key(signer))
        };
        let seen = self
            .published
            .take(delta, |object| Some(object).filter(is_ours));
        let concerns = |signer: &&String| seen.iter().any(|name| name.starts_with(&prefix(signer)));
        let signers = self.bundles.keys().filter(concerns);
        signers.cloned().collect()
    }

    fn is_synced(&self) -> bool {
        self.published.is_synced()
    }

    fn keys(&self) -> Vec<String> {
        self.bundles.keys().cloned().collect()
    }

    fn judge(&mut self, signer: &str, moment: Moment, told: &mut Vec<Kept>) -> Verdict {
        if self.api.is_empty() {
            if !std::mem::replace(&mut self.told_absent, true) {
                told.push(Kept::TrustBundlesAbsent);
            }
            return Verdict::Done(Outcome::Finished);
        }
        self.told_absent = false;
        let now = moment.now.monotonic;
        let Some((call, deletes)) = self.next(signer) else {
            told.push(self.synced(signer, None, now));
            return Verdict::Done(Outcome::Finished);
        };
        self.corrected
            .retain(|_, at| now.since(*at) < CORRECTION_PAUSE);
        if let Some(at) = self.corrected.get(signer).filter(|_| self.turn.is_none()) {
            let wait = CORRECTION_PAUSE.saturating_sub(now.since(*at));
            return Verdict::Done(Outcome::After(wait));
        }
        let begun = self.turn.take().map_or(now, |turn| turn.begun);
        self.turn = Some(Turn { begun, deletes });
        Verdict::Call(call)
    }

    fn answered(
        &mut self,
        signer: &str,
        answer: &Answer,
        moment: Moment,
        told: &mut Vec<Kept>,
    ) -> Reply {
        let now = moment.now.monotonic;
        let deleted = self.turn.as_mut().and_then(|turn| turn.deletes.take());
        let seen = match (answer, deleted) {
            (Ok(_), Some(name)) => Delta::Deleted(name),
            (Err(error), Some(name)) if error.code() == 404 => Delta::Deleted(name),
            (Ok(bytes), None) => match parse(bytes) {
                Ok(stored) => Delta::Put(stored),
                Err(_) => return Reply::Done(Outcome::FAILED),
            },
            (Err(error), _) => {
                told.push(self.synced(signer, Some(error), now));
                // What is there now will be seen.
                if error.code() != 409 {
                    let rights = "it needs create, update and delete on clustertrustbundles and attest on the signer: \
                                  see the ClusterRole system:controller:kube-apiserver-serving-clustertrustbundle-publisher";
                    told.push(Kept::TrustBundleFailed {
                        signer: signer.to_owned(),
                        error: error.advised(rights),
                    });
                }
                let at_least = error.retry_after();
                return Reply::Done(Outcome::Failed { at_least });
            }
        };
        self.published.take(seen, Some);
        self.corrected.insert(signer.to_owned(), now);
        Reply::Again
    }
}
