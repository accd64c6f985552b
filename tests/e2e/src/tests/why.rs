//! `everleaf why`: what holds a request is named, by the requests and nodes that show it.

use super::serving_approval::SERVING;
use super::serving_attacks::{Node, request};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Answer, Sandbox, Up, arg, ensure_that, eventually, object, run, same};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

pub(super) const TESTS: &[Test] = &[Test {
    name: "why_says_what_holds_a_request_and_what_to_type",
    long: false,
    run: why,
}];

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const NODE: &str = "/O=system:nodes/CN=system:node:n7";
const OF_CLIENTS: &str = "digital signature,client auth";
const OF_SERVERS: &str = "digital signature,server auth";

/// What an administrator files, and what holds it: name, subject, signer, usages, fault.
const HELD: &[[&str; 5]] = &[
    ["by-hand", "/CN=ann", CLIENT, OF_CLIENTS, "manual-approval"],
    [
        "misspelt",
        NODE,
        "kubernetes.io/kubelet-client",
        OF_CLIENTS,
        "signer-misspelt",
    ],
    [
        "foreign",
        NODE,
        "example.com/signer",
        OF_CLIENTS,
        "signer-foreign",
    ],
    [
        "usages",
        NODE,
        KUBELET_CLIENT,
        "server auth",
        "client-usages",
    ],
    [
        "name",
        "/O=system:nodes/CN=n7",
        KUBELET_CLIENT,
        OF_CLIENTS,
        "client-common-name",
    ],
    [
        "group",
        "/O=nodes/CN=system:node:n7",
        KUBELET_CLIENT,
        OF_CLIENTS,
        "client-organization",
    ],
    ["server", NODE, SERVING, OF_SERVERS, "serving-requestor"],
];

/// Somebody who asks.
struct Asker<'a> {
    sandbox: &'a Sandbox,
    kubeconfig: PathBuf,
}

impl Asker<'_> {
    /// `everleaf why` with these words.
    fn ask(&self, args: &[&str]) -> Result<Answer> {
        let mut command = self.sandbox.everleaf(&["why"]);
        run(command.args(args).env("KUBECONFIG", &self.kubeconfig))
    }

    /// The first fault that is named; "" for none, which the exit code says, too.
    fn fault(&self, subject: &str) -> Result<String> {
        let answer = self.ask(&[subject, "-o", "json"])?;
        let diagnosis: Value = serde_json::from_str(&answer.stdout)?;
        let first = &diagnosis["findings"][0];
        same("code", answer.code, Some(i32::from(first.is_object())))?;
        Ok(first["fault"].as_str().unwrap_or_default().to_owned())
    }

    /// Within seconds it is this one.
    fn tells(&self, subject: &str, fault: &str) -> Result<()> {
        eventually(subject, 60, || same(subject, &*self.fault(subject)?, fault))
    }
}

fn file(
    sandbox: &Sandbox,
    up: &Up<'_>,
    [name, subject, signer, usages, _]: [&str; 5],
) -> Result<()> {
    let key = sandbox.path(&format!("{name}.key"));
    let pem = sandbox.path(&format!("{name}.csr"));
    let make = [
        "ecparam",
        "-genkey",
        "-name",
        "prime256v1",
        "-noout",
        "-out",
    ];
    sandbox.openssl(&[&make[..], &[arg(&key)]].concat())?.ok()?;
    let make = ["req", "-new", "-key", arg(&key), "-subj", subject, "-out"];
    sandbox.openssl(&[&make[..], &[arg(&pem)]].concat())?.ok()?;
    let usages: Vec<&str> = usages.split(',').collect();
    let object = object(name, &fs::read(&pem)?, signer, &usages);
    let written = sandbox.write(&format!("{name}.json"), &object.to_string())?;
    let create = ["create", "--validate=false", "-f", arg(&written)];
    up.admin().quiet(&create).map(drop)
}

fn why(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let admin = up.admin();
    let asker = Asker {
        sandbox,
        kubeconfig: up.path("admin.conf"),
    };
    for row in HELD {
        file(sandbox, &up, *row)?;
    }
    let n8 = Node::new(sandbox, &up, "n8")?;
    n8.has(&[("Hostname", "n8"), ("InternalIP", "10.1.0.8")])?;
    let other = "subjectAltName=DNS:n8,IP:10.1.0.9";
    let cluster = "subjectAltName=DNS:kubernetes.default.svc";
    n8.files(&[request(sandbox, "address", "n8", other)?])?;
    n8.files(&[request(sandbox, "cluster", "n8", cluster)?])?;
    sandbox.point("each request is told what holds it", || {
        for [name, .., fault] in HELD {
            asker.tells(&format!("csr/{name}"), fault)?;
        }
        asker.tells("csr/address", "serving-node-addresses")?;
        asker.tells("csr/cluster", "serving-names")
    })?;
    sandbox.point(
        "it is read off one screen, with the command to type",
        || {
            let answer = asker.ask(&["csr", "by-hand"])?;
            same("code", answer.code, Some(1))?;
            let told = answer.stdout;
            ensure_that!(told.lines().count() <= 24, "more than a screen: {told}");
            ensure_that!(
                told.contains("kubectl certificate approve by-hand"),
                "{told}"
            );
            Ok(())
        },
    )?;
    sandbox.point("what was mended is found so: nothing is wrong", || {
        admin.quiet(&["certificate", "approve", "by-hand"])?;
        asker.tells("csr/by-hand", "")?;
        n8.has(&[("Hostname", "n8"), ("InternalIP", "10.1.0.9")])?;
        asker.tells("csr/address", "")
    })?;
    sandbox.point(
        "a decision by hand, a request and a node that are not there",
        || {
            admin.quiet(&["certificate", "deny", "usages"])?;
            asker.tells("csr/usages", "denied-by-hand")?;
            asker.tells("csr/not-there", "request-gone")?;
            asker.tells("node/not-there", "node-unknown")
        },
    )?;
    refused(&asker, &up.path("bootstrap-kubelet.conf"))?;
    Ok(Verdict::Passed)
}

fn refused(asker: &Asker<'_>, bootstrapper: &Path) -> Result<()> {
    asker
        .sandbox
        .point("who may not look is told so, with code 2", || {
            let by = |kubeconfig: &Path| Asker {
                sandbox: asker.sandbox,
                kubeconfig: kubeconfig.to_owned(),
            };
            let told = by(bootstrapper).ask(&["node/n8"])?.failed_with(2)?;
            ensure_that!(told.contains("may not look"), "{told}");
            let nowhere = by(Path::new("none.conf")).ask(&["node/n8"])?;
            let told = nowhere.failed_with(2)?;
            ensure_that!(told.contains("none.conf"), "{told}");
            Ok(())
        })
}
