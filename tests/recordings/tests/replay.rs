//! Plays the recorded requests against our server, in process, and compares with what
//! kube-apiserver answered.

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use everleaf_apiserver::authn::{self, Authenticator, Peer};
use everleaf_apiserver::authz::Authorizer;
use everleaf_apiserver::handler::{Config, Limits, Server, Version, WatchStream};
use everleaf_apiserver::store::Memory;
use everleaf_apiserver::writer::Mode;
use everleaf_pki::{KeyAlgorithm, PrivateKey};
use everleaf_recordings::difference::compare;
use everleaf_recordings::matrix::{self, Matrix};
use everleaf_recordings::play::ClientCertificate;
use everleaf_recordings::{
    CLIENT_CA, Difference, Ledger, Player, Scenario, Subjects, TOKENS_CSV, answers, data_dir,
    openapi, play,
};
use futures_util::FutureExt as _;
use http::header::{HeaderValue, USER_AGENT};
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// When the play happens.
const START: &str = "2026-01-02T03:04:05Z";
/// Longest watch of the lists.
const WATCH_SECONDS_MAX: u64 = 20;
/// Differences that are shown before the rest is only counted.
const SHOWN_MAX: usize = 4000;

/// Our server, as `everleaf up` installs it.
struct Ours {
    server: Server,
    now: Timestamp,
}

impl Ours {
    fn new() -> Result<Self> {
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
            audit: None,
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

/// Sorts differences into accepted, open and unknown.
struct Judge {
    accepted: Ledger,
    open: Ledger,
    unknown: Vec<Difference>,
}

impl Judge {
    fn new(suffix: &str) -> Result<Self> {
        let read = |name: &str| Ledger::read(&data_dir().join(format!("{name}{suffix}.yaml")));
        Ok(Self {
            accepted: read("accepted")?,
            open: read("open")?,
            unknown: Vec::new(),
        })
    }

    fn take(&mut self, differences: Vec<Difference>) {
        for difference in differences {
            if !self.accepted.explains(&difference) && !self.open.explains(&difference) {
                self.unknown.push(difference);
            }
        }
    }

    /// Says how much is known, and fails on what is not.
    fn verdict(self, what: &str) -> Result<()> {
        let counts = format!(
            "{what}, {} accepted differences ({} entries), open: {} ({} entries)\n",
            self.accepted.hits(),
            self.accepted.entries().len(),
            self.open.hits(),
            self.open.entries().len(),
        );
        // Past the harness's capture: a plain `cargo test` shows the counts.
        std::io::stderr().lock().write_all(counts.as_bytes())?;
        let mut report = String::new();
        for (reason, count) in self.accepted.reasons() {
            writeln!(report, "  accepted {count:4}: {reason}")?;
        }
        for (reason, count) in self.open.reasons() {
            writeln!(report, "  open     {count:4}: {reason}")?;
        }
        for difference in self.unknown.iter().take(SHOWN_MAX) {
            writeln!(report, "{difference}")?;
        }
        let mut idle = self.accepted.idle();
        idle.extend(self.open.idle());
        for pattern in &idle {
            writeln!(report, "explains nothing any more: {pattern}")?;
        }
        ensure!(
            self.unknown.is_empty() && idle.is_empty(),
            "{} unknown differences, {} idle entries (accepted*.yaml and open*.yaml say what is known)\n{report}",
            self.unknown.len(),
            idle.len()
        );
        Ok(())
    }
}

#[test]
fn answers_are_kubernetes_answers() -> Result<()> {
    let dir = data_dir();
    let subjects = Subjects::read(&dir)?;
    let mut judge = Judge::new("")?;
    let mut count = 0;
    for scenario in Scenario::read_all(&dir)? {
        let name = &scenario.name;
        let recorded =
            answers::read(&dir, name)?.with_context(|| format!("{name} was never recorded"))?;
        let ours = play(&scenario, &subjects, &dir, &mut Ours::new()?)?;
        for ask in &scenario.asks {
            let theirs = recorded.get(&ask.id);
            let theirs = theirs.with_context(|| format!("{name}/{}: not recorded", ask.id))?;
            count += 1;
            judge.take(match &ours[&ask.id] {
                Ok(ours) => compare(name, &ask.id, theirs, ours),
                Err(why) => vec![Difference {
                    scenario: name.clone(),
                    request: ask.id.clone(),
                    at: "request".to_owned(),
                    theirs: None,
                    ours: Some(json!(why)),
                }],
            });
        }
        ensure!(
            recorded.len() == scenario.asks.len(),
            "{name}: answers without requests; record again"
        );
    }
    judge.verdict(&format!("{count} recordings"))
}

#[test]
fn authorization_is_kubernetes_authorization() -> Result<()> {
    let dir = data_dir();
    let subjects = Subjects::read(&dir)?;
    let matrix = Matrix::read(&dir)?;
    let recorded = matrix::read(&dir, &matrix)?.context("the matrix was never recorded")?;
    let ours = matrix.play(&subjects, &mut Ours::new()?)?;
    let mut judge = Judge::new("-matrix")?;
    for (subject, row) in &recorded {
        for (action, theirs) in row {
            let ours = ours.get(subject).and_then(|row| row.get(action));
            if ours != Some(theirs) {
                judge.take(vec![Difference {
                    scenario: "matrix".to_owned(),
                    request: subject.clone(),
                    at: action.clone(),
                    theirs: Some(json!(theirs)),
                    ours: ours.map(|verdict| json!(verdict)),
                }]);
            }
        }
    }
    judge.verdict(&format!("{} cells", matrix.len()))
}

#[test]
fn documents_are_kubernetes_documents() -> Result<()> {
    let theirs = openapi::recorded(&data_dir())?;
    let ours = openapi::play(&mut Ours::new()?)?;
    let differences = openapi::differences(&theirs, &ours);
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}
