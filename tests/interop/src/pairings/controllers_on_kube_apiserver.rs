//! `everleaf controllers` as the only controllers of a real kube-apiserver, with the rights that
//! docs/controllers.md gives them.

use super::Pairing;
use super::agent_on_kubernetes::refused_as_node;
use super::requests::{self, CLIENT, CLIENT_USAGES, Filed, SERVING, SERVING_USAGES, file_client};
use super::serving_policy;
use super::upkeep::{self, Scene};
use crate::stack::{Kubernetes, Part, Stack};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, Sandbox, arg, ensure_that, eventually, same};
use serde_json::json;
use std::time::Duration;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver 1.37",
    ours: "`everleaf controllers`",
    test: Test {
        name: "everleaf_controllers_on_real_kube_apiserver",
        long: true,
        run: |sandbox| run(sandbox, Kubernetes::V1_37),
    },
};

pub(crate) const OLD: Pairing = Pairing {
    real: "kube-apiserver 1.21.5",
    ours: "`everleaf controllers`",
    test: Test {
        name: "everleaf_controllers_on_old_real_kube_apiserver",
        long: true,
        run: |sandbox| run(sandbox, Kubernetes::V1_21),
    },
};

/// A kube-apiserver that starts on a busy machine may be away for longer than the default 12 s of a
/// leader's patience.
const FLAGS: &[&str] = &[
    "--cluster-signing-duration=1h",
    "--leader-elect-lease-duration=90s",
    "--leader-elect-renew-deadline=60s",
];
const APPROVED_NODE: &str =
    "Approved/AutoApproved: Auto approving kubelet client certificate after SubjectAccessReview.";
const APPROVED_SELF: &str = "Approved/AutoApproved: Auto approving self kubelet client certificate after SubjectAccessReview.";
const APPROVED_BY_HAND: &str =
    "Approved/KubectlApprove: This CSR was approved by kubectl certificate approve.";
/// Seen to be kube-controller-manager's for the same requests.
const FAILED_USAGES: &str = "Failed/SignerValidationFailure: usages did not match [digital signature key encipherment server auth]";
const FAILED_ORGANIZATION: &str =
    "Failed/SignerValidationFailure: subject organization is not system:nodes";
/// Longest that an approval and a signature may take here: two cores, and other stacks beside it.
const SECONDS_MAX: u64 = 20;

fn run(sandbox: &Sandbox, release: Kubernetes) -> Result<Verdict> {
    let parts = [
        Part::Etcd,
        Part::KubeApiserver(&[]),
        Part::EverleafControllers(FLAGS),
    ];
    let mut stack = Stack::of(release, sandbox, &parts)?;
    let admin = stack.admin()?;
    let bootstrapper = Kubectl::new(sandbox, stack.bootstrap_kubeconfig()?);
    let node = sandbox.point(
        "a bootstrap request is approved and signed, and its certificate authenticates the node",
        || first(&stack, &admin, &bootstrapper),
    )?;
    sandbox.point(
        "the node's own renewal is approved by the rule for renewals",
        || {
            let renewal = file_client(sandbox, &node, "renewal", "n1")?;
            renewal.issued(&admin, SECONDS_MAX)?;
            expect(&renewal, &admin, &[APPROVED_SELF, "issued"])
        },
    )?;
    sandbox.point(
        "a serving request stays Pending until a person approves it, then it is issued",
        || serving(sandbox, &admin, &node),
    )?;
    sandbox.point(
        "approved requests that break their signer's rules fail in kube-controller-manager's words",
        || failing(sandbox, &admin),
    )?;
    sandbox.point(
        "whoever may not have a certificate does not get one, until a binding allows it",
        || forbidden(&stack, &admin),
    )?;
    sandbox.point(
        "other signers' requests and denied ones are left alone",
        || foreign(sandbox, &admin),
    )?;
    sandbox.point("old requests are deleted, fresh ones stay", || {
        cleaning(&mut stack, &admin)
    })?;
    sandbox.point(
        "asked to, they keep bootstrap tokens, their signatures and the published CA",
        || Scene::new(&stack, &admin, "ours").play().map(drop),
    )?;
    sandbox.point(
        "they go on after kube-apiserver was killed and started again",
        || {
            stack.kill("kube-apiserver")?;
            stack.add(&Part::KubeApiserver(&[]))?;
            let request = file_client(sandbox, &bootstrapper, "after-restart", "n2")?;
            request.issued(&admin, SECONDS_MAX).map(|_| ())
        },
    )?;
    sandbox.point(
        "they list again when the server no longer knows where they were (410)",
        || gone(&mut stack, &admin, &bootstrapper),
    )?;
    stack.add(&Part::EverleafServingApprover(&[]))?;
    serving_policy::judges(&stack, &admin, &node)?;
    Ok(Verdict::Passed)
}

fn expect(request: &Filed<'_>, admin: &Kubectl<'_>, wanted: &[&str]) -> Result<()> {
    let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
    eventually(&request.name, SECONDS_MAX, || {
        same("its state", request.state(admin)?, wanted.clone())
    })
}

fn approve(admin: &Kubectl<'_>, request: &Filed<'_>) -> Result<()> {
    admin
        .quiet(&["certificate", "approve", &request.name])
        .map(|_| ())
}

/// Time in which controllers that would do something would have done it.
fn wait_in_vain() {
    std::thread::sleep(Duration::from_secs(2));
}

fn first<'a>(stack: &Stack<'a>, admin: &Kubectl<'_>, by: &Kubectl<'_>) -> Result<Kubectl<'a>> {
    let request = file_client(stack.sandbox, by, "bootstrap", "n1")?;
    let certificate = request.issued(admin, SECONDS_MAX)?;
    expect(&request, admin, &[APPROVED_NODE, "issued"])?;
    // Backdated by five minutes, as kube-controller-manager does.
    same("lifetime", certificate.lifetime().as_mins(), 65)?;
    let kubeconfig =
        stack
            .authority()?
            .holder("n1", &request.certificate(), &request.key(), stack.port()?)?;
    let node = Kubectl::new(stack.sandbox, kubeconfig);
    if stack.release == Kubernetes::V1_21 {
        refused_as_node(&node)?;
        return Ok(node);
    }
    let who = node.json(&["auth", "whoami"])?;
    let user = &who["status"]["userInfo"];
    same(
        "user name",
        user["username"].as_str(),
        Some("system:node:n1"),
    )?;
    let groups = json!(["system:nodes", "system:authenticated"]);
    same("groups", &user["groups"], &groups)?;
    Ok(node)
}

fn serving(sandbox: &Sandbox, admin: &Kubectl<'_>, node: &Kubectl<'_>) -> Result<()> {
    let subject = ("/O=system:nodes/CN=system:node:n1", "DNS:n1,IP:10.0.0.1");
    let request = requests::file(sandbox, node, "serving", subject, (SERVING, SERVING_USAGES))?;
    wait_in_vain();
    expect(&request, admin, &[])?;
    approve(admin, &request)?;
    let certificate = request.issued(admin, SECONDS_MAX)?;
    expect(&request, admin, &[APPROVED_BY_HAND, "issued"])?;
    for name in ["DNS:n1", "IP Address:10.0.0.1"] {
        ensure_that!(
            certificate.names.contains(name),
            "{name} is not in {:?}",
            certificate.names
        );
    }
    Ok(())
}

fn failing(sandbox: &Sandbox, admin: &Kubectl<'_>) -> Result<()> {
    let usages: &[&str] = &["digital signature", "server auth", "client auth"];
    let subject = ("/O=system:nodes/CN=system:node:n1", "DNS:n1");
    let one = requests::file(sandbox, admin, "usages", subject, (SERVING, usages))?;
    let subject = ("/O=system:masters/CN=someone", "");
    let other = requests::file(sandbox, admin, "masters", subject, (CLIENT, CLIENT_USAGES))?;
    for (request, failure) in [(&one, FAILED_USAGES), (&other, FAILED_ORGANIZATION)] {
        approve(admin, request)?;
        expect(request, admin, &[APPROVED_BY_HAND, failure])?;
    }
    Ok(())
}

fn forbidden(stack: &Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let bind = |role: &str| {
        let (role, name) = (format!("--clusterrole={role}"), role.replace(':', "-"));
        admin.quiet(&[
            "create",
            "clusterrolebinding",
            &name,
            &role,
            "--user=stranger",
        ])
    };
    bind("system:node-bootstrapper")?;
    let stranger = stack.user("stranger", "/CN=stranger")?;
    let request = file_client(stack.sandbox, &stranger, "stranger", "n3")?;
    wait_in_vain();
    expect(&request, admin, &[])?;
    // Nothing tells the controllers; they ask again by themselves.
    bind("system:certificates.k8s.io:certificatesigningrequests:nodeclient")?;
    expect(&request, admin, &[APPROVED_NODE, "issued"])
}

fn foreign(sandbox: &Sandbox, admin: &Kubectl<'_>) -> Result<()> {
    let usages: &[&str] = &["client auth"];
    let other = requests::file(
        sandbox,
        admin,
        "other",
        ("/CN=x", ""),
        ("example.com/x", usages),
    )?;
    let subject = ("/O=system:nodes/CN=system:node:n1", "DNS:n1");
    let denied = requests::file(sandbox, admin, "denied", subject, (SERVING, SERVING_USAGES))?;
    approve(admin, &other)?;
    admin.quiet(&["certificate", "deny", &denied.name])?;
    wait_in_vain();
    expect(&other, admin, &[APPROVED_BY_HAND])?;
    let text = "Denied/KubectlDeny: This CSR was denied by kubectl certificate deny.";
    expect(&denied, admin, &[text])
}

/// Denies a request, as of this time.
fn deny_at(sandbox: &Sandbox, admin: &Kubectl<'_>, request: &Filed<'_>, time: &str) -> Result<()> {
    let mut object = admin.json(&["get", "csr", &request.name])?;
    let condition = json!({
        "type": "Denied", "status": "True", "reason": "Test", "message": "by the test", "lastUpdateTime": time,
    });
    object["status"] = json!({ "conditions": [condition] });
    let file = sandbox.write(
        &format!("{}-denied.json", request.name),
        &object.to_string(),
    )?;
    let path = format!(
        "/apis/certificates.k8s.io/v1/certificatesigningrequests/{}/approval",
        request.name
    );
    admin
        .quiet(&["replace", "--raw", &path, "-f", arg(&file)])
        .map(|_| ())
}

/// The cleaner looks around once an hour, and first when it starts.
fn cleaning<'a>(stack: &mut Stack<'a>, admin: &Kubectl<'a>) -> Result<()> {
    let sandbox = stack.sandbox;
    let subject = ("/O=system:nodes/CN=system:node:n1", "DNS:n1");
    let new = |name: &str| requests::file(sandbox, admin, name, subject, (SERVING, SERVING_USAGES));
    let (old, fresh, pending) = (new("old")?, new("fresh")?, new("pending")?);
    deny_at(sandbox, admin, &old, "2020-01-01T00:00:00Z")?;
    admin.quiet(&["certificate", "deny", &fresh.name])?;
    same("exit code", stack.stop("controllers")?, 0)?;
    Scene::new(stack, admin, "ours").lay_out()?;
    upkeep::grant(stack, admin, "everleaf-controllers")?;
    let controllers = format!("--controllers=*,{}", upkeep::NAMES);
    stack.add(&Part::EverleafControllers(
        &[&[controllers.as_str()], FLAGS].concat(),
    ))?;
    expect(&old, admin, &["deleted"])?;
    wait_in_vain();
    for kept in [&fresh, &pending] {
        ensure_that!(kept.status(admin)?.is_some(), "{} was deleted", kept.name);
    }
    Ok(())
}

fn gone(stack: &mut Stack<'_>, admin: &Kubectl<'_>, by: &Kubectl<'_>) -> Result<()> {
    let sandbox = stack.sandbox;
    file_client(sandbox, by, "before", "n4")?.issued(admin, SECONDS_MAX)?;
    stack.part("controllers")?.pause()?;
    // Their connection ends here: what follows does not wait for them in a socket.
    stack.kill("kube-apiserver")?;
    stack.add(&Part::KubeApiserver(&[]))?;
    let missed = file_client(sandbox, by, "missed", "n5")?;
    let deleted = file_client(sandbox, by, "deleted", "n6")?;
    admin.quiet(&["delete", "csr", &deleted.name])?;
    stack.kill("kube-apiserver")?;
    stack.compact()?;
    stack.add(&Part::KubeApiserver(&[]))?;
    stack.part("controllers")?.resume()?;
    missed.issued(admin, SECONDS_MAX)?;
    file_client(sandbox, by, "afterwards", "n7")?.issued(admin, SECONDS_MAX)?;
    Ok(())
}
