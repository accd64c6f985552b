//! `kill -9` at bad moments.

use super::first_start::resource_version;
use super::second_node::{CLIENT_USAGES, REQUESTS};
use super::{ensure_that, same};
use crate::runner::{Test, Verdict};
use crate::stage::{Agent, Process, Sandbox, Up, arg, eventually, object, signing_request};
use anyhow::Result;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// Requests of the run that is interrupted.
const REQUESTS_MADE: usize = 1000;
/// Clients that make them: kubectl limits itself to fifty a second.
const CLIENTS: usize = 5;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "kill_9_of_up_loses_nothing_that_was_acknowledged",
        long: true,
        run: kill_up,
    },
    Test {
        name: "kill_9_of_an_agent_leaves_a_usable_credential",
        long: true,
        run: kill_agent,
    },
    Test {
        name: "an_agent_waits_for_a_server_that_comes_later",
        long: false,
        run: late_server,
    },
];

fn kill_up(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    signing_request(
        sandbox,
        "model",
        "/CN=load",
        "kubernetes.io/kube-apiserver-client",
        CLIENT_USAGES,
    )?;
    let pem = fs::read(sandbox.path("model.csr"))?;
    let before = resource_version(&up.admin())?;
    let clients: Vec<Process> = (0..CLIENTS)
        .map(|client| {
            let items: Vec<_> = (0..REQUESTS_MADE / CLIENTS)
                .map(|number| {
                    object(
                        &format!("load-{client}-{number}"),
                        &pem,
                        "kubernetes.io/kube-apiserver-client",
                        CLIENT_USAGES,
                    )
                })
                .collect();
            let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
            let file = sandbox.write(&format!("list-{client}.json"), &list.to_string())?;
            up.admin().start(
                &format!("client-{client}"),
                &["create", "--validate=false", "-f", arg(&file)],
            )
        })
        .collect::<Result<_>>()?;
    let acknowledged = || -> BTreeSet<String> {
        let lines = clients.iter().map(Process::stdout).collect::<String>();
        lines
            .lines()
            .filter_map(|line| line.strip_suffix(" created"))
            .map(str::to_owned)
            .collect()
    };
    eventually("hundreds of requests", 40, || {
        let so_far = acknowledged().len();
        ensure_that!(so_far >= REQUESTS_MADE / 3, "{so_far} so far");
        Ok(())
    })?;
    let middle = resource_version(&up.admin())?;
    up.process.kill();
    std::thread::sleep(Duration::from_millis(300));
    let acknowledged = acknowledged();
    ensure_that!(
        acknowledged.len() < REQUESTS_MADE,
        "the run ended before it was interrupted"
    );
    up.restart()?;
    let present = up.admin().quiet(&["get", "csr", "-o", "name"])?;
    let present: BTreeSet<String> = present.lines().map(str::to_owned).collect();
    let missing: Vec<&String> = acknowledged.difference(&present).collect();
    ensure_that!(
        missing.is_empty(),
        "{} of {} are gone: {missing:?}",
        missing.len(),
        acknowledged.len()
    );
    let after = resource_version(&up.admin())?;
    ensure_that!(
        before < middle && middle <= after,
        "resource versions {before}, {middle}, {after}"
    );
    // A watch from before the crash goes on where it was.
    let watch = format!("{REQUESTS}?watch=true&resourceVersion={before}&timeoutSeconds=1");
    let events = up.admin().quiet(&["get", "--raw", &watch])?;
    ensure_that!(
        events.matches("\"ADDED\"").count() >= acknowledged.len(),
        "the watch does not resume"
    );
    same("exit code", up.process.stop()?, 0)?;
    Ok(Verdict::Passed)
}

/// Certificates that are due soon after birth, and a kill every few moments: whatever moment it hits, the credential on disk works.
fn kill_agent(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node", "--cluster-signing-duration", "1m"])?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent.start()?;
    agent.certificate()?;
    for round in 0..24_u64 {
        agent.kill();
        agent.certificate_now()?;
        let answer = agent.kubectl().quiet(&["get", "csr", "-o", "name"]);
        ensure_that!(answer.is_ok(), "round {round}: {answer:?}");
        agent.start()?;
        std::thread::sleep(Duration::from_millis(23 * round));
    }
    Ok(Verdict::Passed)
}

fn late_server(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    up.process.stop()?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent.start()?;
    std::thread::sleep(Duration::from_secs(7));
    let log = agent.log();
    let complaints = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .count();
    ensure_that!(
        (1..=6).contains(&complaints),
        "{complaints} complaints in seven seconds:\n{log}"
    );
    up.restart()?;
    eventually("the node's certificate", 40, || agent.certificate_now())?;
    agent.stop()?;
    Ok(Verdict::Passed)
}
