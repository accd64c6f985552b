//! Looks outside the API server, for the rules about serving requests: at DNS, and at the
//! certificate that a kubelet shows. Carries out a [`Look`] and says what it [`Saw`]; whom to look
//! at, and what that means, the rules decide.
//!
//! DNS is asked directly, by `domain`'s stub resolver: the system's own (`getaddrinfo`) does not
//! tell a name that does not exist from a server that fails. hickory-resolver would do as well, at
//! three dozen further crates (`domain`: three). Names are asked for as they stand: no search list,
//! and no `/etc/hosts`, which is this machine's word alone.

use crate::serving::files;
use crate::serving::{Look, Present, Resolved, Saw};
use domain::base::iana::{Rcode, Rtype};
use domain::base::name::Name;
use domain::resolv::lookup::host::FoundHosts;
use domain::resolv::stub::conf::{ResolvConf, ServerConf, Transport};
use domain::resolv::stub::{Answer, StubResolver};
use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
use everleaf_tls::ServerVerifier;
use jiff::Timestamp;
use rustls::client::{ResolvesClientCert, WantsClientCert};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longest for all names of one request.
const NAMES_MAX: Duration = Duration::from_secs(3);
/// Times that a query without an answer is sent.
const QUERIES_MAX: usize = 3;
/// Longest for one kubelet, its handshake included.
const KUBELET_MAX: Duration = Duration::from_secs(3);
/// Looks that one worker has under way at once.
const UNDER_WAY_MAX: usize = 32;

/// Waits until another look may begin.
pub(crate) async fn make_room(looking: &mut JoinSet<()>) {
    while looking.len() >= UNDER_WAY_MAX {
        let _ = looking.join_next().await;
    }
    while looking.try_join_next().is_some() {}
}

/// Has a look. Ends within a few seconds, whatever the other side does.
pub(crate) async fn have(look: &Look, now: Timestamp) -> Saw {
    match look {
        Look::Kubelet { address, ca_file } => Saw::Kubelet(present(*address, ca_file, now).await),
        Look::Names {
            names,
            servers,
            timeout,
        } => Saw::Names(resolve(names, servers, *timeout).await),
    }
}

// === DNS ===

async fn resolve(
    names: &BTreeSet<String>,
    servers: &[SocketAddr],
    patience: Duration,
) -> BTreeMap<String, Resolved> {
    let mut conf = match servers {
        // Read each time: it changes with the network.
        [] => ResolvConf::default(),
        servers => ResolvConf {
            servers: servers
                .iter()
                .map(|server| ServerConf::new(*server, Transport::UdpTcp))
                .collect(),
            ..ResolvConf::new()
        },
    };
    conf.options.timeout = patience;
    let resolver = Arc::new(StubResolver::from_conf(conf));
    let mut asking = JoinSet::new();
    for name in names.iter().cloned() {
        let resolver = Arc::clone(&resolver);
        asking.spawn(async move {
            let resolved = one(&resolver, &name).await;
            (name, resolved)
        });
    }
    let trouble = |name: &String| (name.clone(), failed("no answer in time"));
    let mut found: BTreeMap<String, Resolved> = names.iter().map(trouble).collect();
    let all = async {
        while let Some(Ok((name, resolved))) = asking.join_next().await {
            found.insert(name, resolved);
        }
    };
    // What is not there by then keeps its trouble.
    let _ = timeout(NAMES_MAX, all).await;
    found
}

fn failed(why: impl Into<String>) -> Resolved {
    Resolved {
        trouble: Some(why.into()),
        ..Resolved::default()
    }
}

async fn one(resolver: &StubResolver, name: &str) -> Resolved {
    let Ok(name) = name.parse::<Name<Vec<u8>>>() else {
        return failed("it is no name that DNS can have");
    };
    let (v4, v6) = tokio::join!(
        ask(resolver, &name, Rtype::A),
        ask(resolver, &name, Rtype::AAAA)
    );
    let is_absent = |answer: &Result<Answer, String>| matches!(answer, Ok(answer) if answer.header().rcode() == Rcode::NXDOMAIN);
    if is_absent(&v4) || is_absent(&v6) {
        return Resolved {
            is_absent: true,
            ..Resolved::default()
        };
    }
    let trouble = [&v4, &v6]
        .into_iter()
        .find_map(|answer| answer.as_ref().err());
    let trouble = trouble.cloned();
    let io = |error: String| std::io::Error::other(error);
    match FoundHosts::<StubResolver>::new(v6.map_err(io), v4.map_err(io)) {
        Ok(found) => Resolved {
            addresses: found.iter().map(|address| address.to_canonical()).collect(),
            is_absent: false,
            trouble,
        },
        Err(error) => failed(trouble.unwrap_or_else(|| error.to_string())),
    }
}

/// An answer that says what there is, or that there is nothing.
async fn ask(resolver: &StubResolver, name: &Name<Vec<u8>>, kind: Rtype) -> Result<Answer, String> {
    let mut why = String::new();
    for _ in 0..QUERIES_MAX {
        match resolver.query((name, kind)).await {
            Ok(answer) => {
                return match answer.header().rcode() {
                    Rcode::NOERROR | Rcode::NXDOMAIN => Ok(answer),
                    code => Err(format!("the server answers {code}")),
                };
            }
            Err(error) => why = format!("no answer: {error}"),
        }
    }
    Err(why)
}

// === a server ===

/// The certificates that whoever answers at `host:port` shows, DER, its own first; judged by
/// nobody. Ends within a few seconds.
///
/// # Errors
/// Nobody answers, or not with TLS.
pub async fn shown_by(host: &str, port: u16, name: &str) -> std::io::Result<Vec<Vec<u8>>> {
    let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
    let shown = async { shown_on(TcpStream::connect((host, port)).await?, name).await };
    let ders = timeout(KUBELET_MAX, shown).await;
    let ders = ders.map_err(|_| std::io::Error::other("no answer in time"))??;
    Ok(ders.iter().map(|der| der.to_vec()).collect())
}

/// What a server says to whoever connects, DER; judged by nobody.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    /// Its certificates, its own first.
    pub certificates: Vec<Vec<u8>>,
    /// Names of the CAs of which it takes certificates of clients (RFC 8446 4.2.4); empty where it
    /// names none.
    pub authorities: Vec<Vec<u8>>,
}

/// As [`shown_by`], with the CAs that the server names to clients.
///
/// # Errors
/// As [`shown_by`].
pub async fn greeting_of(host: &str, port: u16) -> std::io::Result<Greeting> {
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    let asked = Arc::new(Asked::default());
    let resolver = Arc::clone(&asked);
    let greeting = async {
        let stream = TcpStream::connect((host, port)).await?;
        greeted_on(stream, name, |builder| {
            builder.with_client_cert_resolver(resolver)
        })
        .await
    };
    let ders = timeout(KUBELET_MAX, greeting).await;
    let ders = ders.map_err(|_| std::io::Error::other("no answer in time"))??;
    let authorities = std::mem::take(&mut *asked.0.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Greeting {
        certificates: ders.iter().map(|der| der.to_vec()).collect(),
        authorities,
    })
}

/// Has no certificate, and remembers of whom one was asked for.
#[derive(Debug, Default)]
struct Asked(Mutex<Vec<Vec<u8>>>);

impl ResolvesClientCert for Asked {
    fn resolve(
        &self,
        hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *asked = hints.iter().map(|name| name.to_vec()).collect();
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

async fn present(address: SocketAddr, ca_file: &Path, now: Timestamp) -> Present {
    let bundle = match authorities(ca_file).await {
        Ok(bundle) => bundle,
        Err(error) => return Present::Blind(format!("{}: {error}", ca_file.display())),
    };
    match timeout(KUBELET_MAX, shown(address)).await {
        Ok(Ok(ders)) => judge(&ders, &bundle, now).unwrap_or(Present::Refused),
        Ok(Err(_)) | Err(_) => Present::Unreached,
    }
}

/// Read each time, so that the next look believes a CA that was put in a moment ago.
async fn authorities(path: &Path) -> Result<TrustBundle, String> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || files::authorities(&path));
    reading.await.map_err(|error| error.to_string())?
}

/// The certificates that a server shows in a handshake which proves that it has their key. Nothing
/// else is said to it, and nobody has judged them.
///
/// # Errors
/// It cannot be reached, or the handshake fails.
pub async fn shown(address: SocketAddr) -> std::io::Result<Vec<CertificateDer<'static>>> {
    let name = ServerName::IpAddress(address.ip().into());
    shown_on(TcpStream::connect(address).await?, name).await
}

async fn shown_on(
    stream: TcpStream,
    name: ServerName<'static>,
) -> std::io::Result<Vec<CertificateDer<'static>>> {
    greeted_on(stream, name, |builder| builder.with_no_client_auth()).await
}

async fn greeted_on(
    stream: TcpStream,
    name: ServerName<'static>,
    client: impl FnOnce(ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientConfig,
) -> std::io::Result<Vec<CertificateDer<'static>>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    // Judged below: the name is not the point, and the clock is not the system's.
    let verifier = Arc::new(ServerVerifier::dangerously_anybody(&provider));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let stream = TlsConnector::from(Arc::new(client(builder)))
        .connect(name, stream)
        .await?;
    let (_, connection) = stream.get_ref();
    Ok(connection.peer_certificates().unwrap_or_default().to_vec())
}

fn judge(ders: &[CertificateDer<'_>], bundle: &TrustBundle, now: Timestamp) -> Option<Present> {
    let shown = Presented::from_ders(ders.iter().map(|der| &der[..])).ok()?;
    bundle.judge(&shown, Purpose::ServerAuth, now).ok()?;
    let leaf = shown.leaf();
    Some(Present::Believed {
        common_name: leaf.subject().common_name.clone(),
        names: leaf.dns_names().iter().cloned().collect(),
        addresses: leaf
            .ip_addresses()
            .iter()
            .map(IpAddr::to_canonical)
            .collect(),
    })
}

#[cfg(test)]
mod tests;
