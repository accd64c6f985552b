//! A second node joins as a kubelet would, and may do what a node may do.

use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Certificate, Kubectl, Sandbox, Up, arg, eventually, free_port, host_address, http_get,
    signing_request,
};
use everleaf_stage::{ensure_that, same};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// The collection of requests.
pub(super) const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// The signer of node identities.
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// A signer that nobody approves for by itself.
pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Usages of a node's client certificate.
pub(super) const CLIENT_USAGES: &[&str] = &["digital signature", "key encipherment", "client auth"];

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_node_joins_by_the_rotation_flags",
        long: false,
        run: by_flags,
    },
    Test {
        name: "a_node_joins_by_feature_gates",
        long: false,
        run: by_gates,
    },
    Test {
        name: "a_node_joins_by_a_kubelet_configuration_and_a_person_approves",
        long: false,
        run: by_config,
    },
    Test {
        name: "the_serving_certificate_names_the_addresses_of_the_node_object",
        long: false,
        run: node_addresses,
    },
    Test {
        name: "an_agent_tells_its_metrics_under_the_kubelets_names",
        long: false,
        run: metrics,
    },
    Test {
        name: "a_watcher_sees_pending_then_approved_then_issued",
        long: false,
        run: watched,
    },
    Test {
        name: "a_node_may_do_what_a_node_may_and_nothing_else",
        long: false,
        run: node_rights,
    },
    Test {
        name: "a_bootstrap_token_may_only_request",
        long: false,
        run: token_rights,
    },
];

fn by_flags(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    let address = host_address()?.to_string();
    agent.args = strings(&[
        "--rotate-certificates",
        "--rotate-server-certificates",
        "--node-ip",
        &address,
    ]);
    joins(&mut agent)?;
    is_complete(sandbox, &mut agent, &address)
}

fn by_gates(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    let gates = "RotateKubeletServerCertificate=true,RotateKubeletClientCertificate=true";
    let address = host_address()?.to_string();
    agent.args = vec![format!("--feature-gates={gates}")];
    agent.args.extend(strings(&[
        "--rotate-certificates=true",
        "--rotate-server-certificates=true",
        &format!("--node-ip={address}"),
    ]));
    joins(&mut agent)?;
    is_complete(sandbox, &mut agent, &address)
}

/// The same where nobody approves serving requests but a person.
fn by_config(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--serving-approval=false"])?;
    let config = sandbox.write(
        "kubelet.yaml",
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
         rotateCertificates: true\nserverTLSBootstrap: true\nclusterDomain: cluster.local\n",
    )?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent.args = strings(&["--config", arg(&config), "--node-ip", "127.0.0.1"]);
    joins(&mut agent)?;
    let serving = serving_request(&up.admin(), "n2")?;
    // Time in which an approver would have acted.
    std::thread::sleep(Duration::from_secs(2));
    let table = up.admin().quiet(&["get", "csr", &serving])?;
    ensure_that!(
        table.ends_with("Pending"),
        "the serving request is decided already: {table}"
    );
    ensure_that!(
        !agent.path("pki/kubelet-server-current.pem").exists(),
        "a serving certificate without approval"
    );
    up.admin().quiet(&["certificate", "approve", &serving])?;
    is_complete(sandbox, &mut agent, "127.0.0.1")
}

pub(super) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// Bootstraps, and has the client certificate.
fn joins(agent: &mut Agent<'_>) -> Result<()> {
    agent.start()?;
    let certificate = agent.certificate()?;
    same(
        "subject",
        certificate.subject,
        "O = system:nodes, CN = system:node:n2".to_owned(),
    )
}

/// Has the serving certificate, too; looks at every file.
fn is_complete(sandbox: &Sandbox, agent: &mut Agent<'_>, address: &str) -> Result<Verdict> {
    let server = agent.path("pki/kubelet-server-current.pem");
    let certificate = eventually("the serving certificate", 15, || {
        Certificate::read(sandbox, &server)
    })?;
    let names = format!("DNS:n2, IP Address:{address}");
    same("SANs", certificate.names, names)?;
    // The record of the pending request goes last, a moment after the certificate came.
    eventually("the layout of a kubelet", 5, || kubelet_layout(agent))?;
    same(
        "who it is",
        whoami(&agent.kubectl())?,
        "system:node:n2".to_owned(),
    )?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

/// Name of the node's serving request, once it is there.
pub(super) fn serving_request(admin: &Kubectl<'_>, node: &str) -> Result<String> {
    eventually("the serving request", 15, || {
        let list = admin.json(&["get", "csr"])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let user = format!("system:node:{node}");
        let found = items.iter().find(|item| {
            item["spec"]["signerName"] == "kubernetes.io/kubelet-serving"
                && item["spec"]["username"] == user.as_str()
        });
        let name = found.and_then(|item| item["metadata"]["name"].as_str());
        ensure_that!(name.is_some(), "no serving request of {user}");
        Ok(name.unwrap_or_default().to_owned())
    })
}

/// Names, modes and links of a kubelet's cert dir.
fn kubelet_layout(agent: &Agent<'_>) -> Result<()> {
    let mut names: Vec<String> = fs::read_dir(agent.path("pki"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    let dated = |kind: &str, name: &str| {
        let stamp = name
            .strip_prefix(kind)
            .and_then(|rest| rest.strip_suffix(".pem"));
        stamp.is_some_and(|stamp| {
            stamp.len() == "-2026-01-02-03-04-05".len()
                && stamp
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'-')
        })
    };
    for kind in ["kubelet-client", "kubelet-server"] {
        let current = agent.path(&format!("pki/{kind}-current.pem"));
        ensure_that!(
            fs::symlink_metadata(&current)?.is_symlink(),
            "{kind}-current.pem is no link"
        );
        let target = fs::read_link(&current)?;
        same(
            "folder of the target",
            target.parent(),
            Some(agent.path("pki").as_path()),
        )?;
        let name = target
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        ensure_that!(dated(kind, &name), "{kind}: the link points to {name}");
        let mode = fs::metadata(&target)?.mode() & 0o777;
        ensure_that!(mode == 0o600, "{name} has mode {mode:o}");
        let text = fs::read_to_string(&target)?;
        let labels: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("-----BEGIN"))
            .collect();
        let wanted = vec![
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN EC PRIVATE KEY-----",
        ];
        same(&name, labels, wanted)?;
    }
    let known = |name: &String| {
        name.ends_with("-current.pem")
            || dated("kubelet-client", name)
            || dated("kubelet-server", name)
            || name.ends_with(".lock")
            || name == "lock"
    };
    let strange: Vec<&String> = names.iter().filter(|name| !known(name)).collect();
    ensure_that!(
        strange.is_empty(),
        "files that a kubelet does not have: {strange:?}"
    );
    Ok(())
}

/// `kubectl auth whoami`, the name.
pub(super) fn whoami(kubectl: &Kubectl<'_>) -> Result<String> {
    let review = kubectl.json(&["auth", "whoami"])?;
    Ok(review["status"]["userInfo"]["username"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

fn node_addresses(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n2"}}"#;
    let node = sandbox.write("node.json", node)?;
    up.admin()
        .quiet(&["create", "--validate=false", "-f", arg(&node)])?;
    let addresses = r#"{"status":{"addresses":[{"type":"InternalIP","address":"10.1.2.3"},
        {"type":"Hostname","address":"n2.example.org"}]}}"#;
    let patch = [
        "patch",
        "node",
        "n2",
        "--subresource=status",
        "--type=merge",
        "-p",
        addresses,
    ];
    up.admin().quiet(&patch)?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent.args.extend(strings(&[
        "--rotate-server-certificates",
        "--node-ip",
        "127.0.0.1",
    ]));
    agent.start()?;
    let path = agent.path("pki/kubelet-server-current.pem");
    let certificate = eventually("the serving certificate", 15, || {
        Certificate::read(sandbox, &path)
    })?;
    same(
        "SANs",
        certificate.names.as_str(),
        "DNS:n2.example.org, IP Address:10.1.2.3",
    )?;
    Ok(Verdict::Passed)
}

fn metrics(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    let address = format!("127.0.0.1:{}", free_port()?);
    agent.args.extend(strings(&[
        "--rotate-server-certificates",
        "--metrics-bind-address",
        &address,
    ]));
    agent.start()?;
    agent.certificate()?;
    let text = eventually("a scrape", 10, || http_get(&address, "/metrics"))?;
    for name in [
        "kubelet_certificate_manager_client_ttl_seconds",
        "kubelet_certificate_manager_server_ttl_seconds",
        "kubelet_certificate_manager_client_expiration_renew_errors",
        "kubelet_server_expiration_renew_errors",
        "kubelet_certificate_manager_server_rotation_seconds",
        "everleaf_agent_certificate_rotations_total",
    ] {
        ensure_that!(
            text.contains(&format!("# TYPE {name} ")),
            "no {name} in\n{text}"
        );
    }
    ensure_that!(
        http_get(&address, "/readyz")?.ends_with("ok"),
        "the agent is not ready"
    );
    Ok(Verdict::Passed)
}

/// However fast the approval comes, a watcher sees each step, because each is a write.
fn watched(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let watch = up
        .admin()
        .start("watch", &["get", "csr", "-w", "--no-headers"])?;
    // A request that nobody decides shows that the watch is open.
    let mut number = 0;
    eventually("the watch is open", 10, || {
        number += 1;
        let name = format!("probe-{number}");
        let probe = signing_request(sandbox, &name, "/CN=somebody", CLIENT, CLIENT_USAGES)?;
        up.admin()
            .quiet(&["create", "--validate=false", "-f", arg(&probe)])?;
        std::thread::sleep(Duration::from_millis(200));
        ensure_that!(watch.stdout().contains("probe-"), "the watch shows nothing");
        Ok(())
    })?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent.start()?;
    agent.certificate()?;
    let seen = eventually("three lines", 10, || {
        let text = watch.stdout();
        let conditions: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with("node-csr-"))
            .filter_map(|line| line.split_whitespace().next_back())
            .map(str::to_owned)
            .collect();
        ensure_that!(conditions.len() >= 3, "{text}");
        Ok(conditions)
    })?;
    same(
        "conditions",
        seen,
        strings(&["Pending", "Approved", "Approved,Issued"]),
    )?;
    Ok(Verdict::Passed)
}

fn node_rights(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent.start()?;
    agent.certificate()?;
    let node = agent.kubectl();
    for verb in ["create", "get", "list", "watch"] {
        ensure_that!(node.can_i(&[verb, "csr"])?, "a node cannot {verb} requests");
    }
    for question in [
        &["get", "secrets", "-n", "kube-system"][..],
        &["list", "secrets", "-A"],
        &["update", "certificatesigningrequests/approval"],
        &["update", "certificatesigningrequests/status"],
        &["approve", "signers.certificates.k8s.io", "--all"],
        &["delete", "csr"],
        &["update", "node/host1"],
        &["create", "clusterrolebindings"],
    ] {
        let question: Vec<&str> = question
            .iter()
            .copied()
            .filter(|word| *word != "--all")
            .collect();
        let allowed = node.can_i(&question)?;
        // RBAC and the Node authorizer let a node update nodes; admission keeps it to its own.
        ensure_that!(
            !allowed || question[1] == "node/host1",
            "a node can {question:?}"
        );
    }
    node.quiet(&["get", "csr"])?;
    let refused = node
        .run(&["get", "secrets", "-n", "kube-system"])?
        .failed_with(1)?;
    ensure_that!(refused.contains("is forbidden"), "{refused}");
    let open = signing_request(sandbox, "open", "/CN=somebody", CLIENT, CLIENT_USAGES)?;
    up.admin()
        .quiet(&["create", "--validate=false", "-f", arg(&open)])?;
    for verb in ["approve", "deny"] {
        let refused = node.run(&["certificate", verb, "open"])?.failed_with(1)?;
        ensure_that!(refused.contains("orbidden"), "{refused}");
    }
    let own = request_of(sandbox, "own", "n2")?;
    node.quiet(&["create", "--validate=false", "-f", &own])?;
    let other = request_of(sandbox, "other", "n3")?;
    let refused = node
        .run(&["create", "--validate=false", "-f", &other])?
        .failed_with(1)?;
    ensure_that!(refused.contains("forbidden"), "{refused}");
    let node_object = sandbox.write(
        "node.json",
        r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"host1"}}"#,
    )?;
    up.admin()
        .run(&["create", "--validate=false", "-f", arg(&node_object)])?;
    let refused = node
        .run(&[
            "patch",
            "node",
            "host1",
            "--type=merge",
            "-p",
            r#"{"metadata":{"labels":{"a":"b"}}}"#,
        ])?
        .failed_with(1)?;
    ensure_that!(refused.contains("forbidden"), "{refused}");
    Ok(Verdict::Passed)
}

fn request_of(sandbox: &Sandbox, name: &str, node: &str) -> Result<String> {
    let subject = format!("/O=system:nodes/CN=system:node:{node}");
    let path = signing_request(sandbox, name, &subject, KUBELET_CLIENT, CLIENT_USAGES)?;
    Ok(path.to_string_lossy().into_owned())
}

fn token_rights(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let token = up.bootstrapper();
    let name = whoami(&token)?;
    ensure_that!(name.starts_with("system:bootstrap:"), "the token is {name}");
    for verb in ["create", "get", "list", "watch"] {
        ensure_that!(
            token.can_i(&[verb, "csr"])?,
            "the token cannot {verb} requests"
        );
    }
    for question in [
        &["delete", "csr"][..],
        &["update", "certificatesigningrequests/approval"],
        &["get", "secrets", "-n", "kube-system"],
        &["list", "nodes"],
        &["create", "nodes"],
        &["list", "configmaps", "-A"],
    ] {
        ensure_that!(!token.can_i(question)?, "the token can {question:?}");
    }
    let request = request_of(sandbox, "joining", "n9")?;
    token.quiet(&["create", "--validate=false", "-f", &request])?;
    eventually("the request is issued", 10, || {
        let table = up
            .admin()
            .quiet(&["get", "csr", "joining", "--no-headers"])?;
        ensure_that!(table.ends_with("Approved,Issued"), "{table}");
        Ok(())
    })?;
    Ok(Verdict::Passed)
}
