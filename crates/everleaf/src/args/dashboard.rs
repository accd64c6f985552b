//! `everleaf dashboard`.

use super::fleet::FleetArgs;
use clap::Args;
use std::net::SocketAddr;

/// Flags of `dashboard`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf dashboard\n  everleaf dashboard --kubeconfig ~/.kube/config --listen 127.0.0.1:8765\n  ssh -L 8765:127.0.0.1:8765 host everleaf dashboard --listen 127.0.0.1:8765    # on another machine\n\nIt prints the address to open, which holds a key: whoever has that address acts with the rights of the kubeconfig's user until the dashboard\nis stopped. Exit code 0: it was stopped; 2: there is no server, or no right to look."
)]
pub(crate) struct DashboardArgs {
    /// Where to listen: an address of this machine alone, and a port [default: any free one]
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Where a fleet is seen.
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}
