//! `cargo xtask peers`: the real programs that the interop suite puts on the other side, built once and cached.
//!
//! Owns which programs these are and the variables that tell the suite where they are. Refuses to know how they are run.

mod debian;
mod go;
mod python;

use crate::{cache, say};
use anyhow::Result;
use go::{Module, Program};
use python::Python;
use std::path::PathBuf;

/// The module with the present Kubernetes, etcd and our programs.
const PRESENT: &str = "tests/interop/go";
/// The module with an older Kubernetes, as fleets have them on nodes and desks.
const OLDER: &str = "tests/interop/go-1.34";

/// Where the peers are.
pub(crate) struct Peers {
    kube_apiserver: PathBuf,
    kube_controller_manager: PathBuf,
    kubelet: PathBuf,
    kubectl: PathBuf,
    kubectl_134: PathBuf,
    /// Absent where it cannot be built: the rest is worth having without it.
    kubelet_134: Option<PathBuf>,
    etcd: PathBuf,
    csrclient: PathBuf,
    certmatrix: PathBuf,
    /// The folder of containerd, its shim, `ctr` and runc.
    containerd: PathBuf,
    python: Python,
}

/// Installs the peers and prints where they are.
pub(crate) fn run() -> Result<()> {
    let started = crate::started();
    let peers = Peers::install()?;
    for (variable, path) in peers.environment() {
        say(&format!("{variable}={}", path.display()));
    }
    say(&format!(
        "peers: ready after {:.1} s",
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

impl Peers {
    /// Finds or builds them. An error names the program and the reason.
    pub(crate) fn install() -> Result<Self> {
        let cache = cache::directory("peers")?;
        let present = Module::open(PRESENT)?;
        let older = Module::open(OLDER)?;
        let build = |program: Program| present.install(&cache, &program);
        Ok(Self {
            containerd: debian::containerd(&cache)?,
            python: Python::install(&cache)?,
            etcd: build(Program::etcd())?,
            kube_apiserver: build(Program::kubernetes("kube-apiserver"))?,
            kube_controller_manager: build(Program::kubernetes("kube-controller-manager"))?,
            kubelet: build(Program::kubernetes("kubelet"))?,
            kubectl: build(Program::kubernetes("kubectl"))?,
            csrclient: build(Program::ours("csrclient"))?,
            certmatrix: build(Program::ours("certmatrix"))?,
            kubectl_134: older.install(&cache, &Program::kubernetes("kubectl"))?,
            kubelet_134: optional(older.install(&cache, &Program::kubernetes("kubelet"))),
        })
    }

    /// The variables by which the suite finds them.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let mut variables = vec![
            ("KUBE_APISERVER", self.kube_apiserver.clone()),
            (
                "KUBE_CONTROLLER_MANAGER",
                self.kube_controller_manager.clone(),
            ),
            ("KUBELET", self.kubelet.clone()),
            ("KUBECTL", self.kubectl.clone()),
            ("KUBECTL_134", self.kubectl_134.clone()),
            ("ETCD", self.etcd.clone()),
            ("CSRCLIENT", self.csrclient.clone()),
            ("CERTMATRIX", self.certmatrix.clone()),
            ("CONTAINERD", self.containerd.join("containerd")),
            ("RUNC", self.containerd.join("runc")),
            ("CONTAINERD_BIN", self.containerd.clone()),
            ("PYTHON", self.python.interpreter.clone()),
            ("PYTHONPATH_KUBERNETES", self.python.packages.clone()),
        ];
        variables.extend(self.kubelet_134.clone().map(|path| ("KUBELET_134", path)));
        variables
    }
}

/// A peer that may be missing; says why it is.
fn optional(outcome: Result<PathBuf>) -> Option<PathBuf> {
    outcome
        .inspect_err(|why| eprintln!("warning: going on without it: {why:#}"))
        .ok()
}
