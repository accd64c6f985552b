//! Very many connections: nodes that wait on one each, what they cost while nothing happens, what
//! others pay for them, and what becomes of a fleet that comes at once.

use super::load::Load;
use super::process::Server;
use super::{Build, load_average, mebibytes, row};
use anyhow::{Result, bail};
use std::path::Path;
use std::time::Duration;

/// Nodes, unless an argument says otherwise.
const NODES: usize = 10_000;
/// Time in which all of them come.
const HERD: &str = "10s";
/// Certificates by which it is measured what others pay.
const CERTIFICATES: usize = 2_000;
/// How often it is looked whether all are there, and for how long at the most.
const LOOK: Duration = Duration::from_secs(2);
const LOOKS_MAX: usize = 300;
/// File descriptors that server and generator need besides those connections.
const SPARE_DESCRIPTORS: u64 = 500;

pub(crate) async fn run(builds: &[Build], scratch: &Path, count: Option<usize>) -> Result<()> {
    let count = count.unwrap_or(NODES);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(limit) = limit
        && limit < count as u64 + SPARE_DESCRIPTORS
    {
        bail!(
            "{count} connections need as many file descriptors, and {limit} are allowed: ulimit -n"
        );
    }
    for (number, (name, everleaf)) in builds.iter().enumerate() {
        let generator = &builds[0].1;
        herd(
            name,
            (everleaf, generator),
            &scratch.join(format!("herd-{number}")),
            count,
        )?;
        let dir = scratch.join(format!("idle-{number}"));
        idle(name, (everleaf, generator), &dir, count).await?;
    }
    load_average();
    Ok(())
}

/// All come within ten seconds, each with a TLS connection of its own.
fn herd(name: &str, (everleaf, generator): (&Path, &Path), dir: &Path, count: usize) -> Result<()> {
    let server = Server::start(everleaf, dir, &["--no-node"])?;
    let load = Load {
        everleaf: generator,
        dir,
        nodes: count,
        args: &["--connections", "per-node", "--herd", HERD],
    };
    let report = load.try_run(&server)?;
    let what = |what: &str| format!("{name}: {count} nodes within {HERD}: {what}");
    row(
        &what("issued"),
        &format!("{:.0}", report.number("/certificates/issued")?),
    );
    row(&what("errors"), &report.text("/errors"));
    row(
        &what("calls that were made again"),
        &report.text("/retries"),
    );
    row(
        &what("request to certificate, median and 99th of 100"),
        &format!(
            "{:.0} and {:.0} ms",
            report.number("/latency/certificate/p50")?,
            report.number("/latency/certificate/p99")?
        ),
    );
    row(
        &what("server's peak memory"),
        &format!("{:.1} MiB", mebibytes(server.memory("VmHWM")?)),
    );
    Ok(())
}

/// Nodes whose serving requests nobody decides, each with a watch on a connection of its own; and
/// what certificates cost others, with more and more of them.
async fn idle(
    name: &str,
    (everleaf, generator): (&Path, &Path),
    dir: &Path,
    count: usize,
) -> Result<()> {
    let server = Server::start(everleaf, dir, &["--no-node", "--serving-approval=false"])?;
    let mut waiting = Vec::new();
    let mut there = 0;
    for all in [0, count / 100, count / 10, count] {
        let nodes = all - there;
        let before = server.memory("VmRSS")?;
        if nodes > 0 {
            let prefix = format!("idle-{all}");
            let load = Load {
                everleaf: generator,
                dir,
                nodes,
                args: &[
                    "--signer",
                    "serving",
                    "--herd",
                    HERD,
                    "--timeout",
                    "2h",
                    "--name-prefix",
                    &prefix,
                ],
            };
            waiting.push(load.start()?);
            wait_until_idle(&server, all).await?;
            there = all;
            let grown = server.memory("VmRSS")?.saturating_sub(before);
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let each = grown as f64 / 1024.0 / nodes as f64;
            row(
                &format!(
                    "{name}: {all} nodes that wait: memory of each, its two stored requests included"
                ),
                &format!("{each:.1} KiB"),
            );
        }
        let load = Load {
            everleaf: generator,
            dir,
            nodes: CERTIFICATES,
            args: &[],
        };
        let report = load.run(&server)?;
        row(
            &format!("{name}: {all} nodes that wait: processor time per certificate of others"),
            &format!("{:.3} ms", report.cpu_ms()?),
        );
    }
    drop(waiting);
    Ok(())
}

/// Waits until it has a connection for each of so many nodes and has nothing to do. Those that come
/// are not counted from what is open when they are started: connections of the load before may
/// still be closing then.
async fn wait_until_idle(server: &Server, nodes: usize) -> Result<()> {
    let mut cpu = server.cpu()?;
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(LOOK).await;
        let now = server.cpu()?;
        let used = now.saturating_sub(cpu);
        cpu = now;
        if server.descriptors()? >= nodes && used < LOOK / 20 {
            return Ok(());
        }
    }
    bail!("not all nodes came to wait")
}
