//! TLS to an API server or a proxy: whom to believe, as whom to speak, and what a refusal means in
//! words.

use super::access::{Access, Identity};
use super::failure::{Failure, FailureClass};
use super::roots::Roots;
use crate::clock::Clock;
use crate::kubeconfig::{Cluster, Source, Trust};
use everleaf_pki::TrustBundle;
use everleaf_pki::trust::{Fault, Refusal};
use everleaf_tls::ServerVerifier;
use jiff::Timestamp;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What is offered in the handshake; a server that knows neither gets HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The authorities of a kubeconfig's file as they were last read and could be used.
#[derive(Debug, Default)]
pub(super) struct LastAuthorities(Mutex<Option<(Source, Arc<ServerVerifier>)>>);

impl LastAuthorities {
    /// A verifier for what `source` holds now. A file that is being replaced may be cut short, or
    /// away, for a moment: then what it held before counts.
    fn verifier(
        &self,
        source: &Source,
        provider: &CryptoProvider,
    ) -> Result<Arc<ServerVerifier>, Failure> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match read_authorities(source) {
            Ok(bundle) => {
                let verifier = Arc::new(ServerVerifier::new(bundle, provider));
                *last = Some((source.clone(), Arc::clone(&verifier)));
                Ok(verifier)
            }
            Err(what) => match &*last {
                Some((of, verifier)) if of == source => {
                    tracing::warn!("{what}; what it held before is used until it can be");
                    Ok(Arc::clone(verifier))
                }
                _ => Err(Failure::unreachable(what)),
            },
        }
    }
}

fn read_authorities(source: &Source) -> Result<TrustBundle, String> {
    let pem = source
        .read()
        .map_err(|error| format!("cannot read certificate-authority: {error}"))?;
    let name = match source {
        Source::File(path) => format!("certificate-authority {}", path.display()),
        Source::Inline(_) => "certificate-authority-data".to_owned(),
    };
    TrustBundle::from_pem_lenient(pem.expose().as_bytes())
        .map_err(|_| format!("{name} holds no certificate that can be used"))
}

/// A configuration for one connection to the server. The trust bundle is read each time: a replaced
/// CA file needs no restart, and no session is resumed that would carry an old client certificate
/// along.
pub(super) fn of_server(
    access: &Access,
    clock: &Arc<dyn Clock>,
    last: &LastAuthorities,
    allows_http2: bool,
) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = match &access.cluster.trust {
        Trust::System => {
            let bundle = bundle_of_host(&Roots::of_environment().read())?;
            Arc::new(ServerVerifier::new(bundle, &provider))
        }
        Trust::Bundle(source) => last.verifier(source, &provider)?,
        // Only because a kubeconfig says so.
        Trust::DangerouslyAnybody => Arc::new(ServerVerifier::dangerously_anybody(&provider)),
    };
    let builder = builder(clock, &provider)
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &access.identity {
        Identity::Certificate(presentable) => builder.with_client_cert_resolver(Arc::new(
            rustls::sign::SingleCertAndKey::from(presentable.certified_key()),
        )),
        Identity::Token(_) | Identity::Basic(_) | Identity::Exec(_) | Identity::Anonymous => {
            builder.with_no_client_auth()
        }
    };
    config.resumption = rustls::client::Resumption::disabled();
    let protocols = if allows_http2 {
        &PROTOCOLS[..]
    } else {
        &PROTOCOLS[1..]
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// A configuration for one connection to a proxy. Those vouch for it whom this host trusts, and the
/// kubeconfig's authorities, which are all that count to Go; a proxy gets no client certificate,
/// and is judged even where the server is not: it may be given a password.
pub(super) fn of_proxy(cluster: &Cluster, clock: &Arc<dyn Clock>) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut pem = Roots::of_environment().read();
    if let Trust::Bundle(source) = &cluster.trust
        && let Ok(own) = source.read()
    {
        pem.push('\n');
        pem.push_str(own.expose());
    }
    let verifier = Arc::new(ServerVerifier::new(bundle_of_host(&pem)?, &provider));
    let mut config = builder(clock, &provider)
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn builder(
    clock: &Arc<dyn Clock>,
    provider: &Arc<CryptoProvider>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let time = Arc::new(TlsTime(Arc::clone(clock)));
    ClientConfig::builder_with_details(Arc::clone(provider), time)
        .with_safe_default_protocol_versions()
        .expect("invariant: the provider supports TLS 1.2 and 1.3")
}

/// The authorities that this host trusts.
fn bundle_of_host(pem: &str) -> Result<TrustBundle, Failure> {
    TrustBundle::from_pem_lenient(pem.as_bytes()).map_err(|_| {
        Failure::unreachable(format!(
            "the kubeconfig names no certificate-authority, and this host trusts none ({}): name the cluster's in \
             certificate-authority-data",
            Roots::of_environment()
        ))
    })
}

/// Says what a failed handshake means for the one who has to repair it.
pub(super) fn failure_of(cluster: &Cluster, now: Timestamp, error: &std::io::Error) -> Failure {
    let server = &cluster.server;
    let Some(refusal) = refusal_in(error) else {
        return Failure::unreachable(format!(
            "{server}: TLS handshake failed: {}",
            everleaf_tls::chain_words(error)
        ));
    };
    let text = refusal_text(refusal, &cluster.trust, now);
    let failure = Failure::unreachable(format!("{server}: {text}"));
    match refusal {
        Refusal::Leaf(Fault::Expired(_) | Fault::NotYetValid(_))
        | Refusal::UnknownAuthority(Some(Fault::Expired(_) | Fault::NotYetValid(_))) => Failure {
            class: FailureClass::ServerCertificateDates,
            ..failure
        },
        _ => failure,
    }
}

/// Why a proxy's certificate was refused, if that is what failed.
pub(super) fn proxy_text(now: Timestamp, error: &std::io::Error) -> String {
    match refusal_in(error) {
        Some(Refusal::UnknownAuthority(None | Some(Fault::Signature(_)))) => {
            "its certificate is not signed by an authority that this host or the kubeconfig trusts"
                .to_owned()
        }
        Some(refusal) => refusal_text(refusal, &Trust::System, now),
        None => format!("TLS handshake failed: {}", everleaf_tls::chain_words(error)),
    }
}

fn refusal_in(error: &std::io::Error) -> Option<&Refusal> {
    let cause = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    everleaf_tls::refusal_of(cause)
}

/// What is wrong with a server's certificate, and what to do, to whoever connects with a
/// kubeconfig.
fn refusal_text(refusal: &Refusal, trust: &Trust, now: Timestamp) -> String {
    // Certificates know no fractions of a second.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    match refusal {
        Refusal::Leaf(Fault::Expired(not_after)) => format!(
            "its certificate ended at {not_after}, and the clock of this node reads {now}: set the clock if it is \
             wrong, else renew the server's certificate"
        ),
        Refusal::Leaf(Fault::NotYetValid(not_before)) => format!(
            "its certificate begins at {not_before}, and the clock of this node reads {now}: set the clock"
        ),
        // A bad signature is what another authority of the same name gives.
        Refusal::UnknownAuthority(None | Some(Fault::Signature(_))) => match trust {
            Trust::System => "its certificate is not signed by an authority that this host trusts; name the cluster's \
                              authority in the kubeconfig (certificate-authority)"
                .to_owned(),
            Trust::Bundle(_) | Trust::DangerouslyAnybody => {
                "its certificate is not signed by an authority of this kubeconfig; check certificate-authority"
                    .to_owned()
            }
        },
        Refusal::UnknownAuthority(Some(fault @ (Fault::Expired(_) | Fault::NotYetValid(_)))) => {
            format!(
                "the authority of its certificate is not in force: {fault}, and the clock of this node reads {now}: \
                 set the clock if it is wrong, else renew the authority and give this node the new one \
                 (certificate-authority)"
            )
        }
        Refusal::Host { names, .. } if names.is_empty() => format!(
            "its {refusal}: give the server a certificate with this name as a subject alternative name"
        ),
        Refusal::Host { .. } => format!(
            "its {refusal}: connect by one of these names, name one as tls-server-name, or give the server a \
             certificate with this name"
        ),
        _ => format!("its certificate is not acceptable: {refusal}"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What people read, for each kind of refusal; nothing is promised that only the caller knows.
    #[test]
    fn a_refusal_says_what_to_do() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-01-02T03:04:05.678901234Z");
        let end = at("2025-01-01T00:00:00Z");
        let bundle = Trust::Bundle(Source::File("/ca".into()));
        let host = |names: &[&str]| Refusal::Host {
            host: "a.example".to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        for (refusal, trust, expected, not) in [
            (
                Refusal::Leaf(Fault::Expired(end)),
                &bundle,
                "ended at 2025-01-01T00:00:00Z, and the clock of this node reads 2026-01-02T03:04:05Z:",
                "still trying",
            ),
            (
                Refusal::UnknownAuthority(None),
                &bundle,
                "an authority of this kubeconfig",
                "host",
            ),
            (
                Refusal::UnknownAuthority(None),
                &Trust::System,
                "not signed by an authority that this host trusts",
                "of this kubeconfig",
            ),
            (
                Refusal::UnknownAuthority(Some(Fault::Expired(end))),
                &bundle,
                "reads 2026-01-02T03:04:05Z:",
                "still trying",
            ),
            (
                host(&["b.example"]),
                &bundle,
                "connect by one of these names",
                "no name",
            ),
            (
                host(&[]),
                &bundle,
                "no name at all: give the server",
                "one of these",
            ),
        ] {
            let text = refusal_text(&refusal, trust, now);
            assert!(text.contains(expected), "{text:?} lacks {expected:?}");
            assert!(!text.contains(not), "{text:?} has {not:?}");
        }
    }
}
