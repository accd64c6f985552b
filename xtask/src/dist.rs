//! `cargo xtask dist`: what users are given, in `dist` of the target directory.
//!
//! A static binary (glibc's own static-pie, as in `deploy/Containerfile`, so that no second
//! toolchain is needed) in an archive with its manual pages, completions and systemd units; a
//! Debian package of the same; the tree of a container image; the agent alone, small, in an archive
//! of its own; an SBOM in CycloneDX; the checksums.
//! The times in them are those of the commit: the same sources give the same files.

use crate::tidy::workspace_root;
use crate::{cache, say};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const CARGO_DEB: &str = "3.8.0";
const CARGO_CYCLONEDX: &str = "0.5.9";
const PROGRAM: &str = "everleaf";
/// The agent alone, and the package that it is built of.
const AGENT: &str = "everleaf-agent";
const AGENT_PACKAGE: &str = "everleaf-node";
/// Each shell, and where Debian has its completions.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "everleaf.bash"),
    ("zsh", "_everleaf"),
    ("fish", "everleaf.fish"),
];

/// Builds it all; takes no arguments.
pub(crate) fn run(args: &[String]) -> Result<()> {
    ensure!(args.is_empty(), "cargo xtask dist takes no arguments");
    let root = workspace_root();
    let source = Source::of(&root)?;
    let built = Built::build(&root, &source)?;
    let dist = built.target_directory.join("dist");
    let _ = fs::remove_dir_all(&dist);
    fs::create_dir_all(&dist).with_context(|| format!("make {}", dist.display()))?;
    built.document()?;
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("{PROGRAM}-{version}-{}", built.platform);
    built.archive(&root, &dist.join(&name), &source)?;
    built.debian_package(&root, &dist, &source)?;
    agent_archive(
        &root,
        &dist.join(format!("{AGENT}-{version}-{}", built.platform)),
        &source,
        &built.triple,
    )?;
    built.image_tree(&root, &dist.join("image"))?;
    bill_of_materials(
        &root,
        &dist.join(format!("{PROGRAM}-{version}.cdx.json")),
        &source,
    )?;
    checksums(&dist)?;
    say(&format!("{}:", dist.display()));
    run_in(&dist, "ls", &["-l"], &source)
}

/// What is built.
struct Source {
    commit: String,
    /// RFC 3339.
    date: String,
    /// Seconds since 1970.
    seconds: String,
}

impl Source {
    fn of(root: &Path) -> Result<Self> {
        let git = |args: &[&str]| output(root, "git", args);
        let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
        let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
        Ok(Self {
            commit: match changes.as_str() {
                "" => commit,
                _ => format!("{commit}-changed"),
            },
            date: git(&["show", "--no-patch", "--format=%cI", "HEAD"])?,
            seconds: git(&["show", "--no-patch", "--format=%ct", "HEAD"])?,
        })
    }
}

/// The static program, and what was generated with it.
struct Built {
    /// As rustc names it.
    triple: String,
    /// `x86_64-linux`
    platform: String,
    target_directory: PathBuf,
    /// Where cargo put it. Beside it, `dist` holds what cargo-deb takes besides.
    release: PathBuf,
}

impl Built {
    fn build(root: &Path, source: &Source) -> Result<Self> {
        let triple = output(root, "rustc", &["--print", "host-tuple"])?;
        say(&format!(
            "building {PROGRAM} for {triple} (release, static)"
        ));
        build(root, source, &triple, PROGRAM, "release")?;
        let metadata = cargo_metadata::MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .no_deps()
            .exec()?;
        let target_directory = PathBuf::from(metadata.target_directory.as_str());
        let machine = triple.split('-').next().unwrap_or_default();
        let built = Self {
            platform: format!("{machine}-linux"),
            release: target_directory.join(&triple).join("release"),
            triple,
            target_directory,
        };
        is_static(root, &built.program())?;
        Ok(built)
    }

    fn program(&self) -> String {
        self.release.join(PROGRAM).to_string_lossy().into_owned()
    }

    /// Has the program write its manual pages and completions.
    fn document(&self) -> Result<()> {
        let generated = self.release.join("dist");
        let _ = fs::remove_dir_all(&generated);
        let (pages, scripts) = (generated.join("man"), generated.join("completions"));
        for directory in [&pages, &scripts] {
            fs::create_dir_all(directory)?;
        }
        output(
            &generated,
            &self.program(),
            &["man", &pages.to_string_lossy()],
        )?;
        for (shell, file) in SHELLS {
            let script = output(&generated, &self.program(), &["completion", shell])?;
            fs::write(scripts.join(file), script + "\n")?;
        }
        Ok(())
    }

    /// `path.tar.gz`
    fn archive(&self, root: &Path, path: &Path, source: &Source) -> Result<()> {
        fs::create_dir_all(path)?;
        copy(Path::new(&self.program()), &path.join(PROGRAM), 0o755)?;
        for name in ["LICENSE", "README.md", "CHANGELOG.md"] {
            copy(&root.join(name), &path.join(name), 0o644)?;
        }
        let generated = self.release.join("dist");
        for (from, to) in [
            (generated.join("man"), "man"),
            (generated.join("completions"), "completions"),
            (root.join("deploy/systemd"), "systemd"),
        ] {
            let to = path.join(to);
            fs::create_dir_all(&to)?;
            for entry in fs::read_dir(&from)? {
                let entry = entry?;
                copy(&entry.path(), &to.join(entry.file_name()), 0o644)?;
            }
        }
        pack(path, source)
    }

    fn debian_package(&self, root: &Path, dist: &Path, source: &Source) -> Result<()> {
        let program = cache::cargo_program("cargo-deb", CARGO_DEB, &[])?;
        say("packaging for Debian");
        let dist = dist.to_string_lossy();
        let what = ["--no-build", "--no-strip", "--quiet", "--package", PROGRAM];
        let whither = ["--target", &self.triple, "--output", &dist];
        let args = [&what[..], &whither].concat();
        run_in(root, &program.to_string_lossy(), &args, source)
    }

    /// What `podman build` or `buildah` makes an image of, without a compiler.
    fn image_tree(&self, root: &Path, tree: &Path) -> Result<()> {
        fs::create_dir_all(tree)?;
        copy(Path::new(&self.program()), &tree.join(PROGRAM), 0o755)?;
        let whole = fs::read_to_string(root.join("deploy/Containerfile"))?;
        let (_, image) = whole
            .split_once("\nFROM scratch\n")
            .context("deploy/Containerfile has no FROM scratch")?;
        let image = image.replace(
            "COPY --from=build /everleaf /everleaf",
            "COPY everleaf /everleaf",
        );
        fs::write(tree.join("Containerfile"), format!("FROM scratch\n{image}"))?;
        Ok(())
    }
}

/// Builds a static program of `package`.
fn build(root: &Path, source: &Source, triple: &str, package: &str, profile: &str) -> Result<()> {
    let args = ["build", "--locked", "--quiet", "--package", package];
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .args([&args[..], &["--profile", profile, "--target", triple]].concat())
        // With --target the flag is for the program alone, not for what runs while it is built.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("EVERLEAF_COMMIT", &source.commit)
        .env("EVERLEAF_COMMIT_DATE", &source.date)
        .status()
        .context("cargo did not start")?;
    ensure!(status.success(), "cargo build of {package} failed");
    Ok(())
}

fn is_static(root: &Path, program: &str) -> Result<()> {
    let headers = output(root, "readelf", &["--program-headers", program])?;
    ensure!(!headers.contains("INTERP"), "{program} is not static");
    Ok(())
}

/// The agent alone, small and static, with its unit, as `path.tar.gz`.
fn agent_archive(root: &Path, path: &Path, source: &Source, triple: &str) -> Result<()> {
    say(&format!("building {AGENT} for {triple} (small, static)"));
    build(root, source, triple, AGENT_PACKAGE, "small")?;
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()?;
    let target_directory = Path::new(metadata.target_directory.as_str());
    let program = target_directory.join(triple).join("small").join(AGENT);
    is_static(root, &program.to_string_lossy())?;
    fs::create_dir_all(path)?;
    copy(&program, &path.join(AGENT), 0o755)?;
    copy(&root.join("LICENSE"), &path.join("LICENSE"), 0o644)?;
    let unit = fs::read_to_string(root.join("deploy/systemd/everleaf-agent.service"))?;
    let (whole, alone) = ("/usr/bin/everleaf agent", "/usr/bin/everleaf-agent");
    ensure!(
        unit.contains(whole),
        "the agent's unit does not run {whole}"
    );
    let unit = unit
        .replace(whole, alone)
        .replace("`everleaf agent`", "`everleaf-agent`");
    fs::write(path.join("everleaf-agent.service"), unit)?;
    pack(path, source)
}

/// Makes `path.tar.gz` of a directory, and removes it.
fn pack(path: &Path, source: &Source) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let time = format!("--mtime=@{}", source.seconds);
    let file = format!("{name}.tar.gz");
    let parent = path.parent().context("it has a parent")?;
    let who = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner"];
    let args = [&who[..], &[&time, "-czf", &file, &name]].concat();
    run_in(parent, "tar", &args, source)?;
    fs::remove_dir_all(path).context("remove what is in the archive")
}

fn bill_of_materials(root: &Path, path: &Path, source: &Source) -> Result<()> {
    let program = cache::cargo_program("cargo-cyclonedx", CARGO_CYCLONEDX, &[])?;
    say("writing the SBOM");
    let manifest = root.join("crates/everleaf/Cargo.toml");
    let manifest = manifest.to_string_lossy();
    let form = ["cyclonedx", "--format", "json", "--spec-version", "1.5"];
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_end_matches(".json");
    let what = ["--manifest-path", &manifest, "--override-filename", name];
    run_in(
        root,
        &program.to_string_lossy(),
        &[&form[..], &what, &["--quiet"]].concat(),
        source,
    )?;
    // It writes one beside each manifest of the workspace.
    let members = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()?;
    let mut found = false;
    for package in &members.packages {
        let directory = package
            .manifest_path
            .parent()
            .map(|path| path.as_std_path());
        let written = directory.unwrap_or(root).join(format!("{name}.json"));
        if !written.is_file() {
            continue;
        }
        if package.name.as_str() == PROGRAM {
            fs::copy(&written, path)?;
            found = true;
        }
        fs::remove_file(&written)?;
    }
    ensure!(found, "cargo-cyclonedx wrote nothing for {PROGRAM}");
    Ok(())
}

/// `SHA256SUMS` of all files.
fn checksums(dist: &Path) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dist)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sums = output(dist, "sha256sum", &names)?;
    fs::write(dist.join("SHA256SUMS"), sums + "\n").context("write SHA256SUMS")
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn run_in(directory: &Path, program: &str, args: &[&str], source: &Source) -> Result<()> {
    let status = Command::new(program)
        .current_dir(directory)
        .args(args)
        .env("SOURCE_DATE_EPOCH", &source.seconds)
        .status()
        .with_context(|| format!("{program} did not start"))?;
    if !status.success() {
        bail!("{program} {} failed", args.join(" "));
    }
    Ok(())
}

/// What it prints, without the last line's end.
fn output(directory: &Path, program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .current_dir(directory)
        .args(args)
        .output()
        .with_context(|| format!("{program} did not start"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {} failed: {}", args.join(" "), why.trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
