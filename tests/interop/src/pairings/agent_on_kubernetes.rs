//! `everleaf agent` as the only Everleaf part: real kube-apiserver, real kube-controller-manager.

use super::Pairing;
use super::requests::{CLIENT, file_client};
use crate::stack::{Kubernetes, Part, Stack};
use anyhow::{Context, Result, bail};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Certificate, Kubectl, Sandbox, arg, ensure_that, eventually, run as run_once, same,
};
use serde_json::json;
use std::path::PathBuf;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.37",
    ours: "`everleaf agent`",
    test: Test {
        name: "everleaf_agent_on_real_kubernetes",
        long: true,
        run,
    },
};

pub(crate) const OLD: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.21.5",
    ours: "`everleaf agent`",
    test: Test {
        name: "everleaf_agent_on_old_real_kubernetes",
        long: true,
        run: run_old,
    },
};

/// kube-controller-manager backdates by five minutes: of these eight minutes it signs, the agent
/// waits 36 s to 132 s.
const SIGNING_DURATION: &str = "--cluster-signing-duration=3m";
/// The same eight minutes: an old one counts from the backdated begin, and what it signs for three
/// minutes has ended already.
const OLD_SIGNING_DURATION: &str = "--cluster-signing-duration=8m";
/// Before the certificate ends, so that no bootstrap can stand in for a rotation.
const ROTATION_SECONDS_MAX: u64 = 165;
const NODE: &str = "n1";

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let mut stack = start(sandbox, Kubernetes::V1_37)?;
    let admin = stack.admin()?;
    let first = joins(&mut stack, &admin)?;
    let mut off = sandbox.point(
        "an agent with --late-reissue says at once that kube-apiserver offers no such thing",
        || told_early(sandbox, stack.bootstrap_kubeconfig()?),
    )?;
    let second = sandbox.point(
        "the client certificate is rotated while kube-controller-manager signs for 3 minutes",
        || stack.agent(NODE)?.renewed(&first, ROTATION_SECONDS_MAX),
    )?;
    sandbox.point("the connection uses the new certificate", || {
        let agent = stack.agent(NODE)?;
        whoami(&agent.kubectl(), &second)?;
        eventually("a request by the node itself", 5, || {
            ensure_that!(
                requests_of(&admin, "system:node:n1")?.len() >= 2,
                "no client request of the node itself"
            );
            Ok(())
        })
    })?;
    sandbox.point(
        "it rotates again after kube-apiserver was killed and started again",
        || rotates_after_a_crash(&mut stack, &second).map(drop),
    )?;
    sandbox.point(
        "a node that is told to have an ML-DSA key, which this release cannot read, joins with an ECDSA key, and says why",
        || joins_with_another_key(sandbox, stack.bootstrap_kubeconfig()?),
    )?;
    sandbox.point(
        "the one with --late-reissue, switched on when its certificate has ended, says what somebody has to do",
        || told_late(sandbox, &mut off),
    )?;
    Ok(Verdict::Passed)
}

/// A control plane that overlooks a node's request without key encipherment, and names no
/// credential of whom it answers.
fn run_old(sandbox: &Sandbox) -> Result<Verdict> {
    let mut stack = start(sandbox, Kubernetes::V1_21)?;
    let admin = stack.admin()?;
    let first = joins(&mut stack, &admin)?;
    let second = sandbox.point(
        "the client certificate is rotated while kube-controller-manager signs for 8 minutes, 5 of them in the past",
        || stack.agent(NODE)?.renewed(&first, ROTATION_SECONDS_MAX),
    )?;
    let third = sandbox.point(
        "it rotates again after kube-apiserver was killed and started again",
        || rotates_after_a_crash(&mut stack, &second),
    )?;
    sandbox.point("and a third time", || {
        stack.agent(NODE)?.renewed(&third, ROTATION_SECONDS_MAX)
    })?;
    sandbox.point(
        "each renewal was a request of the node itself, approved and issued, with key encipherment",
        || rotations(&admin, 3),
    )?;
    sandbox.point(
        "a request without key encipherment stays Pending there",
        || {
            let by = Kubectl::new(sandbox, stack.bootstrap_kubeconfig()?);
            let request = file_client(sandbox, &by, "short", "n2")?;
            std::thread::sleep(std::time::Duration::from_secs(3));
            same("its state", request.state(&admin)?, Vec::new())
        },
    )?;
    Ok(Verdict::Passed)
}

fn start(sandbox: &Sandbox, release: Kubernetes) -> Result<Stack<'_>> {
    let signing_duration = match release {
        Kubernetes::V1_21 => OLD_SIGNING_DURATION,
        _ => SIGNING_DURATION,
    };
    let parts = [
        Part::Etcd,
        Part::KubeApiserver(&[]),
        Part::KubeControllerManager(&[signing_duration]),
        Part::EverleafAgent(NODE),
    ];
    Stack::of(release, sandbox, &parts)
}

/// Up to a node with both certificates; its first client certificate.
fn joins(stack: &mut Stack<'_>, admin: &Kubectl<'_>) -> Result<Certificate> {
    let sandbox = stack.sandbox;
    let first = sandbox.point(
        "the agent gets its first client certificate by bootstrap token",
        || bootstraps(stack, admin),
    )?;
    sandbox.point("its kubeconfig is the node's to kube-apiserver", || {
        let kubectl = stack.agent(NODE)?.kubectl();
        match stack.release {
            Kubernetes::V1_21 => refused_as_node(&kubectl),
            _ => whoami(&kubectl, &first),
        }
    })?;
    sandbox.point(
        "its serving request stays Pending until a person approves it, then it is issued",
        || serving(stack, NODE, admin).map(drop),
    )?;
    Ok(first)
}

/// The first certificate of the agent of [`NODE`].
fn bootstraps(stack: &mut Stack<'_>, admin: &Kubectl<'_>) -> Result<Certificate> {
    let first = stack.agent(NODE)?.certificate()?;
    let requests = requests_of(admin, "system:bootstrap:intero")?;
    same(
        "conditions of its request",
        requests,
        vec!["Approved,Issued".to_owned()],
    )?;
    let subject = "O = system:nodes, CN = system:node:n1";
    same("subject", first.subject.as_str(), subject)?;
    Ok(first)
}

fn rotates_after_a_crash(stack: &mut Stack<'_>, old: &Certificate) -> Result<Certificate> {
    stack.kill("kube-apiserver")?;
    stack.add(&Part::KubeApiserver(&[]))?;
    stack.agent(NODE)?.renewed(old, ROTATION_SECONDS_MAX)
}

fn joins_with_another_key(sandbox: &Sandbox, bootstrap: PathBuf) -> Result<()> {
    let mut agent = Agent::bootstrapped_by(sandbox, bootstrap, "n2");
    let wanted = ["--client-certificate-key-algorithm", "ML-DSA-65"];
    agent.args.extend(wanted.map(str::to_owned));
    agent.start()?;
    agent.certificate()?;
    let log = agent.log();
    ensure_that!(
        log.contains("the control plane takes no ML-DSA-65 key"),
        "{log}"
    );
    let who = agent.kubectl().json(&["auth", "whoami"])?;
    let name = who["status"]["userInfo"]["username"].as_str();
    same("user name", name, Some("system:node:n2"))
}

/// A node that is off from then on.
fn told_early(sandbox: &Sandbox, bootstrap: PathBuf) -> Result<Agent<'_>> {
    let mut agent = Agent::bootstrapped_by(sandbox, bootstrap, "n3");
    agent.args.push("--late-reissue".to_owned());
    agent.start()?;
    agent.certificate()?;
    eventually("it says so", 15, || {
        let log = agent.log();
        ensure_that!(log.contains("the API server does not offer it"), "{log}");
        Ok(())
    })?;
    agent.stop()?;
    Ok(agent)
}

fn told_late(sandbox: &Sandbox, agent: &mut Agent<'_>) -> Result<()> {
    let current = agent.path("pki/kubelet-client-current.pem");
    let ends = ["x509", "-noout", "-checkend", "0", "-in", arg(&current)];
    eventually("its certificate has ended", ROTATION_SECONDS_MAX, || {
        sandbox.openssl(&ends)?.failed_with(1)
    })?;
    agent.forget_bootstrap();
    let mut command = agent.command();
    command.arg("--once");
    let told = run_once(&mut command)?.failed_with(1)?;
    for words in [
        "offers no late re-issue",
        "kubeadm token create",
        "--bootstrap-kubeconfig",
    ] {
        ensure_that!(told.contains(words), "no {words:?} in {told}");
    }
    Ok(())
}

/// Conditions, as kubectl prints them, of the requests that a user made.
pub(super) fn requests_of(admin: &Kubectl<'_>, user: &str) -> Result<Vec<String>> {
    let list = admin.quiet(&["get", "csr", "--no-headers"])?;
    let mut conditions = Vec::new();
    for line in list.lines() {
        let cells: Vec<&str> = line.split_whitespace().collect();
        // Releases differ in what stands between.
        let [_, _, _, requestor, .., condition] = cells[..] else {
            bail!("kubectl get csr: {line:?}");
        };
        if requestor == user {
            conditions.push(condition.to_owned());
        }
    }
    Ok(conditions)
}

fn whoami(kubectl: &Kubectl<'_>, certificate: &Certificate) -> Result<()> {
    let who = kubectl.json(&["auth", "whoami"])?;
    let user = &who["status"]["userInfo"];
    same(
        "user name",
        user["username"].as_str(),
        Some("system:node:n1"),
    )?;
    let credential = &user["extra"]["authentication.kubernetes.io/credential-id"][0];
    same(
        "credential",
        credential.as_str(),
        Some(format!("X509SHA256={}", certificate.sha256).as_str()),
    )
}

/// Nobody answers who one is, but a refusal names it, and only a node may ask for certificates of
/// nodes.
pub(super) fn refused_as_node(kubectl: &Kubectl<'_>) -> Result<()> {
    let told = kubectl.run(&["get", "secrets"])?.failed_with(1)?;
    ensure_that!(
        told.contains("User \"system:node:n1\" cannot list"),
        "it is told {told:?}"
    );
    let may = kubectl.can_i(&["create", "certificatesigningrequests"])?;
    same("it may make requests", may, true)
}

/// So many client requests by the node itself.
fn rotations(admin: &Kubectl<'_>, wanted: usize) -> Result<()> {
    let list = admin.json(&["get", "csr"])?;
    let all = list["items"].as_array().context("no list")?;
    let own = all.iter().filter(|csr| {
        csr["spec"]["signerName"] == CLIENT && csr["spec"]["username"] == "system:node:n1"
    });
    let mut count = 0;
    for csr in own {
        let usages = json!(["digital signature", "key encipherment", "client auth"]);
        same("usages", &csr["spec"]["usages"], &usages)?;
        ensure_that!(csr["status"]["certificate"].is_string(), "{csr}");
        count += 1;
    }
    same("requests", count, wanted)
}

/// The agent's serving certificate, which it gets once its request is approved.
pub(super) fn serving(
    stack: &mut Stack<'_>,
    node: &str,
    admin: &Kubectl<'_>,
) -> Result<Certificate> {
    let name = eventually("a serving request", 30, || {
        let list = admin.json(&["get", "csr"])?;
        let items = list["items"].as_array().into_iter().flatten();
        let mut serving =
            items.filter(|csr| csr["spec"]["signerName"] == "kubernetes.io/kubelet-serving");
        match serving.next() {
            Some(csr) => Ok(csr["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned()),
            None => bail!("none in the list"),
        }
    })?;
    let file = stack.agent(node)?.path("pki/kubelet-server-current.pem");
    ensure_that!(
        !file.exists(),
        "a serving certificate before anybody approved"
    );
    admin.quiet(&["certificate", "approve", &name])?;
    let certificate = eventually("the serving certificate", 30, || {
        Certificate::read(stack.sandbox, &file)
    })?;
    ensure_that!(
        certificate.names.contains("IP Address:127.0.0.1"),
        "its names are {:?}",
        certificate.names
    );
    Ok(certificate)
}
