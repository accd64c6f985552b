//! kubectl, with one kubeconfig.

use super::process::{Answer, Process, run, run_fed};
use super::sandbox::Sandbox;
use anyhow::{Context, Result};
use base64::Engine;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A user at a terminal.
#[derive(Clone)]
pub struct Kubectl<'a> {
    sandbox: &'a Sandbox,
    program: PathBuf,
    kubeconfig: PathBuf,
    variables: Vec<(String, String)>,
}

impl<'a> Kubectl<'a> {
    /// The present kubectl.
    pub fn new(sandbox: &'a Sandbox, kubeconfig: PathBuf) -> Self {
        Self {
            sandbox,
            program: sandbox.tools.kubectl.clone(),
            kubeconfig,
            variables: Vec::new(),
        }
    }

    /// The same user with another kubectl.
    pub fn by(&self, program: PathBuf) -> Self {
        Self {
            program,
            ..self.clone()
        }
    }

    /// The same user with kubectl 1.20.
    pub fn old(&self) -> Self {
        self.by(self.sandbox.tools.kubectl_old.clone())
    }

    /// The same user with a variable in the environment: `KUBE_EDITOR`.
    pub fn with(&self, variable: &str, value: &str) -> Self {
        let mut other = self.clone();
        let pair = (variable.to_owned(), value.to_owned());
        other.variables.push(pair);
        other
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.command(&self.program);
        command.args(args).env("KUBECONFIG", &self.kubeconfig);
        command.envs(self.variables.clone());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Result<Answer> {
        run(&mut self.command(args))
    }

    /// Runs it to its end with a file as its standard input.
    pub fn fed(&self, args: &[&str], input: &Path) -> Result<Answer> {
        let input = fs::File::open(input).with_context(|| format!("open {}", input.display()))?;
        run_fed(&mut self.command(args), input.into())
    }

    /// Its stdout, trimmed, if it succeeded without a word on stderr.
    pub fn quiet(&self, args: &[&str]) -> Result<String> {
        let answer = self.run(args)?;
        if answer.code == Some(0) && !answer.stderr.trim().is_empty() {
            anyhow::bail!("kubectl {} warned: {}", args.join(" "), answer.stderr);
        }
        Ok(answer.ok()?.trim_end().to_owned())
    }

    /// Starts it in the background.
    pub fn start(&self, name: &str, args: &[&str]) -> Result<Process> {
        self.sandbox.start(name, &mut self.command(args))
    }

    /// An object as JSON.
    pub fn json(&self, args: &[&str]) -> Result<serde_json::Value> {
        let mut all = args.to_vec();
        all.extend(["-o", "json"]);
        Ok(serde_json::from_str(&self.quiet(&all)?)?)
    }

    /// `kubectl auth can-i …`
    pub fn can_i(&self, question: &[&str]) -> Result<bool> {
        let mut args = vec!["auth", "can-i"];
        args.extend(question);
        let answer = self.run(&args)?;
        match answer.stdout.trim() {
            "yes" => Ok(true),
            text if text == "no" || text.starts_with("no - ") => Ok(false),
            _ => Err(anyhow::anyhow!(
                "kubectl auth can-i {question:?}: {answer:?}"
            )),
        }
    }
}

/// A CertificateSigningRequest as JSON, its request made by openssl. `subject` is openssl's
/// `/O=…/CN=…`.
pub fn signing_request(
    sandbox: &Sandbox,
    name: &str,
    subject: &str,
    signer: &str,
    usages: &[&str],
) -> Result<PathBuf> {
    let key = sandbox
        .path(&format!("{name}.key"))
        .to_string_lossy()
        .into_owned();
    let request = sandbox.path(&format!("{name}.csr"));
    let out = request.to_string_lossy().into_owned();
    sandbox
        .openssl(&[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &out,
            "-subj",
            subject,
        ])?
        .ok()?;
    let pem = fs::read(&request).context("openssl wrote no request")?;
    write_request(sandbox, name, &pem, signer, usages)
}

/// A CertificateSigningRequest as JSON around any bytes.
pub fn write_request(
    sandbox: &Sandbox,
    name: &str,
    request: &[u8],
    signer: &str,
    usages: &[&str],
) -> Result<PathBuf> {
    let object = object(name, request, signer, usages);
    sandbox.write(&format!("{name}.json"), &object.to_string())
}

/// The object itself.
pub fn object(name: &str, request: &[u8], signer: &str, usages: &[&str]) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64::engine::general_purpose::STANDARD.encode(request),
            "signerName": signer,
            "usages": usages,
        },
    })
}

/// A path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
