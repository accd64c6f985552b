//! ServiceAccounts.
use super::{Context, Descriptor, Strategy};
use everleaf_api::types;
use serde_json::{Value, json};

/// ServiceAccounts.
pub static SERVICE_ACCOUNTS: Descriptor = Descriptor {
    short_names: &["sa"],
    returns_deleted: true,
    strategy: &ServiceAccountStrategy,
    ..Descriptor::namespaced(&types::SERVICE_ACCOUNT, "serviceaccounts", "serviceaccount")
};

struct ServiceAccountStrategy;

/// `pkg/registry/core/serviceaccount/strategy.go`.
impl Strategy for ServiceAccountStrategy {
    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        keep_names(object);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value, _context: &Context<'_>) {
        keep_names(new);
    }
}

/// Of a Secret only the name counts: it is in the account's own namespace.
fn keep_names(account: &mut Value) {
    let secrets = account.get_mut("secrets").and_then(Value::as_array_mut);
    for secret in secrets.into_iter().flatten() {
        *secret = match secret.get("name") {
            Some(name) => json!({ "name": name }),
            None => json!({}),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::keep_names;
    use serde_json::json;

    #[test]
    fn references_to_secrets_are_names() {
        let mut account = json!({"secrets": [{"name": "a", "namespace": "other", "uid": "u"}, {}]});
        keep_names(&mut account);
        assert_eq!(account["secrets"], json!([{"name": "a"}, {}]));
    }
}
