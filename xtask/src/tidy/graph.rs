//! The dependency graph: who may see whom, what may never be linked, where crates come from.

use super::licence;
use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, Package, PackageId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Edges between our crates, ARCHITECTURE.md's picture as a table: (crate, what it may depend on).
/// They hold for normal, build and dev dependencies alike.
const EDGES: [(&str, &[&str]); 24] = [
    ("everleaf-pki", &[]),
    ("everleaf-api", &[]),
    ("everleaf-observe", &[]),
    ("everleaf-cel", &[]),
    ("everleaf-time", &[]),
    ("everleaf-rotation", &["everleaf-pki", "everleaf-time"]),
    ("everleaf-tls", &["everleaf-pki"]),
    ("everleaf-pkcs11", &["everleaf-pki"]),
    ("everleaf-etcd", &["everleaf-tls"]),
    (
        "everleaf-apiserver",
        &[
            "everleaf-api",
            "everleaf-cel",
            "everleaf-etcd",
            "everleaf-observe",
            "everleaf-pki",
            "everleaf-time",
            "everleaf-tls",
        ],
    ),
    (
        "everleaf-controllers",
        &[
            "everleaf-api",
            "everleaf-cel",
            "everleaf-observe",
            "everleaf-pkcs11",
            "everleaf-pki",
            "everleaf-time",
            "everleaf-tls",
        ],
    ),
    (
        "everleaf-fleet",
        &[
            "everleaf-api",
            "everleaf-controllers",
            "everleaf-pki",
            "everleaf-rotation",
        ],
    ),
    (
        "everleaf-agent",
        &[
            "everleaf-rotation",
            "everleaf-api",
            "everleaf-observe",
            "everleaf-pkcs11",
            "everleaf-pki",
            "everleaf-tls",
        ],
    ),
    (
        "everleaf-sim",
        &[
            "everleaf-agent",
            "everleaf-rotation",
            "everleaf-controllers",
            "everleaf-apiserver",
            "everleaf-api",
            "everleaf-pki",
            "everleaf-time",
        ],
    ),
    ("everleaf-bench", &["everleaf-agent", "everleaf-pki"]),
    (
        "everleaf-node",
        &[
            "everleaf-agent",
            "everleaf-api",
            "everleaf-pki",
            "everleaf-rotation",
        ],
    ),
    (
        "everleaf",
        &[
            "everleaf-agent",
            "everleaf-api",
            "everleaf-apiserver",
            "everleaf-bench",
            "everleaf-controllers",
            "everleaf-etcd",
            "everleaf-fleet",
            "everleaf-node",
            "everleaf-observe",
            "everleaf-pki",
            "everleaf-rotation",
            "everleaf-sim",
            "everleaf-time",
            "everleaf-tls",
        ],
    ),
    ("everleaf-stage", &[]),
    ("everleaf-faults", &["everleaf-stage"]),
    ("everleaf-e2e", &["everleaf-faults", "everleaf-stage"]),
    (
        "everleaf-interop",
        &["everleaf-stage", "everleaf-recordings"],
    ),
    // For its test and its seeds alone; the library knows no server.
    (
        "everleaf-recordings",
        &["everleaf-api", "everleaf-apiserver", "everleaf-pki"],
    ),
    // For its test alone; the judge knows nothing of ours.
    ("everleaf-second-judge", &["everleaf-pki"]),
    ("xtask", &[]),
];

/// Crates that own decisions: no runtime, socket, HTTP or TLS stack below them.
const PURE: [&str; 4] = [
    "everleaf-pki",
    "everleaf-api",
    "everleaf-rotation",
    "everleaf-time",
];
/// What a pure crate may not reach, at any depth.
const IMPURE: [&str; 9] = [
    "tokio",
    "mio",
    "socket2",
    "hyper",
    "kube",
    "kube-client",
    "rustls",
    "rusqlite",
    "rand",
];
/// The agent's own budget: the Kubernetes client weighs more than the whole agent may.
const NOT_IN_AGENT: [&str; 4] = ["kube", "k8s-openapi", "axum", "clap"];
/// Never linked into the product: a second TLS stack, an unfixed advisory, an archived parser, a
/// second calendar.
const BANNED: [&str; 8] = [
    "openssl",
    "openssl-sys",
    "native-tls",
    "ring",
    "rsa",
    "serde_yaml",
    "chrono",
    "async-std",
];
/// The only registry.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Findings about what `cargo metadata` resolved: edges among our crates, origins, licences.
pub(crate) fn check(metadata: &Metadata) -> Vec<String> {
    let names: BTreeMap<&PackageId, &str> = metadata
        .packages
        .iter()
        .map(|package| (&package.id, package.name.as_str()))
        .collect();
    let ours: BTreeSet<&str> = metadata
        .workspace_members
        .iter()
        .filter_map(|id| names.get(id).copied())
        .collect();
    let mut findings: Vec<String> = metadata
        .packages
        .iter()
        .filter(|package| ours.contains(package.name.as_str()))
        .flat_map(|package| edges(package, &ours))
        .collect();
    findings.extend(metadata.packages.iter().flat_map(origin));
    findings
}

/// Direct edges of one of our crates to others of ours, dev-dependencies included.
fn edges(package: &Package, ours: &BTreeSet<&str>) -> Vec<String> {
    let name = package.name.as_str();
    let Some((_, allowed)) = EDGES.iter().find(|(from, _)| *from == name) else {
        return vec![format!(
            "{name}: a new crate; say in xtask's EDGES what it may see"
        )];
    };
    package
        .dependencies
        .iter()
        .map(|dependency| dependency.name.as_str())
        .filter(|to| ours.contains(to) && *to != name && !allowed.contains(to))
        .map(|to| format!("{name} → {to}: a forbidden edge (ARCHITECTURE.md)"))
        .collect()
}

/// What each of our crates links on `platform`, at any depth. `cargo tree` is asked because the
/// graph of `cargo metadata` shows optional dependencies that no feature turns on.
pub(crate) fn check_linked(root: &Path, platform: &str) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for (name, _) in EDGES {
        let mut forbidden: Vec<&str> = BANNED.to_vec();
        if PURE.contains(&name) {
            forbidden.extend(IMPURE);
        }
        if name == "everleaf-agent" {
            forbidden.extend(NOT_IN_AGENT);
        }
        let linked = linked(root, name, platform)?;
        for to in forbidden.into_iter().filter(|to| linked.contains(*to)) {
            findings.push(format!(
                "{name} may not link {to} (cargo tree -p {name} -e normal,build -i {to} shows why)"
            ));
        }
    }
    Ok(findings)
}

fn linked(root: &Path, name: &str, platform: &str) -> Result<BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args([
            "tree",
            "--locked",
            "-p",
            name,
            "-e",
            "normal,build",
            "--target",
            platform,
        ])
        .args(["--all-features", "--prefix", "none", "--format", "{p}"])
        .output()
        .context("cargo tree failed to start")?;
    if !output.status.success() {
        bail!(
            "cargo tree -p {name}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect())
}

/// Where a crate comes from and under which licence.
fn origin(package: &Package) -> Vec<String> {
    let mut findings = Vec::new();
    let name = format!("{} {}", package.name, package.version);
    if let Some(source) = &package.source
        && source.repr != CRATES_IO
    {
        findings.push(format!(
            "{name}: comes from {}, not from crates.io",
            source.repr
        ));
    }
    match &package.license {
        None => findings.push(format!("{name}: states no licence")),
        Some(text) => match licence::is_allowed(text) {
            Ok(true) => {}
            Ok(false) => findings.push(format!("{name}: licence {text} is not on the list")),
            Err(why) => findings.push(format!("{name}: licence {text} is unreadable: {why}")),
        },
    }
    findings
}
