//! One event as a line of text: `audit.k8s.io/v1` Event in JSON, or upstream's older form.

use super::{Level, Stage};
use crate::user::User;
use everleaf_api::fields::quote;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Longest event, in bytes. A longer one is told without its objects.
pub(crate) const EVENT_BYTES_MAX: usize = 16 << 20;

/// What is known of a request so far.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) level: Level,
    pub(super) id: String,
    pub(super) uri: String,
    pub(super) verb: String,
    /// None: nobody was authenticated.
    pub(super) user: Option<User>,
    pub(super) impersonated: Option<User>,
    /// By which constrained way.
    pub(super) constraint: String,
    pub(super) source_ips: Vec<String>,
    pub(super) agent: String,
    pub(super) object: Option<ObjectReference>,
    /// Members of the Status of the answer.
    pub(super) status: Option<Map<String, Value>>,
    /// Objects, in JSON without line breaks.
    pub(super) request: Option<String>,
    pub(super) response: Option<String>,
    /// They were too long to be kept.
    pub(super) is_cut: bool,
    pub(super) received: Timestamp,
    pub(super) annotations: BTreeMap<&'static str, String>,
}

/// What a request is about.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectReference {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) subresource: String,
}

/// Members of a JSON object, in the order in which they are put.
struct Members(String);

impl Members {
    fn text(&mut self, name: &str, json: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
        self.0.push_str(json);
    }

    fn put(&mut self, name: &str, value: &impl Serialize) {
        if let Ok(json) = serde_json::to_string(value) {
            self.text(name, &json);
        }
    }
}

impl Event {
    /// The line of a stage, which was reached at `at`.
    pub(super) fn to_json(&self, stage: Stage, at: Timestamp) -> String {
        let objects = [&self.request, &self.response];
        let bytes: usize = objects.into_iter().flatten().map(String::len).sum();
        let is_whole = bytes <= EVENT_BYTES_MAX && !self.is_cut;
        let mut line = Members(String::with_capacity(
            1024 + if is_whole { bytes } else { 0 },
        ));
        line.put("kind", &"Event");
        line.put("apiVersion", &"audit.k8s.io/v1");
        line.put("level", &self.level.as_str());
        line.put("auditID", &self.id);
        line.put("stage", &stage.as_str());
        line.put("requestURI", &self.uri);
        line.put("verb", &self.verb);
        line.put("user", &self.user.as_ref().map_or(json!({}), user));
        if let Some(impersonated) = &self.impersonated {
            line.put("impersonatedUser", &user(impersonated));
        }
        if !self.constraint.is_empty() {
            let metadata = json!({"impersonationConstraint": self.constraint});
            line.put("authenticationMetadata", &metadata);
        }
        if !self.source_ips.is_empty() {
            line.put("sourceIPs", &self.source_ips);
        }
        if !self.agent.is_empty() {
            line.put("userAgent", &self.agent);
        }
        if let Some(object) = &self.object {
            line.put("objectRef", object);
        }
        if let Some(status) = &self.status {
            line.put("responseStatus", status);
        }
        if let Some(request) = self.request.as_ref().filter(|_| is_whole) {
            line.text("requestObject", request);
        }
        if let Some(response) = self.response.as_ref().filter(|_| is_whole) {
            line.text("responseObject", response);
        }
        line.put("requestReceivedTimestamp", &micros(self.received));
        line.put("stageTimestamp", &micros(at));
        if is_whole {
            if !self.annotations.is_empty() {
                line.put("annotations", &self.annotations);
            }
        } else {
            let mut annotations = self.annotations.clone();
            annotations.insert("audit.k8s.io/truncated", "true".to_owned());
            line.put("annotations", &annotations);
        }
        let mut line = line.0;
        line.push_str("}\n");
        line
    }

    /// The same in one line of words (`apiserver/pkg/audit/format.go`).
    pub(super) fn to_legacy(&self, stage: Stage) -> String {
        let list = |groups: &[String]| {
            let quoted: Vec<String> = groups.iter().map(|group| quote(group)).collect();
            quoted.join(",")
        };
        let user = self.user.as_ref().filter(|user| !user.name.is_empty());
        let groups = user.filter(|user| !user.groups.is_empty());
        let as_user = self.impersonated.as_ref();
        let namespace = self.object.as_ref().map(|object| &*object.namespace);
        let code = self.status.as_ref().and_then(|status| status.get("code"));
        format!(
            "{} AUDIT: id={} stage={} ip={} method={} user={} groups={} as={} asgroups={} user-agent={} namespace={} uri={} \
             response=\"{}\"\n",
            rfc3339(self.received),
            quote(&self.id),
            quote(stage.as_str()),
            quote(self.source_ips.first().map_or("<unknown>", |ip| ip)),
            quote(&self.verb),
            quote(user.map_or("<none>", |user| &user.name)),
            quote(&groups.map_or("<none>".to_owned(), |user| list(&user.groups))),
            quote(as_user.map_or("<self>", |user| &user.name)),
            quote(&as_user.map_or("<lookup>".to_owned(), |user| list(&user.groups))),
            quote(&self.agent),
            quote(
                namespace
                    .filter(|name| !name.is_empty())
                    .unwrap_or("<none>")
            ),
            quote(&self.uri),
            code.map_or("<deferred>".to_owned(), ToString::to_string),
        )
    }
}

/// `authentication.k8s.io/v1` UserInfo.
fn user(user: &User) -> Value {
    let mut info = Map::new();
    for (member, text) in [("username", &user.name), ("uid", &user.uid)] {
        if !text.is_empty() {
            info.insert(member.to_owned(), text.as_str().into());
        }
    }
    if !user.groups.is_empty() {
        info.insert("groups".to_owned(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        info.insert("extra".to_owned(), json!(user.extra));
    }
    Value::Object(info)
}

/// Go's MicroTime.
fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Go's RFC3339Nano of a time in microseconds: without zeros at its end.
fn rfc3339(at: Timestamp) -> String {
    let text = micros(at);
    let text = text.trim_end_matches('Z').trim_end_matches('0');
    format!("{}Z", text.trim_end_matches('.'))
}
