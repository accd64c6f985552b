//! root-ca-certificate-publisher-controller: the CA of the API server as a ConfigMap in every
//! namespace, for the pods there.
//!
//! The rules of kubernetes 1.37 `pkg/controller/certificates/rootcacertpublisher/publisher.go`;
//! besides, the CA may change while it runs, which is written at a bounded rate, and whoever
//! keeps writing another one into a namespace is contradicted only so often.

use super::cache::Cache;
use super::root_ca::Bundle;
use super::{Kept, Moment, Reply, Rules, Verdict, Watched};
use crate::bucket::{Rate, TokenBucket};
use crate::call::{Answer, Call, CallError, parse, segment};
use crate::follower::Delta;
use crate::queue::Outcome;
use everleaf_api::meta;
use everleaf_time::Monotonic;
use http::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION_KEY: &str = "kubernetes.io/description";
/// What the ConfigMap says of itself, as upstream.
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";
/// ConfigMaps that are corrected per second; new ones do not wait, since pods wait for them.
const UPDATES: Rate = Rate {
    per_second: 10.0,
    burst: 10,
};
/// Shortest time between two corrections of one ConfigMap.
const CORRECTION_PAUSE: Duration = Duration::from_secs(10);

/// See the module documentation.
#[derive(Debug)]
pub struct CaPublisher {
    bundle: Bundle,
    /// Whether each namespace is there to stay.
    namespaces: Cache<bool>,
    published: Cache<Value>,
    updates: TokenBucket,
    /// Namespaces whose turn to be corrected comes when they do.
    admitted: BTreeSet<String>,
    /// When each was corrected last; only what is still of interest.
    corrected: BTreeMap<String, Monotonic>,
    /// When the work on the namespace in hand began, and whether something is created for it.
    begun: (Monotonic, bool),
}

impl CaPublisher {
    /// Publishes this.
    pub fn new(bundle: Bundle) -> Self {
        Self {
            bundle,
            namespaces: Cache::default(),
            published: Cache::default(),
            updates: TokenBucket::new(UPDATES),
            admitted: BTreeSet::new(),
            corrected: BTreeMap::new(),
            begun: (Monotonic::default(), false),
        }
    }

    /// How long a correction has to wait; each call that answers with a wait has its turn after
    /// it.
    fn wait(&mut self, namespace: &str, now: Monotonic) -> Option<Duration> {
        self.corrected
            .retain(|_, at| now.since(*at) < CORRECTION_PAUSE);
        if let Some(at) = self.corrected.get(namespace) {
            return Some(CORRECTION_PAUSE.saturating_sub(now.since(*at)));
        }
        if self.admitted.remove(namespace) {
            return None;
        }
        let wait = self.updates.reserve(now);
        if wait.is_zero() {
            return None;
        }
        self.admitted.insert(namespace.to_owned());
        Some(wait)
    }

    fn synced(&self, namespace: &str, error: Option<&CallError>, now: Monotonic) -> Kept {
        Kept::RootCaSynced {
            namespace: namespace.to_owned(),
            code: code(error),
            took: now.since(self.begun.0),
        }
    }
}

/// The label of the metric: what upstream's does.
pub(super) fn code(error: Option<&CallError>) -> u16 {
    match error.map(CallError::code) {
        None => 200,
        Some(0) => 500,
        Some(code) => code,
    }
}

/// Whether nothing can be created any more, since the namespace goes or is gone.
fn is_namespace_gone(error: &CallError) -> bool {
    let CallError::Refused { status, .. } = error else {
        return false;
    };
    let causes = status.details.as_ref().map(|details| &details["causes"]);
    let mut causes = causes.and_then(Value::as_array).into_iter().flatten();
    status.code == 404 || causes.any(|cause| cause["reason"] == "NamespaceTerminating")
}

impl Rules for CaPublisher {
    fn title(&self) -> &'static str {
        "root CA cert publisher"
    }

    fn queue_name(&self) -> &'static str {
        "root_ca_cert_publisher"
    }

    fn watches(&self) -> &'static [Watched] {
        &[Watched::Namespaces, Watched::RootCas]
    }

    fn take(&mut self, watched: Watched, delta: Delta) -> Vec<String> {
        if watched == Watched::Namespaces {
            let is_active = |object: Value| Some(object["status"]["phase"] != "Terminating");
            return self.namespaces.take(delta, is_active);
        }
        let is_ours = |object: &Value| meta::name(object) == NAME;
        let keys = self
            .published
            .take(delta, |object| Some(object).filter(is_ours));
        let namespaces = keys.iter().filter_map(|key| {
            let (namespace, name) = key.split_once('/')?;
            (name == NAME).then(|| namespace.to_owned())
        });
        namespaces.collect()
    }

    fn is_synced(&self) -> bool {
        self.namespaces.is_synced() && self.published.is_synced()
    }

    fn keys(&self) -> Vec<String> {
        self.namespaces.iter().map(|(key, _)| key.clone()).collect()
    }

    fn judge(&mut self, namespace: &str, moment: Moment, told: &mut Vec<Kept>) -> Verdict {
        let now = moment.now.monotonic;
        self.begun = (now, false);
        if self.namespaces.get(namespace) != Some(&true) {
            return Verdict::Done(Outcome::Finished);
        }
        let path = format!("/api/v1/namespaces/{}/configmaps", segment(namespace));
        let data = json!({"ca.crt": &*self.bundle.current()});
        let Some(stored) = self.published.get(&format!("{namespace}/{NAME}")) else {
            self.begun.1 = true;
            let object = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": NAME, "annotations": {DESCRIPTION_KEY: DESCRIPTION}},
                "data": data,
            });
            return Verdict::Call(Call::new(Method::POST, path, Some(object)));
        };
        let is_described =
            meta::annotation(stored, DESCRIPTION_KEY).is_some_and(|text| !text.is_empty());
        if stored["data"] == data && is_described {
            told.push(self.synced(namespace, None, now));
            return Verdict::Done(Outcome::Finished);
        }
        let mut object = stored.clone();
        if let Some(wait) = self.wait(namespace, now) {
            return Verdict::Done(Outcome::After(wait));
        }
        // The items of a list do not say what they are.
        object["apiVersion"] = "v1".into();
        object["kind"] = "ConfigMap".into();
        object["data"] = data;
        let annotations = meta::metadata_mut(&mut object).entry("annotations");
        match annotations.or_insert_with(|| json!({})) {
            Value::Object(annotations) => {
                annotations.insert(DESCRIPTION_KEY.to_owned(), DESCRIPTION.into());
            }
            other => *other = json!({DESCRIPTION_KEY: DESCRIPTION}),
        }
        let path = format!("{path}/{NAME}");
        Verdict::Call(Call::new(Method::PUT, path, Some(object)))
    }

    fn answered(
        &mut self,
        namespace: &str,
        answer: &Answer,
        moment: Moment,
        told: &mut Vec<Kept>,
    ) -> Reply {
        let now = moment.now.monotonic;
        let is_create = self.begun.1;
        let error = match answer {
            Err(error) if is_create && is_namespace_gone(error) => {
                told.push(self.synced(namespace, None, now));
                return Reply::Done(Outcome::Finished);
            }
            Err(error) => error,
            Ok(bytes) => {
                let stored = parse(bytes).ok();
                let key = format!("{namespace}/{NAME}");
                if let Some(stored) = stored.filter(|stored| meta::key(stored) == key) {
                    self.published.take(Delta::Put(stored), Some);
                }
                if !is_create {
                    self.corrected.insert(namespace.to_owned(), now);
                }
                told.push(self.synced(namespace, None, now));
                return Reply::Done(Outcome::Finished);
            }
        };
        told.push(self.synced(namespace, Some(error), now));
        // What is there now will be seen.
        if error.code() != 409 {
            let rights = "it needs create and update on configmaps in every namespace: see the ClusterRole \
                          system:controller:root-ca-cert-publisher";
            told.push(Kept::RootCaFailed {
                namespace: namespace.to_owned(),
                error: error.advised(rights),
            });
        }
        let at_least = error.retry_after();
        Reply::Done(Outcome::Failed { at_least })
    }
}
