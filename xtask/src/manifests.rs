//! `cargo xtask manifests`: the files of `deploy/manifests`, rendered from the chart.
//!
//! For whom Helm is one tool too many: `kubectl apply -f` of one file. Nobody edits them by hand;
//! with `--check` the task writes nothing and fails when one is not what the chart gives.

use crate::peers::Peers;
use crate::tidy::workspace_root;
use crate::{cache, say};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// Where they are installed.
const NAMESPACE: &str = "everleaf-system";
/// Each file, and the values by which it differs from the chart's defaults.
const MANIFESTS: [(&str, &[&str]); 2] = [
    ("everleaf-serving-approver.yaml", &[]),
    (
        "everleaf-controllers.yaml",
        &["mode=controllers", "controlPlaneOnly=true"],
    ),
];
/// A label that is only true of what Helm installs.
const OF_HELM: &str = "app.kubernetes.io/managed-by: Helm";

/// Renders them; `--check`: compares.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("cargo xtask manifests takes --check or nothing"),
    };
    let helm = Peers::helm()?;
    let root = workspace_root();
    let mut stale = Vec::new();
    for (name, values) in MANIFESTS {
        let path = root.join("deploy/manifests").join(name);
        let text = render(&helm, &root, values).with_context(|| format!("render {name}"))?;
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            continue;
        }
        if check {
            stale.push(name);
        } else {
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            say(&format!("wrote {}", path.display()));
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    bail!(
        "not what the chart gives: {}; run cargo xtask manifests",
        stale.join(", ")
    )
}

fn render(helm: &Path, root: &Path, values: &[&str]) -> Result<String> {
    let mut args = vec!["template", "everleaf", "deploy/helm/everleaf"];
    args.extend(["--namespace", NAMESPACE]);
    for value in values {
        args.extend(["--set", value]);
    }
    let rendered = cache::read(root, helm, &args, &[])?;
    let mut text = format!(
        "# Made by `cargo xtask manifests` from deploy/helm/everleaf; docs/deploy.md says how to use it.\n\
         apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: restricted\n    pod-security.kubernetes.io/warn: restricted\n"
    );
    let lines = rendered
        .lines()
        .filter(|line| !line.trim().is_empty())
        .filter(|line| !line.starts_with("# Source: "))
        .filter(|line| line.trim() != OF_HELM);
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Ok(text)
}
