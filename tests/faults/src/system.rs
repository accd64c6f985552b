//! What is tried: servers, and the members of their etcd, as processes.

use crate::links::Links;
use anyhow::{Context, Result, ensure};
use everleaf_stage::{Process, Sandbox, eventually, free_port, http_get, same};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Members of an etcd: one may be lost.
const MEMBERS: usize = 3;
/// Servers on an etcd.
const SERVERS: usize = 3;
/// Longest that a part may take to answer, on a busy machine.
const SECONDS_MAX: u64 = 90;
/// What the servers of one cluster have in common.
const SHARED: [&str; 4] = [
    "pki/ca.crt",
    "pki/ca.key",
    "pki/sa.key",
    "pki/front-proxy-ca.crt",
];

/// Where the objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// In the data directory of one `everleaf up`.
    Embedded,
    /// In an etcd of three members, with three `everleaf up` on it.
    Etcd,
}

/// A process that can be started again as it was.
struct Part {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    process: Process,
}

/// Everything that runs.
pub(crate) struct System<'a> {
    sandbox: &'a Sandbox,
    /// Of the servers.
    pub(crate) ports: Vec<u16>,
    servers: Vec<Part>,
    members: Vec<Part>,
    /// Of the members, for clients.
    member_ports: Vec<u16>,
    pub(crate) links: Option<Arc<Links>>,
}

impl<'a> System<'a> {
    pub(crate) fn start(sandbox: &'a Sandbox, store: Store, runtime: &Runtime) -> Result<Self> {
        let mut system = Self {
            sandbox,
            ports: Vec::new(),
            servers: Vec::new(),
            members: Vec::new(),
            member_ports: Vec::new(),
            links: None,
        };
        let mut flags = Vec::new();
        if store == Store::Etcd {
            system.start_etcd(runtime)?;
            let urls = system.member_ports.iter();
            let urls: Vec<_> = urls
                .map(|port| format!("http://127.0.0.1:{port}"))
                .collect();
            flags.push(format!("--etcd-servers={}", urls.join(",")));
        }
        system.start_server(0, &flags)?;
        system.wait_for_server(0)?;
        if store == Store::Etcd {
            for number in 1..SERVERS {
                system.share(number)?;
                system.start_server(number, &flags)?;
            }
        }
        system.wait_for_servers()?;
        Ok(system)
    }

    fn start_etcd(&mut self, runtime: &Runtime) -> Result<()> {
        let program = std::env::var_os("ETCD").context("ETCD is not set")?;
        let free = || {
            (0..MEMBERS)
                .map(|_| free_port())
                .collect::<Result<Vec<_>>>()
        };
        let peers = free()?;
        self.member_ports = free()?;
        let links = runtime.block_on(Links::open(&peers))?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let all = links.ports.iter().enumerate();
        let all: Vec<_> = all
            .map(|(number, port)| format!("m{number}={}", url(*port)))
            .collect();
        for (number, (peer, client)) in peers.iter().zip(&self.member_ports).enumerate() {
            let name = format!("m{number}");
            let args = [
                ("--name", name.clone()),
                ("--data-dir", name.clone()),
                ("--log-level", "warn".to_owned()),
                ("--listen-client-urls", url(*client)),
                ("--advertise-client-urls", url(*client)),
                ("--listen-peer-urls", url(*peer)),
                ("--initial-advertise-peer-urls", url(links.ports[number])),
                ("--initial-cluster", all.join(",")),
            ];
            let args = args.map(|(flag, value)| format!("{flag}={value}")).to_vec();
            let part = Part::start(self.sandbox, name, PathBuf::from(&program), args)?;
            links.belongs(number, part.process.id());
            self.members.push(part);
        }
        self.links = Some(links);
        self.wait_for_members()
    }

    /// As docs/etcd.md says.
    fn share(&self, number: usize) -> Result<()> {
        let path = |number: usize, file: &str| self.sandbox.path(&format!("up-{number}/{file}"));
        fs::create_dir_all(path(number, "pki"))?;
        for file in SHARED {
            fs::copy(path(0, file), path(number, file)).with_context(|| file.to_owned())?;
        }
        Ok(())
    }

    fn start_server(&mut self, number: usize, flags: &[String]) -> Result<()> {
        let (name, port) = (format!("up-{number}"), free_port()?);
        let listen = format!("127.0.0.1:{port}");
        let args = ["up", "--no-node", "--data-dir", &name, "--listen", &listen];
        let args = args.into_iter().map(str::to_owned);
        let args = args.chain(flags.iter().cloned()).collect();
        let program = self.sandbox.tools.everleaf.clone();
        self.servers
            .push(Part::start(self.sandbox, name, program, args)?);
        self.ports.push(port);
        Ok(())
    }

    /// Who may do everything.
    pub(crate) fn admin(&self) -> PathBuf {
        self.sandbox.path("up-0/admin.conf")
    }

    fn wait_for_server(&self, number: usize) -> Result<()> {
        let kubeconfig = self.sandbox.path(&format!("up-{number}/admin.conf"));
        let admin = everleaf_stage::Kubectl::new(self.sandbox, kubeconfig);
        let name = &self.servers[number].name;
        eventually(&format!("{name} is ready"), SECONDS_MAX, || {
            let ready = admin.quiet(&["get", "--raw", "/readyz", "--request-timeout=5s"])?;
            same("/readyz", ready.trim(), "ok")
        })
    }

    pub(crate) fn wait_for_servers(&mut self) -> Result<()> {
        for number in 0..self.servers.len() {
            self.wait_for_server(number)?;
            let part = &mut self.servers[number];
            ensure!(
                part.process.is_running(),
                "{} has ended by itself",
                part.name
            );
        }
        Ok(())
    }

    pub(crate) fn wait_for_members(&self) -> Result<()> {
        for port in &self.member_ports {
            eventually("the member is healthy", SECONDS_MAX, || {
                http_get(&format!("127.0.0.1:{port}"), "/health").map(drop)
            })?;
        }
        Ok(())
    }

    pub(crate) fn kill_server(&mut self, number: usize) {
        self.servers[number].process.kill();
    }

    pub(crate) fn restart_server(&mut self, number: usize) -> Result<()> {
        self.servers[number].restart(self.sandbox)
    }

    /// SIGSTOP, or SIGCONT.
    pub(crate) fn pause_server(&self, number: usize, stands: bool) -> Result<()> {
        self.servers[number].pause(stands)
    }

    pub(crate) fn kill_member(&mut self, number: usize) {
        self.members[number].process.kill();
    }

    pub(crate) fn restart_member(&mut self, number: usize) -> Result<()> {
        self.members[number].restart(self.sandbox)?;
        if let Some(links) = &self.links {
            links.belongs(number, self.members[number].process.id());
        }
        Ok(())
    }

    pub(crate) fn pause_member(&self, number: usize, stands: bool) -> Result<()> {
        self.members[number].pause(stands)
    }

    pub(crate) fn cut(&self, member: Option<usize>) {
        if let Some(links) = &self.links {
            links.cut(member);
        }
    }

    pub(crate) fn servers(&self) -> usize {
        self.servers.len()
    }

    pub(crate) fn members(&self) -> usize {
        self.members.len()
    }
}

impl Part {
    fn start(sandbox: &Sandbox, name: String, program: PathBuf, args: Vec<String>) -> Result<Self> {
        let process = sandbox.start(&name, &mut command(sandbox, &program, &args))?;
        Ok(Self {
            name,
            program,
            args,
            process,
        })
    }

    fn restart(&mut self, sandbox: &Sandbox) -> Result<()> {
        let mut command = command(sandbox, &self.program, &self.args);
        self.process = sandbox.start(&self.name, &mut command)?;
        Ok(())
    }

    fn pause(&self, stands: bool) -> Result<()> {
        match stands {
            true => self.process.pause(),
            false => self.process.resume(),
        }
    }
}

fn command(sandbox: &Sandbox, program: &std::path::Path, args: &[String]) -> Command {
    let mut command = sandbox.command(program);
    command.args(args);
    command
}
