//! The door for callers inside this process: a tower service that speaks HTTP without a socket.
//!
//! The same authorization, admission and limits of state as for anyone; only the identity is given
//! instead of proven. No header can make it: [`InProcessIdentity`] has a private constructor, and
//! this is its only use. Whoever acts for somebody who is connected to the server has no identity
//! to give: what that one came with goes along with each request, and is judged each time.

use super::TimedBody;
use crate::authn::{InProcessIdentity, Peer};
use crate::handler::audit::{self, AUDIT_ID};
use crate::handler::{Body, BodyError, Credential, Server};
use crate::user::User;
use everleaf_api::Status;
use everleaf_time::WallClock;
use futures_util::FutureExt as _;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jiff::Timestamp;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::Service;

/// A client's view of the server, under one identity.
#[derive(Clone)]
pub struct InProcess {
    server: Arc<Server>,
    peer: Peer,
    /// A bearer token that goes along; None: none.
    authorization: Option<HeaderValue>,
    clock: WallClock,
}

impl Server {
    /// A service that acts as `identity`. Groups are those given: include `system:authenticated`.
    pub fn in_process(self: &Arc<Self>, identity: User, clock: WallClock) -> InProcess {
        InProcess {
            server: Arc::clone(self),
            peer: Peer {
                in_process: Some(InProcessIdentity::new(identity)),
                ..Peer::default()
            },
            authorization: None,
            clock,
        }
    }

    /// A service that asks as whoever came with `credential`: no request of it is worth more than
    /// one that they had sent themselves, nor any longer.
    pub fn on_behalf(self: &Arc<Self>, credential: Credential, clock: WallClock) -> InProcess {
        InProcess {
            server: Arc::clone(self),
            peer: credential.peer,
            authorization: credential.authorization,
            clock,
        }
    }

    /// Serves one request of a transport: judged first, read afterwards. A panic becomes a 500.
    pub(crate) async fn serve<B>(
        &self,
        mut request: Request<B>,
        peer: &Peer,
        now: Timestamp,
    ) -> Response<Body>
    where
        B: HttpBody,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let is_named = peer.in_process.is_none() || self.audit().is_some();
        let id = is_named.then(|| self.name_request(request.headers_mut()));
        let walk = async { audit::settle(self.walk(request, peer, now).await).await };
        let walk = AssertUnwindSafe(walk);
        let mut response = walk.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("a request hit a defect; it was answered 500");
            Self::failed(&Status::internal(
                "this request hit a defect of the server; the log says more",
            ))
        });
        if let Some(id) = id {
            response.headers_mut().insert(AUDIT_ID, id);
        }
        response
    }

    async fn walk<B>(&self, request: Request<B>, peer: &Peer, now: Timestamp) -> Response<Body>
    where
        B: HttpBody,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let judges = self.judges_for(&parts, peer, now).await;
        let admitted = match self.admit(parts, peer, now, judges) {
            Ok(admitted) => admitted,
            Err(refused) => return *refused,
        };
        if let Err(untold) = admitted.is_told().await {
            return *untold;
        }
        if body.size_hint().lower() > self.limits().body_bytes_max as u64 {
            return self.answer(admitted, Err(BodyError::TooLarge)).await;
        }
        let limited = Limited::new(body, self.limits().body_bytes_max);
        let body = match Box::pin(limited).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
            Err(_) => Err(BodyError::Broken),
        };
        self.answer(admitted, body).await
    }
}

impl<B> Service<Request<B>> for InProcess
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<TimedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<TimedBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let this = self.clone();
        if let Some(token) = this.authorization.clone() {
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        Box::pin(async move {
            let now = (this.clock)();
            let response = this.server.serve(request, &this.peer, now).await;
            Ok(response.map(|body| TimedBody::new(body.completed())))
        })
    }
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess")
            .field("identity", &self.peer.in_process)
            .field("has_token", &self.authorization.is_some())
            .finish_non_exhaustive()
    }
}
