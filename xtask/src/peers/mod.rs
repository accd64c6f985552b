//! `cargo xtask peers`: the real programs that the interop suite puts on the other side, built once
//! and cached.
//!
//! Owns which programs these are and the variables that tell the suite where they are. Refuses to
//! know how they are run.

pub(crate) mod debian;
mod go;
mod openapi;
pub(crate) mod python;

use crate::{cache, say};
use anyhow::Result;
use go::{Module, Program};
use python::Python;
use std::path::PathBuf;

/// The module with the present Kubernetes, etcd and our programs.
const PRESENT: &str = "tests/interop/go";
/// The module with an older Kubernetes, as fleets have them on nodes and desks.
const OLDER: &str = "tests/interop/go-1.34";
/// The module with an old Kubernetes, as control planes are that nobody upgraded.
const OLD: &str = "tests/interop/go-1.21";
/// The module with Helm.
const HELM: &str = "tests/interop/go-helm";

/// The module with Go's reader of tiled logs.
const TLOG: &str = "tests/interop/go-tlog";

/// The module with nothing but a Go that has ML-DSA.
const POST_QUANTUM: &str = "tests/interop/go-1.27";

/// Where the peers are.
pub(crate) struct Peers {
    variables: Vec<(&'static str, PathBuf)>,
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
        let containerd = debian::containerd(&cache)?;
        let prometheus = debian::prometheus(&cache)?;
        let openssl = debian::openssl(&cache)?;
        let python = Python::install(&cache)?;
        let mut variables = vec![
            ("CONTAINERD", containerd.join("containerd")),
            ("RUNC", containerd.join("runc")),
            ("CONTAINERD_BIN", containerd),
            ("OPENSSL_35", openssl),
            ("PROMTOOL", prometheus.join("promtool")),
            ("PROMETHEUS", prometheus.join("prometheus")),
            ("PYTHON", python.interpreter),
            ("PYTHONPATH_KUBERNETES", python.packages),
        ];
        let present = Module::open(PRESENT)?;
        let older = Module::open(OLDER)?;
        let old = Module::open(OLD)?;
        let helm = Module::open(HELM)?;
        let tlog = Module::open(TLOG)?;
        let post_quantum = Module::open(POST_QUANTUM)?;
        let kubernetes = Program::kubernetes;
        for (variable, module, program) in [
            ("ETCD", &present, Program::etcd()),
            ("KUBE_APISERVER", &present, kubernetes("kube-apiserver")),
            (
                "KUBE_CONTROLLER_MANAGER",
                &present,
                kubernetes("kube-controller-manager"),
            ),
            ("KUBELET", &present, kubernetes("kubelet")),
            ("KUBECTL", &present, kubernetes("kubectl")),
            ("CSRCLIENT", &present, Program::ours("csrclient")),
            ("CERTMATRIX", &present, Program::ours("certmatrix")),
            ("KUBERNETESE2E", &present, Program::ours("kubernetese2e")),
            ("TLOGCHECK", &tlog, Program::of_x_mod("tlogcheck")),
            ("PQCHECK", &post_quantum, Program::of_go("pqcheck")),
            ("KUBECTL_134", &older, kubernetes("kubectl")),
            (
                "KUBE_CONTROLLER_MANAGER_121",
                &old,
                kubernetes("kube-controller-manager"),
            ),
            ("KUBE_APISERVER_121", &old, kubernetes("kube-apiserver")),
            ("KUBECTL_121", &old, kubernetes("kubectl")),
            ("HELM", &helm, Program::helm()),
        ] {
            variables.push((variable, module.install(&cache, &program)?));
        }
        // The rest is worth having without them.
        for (variable, module) in [("KUBELET_134", &older), ("KUBELET_121", &old)] {
            let kubelet = optional(module.install(&cache, &kubernetes("kubelet")));
            variables.extend(kubelet.map(|path| (variable, path)));
        }
        Ok(Self { variables })
    }

    /// Helm alone, which renders deploy/.
    pub(crate) fn helm() -> Result<PathBuf> {
        Module::open(HELM)?.install(&cache::directory("peers")?, &Program::helm())
    }

    /// The variables by which the suite finds them.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        self.variables.clone()
    }
}

/// A peer that may be missing; says why it is.
fn optional(outcome: Result<PathBuf>) -> Option<PathBuf> {
    outcome
        .inspect_err(|why| eprintln!("warning: going on without it: {why:#}"))
        .ok()
}
