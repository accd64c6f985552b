//! The agent's HTTP client: a few verbs of the Kubernetes API over HTTP/1.1 and TLS.
//!
//! Owns connections, timeouts and the classes of failure. Whoever calls names an [`Access`] (server
//! and identity) for each request; a connection is only ever reused for an equal one, so that a
//! swapped credential means new connections. It refuses to know what is asked and when to ask
//! again.
//!
//! Small on purpose: between renewals an agent holds no connection and no buffer.

pub mod access;
mod connect;
mod exec;
mod failure;
mod roots;
mod watch;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::clock::Clock;
use access::{Access, Identity};
use connect::{Sender, connect};

pub use connect::refusal_text;
pub use failure::{Failure, FailureClass};
pub use watch::Watch;

/// Longest wait for an answer to a request that is not a watch.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// A connection unused for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Most connections kept for reuse.
const IDLE_CONNECTIONS_MAX: usize = 4;

const USER_AGENT_TEXT: &str = concat!("everleaf-agent/", env!("CARGO_PKG_VERSION"));

/// Sends requests. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct ApiClient {
    clock: Arc<dyn Clock>,
    idle: Arc<Mutex<Vec<Idle>>>,
}

/// A connection waiting to be used again.
struct Idle {
    access: Access,
    sender: Sender,
    since: Instant,
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idle")
            .field("access", &self.access)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

/// A successful answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The object.
    pub object: Value,
    /// The server's clock, from the verified connection.
    pub server_time: Option<Timestamp>,
}

impl ApiClient {
    /// A client that judges server certificates by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            idle: Arc::default(),
        }
    }

    /// A client that shares no connection with this one: its first request opens a new one.
    pub fn fresh(&self) -> Self {
        Self::new(Arc::clone(&self.clock))
    }

    /// `GET path`: one object, or a list. `path` starts with a slash and may have a query.
    pub async fn get(&self, access: &Access, path: &str) -> Result<Answer, Failure> {
        self.call(access, Method::GET, path, None).await
    }

    /// `POST path` with an object.
    pub async fn create(
        &self,
        access: &Access,
        path: &str,
        object: &Value,
    ) -> Result<Answer, Failure> {
        let body = ("application/json", object.to_string());
        self.call(access, Method::POST, path, Some(body)).await
    }

    /// `PATCH path` with a JSON merge patch (RFC 7396).
    pub async fn merge_patch(
        &self,
        access: &Access,
        path: &str,
        patch: &Value,
    ) -> Result<Answer, Failure> {
        let body = ("application/merge-patch+json", patch.to_string());
        self.call(access, Method::PATCH, path, Some(body)).await
    }

    /// `GET path` as a watch; `path` has the query, including `watch=true` and `timeoutSeconds`.
    pub async fn watch(&self, access: &Access, path: &str) -> Result<Watch, Failure> {
        let whom = exec::resolve(access, self.clock.wall()).await?;
        let watch = self.watch_as(&whom, path).await;
        match exec::again(access, &whom, watch.as_ref().err()).await {
            Some(other) => self.watch_as(&other, path).await,
            None => watch,
        }
    }

    async fn watch_as(&self, access: &Access, path: &str) -> Result<Watch, Failure> {
        let started = Instant::now();
        let answer = self.open(access, Method::GET, path, None);
        let (_, response) = within_answer_max(access, answer).await?;
        let server_time = failure::server_time(response.headers());
        if response.status().is_success() {
            return Ok(Watch::new(response.into_body(), server_time, started));
        }
        Err(self.failed(access, response).await)
    }

    /// Closes every idle connection that presents another client certificate than `access` does,
    /// and returns how many. Those in use end with their request.
    pub fn close_others(&self, access: &Access) -> usize {
        let mut idle = self.lock();
        let before = idle.len();
        idle.retain(|idle| {
            idle.access == *access || !matches!(idle.access.identity, Identity::Certificate(_))
        });
        before - idle.len()
    }

    /// Closes every idle connection.
    pub fn close_idle(&self) {
        self.lock().clear();
    }

    async fn call(
        &self,
        access: &Access,
        method: Method,
        path: &str,
        body: Option<(&'static str, String)>,
    ) -> Result<Answer, Failure> {
        let whom = exec::resolve(access, self.clock.wall()).await?;
        let answer = self
            .call_as(&whom, method.clone(), path, body.clone())
            .await;
        match exec::again(access, &whom, answer.as_ref().err()).await {
            Some(other) => self.call_as(&other, method, path, body).await,
            None => answer,
        }
    }

    async fn call_as(
        &self,
        access: &Access,
        method: Method,
        path: &str,
        body: Option<(&'static str, String)>,
    ) -> Result<Answer, Failure> {
        let exchange = async {
            let (sender, response) = self.open(access, method, path, body).await?;
            let server_time = failure::server_time(response.headers());
            if !response.status().is_success() {
                return Err(self.failed(access, response).await);
            }
            let body = read(access, response.into_body()).await?;
            self.keep(access, sender);
            let object = serde_json::from_slice(&body).map_err(|_| Failure {
                class: FailureClass::NotAnApi,
                message: format!("{}: the answer is not JSON", access.cluster.server),
                retry_after: None,
                server_time,
            })?;
            Ok(Answer {
                object,
                server_time,
            })
        };
        within_answer_max(access, exchange).await
    }

    /// Sends one request and returns when its response head is there.
    async fn open(
        &self,
        access: &Access,
        method: Method,
        path: &str,
        body: Option<(&'static str, String)>,
    ) -> Result<(Sender, Response<Incoming>), Failure> {
        let request = request(access, method, path, body)?;
        if let Some(mut sender) = self.take(access) {
            match sender.send_request(request.clone()).await {
                Ok(response) => return Ok((sender, response)),
                // The server had closed it meanwhile. All our requests are idempotent (a create
                // names its object), so that a second try does no harm.
                Err(error) if error.is_canceled() || error.is_closed() => {}
                Err(error) if error.is_incomplete_message() => {}
                Err(error) => return Err(broken(access, &error)),
            }
        }
        let mut sender = connect(access, &self.clock).await?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| broken(access, &error))?;
        Ok((sender, response))
    }

    /// Reads a non-2xx answer to its end.
    async fn failed(&self, access: &Access, response: Response<Incoming>) -> Failure {
        let (head, body) = response.into_parts();
        match read(access, body).await {
            Ok(body) => Failure::from_answer(head.status, &head.headers, &body),
            Err(failure) => failure,
        }
    }

    fn take(&self, access: &Access) -> Option<Sender> {
        let mut idle = self.lock();
        idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < IDLE_MAX);
        let place = idle
            .iter()
            .position(|idle| idle.access == *access && idle.sender.is_ready())?;
        Some(idle.swap_remove(place).sender)
    }

    fn keep(&self, access: &Access, sender: Sender) {
        let mut idle = self.lock();
        if sender.is_closed() || idle.len() >= IDLE_CONNECTIONS_MAX {
            return;
        }
        idle.push(Idle {
            access: access.clone(),
            sender,
            since: Instant::now(),
        });
        tokio::spawn(close_later(Arc::downgrade(&self.idle)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // A list of connections is whole whatever panicked.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn close_later(idle: Weak<Mutex<Vec<Idle>>>) {
    tokio::time::sleep(IDLE_MAX).await;
    if let Some(idle) = idle.upgrade() {
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.since.elapsed() < IDLE_MAX);
    }
}

async fn within_answer_max<T>(
    access: &Access,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(ANSWER_MAX, future)
        .await
        .unwrap_or_else(|_| {
            Err(Failure::unreachable(format!(
                "{}: no answer within {} s",
                access.cluster.server,
                ANSWER_MAX.as_secs()
            )))
        })
}

fn broken(access: &Access, error: &hyper::Error) -> Failure {
    let why = everleaf_tls::chain_words(error);
    Failure::unreachable(format!("{}: {why}", access.cluster.server))
}

async fn read(access: &Access, body: Incoming) -> Result<Bytes, Failure> {
    Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| {
            let why = everleaf_tls::chain_words(&*error);
            Failure::unreachable(format!("{}: {why}", access.cluster.server))
        })
}

fn request(
    access: &Access,
    method: Method,
    path: &str,
    body: Option<(&'static str, String)>,
) -> Result<Request<Full<Bytes>>, Failure> {
    let server = &access.cluster.server;
    let unusable = |_| Failure::unreachable(format!("{server}: {path} is not a request path"));
    let uri: Uri = format!("{}{path}", server.prefix())
        .parse()
        .map_err(unusable)?;
    let host = HeaderValue::from_str(&server.authority())
        .map_err(|_| Failure::unreachable(format!("{server}: not a host name")))?;
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_TEXT));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Identity::Token(token) = &access.identity {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| Failure::unreachable("the token holds characters that no header may"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    if let Some((content_type, text)) = body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        *request.body_mut() = Full::new(text.into());
    }
    Ok(request)
}

#[cfg(test)]
mod tests;
