//! ClusterTrustBundles: kubelets and service accounts may list and watch them. There are none here.

use super::{Descriptor, READ_VERBS};
use everleaf_api::types;

/// ClusterTrustBundles.
pub static CLUSTER_TRUST_BUNDLES: Descriptor = Descriptor {
    verbs: READ_VERBS,
    selectable: &["spec.signerName"],
    ..Descriptor::cluster(
        &types::CLUSTER_TRUST_BUNDLE,
        "clustertrustbundles",
        "clustertrustbundle",
    )
};
