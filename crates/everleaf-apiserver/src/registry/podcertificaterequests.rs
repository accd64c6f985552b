//! PodCertificateRequests: kubelets from 1.37 list and watch those of their node (`spec.nodeName`)
//! at start. There are none here, as there are no pods.

use super::{Descriptor, READ_VERBS};
use everleaf_api::types;

/// PodCertificateRequests.
pub static POD_CERTIFICATE_REQUESTS: Descriptor = Descriptor {
    verbs: READ_VERBS,
    selectable: &["spec.nodeName", "spec.podName", "spec.signerName"],
    ..Descriptor::namespaced(
        &types::POD_CERTIFICATE_REQUEST,
        "podcertificaterequests",
        "podcertificaterequest",
    )
};
