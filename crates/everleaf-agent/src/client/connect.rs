//! One connection: TCP, a proxy if there is one, TLS, then HTTP/2 or HTTP/1.1, whichever the server
//! takes.

use super::access::{Access, Identity};
use super::failure::Failure;
use super::proxy::{Environment, Proxy, proxy_for};
use super::tls::{self, LastAuthorities};
use crate::clock::Clock;
use crate::kubeconfig::{Cluster, ProxyKind};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest wait for a TCP connection.
const DIAL_MAX: Duration = Duration::from_secs(30);
/// Longest wait for a proxy's answer or a TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Silence after which the kernel asks whether the peer is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Silence on an HTTP/2 connection in use after which the peer is asked whether it is still there,
/// as client-go asks.
const PING_AFTER: Duration = Duration::from_secs(30);
/// Longest wait for its answer; then the connection is taken for dead. (15 s in client-go: we want
/// to be back, with the pause before the next attempt, 45 s after the last sign of life.)
const PING_ANSWER_MAX: Duration = Duration::from_secs(10);
/// Largest response head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most header lines of a response over HTTP/1.1; a server may warn of many fields.
const HEAD_LINES_MAX: usize = 1_000;
/// Most bytes of one answer, and of all on one HTTP/2 connection, that are on their way unread.
const WINDOW_BYTES: u32 = 1 << 20;

/// What sends requests over one connection. Dropping it closes the connection after the requests in
/// flight.
pub(super) enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    /// Clones share the connection.
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready(),
            Self::Http2(sender) => sender.is_ready(),
        }
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<http::Response<Incoming>> {
        match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}

/// What connections are made with.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) environment: Environment,
    pub(super) allows_http2: bool,
    pub(super) authorities: LastAuthorities,
}

/// A byte stream to the server, direct or through a proxy.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connector {
    /// The proxy on the way to a cluster, if there is one.
    pub(super) fn proxy(&self, cluster: &Cluster) -> Result<Option<Proxy>, Failure> {
        proxy_for(cluster, &self.environment)
    }

    /// Opens a connection that presents the identity of `access`.
    pub(super) async fn connect(
        &self,
        access: &Access,
        proxy: Option<&Proxy>,
    ) -> Result<Sender, Failure> {
        let cluster = &*access.cluster;
        if cluster.server.is_plain() {
            return self.connect_plainly(access, proxy).await;
        }
        let config = tls::of_server(access, &self.clock, &self.authorities, self.allows_http2)?;
        let name = cluster
            .tls_server_name
            .as_deref()
            .unwrap_or(cluster.server.host())
            .to_owned();
        let name = ServerName::try_from(name)
            .map_err(|_| Failure::unreachable(format!("{}: not a host name", cluster.server)))?;
        let stream = self.dial(cluster, proxy).await?;
        let sender = self.greet(cluster, config, name, stream).await;
        sender.map_err(|failure| match proxy {
            None => failure,
            Some(proxy) => Failure {
                message: format!("{} (reached through the {proxy})", failure.message),
                ..failure
            },
        })
    }

    /// Nobody is known by name here, on either side.
    async fn connect_plainly(
        &self,
        access: &Access,
        proxy: Option<&Proxy>,
    ) -> Result<Sender, Failure> {
        let cluster = &*access.cluster;
        if access.identity != Identity::Anonymous {
            return Err(Failure::unreachable(format!(
                "{}: credentials are only sent over https",
                cluster.server
            )));
        }
        let stream = self.dial(cluster, proxy).await?;
        http1_over(stream).await.map_err(broken(cluster))
    }

    /// Connects to the server, through the proxy if there is one.
    async fn dial(
        &self,
        cluster: &Cluster,
        proxy: Option<&Proxy>,
    ) -> Result<Box<dyn Stream>, Failure> {
        let Some(proxy) = proxy else {
            let (host, port) = (cluster.server.host(), cluster.server.port());
            let tcp = dial(host, port).await.map_err(|why| {
                Failure::unreachable(format!("cannot connect to {host}:{port}: {why}"))
            })?;
            return Ok(Box::new(tcp));
        };
        self.dial_through(cluster, proxy).await
    }

    async fn dial_through(
        &self,
        cluster: &Cluster,
        proxy: &Proxy,
    ) -> Result<Box<dyn Stream>, Failure> {
        let (host, port) = (proxy.url.host(), proxy.url.port());
        let tcp = dial(host, port)
            .await
            .map_err(|why| proxy.unreachable(&why))?;
        let stream: Box<dyn Stream> = match proxy.url.kind() {
            ProxyKind::Http | ProxyKind::Socks5 => Box::new(tcp),
            ProxyKind::Https => {
                let config = Arc::new(tls::of_proxy(cluster, &self.clock)?);
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|_| proxy.unreachable("its host is no host name"))?;
                let handshake = TlsConnector::from(config).connect(name, tcp);
                let tls = tokio::time::timeout(HANDSHAKE_MAX, handshake)
                    .await
                    .map_err(|_| proxy.unreachable(&none_within("TLS handshake", HANDSHAKE_MAX)))?
                    .map_err(|error| {
                        proxy.unreachable(&tls::proxy_text(self.clock.wall(), &error))
                    })?;
                Box::new(tls)
            }
        };
        let server = &cluster.server;
        let tunnel = proxy.tunnel(stream, server.host(), server.port());
        tokio::time::timeout(HANDSHAKE_MAX, tunnel)
            .await
            .map_err(|_| proxy.unreachable(&none_within("answer", HANDSHAKE_MAX)))?
    }

    /// TLS, and the protocol that comes out of it.
    async fn greet(
        &self,
        cluster: &Cluster,
        config: rustls::ClientConfig,
        name: ServerName<'static>,
        stream: Box<dyn Stream>,
    ) -> Result<Sender, Failure> {
        let server = &cluster.server;
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let tls = tokio::time::timeout(HANDSHAKE_MAX, handshake)
            .await
            .map_err(|_| {
                let what = none_within("TLS handshake", HANDSHAKE_MAX);
                Failure::unreachable(format!("{server}: {what}"))
            })?
            .map_err(|error| tls::failure_of(cluster, self.clock.wall(), &error))?;
        if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_AFTER)
                .keep_alive_timeout(PING_ANSWER_MAX)
                .initial_stream_window_size(WINDOW_BYTES)
                .initial_connection_window_size(WINDOW_BYTES)
                .max_header_list_size(HEAD_BYTES_MAX as u32)
                .handshake(TokioIo::new(tls))
                .await
                .map_err(broken(cluster))?;
            // Ends when the senders are dropped and nothing is in flight; its errors reach the
            // requests.
            tokio::spawn(connection);
            return Ok(Sender::Http2(sender));
        }
        http1_over(tls).await.map_err(broken(cluster))
    }
}

async fn http1_over(stream: impl Stream + 'static) -> hyper::Result<Sender> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_LINES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    // Ends when the sender is dropped and nothing is in flight; its errors reach the request.
    tokio::spawn(connection);
    Ok(Sender::Http1(sender))
}

fn broken(cluster: &Cluster) -> impl Fn(hyper::Error) -> Failure {
    move |error| {
        let why = everleaf_tls::chain_words(&error);
        Failure::unreachable(format!("{}: {why}", cluster.server))
    }
}

fn none_within(what: &str, limit: Duration) -> String {
    format!("no {what} within {} s", limit.as_secs())
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let stream = tokio::time::timeout(DIAL_MAX, TcpStream::connect((host, port)))
        .await
        .map_err(|_| none_within("connection", DIAL_MAX))?
        .map_err(|error| error.to_string())?;
    // Both only tune the connection; without them it still works.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE);
    Ok(stream)
}
