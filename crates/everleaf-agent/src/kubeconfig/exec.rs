//! `exec`: a command that gives out the credential. What the file says of it, checked as client-go
//! checks it.

use crate::secret::Secret;
use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};

/// Name of the cluster's extension that is handed to the command.
const CLUSTER_EXTENSION: &str = "client.authentication.k8s.io/exec";

/// A command that gives out the credential. Arguments and variables may be secrets: `Debug` shows
/// the command alone.
#[derive(Clone, PartialEq, Eq)]
pub struct ExecPlugin {
    /// Version of the conversation.
    pub version: ExecVersion,
    /// An absolute path, or a name to be looked for in `PATH`.
    pub command: PathBuf,
    /// Passed as they are, without a shell; they may hold a password.
    pub args: Vec<Secret>,
    /// Variables besides those of this process.
    pub env: Vec<(String, Secret)>,
    /// What to tell whoever has not installed it.
    pub install_hint: Option<String>,
    /// The command is told of the cluster, with the configuration that the cluster's extension
    /// holds for it.
    pub cluster_config: Option<Value>,
}

/// Versions of `client.authentication.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecVersion {
    /// `v1`.
    V1,
    /// `v1beta1`.
    V1Beta1,
}

impl ExecVersion {
    /// `client.authentication.k8s.io/v1`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "client.authentication.k8s.io/v1",
            Self::V1Beta1 => "client.authentication.k8s.io/v1beta1",
        }
    }
}

impl fmt::Debug for ExecPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecPlugin")
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Stanza {
    api_version: Option<String>,
    command: Option<String>,
    args: Option<Vec<Secret>>,
    env: Option<Vec<Variable>>,
    install_hint: Option<String>,
    provide_cluster_info: Option<bool>,
    interactive_mode: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Variable {
    name: Option<String>,
    value: Option<Secret>,
}

/// An entry of a cluster's `extensions`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Extension {
    name: Option<String>,
    extension: Option<Value>,
}

/// The plugin that `stanza` describes, or everything that is wrong with it. `directory` is the
/// kubeconfig's.
pub(super) fn resolve(
    stanza: Stanza,
    directory: &Path,
    extensions: Option<Vec<Extension>>,
) -> Result<ExecPlugin, Vec<String>> {
    let mut problems = Vec::new();
    let version = version(stanza.api_version.as_deref().unwrap_or_default());
    let version = version.map_err(|what| problems.push(what)).ok();
    let command = stanza.command.unwrap_or_default();
    if command.is_empty() {
        problems.push("exec has no command".to_owned());
    }
    match stanza.interactive_mode.as_deref().unwrap_or_default() {
        "" if version == Some(ExecVersion::V1) => problems.push(
            "exec with apiVersion v1 needs an interactiveMode: give Never or IfAvailable".to_owned(),
        ),
        "" | "Never" | "IfAvailable" => {}
        "Always" => problems.push(
            "exec with interactiveMode Always asks a person at a terminal, and there is none here: give IfAvailable or Never \
             if the command can do without"
                .to_owned(),
        ),
        _ => problems.push(
            "exec has an interactiveMode that is none of Never, IfAvailable, Always".to_owned(),
        ),
    }
    let mut env = Vec::new();
    for variable in stanza.env.unwrap_or_default() {
        match variable.name.filter(|name| !name.is_empty()) {
            Some(name) if !name.contains(['=', '\0']) => {
                let value = variable.value.unwrap_or_else(|| Secret::new(String::new()));
                env.push((name, value));
            }
            _ => problems.push("exec has an env entry without a usable name".to_owned()),
        }
    }
    let args = stanza.args.unwrap_or_default();
    let texts = args.iter().chain(env.iter().map(|(_, value)| value));
    if texts.into_iter().any(|text| text.expose().contains('\0')) {
        problems.push("exec has an argument or variable with a zero byte".to_owned());
    }
    let (Some(version), true) = (version, problems.is_empty()) else {
        return Err(problems);
    };
    Ok(ExecPlugin {
        version,
        // As kubectl: what has a separator is a path, seen from the kubeconfig.
        command: if command.contains('/') {
            directory.join(command)
        } else {
            command.into()
        },
        args,
        env,
        install_hint: stanza.install_hint.filter(|hint| !hint.trim().is_empty()),
        cluster_config: stanza
            .provide_cluster_info
            .unwrap_or(false)
            .then(|| config(extensions).unwrap_or(Value::Null)),
    })
}

fn version(text: &str) -> Result<ExecVersion, String> {
    match text {
        "client.authentication.k8s.io/v1" => Ok(ExecVersion::V1),
        "client.authentication.k8s.io/v1beta1" => Ok(ExecVersion::V1Beta1),
        "" => Err("exec has no apiVersion; give client.authentication.k8s.io/v1".to_owned()),
        other => Err(format!(
            "exec has the apiVersion {}, which is not client.authentication.k8s.io/v1 or v1beta1",
            super::quoted(other)
        )),
    }
}

fn config(extensions: Option<Vec<Extension>>) -> Option<Value> {
    let mut entries = extensions?.into_iter();
    let entry = entries.find(|entry| entry.name.as_deref() == Some(CLUSTER_EXTENSION));
    entry?.extension
}
