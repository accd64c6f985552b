//! What is served beside the API, on its port: pages for people, below one path.
//!
//! Whoever serves them is told who is at the other end of the connection, and judges by the
//! server's own judges ([`Server::rehearse`](crate::handler::Server::rehearse)) and doors
//! ([`Server::on_behalf`](crate::handler::Server::on_behalf)). This module knows no page.

use crate::authn::Peer;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The body of a page, which may be a stream.
pub type PageBody = UnsyncBoxBody<Bytes, Infallible>;
/// A page on its way.
pub type Page = Pin<Box<dyn Future<Output = Response<PageBody>> + Send>>;

/// Answers requests for pages. A page that takes long is given up by whoever asks for it.
pub trait Pages: Send + Sync {
    /// `peer` is what the transport knows of the other side.
    fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Page;
}

/// Pages, and where they are.
#[derive(Clone)]
pub struct Beside {
    /// Below this path, and at it: `/ui`, with no slash at its end. No path of the API begins so.
    pub path: &'static str,
    /// Whoever answers there.
    pub pages: Arc<dyn Pages>,
}

impl Beside {
    /// Whether a path is theirs.
    pub(super) fn has(&self, path: &str) -> bool {
        let below = path.strip_prefix(self.path);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Beside").field(&self.path).finish()
    }
}
