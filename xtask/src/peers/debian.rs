//! containerd and runc, without which a kubelet does not start, Prometheus, valgrind, and an
//! OpenSSL with ML-DSA, unpacked from Debian's packages and not installed.
//!
//! Debian's, because runc is C as well as Go, and Prometheus takes long to build. Its containerd is
//! older than the kubelet would have it: the kubelet says so and takes the cgroup driver from its
//! own configuration.

use crate::cache;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Packages, and the programs that are taken from them.
const PACKAGES: [&str; 2] = ["containerd", "runc"];
const PROGRAMS: [&str; 4] = [
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
    "usr/bin/ctr",
    "usr/sbin/runc",
];

/// openssl and the libraries that it needs.
const OPENSSL: [&str; 5] = ["openssl", "libssl3t64", "libc6", "zlib1g", "libzstd1"];
/// Starts it wherever the folder lies.
const START_OPENSSL: &str = "\
#!/bin/sh
home=$(dirname \"$0\")
libraries=$home/usr/lib/x86_64-linux-gnu
OPENSSL_CONF=$home/etc/ssl/openssl.cnf OPENSSL_MODULES=$libraries/ossl-modules \\
  exec \"$libraries/ld-linux-x86-64.so.2\" --library-path \"$libraries\" \"$home/usr/bin/openssl\" \"$@\"
";
/// The release that has it.
const TRIXIE: cache::Suite = cache::Suite {
    name: "trixie",
    mirror: "http://deb.debian.org/debian",
};

/// The folder with the programs; containerd finds its shim and runc by having it in PATH.
pub(crate) fn containerd(cache: &Path) -> Result<PathBuf> {
    install(cache).context(
        "containerd and runc, which the kubelet needs, come from Debian's packages by apt-get",
    )
}

/// The folder with prometheus and promtool, which checks and tries alerts.
pub(crate) fn prometheus(cache: &Path) -> Result<PathBuf> {
    let home = cache.join(format!("prometheus-{}", release()?));
    if home.is_dir() {
        return Ok(home);
    }
    let scratch = cache::unpack(cache, &["prometheus"])?;
    let programs = scratch.join("programs");
    fs::create_dir(&programs)?;
    for name in ["prometheus", "promtool"] {
        let unpacked = scratch.join("usr/bin").join(name);
        cache::read(&scratch, &unpacked, &["--version"], &[])
            .with_context(|| format!("{name} comes from Debian's package prometheus by apt-get"))?;
        cache::take(&unpacked, &programs.join(name))?;
    }
    cache::take_directory(&programs, &home)?;
    Ok(home)
}

/// valgrind with its tools, as a folder that has them below `usr`.
pub(crate) fn valgrind(cache: &Path) -> Result<PathBuf> {
    let home = cache.join(format!("valgrind-{}", release()?));
    if !home.is_dir() {
        let scratch = cache::unpack(cache, &["valgrind"])
            .context("valgrind comes from Debian's package of that name by apt-get")?;
        cache::take_directory(&scratch, &home)?;
    }
    Ok(home)
}

/// Debian 13's openssl, the first with ML-DSA, whatever this machine's release is: with its own
/// libraries, libc included. A script starts it with them.
pub(crate) fn openssl(cache: &Path) -> Result<PathBuf> {
    const VERSION: &str = "OpenSSL 3.5.";
    let home = cache.join("openssl-debian-13");
    let program = home.join("openssl");
    if program.is_file() {
        return Ok(program);
    }
    let scratch = cache::unpack_of(&TRIXIE, cache, &OPENSSL)?;
    fs::write(scratch.join("openssl"), START_OPENSSL)?;
    cache::take(&scratch.join("openssl"), &scratch.join("openssl"))?;
    let said = cache::read(&scratch, scratch.join("openssl"), &["version"], &[])
        .context("OpenSSL with ML-DSA comes from Debian 13's package openssl by apt-get")?;
    ensure!(said.contains(VERSION), "Debian 13 has {}", said.trim());
    cache::take_directory(&scratch, &home)?;
    Ok(program)
}

fn install(cache: &Path) -> Result<PathBuf> {
    let home = cache.join(format!("containerd-{}", release()?));
    if home.is_dir() {
        return Ok(home);
    }
    let scratch = cache::unpack(cache, &PACKAGES)?;
    let programs = scratch.join("programs");
    fs::create_dir(&programs)?;
    for program in PROGRAMS {
        let name = Path::new(program).file_name().unwrap_or_default();
        cache::take(&scratch.join(program), &programs.join(name))?;
    }
    let runs = |program: &str| cache::read(&programs, programs.join(program), &["--version"], &[]);
    runs("containerd")?;
    if runs("runc").is_err() {
        // The one library it has beyond libc, which most Debian systems have.
        cache::apt_install(&["libseccomp2"])?;
        runs("runc")?;
    }
    cache::take_directory(&programs, &home)?;
    Ok(home)
}

/// `debian-12`: packages of another release are other programs.
fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"'))
            .unwrap_or("unknown")
    };
    Ok(format!("{}-{}", field("ID"), field("VERSION_ID")))
}
