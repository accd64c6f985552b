//! `everleaf controllers` and a real kube-controller-manager on one Lease: at any time one of them
//! acts, the other stands by.
//!
//! Who signed is seen from the certificate: kube-controller-manager signs for two hours here,
//! Everleaf for one.

mod storm;

use super::Pairing;
use super::requests::file_client;
use crate::stack::{Part, Stack};
use anyhow::{Context, Result, bail};
use everleaf_stage::runner::{Test, Verdict, now};
use everleaf_stage::{Kubectl, Sandbox, ensure_that, eventually, free_port, http_get, same};
use serde_json::Value;
use std::time::Duration;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.37",
    ours: "`everleaf controllers`",
    test: Test {
        name: "everleaf_controllers_take_turns_with_kube_controller_manager",
        long: true,
        run,
    },
};

const OURS: &str = "--cluster-signing-duration=1h";
const REAL: &str = "--cluster-signing-duration=2h";
/// Lifetimes in minutes, with the five of backdating.
const BY_US: i64 = 65;
const BY_KCM: i64 = 125;
/// Longest that an approval and a signature may take here: two cores, and other stacks beside it.
const SECONDS_MAX: u64 = 20;
/// The lease duration, the longest wait between two looks, and some for a busy machine.
const TAKEOVER_SECONDS_MAX: u64 = 15 + 5 + 10;
/// After a release: the longest wait between two looks, and some.
const HANDOVER_SECONDS_MAX: u64 = 5 + 4;

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let [policy, log] = storm::audited(sandbox)?;
    let parts = [
        Part::Etcd,
        Part::KubeApiserver(&[&policy, &log]),
        Part::KubeControllerManager(&[REAL]),
    ];
    let mut contest = Contest {
        stack: Stack::start(sandbox, &parts)?,
        metrics: format!("127.0.0.1:{}", free_port()?),
        requests: 0,
    };
    let admin = contest.stack.admin()?;
    sandbox.point(
        "while kube-controller-manager leads, everleaf stands by: ready, and writing nothing",
        || {
            let leader = contest.new_holder(&admin, "", SECONDS_MAX)?;
            contest.start_ours()?;
            contest.stands_by_for(&leader)?;
            contest.signed_by(&admin, BY_KCM)?;
            contest.leader_metric(0)?;
            contest.nobody_signs_while_the_leader_pauses(&admin)
        },
    )?;
    sandbox.point(
        "kube-controller-manager is killed: everleaf leads when its lease has run out",
        || {
            let leader = holder(&admin)?;
            let killed = now();
            contest.stack.kill("kube-controller-manager")?;
            contest.new_holder(&admin, &leader, TAKEOVER_SECONDS_MAX)?;
            let waited = killed.elapsed();
            ensure_that!(
                waited > Duration::from_secs(12),
                "it took the lease after {waited:?}"
            );
            contest.leader_metric(1)?;
            contest.signed_by(&admin, BY_US)
        },
    )?;
    sandbox.point("kube-controller-manager comes back and waits", || {
        let leader = holder(&admin)?;
        contest.stack.add(&Part::KubeControllerManager(&[REAL]))?;
        std::thread::sleep(Duration::from_secs(20));
        same("holder", holder(&admin)?, leader)?;
        contest.signed_by(&admin, BY_US)
    })?;
    leave(&mut contest, &admin)?;
    Ok(Verdict::Passed)
}

/// Every way in which a leader goes: by its own will, asked to, robbed, cut off.
fn leave(contest: &mut Contest<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let sandbox = contest.stack.sandbox;
    sandbox.point(
        "everleaf stops and gives the lease up: kube-controller-manager leads within seconds",
        || {
            let leader = holder(admin)?;
            same("exit code", contest.stack.stop("controllers")?, 0)?;
            contest.new_holder(admin, &leader, HANDOVER_SECONDS_MAX)?;
            contest.signed_by(admin, BY_KCM)
        },
    )?;
    sandbox.point(
        "kube-controller-manager stops (SIGTERM) while everleaf stands by: everleaf leads",
        || {
            contest.start_ours()?;
            let leader = holder(admin)?;
            contest.stands_by_for(&leader)?;
            // It ends by the signal, without a code.
            let _ = contest.stack.stop("kube-controller-manager");
            contest.new_holder(admin, &leader, TAKEOVER_SECONDS_MAX)?;
            contest.signed_by(admin, BY_US)
        },
    )?;
    sandbox.point(
        "each change of leader is a transition of the Lease and a Kubernetes Event",
        || {
            let lease = lease(admin)?;
            same(
                "transitions",
                lease["spec"]["leaseTransitions"].as_i64(),
                Some(3),
            )?;
            same("Events of leaders", became_leader(admin)?, 4)
        },
    )?;
    storm::changes_of_leaders(contest, admin)?;
    sandbox.point(
        "everleaf finds another holder: it writes nothing more and exits with 1",
        || contest.robbed(admin),
    )?;
    sandbox.point(
        "kube-apiserver goes away: everleaf leaves before its lease has run out",
        || contest.cut_off(admin),
    )
}

struct Contest<'a> {
    stack: Stack<'a>,
    /// Where ours answers `/readyz` and `/metrics`.
    metrics: String,
    requests: usize,
}

impl Contest<'_> {
    fn start_ours(&mut self) -> Result<()> {
        let metrics = format!("--metrics-bind-address={}", self.metrics);
        self.stack
            .add(&Part::EverleafControllers(&[OURS, &metrics]))
    }

    fn stands_by_for(&self, leader: &str) -> Result<()> {
        let wanted = format!("ok: standing by, {leader} leads");
        eventually("/readyz of everleaf", SECONDS_MAX, || {
            let answer = http_get(&self.metrics, "/readyz")?;
            ensure_that!(answer.ends_with(&wanted), "it says {answer:?}");
            Ok(())
        })
    }

    fn leader_metric(&self, value: u8) -> Result<()> {
        let wanted =
            format!("leader_election_master_status{{name=\"kube-controller-manager\"}} {value}");
        let metrics = http_get(&self.metrics, "/metrics")?;
        ensure_that!(metrics.contains(&wanted), "{wanted} is not in {metrics}");
        Ok(())
    }

    /// The holder of the lease, once it is another one than `old` and not nobody.
    fn new_holder(&self, admin: &Kubectl<'_>, old: &str, seconds_max: u64) -> Result<String> {
        eventually("a new leader", seconds_max, || {
            let holder = holder(admin)?;
            ensure_that!(
                !holder.is_empty() && holder != old,
                "the holder is {holder:?}"
            );
            Ok(holder)
        })
    }

    /// Has a bootstrap request approved and signed, and looks who did.
    fn signed_by(&mut self, admin: &Kubectl<'_>, minutes: i64) -> Result<()> {
        self.requests += 1;
        let name = format!("request-{}", self.requests);
        let sandbox = self.stack.sandbox;
        let by = Kubectl::new(sandbox, self.stack.bootstrap_kubeconfig()?);
        let request = file_client(sandbox, &by, &name, &name)?;
        let certificate = request.issued(admin, SECONDS_MAX)?;
        same(
            "lifetime in minutes",
            certificate.lifetime().as_mins(),
            minutes,
        )
    }

    /// The leader stands still, for less than its lease lasts: a request waits for it.
    fn nobody_signs_while_the_leader_pauses(&mut self, admin: &Kubectl<'_>) -> Result<()> {
        let sandbox = self.stack.sandbox;
        let by = Kubectl::new(sandbox, self.stack.bootstrap_kubeconfig()?);
        self.stack.part("kube-controller-manager")?.pause()?;
        let request = file_client(sandbox, &by, "patient", "patient")?;
        std::thread::sleep(Duration::from_secs(2));
        same("its state meanwhile", request.state(admin)?, Vec::new())?;
        self.stack.part("kube-controller-manager")?.resume()?;
        let certificate = request.issued(admin, SECONDS_MAX)?;
        let minutes = certificate.lifetime().as_mins();
        same("lifetime in minutes", minutes, BY_KCM)
    }

    /// Writes another holder into the lease, which is what a leader sees that was cut off for long.
    fn robbed(&mut self, admin: &Kubectl<'_>) -> Result<()> {
        let patch = r#"{"spec":{"holderIdentity":"somebody"}}"#;
        let lease = [
            "-n",
            "kube-system",
            "patch",
            "lease",
            "kube-controller-manager",
        ];
        let mut args = lease.to_vec();
        args.extend(["--type=merge", "-p", patch]);
        admin.quiet(&args)?;
        let ours = self.stack.part("controllers")?;
        same(
            "exit code",
            ours.exit_code(Duration::from_secs(SECONDS_MAX))?,
            1,
        )?;
        let log = ours.stderr();
        let last = log.lines().last().unwrap_or_default();
        same(
            "last words",
            last,
            "everleaf: leader election lost: somebody holds the lease now",
        )?;
        same("holder", holder(admin)?, "somebody".to_owned())
    }

    fn cut_off(&mut self, admin: &Kubectl<'_>) -> Result<()> {
        self.start_ours()?;
        self.new_holder(admin, "somebody", TAKEOVER_SECONDS_MAX)?;
        self.signed_by(admin, BY_US)?;
        self.stack.kill("kube-apiserver")?;
        let killed = now();
        let ours = self.stack.part("controllers")?;
        same(
            "exit code",
            ours.exit_code(Duration::from_secs(SECONDS_MAX))?,
            1,
        )?;
        let waited = killed.elapsed();
        ensure_that!(waited < Duration::from_secs(15), "it left after {waited:?}");
        let log = ours.stderr();
        let wanted = "leader election lost: the lease could not be renewed in time";
        ensure_that!(log.contains(wanted), "it said {:?}", log.lines().last());
        Ok(())
    }
}

fn lease(admin: &Kubectl<'_>) -> Result<Value> {
    admin.json(&[
        "-n",
        "kube-system",
        "get",
        "lease",
        "kube-controller-manager",
    ])
}

fn holder(admin: &Kubectl<'_>) -> Result<String> {
    match lease(admin)?["spec"]["holderIdentity"].as_str() {
        Some(holder) => Ok(holder.to_owned()),
        None => bail!("the lease names no holder"),
    }
}

/// Kubernetes Events that say that somebody became leader.
fn became_leader(admin: &Kubectl<'_>) -> Result<usize> {
    let list = admin.json(&["-n", "kube-system", "get", "events"])?;
    let events = list["items"].as_array().context("no list of events")?;
    let leading = events.iter().filter(|event| {
        let message = event["message"].as_str().unwrap_or_default();
        event["reason"] == "LeaderElection" && message.ends_with(" became leader")
    });
    Ok(leading.count())
}
