//! The HTTP client of whoever speaks to an API server by a kubeconfig: a few verbs for the agent,
//! and below them a [`Transport`] that the controllers use, too.
//!
//! Owns connections, proxies, timeouts and the classes of failure. Whoever calls names an
//! [`Access`] (server and identity) for each request. It refuses to know what is asked and when to
//! ask again.
//!
//! Small on purpose: between renewals an agent holds no connection and no buffer.

pub mod access;
mod body;
mod connect;
mod exec;
mod failure;
mod headers;
mod proxy;
mod roots;
mod tls;
mod token_key;
mod transport;
mod watch;

use crate::clock::Clock;
use access::Access;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub use body::Body;
pub use failure::{Failure, FailureClass};
pub use transport::Transport;
pub use watch::Watch;

/// Longest wait for an answer to a request that is not a watch.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;

const USER_AGENT_TEXT: &str = concat!("everleaf-agent/", env!("CARGO_PKG_VERSION"));

/// Sends requests. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct ApiClient {
    transport: Transport,
}

/// A successful answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The object.
    pub object: Value,
    /// The server's clock, from the verified connection.
    pub server_time: Option<Timestamp>,
}

impl Answer {
    /// What a complete answer of `server` says.
    ///
    /// # Errors
    /// For every code but 2xx, and for a body that is not JSON.
    pub fn read(
        server: &impl std::fmt::Display,
        code: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, Failure> {
        if !code.is_success() {
            return Err(Failure::from_answer(code, headers, body));
        }
        let server_time = failure::server_time(headers);
        match serde_json::from_slice(body) {
            Ok(object) => Ok(Self {
                object,
                server_time,
            }),
            Err(_) => Err(Failure {
                class: FailureClass::NotAnApi,
                message: format!("{server}: the answer is not JSON"),
                retry_after: None,
                server_time,
            }),
        }
    }
}

impl ApiClient {
    /// A client that judges server certificates by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            transport: Transport::new(clock),
        }
    }

    /// A client that shares no connection with this one: its first request opens a new one.
    pub fn fresh(&self) -> Self {
        Self {
            transport: self.transport.fresh(),
        }
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

    /// `DELETE path` with `DeleteOptions`.
    pub async fn delete(
        &self,
        access: &Access,
        path: &str,
        options: &Value,
    ) -> Result<Answer, Failure> {
        let body = ("application/json", options.to_string());
        self.call(access, Method::DELETE, path, Some(body)).await
    }

    /// `PATCH path` with a JSON merge patch (RFC 7396).
    pub async fn merge(
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
        let whom = exec::resolve(access, self.transport.now()).await?;
        let watch = self.watch_as(&whom, path).await;
        match exec::again(access, &whom, watch.as_ref().err()).await {
            Some(other) => self.watch_as(&other, path).await,
            None => watch,
        }
    }

    async fn watch_as(&self, access: &Access, path: &str) -> Result<Watch, Failure> {
        let started = Instant::now();
        let answer = self.open(access, Method::GET, path, None);
        let response = within_answer_max(access, answer).await?;
        let server_time = failure::server_time(response.headers());
        if response.status().is_success() {
            return Ok(Watch::new(response.into_body(), server_time, started));
        }
        Err(failed(access, response).await)
    }

    /// Closes every idle connection that presents another client certificate than `access` does,
    /// and returns how many. Those in use end with their request.
    pub fn close_others(&self, access: &Access) -> usize {
        self.transport.close_others(access)
    }

    async fn call(
        &self,
        access: &Access,
        method: Method,
        path: &str,
        body: Option<(&'static str, String)>,
    ) -> Result<Answer, Failure> {
        let whom = exec::resolve(access, self.transport.now()).await?;
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
            let response = self.open(access, method, path, body).await?;
            let (head, body) = response.into_parts();
            let body = read(access, body).await?;
            Answer::read(&access.cluster.server, head.status, &head.headers, &body)
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
    ) -> Result<Response<Body>, Failure> {
        let request = request(access, method, path, body)?;
        self.transport.send(access, request).await
    }
}

/// Reads a non-2xx answer to its end.
async fn failed(access: &Access, response: Response<Body>) -> Failure {
    let (head, body) = response.into_parts();
    match read(access, body).await {
        Ok(body) => Failure::from_answer(head.status, &head.headers, &body),
        Err(failure) => failure,
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

async fn read(access: &Access, body: Body) -> Result<Bytes, Failure> {
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(_) => {
                let (server, limit) = (&access.cluster.server, ANSWER_BYTES_MAX >> 20);
                Failure::unreachable(format!("{server}: the answer is larger than {limit} MiB"))
            }
        })
}

fn request(
    access: &Access,
    method: Method,
    path: &str,
    body: Option<(&'static str, String)>,
) -> Result<Request<Full<Bytes>>, Failure> {
    let server = &access.cluster.server;
    let unusable = |_: http::uri::InvalidUri| {
        Failure::unreachable(format!("{server}: {path} is not a request path"))
    };
    let uri = path.parse().map_err(unusable)?;
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_TEXT));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some((content_type, text)) = body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        *request.body_mut() = Full::new(text.into());
    }
    Ok(request)
}

#[cfg(test)]
mod tests;
