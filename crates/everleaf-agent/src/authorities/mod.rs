//! The cluster's CAs while they are replaced: looked up now and then
//! ([`everleaf_api::authorities`]), taken into the kubeconfig, and answered.
//!
//! Owns when to look, the trial before anything is written, and what is said about this node. Whom
//! to trust is [`judge`]'s. A cluster that announces nothing costs one request per look.

mod judge;

use crate::client::access::{Access, Identity};
use crate::client::{ApiClient, Failure, FailureClass};
use crate::kubeconfig::{Cluster, Source, Trust};
use crate::secret::Secret;
use everleaf_api::authorities::{Announcement, LEASE_NAMESPACE, NAME, NAMESPACE, WORD};
use everleaf_pki::{Chain, Fingerprint, Leaf};
use everleaf_rotation::{Monotonic, NAP_MAX};
use futures_util::future::{BoxFuture, FutureExt};
use jiff::Timestamp;
use serde_json::json;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Between two looks, unless another interval is given.
pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// What was said is said again after this, in case the Lease was made anew.
const SAID_MAX: Duration = Duration::from_secs(60 * 60);

/// What a look brought, or saying something.
pub(crate) enum Done {
    Looked(Result<Looked, Failure>),
    Said(Result<String, Failure>),
}

impl Done {
    /// Whether the server does not take this node's credential any more: nobody may ask it for
    /// anything else for months.
    pub(crate) fn is_refused(&self) -> bool {
        let failure = match self {
            Self::Looked(looked) => looked.as_ref().err(),
            Self::Said(said) => said.as_ref().err(),
        };
        failure.is_some_and(|failure| failure.class == FailureClass::Unauthorized)
    }
}

/// What is announced, and what follows for the kubeconfig.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    announcement: Option<Announcement>,
    /// The CAs that the kubeconfig is to hold, PEM: they were tried.
    bundle: Option<String>,
    strangers: Vec<String>,
}

/// What was announced last, and when to look again.
pub(crate) struct AuthorityBook {
    /// `None`: never.
    interval: Option<Duration>,
    look_at: Monotonic,
    doing: Option<BoxFuture<'static, Done>>,
    announced: Option<Announcement>,
    /// What this node said last, and when.
    said: Option<(String, Monotonic)>,
    /// Nothing is said before the next look, since saying failed.
    is_hushed: bool,
    /// The last trouble that was told, so that it is told once.
    told: Option<String>,
}

impl AuthorityBook {
    /// The first look is somewhere in the first interval, by the node's name: a fleet that starts
    /// at once does not look at once.
    pub(crate) fn new(interval: Option<Duration>, node_name: &str, now: Monotonic) -> Self {
        let mut hasher = DefaultHasher::new();
        node_name.hash(&mut hasher);
        let place = u32::try_from(hasher.finish() >> 40).unwrap_or(0);
        let first = interval
            .unwrap_or(NAP_MAX)
            .mul_f64(f64::from(place) / f64::from(1 << 24));
        Self {
            interval,
            look_at: now + first,
            doing: None,
            announced: None,
            said: None,
            is_hushed: false,
            told: None,
        }
    }

    /// Begins what is due: a look, or saying what has changed since the last time.
    pub(crate) fn begin(
        &mut self,
        client: &ApiClient,
        access: Option<Access>,
        node_name: &str,
        serving: Option<&Leaf>,
        now: Monotonic,
    ) {
        let (Some(interval), Some(access)) = (self.interval, access) else {
            return;
        };
        if self.doing.is_some() {
            return;
        }
        let client = client.clone();
        if self.look_at <= now {
            self.look_at = now + interval;
            self.is_hushed = false;
            self.doing = Some(look(client, access).map(Done::Looked).boxed());
            return;
        }
        let Some(announced) = self.announced.as_ref().filter(|_| !self.is_hushed) else {
            return;
        };
        let own = match &access.identity {
            Identity::Certificate(presented) => Some(presented.leaf().clone()),
            _ => None,
        };
        let in_use = [("client", own.as_ref()), ("serving", serving)];
        let in_use = in_use
            .into_iter()
            .filter_map(|(name, leaf)| Some((name, leaf?)));
        let text = judge::word(&announced.epoch, &trusted(&access.cluster), in_use).to_text();
        let is_said = |(said, at): &(String, Monotonic)| *said == text && now.since(*at) < SAID_MAX;
        if !self.said.as_ref().is_some_and(is_said) {
            // Should it fail, it is tried again with the next look.
            self.said = Some((text.clone(), now));
            let name = node_name.to_owned();
            let saying = async move { say(&client, &access, &name, text).await };
            self.doing = Some(saying.map(Done::Said).boxed());
        }
    }

    /// What was begun, when it ends; never, if nothing was. Cancel safe.
    pub(crate) async fn done(&mut self) -> Done {
        match &mut self.doing {
            Some(doing) => {
                let done = doing.await;
                self.doing = None;
                done
            }
            None => std::future::pending().await,
        }
    }

    /// How long until the next look.
    pub(crate) fn nap(&self, now: Monotonic) -> Duration {
        match self.interval {
            Some(_) if self.doing.is_none() => self.look_at.since(now),
            _ => NAP_MAX,
        }
    }

    /// Takes in what was done. Returns the CAs that the kubeconfig is to hold from now on, PEM, if
    /// they are others.
    pub(crate) fn take(&mut self, done: Done) -> Option<String> {
        let looked = match done {
            Done::Said(Ok(text)) => {
                tracing::info!(
                    "the cluster was told which CAs this node trusts, and of which its certificates are"
                );
                tracing::debug!(word = text, "what was told");
                return None;
            }
            Done::Looked(Ok(looked)) => looked,
            Done::Said(Err(failure)) => {
                self.said = None;
                self.is_hushed = true;
                self.tell(format!(
                    "this node cannot say which CAs it trusts: {failure}"
                ));
                return None;
            }
            Done::Looked(Err(failure)) => {
                tracing::debug!(error = %failure, "the cluster's CAs cannot be looked up now");
                return None;
            }
        };
        if !looked.strangers.is_empty() {
            let names = looked.strangers.join(", ");
            self.tell(format!(
                "kube-public/{NAME} announces CAs that no CA vouches for which this node trusts: {names}; they are not trusted. If they \
                 are right, put them into the kubeconfig"
            ));
        }
        self.announced = looked.announcement;
        looked.bundle
    }

    /// Tells trouble once.
    pub(crate) fn tell(&mut self, trouble: String) {
        if self.told.as_ref() != Some(&trouble) {
            tracing::warn!("{trouble}");
            self.told = Some(trouble);
        }
    }

    /// When a certificate in use is to be renewed for its CA's sake.
    pub(crate) fn early(&self, leaf: &Leaf, cluster: &Cluster) -> Option<(Fingerprint, Timestamp)> {
        judge::early(leaf, &trusted(cluster), self.announced.as_ref()?)
    }
}

/// The CAs by which this cluster's servers are known.
fn trusted(cluster: &Cluster) -> Vec<Leaf> {
    let Trust::Bundle(source) = &cluster.trust else {
        return Vec::new();
    };
    let read = source.read();
    read.map_or_else(|_| Vec::new(), |text| judge::certificates(text.expose()))
}

/// Asks what is announced; tries what is to be trusted from now on, before anybody relies on it.
async fn look(client: ApiClient, access: Access) -> Result<Looked, Failure> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}");
    let announced = match client.get(&access, &path).await {
        Ok(answer) => Announcement::of_config_map(&answer.object),
        Err(failure)
            if matches!(
                failure.class,
                FailureClass::NotFound | FailureClass::Forbidden
            ) =>
        {
            None
        }
        Err(failure) => return Err(failure),
    };
    let Some(announcement) = announced else {
        return Ok(Looked::default());
    };
    let before = trusted(&access.cluster);
    let verdict = judge::judge(&before, &announcement);
    let mut bundle = None;
    // A file beside the kubeconfig is somebody else's: it is read, not written.
    let is_ours = matches!(access.cluster.trust, Trust::Bundle(Source::Inline(_)));
    if is_ours
        && verdict.trusted != before
        && let Ok(chain) = Chain::new(verdict.trusted)
    {
        let text = chain.to_pem();
        let cluster = Cluster {
            trust: Trust::Bundle(Source::Inline(Secret::new(text.clone()))),
            ..(*access.cluster).clone()
        };
        let trial = Access {
            cluster: Arc::new(cluster),
            ..access
        };
        client.fresh().get(&trial, &path).await?;
        bundle = Some(text);
    }
    Ok(Looked {
        announcement: Some(announcement),
        bundle,
        strangers: verdict.strangers,
    })
}

/// Writes what this node says about itself into its Lease, making one where there is none.
async fn say(
    client: &ApiClient,
    access: &Access,
    node_name: &str,
    text: String,
) -> Result<String, Failure> {
    let all = format!("/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases");
    let annotated = json!({"metadata": {"annotations": {WORD: text}}});
    let own = format!("{all}/{node_name}");
    match client.merge(access, &own, &annotated).await {
        Ok(_) => Ok(text),
        Err(failure) if failure.class == FailureClass::NotFound => {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {
                    "name": node_name, "namespace": LEASE_NAMESPACE, "annotations": {WORD: text},
                },
                "spec": {"holderIdentity": node_name},
            });
            client.create(access, &all, &lease).await.map(|_| text)
        }
        Err(failure) => Err(failure),
    }
}
