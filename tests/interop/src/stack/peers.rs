//! Where the real programs are; `cargo xtask interop` builds them and sets the variables.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// The path of a real program, by the variable that names it: `KUBE_APISERVER`, `KUBE_CONTROLLER_MANAGER`, `ETCD`, …
pub(crate) fn peer(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable)
        .with_context(|| format!("{variable} is not set: run this through cargo xtask interop"))?;
    let path = PathBuf::from(path);
    if path.exists() {
        Ok(path)
    } else {
        bail!("{variable}: there is no {}", path.display())
    }
}
