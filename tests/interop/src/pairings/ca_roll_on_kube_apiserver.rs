//! `everleaf ca roll run` replaces the CA of a real kube-apiserver under twenty agents and a real
//! kubelet that go on. This is the person who puts files where it says.

mod taken_back;

pub(crate) use taken_back::TAKEN_BACK;

use super::Pairing;
use crate::stack::{Part, Stack, obstacle};
use anyhow::{Context, Result};
use base64::Engine as _;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Answer, Kubectl, Process, Sandbox, arg, ensure_that, eventually, run as run_command,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver, kubelet 1.37 (with containerd)",
    ours: "`everleaf agent`, `controllers`, `ca roll run`",
    test: Test {
        name: "a_ca_of_real_kube_apiserver_is_replaced_under_agents",
        long: true,
        run,
    },
};

const AGENTS: usize = 20;
const KUBELET: &str = "k1";
/// Longest that everybody may take for one step.
const SECONDS_MAX: u64 = 150;
/// kube-apiserver reads its files again when they change, at the latest after a minute; so do the
/// controllers.
const RELOAD_SECONDS_MAX: u64 = 100;

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    if let Some(obstacle) = obstacle() {
        return Ok(Verdict::Skipped(obstacle));
    }
    let mut roll = Roll::prepare(sandbox)?;
    sandbox.point(
        "`ca roll run` makes another CA and says which file goes where; nobody is told of it before kube-apiserver, pods and new nodes know both",
        || roll.begin(),
    )?;
    sandbox.point(
        "both CAs are announced; twenty agents take the new one on and say so in their Leases",
        || roll.publish(),
    )?;
    sandbox.point(
        "a real kubelet goes on when it is restarted with both in its kubeconfig",
        || roll.kubelet_trusts_both(),
    )?;
    sandbox.point(
        "no agent renews before kube-apiserver serves by the new CA and a request shows that it signs; `ca roll run` goes on after kill -9",
        || roll.serve_and_sign(),
    )?;
    sandbox.point("twenty agents renew in the time that is announced", || {
        roll.renew()
    })?;
    sandbox.point(
        "a real kubelet gets a certificate of the new CA when its own is deleted",
        || roll.kubelet_renews(),
    )?;
    sandbox.point(
        "the old CA is dropped, and everybody goes on with the new one alone",
        || roll.drop_old(),
    )?;
    sandbox.point("no request of a node was refused at any time", || {
        roll.nobody_was_refused()
    })?;
    sandbox.point("what the old CA signed is refused then", || {
        roll.old_is_refused()
    })?;
    Ok(Verdict::Passed)
}

struct Roll<'a> {
    sandbox: &'a Sandbox,
    stack: Stack<'a>,
    admin: Kubectl<'a>,
    agents: Vec<Agent<'a>>,
    /// `everleaf ca roll run`.
    process: Process,
    /// By the names that they have in certificates.
    old_pin: String,
    new_pin: String,
}

/// Flags by which the CA is taken over.
fn first_flags(sandbox: &Sandbox) -> [String; 2] {
    let pki = |name: &str| sandbox.path("pki").join(name);
    [
        format!("--cert-file={}", pki("ca.crt").display()),
        format!("--key-file={}", pki("ca.key").display()),
    ]
}

fn start_run(sandbox: &Sandbox, name: &str, flags: &[String]) -> Result<Process> {
    let (dir, kubeconfig) = (sandbox.path("roll"), sandbox.path("admin.conf"));
    let mut command = sandbox.everleaf(&["ca", "roll", "run"]);
    command.args(["--data-dir", arg(&dir), "--kubeconfig", arg(&kubeconfig)]);
    command.args(flags);
    sandbox.start(name, &mut command)
}

impl<'a> Roll<'a> {
    fn prepare(sandbox: &'a Sandbox) -> Result<Self> {
        let mut stack = Stack::start(sandbox, &[Part::Etcd])?;
        let old = stack.authority_or_new()?.certificate().to_owned();
        let file = |name: &str| sandbox.path("pki").join(name);
        for copy in ["clients.crt", "roots.crt", "ca-old.crt"] {
            fs::copy(&old, file(copy))?;
        }
        // An administrator who is one under any CA.
        let by_token = stack.admin_by_token()?;
        let clients = format!("--client-ca-file={}", file("clients.crt").display());
        stack.add(&Part::KubeApiserver(&[&clients, &by_token]))?;
        let admin = stack.admin()?;
        stack.user("old-user", "/CN=old-user")?;
        // What the controller that publishes the CA for pods may do (docs/controllers.md).
        let verbs = "--verb=get,list,watch,create,update";
        let what = "--resource=configmaps,namespaces";
        admin.quiet(&["create", "clusterrole", "roots", verbs, what])?;
        let (role, user) = ("--clusterrole=roots", "--user=everleaf-controllers");
        admin.quiet(&["create", "clusterrolebinding", "roots", role, user])?;
        let roots = format!("--root-ca-file={}", file("roots.crt").display());
        stack.add(&Part::EverleafControllers(&[&roots]))?;
        stack.add(&Part::Kubelet(KUBELET))?;
        let bootstrap = stack.bootstrap_kubeconfig()?;
        let mut agents = Vec::new();
        for number in 0..AGENTS {
            let name = format!("n{number}");
            let mut agent = Agent::bootstrapped_by(sandbox, bootstrap.clone(), &name);
            agent.args.push("--ca-refresh-interval=5s".to_owned());
            agent.start()?;
            agents.push(agent);
        }
        for agent in &agents {
            eventually("an agent's certificate", SECONDS_MAX, || {
                agent.certificate_now()
            })?;
        }
        eventually("the kubelet's certificate", SECONDS_MAX, || {
            stack.kubelet(KUBELET)?.certificate_now()
        })?;
        let process = start_run(sandbox, "roll-run", &first_flags(sandbox))?;
        Ok(Self {
            sandbox,
            stack,
            admin,
            agents,
            process,
            old_pin: String::new(),
            new_pin: String::new(),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.sandbox.path("pki").join(name)
    }

    fn text(&self, name: &str) -> Result<String> {
        let path = self.file(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// What `ca roll run` has made.
    fn made(&self, name: &str) -> Result<String> {
        let path = self.sandbox.path("roll/pki").join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// `everleaf ca …` as the administrator.
    fn ca(&self, args: &[&str]) -> Result<Answer> {
        let kubeconfig = self.sandbox.path("admin.conf");
        let mut command = self.sandbox.everleaf(&["ca"]);
        command.args(args).args(["--kubeconfig", arg(&kubeconfig)]);
        run_command(&mut command)
    }

    /// What `everleaf ca status` says of the CA of that name.
    fn status(&self, name: &str) -> Result<Value> {
        let text = self.ca(&["status", "-o", "json"])?.ok()?;
        let status: Value = serde_json::from_str(&text)?;
        let all = status["authorities"].as_array().context("no list")?;
        let found = all.iter().find(|ca| ca["subject"] == name);
        found
            .cloned()
            .with_context(|| format!("no {name} in {text}"))
    }

    /// How far it has come.
    fn roll_status(&self) -> Result<Value> {
        let text = self.ca(&["roll", "status", "-o", "json"])?.ok()?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Waits until it says that this is to do, by what the remedies name.
    fn is_to_do(&self, expected: &[&str]) -> Result<()> {
        let what = format!("to do: {}", expected.join(", "));
        eventually(&what, RELOAD_SECONDS_MAX, || {
            let status = self.roll_status()?;
            let all = status["toDo"].as_array().cloned().unwrap_or_default();
            ensure_that!(all.len() == expected.len(), "{status}");
            for part in expected {
                let has = |one: &Value| one.to_string().contains(part);
                ensure_that!(all.iter().any(has), "no {part} in {status}");
            }
            Ok(())
        })
    }

    fn is_in(&self, phase: &str) -> Result<()> {
        eventually(&format!("phase {phase}"), SECONDS_MAX, || {
            let status = self.roll_status()?;
            ensure_that!(status["roll"]["phase"] == phase, "{status}");
            Ok(())
        })
    }

    /// What agents are told.
    fn announced(&self) -> Result<Value> {
        let list = self.admin.json(&["get", "cm", "-n", "kube-public"])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let is_it = |one: &Value| one["metadata"]["name"] == "everleaf-authorities";
        let found = items.into_iter().find(is_it).unwrap_or_default();
        Ok(found["data"].clone())
    }

    /// Waits until each agent's Lease says this.
    fn all_say(&self, what: &str, expected: impl Fn(&Value) -> bool) -> Result<()> {
        eventually(what, SECONDS_MAX, || {
            let leases = self
                .admin
                .json(&["get", "lease", "-n", "kube-node-lease"])?;
            let leases = leases["items"].as_array().cloned().unwrap_or_default();
            for agent in &self.agents {
                let of_agent = |one: &&Value| one["metadata"]["name"] == agent.name.as_str();
                let lease = leases.iter().find(of_agent).cloned().unwrap_or_default();
                let text = lease["metadata"]["annotations"]["everleaf.io/authorities"].clone();
                let word = serde_json::from_str(text.as_str().unwrap_or("null"))?;
                ensure_that!(expected(&word), "{}: {word}", agent.name);
            }
            Ok(())
        })
    }

    fn begin(&mut self) -> Result<()> {
        self.start_roll()?;
        ensure_that!(self.announced()?.is_null(), "{}", self.announced()?);
        let key = self.ca(&["roll", "finish"])?.failed_with(1)?;
        ensure_that!(key.contains("nothing to finish yet"), "{key}");
        Ok(())
    }

    fn start_roll(&mut self) -> Result<()> {
        // The command is there as soon as somebody answers it.
        eventually("a roll begins", 60, || {
            let told = self.ca(&["roll", "start", "--per-minute", "120"])?.ok()?;
            ensure_that!(told.contains("has begun"), "{told}");
            Ok(())
        })?;
        let places = [
            "--client-ca-file",
            "extension-apiserver-authentication",
            "--root-ca-file",
            "admin.conf",
        ];
        self.is_to_do(&places)?;
        let status = self.roll_status()?;
        let pin = |which: &str| status["roll"][which]["pin"].as_str().unwrap_or_default();
        (self.old_pin, self.new_pin) = (pin("from").to_owned(), pin("to").to_owned());
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        let both = self.made("ca.crt")?;
        ensure_that!(both.matches("BEGIN").count() == 2, "{both}");
        let admin = self.sandbox.path("admin.conf");
        let text = fs::read_to_string(&admin)?;
        fs::write(
            &admin,
            text.replace(&base64(&self.text("ca.crt")?), &base64(&both)),
        )?;
        replace(&self.file("clients.crt"), &both)?;
        replace(&self.file("roots.crt"), &both)?;
        self.is_to_do(&[])?;
        let both = [&self.old_pin, &self.new_pin];
        self.all_say("all agents trust both", |word| {
            let trusts = word["trusts"].as_array().cloned().unwrap_or_default();
            let has = |pin: &&String| trusts.iter().any(|one| one == pin.as_str());
            both.iter().all(has)
        })?;
        // Nobody speaks for another.
        let other = [
            "annotate",
            "lease",
            "n1",
            "-n",
            "kube-node-lease",
            "everleaf.io/authorities=x",
        ];
        let refused = self.agents[0].kubectl().run(&other)?;
        ensure_that!(
            refused.code != Some(0),
            "a node speaks for another: {refused:?}"
        );
        eventually("the kubelet alone is waited for", SECONDS_MAX, || {
            let told = self.ca(&["roll", "status"])?.ok()?;
            ensure_that!(told.contains("20 of 21 trust both"), "{told}");
            ensure_that!(told.contains("node/k1  a kubelet reads"), "{told}");
            Ok(())
        })
    }

    fn kubelet_trusts_both(&mut self) -> Result<()> {
        let old = base64(&self.text("ca.crt")?);
        let both = base64(&self.text("clients.crt")?);
        let kubelet = self.stack.kubelet(KUBELET)?;
        kubelet.stop()?;
        let path = kubelet.path("kubelet.conf");
        let text = fs::read_to_string(&path)?;
        ensure_that!(
            text.contains(&old),
            "the kubelet's kubeconfig has another CA"
        );
        fs::write(&path, text.replace(&old, &both))?;
        kubelet.start()?;
        self.is_ready()?;
        self.ca(&["roll", "assume", KUBELET])?.ok()?;
        self.is_in("renew")
    }

    /// The kubelet tells its Node something new.
    fn is_ready(&self) -> Result<()> {
        let begun = now() - SignedDuration::from_secs(1);
        eventually("the kubelet's Lease is renewed", SECONDS_MAX, || {
            let lease = self
                .admin
                .json(&["get", "lease", KUBELET, "-n", "kube-node-lease"])?;
            let renewed = lease["spec"]["renewTime"].as_str().unwrap_or_default();
            let renewed: Timestamp = renewed.parse()?;
            ensure_that!(renewed > begun, "not since {renewed}");
            Ok(())
        })
    }

    fn serve_and_sign(&mut self) -> Result<()> {
        self.is_to_do(&["--tls-cert-file", "--cluster-signing-cert-file"])?;
        self.process.kill();
        self.process = start_run(self.sandbox, "roll-run-again", &[])?;
        replace(&self.file("apiserver.key"), &self.made("apiserver.key")?)?;
        replace(&self.file("apiserver.crt"), &self.made("apiserver.crt")?)?;
        self.is_to_do(&["--cluster-signing-cert-file"])?;
        eventually("a request shows who signs", RELOAD_SECONDS_MAX, || {
            let status = self.roll_status()?["toDo"].to_string();
            ensure_that!(
                status.contains("CN=kubernetes has signed a moment ago"),
                "{status}"
            );
            Ok(())
        })?;
        let announced = self.announced()?;
        ensure_that!(announced["signer"] == self.old_pin.as_str(), "{announced}");
        replace(&self.file("ca.key"), &self.made("ca.key")?)?;
        replace(&self.file("ca.crt"), &self.made("signer.crt")?)?;
        self.is_to_do(&[])?;
        let left = self.admin.quiet(&["get", "csr", "-o", "name"])?;
        ensure_that!(!left.contains("everleaf-ca-roll"), "{left}");
        let new = self.roll_status()?["roll"]["to"]["subject"].clone();
        let uses = self.status(new.as_str().unwrap_or_default())?["uses"].to_string();
        ensure_that!(uses.contains("serves"), "{uses}");
        Ok(())
    }

    fn renew(&mut self) -> Result<()> {
        let announced = eventually("the time to renew is announced", 60, || {
            let announced = self.announced()?;
            ensure_that!(announced["renew-until"].is_string(), "{announced}");
            Ok(announced)
        })?;
        ensure_that!(announced["signer"] == self.new_pin.as_str(), "{announced}");
        self.all_say("all agents have certificates of the new CA", |word| {
            word["certificates"]["client"] == self.new_pin.as_str()
        })
    }

    fn kubelet_renews(&mut self) -> Result<()> {
        let kubelet = self.stack.kubelet(KUBELET)?;
        let old = kubelet.certificate_now()?;
        kubelet.stop()?;
        kubelet.forget_client_certificates()?;
        kubelet.start()?;
        kubelet.renewed(&old, SECONDS_MAX)?;
        // It has bootstrapped again, and copied the CA of its bootstrap kubeconfig.
        let (old, new) = (
            base64(&self.text("ca-old.crt")?),
            base64(&self.text("ca.crt")?),
        );
        let kubelet = self.stack.kubelet(KUBELET)?;
        kubelet.stop()?;
        let path = kubelet.path("kubelet.conf");
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text.replace(&old, &new))?;
        kubelet.start()?;
        self.is_ready()?;
        self.ca(&["roll", "assume", KUBELET])?.ok().map(drop)
    }

    fn drop_old(&mut self) -> Result<()> {
        eventually("nobody needs the old CA", SECONDS_MAX, || {
            let status = self.roll_status()?;
            ensure_that!(status["isReady"] == true, "{status}");
            Ok(())
        })?;
        self.ca(&["roll", "finish"])?.ok()?;
        let places = [
            "--client-ca-file",
            "extension-apiserver-authentication",
            "--root-ca-file",
            "admin.conf",
        ];
        self.is_to_do(&places)?;
        let alone = self.made("ca.crt")?;
        ensure_that!(alone.matches("BEGIN").count() == 1, "{alone}");
        replace(&self.file("roots.crt"), &alone)?;
        self.is_to_do(&[
            "--client-ca-file",
            "extension-apiserver-authentication",
            "admin.conf",
        ])?;
        // Their kubeconfig is of the old CA: they would get another one.
        self.stack.stop("controllers")?;
        let admin = self.sandbox.path("admin.conf");
        let text = fs::read_to_string(&admin)?;
        let both = base64(&self.text("clients.crt")?);
        fs::write(&admin, text.replace(&both, &base64(&alone)))?;
        replace(&self.file("clients.crt"), &alone)?;
        self.is_to_do(&[])?;
        // Without the link.
        replace(&self.file("apiserver.key"), &self.made("apiserver.key")?)?;
        replace(&self.file("apiserver.crt"), &self.made("apiserver.crt")?)?;
        let only = json!([self.new_pin]);
        self.all_say("all agents trust the new CA alone", |word| {
            word["trusts"] == only
        })?;
        for agent in &self.agents {
            agent.kubectl().quiet(&["auth", "whoami"])?;
        }
        let told = self.ca(&["roll", "status"])?.ok()?;
        ensure_that!(told.contains("no roll of the CA is under way"), "{told}");
        let keys = self.sandbox.path("roll/pki/roll");
        eventually("the old key is gone", 30, || {
            ensure_that!(!keys.exists(), "{} is there", keys.display());
            Ok(())
        })?;
        ensure_that!(self.process.stop()? == 0, "{}", self.process.stderr());
        self.is_ready()
    }

    fn old_is_refused(&self) -> Result<()> {
        let text = fs::read_to_string(self.sandbox.path("old-user.conf"))?;
        let new = base64(&self.text("ca.crt")?);
        let old = base64(&self.text("ca-old.crt")?);
        let kubeconfig = self
            .sandbox
            .write("old-user.conf", &text.replace(&old, &new))?;
        let user = Kubectl::new(self.sandbox, kubeconfig);
        eventually("the old CA is not believed", RELOAD_SECONDS_MAX, || {
            let refused = user.run(&["get", "--raw", "/api"])?.failed_with(1)?;
            let is_401 = refused.contains("Unauthorized") || refused.contains("logged in");
            ensure_that!(is_401, "{refused}");
            Ok(())
        })
    }

    /// As kube-apiserver counts.
    fn nobody_was_refused(&self) -> Result<()> {
        let metrics = self.admin.quiet(&["get", "--raw", "/metrics"])?;
        let refused: Vec<_> = metrics
            .lines()
            .filter(|line| line.starts_with("apiserver_request_total{"))
            .filter(|line| line.contains("code=\"401\""))
            .collect();
        ensure_that!(refused.is_empty(), "{refused:?}");
        for agent in &self.agents {
            let log = agent.log();
            ensure_that!(!log.contains("refuses"), "{}: {log}", agent.name);
        }
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "kubelets and agents go by the real time"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// As a whole, as a careful person does.
fn replace(path: &std::path::Path, text: &str) -> Result<()> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)?;
    Ok(())
}
