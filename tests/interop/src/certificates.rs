//! Shows the client certificates of `tests/interop/go/certmatrix`, made for the occasion, to a real
//! API server over TLS.

use crate::stack::{Part, Stack, peer};
use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_recordings::client_certificates::{Bundle, Case, Recording, Verdict};
use everleaf_stage::arg;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Who judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// kube-apiserver, on the etcd of the stack.
    Kubernetes,
    /// `everleaf apiserver`.
    Everleaf,
}

impl Server {
    fn part<'p>(self, flags: &'p [&'p str]) -> Part<'p> {
        match self {
            Self::Kubernetes => Part::KubeApiserver(flags),
            Self::Everleaf => Part::EverleafApiserver(flags),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kube-apiserver",
            Self::Everleaf => "apiserver",
        }
    }

    /// What it says when it ends because of a bundle, and of nothing else.
    fn complaint(self) -> &'static str {
        match self {
            Self::Kubernetes => "error loading CA bundle",
            Self::Everleaf => "client CA bundle",
        }
    }
}

/// Makes certificates and has the server judge them, started once for each bundle.
pub(crate) fn play(stack: &mut Stack<'_>, server: Server) -> Result<Recording> {
    let directory = stack.sandbox.path("certmatrix");
    certmatrix(stack, &["make", arg(&directory)])?;
    let matrix = directory.join("matrix.json");
    let made: Value = serde_json::from_slice(&fs::read(&matrix)?).context("matrix.json")?;
    let token = stack.admin_by_token()?;
    let mut recording = Recording {
        server: String::new(),
        judged: now(),
        bundles: Vec::new(),
        cases: Vec::new(),
    };
    let mut verdicts = BTreeMap::new();
    for bundle in made["bundles"].as_array().context("no bundles")? {
        let name = bundle["name"].as_str().context("a bundle without a name")?;
        let file = directory.join(format!("{name}.pem"));
        let starts = start(
            stack,
            server,
            &[&token, &format!("--client-ca-file={}", arg(&file))],
        )
        .with_context(|| format!("with the bundle {name}"))?;
        if starts {
            if recording.server.is_empty() {
                recording.server = version(stack)?;
                let_everybody_ask(stack)?;
            }
            show(stack, &matrix, name, &mut verdicts)?;
            stack.stop(server.name())?;
        }
        recording.bundles.push(Bundle {
            name: name.to_owned(),
            pem: fs::read_to_string(&file)?,
            starts,
        });
    }
    recording.cases = cases(&made, &mut verdicts)?;
    Ok(recording)
}

/// A client of Go that keeps TLS sessions renews its certificate: three connections each over TLS
/// 1.3 and 1.2.
pub(crate) fn resume(stack: &mut Stack<'_>) -> Result<()> {
    let token = stack.admin_by_token()?;
    stack.add(&Part::EverleafApiserver(&[&token]))?;
    let authority = stack.authority()?;
    let (certificate, key) = (authority.certificate(), authority.key());
    let server = format!("https://127.0.0.1:{}", stack.port()?);
    let flags = [
        "resume",
        "--server",
        &server,
        "--ca",
        arg(certificate),
        "--signer-cert",
        arg(certificate),
        "--signer-key",
        arg(key),
    ];
    certmatrix(stack, &flags).map(drop)
}

/// Whether the server starts. It must say that the bundle is why not: any other end is a failure of
/// the play.
fn start(stack: &mut Stack<'_>, server: Server, flags: &[&str]) -> Result<bool> {
    match stack.add(&server.part(flags)) {
        Ok(()) => Ok(true),
        Err(error) if format!("{error:#}").contains(server.complaint()) => {
            stack.kill(server.name())?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Lets everybody ask who he is, whom the certificate made anonymous, too. Without a rule of RBAC
/// only those may who have the group system:authenticated; and without RBAC kube-apiserver knows no
/// anonymous.
fn let_everybody_ask(stack: &Stack<'_>) -> Result<()> {
    let group = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "everybody-may-ask"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:basic-user"},
        "subjects": [
            group("system:authenticated"),
            group("system:unauthenticated"),
            // With a certificate of this name, who has neither group.
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:anonymous"},
        ],
    });
    let file = stack
        .sandbox
        .write("everybody.json", &binding.to_string())?;
    stack
        .admin()?
        .quiet(&["create", "--validate=false", "-f", arg(&file)])?;
    Ok(())
}

fn version(stack: &Stack<'_>) -> Result<String> {
    let version = stack.admin()?.quiet(&["get", "--raw", "/version"])?;
    let version: Value = serde_json::from_str(&version)?;
    let version = version["gitVersion"].as_str().context("no gitVersion")?;
    Ok(version.to_owned())
}

/// Shows the cases of a bundle; their verdicts, by name.
fn show(
    stack: &Stack<'_>,
    matrix: &Path,
    bundle: &str,
    verdicts: &mut BTreeMap<String, Verdict>,
) -> Result<()> {
    let server = format!("https://127.0.0.1:{}", stack.port()?);
    let ca = stack.authority()?.certificate();
    let flags = [
        "--server",
        &server,
        "--ca",
        arg(ca),
        "--matrix",
        arg(matrix),
        "--bundle",
        bundle,
    ];
    let told = certmatrix(stack, &[&["show"], flags.as_slice()].concat())?;
    for line in told.lines() {
        let line: Value = serde_json::from_str(line)?;
        let name = line["name"].as_str().context("a verdict without a name")?;
        verdicts.insert(name.to_owned(), Verdict::from_json(&line["verdict"])?);
    }
    Ok(())
}

/// The cases in their order. Those of a bundle that no server starts with have no verdict, and are
/// left out.
fn cases(made: &Value, verdicts: &mut BTreeMap<String, Verdict>) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for case in made["cases"].as_array().context("no cases")? {
        let name = case["name"].as_str().context("a case without a name")?;
        let Some(verdict) = verdicts.remove(name) else {
            continue;
        };
        let chain = case["chain"].as_array().context("no chain")?;
        let chain = chain
            .iter()
            .map(|der| Ok(STANDARD.decode(der.as_str().context("not a text")?)?));
        cases.push(Case {
            name: name.to_owned(),
            bundle: case["bundle"].as_str().context("no bundle")?.to_owned(),
            chain: chain.collect::<Result<_>>()?,
            verdict,
        });
    }
    Ok(cases)
}

fn certmatrix(stack: &Stack<'_>, args: &[&str]) -> Result<String> {
    let program: PathBuf = peer("CERTMATRIX")?;
    let answer = everleaf_stage::run(stack.sandbox.command(&program).args(args))?;
    if answer.code != Some(0) {
        bail!("certmatrix {}: {}", args[0], answer.stderr);
    }
    Ok(answer.stdout)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the real server has the real time"
)]
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
