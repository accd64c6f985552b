//! `everleaf why`.

use super::OutputFormat;
use clap::Args;
use std::path::PathBuf;

/// Flags of `why`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf why csr/csr-abcde\n  everleaf why node/worker-1 --kubeconfig ~/.kube/config\n  everleaf why csr/csr-abcde -o wide     # with what each rule of the controllers says\n  everleaf why csr/csr-abcde -o json\n  everleaf why --catalogue               # every fault that it can name, as Markdown\n\nIt reads only, with the rights of the kubeconfig's user, and says what it may not see. Exit code 0: nothing is wrong; 1: something is; 2: it\ncould not see enough."
)]
pub(crate) struct WhyArgs {
    /// A request or a node: `csr/NAME`, `node/NAME`, or the two words apart
    #[arg(
        value_name = "csr/NAME|node/NAME",
        num_args = 1..=2,
        required_unless_present = "catalogue"
    )]
    pub(crate) subject: Vec<String>,
    /// How to reach the API server [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Policy by which serving requests are judged [default: the one that holds where there is
    /// none]
    #[arg(long, value_name = "FILE")]
    pub(crate) serving_approval_policy: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    /// Print everything that it can find, as the Markdown of docs/troubleshoot.md
    #[arg(long, conflicts_with_all = ["subject", "kubeconfig", "context", "serving_approval_policy", "output"])]
    pub(crate) catalogue: bool,
}
