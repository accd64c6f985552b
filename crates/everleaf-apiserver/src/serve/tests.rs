//! A real rustls client against the connection code, over an in-memory pipe in paused time; the
//! listener itself once over a socket.

use std::sync::Mutex;

use bytes::Bytes;
use everleaf_pki::{Credential, Issuer, KeyAlgorithm, PrivateKey, Subject, Template, Usage};
use futures_util::FutureExt as _;
use http::StatusCode;
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SignatureScheme};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;
use tower::ServiceExt as _;

use super::*;
use crate::authn::{self, Authenticator};
use crate::authz::Authorizer;
use crate::handler::{Config, Limits, Version};
use crate::store::Memory;
use crate::user::User;
use crate::writer::Mode;

const CREATED: &str = "2020-01-01T00:00:00Z";
const ENDS: &str = "2090-01-01T00:00:00Z";
const NOW: &str = "2026-01-02T03:04:05Z";
const PIPE_BYTES: usize = 64 * 1024;
const TLS_VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn authority(name: &str) -> Issuer {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    Issuer::self_signed(name, key, [9; 16], time(CREATED), time(ENDS)).unwrap()
}

fn credential(issuer: &Issuer, common_name: &str, usage: Usage, ends: &str) -> Credential {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let template = Template {
        subject: Subject {
            common_name: common_name.to_owned(),
            organizations: vec!["testers".to_owned()],
        },
        dns_names: vec!["everleaf.test".to_owned()],
        ..Template::default()
    };
    let usages = [Usage::DigitalSignature, usage];
    let chain = issuer
        .issue_own(
            &template,
            key.public_key(),
            &usages,
            [5; 16],
            time(CREATED),
            time(ends),
        )
        .unwrap();
    Credential::new(chain, key).unwrap()
}

/// A server whose clock is set by hand, and the authorities around it.
struct House {
    server: Arc<Server>,
    shared: Arc<Shared>,
    certificate: Arc<ServingCertificate>,
    clock: Arc<Mutex<Timestamp>>,
    graceful: GracefulShutdown,
    roots: Arc<RootCertStore>,
    serving_ca: Issuer,
    client_ca: Issuer,
}

impl House {
    fn new() -> Self {
        let (serving_ca, client_ca) = (authority("serving-ca"), authority("client-ca"));
        let config = Self::config(&client_ca);
        let server = Arc::new(Server::new(config, Box::new(Memory::new())).unwrap());
        server.install(time(NOW)).now_or_never().unwrap().unwrap();
        let pem = credential(&serving_ca, "server", Usage::ServerAuth, ENDS).to_pem();
        let certificate = ServingCertificate::from_pem(pem.as_bytes(), pem.as_bytes()).unwrap();
        let clock = Arc::new(Mutex::new(time(NOW)));
        let hands = Arc::clone(&clock);
        let read: Clock = Arc::new(move || *hands.lock().unwrap());
        let shared = Arc::new(Shared::new(Arc::clone(&server), &certificate, read).unwrap());
        let mut roots = RootCertStore::empty();
        let anchor = serving_ca.certificate().der().to_vec();
        roots.add(CertificateDer::from(anchor)).unwrap();
        Self {
            server,
            shared,
            certificate,
            clock,
            graceful: GracefulShutdown::new(),
            roots: Arc::new(roots),
            serving_ca,
            client_ca,
        }
    }

    fn config(client_ca: &Issuer) -> Config {
        Config {
            authenticator: Authenticator::new(authn::Config {
                client_ca_pem: client_ca.certificate_pem().into_bytes(),
                token_auth_csv: "t,admin,,system:masters\n".to_owned(),
                anonymous: true,
                ..authn::Config::default()
            })
            .unwrap(),
            authorizer: Authorizer::default(),
            version: Version::of_release("0.1.0", "", ""),
            random: Box::new(|bytes| bytes.fill(7)),
            limits: Limits::default(),
            address: String::new(),
            writer: Mode::Inline,
        }
    }

    fn client(&self, identity: Option<&Credential>, alpn: &str) -> ClientConfig {
        self.client_of(identity, alpn, &TLS_VERSIONS)
    }

    fn client_of(
        &self,
        identity: Option<&Credential>,
        alpn: &str,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(credential) => {
                let (chain, key) = parts(credential);
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        config
    }

    /// The server's end of a new connection.
    fn accept(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        tokio::spawn(serve_connection(
            Arc::clone(&self.shared),
            server,
            self.graceful.watcher(),
            permit,
        ));
        client
    }

    async fn connect(
        &self,
        config: &Arc<ClientConfig>,
    ) -> io::Result<tokio_rustls::client::TlsStream<DuplexStream>> {
        let name = ServerName::try_from("everleaf.test").unwrap();
        TlsConnector::from(Arc::clone(config))
            .connect(name, self.accept())
            .await
    }

    /// One HTTP/1.1 request on a connection of its own: code, and who the server says it was.
    async fn whoami(&self, config: ClientConfig) -> (StatusCode, Value) {
        let stream = self.connect(&Arc::new(config)).await.unwrap();
        ask_whoami(stream).await
    }
}

fn parts(credential: &Credential) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let pem = credential.to_pem();
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    (
        chain,
        PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap(),
    )
}

fn whoami_request() -> Request<Full<Bytes>> {
    Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("Host", "everleaf.test")
        .body(Full::from("{}"))
        .unwrap()
}

async fn ask_whoami(stream: tokio_rustls::client::TlsStream<DuplexStream>) -> (StatusCode, Value) {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    read(sender.send_request(whoami_request()).await.unwrap()).await
}

async fn read(response: Response<Incoming>) -> (StatusCode, Value) {
    let code = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test(start_paused = true)]
async fn a_client_certificate_is_an_identity() {
    let house = House::new();
    let alice = credential(&house.client_ca, "alice", Usage::ClientAuth, ENDS);
    for version in TLS_VERSIONS {
        let config = house.client_of(Some(&alice), "http/1.1", &[version]);
        let (code, body) = house.whoami(config).await;
        assert_eq!(code, 201, "{body}");
        assert_eq!(body["status"]["userInfo"]["username"], "alice");
        let groups = &body["status"]["userInfo"]["groups"];
        assert_eq!(*groups, json!(["testers", "system:authenticated"]));
    }
}

/// The recovery of agents and kubelets depends on it: a 401 they can act on, never an alert.
#[tokio::test(start_paused = true)]
async fn a_worthless_certificate_is_a_401_and_no_alert() {
    let house = House::new();
    let stranger = authority("stranger-ca");
    let worthless = [
        credential(&stranger, "mallory", Usage::ClientAuth, ENDS),
        credential(
            &house.client_ca,
            "expired",
            Usage::ClientAuth,
            "2021-01-01T00:00:00Z",
        ),
        credential(&house.client_ca, "server", Usage::ServerAuth, ENDS),
    ];
    for identity in &worthless {
        for version in TLS_VERSIONS {
            // It presents the certificate whatever issuers the server hints at.
            let mut config = house.client_of(None, "http/1.1", &[version]);
            let (chain, key) = parts(identity);
            let provider = aws_lc_rs::default_provider();
            let key = CertifiedKey::from_der(chain, key, &provider).unwrap();
            config.client_auth_cert_resolver = Arc::new(Always(Arc::new(key)));
            let (code, body) = house.whoami(config).await;
            assert_eq!(code, 401, "{body}");
            assert_eq!(body["reason"], "Unauthorized");
        }
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_without_its_key_does_not_get_in() {
    let house = House::new();
    let alice = credential(&house.client_ca, "alice", Usage::ClientAuth, ENDS);
    let mallory = credential(&house.client_ca, "mallory", Usage::ClientAuth, ENDS);
    let provider = aws_lc_rs::default_provider();
    let key = provider
        .key_provider
        .load_private_key(parts(&mallory).1)
        .unwrap();
    let forged = CertifiedKey::new(parts(&alice).0, key);
    for version in TLS_VERSIONS {
        let mut config = house.client_of(None, "http/1.1", &[version]);
        config.client_auth_cert_resolver = Arc::new(Always(Arc::new(forged.clone())));
        let outcome = async {
            let stream = house.connect(&Arc::new(config)).await.ok()?;
            // TLS 1.3 clients hear of it with the first answer.
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .ok()?;
            tokio::spawn(connection);
            sender.send_request(whoami_request()).await.ok()
        };
        assert!(outcome.await.is_none(), "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_expires_on_an_open_connection_is_refused_from_then_on() {
    let house = House::new();
    let alice = credential(
        &house.client_ca,
        "alice",
        Usage::ClientAuth,
        "2026-06-01T00:00:00Z",
    );
    let config = Arc::new(house.client(Some(&alice), "h2"));
    let stream = house.connect(&config).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = || {
        let mut request = whoami_request();
        request.headers_mut().remove("Host");
        *request.uri_mut() =
            "https://everleaf.test/apis/authentication.k8s.io/v1/selfsubjectreviews"
                .parse()
                .unwrap();
        request
    };
    let (code, _) = read(sender.send_request(request()).await.unwrap()).await;
    assert_eq!(code, 201);
    *house.clock.lock().unwrap() = time("2026-06-01T00:00:01Z");
    let (code, _) = read(sender.send_request(request()).await.unwrap()).await;
    assert_eq!(code, 401);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_session_is_judged_like_any_other() {
    for version in TLS_VERSIONS {
        let house = House::new();
        let alice = credential(
            &house.client_ca,
            "alice",
            Usage::ClientAuth,
            "2026-06-01T00:00:00Z",
        );
        let config = Arc::new(house.client_of(Some(&alice), "http/1.1", &[version]));
        let first = house.connect(&config).await.unwrap();
        assert_eq!(
            first.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Full)
        );
        assert_eq!(ask_whoami(first).await.0, 201);

        let again = house.connect(&config).await.unwrap();
        assert_eq!(
            again.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Resumed)
        );
        let (code, body) = ask_whoami(again).await;
        assert_eq!(code, 201);
        assert_eq!(body["status"]["userInfo"]["username"], "alice");

        *house.clock.lock().unwrap() = time("2026-06-01T00:00:01Z");
        let late = house.connect(&config).await.unwrap();
        assert_eq!(
            late.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Resumed)
        );
        assert_eq!(ask_whoami(late).await.0, 401);
    }
}

#[tokio::test(start_paused = true)]
async fn the_serving_certificate_is_swapped_under_way() {
    let house = House::new();
    let config = Arc::new(house.client(None, "http/1.1"));
    let seen = async |config: &Arc<ClientConfig>| {
        let stream = house.connect(config).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let before = seen(&config).await;
    assert!(house.certificate.replace(b"nonsense", b"nonsense").is_err());
    assert_eq!(seen(&config).await, before);
    let next = credential(&house.serving_ca, "next", Usage::ServerAuth, ENDS);
    let other = credential(&house.serving_ca, "other", Usage::ServerAuth, ENDS);
    let mismatch = house.certificate.replace(
        next.chain().to_pem().as_bytes(),
        other.key().to_pem().as_bytes(),
    );
    assert!(matches!(mismatch, Err(TlsError::Key(_))), "{mismatch:?}");
    let pem = next.to_pem();
    house
        .certificate
        .replace(pem.as_bytes(), pem.as_bytes())
        .unwrap();
    // A client without a ticket of the old one.
    let fresh = Arc::new(house.client(None, "http/1.1"));
    assert_eq!(seen(&fresh).await, next.leaf().der());
}

#[tokio::test(start_paused = true)]
async fn a_watch_streams_and_ends_with_the_server() {
    let house = House::new();
    let config = Arc::new(house.client(None, "h2"));
    let stream = house.connect(&config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = |method: &str, path: &str, body: String| {
        Request::builder()
            .method(method)
            .uri(format!("https://everleaf.test{path}"))
            .header("Authorization", "Bearer t")
            .body(Full::<Bytes>::from(body))
            .unwrap()
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    let watch = request("GET", &format!("{maps}?watch=true"), String::new());
    let mut events = sender.send_request(watch).await.unwrap().into_body();
    let body = json!({"metadata": {"name": "a"}}).to_string();
    let created = sender
        .send_request(request("POST", maps, body))
        .await
        .unwrap();
    assert_eq!(read(created).await.0, 201);
    let frame = events.frame().await.unwrap().unwrap().into_data().unwrap();
    let event: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(event["object"]["metadata"]["name"], "a");

    house.server.stop();
    let rest = events.collect().await.expect("the stream ends cleanly");
    assert_eq!(rest.to_bytes(), "");
    house.graceful.shutdown().await;
    connection.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_at_its_timeout() {
    let house = House::new();
    let began = Instant::now();
    let stream = house
        .connect(&Arc::new(house.client(None, "http/1.1")))
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let watch = Request::get("/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=500")
        .header("Host", "everleaf.test")
        .header("Authorization", "Bearer t")
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = sender.send_request(watch).await.unwrap();
    assert_eq!(read(response).await.0, 200);
    assert_eq!(
        began.elapsed().as_secs(),
        500,
        "longer than a request may take"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_dawdles_is_let_go() {
    let house = House::new();
    // Says nothing at all.
    let began = Instant::now();
    let mut silent = house.accept();
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut rest)
        .await
        .unwrap();
    assert_eq!(began.elapsed(), HANDSHAKE_TIMEOUT);

    // Finishes the handshake, then never a request.
    let began = Instant::now();
    let config = Arc::new(house.client(None, "http/1.1"));
    let mut idle = house.connect(&config).await.unwrap();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut idle, &mut rest).await;
    assert_eq!(began.elapsed(), HEAD_TIMEOUT);

    // Promises a body and does not send it.
    let began = Instant::now();
    let mut slow = house.connect(&config).await.unwrap();
    let head = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: e\r\n\
                Authorization: Bearer t\r\nContent-Length: 10\r\n\r\n{";
    tokio::io::AsyncWriteExt::write_all(&mut slow, head.as_bytes())
        .await
        .unwrap();
    let mut answer = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut slow, &mut answer)
        .await
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 504");
    assert_eq!(began.elapsed(), REQUEST_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_announced_too_long_is_refused_unread() {
    let house = House::new();
    let config = Arc::new(house.client(None, "http/1.1"));
    let mut stream = house.connect(&config).await.unwrap();
    let head = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: e\r\n\
                Authorization: Bearer t\r\nContent-Length: 4000000\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes())
        .await
        .unwrap();
    let mut answer = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer)
        .await
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test(start_paused = true)]
async fn callers_in_this_process_need_no_socket_and_get_no_shortcut() {
    let house = House::new();
    let service = |name: &str| {
        let identity = User {
            name: name.to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            ..User::default()
        };
        house.server.in_process(identity, Arc::new(|| time(NOW)))
    };
    let controller = service("system:serviceaccount:kube-system:certificate-controller");
    let response = controller.clone().oneshot(whoami_request()).await.unwrap();
    assert_eq!(response.status(), 201);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let user = &body["status"]["userInfo"]["username"];
    assert_eq!(
        *user,
        "system:serviceaccount:kube-system:certificate-controller"
    );

    let get = |path: &str| Request::get(path).body(Full::<Bytes>::default()).unwrap();
    let allowed = get("/apis/certificates.k8s.io/v1/certificatesigningrequests");
    assert_eq!(
        controller.clone().oneshot(allowed).await.unwrap().status(),
        200
    );
    let refused = controller.oneshot(get("/api/v1/secrets")).await.unwrap();
    assert_eq!(refused.status(), 403);
    let stranger = service("nobody in particular")
        .oneshot(get("/api/v1/secrets"))
        .await;
    assert_eq!(stranger.unwrap().status(), 403);
}

#[tokio::test(start_paused = true)]
async fn a_defect_costs_one_request_and_not_the_server() {
    let house = House::new();
    // The random source is where a test can make a request panic.
    let mut config = House::config(&house.client_ca);
    let mut uids = 0;
    config.random = Box::new(move |bytes| {
        uids += 1;
        assert!(uids != 40, "the fortieth draw is the defect");
        bytes.fill(uids);
    });
    let server = Arc::new(Server::new(config, Box::new(Memory::new())).unwrap());
    let identity = User {
        name: "admin".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..User::default()
    };
    let service = server.in_process(identity, Arc::new(|| time(NOW)));
    let mut codes = Vec::new();
    for index in 0..42 {
        let body = json!({"metadata": {"name": format!("r{index}")}, "rules": []});
        let request = Request::post("/apis/rbac.authorization.k8s.io/v1/clusterroles")
            .body(Full::from(body.to_string()))
            .unwrap();
        codes.push(
            service
                .clone()
                .oneshot(request)
                .await
                .unwrap()
                .status()
                .as_u16(),
        );
    }
    let expected: Vec<u16> = (0..42)
        .map(|index| if index == 39 { 500 } else { 201 })
        .collect();
    assert_eq!(codes, expected);
}

#[tokio::test]
async fn the_listener_serves_and_stops() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let clock: Clock = Arc::new(|| time(NOW));
    let certificate = Arc::clone(&house.certificate);
    let running = tokio::spawn(run(
        listener,
        Arc::clone(&house.server),
        certificate,
        clock,
        async {
            let _ = stopped.await;
        },
    ));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("everleaf.test").unwrap();
    let config = Arc::new(house.client(None, "http/1.1"));
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("/readyz")
        .header("Host", "everleaf.test")
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
