//! `everleaf forecast` and `everleaf status`.

use super::OutputFormat;
use super::token::ServerArgs;
use clap::Args;
use std::path::PathBuf;

/// Where a fleet is seen.
#[derive(Debug, Args)]
pub(crate) struct FleetArgs {
    /// Issuance log, for certificates whose requests the API has forgotten [default: the one beside
    /// the kubeconfig, or that of `up` on this host, where there is one]
    #[arg(long, value_name = "DIR")]
    pub(crate) issuance_log: Option<PathBuf>,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Flags of `forecast`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf forecast\n  everleaf forecast --days 30 --kubeconfig ~/.kube/config\n  everleaf forecast --probe                    # also what each kubelet's own port shows\n  everleaf forecast --issuance-log /var/lib/everleaf/issuance-log -o json\n\nIt reads only, with the rights of the kubeconfig's user, and says what it may not see. Exit code 0: no node lapses, by all that is known; 1: one\nhas lapsed, or will; 2: it could not see enough."
)]
pub(crate) struct ForecastArgs {
    /// How far to look ahead
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=36_500))]
    pub(crate) days: u16,
    /// Ask each kubelet's own port (InternalIP of its Node) for its serving certificate. It is
    /// shown nothing
    #[arg(long)]
    pub(crate) probe: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    /// Where a fleet is seen.
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// Flags of `status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf status\n  everleaf status -o wide        # a row per node\n  everleaf status -w             # live, until it is interrupted\n  everleaf status -o json --kubeconfig ~/.kube/config\n\nIt reads only, with the rights of the kubeconfig's user, and says what it may not see. Exit code 0: it is shown; 2: it could not be seen. Whether\nanybody lapses is the exit code of `everleaf forecast`."
)]
pub(crate) struct StatusArgs {
    /// Go on showing it whenever it changes, by watches of the API server. On a terminal the screen
    /// is drawn anew, elsewhere one is appended
    #[arg(short, long, conflicts_with = "probe")]
    pub(crate) watch: bool,
    /// Ask each kubelet's own port (InternalIP of its Node) for its serving certificate. It is
    /// shown nothing
    #[arg(long)]
    pub(crate) probe: bool,
    /// Form of the answer; with `-w`, JSON is one line each time
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    /// Where a fleet is seen.
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}
