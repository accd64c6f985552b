//! One connection: TCP, a proxy if there is one, TLS, HTTP/1.1.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use everleaf_pki::TrustBundle;
use everleaf_pki::trust::{Fault, Refusal};
use everleaf_tls::ServerVerifier;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::access::{Access, Identity};
use super::failure::{Failure, FailureClass};
use super::roots::Roots;
use crate::clock::Clock;
use crate::kubeconfig::{Cluster, ProxyUrl, Trust};

/// Longest wait for a TCP connection.
const DIAL_MAX: Duration = Duration::from_secs(30);
/// Longest wait for a proxy's answer or a TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Silence after which the kernel asks whether the peer is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Largest answer of a proxy to CONNECT.
const PROXY_ANSWER_BYTES_MAX: usize = 8 << 10;
/// Largest response head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most header lines of a response; a server may warn of many fields.
const HEAD_LINES_MAX: usize = 1_000;

/// What sends requests over one connection.
pub(super) type Sender = SendRequest<Full<Bytes>>;

/// Opens a connection that presents the identity of `access`. Dropping the sender closes it after
/// the request in flight.
pub(super) async fn connect(access: &Access, clock: &Arc<dyn Clock>) -> Result<Sender, Failure> {
    let cluster = &*access.cluster;
    let config = tls_config(access, clock)?;
    let name = cluster
        .tls_server_name
        .as_deref()
        .unwrap_or(cluster.server.host())
        .to_owned();
    let name = ServerName::try_from(name)
        .map_err(|_| Failure::unreachable(format!("{}: not a host name", cluster.server)))?;
    let tcp = dial(cluster).await?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let tls = within(HANDSHAKE_MAX, "TLS handshake", cluster, handshake)
        .await?
        .map_err(|error| tls_failure(cluster, clock.wall(), &error))?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_LINES_MAX)
        .handshake(TokioIo::new(tls))
        .await
        .map_err(|error| {
            let why = everleaf_tls::chain_words(&error);
            Failure::unreachable(format!("{}: {why}", cluster.server))
        })?;
    // Ends when the sender is dropped and nothing is in flight; its errors reach the request.
    tokio::spawn(connection);
    Ok(sender)
}

async fn within<T>(
    limit: Duration,
    what: &str,
    cluster: &Cluster,
    future: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::time::timeout(limit, future).await.map_err(|_| {
        Failure::unreachable(format!(
            "{}: no {what} within {} s",
            cluster.server,
            limit.as_secs()
        ))
    })
}

async fn dial(cluster: &Cluster) -> Result<TcpStream, Failure> {
    let (host, port, role) = match &cluster.proxy {
        Some(proxy) => (proxy.host(), proxy.port(), "proxy "),
        None => (cluster.server.host(), cluster.server.port(), ""),
    };
    let mut stream = within(
        DIAL_MAX,
        "connection",
        cluster,
        TcpStream::connect((host, port)),
    )
    .await?
    .map_err(|error| {
        Failure::unreachable(format!("cannot connect to {role}{host}:{port}: {error}"))
    })?;
    // Both only tune the connection; without them it still works.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE);
    if let Some(proxy) = &cluster.proxy {
        let authority = cluster.server.authority();
        let tunnel = tunnel(&mut stream, &authority);
        within(HANDSHAKE_MAX, "answer of the proxy", cluster, tunnel)
            .await?
            .map_err(|what| proxy_failure(proxy, &what))?;
    }
    Ok(stream)
}

/// Asks a proxy for a tunnel (RFC 9110 section 9.3.6).
async fn tunnel(stream: &mut TcpStream, authority: &str) -> Result<(), String> {
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the blank line belongs to the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= PROXY_ANSWER_BYTES_MAX {
            return Err("its answer is too long".to_owned());
        }
        answer.push(stream.read_u8().await.map_err(|error| error.to_string())?);
    }
    let text = String::from_utf8_lossy(&answer);
    let line = text.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some(code) if code.len() == 3 && code.starts_with('2') => Ok(()),
        _ => Err(format!("it answered {line:?}")),
    }
}

fn proxy_failure(proxy: &ProxyUrl, what: &str) -> Failure {
    Failure::unreachable(format!("proxy {proxy} gives no tunnel: {what}"))
}

/// Whose clock certificates are compared with: the agent's, which may be an offset clock.
#[derive(Debug)]
struct TlsTime(Arc<dyn Clock>);

impl rustls::time_provider::TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.wall().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// A configuration for one connection. The trust bundle is read each time: a replaced CA file
/// needs no restart, and no session is resumed that would carry an old client certificate along.
fn tls_config(access: &Access, clock: &Arc<dyn Clock>) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let time = Arc::new(TlsTime(Arc::clone(clock)));
    let builder = ClientConfig::builder_with_details(Arc::clone(&provider), time)
        .with_safe_default_protocol_versions()
        .expect("invariant: the provider supports TLS 1.2 and 1.3");
    let builder = match &access.cluster.trust {
        Trust::System => {
            let verifier = ServerVerifier::new(system_roots()?, &provider);
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
        Trust::Bundle(source) => {
            let pem = source.read().map_err(|error| {
                Failure::unreachable(format!("cannot read certificate-authority: {error}"))
            })?;
            let verifier = ServerVerifier::new(trust_anchors(pem.expose())?, &provider);
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
        Trust::DangerouslyAnybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(DangerouslyAnybody(algorithms))),
    };
    let mut config = match &access.identity {
        Identity::Certificate(presentable) => builder.with_client_cert_resolver(Arc::new(
            rustls::sign::SingleCertAndKey::from(presentable.certified_key()),
        )),
        Identity::Token(_) | Identity::Exec(_) | Identity::Anonymous => {
            builder.with_no_client_auth()
        }
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// The authorities that this host trusts.
fn system_roots() -> Result<TrustBundle, Failure> {
    let roots = Roots::of_environment();
    TrustBundle::from_pem_lenient(roots.read().as_bytes()).map_err(|_| {
        Failure::unreachable(format!(
            "the kubeconfig names no certificate-authority, and this host trusts none ({roots}): name the cluster's in \
             certificate-authority-data"
        ))
    })
}

fn trust_anchors(pem: &str) -> Result<TrustBundle, Failure> {
    TrustBundle::from_pem_lenient(pem.as_bytes()).map_err(|_| {
        Failure::unreachable("certificate-authority holds no certificate that can be used")
    })
}

/// Says what a failed handshake means for the one who has to repair it.
fn tls_failure(cluster: &Cluster, now: Timestamp, error: &std::io::Error) -> Failure {
    let server = &cluster.server;
    let cause = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<rustls::Error>());
    let Some(refusal) = cause.and_then(everleaf_tls::refusal_of) else {
        return Failure::unreachable(format!(
            "{server}: TLS handshake failed: {}",
            everleaf_tls::chain_words(error)
        ));
    };
    let failure = Failure::unreachable(format!("{server}: {}", refusal_text(refusal, now)));
    match refusal {
        Refusal::Leaf(Fault::Expired(_) | Fault::NotYetValid(_))
        | Refusal::UnknownAuthority(Some(Fault::Expired(_) | Fault::NotYetValid(_))) => Failure {
            class: FailureClass::ServerCertificateDates,
            ..failure
        },
        _ => failure,
    }
}

/// What is wrong with a server's certificate, and what to do, to whoever connects with a kubeconfig.
pub fn refusal_text(refusal: &Refusal, now: Timestamp) -> String {
    let now = everleaf_api::meta::format_time(now);
    match refusal {
        Refusal::Leaf(Fault::Expired(not_after)) => format!(
            "its certificate ended at {not_after}, and the clock of this node reads {now}: set the clock if it is \
             wrong, else renew the server's certificate"
        ),
        Refusal::Leaf(Fault::NotYetValid(not_before)) => format!(
            "its certificate begins at {not_before}, and the clock of this node reads {now}: set the clock"
        ),
        // A bad signature is what another authority of the same name gives.
        Refusal::UnknownAuthority(None | Some(Fault::Signature(_))) => {
            "its certificate is not signed by an authority of this kubeconfig; check certificate-authority"
                .to_owned()
        }
        Refusal::UnknownAuthority(Some(fault @ (Fault::Expired(_) | Fault::NotYetValid(_)))) => {
            format!(
                "the authority of its certificate is not in force: {fault}, and the clock of this node reads {now}: \
                 set the clock if it is wrong, else renew the authority and give this node the new one \
                 (certificate-authority)"
            )
        }
        Refusal::Host { .. } => format!(
            "its {refusal}: connect by one of these names, name one as tls-server-name, or give the server a \
             certificate with this name"
        ),
        _ => format!("its certificate is not acceptable: {refusal}"),
    }
}

/// `insecure-skip-tls-verify: true`: the peer may be anybody who holds a key. Only ever built when
/// a kubeconfig says so.
#[derive(Debug)]
struct DangerouslyAnybody(rustls::crypto::WebPkiSupportedAlgorithms);

impl ServerCertVerifier for DangerouslyAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_told_to_the_second() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let end = Fault::Expired(at("2026-01-01T00:00:00Z"));
        let now = at("2026-01-02T03:04:05.678901234Z");
        for refusal in [
            Refusal::Leaf(end.clone()),
            Refusal::UnknownAuthority(Some(end)),
            Refusal::Leaf(Fault::NotYetValid(at("2027-01-01T00:00:00Z"))),
        ] {
            let text = refusal_text(&refusal, now);
            assert!(text.contains("reads 2026-01-02T03:04:05Z"), "{text}");
            // Whoever is told may have tried for the last time.
            assert!(!text.contains("still trying"), "{text}");
        }
    }
}
