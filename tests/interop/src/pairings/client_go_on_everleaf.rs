//! client-go and its CSR functions on `everleaf up`: the program of `tests/interop/go/csrclient`.

use super::Pairing;
use super::server::Server;
use super::steps;
use crate::stack::{Stack, peer};
use anyhow::Result;
use everleaf_stage::Sandbox;
use everleaf_stage::runner::{Test, Verdict};

pub(crate) const PAIRING: Pairing = Pairing {
    real: "client-go 0.37",
    ours: "`everleaf up`",
    test: Test {
        name: "client_go_on_everleaf",
        long: false,
        run: |sandbox| run(sandbox, Server::Everleaf),
    },
};

/// The same on real Kubernetes.
pub(crate) const CONTROL: Pairing = Pairing {
    real: "client-go 0.37 on Kubernetes 1.37",
    ours: "nothing: a control",
    test: Test {
        name: "client_go_on_kubernetes",
        long: false,
        run: |sandbox| run(sandbox, Server::Kubernetes),
    },
};

fn run(sandbox: &Sandbox, server: Server) -> Result<Verdict> {
    let stack = server.start(sandbox)?;
    play(sandbox, &stack)?;
    Ok(Verdict::Passed)
}

/// Plays the steps, in client-go's own choice of media types, in JSON and in protobuf.
pub(super) fn play(sandbox: &Sandbox, stack: &Stack<'_>) -> Result<()> {
    let mut client = sandbox.command(&peer("CSRCLIENT")?);
    let kubeconfig = stack.kubeconfig("admin", "/O=system:masters/CN=admin")?;
    client.arg("--kubeconfig").arg(kubeconfig);
    client.arg("--timeout=10s");
    let ways = ["default", "json", "protobuf"];
    steps::play(sandbox, &mut client, &ways)
}
