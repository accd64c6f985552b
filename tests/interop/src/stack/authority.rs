//! The certificate authority of a stack, its serving certificates, and the kubeconfigs of its
//! users; all made by openssl.

use anyhow::{Context, Result};
use base64::Engine;
use everleaf_stage::{Sandbox, arg};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Days that everything of a stack is valid: kube-controller-manager issues nothing that outlives
/// its CA, and a pairing wants ten years.
const DAYS: &str = "7300";

/// A CA in a directory of the sandbox.
pub(crate) struct Authority<'a> {
    sandbox: &'a Sandbox,
    certificate: PathBuf,
    key: PathBuf,
}

impl<'a> Authority<'a> {
    /// A new CA, a key pair for service account tokens (`sa.key`, `sa.pub`) and the API server's
    /// certificate for 127.0.0.1.
    pub(crate) fn new(sandbox: &'a Sandbox) -> Result<Self> {
        let authority = Self {
            sandbox,
            certificate: sandbox.path("pki/ca.crt"),
            key: sandbox.path("pki/ca.key"),
        };
        fs::create_dir_all(sandbox.path("pki"))?;
        let mut args = vec!["req", "-x509", "-days", DAYS, "-subj", "/CN=kubernetes"];
        args.extend(NEW_KEY);
        args.extend([
            "-keyout",
            arg(&authority.key),
            "-out",
            arg(&authority.certificate),
        ]);
        sandbox.openssl(&args)?.ok()?;
        authority.serving("apiserver")?;
        let (private, public) = (sandbox.path("pki/sa.key"), sandbox.path("pki/sa.pub"));
        let generate = [
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
            arg(&private),
        ];
        sandbox.openssl(&generate)?.ok()?;
        let publish = [
            "pkey",
            "-in",
            arg(&private),
            "-pubout",
            "-out",
            arg(&public),
        ];
        sandbox.openssl(&publish)?.ok()?;
        Ok(authority)
    }

    /// The CA that an `everleaf up` made in its data directory.
    pub(crate) fn of_data_dir(sandbox: &'a Sandbox, data: &Path) -> Self {
        Self {
            sandbox,
            certificate: data.join("pki/ca.crt"),
            key: data.join("pki/ca.key"),
        }
    }

    /// The CA certificate.
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The CA key.
    pub(crate) fn key(&self) -> &Path {
        &self.key
    }

    /// A file of the stack's own keys.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path("pki").join(name)
    }

    /// `pki/NAME.crt` and `.key` of a server on 127.0.0.1.
    pub(crate) fn serving(&self, name: &str) -> Result<()> {
        fs::create_dir_all(self.sandbox.path("pki"))?;
        let extensions = "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n";
        self.issue(name, "/CN=127.0.0.1", extensions)
    }

    /// `pki/NAME.crt` and `.key`, signed by the CA.
    fn issue(&self, name: &str, subject: &str, extensions: &str) -> Result<()> {
        let file = |extension: &str| self.path(&format!("{name}.{extension}"));
        let (key, request, leaf) = (file("key"), file("csr"), file("crt"));
        let extensions = self.sandbox.write(&format!("pki/{name}.ext"), extensions)?;
        let mut args = vec!["req", "-new", "-subj", subject];
        args.extend(NEW_KEY);
        args.extend(["-keyout", arg(&key), "-out", arg(&request)]);
        self.sandbox.openssl(&args)?.ok()?;
        let sign = [
            "x509",
            "-req",
            "-days",
            DAYS,
            "-in",
            arg(&request),
            "-out",
            arg(&leaf),
            "-CA",
            arg(&self.certificate),
            "-CAkey",
            arg(&self.key),
            "-set_serial",
            &serial(name),
            "-extfile",
            arg(&extensions),
        ];
        self.sandbox.openssl(&sign)?.ok()?;
        Ok(())
    }

    /// A kubeconfig whose user is a client certificate. `subject` is openssl's: `/O=group/CN=user`.
    pub(crate) fn user(&self, name: &str, subject: &str, port: u16) -> Result<PathBuf> {
        fs::create_dir_all(self.sandbox.path("pki"))?;
        self.issue(
            name,
            subject,
            "extendedKeyUsage=clientAuth\nkeyUsage=digitalSignature\n",
        )?;
        let file = |extension: &str| self.path(&format!("{name}.{extension}"));
        self.holder(name, &file("crt"), &file("key"), port)
    }

    /// A kubeconfig whose user is this client certificate, wherever it comes from.
    pub(crate) fn holder(
        &self,
        name: &str,
        certificate: &Path,
        key: &Path,
        port: u16,
    ) -> Result<PathBuf> {
        let user = json!({
            "client-certificate-data": embedded(certificate)?,
            "client-key-data": embedded(key)?,
        });
        self.kubeconfig(name, &user, port)
    }

    /// A kubeconfig whose user is a bearer token.
    pub(crate) fn token(&self, name: &str, token: &str, port: u16) -> Result<PathBuf> {
        self.kubeconfig(name, &json!({"token": token}), port)
    }

    fn kubeconfig(&self, name: &str, user: &serde_json::Value, port: u16) -> Result<PathBuf> {
        let document = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stack", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": embedded(&self.certificate)?,
            }}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": "stack", "user": name}}],
            "current-context": name,
        });
        self.sandbox
            .write(&format!("{name}.conf"), &document.to_string())
    }
}

/// A P-256 key without a passphrase.
const NEW_KEY: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
];

fn embedded(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// A serial number for a name: no two names of a stack share one.
fn serial(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("0x1{}", &digits[..digits.len().min(36)])
}
