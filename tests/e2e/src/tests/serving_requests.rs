//! Serving requests that somebody decides against, or nobody decides.

use super::second_node::{serving_request, strings};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Certificate, FakeClock, Sandbox, Up, arg, eventually, free_port, http_get,
};
use everleaf_stage::{ensure_that, same};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_name_that_an_approver_refuses_is_left_out",
        long: false,
        run: refused_name,
    },
    Test {
        name: "a_serving_certificate_whose_request_waits_is_told_and_not_ready",
        long: false,
        run: waits,
    },
];

/// The reason of the approver's condition.
const DENIED: &str = r#"{"status":{"conditions":[{"type":"Denied","status":"True","reason":"NamePolicy",
    "message":"DNS name \"a_b.internal\" is not allowed here"}]}}"#;

/// A Node with an address that policy does not like: the agent says whose words these are, and gets
/// the rest.
fn refused_name(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node", "--serving-approval=false"])?;
    let admin = up.admin();
    let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n2"}}"#;
    let node = sandbox.write("node.json", node)?;
    admin.quiet(&["create", "--validate=false", "-f", arg(&node)])?;
    let addresses = r#"{"status":{"addresses":[{"type":"InternalIP","address":"10.1.2.3"},
        {"type":"Hostname","address":"n2"},{"type":"InternalDNS","address":"a_b.internal"}]}}"#;
    let status = ["patch", "node", "n2", "--subresource=status"];
    admin.quiet(&[&status[..], &["--type=merge", "-p", addresses]].concat())?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent
        .args
        .extend(strings(&["--rotate-server-certificates"]));
    agent.start()?;
    let first = serving_request(&admin, "n2")?;
    let approval = ["patch", "csr", &first, "--subresource=approval"];
    admin.quiet(&[&approval[..], &["--type=merge", "-p", DENIED]].concat())?;
    admin.quiet(&[
        "wait",
        "--for=jsonpath={.status.conditions[0].type}=Denied",
        "csr",
        &first,
    ])?;
    let log = eventually("it says what is left out", 15, || {
        let log = agent.log();
        ensure_that!(log.contains("a_b.internal, reason"), "{log}");
        Ok(log)
    })?;
    let line = log
        .lines()
        .find(|line| line.contains("a_b.internal, reason"));
    let line = line.unwrap_or_default();
    for words in [
        "WARN",
        "an approver denied",
        "NamePolicy",
        "leaves it out",
        &first,
    ] {
        ensure_that!(line.contains(words), "{words} is not in {line}");
    }
    let second = eventually("the next request", 15, || {
        admin.quiet(&["delete", "csr", &first, "--ignore-not-found"])?;
        serving_request(&admin, "n2")
    })?;
    admin.quiet(&["certificate", "approve", &second])?;
    let path = agent.path("pki/kubelet-server-current.pem");
    let certificate = eventually("the serving certificate", 15, || {
        Certificate::read(sandbox, &path)
    })?;
    same(
        "SANs",
        certificate.names.as_str(),
        "DNS:n2, IP Address:10.1.2.3",
    )?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

/// The first request waits: shown, and no fault. The renewal waits past the deadline, then past the
/// end: not ready.
fn waits(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node", "--serving-approval=false"])?;
    let admin = up.admin();
    let mut agent = Agent::new(sandbox, &up, "n2");
    let address = format!("127.0.0.1:{}", free_port()?);
    agent.args.extend(strings(&[
        "--rotate-server-certificates",
        "--node-ip",
        "127.0.0.1",
        "--metrics-bind-address",
        &address,
    ]));
    agent.start()?;
    let first = serving_request(&admin, "n2")?;
    // The agent's clock goes on between its starts.
    let restart = |agent: &mut Agent<'_>, seconds| {
        agent.stop()?;
        agent.start_at(&FakeClock::Offset(seconds))
    };
    restart(&mut agent, 310)?;
    let advice = format!("kubectl certificate approve {first}");
    told(
        &agent,
        &address,
        "200 OK",
        &["WARN", "the first serving certificate waits", &advice],
    )?;
    admin.quiet(&["certificate", "approve", &first])?;
    let path = agent.path("pki/kubelet-server-current.pem");
    let certificate = eventually("the serving certificate", 15, || {
        Certificate::read(sandbox, &path)
    })?;
    admin.quiet(&["delete", "csr", &first])?;
    // Due on any draw, and not over.
    let late = certificate.lifetime().as_secs() / 100 * 92;
    restart(&mut agent, late)?;
    let second = serving_request(&admin, "n2")?;
    restart(&mut agent, late + 310)?;
    let advice = format!("kubectl certificate approve {second}");
    told(
        &agent,
        &address,
        "503",
        &["WARN", "the next serving certificate waits", &advice],
    )?;
    let metric = r#"everleaf_agent_certificate_overdue{kind="serving",reason="renewal_pending"} 1"#;
    let metrics = http_get(&address, "/metrics")?;
    ensure_that!(metrics.contains(metric), "{metrics}");
    restart(&mut agent, certificate.lifetime().as_secs() + 3600)?;
    told(
        &agent,
        &address,
        "503",
        &["ERROR", "the serving certificate ended at"],
    )?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

/// `/readyz` answers with this code and these words, and one line of the log has them; the first is
/// its level.
fn told(agent: &Agent<'_>, address: &str, code: &str, words: &[&str]) -> Result<()> {
    eventually(words[1], 15, || {
        let answer = match http_get(address, "/readyz") {
            Ok(answer) => answer,
            Err(error) => error.to_string(),
        };
        ensure_that!(answer.contains(code), "{code} is not in {answer}");
        let missing = words[1..].iter().find(|words| !answer.contains(**words));
        ensure_that!(missing.is_none(), "{missing:?} is not in {answer}");
        let log = agent.log();
        let is_it = |line: &&str| words.iter().all(|words| line.contains(words));
        ensure_that!(
            log.lines().any(|line| is_it(&line)),
            "{words:?} are not in {log}"
        );
        Ok(())
    })
}
