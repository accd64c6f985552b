//! The OpenAPI definitions of a kube-apiserver whose module comes without them.
//!
//! Old releases make `pkg/generated/openapi/zz_generated.openapi.go` during their build and do not
//! keep it. It is made here the same way: by the module's own `openapi-gen`, from the types that
//! this kube-apiserver is linked with. Go allows no overlay in its module cache, so Kubernetes is
//! replaced by a link to where it lies there, and the file is laid over the link.

use super::go::KUBERNETES;
use crate::cache;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const PACKAGE: &str = "k8s.io/kubernetes/pkg/generated/openapi";
const FILE: &str = "zz_generated.openapi";
const SERVER: &str = "k8s.io/kubernetes/cmd/kube-apiserver";
const GENERATOR: &str = "k8s.io/kube-openapi/cmd/openapi-gen";
/// Marks a package, or a type, that wants a definition.
const MARK: &str = "+k8s:openapi-gen=";
/// Prints each Go file of a package that is not the standard library's, with the package.
const FILES: &str = "{{if not .Standard}}{{$package := .}}{{range .GoFiles}}{{$package.ImportPath}} {{$package.Dir}}/{{.}}\n{{end}}{{end}}";

/// `go` in a module of ours.
pub(super) struct Go<'a> {
    /// The module's folder.
    pub(super) directory: &'a Path,
    /// Variables for every command.
    pub(super) variables: &'a [(&'static str, &'static str)],
}

impl Go<'_> {
    fn read(&self, args: &[&str]) -> Result<String> {
        cache::read(self.directory, "go", args, self.variables)
    }

    /// The Go files of these packages and of all that they import, by package.
    fn files(&self, packages: &[&str]) -> Result<BTreeMap<String, Vec<PathBuf>>> {
        let mut args = vec!["list", "-deps", "-f", FILES];
        args.extend(packages);
        let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for line in self.read(&args)?.lines() {
            let Some((package, file)) = line.split_once(' ') else {
                continue;
            };
            files.entry(package.into()).or_default().push(file.into());
        }
        Ok(files)
    }
}

/// Further arguments of `go build`, if kube-apiserver lacks its definitions: it is built with those
/// that were made in `scratch`.
pub(super) fn complete(go: &Go<'_>, scratch: &Path) -> Result<Vec<String>> {
    let package = go.read(&["list", "-e", "-f", "{{.Dir}}", PACKAGE])?;
    let file = format!("{FILE}.go");
    if Path::new(package.trim()).join(&file).exists() {
        return Ok(Vec::new());
    }
    let made = generate(go, scratch).context("its OpenAPI definitions cannot be generated")?;
    let kubernetes = go.read(&["list", "-m", "-f", "{{.Dir}}", KUBERNETES])?;
    let link = scratch.join("kubernetes");
    symlink(kubernetes.trim(), &link).with_context(|| format!("link {}", link.display()))?;
    let manifest = fs::read_to_string(go.directory.join("go.mod"))?;
    let manifest = format!("{manifest}\nreplace {KUBERNETES} => {}\n", link.display());
    fs::write(scratch.join("linked.mod"), manifest)?;
    fs::copy(go.directory.join("go.sum"), scratch.join("linked.sum"))?;
    let over = link.join("pkg/generated/openapi").join(&file);
    let overlay = format!("{{\"Replace\": {{{over:?}: {made:?}}}}}");
    fs::write(scratch.join("overlay.json"), overlay)?;
    let argument = |flag: &str, name: &str| format!("{flag}={}", scratch.join(name).display());
    Ok(vec![
        argument("-modfile", "linked.mod"),
        argument("-overlay", "overlay.json"),
    ])
}

/// Has the definitions generated; the file.
fn generate(go: &Go<'_>, scratch: &Path) -> Result<PathBuf> {
    let linked = go.files(&[SERVER])?;
    let marked: Vec<&str> = linked
        .iter()
        .filter(|(package, files)| wants_definitions(package, files))
        .map(|(package, _)| package.as_str())
        .collect();
    let workspace = scratch.join("workspace");
    lay_out(&workspace, &go.files(&marked)?)?;
    let generator = scratch.join("openapi-gen").display().to_string();
    go.read(&["build", "-o", &generator, GENERATOR])?;
    let root = go.read(&["env", "GOROOT"])?;
    let output = scratch.join("definitions");
    let header = scratch.join("header");
    fs::write(&header, "")?;
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let args = [
        flag("output-base", &output),
        flag("go-header-file", &header),
        // Its opinions about upstream's types, which else are its failure.
        flag("report-filename", &scratch.join("violations")),
        format!("--input-dirs={}", marked.join(",")),
        format!("--output-package={PACKAGE}"),
        format!("--output-file-base={FILE}"),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let path = workspace.display().to_string();
    let variables = [
        ("GO111MODULE", "off"),
        ("GOFLAGS", ""),
        ("GOPATH", path.as_str()),
        ("GOROOT", root.trim()),
    ];
    cache::read(scratch, &generator, &args, &variables)?;
    Ok(output.join(PACKAGE).join(format!("{FILE}.go")))
}

/// Whether a package is marked. The generator's own module speaks of the mark and has none.
fn wants_definitions(package: &str, files: &[PathBuf]) -> bool {
    let has_mark = |file: &PathBuf| fs::read_to_string(file).is_ok_and(|text| text.contains(MARK));
    package.starts_with("k8s.io/")
        && !package.starts_with("k8s.io/kube-openapi/")
        && files.iter().any(has_mark)
}

/// Links packages into a workspace of the kind before modules: in one of modules the generator asks
/// `go` about each of them.
fn lay_out(workspace: &Path, packages: &BTreeMap<String, Vec<PathBuf>>) -> Result<()> {
    for (package, files) in packages {
        let folder = workspace.join("src").join(package);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        for file in files {
            let name = file.file_name().unwrap_or_default();
            symlink(file, folder.join(name)).with_context(|| format!("link {}", file.display()))?;
        }
    }
    Ok(())
}
