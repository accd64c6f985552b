//! What stands between an agent and its server: a balancer that forgets connections, and proxies.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use everleaf_pki::Credential;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// By which [`hurried`] moves the clock.
const STEP: Duration = Duration::from_millis(100);

/// Passes bytes on, until it swallows what comes.
pub(crate) struct Forwarder {
    pub(crate) address: SocketAddr,
    swallow: tokio::sync::broadcast::Sender<()>,
}

impl Forwarder {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (swallow, _) = tokio::sync::broadcast::channel(1);
        let told = swallow.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut told = told.subscribe();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    let is_swallowed = tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => false,
                        _ = told.recv() => true,
                    };
                    if is_swallowed {
                        // Open, and as silent as a grave.
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { address, swallow }
    }

    /// Nothing comes through the connections that are open now, and nobody is told; later ones are
    /// none the worse.
    pub(crate) fn swallow(&self) {
        self.swallow.send(()).unwrap();
    }
}

/// Runs `future` on a clock that is moved step by step, as fast as the bytes under way allow; and
/// how long it took by that clock.
pub(crate) async fn hurried<T>(future: impl Future<Output = T>) -> (T, Duration) {
    tokio::time::pause();
    let began = Instant::now();
    let mut future = std::pin::pin!(future);
    let outcome = loop {
        // While a thread is busy, the clock does not run on by itself: bytes between sockets are no
        // reason for it to wait.
        let busy = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(2)));
        tokio::select! {
            outcome = &mut future => break outcome,
            _ = busy => tokio::time::advance(STEP).await,
        }
    };
    let took = began.elapsed();
    tokio::time::resume();
    (outcome, took)
}

/// How a proxy takes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Connect,
    /// Answers CONNECT with this, and closes.
    Answers(&'static str),
    Socks5,
    /// Refuses each request with this reply.
    Socks5Replies(u8),
}

/// A proxy. It wants `u:p@ss` when it `wants_login`.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// Where it was asked to go.
    pub(crate) targets: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) async fn start(manner: Manner, wants_login: bool, tls: Option<&Credential>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let targets: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&targets);
        let acceptor =
            tls.map(|credential| TlsAcceptor::from(Arc::new(super::server_config(credential))));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, acceptor) = (Arc::clone(&log), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, manner, wants_login, &log).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(tls) => serve(tls, manner, wants_login, &log).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, targets }
    }
}

async fn serve(
    mut near: impl AsyncRead + AsyncWrite + Unpin,
    manner: Manner,
    wants_login: bool,
    log: &Mutex<Vec<String>>,
) -> Option<()> {
    let target = match manner {
        Manner::Connect | Manner::Answers(_) => connect_target(&mut near, wants_login).await?,
        Manner::Socks5 | Manner::Socks5Replies(_) => socks_target(&mut near, wants_login).await?,
    };
    log.lock().unwrap().push(target.clone());
    match manner {
        Manner::Answers(text) => {
            near.write_all(text.as_bytes()).await.ok()?;
            return near.shutdown().await.ok();
        }
        Manner::Socks5Replies(code) => {
            let reply = [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
            return near.write_all(&reply).await.ok();
        }
        Manner::Connect => {
            let answer = b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n";
            near.write_all(answer).await.ok()?;
        }
        Manner::Socks5 => near.write_all(&[5, 0, 0, 3, 1, b'x', 0, 0]).await.ok()?,
    }
    let mut far = TcpStream::connect(target).await.ok()?;
    copy_bidirectional(&mut near, &mut far).await.ok()?;
    Some(())
}

async fn connect_target(
    near: &mut (impl AsyncRead + AsyncWrite + Unpin),
    wants_login: bool,
) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(near.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let expected = format!(
        "Proxy-Authorization: Basic {}\r\n",
        BASE64_STANDARD.encode("u:p@ss")
    );
    if wants_login != head.contains(&expected) {
        let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        near.write_all(answer).await.ok()?;
        return None;
    }
    let mut words = head.split(' ');
    assert_eq!(words.next(), Some("CONNECT"));
    words.next().map(str::to_owned)
}

async fn socks_target(
    near: &mut (impl AsyncRead + AsyncWrite + Unpin),
    wants_login: bool,
) -> Option<String> {
    let mut greeting = [0; 2];
    near.read_exact(&mut greeting).await.ok()?;
    let mut methods = vec![0; usize::from(greeting[1])];
    near.read_exact(&mut methods).await.ok()?;
    let method = if wants_login { 2 } else { 0 };
    if greeting[0] != 5 || !methods.contains(&method) {
        near.write_all(&[5, 0xff]).await.ok()?;
        return None;
    }
    near.write_all(&[5, method]).await.ok()?;
    if wants_login {
        let _version = near.read_u8().await.ok()?;
        let login = (read_text(near).await?, read_text(near).await?);
        let is_right = login == ("u".to_owned(), "p@ss".to_owned());
        near.write_all(&[1, u8::from(!is_right)]).await.ok()?;
        if !is_right {
            return None;
        }
    }
    let mut head = [0; 4];
    near.read_exact(&mut head).await.ok()?;
    let host = match head[3] {
        1 => {
            let mut bytes = [0; 4];
            near.read_exact(&mut bytes).await.ok()?;
            Ipv4Addr::from(bytes).to_string()
        }
        3 => read_text(near).await?,
        _ => return None,
    };
    let port = near.read_u16().await.ok()?;
    Some(format!("{host}:{port}"))
}

async fn read_text(near: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = vec![0; usize::from(near.read_u8().await.ok()?)];
    near.read_exact(&mut bytes).await.ok()?;
    String::from_utf8(bytes).ok()
}
