//! Our server, to play recorded requests against.

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use everleaf_apiserver::authn::{self, Authenticator, Peer};
use everleaf_apiserver::authz::Authorizer;
use everleaf_apiserver::handler::{Config, Limits, Server, Version, WatchStream};
use everleaf_apiserver::registry::apis::Apis;
use everleaf_apiserver::registry::gates::{Gates, NEWEST};
use everleaf_apiserver::registry::runtime_config::RuntimeConfig;
use everleaf_apiserver::store::Memory;
use everleaf_apiserver::writer::Mode;
use everleaf_pki::{KeyAlgorithm, PrivateKey};
use everleaf_recordings::play::ClientCertificate;
use everleaf_recordings::{CLIENT_CA, Player, TOKENS_CSV, data_dir};
use futures_util::FutureExt as _;
use http::header::{HeaderValue, USER_AGENT};
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// When the play happens.
const START: &str = "2026-01-02T03:04:05Z";
/// Longest watch of the lists.
const WATCH_SECONDS_MAX: u64 = 20;
/// Our server, as `everleaf up` installs it.
pub(crate) struct Ours {
    server: Server,
    now: Timestamp,
}

impl Ours {
    pub(crate) fn new() -> Result<Self> {
        Self::serving("")
    }

    /// One that serves more or less than usual.
    pub(crate) fn serving(runtime_config: &str) -> Result<Self> {
        let runtime_config = RuntimeConfig::parse([runtime_config]);
        let mut counter = 0u64;
        let config = Config {
            authenticator: Authenticator::new(authn::Config {
                client_ca_pem: std::fs::read(data_dir().join(CLIENT_CA))?,
                token_auth_csv: TOKENS_CSV.to_owned(),
                anonymous: true,
                bootstrap_tokens: true,
                service_accounts: Some(authn::ServiceAccountConfig {
                    issuer: "https://kubernetes.default.svc".to_owned(),
                    audiences: Vec::new(),
                    signing_key: Some(Arc::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256)?)),
                    verification_keys: Vec::new(),
                }),
                ..authn::Config::default()
            })?,
            authorizer: Authorizer::default(),
            version: Version::of_release("0.1.0", "abc", ""),
            random: Box::new(move |bytes| {
                for byte in bytes {
                    counter = counter
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    *byte = (counter >> 33) as u8;
                }
            }),
            limits: Limits::default(),
            address: "127.0.0.1:6443".to_owned(),
            writer: Mode::Inline,
            encryption: Default::default(),
            audit: None,
            apis: Apis::new(NEWEST, Gates::default(), &runtime_config)?,
        };
        let ours = Self {
            server: Server::new(config, Box::new(Memory::new()))?,
            now: START.parse()?,
        };
        let installed = ours.server.install(ours.now).now_or_never();
        installed.context("one poll is enough with the inline writer")??;
        Ok(ours)
    }
}

impl Player for Ours {
    fn send(&mut self, mut request: Request<Bytes>) -> Result<Response<Bytes>> {
        // As the recorder calls itself.
        let agent = HeaderValue::from_static("recordings");
        request.headers_mut().entry(USER_AGENT).or_insert(agent);
        // The real server needs time, too; a second apart, so that a changed time shows.
        self.now += SignedDuration::from_secs(1);
        let peer = match request.extensions().get::<ClientCertificate>() {
            Some(ClientCertificate(path)) => Peer {
                certificates: Arc::new(vec![certificate(path)?]),
                ..Peer::default()
            },
            None => Peer::default(),
        };
        let answer = self.server.handle(request, &peer, self.now).now_or_never();
        let (parts, body) = answer
            .context("the answer is not ready at once")?
            .into_parts();
        let body = body.completed();
        let bytes = match body.as_bytes() {
            Some(bytes) => bytes.clone(),
            None => drain(body.into_watch().context("neither document nor watch")?)?,
        };
        Ok(Response::from_parts(parts, bytes))
    }

    fn settle(&mut self) {}

    fn now(&self) -> Timestamp {
        self.now
    }
}

/// The first certificate of a PEM file, as the TLS layer hands it over.
fn certificate(path: &Path) -> Result<Vec<u8>> {
    let text = std::fs::read_to_string(path)?;
    let block = text
        .split_once("-----BEGIN CERTIFICATE-----")
        .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"))
        .context("no certificate")?;
    let text: String = block.0.split_whitespace().collect();
    Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
}

/// Every frame of a watch until it ends by itself.
fn drain(mut watch: WatchStream) -> Result<Bytes> {
    let mut context = Context::from_waker(Waker::noop());
    let mut all = BytesMut::new();
    for seconds in 0..=WATCH_SECONDS_MAX {
        let elapsed = Duration::from_secs(seconds);
        loop {
            match watch.poll_next(&mut context, elapsed) {
                Poll::Ready(Some(frame)) => all.extend_from_slice(&frame),
                Poll::Ready(None) => return Ok(all.freeze()),
                Poll::Pending => break,
            }
        }
    }
    bail!("a watch outlives {WATCH_SECONDS_MAX} s: give it timeoutSeconds")
}
