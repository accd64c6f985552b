//! Programs built from a Go module of ours that pins theirs.
//!
//! The module's `go.mod` is the one place that says which version is built; this file reads it from
//! there, for the stamp as for the name in the cache. Go's own caches are used as they are, so a
//! new version compiles what changed.

use super::openapi;
use crate::cache;
use crate::say;
use crate::tidy::workspace_root;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The toolchain that Go is told to fetch where a module asks for more than the machine's.
const TOOLCHAIN: &str = "go1.27.4";
/// Kubernetes' packages with a version stamp: the first is what programs report, the second goes
/// into user agents.
const STAMPED: [&str; 2] = [
    "k8s.io/component-base/version",
    "k8s.io/client-go/pkg/version",
];
/// The module whose version names a set of programs and is the stamp.
pub(super) const KUBERNETES: &str = "k8s.io/kubernetes";
/// The same for Helm, in a module of its own that has no Kubernetes.
const HELM: &str = "helm.sh/helm/v4";
/// Where Helm keeps its version.
const HELM_STAMPED: &str = "helm.sh/helm/v4/internal/version.version";
/// The module with the log of Go's checksum database.
const X_MOD: &str = "golang.org/x/mod";
/// What a `go.mod` calls the Go that it needs.
const GO: &str = "go";
/// The module of etcd's server.
const ETCD: &str = "go.etcd.io/etcd/server/v3";

/// A Go module of this repository, and with what it is built.
pub(crate) struct Module {
    directory: PathBuf,
    manifest: String,
    /// Variables for every `go` command.
    variables: Vec<(&'static str, &'static str)>,
    /// Linker flags.
    stamp: String,
    /// What every program of the module depends on.
    key: String,
}

/// A program of a module.
pub(crate) struct Program {
    /// The file's name.
    name: &'static str,
    /// The Go package with its `main`.
    package: String,
    /// The module whose version it has.
    versioned_by: &'static str,
    /// Arguments that make it print that version.
    ask_version: &'static [&'static str],
    /// Whether its source is the module's folder of its name; else a module required by it has the
    /// source.
    ours: bool,
}

impl Program {
    /// A command of Kubernetes.
    pub(crate) fn kubernetes(name: &'static str) -> Self {
        let ask_version: &[&str] = match name {
            "kubectl" => &["version", "--client"],
            _ => &["--version"],
        };
        let package = format!("{KUBERNETES}/cmd/{name}");
        Self {
            name,
            package,
            versioned_by: KUBERNETES,
            ask_version,
            ours: false,
        }
    }

    /// A program whose source is the module's folder of its name. It has the version of the
    /// client-go it is built on.
    pub(crate) fn ours(name: &'static str) -> Self {
        let (package, ask_version) = (format!("./{name}"), &["--version"]);
        Self {
            name,
            package,
            versioned_by: KUBERNETES,
            ask_version,
            ours: true,
        }
    }

    /// Helm.
    pub(crate) fn helm() -> Self {
        Self {
            name: "helm",
            package: format!("{HELM}/cmd/helm"),
            versioned_by: HELM,
            ask_version: &["version"],
            ours: false,
        }
    }

    /// Ours, of a module without Kubernetes: it has the version of `golang.org/x/mod`.
    pub(crate) fn of_x_mod(name: &'static str) -> Self {
        Self {
            versioned_by: X_MOD,
            ..Self::ours(name)
        }
    }

    /// Ours, of a module that requires nothing but Go. It has the version of the Go that built it.
    pub(crate) fn of_go(name: &'static str) -> Self {
        Self {
            versioned_by: GO,
            ..Self::ours(name)
        }
    }

    /// etcd's server.
    pub(crate) fn etcd() -> Self {
        let (package, ask_version) = (ETCD.into(), &["--version"]);
        Self {
            name: "etcd",
            package,
            versioned_by: ETCD,
            ask_version,
            ours: false,
        }
    }
}

impl Module {
    /// Opens a module, `directory` being relative to the root of the repository.
    pub(crate) fn open(directory: &str) -> Result<Self> {
        let directory = workspace_root().join(directory);
        let manifest = fs::read_to_string(directory.join("go.mod"))
            .with_context(|| format!("read {}/go.mod", directory.display()))?;
        let sums = fs::read(directory.join("go.sum"))
            .with_context(|| format!("read {}/go.sum", directory.display()))?;
        let mut variables = vec![("CGO_ENABLED", "0")];
        variables.extend(toolchain(&manifest)?.map(|version| ("GOTOOLCHAIN", version)));
        let go = cache::read(&directory, "go", &["version"], &variables)?;
        let stamp = main_module(&manifest).map_or_else(|_| PLAIN.to_owned(), stamp);
        let key = cache::key([manifest.as_bytes(), &sums, go.as_bytes(), stamp.as_bytes()]);
        Ok(Self {
            directory,
            manifest,
            variables,
            stamp,
            key,
        })
    }

    /// The path of a program, which is built if it is not in the cache.
    pub(crate) fn install(&self, cache: &Path, program: &Program) -> Result<PathBuf> {
        let version = version(&self.manifest, program.versioned_by)?;
        let home = if program.ours {
            format!("{}-{}", program.name, self.source_key(program.name)?)
        } else {
            let (main, version) = main_module(&self.manifest)?;
            let name = if main == HELM { "helm" } else { "kubernetes" };
            format!("{name}-{version}-{}", self.key)
        };
        let home = cache.join(home);
        let path = home.join(program.name);
        if path.is_file() {
            return Ok(path);
        }
        say(&format!("building {} {version}", program.name));
        let started = crate::started();
        fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
        let scratch = cache::scratch(cache, program.name)?;
        let built = scratch.join(program.name);
        self.build(program, &scratch, &built)
            .with_context(|| format!("{} {version} cannot be built", program.name))?;
        let said = cache::read(&scratch, &built, program.ask_version, &[])?;
        if !said.contains(version.trim_start_matches('v')) {
            bail!(
                "{} says it is {:?}, not {version}",
                program.name,
                said.trim()
            );
        }
        cache::take(&built, &path)?;
        say(&format!(
            "built {} in {} s",
            program.name,
            started.elapsed().as_secs()
        ));
        Ok(path)
    }

    fn build(&self, program: &Program, scratch: &Path, output: &Path) -> Result<()> {
        let output = output.to_string_lossy();
        let mut args = vec![
            "build",
            "-mod=readonly",
            "-trimpath",
            "-ldflags",
            &self.stamp,
        ];
        let go = openapi::Go {
            directory: &self.directory,
            variables: &self.variables,
        };
        let further = match program.name {
            "kube-apiserver" => openapi::complete(&go, scratch)?,
            _ => Vec::new(),
        };
        args.extend(further.iter().map(String::as_str));
        args.extend(["-o", &output, &program.package]);
        cache::read(&self.directory, "go", &args, &self.variables).map(drop)
    }

    /// The module's key together with the files of a program of ours.
    fn source_key(&self, source: &str) -> Result<String> {
        let folder = self.directory.join(source);
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .with_context(|| format!("list {}", folder.display()))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.sort();
        let mut parts = vec![self.key.clone().into_bytes()];
        for file in files {
            let name = file.file_name().unwrap_or_default();
            parts.push(name.as_encoded_bytes().to_vec());
            parts.push(fs::read(&file).with_context(|| format!("read {}", file.display()))?);
        }
        Ok(cache::key(parts.iter().map(Vec::as_slice)))
    }
}

/// Linker flags of a program that tells no version of Kubernetes.
const PLAIN: &str = "-s -w";

/// Linker flags that make the programs report the version they are, as Kubernetes' own build does
/// (`hack/lib/version.sh`); without symbols, which nobody reads here.
fn stamp((module, version): (&str, &str)) -> String {
    if module == HELM {
        return format!("-s -w -X {HELM_STAMPED}={version}");
    }
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or(""), numbers.next().unwrap_or(""));
    let mut flags = String::from(PLAIN);
    for package in STAMPED {
        for (name, value) in [
            ("gitVersion", version),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        ] {
            flags += &format!(" -X {package}.{name}={value}");
        }
    }
    flags
}

/// The module that names a `go.mod`'s set of programs, and the version required of it.
fn main_module(manifest: &str) -> Result<(&'static str, &str)> {
    match version(manifest, HELM) {
        Ok(version) => Ok((HELM, version)),
        Err(_) => Ok((KUBERNETES, version(manifest, KUBERNETES)?)),
    }
}

/// The version that a `go.mod` requires of a module.
fn version<'a>(manifest: &'a str, module: &str) -> Result<&'a str> {
    manifest
        .lines()
        .take_while(|line| !line.starts_with("replace"))
        .filter_map(|line| line.trim().trim_start_matches("require ").split_once(' '))
        .find(|(name, _)| *name == module)
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .with_context(|| format!("go.mod requires no {module}"))
}

/// What `GOTOOLCHAIN` must be for this module: nothing where the machine's Go will do.
fn toolchain(manifest: &str) -> Result<Option<&'static str>> {
    let wanted = manifest
        .lines()
        .find_map(|line| line.strip_prefix("go "))
        .context("go.mod has no go line")?;
    // Asked outside the module: inside, an old Go refuses to answer.
    let present = cache::read(
        Path::new("/"),
        "go",
        &["env", "GOVERSION"],
        &[("GOTOOLCHAIN", "local")],
    )
    .with_context(|| {
        format!(
            "the peers are built from source and need Go {wanted} or newer as `go` in PATH. Debian 12's golang-go (1.19) is \
             too old; https://go.dev/doc/install says how to unpack a release. From Go 1.21 on a `go` fetches the newer \
             toolchain by itself"
        )
    })?;
    Ok(fetched(present.trim(), wanted))
}

/// The toolchain to fetch, if the present Go (`go1.26.8`) is older than what is wanted (`1.26.0`).
fn fetched(present: &str, wanted: &str) -> Option<&'static str> {
    let present = numbers(present.trim_start_matches("go"));
    (present < numbers(wanted)).then_some(TOOLCHAIN)
}

/// `1.26.8` as numbers that compare.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map_while(|part| {
            part.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "module x\n\ngo 1.26.0\n\nrequire (\n\tk8s.io/api v0.37.2 // indirect\n\tk8s.io/kubernetes v1.37.2\n)\n\nrequire go.etcd.io/etcd/server/v3 v3.7.3\n\nreplace (\n\tk8s.io/metrics => k8s.io/metrics v0.1.0\n)\n";

    #[test]
    fn versions_are_read_from_the_manifest() {
        assert_eq!(version(MANIFEST, KUBERNETES).unwrap(), "v1.37.2");
        assert_eq!(version(MANIFEST, "k8s.io/api").unwrap(), "v0.37.2");
        assert_eq!(
            version(MANIFEST, "go.etcd.io/etcd/server/v3").unwrap(),
            "v3.7.3"
        );
        assert_eq!(version(MANIFEST, GO).unwrap(), "1.26.0");
        assert!(version(MANIFEST, "k8s.io/metrics").is_err());
    }

    #[test]
    fn the_stamp_has_version_major_and_minor() {
        let flags = stamp((KUBERNETES, "v1.37.2"));
        for part in ["gitVersion=v1.37.2", "gitMajor=1", "gitMinor=37"] {
            assert_eq!(flags.matches(&format!("{part} ")).count(), 2, "{flags}");
        }
    }

    #[test]
    fn a_toolchain_is_fetched_only_for_an_older_go() {
        assert_eq!(fetched("go1.26.8", "1.26.0"), None);
        assert_eq!(fetched("go1.26.8", "1.27.0"), Some(TOOLCHAIN));
        assert!(numbers(TOOLCHAIN.trim_start_matches("go")) >= numbers("1.27.3"));
    }

    #[test]
    fn go_versions_compare_as_numbers() {
        assert!(numbers("1.26.8") > numbers("1.26.0"));
        assert!(numbers("1.9") < numbers("1.26.0"));
        assert!(numbers("1.26rc1") < numbers("1.26.0"));
        assert!(numbers("1.27.3 X:nocoverageredesign") >= numbers("1.27.3"));
    }
}
