//! Credentials that a command gives out (`exec` of a kubeconfig's user).
//!
//! Owns running the command, reading its answer, and keeping that until it ends or a server refuses
//! it: per process, with one call at a time. It refuses to know who asks for what. Nothing that the
//! command writes to its standard output is ever shown.

use super::access::{Access, Identity, Presentable};
use super::failure::{Failure, FailureClass};
use crate::kubeconfig::{Cluster, ExecPlugin, ProxyUrl, Trust};
use crate::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use everleaf_pki::{Chain, Credential, PrivateKey};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Longest run of a command; then it and everything that it started is killed.
const RUN_MAX: Duration = Duration::from_secs(60);
/// How long its output may stay open after it has ended.
const AFTERMATH_MAX: Duration = Duration::from_secs(1);
/// How long a command that failed is not run again: one that hangs would cost each request its
/// whole time.
const FAILED_REST: Duration = Duration::from_secs(2);
/// Most that it may write to its standard output.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// What is kept of the end of its standard error.
const WORDS_BYTES_MAX: usize = 4 << 10;
/// Longest last word of a command that is shown.
const WORDS_CHARS_MAX: usize = 200;
/// Most plugins whose credentials are kept.
const PLUGINS_MAX: usize = 16;
/// Shorter pieces of the output are no secrets.
const SECRET_CHARS_MIN: usize = 8;

/// Variable by which the command is told what is wanted.
const INFO_VARIABLE: &str = "KUBERNETES_EXEC_INFO";

/// A plugin, for one cluster, and what it gave out.
#[derive(Debug)]
struct Kept {
    plugin: Arc<ExecPlugin>,
    cluster: Arc<Cluster>,
    /// Locked while the command runs: one call at a time.
    given: tokio::sync::Mutex<Option<Given>>,
    /// When it failed last, and why: whoever waited for the same call gets the same answer.
    failed: Mutex<Option<(Instant, String)>>,
}

/// What a command gave out.
#[derive(Clone, Debug)]
struct Given {
    identity: Identity,
    ends: Option<Timestamp>,
}

static KEPT: LazyLock<Mutex<VecDeque<Arc<Kept>>>> = LazyLock::new(Mutex::default);

/// The entry of this plugin, made if need be; the one not used for longest makes room.
fn kept(plugin: &Arc<ExecPlugin>, cluster: &Arc<Cluster>) -> Arc<Kept> {
    let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let is_it = |kept: &Arc<Kept>| kept.plugin == *plugin && kept.cluster == *cluster;
    let found = all.iter().position(is_it).and_then(|at| all.remove(at));
    let kept = found.unwrap_or_else(|| {
        Arc::new(Kept {
            plugin: Arc::clone(plugin),
            cluster: Arc::clone(cluster),
            given: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        })
    });
    all.truncate(PLUGINS_MAX - 1);
    all.push_front(Arc::clone(&kept));
    kept
}

impl Access {
    /// The same with a certificate or a token in place of a command that gives out one. The command
    /// runs if it has not yet, or if what it gave out has ended by `now`.
    ///
    /// # Errors
    /// Why it gave out nothing: never the credential.
    pub async fn resolved(&self, now: Timestamp) -> Result<Cow<'_, Self>, String> {
        let Identity::Exec(plugin) = &self.identity else {
            return Ok(Cow::Borrowed(self));
        };
        let kept = kept(plugin, &self.cluster);
        let mut given = kept.given.lock().await;
        let is_good = |given: &Given| given.ends.is_none_or(|ends| now < ends);
        let identity = match given.as_ref().filter(|given| is_good(given)) {
            Some(given) => given.identity.clone(),
            None => kept.call(&mut given).await?,
        };
        Ok(Cow::Owned(self.with_identity(identity)))
    }

    /// After the server refused `used`, which [`resolved`](Self::resolved) gave: another, if there
    /// is one.
    ///
    /// # Errors
    /// As `resolved`.
    pub async fn renewed(&self, used: &Self) -> Result<Option<Self>, String> {
        let Identity::Exec(plugin) = &self.identity else {
            return Ok(None);
        };
        let kept = kept(plugin, &self.cluster);
        let mut given = kept.given.lock().await;
        let identity = match given.as_ref() {
            // Somebody else has had it renewed meanwhile.
            Some(given) if given.identity != used.identity => given.identity.clone(),
            _ => kept.call(&mut given).await?,
        };
        Ok((identity != used.identity).then(|| self.with_identity(identity)))
    }
}

/// As [`Access::resolved`], for a request.
pub(super) async fn resolve(access: &Access, now: Timestamp) -> Result<Cow<'_, Access>, Failure> {
    access.resolved(now).await.map_err(Failure::unreachable)
}

/// With what to make a request once more that ended with `failure` when made as `used`.
pub(super) async fn again(
    access: &Access,
    used: &Access,
    failure: Option<&Failure>,
) -> Option<Access> {
    failure.filter(|failure| failure.class == FailureClass::Unauthorized)?;
    access.renewed(used).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the server refuses the credential, and there is no new one");
        None
    })
}

impl Kept {
    async fn call(&self, given: &mut Option<Given>) -> Result<Identity, String> {
        let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, what)) = &*failed()
            && at.elapsed() < FAILED_REST
        {
            return Err(what.clone());
        }
        let called = self.call_now(given).await;
        *failed() = match &called {
            Ok(_) => None,
            Err(what) => Some((Instant::now(), what.clone())),
        };
        called
    }

    async fn call_now(&self, given: &mut Option<Given>) -> Result<Identity, String> {
        *given = None;
        let plugin = &*self.plugin;
        let name = plugin.command.display();
        let called = tokio::time::timeout(RUN_MAX, run(plugin, &self.info())).await;
        let output = called.unwrap_or_else(|_| {
            let seconds = RUN_MAX.as_secs();
            Err(format!("it did not end within {seconds} s, and was killed"))
        });
        let fresh = output.and_then(|output| read(&output, plugin));
        let fresh = fresh.map_err(|what| format!("credential plugin {name} (exec): {what}"))?;
        *given = Some(fresh.clone());
        Ok(fresh.identity)
    }

    /// What the command is told.
    fn info(&self) -> String {
        let plugin = &*self.plugin;
        let mut spec = json!({"interactive": false});
        if let Some(config) = &plugin.cluster_config {
            spec["cluster"] = cluster_info(&self.cluster, config);
        }
        json!({
            "kind": "ExecCredential",
            "apiVersion": plugin.version.as_str(),
            "spec": spec,
        })
        .to_string()
    }
}

fn cluster_info(cluster: &Cluster, config: &Value) -> Value {
    let mut info = json!({"server": cluster.server.to_string(), "config": config});
    match &cluster.trust {
        Trust::Bundle(source) => {
            // Whoever cannot read it cannot connect either, and says why then.
            let pem = source.read().ok();
            info["certificate-authority-data"] =
                pem.map(|pem| BASE64_STANDARD.encode(pem.expose())).into();
        }
        Trust::System => {}
        Trust::DangerouslyAnybody => info["insecure-skip-tls-verify"] = true.into(),
    }
    if let Some(name) = &cluster.tls_server_name {
        info["tls-server-name"] = name.as_str().into();
    }
    if let Some(proxy) = cluster.proxy.as_ref().map(ProxyUrl::to_string) {
        info["proxy-url"] = proxy.into();
    }
    info
}

/// Everything that a command started: killed when it does not end by itself, or nobody waits for it
/// any more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended this moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs the command and returns what it wrote.
async fn run(plugin: &ExecPlugin, info: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let program = find(&plugin.command).ok_or_else(|| hinted(plugin, "it is not in PATH"))?;
    let mut command = Command::new(program);
    command
        .args(plugin.args.iter().map(Secret::expose))
        .envs(
            plugin
                .env
                .iter()
                .map(|(name, value)| (name, value.expose())),
        )
        .env(INFO_VARIABLE, info)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|error| not_started(plugin, &error))?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    // Its id is that of its group, and stays so until it has been waited for.
    let mut group = Group(id.and_then(Pid::from_raw));
    let (pipe, words_pipe) = (child.stdout.take(), child.stderr.take());
    let (mut output, mut words) = (Zeroizing::default(), Zeroizing::default());
    let status = {
        let reading = async {
            tokio::try_join!(
                read_output(pipe, &mut output),
                read_words(words_pipe, &mut words)
            )
        };
        let mut reading = std::pin::pin!(reading);
        let status = tokio::select! {
            read = &mut reading => {
                read?;
                child.wait().await
            }
            status = child.wait() => {
                // What it has started may hold its output open; what it wrote itself is there
                // already.
                if let Ok(read) = tokio::time::timeout(AFTERMATH_MAX, reading).await {
                    read?;
                }
                status
            }
        };
        status.map_err(|error| format!("it cannot be waited for: {error}"))?
    };
    group.0 = None;
    if status.success() {
        return Ok(output);
    }
    let how = ended(status);
    Err(match last_words(&words, &output) {
        Some(words) => format!("{how}: {words}"),
        None => how,
    })
}

fn not_started(plugin: &ExecPlugin, error: &std::io::Error) -> String {
    let why = match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => {
            "it is no file that may be executed; see its path and mode".to_owned()
        }
        _ => error.to_string(),
    };
    hinted(plugin, &format!("it cannot be started: {why}"))
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it, which somebody else sent"),
        (None, None) => "it was ended".to_owned(),
    }
}

/// Where the command is: by itself if it is a path, else in the absolute directories of `PATH`, as
/// Go looks.
fn find(command: &Path) -> Option<PathBuf> {
    if command.is_absolute() {
        return Some(command.to_owned());
    }
    find_in(command, &std::env::var_os("PATH")?)
}

fn find_in(command: &Path, path: &OsStr) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(command))
        .find(|path| {
            path.metadata()
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

fn hinted(plugin: &ExecPlugin, what: &str) -> String {
    match &plugin.install_hint {
        Some(hint) => format!("{what}; {}", in_one_line(hint.trim())),
        None => what.to_owned(),
    }
}

fn in_one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

async fn read_output(
    output: Option<impl AsyncRead + Unpin>,
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    bytes.reserve(64 << 10);
    if let Some(output) = output {
        let mut output = output.take(OUTPUT_BYTES_MAX as u64 + 1);
        let read = output.read_to_end(bytes).await;
        read.map_err(|error| format!("its output cannot be read: {error}"))?;
    }
    if bytes.len() > OUTPUT_BYTES_MAX {
        return Err("it wrote more than 1 MiB, and was killed".to_owned());
    }
    Ok(())
}

/// The end of what it had to say.
async fn read_words(
    words: Option<impl AsyncRead + Unpin>,
    end: &mut Vec<u8>,
) -> Result<(), String> {
    let Some(mut words) = words else {
        return Ok(());
    };
    let mut piece = [0; 1024];
    // A pipe that breaks has nothing more to say.
    while let Ok(count @ 1..) = words.read(&mut piece).await {
        end.extend_from_slice(&piece[..count]);
        let surplus = end.len().saturating_sub(WORDS_BYTES_MAX);
        end.drain(..surplus);
    }
    Ok(())
}

/// The last line of standard error, unless it repeats what went to standard output.
fn last_words(words: &[u8], output: &[u8]) -> Option<String> {
    let words = String::from_utf8_lossy(words);
    let line = words.lines().rev().find(|line| !line.trim().is_empty())?;
    let output = Zeroizing::new(String::from_utf8_lossy(output).into_owned());
    let mut pieces = output.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\\'));
    if pieces.any(|piece| piece.len() >= SECRET_CHARS_MIN && line.contains(piece)) {
        return Some("(its last words repeat its output, and are not shown)".to_owned());
    }
    Some(
        in_one_line(line.trim())
            .chars()
            .take(WORDS_CHARS_MAX)
            .collect(),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Status {
    token: Option<Secret>,
    client_certificate_data: Option<String>,
    client_key_data: Option<Secret>,
    expiration_timestamp: Option<String>,
}

/// Reads what the command wrote. A certificate goes before a token, as in a kubeconfig.
fn read(output: &[u8], plugin: &ExecPlugin) -> Result<Given, String> {
    if output.trim_ascii().is_empty() {
        return Err(
            "it wrote nothing; an ExecCredential is wanted on its standard output".to_owned(),
        );
    }
    // The words of a parse error quote what was parsed.
    let credential: ExecCredential = serde_json::from_slice(output)
        .map_err(|error| format!("what it wrote is no ExecCredential (line {})", error.line()))?;
    let wanted = plugin.version.as_str();
    if credential.kind != "ExecCredential" {
        return Err("what it wrote is no ExecCredential (kind)".to_owned());
    }
    if credential.api_version != wanted {
        return Err(format!(
            "it answered in another apiVersion than {wanted}, which the kubeconfig wants"
        ));
    }
    let status = credential.status.ok_or("its answer has no status")?;
    let given = |text: &Secret| !text.expose().is_empty();
    let certificate = status
        .client_certificate_data
        .filter(|text| !text.is_empty());
    let identity = match (certificate, status.client_key_data.filter(given)) {
        (Some(certificate), Some(key)) => Identity::Certificate(presentable(&certificate, &key)?),
        (None, None) => {
            let token = status.token.filter(given);
            let token = token.ok_or("it gave out neither a token nor a certificate")?;
            token
                .fits_a_header()
                .map_err(|what| format!("the token that it gave out {what}"))?;
            Identity::Token(token)
        }
        (Some(_), None) => return Err("it gave out a certificate without a key".to_owned()),
        (None, Some(_)) => return Err("it gave out a key without a certificate".to_owned()),
    };
    let ends = status.expiration_timestamp.as_deref().map(str::parse);
    let ends = ends.transpose();
    let ends = ends.map_err(|_| "its expirationTimestamp is no date (RFC 3339)".to_owned())?;
    Ok(Given { identity, ends })
}

fn presentable(certificate: &str, key: &Secret) -> Result<Presentable, String> {
    let chain = Chain::from_pem(certificate.as_bytes())
        .map_err(|error| format!("clientCertificateData: {error}"))?;
    let key =
        PrivateKey::from_pem(key.expose()).map_err(|error| format!("clientKeyData: {error}"))?;
    let credential = Credential::new(chain, key)
        .map_err(|error| format!("clientCertificateData and clientKeyData: {error}"))?;
    Presentable::new(&credential)
}

#[cfg(test)]
mod tests;
