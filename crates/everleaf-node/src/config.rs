//! From an agent's command line to the library's options.

use crate::args::agent::AgentArgs;
use crate::args::value;
use crate::failure::UsageError;
use anyhow::{Context, Result, anyhow};
use everleaf_agent::{Config, Environment, Options};

/// Gates that say the same as the two rotation flags.
const CLIENT_GATE: &str = "RotateKubeletClientCertificate";
/// The serving certificate's.
const SERVING_GATE: &str = "RotateKubeletServerCertificate";

/// What the agent is to do.
pub fn config(args: &AgentArgs) -> Result<Config> {
    let environment = Environment::of_this_host().context("cannot look at this host")?;
    // A kubelet's gates only allow what the flags turn on. An agent that is given gates and nothing
    // else would have nothing to do, so here a gate that is turned on by hand also turns the
    // rotation on.
    let by_gate = |gate| {
        (args.config.is_none() && args.config_dir.is_none())
            .then(|| gate_is_on(&args.feature_gates, gate))
            .filter(|on| *on)
    };
    let options = Options {
        kubeconfig: args.kubeconfig.clone(),
        bootstrap_kubeconfig: args.bootstrap_kubeconfig.clone(),
        cert_dir: args.cert_dir.clone(),
        rotate_certificates: args.rotate_certificates.or(by_gate(CLIENT_GATE)),
        rotate_server_certificates: args.rotate_server_certificates.or(by_gate(SERVING_GATE)),
        feature_gates: args.feature_gates.clone(),
        hostname_override: args.hostname_override.clone(),
        node_ip: args.node_ip.clone(),
        client_key: args.client_certificate_key_algorithm,
        serving_key: args.server_certificate_key_algorithm,
        key_store: args.key_store.clone(),
        config: args.config.clone(),
        config_dir: args.config_dir.clone(),
        tls_min_version: args.tls_min_version.clone(),
        has_static_serving_pair: [&args.tls_cert_file, &args.tls_private_key_file]
            .into_iter()
            .flatten()
            .any(|path| !path.as_os_str().is_empty()),
        metrics_bind_address: args.metrics_bind_address.clone(),
        tls_bind_address: args.tls_bind_address.clone(),
        tls_client_ca_file: args.tls_client_ca_file.clone(),
        requested_seconds: None,
        ca_refresh_interval: args.ca_refresh_interval,
        first_renewal_spread: args.first_renewal_spread,
        late_reissue: args.late_reissue,
        profiles: args.profile.clone(),
        profile_dir: args.profile_dir.clone(),
        exit_on_expired_client_cert: args.exit_on_expired_client_cert,
        once: args.once,
    };
    options
        .resolve(&environment)
        .map_err(|problems| refusal(&problems))
}

/// Everything that is wrong, as one error.
pub fn refusal(problems: &[impl ToString]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let text = lines.join("\n          ");
    // A file that cannot be read is no misuse of flags.
    let is_usage = lines.iter().any(|line| !line.starts_with("cannot read"));
    if is_usage {
        UsageError(text).into()
    } else {
        anyhow!(text)
    }
}

/// The last word of the flags about a gate is "on".
fn gate_is_on(flags: &[String], gate: &str) -> bool {
    flags
        .iter()
        .flat_map(|flag| flag.split(','))
        .filter_map(|pair| pair.split_once('='))
        .rfind(|(name, _)| name.trim() == gate)
        .is_some_and(|(_, value)| value::boolean(value.trim()) == Ok(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_about_a_gate_counts() {
        let flags = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (texts, expected) in [
            (vec!["A=true,B=true"], true),
            (vec!["B=true"], false),
            (vec!["A=true", "A=false"], false),
            (vec!["A=false,A=1"], true),
            (vec!["A"], false),
        ] {
            assert_eq!(gate_is_on(&flags(&texts), "A"), expected, "{texts:?}");
        }
    }
}
