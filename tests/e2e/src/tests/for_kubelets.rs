//! What kubelets and controllers find and leave behind besides certificates, as a person sees it
//! with kubectl.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, Sandbox, Up, arg};
use everleaf_stage::{ensure_that, same};
use std::fs;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "what_a_kubelet_looks_for_is_there_and_empty",
        long: false,
        run: empty,
    },
    Test {
        name: "events_are_told_beside_their_object",
        long: false,
        run: events,
    },
    Test {
        name: "kubectl_makes_a_token_and_a_program_uses_it",
        long: false,
        run: token,
    },
    Test {
        name: "a_stranger_may_read_how_to_join_and_nothing_else",
        long: false,
        run: stranger,
    },
];

fn create(sandbox: &Sandbox, kubectl: &Kubectl<'_>, name: &str, yaml: &str) -> Result<String> {
    let path = sandbox.write(name, yaml)?;
    kubectl.quiet(&["create", "--validate=false", "-f", arg(&path)])
}

fn empty(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    for kubectl in [up.admin(), up.admin().old()] {
        for resources in [
            "pods,services",
            "csinodes,csidrivers,runtimeclasses",
            "volumeattachments",
        ] {
            let found = kubectl.json(&["get", resources, "--all-namespaces"])?;
            same(resources, found["items"].as_array().map(Vec::len), Some(0))?;
        }
        let all = kubectl.run(&["get", "all"])?;
        same("code of get all", all.code, Some(0))?;
        ensure_that!(all.stderr.contains("No resources found"), "{all:?}");
    }
    let node =
        "apiVersion: storage.k8s.io/v1\nkind: CSINode\nmetadata: {name: n1}\nspec: {drivers: []}\n";
    let said = create(sandbox, &up.admin(), "csinode.yaml", node)?;
    same("said", said.as_str(), "csinode.storage.k8s.io/n1 created")?;
    let row = up
        .admin()
        .quiet(&["get", "csinode", "n1", "--no-headers"])?;
    let cells: Vec<&str> = row.split_whitespace().collect();
    same("row", &cells[..2], &["n1", "0"][..])?;
    Ok(Verdict::Passed)
}

fn events(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    up.node_certificate()?;
    let admin = up.admin();
    let list = admin.json(&["get", "csr"])?;
    let metadata = &list["items"][0]["metadata"];
    let (Some(name), Some(uid)) = (metadata["name"].as_str(), metadata["uid"].as_str()) else {
        anyhow::bail!("no request: {list}");
    };
    let event = format!(
        "apiVersion: v1\nkind: Event\nmetadata: {{name: e1, namespace: default}}\nreason: Audited\nmessage: looked at\n\
         type: Normal\ncount: 2\nsource: {{component: auditor}}\nfirstTimestamp: 2020-01-01T00:00:00Z\n\
         involvedObject: {{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, name: {name}, uid: {uid}}}\n"
    );
    create(sandbox, &admin, "event.yaml", &event)?;
    for kubectl in [up.admin(), up.admin().old()] {
        let row = kubectl.quiet(&["get", "events", "--no-headers"])?;
        for words in ["Normal", "Audited", &name.to_lowercase(), "looked at"] {
            ensure_that!(
                row.to_lowercase().contains(&words.to_lowercase()),
                "no {words:?} in {row}"
            );
        }
        let wide = kubectl.quiet(&["get", "events", "-o", "wide"])?;
        ensure_that!(
            wide.contains("FIRST SEEN") && wide.contains("auditor"),
            "{wide}"
        );
        let described = kubectl.quiet(&["describe", "csr", name])?;
        ensure_that!(described.contains("looked at"), "{described}");
    }
    let told = admin.quiet(&["events", "--for", &format!("csr/{name}")])?;
    ensure_that!(told.contains("looked at"), "{told}");
    let selector = "involvedObject.name=nobody";
    let none = admin.json(&["get", "events", "-A", "--field-selector", selector])?;
    same(
        "events of nobody",
        none["items"].as_array().map(Vec::len),
        Some(0),
    )?;
    Ok(Verdict::Passed)
}

fn stranger(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let config = fs::read_to_string(up.path("admin.conf"))?;
    let url = config
        .lines()
        .find_map(|line| line.trim().strip_prefix("server: "))
        .context("no server in admin.conf")?;
    let admin = up.admin();
    let ask = |path: &str| {
        // kubectl asks for a name when it has no credential; the server treats both alike.
        let whom = ["--as=system:anonymous", "--as-group=system:unauthenticated"];
        admin.run(&[&whom[..], &["get", "--raw", path]].concat())
    };
    let maps = "/api/v1/namespaces/kube-public/configmaps";
    let known = ask(&format!("{maps}/cluster-info"))?.ok()?;
    let server = format!("server: {url}");
    ensure_that!(
        known.contains("certificate-authority-data") && known.contains(&server),
        "{known}"
    );
    let refused = ask(maps)?;
    same("code", refused.code, Some(1))?;
    ensure_that!(refused.stderr.contains("system:anonymous"), "{refused:?}");
    Ok(Verdict::Passed)
}

fn token(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let admin = up.admin();
    admin.quiet(&["create", "serviceaccount", "robot"])?;
    let token = admin.quiet(&["create", "token", "robot", "--duration=10m"])?;
    same("parts", token.split('.').count(), 3)?;
    let config = fs::read_to_string(up.path("admin.conf"))?;
    let url = config
        .lines()
        .find_map(|line| line.trim().strip_prefix("server: "))
        .context("no server in admin.conf")?;
    let ca = up.path("pki/ca.crt");
    let robot = Kubectl::new(sandbox, sandbox.write("robot.conf", "")?);
    let whom = [
        "--server",
        url,
        "--certificate-authority",
        arg(&ca),
        "--token",
        &token,
    ];
    let ask = |args: &[&str]| robot.run(&[&whom[..], args].concat());
    let me = ask(&[
        "auth",
        "whoami",
        "-o",
        "jsonpath={.status.userInfo.username}",
    ])?
    .ok()?;
    same("user", me.as_str(), "system:serviceaccount:default:robot")?;
    let refused = ask(&["get", "csr"])?;
    ensure_that!(
        refused.stderr.contains("cannot list resource"),
        "{refused:?}"
    );
    admin.quiet(&["delete", "serviceaccount", "robot"])?;
    let gone = ask(&["auth", "whoami"])?;
    ensure_that!(gone.stderr.contains("Unauthorized"), "{gone:?}");
    Ok(Verdict::Passed)
}
