//! `everleaf agent adopt` and `hand-back`, on files as kubeadm and a kubelet lay them out.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Answer, Certificate, FakeClock, Kubectl, Sandbox, Up, arg, ensure_that, eventually, run,
    same,
};
use std::fs;
use std::path::{Path, PathBuf};

pub(super) const TESTS: &[Test] = &[Test {
    name: "a_kubeadm_node_is_adopted_and_handed_back",
    long: false,
    run: adopted,
}];

/// As kubeadm writes it, in short.
const CONFIG: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
authorization:
  mode: Webhook
kind: KubeletConfiguration
rotateCertificates: true
serverTLSBootstrap: true
staticPodPath: /etc/kubernetes/manifests
";
/// With the five minutes of backdating, 430 s.
const SIGNING_DURATION: &[&str] = &["--no-node", "--cluster-signing-duration", "130s"];
/// A clock so far ahead sees a new certificate at 97 % of its life: it is renewed at once.
const AHEAD: FakeClock = FakeClock::Offset(120);

/// A node's directory, and its commands.
struct Node<'a> {
    sandbox: &'a Sandbox,
    directory: PathBuf,
}

impl Node<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn run(&self, command: &str, more: &[&str]) -> Result<Answer> {
        let mut program = self.sandbox.everleaf(&["agent", command]);
        program.args(["--kubelet-root", arg(&self.directory)]);
        program.args(["--kubeconfig", arg(&self.path("kubelet.conf"))]);
        run(program.args(more))
    }

    fn config(&self) -> Result<String> {
        Ok(fs::read_to_string(self.path("config.yaml"))?)
    }

    /// Every file with its text, links by their target; not the lock.
    fn files(&self) -> Result<Vec<(PathBuf, String)>> {
        let mut files = Vec::new();
        for directory in [self.directory.clone(), self.path("pki")] {
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                let text = match fs::read_link(&path) {
                    Ok(target) => target.display().to_string(),
                    Err(_) if path.is_dir() || path.ends_with(".everleaf.lock") => continue,
                    Err(_) => fs::read_to_string(&path)?,
                };
                files.push((path, text));
            }
        }
        files.sort();
        Ok(files)
    }

    /// What `adopt` prints to start, with a clock ahead; until there is another certificate.
    fn renew_by(&self, told: &str, old: &Certificate) -> Result<Certificate> {
        let line = told.lines().last().context("nothing is told")?;
        let words = line.split_whitespace().skip(1);
        let mut command = self.sandbox.everleaf(&[]);
        AHEAD.apply(self.sandbox, command.args(words));
        let mut agent = self.sandbox.start("adopted", &mut command)?;
        let current = self.path("pki/kubelet-client-current.pem");
        let renewed = eventually("another certificate", 15, || {
            let now = Certificate::read(self.sandbox, &current)?;
            ensure_that!(now.serial != old.serial, "still {}", old.serial);
            Ok(now)
        })?;
        let told = self.run("hand-back", &[])?.failed_with(1)?;
        ensure_that!(told.contains("in use by another process"), "{told}");
        same("exit code on SIGTERM", agent.stop()?, 0)?;
        Ok(renewed)
    }
}

fn adopted(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, SIGNING_DURATION)?;
    let mut kubelet = Agent::new(sandbox, &up, "n2");
    kubelet.start()?;
    kubelet.certificate()?;
    let node = Node {
        sandbox,
        directory: sandbox.path("n2"),
    };
    fs::write(node.path("config.yaml"), CONFIG)?;
    sandbox.point("never beside another agent, or a kubelet", || {
        let told = node.run("adopt", &[])?.failed_with(1)?;
        ensure_that!(told.contains("in use by another process"), "{told}");
        kubelet.stop()?;
        beside_a_kubelet(&node)
    })?;
    let certificate = kubelet.certificate_now()?;
    sandbox.point(
        "a dry run says what would change, and changes nothing",
        || {
            let before = node.files()?;
            let told = node.run("adopt", &["--dry-run"])?.ok()?;
            for wanted in [
                "- rotateCertificates: true\n  + rotateCertificates: false",
                ".everleaf-adopted.json",
                "Note: serverTLSBootstrap stays on",
            ] {
                ensure_that!(told.contains(wanted), "{told}");
            }
            same("files", node.files()?, before)
        },
    )?;
    let told = sandbox.point("adopted: the kubelet's renewal is off", || {
        let told = node.run("adopt", &[])?.ok()?;
        same(
            "config",
            node.config()?,
            CONFIG.replacen("s: true", "s: false", 1),
        )?;
        let again = node.run("adopt", &[])?.ok()?;
        ensure_that!(again.contains("Nothing is to be changed"), "{again}");
        Ok(told)
    })?;
    let renewed = sandbox.point("the printed command renews", || {
        node.renew_by(&told, &certificate)
    })?;
    sandbox.point("handed back with the newest certificate", || {
        node.run("hand-back", &["--dry-run"])?.ok()?;
        node.run("hand-back", &[])?.ok()?;
        handed_back(&node, &renewed, "n2")?;
        let told = node.run("hand-back", &[])?.failed_with(1)?;
        ensure_that!(told.contains("was not adopted"), "{told}");
        Ok(())
    })?;
    embedded(sandbox, &node)?;
    Ok(Verdict::Passed)
}

/// A process by that name with these files.
fn beside_a_kubelet(node: &Node<'_>) -> Result<()> {
    let script = "exec -a kubelet perl -e 'sleep 60' -- \"$@\"";
    let mut command = node.sandbox.command(Path::new("bash"));
    command.args(["-c", script, "bash", "--cert-dir", "/nowhere"]);
    command.arg(format!(
        "--kubeconfig={}",
        node.path("kubelet.conf").display()
    ));
    let kubelet = node.sandbox.start("kubelet", &mut command)?;
    // Before it has this name, nothing stands against an adoption.
    let line = format!("/proc/{}/cmdline", kubelet.id());
    eventually("the kubelet's name", 5, || {
        ensure_that!(fs::read(&line)?.starts_with(b"kubelet\0"), "{line}");
        Ok(())
    })?;
    let told = node.run("adopt", &[])?.failed_with(1)?;
    let wanted = format!("runs (pid {})", kubelet.id());
    ensure_that!(told.contains(&wanted), "{told}");
    same("config", node.config()?, CONFIG.to_owned())
}

/// All that a kubelet needs, and its own configuration.
fn handed_back(node: &Node<'_>, newest: &Certificate, name: &str) -> Result<()> {
    same("config", node.config()?, CONFIG.to_owned())?;
    let record = node.path("pki/.everleaf-adopted.json");
    ensure_that!(!record.exists(), "{} is there", record.display());
    let current = node.path("pki/kubelet-client-current.pem");
    let current = Certificate::read(node.sandbox, &current)?;
    same("serial", &current.serial, &newest.serial)?;
    let kubelet = Kubectl::new(node.sandbox, node.path("kubelet.conf"));
    let whoami = kubelet.json(&["auth", "whoami"])?;
    let user = whoami["status"]["userInfo"]["username"].as_str();
    same(
        "who it is",
        user,
        Some(format!("system:node:{name}").as_str()),
    )
}

/// `kubeadm init` writes its first kubelet.conf with certificate and key in it.
fn embedded(sandbox: &Sandbox, from: &Node<'_>) -> Result<()> {
    let node = Node {
        sandbox,
        directory: sandbox.path("first"),
    };
    fs::create_dir_all(node.path("pki"))?;
    fs::write(node.path("config.yaml"), CONFIG)?;
    fs::copy(from.path("kubelet.conf"), node.path("kubelet.conf"))?;
    let current = from.path("pki/kubelet-client-current.pem");
    let certificate = Certificate::read(sandbox, &current)?;
    let kubectl = Kubectl::new(sandbox, node.path("kubelet.conf"));
    let files = [
        format!("--client-certificate={}", current.display()),
        format!("--client-key={}", current.display()),
    ];
    let set = ["config", "set-credentials", "default-auth", "--embed-certs"];
    kubectl.quiet(&[&set[..], &files.each_ref().map(String::as_str)].concat())?;
    sandbox.point(
        "a kubeconfig that holds its certificate names it from then on",
        || {
            let before = fs::read_to_string(node.path("kubelet.conf"))?;
            ensure_that!(before.contains("client-key-data"), "{before}");
            let told = node.run("adopt", &[])?.ok()?;
            let after = fs::read_to_string(node.path("kubelet.conf"))?;
            ensure_that!(!after.contains("client-key-data"), "{after}");
            let copy = fs::read_to_string(node.path("kubelet.conf.bak"))?;
            same("what it held", copy, before)?;
            let renewed = node.renew_by(&told, &certificate)?;
            node.run("hand-back", &[])?.ok()?;
            handed_back(&node, &renewed, "n2")
        },
    )
}
