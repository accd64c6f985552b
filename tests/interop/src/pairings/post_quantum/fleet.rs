//! One `everleaf up` for each kind of CA, and below each a node with each kind of key.

use crate::stack::peer;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use everleaf_stage::{Agent, Process, Sandbox, arg, eventually, free_port, host_address, run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest that a control plane, or fifteen nodes, take to start on two busy cores.
const START_SECONDS_MAX: u64 = 60;

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    P256,
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

/// The parameter sets of ML-DSA.
pub(super) const SETS: [Kind; 3] = [Kind::MlDsa44, Kind::MlDsa65, Kind::MlDsa87];
const KINDS: [Kind; 4] = [Kind::P256, Kind::MlDsa44, Kind::MlDsa65, Kind::MlDsa87];

impl Kind {
    /// As flags name it.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::P256 => "ECDSA-P256",
            Self::MlDsa44 => "ML-DSA-44",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
        }
    }

    /// As part of a name.
    pub(super) fn short(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::MlDsa44 => "44",
            Self::MlDsa65 => "65",
            Self::MlDsa87 => "87",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::P256 => "ECDSA P-256",
            other => other.flag(),
        })
    }
}

/// A control plane, and its nodes.
pub(super) struct Cluster<'a> {
    pub(super) sandbox: &'a Sandbox,
    /// Of its CA and its API server.
    pub(super) kind: Kind,
    /// Its API server, and what to connect to.
    pub(super) url: String,
    pub(super) address: String,
    data: PathBuf,
    pub(super) nodes: Vec<Node<'a>>,
    _up: Process,
}

/// A node with its client certificate.
pub(super) struct Node<'a> {
    pub(super) kind: Kind,
    pub(super) agent: Agent<'a>,
    /// Where its TLS endpoint is, on an address that its serving certificate names.
    pub(super) endpoint: Option<String>,
}

impl Node<'_> {
    /// Client certificate and key, in one file.
    pub(super) fn client(&self) -> PathBuf {
        self.agent.path("pki/kubelet-client-current.pem")
    }

    /// Serving certificate and key, in one file.
    pub(super) fn serving(&self) -> PathBuf {
        self.agent.path("pki/kubelet-server-current.pem")
    }
}

/// Starts all of them, and waits until every node has what it asked for.
pub(super) fn start(sandbox: &Sandbox) -> Result<Vec<Cluster<'_>>> {
    let clusters: Vec<Cluster<'_>> = KINDS
        .iter()
        .map(|kind| Cluster::start(sandbox, *kind))
        .collect::<Result<_>>()?;
    for cluster in &clusters {
        for node in &cluster.nodes {
            let mut files = vec![node.client()];
            files.extend(node.endpoint.is_some().then(|| node.serving()));
            for file in files {
                let what = format!("{}: {}", node.agent.name, file.display());
                eventually(&what, START_SECONDS_MAX, || {
                    ensure!(file.is_file(), "not yet: {}", node.agent.log());
                    Ok(())
                })?;
            }
        }
    }
    Ok(clusters)
}

impl<'a> Cluster<'a> {
    fn start(sandbox: &'a Sandbox, kind: Kind) -> Result<Self> {
        let data = sandbox.path(&format!("data-{}", kind.short()));
        let address = format!("127.0.0.1:{}", free_port()?);
        let args = ["up", "--no-node", "--data-dir", arg(&data)];
        let mut command = sandbox.everleaf(&args);
        command.args(["--listen", &address, "--key-algorithm", kind.flag()]);
        let up = sandbox.start("up", &mut command)?;
        let mut cluster = Self {
            sandbox,
            kind,
            url: format!("https://{address}"),
            address,
            data,
            nodes: Vec::new(),
            _up: up,
        };
        let bootstrap = cluster.data.join("bootstrap-kubelet.conf");
        eventually("everleaf up has made its files", START_SECONDS_MAX, || {
            ensure!(bootstrap.exists(), "no {} yet", bootstrap.display());
            Ok(())
        })?;
        for key in KINDS {
            // What every other suite has.
            if (kind, key) != (Kind::P256, Kind::P256) {
                let node = cluster.join(&bootstrap, key)?;
                cluster.nodes.push(node);
            }
        }
        Ok(cluster)
    }

    /// A node of that kind; one of them serves.
    fn join(&self, bootstrap: &Path, kind: Kind) -> Result<Node<'a>> {
        let name = format!("n-{}-below-{}", kind.short(), self.kind.short());
        let mut agent = Agent::bootstrapped_by(self.sandbox, bootstrap.to_owned(), &name);
        let mut args = vec!["--client-certificate-key-algorithm", kind.flag()];
        let serves = match self.kind {
            Kind::P256 => kind == Kind::MlDsa65,
            own => kind == own,
        };
        let host = host_address()?.to_string();
        let endpoint = format!("{host}:{}", free_port()?);
        let authority = self.authority();
        if serves {
            args.extend(["--server-certificate-key-algorithm", kind.flag()]);
            args.extend(["--rotate-server-certificates", "--node-ip", &host]);
            args.extend(["--tls-bind-address", &endpoint]);
            args.extend(["--tls-client-ca-file", arg(&authority)]);
        }
        agent.args.extend(args.into_iter().map(str::to_owned));
        agent.start()?;
        Ok(Node {
            kind,
            agent,
            endpoint: serves.then_some(endpoint),
        })
    }

    /// The CA certificate.
    pub(super) fn authority(&self) -> PathBuf {
        self.data.join("pki/ca.crt")
    }

    /// A CA of the same kind that signed nothing of this cluster.
    pub(super) fn other_authority(&self) -> Result<PathBuf> {
        let directory = self.sandbox.path(&format!("other-{}", self.kind.short()));
        let certificate = directory.join("pki/ca.crt");
        if !certificate.exists() {
            let address = format!("127.0.0.1:{}", free_port()?);
            let args = ["up", "--no-node", "--data-dir", arg(&directory)];
            let mut command = self.sandbox.everleaf(&args);
            command.args(["--listen", &address, "--key-algorithm", self.kind.flag()]);
            let mut other = self.sandbox.start("other", &mut command)?;
            eventually("another CA", START_SECONDS_MAX, || {
                ensure!(directory.join("admin.conf").exists(), "not yet");
                Ok(())
            })?;
            other.kill();
        }
        Ok(certificate)
    }

    /// The bootstrap token.
    pub(super) fn token(&self) -> Result<String> {
        field(&self.data.join("bootstrap-kubelet.conf"), "token")
    }

    /// Certificate and key of admin.conf, in one file.
    pub(super) fn admin(&self) -> Result<PathBuf> {
        let conf = self.data.join("admin.conf");
        let mut text = Vec::new();
        for name in ["client-certificate-data", "client-key-data"] {
            text.extend(STANDARD.decode(field(&conf, name)?)?);
        }
        let name = format!("admin-{}.pem", self.kind.short());
        self.sandbox.write(&name, &String::from_utf8(text)?)
    }

    /// The kubeconfig of a node, for a server elsewhere below the same CA.
    pub(super) fn elsewhere(&self, node: &Node<'_>, url: &str) -> Result<PathBuf> {
        let text = fs::read_to_string(node.agent.kubeconfig())?;
        ensure!(text.contains(&self.url), "{} is not in {text}", self.url);
        let name = format!("{}-elsewhere.conf", node.agent.name);
        self.sandbox.write(&name, &text.replace(&self.url, url))
    }

    /// Every request of this cluster, each in a file.
    pub(super) fn requests(&self) -> Result<Vec<(String, PathBuf)>> {
        let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        let url = format!("{}{path}", self.url);
        let mut command = self.sandbox.command(&peer("PQCHECK")?);
        command.args(["call", &url, arg(&self.authority()), arg(&self.admin()?)]);
        let list: Value = serde_json::from_str(&run(&mut command)?.ok()?)?;
        let mut requests = Vec::new();
        for item in list["items"].as_array().context("no list")? {
            let name = item["metadata"]["name"].as_str().context("no name")?;
            let text = item["spec"]["request"].as_str().context("no request")?;
            let text = String::from_utf8(STANDARD.decode(text)?)?;
            let file = self.sandbox.write(&format!("requests/{name}.csr"), &text)?;
            requests.push((name.to_owned(), file));
        }
        Ok(requests)
    }

    /// Files the request `NODE.csr` and waits for its certificate, which it puts into one file with
    /// `NODE.key`.
    pub(super) fn file(&self, node: &str) -> Result<PathBuf> {
        let request = self.sandbox.path(&format!("{node}.csr"));
        let mut command = self.sandbox.command(&peer("PQCHECK")?);
        command.args(["post", &self.url, arg(&self.authority()), &self.token()?]);
        command.arg(node).arg(&request);
        let certificate = run(&mut command)?.ok()?;
        let key = fs::read_to_string(self.sandbox.path(&format!("{node}.key")))?;
        self.sandbox
            .write(&format!("{node}.pem"), &format!("{certificate}{key}"))
    }
}

/// A value of a kubeconfig, which has one of that name.
fn field(kubeconfig: &Path, name: &str) -> Result<String> {
    let text = fs::read_to_string(kubeconfig)?;
    let mark = format!("{name}: ");
    let rest = text.split_once(&mark).map(|(_, rest)| rest);
    let value = rest.and_then(|rest| rest.lines().next());
    let value = value.with_context(|| format!("{} has no {name}", kubeconfig.display()))?;
    Ok(value.trim_matches('"').to_owned())
}
