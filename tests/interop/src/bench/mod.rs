//! `cargo xtask bench-peers`: the same load on real Kubernetes and on Everleaf, in turn, and a
//! table of what it cost each.
//!
//! The load is `everleaf bench`: what it measures is all that is believed here. Each round starts
//! every system anew; what the table shows is the median of the rounds.

mod figures;

use crate::stack::{Part, Stack};
use anyhow::{Context, Result, bail};
use everleaf_stage::runner::say;
use everleaf_stage::{Sandbox, Tools, arg, eventually};
use figures::{Figures, Table};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Nodes of each load, unless an argument says otherwise.
const NODES: u32 = 1_000;
/// How often every system is started and measured.
const ROUNDS: usize = 3;
/// Nodes of the load before the first that counts: code is read from disk, connections open.
const WARM_UP: u32 = 50;
/// Longest that a system may take to issue a first certificate.
const START_SECONDS_MAX: u64 = 120;

/// A system under load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum System {
    /// etcd, kube-apiserver, kube-controller-manager.
    Kubernetes,
    /// `everleaf up`.
    Up,
    /// `everleaf apiserver` and `everleaf controllers`.
    Apart,
    /// `everleaf up` of another build.
    Older,
}

impl System {
    fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "etcd, kube-apiserver, kube-controller-manager 1.37",
            Self::Up => "`everleaf up`",
            Self::Apart => "`everleaf apiserver` and `controllers`",
            Self::Older => "`up` of the older build",
        }
    }

    /// Its parts, without the limits that Kubernetes' clients put on themselves.
    fn parts(self) -> &'static [Part<'static>] {
        match self {
            Self::Kubernetes => &[
                Part::DurableEtcd,
                Part::KubeApiserver(&[]),
                Part::KubeControllerManager(&["--kube-api-qps=100000", "--kube-api-burst=100000"]),
            ],
            Self::Up | Self::Older => &[Part::EverleafUp(&[])],
            Self::Apart => &[Part::EverleafApiserver(&[]), Part::EverleafControllers(&[])],
        }
    }

    /// The processes that serve it.
    fn processes(self) -> &'static [&'static str] {
        match self {
            Self::Kubernetes => &["etcd", "kube-apiserver", "kube-controller-manager"],
            Self::Up | Self::Older => &["up"],
            Self::Apart => &["apiserver", "controllers"],
        }
    }
}

/// Measures, and prints the table. Arguments: the number of nodes, an older binary.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let mut nodes = NODES;
    let mut older = None;
    for arg in args {
        match arg.parse() {
            Ok(number) => nodes = number,
            Err(_) => older = Some(PathBuf::from(arg)),
        }
    }
    if let Some(older) = older.as_ref().filter(|older| !older.is_file()) {
        bail!("{}: there is no such binary", older.display());
    }
    let mut systems = vec![System::Kubernetes, System::Up, System::Apart];
    systems.extend(older.as_ref().map(|_| System::Older));
    let mut table = Table::new(nodes, ROUNDS);
    for round in 1..=ROUNDS {
        for system in &systems {
            eprintln!("round {round} of {ROUNDS}: {}", system.name());
            let tools = tools(*system, older.as_ref())?;
            let figures = measured(*system, tools, nodes)
                .with_context(|| format!("round {round}, {}", system.name()))?;
            table.add(system.name(), figures);
        }
    }
    say(&table.to_string());
    Ok(())
}

/// The tools, with the older binary where that is the one under load.
fn tools(system: System, older: Option<&PathBuf>) -> Result<Arc<Tools>> {
    let mut tools =
        Tools::from_environment().context("run this through cargo xtask bench-peers")?;
    if let (System::Older, Some(older)) = (system, older) {
        tools.everleaf.clone_from(older);
    }
    Ok(Arc::new(tools))
}

/// Starts a system and puts both loads on it.
fn measured(system: System, tools: Arc<Tools>, nodes: u32) -> Result<[Figures; 2]> {
    let sandbox = Sandbox::new("bench", tools)?;
    let mut stack = Stack::start(&sandbox, system.parts())?;
    let kubeconfig = stack.bootstrap_kubeconfig()?;
    let mut pids = Vec::new();
    for name in system.processes() {
        pids.push(format!("{name}={}", stack.part(name)?.id()));
    }
    let load = Load {
        sandbox: &sandbox,
        kubeconfig,
        pids,
    };
    // The approver may have to win an election first.
    eventually("a first certificate", START_SECONDS_MAX, || {
        load.put(1, "4", "5s").map(drop)
    })?;
    load.put(WARM_UP, "4", "60s")?;
    Ok([
        load.put(nodes, "4", "60s")?,
        load.put(nodes, "per-node", "60s")?,
    ])
}

/// The load.
struct Load<'a> {
    sandbox: &'a Sandbox,
    kubeconfig: PathBuf,
    pids: Vec<String>,
}

impl Load<'_> {
    fn put(&self, nodes: u32, connections: &str, timeout: &str) -> Result<Figures> {
        // Always by the present build: what differs is the system.
        let everleaf = std::env::var_os("EVERLEAF").context("EVERLEAF is not set")?;
        let mut command: Command = self.sandbox.command(everleaf.as_ref());
        let nodes = nodes.to_string();
        command.args(["bench", "-o", "json", "--kubeconfig", arg(&self.kubeconfig)]);
        command.args(["--nodes", &nodes, "--connections", connections]);
        command.args(["--timeout", timeout]);
        for pid in &self.pids {
            command.args(["--pid", pid]);
        }
        let answer = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("everleaf bench did not start")?;
        if !answer.status.success() {
            bail!(
                "not all were issued: {}",
                String::from_utf8_lossy(&answer.stdout)
            );
        }
        Figures::read(&answer.stdout)
    }
}
