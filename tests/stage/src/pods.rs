//! PodCertificateRequests as a kubelet makes them, with keys that openssl makes.

use crate::{Kubectl, Sandbox, arg, ensure_that, eventually, same};
use anyhow::{Context as _, Result};
use base64::Engine as _;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The signer of the suites.
pub const POD_SIGNER: &str = "example.com/pods";
/// Flags that switch it on, for the CA that [`pod_authority`] makes.
pub const POD_SIGNER_FLAGS: [&str; 5] = [
    "--pod-certificate-signer-name=example.com/pods",
    "--pod-certificate-trust-domain=example.org",
    "--pod-certificate-dns-names={service-account}.{namespace}.svc.cluster.local",
    "--pod-certificate-cert-file=pod-ca.crt",
    "--pod-certificate-key-file=pod-ca.key",
];
/// Longest wait for a certificate.
const SECONDS_MAX: u64 = 30;

/// `pod-ca.crt` and `pod-ca.key`.
pub fn pod_authority(sandbox: &Sandbox) -> Result<()> {
    let args = [
        "ecparam",
        "-name",
        "prime256v1",
        "-genkey",
        "-out",
        "pod-ca.key",
    ];
    sandbox.openssl(&args)?.ok()?;
    let fixed = [
        "req",
        "-x509",
        "-subj",
        "/CN=pods",
        "-key",
        "pod-ca.key",
        "-days",
        "30",
    ];
    let usage = [
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
        "-out",
        "pod-ca.crt",
    ];
    sandbox.openssl(&[&fixed[..], &usage].concat())?.ok()?;
    Ok(())
}

/// A request of this name with a key of this kind (`openssl genpkey`), `spec` merged into its own.
pub fn pod_request(sandbox: &Sandbox, name: &str, kind: &[&str], spec: Value) -> Result<PathBuf> {
    let (key, stub) = (format!("{name}.key"), format!("{name}.der"));
    let generate = [&["genpkey", "-out", &key][..], kind].concat();
    sandbox.openssl(&generate)?.ok()?;
    let args = [
        "req", "-new", "-subj", "/", "-key", &key, "-outform", "DER", "-out", &stub,
    ];
    sandbox.openssl(&args)?.ok()?;
    let der = std::fs::read(sandbox.path(&stub))?;
    let mut object = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "PodCertificateRequest",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "signerName": POD_SIGNER,
            "podName": name, "podUID": "11111111-0000-4000-8000-000000000001",
            "serviceAccountName": "shop", "serviceAccountUID": "11111111-0000-4000-8000-000000000002",
            "nodeName": "n1", "nodeUID": "11111111-0000-4000-8000-000000000003",
            "maxExpirationSeconds": 7200,
            "stubPKCS10Request": base64::engine::general_purpose::STANDARD.encode(der),
        },
    });
    let members = spec.as_object().context("spec is a map")?;
    for (member, value) in members {
        object["spec"][member] = value.clone();
    }
    sandbox.write(&format!("{name}.json"), &object.to_string())
}

/// Waits until a request has ended; it, whole.
pub fn pod_request_ended(admin: &Kubectl<'_>, name: &str) -> Result<Value> {
    eventually(&format!("the end of {name}"), SECONDS_MAX, || {
        let object = admin.json(&["get", "podcertificaterequest", name])?;
        let ended = !object["status"]["conditions"].is_null();
        ensure_that!(ended, "{name} waits");
        Ok(object)
    })
}

/// Creates such a request and sees that it is granted: by openssl's eyes and by the dates in its
/// status.
pub fn pod_is_granted(
    sandbox: &Sandbox,
    admin: &Kubectl<'_>,
    name: &str,
    kind: &[&str],
) -> Result<()> {
    let request = pod_request(sandbox, name, kind, json!({}))?;
    admin.quiet(&["create", "-f", arg(&request)])?;
    pod_is_issued(sandbox, admin, name)
}

/// The same with the key beside a signature over the pod's UID, as kubelets before 1.37 show it in
/// `v1beta1`; `signing` are flags of `openssl dgst`.
pub fn pod_is_granted_by_proof(
    sandbox: &Sandbox,
    admin: &Kubectl<'_>,
    name: &str,
    (kind, signing): (&[&str], &[&str]),
) -> Result<()> {
    let path = pod_request(sandbox, name, kind, json!({}))?;
    let mut object: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let (key, public) = (format!("{name}.key"), format!("{name}.spki"));
    let args = [
        "pkey", "-in", &key, "-pubout", "-outform", "DER", "-out", &public,
    ];
    sandbox.openssl(&args)?.ok()?;
    let uid = object["spec"]["podUID"].as_str().unwrap_or_default();
    let uid = sandbox.write("uid", uid)?;
    let proof = format!("{name}.proof");
    let fixed = ["dgst", "-sha256", "-sign", &key, "-out", &proof];
    sandbox
        .openssl(&[&fixed[..], signing, &[arg(&uid)]].concat())?
        .ok()?;
    let encoded = |name: &str| {
        let bytes = std::fs::read(sandbox.path(name))?;
        anyhow::Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
    };
    object["apiVersion"] = "certificates.k8s.io/v1beta1".into();
    object["spec"]["stubPKCS10Request"] = Value::Null;
    object["spec"]["pkixPublicKey"] = encoded(&public)?.into();
    object["spec"]["proofOfPossession"] = encoded(&proof)?.into();
    let request = sandbox.write(&format!("{name}.json"), &object.to_string())?;
    // It warns of the version, and is right.
    admin.run(&["create", "-f", arg(&request)])?.ok()?;
    pod_is_issued(sandbox, admin, name)
}

fn pod_is_issued(sandbox: &Sandbox, admin: &Kubectl<'_>, name: &str) -> Result<()> {
    let object = pod_request_ended(admin, name)?;
    let status = &object["status"];
    let condition = &status["conditions"][0];
    same("how it ended", &condition["type"], &json!("Issued"))?;
    let chain = status["certificateChain"].as_str().context("no chain")?;
    let path = sandbox.write(&format!("{name}.crt"), chain)?;
    for purpose in ["sslclient", "sslserver"] {
        let verify = [
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-CAfile",
            "pod-ca.crt",
        ];
        sandbox
            .openssl(&[&verify[..], &[arg(&path)]].concat())?
            .ok()?;
    }
    let shown = [
        "x509",
        "-in",
        arg(&path),
        "-noout",
        "-ext",
        "subjectAltName",
    ];
    let names = sandbox.openssl(&shown)?.ok()?;
    for name in [
        "URI:spiffe://example.org/ns/default/sa/shop",
        "DNS:shop.default.svc.cluster.local",
        "critical",
    ] {
        ensure_that!(names.contains(name), "{name} is not in {names}");
    }
    let of_leaf = sandbox
        .openssl(&["x509", "-in", arg(&path), "-noout", "-pubkey"])?
        .ok()?;
    let key = format!("{name}.key");
    let of_key = sandbox.openssl(&["pkey", "-in", &key, "-pubout"])?.ok()?;
    same("its key", of_leaf.trim(), of_key.trim())?;
    let row = admin.quiet(&["get", "podcertificaterequests", name, "--no-headers"])?;
    let cells: Vec<&str> = row.split_whitespace().collect();
    let expected = [name, name, "shop", "n1", POD_SIGNER, "Issued", "<none>"];
    same("kubectl get", cells, expected.to_vec())
}

/// Creates such a request and sees that it ends with this condition and reason.
pub fn pod_is_refused(
    sandbox: &Sandbox,
    admin: &Kubectl<'_>,
    (name, spec): (&str, Value),
    (kind, reason): (&str, &str),
) -> Result<()> {
    let request = pod_request(sandbox, name, &["-algorithm", "ed25519"], spec)?;
    admin.quiet(&["create", "-f", arg(&request)])?;
    let object = pod_request_ended(admin, name)?;
    let condition = &object["status"]["conditions"][0];
    same("its end", &condition["type"], &json!(kind))?;
    same("its reason", &condition["reason"], &json!(reason))?;
    same(
        "its chain",
        &object["status"]["certificateChain"],
        &Value::Null,
    )
}
