//! Requests over connections: which to use, to keep and to give up, for whoever speaks to an API
//! server.
//!
//! A connection is only ever used for an equal [`Access`], so that a swapped credential means new
//! connections. One that swallows what it is given (a balancer that forgot it, a peer that lost
//! power) is found out within 45 s: over HTTP/2 by pings, over HTTP/1.1, which has none, by watches
//! that the server is to end soon. It refuses to know what is asked, and when to ask again.

use super::access::{Access, Identity};
use super::body::Body;
use super::connect::{Connector, Sender};
use super::failure::Failure;
use super::proxy::{Environment, Proxy};
use crate::clock::Clock;
use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use jiff::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// A connection unused for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Most connections kept for reuse.
const IDLE_CONNECTIONS_MAX: usize = 16;
/// Longest watch over a connection that cannot be asked whether it lives.
const WATCH_MAX_UNASKED: Duration = Duration::from_secs(30);
/// How long after its time a server may end a watch before the connection is taken for dead.
const WATCH_GRACE: Duration = Duration::from_secs(10);

/// Sends requests. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Transport {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connector: Connector,
    pool: Arc<Pool>,
    /// The proxy that people know of.
    told_proxy: Mutex<Option<Proxy>>,
}

impl Transport {
    /// Judges server certificates by `clock`; takes proxies, and whether HTTP/2 is wanted
    /// (`DISABLE_HTTP2`, as in client-go), from this process's environment.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let is_http2_off = std::env::var_os("DISABLE_HTTP2").is_some_and(|value| !value.is_empty());
        Self::with(clock, Environment::of_process(), !is_http2_off)
    }

    pub(super) fn with(
        clock: Arc<dyn Clock>,
        environment: Environment,
        allows_http2: bool,
    ) -> Self {
        let connector = Connector {
            clock,
            environment,
            allows_http2,
            authorities: Default::default(),
        };
        Self {
            shared: Arc::new(Shared {
                connector,
                pool: Arc::default(),
                told_proxy: Mutex::default(),
            }),
        }
    }

    /// The same, without the connections: its first request opens one of its own.
    pub fn fresh(&self) -> Self {
        let Connector {
            clock,
            environment,
            allows_http2,
            ..
        } = &self.shared.connector;
        Self::with(Arc::clone(clock), environment.clone(), *allows_http2)
    }

    /// The time by which server certificates are judged.
    pub fn now(&self) -> Timestamp {
        self.shared.connector.clock.wall()
    }

    /// Sends one request and returns when its response head is there. The URI of `request` is a
    /// path, maybe with a query; server and identity come from `access`. Waits as long as the
    /// caller does.
    ///
    /// # Errors
    /// [`super::FailureClass::Unreachable`] or `ServerCertificateDates`; what a server answers is
    /// no failure here.
    pub async fn send(
        &self,
        access: &Access,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Body>, Failure> {
        let pool = &self.shared.pool;
        if let Some(connection) = pool.take(access) {
            match self.exchange(access, connection, &request).await {
                Ok(response) => return Ok(response),
                // The server had closed it meanwhile. All our requests can be repeated (a create
                // names its object, an update its version), so that a second try does no harm.
                Err(SendError::Broken(_)) => {}
                Err(SendError::Unfit(failure)) => return Err(failure),
            }
        }
        let proxy = self.shared.connector.proxy(&access.cluster)?;
        self.tell(access, proxy.as_ref());
        let sender = self
            .shared
            .connector
            .connect(access, proxy.as_ref())
            .await?;
        let connection = Connection {
            access: access.clone(),
            sender,
            number: pool.number.fetch_add(1, Ordering::Relaxed),
        };
        // Others may use it from now on.
        pool.share(&connection);
        let sent = self.exchange(access, connection, &request).await;
        sent.map_err(|error| match error {
            SendError::Unfit(failure) => failure,
            SendError::Broken(error) => {
                let why = everleaf_tls::chain_words(&error);
                Failure::unreachable(format!("{}: {why}", access.cluster.server))
            }
        })
    }

    async fn exchange(
        &self,
        access: &Access,
        mut connection: Connection,
        request: &Request<Full<Bytes>>,
    ) -> Result<Response<Body>, SendError> {
        let is_http2 = connection.sender.is_http2();
        let (request, watch_max) =
            addressed(access, request, is_http2).map_err(SendError::Unfit)?;
        // Whoever gave up waiting, or failed, leaves a connection that nobody should try next.
        let mut doubt = Doubt {
            pool: &self.shared.pool,
            number: connection.number,
            is_dispelled: false,
        };
        let response = connection.sender.send(request).await;
        let response = response.map_err(SendError::Broken)?;
        doubt.is_dispelled = true;
        let ticket = Ticket {
            pool: Arc::downgrade(&self.shared.pool),
            connection,
        };
        let silence_max = watch_max.filter(|_| response.status().is_success());
        let server = access.cluster.server.to_string();
        Ok(response.map(|body: Incoming| Body::new(body, server, silence_max, ticket)))
    }

    /// Closes every idle connection that presents another client certificate than `access` does,
    /// and returns how many. Those in use end with their request.
    pub fn close_others(&self, access: &Access) -> usize {
        let mut idle = self.shared.pool.lock();
        let before = idle.connections.len();
        idle.connections.retain(|(connection, _)| {
            let presented = &connection.access;
            *presented == *access || !matches!(presented.identity, Identity::Certificate(_))
        });
        before - idle.connections.len()
    }

    /// Closes every idle connection.
    #[cfg(test)]
    pub(super) fn close_idle(&self) {
        self.shared.pool.lock().connections.clear();
    }

    /// Once per change: that a proxy is used is seen nowhere else while all goes well.
    fn tell(&self, access: &Access, proxy: Option<&Proxy>) {
        let mut told = self
            .shared
            .told_proxy
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() == proxy {
            return;
        }
        *told = proxy.cloned();
        if let Some(proxy) = proxy {
            let server = &access.cluster.server;
            tracing::info!(%server, "the API server is reached through the {proxy}");
        }
    }
}

/// Why a connection brought no answer.
enum SendError {
    /// The request itself.
    Unfit(Failure),
    Broken(hyper::Error),
}

/// The request as this connection wants it, and how long its answer may be silent if it is a watch.
fn addressed(
    access: &Access,
    request: &Request<Full<Bytes>>,
    is_http2: bool,
) -> Result<(Request<Full<Bytes>>, Option<Duration>), Failure> {
    let server = &access.cluster.server;
    let asked = request
        .uri()
        .path_and_query()
        .map_or("/", PathAndQuery::as_str);
    let unusable = |_| Failure::unreachable(format!("{server}: {asked} is not a request path"));
    let (path, watch_max) = match Watched::of(asked) {
        None => (asked.to_owned(), None),
        Some(watched) => {
            let watched = if is_http2 {
                watched
            } else {
                watched.at_most(WATCH_MAX_UNASKED)
            };
            let silence_max = watched.limit.map(|limit| limit + WATCH_GRACE);
            (watched.path, silence_max)
        }
    };
    let path = format!("{}{path}", server.prefix());
    let authority = server.authority();
    let mut request = request.clone();
    let host = HeaderValue::from_str(&authority)
        .map_err(|_| Failure::unreachable(format!("{server}: not a host name")))?;
    *request.uri_mut() = if is_http2 {
        Uri::builder()
            .scheme("https")
            .authority(authority)
            .path_and_query(path)
            .build()
            .map_err(unusable)?
    } else {
        request.headers_mut().insert(HOST, host);
        Uri::builder()
            .path_and_query(path)
            .build()
            .map_err(unusable)?
    };
    super::headers::introduce(access, request.headers_mut())?;
    Ok((request, watch_max))
}

/// The path of a watch, and when the server is to end it.
struct Watched {
    path: String,
    limit: Option<Duration>,
}

const TIMEOUT_SECONDS: &str = "timeoutSeconds=";

impl Watched {
    fn of(path: &str) -> Option<Self> {
        let (_, query) = path.split_once('?')?;
        let is_watch = |pair: &str| matches!(pair, "watch=true" | "watch=1");
        query.split('&').any(is_watch).then(|| {
            let limit = query
                .split('&')
                .find_map(|pair| pair.strip_prefix(TIMEOUT_SECONDS)?.parse().ok());
            Self {
                path: path.to_owned(),
                limit: limit.map(Duration::from_secs),
            }
        })
    }

    fn at_most(self, limit: Duration) -> Self {
        if self.limit.is_some_and(|asked| asked <= limit) {
            return self;
        }
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let mut pairs: Vec<&str> = query
            .split('&')
            .filter(|pair| !pair.starts_with(TIMEOUT_SECONDS))
            .collect();
        let seconds = format!("{TIMEOUT_SECONDS}{}", limit.as_secs());
        pairs.push(&seconds);
        Self {
            path: format!("{path}?{}", pairs.join("&")),
            limit: Some(limit),
        }
    }
}

/// A connection, or a share in one.
pub(super) struct Connection {
    access: Access,
    sender: Sender,
    number: u64,
}

impl Connection {
    /// Another share in the same connection, if it can be shared.
    fn shared(&self) -> Option<Self> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(Self {
                access: self.access.clone(),
                sender: Sender::Http2(sender.clone()),
                number: self.number,
            }),
        }
    }
}

/// Connections to be used again, or by others, too.
#[derive(Default)]
struct Pool {
    idle: Mutex<Idle>,
    number: AtomicU64,
}

#[derive(Default)]
struct Idle {
    connections: Vec<(Connection, Instant)>,
    is_swept: bool,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    fn take(&self, access: &Access) -> Option<Connection> {
        let mut idle = self.lock();
        idle.sweep();
        let place = idle.connections.iter().position(|(connection, _)| {
            connection.access == *access && connection.sender.is_ready()
        })?;
        let (connection, since) = &mut idle.connections[place];
        if let Some(share) = connection.shared() {
            *since = Instant::now();
            return Some(share);
        }
        Some(idle.connections.swap_remove(place).0)
    }

    /// Lets others use it, too, if it can be shared.
    fn share(self: &Arc<Self>, connection: &Connection) {
        if let Some(share) = connection.shared() {
            self.keep(share);
        }
    }

    fn keep(self: &Arc<Self>, connection: Connection) {
        let mut idle = self.lock();
        let is_there = |(kept, _): &&mut (Connection, Instant)| kept.number == connection.number;
        if let Some((_, since)) = idle.connections.iter_mut().find(is_there) {
            *since = Instant::now();
            return;
        }
        if connection.sender.is_closed() || idle.connections.len() >= IDLE_CONNECTIONS_MAX {
            return;
        }
        idle.connections.push((connection, Instant::now()));
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(close_later(Arc::downgrade(self)));
        }
    }

    fn forget(&self, number: u64) {
        let mut idle = self.lock();
        idle.connections.retain(|(kept, _)| kept.number != number);
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        // A list of connections is whole whatever panicked.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn sweep(&mut self) {
        self.connections.retain(|(connection, since)| {
            !connection.sender.is_closed() && since.elapsed() < IDLE_MAX
        });
    }
}

/// Closes what stays unused, until there is nothing left.
async fn close_later(pool: Weak<Pool>) {
    loop {
        let next = {
            let Some(pool) = pool.upgrade() else { return };
            let mut idle = pool.lock();
            idle.sweep();
            let oldest = idle.connections.iter().map(|(_, since)| *since).min();
            match oldest {
                Some(since) => since + IDLE_MAX,
                None => {
                    idle.is_swept = false;
                    return;
                }
            }
        };
        tokio::time::sleep_until(next).await;
    }
}

/// Takes a shared connection out of use unless its answer came.
struct Doubt<'a> {
    pool: &'a Pool,
    number: u64,
    is_dispelled: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.is_dispelled {
            self.pool.forget(self.number);
        }
    }
}

/// The connection of an answer that is still being read. While it lives, so does the connection
/// (and is asked whether it does).
pub(super) struct Ticket {
    pool: Weak<Pool>,
    connection: Connection,
}

impl Ticket {
    /// The answer was read to its end.
    pub(super) fn give_back(self) {
        if let Some(pool) = self.pool.upgrade() {
            // A share that others have is there already; one that was taken out of use is not put
            // back.
            match &self.connection.sender {
                Sender::Http1(_) => pool.keep(self.connection),
                Sender::Http2(_) => pool.touch(self.connection.number),
            }
        }
    }

    /// The answer came to nothing: others should not try this connection.
    pub(super) fn give_up(self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.forget(self.connection.number);
        }
    }
}

impl Pool {
    fn touch(&self, number: u64) {
        let mut idle = self.lock();
        for (kept, since) in &mut idle.connections {
            if kept.number == number {
                *since = Instant::now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_over_http1_is_asked_to_end_soon() {
        for (path, expected) in [
            ("/a", None),
            ("/a?limit=1", None),
            ("/a?watch=true", Some("/a?watch=true&timeoutSeconds=30")),
            (
                "/a?watch=1&timeoutSeconds=300&x=y",
                Some("/a?watch=1&x=y&timeoutSeconds=30"),
            ),
            (
                "/a?timeoutSeconds=7&watch=true",
                Some("/a?timeoutSeconds=7&watch=true"),
            ),
        ] {
            let watched = Watched::of(path).map(|watched| watched.at_most(WATCH_MAX_UNASKED));
            let path = watched.as_ref().map(|watched| watched.path.as_str());
            assert_eq!(path, expected);
            if let Some(watched) = watched {
                assert!(
                    watched
                        .limit
                        .is_some_and(|limit| limit <= WATCH_MAX_UNASKED)
                );
            }
        }
    }
}
