//! Where our programs keep their files, and how one tells a directory of another.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Files, named as kubeadm names them.
pub const CA_CERTIFICATE: &str = "pki/ca.crt";
/// The authority's key.
pub const CA_KEY: &str = "pki/ca.key";
/// The API server's store.
pub const STORE: &str = "store";

/// Where a program of this name keeps its files when no `--data-dir` is given.
pub fn default_root_of(name: &str) -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(Path::new("/var/lib").join(name));
    }
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/share")))
        .map(|base| base.join(name))
        .context("neither XDG_DATA_HOME nor HOME is set; say where with --data-dir")
}
