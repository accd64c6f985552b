//! ML-DSA keys of every parameter set, below authorities of every kind, on both sides of TLS: with
//! Go 1.27 (the program of `tests/interop/go-1.27/pqcheck`) and OpenSSL 3.5.

mod fleet;
mod go;
mod openssl;

use super::Pairing;
use anyhow::{Context, Result, ensure};
use everleaf_stage::Sandbox;
use everleaf_stage::runner::{Test, Verdict};
use fleet::{Cluster, Kind, SETS};
use std::path::Path;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "crypto/x509 and crypto/tls of Go 1.27, OpenSSL 3.5",
    ours: "`everleaf up --key-algorithm`, `everleaf agent`",
    test: Test {
        name: "post_quantum_certificates_with_go_and_openssl",
        long: false,
        run,
    },
};

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let clusters = sandbox.point(
        "nodes with keys of each set and of P-256 join below a CA of each of these kinds",
        || fleet::start(sandbox),
    )?;
    let claim = |name: &str, holds: &dyn Fn(&Cluster<'_>) -> Result<()>| {
        sandbox.point(name, || {
            for cluster in &clusters {
                holds(cluster).with_context(|| format!("below a CA of {}", cluster.kind.flag()))?;
            }
            Ok(())
        })
    };
    claim(
        "Go verifies their chains, and refuses them below another CA of the same kind",
        &go::chains,
    )?;
    claim(
        "Go reads and verifies the requests they made",
        &go::requests,
    )?;
    claim(
        "Go's own requests of each set are approved and signed, and what it gets authenticates by its TLS",
        &go::asks,
    )?;
    claim(
        "Go calls the API server and a node's TLS endpoint with a node's certificate, over TLS 1.3 and X25519MLKEM768",
        &go::calls,
    )?;
    claim(
        "a server in Go that shows a node's serving certificate knows who of ours calls",
        &go::serves,
    )?;
    claim(
        "OpenSSL verifies the chains by its strict rules, and refuses them below another CA of the same kind",
        &openssl::chains,
    )?;
    claim(
        "OpenSSL reads and verifies the requests",
        &openssl::requests,
    )?;
    claim(
        "OpenSSL's own requests of each set are approved and signed, and what it gets authenticates by its TLS",
        &openssl::asks,
    )?;
    claim(
        "OpenSSL calls the API server and a node's TLS endpoint with a node's certificate, over TLS 1.3 and X25519MLKEM768",
        &openssl::calls,
    )?;
    claim(
        "a server of OpenSSL that shows a node's serving certificate knows who of ours calls",
        &openssl::serves,
    )?;
    Ok(Verdict::Passed)
}

/// Whether a program said what it had to.
fn says(said: &str, words: &str) -> Result<()> {
    ensure!(said.contains(words), "not {words:?}, but: {said}");
    Ok(())
}

/// The call by which a server says who one is, and its body.
const WHO_AM_I: (&str, &str) = (
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#,
);

/// Has a node of each set ask, by a program that makes key and request `NODE.key` and `NODE.csr`
/// and then calls with the certificate it got.
fn asks(
    cluster: &Cluster<'_>,
    by: &str,
    make: impl Fn(Kind, &str) -> Result<()>,
    call: impl Fn(&Path) -> Result<String>,
) -> Result<()> {
    for set in SETS {
        let node = format!("{by}-{}-below-{}", set.short(), cluster.kind.short());
        make(set, &node)?;
        let credential = cluster.file(&node)?;
        let verified = go::verify(cluster, "client", &credential)?;
        says(&verified, &format!("a key of {set}, signed by"))?;
        let user = format!("\"username\":\"system:node:{node}\"");
        says(&call(&credential)?, &user)?;
    }
    Ok(())
}
