//! What the flags say of an etcd.

use crate::args::etcd::EtcdArgs;
use crate::failure::UsageError;
use crate::input;
use anyhow::{Context, Result, anyhow};
use everleaf_apiserver::registry::DESCRIPTORS;
use everleaf_apiserver::store::EtcdConfig;
use everleaf_etcd::Config;
use everleaf_pki::trust::TrustBundle;
use everleaf_tls::ServerVerifier;
use rustls::ClientConfig;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Largest of these files.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the objects are; None: in the data directory.
pub(crate) fn of(args: &EtcdArgs) -> Result<Option<EtcdConfig>> {
    if args.etcd_servers.is_empty() {
        return Ok(None);
    }
    let tls = match &args.etcd_cafile {
        Some(path) => Some(Arc::new(tls(args, path)?)),
        None if args.etcd_servers.iter().any(|server| server.is_tls) => {
            return Err(UsageError(
                "--etcd-servers has members with https: name the CA of their certificates with --etcd-cafile".to_owned(),
            )
            .into());
        }
        None => None,
    };
    let prefix = args.etcd_prefix.trim_matches('/');
    if prefix.is_empty() {
        return Err(UsageError("--etcd-prefix: write a path such as /registry".to_owned()).into());
    }
    let connection = Config {
        endpoints: args.etcd_servers.clone(),
        tls,
    };
    let stored = DESCRIPTORS.iter().filter(|one| one.holds_objects());
    Ok(Some(EtcdConfig {
        connection,
        prefix: format!("/{prefix}"),
        directories: stored.map(|descriptor| descriptor.storage).collect(),
    }))
}

fn tls(args: &EtcdArgs, ca: &Path) -> Result<ClientConfig> {
    let provider = Arc::new(default_provider());
    let bundle = TrustBundle::from_pem(&read(ca, "--etcd-cafile")?)
        .with_context(|| format!("--etcd-cafile {}", ca.display()))?;
    let verifier = ServerVerifier::new(bundle, &provider);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&args.etcd_certfile, &args.etcd_keyfile) {
        (Some(certificate), Some(key)) => {
            let files = ClientFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                provider,
                last: Mutex::default(),
            };
            // A start with files that are no good is to fail at once.
            files.load()?;
            builder.with_client_cert_resolver(Arc::new(files))
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn read(path: &Path, flag: &str) -> Result<Vec<u8>> {
    let bytes = input::read(path, FILE_BYTES_MAX)
        .with_context(|| format!("cannot read {} ({flag})", path.display()))?;
    Ok(bytes.to_vec())
}

/// A client certificate, read for each connection: whoever renews it need not restart us.
#[derive(Debug)]
struct ClientFiles {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    /// What was good last, while the files are not: they may be half replaced.
    last: Mutex<Option<Arc<CertifiedKey>>>,
}

impl ClientFiles {
    fn load(&self) -> Result<Arc<CertifiedKey>> {
        let pem = read(&self.certificate, "--etcd-certfile")?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .ok()
            .filter(|chain: &Vec<_>| !chain.is_empty())
            .ok_or_else(|| anyhow!("it holds no certificate, PEM"))
            .with_context(|| format!("--etcd-certfile {}", self.certificate.display()))?;
        let pem = zeroize::Zeroizing::new(read(&self.key, "--etcd-keyfile")?);
        let pair = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|_| anyhow!("it holds no private key, PEM, unencrypted"))
            .and_then(|key| {
                CertifiedKey::from_der(chain, key, &self.provider)
                    .map_err(|error| anyhow!(everleaf_tls::words(&error)))
            })
            .with_context(|| {
                let (key, certificate) = (self.key.display(), self.certificate.display());
                format!("--etcd-keyfile {key}, with --etcd-certfile {certificate}")
            })?;
        let pair = Arc::new(pair);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(Arc::clone(&pair));
        Ok(pair)
    }
}

impl ResolvesClientCert for ClientFiles {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.load().ok().or_else(|| {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.clone()
        })
    }

    fn has_certs(&self) -> bool {
        true
    }
}
