//! Prometheus, a client of the API server.

use super::{profile, written};
use anyhow::{Context, Result, bail};
use everleaf_stage::{
    Certificate, Kubectl, Process, Sandbox, Up, arg, ensure_that, eventually, free_port, http_get,
    run, same,
};
use serde_json::json;
use std::path::Path;

/// Prometheus, which asks the API server for its metrics by a client certificate.
pub(super) struct Prometheus<'a> {
    sandbox: &'a Sandbox,
    port: u16,
    target: String,
}

pub(super) struct RunningPrometheus {
    port: u16,
    _process: Process,
}

impl<'a> Prometheus<'a> {
    pub(super) fn profile(sandbox: &'a Sandbox, up: &Up<'_>) -> Result<Self> {
        let path = |name: &str| sandbox.path("prometheus").join(name);
        let spec = json!({
            "signerName": "kubernetes.io/kube-apiserver-client",
            "subject": {"commonName": "prometheus"},
            "usages": ["digital signature", "client auth"],
            "expirationSeconds": 600,
            "outputs": [
                {"certificate": path("tls.crt"), "key": path("tls.key"), "ca": path("ca.crt")},
                {"kubeconfig": path("kubeconfig")},
                {"pkcs12": path("tls.p12"), "passwordFile": path("password")},
            ],
        });
        profile(sandbox, "prometheus", &spec)?;
        sandbox.write("prometheus/password", "open sesame\n")?;
        let admin = up.admin();
        admin.quiet(&[
            "create",
            "clusterrole",
            "scrape",
            "--verb=get",
            "--non-resource-url=/metrics",
        ])?;
        let mut bind = vec!["create", "clusterrolebinding", "scrape"];
        bind.extend(["--clusterrole=scrape", "--user=prometheus"]);
        admin.quiet(&bind)?;
        let config = admin.json(&["config", "view"])?;
        let server = config["clusters"][0]["cluster"]["server"].as_str();
        let target = server.context("no server")?.trim_start_matches("https://");
        Ok(Self {
            sandbox,
            port: free_port()?,
            target: target.to_owned(),
        })
    }

    pub(super) fn start(self, program: &Path) -> Result<RunningPrometheus> {
        let Self {
            sandbox,
            port,
            target,
        } = self;
        written(sandbox, &["prometheus/tls.crt", "prometheus/kubeconfig"])?;
        let by_file = Kubectl::new(sandbox, sandbox.path("prometheus/kubeconfig"));
        let whoami = by_file.json(&["auth", "whoami"])?;
        let user = whoami["status"]["userInfo"]["username"].as_str();
        same("who the kubeconfig is", user, Some("prometheus"))?;
        let text = format!(
            "scrape_configs:\n- job_name: apiserver\n  scheme: https\n  scrape_interval: 1s\n  tls_config:\n    cert_file: tls.crt\n    \
             key_file: tls.key\n    ca_file: ca.crt\n  static_configs:\n  - targets: [\"{target}\"]\n"
        );
        sandbox.write("prometheus/prometheus.yml", &text)?;
        let data = sandbox.path("prometheus/data");
        let config = sandbox.path("prometheus/prometheus.yml");
        let mut command = sandbox.command(program);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = sandbox.start("prometheus", &mut command)?;
        Ok(RunningPrometheus {
            port,
            _process: process,
        })
    }
}

impl RunningPrometheus {
    /// The API server has answered the last scrape.
    pub(super) fn scrapes(&self) -> Result<()> {
        eventually("a scrape", 20, || {
            let address = format!("127.0.0.1:{}", self.port);
            let answer = http_get(&address, "/api/v1/query?query=up")?;
            if !answer.contains("\"1\"]") {
                bail!("Prometheus says {answer}");
            }
            Ok(())
        })
    }
}

impl RunningPrometheus {
    /// Once its files hold another certificate, this one is of no use any more.
    pub(super) fn goes_on_without(
        &self,
        sandbox: &Sandbox,
        up: &Up<'_>,
        old: &Certificate,
    ) -> Result<()> {
        eventually("Prometheus' next certificate", 20, || {
            let on_disk = Certificate::read(sandbox, &sandbox.path("prometheus/tls.crt"))?;
            ensure_that!(on_disk.serial != old.serial, "still {}", old.serial);
            Ok(())
        })?;
        let admin = up.path("admin.conf");
        let mut revoke = sandbox.everleaf(&["ca", "revoke", "--serial", &old.serial]);
        run(revoke.args(["--reason", "superseded", "--kubeconfig", arg(&admin)]))?.ok()?;
        // It scrapes each second.
        std::thread::sleep(std::time::Duration::from_secs(3));
        self.scrapes()
    }
}
