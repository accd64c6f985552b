//! Any mix of real and Everleaf parts, on free loopback ports in a sandbox.
//!
//! `Stack::start(sandbox, &[Part::Etcd, Part::KubeApiserver(&[]), Part::EverleafAgent("n1")])`
//! starts them in that order, each waited for before the next one. Everything ends with the stack,
//! newest first, also after a panic.

mod authority;
mod chart;
mod kubelet;
mod ours;
mod peers;
mod real;

pub(crate) use authority::Authority;
pub(crate) use chart::{NAMESPACE, deploy, helm};
pub(crate) use kubelet::{Kubelet, LEASE_SECONDS, obstacle};
pub(crate) use peers::{Kubernetes, peer};

use anyhow::{Context, Result, bail};
use everleaf_stage::{Agent, Kubectl, Process, Sandbox, arg, eventually, free_port};
use serde_json::json;
use std::path::PathBuf;

/// The bootstrap token that [`Stack::bootstrap_kubeconfig`] creates.
const TOKEN: (&str, &str) = ("intero", "0123456789abcdef");
/// The administrator's, see [`Stack::admin_by_token`].
const ADMIN_TOKEN: &str = "interop-admin";
/// Longest that a real part may take to start: two cores, and other stacks beside it.
const START_SECONDS_MAX: u64 = 120;

/// One part of a stack; the slices are further flags.
pub(crate) enum Part<'p> {
    /// Real etcd, quick: it does not wait for the disk.
    Etcd,
    /// Real etcd as in production: every write is synced.
    DurableEtcd,
    /// Real kube-apiserver, on the etcd before it.
    KubeApiserver(&'p [&'p str]),
    /// Real kube-controller-manager, with the CSR controllers and their neighbours only.
    KubeControllerManager(&'p [&'p str]),
    /// `everleaf up --no-node`.
    EverleafUp(&'p [&'p str]),
    /// `everleaf apiserver` alone.
    EverleafApiserver(&'p [&'p str]),
    /// `everleaf controllers`.
    EverleafControllers(&'p [&'p str]),
    /// `everleaf controllers --controllers=kubelet-serving-approver`, with the rights for that
    /// alone.
    EverleafServingApprover(&'p [&'p str]),
    /// `everleaf agent` for this node; [`Stack::agent`] finds it.
    EverleafAgent(&'p str),
    /// A real kubelet for this node, with containerd. [`Stack::kubelet`] finds it.
    Kubelet(&'p str),
}

/// Running parts.
pub(crate) struct Stack<'a> {
    /// Where they live.
    pub(crate) sandbox: &'a Sandbox,
    /// Of which release its real parts and its kubectl are.
    pub(crate) release: Kubernetes,
    authority: Option<Authority<'a>>,
    etcd_port: Option<u16>,
    port: Option<u16>,
    agents: Vec<Agent<'a>>,
    kubelets: Vec<Kubelet<'a>>,
    parts: Vec<(&'static str, Process)>,
}

impl<'a> Stack<'a> {
    /// Starts the parts, one after the other; the real ones are of the present release.
    pub(crate) fn start(sandbox: &'a Sandbox, parts: &[Part<'_>]) -> Result<Self> {
        Self::of(Kubernetes::V1_37, sandbox, parts)
    }

    /// The same with the real parts, and kubectl, of another release.
    pub(crate) fn of(
        release: Kubernetes,
        sandbox: &'a Sandbox,
        parts: &[Part<'_>],
    ) -> Result<Self> {
        let mut stack = Self {
            sandbox,
            release,
            authority: None,
            etcd_port: None,
            port: None,
            agents: Vec::new(),
            kubelets: Vec::new(),
            parts: Vec::new(),
        };
        for part in parts {
            stack.add(part)?;
        }
        Ok(stack)
    }

    /// Starts one more part.
    pub(crate) fn add(&mut self, part: &Part<'_>) -> Result<()> {
        match part {
            Part::Etcd => real::etcd(self, &["--unsafe-no-fsync"]),
            Part::DurableEtcd => real::etcd(self, &[]),
            Part::KubeApiserver(flags) => real::kube_apiserver(self, flags),
            Part::KubeControllerManager(flags) => real::kube_controller_manager(self, flags),
            Part::EverleafUp(flags) => ours::up(self, flags),
            Part::EverleafApiserver(flags) => ours::apiserver(self, flags),
            Part::EverleafControllers(flags) => ours::controllers(self, flags),
            Part::EverleafServingApprover(flags) => ours::serving_approver(self, flags),
            Part::EverleafAgent(node) => ours::agent(self, node),
            Part::Kubelet(node) => kubelet::start(self, node),
        }
    }

    /// A running part, by the name of its program: "etcd", "kube-apiserver", "controllers", …
    pub(crate) fn part(&mut self, name: &str) -> Result<&mut Process> {
        let found = self.parts.iter_mut().rfind(|(part, _)| *part == name);
        found
            .map(|(_, process)| process)
            .with_context(|| format!("no {name} in this stack"))
    }

    /// Ends a part as a service manager does (SIGTERM); its exit code.
    pub(crate) fn stop(&mut self, name: &str) -> Result<i32> {
        let code = self.part(name)?.stop();
        self.parts.retain(|(part, _)| *part != name);
        code
    }

    /// Ends a part as a crash does (SIGKILL).
    pub(crate) fn kill(&mut self, name: &str) -> Result<()> {
        self.part(name)?.kill();
        self.parts.retain(|(part, _)| *part != name);
        Ok(())
    }

    /// Has etcd forget the past: who wants to watch from before must list again.
    pub(crate) fn compact(&self) -> Result<()> {
        real::compact(self)
    }

    /// The Everleaf agent of a node.
    pub(crate) fn agent(&mut self, node: &str) -> Result<&mut Agent<'a>> {
        let found = self.agents.iter_mut().find(|agent| agent.name == node);
        found.with_context(|| format!("no agent for {node} in this stack"))
    }

    /// The real kubelet of a node.
    pub(crate) fn kubelet(&mut self, node: &str) -> Result<&mut Kubelet<'a>> {
        let found = self.kubelets.iter_mut().find(|one| one.node == node);
        found.with_context(|| format!("no kubelet for {node} in this stack"))
    }

    /// The API server's port.
    pub(crate) fn port(&self) -> Result<u16> {
        self.port.context("no API server in this stack")
    }

    /// The flag that names this stack's etcd to an API server.
    pub(crate) fn etcd_servers(&self) -> Result<String> {
        let port = self.etcd_port.context("no etcd in this stack")?;
        Ok(format!("--etcd-servers=http://127.0.0.1:{port}"))
    }

    /// The CA of this stack.
    pub(crate) fn authority(&self) -> Result<&Authority<'a>> {
        self.authority.as_ref().context("no CA in this stack")
    }

    /// The CA of this stack, made if there is none.
    pub(crate) fn authority_or_new(&mut self) -> Result<&Authority<'a>> {
        if self.authority.is_none() {
            self.authority = Some(Authority::new(self.sandbox)?);
        }
        self.authority()
    }

    /// kubectl as a member of `system:masters`.
    pub(crate) fn admin(&self) -> Result<Kubectl<'a>> {
        self.user("admin", "/O=system:masters/CN=admin")
    }

    /// Has the administrator come with a bearer token from now on, so that it is one under any
    /// client CA. The answer is the flag for API servers that start after this.
    pub(crate) fn admin_by_token(&mut self) -> Result<String> {
        let port = self.port.map_or_else(free_port, Ok)?;
        self.port = Some(port);
        self.authority_or_new()?.token("admin", ADMIN_TOKEN, port)?;
        let line = format!("{ADMIN_TOKEN},admin,,system:masters\n");
        let file = self.sandbox.write("admin-token.csv", &line)?;
        Ok(format!("--token-auth-file={}", arg(&file)))
    }

    /// kubectl as any user: openssl's subject, `/O=group/CN=user`.
    pub(crate) fn user(&self, name: &str, subject: &str) -> Result<Kubectl<'a>> {
        self.kubectl(self.kubeconfig(name, subject)?)
    }

    /// kubectl of the stack's release with any kubeconfig.
    pub(crate) fn kubectl(&self, kubeconfig: PathBuf) -> Result<Kubectl<'a>> {
        let present = Kubectl::new(self.sandbox, kubeconfig);
        Ok(match self.release {
            // The suite's own, which is of this release.
            Kubernetes::V1_37 => present,
            other => present.by(other.peer("KUBECTL")?),
        })
    }

    /// The kubeconfig of a user with a client certificate; made at the first call.
    pub(crate) fn kubeconfig(&self, name: &str, subject: &str) -> Result<PathBuf> {
        let path = self.sandbox.path(&format!("{name}.conf"));
        if path.exists() {
            return Ok(path);
        }
        self.authority()?.user(name, subject, self.port()?)
    }

    /// The kubeconfig of a bootstrap token, with the token and kubeadm's bindings created at the
    /// first call.
    pub(crate) fn bootstrap_kubeconfig(&self) -> Result<PathBuf> {
        let path = self.sandbox.path("bootstrap.conf");
        if path.exists() {
            return Ok(path);
        }
        let objects = self
            .sandbox
            .write("bootstrap.json", &bootstrap_objects().to_string())?;
        // Everleaf makes the bindings itself, kube-apiserver leaves them to kubeadm.
        let answer = self
            .admin()?
            .run(&["create", "--validate=false", "-f", arg(&objects)])?;
        let refused: Vec<&str> = answer
            .stderr
            .lines()
            .filter(|line| !line.contains("AlreadyExists"))
            .collect();
        if answer.code != Some(0) && !refused.is_empty() {
            bail!("bootstrap token and bindings: {}", refused.join("\n"));
        }
        let (id, secret) = TOKEN;
        self.authority()?
            .token("bootstrap", &format!("{id}.{secret}"), self.port()?)
    }

    /// Waits until the API server says that it is ready.
    fn wait_for_server(&mut self, part: &'static str) -> Result<()> {
        let admin = self.admin()?;
        let ended = eventually(&format!("{part} is ready"), START_SECONDS_MAX, || {
            let process = self.part(part)?;
            if !process.is_running() {
                // It will not come to life by being asked again.
                return Ok(Some(last_lines(&process.stderr())));
            }
            let answer = admin.run(&["get", "--raw", "/readyz", "--request-timeout=5s"])?;
            if answer.stdout.trim() == "ok" {
                return Ok(None);
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
            bail!("/readyz: {}{}", answer.stdout, answer.stderr)
        })?;
        match ended {
            Some(lines) => bail!("{part} ended: {lines}"),
            None => Ok(()),
        }
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        self.agents.clear();
        self.kubelets.clear();
        while self.parts.pop().is_some() {}
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

/// What kubeadm creates for joining nodes: a token, and who may ask and be approved.
fn bootstrap_objects() -> serde_json::Value {
    let (id, secret) = TOKEN;
    let group = "system:bootstrappers:kubeadm:default-node-token";
    let binding = |name: &str, role: &str, group: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        })
    };
    let csr = "system:certificates.k8s.io:certificatesigningrequests";
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"namespace": "kube-system", "name": format!("bootstrap-token-{id}")},
            "type": "bootstrap.kubernetes.io/token",
            "stringData": {
                "token-id": id,
                "token-secret": secret,
                "usage-bootstrap-authentication": "true",
                "usage-bootstrap-signing": "true",
                "auth-extra-groups": group,
            },
        },
        binding("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", group),
        binding("kubeadm:node-autoapprove-bootstrap", &format!("{csr}:nodeclient"), group),
        binding("kubeadm:node-autoapprove-certificate-rotation", &format!("{csr}:selfnodeclient"), "system:nodes"),
    ]})
}
