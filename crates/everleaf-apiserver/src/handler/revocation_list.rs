//! The certificate revocation list, as the controllers have published it, for whoever fetches it by
//! HTTP (RFC 5280 4.2.1.13).

use super::respond::response;
use super::{Body, Server};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_api::revocation::{LIST_DER, LIST_NAME, LIST_NAMESPACE, LIST_PEM};
use http::{Response, StatusCode};

/// Where it is, DER.
pub(super) const DER_PATH: &str = "/pki/ca.crl";
/// Where it is, PEM.
pub(super) const PEM_PATH: &str = "/pki/ca.crl.pem";
/// RFC 2585 4.2.
const DER_TYPE: &str = "application/pkix-crl";
/// None is registered for a list in PEM; this one is usual.
const PEM_TYPE: &str = "application/x-pem-file";

impl Server {
    /// The list in the form of one of the two paths; None when there is none yet.
    pub(super) fn revocation_list(&self, path: &str) -> Option<Response<Body>> {
        let objects = self.objects();
        let stored = objects.get("configmaps", LIST_NAMESPACE, LIST_NAME)?;
        let object = stored.object();
        let (media_type, bytes) = match path {
            DER_PATH => {
                let text = object["binaryData"][LIST_DER].as_str()?;
                (DER_TYPE, STANDARD.decode(text).ok()?)
            }
            _ => {
                let text = object["data"][LIST_PEM].as_str()?;
                (PEM_TYPE, text.as_bytes().to_vec())
            }
        };
        Some(response(StatusCode::OK, media_type, bytes))
    }
}
