//! The approval of serving certificates.

use super::value::Switch as _;
use clap::Args;
use std::path::PathBuf;

/// Flags of the approver of serving requests.
#[derive(Debug, Args)]
pub(crate) struct ServingArgs {
    /// Approve kubelets' requests for serving certificates, by a policy that takes no node's own
    /// word for it [default: on in `up`; elsewhere off, unless a policy or the controller
    /// kubelet-serving-approver is named]
    #[arg(long, switch())]
    pub(crate) serving_approval: Option<bool>,
    /// Policy for serving requests (YAML), read again when it changes; try it out with `everleaf
    /// policy test`
    #[arg(long, value_name = "FILE")]
    pub(crate) serving_approval_policy: Option<PathBuf>,
}
