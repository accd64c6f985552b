//! The agent's own TLS endpoint: what it shows, and who may read `/metrics` there.
//!
//! It shows the node's serving certificate, a renewed one from the next handshake on; connections
//! that are there stay. An agent that keeps none shows one of [its own](crate::self_signed), as a
//! kubelet does. The listener is [`everleaf_observe`]'s.

use crate::client::access::Presentable;
use crate::clock::Clock;
use crate::kubeconfig::Source;
use everleaf_observe::{Admits, Door};
use everleaf_pki::trust::{Presented, Purpose};
use everleaf_pki::{Credential, TrustBundle};
use everleaf_tls::PossessionOnly;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// The endpoint as an agent is told to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsEndpoint {
    /// `--tls-bind-address`.
    pub address: SocketAddr,
    /// `--tls-client-ca-file`: the authorities of those who may read everything; `None`: nobody.
    pub client_ca_file: Option<PathBuf>,
}

/// The certificate that new connections are shown. Without one a handshake fails, as a kubelet's
/// does: where a serving certificate is kept, nothing is shown in its place.
#[derive(Default)]
pub(crate) struct Shown(RwLock<Option<Presentable>>);

impl Shown {
    /// Shows this one from the next handshake on. On an error the one before stays.
    pub(crate) fn replace(&self, credential: &Credential) -> Result<(), String> {
        let next = Presentable::new(credential)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(next);
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(Presentable::certified_key)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(…)")
    }
}

/// The door of an endpoint that shows `shown`: TLS 1.2 and 1.3, client certificates asked for only
/// where somebody could be admitted by one, no session resumed (it would keep a client that has
/// ended).
///
/// # Errors
/// The authorities cannot be read, or are none; or the TLS library refuses.
pub(crate) fn door(
    endpoint: &TlsEndpoint,
    shown: Arc<Shown>,
    clock: Arc<dyn Clock>,
) -> Result<Door, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| everleaf_tls::words(&error))?;
    let (builder, admits): (_, Admits) = match &endpoint.client_ca_file {
        None => (builder.with_no_client_auth(), Arc::new(|_| nobody())),
        Some(path) => {
            let source = Source::File(path.clone());
            read(&source)?;
            let verifier = PossessionOnly::new(Vec::new(), &provider);
            (
                builder.with_client_cert_verifier(Arc::new(verifier)),
                Arc::new(move |certificates| judge(&source, certificates, &*clock)),
            )
        }
    };
    let mut config = builder.with_cert_resolver(shown);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Door {
        config: Arc::new(config),
        admits,
    })
}

fn nobody() -> Result<(), String> {
    Err(
        "nobody is told this over TLS: the agent has no --tls-client-ca-file by which it could know who may read it"
            .to_owned(),
    )
}

/// Whether the authorities that `source` holds now vouch for a client: asked at each request, so
/// that a replaced file and a certificate that ends count at once.
fn judge(
    source: &Source,
    certificates: &[CertificateDer<'_>],
    clock: &dyn Clock,
) -> Result<(), String> {
    if certificates.is_empty() {
        return Err(
            "this is for clients with a certificate that an authority in --tls-client-ca-file has signed; none was shown"
                .to_owned(),
        );
    }
    let shown = Presented::from_ders(certificates.iter().map(|der| &der[..]))
        .map_err(|_| "the client certificate cannot be read".to_owned())?;
    let bundle = read(source).map_err(|error| {
        tracing::warn!(%error, "a client of the TLS endpoint is refused");
        "the file of --tls-client-ca-file cannot be used now; the agent's log says why".to_owned()
    })?;
    match bundle.judge(&shown, Purpose::ClientAuth, clock.wall()) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(format!("the client {refusal}")),
    }
}

fn read(source: &Source) -> Result<TrustBundle, String> {
    let text = source.read().map_err(|error| error.to_string())?;
    TrustBundle::from_pem_lenient(text.expose().as_bytes()).map_err(|error| match source {
        Source::File(path) => format!("{}: {error}", path.display()),
        Source::Inline(_) => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ca, TestClock};
    use std::time::Duration;

    /// A client of the authority is admitted, until it ends; others are not, and are told why.
    #[test]
    fn only_clients_of_the_authorities_are_admitted() {
        let home = tempfile::tempdir().unwrap();
        let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
        let path = home.path().join("ca.crt");
        std::fs::write(&path, ours.pem()).unwrap();
        let source = Source::File(path.clone());
        let clock = TestClock::new();
        let der = |ca: &Ca| {
            let credential = ca.node("n1", 10);
            vec![CertificateDer::from(credential.leaf().der().to_vec())]
        };
        let (good, bad) = (der(&ours), der(&theirs));
        assert_eq!(judge(&source, &good, &*clock), Ok(()));
        let refusal = |shown: &[CertificateDer<'_>]| judge(&source, shown, &*clock).unwrap_err();
        assert!(refusal(&bad).contains("certificate"), "{}", refusal(&bad));
        assert!(refusal(&[]).contains("none was shown"));
        clock.pass(Duration::from_secs(11 * 3600));
        assert!(refusal(&good).contains("ended"), "{}", refusal(&good));
        std::fs::remove_file(&path).unwrap();
        assert!(refusal(&good).contains("the agent's log says why"));
    }
}
