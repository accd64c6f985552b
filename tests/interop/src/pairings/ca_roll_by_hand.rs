//! The CA of a real kube-apiserver is replaced by hand, as docs/ca.md says, under twenty agents and
//! a real kubelet that go on.

use super::Pairing;
use super::requests::file_client;
use crate::stack::{Authority, Part, Stack, obstacle};
use anyhow::{Context, Result};
use base64::Engine as _;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, Kubectl, Sandbox, arg, ensure_that, eventually, run as run_command};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver, kubelet 1.37 (with containerd)",
    ours: "`everleaf agent`, `controllers`",
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
        "both CAs are announced; twenty agents take the new one on and say so in their Leases",
        || roll.publish(),
    )?;
    sandbox.point(
        "a real kubelet goes on when it is restarted with both in its kubeconfig",
        || roll.kubelet_trusts_both(),
    )?;
    sandbox.point(
        "kube-apiserver serves by the new CA, which signs now; twenty agents renew in the time that is announced",
        || roll.renew(),
    )?;
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
    /// Of the new CA, whose files are those of a data directory.
    next: Authority<'a>,
    /// By the names that they have in certificates.
    old_pin: String,
    new_pin: String,
}

impl<'a> Roll<'a> {
    fn prepare(sandbox: &'a Sandbox) -> Result<Self> {
        let mut stack = Stack::start(sandbox, &[Part::Etcd])?;
        let old = stack.authority_or_new()?.certificate().to_owned();
        let next = new_authority(sandbox)?;
        let clients = sandbox.path("pki/clients.crt");
        fs::copy(&old, &clients)?;
        // An administrator who is one under any CA, and knows the server by either.
        let by_token = stack.admin_by_token()?;
        let kubeconfig = sandbox.path("admin.conf");
        let old = fs::read_to_string(&old)?;
        let both = old.clone() + &fs::read_to_string(next.certificate())?;
        let text = fs::read_to_string(&kubeconfig)?;
        fs::write(&kubeconfig, text.replace(&base64(&old), &base64(&both)))?;
        let clients = format!("--client-ca-file={}", clients.display());
        stack.add(&Part::KubeApiserver(&[&clients, &by_token]))?;
        let admin = stack.admin()?;
        stack.user("old-user", "/CN=old-user")?;
        stack.add(&Part::EverleafControllers(&[]))?;
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
        Ok(Self {
            sandbox,
            stack,
            admin,
            agents,
            next,
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

    /// What `everleaf ca status` says of the CA of that name.
    fn status(&self, name: &str) -> Result<Value> {
        let kubeconfig = self.sandbox.path("admin.conf");
        let args = [
            "ca",
            "status",
            "-o",
            "json",
            "--kubeconfig",
            arg(&kubeconfig),
        ];
        let text = run_command(&mut self.sandbox.everleaf(&args))?.ok()?;
        let status: Value = serde_json::from_str(&text)?;
        let all = status["authorities"].as_array().context("no list")?;
        let subject = format!("CN={name}");
        let found = all.iter().find(|ca| ca["subject"] == subject.as_str());
        found
            .cloned()
            .with_context(|| format!("no {subject} in {text}"))
    }

    fn announce(&self, data: &Value) -> Result<()> {
        let name = "everleaf-authorities";
        let object = |kind: &str, group: &str, rest: Value| {
            let mut object = json!({
                "apiVersion": group, "kind": kind,
                "metadata": {"name": name, "namespace": "kube-public"},
            });
            if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
                object.extend(rest);
            }
            object
        };
        let rbac = "rbac.authorization.k8s.io/v1";
        let rules = json!([{
            "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["get"],
        }]);
        let group = "rbac.authorization.k8s.io";
        let items = [
            object("ConfigMap", "v1", json!({"data": data})),
            object("Role", rbac, json!({"rules": rules})),
            object(
                "RoleBinding",
                rbac,
                json!({
                    "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
                    "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:nodes"}],
                }),
            ),
        ];
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        let file = self.sandbox.write("announced.json", &list.to_string())?;
        self.admin.quiet(&["apply", "-f", arg(&file)]).map(drop)
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

    fn publish(&mut self) -> Result<()> {
        let both = self.text("ca.crt")? + &fs::read_to_string(self.next.certificate())?;
        replace(&self.file("clients.crt"), &both)?;
        eventually("kube-apiserver believes both", RELOAD_SECONDS_MAX, || {
            self.status("kubernetes-2").map(drop)
        })?;
        let pin = |status: Value| status["pin"].as_str().unwrap_or_default().to_owned();
        self.old_pin = pin(self.status("kubernetes")?);
        self.new_pin = pin(self.status("kubernetes-2")?);
        self.announce(&json!({
            "ca.crt": both, "links.crt": self.text("link.crt")?, "signer": self.old_pin, "epoch": "1",
        }))?;
        let both = [&self.old_pin, &self.new_pin];
        self.all_say("all agents trust both", |word| {
            let trusts = word["trusts"].as_array().cloned().unwrap_or_default();
            let has = |pin: &&String| trusts.iter().any(|one| one == pin.as_str());
            word["epoch"] == "1" && both.iter().all(has)
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
        Ok(())
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
        self.is_ready()
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

    fn renew(&mut self) -> Result<()> {
        // The link goes along, for whoever knows the old CA alone.
        self.next.serving("apiserver-2")?;
        let chain = self.text("apiserver-2.crt")? + &self.text("link.crt")?;
        replace(&self.file("apiserver.key"), &self.text("apiserver-2.key")?)?;
        replace(&self.file("apiserver.crt"), &chain)?;
        eventually(
            "kube-apiserver serves by the new CA",
            RELOAD_SECONDS_MAX,
            || {
                let uses = self.status("kubernetes-2")?["uses"].to_string();
                ensure_that!(uses.contains("serves"), "{uses}");
                Ok(())
            },
        )?;
        fs::copy(self.file("ca.crt"), self.file("ca-old.crt"))?;
        replace(&self.file("ca.key"), &fs::read_to_string(self.next.key())?)?;
        replace(
            &self.file("ca.crt"),
            &fs::read_to_string(self.next.certificate())?,
        )?;
        let bootstrapper = Kubectl::new(self.sandbox, self.stack.bootstrap_kubeconfig()?);
        let mut number = 0;
        eventually("the new CA signs", RELOAD_SECONDS_MAX, || {
            number += 1;
            let name = format!("probe-{number}");
            file_client(self.sandbox, &bootstrapper, &name, &name)?.issued(&self.admin, 20)?;
            let uses = self.status("kubernetes-2")?["uses"].to_string();
            ensure_that!(uses.contains("signs"), "{uses}");
            Ok(())
        })?;
        let from = now();
        let until = from + SignedDuration::from_secs(30);
        self.announce(&json!({
            "ca.crt": self.text("clients.crt")?, "links.crt": self.text("link.crt")?,
            "signer": self.new_pin, "epoch": "2",
            "renew-from": format!("{from:.0}"), "renew-until": format!("{until:.0}"),
        }))?;
        self.all_say("all agents have certificates of the new CA", |word| {
            word["epoch"] == "2" && word["certificates"]["client"] == self.new_pin.as_str()
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
        self.is_ready()
    }

    fn drop_old(&mut self) -> Result<()> {
        // Their kubeconfig is of the old CA: they would get another one.
        self.stack.stop("controllers")?;
        replace(&self.file("apiserver.crt"), &self.text("apiserver-2.crt")?)?;
        replace(&self.file("clients.crt"), &self.text("ca.crt")?)?;
        // kube-apiserver adds to this one, and takes nothing out.
        let data = json!({"data": {"client-ca-file": self.text("ca.crt")?}}).to_string();
        let name = "extension-apiserver-authentication";
        let patch = [
            "patch",
            "cm",
            "-n",
            "kube-system",
            name,
            "--type=merge",
            "-p",
            &data,
        ];
        self.admin.quiet(&patch)?;
        self.announce(&json!({
            "ca.crt": self.text("ca.crt")?, "signer": self.new_pin, "epoch": "3", "retired": self.old_pin,
        }))?;
        let only = json!([self.new_pin]);
        self.all_say("all agents trust the new CA alone", |word| {
            word["epoch"] == "3" && word["trusts"] == only
        })?;
        for agent in &self.agents {
            agent.kubectl().quiet(&["auth", "whoami"])?;
        }
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
        })?;
        let uses = self.status("kubernetes")?["uses"].to_string();
        ensure_that!(!uses.contains("clients"), "{uses}");
        Ok(())
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

/// Another CA, and the link by which the old one vouches for it: the commands of docs/ca.md.
fn new_authority(sandbox: &Sandbox) -> Result<Authority<'_>> {
    let directory = sandbox.path("next");
    fs::create_dir_all(directory.join("pki"))?;
    let next = Authority::of_data_dir(sandbox, &directory);
    let (key, certificate) = (next.key().to_owned(), next.certificate().to_owned());
    let kind = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let what = ["-days", "3650", "-subj", "/CN=kubernetes-2"];
    let files = ["-keyout", arg(&key), "-out", arg(&certificate)];
    sandbox
        .openssl(&[&kind[..], &what, &files].concat())?
        .ok()?;
    let extensions = sandbox.write(
        "pki/link.ext",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
    )?;
    let pki = |name: &str| sandbox.path("pki").join(name);
    let (old, old_key, link) = (pki("ca.crt"), pki("ca.key"), pki("link.crt"));
    let sign = [
        "x509",
        "-in",
        arg(&certificate),
        "-CA",
        arg(&old),
        "-CAkey",
        arg(&old_key),
    ];
    let how = [
        "-set_serial",
        "0x4a17",
        "-days",
        "3650",
        "-clrext",
        "-extfile",
        arg(&extensions),
    ];
    sandbox
        .openssl(&[&sign[..], &how, &["-out", arg(&link)]].concat())?
        .ok()?;
    Ok(next)
}
