//! What programs read that judge tokens of service accounts by themselves: OpenID discovery
//! (`pkg/routes/openidmetadata.go`).

use super::respond::{JSON, response, to_json};
use super::{Body, Server};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Response, StatusCode};

/// Where the provider document is.
pub(super) const PROVIDER_PATH: &str = "/.well-known/openid-configuration";
/// Where the keys are.
pub(super) const KEYS_PATH: &str = "/openid/v1/jwks";
const KEY_SET: &str = "application/jwk-set+json";

impl Server {
    /// The document of one of the two paths; None when there are no service accounts.
    pub(super) fn oidc_document(&self, path: &str) -> Option<Response<Body>> {
        let keys_url = format!("https://{}{KEYS_PATH}", self.address);
        let [provider, keys] = self.authenticator.issuer_documents(&keys_url)?;
        let mut response = match path {
            PROVIDER_PATH => response(StatusCode::OK, JSON, to_json(&provider)),
            _ => response(StatusCode::OK, KEY_SET, to_json(&keys)),
        };
        let hour = HeaderValue::from_static("public, max-age=3600");
        response.headers_mut().insert(CACHE_CONTROL, hour);
        Some(response)
    }
}
