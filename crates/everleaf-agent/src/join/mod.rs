//! How a machine that knows a token and a hash learns whom to trust to be the API server.
//!
//! The rules are kubeadm's (`cmd/kubeadm/app/discovery/token/token.go`): whoever answers is asked,
//! as nobody, for the ConfigMap `kube-public/cluster-info`; what it says is believed when it is
//! signed with the token's secret and holds an authority whose public key has the given hash. Then
//! it is asked for once more, by a server that proves to have a certificate of that authority.
//! Stricter than kubeadm in one point: only the authorities that are pinned count in that proof, so
//! that somebody who has the token alone cannot slip another one in.
//!
//! The token is sent to nobody here. Nothing is written: that is the caller's.

mod announced;
mod pin;
mod token;

#[cfg(test)]
mod tests;

pub use announced::{Announced, DiscoveryError};
pub use pin::CaPin;
pub use token::BootstrapToken;

use crate::client::access::{Access, Identity};
use crate::client::{ApiClient, Failure, FailureClass};
use crate::kubeconfig::{Cluster, ServerUrl, Source, Trust};
use crate::secret::Secret;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// The ConfigMap that everybody may read.
const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
/// Pause before what may come yet is asked for again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// What a person carried from the cluster to the machine that is to join.
#[derive(Debug)]
pub struct Invitation {
    /// Where the API server is.
    pub server: ServerUrl,
    /// The token that new nodes are let in with.
    pub token: BootstrapToken,
    /// Public keys of its authority; one of them has to be there.
    pub pins: Vec<CaPin>,
}

impl Invitation {
    /// Asks for the cluster's authorities, for at most `patience`: a server may be about to start,
    /// and a token that was just made is signed for a moment later. `tell` hears once what it waits
    /// for.
    ///
    /// # Errors
    /// What cannot come right by itself at once, anything else when the patience is over.
    pub async fn discover(
        &self,
        client: &ApiClient,
        patience: Duration,
        mut tell: impl FnMut(&DiscoveryError),
    ) -> Result<Announced, DiscoveryError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut is_told = false;
        loop {
            let error = match self.discover_once(client).await {
                Ok(announced) => return Ok(announced),
                Err(error) => error,
            };
            if !error.may_pass() || tokio::time::Instant::now() + RETRY_INTERVAL > deadline {
                return Err(error);
            }
            if !std::mem::replace(&mut is_told, true) {
                tell(&error);
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    async fn discover_once(&self, client: &ApiClient) -> Result<Announced, DiscoveryError> {
        // Whoever answers: nothing is sent that is secret, and nothing is believed yet.
        let told = self
            .cluster_info(&client.fresh(), Trust::DangerouslyAnybody)
            .await?;
        let told = Announced::read(&told, &self.token)?;
        let pinned = told.pinned(&self.pins)?;
        let trust = Trust::Bundle(Source::Inline(Secret::new(pinned)));
        let proven = self.cluster_info(&client.fresh(), trust).await?;
        let proven = Announced::read(&proven, &self.token)?;
        match proven == told {
            true => Ok(proven),
            false => Err(DiscoveryError::Changed),
        }
    }

    async fn cluster_info(
        &self,
        client: &ApiClient,
        trust: Trust,
    ) -> Result<Value, DiscoveryError> {
        let is_proven = !matches!(trust, Trust::DangerouslyAnybody);
        let cluster = Cluster {
            server: self.server.clone(),
            trust,
            tls_server_name: None,
            proxy: None,
        };
        let access = Access::new(Arc::new(cluster), Identity::Anonymous);
        let answer = client.get(&access, CLUSTER_INFO).await;
        answer
            .map(|answer| answer.object)
            .map_err(|failure| self.refusal(failure, is_proven))
    }

    fn refusal(&self, failure: Failure, is_proven: bool) -> DiscoveryError {
        match failure.class {
            FailureClass::NotFound => DiscoveryError::NoClusterInfo,
            FailureClass::Unauthorized | FailureClass::Forbidden => {
                DiscoveryError::Hidden(failure.message)
            }
            FailureClass::Unreachable | FailureClass::ServerCertificateDates if is_proven => {
                DiscoveryError::NotProven(failure.message)
            }
            _ => DiscoveryError::Unreachable(failure.message),
        }
    }
}
