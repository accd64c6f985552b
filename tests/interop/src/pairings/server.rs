//! What the clients' pairings talk to: Everleaf, or as their control the real thing.

use crate::stack::{Part, Stack};
use anyhow::Result;
use everleaf_stage::Sandbox;

/// Signer of client certificates; whoever is on the other side signs for it.
pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Usages that this signer takes.
pub(super) const CLIENT_USAGES: &[&str] = &["digital signature", "client auth"];

/// The side that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// `everleaf up`.
    Everleaf,
    /// Real etcd, kube-apiserver and kube-controller-manager: what fails there is the test's own
    /// fault.
    Kubernetes,
}

impl Server {
    /// Starts it.
    pub(super) fn start(self, sandbox: &Sandbox) -> Result<Stack<'_>> {
        match self {
            Self::Everleaf => Stack::start(sandbox, &[Part::EverleafUp(&[])]),
            Self::Kubernetes => Stack::start(
                sandbox,
                &[
                    Part::Etcd,
                    Part::KubeApiserver(&[]),
                    Part::KubeControllerManager(&[
                        "--controllers=namespace,serviceaccount,garbagecollector",
                    ]),
                ],
            ),
        }
    }
}
