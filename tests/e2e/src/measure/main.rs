//! Measures the release binary as a user runs it; `cargo xtask measure` builds it and starts this
//! program.
//!
//! Figures go into docs/performance.md with the machine they were taken on. Processor time and
//! memory are what the kernel counted for the server's process (`/proc/PID`): the load generator's
//! own cost is in none of them, and other work on the machine blurs mostly durations. Everything
//! goes over loopback, and every wait is bounded.

mod cleaning;
mod client;
mod floor;
mod issuance;
mod load;
mod process;
mod reads;
mod scale;
mod storm;
mod watchers;

use anyhow::{Context, Result, bail};
use process::Server;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// What else is measured than the run of `cargo xtask measure` alone.
const KINDS: [&str; 5] = ["reads", "storm", "scale", "watchers", "cleaning"];
/// Starts that are timed; the median counts.
const STARTS: usize = 9;
/// Certificates of the issuance run, unless an argument says otherwise.
const CERTIFICATES: usize = 10_000;
/// How long an agent is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(60);
/// Issuance runs, each against a server of its own; the median counts.
const RUNS: usize = 3;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("measure: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let everleaf = PathBuf::from(std::env::var_os("EVERLEAF").context("run: cargo xtask measure")?);
    let mut args = std::env::args().skip(1).peekable();
    let what = args.next_if(|arg| KINDS.contains(&arg.as_str()));
    let count = args.next_if(|arg| !arg.starts_with('-'));
    let count: Option<usize> = count
        .map(|text| text.parse())
        .transpose()
        .context("the argument is a number")?;
    let old = match args.next().as_deref() {
        Some("--old") => Some(PathBuf::from(args.next().context("--old names a binary")?)),
        Some(other) => bail!("{other} is no argument of this"),
        None => None,
    };
    let mut builds = vec![("this build", everleaf.clone())];
    builds.extend(old.map(|old| ("the other build", old)));
    let scratch = tempfile::Builder::new()
        .prefix("everleaf-measure-")
        .tempdir()?;
    row("what", "figure");
    row("---", "---");
    match what.as_deref() {
        Some("reads") => return reads::run(&everleaf, scratch.path(), count).await,
        Some("scale") => return scale::run(&builds, scratch.path(), count).await,
        Some("watchers") => return watchers::run(&builds, scratch.path(), count).await,
        Some("cleaning") => return cleaning::run(&builds, scratch.path(), count).await,
        Some(_) => return storm::run(&everleaf, scratch.path(), count).await,
        None => {}
    }
    let count = count.unwrap_or(CERTIFICATES);
    let bytes = std::fs::metadata(&everleaf)?.len();
    row("binary, stripped", &format!("{:.1} MiB", mebibytes(bytes)));
    first_certificate(&everleaf, scratch.path())?;
    idle_agents(&everleaf, scratch.path()).await?;
    issuance_runs(&everleaf, scratch.path(), count)?;
    load_average();
    Ok(())
}

/// The issuance run, several times.
fn issuance_runs(everleaf: &Path, scratch: &Path, count: usize) -> Result<()> {
    let mut runs = Vec::new();
    for number in 0..RUNS {
        let dir = scratch.join(format!("issuance-{number}"));
        let server = Server::start(everleaf, &dir, &["--no-node"])?;
        let idle = server.memory("VmRSS")?;
        let floor_ms = floor::signature_ms()?;
        let figures = issuance::run(everleaf, &dir, &server, count)?;
        runs.push((figures, floor_ms, idle, server.memory("VmHWM")?));
    }
    runs.sort_by(|a, b| a.0.cpu_ms.total_cmp(&b.0.cpu_ms));
    let (figures, floor_ms, idle, _) = &runs[runs.len() / 2];
    let peak = runs.iter().map(|run| run.3).max().unwrap_or_default();
    let each = |what: &str| format!("{count} certificates: {what}");
    let rows = [
        (
            each("processor time each, median run"),
            format!("{:.3} ms", figures.cpu_ms),
        ),
        (
            each("the same, fastest and slowest run"),
            format!(
                "{:.3} and {:.3} ms",
                runs[0].0.cpu_ms,
                runs[runs.len() - 1].0.cpu_ms
            ),
        ),
        (
            "one P-256 verification and one signature, same run".to_owned(),
            format!("{floor_ms:.3} ms"),
        ),
        (
            "processor time as a multiple of that".to_owned(),
            format!("{:.1}", figures.cpu_ms / floor_ms),
        ),
        (
            each("rate"),
            format!("{:.0} per second", figures.per_second),
        ),
        (
            "request to certificate, median and 99th of 100".to_owned(),
            format!(
                "{:.0} and {:.0} ms",
                figures.latency_median_ms, figures.latency_p99_ms
            ),
        ),
        (
            "the load's own processor time per certificate".to_owned(),
            format!("{:.3} ms", figures.generator_ms),
        ),
        (
            "server's memory before the run".to_owned(),
            format!("{:.1} MiB", mebibytes(*idle)),
        ),
        (
            "server's peak memory, largest run".to_owned(),
            format!("{:.1} MiB", mebibytes(peak)),
        ),
    ];
    for (what, figure) in &rows {
        row(what, figure);
    }
    Ok(())
}

/// `up` on an empty directory to the first certificate on disk.
fn first_certificate(everleaf: &Path, scratch: &Path) -> Result<()> {
    let mut took = Vec::new();
    for number in 0..STARTS {
        let dir = scratch.join(format!("start-{number}"));
        let server = Server::start(everleaf, &dir, &[])?;
        took.push(server.wait_for(&dir.join("node/pki/kubelet-client-current.pem"))?);
    }
    took.sort();
    let median = took[took.len() / 2];
    row(
        "start on an empty directory to the first certificate, median",
        &format!("{:.0} ms", median.as_secs_f64() * 1e3),
    );
    row(
        "the same, slowest",
        &format!("{:.0} ms", took[took.len() - 1].as_secs_f64() * 1e3),
    );
    Ok(())
}

/// The memory of agents that have both certificates and wait.
async fn idle_agents(everleaf: &Path, scratch: &Path) -> Result<()> {
    let dir = scratch.join("agents");
    let _server = Server::start(everleaf, &dir, &["--no-node"])?;
    let mut agents = vec![("everleaf agent", "n1", Command::new(everleaf))];
    agents[0].2.arg("agent");
    if let Some(alone) = std::env::var_os("EVERLEAF_AGENT") {
        let bytes = std::fs::metadata(&alone)?.len();
        row(
            "everleaf-agent: binary, stripped",
            &format!("{:.2} MiB", mebibytes(bytes)),
        );
        agents.push(("everleaf-agent", "n2", Command::new(alone)));
    }
    let mut running = Vec::new();
    for (what, name, mut program) in agents {
        let bootstrap = dir.join("bootstrap-kubelet.conf");
        let agent = Server::agent(&mut program, &dir, &bootstrap, name)?;
        for file in ["kubelet-client-current.pem", "kubelet-server-current.pem"] {
            agent.wait_for(&dir.join(name).join("pki").join(file))?;
        }
        running.push((what, agent));
    }
    tokio::time::sleep(SETTLE).await;
    for (what, agent) in &running {
        row(
            &format!(
                "{what}, idle with two certificates: resident memory, of it its own (anonymous)"
            ),
            &format!(
                "{:.1} MiB, {:.1} MiB",
                mebibytes(agent.memory("VmRSS")?),
                mebibytes(agent.memory("RssAnon")?)
            ),
        );
    }
    Ok(())
}

/// A build of `everleaf`, and what it is called.
type Build = (&'static str, PathBuf);

/// Ends a table with what else the machine did.
fn load_average() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    row("load average at the end (1, 5, 15 minutes)", load.trim());
}

fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let bytes = bytes as f64;
    bytes / 1024.0 / 1024.0
}

/// One row of a Markdown table.
#[expect(clippy::print_stdout, reason = "the table is this program's answer")]
fn row(what: &str, figure: &str) {
    println!("| {what} | {figure} |");
}
