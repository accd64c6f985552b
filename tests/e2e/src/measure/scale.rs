//! Very many stored requests: what each costs in memory, at the start, and every further
//! certificate.

use super::client::Target;
use super::load::Load;
use super::process::Server;
use super::{Build, load_average, mebibytes, row};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Requests stored in the end, unless an argument says otherwise.
const REQUESTS: usize = 100_000;
/// Requests that are stored when what a certificate costs is measured, besides the number above.
const STEPS: [usize; 3] = [1_000, 10_000, 100_000];
/// Certificates of such a measurement; each is made twice, with shared connections and with one
/// per node.
const CERTIFICATES: usize = 2_000;
/// How long a server is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(30);
/// Bytes in a kibibyte.
const KIBI: f64 = 1024.0;

/// A build, and the server of it that fills.
struct Filled {
    name: &'static str,
    everleaf: PathBuf,
    dir: PathBuf,
    port: u16,
    server: Server,
    idle: u64,
    /// How long it took to start with nothing stored.
    empty_start: Duration,
    stored: usize,
}

pub(crate) async fn run(builds: &[Build], scratch: &Path, count: Option<usize>) -> Result<()> {
    let count = count.unwrap_or(REQUESTS);
    let generator = &builds[0].1;
    let mut all = Vec::new();
    for (number, (name, everleaf)) in builds.iter().enumerate() {
        all.push(start(name, everleaf, scratch.join(format!("scale-{number}"))).await?);
    }
    let mut steps: Vec<usize> = STEPS.into_iter().filter(|step| *step < count).collect();
    steps.push(count);
    for step in steps {
        for filled in &mut all {
            filled.fill(generator, step)?;
            filled.certificates(generator)?;
        }
    }
    for filled in all {
        filled.memory_and_start().await?;
    }
    load_average();
    Ok(())
}

async fn start(name: &'static str, everleaf: &Path, dir: PathBuf) -> Result<Filled> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    // The first start makes authorities and keys; the second is that of an empty store.
    Server::start_at(everleaf, &dir, port, &["--no-node"])?.stop()?;
    let server = Server::start_at(everleaf, &dir, port, &["--no-node"])?;
    let target = Target::from_kubeconfig(&dir.join("bootstrap-kubelet.conf"))?;
    target.wait_closely().await?;
    let began = server.age();
    row(
        &format!("{name}: start with an empty store"),
        &format!("{:.0} ms", began.as_secs_f64() * 1e3),
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(Filled {
        name,
        everleaf: everleaf.to_owned(),
        dir,
        port,
        idle: server.memory("VmRSS")?,
        empty_start: began,
        server,
        stored: 0,
    })
}

impl Filled {
    /// Has certificates issued until that many requests are stored.
    fn fill(&mut self, generator: &Path, count: usize) -> Result<()> {
        let nodes = count.saturating_sub(self.stored);
        if nodes > 0 {
            self.load(generator, nodes, &["--wait", "informer"])?;
        }
        Ok(())
    }

    /// What a certificate costs now.
    fn certificates(&mut self, generator: &Path) -> Result<()> {
        let stored = self.stored;
        for (how, args) in [
            ("shared connections", &[][..]),
            ("a connection each", &["--connections", "per-node"]),
        ] {
            let report = self.load(generator, CERTIFICATES, args)?;
            row(
                &format!(
                    "{}: {stored} stored, {how}: processor time per certificate",
                    self.name
                ),
                &format!("{:.3} ms", report.cpu_ms()?),
            );
        }
        Ok(())
    }

    fn load(
        &mut self,
        generator: &Path,
        nodes: usize,
        args: &[&str],
    ) -> Result<super::load::Report> {
        let load = Load {
            everleaf: generator,
            dir: &self.dir,
            nodes,
            args,
        };
        self.stored += nodes;
        load.run(&self.server)
    }

    /// Bytes of each request after the run and after a restart, and how long that takes.
    async fn memory_and_start(self) -> Result<()> {
        tokio::time::sleep(SETTLE).await;
        let after = self.server.memory("VmRSS")?;
        let peak = self.server.memory("VmHWM")?;
        self.server.stop()?;
        let server = Server::start_at(&self.everleaf, &self.dir, self.port, &["--no-node"])?;
        let target = Target::from_kubeconfig(&self.dir.join("bootstrap-kubelet.conf"))?;
        target.wait_closely().await?;
        let began = server.age();
        tokio::time::sleep(SETTLE).await;
        let again = server.memory("VmRSS")?;
        let each = |bytes: u64| kibibytes(bytes.saturating_sub(self.idle), self.stored);
        let (name, stored) = (self.name, self.stored);
        for (what, figure) in [
            (
                "memory per request, after the run",
                format!("{:.2} KiB", each(after)),
            ),
            (
                "the same after a restart",
                format!("{:.2} KiB", each(again)),
            ),
            ("memory empty", format!("{:.1} MiB", mebibytes(self.idle))),
            (
                "memory after the run, its peak",
                format!("{:.1}, {:.1} MiB", mebibytes(after), mebibytes(peak)),
            ),
            (
                "memory after a restart, its peak",
                format!(
                    "{:.1}, {:.1} MiB",
                    mebibytes(again),
                    mebibytes(server.memory("VmHWM")?)
                ),
            ),
            (
                "start",
                format!(
                    "{:.0} ms; beyond that of an empty store {:.1} µs per request",
                    began.as_secs_f64() * 1e3,
                    micros(began.saturating_sub(self.empty_start), stored)
                ),
            ),
        ] {
            row(&format!("{name}: {stored} stored: {what}"), &figure);
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn kibibytes(bytes: u64, count: usize) -> f64 {
    bytes as f64 / KIBI / count.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn micros(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}
