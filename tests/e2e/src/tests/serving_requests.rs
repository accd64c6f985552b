//! Serving requests that somebody decides against, or nobody decides.

use super::second_node::{serving_request, strings};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, Certificate, Sandbox, Up, arg, eventually};
use everleaf_stage::{ensure_that, same};

pub(super) const TESTS: &[Test] = &[Test {
    name: "a_name_that_an_approver_refuses_is_left_out",
    long: false,
    run: refused_name,
}];

/// The reason of the approver's condition.
const DENIED: &str = r#"{"status":{"conditions":[{"type":"Denied","status":"True","reason":"NamePolicy",
    "message":"DNS name \"a_b.internal\" is not allowed here"}]}}"#;

/// A Node with an address that policy does not like: the agent says whose words these are, and gets the rest.
fn refused_name(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
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
