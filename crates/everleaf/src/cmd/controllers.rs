//! `everleaf controllers`: approver, signer and cleaner against any API server.

use crate::args::controllers::ControllersArgs;
use crate::args::signing::SigningDuration;
use crate::kube_client::Connected;
use crate::service;
use crate::shutdown::Shutdown;
use crate::up::entropy;
use crate::{config, kube_client, server};
use anyhow::{Context, Result};
use everleaf_agent::Environment;
use everleaf_observe::serve_apart;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs until a signal.
pub(crate) fn run(args: &ControllersArgs) -> Result<ExitCode> {
    if args.signing.deprecated_name_used {
        tracing::warn!("{}", SigningDuration::DEPRECATION);
    }
    tell_ignored(&args.ignored.0);
    let validated = config::controllers(args)?;
    for warning in &validated.warnings {
        tracing::warn!("{warning}");
    }
    let host = Environment::of_this_host().context("cannot look at this host")?;
    let election = validated
        .election
        .enter(host.hostname.trim(), entropy::bytes()?);
    super::runtime()?.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        let mut config = validated.config;
        let Connected {
            client,
            host,
            authority,
        } = match &args.kubeconfig {
            Some(path) => kube_client::connect(path)?,
            None => kube_client::connect_in_cluster()?,
        };
        config.server_host = host;
        config.root_ca = config.root_ca.or(authority);
        tracing::info!(server = config.server_host, "controllers start");
        let _listening = match args.metrics_bind_address {
            Some(address) => {
                let listener = server::listen(address, "--metrics-bind-address").await?;
                let telemetry = Arc::clone(&config.telemetry);
                Some(serve_apart(listener.into_std()?, telemetry)?)
            }
            None => None,
        };
        let _alive = service::ready(|| true);
        let asked = shutdown.asked();
        match election {
            Some(election) => {
                everleaf_controllers::run_elected(client, config, election, asked).await?
            }
            None => everleaf_controllers::run(client, config, asked).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What a manifest of kube-controller-manager asks for and does not get here.
fn tell_ignored(flags: &[&str]) {
    if flags.is_empty() {
        return;
    }
    tracing::info!(
        flags = flags.join(","),
        "these flags of kube-controller-manager have no effect here: of its controllers, only those of certificates and bootstrap tokens run"
    );
    if flags.contains(&"use-service-account-credentials") {
        tracing::warn!(
            "--use-service-account-credentials: every loop uses the credential of --kubeconfig instead; give it the rights of \
             the ClusterRole system:controller:certificate-controller"
        );
    }
}
