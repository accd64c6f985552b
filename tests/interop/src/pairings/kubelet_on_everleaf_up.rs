//! A real kubelet whose whole cluster is `everleaf up`: it joins, registers, and lives through
//! rotations.

use super::Pairing;
use crate::stack::{Kubelet, Kubernetes, LEASE_SECONDS, Part, Stack, obstacle};
use anyhow::{Context, Result, bail};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Certificate, Kubectl, Process, Sandbox, ensure_that, eventually, same};
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kubelet 1.37 (with containerd)",
    ours: "`everleaf up`",
    test: Test {
        name: "real_kubelet_on_everleaf_up",
        long: true,
        run,
    },
};

pub(crate) const OLDER: Pairing = Pairing {
    real: "kubelet 1.34 (with containerd)",
    ours: "`everleaf up`",
    test: Test {
        name: "older_real_kubelet_on_everleaf_up",
        long: true,
        run: |sandbox| run_older(sandbox, Kubernetes::V1_34),
    },
};

pub(crate) const OLD: Pairing = Pairing {
    real: "kubelet 1.21.5 (with containerd)",
    ours: "`everleaf up`",
    test: Test {
        name: "old_real_kubelet_on_everleaf_up",
        long: true,
        run: |sandbox| run_older(sandbox, Kubernetes::V1_21),
    },
};

pub(crate) const OLD_CONTROL_PLANE: Pairing = Pairing {
    real: "kube-apiserver, kubelet 1.21.5 (with containerd)",
    ours: "`everleaf controllers`",
    test: Test {
        name: "everleaf_controllers_for_an_old_real_kubelet",
        long: true,
        run: run_with_controllers,
    },
};

/// Who approves serving requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Approver {
    Person,
    Policy,
}

/// The shortest that gives no rotation at once: with the five minutes of backdating these are 430
/// s, and a kubelet rotates after 70 % to 90 % of that: 1 s to 87 s after the issue.
const SIGNING_DURATION: &str = "--cluster-signing-duration=130s";
const ROTATION_SECONDS_MAX: u64 = 100;
/// The control plane that is Everleaf alone.
const UP: &[Part<'_>] = &[Part::EverleafUp(&[SIGNING_DURATION])];
/// The same, which leaves serving requests to a person.
const UP_WITHOUT_POLICY: &[Part<'_>] = &[Part::EverleafUp(&[
    SIGNING_DURATION,
    "--serving-approval=false",
])];
/// Reason of the condition that approves by policy.
const BY_POLICY: &str = "EverleafPolicyApproved";
pub(super) const NODE: &str = "node1";
const USER: &str = "system:node:node1";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    if let Some(obstacle) = obstacle() {
        return Ok(Verdict::Skipped(obstacle));
    }
    let (mut stack, first) = join(sandbox, Kubernetes::V1_37, UP, Approver::Policy)?;
    let admin = stack.admin()?;
    let leases = lease_watch(&admin)?;
    let _ = sandbox.point(
        "renews its serving certificate, approved by policy again, without a restart",
        || renews_serving(&mut stack),
    );
    let client = sandbox.point("rotates its client certificate three times", || {
        rotates(stack.kubelet(NODE)?, &admin, &first, 3)
    })?;
    let _ = sandbox.point(
        "keeps its lease all that time, past the end of its first certificate",
        || keeps_its_lease(&leases, &first),
    );
    let _ = sandbox.point("none of its calls was refused", || {
        nothing_refused(stack.kubelet(NODE)?, &admin)
    });
    drop(leases);
    restarts(&mut stack, &admin, &client)?;
    let _ = sandbox.point(
        "each of its serving requests was approved by policy, and an Event says so",
        || each_by_policy(&admin),
    );
    Ok(Verdict::Passed)
}

/// The same beginning, one rotation.
fn run_older(sandbox: &Sandbox, release: Kubernetes) -> Result<Verdict> {
    if let Some(obstacle) = obstacle().or_else(|| release.lacks("KUBELET")) {
        return Ok(Verdict::Skipped(obstacle));
    }
    let (parts, approver) = match release {
        Kubernetes::V1_34 => (UP_WITHOUT_POLICY, Approver::Person),
        _ => (UP, Approver::Policy),
    };
    let (mut stack, first) = join(sandbox, release, parts, approver)?;
    let admin = stack.admin()?;
    let client = sandbox.point("rotates its client certificate", || {
        rotates(stack.kubelet(NODE)?, &admin, &first, 1)
    })?;
    let _ = sandbox.point("none of its calls was refused", || {
        nothing_refused(stack.kubelet(NODE)?, &admin)
    });
    let _ = sandbox.point(
        "without rotation, waits at its start for the certificate of a request that its key names",
        || without_rotation(&mut stack, &admin, &client),
    );
    Ok(Verdict::Passed)
}

/// The same beginning on a real kube-apiserver, of which `everleaf controllers` are the only
/// controllers.
fn run_with_controllers(sandbox: &Sandbox) -> Result<Verdict> {
    let release = Kubernetes::V1_21;
    if let Some(obstacle) = obstacle().or_else(|| release.lacks("KUBELET")) {
        return Ok(Verdict::Skipped(obstacle));
    }
    let parts = &[
        Part::Etcd,
        Part::KubeApiserver(&[]),
        Part::EverleafControllers(&[SIGNING_DURATION]),
        Part::EverleafServingApprover(&[]),
    ];
    let (mut stack, first) = join(sandbox, release, parts, Approver::Policy)?;
    let admin = stack.admin()?;
    let _ = sandbox.point(
        "renews its serving certificate, approved by policy again, without a restart",
        || renews_serving(&mut stack),
    );
    // Once: what asks for certificates in 1.21 reads its own again every five minutes, which is
    // longer than these last.
    sandbox.point("rotates its client certificate", || {
        rotates(stack.kubelet(NODE)?, &admin, &first, 1)
    })?;
    Ok(Verdict::Passed)
}

/// Up to a node that serves; its first client certificate.
fn join<'a>(
    sandbox: &'a Sandbox,
    release: Kubernetes,
    control_plane: &[Part<'_>],
    approver: Approver,
) -> Result<(Stack<'a>, Certificate)> {
    let mut stack = Stack::of(release, sandbox, control_plane)?;
    stack.add(&Part::Kubelet(NODE))?;
    let admin = stack.admin()?;
    let first = sandbox.point(
        "bootstraps: its request by bootstrap token is approved and issued",
        || bootstraps(stack.kubelet(NODE)?, &admin),
    )?;
    // A claim that fails is red in the table; the ones after it are tried all the same.
    let _ = sandbox.point("registers its Node, which becomes Ready", || {
        registers(&admin, release.version())
    });
    let _ = sandbox.point("its events are kept", || events(&admin));
    let serves_when = match approver {
        Approver::Person => "serves with a certificate of this CA once its request is approved",
        Approver::Policy => "serves with a certificate of this CA, with nobody approving it",
    };
    let _ = sandbox.point(serves_when, || serves(&mut stack, &admin, approver));
    let _ = sandbox.point("lets into its API whom Everleaf knows and allows", || {
        lets_in(&mut stack, &admin)
    });
    Ok((stack, first))
}

/// The server and the kubelet end and come back; from here on certificates are good for a year.
fn restarts(stack: &mut Stack<'_>, admin: &Kubectl<'_>, client: &Certificate) -> Result<()> {
    let sandbox = stack.sandbox;
    sandbox.point(
        "goes on after `everleaf up` was killed and started again",
        || {
            stack.kill("up")?;
            stack.add(&Part::EverleafUp(&[]))?;
            renews_lease(admin)
        },
    )?;
    let fresh = sandbox.point(
        "bootstraps again after its client certificate was deleted",
        || bootstraps_again(stack.kubelet(NODE)?, admin, client),
    )?;
    sandbox.point(
        "restarted, goes on with its certificate and makes no new request",
        || {
            let before = requests(admin, CLIENT)?.len();
            let kubelet = stack.kubelet(NODE)?;
            same("exit code on SIGTERM", kubelet.stop()?, 0)?;
            kubelet.start()?;
            renews_lease(admin)?;
            same("serial", kubelet.certificate_now()?.serial, fresh.serial)?;
            same("client requests", requests(admin, CLIENT)?.len(), before)
        },
    )
}

fn bootstraps(kubelet: &Kubelet<'_>, admin: &Kubectl<'_>) -> Result<Certificate> {
    let certificate = eventually("a client certificate", 60, || kubelet.certificate_now())?;
    let subject = "O = system:nodes, CN = system:node:node1";
    same("subject", certificate.subject.as_str(), subject)?;
    let table = admin.quiet(&["get", "csr", "--no-headers"])?;
    // A kubelet may draw a deadline that is a second away: then it has renewed already, as the
    // node.
    let lines = table.lines().filter(|line| line.contains(CLIENT));
    let lines: Vec<&str> = lines
        .filter(|line| !line.contains("system:node:node1"))
        .collect();
    let [line] = lines[..] else {
        bail!("not one request by bootstrap token: {table}");
    };
    ensure_that!(
        line.contains("system:bootstrap:") && line.ends_with("Approved,Issued"),
        "{line}"
    );
    Ok(certificate)
}

fn registers(admin: &Kubectl<'_>, version: &str) -> Result<()> {
    eventually("a Ready node", 60, || {
        std::thread::sleep(Duration::from_millis(300));
        let table = admin.quiet(&["get", "nodes", "--no-headers"])?;
        let cells: Vec<&str> = table.split_whitespace().collect();
        ensure_that!(cells.starts_with(&[NODE, "Ready"]), "{table}");
        ensure_that!(
            cells.last().is_some_and(|cell| cell.starts_with(version)),
            "{table}"
        );
        Ok(())
    })
}

fn events(admin: &Kubectl<'_>) -> Result<()> {
    eventually("its events", 30, || {
        let arguments = ["get", "events", "-o", "jsonpath={.items[*].reason}"];
        let reasons = admin.quiet(&arguments)?;
        for wanted in ["Starting", "NodeReady"] {
            ensure_that!(
                reasons.split(' ').any(|reason| reason == wanted),
                "no {wanted} in {reasons:?}"
            );
        }
        Ok(())
    })
}

/// The requests to a signer, oldest first.
pub(super) fn requests(admin: &Kubectl<'_>, signer: &str) -> Result<Vec<Value>> {
    let list = admin.json(&["get", "csr", "--sort-by=.metadata.creationTimestamp"])?;
    let all = list["items"].as_array().cloned().unwrap_or_default();
    Ok(all
        .into_iter()
        .filter(|csr| csr["spec"]["signerName"] == signer)
        .collect())
}

/// Approves the node's serving request, once there is one that waits.
fn approve_serving(admin: &Kubectl<'_>, seconds_max: u64) -> Result<()> {
    let name = eventually("a serving request that waits", seconds_max, || {
        std::thread::sleep(Duration::from_millis(200));
        let waits = |csr: &&Value| csr["status"].get("conditions").is_none();
        let all = requests(admin, SERVING)?;
        let waiting = all.iter().rfind(waits).context("none waits")?;
        same(
            "requestor",
            waiting["spec"]["username"].as_str(),
            Some(USER),
        )?;
        let name = waiting["metadata"]["name"].as_str();
        Ok(name.unwrap_or_default().to_owned())
    })?;
    admin.quiet(&["certificate", "approve", &name])?;
    Ok(())
}

fn serves(stack: &mut Stack<'_>, admin: &Kubectl<'_>, approver: Approver) -> Result<()> {
    let authority = stack.authority()?.certificate().to_owned();
    let kubelet = stack.kubelet(NODE)?;
    if approver == Approver::Person {
        let file = kubelet.path("pki/kubelet-server-current.pem");
        ensure_that!(
            !file.exists() && kubelet.shown_certificate(&authority).is_err(),
            "it serves before anybody approved"
        );
        approve_serving(admin, 30)?;
    }
    let shown = eventually("its API answers with a good certificate", 30, || {
        kubelet.shown_certificate(&authority)
    })?;
    let subject = "O = system:nodes, CN = system:node:node1";
    same("subject", shown.subject.as_str(), subject)?;
    ensure_that!(
        shown.names.starts_with("DNS:node1, IP Address:"),
        "its names are {:?}",
        shown.names
    );
    let table = admin.quiet(&["get", "csr", "--no-headers"])?;
    let is_issued = |line: &str| line.contains(SERVING) && line.ends_with("Approved,Issued");
    ensure_that!(table.lines().any(is_issued), "{table}");
    Ok(())
}

/// The kubelet asks Everleaf by TokenReview and SubjectAccessReview.
fn lets_in(stack: &mut Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let server = format!("--server=https://127.0.0.1:{}", stack.kubelet(NODE)?.port);
    let pods = |kubectl: &Kubectl<'_>| {
        let name = format!("--tls-server-name={NODE}");
        kubectl.run(&[&server, &name, "get", "--raw", "/pods"])
    };
    let list = pods(admin)?.ok()?;
    ensure_that!(
        list.contains("\"kind\":\"PodList\""),
        "an admin sees {list}"
    );
    let refused = |kubectl: &Kubectl<'_>, user: &str, reason: &str| {
        let told = pods(kubectl)?.failed_with(1)?;
        ensure_that!(told.contains(reason), "{user} is told {told:?}");
        Ok(())
    };
    let asked = match stack.release {
        Kubernetes::V1_21 => "subresource=proxy)",
        _ => "subresource(s)=[pods proxy])",
    };
    refused(
        &stack.user("somebody", "/CN=somebody")?,
        "somebody",
        &format!("Forbidden (user=somebody, verb=get, resource=nodes, {asked}"),
    )?;
    let token = Kubectl::new(stack.sandbox, stack.bootstrap_kubeconfig()?);
    refused(
        &token,
        "a bootstrap token",
        "Forbidden (user=system:bootstrap:",
    )?;
    let wrong = stack
        .authority()?
        .token("wrong", "0123456", stack.port()?)?;
    let wrong = Kubectl::new(stack.sandbox, wrong);
    refused(
        &wrong,
        "a wrong token",
        "the server has asked for the client to provide credentials",
    )?;
    let reader = stack.user("reader", "/CN=reader")?;
    let role = "--clusterrole=system:kubelet-api-admin";
    admin.quiet(&[
        "create",
        "clusterrolebinding",
        "reader",
        role,
        "--user=reader",
    ])?;
    let list = pods(&reader)?.ok()?;
    ensure_that!(
        list.contains("\"kind\":\"PodList\""),
        "a reader sees {list}"
    );
    Ok(())
}

/// Each request is made with a certificate of a request before it: for a moment a kubelet goes on
/// with the connection it has. The newest is the present one.
fn rotates(
    kubelet: &Kubelet<'_>,
    admin: &Kubectl<'_>,
    first: &Certificate,
    times: u32,
) -> Result<Certificate> {
    let seconds_max = u64::from(times) * ROTATION_SECONDS_MAX;
    let all = eventually("the rotations", seconds_max, || {
        std::thread::sleep(Duration::from_millis(500));
        let mut all = requests(admin, CLIENT)?;
        // The next one may be under way.
        all.retain(|csr| csr["status"].get("certificate").is_some());
        ensure_that!(all.len() > times as usize, "{} certificates", all.len());
        Ok(all)
    })?;
    // It may have renewed before the first one was looked at.
    let mut certificates = vec![first.clone(), issued(kubelet, &all[0])?];
    for csr in &all[1..] {
        let who = &csr["spec"];
        same("requestor", who["username"].as_str(), Some(USER))?;
        let credential = &who["extra"]["authentication.kubernetes.io/credential-id"][0];
        // An old kube-apiserver does not tell.
        ensure_that!(
            credential.is_null()
                || certificates
                    .iter()
                    .any(|one| credential_of(one) == *credential),
            "a request was made with {credential}, which was not issued to this node before"
        );
        certificates.push(issued(kubelet, csr)?);
    }
    let newest = certificates.pop().context("no certificate")?;
    eventually("the newest is installed", 10, || {
        let present = kubelet.certificate_now()?;
        same(
            "serial of the present one",
            present.serial,
            newest.serial.clone(),
        )
    })?;
    Ok(newest)
}

/// How the server names a client with this certificate in what it asks for.
fn credential_of(certificate: &Certificate) -> String {
    format!("X509SHA256={}", certificate.sha256)
}

/// The certificate that a request was answered with.
fn issued(kubelet: &Kubelet<'_>, csr: &Value) -> Result<Certificate> {
    let issued = csr["status"]["certificate"].as_str();
    kubelet.issued(issued.context("a request without certificate")?)
}

fn renews_serving(stack: &mut Stack<'_>) -> Result<()> {
    let authority = stack.authority()?.certificate().to_owned();
    let kubelet = stack.kubelet(NODE)?;
    let before = kubelet.shown_certificate(&authority)?;
    eventually("another certificate is shown", ROTATION_SECONDS_MAX, || {
        std::thread::sleep(Duration::from_millis(500));
        let shown = kubelet.shown_certificate(&authority)?;
        ensure_that!(shown.serial != before.serial, "still {}", shown.serial);
        Ok(())
    })
}

fn each_by_policy(admin: &Kubectl<'_>) -> Result<()> {
    let all = requests(admin, SERVING)?;
    ensure_that!(all.len() > 1, "{} serving requests", all.len());
    for request in &all {
        let conditions = &request["status"]["conditions"];
        same("reason", conditions[0]["reason"].as_str(), Some(BY_POLICY))?;
        same("conditions", conditions.as_array().map(Vec::len), Some(1))?;
        let name = request["metadata"]["name"].as_str().unwrap_or_default();
        let told = admin.quiet(&["events", "--for", &format!("csr/{name}")])?;
        ensure_that!(told.contains("CSRApproved"), "{name}: {told}");
    }
    Ok(())
}

/// Every renewal of the node's lease, one time per line.
fn lease_watch(admin: &Kubectl<'_>) -> Result<Process> {
    let lease = ["get", "lease", "--namespace=kube-node-lease", NODE];
    eventually("the node's lease", 30, || admin.quiet(&lease))?;
    let mut arguments = lease.to_vec();
    arguments.extend(["--watch", "-o", "jsonpath={.spec.renewTime}{'\\n'}"]);
    admin.start("leases", &arguments)
}

/// kubelet renews four times in the life of a lease; its reconnect after a rotation fits between
/// two of them.
fn keeps_its_lease(leases: &Process, first: &Certificate) -> Result<()> {
    let ended = first.not_after + Duration::from_secs(u64::from(LEASE_SECONDS));
    let renewals = eventually("renewals after the first certificate ended", 200, || {
        std::thread::sleep(Duration::from_millis(500));
        let renewals = renewals(leases)?;
        let newest = renewals.last().context("no renewal at all")?;
        ensure_that!(
            *newest > ended,
            "the newest is of {newest}, not after {ended}"
        );
        Ok(renewals)
    })?;
    for pair in renewals.windows(2) {
        let gap = pair[1].duration_since(pair[0]);
        ensure_that!(
            gap.as_secs() < i64::from(LEASE_SECONDS),
            "the lease lapsed: not renewed from {} to {}",
            pair[0],
            pair[1]
        );
    }
    Ok(())
}

fn renewals(leases: &Process) -> Result<Vec<Timestamp>> {
    leases
        .stdout()
        .lines()
        .map(|line| line.parse().with_context(|| format!("renewTime {line:?}")))
        .collect()
}

/// By the server's count and by the kubelet's log.
fn nothing_refused(kubelet: &Kubelet<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let metrics = admin.quiet(&["get", "--raw", "/metrics"])?;
    // 403: before it has a certificate a kubelet asks as system:anonymous. 404, 409: it asks for
    // what it makes.
    let refusals = ["401", "415", "422", "429", "500", "501", "503", "504"];
    let refused: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_request_total{"))
        // Of paths without a resource, /readyz answers 500 until it is ready.
        .filter(|line| !line.contains("resource=\"\""))
        .filter(|line| {
            refusals
                .iter()
                .any(|code| line.contains(&format!("code=\"{code}\"")))
        })
        .collect();
    ensure_that!(refused.is_empty(), "{}", refused.join("\n"));
    let log = kubelet.log();
    let words = [
        "Unauthorized",
        "x509:",
        "tls: ",
        "could not find the requested resource",
        "unknown format",
        "User \\\"system:node:",
    ];
    let complaint = log
        .lines()
        .find(|line| line.starts_with('E') && words.iter().any(|word| line.contains(word)));
    match complaint {
        Some(line) => bail!("the kubelet says: {line}"),
        None => Ok(()),
    }
}

/// A renewal of the lease after this call.
pub(super) fn renews_lease(admin: &Kubectl<'_>) -> Result<()> {
    let time = || {
        let lease = ["get", "lease", "--namespace=kube-node-lease", NODE];
        let mut arguments = lease.to_vec();
        arguments.extend(["-o", "jsonpath={.spec.renewTime}"]);
        admin.quiet(&arguments)
    };
    let before = eventually("the node's lease", 10, time)?;
    eventually("another renewal of the lease", 30, || {
        std::thread::sleep(Duration::from_millis(300));
        let now = time()?;
        ensure_that!(now != before, "still {before}");
        Ok(())
    })
}

fn bootstraps_again(
    kubelet: &mut Kubelet<'_>,
    admin: &Kubectl<'_>,
    old: &Certificate,
) -> Result<Certificate> {
    kubelet.stop()?;
    kubelet.forget_client_certificates()?;
    kubelet.start()?;
    let certificate = kubelet.renewed(old, 30)?;
    let all = requests(admin, CLIENT)?;
    let newest = all.last().context("no client request")?;
    let requestor = newest["spec"]["username"].as_str().unwrap_or_default();
    ensure_that!(
        requestor.starts_with("system:bootstrap:"),
        "the newest request is by {requestor}"
    );
    Ok(certificate)
}

/// `rotateCertificates: false`: the request's name is a digest of the key, so that a kubelet that
/// was interrupted finds it again.
fn without_rotation(stack: &mut Stack<'_>, admin: &Kubectl<'_>, old: &Certificate) -> Result<()> {
    let authority = stack.authority()?.certificate().to_owned();
    let kubelet = stack.kubelet(NODE)?;
    kubelet.stop()?;
    kubelet.forget_client_certificates()?;
    kubelet.configure(&authority, false)?;
    kubelet.start()?;
    kubelet.renewed(old, 30)?;
    let all = requests(admin, CLIENT)?;
    let newest = all.last().context("no client request")?;
    let name = newest["metadata"]["name"].as_str().unwrap_or_default();
    ensure_that!(name.starts_with("node-csr-"), "its request is {name}");
    renews_lease(admin)
}
