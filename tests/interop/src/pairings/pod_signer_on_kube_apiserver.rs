//! Our signer of pod certificates against a real kube-apiserver, with the rights that
//! docs/pod-certificates.md gives it.

use super::Pairing;
use crate::stack::{Part, Stack};
use anyhow::{Context as _, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Kubectl, POD_SIGNER, POD_SIGNER_FLAGS, Process, Sandbox, arg, ensure_that, eventually,
    pod_authority, pod_is_granted, pod_is_granted_by_proof, pod_is_refused, same,
};
use serde_json::json;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver 1.37",
    ours: "`everleaf controllers --controllers=pod-certificate-signer`",
    test: Test {
        name: "everleaf_signs_pod_certificates_on_real_kube_apiserver",
        long: false,
        run,
    },
};

const DOCUMENT: &str = include_str!("../../../../docs/pod-certificates.md");
/// Kinds of keys that kubelets make, as openssl names them.
const KEYS: [(&str, &[&str]); 5] = [
    ("ed25519", &["-algorithm", "ed25519"]),
    (
        "p256",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    ),
    (
        "p384",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    ),
    (
        "p521",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    ),
    (
        "rsa",
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
    ),
];

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let older = "--runtime-config=certificates.k8s.io/v1beta1=true";
    let stack = Stack::start(sandbox, &[Part::Etcd, Part::KubeApiserver(&[older])])?;
    let admin = stack.admin()?;
    let _signer = signer(&stack, &admin)?;
    for (name, kind) in KEYS {
        sandbox.point(
            &format!("kube-apiserver takes the certificate of a pod with a key of {name}, and openssl verifies it"),
            || pod_is_granted(sandbox, &admin, name, kind),
        )?;
    }
    let pss = [
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:max",
    ];
    for (at, signing) in [(1, &[][..]), (4, &pss)] {
        let (name, kind) = KEYS[at];
        let point =
            format!("a key of {name} beside its proof, as kubelets before 1.37 show it, is signed");
        sandbox.point(&point, || {
            let name = format!("older-{name}");
            pod_is_granted_by_proof(sandbox, &admin, &name, (kind, signing))
        })?;
    }
    sandbox.point(
        "what the signer does not know is denied in Kubernetes' words",
        || {
            let annotated = json!({"unverifiedUserAnnotations": {"example.com/role": "admin"}});
            let expected = ("Denied", "InvalidUnverifiedUserAnnotations");
            pod_is_refused(sandbox, &admin, ("annotated", annotated), expected)
        },
    )?;
    sandbox.point("its CA is published as a ClusterTrustBundle", || {
        published(sandbox, &admin)
    })?;
    Ok(Verdict::Passed)
}

/// Our signer, its CA and its bundle, with the rights of the document.
pub(super) fn signer(stack: &Stack<'_>, admin: &Kubectl<'_>) -> Result<Process> {
    let sandbox = stack.sandbox;
    pod_authority(sandbox)?;
    let block = DOCUMENT.split("```yaml\n").nth(1);
    let yaml = block.and_then(|block| block.split("```").next());
    let yaml = yaml.context("docs/pod-certificates.md has no block of YAML")?;
    let rights = sandbox.write("rights.yaml", yaml)?;
    admin.quiet(&["create", "-f", arg(&rights)])?;
    let kubeconfig = stack.kubeconfig("signer", "/CN=everleaf-pod-signer")?;
    let mut command = sandbox.everleaf(&["controllers", "--leader-elect=false", "--kubeconfig"]);
    command.arg(&kubeconfig).args(POD_SIGNER_FLAGS);
    command.args(["--controllers", "pod-certificate-signer"]);
    command.args(["--publish-signer-trust-bundles", POD_SIGNER]);
    command.args(["--issuance-log", "log"]);
    sandbox.start("pod-signer", &mut command)
}

fn published(sandbox: &Sandbox, admin: &Kubectl<'_>) -> Result<()> {
    let selector = format!("--field-selector=spec.signerName={POD_SIGNER}");
    let bundle = eventually("the ClusterTrustBundle", 20, || {
        let list = admin.json(&["get", "clustertrustbundles", &selector])?;
        let items = list["items"].as_array().context("no list")?;
        ensure_that!(items.len() == 1, "{} bundles", items.len());
        Ok(items[0]["spec"]["trustBundle"].clone())
    })?;
    let ca = std::fs::read_to_string(sandbox.path("pod-ca.crt"))?;
    same(
        "the bundle",
        bundle.as_str().unwrap_or_default().trim(),
        ca.trim(),
    )
}
