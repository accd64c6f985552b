//! Calls to the API server: one request, one answer, and what the answer says besides its body.
//!
//! Over `kube::Client`, so the transport is a seam: TLS with a kubeconfig's credential, or the
//! server's own tower service in the same process. Each call is limited in rate, time and size;
//! each answer's `Date` feeds the estimate of the server's clock; a write passes the
//! [`gate`] first. Retrying is not done
//! here: the queue decides when to come back.

use crate::bucket::TokenBucket;
use crate::call::{self, Answer, Call, CallError, Expect, OBJECT_BYTES_MAX, read_answer};
use crate::config::ApiLimit;
use crate::gate::{self, Gate};
use crate::metrics;
use crate::notice::Notice;
use crate::skew::ServerClock;
use crate::telemetry::Telemetry;
use everleaf_api::http_date::http_date;
use everleaf_time::{Monotonic, Now, WallClock};
use everleaf_tls::chain_words;
use http::header::{DATE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::{BodyExt, Limited};
use jiff::SignedDuration;
use kube::client::Body;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Longest time for one call, watches excepted.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Whom the server's audit log, metrics and field managers name.
const USER_AGENT_TEXT: &str = concat!("everleaf-controllers/", env!("CARGO_PKG_VERSION"));

/// See the module documentation.
pub(crate) struct Api {
    client: kube::Client,
    clock: WallClock,
    /// Where writes wait for their permission; `None`: nobody else may write instead.
    gate: Option<Gate>,
    host: String,
    /// `None`: not limited.
    limiter: Option<Mutex<TokenBucket>>,
    /// The limit is not for an Everleaf server.
    unless_everleaf: bool,
    /// Somebody else tells when the server is away.
    is_quiet: bool,
    server_is_everleaf: AtomicBool,
    /// No call is made any more.
    is_closed: AtomicBool,
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
        clock: WallClock,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let (rate, unless_everleaf) = match limit {
            ApiLimit::Fixed(rate) => (Some(rate), false),
            ApiLimit::Off => (None, false),
            ApiLimit::UnlessEverleaf(rate) => (Some(rate), true),
        };
        Self {
            client,
            clock,
            gate: None,
            host,
            limiter: rate.map(|rate| Mutex::new(TokenBucket::new(rate))),
            unless_everleaf,
            is_quiet: false,
            server_is_everleaf: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
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

    /// Has writes pass this gate.
    pub(crate) fn behind(self, gate: Option<Gate>) -> Self {
        Self { gate, ..self }
    }

    /// From now on every call fails before it is made.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Monotonic time of this process.
    pub(crate) fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(self.start.elapsed())
    }

    /// Both clocks.
    pub(crate) fn now(&self) -> Now {
        Now {
            wall: (self.clock)(),
            monotonic: self.monotonic(),
        }
    }

    /// The instant at which [`Api::monotonic`] will have this value.
    pub(crate) fn instant(&self, at: Monotonic) -> Instant {
        self.start + at.since_origin()
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

    /// Makes a call that has a whole answer.
    pub(crate) async fn call(&self, call: &Call) -> Answer {
        let bytes_max = match call.expect {
            Expect::Whole(bytes_max) => bytes_max,
            Expect::Stream => OBJECT_BYTES_MAX,
        };
        self.exchange(&call.method, async {
            let response = self.send(call).await?;
            read(response, bytes_max).await
        })
        .await
    }

    /// Asks the server what it is, where that decides about the limit of calls. One that does not
    /// answer is what it was.
    pub(crate) async fn look_at_version(&self) {
        if !self.unless_everleaf {
            return;
        }
        let call = Call::new(Method::GET, "/version", None);
        if let Ok(body) = self.call(&call).await {
            let version: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let name = version["gitVersion"].as_str().unwrap_or_default();
            self.server_is_everleaf
                .store(call::is_everleaf(name), Ordering::Relaxed);
        }
    }

    /// Opens a stream: the answer's body is left to the caller, unless it is a refusal.
    pub(crate) async fn open(&self, call: &Call) -> Result<Body, CallError> {
        self.exchange(&call.method, async {
            let response = self.send(call).await?;
            if response.status().is_success() {
                return Ok(response.into_body());
            }
            read(response, OBJECT_BYTES_MAX)
                .await
                .map(|_| Body::empty())
        })
        .await
    }

    async fn exchange<T>(
        &self,
        method: &Method,
        exchange: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        self.wait_for_turn().await;
        let exchange = async {
            if self.is_closed.load(Ordering::SeqCst) {
                return Err(CallError::Unreachable("this process stops".to_owned()));
            }
            let timed = tokio::time::timeout(CALL_TIMEOUT, exchange).await;
            let outcome = timed.unwrap_or_else(|_| {
                let seconds = CALL_TIMEOUT.as_secs();
                Err(CallError::Unreachable(format!(
                    "no answer within {seconds} s"
                )))
            });
            self.note_reachable(&outcome);
            outcome
        };
        let gate = self.gate.as_ref().filter(|_| !method.is_safe());
        let Some(gate) = gate else {
            return exchange.await;
        };
        let passed = gate::pass(gate, || self.now(), exchange).await;
        passed.unwrap_or_else(|gate::Shut| {
            self.telemetry.metrics().count(metrics::WRITES_STOPPED, &[]);
            Err(CallError::Unreachable(
                "stopped, since another process may lead meanwhile".to_owned(),
            ))
        })
    }

    async fn send(&self, call: &Call) -> Result<Response<Body>, CallError> {
        let method = &call.method;
        let mut request = call.request()?.map(Body::from);
        let agent = HeaderValue::from_static(USER_AGENT_TEXT);
        request.headers_mut().insert(USER_AGENT, agent);
        let begun = Instant::now();
        let result = self.client.send(request).await;
        let code = result
            .as_ref()
            .map_or(0, |response| response.status().as_u16());
        self.count_call(method, code, begun.elapsed());
        let response = result.map_err(|error| CallError::Unreachable(transport_text(&error)))?;
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
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(http_date) {
            let mut clock = self
                .server_clock
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            clock.observe(date, (self.clock)());
        }
    }

    async fn wait_for_turn(&self) {
        let Some(limiter) = &self.limiter else { return };
        if self.unless_everleaf && self.server_is_everleaf.load(Ordering::Relaxed) {
            return;
        }
        let wait = {
            let now = self.monotonic();
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
    fn note_reachable<T>(&self, outcome: &Result<T, CallError>) {
        if self.is_quiet {
            return;
        }
        let is_refused = matches!(outcome, Err(error) if error.code() == 401);
        if is_refused || outcome.is_ok() {
            let why = || outcome.as_ref().err().map(|error| error.advised(""));
            self.telemetry
                .set_missing("credential", is_refused.then(why).flatten());
        }
        let error = match outcome {
            Err(CallError::Unreachable(error)) if self.host.is_empty() => Some(error.clone()),
            Err(CallError::Unreachable(error)) => Some(format!("{}: {error}", self.host)),
            _ => None,
        };
        let is_reachable = error.is_none();
        if self.reachable.swap(is_reachable, Ordering::Relaxed) != is_reachable {
            self.telemetry.set_missing("apiserver", error.clone());
            self.telemetry.tell(&Notice::ServerReachable {
                what: "reach the API server".to_owned(),
                error,
            });
        }
    }
}

async fn read(response: Response<Body>, bytes_max: usize) -> Answer {
    let (head, body) = response.into_parts();
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => read_answer(head.status, &head.headers, collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(CallError::TooLarge(bytes_max))
        }
        Err(error) => Err(CallError::Unreachable(chain_words(&*error))),
    }
}

/// What went wrong, without the names of the layers that passed it on.
pub fn transport_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Service(cause) => chain_words(&**cause),
        other => chain_words(other),
    }
}
