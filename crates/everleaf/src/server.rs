//! Opens the store and makes the API server over it: what `up`, `apiserver` and `demo` share.

use crate::encryption::{self, EncryptionFile};
use anyhow::{Context, Result, anyhow, bail};
use everleaf_apiserver::audit::Auditor;
use everleaf_apiserver::authn::{Authenticator, Config as AuthenticatorConfig};
use everleaf_apiserver::authz::Authorizer;
use everleaf_apiserver::encryption::Encryption;
use everleaf_apiserver::handler::{Config, Limits, Server, Version};
use everleaf_apiserver::registry::apis::Apis;
use everleaf_apiserver::store::{Embedded, Etcd, EtcdConfig, KEY_PREFIX, Store};
use everleaf_apiserver::writer::Mode;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;

/// Who signs the tokens of service accounts, as kubeadm names it.
pub(crate) const SERVICE_ACCOUNT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Takes an address that `flags` gave.
pub(crate) async fn listen(address: SocketAddr, flags: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AddrInUse => "; another program listens there",
            ErrorKind::AddrNotAvailable => "; this host does not have this address",
            ErrorKind::PermissionDenied => "; ports below 1024 are for root",
            _ => "",
        };
        let what = format!("cannot listen on {address} ({flags}){hint}");
        anyhow::Error::new(error).context(what)
    })
}

/// Refuses a store that holds nothing although it was in use, which `evidence` shows: what was
/// stored is not to be lost without a word, nor what is left of it on disk.
pub(crate) fn refuse_lost(directory: &Path, evidence: Option<&Path>) -> Result<()> {
    let size = |name: &str| std::fs::metadata(directory.join(name)).map_or(0, |meta| meta.len());
    if size(Embedded::FILE_NAME) > 0 {
        return Ok(());
    }
    let journal = format!("{}-wal", Embedded::FILE_NAME);
    let evidence = match evidence.filter(|path| path.exists()) {
        Some(path) => path.to_owned(),
        None if size(&journal) > 0 => directory.join(journal),
        None => return Ok(()),
    };
    let file = directory.join(Embedded::FILE_NAME);
    let what = if file.exists() { "empty" } else { "missing" };
    bail!(
        "the store {} is {what}, although it has been in use ({} is there): put a copy of the directory {} back; or, to begin with \
         an empty store, move {} away",
        file.display(),
        evidence.display(),
        directory.display(),
        evidence.display()
    )
}

/// What a server takes on, and what it serves.
#[derive(Debug, Default)]
pub(crate) struct Offer {
    /// How much at once.
    pub(crate) limits: Limits,
    /// Which versions.
    pub(crate) apis: Apis,
}

/// The commit that this program was built from, where its builder said so (`cargo xtask dist`).
pub(crate) const COMMIT: Option<&str> = option_env!("EVERLEAF_COMMIT");
/// When that commit was made, RFC 3339.
pub(crate) const COMMIT_DATE: Option<&str> = option_env!("EVERLEAF_COMMIT_DATE");

/// What the server says it is.
pub(crate) fn version() -> Version {
    let (commit, date) = (COMMIT.unwrap_or(""), COMMIT_DATE.unwrap_or(""));
    Version::of_release(env!("CARGO_PKG_VERSION"), commit, date)
}

/// Where the objects are.
pub(crate) enum Place {
    /// In a directory of ours, with so many bytes at most (0: any number).
    Directory(PathBuf, u64),
    /// In an etcd.
    Etcd(EtcdConfig),
}

/// Where the objects are, and how.
pub(crate) struct Storage {
    place: Place,
    encryption: Encryption,
}

impl Storage {
    /// In the etcd, if there is one, else in the directory; encrypted as `file` says.
    pub(crate) fn of(
        etcd: Option<EtcdConfig>,
        (directory, quota): (PathBuf, u64),
        file: Option<&EncryptionFile>,
    ) -> Result<Self> {
        let prefix = etcd.as_ref().map_or(KEY_PREFIX, |config| &config.prefix);
        Ok(Self {
            encryption: encryption::encryption(file, prefix)?,
            place: etcd.map_or(Place::Directory(directory, quota), Place::Etcd),
        })
    }
}

impl Place {
    /// Opens it; and what it is called in errors.
    fn open(self) -> Result<(Box<dyn Store>, String)> {
        match self {
            Self::Directory(directory, quota) => {
                refuse_lost(&directory, None)?;
                let name = format!("the store in {}", directory.display());
                let store =
                    Embedded::open(&directory).with_context(|| format!("cannot open {name}"))?;
                Ok((Box::new(store.with_quota(quota)), name))
            }
            Self::Etcd(config) => {
                let endpoints = &config.connection.endpoints;
                let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
                let name = format!("the objects in etcd ({})", endpoints.join(", "));
                // It waits, which a thread of the runtime must not.
                let opened = std::thread::scope(|scope| {
                    let opening = scope.spawn(|| Etcd::open(config));
                    opening
                        .join()
                        .map_err(|_| anyhow!("opening it hit a defect"))
                })?;
                let store = opened.with_context(|| format!("cannot open {name}"))?;
                Ok((Box::new(store), name))
            }
        }
    }
}

/// Opens the store and rebuilds the server's state from it. `address` is where
/// clients reach it.
pub(crate) fn open(
    storage: Storage,
    (authenticator, authorizer): (AuthenticatorConfig, Authorizer),
    address: String,
    audit: Option<Auditor>,
    offer: Offer,
) -> Result<Arc<Server>> {
    let (store, name) = storage.place.open()?;
    let config = Config {
        authenticator: Authenticator::new(authenticator)?,
        authorizer,
        version: version(),
        random: Box::new(fill_with_entropy),
        limits: offer.limits,
        address,
        writer: Mode::Thread,
        encryption: storage.encryption,
        audit,
        apis: offer.apis,
    };
    let server = Server::new(config, store).with_context(|| format!("cannot read {name}"))?;
    Ok(Arc::new(server))
}

/// Has what is told of requests written before the process ends.
pub(crate) async fn flush_audit(server: &Server) {
    if let Some(audit) = server.audit() {
        audit.flush().await;
    }
}

/// Names and uids only need to differ; without entropy nothing else would work either.
fn fill_with_entropy(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("invariant: the system has random bytes once it is up");
}
