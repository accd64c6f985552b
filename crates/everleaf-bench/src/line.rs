//! A way to the server: calls over a connection, repeated when the server says when.

use crate::record::Record;
use crate::trouble::Trouble;
use bytes::Bytes;
use everleaf_agent::SystemClock;
use everleaf_agent::client::access::{Access, Identity};
use everleaf_agent::client::{Answer, Body, Failure, Transport};
use everleaf_agent::kubeconfig::{Kubeconfig, KubeconfigError};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The collection of requests.
pub(crate) const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// How often a call is made again when the server says when (client-go: `maxRetries` of
/// `rest/request.go`).
const RETRIES_MAX: u32 = 10;
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const USER_AGENT_TEXT: &str = concat!("everleaf-bench/", env!("CARGO_PKG_VERSION"));

/// A server, and as whom to speak to it.
#[derive(Clone, Debug)]
pub struct Target {
    access: Access,
    transport: Transport,
}

/// Why a kubeconfig is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It cannot be read, or is none.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// What it names cannot be used.
    #[error("{0}")]
    Credential(String),
}

impl Target {
    /// Reads a kubeconfig: its current context, or the one of that name.
    ///
    /// # Errors
    /// It, or what it names, cannot be used. Whether the server answers is not tried.
    pub fn from_kubeconfig(path: &Path, context: Option<&str>) -> Result<Self, TargetError> {
        let kubeconfig = Kubeconfig::read_context(path, context)?;
        let access = Access::from_kubeconfig(&kubeconfig, path).map_err(TargetError::Credential)?;
        Ok(Self {
            access,
            transport: Transport::new(Arc::new(SystemClock::new())),
        })
    }

    /// Where it is.
    pub fn server(&self) -> String {
        self.access.cluster.server.to_string()
    }

    /// A connection of its own to it.
    pub(crate) fn line(&self, record: &Arc<Mutex<Record>>) -> Line {
        Line {
            access: self.access.clone(),
            transport: self.transport.fresh(),
            record: Arc::clone(record),
        }
    }
}

/// A connection, opened by the first call. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    access: Access,
    transport: Transport,
    record: Arc<Mutex<Record>>,
}

/// A call.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    /// With its media type.
    pub(crate) body: Option<(&'static str, Bytes)>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            body: None,
        }
    }
}

impl Line {
    /// The same server over a connection of its own, as the same.
    pub(crate) fn fresh(&self) -> Self {
        Self {
            transport: self.transport.fresh(),
            ..self.clone()
        }
    }

    /// The same over a connection of its own, as somebody else.
    pub(crate) fn fresh_as(&self, identity: Identity) -> Self {
        Self {
            access: self.access.with_identity(identity),
            ..self.fresh()
        }
    }

    /// Makes a call, again if the server says when, and returns when the head of a good answer is
    /// there.
    pub(crate) async fn open(&self, call: &Call<'_>) -> Result<Response<Body>, Trouble> {
        let mut retries = 0;
        loop {
            let failure = match self.once(call).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            // As client-go: whatever the code, if the server says when.
            let Some(pause) = failure.retry_after.filter(|_| retries < RETRIES_MAX) else {
                return Err(failure.into());
            };
            retries += 1;
            self.tell(call, failure.into());
            tokio::time::sleep(pause).await;
        }
    }

    /// The same, and reads the answer to its end.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Bytes, Trouble> {
        let response = self.open(call).await?;
        Ok(self.read(response.into_body()).await?)
    }

    /// Notes that a call is made again.
    pub(crate) fn tell(&self, call: &Call<'_>, why: Trouble) {
        let what = format!("{} {}", call.method, call.path);
        lock(&self.record).retried(&what, &why);
    }

    async fn once(&self, call: &Call<'_>) -> Result<Response<Body>, Failure> {
        let now = self.transport.now();
        let whom = self
            .access
            .resolved(now)
            .await
            .map_err(Failure::unreachable)?;
        let request = self.request(call)?;
        let mut response = self.transport.send(&whom, request).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            // What a command gave out has ended before its time: what it gives out now is tried
            // once.
            let renewed = self.access.renewed(&whom).await;
            if let Some(other) = renewed.map_err(Failure::unreachable)? {
                response = self.transport.send(&other, self.request(call)?).await?;
            }
        }
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = self.read(body).await?;
        let server = &self.access.cluster.server;
        match Answer::read(server, head.status, &head.headers, &body) {
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::unreachable(format!("{server}: {}", head.status))),
        }
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.path.parse().map_err(|_| {
            let server = &self.access.cluster.server;
            Failure::unreachable(format!("{server}: {} is not a request path", call.path))
        })?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_TEXT));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some((media_type, body)) = &call.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
            *request.body_mut() = Full::new(body.clone());
        }
        Ok(request)
    }

    async fn read(&self, body: Body) -> Result<Bytes, Failure> {
        let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        collected
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| match error.downcast::<Failure>() {
                Ok(failure) => *failure,
                Err(_) => {
                    let (server, limit) = (&self.access.cluster.server, ANSWER_BYTES_MAX >> 20);
                    Failure::unreachable(format!("{server}: the answer is larger than {limit} MiB"))
                }
            })
    }
}

/// What is counted is whole whatever panicked: each change is one call.
pub(crate) fn lock(record: &Mutex<Record>) -> std::sync::MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
