//! Kubernetes' Python client on `everleaf up`: the script of `tests/interop/python`.

use super::Pairing;
use super::server::{CLIENT, Server};
use super::steps;
use crate::stack::{Stack, peer};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Sandbox, arg, signing_request};

pub(crate) const PAIRING: Pairing = Pairing {
    real: "Python client 37",
    ours: "`everleaf up`",
    test: Test {
        name: "python_client_on_everleaf",
        long: false,
        run: |sandbox| run(sandbox, Server::Everleaf),
    },
};

/// The same on real Kubernetes.
pub(crate) const CONTROL: Pairing = Pairing {
    real: "Python client 37 on Kubernetes 1.37",
    ours: "nothing: a control",
    test: Test {
        name: "python_client_on_kubernetes",
        long: false,
        run: |sandbox| run(sandbox, Server::Kubernetes),
    },
};

const SCRIPT: &str = include_str!("../../python/csrclient.py");

fn run(sandbox: &Sandbox, server: Server) -> Result<Verdict> {
    let stack = server.start(sandbox)?;
    play(sandbox, &stack)?;
    Ok(Verdict::Passed)
}

/// Plays the steps of the script.
pub(super) fn play(sandbox: &Sandbox, stack: &Stack<'_>) -> Result<()> {
    let script = sandbox.write("csrclient.py", SCRIPT)?;
    signing_request(sandbox, "python", "/O=staff/CN=jane", CLIENT, &[])?;
    let (key, certificate) = (sandbox.path("python.key"), sandbox.path("python.crt"));
    let sign = [
        "req",
        "-x509",
        "-new",
        "-key",
        arg(&key),
        "-subj",
        "/CN=jane",
        "-out",
        arg(&certificate),
    ];
    sandbox.openssl(&sign)?.ok()?;
    let mut client = sandbox.command(&peer("PYTHON")?);
    client
        .arg(script)
        .arg(stack.kubeconfig("admin", "/O=system:masters/CN=admin")?)
        .args([sandbox.path("python.csr"), certificate])
        .env("PYTHONPATH", peer("PYTHONPATH_KUBERNETES")?)
        // What it compiles and what it learnt of the server stay here.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("TMPDIR", sandbox.path(""));
    steps::play(sandbox, &mut client, &["python"])
}
