//! `/metrics`, `/livez`, `/readyz` and `/healthz` of the controllers, over plain HTTP.

use anyhow::{Context, Result};
use bytes::Bytes;
use everleaf_controllers::Telemetry;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at the same time; a scraper and a probe need two.
const CONNECTIONS_MAX: usize = 16;
/// Longest that a client may take to say what it wants.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens; the task ends with the runtime.
pub(crate) async fn start(address: SocketAddr, telemetry: Arc<Telemetry>) -> Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (--metrics-bind-address)"))?;
    tokio::spawn(serve(listener, telemetry));
    Ok(())
}

async fn serve(listener: TcpListener, telemetry: Arc<Telemetry>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let telemetry = Arc::clone(&telemetry);
        tokio::spawn(async move {
            let _permit = permit;
            let service = service_fn(|request| {
                let answer = answer(&request, &telemetry);
                async { Ok::<_, Infallible>(answer) }
            });
            // A client that goes away is no news.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(request: &Request<Incoming>, telemetry: &Telemetry) -> Response<Full<Bytes>> {
    let (status, body) = match request.uri().path() {
        "/metrics" => (StatusCode::OK, telemetry.metrics_text()),
        "/livez" | "/healthz" => (StatusCode::OK, "ok".to_owned()),
        "/readyz" => match telemetry.ready() {
            Ok(()) => (StatusCode::OK, "ok".to_owned()),
            Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n")),
        },
        _ => (
            StatusCode::NOT_FOUND,
            "try /metrics, /livez, /readyz or /healthz".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; version=0.0.4"),
    );
    response
}
