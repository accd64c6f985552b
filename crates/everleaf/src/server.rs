//! Opens the store and makes the API server over it: what `up`, `apiserver` and `demo` share.

use anyhow::{Context, Result};
use everleaf_apiserver::authn::{Authenticator, Config as AuthenticatorConfig};
use everleaf_apiserver::authz::Authorizer;
use everleaf_apiserver::handler::{Config, Limits, Server, Version};
use everleaf_apiserver::store::Embedded;
use everleaf_apiserver::writer::Mode;
use std::path::Path;
use std::sync::Arc;

/// Who signs the tokens of service accounts, as kubeadm names it.
pub(crate) const SERVICE_ACCOUNT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Opens the store in `directory` and rebuilds the server's state from it. `address` is where clients reach it.
pub(crate) fn open(
    directory: &Path,
    authenticator: AuthenticatorConfig,
    address: String,
) -> Result<Arc<Server>> {
    let store = Embedded::open(directory)
        .with_context(|| format!("cannot open the store in {}", directory.display()))?;
    let config = Config {
        authenticator: Authenticator::new(authenticator)?,
        authorizer: Authorizer::default(),
        version: Version::of_release(env!("CARGO_PKG_VERSION"), "", ""),
        random: Box::new(fill_with_entropy),
        limits: Limits::default(),
        address,
        writer: Mode::Thread,
    };
    let server = Server::new(config, Box::new(store))
        .with_context(|| format!("cannot read the store in {}", directory.display()))?;
    Ok(Arc::new(server))
}

/// Names and uids only need to differ; without entropy nothing else would work either.
fn fill_with_entropy(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("invariant: the system has random bytes once it is up");
}
