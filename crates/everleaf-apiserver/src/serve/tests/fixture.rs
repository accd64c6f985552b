//! A server whose clock is set by hand, the authorities around it, and clients for it.

use super::super::stop::Stop;
use super::super::{ServingCertificate, Shared, serve_connection};
use crate::authn::{self, Authenticator};
use crate::authz::Authorizer;
use crate::handler::{Config, Limits, Server, Version};
use crate::registry::apis::Apis;
use crate::store::Memory;
use crate::writer::Mode;
use bytes::Bytes;
use everleaf_pki::{Credential, Issuer, KeyAlgorithm, PrivateKey, Subject, Template, Usage};
use everleaf_time::WallClock;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::DuplexStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

const CREATED: &str = "2020-01-01T00:00:00Z";
pub(super) const ENDS: &str = "2090-01-01T00:00:00Z";
pub(super) const NOW: &str = "2026-01-02T03:04:05Z";
const PIPE_BYTES: usize = 64 * 1024;
pub(super) const TLS_VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn authority(name: &str) -> Issuer {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    Issuer::self_signed(name, key, [9; 16], time(CREATED), time(ENDS)).unwrap()
}

pub(super) fn credential(
    issuer: &Issuer,
    common_name: &str,
    usage: Usage,
    ends: &str,
) -> Credential {
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
pub(super) struct TestServer {
    pub(super) server: Arc<Server>,
    pub(super) shared: Arc<Shared>,
    pub(super) certificate: Arc<ServingCertificate>,
    pub(super) clock: Arc<Mutex<Timestamp>>,
    pub(super) stop: Stop,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) serving_ca: Issuer,
    pub(super) client_ca: Issuer,
}

impl TestServer {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With another configuration.
    pub(super) fn with(edit: impl FnOnce(&mut Config)) -> Self {
        let (serving_ca, client_ca) = (authority("serving-ca"), authority("client-ca"));
        let mut config = Self::config(&client_ca);
        edit(&mut config);
        let server = Arc::new(Server::new(config, Box::new(Memory::new())).unwrap());
        server.install(time(NOW)).now_or_never().unwrap().unwrap();
        let pem = credential(&serving_ca, "server", Usage::ServerAuth, ENDS).to_pem();
        let certificate = ServingCertificate::from_pem(pem.as_bytes(), pem.as_bytes()).unwrap();
        let clock = Arc::new(Mutex::new(time(NOW)));
        let hands = Arc::clone(&clock);
        let read: WallClock = Arc::new(move || *hands.lock().unwrap());
        let shared = Arc::new(Shared::new(Arc::clone(&server), &certificate, read).unwrap());
        let mut roots = RootCertStore::empty();
        let anchor = serving_ca.certificate().der().to_vec();
        roots.add(CertificateDer::from(anchor)).unwrap();
        Self {
            server,
            shared,
            certificate,
            clock,
            stop: Stop::new(),
            roots: Arc::new(roots),
            serving_ca,
            client_ca,
        }
    }

    pub(super) fn config(client_ca: &Issuer) -> Config {
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
            encryption: Default::default(),
            audit: None,
            apis: Apis::default(),
        }
    }

    pub(super) fn client(&self, identity: Option<&Credential>, alpn: &str) -> ClientConfig {
        self.client_of(identity, alpn, &TLS_VERSIONS)
    }

    pub(super) fn client_of(
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
    pub(super) fn accept(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        tokio::spawn(serve_connection(
            Arc::clone(&self.shared),
            (server, [192, 0, 2, 7].into()),
            self.stop.listener(),
            permit,
        ));
        client
    }

    pub(super) async fn connect(
        &self,
        config: &Arc<ClientConfig>,
    ) -> io::Result<tokio_rustls::client::TlsStream<DuplexStream>> {
        let name = ServerName::try_from("everleaf.test").unwrap();
        TlsConnector::from(Arc::clone(config))
            .connect(name, self.accept())
            .await
    }

    /// One HTTP/1.1 request on a connection of its own: code, and who the server says it was.
    pub(super) async fn whoami(&self, config: ClientConfig) -> (StatusCode, Value) {
        let stream = self.connect(&Arc::new(config)).await.unwrap();
        ask_whoami(stream).await
    }
}

pub(super) fn parts(
    credential: &Credential,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let pem = credential.to_pem();
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    (
        chain,
        PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap(),
    )
}

pub(super) fn whoami_request() -> Request<Full<Bytes>> {
    Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("Host", "everleaf.test")
        .body(Full::from("{}"))
        .unwrap()
}

pub(super) async fn ask_whoami(
    stream: tokio_rustls::client::TlsStream<DuplexStream>,
) -> (StatusCode, Value) {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    read(sender.send_request(whoami_request()).await.unwrap()).await
}

pub(super) async fn read(response: Response<Incoming>) -> (StatusCode, Value) {
    let code = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
