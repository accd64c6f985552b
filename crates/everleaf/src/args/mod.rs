//! The command line: plain data, nothing resolved. Flags that exist in kubelet, kube-apiserver or
//! kube-controller-manager keep their name, value syntax and default.
//!
//! Owns names, syntax and help. Refuses to know the disk, the environment and what the values lead
//! to: that is [`crate::config`].

pub(crate) mod apiserver;
pub(crate) mod audit;
pub(crate) mod authentication;
pub(crate) mod authorization;
pub(crate) mod bench;
pub(crate) mod ca;
mod cleaning;
pub(crate) mod controllers;
pub(crate) mod dashboard;
pub(crate) mod doctor;
mod election;
pub(crate) mod etcd;
pub(crate) mod fleet;
mod ignored;
mod late_reissue;
pub(crate) mod offer;
mod pods;
pub(crate) mod policy;
pub(crate) mod serving;
pub(crate) mod signing;
pub(crate) mod storage;
pub(crate) mod store;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod why;

use clap::{Args, Parser, Subcommand, ValueEnum};
pub(crate) use everleaf_node::args::value;
use everleaf_node::args::{LogArgs, agent};
use everleaf_pki::KeyAlgorithm;
use std::path::PathBuf;

/// Certificates that renew themselves, for every node of a fleet.
#[derive(Debug, Parser)]
#[command(
    name = "everleaf",
    version,
    args_override_self = true,
    propagate_version = true,
    max_term_width = 110,
    after_help = "Start here:\n  everleaf up      a certificate authority, its API server and this host's certificate, in one process\n  everleaf token create --print-join-command    the line that joins another machine\n  everleaf demo    watch a certificate renew although the node's clock is wrong"
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Logging, accepted by every command.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole system in one process: API server, controllers, and an agent for this host
    Up(Box<up::UpArgs>),
    /// Keep a node's certificates: bootstrap, renew, write its kubeconfig (the kubelet's flags)
    Agent(Box<agent::AgentArgs>),
    /// Approve, sign and clean certificate signing requests of any Kubernetes API server
    Controllers(Box<controllers::ControllersArgs>),
    /// Run the API server alone
    Apiserver(Box<apiserver::ApiserverArgs>),
    /// See a certificate renew on the real stack while the node's clock is moved; exit 0 only if
    /// all holds
    Demo(DemoArgs),
    /// Show what is in a cert dir, a kubeconfig or a PEM file
    Certs(CertsArgs),
    /// Look at certificate authorities and what they have issued, have certificates refused,
    /// replace an authority
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// Make, show and delete the tokens that new nodes join with
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Look at the store of a data directory, save it while a server runs, restore it
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Try a policy for serving requests out, without a cluster
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Say why a request waits, or a node has no certificate, and what to do
    Why(why::WhyArgs),
    /// Say who lapses, when and why, and how many renewals each day brings
    Forecast(fleet::ForecastArgs),
    /// Show the fleet on one screen
    Status(fleet::StatusArgs),
    /// Show the fleet in a browser of this machine, live; approve and deny there with your rights
    Dashboard(dashboard::DashboardArgs),
    /// Look a whole cluster over, or this node: what is broken, what will be, and what to do
    Doctor(doctor::DoctorArgs),
    /// Measure how fast an API server issues certificates, ours or any other, by a load of nodes
    Bench(Box<bench::BenchArgs>),
    /// Print a shell's completion script
    Completion(CompletionArgs),
    /// Write the manual pages of all commands
    Man(ManArgs),
    /// Print the version
    Version(VersionArgs),
}

/// Flags of `demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf demo\n  everleaf demo --cluster-signing-duration 8760h\n  everleaf demo --data-dir ./demo    # keep the files and look at them"
)]
pub(crate) struct DemoArgs {
    /// Directory for the demo's files, which must not exist yet or be empty [default: a temporary
    /// one, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Lifetime of the certificates in the story
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "87600h0m0s")]
    pub(crate) cluster_signing_duration: std::time::Duration,
    /// Kind of all keys in the story, as of `everleaf up`
    #[arg(long, value_name = "KIND", value_parser = value::key_algorithm, default_value = "ECDSA-P256")]
    pub(crate) key_algorithm: KeyAlgorithm,
}

/// Flags of `certs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf certs                                   # this host's usual places\n  everleaf certs /var/lib/kubelet/pki\n  everleaf certs --ca ca.crt admin.conf node.pem -o wide\n  everleaf certs -o json /var/lib/kubelet/pki\n  everleaf certs --expires-within 720h             # exit code 1 when one ends within 30 days\n  everleaf certs - < node.pem\n\nExit code 1: one has ended, is not believed by its authority or cannot be read; files of a cert dir that -current has\nleft behind do not count."
)]
pub(crate) struct CertsArgs {
    /// Cert dirs, kubeconfigs or PEM files, `-` for stdin [default: what `up`, the agent and the
    /// kubelet keep on this host]
    #[arg(value_name = "DIR|FILE")]
    pub(crate) paths: Vec<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    /// CA bundle that the certificates should chain to [default: what a kubeconfig names]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Exit with 1 also when a certificate ends within this time, such as 720h
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) expires_within: Option<std::time::Duration>,
}

/// Forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Flags of `completion`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  source <(everleaf completion bash)\n  everleaf completion zsh > \"${fpath[1]}/_everleaf\""
)]
pub(crate) struct CompletionArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Flags of `man`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf man /usr/local/share/man/man1\n  everleaf man . && man ./everleaf-agent.1"
)]
pub(crate) struct ManArgs {
    /// Directory that is there; one file per command
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

/// Flags of `version`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  everleaf version\n  everleaf version -o json")]
pub(crate) struct VersionArgs {
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_take_the_syntax_of_their_originals() {
        let parse = |line: &str| Cli::try_parse_from(line.split_whitespace());
        for line in [
            "everleaf agent --rotate-certificates --rotate-server-certificates=false --kubeconfig k",
            "everleaf agent --rotate-certificates=true --feature-gates=A=true,B=false --fail-swap-on=false",
            "everleaf agent --v=2 --kubeconfig=k --container-runtime-endpoint unix:///run/x.sock",
            "everleaf controllers --kubeconfig k --controllers=*,-csrcleaner --kube-api-qps=20",
            "everleaf controllers --kubeconfig k --controllers -csrcleaner,*",
            "everleaf controllers --kubeconfig k --leader-elect --leader-elect-lease-duration 30s",
            // As kubeadm writes it for kube-controller-manager.
            "everleaf controllers --allocate-node-cidrs=true --authentication-kubeconfig=c --authorization-kubeconfig=c \
             --bind-address=127.0.0.1 --client-ca-file=a --cluster-cidr=10.0.0.0/16 --cluster-name=kubernetes \
             --cluster-signing-cert-file=a --cluster-signing-key-file=k --controllers=*,bootstrapsigner,tokencleaner \
             --kubeconfig=c --leader-elect=true --requestheader-client-ca-file=f --root-ca-file=a \
             --service-account-private-key-file=s --service-cluster-ip-range=10.96.0.0/12 \
             --use-service-account-credentials=true",
            "everleaf apiserver --data-dir d --anonymous-auth=false --enable-bootstrap-token-auth",
            "everleaf up --listen 127.0.0.1:0 --listen 127.0.0.1:1 --tls-san a,b -vv",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
        for line in [
            "everleaf agent --rotate-certificates=maybe",
            "everleaf agent --rotate-certificates false",
            "everleaf up --listen nowhere",
            "everleaf apiserver --data-dir d --tls-cert-file c",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        let unknown = parse("everleaf agent --rotate-certficates")
            .unwrap_err()
            .to_string();
        assert!(unknown.contains("'--rotate-certificates'"), "{unknown}");
    }
}
