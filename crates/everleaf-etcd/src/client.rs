//! Calls, at whichever member answers.

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::grpc::Connection;
use crate::messages::{
    CompactionRequest, CompactionResponse, LeaseGrantRequest, LeaseGrantResponse, RangeRequest,
    RangeResponse, TxnRequest, TxnResponse, WatchCreateRequest,
};
use crate::watch::Watch;
use prost::Message;
use rustls::ClientConfig;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a call may take. A member that has lost its leader answers within 7 s, and a new leader
/// is there after one or two.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a call that changes nothing is tried.
const ATTEMPTS_MAX: usize = 3;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(100);

/// Where etcd is, and how to connect.
#[derive(Debug, Clone)]
pub struct Config {
    /// Members; tried in turn.
    pub endpoints: Vec<Endpoint>,
    /// For those with TLS: it offers the protocol `h2`.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A client; calls run side by side on one connection.
pub struct Client {
    config: Config,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// The endpoint that is tried next.
    next: usize,
}

impl Client {
    /// Connects to nobody yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            state: Mutex::default(),
        }
    }

    /// Reads keys.
    ///
    /// # Errors
    /// See [`Error`]; each may pass.
    pub async fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        self.repeated("/etcdserverpb.KV/Range", request).await
    }

    /// Tries a transaction, once.
    ///
    /// # Errors
    /// See [`Error::is_ambiguous`].
    pub async fn txn(&self, request: &TxnRequest) -> Result<TxnResponse, Error> {
        self.once("/etcdserverpb.KV/Txn", request).await
    }

    /// Has history up to a revision forgotten.
    ///
    /// # Errors
    /// See [`Error`]; [compacted](Error::is_compacted) when it is forgotten already.
    pub async fn compact(&self, revision: i64) -> Result<(), Error> {
        let request = CompactionRequest { revision };
        self.once::<CompactionResponse>("/etcdserverpb.KV/Compact", &request)
            .await
            .map(drop)
    }

    /// Makes a lease of so many seconds; its number.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn grant(&self, ttl_s: i64) -> Result<i64, Error> {
        let request = LeaseGrantRequest { ttl: ttl_s };
        let lease: LeaseGrantResponse = self
            .repeated("/etcdserverpb.Lease/LeaseGrant", &request)
            .await?;
        Ok(lease.id)
    }

    /// Begins a watch. It ends with its connection; who goes on asks anew.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn watch(&self, request: WatchCreateRequest) -> Result<Watch, Error> {
        let line = self.line().await?;
        let opened = match timeout(CALL_TIMEOUT, Watch::open(&line, request)).await {
            Ok(opened) => opened,
            Err(_) => Err(line.lost("no answer in time")),
        };
        if let Err(error) = &opened {
            self.give_up(&line, error).await;
        }
        opened
    }

    async fn repeated<Answer: Message + Default>(
        &self,
        path: &'static str,
        request: &impl Message,
    ) -> Result<Answer, Error> {
        let mut attempt = 1;
        loop {
            match self.once(path, request).await {
                Err(error) if error.is_passing() && attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    async fn once<Answer: Message + Default>(
        &self,
        path: &'static str,
        request: &impl Message,
    ) -> Result<Answer, Error> {
        let line = self.line().await?;
        let answer = timeout(CALL_TIMEOUT, line.unary(path, request))
            .await
            .unwrap_or_else(|_| Err(line.lost("no answer in time")));
        if let Err(error) = &answer {
            self.give_up(&line, error).await;
        }
        answer
    }

    /// The connection that there is, or a new one to the first endpoint that answers.
    async fn line(&self) -> Result<Connection, Error> {
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|one| !one.is_closed()) {
            return Ok(connection.clone());
        }
        let mut failures = Vec::new();
        for _ in 0..self.config.endpoints.len() {
            let place = state.next % self.config.endpoints.len();
            let endpoint = &self.config.endpoints[place];
            match Connection::open(endpoint, self.config.tls.as_ref()).await {
                Ok(connection) => {
                    state.connection = Some(connection.clone());
                    return Ok(connection);
                }
                Err(what) => failures.push(format!("{endpoint}: {what}")),
            }
            state.next = place + 1;
        }
        Err(Error::Unreachable {
            what: failures.join("; "),
        })
    }

    /// Leaves a connection on which something failed that another member may do.
    async fn give_up(&self, line: &Connection, error: &Error) {
        if !error.is_passing() {
            return;
        }
        let mut state = self.state.lock().await;
        let is_current = |one: &Connection| Arc::ptr_eq(&one.endpoint, &line.endpoint);
        if state.connection.as_ref().is_some_and(is_current) {
            state.connection = None;
            state.next += 1;
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
