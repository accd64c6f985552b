//! From the command line to the libraries' options: paths made absolute, defaults of the host
//! filled in.

use crate::args::controllers::ControllersArgs;
use crate::args::up::UpArgs;
use crate::audit::Audit;
use crate::failure::UsageError;
use crate::issuers;
use crate::server;
use crate::up::system::{Keys, LOOPS, Settings};
use anyhow::{Context, Result};
use everleaf_agent::{Environment, Options as AgentOptions};
use everleaf_controllers::Loop;
use everleaf_controllers::builtin::BuiltinSigner;
use everleaf_controllers::options::{FilePair, Options as ControllersOptions, Validated};
use everleaf_pki::KeyAlgorithm;
use everleaf_pki::signer::is_dns1123_subdomain;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

/// What `up` is to run.
pub(crate) fn up(args: &UpArgs) -> Result<Settings> {
    let environment = Environment::of_this_host().context("cannot look at this host")?;
    let host_name = environment.hostname.trim().to_lowercase();
    let node_name = if args.no_node {
        None
    } else {
        Some(node_name(args, &environment)?)
    };
    let mut standard = BTreeSet::from(LOOPS);
    if args.serving.serving_approval != Some(false) {
        standard.insert(Loop::ServingApprover);
    }
    let options = ControllersOptions {
        cluster_signing_duration: args.signing.duration,
        controllers: args.controllers.clone(),
        standard,
        csr_ttl: args.cleaning.ages(),
        pods: args.pods.options(),
        serving_approval: args.serving.serving_approval,
        serving_approval_policy: args.serving.serving_approval_policy.clone(),
        ..ControllersOptions::default()
    };
    let validated = options
        .validate()
        .map_err(|error| UsageError(error.to_string()))?;
    for warning in &validated.warnings {
        tracing::warn!("{warning}");
    }
    let loops = validated.config.loops;
    let apart = Loop::TrustBundlePublisher;
    if loops.contains(&apart) {
        let what = format!(
            "--controllers: {} is no part of `everleaf up`; run it with `everleaf controllers`",
            apart.short_name()
        );
        return Err(UsageError(what).into());
    }
    let (jwt, authentication_config) =
        issuers::config(&args.authentication, server::SERVICE_ACCOUNT_ISSUER)?;
    Ok(Settings {
        etcd: crate::etcd::of(&args.etcd)?,
        storage_quota_bytes: args.storage.storage_quota_bytes,
        encryption: crate::encryption::of(&args.storage)?,
        listen: args.listen,
        sans: sans(&args.tls_san)?,
        signing_duration: args.signing.duration,
        ages: validated.config.ages,
        host_name: node_name.clone().unwrap_or(host_name),
        node_name,
        keys: keys(args),
        pod_signer: validated.config.pod_signer,
        serving_approval: loops
            .contains(&Loop::ServingApprover)
            .then_some(validated.config.serving_approval),
        loops,
        ui: !args.no_ui,
        audit: Audit::of(&args.audit)?,
        jwt,
        authentication_config,
        late_reissue: args.late_reissue.policy(),
    })
}

/// Kinds of keys: one for all, and another for the control plane.
fn keys(args: &UpArgs) -> Keys {
    let nodes = args.key_algorithm.unwrap_or(KeyAlgorithm::EcdsaP256);
    Keys {
        nodes,
        control_plane: args.control_plane_key_algorithm.unwrap_or(nodes),
    }
}

/// What an issuance log of this host is called.
pub(crate) fn log_origin(host: &str) -> String {
    format!("{}/everleaf/issuance-log", host.trim().to_lowercase())
}

/// Names and addresses of `--tls-san`, before anything is made with them.
fn sans(given: &[String]) -> Result<Vec<String>, UsageError> {
    let sans = given.iter().map(|san| san.trim());
    sans.filter(|san| !san.is_empty())
        .map(|san| {
            let name = san.to_lowercase();
            let is_name =
                is_dns1123_subdomain(&name) && name.split('.').all(|label| label.len() <= 63);
            if is_name || san.parse::<IpAddr>().is_ok() {
                Ok(san.to_owned())
            } else {
                Err(UsageError(format!(
                    "--tls-san {san:?} is neither an IP address nor a DNS name; write it like ca.example.org or 10.0.0.5"
                )))
            }
        })
        .collect()
}

/// The name that an agent of this host would take.
fn node_name(args: &UpArgs, environment: &Environment) -> Result<String> {
    let options = AgentOptions {
        kubeconfig: Some(PathBuf::from("unused")),
        rotate_certificates: Some(true),
        hostname_override: args.node_name.clone(),
        ..AgentOptions::default()
    };
    let config = options.resolve(environment).map_err(|problems| {
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        UsageError(
            text.join("; ")
                .replace("--hostname-override", "--node-name"),
        )
    })?;
    Ok(config.node_name)
}

/// What the controllers are to do.
pub(crate) fn controllers(args: &ControllersArgs) -> Result<Validated> {
    let files =
        |certificate: &Option<PathBuf>, key: &Option<PathBuf>, chain: &Option<PathBuf>| FilePair {
            certificate: certificate.clone(),
            chain: chain.clone(),
            key: key.clone(),
        };
    let per_signer = [
        (
            BuiltinSigner::KubeletServing,
            files(
                &args.cluster_signing_kubelet_serving_cert_file,
                &args.cluster_signing_kubelet_serving_key_file,
                &args.cluster_signing_kubelet_serving_chain_file,
            ),
        ),
        (
            BuiltinSigner::KubeApiserverClientKubelet,
            files(
                &args.cluster_signing_kubelet_client_cert_file,
                &args.cluster_signing_kubelet_client_key_file,
                &args.cluster_signing_kubelet_client_chain_file,
            ),
        ),
        (
            BuiltinSigner::KubeApiserverClient,
            files(
                &args.cluster_signing_kube_apiserver_client_cert_file,
                &args.cluster_signing_kube_apiserver_client_key_file,
                &args.cluster_signing_kube_apiserver_client_chain_file,
            ),
        ),
        (
            BuiltinSigner::LegacyUnknown,
            files(
                &args.cluster_signing_legacy_unknown_cert_file,
                &args.cluster_signing_legacy_unknown_key_file,
                &args.cluster_signing_legacy_unknown_chain_file,
            ),
        ),
    ];
    let options = ControllersOptions {
        controllers: args.controllers.clone(),
        cluster_signing: files(
            &args.cluster_signing_cert_file,
            &args.cluster_signing_key_file,
            &args.cluster_signing_chain_file,
        ),
        cluster_signing_key_password: args.cluster_signing_key_password_file.clone(),
        cluster_signing_duration: args.signing.duration,
        csr_ttl: args.cleaning.ages(),
        election: args.election.options(),
        issuance_log: args.issuance_log.clone(),
        issuance_log_origin: origin(args)?,
        kube_api_burst: args.kube_api_burst,
        kube_api_qps: args.kube_api_qps,
        per_signer: per_signer.into_iter().collect(),
        pods: args.pods.options(),
        publish_signer_trust_bundles: args.publish_signer_trust_bundles.clone(),
        root_ca_file: args.root_ca_file.clone(),
        serving_approval: args.serving.serving_approval,
        serving_approval_policy: args.serving.serving_approval_policy.clone(),
        spread_ca_end: args.spread_ca_end,
        ..ControllersOptions::default()
    };
    options
        .validate()
        .map_err(|error| UsageError(error.to_string()).into())
}

/// What the issuance log is called: as it was asked for, or after this host.
fn origin(args: &ControllersArgs) -> Result<Option<String>> {
    match (&args.issuance_log, &args.issuance_log_origin) {
        (_, Some(origin)) => Ok(Some(origin.clone())),
        (Some(_), None) => {
            let host = Environment::of_this_host().context("cannot look at this host")?;
            Ok(Some(log_origin(&host.hostname)))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternative_names_are_judged_before_anything_is_made() {
        let sans_of = |san: &str| sans(&[san.to_owned()]);
        for good in ["ca.example.org", "CA", "10.0.0.5", "fd00::1", " 10.0.0.5 "] {
            assert_eq!(sans_of(good).unwrap(), [good.trim()], "{good:?}");
        }
        assert!(sans_of("").unwrap().is_empty());
        for bad in [
            "foo bar",
            "-a",
            "*.example.org",
            "a..b",
            "10.0.0.5/8",
            &"a".repeat(64),
        ] {
            let error = sans_of(bad).unwrap_err().to_string();
            assert!(
                error.contains("--tls-san") && error.contains(bad),
                "{error}"
            );
        }
    }
}
