//! The chart of `deploy/`, rendered by the real Helm.

use super::{Stack, peer};
use anyhow::{Context, Result};
use everleaf_stage::{Answer, Kubectl, Sandbox, arg, run};
use serde_json::Value;
use std::path::PathBuf;

/// Where it is installed.
pub(crate) const NAMESPACE: &str = "everleaf-system";
/// Set by `cargo xtask interop`: the folder with chart and manifests.
const VARIABLE: &str = "DEPLOY";
/// Those `/etc` paths of the pod that the binary reads.
const IN_POD: &str = "/etc/everleaf/";

/// A path below `deploy/`.
pub(crate) fn deploy(name: &str) -> Result<PathBuf> {
    let root = std::env::var_os(VARIABLE).with_context(|| format!("{VARIABLE} is not set"))?;
    Ok(PathBuf::from(root).join(name))
}

/// Helm with these arguments, run to its end.
pub(crate) fn helm(sandbox: &Sandbox, args: &[&str]) -> Result<Answer> {
    run(sandbox.command(&peer("HELM")?).args(args))
}

impl Stack<'_> {
    /// The chart with these values (`mode=controllers`, …), for this release of Kubernetes.
    pub(crate) fn render(&self, values: &[&str]) -> Result<String> {
        let chart = deploy("helm/everleaf")?;
        let release = self.release.version().trim_end_matches('.').to_owned() + ".0";
        let mut args = vec!["template", "everleaf", arg(&chart)];
        args.extend(["--namespace", NAMESPACE, "--kube-version", &release]);
        for value in values {
            args.extend(["--set", value]);
        }
        helm(self.sandbox, &args)?.ok()
    }

    /// Applies the chart; the arguments that its pod would start the binary with. Their files lie
    /// in the sandbox's folder `pod`.
    pub(crate) fn install(&self, admin: &Kubectl<'_>, values: &[&str]) -> Result<Vec<String>> {
        let manifest = self.sandbox.write("chart.yaml", &self.render(values)?)?;
        if !admin
            .run(&["get", "namespace", NAMESPACE])?
            .stderr
            .is_empty()
        {
            admin.quiet(&["create", "namespace", NAMESPACE])?;
        }
        admin.quiet(&["apply", "-f", arg(&manifest)])?;
        let deployment = admin.json(&["-n", NAMESPACE, "get", "deployment", "everleaf"])?;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let pod = self.pod(admin)?;
        let args = container["args"].as_array().context("no args")?.iter();
        let args = args.filter_map(Value::as_str);
        Ok(args.map(|arg| arg.replace(IN_POD, &pod)).collect())
    }

    /// Puts what the pod has mounted into the sandbox; the folder.
    fn pod(&self, admin: &Kubectl<'_>) -> Result<String> {
        let maps = admin.json(&["-n", NAMESPACE, "get", "configmaps"])?;
        for map in maps["items"].as_array().into_iter().flatten() {
            if map["metadata"]["name"] == "everleaf-policy" {
                for (name, text) in map["data"].as_object().into_iter().flatten() {
                    let file = format!("pod/policy/{name}");
                    self.sandbox
                        .write(&file, text.as_str().unwrap_or_default())?;
                }
            }
        }
        let authority = self.authority()?;
        for (name, path) in [
            ("tls.crt", authority.certificate()),
            ("tls.key", authority.key()),
        ] {
            let text = std::fs::read_to_string(path)?;
            self.sandbox.write(&format!("pod/ca/{name}"), &text)?;
        }
        Ok(format!("{}/", self.sandbox.path("pod").display()))
    }

    /// A kubeconfig with a token of the service account that the chart makes.
    pub(crate) fn service_account(&self, admin: &Kubectl<'_>) -> Result<PathBuf> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/everleaf/token");
        let request = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":7200}}"#;
        let request = self.sandbox.write("token-request.json", request)?;
        let answer = admin.quiet(&["create", "--raw", &path, "-f", arg(&request)])?;
        let answer: Value = serde_json::from_str(&answer)?;
        let token = answer["status"]["token"].as_str().context("no token")?;
        self.authority()?.token("everleaf", token, self.port()?)
    }

    /// `everleaf` with these arguments, as that service account.
    pub(crate) fn as_pod(&mut self, kubeconfig: &std::path::Path, args: &[String]) -> Result<()> {
        let mut command = self.sandbox.everleaf(&[]);
        command.args(args);
        command.arg(super::real::flag("--kubeconfig", kubeconfig));
        let process = self.sandbox.start("pod", &mut command)?;
        self.parts.push(("pod", process));
        Ok(())
    }
}
