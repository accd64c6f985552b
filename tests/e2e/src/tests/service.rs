//! A service of an operating system: what its manager is told, and the pages that come with it.

use anyhow::{Context, Result, bail};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, Process, Sandbox, Up, arg, ensure_that, eventually, run, same};
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_service_manager_is_told",
        long: false,
        run: told,
    },
    Test {
        name: "every_command_has_a_manual_page",
        long: false,
        run: pages,
    },
];

/// What a service manager sets.
const WATCHDOG_MICROSECONDS: &str = "400000";

/// Stands in for the service manager.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Manager {
    fn new(sandbox: &Sandbox, name: &str) -> Result<Self> {
        let path = sandbox.path(name);
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { socket, path })
    }

    fn start(&self, sandbox: &Sandbox, name: &str, mut command: Command) -> Result<Process> {
        command
            .env("NOTIFY_SOCKET", &self.path)
            .env("WATCHDOG_USEC", WATCHDOG_MICROSECONDS);
        sandbox.start(name, &mut command)
    }

    fn hears(&self) -> Result<String> {
        let mut bytes = [0; 256];
        let length = self.socket.recv(&mut bytes).context("nothing was told")?;
        Ok(String::from_utf8_lossy(&bytes[..length]).trim().to_owned())
    }

    /// Ready, alive, alive; and at its end that it stops.
    fn hears_life_of(&self, process: &mut Process) -> Result<()> {
        for wanted in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
            same("what is told", self.hears()?.as_str(), wanted)?;
        }
        same("its exit code", process.stop()?, 0)?;
        loop {
            match self.hears()?.as_str() {
                "WATCHDOG=1" => {}
                "STOPPING=1" => return Ok(()),
                other => bail!("{other} at the end"),
            }
        }
    }
}

fn told(sandbox: &Sandbox) -> Result<Verdict> {
    let manager = Manager::new(sandbox, "up.sock")?;
    let data = sandbox.path("own");
    let up = ["up", "--data-dir", arg(&data), "--listen", "127.0.0.1:0"];
    let command = sandbox.everleaf(&[&up[..], &["--no-node"]].concat());
    let mut process = manager.start(sandbox, "told-up", command)?;
    manager.hears_life_of(&mut process)?;

    let up = Up::start(sandbox, &["--no-node"])?;
    let agent = Agent::new(sandbox, &up, "n1");
    let manager = Manager::new(sandbox, "agent.sock")?;
    let mut process = manager.start(sandbox, "told-agent", agent.command())?;
    manager.hears_life_of(&mut process)?;

    let manager = Manager::new(sandbox, "controllers.sock")?;
    let admin = up.path("admin.conf");
    let (ca, key) = (up.path("pki/ca.crt"), up.path("pki/ca.key"));
    let command = sandbox.everleaf(&[
        "controllers",
        "--kubeconfig",
        arg(&admin),
        "--cluster-signing-cert-file",
        arg(&ca),
        "--cluster-signing-key-file",
        arg(&key),
    ]);
    let mut process = manager.start(sandbox, "told-controllers", command)?;
    manager.hears_life_of(&mut process)?;

    // A manager that went away changes nothing, and is told of.
    fs::remove_file(&manager.path)?;
    let mut process = manager.start(sandbox, "told-nobody", agent.command())?;
    eventually("a word of it", 20, || {
        ensure_that!(
            process.stderr().contains("service manager cannot be told"),
            "{}",
            process.stderr()
        );
        Ok(())
    })?;
    ensure_that!(process.is_running(), "it ended for that");
    Ok(Verdict::Passed)
}

fn pages(sandbox: &Sandbox) -> Result<Verdict> {
    let directory = sandbox.path("man");
    fs::create_dir(&directory)?;
    run(&mut sandbox.everleaf(&["man", arg(&directory)]))?.ok()?;
    let help = run(&mut sandbox.everleaf(&["help"]))?.ok()?;
    let (_, commands) = help.split_once("Commands:\n").context("no commands")?;
    let (commands, _) = commands.split_once("\nOptions:").context("no options")?;
    let mut seen = 0;
    for line in commands.lines().filter(|line| !line.starts_with("    ")) {
        let name = line.split_whitespace().next().unwrap_or_default();
        if name.is_empty() || name == "help" {
            continue;
        }
        let page = fs::read_to_string(directory.join(format!("everleaf-{name}.1")))
            .with_context(|| format!("no page of {name}"))?;
        ensure_that!(page.contains(".SH OPTIONS"), "{name}: {page}");
        seen += 1;
    }
    ensure_that!(seen >= 12, "{seen} commands in {help}");
    let nowhere = sandbox.path("nowhere");
    let refused = run(&mut sandbox.everleaf(&["man", arg(&nowhere)]))?.failed_with(1)?;
    ensure_that!(
        refused.contains("cannot write manual pages to"),
        "{refused}"
    );
    let version = run(&mut sandbox.everleaf(&["version", "-o", "json"]))?.ok()?;
    let version: Value = serde_json::from_str(&version)?;
    for member in ["version", "platform", "kubernetes"] {
        let text = version[member].as_str().unwrap_or_default();
        ensure_that!(!text.is_empty(), "no {member} in {version}");
    }
    Ok(Verdict::Passed)
}
