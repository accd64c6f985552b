//! The small HTTP listeners behind `--metrics-bind-address` and `--tls-bind-address`: `/metrics`,
//! `/healthz`, `/livez`, `/readyz`. The first is plain HTTP without authentication: bind it where
//! only those may reach it who may know. The second tells strangers no more than yes or no.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

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

/// Who may read everything over TLS: given the certificates that a client has shown and proved to
/// hold the key of (none: it has shown none), why not.
pub type Admits = Arc<dyn Fn(&[CertificateDer<'static>]) -> Result<(), String> + Send + Sync>;

/// What a TLS listener shows, and to whom it tells everything.
#[derive(Clone)]
pub struct Door {
    /// Asked for its certificate at each handshake, so that it may be replaced meanwhile.
    pub config: Arc<ServerConfig>,
    /// Asked at each request that wants more than yes or no.
    pub admits: Admits,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door(…)")
    }
}

/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16;
/// Longest wait for a handshake, for a request's head, and for an answer under way to be read when
/// its connection is to end.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Longest life of a connection for metrics: then it ends after the answer under way. Without it,
/// clients that do not read their answers would keep all places.
const CONNECTION_MAX: Duration = Duration::from_secs(300);
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
    let serve_one = |stream| {
        let served = builder().serve_connection(TokioIo::new(stream), service.clone());
        async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection to {what} broke");
            }
        }
    };
    accept_each(listener, connections_max, what, serve_one).await;
}

/// Hands each connection to `serve_one`, at most `connections_max` at once, until dropped.
async fn accept_each<F>(
    listener: TcpListener,
    connections_max: usize,
    what: &'static str,
    serve_one: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
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
                let served = serve_one(stream);
                connections.spawn(async move {
                    served.await;
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

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX);
    builder
}

const PLAIN: &str = "the metrics listener";
const TLS: &str = "the TLS listener";

async fn serve(listener: TcpListener, observed: Arc<impl Observed>) {
    let serve_one = |stream| answer_all(stream, Arc::clone(&observed), PLAIN, || Ok(()));
    accept_each(listener, CONNECTIONS_MAX, PLAIN, serve_one).await;
}

async fn serve_tls(listener: TcpListener, observed: Arc<impl Observed>, door: Door) {
    let acceptor = TlsAcceptor::from(door.config);
    let serve_one = |stream| {
        let shaking = timeout(HEAD_MAX, acceptor.accept(stream));
        let (observed, admits) = (Arc::clone(&observed), Arc::clone(&door.admits));
        async move {
            let stream = match shaking.await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a handshake with {TLS} failed");
                    return;
                }
                Err(_) => {
                    tracing::debug!("a handshake with {TLS} took more than {HEAD_MAX:?}");
                    return;
                }
            };
            let shown = stream.get_ref().1.peer_certificates();
            let shown = shown.map(<[_]>::to_vec).unwrap_or_default();
            answer_all(stream, observed, TLS, move || admits(&shown)).await;
        }
    };
    accept_each(listener, CONNECTIONS_MAX, TLS, serve_one).await;
}

/// Answers one connection's requests. `admitted` says whether whoever asks may know everything.
async fn answer_all(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    observed: Arc<impl Observed>,
    what: &'static str,
    admitted: impl Fn() -> Result<(), String>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(
            request.method(),
            request.uri().path(),
            &*observed,
            &admitted,
        );
        async move { Ok::<_, Infallible>(response) }
    });
    let served = builder().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = tokio::time::sleep(CONNECTION_MAX) => {
            served.as_mut().graceful_shutdown();
            timeout(HEAD_MAX, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to {what} broke");
    }
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
    apart("metrics", PLAIN, listener, |listener| {
        serve(listener, observed)
    })
}

/// The same over TLS, and not for all: whom `door` does not admit learns from `/readyz` no more
/// than whether, and gets no `/metrics`.
///
/// # Errors
/// As [`serve_apart`].
pub fn serve_tls_apart(
    listener: std::net::TcpListener,
    observed: Arc<impl Observed>,
    door: Door,
) -> std::io::Result<Listening> {
    apart("metrics-tls", TLS, listener, |listener| {
        serve_tls(listener, observed, door)
    })
}

fn apart<F: Future<Output = ()>>(
    thread: &str,
    what: &'static str,
    listener: std::net::TcpListener,
    serve: impl FnOnce(TcpListener) -> F + Send + 'static,
) -> std::io::Result<Listening> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name(thread.to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => tokio::select! {
                        () = serve(listener) => {}
                        _ = stopped => {}
                    },
                    Err(error) => tracing::error!(%error, "{what} cannot be used"),
                }
            });
        })?;
    Ok(Listening {
        thread: Some(thread),
        stop: Some(stop),
    })
}

fn answer(
    method: &Method,
    path: &str,
    observed: &impl Observed,
    admitted: impl Fn() -> Result<(), String>,
) -> Response<Full<bytes::Bytes>> {
    let ok = "ok".to_owned();
    let (code, text) = match (method, path) {
        (&Method::GET, "/metrics") => match admitted() {
            Ok(()) => (StatusCode::OK, observed.metrics_text()),
            Err(reason) => (StatusCode::FORBIDDEN, format!("{reason}\n")),
        },
        (&Method::GET, "/healthz" | "/livez") => (StatusCode::OK, ok),
        (&Method::GET, "/readyz") => match (observed.check_ready(), admitted()) {
            (Ok(()), Ok(())) => match observed.remark() {
                Some(remark) => (StatusCode::OK, format!("ok: {remark}")),
                None => (StatusCode::OK, ok),
            },
            (Ok(()), Err(_)) => (StatusCode::OK, ok),
            (Err(reason), Ok(())) => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {reason}\n"),
            ),
            (Err(_), Err(_)) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
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
    use tokio::io::AsyncWriteExt as _;

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

    /// Who is not admitted learns yes or no, and why not where nothing else is told.
    #[test]
    fn strangers_learn_yes_or_no() {
        let well = Process {
            ready: Ok(()),
            remark: Some("standing by"),
        };
        let unwell = Process {
            ready: Err("no certificate yet".to_owned()),
            remark: None,
        };
        for (process, path, admitted, code, length) in [
            (&well, "/metrics", Ok(()), 200, "numbers".len()),
            (&well, "/metrics", Err("no"), 403, "no\n".len()),
            (&well, "/healthz", Err("no"), 200, "ok".len()),
            (&well, "/readyz", Ok(()), 200, "ok: standing by".len()),
            (&well, "/readyz", Err("no"), 200, "ok".len()),
            (&unwell, "/readyz", Err("no"), 503, "not ready\n".len()),
        ] {
            let admitted = || admitted.map_err(ToOwned::to_owned);
            let response = answer(&Method::GET, path, process, admitted);
            assert_eq!(response.status(), code, "{path}");
            let told = response.body().size_hint().exact();
            assert_eq!(told, u64::try_from(length).ok(), "{path}");
        }
    }

    /// A client that reads nothing of its answer gives its place back.
    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_though_its_answer_is_not_read() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let process = Arc::new(Process {
            ready: Ok(()),
            remark: None,
        });
        let begun = tokio::time::Instant::now();
        let served = answer_all(ours, process, PLAIN, || Ok(()));
        let (_, ()) = tokio::join!(
            theirs.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
            served
        );
        assert_eq!(begun.elapsed(), CONNECTION_MAX + HEAD_MAX);
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
