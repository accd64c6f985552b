//! Post-quantum keys, from the authority to the node: docs/post-quantum.md.

use super::after_a_storm::resident;
use super::second_node::{CLIENT, KUBELET_CLIENT};
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, Kubectl, Sandbox, Up, arg, ensure_that, eventually, run, same};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

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
        name: "a_thousand_ml_dsa_requests_wait_within_limits",
        long: false,
        run: waits,
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
    let keys = "1 certificate; keys: 1 ML-DSA-65 (category 3, post-quantum)";
    ensure_that!(doctor.stdout.contains(keys), "{doctor:?}");
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

/// Requests that wait at once.
const WAITING: usize = 1_000;
/// Programs that file them.
const FILERS: usize = 25;
/// One of them as it is stored and sent, at least.
const REQUEST_BYTES_MIN: usize = 13 * 1024;
/// Objects of a page, and the longest that a page of them may be.
const PAGE: (usize, usize) = (100, 2 << 20);
/// Watches that begin with all of them at once.
const WATCHES: usize = 8;
/// What `up` may hold of a request that waits: as it is stored, as it is shown to watches (of the
/// last 1,024 events), in its controllers' hands, and a quarter more.
const HELD_BYTES_MAX: u64 = 64 * 1024;
/// What it may hold of lists, pages and watches that have ended: what is kept of the past and for
/// pages (docs/performance.md), and what allocators keep at hand.
const READ_BYTES_MAX: u64 = 72 << 20;

/// Requests of the largest kind that nobody decides; then they are read in every way, all at once.
fn waits(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let request = largest(sandbox, &up)?;
    let admin = up.admin();
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let before = resident(up.process.id())?;
    sandbox.point("they are taken, and each takes a little memory", || {
        file(sandbox, &admin, &request)?;
        let held = resident(up.process.id())?.saturating_sub(before) / WAITING as u64;
        ensure_that!(held <= HELD_BYTES_MAX, "{held} bytes of each");
        Ok(())
    })?;
    let filled = resident(up.process.id())?;
    sandbox.point(
        "pages of a hundred have a hundred, and are all of them",
        || pages(&admin, path),
    )?;
    sandbox.point("eight watches that begin with all of them", || {
        let watch = format!("{path}?watch=1&resourceVersion=0&timeoutSeconds=4");
        let mut watches = (0..WATCHES)
            .map(|number| admin.start(&format!("watch-{number}"), &["get", "--raw", &watch]))
            .collect::<Result<Vec<_>>>()?;
        for process in &mut watches {
            same("exit code", process.exit_code(Duration::from_secs(30))?, 0)?;
            let told = process.stdout();
            let added = told
                .lines()
                .filter(|line| line.contains("\"waits-"))
                .count();
            same("requests of a watch", added, WAITING)?;
            ensure_that!(told.len() > WAITING * REQUEST_BYTES_MIN, "{}", told.len());
        }
        Ok(())
    })?;
    sandbox.point("lists, pages and watches leave little behind", || {
        let grown = resident(up.process.id())?.saturating_sub(filled);
        ensure_that!(grown <= READ_BYTES_MAX, "{grown} bytes");
        Ok(())
    })?;
    admin.quiet(&["delete", "--raw", path])?;
    same(
        "requests",
        admin.json(&["get", "csr"])?["items"].clone(),
        json!([]),
    )?;
    Ok(Verdict::Passed)
}

/// Files them, by many kubectls at once: each makes five calls a second, after its first ten.
fn file(sandbox: &Sandbox, admin: &Kubectl<'_>, request: &Value) -> Result<()> {
    let names: Vec<String> = (0..WAITING)
        .map(|number| format!("waits-{number:04}"))
        .collect();
    let mut processes = Vec::new();
    for (number, names) in names.chunks(WAITING.div_ceil(FILERS)).enumerate() {
        let items = names.iter().map(|name| {
            json!({
                "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
                "metadata": {"name": name},
                "spec": {"request": request, "signerName": CLIENT, "usages": ["digital signature", "client auth"]},
            })
        });
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items.collect::<Value>()});
        let path = sandbox.write(&format!("waiting-{number}.json"), &list.to_string())?;
        let args = ["create", "--validate=false", "-f", arg(&path)];
        processes.push(admin.start(&format!("file-{number}"), &args)?);
    }
    for process in &mut processes {
        let code = process.exit_code(Duration::from_secs(60))?;
        ensure_that!(code == 0, "{}", process.stderr());
    }
    Ok(())
}

/// The request of a node with an ML-DSA-87 key.
fn largest(sandbox: &Sandbox, up: &Up<'_>) -> Result<Value> {
    let mut agent = Agent::new(sandbox, up, "n2");
    let wanted = ["--client-certificate-key-algorithm", "ML-DSA-87"];
    agent.args.extend(wanted.map(str::to_owned));
    agent.start()?;
    agent.certificate()?;
    agent.stop()?;
    let list = up.admin().json(&["get", "csr"])?;
    let object = &list["items"][0];
    let bytes = object.to_string().len();
    ensure_that!(bytes > REQUEST_BYTES_MIN, "a request has {bytes} bytes");
    Ok(object["spec"]["request"].clone())
}

fn pages(admin: &Kubectl<'_>, path: &str) -> Result<()> {
    let (objects_max, bytes_max) = PAGE;
    let mut seen = BTreeSet::new();
    let mut from = String::new();
    loop {
        let page = format!("{path}?limit={objects_max}&continue={from}");
        let text = admin.quiet(&["get", "--raw", &page])?;
        ensure_that!(text.len() <= bytes_max, "a page of {} bytes", text.len());
        let list: Value = serde_json::from_str(&text)?;
        let items = list["items"].as_array().context("no items")?;
        ensure_that!(items.len() <= objects_max, "{} in a page", items.len());
        let names = items
            .iter()
            .filter_map(|item| item["metadata"]["name"].as_str());
        seen.extend(
            names
                .filter(|name| name.starts_with("waits-"))
                .map(str::to_owned),
        );
        match list["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => next.clone_into(&mut from),
            _ => break,
        }
    }
    same("requests in all pages", seen.len(), WAITING)
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
