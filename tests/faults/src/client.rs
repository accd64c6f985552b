//! A small HTTP/1.1 client over TLS, with the client certificate of an `admin.conf`.

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest wait for an answer. Servers give up after a few seconds themselves.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Largest answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// As whom to connect, and whom to believe.
#[derive(Clone)]
pub(crate) struct Access(Arc<ClientConfig>);

impl Access {
    /// From a kubeconfig with everything inline.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let document: Value = serde_saphyr::from_str(&text)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let (cluster, user) = (
            &document["clusters"][0]["cluster"],
            &document["users"][0]["user"],
        );
        let decoded = |place: &Value, name: &str| {
            let text = place[name].as_str().with_context(|| format!("no {name}"))?;
            anyhow::Ok(STANDARD.decode(text)?)
        };
        let mut roots = RootCertStore::empty();
        let ca = decoded(cluster, "certificate-authority-data")?;
        for certificate in CertificateDer::pem_slice_iter(&ca) {
            roots.add(certificate?)?;
        }
        let chain = decoded(user, "client-certificate-data")?;
        let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&decoded(user, "client-key-data")?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self(Arc::new(tls)))
    }

    /// Opens a connection to `127.0.0.1:port`. When this fails, nothing was asked.
    pub(crate) async fn connect(&self, port: u16) -> Result<Connection> {
        let connecting = async {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from("127.0.0.1")?;
            let connector = TlsConnector::from(Arc::clone(&self.0));
            let stream = connector.connect(name, stream).await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            anyhow::Ok(Connection { sender, port })
        };
        tokio::time::timeout(CONNECT_MAX, connecting).await?
    }
}

/// One connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    port: u16,
}

impl Connection {
    /// Whether it can take a request.
    pub(crate) async fn is_usable(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// The status and the object of the answer.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let asking = async {
            let answer = self.sender.send_request(self.request(method, path, body)?);
            let answer = answer.await?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
            let body = body.collect().await.map_err(|error| anyhow!("{error}"))?;
            anyhow::Ok((status, serde_json::from_slice(&body.to_bytes())?))
        };
        tokio::time::timeout(ANSWER_MAX, asking).await?
    }

    /// The body of a watch.
    pub(crate) async fn watch(mut self, path: &str) -> Result<Incoming> {
        let answer = self.sender.send_request(self.request("GET", path, None)?);
        let answer = tokio::time::timeout(ANSWER_MAX, answer).await??;
        if !answer.status().is_success() {
            bail!("{}", answer.status().as_u16());
        }
        Ok(answer.into_body())
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>> {
        let body = body.map(Value::to_string).unwrap_or_default();
        Ok(Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, format!("127.0.0.1:{}", self.port))
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)))?)
    }
}
