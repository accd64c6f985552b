//! The story that this project began with, on the release it was told of: kube-controller-manager
//! signs for ten years, the node's clock is set to eight days before the end, its agent is
//! restarted, and there is another certificate.
//!
//! Only the node's clock moves; the new certificate has the dates of the server. A kubelet, whose
//! clock no library can move, is given a certificate of such an age instead.

use super::Pairing;
use super::agent_on_kubernetes::{requests_of, serving};
use super::requests::CLIENT;
use crate::stack::{Kubernetes, Part, Stack, obstacle};
use anyhow::{Context, Result, bail};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Certificate, FakeClock, Kubectl, Sandbox};
use everleaf_stage::{arg, ensure_that, eventually, same};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::fs;
use std::time::Duration;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager, kubectl 1.21.5",
    ours: "`everleaf agent`",
    test: Test {
        name: "ten_years_on_kubernetes_1_21_and_the_clock_eight_days_before_their_end",
        long: true,
        run,
    },
};

pub(crate) const KUBELET: Pairing = Pairing {
    real: "kubelet, kubectl 1.21.5 (with containerd)",
    ours: "`everleaf up`",
    test: Test {
        name: "ten_years_for_a_kubelet_1_21_with_a_certificate_eight_days_before_its_end",
        long: true,
        run: run_kubelet,
    },
};

/// kube-controller-manager's flags, as the story has them.
const FLAGS: &[&str] = &[
    "--cluster-signing-duration=87600h0m0s",
    "--feature-gates=RotateKubeletServerCertificate=true",
];
const NODE: &str = "worker1";
const USER: &str = "system:node:worker1";
const DAY_HOURS: i64 = 24;
/// Longest that a due certificate may take to be replaced after a start.
const SECONDS_MAX: u64 = 20;
/// How long it is watched for a loop: its clock still says that the end is near.
const LOOP_WATCH: Duration = Duration::from_secs(40);

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let parts = [
        Part::Etcd,
        Part::KubeApiserver(&[]),
        Part::KubeControllerManager(FLAGS),
        Part::EverleafAgent(NODE),
    ];
    let mut stack = Stack::of(Kubernetes::V1_21, sandbox, &parts)?;
    let admin = stack.admin()?;
    let first = sandbox.point(
        "bootstraps by token: kubectl get csr shows its request Approved,Issued",
        || {
            let first = stack.agent(NODE)?.certificate()?;
            let requests = requests_of(&admin, "system:bootstrap:intero")?;
            same("conditions", requests, vec!["Approved,Issued".to_owned()])?;
            Ok(first)
        },
    )?;
    sandbox.point("its client certificate lasts ten years", || {
        lasts_ten_years(&first)
    })?;
    sandbox.point(
        "its serving certificate, too, which it gets after kubectl certificate approve",
        || lasts_ten_years(&serving(&mut stack, NODE, &admin)?),
    )?;
    let second = sandbox.point(
        "restarted with its clock eight days before the end, it has another certificate at once",
        || restarted_near_the_end(&mut stack, &first),
    )?;
    sandbox.point(
        "the new one has the server's dates, and lasts ten years again",
        || lasts_ten_years(&second),
    )?;
    sandbox.point(
        "kube-apiserver takes it, and kubectl get csr shows each request Approved,Issued",
        || all_issued(&mut stack, &admin),
    )?;
    sandbox.point(
        "it makes no requests in a loop, near the end as its clock says it still is",
        || {
            std::thread::sleep(LOOP_WATCH);
            let made = requests_of(&admin, USER)?;
            ensure_that!(made.len() <= 4, "its requests: {made:?}");
            Ok(())
        },
    )?;
    sandbox.point(
        "its clock set right and restarted, it goes on with the certificate that it has",
        || goes_on(&mut stack, &admin),
    )?;
    Ok(Verdict::Passed)
}

/// The same node as a real kubelet, and Everleaf as its control plane.
fn run_kubelet(sandbox: &Sandbox) -> Result<Verdict> {
    let release = Kubernetes::V1_21;
    if let Some(obstacle) = obstacle().or_else(|| release.lacks("KUBELET")) {
        return Ok(Verdict::Skipped(obstacle));
    }
    let parts = [Part::EverleafUp(&FLAGS[..1]), Part::Kubelet(NODE)];
    let mut stack = Stack::of(release, sandbox, &parts)?;
    let admin = stack.admin()?;
    sandbox.point(
        "bootstraps by token, and its client certificate lasts ten years",
        || {
            let kubelet = stack.kubelet(NODE)?;
            let first = eventually("a certificate", 60, || kubelet.certificate_now())?;
            lasts_ten_years(&first)
        },
    )?;
    let old = sandbox.point(
        "restarted with one of ten years that ends in eight days, it has another at once",
        || restarted_with_an_old_one(&mut stack),
    )?;
    sandbox.point(
        "which lasts ten years, and was asked for with the one that was due",
        || {
            lasts_ten_years(&stack.kubelet(NODE)?.certificate_now()?)?;
            let requests = admin.json(&["get", "csr"])?;
            let credential = format!("X509SHA256={}", old.sha256);
            let items = requests["items"].as_array().context("no list")?;
            let is_its = |csr: &&Value| {
                let extra = &csr["spec"]["extra"];
                csr["spec"]["username"] == USER
                    && extra["authentication.kubernetes.io/credential-id"][0] == credential
                    && csr["spec"]["signerName"] == CLIENT
            };
            same("such requests", items.iter().filter(is_its).count(), 1)
        },
    )?;
    sandbox.point(
        "kubectl get csr shows each client request Approved,Issued",
        || {
            let table = admin.quiet(&["get", "csr", "--no-headers"])?;
            let mut client = table.lines().filter(|line| line.contains(CLIENT));
            same("requests", client.clone().count(), 2)?;
            let good = client.all(|line| line.ends_with("Approved,Issued"));
            ensure_that!(good, "{table}");
            Ok(())
        },
    )?;
    Ok(Verdict::Passed)
}

/// Puts a certificate of this age in the place of the kubelet's, while it is stopped, and waits for
/// its successor.
fn restarted_with_an_old_one(stack: &mut Stack<'_>) -> Result<Certificate> {
    let sandbox = stack.sandbox;
    let authority = stack.authority()?;
    let path = |name: &str| sandbox.path(name);
    let (key, request, leaf) = (path("old.key"), path("old.csr"), path("old.crt"));
    let subject = format!("/O=system:nodes/CN={USER}");
    let mut new = sandbox.command(&sandbox.tools.openssl);
    new.args(["req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt"]);
    new.args(["ec_paramgen_curve:P-256", "-subj", &subject]);
    new.args(["-keyout", arg(&key), "-out", arg(&request)]);
    everleaf_stage::run(&mut new)?.ok()?;
    let usage = sandbox.write("old.ext", "extendedKeyUsage=clientAuth\n")?;
    let mut sign = sandbox.command(&sandbox.tools.openssl);
    sign.args(["x509", "-req", "-days", "3650", "-set_serial", "0x1001"]);
    sign.args(["-in", arg(&request), "-out", arg(&leaf)]);
    sign.args(["-CA", arg(authority.certificate()), "-CAkey"]);
    sign.args([arg(authority.key()), "-extfile", arg(&usage)]);
    FakeClock::Offset(-(3650 - 8) * DAY_HOURS * 3600).apply(sandbox, &mut sign);
    everleaf_stage::run(&mut sign)?.ok()?;
    let old = Certificate::read(sandbox, &leaf)?;
    let kubelet = stack.kubelet(NODE)?;
    kubelet.stop()?;
    let both = [fs::read(&leaf)?, fs::read(&key)?].concat();
    fs::write(kubelet.path("pki/kubelet-client-current.pem"), both)?;
    same("serial", &kubelet.certificate_now()?.serial, &old.serial)?;
    kubelet.start()?;
    kubelet.renewed(&old, 2 * SECONDS_MAX)?;
    Ok(old)
}

/// The clock that only tests may read.
#[expect(
    clippy::disallowed_methods,
    reason = "offsets for faketime are counted from the present"
)]
fn wall() -> Timestamp {
    Timestamp::now()
}

/// It was issued within the last minutes, and lasts as long as asked for, from its backdated begin.
fn lasts_ten_years(certificate: &Certificate) -> Result<()> {
    let behind = wall().duration_since(certificate.not_before).as_secs();
    ensure_that!(
        (300..300 + 180).contains(&behind),
        "notBefore lies {behind} s back"
    );
    let ten_years = SignedDuration::from_hours(87_600);
    same("lifetime", certificate.lifetime(), ten_years)
}

fn restarted_near_the_end(stack: &mut Stack<'_>, old: &Certificate) -> Result<Certificate> {
    let agent = stack.agent(NODE)?;
    let link = agent.path("pki/kubelet-client-current.pem");
    let old_file = fs::read_link(&link)?;
    agent.stop()?;
    let moved = old.not_after - SignedDuration::from_hours(8 * DAY_HOURS);
    let offset = moved.duration_since(wall()).as_secs();
    agent.start_at(&FakeClock::Offset(offset))?;
    let renewed = agent.renewed(old, SECONDS_MAX)?;
    same("subject", renewed.subject.as_str(), old.subject.as_str())?;
    ensure_that!(
        fs::read_link(&link)? != old_file,
        "the link still points to the old file"
    );
    ensure_that!(
        agent.path("pki").join(old_file).exists(),
        "the old file is gone"
    );
    Ok(renewed)
}

/// The serving certificate is due by that clock, too, and its request waits for a person.
fn all_issued(stack: &mut Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let file = stack.agent(NODE)?.path("pki/kubelet-server-current.pem");
    let before = Certificate::read(stack.sandbox, &file)?;
    let table = eventually("its serving request", SECONDS_MAX, || {
        let table = admin.quiet(&["get", "csr", "--no-headers"])?;
        let waiting = table.lines().find(|line| line.ends_with("Pending"));
        let name = waiting.and_then(|line| line.split_whitespace().next());
        let name = name.with_context(|| format!("none waits: {table}"))?;
        Ok(name.to_owned())
    })?;
    admin.quiet(&["certificate", "approve", &table])?;
    eventually("another serving certificate", SECONDS_MAX, || {
        let present = Certificate::read(stack.sandbox, &file)?;
        ensure_that!(present.serial != before.serial, "still {}", before.serial);
        Ok(())
    })?;
    let told = stack.agent(NODE)?.kubectl().run(&["get", "secrets"])?;
    let told = told.failed_with(1)?;
    ensure_that!(
        told.contains(&format!("User \"{USER}\" cannot list")),
        "{told}"
    );
    let table = admin.quiet(&["get", "csr", "--no-headers"])?;
    if let Some(line) = table
        .lines()
        .find(|line| !line.ends_with("Approved,Issued"))
    {
        bail!("{line}");
    }
    Ok(())
}

fn goes_on(stack: &mut Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let agent = stack.agent(NODE)?;
    agent.stop()?;
    let (before, made) = (agent.certificate_now()?, requests_of(admin, USER)?);
    agent.start()?;
    std::thread::sleep(Duration::from_secs(5));
    let agent = stack.agent(NODE)?;
    let after = agent.certificate_now()?;
    same("serial", after.serial, before.serial)?;
    same("requests", requests_of(admin, USER)?, made)?;
    let process = agent.process.as_mut().context("no agent")?;
    ensure_that!(process.is_running(), "it ended: {}", process.stderr());
    Ok(())
}
