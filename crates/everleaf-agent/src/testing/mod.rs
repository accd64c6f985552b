//! For tests only: a certificate authority, and a TLS server that answers as an API server would.

pub(crate) mod api;
mod cases;
pub(crate) mod way;

use crate::clock::{Clock, ClockListener, OffsetClock, SystemClock};
use crate::kubeconfig::{
    ClientCertificate, Cluster, Kubeconfig, ServerUrl, Source, Token, Trust, User,
};
use crate::secret::Secret;
use bytes::Bytes;
use everleaf_pki::{
    Chain, Credential, Issuer, KeyAlgorithm, Leaf, PrivateKey, Subject, Template, Usage,
};
use everleaf_rotation::Monotonic;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::{SignedDuration, Timestamp};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) fn now() -> Timestamp {
    SystemClock::new().wall()
}

pub(crate) fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

/// A certificate authority that signs whatever a test asks for.
pub(crate) struct Ca {
    pub(crate) issuer: Issuer,
    serial: Mutex<u8>,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (begin, end) = (now() - hours(100_000), now() + hours(500_000));
        Self {
            issuer: Issuer::self_signed(name, key, [1; 16], begin, end).unwrap(),
            serial: Mutex::new(1),
        }
    }

    /// 16 bytes that differ from call to call.
    pub(crate) fn serial(&self) -> [u8; 16] {
        let mut serial = self.serial.lock().unwrap();
        *serial += 1;
        [*serial; 16]
    }

    pub(crate) fn credential(
        &self,
        template: &Template,
        usage: Usage,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Credential {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let usages = [Usage::DigitalSignature, usage];
        let chain = self
            .issuer
            .issue_own(
                template,
                key.public_key(),
                &usages,
                self.serial(),
                not_before,
                not_after,
            )
            .unwrap();
        Credential::new(chain, key).unwrap()
    }

    /// A node's client credential, valid from an hour ago for `hours_left` from now.
    pub(crate) fn node(&self, name: &str, hours_left: i64) -> Credential {
        let template = Template {
            subject: Subject::node(name),
            ..Template::default()
        };
        let begin = now() - hours(1) + hours(hours_left.min(0));
        self.credential(
            &template,
            Usage::ClientAuth,
            begin,
            now() + hours(hours_left),
        )
    }

    /// A serving credential for 127.0.0.1 and localhost.
    pub(crate) fn server(&self, not_before: Timestamp, not_after: Timestamp) -> Credential {
        let template = Template {
            subject: Subject {
                common_name: "kube-apiserver".to_owned(),
                organizations: vec![],
            },
            dns_names: vec!["localhost".to_owned()],
            ip_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            ..Template::default()
        };
        self.credential(&template, Usage::ServerAuth, not_before, not_after)
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.certificate_pem()
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::Bundle(Source::Inline(Secret::new(self.issuer.certificate_pem())))
    }
}

/// One request that the server saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) body: String,
    /// Serial of the client certificate presented on this connection.
    pub(crate) leaf: Option<Leaf>,
    pub(crate) token: Option<String>,
    /// Which connection, counted from 0.
    pub(crate) connection: usize,
}

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What answers a request.
pub(crate) type Answerer = Arc<dyn Fn(&Seen) -> Response<Body> + Send + Sync>;

/// A running TLS server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    /// Open connections, and the leaf presented on each.
    open: tokio::sync::watch::Receiver<BTreeMap<usize, Leaf>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves `answerer` on a port of its own, over HTTP/2 or HTTP/1.1. Client certificates are
    /// asked for, taken as they come, and told to `answerer`, as API servers do.
    pub(crate) async fn start(credential: &Credential, answerer: Answerer) -> Self {
        Self::start_speaking(&["h2", "http/1.1"], credential, answerer).await
    }

    /// As [`Server::start`], over these protocols.
    pub(crate) async fn start_speaking(
        protocols: &[&str],
        credential: &Credential,
        answerer: Answerer,
    ) -> Self {
        let mut config = server_config(credential);
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Self::start_with(config, answerer).await
    }

    /// As [`Server::start`], by this configuration.
    pub(crate) async fn start_with(config: ServerConfig, answerer: Answerer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let log = Arc::clone(&seen);
        let (tell_open, open) = tokio::sync::watch::channel(BTreeMap::new());
        let tell_open = Arc::new(tell_open);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, log, answerer) =
                    (acceptor.clone(), Arc::clone(&log), Arc::clone(&answerer));
                let tell_open = Arc::clone(&tell_open);
                connections.spawn(async move {
                    let Ok(tls) = acceptor.accept(stream).await else {
                        return;
                    };
                    let certificates = tls.get_ref().1.peer_certificates();
                    let leaf = certificates
                        .and_then(|chain| chain.first())
                        .map(|der| Leaf::from_der(der).unwrap());
                    if let Some(leaf) = leaf.clone() {
                        tell_open.send_modify(|open| drop(open.insert(connection, leaf)));
                    }
                    let service = service_fn(move |request| {
                        let (log, answerer) = (Arc::clone(&log), Arc::clone(&answerer));
                        converse(request, leaf.clone(), connection, log, answerer)
                    });
                    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(tls), service)
                            .await;
                    } else {
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(tls), service)
                            .await;
                    }
                    tell_open.send_modify(|open| drop(open.remove(&connection)));
                });
            }
        });
        Self {
            address,
            seen,
            open,
            task,
        }
    }

    /// Waits until no connection presents this leaf any more.
    pub(crate) async fn until_unused(&self, leaf: &Leaf) {
        let leaf = leaf.fingerprint();
        let is_unused =
            |open: &BTreeMap<usize, Leaf>| open.values().all(|l| l.fingerprint() != leaf);
        self.open.clone().wait_for(is_unused).await.unwrap();
    }

    pub(crate) fn cluster(&self, ca: &Ca) -> Cluster {
        Cluster {
            server: ServerUrl::parse(&format!("https://{}", self.address)).unwrap(),
            trust: ca.trust(),
            tls_server_name: None,
            proxy: None,
        }
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn converse(
    request: Request<Incoming>,
    leaf: Option<Leaf>,
    connection: usize,
    log: Arc<Mutex<Vec<Seen>>>,
    answerer: Answerer,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|b| b.to_bytes())
        .unwrap_or_default();
    let token = head.headers.get("authorization").map(|value| {
        let text = value.to_str().unwrap();
        text.trim_start_matches("Bearer ").to_owned()
    });
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.path_and_query().unwrap().to_string(),
        body: String::from_utf8(body.to_vec()).unwrap(),
        leaf,
        token,
        connection,
    };
    log.lock().unwrap().push(seen.clone());
    Ok(answerer(&seen))
}

pub(crate) fn json(code: StatusCode, value: &serde_json::Value) -> Response<Body> {
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(Full::from(value.to_string()).boxed_unsync())
        .unwrap()
}

pub(crate) fn failure(code: u16, reason: &str, message: &str) -> Response<Body> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": reason, "message": message,
    });
    json(StatusCode::from_u16(code).unwrap(), &status)
}

pub(crate) fn server_config(credential: &Credential) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let possession = everleaf_tls::PossessionOnly::new(vec![], &provider);
    let chain: Vec<_> = chain_der(credential.chain());
    let key = PrivatePkcs8KeyDer::from(credential.key().to_pkcs8_der().unwrap().to_vec());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(possession))
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(key))
        .unwrap()
}

fn chain_der(chain: &Chain) -> Vec<CertificateDer<'static>> {
    chain
        .certificates()
        .iter()
        .map(|certificate| CertificateDer::from(certificate.der().to_vec()))
        .collect()
}

/// Answers one after another, then the last one for ever.
pub(crate) fn in_turn(answers: impl IntoIterator<Item = fn() -> Response<Body>>) -> Answerer {
    let answers: Mutex<VecDeque<_>> = Mutex::new(answers.into_iter().collect());
    Arc::new(move |_| {
        let mut answers = answers.lock().unwrap();
        let answer = answers.front().copied().unwrap();
        if answers.len() > 1 {
            answers.pop_front();
        }
        answer()
    })
}

/// A clock whose both hands a test moves: time passes by jumps, nobody waits.
#[derive(Debug)]
pub(crate) struct TestClock {
    base: Arc<Shifted>,
    wall: OffsetClock,
}

/// The system's clocks, the monotonic one moved on.
#[derive(Debug, Default)]
struct Shifted {
    system: SystemClock,
    shift: Mutex<Duration>,
}

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        let base = Arc::<Shifted>::default();
        let wall = OffsetClock::new(Arc::clone(&base) as Arc<dyn Clock>);
        Arc::new(Self { base, wall })
    }

    /// The wall clock is set; no time passes.
    pub(crate) fn set_wall(&self, instant: Timestamp) {
        self.wall.set_wall(instant);
    }

    /// Time passes, on both clocks.
    pub(crate) fn pass(&self, span: Duration) {
        *self.base.shift.lock().unwrap() += span;
        let span = SignedDuration::try_from(span).unwrap();
        self.wall.set_offset(self.wall.offset() + span);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        self.wall.wall()
    }

    fn monotonic(&self) -> Monotonic {
        self.wall.monotonic()
    }

    fn listen(&self) -> ClockListener {
        self.wall.listen()
    }
}

impl Clock for Shifted {
    fn wall(&self) -> Timestamp {
        self.system.wall()
    }

    fn monotonic(&self) -> Monotonic {
        self.system.monotonic() + *self.shift.lock().unwrap()
    }

    fn listen(&self) -> ClockListener {
        ClockListener::deaf()
    }
}

pub(crate) fn with_token(cluster: Cluster, token: &str) -> Kubeconfig {
    Kubeconfig {
        cluster,
        user: User {
            token: Some(Token::Inline(Secret::new(token.to_owned()))),
            ..User::default()
        },
    }
}

pub(crate) fn with_inline(cluster: Cluster, credential: &Credential) -> Kubeconfig {
    let pem = credential.to_pem();
    let source = Source::Inline(Secret::new(pem.to_string()));
    Kubeconfig {
        cluster,
        user: User {
            client_certificate: Some(ClientCertificate {
                certificate: source.clone(),
                key: source,
            }),
            ..User::default()
        },
    }
}

pub(crate) fn with_file(cluster: Cluster, path: &Path) -> Kubeconfig {
    let source = Source::File(path.to_owned());
    Kubeconfig {
        cluster,
        user: User {
            client_certificate: Some(ClientCertificate {
                certificate: source.clone(),
                key: source,
            }),
            ..User::default()
        },
    }
}
