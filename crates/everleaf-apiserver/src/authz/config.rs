//! Who is asked, and in which order, as `AuthorizationConfiguration` says it
//! (`apiserver.config.k8s.io/v1`).

use super::webhook::{CONDITIONS_MAX, Condition, FailurePolicy, ReviewVersion};
use crate::registry::names;
use everleaf_api::duration::parse_go;
use everleaf_api::fields::quote;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::PathBuf;
use std::time::Duration;

const TYPE: &str = "AuthorizationConfiguration";
const VERSIONS: [&str; 2] = [
    "apiserver.config.k8s.io/v1",
    "apiserver.config.k8s.io/v1beta1",
];
/// Longest time that a webhook may be given for its answer.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// One of the chain.
#[derive(Debug, Clone)]
pub enum StepConfig {
    /// Rules for nodes.
    Node,
    /// Roles and bindings.
    Rbac,
    /// Another server.
    Webhook(WebhookSource),
}

/// Another server, and where it is said how to reach it.
#[derive(Debug, Clone)]
pub struct WebhookSource {
    /// What refusals call it.
    pub name: String,
    /// A kubeconfig.
    pub kubeconfig: PathBuf,
    /// In which version it is asked.
    pub version: ReviewVersion,
    /// How long a yes counts.
    pub authorized_ttl: Duration,
    /// How long anything else counts.
    pub unauthorized_ttl: Duration,
    /// How long one try may take.
    pub timeout: Duration,
    /// What counts when it cannot be asked.
    pub failure_policy: FailurePolicy,
    /// It is asked only when these hold.
    pub conditions: Vec<Condition>,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizationConfigError {
    /// It is no YAML or JSON, or has members that it should not have.
    #[error("it is not an {TYPE}: {0}")]
    Unreadable(String),
    /// It is of another type.
    #[error(
        "it says apiVersion {api_version:?}, kind {kind:?}; write apiVersion: apiserver.config.k8s.io/v1, kind: {TYPE}"
    )]
    OtherType {
        /// What it says.
        api_version: String,
        /// What it says.
        kind: String,
    },
    /// Without Node a node could act for others, without RBAC nobody else could do anything.
    #[error("authorizers: one of type Node and one of type RBAC are needed, each once")]
    Incomplete,
    /// A member has a value that it cannot have.
    #[error("{path}: {what}")]
    Invalid {
        /// Which, as `authorizers[0].type`.
        path: String,
        /// What is wrong.
        what: String,
    },
}

fn invalid<T>(
    path: impl Into<String>,
    what: impl Into<String>,
) -> Result<T, AuthorizationConfigError> {
    Err(AuthorizationConfigError::Invalid {
        path: path.into(),
        what: what.into(),
    })
}

/// Reads the text of a configuration.
///
/// # Errors
/// See [`AuthorizationConfigError`].
pub fn parse(text: &str) -> Result<Vec<StepConfig>, AuthorizationConfigError> {
    let options = serde_saphyr::options! { with_snippet: false };
    let file: File = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        AuthorizationConfigError::Unreadable(error.to_string().replace('\n', " "))
    })?;
    if !VERSIONS.contains(&file.api_version.as_str()) || file.kind != TYPE {
        return Err(AuthorizationConfigError::OtherType {
            api_version: file.api_version,
            kind: file.kind,
        });
    }
    let mut known: Vec<String> = Vec::new();
    let mut steps = Vec::new();
    for (at, authorizer) in file.authorizers.into_iter().enumerate() {
        let path = format!("authorizers[{at}]");
        if names::subdomain(&authorizer.name).is_err() {
            let what = format!("{:?} is not like a name or a.host.name", authorizer.name);
            return invalid(format!("{path}.name"), what);
        }
        if known.contains(&authorizer.name) {
            return invalid(format!("{path}.name"), "it stands here twice");
        }
        known.push(authorizer.name.clone());
        let step = match (authorizer.r#type.as_str(), authorizer.webhook) {
            ("Node", None) => StepConfig::Node,
            ("RBAC", None) => StepConfig::Rbac,
            ("Webhook", Some(webhook)) => {
                let path = format!("{path}.webhook");
                StepConfig::Webhook(WebhookSource::new(authorizer.name, webhook, &path)?)
            }
            ("Webhook", None) => return invalid(format!("{path}.webhook"), "it is missing"),
            ("Node" | "RBAC", Some(_)) => {
                return invalid(format!("{path}.webhook"), "only with type Webhook");
            }
            (other, _) => {
                let what = format!("{} is none of Node, RBAC, Webhook", quote(other));
                return invalid(format!("{path}.type"), what);
            }
        };
        steps.push(step);
    }
    let count = |is: fn(&StepConfig) -> bool| steps.iter().filter(|step| is(step)).count();
    let nodes = count(|step| matches!(step, StepConfig::Node));
    let rbac = count(|step| matches!(step, StepConfig::Rbac));
    if (nodes, rbac) != (1, 1) {
        return Err(AuthorizationConfigError::Incomplete);
    }
    Ok(steps)
}

impl WebhookSource {
    fn new(
        name: String,
        webhook: FileWebhook,
        path: &str,
    ) -> Result<Self, AuthorizationConfigError> {
        let span = |text: &Option<String>, member: &str, default: Duration| match text.as_deref() {
            None | Some("") => Ok(default),
            Some(text) => parse_go(text).or_else(|what| invalid(format!("{path}.{member}"), what)),
        };
        let ttl = |text: &Option<String>, is_kept: Option<bool>, member: &str, seconds: u64| {
            match is_kept {
                Some(false) => Ok(Duration::ZERO),
                _ => span(text, member, Duration::from_secs(seconds)),
            }
        };
        let timeout = span(&webhook.timeout, "timeout", Duration::ZERO)?;
        if timeout.is_zero() || timeout > TIMEOUT_MAX {
            let what = format!("give one, {} s at most", TIMEOUT_MAX.as_secs());
            return invalid(format!("{path}.timeout"), what);
        }
        let failure_policy = match webhook.failure_policy.as_str() {
            "NoOpinion" => FailurePolicy::NoOpinion,
            "Deny" => FailurePolicy::Deny,
            other => {
                let what = format!("{} is none of NoOpinion, Deny", quote(other));
                return invalid(format!("{path}.failurePolicy"), what);
            }
        };
        let Some(version) = ReviewVersion::named(&webhook.subject_access_review_version) else {
            let what = "write v1 or v1beta1";
            return invalid(format!("{path}.subjectAccessReviewVersion"), what);
        };
        let connection = webhook.connection_info;
        let kubeconfig = connection.kube_config_file.filter(|file| !file.is_empty());
        let Some(kubeconfig) = kubeconfig.filter(|_| connection.r#type == "KubeConfigFile") else {
            let what = "write type: KubeConfigFile, and the file in kubeConfigFile";
            return invalid(format!("{path}.connectionInfo"), what);
        };
        Ok(Self {
            name,
            kubeconfig: kubeconfig.into(),
            version,
            authorized_ttl: ttl(
                &webhook.authorized_ttl,
                webhook.cache_authorized_requests,
                "authorizedTTL",
                300,
            )?,
            unauthorized_ttl: ttl(
                &webhook.unauthorized_ttl,
                webhook.cache_unauthorized_requests,
                "unauthorizedTTL",
                30,
            )?,
            timeout,
            failure_policy,
            conditions: conditions(
                webhook.match_conditions,
                webhook
                    .match_condition_subject_access_review_version
                    .as_deref(),
                path,
            )?,
        })
    }
}

fn conditions(
    file: Option<Vec<FileCondition>>,
    version: Option<&str>,
    path: &str,
) -> Result<Vec<Condition>, AuthorizationConfigError> {
    let file = file.unwrap_or_default();
    if !file.is_empty() && version != Some("v1") {
        let path = format!("{path}.matchConditionSubjectAccessReviewVersion");
        return invalid(path, "write v1");
    }
    let path = format!("{path}.matchConditions");
    if file.len() > CONDITIONS_MAX {
        return invalid(path, format!("more than {CONDITIONS_MAX}"));
    }
    let conditions = file.iter().enumerate().map(|(at, condition)| {
        let compiled = Condition::compile(&condition.expression);
        compiled.or_else(|what| invalid(format!("{path}[{at}].expression"), what))
    });
    conditions.collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Option<IgnoredAny>,
    #[serde(default)]
    authorizers: Vec<FileAuthorizer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileAuthorizer {
    r#type: String,
    #[serde(default)]
    name: String,
    webhook: Option<FileWebhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileWebhook {
    #[serde(rename = "authorizedTTL")]
    authorized_ttl: Option<String>,
    #[serde(rename = "unauthorizedTTL")]
    unauthorized_ttl: Option<String>,
    cache_authorized_requests: Option<bool>,
    cache_unauthorized_requests: Option<bool>,
    timeout: Option<String>,
    #[serde(default)]
    subject_access_review_version: String,
    match_condition_subject_access_review_version: Option<String>,
    #[serde(default)]
    failure_policy: String,
    connection_info: FileConnection,
    match_conditions: Option<Vec<FileCondition>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileConnection {
    r#type: String,
    kube_config_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCondition {
    expression: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- {type: Node, name: node}
- {type: RBAC, name: rbac}
- type: Webhook
  name: w
  webhook:
    timeout: 3s
    authorizedTTL: 1m0s
    cacheUnauthorizedRequests: false
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: /a}
    matchConditions:
    - expression: has(request.resourceAttributes)
";

    #[test]
    fn a_chain_is_read() {
        let steps = parse(GOOD).unwrap();
        let [
            StepConfig::Node,
            StepConfig::Rbac,
            StepConfig::Webhook(webhook),
        ] = &steps[..]
        else {
            panic!("{steps:?}");
        };
        assert_eq!(webhook.authorized_ttl.as_secs(), 60);
        assert_eq!(webhook.unauthorized_ttl.as_secs(), 0);
        assert_eq!(
            (webhook.timeout.as_secs(), webhook.conditions.len()),
            (3, 1)
        );
        assert_eq!(webhook.failure_policy, FailurePolicy::Deny);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_where() {
        for (from, to, expected) in [
            ("apiserver.config.k8s.io/v1", "v1", "apiVersion"),
            ("- {type: Node, name: node}\n", "", "Node"),
            (
                "type: RBAC, name: rbac",
                "type: Node, name: rbac",
                "each once",
            ),
            ("type: RBAC", "type: AlwaysAllow", "authorizers[1].type"),
            ("name: rbac", "name: node", "twice"),
            ("name: w", "name: W", "authorizers[2].name"),
            ("timeout: 3s", "timeout: 31s", "timeout"),
            ("    timeout: 3s\n", "", "timeout"),
            ("1m0s", "soon", "authorizedTTL"),
            ("Deny", "Allow", "failurePolicy"),
            (
                "AccessReviewVersion: v1\n    match",
                "AccessReviewVersion: v2\n    match",
                "subjectAccess",
            ),
            (
                "KubeConfigFile, kube",
                "InClusterConfig, kube",
                "connectionInfo",
            ),
            ("has(request.", "has(req.", "matchConditions[0]"),
            ("timeout:", "timeouts:", "timeouts"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{from}: {error}");
        }
    }
}
