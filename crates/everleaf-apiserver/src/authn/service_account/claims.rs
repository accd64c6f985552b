//! What a token says (`pkg/serviceaccount/claims.go`).

use super::member;
use serde_json::{Value, json};

/// An object by name and uid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// The object with which a token ends. A token bound to a pod is not read: there are no pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Binding {
    /// A Secret of the account's namespace.
    Secret(Reference),
    /// A Node.
    Node(Reference),
}

/// The claims of a bound token. Times are seconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) audiences: Vec<String>,
    pub(crate) issued_at: i64,
    pub(crate) not_before: i64,
    pub(crate) expires: i64,
    /// `jti`, unique.
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) account: Reference,
    pub(crate) binding: Option<Binding>,
}

impl Reference {
    fn read(value: &Value) -> Option<Self> {
        let text = |name| Some(value.get(name)?.as_str()?.to_owned());
        let reference = Self {
            name: text("name")?,
            uid: text("uid")?,
        };
        (!reference.name.is_empty() && !reference.uid.is_empty()).then_some(reference)
    }

    fn to_value(&self) -> Value {
        json!({"name": self.name, "uid": self.uid})
    }
}

impl Claims {
    /// The payload of a token.
    pub(super) fn to_value(&self, issuer: &str) -> Value {
        let mut kubernetes = json!({
            "namespace": self.namespace,
            "serviceaccount": self.account.to_value(),
        });
        match &self.binding {
            None => {}
            Some(Binding::Secret(secret)) => kubernetes["secret"] = secret.to_value(),
            Some(Binding::Node(node)) => kubernetes["node"] = node.to_value(),
        }
        json!({
            "iss": issuer,
            "sub": format!("{}{}:{}", crate::user::SERVICE_ACCOUNT_PREFIX, self.namespace, self.account.name),
            "aud": self.audiences,
            "iat": self.issued_at,
            "nbf": self.not_before,
            "exp": self.expires,
            "jti": self.id,
            "kubernetes.io": kubernetes,
        })
    }

    /// Reads a payload; None when it is none of a token as we make it. Who says so is not read
    /// here.
    pub(super) fn read(payload: &Value) -> Option<Self> {
        let kubernetes = payload.get("kubernetes.io")?;
        let binding = match ["pod", "secret", "node"].map(|kind| member(kubernetes, kind)) {
            [Value::Null, Value::Null, Value::Null] => None,
            [Value::Null, secret, Value::Null] => Some(Binding::Secret(Reference::read(secret)?)),
            [Value::Null, Value::Null, node] => Some(Binding::Node(Reference::read(node)?)),
            _ => return None,
        };
        Some(Self {
            audiences: audiences(payload.get("aud")?)?,
            issued_at: seconds(payload.get("iat")?)?,
            not_before: seconds(payload.get("nbf")?)?,
            expires: seconds(payload.get("exp")?)?,
            id: member(payload, "jti").as_str().unwrap_or("").to_owned(),
            namespace: kubernetes.get("namespace")?.as_str()?.to_owned(),
            account: Reference::read(kubernetes.get("serviceaccount")?)?,
            binding,
        })
    }
}

/// One audience, or a list.
fn audiences(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(many) => many
            .iter()
            .map(|one| one.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

/// A NumericDate, perhaps with a fraction.
fn seconds(value: &Value) -> Option<i64> {
    // The fraction goes; a number that no clock shows saturates.
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|number| number as i64))
}
