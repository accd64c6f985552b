//! The same with kube-controller-manager, turned round half way: the old CA stays.

use super::{Roll, base64, first_flags, replace, start_run};
use crate::pairings::Pairing;
use crate::stack::{Part, Stack};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, Sandbox, ensure_that, eventually};
use serde_json::{Value, json};
use std::fs;

pub(crate) const TAKEN_BACK: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.37",
    ours: "`everleaf agent`, `ca roll run`",
    test: Test {
        name: "a_roll_of_the_ca_of_real_kubernetes_is_taken_back",
        long: true,
        run,
    },
};

const AGENTS: usize = 2;
/// Longest that the agents may take for one step.
const SECONDS_MAX: u64 = 60;
/// What trusts by a file.
const TRUST: [&str; 4] = [
    "--client-ca-file",
    "extension-apiserver-authentication",
    "--root-ca-file",
    "admin.conf",
];
/// What serves and signs by a file.
const USE: [&str; 2] = ["--tls-cert-file", "--cluster-signing-cert-file"];

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let mut roll = prepare(sandbox)?;
    sandbox.point(
        "`ca roll back` before a file was put in place ends the roll; nobody was told of the new CA",
        || roll.back_at_once(),
    )?;
    sandbox.point(
        "begun again: agents trust both CAs, and renew once kube-apiserver serves and kube-controller-manager signs by the new one",
        || roll.go_forward(),
    )?;
    sandbox.point(
        "`ca roll back` says which files go back; agents renew once the old CA serves and signs again",
        || roll.turn_round(),
    )?;
    sandbox.point(
        "the new CA is dropped, and agents trust the old one alone",
        || roll.drop_new(),
    )?;
    sandbox.point("no request of a node was refused at any time", || {
        roll.nobody_was_refused()
    })?;
    Ok(Verdict::Passed)
}

fn prepare(sandbox: &Sandbox) -> Result<Roll<'_>> {
    let mut stack = Stack::start(sandbox, &[Part::Etcd])?;
    let old = stack.authority_or_new()?.certificate().to_owned();
    for copy in ["clients.crt", "roots.crt", "ca-old.crt"] {
        fs::copy(&old, sandbox.path("pki").join(copy))?;
    }
    let by_token = stack.admin_by_token()?;
    let clients = sandbox.path("pki/clients.crt");
    let clients = format!("--client-ca-file={}", clients.display());
    stack.add(&Part::KubeApiserver(&[&clients, &by_token]))?;
    let admin = stack.admin()?;
    let bootstrap = stack.bootstrap_kubeconfig()?;
    let mut roll = Roll {
        sandbox,
        stack,
        admin,
        agents: Vec::new(),
        process: start_run(sandbox, "roll-run", &first_flags(sandbox))?,
        old_pin: String::new(),
        new_pin: String::new(),
    };
    roll.start_controllers()?;
    for number in 0..AGENTS {
        let name = format!("n{number}");
        let mut agent = Agent::bootstrapped_by(sandbox, bootstrap.clone(), &name);
        agent.args.push("--ca-refresh-interval=2s".to_owned());
        agent.start()?;
        roll.agents.push(agent);
    }
    for agent in &roll.agents {
        eventually("an agent's certificate", SECONDS_MAX, || {
            agent.certificate_now()
        })?;
    }
    Ok(roll)
}

impl Roll<'_> {
    fn start_controllers(&mut self) -> Result<()> {
        let roots = format!("--root-ca-file={}", self.file("roots.crt").display());
        // The next one need not wait for a Lease of the one before.
        let alone = "--leader-elect=false";
        self.stack
            .add(&Part::KubeControllerManager(&[&roots, alone]))
    }

    /// kube-controller-manager reads it once.
    fn put_roots(&mut self, pem: &str) -> Result<()> {
        replace(&self.file("roots.crt"), pem)?;
        self.stack.kill("kube-controller-manager")?;
        self.start_controllers()
    }

    /// What everybody trusts, into each file, in place of what was there.
    fn put_trust(&mut self) -> Result<()> {
        self.is_to_do(&TRUST)?;
        let (before, pem) = (self.text("clients.crt")?, self.made("ca.crt")?);
        let admin = self.sandbox.path("admin.conf");
        let text = fs::read_to_string(&admin)?;
        fs::write(&admin, text.replace(&base64(&before), &base64(&pem)))?;
        replace(&self.file("clients.crt"), &pem)?;
        self.put_roots(&pem)?;
        self.is_to_do(&[])
    }

    /// Key and certificate of server and signer.
    fn put_use(&self) -> Result<()> {
        self.is_to_do(&USE)?;
        for (file, made) in [
            ("apiserver.key", "apiserver.key"),
            ("apiserver.crt", "apiserver.crt"),
            ("ca.key", "ca.key"),
            ("ca.crt", "signer.crt"),
        ] {
            replace(&self.file(file), &self.made(made)?)?;
        }
        self.is_to_do(&[])
    }

    fn have_renewed(&self, pin: &str) -> Result<()> {
        self.all_say("all agents have certificates of that CA", |word| {
            word["certificates"]["client"] == pin
        })
    }

    fn back_at_once(&mut self) -> Result<()> {
        self.begin()?;
        let told = self.ca(&["roll", "back"])?.ok()?;
        ensure_that!(told.contains("taken back"), "{told}");
        let told = self.ca(&["roll", "status"])?.ok()?;
        ensure_that!(told.contains("no roll of the CA is under way"), "{told}");
        ensure_that!(told.contains("CN=kubernetes stays alone"), "{told}");
        let alone = self.made("ca.crt")?;
        ensure_that!(alone == self.text("ca-old.crt")?, "{alone}");
        Ok(())
    }

    fn go_forward(&mut self) -> Result<()> {
        self.start_roll()?;
        let told = self.announced()?;
        let trusted = told["ca.crt"].as_str().unwrap_or_default();
        same_certificate(trusted, &self.text("ca-old.crt")?)?;
        self.put_trust()?;
        self.is_in("renew")?;
        self.put_use()?;
        self.have_renewed(&self.new_pin.clone())
    }

    fn turn_round(&mut self) -> Result<()> {
        let told = self.ca(&["roll", "back"])?.ok()?;
        ensure_that!(told.contains("turned round"), "{told}");
        self.put_use()?;
        let old = self.text("ca-old.crt")?;
        same_certificate(&self.text("ca.crt")?, &old)?;
        self.have_renewed(&self.old_pin.clone())
    }

    fn drop_new(&mut self) -> Result<()> {
        eventually("nobody needs the new CA", SECONDS_MAX, || {
            let status = self.roll_status()?;
            ensure_that!(status["isReady"] == true, "{status}");
            Ok(())
        })?;
        self.ca(&["roll", "finish"])?.ok()?;
        self.put_trust()?;
        same_certificate(&self.text("clients.crt")?, &self.text("ca-old.crt")?)?;
        let only: Value = json!([self.old_pin]);
        self.all_say("all agents trust the old CA alone", |word| {
            word["trusts"] == only
        })?;
        for agent in &self.agents {
            agent.kubectl().quiet(&["auth", "whoami"])?;
        }
        let told = self.ca(&["roll", "status"])?.ok()?;
        ensure_that!(told.contains("CN=kubernetes stays alone"), "{told}");
        ensure_that!(self.process.stop()? == 0, "{}", self.process.stderr());
        Ok(())
    }
}

/// Whoever wrote it may have broken its lines otherwise.
fn same_certificate(one: &str, other: &str) -> Result<()> {
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    ensure_that!(bare(one) == bare(other), "{one} is not {other}");
    Ok(())
}
