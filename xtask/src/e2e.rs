//! `cargo xtask e2e`: installs a user's tools, builds the release binary, runs the suite.

use crate::tools::Tools;
use crate::{say, tidy::workspace_root};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Arguments go to the suite: parts of test names, `--ci`, `--list`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let suite = build_release("everleaf-e2e", "everleaf-e2e")?;
    let status = Command::new(suite)
        .args(args)
        .envs(user_tools()?)
        .status()
        .context("the suite did not start")?;
    if status.success() {
        Ok(())
    } else {
        bail!("the end-to-end suite failed")
    }
}

/// The binary under test and the programs of a user, as the variables that the suites read.
pub(crate) fn user_tools() -> Result<Vec<(&'static str, PathBuf)>> {
    let tools = Tools::install()?;
    tools.report();
    let mut variables = vec![
        ("EVERLEAF", build_release("everleaf", "everleaf")?),
        (
            "EVERLEAF_AGENT",
            build_release("everleaf-node", "everleaf-agent")?,
        ),
        ("KUBECTL", tools.kubectl),
        ("KUBECTL_OLD", tools.kubectl_old),
        ("OPENSSL", tools.openssl),
        ("LIBFAKETIME", tools.libfaketime),
    ];
    for (name, path) in [
        ("TLS_STACKS", tools.tls_stacks),
        ("DAEMONS", tools.daemons),
        ("LEAFCHECK", tools.leafcheck),
    ] {
        variables.extend(path.ok().map(|path| (name, path)));
    }
    Ok(variables)
}

/// Arguments go to the measuring program.
pub(crate) fn measure(args: &[String]) -> Result<()> {
    let everleaf = build_release("everleaf", "everleaf")?;
    let program = build_release("everleaf-e2e", "everleaf-measure")?;
    let mut program = Command::new(program);
    program.args(args).env("EVERLEAF", everleaf);
    if args
        .first()
        .is_none_or(|what| what.parse::<usize>().is_ok())
    {
        program.env("EVERLEAF_AGENT", build_small_agent()?);
    }
    if args.first().is_some_and(|what| what == "reads") {
        program.env("KUBECTL", Tools::install()?.kubectl);
    }
    let status = program.status();
    let status = status.context("the measuring program did not start")?;
    if status.success() {
        Ok(())
    } else {
        bail!("the measuring program failed")
    }
}

/// Builds the agent alone as users are given it; returns its path.
fn build_small_agent() -> Result<PathBuf> {
    build("everleaf-node", "everleaf-agent", "small")
}

/// Builds a package's binary with the release profile; returns its path.
pub(crate) fn build_release(package: &str, binary: &str) -> Result<PathBuf> {
    build(package, binary, "release")
}

fn build(package: &str, binary: &str, profile: &str) -> Result<PathBuf> {
    say(&format!("building {package} ({profile})"));
    let status = Command::new(env!("CARGO"))
        .current_dir(workspace_root())
        .args([
            "build",
            "--profile",
            profile,
            "--locked",
            "--quiet",
            "--package",
            package,
            "--bin",
            binary,
        ])
        .status()
        .context("cargo did not start")?;
    if !status.success() {
        bail!("cargo build --profile {profile} -p {package} failed");
    }
    let path = target_directory()?.join(profile).join(binary);
    if path.is_file() {
        Ok(path)
    } else {
        bail!("cargo built no {}", path.display())
    }
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(workspace_root().join("Cargo.toml"))
        .no_deps()
        .exec()?;
    Ok(Path::new(metadata.target_directory.as_str()).to_path_buf())
}
