//! Namespaces. Deleting one deletes what is in it; the engine does that, see
//! `handler/namespace_deletion.rs`.

use super::{AGE_COLUMN, Context, Descriptor, NAME_COLUMN, Strategy, age, names, text_column};
use crate::read;
use everleaf_api::fields::{ERRORS_SHOWN_MAX, FieldError, quote};
use everleaf_api::table::Column;
use everleaf_api::{meta, types};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Label that carries a namespace's name, so that selectors can find it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Finalizer that every namespace is born with: its contents go first.
const KUBERNETES: &str = "kubernetes";
/// The endpoint at which whoever had to do something says that it is done.
const FINALIZE: &str = "finalize";
/// Phase of a namespace in use.
const ACTIVE: &str = "Active";
/// Phase of one on its way out.
pub const TERMINATING: &str = "Terminating";

/// Each is deleted by name: there is no collection to delete.
const VERBS: &[&str] = &[
    "create", "delete", "get", "list", "patch", "update", "watch",
];

/// Namespaces.
pub static NAMESPACES: Descriptor = Descriptor {
    short_names: &["ns"],
    verbs: VERBS,
    subresources: &["finalize", "status"],
    strategy: &NamespaceStrategy,
    resets: |endpoint| match endpoint {
        "status" => &[&["spec"]],
        _ => &[&["status"]],
    },
    is_container: true,
    columns: COLUMNS,
    cells,
    selectable: &["status.phase"],
    field: |object, _| read::text(object, "/status/phase").to_owned(),
    validate_name: names::label,
    ..Descriptor::cluster(&types::NAMESPACE, "namespaces", "namespace")
};

const COLUMNS: &[Column] = &[
    NAME_COLUMN,
    text_column("Status", 0, "The status of the namespace."),
    AGE_COLUMN,
];

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        meta::name(object).into(),
        read::text(object, "/status/phase").into(),
        age(object, now).into(),
    ]
}

/// What else is to be done before a namespace goes, besides emptying it.
fn foreign_finalizers(object: &Value) -> impl Iterator<Item = String> {
    let all = read::texts(object, "/spec/finalizers").into_iter();
    all.filter(|finalizer| finalizer != KUBERNETES)
}

/// What is wrong with the names of finalizers, each told under its path.
fn check_finalizers(object: &Value, path: impl Fn(usize) -> String) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, finalizer) in read::texts(object, "/spec/finalizers").iter().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            break;
        }
        let mut wrong =
            |text: &str| errors.push(FieldError::invalid(&path(index), &quote(finalizer), text));
        if let Err(text) = names::qualified(finalizer) {
            wrong(&text);
        }
        if !names::is_finalizer(finalizer) {
            wrong("name is neither a standard finalizer name nor is it fully qualified");
        }
    }
    errors
}

struct NamespaceStrategy;

/// `pkg/registry/core/namespace/strategy.go`.
impl Strategy for NamespaceStrategy {
    fn default(&self, object: &mut Value) {
        if !meta::name(object).is_empty() {
            label(object);
        }
        if read::text(object, "/status/phase").is_empty() {
            object["status"]["phase"] = ACTIVE.into();
        }
    }

    fn mark_deleted(&self, object: &mut Value) {
        object["status"] = json!({ "phase": TERMINATING });
    }

    fn is_held(&self, object: &Value) -> bool {
        foreign_finalizers(object).next().is_some()
    }

    fn mark_emptied(&self, object: &mut Value) {
        let left: Vec<String> = foreign_finalizers(object).collect();
        object["spec"] = json!({ "finalizers": left });
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        object["status"] = json!({"phase": ACTIVE});
        let mut finalizers = read::texts(object, "/spec/finalizers");
        if !finalizers.iter().any(|finalizer| finalizer == KUBERNETES) {
            finalizers.push(KUBERNETES.to_owned());
        }
        object["spec"] = json!({"finalizers": finalizers});
        // Its name may have been completed since.
        label(object);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        check_finalizers(object, |_| "spec.finalizers".to_owned())
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, context: &Context<'_>) {
        if context.subresource != FINALIZE {
            new["spec"] = old["spec"].clone();
        }
        if context.subresource != "status" {
            new["status"] = old["status"].clone();
        }
    }

    /// The phase says nothing else than whether it is being deleted.
    fn validate_update(&self, new: &Value, _old: &Value, context: &Context<'_>) -> Vec<FieldError> {
        match context.subresource {
            "status" => {}
            FINALIZE => {
                return check_finalizers(new, |index| format!("spec.finalizers[{index}]"));
            }
            _ => return Vec::new(),
        }
        let phase = read::text(new, "/status/phase");
        let (expected, detail) = match meta::deletion_timestamp(new) {
            None => (
                ACTIVE,
                "may only be 'Active' if `deletionTimestamp` is empty",
            ),
            Some(_) => (
                TERMINATING,
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            ),
        };
        if phase == expected {
            return Vec::new();
        }
        vec![FieldError::invalid("status.Phase", &quote(phase), detail)]
    }
}

fn label(object: &mut Value) {
    let name = meta::name(object).to_owned();
    let metadata = meta::metadata_mut(object);
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if !labels.is_object() {
        *labels = json!({});
    }
    labels[NAME_LABEL] = name.into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::User;

    fn context<'a>(user: &'a User, subresource: &'a str) -> Context<'a> {
        Context {
            user,
            subresource,
            now: Timestamp::UNIX_EPOCH,
            request: None,
            gates: &crate::registry::gates::USUAL,
        }
    }

    #[test]
    fn finalizers_of_the_client_stay() {
        let user = User::default();
        let check = |asked: Value, kept: Value, faults: usize| {
            let mut object = json!({"metadata": {"name": "a"}, "spec": {"finalizers": asked}});
            NamespaceStrategy.prepare_create(&mut object, &context(&user, ""));
            assert_eq!(object["spec"]["finalizers"], kept);
            let errors = NamespaceStrategy.validate_create(&object, &context(&user, ""));
            assert_eq!(errors.len(), faults, "{errors:?}");
            assert!(errors.iter().all(|error| error.path == "spec.finalizers"));
        };
        check(Value::Null, json!(["kubernetes"]), 0);
        check(
            json!(["kubernetes", "a.b/c"]),
            json!(["kubernetes", "a.b/c"]),
            0,
        );
        check(json!(["orphan"]), json!(["orphan", "kubernetes"]), 0);
        check(json!(["own"]), json!(["own", "kubernetes"]), 1);
        check(json!(["not one"]), json!(["not one", "kubernetes"]), 2);
    }

    #[test]
    fn the_phase_follows_the_deletion() {
        let user = User::default();
        let context = context(&user, "status");
        let live = json!({"metadata": {"name": "a"}});
        let deleted =
            json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let check = |object: &Value, phase: &str, is_good: bool| {
            let mut new = object.clone();
            new["status"] = json!({"phase": phase});
            NamespaceStrategy.default(&mut new);
            NamespaceStrategy.prepare_update(&mut new, object, &context);
            let errors = NamespaceStrategy.validate_update(&new, object, &context);
            assert_eq!(errors.is_empty(), is_good, "{new} {errors:?}");
        };
        check(&live, "Active", true);
        check(&live, "", true);
        check(&live, "Terminating", false);
        check(&live, "Odd", false);
        check(&deleted, "Terminating", true);
        check(&deleted, "Active", false);
    }
}
