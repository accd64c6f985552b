//! Files that may be replaced while the API server runs: its certificate and key, and the client CA
//! bundle.

use super::read;
use crate::in_use::InUse;
use crate::told::Told;
use anyhow::{Context, Result};
use everleaf_apiserver::handler::Server;
use everleaf_apiserver::serve::{ServingCertificate, TlsError};
use everleaf_pki::{Chain, TrustBundle};
use everleaf_time::WallClock;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How often files are looked at for changes, as kube-apiserver does.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// The certificate that is served, and its key.
pub(super) struct ServingFiles {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

/// What was in them.
#[derive(PartialEq)]
pub(super) struct Pair {
    chain: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
}

impl ServingFiles {
    /// Both files.
    ///
    /// # Errors
    /// One cannot be read; which, and its flag.
    pub(super) fn read(&self) -> Result<Pair> {
        Ok(Pair {
            chain: read(&self.chain, "--tls-cert-file")?,
            key: read(&self.key, "--tls-private-key-file")?,
        })
    }

    /// A certificate to serve with.
    ///
    /// # Errors
    /// The pair cannot be used; which file is at fault.
    pub(super) fn certificate(&self, pair: &Pair) -> Result<Arc<ServingCertificate>> {
        ServingCertificate::from_pem(&pair.chain, &pair.key).map_err(|error| self.fault(error))
    }

    /// Why clients will refuse the certificate of that pair at `now`, if they will; none for one
    /// that this program cannot judge.
    fn doubt(&self, pair: &Pair, now: Timestamp) -> Option<String> {
        let chain = Chain::from_pem(&pair.chain).ok()?;
        let leaf = chain.leaf();
        let (begin, end) = (leaf.not_before(), leaf.not_after());
        let fault = if end < now {
            format!("ended at {end}")
        } else if now < begin {
            format!("begins at {begin} only, by the clock of this host")
        } else if !leaf.allows_server_auth() {
            "does not allow server authentication (extended key usage)".to_owned()
        } else {
            return None;
        };
        let path = self.chain.display();
        Some(format!(
            "the serving certificate {path} (--tls-cert-file) {fault}: clients refuse it; replace the file, which is read again \
             each minute"
        ))
    }

    fn fault(&self, error: TlsError) -> anyhow::Error {
        let chain = format!("{} (--tls-cert-file)", self.chain.display());
        let key = format!("{} (--tls-private-key-file)", self.key.display());
        let at_fault = match error {
            TlsError::Chain(_) => chain,
            TlsError::Key(_) => key,
            _ => format!("{chain} and {key}"),
        };
        anyhow::Error::new(error).context(format!("cannot serve with {at_fault}"))
    }
}

/// The certificates of the client CA bundle, PEM.
///
/// # Errors
/// It cannot be read, or holds none: nobody's certificates would be believed, without a word.
pub(super) fn client_ca(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let bundle = read(path, "--client-ca-file")?;
    TrustBundle::from_pem(&bundle).with_context(|| {
        format!(
            "client CA bundle {} (--client-ca-file): put the certificates of the authorities of clients there, PEM",
            path.display()
        )
    })?;
    Ok(bundle)
}

/// Looks at the files for ever; one that cannot be used does not hold up the others.
pub(super) async fn follow(
    serving: (ServingFiles, Pair, Arc<ServingCertificate>),
    client_ca_file: (PathBuf, Zeroizing<Vec<u8>>),
    server: Arc<Server>,
    wall: WallClock,
) {
    let (files, pair, certificate) = serving;
    let (bundle_path, bundle) = client_ca_file;
    let mut pair = InUse::new("serving certificate", pair);
    let mut bundle = InUse::new("client CA bundle", bundle);
    let mut doubted = Told::default();
    loop {
        let now = Instant::now();
        match files.doubt(pair.known(), wall()) {
            Some(doubt) if doubted.is_news(&doubt, now) => tracing::warn!("{doubt}"),
            Some(_) => {}
            None => doubted.forget(),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = Instant::now();
        pair.look(
            now,
            || files.read(),
            |pair| {
                let replaced = certificate.replace(&pair.chain, &pair.key);
                replaced.map_err(|error| files.fault(error))
            },
        );
        bundle.look(
            now,
            || client_ca(&bundle_path),
            |bundle| Ok(server.authenticator().set_client_ca(bundle)?),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey, Template, Usage};

    #[test]
    fn a_certificate_that_clients_refuse_is_told() {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (from, to) = (at("2030-01-01T00:00:00Z"), at("2031-01-01T00:00:00Z"));
        let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let issuer = Issuer::self_signed("ca", other, [1; 16], from, to).unwrap();
        let files = ServingFiles {
            chain: "tls.crt".into(),
            key: "tls.key".into(),
        };
        let doubt = |usage, now| {
            let template = Template::default();
            let chain = issuer.issue_own(&template, key.public_key(), &[usage], [2; 16], from, to);
            let pair = Pair {
                chain: Zeroizing::new(chain.unwrap().to_pem().into_bytes()),
                key: Zeroizing::default(),
            };
            files.doubt(&pair, at(now)).unwrap_or_default()
        };
        for (usage, now, expected) in [
            (Usage::ServerAuth, "2030-06-01T00:00:00Z", ""),
            (
                Usage::ServerAuth,
                "2031-01-01T00:00:01Z",
                "ended at 2031-01-01T00:00:00Z",
            ),
            (
                Usage::ServerAuth,
                "2029-12-31T00:00:00Z",
                "begins at 2030-01-01T00:00:00Z only",
            ),
            (
                Usage::ClientAuth,
                "2030-06-01T00:00:00Z",
                "does not allow server authentication",
            ),
        ] {
            let text = doubt(usage, now);
            assert_eq!(text.is_empty(), expected.is_empty(), "{text}");
            assert!(text.contains(expected), "{text}");
        }
    }
}
