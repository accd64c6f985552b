//! bootstrap-signer-controller: signs the ConfigMap by which nodes find a cluster that they want
//! to join, once for each bootstrap token.
//!
//! The rules of kubernetes 1.37 `pkg/controller/bootstrap/bootstrapsigner.go`; besides, a
//! signature ends with its token and not only when that is deleted, by the API server's clock,
//! which decides about the token, too; and a write that failed is tried again.

use super::cache::Cache;
use super::token::{Expiration, Token};
use super::{Kept, LOOK_INTERVAL, Moment, Reply, Rules, Verdict, Watched};
use crate::call::{Answer, Call, parse};
use crate::follower::Delta;
use crate::queue::Outcome;
use everleaf_api::meta;
use everleaf_pki::jws;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

const PATH: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
/// Its key among what was seen, and in the queue.
const KEY: &str = "kube-public/cluster-info";
/// What is signed.
const CONTENT: &str = "kubeconfig";
/// What the keys of signatures begin with; the token's id follows.
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

/// `data` as it should be; `None`: it is, or there is nothing to sign.
pub fn signed<'a>(
    data: &Map<String, Value>,
    tokens: impl Iterator<Item = &'a Token>,
    now: Timestamp,
) -> Option<Map<String, Value>> {
    let content = data.get(CONTENT)?.as_str()?;
    let mut wanted: Map<String, Value> = data
        .iter()
        .filter(|(key, _)| !key.starts_with(SIGNATURE_PREFIX))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for token in tokens.filter(|token| token.is_valid_for_signing(now)) {
        let signature = jws::detached(&token.id, token.secret.as_bytes(), content.as_bytes());
        wanted.insert(format!("{SIGNATURE_PREFIX}{}", token.id), signature.into());
    }
    (wanted != *data).then_some(wanted)
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct BootstrapSigner {
    cluster_info: Cache<Value>,
    tokens: Cache<Token>,
    /// Signatures in what is being written.
    writing: usize,
}

impl BootstrapSigner {
    /// How the wait for the next end of a token ends.
    fn until_next_end(&self, now: Timestamp) -> Outcome {
        let ends = self
            .tokens
            .iter()
            .filter_map(|(_, token)| match token.expiration {
                Expiration::At(end) if end > now => Some(now.duration_until(end)),
                _ => None,
            });
        let wait = ends.min().map(SignedDuration::unsigned_abs);
        wait.map_or(Outcome::Finished, |wait| {
            Outcome::After(wait.min(LOOK_INTERVAL))
        })
    }
}

impl Rules for BootstrapSigner {
    fn title(&self) -> &'static str {
        "bootstrap signer"
    }

    fn queue_name(&self) -> &'static str {
        "bootstrap_signer_queue"
    }

    fn watches(&self) -> &'static [Watched] {
        &[Watched::ClusterInfo, Watched::Tokens]
    }

    fn take(&mut self, watched: Watched, delta: Delta) -> Vec<String> {
        let keys = match watched {
            Watched::ClusterInfo => self.cluster_info.take(delta, Some),
            _ => self.tokens.take(delta, |object| Token::read(&object)),
        };
        let concerns = keys.first().map(|_| KEY.to_owned());
        concerns.into_iter().collect()
    }

    fn is_synced(&self) -> bool {
        self.cluster_info.is_synced() && self.tokens.is_synced()
    }

    fn keys(&self) -> Vec<String> {
        vec![KEY.to_owned()]
    }

    fn judge(&mut self, key: &str, moment: Moment, _: &mut Vec<Kept>) -> Verdict {
        let now = moment.server();
        let Some(object) = self.cluster_info.get(key) else {
            return Verdict::Done(Outcome::Finished);
        };
        let tokens = self.tokens.iter().map(|(_, token)| token);
        let data = object["data"].as_object();
        let Some(data) = data.and_then(|data| signed(data, tokens, now)) else {
            return Verdict::Done(self.until_next_end(now));
        };
        self.writing = data
            .keys()
            .filter(|key| key.starts_with(SIGNATURE_PREFIX))
            .count();
        let mut object = object.clone();
        // The items of a list do not say what they are.
        object["apiVersion"] = "v1".into();
        object["kind"] = "ConfigMap".into();
        object["data"] = data.into();
        Verdict::Call(Call::new(Method::PUT, PATH, Some(object)))
    }

    fn answered(
        &mut self,
        _: &str,
        answer: &Answer,
        moment: Moment,
        told: &mut Vec<Kept>,
    ) -> Reply {
        let error = match answer {
            Ok(bytes) => {
                let stored = parse(bytes).ok();
                if let Some(stored) = stored.filter(|stored| meta::key(stored) == KEY) {
                    self.cluster_info.take(Delta::Put(stored), Some);
                }
                told.push(Kept::ClusterInfoSigned {
                    signatures: self.writing,
                });
                return Reply::Done(self.until_next_end(moment.server()));
            }
            Err(error) => error,
        };
        // What is there now will be seen.
        if !matches!(error.code(), 404 | 409) {
            let rights = "it needs update on the configmap cluster-info in the namespace kube-public: see the Role \
                          system:controller:bootstrap-signer there";
            let error = error.advised(rights);
            told.push(Kept::ClusterInfoFailed { error });
        }
        let at_least = error.retry_after();
        Reply::Done(Outcome::Failed { at_least })
    }
}
