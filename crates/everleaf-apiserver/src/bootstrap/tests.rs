//! What is installed, and what is put back.

use super::*;
use crate::authn::FrontProxyConfig;
use crate::fixture::Shelf;
use crate::registry::gates::Gates;
use serde_json::json;

fn ca(pem: &str) -> Published {
    Published {
        client_ca_pem: pem.to_owned(),
        ..Published::default()
    }
}

/// As it was written: without resourceVersion.
fn stored(shelf: &Shelf, resource: &str, namespace: &str, name: &str) -> Value {
    let stored = shelf.get(resource, namespace, name);
    let stored = stored.unwrap_or_else(|| panic!("{resource} {namespace}/{name} is installed"));
    let mut object = stored.object().into_owned();
    meta::set(&mut object, "resourceVersion", "");
    object
}

fn install(shelf: &Shelf) -> usize {
    let missing = missing(shelf, &ca("ca"), &Gates::default());
    let count = missing.len();
    for installation in missing {
        shelf.put(installation.resource, installation.object);
    }
    count
}

#[test]
fn installed_once() {
    let shelf = Shelf::default();
    assert!(install(&shelf) > 50);
    assert_eq!(missing(&shelf, &ca("ca"), &Gates::default()), []);
    for name in SYSTEM_NAMESPACES {
        let namespace = stored(&shelf, "namespaces", "", name);
        assert_eq!(namespace["status"]["phase"], "Active");
    }
    let node = stored(&shelf, "clusterrolebindings", "", "system:node");
    assert_eq!(node.get("subjects"), None, "exists, and binds nobody");
    let admin = stored(&shelf, "clusterroles", "", "cluster-admin");
    assert_eq!(
        admin["metadata"]["labels"]["kubernetes.io/bootstrapping"],
        "rbac-defaults"
    );
    assert_eq!(admin["metadata"]["annotations"][AUTOUPDATE], "true");
}

/// As of Kubernetes: leases are not for those who only look, and events are the same at both
/// addresses.
#[test]
fn viewers_and_editors() {
    let may = |role: &str, verb: &str, group: &str, resource: &str| {
        let mut roles = policy::cluster_roles().into_iter();
        let role = roles.find(|known| known.name == role).unwrap();
        let user = crate::user::User::default();
        let question = crate::authz::Attributes {
            verb,
            group,
            resource,
            ..crate::authz::Attributes::of(&user)
        };
        role.rules.iter().any(|rule| rule.allows(&question))
    };
    for (verb, editor, viewer) in [("list", true, false), ("update", true, false)] {
        let about = ("coordination.k8s.io", "leases");
        assert_eq!(may("edit", verb, about.0, about.1), editor, "{verb}");
        assert_eq!(may("view", verb, about.0, about.1), viewer, "{verb}");
    }
    for group in ["", "events.k8s.io"] {
        assert!(may("view", "list", group, "events"), "{group}");
        assert!(!may("view", "update", group, "events"), "{group}");
        assert!(may("edit", "update", group, "events"), "{group}");
    }
}

#[test]
fn every_binding_has_its_role_and_no_name_comes_twice() {
    let shelf = Shelf::installed();
    let wanted = wanted(&ca("ca"), &Gates::default());
    let mut seen = std::collections::BTreeSet::new();
    for installation in &wanted {
        let object = &installation.object;
        let key = (
            installation.resource,
            meta::namespace(object),
            meta::name(object),
        );
        assert!(seen.insert(key), "{key:?} twice");
        if let Some(role) = object.get("roleRef") {
            let (resource, namespace) = match read::text(role, "/kind") {
                "Role" => ("roles", meta::namespace(object)),
                _ => ("clusterroles", ""),
            };
            stored(&shelf, resource, namespace, read::text(role, "/name"));
        }
    }
}

#[test]
fn what_was_taken_away_comes_back_and_what_was_added_stays() {
    let shelf = Shelf::installed();
    let mut role = stored(&shelf, "clusterroles", "", "system:node-bootstrapper");
    role["metadata"]["uid"] = "u1".into();
    role["metadata"]["labels"] = json!({"mine": "x"});
    role["rules"] = json!([{"verbs": ["create"], "apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"]},
        {"verbs": ["get"], "apiGroups": ["mine"], "resources": ["things"]}]);
    shelf.put("clusterroles", role);
    let mut binding = stored(&shelf, "clusterrolebindings", "", "cluster-admin");
    binding["subjects"] =
        json!([{"kind": "User", "name": "mine", "apiGroup": "rbac.authorization.k8s.io"}]);
    shelf.put("clusterrolebindings", binding);
    shelf.remove("namespaces", "", "kube-public");
    assert_eq!(install(&shelf), 3);
    assert_eq!(install(&shelf), 0, "stable");
    let role = stored(&shelf, "clusterroles", "", "system:node-bootstrapper");
    assert_eq!(role["metadata"]["uid"], "u1");
    assert_eq!(
        role["metadata"]["labels"],
        json!({"mine": "x", "kubernetes.io/bootstrapping": "rbac-defaults"})
    );
    let verbs: Vec<String> = read::items(&role, "/rules")
        .iter()
        .flat_map(|rule| read::texts(rule, "/verbs"))
        .collect();
    assert_eq!(verbs, ["create", "get", "get", "list", "watch"]);
    let binding = stored(&shelf, "clusterrolebindings", "", "cluster-admin");
    let names: Vec<&str> = read::items(&binding, "/subjects")
        .iter()
        .map(|subject| read::text(subject, "/name"))
        .collect();
    assert_eq!(names, ["mine", "system:masters"]);
}

#[test]
fn a_binding_is_pointed_back_to_its_role() {
    let shelf = Shelf::installed();
    let mut binding = stored(&shelf, "clusterrolebindings", "", "system:basic-user");
    let original = binding.clone();
    binding["roleRef"]["name"] = "cluster-admin".into();
    binding["subjects"] = json!([{"kind": "User", "name": "mine"}]);
    shelf.put("clusterrolebindings", binding);
    let [back] = &missing(&shelf, &ca("ca"), &Gates::default())[..] else {
        panic!("one to put back");
    };
    assert!(back.recreate, "no update may change it");
    assert_eq!(back.object, original, "without who was added meanwhile");
}

#[test]
fn what_was_made_immutable_is_made_anew() {
    let shelf = Shelf::installed();
    let name = EXTENSION_APISERVER_AUTHENTICATION;
    let mut map = stored(&shelf, "configmaps", "kube-system", name);
    map["immutable"] = true.into();
    shelf.put("configmaps", map);
    let [back] = &missing(&shelf, &ca("another ca"), &Gates::default())[..] else {
        panic!("one to put back");
    };
    assert!(back.recreate);
    assert_eq!(back.object["data"]["client-ca-file"], "another ca");
}

#[test]
fn autoupdate_false_is_left_alone() {
    let shelf = Shelf::installed();
    let mut role = stored(&shelf, "clusterroles", "", "system:discovery");
    role["metadata"]["annotations"][AUTOUPDATE] = "false".into();
    role["rules"] = Value::Null;
    shelf.put("clusterroles", role);
    assert_eq!(install(&shelf), 0);
    shelf.remove("clusterroles", "", "system:discovery");
    assert_eq!(install(&shelf), 1, "but a missing one is created");
}

#[test]
fn the_client_ca_is_published_and_follows() {
    let shelf = Shelf::installed();
    let name = EXTENSION_APISERVER_AUTHENTICATION;
    let mut published = stored(&shelf, "configmaps", "kube-system", name);
    assert_eq!(published["data"], json!({"client-ca-file": "ca"}));
    published["data"]["mine"] = "x".into();
    shelf.put("configmaps", published);
    assert_eq!(missing(&shelf, &ca("ca"), &Gates::default()), []);
    let [update] = &missing(&shelf, &ca("new ca"), &Gates::default())[..] else {
        panic!("one object to write");
    };
    assert_eq!(
        update.object["data"],
        json!({"client-ca-file": "new ca", "mine": "x"})
    );
}

#[test]
fn a_front_proxy_is_published_as_kubeadm_names_it() {
    let shelf = Shelf::installed();
    let published = Published {
        front_proxy: Some(FrontProxyConfig::of_kubeadm("front".to_owned())),
        ..ca("ca")
    };
    let [update] = &missing(&shelf, &published, &Gates::default())[..] else {
        panic!("one object to write");
    };
    assert_eq!(
        update.object["data"],
        json!({"client-ca-file": "ca", "requestheader-client-ca-file": "front",
            "requestheader-allowed-names": r#"["front-proxy-client"]"#,
            "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
            "requestheader-group-headers": r#"["X-Remote-Group"]"#,
            "requestheader-uid-headers": r#"["X-Remote-Uid"]"#,
            "requestheader-username-headers": r#"["X-Remote-User"]"#})
    );
}

#[test]
fn cluster_info_follows_and_keeps_what_others_wrote() {
    let new = cluster_info(None, "one").expect("there is none");
    assert_eq!(new["data"], json!({"kubeconfig": "one"}));
    assert_eq!(
        (meta::namespace(&new), meta::name(&new)),
        ("kube-public", "cluster-info")
    );
    assert_eq!(cluster_info(Some(&new), "one"), None);
    let mut signed = new;
    signed["data"]["jws-kubeconfig-abcdef"] = "a..b".into();
    let moved = cluster_info(Some(&signed), "two").expect("it moved");
    assert_eq!(
        moved["data"],
        json!({"kubeconfig": "two", "jws-kubeconfig-abcdef": "a..b"})
    );
}

#[test]
fn token_secret() {
    let expires = meta::parse_time("2030-01-01T00:00:00Z");
    let secret = bootstrap_token_secret("abcdef", "0123456789abcdef", expires, "for n2");
    assert_eq!(meta::name(&secret), "bootstrap-token-abcdef");
    assert_eq!(meta::namespace(&secret), "kube-system");
    let data: Vec<(String, String)> = secret["data"]
        .as_object()
        .expect("data")
        .iter()
        .map(|(key, value)| {
            let text = STANDARD
                .decode(value.as_str().expect("base64"))
                .expect("base64");
            (key.clone(), String::from_utf8(text).expect("text"))
        })
        .collect();
    let expected = [
        (
            "auth-extra-groups",
            "system:bootstrappers:kubeadm:default-node-token",
        ),
        ("description", "for n2"),
        ("expiration", "2030-01-01T00:00:00Z"),
        ("token-id", "abcdef"),
        ("token-secret", "0123456789abcdef"),
        ("usage-bootstrap-authentication", "true"),
    ];
    assert_eq!(
        data,
        expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
}

/// What a gate keeps from being served, it keeps from being installed, as upstream.
#[test]
fn a_gate_that_is_off_leaves_its_rights_out() {
    let names = |gates: &Gates| -> Vec<String> {
        let all = missing(&Shelf::default(), &ca("ca"), gates);
        let key = |one: &Installation| format!("{} {}", one.resource, meta::name(&one.object));
        all.iter().map(key).collect()
    };
    let (all, fewer) = (names(&Gates::default()), names(&Gates::of(36)));
    let gone: Vec<&String> = all.iter().filter(|name| !fewer.contains(name)).collect();
    let publisher = "kube-apiserver-serving-clustertrustbundle-publisher";
    let expected = [
        "clusterroles system:cluster-trust-bundle-discovery".to_owned(),
        "clusterroles system:controller:podcertificaterequestcleaner".to_owned(),
        format!("clusterroles system:controller:{publisher}"),
        "clusterrolebindings system:cluster-trust-bundle-discovery".to_owned(),
        "clusterrolebindings system:controller:podcertificaterequestcleaner".to_owned(),
        format!("clusterrolebindings system:controller:{publisher}"),
        "clusterrolebindings everleaf:kube-controller-manager:podcertificaterequestcleaner"
            .to_owned(),
    ];
    assert_eq!(gone, expected.iter().collect::<Vec<_>>());
    let node = |gates: &Gates| {
        let mut all = missing(&Shelf::default(), &ca("ca"), gates).into_iter();
        let role = all.find(|one| meta::name(&one.object) == "system:node");
        role.unwrap().object["rules"].to_string()
    };
    for resource in ["clustertrustbundles", "podcertificaterequests"] {
        assert!(node(&Gates::default()).contains(resource));
        assert!(!node(&Gates::of(36)).contains(resource), "{resource}");
    }
}
