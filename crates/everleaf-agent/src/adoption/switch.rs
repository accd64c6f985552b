//! `rotateCertificates` in a kubelet's configuration file, changed without touching another byte.

use crate::yaml;
use serde_json::{Map, Value};

/// The field, as it begins a line.
pub(super) const FIELD: &str = "rotateCertificates";

/// Whether a kubelet with this configuration renews its client certificate by itself. The default
/// is that it does not (Kubernetes: `pkg/kubelet/apis/config/v1beta1/defaults.go`).
pub(super) fn is_on(text: &str) -> Result<bool, String> {
    match members(text)?.get(FIELD) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(_) => Err(format!("{FIELD} must be true or false")),
    }
}

/// Whether the kubelet keeps a serving certificate by itself.
pub(super) fn serves_by_itself(text: &str) -> bool {
    let members = members(text).unwrap_or_default();
    members.get("serverTLSBootstrap") == Some(&Value::Bool(true))
}

/// The same text with the field set.
pub(super) fn set(text: &str, on: bool) -> Result<String, String> {
    let mut wanted = members(text)?;
    wanted.insert(FIELD.to_owned(), Value::Bool(on));
    let mut changed = String::with_capacity(text.len() + 1);
    for line in text.split_inclusive('\n') {
        let value = line
            .strip_prefix(FIELD)
            .and_then(|rest| rest.strip_prefix(':'))
            .and_then(|rest| rest.split(" #").next())
            .map(str::trim);
        match value.filter(|value| !value.is_empty()) {
            Some(value) => {
                changed.push_str(&line.replacen(value, if on { "true" } else { "false" }, 1));
            }
            None => changed.push_str(line),
        }
    }
    if members(&changed).is_ok_and(|members| members == wanted) {
        return Ok(changed);
    }
    Err(format!(
        "it is written in a way that is not changed by itself: set {FIELD} to {on} by hand"
    ))
}

fn members(text: &str) -> Result<Map<String, Value>, String> {
    yaml::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_changes() {
        let before = "# rotateCertificates: true\nkind: KubeletConfiguration\nrotateCertificates:  true # by kubeadm\nrotateServer: {}\n";
        let after = before.replace("true # by", "false # by");
        assert!(is_on(before).unwrap());
        assert_eq!(set(before, false).unwrap(), after);
        assert_eq!(set(&after, true).unwrap(), before);
        assert!(!is_on(&after).unwrap() && !is_on("kind: x\n").unwrap());
    }

    #[test]
    fn what_cannot_be_changed_safely_is_not_changed() {
        for text in [
            "{\"rotateCertificates\": true}\n",
            "\"rotateCertificates\": true\n",
            "rotateCertificates: &a true\nother: *a\n",
            "rotateCertificates:\n  true\n",
            "kind: x\n",
        ] {
            assert!(set(text, false).is_err(), "{text}");
        }
        for text in ["rotateCertificates: maybe\n", "- a\n", "a: [\n"] {
            assert!(is_on(text).is_err(), "{text}");
        }
    }
}
