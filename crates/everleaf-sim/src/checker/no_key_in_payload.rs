//! No private key leaves a node: not in a request's body, and so not in anything the server stores.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const MARK: &str = "PRIVATE KEY";

/// Looks into every payload, also inside its base64.
#[derive(Debug, Default)]
pub struct NoKeyInPayload;

impl NoKeyInPayload {
    /// Judges one body.
    pub fn judge(&self, node: &str, body: &[u8]) -> Result<(), String> {
        let parsed = serde_json::from_slice(body).unwrap_or(Value::Null);
        if String::from_utf8_lossy(body).contains(MARK) || holds_key(&parsed) {
            return Err(format!("{node} sent a private key"));
        }
        Ok(())
    }
}

fn holds_key(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            text.contains(MARK)
                || STANDARD
                    .decode(text)
                    .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(MARK))
        }
        Value::Array(items) => items.iter().any(holds_key),
        Value::Object(members) => members.values().any(holds_key),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_keys_in_the_open_and_in_base64() {
        let hidden = STANDARD.encode("-----BEGIN EC PRIVATE KEY-----");
        let bodies = [
            "-----BEGIN PRIVATE KEY-----".to_owned(),
            format!("{{\"spec\":{{\"request\":\"{hidden}\"}}}}"),
        ];
        for body in bodies {
            assert!(
                NoKeyInPayload.judge("n", body.as_bytes()).is_err(),
                "{body}"
            );
        }
        assert!(
            NoKeyInPayload
                .judge("n", b"{\"spec\":{\"request\":\"cGxhaW4=\"}}")
                .is_ok()
        );
    }
}
