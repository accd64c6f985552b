//! Who is asked what a request may do, as the flags say, and how another server is asked.

use crate::args::authorization::AuthorizationArgs;
use crate::failure::UsageError;
use crate::in_use::{Look, TextFile};
use anyhow::{Context, Result};
use bytes::Bytes;
use everleaf_agent::SystemClock;
use everleaf_agent::client::Transport;
use everleaf_agent::client::access::Access;
use everleaf_agent::kubeconfig::{Cluster, Kubeconfig, ServerUrl};
use everleaf_apiserver::authz::config::{self, StepConfig, WebhookSource};
use everleaf_apiserver::authz::webhook::{
    Ask, FailurePolicy, ReviewVersion, Unanswered, WebhookConfig,
};
use everleaf_apiserver::authz::{Authorizer, OpenPaths, Step};
use everleaf_apiserver::handler::{ConfigFile, Server};
use everleaf_time::WallClock;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The flag of the file.
const FILE_FLAG: &str = "--authorization-config";
/// How often it is looked at, as kube-apiserver does.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Longest answer of a webhook.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long a try may take that the flags are about, as upstream.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The chain that the flags describe, and the file that it is in.
///
/// # Errors
/// They describe none, or a file that they name cannot be used.
pub(crate) fn chain(args: &AuthorizationArgs) -> Result<(Authorizer, Option<TextFile>)> {
    let path = args.authorization_config.as_deref();
    let file = path
        .map(|path| TextFile::read(FILE_FLAG, path))
        .transpose()?;
    let steps = match &file {
        Some(file) => parse(file.text(), &file.named())?,
        None => by_flags(args)?,
    };
    let paths = args.authorization_always_allow_paths.iter();
    let paths = paths.map(String::as_str).filter(|path| !path.is_empty());
    let open_paths = OpenPaths::new(paths)
        .map_err(|what| UsageError(format!("--authorization-always-allow-paths: {what}")))?;
    let authorizer = Authorizer::with_open_paths(ready(steps)?, open_paths);
    Ok((authorizer, file))
}

/// Reads the file of authorizers again when it changes, for ever. What cannot be used leaves those
/// in force that were.
pub(crate) async fn follow(file: Option<TextFile>, server: Arc<Server>, wall: WallClock) {
    let Some(file) = file else { return };
    let named = file.named();
    let take = |text: &str| {
        let steps = ready(parse(text, &named)?)?;
        server.authorizer().set_steps(steps);
        Ok(())
    };
    let told = |look| server.reloaded(ConfigFile::Authorization, look == Look::Taken, wall());
    let what = "authorization configuration";
    file.follow(what, LOOK_INTERVAL, take, told).await;
}

/// Each with the way to it.
fn ready(steps: Vec<StepConfig>) -> Result<Vec<Step>> {
    let steps = steps.into_iter().map(|step| match step {
        StepConfig::Node => Ok(Step::Node),
        StepConfig::Rbac => Ok(Step::Rbac),
        StepConfig::Webhook(source) => webhook(source).map(Step::Webhook),
    });
    steps.collect()
}

fn parse(text: &str, named: &str) -> Result<Vec<StepConfig>> {
    config::parse(text).with_context(|| named.to_owned())
}

fn by_flags(args: &AuthorizationArgs) -> Result<Vec<StepConfig>, UsageError> {
    let modes: Vec<&str> = args
        .authorization_mode
        .iter()
        .map(|mode| mode.trim())
        .collect();
    let given: BTreeSet<&str> = modes.iter().copied().collect();
    let others: Vec<&&str> = given
        .iter()
        .filter(|mode| !matches!(**mode, "Node" | "RBAC" | "Webhook"))
        .collect();
    if !others.is_empty()
        || given.len() < modes.len()
        || !given.contains("Node")
        || !given.contains("RBAC")
    {
        return Err(UsageError(format!(
            "--authorization-mode {}: Node and RBAC are needed, each once, and Webhook may stand before, between or after them: \
             without Node a node could act for others, without RBAC nobody else could do anything",
            modes.join(",")
        )));
    }
    match (
        given.contains("Webhook"),
        &args.authorization_webhook_config_file,
    ) {
        (true, None) => {
            return Err(UsageError(
                "--authorization-mode has Webhook: name it by --authorization-webhook-config-file"
                    .to_owned(),
            ));
        }
        (false, Some(_)) => {
            return Err(UsageError(
                "--authorization-webhook-config-file: put Webhook into --authorization-mode as well".to_owned(),
            ));
        }
        _ => {}
    }
    let file = args
        .authorization_webhook_config_file
        .clone()
        .unwrap_or_default();
    let version = &args.authorization_webhook_version;
    let version = ReviewVersion::named(version).ok_or_else(|| {
        UsageError(format!(
            "--authorization-webhook-version {version}: write v1 or v1beta1"
        ))
    })?;
    let steps = modes.into_iter().map(|mode| match mode {
        "Node" => StepConfig::Node,
        "RBAC" => StepConfig::Rbac,
        _ => StepConfig::Webhook(WebhookSource {
            name: "default".to_owned(),
            kubeconfig: file.clone(),
            version,
            authorized_ttl: args.authorization_webhook_cache_authorized_ttl,
            unauthorized_ttl: args.authorization_webhook_cache_unauthorized_ttl,
            timeout: TIMEOUT,
            failure_policy: FailurePolicy::NoOpinion,
            conditions: Vec::new(),
        }),
    });
    Ok(steps.collect())
}

fn webhook(source: WebhookSource) -> Result<WebhookConfig> {
    let path = source.kubeconfig;
    let kubeconfig = Kubeconfig::read_context(&path, None).with_context(|| {
        format!(
            "the kubeconfig of the authorization webhook {:?}",
            source.name
        )
    })?;
    // What it names is tried now, and read again for each question: it may be replaced.
    Access::from_kubeconfig(&kubeconfig, &path).map_err(anyhow::Error::msg)?;
    Ok(WebhookConfig {
        name: source.name,
        version: source.version,
        authorized_ttl: source.authorized_ttl,
        unauthorized_ttl: source.unauthorized_ttl,
        timeout: source.timeout,
        failure_policy: source.failure_policy,
        conditions: source.conditions,
        ask: ask(kubeconfig, path),
    })
}

fn ask(kubeconfig: Kubeconfig, origin: PathBuf) -> Ask {
    let transport = Transport::new(Arc::new(SystemClock::new()));
    let shared = Arc::new((kubeconfig, origin, transport));
    Arc::new(move |review| {
        let shared = Arc::clone(&shared);
        Box::pin(async move {
            let (kubeconfig, origin, transport) = &*shared;
            send(kubeconfig, origin, transport, &review).await
        })
    })
}

async fn send(
    kubeconfig: &Kubeconfig,
    origin: &Path,
    transport: &Transport,
    review: &Value,
) -> Result<Value, Unanswered> {
    let passing = |what: String| Unanswered {
        what,
        is_passing: true,
    };
    let lasting = |what: String| Unanswered {
        what,
        is_passing: false,
    };
    let access = Access::from_kubeconfig(kubeconfig, origin).map_err(lasting)?;
    let access = access.resolved(transport.now()).await;
    let mut access = access.map_err(passing)?.into_owned();
    // The URL of a webhook is asked as it is, while those of API servers have paths below them.
    let server = &kubeconfig.cluster.server;
    let path = match server.prefix() {
        "" => "/".to_owned(),
        prefix => prefix.to_owned(),
    };
    let scheme = if server.is_plain() { "http" } else { "https" };
    let bare = ServerUrl::parse(&format!("{scheme}://{}", server.authority())).map_err(lasting)?;
    access.cluster = Arc::new(Cluster {
        server: bare,
        ..Cluster::clone(&access.cluster)
    });
    let request = Request::post(path)
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("everleaf/", env!("CARGO_PKG_VERSION")))
        .body(Full::from(Bytes::from(review.to_string())))
        .map_err(|error| lasting(error.to_string()))?;
    let response = transport.send(&access, request).await;
    let response = response.map_err(|failure| passing(failure.message))?;
    let code = response.status();
    if !code.is_success() {
        let is_passing = code.is_server_error() || code == StatusCode::TOO_MANY_REQUESTS;
        return Err(Unanswered {
            what: format!("{server} answered {code}"),
            is_passing,
        });
    }
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
    let body = body
        .await
        .map_err(|error| passing(format!("its answer broke off: {error}")))?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|_| lasting(format!("{server}: its answer is not JSON")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: AuthorizationArgs,
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_is_read_again_and_a_bad_one_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("authorization.yaml");
        let write = |authorizers: &str| {
            let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n";
            std::fs::write(&file, format!("{head}authorizers: [{authorizers}]\n")).unwrap();
        };
        let (node, rbac) = ("{type: Node, name: node}", "{type: RBAC, name: rbac}");
        write(&format!("{node}, {rbac}"));
        let line = ["x", "--authorization-config", file.to_str().unwrap()];
        let (authorizer, read) = chain(&Line::parse_from(line).args).unwrap();
        // It changes before anybody follows it.
        write(&format!("{rbac}, {node}"));
        let judges = (Default::default(), authorizer);
        let store = home.path().join("store");
        std::fs::create_dir(&store).unwrap();
        let offer = crate::server::Offer::default();
        let server = crate::server::open(
            crate::server::Storage::of(None, (store, 0), None).unwrap(),
            judges,
            String::new(),
            None,
            offer,
        )
        .unwrap();
        let wall: WallClock = Arc::new(|| "2030-01-01T00:00:00Z".parse().unwrap());
        let follower = tokio::spawn(follow(read, Arc::clone(&server), wall));
        let in_force = async || {
            tokio::time::sleep(LOOK_INTERVAL * 2).await;
            format!("{:?}", server.authorizer())
        };
        assert_eq!(in_force().await, "Authorizer(RBAC,Node)");
        write(&format!("{node}, {rbac}"));
        assert_eq!(in_force().await, "Authorizer(Node,RBAC)");
        write(&format!("{rbac}, {node}"));
        assert_eq!(in_force().await, "Authorizer(RBAC,Node)");
        for bad in [node, "nonsense", "{type: Webhook, name: w}"] {
            write(bad);
            assert_eq!(in_force().await, "Authorizer(RBAC,Node)", "{bad}");
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(in_force().await, "Authorizer(RBAC,Node)");
        write(&format!("{node}, {rbac}"));
        assert_eq!(in_force().await, "Authorizer(Node,RBAC)");
        follower.abort();
    }

    #[test]
    fn paths_that_need_no_authorization_are_read_at_the_start() {
        for (line, good) in [
            ("", true),
            ("--authorization-always-allow-paths=", true),
            ("--authorization-always-allow-paths=/livez,/debug/*", true),
            ("--authorization-always-allow-paths=/a*b", false),
        ] {
            let words = std::iter::once("x").chain(line.split_whitespace());
            let args = Line::parse_from(words).args;
            assert_eq!(chain(&args).is_ok(), good, "{line}");
        }
    }

    #[test]
    fn only_chains_with_node_and_rbac_are_taken() {
        for (line, good) in [
            ("", true),
            ("--authorization-mode=RBAC,Node", true),
            ("--authorization-mode=RBAC", false),
            ("--authorization-mode=Node", false),
            ("--authorization-mode=Node,RBAC,RBAC", false),
            ("--authorization-mode=AlwaysAllow", false),
            ("--authorization-mode=Node,RBAC,ABAC", false),
            ("--authorization-mode=Node,RBAC,Webhook", false),
            ("--authorization-webhook-config-file=/a", false),
            (
                "--authorization-mode=Webhook,Node,RBAC --authorization-webhook-config-file=/a",
                true,
            ),
            (
                "--authorization-mode=Webhook,Node,RBAC --authorization-webhook-config-file=/a --authorization-webhook-version=v2",
                false,
            ),
        ] {
            let words = std::iter::once("x").chain(line.split_whitespace());
            let args = Line::parse_from(words).args;
            assert_eq!(by_flags(&args).is_ok(), good, "{line}");
        }
    }
}
