//! Signing requests as a pairing files and follows them: made by openssl, filed and read by
//! kubectl.

use crate::stack::Kubernetes;
use anyhow::{Context, Result, bail};
use base64::Engine;
use everleaf_stage::{Certificate, Kubectl, Sandbox, arg, eventually, write_request};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Signer of client certificates of nodes.
pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signer of serving certificates of nodes.
pub(super) const SERVING: &str = "kubernetes.io/kubelet-serving";
/// What a kubelet asks its client certificate for.
pub(super) const CLIENT_USAGES: &[&str] = &["digital signature", "client auth"];
/// What a kubelet asks its serving certificate for.
pub(super) const SERVING_USAGES: &[&str] = &["digital signature", "server auth"];

/// What a kubelet of a release asks its client certificate for; controllers before 1.25 know no
/// other form.
pub(super) fn client_usages(release: Kubernetes) -> &'static [&'static str] {
    match release {
        Kubernetes::V1_21 => &["digital signature", "key encipherment", "client auth"],
        _ => CLIENT_USAGES,
    }
}

/// The same for its serving certificate.
pub(super) fn serving_usages(release: Kubernetes) -> &'static [&'static str] {
    match release {
        Kubernetes::V1_21 => &["digital signature", "key encipherment", "server auth"],
        _ => SERVING_USAGES,
    }
}

/// A request that was filed.
pub(super) struct Filed<'a> {
    sandbox: &'a Sandbox,
    /// Its name.
    pub(super) name: String,
}

/// Files a request; `subject` is openssl's, `names` a subjectAltName or nothing. Its key is
/// `NAME.key` in the sandbox.
pub(super) fn file<'a>(
    sandbox: &'a Sandbox,
    by: &Kubectl<'_>,
    name: &str,
    (subject, names): (&str, &str),
    (signer, usages): (&str, &[&str]),
) -> Result<Filed<'a>> {
    let (key, request) = (
        sandbox.path(&format!("{name}.key")),
        sandbox.path(&format!("{name}.csr")),
    );
    let names = format!("subjectAltName={names}");
    let mut args = vec![
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    args.extend([
        "-keyout",
        arg(&key),
        "-out",
        arg(&request),
        "-subj",
        subject,
    ]);
    if names != "subjectAltName=" {
        args.extend(["-addext", &names]);
    }
    sandbox.openssl(&args)?.ok()?;
    let pem = fs::read(&request).context("openssl wrote no request")?;
    let object = write_request(sandbox, name, &pem, signer, usages)?;
    by.quiet(&["create", "--validate=false", "-f", arg(&object)])?;
    Ok(Filed::of(sandbox, name))
}

/// A node's client request, filed by whom it is for or by a bootstrap token.
pub(super) fn file_client<'a>(
    sandbox: &'a Sandbox,
    by: &Kubectl<'_>,
    name: &str,
    node: &str,
) -> Result<Filed<'a>> {
    let subject = format!("/O=system:nodes/CN=system:node:{node}");
    file(sandbox, by, name, (&subject, ""), (CLIENT, CLIENT_USAGES))
}

impl<'a> Filed<'a> {
    /// One that was filed in another way.
    pub(super) fn of(sandbox: &'a Sandbox, name: &str) -> Self {
        let name = name.to_owned();
        Self { sandbox, name }
    }

    /// Its key.
    pub(super) fn key(&self) -> PathBuf {
        self.sandbox.path(&format!("{}.key", self.name))
    }

    /// Where [`Filed::issued`] writes its certificate.
    pub(super) fn certificate(&self) -> PathBuf {
        self.sandbox.path(&format!("{}.crt", self.name))
    }

    /// Its status: `None` when it does not exist any more.
    pub(super) fn status(&self, admin: &Kubectl<'_>) -> Result<Option<Value>> {
        let answer = admin.run(&["get", "csr", &self.name, "--ignore-not-found", "-o", "json"])?;
        let text = answer.ok()?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        let object: Value = serde_json::from_str(&text)?;
        Ok(Some(object["status"].clone()))
    }

    /// `Type/reason: message` of its conditions, and "issued" when it has a certificate.
    pub(super) fn state(&self, admin: &Kubectl<'_>) -> Result<Vec<String>> {
        let Some(status) = self.status(admin)? else {
            return Ok(vec!["deleted".to_owned()]);
        };
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let text = |condition: &Value, member: &str| {
            condition[member].as_str().unwrap_or_default().to_owned()
        };
        let mut state: Vec<String> = conditions
            .map(|one| {
                format!(
                    "{}/{}: {}",
                    text(one, "type"),
                    text(one, "reason"),
                    text(one, "message")
                )
            })
            .collect();
        if status["certificate"].is_string() {
            state.push("issued".to_owned());
        }
        Ok(state)
    }

    /// Its certificate, once there is one.
    pub(super) fn issued(&self, admin: &Kubectl<'_>, seconds_max: u64) -> Result<Certificate> {
        let what = format!("a certificate for {}", self.name);
        let pem = eventually(&what, seconds_max, || {
            let status = self.status(admin)?.context("it was deleted")?;
            match status["certificate"].as_str() {
                Some(text) => Ok(base64::engine::general_purpose::STANDARD.decode(text)?),
                None => bail!("its status is {status}"),
            }
        })?;
        fs::write(self.certificate(), pem)?;
        Certificate::read(self.sandbox, &self.certificate())
    }
}
