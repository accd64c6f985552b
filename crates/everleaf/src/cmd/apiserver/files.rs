//! Files that may be replaced while the API server runs: its certificate and key, and the client CA bundle.

use super::read;
use anyhow::{Context, Result};
use everleaf_apiserver::handler::Server;
use everleaf_apiserver::serve::{ServingCertificate, TlsError};
use everleaf_pki::TrustBundle;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How often files are looked at for changes, as kube-apiserver does.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// How often a lasting failure is told.
const TELL_AGAIN: Duration = Duration::from_secs(600);

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

/// Something that was read and is in use.
struct InUse<T> {
    what: &'static str,
    known: T,
    told: Option<(String, Instant)>,
}

impl<T: PartialEq> InUse<T> {
    fn new(what: &'static str, known: T) -> Self {
        Self {
            what,
            known,
            told: None,
        }
    }

    /// Looks again, at `now`: what is new is taken. What cannot be used is told, again while it lasts, and what was in use
    /// stays.
    fn look(
        &mut self,
        now: Instant,
        read: impl FnOnce() -> Result<T>,
        take: impl FnOnce(&T) -> Result<()>,
    ) {
        let what = self.what;
        let outcome = read().and_then(|found| {
            if found != self.known {
                take(&found)?;
                self.known = found;
                tracing::info!("{what} was read again");
            }
            Ok(())
        });
        let Err(error) = outcome else {
            self.told = None;
            return;
        };
        let text = crate::failure::chain(&error);
        let is_told = |(before, at): &(String, Instant)| *before == text && now < *at + TELL_AGAIN;
        if !self.told.as_ref().is_some_and(is_told) {
            tracing::warn!("{text}; the {what} that was read before stays in use");
            self.told = Some((text, now));
        }
    }
}

/// Looks at the files for ever; one that cannot be used does not hold up the others.
pub(super) async fn follow(
    serving: (ServingFiles, Pair, Arc<ServingCertificate>),
    client_ca_file: (PathBuf, Zeroizing<Vec<u8>>),
    server: Arc<Server>,
) {
    let (files, pair, certificate) = serving;
    let (bundle_path, bundle) = client_ca_file;
    let mut pair = InUse::new("serving certificate", pair);
    let mut bundle = InUse::new("client CA bundle", bundle);
    loop {
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
    use anyhow::anyhow;

    #[test]
    fn what_cannot_be_used_is_tried_again_and_what_was_in_use_stays() {
        let now = Instant::now();
        let mut in_use = InUse::new("thing", 1);
        let mut taken = Vec::new();
        in_use.look(now, || Ok(1), |_| unreachable!("it is in use"));
        in_use.look(
            now,
            || Err(anyhow!("gone")),
            |_| unreachable!("nothing was read"),
        );
        for works in [false, false, true] {
            in_use.look(
                now,
                || Ok(2),
                |found| {
                    taken.push((*found, works));
                    works.then_some(()).ok_or_else(|| anyhow!("half of it"))
                },
            );
            assert_eq!(in_use.told.is_none(), works);
        }
        assert_eq!(taken, [(2, false), (2, false), (2, true)]);
        in_use.look(now, || Ok(2), |_| unreachable!("it is in use"));
    }
}
