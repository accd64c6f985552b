//! A small HTTP/2 client for the load: shared connections, one bearer token.

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest wait for a server with very many objects.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// How to reach the server, and as whom.
pub(crate) struct Target {
    address: String,
    tls: Arc<ClientConfig>,
    authorization: String,
}

impl Target {
    /// From the bootstrap kubeconfig.
    pub(crate) fn from_kubeconfig(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let document: serde_json::Value = serde_saphyr::from_str(&text)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let cluster = &document["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().context("no server")?;
        let ca = cluster["certificate-authority-data"]
            .as_str()
            .context("no CA")?;
        let ca = base64::engine::general_purpose::STANDARD.decode(ca)?;
        let token = document["users"][0]["user"]["token"]
            .as_str()
            .context("no token")?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&ca) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            address: server.trim_start_matches("https://").to_owned(),
            tls: Arc::new(tls),
            authorization: format!("Bearer {token}"),
        })
    }

    /// The same server at another address, and as someone else.
    pub(crate) fn at(self, address: &str, token: &str) -> Self {
        Self {
            address: address.to_owned(),
            authorization: format!("Bearer {token}"),
            ..self
        }
    }

    /// Where it is: host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Waits until it takes connections, and looks often enough to time that.
    pub(crate) async fn wait_closely(&self) -> Result<()> {
        let patience = tokio::time::Instant::now() + START_PATIENCE;
        loop {
            match self.connect().await {
                Ok(_) => return Ok(()),
                Err(error) if tokio::time::Instant::now() > patience => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// Waits until it takes connections.
    pub(crate) async fn wait(&self) -> Result<()> {
        let mut last = self.connect().await;
        for _ in 0..200 {
            if last.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            last = self.connect().await;
        }
        last.map(drop)
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let host = self
            .address
            .rsplit_once(':')
            .context("no port")?
            .0
            .to_owned();
        let name = ServerName::try_from(host)?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection {
            sender,
            origin: format!("https://{}", self.address),
            accept: "application/json",
            authorization: self.authorization.clone(),
        })
    }
}

/// One connection; clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    origin: String,
    accept: &'static str,
    authorization: String,
}

impl Connection {
    /// For answers of another type than JSON.
    pub(crate) fn accept(mut self, media_type: &'static str) -> Self {
        self.accept = media_type;
        self
    }

    /// Sends one request.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin))
            .header(http::header::AUTHORIZATION, &self.authorization)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, self.accept)
            .body(Full::new(body))?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }
}
