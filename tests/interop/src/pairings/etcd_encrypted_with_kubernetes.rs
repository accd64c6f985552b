//! One etcd with values that are encrypted at rest: what Everleaf encrypts a real kube-apiserver
//! reads, with the same file, and the other way round; either of them rotates the keys.

use super::Pairing;
use super::requests::{CLIENT, CLIENT_USAGES, file};
use crate::stack::{Part, Stack};
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, Sandbox, arg, ensure_that, eventually, http_post, same};
use serde_json::{Value, json};

pub(crate) const PAIRING: Pairing = Pairing {
    real: "etcd 3.7, kube-apiserver 1.37",
    ours: "`everleaf apiserver --encryption-provider-config`",
    test: Test {
        name: "one_encrypted_etcd_for_everleaf_and_real_kubernetes",
        long: true,
        run,
    },
};

/// kube-apiserver's in these stacks.
const ISSUER: &str = "--service-account-issuer=https://kubernetes.default.svc";
/// Until a changed file is read, and what a busy machine adds.
const RELOAD_SECONDS_MAX: u64 = 30;
/// The objects, and the providers by which they are encrypted.
const OBJECTS: [(&str, &str, &str); 3] = [
    ("secrets/shared", "s", "aescbc"),
    ("configmaps/shared", "c", "aesgcm"),
    ("certificatesigningrequests", "r", "secretbox"),
];

/// A file with these keys for each provider, the first of which writes; and plain text is read.
fn config(sandbox: &Sandbox, name: &str, keys: &[&str]) -> Result<String> {
    let rule = |resource: &str, provider: &str| {
        let keys: Vec<Value> = keys
            .iter()
            .map(|key| json!({"name": key, "secret": STANDARD.encode(key.repeat(16))}))
            .collect();
        let providers = json!([{provider: {"keys": keys}}, {"identity": {}}]);
        json!({"resources": [resource], "providers": providers})
    };
    let config = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [
            rule("secrets", "aescbc"),
            rule("*.certificates.k8s.io", "secretbox"),
            rule("configmaps", "aesgcm"),
        ],
    });
    let path = sandbox.write(name, &config.to_string())?;
    Ok(format!("--encryption-provider-config={}", arg(&path)))
}

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let mut stack = Stack::start(sandbox, &[Part::Etcd])?;
    let servers = stack.etcd_servers()?;
    let first = config(sandbox, "first.json", &["k1"])?;
    stack.add(&Part::EverleafApiserver(&[&servers, ISSUER, &first]))?;
    let admin = stack.admin()?;
    sandbox.point("values are encrypted in etcd as the file says", || {
        write(&admin)?;
        stack.bootstrap_kubeconfig()?;
        request(&stack)?;
        sealed_by(&stack, "k1")
    })?;
    let before = seen(&admin)?;
    // Both name the file of the second round, so that ours can be told of it while it runs.
    let second = config(sandbox, "second.json", &["k2", "k1"])?;
    sandbox.point("kube-apiserver reads what Everleaf encrypted", || {
        stack.stop("apiserver")?;
        stack.add(&Part::KubeApiserver(&[&second]))?;
        same("the objects", seen(&admin)?, before.clone())
    })?;
    sandbox.point(
        "an update by kube-apiserver that changes nothing encrypts by its new key",
        || {
            // The server writes some of them at its start, too.
            eventually("encrypted by the new key", RELOAD_SECONDS_MAX, || {
                rewrite(sandbox, &admin)?;
                sealed_by(&stack, "k2")
            })
        },
    )?;
    let before = seen(&admin)?;
    let ours = config(sandbox, "ours.json", &["k2"])?;
    let followed = "--encryption-provider-config-automatic-reload";
    sandbox.point(
        "Everleaf reads what kube-apiserver encrypted, with the new key alone",
        || {
            let _ = stack.stop("kube-apiserver");
            let flags = [servers.as_str(), ISSUER, &ours, followed];
            stack.add(&Part::EverleafApiserver(&flags))?;
            same("the objects", seen(&admin)?, before)
        },
    )?;
    sandbox.point(
        "an update by Everleaf that changes nothing encrypts by a key that came while it runs",
        || {
            config(sandbox, "ours.json", &["k3", "k2"])?;
            eventually("encrypted by the new key", RELOAD_SECONDS_MAX, || {
                rewrite(sandbox, &admin)?;
                sealed_by(&stack, "k3")
            })
        },
    )?;
    let before = seen(&admin)?;
    sandbox.point("kube-apiserver reads that with the new key alone", || {
        let last = config(sandbox, "last.json", &["k3"])?;
        stack.stop("apiserver")?;
        stack.add(&Part::KubeApiserver(&[&last]))?;
        same("the objects", seen(&admin)?, before)
    })?;
    sandbox.point(
        "what Everleaf has no key for is an error that names it, and all else is served",
        || unreadable(&mut stack, &admin),
    )?;
    Ok(Verdict::Passed)
}

fn write(admin: &Kubectl<'_>) -> Result<()> {
    admin.quiet(&["create", "namespace", "shared"])?;
    let create = |args: &[&str]| admin.quiet(&[&["-n", "shared", "create"], args].concat());
    create(&["secret", "generic", "s", "--from-literal=a=b"])?;
    create(&["configmap", "c", "--from-literal=a=b"])?;
    Ok(())
}

/// A request, which nobody approves.
fn request(stack: &Stack<'_>) -> Result<()> {
    let by = Kubectl::new(stack.sandbox, stack.bootstrap_kubeconfig()?);
    let subject = ("/O=system:nodes/CN=system:node:r", "");
    file(stack.sandbox, &by, "r", subject, (CLIENT, CLIENT_USAGES)).map(drop)
}

/// The objects as a client gets them, without their versions.
fn seen(admin: &Kubectl<'_>) -> Result<Vec<Value>> {
    let mut all = vec![
        admin.json(&["-n", "shared", "get", "secret", "s", "-o", "json"])?,
        admin.json(&["-n", "shared", "get", "configmap", "c", "-o", "json"])?,
        admin.json(&["get", "csr", "r", "-o", "json"])?,
    ];
    for object in &mut all {
        object["metadata"]["resourceVersion"] = Value::Null;
    }
    Ok(all)
}

/// As the documentation of Kubernetes has it: all is read, and written as it is.
fn rewrite(sandbox: &Sandbox, admin: &Kubectl<'_>) -> Result<()> {
    let all = ["get", "secrets,configmaps,csr", "-A", "-o", "json"];
    let path = sandbox.write("rewritten.json", &admin.quiet(&all)?)?;
    admin.quiet(&["replace", "-f", arg(&path)]).map(drop)
}

/// Whether etcd has all objects encrypted by this key.
fn sealed_by(stack: &Stack<'_>, key: &str) -> Result<()> {
    let servers = stack.etcd_servers()?;
    let (_, address) = servers.split_once("http://").context("etcd's address")?;
    for (directory, name, provider) in OBJECTS {
        let place = STANDARD.encode(format!("/registry/{directory}/{name}"));
        let body = json!({"key": place}).to_string();
        let answer = http_post(address, "/v3/kv/range", &body)?;
        // It comes in one chunk, with its length before and after it.
        let begin = answer.find('{').context("no answer")?;
        let end = answer.rfind('}').context("half an answer")?;
        let answer: Value = serde_json::from_str(&answer[begin..=end])?;
        let value = answer["kvs"][0]["value"].as_str();
        let value = STANDARD.decode(value.with_context(|| format!("no {directory}/{name}"))?)?;
        let prefix = format!("k8s:enc:{provider}:v1:{key}:");
        ensure_that!(
            value.starts_with(prefix.as_bytes()),
            "{directory}/{name} begins with {}",
            value[..prefix.len().min(value.len())].escape_ascii()
        );
    }
    Ok(())
}

/// Everleaf again, with a key that encrypted nothing.
fn unreadable(stack: &mut Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    admin.quiet(&["-n", "shared", "create", "serviceaccount", "kept"])?;
    let sandbox = stack.sandbox;
    let _ = stack.stop("kube-apiserver");
    let config = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [
            {"resources": ["secrets"], "providers": [{"identity": {}}]},
            {"resources": ["*.*"], "providers": [
                {"aesgcm": {"keys": [{"name": "k3", "secret": STANDARD.encode("k3".repeat(16))}]}},
                {"secretbox": {"keys": [{"name": "k3", "secret": STANDARD.encode("k3".repeat(16))}]}},
                {"identity": {}},
            ]},
        ],
    });
    let path = sandbox.write("lacking.json", &config.to_string())?;
    let flag = format!("--encryption-provider-config={}", arg(&path));
    let servers = stack.etcd_servers()?;
    stack.add(&Part::EverleafApiserver(&[&servers, ISSUER, &flag]))?;
    for what in [&["secret", "s"][..], &["secrets"]] {
        let told = admin.run(&[&["-n", "shared", "get"], what].concat())?;
        let told = told.failed_with(1)?;
        ensure_that!(
            told.contains("/registry/secrets/shared/s") && told.contains("aescbc:k3"),
            "{told}"
        );
    }
    admin.quiet(&["-n", "shared", "get", "configmap", "c"])?;
    admin.quiet(&["-n", "shared", "get", "serviceaccount", "kept"])?;
    admin.quiet(&["get", "csr", "r"]).map(drop)
}
