//! Shell: sockets, TLS, timeouts and graceful stop around [`Server`]. It holds no policy of the
//! API.
//!
//! The caller binds the socket, owns the clock and decides when to stop. Every wait has an end: the
//! handshake, a request's head, the request as a whole, the stop.

mod body;
mod connection;
mod heads;
mod in_process;
mod linger;
mod lists;
mod meter;
mod pages;
mod stop;
mod tls;
mod upload;

#[cfg(test)]
mod tests;

use crate::authn::Peer;
use crate::handler::{self, Body, RequestLabels, Server};
use bytes::Bytes;
use connection::{serve_http1, serve_http2};
use everleaf_time::WallClock;
use heads::Heads;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use lists::Lists;
use meter::Underway;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use stop::{Stop, Stopped};
use tls::Tls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, rustls};
use upload::Upload;

pub use body::TimedBody;
pub use in_process::InProcess;
pub use lists::NotTaken;
pub use pages::{Beside, Page, PageBody, Pages};
pub use tls::{ServingCertificate, TlsError};

/// Open connections. Beyond it nobody is accepted until somebody leaves: they wait in the kernel's
/// queue.
pub const CONNECTIONS_MAX: usize = 60_000;
/// Handshakes past the client's hello at once. It keeps a storm from thrashing: those who wait are
/// served in turn instead of all timing out together.
pub const HANDSHAKES_MAX: usize = 512;
/// How long one of them counts: a client that takes longer goes on, and does not keep others
/// waiting.
pub const HANDSHAKE_TURN: Duration = Duration::from_secs(1);
/// From accept to the end of the handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the wish for a request to its complete head; also how long an idle HTTP/1.1 connection
/// lives.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
/// From a request's head to its answer's, and from there to the end of a list. Watches answer at
/// once and stream on.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a stop waits for requests to finish.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the server's own objects are put back when something is missing.
pub const INSTALL_INTERVAL: Duration = Duration::from_secs(60);

/// How often it is looked whether other certificates are revoked: open connections of theirs end
/// that much later.
pub const REVOCATIONS_INTERVAL: Duration = Duration::from_secs(1);
/// How long such a connection has for the answers that are under way: the request that brought the
/// revocation about may be one of its own. Whatever else it asks is answered with 401.
const REVOKED_GRACE: Duration = Duration::from_secs(1);

/// Pause after a failed accept (no file descriptors left, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `server` on `listener` until `shutdown` resolves; then lets requests finish, ends watches
/// cleanly, and returns.
///
/// `clock` is read once per request. Clients are told the client CAs' subjects as they are at the
/// handshake: Go's choose their certificate by it, and would show none for a CA that is new. The
/// server's own objects ([`Server::install`])
/// are looked after once a minute, and what is forgotten by itself ([`Server::forget`]); the first
/// time is the caller's.
///
/// # Errors
/// TLS cannot be set up. Later failures end one connection, not the server.
pub async fn run(
    listener: TcpListener,
    server: Arc<Server>,
    certificate: Arc<ServingCertificate>,
    clock: WallClock,
    shutdown: impl Future<Output = ()>,
) -> Result<(), TlsError> {
    run_beside(listener, server, certificate, (clock, None), shutdown).await
}

/// As [`run`], with pages beside the API.
///
/// # Errors
/// As [`run`].
pub async fn run_beside(
    listener: TcpListener,
    server: Arc<Server>,
    certificate: Arc<ServingCertificate>,
    (clock, beside): (WallClock, Option<Beside>),
    shutdown: impl Future<Output = ()>,
) -> Result<(), TlsError> {
    let shared = Arc::new(Shared {
        beside,
        ..Shared::new(server, &certificate, clock)?
    });
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stop = Stop::new();
    let caretaker = tokio::spawn(take_care(Arc::clone(&shared)));
    let revocations = tokio::spawn(follow_revocations(Arc::clone(&shared)));
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, address, permit) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &connections) => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        tokio::spawn(serve_connection(
            Arc::clone(&shared),
            (stream, address),
            stop.listener(),
            permit,
        ));
    }
    drop(listener);
    caretaker.abort();
    revocations.abort();
    shared.server.stop();
    if timeout(STOP_TIMEOUT, stop.finish()).await.is_err() {
        tracing::warn!("some connections did not finish in time and were cut");
    }
    Ok(())
}

/// Tells connections when the list of revoked certificates changes.
async fn follow_revocations(shared: Arc<Shared>) {
    let mut looks = tokio::time::interval(REVOCATIONS_INTERVAL);
    loop {
        looks.tick().await;
        let (authenticator, objects) = (shared.server.authenticator(), shared.server.objects());
        let revision = authenticator.revocations_revision(objects, (shared.clock)());
        shared
            .revocations
            .send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
    }
}

/// What every connection needs.
struct Shared {
    server: Arc<Server>,
    tls: Tls,
    handshakes: Semaphore,
    heads: Heads,
    lists: Lists,
    clock: WallClock,
    /// The revision of the list of revoked certificates, as of the last look.
    revocations: watch::Sender<u64>,
    /// What is served besides.
    beside: Option<Beside>,
}

impl Shared {
    fn new(
        server: Arc<Server>,
        certificate: &Arc<ServingCertificate>,
        clock: WallClock,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            tls: Tls::new(server.authenticator(), certificate)?,
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            heads: Heads::new(),
            lists: Lists::start(),
            revocations: watch::Sender::new(0),
            beside: None,
            server,
            clock,
        })
    }

    /// Completes when a certificate that this peer came with is revoked while it is connected.
    /// Whoever comes with one that is revoked already is answered, with 401.
    async fn is_revoked(&self, peer: &Peer) {
        if peer.certificates.is_empty() {
            return std::future::pending().await;
        }
        let mut changes = self.revocations.subscribe();
        while changes.changed().await.is_ok() {
            let (authenticator, objects) = (self.server.authenticator(), self.server.objects());
            if authenticator.has_revoked(peer, objects) {
                return;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, from) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, from.ip().to_canonical(), permit))
}

async fn serve_connection<S>(
    shared: Arc<Shared>,
    (stream, address): (S, IpAddr),
    stopped: Stopped,
    _permit: OwnedSemaphorePermit,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = match timeout(HANDSHAKE_TIMEOUT, handshake(&shared, stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            shared.server.metrics().count_handshake_error();
            let error = everleaf_tls::chain_words(&error);
            tracing::debug!(error, "a TLS handshake failed");
            return;
        }
        Err(_) => {
            shared.server.metrics().count_handshake_error();
            tracing::debug!("a TLS handshake took too long");
            return;
        }
    };
    let (_, session) = stream.get_ref();
    let certificates = session.peer_certificates().unwrap_or_default();
    let peer = Peer {
        address: Some(address),
        certificates: Arc::new(certificates.iter().map(|der| der.to_vec()).collect()),
        in_process: None,
    };
    let (cutter, whom) = (Arc::clone(&shared), peer.clone());
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let serving = async {
        match is_http2 {
            true => serve_http2(shared, peer, stream, stopped).await,
            false => serve_http1(shared, peer, stream, stopped).await,
        }
    };
    let cut = async {
        cutter.is_revoked(&whom).await;
        tokio::time::sleep(REVOKED_GRACE).await;
    };
    // Watches, too, end with it.
    let served = tokio::select! {
        served = serving => served,
        () = cut => {
            tracing::info!("a connection is cut: its client certificate was revoked");
            return;
        }
    };
    if let Err(error) = served {
        let error = everleaf_tls::chain_words(&error);
        tracing::debug!(error, "a connection ended early");
    }
}

/// The client's hello costs nothing to wait for; what follows is bounded.
async fn handshake<S>(shared: &Shared, stream: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let hello = acceptor.await?;
    let permit = shared
        .handshakes
        .acquire()
        .await
        .map_err(io::Error::other)?;
    let mut rest = pin!(hello.into_stream(shared.tls.config(shared.server.authenticator())));
    if let Ok(done) = timeout(HANDSHAKE_TURN, &mut rest).await {
        return done;
    }
    drop(permit);
    rest.await
}

/// `underway` is kept until the body has been read.
async fn serve_request(
    shared: &Shared,
    peer: &Peer,
    request: Request<Incoming>,
    underway: Option<Arc<Underway>>,
) -> Response<TimedBody> {
    if let Some(beside) = &shared.beside
        && beside.has(request.uri().path())
    {
        return page(beside, request, peer).await;
    }
    let began = Instant::now();
    let now = (shared.clock)();
    let (parts, body) = request.into_parts();
    let mut upload = Upload::new(parts.version, &parts.headers, body, underway);
    let is_head = parts.method == Method::HEAD;
    let patience = handler::patience(parts.uri.query()).unwrap_or(REQUEST_TIMEOUT);
    let (method, uri) = (parts.method.clone(), parts.uri.clone());
    let answer = shared
        .server
        .serve(Request::from_parts(parts, &mut upload), peer, now);
    let mut response = timeout(patience.min(REQUEST_TIMEOUT), answer)
        .await
        .unwrap_or_else(|_| shared.server.give_up(&method, &uri, now));
    if let Some(labels) = response.extensions().get::<RequestLabels>() {
        let metrics = shared.server.metrics();
        metrics.observe_duration(*labels, began.elapsed());
    }
    upload.finish(&mut response, began + REQUEST_TIMEOUT).await;
    if is_head {
        response = without_body(response);
    }
    response.map(|body| TimedBody::with_patience(body, REQUEST_TIMEOUT, &shared.lists))
}

/// What is no request of the API.
async fn page(beside: &Beside, request: Request<Incoming>, peer: &Peer) -> Response<TimedBody> {
    let answer = beside.pages.answer(request, peer);
    match timeout(REQUEST_TIMEOUT, answer).await {
        Ok(response) => response.map(TimedBody::of_page),
        Err(_) => {
            let mut late = Response::new(TimedBody::new(Body::full(Bytes::new())));
            *late.status_mut() = StatusCode::GATEWAY_TIMEOUT;
            late
        }
    }
}

/// The answer to a HEAD: the length of what a GET would get, and nothing of it (RFC 9110 section
/// 9.3.2). Over HTTP/1.1 hyper would see to that, over HTTP/2 it does not.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(bytes) = response.body().as_bytes() {
        let length = HeaderValue::from(bytes.len());
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    response.map(|_| Body::full(Bytes::new()))
}

async fn take_care(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(INSTALL_INTERVAL).await;
        let now = (shared.clock)();
        if let Err(error) = shared.server.install(now).await {
            tracing::warn!(%error, "an object of the server's own is missing and could not be written");
        }
        shared.server.forget(now).await;
    }
}
