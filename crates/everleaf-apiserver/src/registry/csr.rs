//! CertificateSigningRequests.
use everleaf_api::types;

use super::Descriptor;

/// CertificateSigningRequests.
pub static CERTIFICATE_SIGNING_REQUESTS: Descriptor = Descriptor {
    short_names: &["csr"],
    subresources: &["approval", "status"],
    ..Descriptor::cluster(
        &types::CERTIFICATE_SIGNING_REQUEST,
        "certificatesigningrequests",
        "certificatesigningrequest",
    )
};
