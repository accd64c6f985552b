//! The signer of PodCertificateRequests: certificates for pods, which kubelets mount and renew.
//!
//! Kubernetes has the API and no such signer. Who a pod is, the API server has checked (a kubelet
//! asks for its own pods alone); [`decide()`] says what is made of a request, [`Plan::issue`] makes
//! it, [`PodCertificateSigner`] is the controller around both. The signer's name is the operator's
//! choice; names in certificates follow a [`Policy`].

mod decide;
mod policy;
mod signer;
#[cfg(test)]
mod tests;

pub use decide::{Action, Made, Older, Plan, Refusal, decide};
pub use policy::{LIFETIME_DEFAULT, LIFETIME_MAX, LIFETIME_MIN, Policy, PolicyError};
pub(crate) use signer::API;
pub use signer::PodCertificateSigner;

use crate::config::IssuerSource;

/// Settings of the signer.
#[derive(Clone, Debug)]
pub struct PodSigner {
    /// What it makes of which requests.
    pub policy: Policy,
    /// Its CA.
    pub issuer: IssuerSource,
    /// Whether its CA is published as a ClusterTrustBundle.
    pub is_published: bool,
}
