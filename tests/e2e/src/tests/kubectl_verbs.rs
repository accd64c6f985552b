//! What a person does with kubectl, new and old, and what it says. Every verb is tried by the
//! interop suite.

use super::second_node::{CLIENT, CLIENT_USAGES, KUBELET_CLIENT, REQUESTS};
use anyhow::Result;
use base64::Engine;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, Sandbox, Up, arg, eventually, run, signing_request};
use everleaf_stage::{ensure_that, same};
use std::fs;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "kubectl_1_37_reads_and_decides",
        long: false,
        run: new_kubectl,
    },
    Test {
        name: "kubectl_1_20_reads_and_decides",
        long: false,
        run: old_kubectl,
    },
    Test {
        name: "a_person_gets_a_client_certificate_with_openssl_and_kubectl",
        long: false,
        run: person,
    },
    Test {
        name: "controllers_run_as_a_process_of_their_own",
        long: false,
        run: controllers,
    },
    Test {
        name: "the_api_server_runs_alone",
        long: false,
        run: apiserver,
    },
];

fn create(sandbox: &Sandbox, kubectl: &Kubectl<'_>, name: &str) -> Result<()> {
    let path = signing_request(sandbox, name, "/O=staff/CN=jane", CLIENT, CLIENT_USAGES)?;
    let said = kubectl.quiet(&["create", "--validate=false", "-f", arg(&path)])?;
    same(
        "create",
        said,
        format!("certificatesigningrequest.certificates.k8s.io/{name} created"),
    )
}

fn condition(kubectl: &Kubectl<'_>, name: &str) -> Result<String> {
    let row = kubectl.quiet(&["get", "csr", name, "--no-headers"])?;
    Ok(row
        .split_whitespace()
        .next_back()
        .unwrap_or_default()
        .to_owned())
}

fn decided(kubectl: &Kubectl<'_>, name: &str, wanted: &str) -> Result<()> {
    eventually(wanted, 10, || {
        same("condition", condition(kubectl, name)?.as_str(), wanted)
    })
}

fn new_kubectl(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let admin = up.admin();
    for name in ["one", "two", "three"] {
        create(sandbox, &admin, name)?;
    }
    reads_and_decides(sandbox, &admin)?;
    let wide = admin.quiet(&["get", "csr", "-o", "wide"])?;
    ensure_that!(wide.contains("REQUESTEDDURATION"), "{wide}");
    let yaml = admin.quiet(&["get", "csr", "one", "-o", "yaml"])?;
    for words in [
        "apiVersion: certificates.k8s.io/v1",
        "kind: CertificateSigningRequest",
        "type: Approved",
    ] {
        ensure_that!(yaml.contains(words), "no {words:?} in\n{yaml}");
    }
    let json = admin.json(&["get", "csr", "one"])?;
    same(
        "reason",
        json["status"]["conditions"][0]["reason"].as_str(),
        Some("KubectlApprove"),
    )?;
    let names = admin.quiet(&["get", "csr", "-o", "name"])?;
    same("names", names.lines().count(), 2)?;
    same(
        "waited",
        admin
            .quiet(&["wait", "--for=condition=Denied", "csr/two", "--timeout=5s"])?
            .as_str(),
        "certificatesigningrequest.certificates.k8s.io/two condition met",
    )?;
    Ok(Verdict::Passed)
}

fn old_kubectl(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let admin = up.admin().old();
    for name in ["one", "two", "three"] {
        create(sandbox, &admin, name)?;
    }
    reads_and_decides(sandbox, &admin)?;
    Ok(Verdict::Passed)
}

/// get, describe, approve, deny, delete: the words are kubectl's own.
fn reads_and_decides(sandbox: &Sandbox, admin: &Kubectl<'_>) -> Result<()> {
    let table = admin.quiet(&["get", "csr"])?;
    let rows: Vec<&str> = table.lines().collect();
    same("rows", rows.len(), 4)?;
    shows(rows[0], "NAME AGE SIGNERNAME REQUESTOR CONDITION")?;
    shows(rows[1], "kubernetes-admin Pending")?;
    let described = admin.quiet(&["describe", "csr", "one"])?;
    shows(
        &described,
        "Name: Requesting kubernetes-admin Signer: Status: Pending jane Events:",
    )?;
    shows(&described, CLIENT)?;
    let said = |verb: &str, name: &str| {
        format!("certificatesigningrequest.certificates.k8s.io/{name} {verb}")
    };
    let approved = admin.quiet(&["certificate", "approve", "one"])?;
    same("approve", approved, said("approved", "one"))?;
    decided(admin, "one", "Approved,Issued")?;
    let denied = admin.quiet(&["certificate", "deny", "two"])?;
    same("deny", denied, said("denied", "two"))?;
    decided(admin, "two", "Denied")?;
    let again = admin.run(&["certificate", "approve", "two"])?;
    ensure_that!(
        again.code == Some(1),
        "a denied request was approved: {again:?}"
    );
    let removed = admin.quiet(&["delete", "csr", "three"])?.replace('"', "");
    same(
        "delete",
        removed.as_str(),
        "certificatesigningrequest.certificates.k8s.io three deleted",
    )?;
    let gone = admin.run(&["get", "csr", "three"])?.failed_with(1)?;
    let words = r#"Error from server (NotFound): certificatesigningrequests.certificates.k8s.io "three" not found"#;
    same("not found", gone.trim(), words)?;
    let json = admin.json(&["get", "csr", "one"])?;
    let certificate = json["status"]["certificate"].as_str().unwrap_or_default();
    let path = sandbox.path("one.crt");
    fs::write(
        &path,
        base64::engine::general_purpose::STANDARD.decode(certificate)?,
    )?;
    let subject = sandbox
        .openssl(&["x509", "-in", arg(&path), "-noout", "-subject"])?
        .ok()?;
    same("subject", subject.trim(), "subject=O = staff, CN = jane")
}

/// Every word is in the text.
fn shows(text: &str, words: &str) -> Result<()> {
    for word in words.split_whitespace() {
        ensure_that!(text.contains(word), "no {word:?} in\n{text}");
    }
    Ok(())
}

fn person(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let admin = up.admin();
    create(sandbox, &admin, "jane")?;
    admin.quiet(&["certificate", "approve", "jane"])?;
    decided(&admin, "jane", "Approved,Issued")?;
    let certificate =
        admin.quiet(&["get", "csr", "jane", "-o", "jsonpath={.status.certificate}"])?;
    let key = fs::read(sandbox.path("jane.key"))?;
    let mut jane: serde_json::Value =
        serde_json::from_str(&admin.quiet(&["config", "view", "--raw", "-o", "json"])?)?;
    jane["users"][0]["user"] = serde_json::json!({
        "client-certificate-data": certificate,
        "client-key-data": base64::engine::general_purpose::STANDARD.encode(key),
    });
    let kubeconfig = sandbox.write("jane.conf", &jane.to_string())?;
    let jane = Kubectl::new(sandbox, kubeconfig);
    same(
        "whoami",
        super::second_node::whoami(&jane)?,
        "jane".to_owned(),
    )?;
    ensure_that!(!jane.can_i(&["get", "csr"])?, "jane may read requests");
    let review = jane.json(&["auth", "whoami"])?;
    let groups = &review["status"]["userInfo"]["groups"];
    same(
        "groups",
        groups.to_string().as_str(),
        r#"["staff","system:authenticated"]"#,
    )?;
    Ok(Verdict::Passed)
}

/// `up` signs as well; the process of its own must at least come up, sign under contention, and
/// stop in good order.
fn controllers(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    up.process.stop()?;
    let port = everleaf_stage::free_port()?.to_string();
    let server = [
        "apiserver",
        "--data-dir",
        "data",
        "--bind-address",
        "127.0.0.1",
        "--secure-port",
        &port,
        "--enable-bootstrap-token-auth",
    ];
    let mut apiserver = sandbox.start("apiserver", &mut sandbox.everleaf(&server))?;
    let kubeconfig = at_port(sandbox, &up, &port)?;
    let admin = Kubectl::new(sandbox, kubeconfig.clone().into());
    eventually("the API server is ready", 10, || {
        admin.quiet(&["get", "--raw", "/readyz"])
    })?;
    create(sandbox, &admin, "lonely")?;
    admin.quiet(&["certificate", "approve", "lonely"])?;
    same(
        "without a signer",
        condition(&admin, "lonely")?.as_str(),
        "Approved",
    )?;
    let flags = [
        "controllers",
        "--kubeconfig",
        &kubeconfig,
        "--cluster-signing-cert-file",
        "data/pki/ca.crt",
        "--cluster-signing-key-file",
        "data/pki/ca.key",
        "--experimental-cluster-signing-duration=1h",
    ];
    let mut controllers = sandbox.start("controllers", &mut sandbox.everleaf(&flags))?;
    decided(&admin, "lonely", "Approved,Issued")?;
    let node = signing_request(
        sandbox,
        "node",
        "/O=system:nodes/CN=system:node:n7",
        KUBELET_CLIENT,
        CLIENT_USAGES,
    )?;
    Kubectl::new(sandbox, sandbox.path("token.conf")).quiet(&[
        "create",
        "--validate=false",
        "-f",
        arg(&node),
    ])?;
    decided(&admin, "node", "Approved,Issued")?;
    same(
        "deprecation lines",
        controllers.stderr().matches("has been deprecated").count(),
        1,
    )?;
    same("exit code of the controllers", controllers.stop()?, 0)?;
    same("exit code of the API server", apiserver.stop()?, 0)?;
    Ok(Verdict::Passed)
}

/// The kubeconfigs of `up`, pointing to another port; returns the admin's.
fn at_port(sandbox: &Sandbox, up: &Up<'_>, port: &str) -> Result<String> {
    for (from, to) in [
        ("admin.conf", "elsewhere.conf"),
        ("bootstrap-kubelet.conf", "token.conf"),
    ] {
        let text = fs::read_to_string(up.path(from))?;
        let moved: String = text
            .lines()
            .map(|line| match line.split_once("server:") {
                Some((before, _)) => format!("{before}server: https://127.0.0.1:{port}\n"),
                None => format!("{line}\n"),
            })
            .collect();
        sandbox.write(to, &moved)?;
    }
    Ok(sandbox
        .path("elsewhere.conf")
        .to_string_lossy()
        .into_owned())
}

fn apiserver(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    up.process.stop()?;
    sandbox.write("tokens.csv", "s3cr3t-token,carol,1001,\"system:masters\"\n")?;
    let port = everleaf_stage::free_port()?.to_string();
    let flags = [
        "apiserver",
        "--data-dir",
        "fresh",
        "--bind-address",
        "127.0.0.1",
        "--secure-port",
        &port,
        "--tls-cert-file",
        "data/pki/apiserver.crt",
        "--tls-private-key-file",
        "data/pki/apiserver.key",
        "--client-ca-file",
        "data/pki/ca.crt",
        "--token-auth-file",
        "tokens.csv",
        "--anonymous-auth=false",
    ];
    let mut process = sandbox.start("apiserver", &mut sandbox.everleaf(&flags))?;
    let admin = Kubectl::new(sandbox, at_port(sandbox, &up, &port)?.into());
    eventually("the API server is ready", 10, || {
        admin.quiet(&["get", "--raw", "/readyz"])
    })?;
    let carol = admin.json(&["auth", "whoami"])?;
    same(
        "whoami",
        carol["status"]["userInfo"]["username"].as_str(),
        Some("kubernetes-admin"),
    )?;
    let server = format!("https://127.0.0.1:{port}");
    let with_token = |token: &str| {
        let flags = [
            "--server",
            &server,
            "--certificate-authority",
            "data/pki/ca.crt",
            "--token",
            token,
            "auth",
            "whoami",
            "-o",
            "json",
        ];
        run(sandbox.command(&sandbox.tools.kubectl).args(flags))
    };
    let carol = with_token("s3cr3t-token")?.ok()?;
    ensure_that!(carol.contains("\"carol\""), "{carol}");
    let refused = with_token("wrong")?.failed_with(1)?;
    ensure_that!(
        refused.contains("Unauthorized") || refused.contains("logged in"),
        "{refused}"
    );
    ensure_that!(
        admin
            .quiet(&["get", "--raw", REQUESTS])?
            .contains("\"items\":[]"),
        "the store is not its own"
    );
    same("exit code", process.stop()?, 0)?;
    Ok(Verdict::Passed)
}
