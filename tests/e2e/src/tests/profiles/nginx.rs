//! nginx: told by a signal.

use super::{profile, shown, written};
use anyhow::Result;
use everleaf_stage::{Certificate, Process, Sandbox, eventually, free_port};
use serde_json::json;
use std::path::Path;

/// nginx in front of nothing.
pub(super) struct Nginx<'a> {
    sandbox: &'a Sandbox,
    port: u16,
}

pub(super) struct RunningNginx<'a> {
    sandbox: &'a Sandbox,
    port: u16,
    pub(super) process: Process,
}

impl<'a> Nginx<'a> {
    pub(super) fn profile(sandbox: &'a Sandbox) -> Result<Self> {
        let path = |name: &str| sandbox.path("nginx").join(name);
        let spec = json!({
            "signerName": "kubernetes.io/kubelet-serving",
            "subject": {"commonName": "system:node:{node}", "organizations": ["system:nodes"]},
            "dnsNames": ["{node}"],
            "ipAddresses": ["127.0.0.1"],
            "usages": ["digital signature", "server auth"],
            "expirationSeconds": 600,
            "outputs": [{
                "certificate": path("tls.crt"), "key": path("tls.key"), "ca": path("ca.crt"),
                "mode": "0640",
            }],
            "afterRenewal": {"signal": "HUP", "pidFile": path("nginx.pid"), "processName": "nginx"},
        });
        profile(sandbox, "nginx", &spec)?;
        let port = free_port()?;
        Ok(Self { sandbox, port })
    }

    pub(super) fn start(self, program: &Path) -> Result<RunningNginx<'a>> {
        let Self { sandbox, port } = self;
        let names = ["nginx/tls.crt", "nginx/tls.key", "nginx/ca.crt"];
        written(sandbox, &names)?;
        let text = format!(
            "daemon off;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n  client_body_temp_path t;\n  \
             proxy_temp_path t;\n  fastcgi_temp_path t;\n  uwsgi_temp_path t;\n  scgi_temp_path t;\n  server {{\n    \
             listen 127.0.0.1:{port} ssl;\n    ssl_certificate tls.crt;\n    ssl_certificate_key tls.key;\n    \
             location / {{ return 204; }}\n  }}\n}}\n"
        );
        sandbox.write("nginx/nginx.conf", &text)?;
        let prefix = format!("{}/", sandbox.path("nginx").display());
        let mut command = sandbox.command(program);
        command.args(["-p", &prefix, "-c", "nginx.conf", "-e", "stderr"]);
        let process = sandbox.start("nginx", &mut command)?;
        let nginx = RunningNginx {
            sandbox,
            port,
            process,
        };
        eventually("nginx answers", 10, || nginx.shows().map(drop))?;
        Ok(nginx)
    }
}

impl RunningNginx<'_> {
    pub(super) fn shows(&self) -> Result<Certificate> {
        shown(self.sandbox, self.port, &[])
    }
}
