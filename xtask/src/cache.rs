//! The cache outside `target/` where programs of others are kept, and how they get into it.
//!
//! Knows directories, Debian packages and starting a program; refuses to know which programs are
//! needed. Nothing is installed system-wide where an unpacked copy will do. What is in the cache is
//! whole: a file or directory is made in a scratch directory beside it and moved in at the end.

use crate::say;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The keys that sign Debian's releases, on every Debian.
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// `$XDG_CACHE_HOME/everleaf/<name>`, made if it is missing.
pub(crate) fn directory(name: &str) -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    let cache = base.join("everleaf").join(name);
    fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    Ok(cache)
}

/// A program of crates.io in this version, in the cache; `features` are cargo's flags for these.
pub(crate) fn cargo_program(name: &str, version: &str, features: &[&str]) -> Result<PathBuf> {
    let tools = directory("tools")?;
    let home = tools.join(format!("{name}-{version}"));
    let program = home.join("bin").join(name);
    if !program.is_file() {
        say(&format!("installing {name} {version} from crates.io"));
        let into = home.to_string_lossy();
        let args = ["install", "--quiet", "--locked", "--root", &into];
        let version = ["--version", version, name];
        sh(
            &tools,
            env!("CARGO"),
            &[&args[..], &version, features].concat(),
        )?;
    }
    Ok(program)
}

/// A directory in the cache for work whose result is moved out of it. It is removed with what is
/// left in it.
pub(crate) struct Scratch(PathBuf);

impl std::ops::Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An empty scratch directory.
pub(crate) fn scratch(cache: &Path, name: &str) -> Result<Scratch> {
    let directory = cache.join(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    Ok(Scratch(directory))
}

/// Puts a program into the cache as a whole.
pub(crate) fn take(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(from, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("{} is missing", from.display()))?;
    fs::rename(from, to).with_context(|| format!("move {} to the cache", from.display()))
}

/// Puts a directory into the cache as a whole. Another process may have been faster: then its copy
/// stays.
pub(crate) fn take_directory(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(_) if to.is_dir() => Ok(()),
        moved => moved.with_context(|| format!("move {} to the cache", from.display())),
    }
}

/// The first file below `directory` whose name fits.
pub(crate) fn find(directory: &Path, fits: &dyn Fn(&str) -> bool) -> Result<PathBuf> {
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

/// Debian packages' files, together in a scratch directory.
pub(crate) fn unpack(cache: &Path, packages: &[&str]) -> Result<Scratch> {
    say(&format!("unpacking Debian's {}", packages.join(", ")));
    let scratch = scratch(cache, packages.first().context("no package is named")?)?;
    let mut download = vec!["download", "--quiet"];
    download.extend(packages);
    if sh(&scratch, "apt-get", &download).is_err() {
        sh(&scratch, "apt-get", &["update", "--quiet"])?;
        sh(&scratch, "apt-get", &download)?;
    }
    extract(&scratch, packages.len())?;
    Ok(scratch)
}

/// A release of Debian that this machine need not be.
pub(crate) struct Suite {
    /// Its name: `trixie`.
    pub(crate) name: &'static str,
    /// Where its packages are.
    pub(crate) mirror: &'static str,
}

/// The same of another release: apt verifies it by Debian's own keys, and keeps its lists apart
/// from the machine's.
pub(crate) fn unpack_of(suite: &Suite, cache: &Path, packages: &[&str]) -> Result<Scratch> {
    let Suite { name, mirror } = suite;
    say(&format!(
        "unpacking {} of Debian's {name}",
        packages.join(", ")
    ));
    let scratch = scratch(cache, name)?;
    let apt = scratch.join("apt");
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(folder))?;
    }
    let source = format!(
        "Types: deb\nURIs: {mirror}\nSuites: {name}\nComponents: main\nTargets: Packages\nSigned-By: {DEBIAN_KEYS}\n"
    );
    fs::write(apt.join("suite.sources"), source)?;
    let apt_path = |name: &str| apt.join(name).to_string_lossy().into_owned();
    let options = [
        format!("Dir::Etc::sourcelist={}", apt_path("suite.sources")),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::lists={}", apt_path("lists")),
        format!("Dir::Cache={}", apt_path("cache")),
        // The cache is the caller's alone.
        "APT::Sandbox::User=root".to_owned(),
    ];
    let mut args: Vec<&str> = options.iter().flat_map(|one| ["-o", one]).collect();
    sh(
        &scratch,
        "apt-get",
        &[&args[..], &["update", "--quiet"]].concat(),
    )?;
    args.extend(["download", "--quiet"]);
    args.extend(packages);
    sh(&scratch, "apt-get", &args)?;
    extract(&scratch, packages.len())?;
    fs::remove_dir_all(&apt)?;
    Ok(scratch)
}

/// Unpacks so many packages where they lie.
fn extract(scratch: &Path, packages: usize) -> Result<()> {
    for _ in 0..packages {
        let file = find(scratch, &|name| name.ends_with(".deb"))?;
        sh(scratch, "dpkg-deb", &["-x", &file.to_string_lossy(), "."])?;
        fs::remove_file(&file)?;
    }
    Ok(())
}

/// Installs Debian packages on the system.
pub(crate) fn apt_install(packages: &[&str]) -> Result<()> {
    let here = Path::new(".");
    sh(here, "apt-get", &["update", "--quiet"])?;
    let mut args = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
    args.extend(packages);
    sh(here, "apt-get", &args)
}

/// Runs pip; installs Debian's when Python has none.
pub(crate) fn pip(directory: &Path, args: &[&str]) -> Result<()> {
    let present = sh(directory, "python3", &["-m", "pip", "--version"]);
    if present.is_err() {
        apt_install(&["python3", "python3-pip"])?;
    }
    let mut all = vec!["-m", "pip"];
    all.extend(args);
    sh(directory, "python3", &all)
}

/// Runs a program quietly; its output is shown when it fails.
pub(crate) fn sh(directory: &Path, program: &str, args: &[&str]) -> Result<()> {
    read(directory, program, args, &[]).map(drop)
}

/// Runs a program with variables added to its environment; returns what it printed.
pub(crate) fn read<P: AsRef<OsStr>>(
    directory: &Path,
    program: P,
    args: &[&str],
    variables: &[(&str, &str)],
) -> Result<String> {
    let name = program.as_ref().to_string_lossy().into_owned();
    let output = Command::new(program)
        .current_dir(directory)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .envs(variables.iter().copied())
        .args(args)
        .output()
        .with_context(|| format!("{name} did not start"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    bail!("{name} {} failed: {}", args.join(" "), stderr.trim())
}

/// A short name for contents that change together: 64-bit FNV-1a over the parts, each closed by its
/// length.
///
/// It guards a cache against staleness, not against an attacker, so it need not be cryptographic;
/// it must be the same from one Rust version to the next, which the standard library's hasher does
/// not promise.
pub(crate) fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    for part in parts {
        part.iter().copied().for_each(&mut add);
        part.len().to_le_bytes().into_iter().for_each(&mut add);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_tells_contents_and_their_order_apart() {
        // FNV-1a of the empty input is its offset basis.
        assert_eq!(key([]), "cbf29ce484222325");
        let (a, b): (&[u8], &[u8]) = (b"a", b"b");
        assert_ne!(key([a, b]), key([b, a]));
        assert_ne!(key([b"ab".as_slice(), b""]), key([a, b]));
        assert_eq!(key([a, b]), key([a, b]));
    }
}
