//! `cargo xtask schemathesis`: property-based requests from our OpenAPI document, sent to the built
//! `everleaf apiserver` for some minutes. What counts as a fault is in `tests/schemathesis`.

use crate::e2e::build_release;
use crate::minutes::Minutes;
use crate::peers::python::Python;
use crate::tidy::workspace_root;
use crate::{cache, say};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

const MINUTES: u32 = 10;
/// Every version pinned.
const REQUIREMENTS: &str = "tests/schemathesis/requirements.txt";
/// Configuration, and what it must know besides.
const HOME: &str = "tests/schemathesis";
const TOKEN: &str = "schemathesis";
/// How often to look whether the server is there, and how many times.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const LOOKS_MAX: usize = 150;

/// `[--minutes N]`. The variable EVERLEAF names another binary than a release build.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let Minutes { minutes, rest } = Minutes::read(args, MINUTES)?;
    ensure!(rest.is_empty(), "only --minutes N means something here");
    let cache = cache::directory("tools")?;
    let python = Python::with(&cache, "schemathesis", REQUIREMENTS, "schemathesis.cli")?;
    let everleaf = match std::env::var_os("EVERLEAF") {
        Some(path) => PathBuf::from(path),
        None => build_release("everleaf", "everleaf")?,
    };
    let directory = cache::scratch(&cache, "schemathesis")?;
    let server = Server::start(&everleaf, &directory)?;
    let home = workspace_root().join(HOME);
    say(&format!("schemathesis: {minutes} minutes"));
    let status = Command::new(&python.interpreter)
        .current_dir(&*directory)
        .env("PYTHONPATH", python_path(&[&home, &python.packages])?)
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(home.join("schemathesis.toml"))
        .args(["run", &format!("{}/openapi/v2", server.address)])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--max-time", &(minutes * 60).to_string()])
        .status()
        .context("schemathesis did not start")?;
    if status.success() {
        Ok(())
    } else {
        bail!("schemathesis found something")
    }
}

fn python_path(parts: &[&Path]) -> Result<std::ffi::OsString> {
    std::env::join_paths(parts).context("a path that PYTHONPATH cannot hold")
}

/// A server on an empty directory; it ends with this.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(everleaf: &Path, directory: &Path) -> Result<Self> {
        let port = free_port()?;
        // Certificates and keys are made by `up`, as for somebody who takes it apart later.
        let listen = format!("127.0.0.1:{port}");
        let up = ["up", "--no-node", "--data-dir", "data", "--listen", &listen];
        let up = Self::spawn(everleaf, directory, "up", &up, port)?;
        up.wait(|| directory.join("data/admin.conf").is_file())?;
        drop(up);
        fs::write(
            directory.join("tokens.csv"),
            format!("{TOKEN},{TOKEN},,system:masters\n"),
        )?;
        let secure_port = port.to_string();
        let apiserver = [
            "apiserver",
            "--data-dir",
            "data",
            "--bind-address",
            "127.0.0.1",
            "--secure-port",
            &secure_port,
            "--token-auth-file",
            "tokens.csv",
        ];
        let server = Self::spawn(everleaf, directory, "apiserver", &apiserver, port)?;
        server.wait(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        Ok(server)
    }

    fn spawn(
        everleaf: &Path,
        directory: &Path,
        name: &str,
        args: &[&str],
        port: u16,
    ) -> Result<Self> {
        let log = File::create(directory.join(format!("{name}.log")))?;
        let mut command = Command::new(everleaf);
        command.current_dir(directory).args(args);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = command.spawn();
        Ok(Self {
            process: process.with_context(|| format!("{} did not start", everleaf.display()))?,
            address: format!("https://127.0.0.1:{port}"),
        })
    }

    fn wait(&self, is_ready: impl Fn() -> bool) -> Result<()> {
        for _ in 0..LOOKS_MAX {
            if is_ready() {
                return Ok(());
            }
            sleep(LOOK_INTERVAL);
        }
        bail!("the server does not come up")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
