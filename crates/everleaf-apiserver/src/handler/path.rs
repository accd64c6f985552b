//! Everything that is not a resource.

use super::late_reissue::is_late_reissue;
use super::metrics;
use super::oidc::{KEYS_PATH, PROVIDER_PATH};
use super::respond::{TEXT, error, response};
use super::revocation_list::{DER_PATH, PEM_PATH};
use super::{Admitted, Body, Server, method_not_allowed};
use everleaf_api::Status;
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, Method, Response, StatusCode};

impl Server {
    /// What is at a path.
    pub(super) async fn path(
        &self,
        admitted: &Admitted,
        body: &[u8],
    ) -> Result<Response<Body>, Status> {
        if is_late_reissue(admitted) {
            // In a box: other requests carry no room for it.
            return Box::pin(self.late_reissue(admitted, body)).await;
        }
        Ok(self.page(admitted))
    }

    fn page(&self, admitted: &Admitted) -> Response<Body> {
        if !matches!(admitted.method, Method::GET | Method::HEAD) {
            return error(&method_not_allowed());
        }
        let path = admitted.path.trim_end_matches('/');
        match path {
            "/version" => self.version_document(admitted),
            "/metrics" => response(StatusCode::OK, metrics::CONTENT_TYPE, self.metrics_text()),
            DER_PATH | PEM_PATH => self.revocation_list(path).unwrap_or_else(page_not_found),
            PROVIDER_PATH | KEYS_PATH => self.oidc_document(path).unwrap_or_else(page_not_found),
            _ => self
                .health(path, &admitted.query)
                .or_else(|| self.catalogue.openapi(path, admitted))
                .or_else(|| self.discovery(path, admitted))
                .unwrap_or_else(page_not_found),
        }
    }
}

/// `404 page not found`, as Go's mux says it. `/` says what there is.
pub(super) fn page_not_found() -> Response<Body> {
    let mut page = response(StatusCode::NOT_FOUND, TEXT, "404 page not found\n");
    page.headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    page
}
