//! Python programs from PyPI, installed beside the system's packages and not among them.

use crate::tidy::workspace_root;
use crate::{cache, say};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Kubernetes' client and all it needs, every version pinned.
const REQUIREMENTS: &str = "tests/interop/python/requirements.txt";

/// A Python interpreter and the folder with the packages.
pub(crate) struct Python {
    /// The interpreter itself, not a launcher that chooses one.
    pub(crate) interpreter: PathBuf,
    /// What PYTHONPATH must be.
    pub(crate) packages: PathBuf,
}

impl Python {
    /// Finds or installs Kubernetes' client.
    pub(crate) fn install(cache: &Path) -> Result<Self> {
        Self::with(
            cache,
            "python",
            REQUIREMENTS,
            "kubernetes.client, kubernetes.config",
        )
    }

    /// Finds or installs what `requirements` pins, below a name of its own; `modules` must be there
    /// to be imported then.
    pub(crate) fn with(
        cache: &Path,
        name: &str,
        requirements: &str,
        modules: &str,
    ) -> Result<Self> {
        install(cache, name, requirements, modules)
            .with_context(|| format!("{requirements} cannot be installed"))
    }
}

fn install(cache: &Path, name: &str, requirements: &str, modules: &str) -> Result<Python> {
    let pinned = workspace_root().join(requirements);
    let pins = fs::read(&pinned).with_context(|| format!("read {requirements}"))?;
    if cache::sh(cache, "python3", &["--version"]).is_err() {
        cache::apt_install(&["python3", "python3-pip"])?;
    }
    let ask = "import sys; print(sys.executable); print(sys.version)";
    let about = cache::read(cache, "python3", &["-c", ask], &[])?;
    let (interpreter, version) = about
        .split_once('\n')
        .context("python3 names no interpreter")?;
    let key = cache::key([&pins, version.as_bytes()]);
    let home = cache.join(format!("{name}-{key}"));
    if !home.is_dir() {
        say(&format!("installing {requirements} from PyPI"));
        let scratch = cache::scratch(cache, name)?;
        let (from, into) = (pinned.to_string_lossy(), scratch.to_string_lossy());
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
        let import = format!("import {modules}");
        cache::read(cache, interpreter, &["-c", &import], &variables)?;
        cache::take_directory(&scratch, &home)?;
    }
    Ok(Python {
        interpreter: interpreter.into(),
        packages: home,
    })
}
