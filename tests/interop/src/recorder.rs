//! Plays the lists of `tests/recordings` against the real kube-apiserver, and writes down what it
//! answers.

use crate::certificates::{self, Server};
use crate::stack::{Part, Stack};
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use everleaf_recordings::client_certificates;
use everleaf_recordings::matrix::{self, Cells, Matrix};
use everleaf_recordings::play::{ClientCertificate, Player};
use everleaf_recordings::{
    Answer, CLIENT_CA, Scenario, Subjects, TOKENS_CSV, answers, data_dir, openapi, play,
};
use everleaf_stage::{Sandbox, Tools, arg};
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// What kube-apiserver's caches of roles, bindings and tokens may lag behind a write.
const CACHES_LAG_MAX: Duration = Duration::from_millis(1500);
/// Longest wait for one answer; a watch of the lists takes a few seconds.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The list of client certificates, as `cargo xtask record` knows it.
const CLIENT_CERTIFICATES: &str = "client-certificates";

/// `cargo xtask record [NAME…]`: these scenarios (`matrix`, `openapi` and `client-certificates` are
/// three), or all.
pub(crate) fn record(names: &[String]) -> Result<()> {
    let tools = Tools::from_environment().context("run this through cargo xtask record")?;
    let tools = Arc::new(tools);
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    if names.iter().any(|name| name != CLIENT_CERTIFICATES) || names.is_empty() {
        let sandbox = Sandbox::new("record", Arc::clone(&tools))?;
        record_requests(&sandbox, &is_wanted)?;
    }
    if is_wanted(CLIENT_CERTIFICATES) {
        let sandbox = Sandbox::new(CLIENT_CERTIFICATES, tools)?;
        let mut stack = Stack::start(&sandbox, &[Part::Etcd])?;
        let recording = certificates::play(&mut stack, Server::Kubernetes)?;
        client_certificates::write(&data_dir(), &recording)?;
        eprintln!("{CLIENT_CERTIFICATES}: {} cases", recording.cases.len());
    }
    Ok(())
}

fn record_requests(sandbox: &Sandbox, is_wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    let dir = data_dir();
    let mut theatre = Theatre::open(sandbox)?;
    for scenario in Scenario::read_all(&dir)? {
        if is_wanted(&scenario.name) {
            let recorded = theatre.play(&scenario)?;
            answers::write(&dir, &scenario.name, &recorded)?;
            eprintln!("{}: {} answers", scenario.name, recorded.len());
        }
    }
    if is_wanted("openapi") {
        let facts = theatre.openapi()?;
        openapi::write(&dir, &facts)?;
        eprintln!("openapi: {} facts", facts.len());
    }
    if is_wanted("matrix") {
        let (matrix, cells) = theatre.matrix()?;
        matrix::write(&dir, &cells)?;
        eprintln!("matrix: {} cells", matrix.len());
    }
    Ok(())
}

/// A kube-apiserver of its own, set up as the lists expect it.
pub(crate) struct Theatre<'a> {
    kube: Kube,
    subjects: Subjects,
    stack: Stack<'a>,
    /// Its flags, but for what it serves besides the usual.
    flags: Vec<String>,
    runtime_config: String,
}

impl<'a> Theatre<'a> {
    /// Starts it.
    pub(crate) fn open(sandbox: &'a Sandbox) -> Result<Self> {
        let tokens = sandbox.write("tokens.csv", TOKENS_CSV)?;
        let tokens = format!("--token-auth-file={}", arg(&tokens));
        let mut stack = Stack::start(sandbox, &[Part::Etcd])?;
        // The stack's own administrator, and the clients of the lists.
        let own = std::fs::read_to_string(stack.authority_or_new()?.certificate())?;
        let clients = std::fs::read_to_string(data_dir().join(CLIENT_CA))?;
        let both = sandbox.write("client-ca.crt", &(own + &clients))?;
        let both = format!("--client-ca-file={}", arg(&both));
        let flags = vec![tokens, both];
        add_kube_apiserver(&mut stack, &flags)?;
        let kube = Kube::new(stack.port()?, stack.authority()?.certificate())?;
        let dir = data_dir();
        let mut theatre = Self {
            kube,
            subjects: Subjects::read(&dir)?,
            stack,
            flags,
            runtime_config: String::new(),
        };
        let setup = Scenario::read(&dir.join("setup.yaml"))?;
        for (id, answer) in theatre.play(&setup)? {
            if answer.status > 201 {
                bail!("setup.yaml: {id}: {}", answer.to_json());
            }
        }
        theatre.kube.settle();
        Ok(theatre)
    }

    /// Plays a scenario; its answers in the order of its requests.
    pub(crate) fn play(&mut self, scenario: &Scenario) -> Result<Vec<(String, Answer)>> {
        self.serve(&scenario.runtime_config)?;
        let mut played = play(scenario, &self.subjects, &data_dir(), &mut self.kube)?;
        let mut ordered = Vec::new();
        for ask in &scenario.asks {
            let answer = played.remove(&ask.id).context("every request is played")?;
            let answer = answer.map_err(|why| anyhow!("{}/{}: {why}", scenario.name, ask.id))?;
            ordered.push((ask.id.clone(), answer));
        }
        Ok(ordered)
    }

    /// Starts the server again when it does not serve that.
    fn serve(&mut self, runtime_config: &str) -> Result<()> {
        if self.runtime_config == runtime_config {
            return Ok(());
        }
        self.stack.stop("kube-apiserver")?;
        let mut flags = self.flags.clone();
        if !runtime_config.is_empty() {
            flags.push(format!("--runtime-config={runtime_config}"));
        }
        add_kube_apiserver(&mut self.stack, &flags)?;
        runtime_config.clone_into(&mut self.runtime_config);
        self.kube = Kube::new(self.stack.port()?, self.stack.authority()?.certificate())?;
        self.kube.settle();
        Ok(())
    }

    /// Ends the play; what it stood on is free for others.
    pub(crate) fn close(mut self) -> Result<Stack<'a>> {
        self.stack.stop("kube-apiserver")?;
        Ok(self.stack)
    }

    /// Asks for what it says of its resources.
    pub(crate) fn openapi(&mut self) -> Result<openapi::Facts> {
        self.serve("")?;
        openapi::play(&mut self.kube)
    }

    /// Asks for every cell of the matrix.
    pub(crate) fn matrix(&mut self) -> Result<(Matrix, Cells)> {
        self.serve("")?;
        let matrix = Matrix::read(&data_dir())?;
        let cells = matrix.play(&self.subjects, &mut self.kube)?;
        Ok((matrix, cells))
    }
}

fn add_kube_apiserver(stack: &mut Stack<'_>, flags: &[String]) -> Result<()> {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    stack.add(&Part::KubeApiserver(&flags))
}

/// One HTTP/1.1 connection to it, opened again when it was closed.
pub(crate) struct Kube {
    runtime: Runtime,
    address: String,
    roots: RootCertStore,
    /// The connection of those who bring no client certificate.
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Kube {
    /// One that serves at this port of the loopback, under this CA.
    pub(crate) fn new(port: u16, ca: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            address: format!("127.0.0.1:{port}"),
            roots,
            connection: None,
        })
    }

    /// TLS without a client certificate, or with this one.
    fn tls(&self, certificate: Option<&ClientCertificate>) -> Result<TlsConnector> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots.clone());
        let tls = match certificate {
            None => tls.with_no_client_auth(),
            Some(ClientCertificate(path)) => {
                let chain = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
                tls.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(path)?)?
            }
        };
        Ok(TlsConnector::from(Arc::new(tls)))
    }
}

impl Player for Kube {
    fn send(&mut self, mut request: Request<Bytes>) -> Result<Response<Bytes>> {
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&self.address)?);
        // It is the field manager of what has none.
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static("recordings"));
        let certificate = request.extensions().get::<ClientCertificate>().cloned();
        let tls = self.tls(certificate.as_ref())?;
        let kept = match &certificate {
            Some(_) => None,
            None => self.connection.take().filter(|open| !open.is_closed()),
        };
        let address = &self.address;
        let exchange = async {
            let mut connection = match kept {
                Some(open) => open,
                None => connect(address, &tls).await?,
            };
            connection.ready().await?;
            let response = connection.send_request(request.map(Full::new)).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok((connection, Response::from_parts(parts, body)))
        };
        let exchange = async { tokio::time::timeout(ANSWER_MAX, exchange).await };
        let (connection, response) = self
            .runtime
            .block_on(exchange)
            .context("no answer in time")??;
        if certificate.is_none() {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    fn settle(&mut self) {
        std::thread::sleep(CACHES_LAG_MAX);
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the real server has the real time"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

async fn connect(address: &str, tls: &TlsConnector) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("127.0.0.1")?;
    let stream = tls.connect(name, stream).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
