//! The cluster of `up`, for a roll: its store, its issuance log, and the authority that is put in
//! force.

use super::authority::{self, Authority, CA_NAME, Wanted, begin_at, ca_not_after};
use super::data_dir::DataDir;
use super::kubeconfigs;
use super::ledger::{Ledger, Made};
use super::roll_log::{Accepted, logged};
use super::rolling::{Cluster, Enforced, Rolling, announce};
use super::shared;
use anyhow::{Context, Result, anyhow};
use everleaf_api::authorities::{Announcement, LEASE_NAMESPACE, Word};
use everleaf_api::revocation::{self, Revocations};
use everleaf_apiserver::handler::Server;
use everleaf_apiserver::serve::ServingCertificate;
use everleaf_controllers::issuers::SharedIssuer;
use everleaf_controllers::roll::{Fleet, Roll, Start};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// What a roll of `up` is carried out with.
pub(super) struct Own {
    pub(super) dir: Arc<DataDir>,
    pub(super) api: Arc<Server>,
    /// What the API server's certificate says.
    pub(super) wanted: Wanted,
    /// How others reach the API server.
    pub(super) public_url: String,
    /// Signs for nodes.
    pub(super) issuer: SharedIssuer,
    /// The API server's.
    pub(super) serving: Arc<ServingCertificate>,
    /// The issuance log.
    pub(super) log: PathBuf,
    /// Whether other servers may have the same objects.
    pub(super) is_shared: bool,
}

impl Own {
    /// Ready to roll; nodes are told what is in force.
    pub(super) async fn rolling(
        self,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<Rolling<Self>> {
        if let Some(announcement) = &authority.announcement {
            announce(&self, announcement, now).await?;
        }
        Ok(Rolling {
            dir: Arc::clone(&self.dir),
            cluster: self,
        })
    }
}

impl Cluster for Own {
    type InForce = Authority;
    const IS_OTHERS: bool = false;
    const FACTS_INTERVAL: SignedDuration = SignedDuration::from_secs(4);

    fn announcement(authority: &Authority) -> Option<&Announcement> {
        authority.announcement.as_ref()
    }

    async fn get(
        &self,
        resource: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>> {
        let stored = self.api.objects().get(resource, namespace, name);
        Ok(stored.map(|stored| Value::clone(&stored.object())))
    }

    async fn put(&self, resource: &'static str, object: Value, now: Timestamp) -> Result<()> {
        let key = everleaf_api::meta::key(&object);
        let written = self.api.put(resource, object, now).await;
        written
            .map(drop)
            .map_err(|why| anyhow!("cannot write {resource} {key}: {why}"))
    }

    fn no_roll(&self) -> Option<&'static str> {
        self.is_shared.then_some(shared::NO_ROLL)
    }

    fn prepare(&self, start: Start, now: Timestamp) -> Result<Roll> {
        let made = Made {
            base_name: CA_NAME,
            kind: self.wanted.key_algorithm,
            begin: begin_at(now),
            end: ca_not_after(self.wanted.signing_duration, now),
        };
        Ledger::prepare(&self.dir, &self.issuer.current(), &made, start, now)
    }

    /// Who has certificates, by the issuance log; what nodes say, by their Leases; where kubelets
    /// run, by their Nodes.
    async fn fleet(&self, roll: &Roll, now: Timestamp) -> Result<Fleet> {
        let objects = self.api.objects();
        let revoked = objects.get("configmaps", revocation::NAMESPACE, revocation::NAME);
        let revoked = revoked.map(|stored| Revocations::of_config_map(&stored.object()));
        let accepted = Accepted {
            goes: roll.from.key_id.clone(),
            comes: roll.to.key_id.clone(),
            revoked: revoked.unwrap_or_default(),
        };
        let log = self.log.clone();
        let read = tokio::task::spawn_blocking(move || logged(&log, &accepted, now));
        let mut fleet = read.await.context("reading the issuance log")??;
        for stored in objects.list("nodes", None) {
            fleet.take_node(&stored.object());
        }
        for stored in objects.list("leases", Some(LEASE_NAMESPACE)) {
            if let Some(holder) = fleet.nodes.get_mut(&*stored.name) {
                holder.word = Word::of_lease(&stored.object());
            }
        }
        Ok(fleet)
    }

    async fn enforce(&self, _ledger: &Ledger, now: Timestamp) -> Result<Enforced<Authority>> {
        let authority = authority::ensure(&self.dir, &self.wanted, now)?;
        // First who is believed, then what is signed; who is told last finds both.
        let authenticator = self.api.authenticator();
        authenticator.set_client_ca(authority.ca_pem.as_bytes())?;
        self.api.install(now).await?;
        kubeconfigs::publish(&self.api, &self.public_url, &authority.ca_pem, now).await?;
        let chain = authority.server.chain().to_pem();
        let key = authority.server.key().to_pem();
        self.serving.replace(chain.as_bytes(), key.as_bytes())?;
        self.issuer.replace(Arc::clone(&authority.issuer));
        Ok(Enforced {
            in_force: Arc::new(authority),
            lacks: Vec::new(),
        })
    }
}
