//! Pods on a real node mount the certificates of our signer: key, request, volume and renewal are
//! the kubelet's.
//!
//! Their containers never start, for there is no image; a kubelet mounts the volumes before it asks
//! for one.

use super::Pairing;
use super::pod_signer_on_kube_apiserver::signer;
use crate::stack::{Kubelet, Part, Stack, obstacle};
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, POD_SIGNER, Sandbox, arg, ensure_that, eventually, same};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver, kubelet 1.37 (with containerd)",
    ours: "`everleaf controllers --controllers=pod-certificate-signer`",
    test: Test {
        name: "real_kubelet_mounts_pod_certificates",
        long: true,
        run,
    },
};

const NODE: &str = "node1";
/// Kinds of keys, as a pod names them.
const KEYS: [&str; 5] = ["ED25519", "ECDSAP256", "ECDSAP384", "ECDSAP521", "RSA3072"];
/// Longest wait for a mount: a kubelet asks again after up to two minutes.
const MOUNT_SECONDS_MAX: u64 = 150;

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    if let Some(obstacle) = obstacle() {
        return Ok(Verdict::Skipped(obstacle));
    }
    let parts = [
        Part::Etcd,
        Part::KubeApiserver(&[]),
        Part::EverleafControllers(&[]),
        Part::Kubelet(NODE),
    ];
    let mut stack = Stack::start(sandbox, &parts)?;
    let admin = stack.admin()?;
    let _signer = signer(&stack, &admin)?;
    admin.quiet(&["create", "serviceaccount", "shop"])?;
    eventually("the Node", 60, || {
        admin.quiet(&["get", "node", NODE]).map(|_| ())
    })?;
    for kind in KEYS {
        let name = kind.to_lowercase();
        create(sandbox, &admin, &name, kind, &json!({}))?;
    }
    for kind in KEYS {
        let claim = format!(
            "a pod mounts a key of {kind}, its certificate of our signer and the signer's CA, and openssl verifies them"
        );
        let name = kind.to_lowercase();
        let _ = sandbox.point(&claim, || {
            mounts(sandbox, stack.kubelet(NODE)?, &admin, &name)
        });
    }
    let _ = sandbox.point(
        "a pod that tells the signer what it does not know is denied, and its node says so in an Event",
        || {
            let told = json!({"userAnnotations": {"example.com/role": "admin"}});
            create(sandbox, &admin, "annotated", "ED25519", &told)?;
            denied(&admin, "annotated")
        },
    );
    let _ = sandbox.point(
        "kubectl get podcertificaterequests shows whose they are",
        || rows(&admin),
    );
    Ok(Verdict::Passed)
}

/// A pod of the account "shop" on the node, with the volume of docs/pod-certificates.md.
fn create(
    sandbox: &Sandbox,
    admin: &Kubectl<'_>,
    name: &str,
    kind: &str,
    further: &Value,
) -> Result<()> {
    let mut certificate = json!({
        "signerName": POD_SIGNER, "keyType": kind, "credentialBundlePath": "identity.pem",
        "maxExpirationSeconds": 3600,
    });
    for (member, value) in further.as_object().context("a map")? {
        certificate[member] = value.clone();
    }
    let bundle = json!({"signerName": POD_SIGNER, "labelSelector": {}, "path": "ca.pem"});
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": NODE,
            "serviceAccountName": "shop",
            "automountServiceAccountToken": false,
            // No network, no sandbox's address: nothing but the node's own.
            "hostNetwork": true,
            "containers": [{
                "name": "main", "image": "example.com/none:1", "imagePullPolicy": "Never",
                "volumeMounts": [{"name": "identity", "mountPath": "/identity"}],
            }],
            "volumes": [{
                "name": "identity",
                "projected": {"sources": [
                    {"podCertificate": certificate},
                    {"clusterTrustBundle": bundle},
                ]},
            }],
        },
    });
    let file = sandbox.write(&format!("pod-{name}.json"), &pod.to_string())?;
    admin.quiet(&["create", "-f", arg(&file)]).map(|_| ())
}

/// Waits for the files in the pod's volume, and judges them with openssl.
fn mounts(sandbox: &Sandbox, kubelet: &Kubelet<'_>, admin: &Kubectl<'_>, name: &str) -> Result<()> {
    let directory = volume(kubelet, admin, name)?;
    let read = |file: &str| {
        let path = directory.join(file);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let identity = eventually("the volume", MOUNT_SECONDS_MAX, || read("identity.pem"))?;
    let ca = fs::read_to_string(sandbox.path("pod-ca.crt"))?;
    same("the CA in the volume", read("ca.pem")?.trim(), ca.trim())?;
    let (key, chain) = identity
        .split_once("-----BEGIN CERTIFICATE-----")
        .context("no key before the chain")?;
    let chain = format!("-----BEGIN CERTIFICATE-----{chain}");
    let key = sandbox.write(&format!("{name}.key"), key)?;
    let chain = sandbox.write(&format!("{name}.crt"), &chain)?;
    for purpose in ["sslclient", "sslserver"] {
        let verify = [
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-CAfile",
            "pod-ca.crt",
            arg(&chain),
        ];
        sandbox.openssl(&verify)?.ok()?;
    }
    let shown = [
        "x509",
        "-in",
        arg(&chain),
        "-noout",
        "-ext",
        "subjectAltName",
    ];
    let names = sandbox.openssl(&shown)?.ok()?;
    let identity = "URI:spiffe://example.org/ns/default/sa/shop";
    ensure_that!(names.contains(identity), "{identity} is not in {names}");
    let of_leaf = ["x509", "-in", arg(&chain), "-noout", "-pubkey"];
    let of_leaf = sandbox.openssl(&of_leaf)?.ok()?;
    let of_key = ["pkey", "-in", arg(&key), "-pubout"];
    let of_key = sandbox.openssl(&of_key)?.ok()?;
    same("its key", of_leaf.trim(), of_key.trim())
}

/// The directory of a pod's volume, as its node sees it: the kubelet mounts in a namespace of its
/// own.
fn volume(kubelet: &Kubelet<'_>, admin: &Kubectl<'_>, name: &str) -> Result<PathBuf> {
    let pod = admin.json(&["get", "pod", name])?;
    let uid = pod["metadata"]["uid"].as_str().context("no uid")?;
    let volume = format!("root/pods/{uid}/volumes/kubernetes.io~projected/identity");
    kubelet.within(&kubelet.path(&volume))
}

fn denied(admin: &Kubectl<'_>, name: &str) -> Result<()> {
    eventually("the Event", MOUNT_SECONDS_MAX, || {
        let selector = format!("--field-selector=involvedObject.name={name}");
        let events = admin.quiet(&[
            "get",
            "events",
            &selector,
            "-o",
            "jsonpath={.items[*].message}",
        ])?;
        let told = events.contains("InvalidUnverifiedUserAnnotations");
        ensure_that!(told, "its events say: {events}");
        Ok(())
    })
}

fn rows(admin: &Kubectl<'_>) -> Result<()> {
    let list = admin.quiet(&["get", "podcertificaterequests", "--no-headers"])?;
    for kind in KEYS {
        let name = kind.to_lowercase();
        let row = list
            .lines()
            .find(|row| row.split_whitespace().nth(1) == Some(&name));
        let row = row.with_context(|| format!("no request of {name} in {list}"))?;
        let cells: Vec<&str> = row.split_whitespace().skip(1).collect();
        let expected = [&name, "shop", NODE, POD_SIGNER, "Issued", "<none>"];
        same("the row", cells, expected.to_vec())?;
    }
    Ok(())
}
