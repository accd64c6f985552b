//! One right, as a role grants it and as the server refuses it.

use serde_json::{Value, json};
use std::fmt;

/// One verb on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Right {
    /// In this namespace only; "": everywhere.
    pub(super) namespace: String,
    pub(super) group: String,
    /// With its subresource.
    pub(super) resource: String,
    /// Of this name only; "": any.
    pub(super) name: String,
    pub(super) verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.name.is_empty() {
            write!(f, " {:?}", self.name)?;
        }
        if !self.namespace.is_empty() {
            write!(f, " in {}", self.namespace)?;
        }
        Ok(())
    }
}

impl Right {
    pub(super) fn is(&self, verb: &str, resource: &str) -> bool {
        self.verb == verb && self.resource == resource
    }

    /// Its lack shows in a process that runs, not only in one that starts.
    pub(super) fn shows_while_running(&self) -> bool {
        let starts = matches!(&*self.verb, "list" | "watch")
            || self.resource == "leases"
            || self.is("get", "certificatesigningrequests")
            || self.is("get", "configmaps")
            || self.is("delete", "certificatesigningrequests")
            || (self.resource == "events" && self.namespace == "kube-system");
        !starts
    }

    /// How the server refuses it.
    pub(super) fn refusal(&self) -> String {
        if self.resource == "signers" {
            let (verb, name) = (&self.verb, &self.name);
            if verb == "attest" {
                return format!("not permitted to attest for signerName \\\"{name}\\\"");
            }
            return format!("not permitted to {verb} requests with signerName \\\"{name}\\\"");
        }
        format!("cannot {} resource \\\"{}\\\"", self.verb, self.resource)
    }

    /// A rule that grants it alone.
    pub(super) fn rule(&self) -> Value {
        let mut rule = json!({
            "apiGroups": [self.group], "resources": [self.resource], "verbs": [self.verb],
        });
        if !self.name.is_empty() {
            rule["resourceNames"] = json!([self.name]);
        }
        rule
    }
}

/// Every right that a role grants.
pub(super) fn granted(role: &Value) -> Vec<Right> {
    let texts = |value: &Value| -> Vec<String> {
        let texts = value.as_array().into_iter().flatten();
        texts
            .filter_map(|text| Some(text.as_str()?.to_owned()))
            .collect()
    };
    let mut all = Vec::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let mut names = texts(&rule["resourceNames"]);
        if names.is_empty() {
            names.push(String::new());
        }
        for resource in texts(&rule["resources"]) {
            for name in &names {
                for verb in texts(&rule["verbs"]) {
                    let namespace = role["metadata"]["namespace"].as_str();
                    all.push(Right {
                        namespace: namespace.unwrap_or_default().to_owned(),
                        group: texts(&rule["apiGroups"]).concat(),
                        resource: resource.clone(),
                        name: name.clone(),
                        verb,
                    });
                }
            }
        }
    }
    all
}
