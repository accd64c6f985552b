//! Credentials that a command gives out (`exec` of a kubeconfig's user).
//!
//! Owns running the command, reading its answer, and keeping that until it ends or a server refuses
//! it: per process, with one call at a time. It refuses to know who asks for what. Nothing that the
//! command writes to its standard output is ever shown.

use super::access::{Access, Identity, Presentable};
use super::failure::{Failure, FailureClass};
use crate::command::{self, find, in_one_line};
use crate::kubeconfig::{Cluster, ExecPlugin, ProxyUrl, Trust};
use crate::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use everleaf_pki::{Chain, Credential, PrivateKey};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Longest run of a command; then it and everything that it started is killed.
const RUN_MAX: Duration = Duration::from_secs(60);
/// How long a command that failed is not run again: one that hangs would cost each request its
/// whole time.
const FAILED_REST: Duration = Duration::from_secs(2);
/// Most plugins whose credentials are kept.
const PLUGINS_MAX: usize = 16;

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
        .stdin(Stdio::null());
    let not_started = |why: &str| hinted(plugin, &format!("it cannot be started: {why}"));
    command::run(&mut command, not_started).await
}

fn hinted(plugin: &ExecPlugin, what: &str) -> String {
    match &plugin.install_hint {
        Some(hint) => format!("{what}; {}", in_one_line(hint.trim())),
        None => what.to_owned(),
    }
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
