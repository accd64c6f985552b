//! What the controllers of bootstrap tokens and of the API server's CA make of the same objects,
//! whoever runs them: root-ca-cert-publisher, bootstrapsigner, tokencleaner and the publisher of
//! ClusterTrustBundles.

use crate::stack::{Kubernetes, Stack};
use anyhow::{Context, Result};
use everleaf_stage::{Kubectl, arg, ensure_that, eventually, same};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

/// They, for `--controllers`, in releases that know all of them.
pub(super) const NAMES: &str = "bootstrapsigner,tokencleaner,root-ca-cert-publisher,\
                                kube-apiserver-serving-clustertrustbundle-publisher-controller";
/// Longest that all of it may take: two cores, and other stacks beside it.
const SECONDS_MAX: u64 = 60;
const DESCRIPTION: &str = "kubernetes.io/description";
const ROOT_CA: &str = "kube-root-ca.crt";
const SERVING: &str = "kubernetes.io/kube-apiserver-serving";
/// The ids of tokens that stay, whatever they may sign.
const STAYING: [&str; 5] = ["later0", "nosecr", "nosign", "valid0", "wrongn"];
/// Of those, the ones that sign cluster-info.
const SIGNING: [&str; 2] = ["later0", "valid0"];
/// Namespaces with and without a ConfigMap that is to be put right.
const NAMESPACES: [&str; 4] = ["bare", "changed", "extra", "new"];

/// One run of the scene, by whoever's controllers.
pub(super) struct Scene<'s, 'a> {
    stack: &'s Stack<'a>,
    admin: &'s Kubectl<'a>,
    /// Tells its namespaces from those of other runs: nothing here can delete one.
    whose: &'static str,
}

/// All that stands there in the end, by what it is; without what a server or a run gives it.
pub(super) type Seen = BTreeMap<String, Value>;

impl<'s, 'a> Scene<'s, 'a> {
    pub(super) fn new(stack: &'s Stack<'a>, admin: &'s Kubectl<'a>, whose: &'static str) -> Self {
        Self {
            stack,
            admin,
            whose,
        }
    }

    /// Lays everything out as it is before the controllers start.
    pub(super) fn lay_out(&self) -> Result<()> {
        self.clear()?;
        let mut objects = self.tokens()?;
        objects.extend(self.config_maps()?);
        objects.push(self.cluster_info("a kubeconfig\n", "gone00"));
        if self.has_trust_bundles() {
            let ca = fs::read_to_string(self.stack.authority()?.certificate())?;
            objects.push(bundle(
                "kubernetes.io:kube-apiserver-serving:stale",
                SERVING,
                &ca,
            ));
            objects.push(bundle("example.com:other:kept", "example.com/other", &ca));
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.write("create", "scene", &list)
    }

    /// Takes away what another run left behind.
    fn clear(&self) -> Result<()> {
        let ids = STAYING.iter().chain(&["fresh0"]);
        let secrets: Vec<String> = ids.map(|id| format!("bootstrap-token-{id}")).collect();
        let mut tokens = vec!["-n", "kube-system", "delete", "secret"];
        tokens.extend(secrets.iter().map(String::as_str));
        let mut deletions = vec![
            tokens,
            vec!["-n", "kube-public", "delete", "configmap", "cluster-info"],
        ];
        if self.has_trust_bundles() {
            deletions.push(vec!["delete", "clustertrustbundles", "--all"]);
        }
        for mut deletion in deletions {
            deletion.push("--ignore-not-found");
            self.admin.run(&deletion)?.ok()?;
        }
        Ok(())
    }

    /// What they make of what they find, and of what changes after that.
    pub(super) fn play(&self) -> Result<[Seen; 2]> {
        let found = self.settled(false)?;
        self.disturb()?;
        Ok([found, self.settled(true)?])
    }

    /// Changes what they have made, in every way that they have to answer.
    fn disturb(&self) -> Result<()> {
        let new = self.namespace("new");
        self.admin
            .quiet(&["-n", &new, "delete", "configmap", ROOT_CA])?;
        let (extra, patch) = (
            self.namespace("extra"),
            r#"{"data":{"more":"x","ca.crt":"x"}}"#,
        );
        let patching = [
            "-n",
            &extra,
            "patch",
            "configmap",
            ROOT_CA,
            "--type=merge",
            "-p",
            patch,
        ];
        self.admin.quiet(&patching)?;
        let mut changed = self.cluster_info("another kubeconfig\n", "gone01");
        changed["data"]["jws-kubeconfig-valid0"] = json!("stale");
        self.write("replace", "changed", &changed)?;
        // Its signature is of the new content: it is made last.
        self.write("create", "fresh", &token("fresh0", None, true))?;
        if self.has_trust_bundles() {
            let serving = "--field-selector=spec.signerName=kubernetes.io/kube-apiserver-serving";
            self.admin
                .run(&["delete", "clustertrustbundles", serving])?
                .ok()?;
        }
        Ok(())
    }

    /// What there is, once all is as it should be; `fresh`: after [`Scene::disturb`].
    fn settled(&self, fresh: bool) -> Result<Seen> {
        eventually("all of it is put right", SECONDS_MAX, || {
            let seen = self.look()?;
            let mut signing: Vec<&str> = SIGNING.to_vec();
            let mut staying = STAYING.to_vec();
            if fresh {
                signing.insert(0, "fresh0");
                staying.insert(0, "fresh0");
            }
            same("tokens", &seen["tokens"], &json!(staying))?;
            let signatures = signing.iter().map(|id| format!("jws-kubeconfig-{id}"));
            let mut keys: Vec<String> = signatures.collect();
            keys.extend(["kubeconfig".to_owned(), "other".to_owned()]);
            same("cluster-info", members(&seen["cluster-info"]["data"]), keys)?;
            let text = seen["cluster-info"]["data"].to_string();
            ensure_that!(!text.contains("stale"), "a stale signature: {text}");
            for namespace in NAMESPACES {
                let map = &seen[namespace];
                same(namespace, members(&map["data"]), vec!["ca.crt".to_owned()])?;
                let pem = map["data"]["ca.crt"].as_str().unwrap_or_default();
                let words = &map["metadata"]["annotations"][DESCRIPTION];
                let is_right = pem.starts_with("-----BEGIN") && words.is_string();
                ensure_that!(is_right, "{namespace}: {map}");
            }
            if self.has_trust_bundles() {
                let names = members(&seen["bundles"]);
                same("trust bundles", names.len(), 2)?;
                ensure_that!(
                    !names.iter().any(|name| name.ends_with(":stale")),
                    "{names:?}"
                );
            }
            Ok(seen)
        })
    }

    fn look(&self) -> Result<Seen> {
        let admin = self.admin;
        let mut seen = Seen::new();
        for namespace in NAMESPACES {
            let get = [
                "-n",
                &self.namespace(namespace),
                "get",
                "configmap",
                ROOT_CA,
            ];
            seen.insert(namespace.to_owned(), plain(admin.json(&get)?));
        }
        let get = ["-n", "kube-public", "get", "configmap", "cluster-info"];
        let mut info = plain(admin.json(&get)?);
        // The stack's own token is there or not.
        if let Some(data) = info["data"].as_object_mut() {
            data.remove("jws-kubeconfig-intero");
        }
        seen.insert("cluster-info".to_owned(), info);
        let list = admin.json(&["-n", "kube-system", "get", "secrets"])?;
        let items = list["items"].as_array().context("no list of secrets")?;
        let ids = items.iter().filter_map(|item| {
            let name = item["metadata"]["name"].as_str()?;
            name.strip_prefix("bootstrap-token-")
                .filter(|id| *id != "intero")
        });
        seen.insert("tokens".to_owned(), ids.collect());
        if self.has_trust_bundles() {
            let list = admin.json(&["get", "clustertrustbundles"])?;
            let items = list["items"].as_array().context("no list of bundles")?;
            let bundles = items.iter().map(|item| {
                let name = item["metadata"]["name"].as_str().unwrap_or_default();
                (name.to_owned(), plain(item.clone()))
            });
            seen.insert("bundles".to_owned(), Value::Object(bundles.collect()));
        }
        Ok(seen)
    }

    fn has_trust_bundles(&self) -> bool {
        self.stack.release == Kubernetes::V1_37
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.whose)
    }

    fn tokens(&self) -> Result<Vec<Value>> {
        let now = wall();
        let soon = now.checked_add(4.seconds())?.to_string();
        let later = now.checked_add(1.hour())?.to_string();
        let mut wrong = token("wrongn", None, true);
        wrong["stringData"]["token-id"] = json!("other0");
        let mut secretless = token("nosecr", None, true);
        secretless["stringData"]["token-secret"] = json!("");
        Ok(vec![
            token("valid0", None, true),
            token("later0", Some(&later), true),
            token("soon00", Some(&soon), true),
            token("nosign", None, false),
            token("expire", Some("2020-01-01T00:00:00Z"), true),
            token("badtim", Some("tomorrow"), true),
            wrong,
            secretless,
        ])
    }

    fn config_maps(&self) -> Result<Vec<Value>> {
        let ca = fs::read_to_string(self.stack.authority()?.certificate())?;
        let mut objects = Vec::new();
        for name in NAMESPACES {
            let namespace = self.namespace(name);
            objects.push(json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
            }));
            let data = match name {
                "bare" => json!({"ca.crt": ca}),
                "changed" => json!({"ca.crt": "old"}),
                "extra" => json!({"ca.crt": ca, "foo": "bar"}),
                _ => continue,
            };
            objects.push(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"namespace": namespace, "name": ROOT_CA, "labels": {"l": "kept"},
                    "annotations": {"a": "kept"}},
                "data": data, "binaryData": {"b": "AA=="},
            }));
        }
        Ok(objects)
    }

    /// cluster-info with the signature of a token that there is not.
    fn cluster_info(&self, kubeconfig: &str, gone: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": "kube-public", "name": "cluster-info", "labels": {"l": "kept"}},
            "data": {"kubeconfig": kubeconfig, "other": "kept", format!("jws-kubeconfig-{gone}"): "stale"},
        })
    }

    fn write(&self, verb: &str, name: &str, object: &Value) -> Result<()> {
        let file = format!("{}-{name}.json", self.whose);
        let path = self.stack.sandbox.write(&file, &object.to_string())?;
        let args = [verb, "--validate=false", "-f", arg(&path)];
        self.admin.quiet(&args).map(drop)
    }
}

/// A user's rights for them: Kubernetes' own roles, and to list and watch what is published.
pub(super) fn grant(stack: &Stack<'_>, admin: &Kubectl<'_>, user: &str) -> Result<()> {
    let user = format!("--user={user}");
    for (namespace, role) in [
        ("kube-system", "bootstrap-signer"),
        ("kube-public", "bootstrap-signer"),
        ("kube-system", "token-cleaner"),
    ] {
        let (name, role) = (
            format!("upkeep-{role}"),
            format!("--role=system:controller:{role}"),
        );
        admin.quiet(&[
            "create",
            "rolebinding",
            &name,
            "-n",
            namespace,
            &role,
            &user,
        ])?;
    }
    let role = ["create", "clusterrole", "upkeep-list", "--verb=list,watch"];
    admin.quiet(&[&role[..], &["--resource=namespaces,configmaps"]].concat())?;
    let mut roles = vec!["upkeep-list", "system:controller:root-ca-cert-publisher"];
    if stack.release == Kubernetes::V1_37 {
        roles.push("system:controller:kube-apiserver-serving-clustertrustbundle-publisher");
    }
    for role in roles {
        let name = role.replace(':', "-");
        let role = format!("--clusterrole={role}");
        admin.quiet(&["create", "clusterrolebinding", &name, &role, &user])?;
    }
    Ok(())
}

/// Compares what two of them made of it, field by field.
pub(super) fn compare(theirs: &[Seen; 2], ours: &[Seen; 2]) -> Result<()> {
    for (theirs, ours) in theirs.iter().zip(ours) {
        same("kinds of objects", ours.len(), theirs.len())?;
        for (what, theirs) in theirs {
            same(what, &ours[what], theirs)?;
        }
    }
    Ok(())
}

fn token(id: &str, end: Option<&str>, signs: bool) -> Value {
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"namespace": "kube-system", "name": format!("bootstrap-token-{id}")},
        "stringData": {"token-id": id, "token-secret": "0123456789abcdef",
            "usage-bootstrap-signing": signs.to_string()},
    });
    if let Some(end) = end {
        secret["stringData"]["expiration"] = json!(end);
    }
    secret
}

fn bundle(name: &str, signer: &str, pem: &str) -> Value {
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle",
        "metadata": {"name": name}, "spec": {"signerName": signer, "trustBundle": pem},
    })
}

/// The object without what differs from run to run.
fn plain(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for member in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "managedFields",
            "namespace",
        ] {
            metadata.remove(member);
        }
    }
    object
}

fn members(object: &Value) -> Vec<String> {
    let members = object.as_object().into_iter().flatten();
    let mut names: Vec<String> = members.map(|(name, _)| name.clone()).collect();
    names.sort();
    names
}

/// The clock that only tests may read.
#[expect(clippy::disallowed_methods, reason = "tokens end by the real time")]
fn wall() -> Timestamp {
    Timestamp::now()
}
