//! `kill -9` at bad moments.

use super::first_start::resource_version;
use super::second_node::{CLIENT, CLIENT_USAGES, REQUESTS};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, Process, Sandbox, Up, arg, eventually, object, signing_request};
use everleaf_stage::{ensure_that, same};
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

/// Clients that file a thousand requests, each printing the name of what was acknowledged.
fn load(sandbox: &Sandbox, up: &Up<'_>) -> Result<Vec<Process>> {
    signing_request(sandbox, "model", "/CN=load", CLIENT, CLIENT_USAGES)?;
    let pem = fs::read(sandbox.path("model.csr"))?;
    let client = |client: usize| {
        let name = |number| format!("load-{client}-{number}");
        let items: Vec<_> = (0..REQUESTS_MADE / CLIENTS)
            .map(|number| object(&name(number), &pem, CLIENT, CLIENT_USAGES))
            .collect();
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
        let file = sandbox.write(&format!("list-{client}.json"), &list.to_string())?;
        let args = ["create", "--validate=false", "-f", arg(&file)];
        up.admin().start(&format!("client-{client}"), &args)
    };
    (0..CLIENTS).map(client).collect()
}

fn acknowledged(clients: &[Process]) -> BTreeSet<String> {
    let said: String = clients.iter().map(Process::stdout).collect();
    let names = said
        .lines()
        .filter_map(|line| line.strip_suffix(" created"));
    names.map(str::to_owned).collect()
}

fn kill_up(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    let before = resource_version(&up.admin())?;
    let clients = load(sandbox, &up)?;
    eventually("hundreds of requests", 40, || {
        let so_far = acknowledged(&clients).len();
        ensure_that!(so_far >= REQUESTS_MADE / 3, "{so_far} so far");
        Ok(())
    })?;
    let middle = resource_version(&up.admin())?;
    up.process.kill();
    std::thread::sleep(Duration::from_millis(300));
    let acknowledged = acknowledged(&clients);
    let count = acknowledged.len();
    ensure_that!(
        count < REQUESTS_MADE,
        "the run ended before it was interrupted"
    );
    up.restart()?;
    let present = up.admin().quiet(&["get", "csr", "-o", "name"])?;
    let present: BTreeSet<String> = present.lines().map(str::to_owned).collect();
    let missing: Vec<&String> = acknowledged.difference(&present).collect();
    ensure_that!(
        missing.is_empty(),
        "{} of {count} are gone: {missing:?}",
        missing.len()
    );
    let after = resource_version(&up.admin())?;
    let goes_on = before < middle && middle <= after;
    ensure_that!(goes_on, "resource versions {before}, {middle}, {after}");
    // A watch from before the crash goes on where it was.
    let watch = format!("{REQUESTS}?watch=true&resourceVersion={before}&timeoutSeconds=1");
    let events = up.admin().quiet(&["get", "--raw", &watch])?;
    let resumed = events.matches("\"ADDED\"").count();
    ensure_that!(
        resumed >= count,
        "the watch shows {resumed} of {count} requests"
    );
    same("exit code", up.process.stop()?, 0)?;
    Ok(Verdict::Passed)
}

/// Certificates that are due soon after birth, and a kill every few moments: whatever moment it
/// hits, the credential on disk works.
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
