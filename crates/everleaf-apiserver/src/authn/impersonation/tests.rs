//! Who may be whom, and for what.

use super::{
    headers::{GROUP, USER},
    *,
};
use crate::fixture::{self, Shelf, cluster_role, cluster_role_binding};
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().expect("a header name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    headers
}

/// `front` may impersonate user bob, group dev, the uid 7, extra scopes=read, and any service
/// account.
fn shelf() -> Shelf {
    let shelf = Shelf::installed();
    shelf.put("clusterroles", cluster_role("front", json!([
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob", "system:anonymous"]},
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["dev"]},
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]},
        {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["uids"], "resourceNames": ["7"]},
        {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"], "resourceNames": ["read"]},
    ])));
    shelf.put(
        "clusterrolebindings",
        cluster_role_binding("front", "front", json!([{"kind": "User", "name": "front"}])),
    );
    shelf
}

/// A request of `user`: get of a secret.
fn request(user: &User) -> Attributes<'_> {
    Attributes {
        verb: "get",
        version: "v1",
        resource: "secrets",
        namespace: "a",
        name: "s",
        ..Attributes::of(user)
    }
}

/// Whom `real` becomes on `shelf`; itself when the headers name nobody.
fn become_on(
    shelf: &Shelf,
    memory: &Impersonation,
    real: &User,
    headers: &HeaderMap,
) -> Result<User, (u16, String)> {
    memory
        .effective(headers, &request(real), &Authorizer::default(), shelf)
        .map(|found| found.map(|found| found.user))
        .map(|user| user.unwrap_or_else(|| real.clone()))
        .map_err(|status| (status.code, status.message))
}

fn check(real: &str, pairs: &[(&str, &str)]) -> Result<User, (u16, String)> {
    let real = fixture::user(real, &[]);
    become_on(&shelf(), &Impersonation::default(), &real, &headers(pairs))
}

#[test]
fn nobody_else() {
    assert_eq!(check("front", &[]), Ok(fixture::user("front", &[])));
    assert_eq!(
        check("front", &[("Impersonate-User", "")]),
        Ok(fixture::user("front", &[])),
        "an empty header names nobody"
    );
}

#[test]
fn allowed_items() {
    let bob = check(
        "front",
        &[
            ("Impersonate-User", "bob"),
            ("Impersonate-Group", "dev"),
            ("Impersonate-Uid", "7"),
            ("Impersonate-Extra-Scopes", "read"),
        ],
    )
    .expect("allowed");
    assert_eq!((bob.name.as_str(), bob.uid.as_str()), ("bob", "7"));
    assert_eq!(bob.groups, ["dev", "system:authenticated"]);
    assert_eq!(bob.extra["scopes"], ["read"]);
}

#[test]
fn each_item_is_asked_for() {
    for (name, value) in [
        ("Impersonate-User", "eve"),
        ("Impersonate-Group", "system:masters"),
        ("Impersonate-Uid", "8"),
        ("Impersonate-Extra-scopes", "write"),
        ("Impersonate-Extra-scope%73", "write"),
        ("Impersonate-Extra-other", "read"),
    ] {
        let mut pairs = vec![(name, value)];
        if name != "Impersonate-User" {
            pairs.push(("Impersonate-User", "bob"));
        }
        let (code, _) = check("front", &pairs).expect_err(value);
        assert_eq!(code, 403, "{name}: {value}");
    }
    assert_eq!(
        check("nobody", &[("Impersonate-User", "bob")]),
        Err((
            403,
            r#"secrets "s" is forbidden: User "nobody" cannot impersonate-on:user-info:get resource "secrets" in API group "" in the namespace "a""#
                .to_owned()
        ))
    );
}

#[test]
fn one_bad_group_among_good_ones_is_refused() {
    let pairs = [
        ("Impersonate-User", "bob"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Group", "system:masters"),
    ];
    assert_eq!(check("front", &pairs).expect_err("refused").0, 403);
}

#[test]
fn service_accounts_and_anonymous_get_their_groups() {
    let account = check(
        "front",
        &[("Impersonate-User", "system:serviceaccount:a:b")],
    );
    assert_eq!(
        account.expect("allowed").groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:a",
            "system:authenticated"
        ]
    );
    let anonymous = check("front", &[("Impersonate-User", "system:anonymous")]);
    assert_eq!(anonymous, Ok(User::anonymous()));
}

#[test]
fn malformed() {
    for pairs in [
        vec![("Impersonate-Group", "dev")],
        vec![("Impersonate-Uid", "7")],
        vec![("Impersonate-Extra-scopes", "read")],
        vec![("Impersonate-User", "bob"), ("Impersonate-User", "eve")],
        vec![
            ("Impersonate-User", "bob"),
            ("Impersonate-Uid", "7"),
            ("Impersonate-Uid", "8"),
        ],
    ] {
        assert_eq!(check("front", &pairs).expect_err("bad").0, 400, "{pairs:?}");
    }
    let mut raw = HeaderMap::new();
    raw.insert(USER, HeaderValue::from_bytes(b"b\xffb").expect("opaque"));
    let refused = become_on(&shelf(), &Impersonation::default(), &fixture::admin(), &raw);
    assert_eq!(refused.expect_err("not UTF-8").0, 400);
}

#[test]
fn a_giant_group_list_is_judged_item_by_item() {
    let mut many = headers(&[("Impersonate-User", "bob")]);
    for number in 0..2_000 {
        let value = HeaderValue::from_str(&format!("g{number}")).expect("a value");
        many.append(GROUP, value);
    }
    let (shelf, memory) = (shelf(), Impersonation::default());
    let refused = become_on(&shelf, &memory, &fixture::user("front", &[]), &many);
    assert_eq!(refused.expect_err("g0").0, 403);
    let allowed = become_on(&shelf, &memory, &fixture::admin(), &many);
    assert_eq!(allowed.expect("admin may").groups.len(), 2_001);
}

/// A state in which `front` and the service account a/agent may do `rules` and nothing else.
fn ruled(rules: Value) -> Shelf {
    let shelf = Shelf::default();
    shelf.put("clusterroles", cluster_role("front", rules));
    let whom = json!([
        {"kind": "User", "name": "front"},
        {"kind": "ServiceAccount", "name": "agent", "namespace": "a"},
    ]);
    shelf.put(
        "clusterrolebindings",
        cluster_role_binding("front", "front", whom),
    );
    shelf
}

const ON_SECRETS: &str = "impersonate-on:MODE:get";

/// `impersonate-on:MODE:get` secrets, and `impersonate:MODE` of this.
fn constrained(mode: &str, resource: &str, name: &str) -> Shelf {
    ruled(json!([
        {"verbs": [ON_SECRETS.replace("MODE", mode)], "apiGroups": [""], "resources": ["secrets"]},
        {"verbs": [format!("impersonate:{mode}")], "apiGroups": ["authentication.k8s.io"], "resources": [resource], "resourceNames": [name]},
    ]))
}

#[test]
fn constrained_ways() {
    let node = "system:node:n1";
    let account = "system:serviceaccount:a:b";
    for (shelf, wanted, groups) in [
        (
            constrained("user-info", "users", "bob"),
            "bob",
            vec!["system:authenticated"],
        ),
        (
            constrained("arbitrary-node", "nodes", "n1"),
            node,
            vec!["system:nodes", "system:authenticated"],
        ),
        (
            constrained("serviceaccount", "serviceaccounts", "b"),
            account,
            vec![
                "system:serviceaccounts",
                "system:serviceaccounts:a",
                "system:authenticated",
            ],
        ),
    ] {
        let front = fixture::user("front", &[]);
        let memory = Impersonation::default();
        let headers = headers(&[("Impersonate-User", wanted)]);
        let found = become_on(&shelf, &memory, &front, &headers).expect(wanted);
        assert_eq!(found.groups, groups);
        let list = Attributes {
            verb: "list",
            ..request(&front)
        };
        let refused = memory.effective(&headers, &list, &Authorizer::default(), &shelf);
        assert_eq!(refused.expect_err("another verb").code, 403, "{wanted}");
        let other = format!("{wanted}2");
        let other = become_on(
            &shelf,
            &memory,
            &front,
            &self::headers(&[("Impersonate-User", &other)]),
        );
        assert_eq!(other.expect_err("somebody else").0, 403, "{wanted}");
    }
}

#[test]
fn a_service_account_may_be_its_own_node() {
    let shelf = constrained("associated-node", "nodes", "*");
    let mut agent = User::service_account("a", "agent");
    let check = |agent: &User, node: &str| {
        let headers = headers(&[("Impersonate-User", &format!("system:node:{node}"))]);
        become_on(&shelf, &Impersonation::default(), agent, &headers)
    };
    assert_eq!(check(&agent, "n1").expect_err("of no node").0, 403);
    let key = "authentication.kubernetes.io/node-name".to_owned();
    agent.extra.insert(key, vec!["n1".to_owned()]);
    let node = check(&agent, "n1").expect("its own");
    assert_eq!(node.node_name(), Some("n1"));
    assert_eq!(check(&agent, "n2").expect_err("another").0, 403);
}

#[test]
fn what_no_constrained_way_allows() {
    let shelf = ruled(json!([
        {"verbs": [ON_SECRETS.replace("MODE", "user-info")], "apiGroups": [""], "resources": ["secrets"]},
        {"verbs": ["impersonate:user-info"], "apiGroups": ["authentication.k8s.io"], "resources": ["*"]},
    ]));
    let front = fixture::user("front", &[]);
    for (name, value, told) in [
        ("Impersonate-Group", "dev", ""),
        ("Impersonate-Extra-a.b%2fc", "x", ""),
        (
            "Impersonate-Group",
            "system:masters",
            "impersonating the system:masters group is not allowed",
        ),
        (
            "Impersonate-Group",
            "",
            "impersonating the empty string group is not allowed",
        ),
        (
            "Impersonate-Extra-scopes",
            "x",
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
        (
            "Impersonate-Extra-a.b%2f%43",
            "x",
            "impersonating a non-lowercase key in extra is not allowed: \"a.b/C\"",
        ),
        (
            "Impersonate-Extra-a.b%2fc",
            "",
            "impersonating the empty string value in extra is not allowed",
        ),
    ] {
        let headers = headers(&[("Impersonate-User", "bob"), (name, value)]);
        let found = become_on(&shelf, &Impersonation::default(), &front, &headers);
        match found {
            Ok(_) => assert_eq!(told, "", "{name}: {value}"),
            Err((code, message)) => {
                assert_eq!(code, 403);
                assert!(!told.is_empty() && message.ends_with(told), "{message}");
            }
        }
    }
}

#[test]
fn what_served_last_is_told_first() {
    let (shelf, memory) = (shelf(), Impersonation::default());
    let front = fixture::user("front", &[]);
    let check = |name: &str| {
        let headers = headers(&[("Impersonate-User", name)]);
        become_on(&shelf, &memory, &front, &headers)
    };
    let (_, before) = check("eve").expect_err("may not");
    assert!(
        before.contains(" cannot impersonate-on:user-info:get "),
        "{before}"
    );
    assert!(check("bob").is_ok());
    let (_, after) = check("eve").expect_err("may not");
    assert!(
        after.contains(" cannot impersonate resource \"users\" "),
        "{after}"
    );
}
