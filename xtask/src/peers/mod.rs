//! `cargo xtask peers`: the real programs that the interop suite puts on the other side, built once and cached.
//!
//! Owns which programs these are and the variables that tell the suite where they are. Refuses to know how they are run.

mod go;

use crate::{cache, say};
use anyhow::Result;
use go::{Module, Program};
use std::path::PathBuf;

/// The module with the present Kubernetes, etcd and our client.
const PRESENT: &str = "tests/interop/go";
/// Where the peers are.
pub(crate) struct Peers {
    kube_apiserver: PathBuf,
    kube_controller_manager: PathBuf,
    kubelet: PathBuf,
    kubectl: PathBuf,
    etcd: PathBuf,
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
        let build = |program: Program| present.install(&cache, &program);
        Ok(Self {
            etcd: build(Program::etcd())?,
            kube_apiserver: build(Program::kubernetes("kube-apiserver"))?,
            kube_controller_manager: build(Program::kubernetes("kube-controller-manager"))?,
            kubelet: build(Program::kubernetes("kubelet"))?,
            kubectl: build(Program::kubernetes("kubectl"))?,
        })
    }

    /// The variables by which the suite finds them.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("KUBE_APISERVER", self.kube_apiserver.clone()),
            (
                "KUBE_CONTROLLER_MANAGER",
                self.kube_controller_manager.clone(),
            ),
            ("KUBELET", self.kubelet.clone()),
            ("KUBECTL", self.kubectl.clone()),
            ("ETCD", self.etcd.clone()),
        ]
    }
}
