//! Calls to the API server: one request, one answer, and what the answer says besides its body.
//!
//! Over `kube::Client`, so the transport is a seam: TLS with a kubeconfig's credential, or the
//! server's own tower service in the same process. Each call is limited in rate, time and size;
//! each answer's `Date` feeds the estimate of the server's clock (spec C1). Retrying is not done
//! here: the queue decides when to come back.

use crate::bucket::TokenBucket;
use crate::config::{ApiLimit, Clock};
use crate::metrics;
use crate::notice::Notice;
use crate::skew::{ServerClock, parse_http_date};
use crate::telemetry::Telemetry;
use crate::uptime::Uptime;
use bytes::Bytes;
use everleaf_api::Status;
use everleaf_tls::chain_words;
use http::header::{ACCEPT, CONTENT_TYPE, DATE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use jiff::SignedDuration;
use kube::client::Body;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Longest time for one call, watches excepted.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer to a call about one object.
pub(crate) const OBJECT_BYTES_MAX: usize = 8 << 20;
/// Longest Retry-After that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// Whom the server's audit log, metrics and field managers name.
const USER_AGENT_TEXT: &str = concat!("everleaf-controllers/", env!("CARGO_PKG_VERSION"));
/// What to say about a refusal for lack of rights.
pub(crate) const RIGHTS_HINT: &str = " (the controllers need the rights of the ClusterRole system:controller:certificate-controller)";
/// A server that shares its capacity itself says so in each answer.
const FAIRNESS_HEADER: &str = "x-kubernetes-pf-flowschema-uid";

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ApiError {
    /// An answer that is not what the API promises.
    #[error("{0}")]
    Malformed(String),
    /// The server said no.
    #[error("{status}")]
    Refused {
        status: Box<Status>,
        retry_after: Duration,
    },
    /// The answer is larger than allowed.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// No answer.
    #[error("{0}")]
    Unreachable(String),
}

impl ApiError {
    /// HTTP code of a refusal, else 0.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Refused { status, .. } => status.code,
            _ => 0,
        }
    }

    /// How long the server asked to be left alone.
    pub(crate) fn retry_after(&self) -> Duration {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => Duration::ZERO,
        }
    }
}

/// See the module documentation.
pub(crate) struct Api {
    client: kube::Client,
    clock: Clock,
    host: String,
    /// `None`: not limited.
    limiter: Option<Mutex<TokenBucket>>,
    /// The limit ends when the server shares its capacity itself.
    until_fairness: bool,
    /// Somebody else tells when the server is away.
    is_quiet: bool,
    server_is_fair: AtomicBool,
    reachable: AtomicBool,
    server_clock: Mutex<ServerClock>,
    start: Instant,
    telemetry: Arc<Telemetry>,
}

impl Api {
    pub(crate) fn new(
        client: kube::Client,
        limit: ApiLimit,
        host: String,
        clock: Clock,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let (rate, until_fairness) = match limit {
            ApiLimit::Fixed(rate) => (Some(rate), false),
            ApiLimit::Off => (None, false),
            ApiLimit::UntilFairness(rate) => (Some(rate), true),
        };
        Self {
            client,
            clock,
            host,
            limiter: rate.map(|rate| Mutex::new(TokenBucket::new(rate))),
            until_fairness,
            is_quiet: false,
            server_is_fair: AtomicBool::new(false),
            reachable: AtomicBool::new(true),
            server_clock: Mutex::default(),
            start: Instant::now(),
            telemetry,
        }
    }

    /// Leaves it to the caller to tell that the server is away, and back.
    pub(crate) fn quiet(self) -> Self {
        Self {
            is_quiet: true,
            ..self
        }
    }

    /// Monotonic time of this process.
    pub(crate) fn uptime(&self) -> Uptime {
        Uptime::new(self.start.elapsed())
    }

    /// The instant at which [`Api::uptime`] will have this value.
    pub(crate) fn instant(&self, at: Uptime) -> Instant {
        self.start + at.since_start()
    }

    /// Server clock minus ours, once an answer carried a `Date`.
    pub(crate) fn clock_offset(&self) -> Option<SignedDuration> {
        self.server_clock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .offset()
    }

    /// Our clock was set: earlier comparisons mean nothing.
    pub(crate) fn forget_clock_offset(&self) {
        self.server_clock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .forget();
    }

    /// Calls, and returns the whole body of a 2xx answer of at most `bytes_max`.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        bytes_max: usize,
    ) -> Result<Bytes, ApiError> {
        self.wait_for_turn().await;
        let exchange = async {
            let response = self.send(&method, path, body).await?;
            read_answer(response, bytes_max).await
        };
        let timed = tokio::time::timeout(CALL_TIMEOUT, exchange).await;
        let outcome = timed.unwrap_or_else(|_| Err(no_answer_in_time()));
        self.note_reachable(&outcome);
        outcome
    }

    /// Opens a stream: the answer's body is left to the caller, unless it is a refusal.
    pub(crate) async fn open(&self, path: &str) -> Result<Body, ApiError> {
        self.wait_for_turn().await;
        let opening = async {
            let response = self.send(&Method::GET, path, None).await?;
            if response.status().is_success() {
                Ok(response.into_body())
            } else {
                read_answer(response, OBJECT_BYTES_MAX)
                    .await
                    .map(|_| Body::empty())
            }
        };
        let timed = tokio::time::timeout(CALL_TIMEOUT, opening).await;
        let outcome = timed.unwrap_or_else(|_| Err(no_answer_in_time()));
        self.note_reachable(&outcome);
        outcome
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Body>, ApiError> {
        let malformed = |error: &dyn std::fmt::Display| ApiError::Malformed(error.to_string());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, USER_AGENT_TEXT);
        let body = match body {
            None => Body::empty(),
            Some(value) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Body::from(serde_json::to_vec(value).map_err(|error| malformed(&error))?)
            }
        };
        let request = request.body(body).map_err(|error| malformed(&error))?;
        let begun = Instant::now();
        let result = self.client.send(request).await;
        let code = result
            .as_ref()
            .map_or(0, |response| response.status().as_u16());
        self.count_call(method, code, begun.elapsed());
        let response = result.map_err(|error| ApiError::Unreachable(transport_text(&error)))?;
        self.read_headers(response.headers());
        Ok(response)
    }

    fn count_call(&self, method: &Method, code: u16, duration: Duration) {
        let code = if code == 0 {
            "<error>".to_owned()
        } else {
            code.to_string()
        };
        let labels = [
            ("code", &*code),
            ("method", method.as_str()),
            ("host", &*self.host),
        ];
        self.telemetry
            .metrics()
            .count(metrics::REST_REQUESTS, &labels);
        let labels = [("verb", method.as_str()), ("host", &*self.host)];
        self.telemetry
            .metrics()
            .observe(metrics::REST_DURATION, &labels, duration);
    }

    fn read_headers(&self, headers: &HeaderMap) {
        if headers.contains_key(FAIRNESS_HEADER) {
            self.server_is_fair.store(true, Ordering::Relaxed);
        }
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(parse_http_date) {
            let mut clock = self
                .server_clock
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            clock.observe(date, (self.clock)());
        }
    }

    async fn wait_for_turn(&self) {
        let Some(limiter) = &self.limiter else { return };
        if self.until_fairness && self.server_is_fair.load(Ordering::Relaxed) {
            return;
        }
        let wait = {
            let now = self.uptime();
            limiter
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .reserve(now)
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Tells once when the server is lost, and once when it is back.
    fn note_reachable<T>(&self, outcome: &Result<T, ApiError>) {
        if self.is_quiet {
            return;
        }
        let error = match outcome {
            Err(ApiError::Unreachable(error)) if self.host.is_empty() => Some(error.clone()),
            Err(ApiError::Unreachable(error)) => Some(format!("{}: {error}", self.host)),
            _ => None,
        };
        let is_reachable = error.is_none();
        if self.reachable.swap(is_reachable, Ordering::Relaxed) != is_reachable {
            self.telemetry.set_missing("apiserver", error.clone());
            self.telemetry.tell(&Notice::ServerReachable {
                what: "reach the API server",
                error,
            });
        }
    }
}

/// One path segment: everything but unreserved characters (RFC 3986 2.3) percent-encoded.
pub(crate) fn segment(name: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn no_answer_in_time() -> ApiError {
    ApiError::Unreachable(format!("no answer within {} s", CALL_TIMEOUT.as_secs()))
}

async fn read_answer(response: Response<Body>, bytes_max: usize) -> Result<Bytes, ApiError> {
    let (head, body) = response.into_parts();
    let bytes = match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(ApiError::TooLarge(bytes_max));
        }
        Err(error) => return Err(ApiError::Unreachable(chain_words(&*error))),
    };
    if head.status.is_success() {
        return Ok(bytes);
    }
    let code = head.status.as_u16();
    let status = Status::from_json(&bytes).filter(|status| status.code == code);
    let status = status.unwrap_or_else(|| Status {
        code,
        reason: "",
        message: format!("the server answered {} without saying why", head.status),
        details: None,
        retry_after_seconds: None,
        continue_token: None,
    });
    let header = head
        .headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let seconds = header
        .or(status.retry_after_seconds.map(u64::from))
        .unwrap_or(0);
    let retry_after = Duration::from_secs(seconds).min(RETRY_AFTER_MAX);
    Err(ApiError::Refused {
        status: Box::new(status),
        retry_after,
    })
}

/// What went wrong, without the names of the layers that passed it on.
fn transport_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Service(cause) => chain_words(&**cause),
        other => chain_words(other),
    }
}
