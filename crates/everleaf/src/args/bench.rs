//! `everleaf bench`.

use super::value;
use clap::{Args, ValueEnum};
use everleaf_bench::Process;
use everleaf_bench::plan::{
    CONNECTIONS_MAX, Connections, IN_FLIGHT_MAX, NODES_MAX, Prefix, RENEWALS_MAX,
};
use std::path::PathBuf;
use std::time::Duration;

/// Flags of `bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf bench --kubeconfig bootstrap-kubelet.conf -n 10000 --pid up=$(pidof everleaf)\n  everleaf bench -n 2000 --connections per-node --herd 10s      # after a power cut\n  everleaf bench -n 5000 --rate 200 --html report.html\n  everleaf bench -n 500 --renewals 3 -o json\n  everleaf bench -n 500 --signer serving --approve-kubeconfig admin.conf\n\nWorks with any API server that takes certificate signing requests. The requests stay there, as those of real nodes\ndo, unless --cleanup is given. Exit code 0: all certificates were issued; 1: some were not; 2: wrong usage."
)]
pub(crate) struct BenchArgs {
    /// How to reach the API server, and as whom nodes ask for their first certificate: any user
    /// who may create, get, list and watch requests [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// How many nodes want a certificate
    #[arg(short, long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=i64::from(NODES_MAX)), help_heading = "Load")]
    pub(crate) nodes: u32,
    /// Nodes under way at once: the next one comes when one has its certificate [default: 64]
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(IN_FLIGHT_MAX)), group = "arrival", help_heading = "Load")]
    pub(crate) concurrency: Option<u32>,
    /// Nodes come at random, so many per second on average, whatever becomes of those before
    #[arg(short, long, value_name = "PER_SECOND", value_parser = rate, group = "arrival", help_heading = "Load")]
    pub(crate) rate: Option<f64>,
    /// All nodes come within this time, such as 10s
    #[arg(long, value_name = "DURATION", value_parser = value::duration, group = "arrival", help_heading = "Load")]
    pub(crate) herd: Option<Duration>,
    /// Connections that all nodes share, or `per-node`: a TLS connection for each
    #[arg(long, value_name = "N|per-node", default_value = "4", value_parser = connections, help_heading = "Load")]
    pub(crate) connections: Connections,
    /// How a node learns of its certificate
    #[arg(long, value_enum, value_name = "HOW", default_value_t = WaitBy::Watch, help_heading = "Load")]
    pub(crate) wait: WaitBy,
    /// Pause between two looks with --wait poll [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = value::duration, help_heading = "Load")]
    pub(crate) poll_interval: Option<Duration>,
    /// Which certificate nodes ask for. For a serving certificate each gets a client certificate
    /// first, which is not measured
    #[arg(long, value_enum, value_name = "SIGNER", default_value_t = Asked::Client, help_heading = "Load")]
    pub(crate) signer: Asked,
    /// Approve the requests as the user of this kubeconfig, where no controller does
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    pub(crate) approve_kubeconfig: Option<PathBuf>,
    /// How often each node asks again, over a connection that shows the certificate it has just got
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=i64::from(RENEWALS_MAX)), help_heading = "Load")]
    pub(crate) renewals: u32,
    /// Kind of the nodes' keys
    #[arg(long, value_enum, value_name = "ALGORITHM", default_value_t = Key::EcdsaP256, help_heading = "Load")]
    pub(crate) key_algorithm: Key,
    /// Longest wait for one certificate
    #[arg(short, long, value_name = "DURATION", value_parser = value::duration, default_value = "60s", help_heading = "Load")]
    pub(crate) timeout: Duration,
    /// How the names of nodes and requests begin [default: bench- and eight digits by chance]
    #[arg(long, value_name = "PREFIX", value_parser = |text: &str| Prefix::new(text), help_heading = "Load")]
    pub(crate) name_prefix: Option<Prefix>,
    /// Delete the requests at the end, as the user of --approve-kubeconfig if there is one: nodes
    /// and bootstrap tokens may not
    #[arg(long, help_heading = "Load")]
    pub(crate) cleanup: bool,

    /// Count processor time and memory of this process of this machine; repeat it for every one
    #[arg(long, value_name = "NAME=PID", value_parser = Process::parse, help_heading = "Report")]
    pub(crate) pid: Vec<Process>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Form::Text, help_heading = "Report")]
    pub(crate) output: Form,
    /// Write the report with its plots as a page, too
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) html: Option<PathBuf>,
}

/// How a node learns of its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitBy {
    /// A watch on its request's name, as a kubelet does
    Watch,
    /// One list and watch of all requests, for all nodes
    Informer,
    /// It reads its request again and again
    Poll,
}

/// Which certificate a node asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Asked {
    /// kubernetes.io/kube-apiserver-client-kubelet
    Client,
    /// kubernetes.io/kubelet-serving
    Serving,
}

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub(crate) enum Key {
    /// As kubelets have
    #[value(name = "ecdsa-p256")]
    EcdsaP256,
    /// ECDSA on P-384
    #[value(name = "ecdsa-p384")]
    EcdsaP384,
    /// Ed25519
    #[value(name = "ed25519")]
    Ed25519,
    /// ML-DSA-44, post-quantum
    #[value(name = "ml-dsa-44")]
    MlDsa44,
    /// ML-DSA-65
    #[value(name = "ml-dsa-65")]
    MlDsa65,
    /// ML-DSA-87
    #[value(name = "ml-dsa-87")]
    MlDsa87,
    /// RSA with 2048 bits: a tenth of a second to make each
    #[value(name = "rsa-2048")]
    Rsa2048,
}

/// Forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// JSON.
    Json,
}

/// Nodes per second.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("write nodes per second, from 0.001 to 1000000".into()),
    }
}

fn connections(text: &str) -> Result<Connections, String> {
    if text == "per-node" {
        return Ok(Connections::PerNode);
    }
    match text.parse() {
        Ok(count) if (1..=CONNECTIONS_MAX).contains(&count) => Ok(Connections::Shared(count)),
        _ => Err(format!(
            "write a number from 1 to {CONNECTIONS_MAX}, or per-node"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_a_number_or_one_each() {
        assert_eq!(connections("per-node"), Ok(Connections::PerNode));
        assert_eq!(connections("16"), Ok(Connections::Shared(16)));
        for text in ["", "0", "-1", "10001", "all", "per-nodes"] {
            assert!(connections(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_number_of_nodes_per_second() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in ["", "0", "-1", "inf", "NaN", "1e9", "5/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
