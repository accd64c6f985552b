//! Where the real programs are; `cargo xtask interop` builds them and sets the variables.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// The releases of Kubernetes among the peers, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kubernetes {
    /// Of control planes that nobody upgraded: each program.
    V1_21,
    /// Of nodes and desks: kubelet and kubectl.
    V1_34,
    /// The present one: each program.
    V1_37,
}

impl Kubernetes {
    /// How its programs' versions begin.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::V1_21 => "v1.21.",
            Self::V1_34 => "v1.34.",
            Self::V1_37 => "v1.37.",
        }
    }

    /// A program of this release, by the variable of the present one: `KUBELET`, …
    pub(crate) fn peer(self, variable: &str) -> Result<PathBuf> {
        peer(&self.variable(variable))
    }

    /// Why there is no such program, if it could not be built.
    pub(crate) fn lacks(self, variable: &str) -> Option<String> {
        let variable = self.variable(variable);
        let missing = std::env::var_os(&variable).is_none();
        missing.then(|| format!("{variable} is not set: it could not be built here"))
    }

    fn variable(self, variable: &str) -> String {
        let suffix = match self {
            Self::V1_21 => "_121",
            Self::V1_34 => "_134",
            Self::V1_37 => "",
        };
        format!("{variable}{suffix}")
    }
}

/// The path of a real program, by the variable that names it: `KUBE_APISERVER`,
/// `KUBE_CONTROLLER_MANAGER`, `ETCD`, …
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
