//! The small HTTP listener behind `--metrics-bind-address`: `/metrics`, `/healthz`, `/livez`,
//! `/readyz`. Plain HTTP, no authentication: bind it where only those may reach it who may know.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

/// What a process tells about itself.
pub trait Observed: Send + Sync + 'static {
    /// Body of `/metrics`: Prometheus text format 0.0.4.
    fn metrics_text(&self) -> String;

    /// Whether it does its work.
    ///
    /// # Errors
    /// Why not, for people.
    fn check_ready(&self) -> Result<(), String>;

    /// What to know about a process although it is ready.
    fn remark(&self) -> Option<String> {
        None
    }
}

/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16;
/// Longest wait for a request's head.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Pause after a failed accept (no descriptors left, for one).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves plain HTTP/1.1 until dropped: at most `connections_max` connections at once, a bounded
/// wait for each head. `what` it is stands in the log; a run of failed accepts is told once.
pub async fn serve_plain<S, B>(
    listener: TcpListener,
    connections_max: usize,
    what: &'static str,
    service: S,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let places = Arc::new(Semaphore::new(connections_max));
    let mut connections = tokio::task::JoinSet::new();
    let mut is_told = false;
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                is_told = false;
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_MAX)
                    .serve_connection(TokioIo::new(stream), service.clone());
                connections.spawn(async move {
                    if let Err(error) = served.await {
                        tracing::debug!(%error, "a connection to {what} broke");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%error, "{what} cannot accept a connection; it goes on trying");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(listener: TcpListener, observed: Arc<impl Observed>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), &*observed);
        async move { Ok::<_, Infallible>(response) }
    });
    serve_plain(listener, CONNECTIONS_MAX, "the metrics listener", service).await;
}

/// A listener that answers on a thread of its own until this is dropped.
#[derive(Debug)]
pub struct Listening {
    thread: Option<std::thread::JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It is told to end, and panics in it were told by the runtime.
            let _ = thread.join();
        }
    }
}

/// Serves on a thread of its own, so that what holds up the caller, as a slow disk does, holds up
/// no answer.
///
/// # Errors
/// No thread, or none that can wait for connections.
pub fn serve_apart(
    listener: std::net::TcpListener,
    observed: Arc<impl Observed>,
) -> std::io::Result<Listening> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => tokio::select! {
                        () = serve(listener, observed) => {}
                        _ = stopped => {}
                    },
                    Err(error) => tracing::error!(%error, "the metrics listener cannot be used"),
                }
            });
        })?;
    Ok(Listening {
        thread: Some(thread),
        stop: Some(stop),
    })
}

fn answer(method: &Method, path: &str, observed: &impl Observed) -> Response<Full<bytes::Bytes>> {
    let ok = "ok".to_owned();
    let (code, text) = match (method, path) {
        (&Method::GET, "/metrics") => (StatusCode::OK, observed.metrics_text()),
        (&Method::GET, "/healthz" | "/livez") => (StatusCode::OK, ok),
        (&Method::GET, "/readyz") => match observed.check_ready() {
            Ok(()) => match observed.remark() {
                Some(remark) => (StatusCode::OK, format!("ok: {remark}")),
                None => (StatusCode::OK, ok),
            },
            Err(reason) => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {reason}\n"),
            ),
        },
        (&Method::GET, _) => (
            StatusCode::NOT_FOUND,
            "try /metrics, /healthz, /livez or /readyz\n".to_owned(),
        ),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned()),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = code;
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    struct Process {
        ready: Result<(), String>,
        remark: Option<&'static str>,
    }

    impl Observed for Process {
        fn metrics_text(&self) -> String {
            "numbers".to_owned()
        }

        fn check_ready(&self) -> Result<(), String> {
            self.ready.clone()
        }

        fn remark(&self) -> Option<String> {
            self.remark.map(ToOwned::to_owned)
        }
    }

    fn listen(process: Process) -> (SocketAddr, Listening) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (address, serve_apart(listener, Arc::new(process)).unwrap())
    }

    /// The status and the body.
    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        format!("{} {body}", head.split(' ').nth(1).unwrap())
    }

    #[test]
    fn each_path_has_its_answer() {
        let (well, _listening) = listen(Process {
            ready: Ok(()),
            remark: None,
        });
        let (remarkable, _listening) = listen(Process {
            ready: Ok(()),
            remark: Some("standing by"),
        });
        let (unwell, _listening) = listen(Process {
            ready: Err("no certificate yet".to_owned()),
            remark: Some("standing by"),
        });
        for (address, request, expected) in [
            (unwell, "GET /metrics", "200 numbers"),
            (unwell, "GET /healthz", "200 ok"),
            (unwell, "GET /livez?verbose", "200 ok"),
            (unwell, "GET /readyz", "503 not ready: no certificate yet\n"),
            (well, "GET /readyz", "200 ok"),
            (remarkable, "GET /readyz", "200 ok: standing by"),
            (
                well,
                "GET /",
                "404 try /metrics, /healthz, /livez or /readyz\n",
            ),
            (well, "POST /metrics", "405 GET only\n"),
        ] {
            assert_eq!(ask(address, request), expected, "{request}");
        }
    }

    /// Nothing of the caller runs while it is asked, and nobody is asked once it is dropped.
    #[test]
    fn it_answers_while_its_owner_is_held_up() {
        let (address, listening) = listen(Process {
            ready: Ok(()),
            remark: None,
        });
        for _ in 0..2 {
            assert_eq!(ask(address, "GET /healthz"), "200 ok");
        }
        drop(listening);
        TcpStream::connect(address).unwrap_err();
    }
}
