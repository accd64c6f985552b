//! What a server serves, and the documents that tell it.

use super::discovery::resources_of;
use super::openapi::{Documents, Told};
use super::respond::warn;
use super::route::{Resolved, Target};
use super::{Admitted, Body, Server};
use crate::registry::apis::Apis;
use everleaf_api::discovery::Resource;
use http::Response;
use std::sync::{Arc, LazyLock};

/// What servers serve that nobody told otherwise: their documents are made once.
static USUAL: LazyLock<Arc<Catalogue>> =
    LazyLock::new(|| Arc::new(Catalogue::new(Apis::default())));

/// What is served.
pub(super) struct Catalogue {
    apis: Apis,
    resources: Vec<Resource>,
    documents: Documents,
}

impl Catalogue {
    /// Of a server that serves these.
    pub(super) fn of(apis: Apis) -> Arc<Self> {
        match apis == USUAL.apis {
            true => Arc::clone(&USUAL),
            false => Arc::new(Self::new(apis)),
        }
    }

    fn new(apis: Apis) -> Self {
        Self {
            resources: resources_of(&apis),
            documents: Documents::default(),
            apis,
        }
    }

    pub(super) fn apis(&self) -> &Apis {
        &self.apis
    }

    /// In the order of discovery, subresources among them.
    pub(super) fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The OpenAPI document of a path; None when it is none.
    pub(super) fn openapi(&self, path: &str, admitted: &Admitted) -> Option<Response<Body>> {
        let told = Told {
            resources: &self.resources,
            emulated: self.apis.emulated(),
        };
        self.documents.answer(told, path, admitted)
    }
}

impl Server {
    /// Tells whoever uses a version that is on its way out, whatever the answer.
    pub(super) fn warn_of_deprecation(&self, target: &Target, response: &mut Response<Body>) {
        let Target::Resource(path) = target else {
            return;
        };
        let Ok(Resolved::Stored(descriptor)) = path.resolve(self.catalogue.apis()) else {
            return;
        };
        if let Some(text) = descriptor.deprecation() {
            warn(response.headers_mut(), &text);
            self.metrics.note_deprecated(descriptor, &path.subresource);
        }
    }
}
