//! Field errors, defaults and tables of roles and bindings.

use super::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES};
use crate::{
    registry::{Context, Descriptor},
    user::User,
};
use jiff::Timestamp;
use serde_json::{Value, json};

fn context(user: &User) -> Context<'_> {
    Context {
        user,
        subresource: "",
        now: "2030-01-01T00:00:00Z".parse().expect("a time"),
        request: None,
        gates: &crate::registry::gates::USUAL,
    }
}

fn create(descriptor: &Descriptor, object: &Value) -> Vec<String> {
    let (user, mut object) = (User::default(), object.clone());
    let (strategy, context) = (descriptor.strategy, context(&user));
    strategy.default(&mut object);
    let errors = strategy.validate_create(&object, &context);
    let of_update = strategy.validate_update(&object, &object, &context);
    assert_eq!(of_update, errors, "an update is held to the same rules");
    errors
        .iter()
        .map(|error| format!("{}: {}", error.path, error.message))
        .collect()
}

const NONE: [&str; 0] = [];

#[test]
fn rules() {
    let check =
        |descriptor: &Descriptor, rule: Value| create(descriptor, &json!({"rules": [rule]}));
    let good =
        json!({"verbs": ["get"], "apiGroups": [""], "resources": ["x"], "resourceNames": ["y"]});
    assert_eq!(check(&ROLES, good.clone()), NONE);
    assert_eq!(check(&CLUSTER_ROLES, good), NONE);
    let path = json!({"verbs": ["get"], "nonResourceURLs": ["/x"]});
    assert_eq!(check(&CLUSTER_ROLES, path.clone()), NONE);
    assert_eq!(
        check(&ROLES, path),
        [
            r#"rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs"#
        ]
    );
    assert_eq!(
        check(&CLUSTER_ROLES, json!({})),
        [
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[0].resources: Required value: resource rules must supply at least one resource",
            "rules[0].verbs: Required value: verbs must contain at least one value",
        ]
    );
    let mixed =
        json!({"verbs": ["get"], "apiGroups": [""], "resources": ["x"], "nonResourceURLs": ["/x"]});
    assert_eq!(check(&CLUSTER_ROLES, mixed).len(), 1);
    assert_eq!(create(&CLUSTER_ROLES, &json!({"rules": null})), NONE);
    assert_eq!(
        create(&CLUSTER_ROLES, &json!({"aggregationRule": {}})).len(),
        1
    );
}

fn binding(role_kind: &str, subject: Value) -> Value {
    json!({"metadata": {"name": "b"}, "roleRef": {"kind": role_kind, "name": "r"}, "subjects": [subject]})
}

#[test]
fn subjects_and_references() {
    let bob = || json!({"kind": "User", "name": "bob"});
    let check = |object: Value| create(&CLUSTER_ROLE_BINDINGS, &object);
    assert_eq!(
        check(binding("ClusterRole", bob())),
        NONE,
        "groups are filled in"
    );
    assert_eq!(
        check(binding("Role", bob())),
        [r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#]
    );
    assert_eq!(create(&ROLE_BINDINGS, &binding("Role", bob())), NONE);
    let mut bad_role = binding("ClusterRole", bob());
    bad_role["roleRef"] = json!({"apiGroup": "x", "kind": "ClusterRole", "name": "a/b"});
    assert_eq!(check(bad_role.clone()).len(), 2);
    bad_role["roleRef"] = json!({"kind": "ClusterRole"});
    assert_eq!(check(bad_role), ["roleRef.name: Required value"]);
    for (subject, errors, errors_in_a_namespace) in [
        (
            json!({"kind": "ServiceAccount", "name": "a", "namespace": "b"}),
            0,
            0,
        ),
        (json!({"kind": "ServiceAccount", "name": "a"}), 1, 0),
        (
            json!({"kind": "ServiceAccount", "name": "A B", "namespace": "b"}),
            1,
            1,
        ),
        (
            json!({"kind": "ServiceAccount", "name": "a", "namespace": "b", "apiGroup": "x"}),
            1,
            1,
        ),
        (json!({"kind": "Group", "name": "system:nodes"}), 0, 0),
        (json!({"kind": "Group", "name": "g", "apiGroup": "x"}), 1, 1),
        (json!({"kind": "User"}), 1, 1),
        (json!({"kind": "Robot", "name": "r"}), 1, 1),
    ] {
        let found = check(binding("ClusterRole", subject.clone()));
        assert_eq!(found.len(), errors, "{subject}: {found:?}");
        let found = create(&ROLE_BINDINGS, &binding("ClusterRole", subject.clone()));
        assert_eq!(found.len(), errors_in_a_namespace, "{subject}: {found:?}");
    }
}

#[test]
fn a_role_reference_stays() {
    let user = User::default();
    let context = context(&user);
    let prepared = |role: &str| {
        let mut object = binding("ClusterRole", json!({"kind": "User", "name": "bob"}));
        object["roleRef"]["name"] = role.into();
        CLUSTER_ROLE_BINDINGS.strategy.default(&mut object);
        object
    };
    let strategy = CLUSTER_ROLE_BINDINGS.strategy;
    let mut same = prepared("a");
    same["subjects"] = json!([]);
    assert!(
        strategy
            .validate_update(&same, &prepared("a"), &context)
            .is_empty()
    );
    let errors = strategy.validate_update(&prepared("b"), &prepared("a"), &context);
    assert_eq!((errors.len(), errors[0].path.as_str()), (1, "roleRef"));
    assert!(errors[0].message.ends_with(": cannot change roleRef"));
}

#[test]
fn tables() {
    let now: Timestamp = "2030-01-01T00:01:00Z".parse().expect("a time");
    let metadata = json!({"name": "x", "creationTimestamp": "2030-01-01T00:00:00Z"});
    let role = json!({"metadata": metadata});
    assert_eq!(
        (ROLES.cells)(&role, now),
        [json!("x"), json!("2030-01-01T00:00:00Z")]
    );
    let binding = json!({"metadata": metadata, "roleRef": {"kind": "Role", "name": "r"}, "subjects": [
        {"kind": "User", "name": "u"}, {"kind": "User", "name": "v"}, {"kind": "Group", "name": "g"},
        {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]});
    let cells = (ROLE_BINDINGS.cells)(&binding, now);
    assert_eq!(
        cells,
        ["x", "Role/r", "60s", "u, v", "g", "n/s"].map(Value::from)
    );
    assert_eq!(cells.len(), ROLE_BINDINGS.columns.len());
    assert_eq!((ROLES.cells)(&role, now).len(), CLUSTER_ROLES.columns.len());
}
