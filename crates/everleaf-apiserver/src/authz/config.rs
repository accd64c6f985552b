//! Who is asked, and in which order, as `AuthorizationConfiguration` says it
//! (`apiserver.config.k8s.io/v1`).

use super::condition::{CONDITIONS_MAX, Condition};
use super::webhook::{FailurePolicy, ReviewVersion};
use crate::config_file::{self, ConfigFileError, Kind, invalid};
use crate::registry::names;
use everleaf_api::duration::parse_go;
use everleaf_api::fields::quote;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::PathBuf;
use std::time::Duration;

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

/// Reads the text of a configuration.
///
/// # Errors
/// See [`ConfigFileError`].
pub fn parse(text: &str) -> Result<Vec<StepConfig>, ConfigFileError> {
    let file: File = config_file::parse(text)?;
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
        let kind = authorizer.r#type.as_str();
        if matches!(kind, "Node" | "RBAC") && authorizer.name != kind.to_lowercase() {
            let what = format!(
                "expected name {} for authorizer {kind} instead of {}",
                kind.to_lowercase(),
                authorizer.name
            );
            return invalid(format!("{path}.name"), what);
        }
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
        // Without Node a node could act for others, without RBAC nobody else could do anything.
        let what = "one of type Node and one of type RBAC are needed, each once";
        return invalid("authorizers", what);
    }
    Ok(steps)
}

impl WebhookSource {
    fn new(name: String, webhook: FileWebhook, path: &str) -> Result<Self, ConfigFileError> {
        let span = |text: &Option<String>, member: &str, default: Duration| match text.as_deref() {
            None | Some("") => Ok(default),
            Some(text) => parse_go(text).or_else(|what| invalid(format!("{path}.{member}"), what)),
        };
        let ttl = |text: &Option<String>, is_kept: Option<bool>, member: &str, seconds: u64| {
            match is_kept {
                Some(false) => Ok(Duration::ZERO),
                // As upstream: zero is as if it were not given.
                _ => span(text, member, Duration::ZERO).map(|given| match given {
                    Duration::ZERO => Duration::from_secs(seconds),
                    given => given,
                }),
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
        if !kubeconfig.starts_with('/') {
            let path = format!("{path}.connectionInfo.kubeConfigFile");
            return invalid(path, format!("{kubeconfig:?} must be an absolute path"));
        }
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
) -> Result<Vec<Condition>, ConfigFileError> {
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
        let path = format!("{path}[{at}].expression");
        let is_same = |other: &FileCondition| other.expression == condition.expression;
        if file[..at].iter().any(is_same) {
            return invalid(path, "it stands here twice");
        }
        Condition::compile(&condition.expression).or_else(|what| invalid(path, what))
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

impl config_file::File for File {
    const KIND: Kind = Kind {
        name: "AuthorizationConfiguration",
        versions: &[
            "apiserver.config.k8s.io/v1",
            "apiserver.config.k8s.io/v1beta1",
        ],
    };

    fn head(&self) -> (&str, &str) {
        (&self.api_version, &self.kind)
    }
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
    fn a_zero_is_as_if_it_were_not_given() {
        let steps = parse(&GOOD.replace("1m0s", "0s")).unwrap();
        let Some(StepConfig::Webhook(webhook)) = steps.last() else {
            panic!("{steps:?}");
        };
        assert_eq!(webhook.authorized_ttl.as_secs(), 300);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_where() {
        for (from, to, expected) in [
            ("apiserver.config.k8s.io/v1", "v1", "apiVersion"),
            ("- {type: Node, name: node}\n", "", "Node"),
            (
                "type: RBAC, name: rbac",
                "type: Node, name: rbac",
                "expected name node",
            ),
            ("type: RBAC", "type: AlwaysAllow", "authorizers[1].type"),
            ("name: rbac", "name: node", "twice"),
            ("name: w", "name: W", "authorizers[2].name"),
            (
                "name: rbac",
                "name: roles",
                "expected name rbac for authorizer RBAC instead of roles",
            ),
            (
                "kubeConfigFile: /a",
                "kubeConfigFile: a",
                "must be an absolute path",
            ),
            (
                "    - expression: has(request.resourceAttributes)\n",
                "    - expression: has(request.resourceAttributes)\n    - expression: has(request.resourceAttributes)\n",
                "matchConditions[1].expression: it stands here twice",
            ),
            (
                "expression: has(request.resourceAttributes)",
                "expression: request.user",
                "must evaluate to bool",
            ),
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
