//! The controllers of `up`: which run, as which accounts, and whether in turns with those of other
//! servers.

use super::data_dir::{DataDir, ISSUANCE_LOG};
use super::grants;
use super::shared;
use super::system::{Settings, System, wall_clock};
use everleaf_apiserver::user::User;
use everleaf_controllers::issuance::LogConfig;
use everleaf_controllers::upkeep::RootCaSource;
use everleaf_controllers::{Config as ControllersConfig, Loop, ServingConfig};
use everleaf_node::places::CA_CERTIFICATE;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Controllers with an account of their own: what they are called, and what they run with.
type Run = (&'static str, kube::Client, ControllersConfig);

impl System {
    pub(super) fn start_controllers(
        &mut self,
        dir: &DataDir,
        settings: &Settings,
        approval: Option<ServingConfig>,
    ) {
        let root_ca = dir.path(CA_CERTIFICATE);
        let mut config = ControllersConfig::in_process(self.issuer.clone());
        let of_requests = [Loop::Approver, Loop::Signer, Loop::Cleaner];
        config.loops = BTreeSet::from(of_requests);
        config.loops.retain(|one| settings.loops.contains(one));
        if let Some(approval) = approval {
            config.loops.insert(Loop::ServingApprover);
            config.serving_approval = approval;
        }
        if let Some(pods) = settings.pod_signer.clone() {
            config.loops.insert(Loop::PodCertificateSigner);
            config.pod_signer = Some(pods);
        }
        config.signing_duration = settings.signing_duration;
        config.ages = settings.ages;
        config.recent_requests = self.server.recent_requests();
        config.issuance_log = Some(LogConfig {
            directory: dir.path(ISSUANCE_LOG),
            origin: crate::config::log_origin(&settings.host_name),
        });
        let mut runs = Vec::new();
        if !config.loops.is_empty() {
            runs.push(self.controllers("controllers", "certificate-controller", config));
        }
        for (one, name, account) in [
            (Loop::TokenCleaner, "token cleaner", "token-cleaner"),
            (
                Loop::BootstrapSigner,
                "bootstrap signer",
                "bootstrap-signer",
            ),
            (
                Loop::RevocationListPublisher,
                "revocation list publisher",
                grants::REVOCATION_LIST_ACCOUNT,
            ),
            (
                Loop::PodCertificateCleaner,
                "pod certificate request cleaner",
                "podcertificaterequestcleaner",
            ),
            (
                Loop::RootCaPublisher,
                "root CA publisher",
                "root-ca-cert-publisher",
            ),
        ] {
            if settings.loops.contains(&one) {
                let mut config = ControllersConfig::in_process(self.issuer.clone());
                config.loops = BTreeSet::from([one]);
                config.root_ca = Some(RootCaSource::File(root_ca.clone()));
                runs.push(self.controllers(name, account, config));
            }
        }
        self.run_controllers(settings, runs);
    }

    /// As the service account that Kubernetes gives them.
    fn controllers(&self, name: &'static str, account: &str, mut config: ControllersConfig) -> Run {
        config.clock = wall_clock(&self.clock);
        config.telemetry = Arc::clone(&self.telemetry);
        let whom = User::service_account("kube-system", account);
        let service = self.server.in_process(whom, wall_clock(&self.clock));
        (name, kube::Client::new(service, "default"), config)
    }

    /// Each for itself where the store is ours alone; in turns with other servers' otherwise.
    fn run_controllers(&mut self, settings: &Settings, runs: Vec<Run>) {
        if runs.is_empty() {
            return;
        }
        if settings.etcd.is_some() {
            let runs = runs.into_iter().map(|(_, client, config)| (client, config));
            let runs = runs.collect();
            let (server, clock) = (Arc::clone(&self.server), Arc::clone(&self.clock));
            let host_name = settings.host_name.clone();
            self.start_part("controllers", |shutdown| {
                shared::take_turns(server, runs, host_name, clock, shutdown)
            });
            return;
        }
        for (name, client, config) in runs {
            self.start_part(name, |shutdown| async move {
                everleaf_controllers::run(client, config, shutdown.asked()).await?;
                Ok(())
            });
        }
    }
}
