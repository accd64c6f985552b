//! Post-quantum keys, from the authority to the node: docs/post-quantum.md.

use super::second_node::KUBELET_CLIENT;
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, Kubectl, Sandbox, Up, arg, ensure_that, eventually, run, same};
use serde_json::{Value, json};
use std::path::Path;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "ml_dsa_from_the_authority_to_the_node",
        long: false,
        run: everything,
    },
    Test {
        name: "nodes_with_ml_dsa_below_an_ecdsa_authority",
        long: false,
        run: mixed,
    },
    Test {
        name: "a_node_whose_kind_of_key_is_refused_asks_with_another",
        long: false,
        run: falls_back,
    },
    Test {
        name: "a_node_moves_to_ml_dsa_and_back_at_its_renewals",
        long: true,
        run: moves,
    },
];

/// Asks for an ECDSA control plane, which kubectl of Kubernetes 1.37 can speak to.
const CLASSIC: [&str; 2] = ["--control-plane-key-algorithm", "ECDSA-P256"];
const CURRENT: &str = "pki/kubelet-client-current.pem";

/// Kind of the key of the first certificate in a file, as `everleaf certs` tells it.
fn kind(sandbox: &Sandbox, path: &Path) -> Result<String> {
    let answer = run(&mut sandbox.everleaf(&["certs", "-o", "json", arg(path)]))?;
    let json: Value = serde_json::from_str(&answer.stdout)
        .with_context(|| format!("everleaf certs {}: {answer:?}", path.display()))?;
    let kind = &json["certificates"][0]["keyAlgorithm"];
    Ok(kind.as_str().unwrap_or_default().to_owned())
}

/// No key of another kind signs, serves or authenticates; a client of TLS 1.2 is refused.
fn everything(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::launch(sandbox, &["--key-algorithm", "ML-DSA-65"])?;
    // kubectl of 1.37 cannot ask whether it is ready.
    up.node_certificate()?;
    for name in [
        "pki/ca.crt",
        "pki/apiserver.crt",
        "admin.conf",
        "node/pki/kubelet-client-current.pem",
    ] {
        same(name, kind(sandbox, &up.path(name))?.as_str(), "ML-DSA-65")?;
    }
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent
        .args
        .extend(["--client-certificate-key-algorithm", "ML-DSA-87"].map(str::to_owned));
    agent.start()?;
    agent.certificate()?;
    same(
        "n2",
        kind(sandbox, &agent.path(CURRENT))?.as_str(),
        "ML-DSA-87",
    )?;
    eventually("the node is accepted with it", 10, || {
        ensure_that!(
            agent.log().contains("client certificate is in use"),
            "{}",
            agent.log()
        );
        Ok(())
    })?;
    let admin = up.path("admin.conf");
    let status =
        run(&mut sandbox.everleaf(&["status", "-o", "wide", "--kubeconfig", arg(&admin)]))?.ok()?;
    ensure_that!(status.contains("n2"), "everleaf status: {status}");
    let address = up.args_mut()[6].clone();
    let old = ["s_client", "-tls1_2", "-connect", &address];
    let answer = sandbox.openssl(&old)?;
    let told = format!("{}{}", answer.stdout, answer.stderr);
    ensure_that!(told.contains("handshake failure"), "TLS 1.2: {told}");
    agent.stop()?;
    same("exit code", up.process.stop()?, 0)?;
    Ok(Verdict::Passed)
}

/// What kubectl of 1.37 sees of such nodes, and which of their requests are refused.
fn mixed(sandbox: &Sandbox) -> Result<Verdict> {
    let args = [&["--key-algorithm", "ML-DSA-65"][..], &CLASSIC].concat();
    let up = Up::start(sandbox, &args)?;
    up.node_certificate()?;
    let node = up.path("node").join(CURRENT);
    same("the node", kind(sandbox, &node)?.as_str(), "ML-DSA-65")?;
    same(
        "the CA",
        kind(sandbox, &up.path("pki/ca.crt"))?.as_str(),
        "ECDSA P-256",
    )?;
    let admin = up.admin();
    let list = admin.json(&["get", "csr"])?;
    let request = &list["items"][0];
    let name = request["metadata"]["name"].as_str().unwrap_or_default();
    let conditions = admin.quiet(&["get", "csr", name])?;
    ensure_that!(conditions.contains("Approved,Issued"), "{conditions}");
    let conf = up.path("admin.conf");
    let csr = format!("csr/{name}");
    let why = run(&mut sandbox.everleaf(&["why", &csr, "--kubeconfig", arg(&conf)]))?;
    let key = "key ML-DSA-65 (category 3, post-quantum)";
    ensure_that!(why.stdout.contains(key), "everleaf why: {why:?}");
    let doctor = run(&mut sandbox.everleaf(&["doctor", "--kubeconfig", arg(&conf)]))?;
    ensure_that!(!doctor.stdout.contains("versions-ml-dsa"), "{doctor:?}");
    refused(sandbox, &admin, &request["spec"]["request"])?;
    Ok(Verdict::Passed)
}

/// The same request with usages that a key which only signs must not have, or with none that it
/// must.
fn refused(sandbox: &Sandbox, admin: &Kubectl<'_>, request: &Value) -> Result<()> {
    for (usages, expected) in [
        (
            &["digital signature", "key encipherment", "client auth"][..],
            "spec.usages[1]: Invalid value: \"key encipherment\": When using ML-DSA keys",
        ),
        (&["client auth"], "When using ML-DSA keys, at least one of"),
    ] {
        let object = json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": "bad"},
            "spec": {"request": request, "signerName": KUBELET_CLIENT, "usages": usages},
        });
        let file = sandbox.write("bad.json", &object.to_string())?;
        let told = admin.run(&["create", "-f", arg(&file)])?.failed_with(1)?;
        ensure_that!(told.contains(expected), "{usages:?}: {told}");
    }
    Ok(())
}

/// An API server of 1.38 with the gate off takes no such request, and the node has its certificate
/// all the same.
fn falls_back(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    let address = up.args_mut()[6].clone();
    let port = address.rsplit_once(':').context("up listens nowhere")?.1;
    up.process.stop()?;
    let mut server = sandbox.everleaf(&["apiserver", "--data-dir", "data", "--secure-port", port]);
    server.args([
        "--bind-address",
        "127.0.0.1",
        "--enable-bootstrap-token-auth",
    ]);
    server.args(["--feature-gates", "CertificateSigningRequestMLDSA=false"]);
    server.arg("--client-ca-file").arg(up.path("pki/ca.crt"));
    let _server = sandbox.start("apiserver", &mut server)?;
    eventually("the API server is ready", 20, || {
        up.admin().quiet(&["get", "--raw", "/readyz"])
    })?;
    let mut controllers =
        sandbox.everleaf(&["controllers", "--leader-elect=false", "--kubeconfig"]);
    controllers.arg(up.path("admin.conf"));
    controllers
        .arg("--cluster-signing-cert-file")
        .arg(up.path("pki/ca.crt"));
    controllers
        .arg("--cluster-signing-key-file")
        .arg(up.path("pki/ca.key"));
    let _controllers = sandbox.start("controllers", &mut controllers)?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    let wanted = ["--client-certificate-key-algorithm", "ML-DSA-65"];
    agent.args.extend(wanted.map(str::to_owned));
    agent.start()?;
    agent.certificate()?;
    same(
        "n2",
        kind(sandbox, &agent.path(CURRENT))?.as_str(),
        "ECDSA P-256",
    )?;
    let log = agent.log();
    let line = "the control plane takes no ML-DSA-65 key (ML-DSA keys cannot be used for requests): asking with an ECDSA P-256 key";
    same("lines that say so", log.matches(line).count(), 1)?;
    let list = up.admin().json(&["get", "csr"])?;
    same("requests", list["items"].as_array().map_or(0, Vec::len), 1)?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

/// Certificates of eight minutes, five of them before they are issued: renewals come within about
/// two minutes. Each start of the agent asks for another kind; the certificate in use stays until
/// it is due.
fn moves(sandbox: &Sandbox) -> Result<Verdict> {
    let args = [
        &["--no-node", "--cluster-signing-duration", "3m"][..],
        &CLASSIC,
    ]
    .concat();
    let up = Up::start(sandbox, &args)?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    let usual = agent.args.clone();
    let mut before = "ECDSA P-256";
    for (flag, expected) in [
        ("ECDSA-P256", "ECDSA P-256"),
        ("ML-DSA-65", "ML-DSA-65"),
        ("ECDSA-P256", "ECDSA P-256"),
    ] {
        let is_first = agent.process.is_none() && !agent.path(CURRENT).exists();
        if !is_first {
            agent.stop()?;
        }
        let wanted = ["--client-certificate-key-algorithm", flag].map(str::to_owned);
        agent.args = [&usual[..], &wanted].concat();
        agent.start()?;
        match is_first {
            true => drop(agent.certificate()?),
            false => {
                let old = agent.certificate_now()?;
                same(
                    "before the renewal",
                    kind(sandbox, &agent.path(CURRENT))?.as_str(),
                    before,
                )?;
                agent.renewed(&old, 170)?;
            }
        }
        same(
            "after it",
            kind(sandbox, &agent.path(CURRENT))?.as_str(),
            expected,
        )?;
        let log = agent.log();
        ensure_that!(!log.contains("takes no"), "a kind was refused: {log}");
        before = expected;
    }
    let list = up.admin().json(&["get", "csr"])?;
    for request in list["items"].as_array().into_iter().flatten() {
        let conditions = request["status"]["conditions"].to_string();
        let is_refused = conditions.contains("Denied") || conditions.contains("Failed");
        ensure_that!(!is_refused, "{request}");
    }
    Ok(Verdict::Passed)
}
