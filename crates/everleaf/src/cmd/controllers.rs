//! `everleaf controllers`: approver, signer and cleaner against any API server.

use crate::args::controllers::ControllersArgs;
use crate::args::signing::SigningDuration;
use crate::shutdown::Shutdown;
use crate::up::entropy;
use crate::{config, kube_client, observe};
use anyhow::{Context, Result};
use everleaf_agent::Environment;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::path::{Path, PathBuf};
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
        let client_config = client_config(&args.kubeconfig).await?;
        config.server_host = client_config
            .cluster_url
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::info!(server = config.server_host, "controllers start");
        let client = kube_client::connect(client_config)
            .with_context(|| format!("kubeconfig {} cannot be used", args.kubeconfig.display()))?;
        if let Some(address) = args.metrics_bind_address {
            observe::start(address, Arc::clone(&config.telemetry)).await?;
        }
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
        "these flags of kube-controller-manager have no effect here: three of its controllers run, nothing else"
    );
    if flags.contains(&"root-ca-file") {
        tracing::warn!(
            "--root-ca-file: no root-ca-cert-publisher runs here, so no namespace gets its kube-root-ca.crt; leave that \
             controller running in a kube-controller-manager"
        );
    }
    if flags.contains(&"use-service-account-credentials") {
        tracing::warn!(
            "--use-service-account-credentials: every loop uses the credential of --kubeconfig instead; give it the rights of \
             the ClusterRole system:controller:certificate-controller"
        );
    }
}

pub(crate) async fn client_config(path: &Path) -> Result<kube::Config> {
    let shown = path.display();
    // Its own words for a missing file would be the library's.
    std::fs::File::open(path).with_context(|| {
        format!("cannot read kubeconfig {shown}; give one that names the API server (--kubeconfig)")
    })?;
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("cannot use kubeconfig {shown}"))?;
    let authority = authority_file(&kubeconfig);
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .with_context(|| format!("kubeconfig {shown} cannot be used"))?;
    let is_https = config.cluster_url.scheme_str() == Some("https");
    if is_https && config.root_cert.is_none() && !config.accept_invalid_certs {
        tracing::warn!(
            "kubeconfig {shown} names no certificate-authority: the server's certificate must be signed by an authority \
             that this host trusts anyway; name the cluster's in certificate-authority-data"
        );
    }
    config.root_cert_file = authority;
    // The loops have their own queue and back-off.
    config.default_retry = false;
    Ok(config)
}

/// The file of the current cluster's authorities, if they are in one.
fn authority_file(kubeconfig: &Kubeconfig) -> Option<PathBuf> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig
        .contexts
        .iter()
        .find(|named| named.name == *current)?
        .context
        .as_ref()?;
    let cluster = kubeconfig
        .clusters
        .iter()
        .find(|named| named.name == context.cluster)?
        .cluster
        .as_ref()?;
    let is_given = |text: &&String| !text.is_empty();
    if cluster
        .certificate_authority_data
        .as_ref()
        .filter(is_given)
        .is_some()
    {
        return None;
    }
    let path = cluster.certificate_authority.as_ref().filter(is_given)?;
    Some(PathBuf::from(path))
}
