//! Kubernetes' Python client, installed beside the system's packages and not among them.

use crate::tidy::workspace_root;
use crate::{cache, say};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What is installed, every version pinned.
const REQUIREMENTS: &str = "tests/interop/python/requirements.txt";

/// A Python interpreter and the folder with the client.
pub(crate) struct Python {
    /// The interpreter itself, not a launcher that chooses one.
    pub(crate) interpreter: PathBuf,
    /// What PYTHONPATH must be.
    pub(crate) packages: PathBuf,
}

impl Python {
    /// Finds or installs them.
    pub(crate) fn install(cache: &Path) -> Result<Self> {
        install(cache).context("Kubernetes' Python client cannot be installed")
    }
}

fn install(cache: &Path) -> Result<Python> {
    let requirements = workspace_root().join(REQUIREMENTS);
    let pins = fs::read(&requirements).with_context(|| format!("read {REQUIREMENTS}"))?;
    if cache::sh(cache, "python3", &["--version"]).is_err() {
        cache::apt_install(&["python3", "python3-pip"])?;
    }
    let ask = "import sys; print(sys.executable); print(sys.version)";
    let about = cache::read(cache, "python3", &["-c", ask], &[])?;
    let (interpreter, version) = about
        .split_once('\n')
        .context("python3 names no interpreter")?;
    let home = cache.join(format!(
        "python-{}",
        cache::key([&pins, version.as_bytes()])
    ));
    if !home.is_dir() {
        say("installing Kubernetes' Python client from PyPI");
        let scratch = cache::scratch(cache, "python")?;
        let (from, into) = (requirements.to_string_lossy(), scratch.to_string_lossy());
        let args = [
            "install",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--target",
            &into,
            "--requirement",
            &from,
        ];
        cache::pip(cache, &args)?;
        let variables = [("PYTHONPATH", &*into)];
        cache::read(
            cache,
            interpreter,
            &["-c", "import kubernetes.client, kubernetes.config"],
            &variables,
        )?;
        cache::take_directory(&scratch, &home)?;
    }
    Ok(Python {
        interpreter: interpreter.into(),
        packages: home,
    })
}
