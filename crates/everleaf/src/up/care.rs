//! Care of the certificates that `up` issued to itself, and of the authority behind them.

use super::authority::Authority;
use super::clock;
use super::data_dir::DataDir;
use super::kubeconfigs;
use super::own::Own;
use super::rolling::{RollState, Rolling};
use anyhow::{Result, anyhow};
use everleaf_agent::Clock;
use everleaf_apiserver::handler::Server;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How often the certificates that we issue to ourselves are looked at; also whenever the clock is
/// set, where that is told.
const CARE_INTERVAL: Duration = Duration::from_secs(60);
/// How often it is looked whether the authority is to be replaced, and how far that has come.
const ROLL_INTERVAL: Duration = Duration::from_secs(2);

/// Watches over the certificates that we issued to ourselves, however long the process runs and
/// wherever its clock is set.
pub(super) struct Care {
    pub(super) dir: Arc<DataDir>,
    /// In force.
    pub(super) authority: Arc<Authority>,
    /// For `admin.conf`.
    pub(super) url: String,
    /// Accepts the token of `bootstrap-kubelet.conf`.
    pub(super) api: Arc<Server>,
    /// For `bootstrap-kubelet.conf`.
    pub(super) public_url: String,
    /// Until when its token is good.
    pub(super) bootstrap_until: Timestamp,
    /// Puts another authority in force.
    pub(super) rolling: Rolling<Own>,
    /// The last trouble that was told, so that it is told once.
    pub(super) told: Option<String>,
}

impl Care {
    /// Ends when the authority or the server's certificate is not valid by the clock as it stands:
    /// a start makes them again.
    pub(super) async fn run(mut self, clock: Arc<dyn Clock>) -> Result<()> {
        let mut listener = clock.listen();
        let mut roll = RollState::open(&self.dir)?;
        let mut look_at = clock.now().monotonic;
        loop {
            let now = clock.now();
            let turn = self
                .rolling
                .turn(&mut roll, Some(&*self.authority), now.wall);
            if let Some(authority) = turn.await {
                self.authority = authority;
                // What names authorities is written anew.
                self.bootstrap_until = Timestamp::MIN;
                look_at = now.monotonic;
            }
            if look_at <= now.monotonic {
                self.look(now.wall).await?;
                look_at = now.monotonic + CARE_INTERVAL;
            }
            let was_set = tokio::select! {
                () = tokio::time::sleep(ROLL_INTERVAL) => false,
                () = listener.changed() => true,
            };
            if was_set {
                look_at = clock.now().monotonic;
            }
        }
    }

    /// One look.
    async fn look(&mut self, now: Timestamp) -> Result<()> {
        let trouble = if now < clock::earliest() {
            // A start would refuse this clock, too. Nothing is signed meanwhile: the authority has
            // not begun.
            Some(format!(
                "this host's clock stands before {}: nothing is issued, and no certificate is accepted, until it is set right",
                clock::EARLIEST
            ))
        } else if let Some(why) = self.out_of_date(now) {
            return Err(anyhow!(
                "this host's clock says {now:.0}, and {why}: nobody could connect; start again, and it is made anew"
            ));
        } else {
            let admin = kubeconfigs::ensure_admin(&self.dir, &self.authority, &self.url, now);
            let failed = |what: &str, error: &anyhow::Error| {
                let error = crate::failure::chain(error);
                format!("{what} cannot be renewed: {error}")
            };
            let bootstrap = self.keep_bootstrap(now).await;
            let admin = admin.err().map(|error| failed("admin.conf", &error));
            admin.or_else(|| {
                let error = bootstrap.err()?;
                Some(failed("bootstrap-kubelet.conf", &error))
            })
        };
        if trouble != self.told {
            self.told = trouble;
            if let Some(trouble) = &self.told {
                tracing::warn!("{trouble}");
            }
        }
        Ok(())
    }

    /// Whoever copies `bootstrap-kubelet.conf` to a new node finds a token in it that is good.
    async fn keep_bootstrap(&mut self, now: Timestamp) -> Result<()> {
        if kubeconfigs::bootstrap_is_stale(self.bootstrap_until, now) {
            let public = kubeconfigs::cluster(&self.public_url, &self.authority.ca_pem)?;
            let kept = kubeconfigs::ensure_bootstrap(&self.dir, &self.api, public, now).await;
            self.bootstrap_until = kept?;
            let until = self.bootstrap_until;
            tracing::info!("bootstrap-kubelet.conf has a token until {until}");
        }
        Ok(())
    }

    fn out_of_date(&self, now: Timestamp) -> Option<String> {
        let certificates = [
            ("certificate authority", self.authority.issuer.certificate()),
            ("API server's certificate", self.authority.server.leaf()),
        ];
        let (what, leaf) = certificates
            .into_iter()
            .find(|(_, leaf)| now < leaf.not_before() || leaf.not_after() <= now)?;
        Some(format!(
            "the {what} is valid from {} to {}",
            leaf.not_before(),
            leaf.not_after()
        ))
    }
}
