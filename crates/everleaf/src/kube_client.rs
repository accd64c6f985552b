//! A Kubernetes client that judges the server as the agent does.
//!
//! kube's own stack would let webpki judge it, which refuses servers that every Go client believes (one whose certificate
//! itself is the authority of the kubeconfig) and does not look at the authority's own limits.

mod fresh;

use anyhow::{Context, Result, bail};
use everleaf_agent::Clock;
use everleaf_pki::TrustBundle;
use everleaf_tls::ServerVerifier;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tower::{BoxError, ServiceBuilder};

use fresh::{BearerFile, FreshVerifier};

/// Connects by `config`. Without an authority in it, those that this host trusts anyway are asked.
///
/// # Errors
/// A credential, authority or name that cannot be used, or a proxy, which is not supported.
pub(crate) fn connect(mut config: kube::Config) -> Result<kube::Client> {
    if config.proxy_url.is_some() {
        bail!("proxy-url: the controllers cannot use a proxy yet; connect them directly");
    }
    let tls = tls_config(&config)?;
    let token = BearerFile::take(&mut config.auth_info)?.map(Arc::new);
    let mut https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = ServerName::try_from(name.clone())
            .with_context(|| format!("tls-server-name {name:?} is no host name"))?;
        https = https.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let mut connector = TimeoutConnector::new(https.enable_http1().build());
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_request(move |request| match &token {
            Some(token) => token.authorize(request),
            None => request,
        })
        .map_err(|error| said_plainly(BoxError::from(error)))
        .service(http);
    Ok(kube::Client::new(service, config.default_namespace))
}

fn tls_config(config: &kube::Config) -> Result<rustls::ClientConfig> {
    let provider = match CryptoProvider::get_default() {
        Some(provider) => Arc::clone(provider),
        None => {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            // Another thread may have been faster, with the same provider.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            provider
        }
    };
    let Some(anchors) = config
        .root_cert
        .as_ref()
        .filter(|_| !config.accept_invalid_certs)
    else {
        let mut tls = config.rustls_client_config()?;
        tls.resumption = rustls::client::Resumption::disabled();
        return Ok(tls);
    };
    let bundle = TrustBundle::from_ders(anchors.iter().map(Vec::as_slice))
        .context("certificate-authority holds no certificate that can be used")?;
    let verifier: Arc<dyn ServerCertVerifier> = match &config.root_cert_file {
        Some(path) => Arc::new(FreshVerifier::new(path.clone(), bundle, &provider)),
        None => Arc::new(ServerVerifier::new(bundle, &provider)),
    };
    // kube gets no anchors of its own: it would refuse some that are believed.
    let mut bare = config.clone();
    bare.root_cert = Some(Vec::new());
    bare.root_cert_file = None;
    let mut tls = bare.rustls_client_config()?;
    tls.dangerous().set_certificate_verifier(verifier);
    // A resumed session would carry the client certificate of the first one.
    tls.resumption = rustls::client::Resumption::disabled();
    Ok(tls)
}

/// A refused certificate in words for whoever has to repair it, in place of the layers' own.
fn said_plainly(error: BoxError) -> BoxError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    while let Some(error) = cause {
        let tls = error.downcast_ref::<rustls::Error>();
        if let Some(refusal) = tls.and_then(everleaf_tls::refusal_of) {
            let now = everleaf_agent::SystemClock::new().wall();
            return everleaf_agent::client::refusal_text(refusal, now).into();
        }
        // An I/O error gives the one inside as its own text, not as its source.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    error
}

#[cfg(test)]
mod tests;
