//! etcd: reads its files at each connection.

use super::{ETCD_SIGNER, profile, shown, written};
use anyhow::Result;
use everleaf_stage::{Certificate, Process, Sandbox, arg, eventually, free_port, run};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Two members of an etcd, which authenticate each other and their clients.
pub(super) struct Etcd<'a> {
    sandbox: &'a Sandbox,
    /// Of each member: for clients, for the other.
    ports: [(u16, u16); 2],
}

pub(super) struct RunningEtcd<'a> {
    sandbox: &'a Sandbox,
    ports: [(u16, u16); 2],
    _members: Vec<Process>,
}

impl<'a> Etcd<'a> {
    pub(super) fn profiles(sandbox: &'a Sandbox) -> Result<Self> {
        fs::create_dir(sandbox.path("etcd"))?;
        let path = |name: &str| sandbox.path("etcd").join(name);
        let (authority, key) = (path("ca.crt"), path("ca.key"));
        let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt"];
        args.extend(["ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        args.extend([
            "-subj",
            "/CN=etcd",
            "-keyout",
            arg(&key),
            "-out",
            arg(&authority),
        ]);
        sandbox.openssl(&args)?.ok()?;
        let home = sandbox.path("etcd").display().to_string();
        let config = format!(
            "[ca]\ndefault_ca = c\n[c]\ndatabase = {home}/index\nrand_serial = yes\nnew_certs_dir = {home}\n\
             certificate = {home}/ca.crt\nprivate_key = {home}/ca.key\ndefault_md = sha256\npolicy = p\n\
             copy_extensions = copy\nunique_subject = no\nx509_extensions = x\n[p]\ncommonName = supplied\n[x]\n\
             keyUsage = critical, digitalSignature\nextendedKeyUsage = serverAuth, clientAuth\n"
        );
        sandbox.write("etcd/ca.cnf", &config)?;
        sandbox.write("etcd/index", "")?;
        for (name, usages) in [
            (
                "etcd-peer",
                vec!["digital signature", "server auth", "client auth"],
            ),
            ("etcd-client", vec!["digital signature", "client auth"]),
        ] {
            let spec = json!({
                "signerName": ETCD_SIGNER,
                "subject": {"commonName": format!("{name}-{{node}}")},
                "dnsNames": ["localhost"],
                "ipAddresses": ["127.0.0.1"],
                "usages": usages,
                "authoritiesFile": authority,
                "outputs": [{
                    "certificate": path(&format!("{name}.crt")),
                    "key": path(&format!("{name}.key")),
                    "ca": path(&format!("{name}-ca.crt")),
                }],
            });
            profile(sandbox, name, &spec)?;
        }
        let ports = [(free_port()?, free_port()?), (free_port()?, free_port()?)];
        Ok(Self { sandbox, ports })
    }

    pub(super) fn start(self, program: &Path) -> Result<RunningEtcd<'a>> {
        let Self { sandbox, ports } = self;
        written(sandbox, &["etcd/etcd-peer.crt", "etcd/etcd-client.crt"])?;
        let path = |name: &str| sandbox.path("etcd").join(name).display().to_string();
        let url = |port: u16| format!("https://127.0.0.1:{port}");
        let members: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(at, (_, peer))| format!("m{at}={}", url(*peer)))
            .collect();
        let mut running = Vec::new();
        for (at, (client, peer)) in ports.into_iter().enumerate() {
            let mut command = sandbox.command(program);
            command.args([
                "--name",
                &format!("m{at}"),
                "--data-dir",
                &path(&format!("m{at}")),
            ]);
            for side in ["", "peer-"] {
                for (flag, file) in [
                    ("cert-file", "etcd-peer.crt"),
                    ("key-file", "etcd-peer.key"),
                    ("trusted-ca-file", "etcd-peer-ca.crt"),
                ] {
                    command.arg(format!("--{side}{flag}={}", path(file)));
                }
                command.arg(format!("--{side}client-cert-auth"));
            }
            command.args(["--listen-client-urls", &url(client)]);
            command.args(["--advertise-client-urls", &url(client)]);
            command.args(["--listen-peer-urls", &url(peer)]);
            command.args(["--initial-advertise-peer-urls", &url(peer)]);
            command.args(["--initial-cluster", &members.join(",")]);
            running.push(sandbox.start(&format!("etcd-{at}"), &mut command)?);
        }
        Ok(RunningEtcd {
            sandbox,
            ports,
            _members: running,
        })
    }
}

impl RunningEtcd<'_> {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path("etcd").join(name)
    }

    /// What the first member shows the other.
    pub(super) fn shows(&self) -> Result<Certificate> {
        let (certificate, key) = (self.path("etcd-client.crt"), self.path("etcd-client.key"));
        let more = ["-cert", arg(&certificate), "-key", arg(&key)];
        shown(self.sandbox, self.ports[0].1, &more)
    }

    /// Both members agree that there is a leader, asked with the client's files.
    pub(super) fn is_healthy(&self, program: &Path) -> Result<()> {
        let endpoints: Vec<String> = self
            .ports
            .iter()
            .map(|(client, _)| format!("https://127.0.0.1:{client}"))
            .collect();
        eventually("etcd is healthy", 20, || {
            let mut command = self.sandbox.command(program);
            command.env("ETCDCTL_API", "3");
            command.arg(format!("--endpoints={}", endpoints.join(",")));
            command.arg(format!(
                "--cacert={}",
                self.path("etcd-client-ca.crt").display()
            ));
            command.arg(format!("--cert={}", self.path("etcd-client.crt").display()));
            command.arg(format!("--key={}", self.path("etcd-client.key").display()));
            run(command.args(["endpoint", "health"]))?.ok().map(drop)
        })
    }
}
