//! Serving requests that nobody approves but the policy, as a node, an attacker and an operator see
//! it.

use super::second_node::{KUBELET_CLIENT, strings};
use super::serving_attacks::{self, Node};
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Answer, Certificate, Kubectl, Process, Sandbox, Up, arg, eventually, free_port,
    host_address, http_get, run,
};
use everleaf_stage::{ensure_that, same};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// The signer of serving certificates.
pub(super) const SERVING: &str = "kubernetes.io/kubelet-serving";

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_node_gets_both_certificates_with_nobody_approving",
        long: false,
        run: nobody_approves,
    },
    Test {
        name: "a_node_on_the_servers_machine_gets_its_own_address_and_no_name_of_the_server",
        long: false,
        run: on_the_servers_machine,
    },
    Test {
        name: "hostile_serving_requests_are_denied_by_the_rule_that_they_break",
        long: false,
        run: serving_attacks::run,
    },
    Test {
        name: "a_policy_file_that_is_wrong_is_refused_at_start",
        long: false,
        run: refused_at_start,
    },
    Test {
        name: "a_policy_file_is_read_again_and_a_broken_one_changes_nothing",
        long: true,
        run: read_again,
    },
    Test {
        name: "policy_test_shows_every_rule_without_a_cluster",
        long: false,
        run: policy_test,
    },
];

fn nobody_approves(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let admin = up.admin();
    let mut agent = Agent::new(sandbox, &up, "n2");
    let address = host_address()?.to_string();
    agent.args.extend(strings(&[
        "--rotate-server-certificates",
        "--node-ip",
        &address,
    ]));
    agent.start()?;
    agent.certificate()?;
    let path = agent.path("pki/kubelet-server-current.pem");
    let certificate = eventually("the serving certificate", 15, || {
        Certificate::read(sandbox, &path)
    })?;
    let names = format!("DNS:n2, IP Address:{address}");
    same("SANs", certificate.names, names)?;
    let verified = sandbox.openssl(&[
        "verify",
        "-purpose",
        "sslserver",
        "-CAfile",
        arg(&up.path("pki/ca.crt")),
        arg(&path),
    ])?;
    verified.ok()?;
    let list = admin.json(&["get", "csr"])?;
    let mut seen = Vec::new();
    for request in items(&list) {
        let who = request["spec"]["username"].as_str().unwrap_or_default();
        let signer = request["spec"]["signerName"].as_str().unwrap_or_default();
        if signer == KUBELET_CLIENT {
            continue;
        }
        same("requestor", who, "system:node:n2")?;
        let [condition] = &conditions(request)[..] else {
            anyhow::bail!("not one condition: {request}");
        };
        seen.push(condition.clone());
        let name = request["metadata"]["name"].as_str().unwrap_or_default();
        let told = eventually("its Event", 10, || {
            let told = admin.quiet(&["events", "--for", &format!("csr/{name}"), "--no-headers"])?;
            ensure_that!(told.contains("CSRApproved"), "{told}");
            Ok(told)
        })?;
        ensure_that!(told.contains("Normal"), "{told}");
    }
    let approved = "Approved/EverleafPolicyApproved: Auto approving kubelet serving certificate: \
                    policy \"default\", all rules passed.";
    same("conditions", seen, strings(&[approved]))?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

/// All connections come from one machine here, as they do behind whatever forwards them there.
fn on_the_servers_machine(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent.start()?;
    agent.certificate()?;
    let node = agent.kubectl();
    let files = |name: &str, names: &str| -> Result<()> {
        let names = format!("subjectAltName={names}");
        let request = serving_attacks::request(sandbox, name, "n2", &names)?;
        let file = sandbox.write(&format!("{name}.json"), &request.to_string())?;
        let create = ["create", "--validate=false", "-f", arg(&file)];
        node.quiet(&create).map(drop)
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let host = host.trim().to_ascii_lowercase();
    let address = host_address()?;
    let admin = up.admin();
    files("own", &format!("DNS:n2,IP:{address}"))?;
    files("other", "DNS:n2,IP:10.1.0.9")?;
    has_condition(
        &admin,
        "own",
        "Approved/EverleafPolicyApproved",
        "all rules passed",
    )?;
    eventually("the other one is told to wait", 10, || {
        let told = admin.run(&["events", "--for", "csr/other", "--no-headers"])?;
        let told = told.stdout;
        let waits = told.contains("CSRWaiting") && told.contains("rule S13 node");
        ensure_that!(waits, "{told}");
        Ok(())
    })?;
    let other = admin.json(&["get", "csr", "other"])?;
    same("conditions", conditions(&other), Vec::new())?;
    let object = Node::new(sandbox, &up, "n2")?;
    object.has(&[("Hostname", &host), ("InternalIP", "10.1.0.9")])?;
    has_condition(
        &admin,
        "other",
        "Approved/EverleafPolicyApproved",
        "all rules passed",
    )?;
    files("server", &format!("DNS:{host}"))?;
    let told = "is a name of the API server";
    has_condition(&admin, "server", "Denied/EverleafPolicyDenied", told)?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

/// A request gets one condition, which begins and goes on like this.
pub(super) fn has_condition(
    admin: &Kubectl<'_>,
    name: &str,
    kind: &str,
    message: &str,
) -> Result<()> {
    eventually(name, 15, || {
        let conditions = conditions(&admin.json(&["get", "csr", name])?);
        let [condition] = &conditions[..] else {
            anyhow::bail!("not one condition: {conditions:?}");
        };
        let is_it = condition.starts_with(kind) && condition.contains(message);
        ensure_that!(is_it, "{condition} is not {kind}: … {message} …");
        Ok(())
    })
}

/// The elements of a list.
pub(super) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

/// `Type/reason: message` of each condition of a request.
pub(super) fn conditions(request: &Value) -> Vec<String> {
    let conditions = request["status"]["conditions"].as_array();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    conditions
        .into_iter()
        .flatten()
        .map(|one| {
            let (kind, reason) = (text(&one["type"]), text(&one["reason"]));
            format!("{kind}/{reason}: {}", text(&one["message"]))
        })
        .collect()
}

/// One policy of the name and with these keys.
pub(super) fn policy(name: &str, keys: &str) -> String {
    format!("version: everleaf.io/policy/v1\npolicy:\n- name: {name}\n{keys}")
}

/// Each is named, with file, key and place; nothing begins to work with another policy than was
/// meant.
fn refused_at_start(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node", "--serving-approval=false"])?;
    let kubeconfig = up.path("admin.conf");
    let wrong = [
        (policy("p", "  san: {max_dsn: 4}\n"), "max_dsn"),
        (policy("p", "  on_violation: allow\n"), "allow"),
        (
            policy("p", "  san: {allowed_cidrs: [10.2.0.1/16]}\n"),
            "10.2.0.0/16 was meant",
        ),
        (
            policy("p", "  cel: [{expr: 'csr.nmae =='}]\n"),
            "cel[0].expr",
        ),
        (
            policy("p", "  san: {require_node_addresses: false}\n"),
            "nothing says which addresses",
        ),
        (policy("p", "").replace("v1", "v9"), "everleaf.io/policy/v9"),
        (
            "version: everleaf.io/policy/v1\npolicy: []\n".to_owned(),
            "nothing would be approved",
        ),
        (String::new(), "policy.yaml"),
    ];
    for (text, word) in wrong {
        let file = sandbox.write("policy.yaml", &text)?;
        let mut command = sandbox.everleaf(&[
            "controllers",
            "--leader-elect=false",
            "--controllers=kubelet-serving-approver",
            "--kubeconfig",
            arg(&kubeconfig),
            "--serving-approval-policy",
            arg(&file),
        ]);
        let said = run(&mut command)?.failed_with(1)?;
        let last = said.lines().last().unwrap_or_default();
        for word in ["--serving-approval-policy", "policy.yaml", word] {
            ensure_that!(last.contains(word), "{text:?}: no {word:?} in {last:?}");
        }
    }
    // `up` is not ready with another policy than was asked for, either.
    let file = sandbox.write("policy.yaml", &policy("p", "  san: {max_dsn: 4}\n"))?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let mut command = sandbox.everleaf(&["up", "--data-dir", "other", "--no-node", "--listen"]);
    command.args([&listen, "--serving-approval-policy", arg(&file)]);
    let answer = run(&mut command)?;
    let told = answer.clone().failed_with(1)?;
    ensure_that!(told.contains("max_dsn"), "{told}");
    ensure_that!(!answer.stdout.contains("is ready"), "{}", answer.stdout);
    Ok(Verdict::Passed)
}

/// The approver of serving requests alone, beside an `up` that leaves them to it.
pub(super) struct Approver<'a> {
    sandbox: &'a Sandbox,
    pub(super) node: Node<'a>,
    pub(super) admin: Kubectl<'a>,
    metrics: String,
    process: Process,
}

fn read_again(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node", "--serving-approval=false"])?;
    let file = sandbox.write("policy.yaml", &policy("first", ""))?;
    let mut approver = Approver::start(sandbox, &up, &file)?;
    sandbox.point("what the first file allows is approved", || {
        approver.becomes("a", "Approved/EverleafPolicyApproved", "policy \"first\"")
    })?;
    sandbox.point("a stricter file is taken within 10 s", || {
        approver.replace(&policy("strict", "  san: {allowed_cidrs: [10.2.0.0/16]}\n"))?;
        approver.logs("loaded ", 2)?;
        approver.metric(1)?;
        let message =
            "policy \"strict\", rule S17 ranges: 10.1.0.1 lies in none of the allowed ranges";
        approver.becomes("b", "Denied/EverleafPolicyDenied", message)
    })?;
    sandbox.point(
        "a broken one leaves it in force, and log and metric say so",
        || {
            approver.replace(&policy("lax", "  san: {alowed_cidrs: [0.0.0.0/0]}\n"))?;
            approver.logs("cannot be used, and what was read before stays in use", 1)?;
            approver.logs("alowed_cidrs", 1)?;
            approver.metric(0)?;
            let message = "policy \"strict\", rule S17 ranges";
            approver.becomes("c", "Denied/EverleafPolicyDenied", message)
        },
    )?;
    sandbox.point("so does one that is gone", || {
        std::fs::remove_file(&file)?;
        approver.logs("there is no such file", 1)?;
        approver.metric(0)?;
        let message = "policy \"strict\", rule S17 ranges";
        approver.becomes("d", "Denied/EverleafPolicyDenied", message)
    })?;
    sandbox.point("a dry run tells, and writes nothing", || approver.dry_run())?;
    sandbox.point(
        "what waited in the dry run is approved once it ends",
        || {
            approver.replace(&policy("last", ""))?;
            has_condition(
                &approver.admin,
                "benign",
                "Approved/EverleafPolicyApproved",
                "policy \"last\"",
            )?;
            has_condition(
                &approver.admin,
                "hostile",
                "Denied/EverleafPolicyDenied",
                "rule S12 addresses",
            )
        },
    )?;
    same("exit code", approver.process.stop()?, 0)?;
    Ok(Verdict::Passed)
}

impl<'a> Approver<'a> {
    /// Starts it beside a Node n1.
    pub(super) fn start(sandbox: &'a Sandbox, up: &Up<'a>, file: &Path) -> Result<Self> {
        let metrics = format!("127.0.0.1:{}", free_port()?);
        let kubeconfig = up.path("admin.conf");
        let mut command = sandbox.everleaf(&[
            "controllers",
            "--controllers=kubelet-serving-approver",
            "--kubeconfig",
            arg(&kubeconfig),
            "--serving-approval-policy",
            arg(file),
            "--metrics-bind-address",
            &metrics,
        ]);
        let node = Node::new(sandbox, up, "n1")?;
        node.has(&[("Hostname", "n1"), ("InternalIP", "10.1.0.1")])?;
        Ok(Self {
            sandbox,
            node,
            admin: up.admin(),
            metrics,
            process: sandbox.start("approver", &mut command)?,
        })
    }

    fn replace(&self, text: &str) -> Result<()> {
        // Whole or not at all, as an editor and a mounted ConfigMap do it.
        let new = self.sandbox.write("policy.yaml.new", text)?;
        Ok(std::fs::rename(new, self.sandbox.path("policy.yaml"))?)
    }

    pub(super) fn logs(&self, words: &str, times: usize) -> Result<()> {
        // A ConfigMap is looked at every half minute.
        eventually(words, 45, || {
            let log = self.process.stderr();
            let lines = log.lines().filter(|line| line.contains(words)).count();
            ensure_that!(lines >= times, "{lines} lines with {words:?}: {log}");
            Ok(())
        })
    }

    fn metric(&self, value: u8) -> Result<()> {
        let wanted = format!("everleaf_policy_reload_success{{file=\"policy\"}} {value}");
        let metrics = http_get(&self.metrics, "/metrics")?;
        ensure_that!(metrics.contains(&wanted), "no {wanted} in {metrics}");
        Ok(())
    }

    /// Files a request of the node for its own name and address, which gets this condition.
    fn becomes(&self, name: &str, kind: &str, message: &str) -> Result<()> {
        let own = "subjectAltName=DNS:n1,IP:10.1.0.1";
        self.node.files(&[self.node.request(name, own)?])?;
        has_condition(&self.admin, name, kind, message)
    }

    fn dry_run(&self) -> Result<()> {
        self.replace(&policy("trial", "  mode: dry-run\n"))?;
        self.logs("loaded ", 3)?;
        self.metric(1)?;
        let requests = [
            self.node
                .request("benign", "subjectAltName=DNS:n1,IP:10.1.0.1")?,
            self.node
                .request("hostile", "subjectAltName=DNS:n1,IP:127.0.0.1")?,
        ];
        self.node.files(&requests)?;
        self.logs("csr \"benign\" would be approved", 1)?;
        self.logs("csr \"hostile\" would be denied", 1)?;
        std::thread::sleep(Duration::from_secs(2));
        for name in ["benign", "hostile"] {
            let request = self.admin.json(&["get", "csr", name])?;
            same("conditions", conditions(&request), Vec::new())?;
            let told = self
                .admin
                .run(&["events", "--for", &format!("csr/{name}")])?;
            ensure_that!(!told.stdout.contains("CSR"), "an Event: {}", told.stdout);
        }
        Ok(())
    }
}

fn policy_test(sandbox: &Sandbox) -> Result<Verdict> {
    let bench = Bench { sandbox };
    bench.write("benign", "subjectAltName=DNS:n1,IP:10.1.0.1")?;
    bench.write("hostile", "subjectAltName=DNS:n1,IP:::ffff:10.1.0.2")?;
    let file = policy(
        "bench",
        "  san: {allowed_cidrs: [10.1.0.0/16], max_dns: 1}\n",
    );
    sandbox.write("policy.yaml", &file)?;
    sandbox.point("exit code 0: every request would be approved", || {
        let told = bench.test(&["--csr", "benign.json"])?.ok()?;
        let first: Vec<&str> = told.lines().take(2).collect();
        let approves =
            "Auto approving kubelet serving certificate: policy \"default\", all rules passed.";
        same("its beginning", first, vec!["benign: approve", approves])?;
        bench
            .test(&["--csr", "benign.json", "-f", "policy.yaml"])?
            .ok()?;
        Ok(())
    })?;
    sandbox.point(
        "exit code 1: one would not, and each rule says what it found",
        || {
            let both = ["--csr", "benign.json", "--csr", "hostile.json"];
            let answer = bench.test(&both)?;
            same("code", answer.code, Some(1))?;
            for words in ["benign: approve", "hostile: deny"] {
                ensure_that!(
                    answer.stdout.contains(words),
                    "no {words:?}: {}",
                    answer.stdout
                );
            }
            for (rule, finding) in [("S16", "violated"), ("S17", "skipped"), ("S12", "passed")] {
                let mut lines = answer.stdout.lines().rev();
                let line = lines
                    .find(|line| line.starts_with(rule))
                    .unwrap_or_default();
                ensure_that!(
                    line.contains(finding),
                    "{rule} is not {finding}: {}",
                    answer.stdout
                );
            }
            Ok(())
        },
    )?;
    sandbox.point("as JSON, for a program", || bench.as_json())?;
    sandbox.point("with what DNS says, where a policy asks it", || {
        bench.with_dns()
    })?;
    sandbox.point("exit code 2: it could not be tried", || {
        let wrong = policy("bench", "  san: {max_dsn: 1}\n");
        sandbox.write("wrong.yaml", &wrong)?;
        for (args, word) in [
            (&["--csr", "nowhere.json"][..], "nowhere.json"),
            (&["--csr", "benign.json", "-f", "wrong.yaml"], "max_dsn"),
            (&["--csr", "policy.yaml"], "policy.yaml"),
            (&["--scr", "benign.json"], "--scr"),
        ] {
            let said = bench.test(args)?.failed_with(2)?;
            ensure_that!(said.contains(word), "{args:?}: no {word:?} in {said}");
        }
        Ok(())
    })?;
    Ok(Verdict::Passed)
}

/// Files of requests and of two nodes.
struct Bench<'a> {
    sandbox: &'a Sandbox,
}

impl Bench<'_> {
    /// A request as the API server would show it.
    fn write(&self, name: &str, names: &str) -> Result<()> {
        let mut request = serving_attacks::request(self.sandbox, name, "n1", names)?;
        request["spec"]["username"] = "system:node:n1".into();
        request["spec"]["groups"] = serde_json::json!(["system:nodes", "system:authenticated"]);
        let file = format!("{name}.json");
        self.sandbox.write(&file, &request.to_string())?;
        let nodes = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: [\
                     {type: InternalIP, address: 10.1.0.1}, {type: InternalIP, address: 10.1.0.2}]}\n---\n\
                     apiVersion: v1\nkind: Node\nmetadata: {name: n2}\nstatus: {addresses: [\
                     {type: InternalIP, address: 10.1.0.2}]}\n";
        self.sandbox.write("nodes.yaml", nodes)?;
        Ok(())
    }

    fn test(&self, args: &[&str]) -> Result<Answer> {
        let mut command = self
            .sandbox
            .everleaf(&["policy", "test", "--node", "nodes.yaml"]);
        run(command.args(args))
    }

    /// A policy that asks DNS is judged by what is said of it, and by nothing else.
    fn with_dns(&self) -> Result<()> {
        let file = policy("resolved", "  san: {dns_resolution: {enabled: true}}\n");
        self.sandbox.write("resolved.yaml", &file)?;
        let args = ["--csr", "benign.json", "-f", "resolved.yaml"];
        for (dns, code, verdict) in [
            (&[][..], 1, "benign: look"),
            (&["--dns", "n2=10.1.0.1"], 1, "benign: look"),
            (&["--dns", "N1=10.1.0.1,fd00::1"], 0, "benign: approve"),
            (
                &["--dns", "n1=10.1.0.9", "--dns", "n1=10.1.0.1"],
                0,
                "benign: approve",
            ),
            (&["--dns", "n1=10.1.0.9"], 1, "benign: deny"),
            (&["--dns", "n1="], 1, "benign: deny"),
        ] {
            let answer = self.test(&[&args[..], dns].concat())?;
            same("code", answer.code, Some(code))?;
            same("verdict", answer.stdout.lines().next(), Some(verdict))?;
        }
        for wrong in ["n1", "=10.1.0.1", "n1=10.1.0"] {
            let said = self.test(&[&args[..], &["--dns", wrong]].concat())?;
            let said = said.failed_with(2)?;
            ensure_that!(said.contains("--dns"), "{wrong}: {said}");
        }
        Ok(())
    }

    fn as_json(&self) -> Result<()> {
        let args = [
            "--csr",
            "benign.json",
            "--csr",
            "hostile.json",
            "-o",
            "json",
        ];
        let answer = self.test(&args)?;
        same("code", answer.code, Some(1))?;
        let told: Value = serde_json::from_str(&answer.stdout).context(answer.stdout)?;
        same("requests", told.as_array().map(Vec::len), Some(2))?;
        let expected = [
            ("benign", "approve", Value::Null),
            ("hostile", "deny", "S16".into()),
        ];
        for (one, (name, verdict, rule)) in told.as_array().into_iter().flatten().zip(expected) {
            same("name", one["csr"].as_str(), Some(name))?;
            same("verdict", one["verdict"].as_str(), Some(verdict))?;
            same("rule", &one["rule"], &rule)?;
            same("policy", one["policy"].as_str(), Some("default"))?;
            let trace = one["trace"].as_array().map_or(0, Vec::len);
            ensure_that!(trace > 20, "{trace} rules were tried");
        }
        Ok(())
    }
}
