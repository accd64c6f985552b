//! Kubernetes' own end-to-end tests, those that need no more than what both servers serve: no pods
//! that run, no further API groups.

use super::Pairing;
use crate::stack::{Part, Stack, peer};
use anyhow::{Context, Result, bail};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Sandbox, arg, ensure_that};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "Kubernetes' end-to-end tests 1.37 (test/e2e)",
    ours: "`everleaf up`",
    test: Test {
        name: "kubernetes_own_tests_on_everleaf",
        long: true,
        run: |sandbox| run(sandbox, &[Part::EverleafUp(&[])]),
    },
};

pub(crate) const CONTROL: Pairing = Pairing {
    real: "the same on kube-apiserver, kube-controller-manager 1.37",
    ours: "nothing: a control",
    test: Test {
        name: "kubernetes_own_tests_on_kubernetes",
        long: true,
        run: |sandbox| {
            let controllers = &["--controllers=*"];
            run(
                sandbox,
                &[
                    Part::Etcd,
                    Part::KubeApiserver(&[]),
                    Part::KubeControllerManager(controllers),
                ],
            )
        },
    },
};

/// Longest for all of them: the longest wait of one test for one thing.
const TESTS_SECONDS_MAX: u64 = 600;
/// Parts of their full names, each of one test.
const TESTS: &[&str] = &[
    // test/e2e/auth
    "Certificates API [Privileged:ClusterAdmin] should support building a client with a CSR",
    "Certificates API [Privileged:ClusterAdmin] should support CSR API operations",
    "CRUD Tests certificates.k8s.io/v1 ClusterTrustBundles",
    "PodCertificateRequest API [Privileged:ClusterAdmin] should support PodCertificateRequest API operations",
    "SelfSubjectReview should support SelfSubjectReview API operations",
    "SubjectReview should support SubjectReview API operations",
    "ServiceAccounts should run through the lifecycle of a ServiceAccount",
    "ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace",
    "ServiceAccounts should update a ServiceAccount",
    "ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview",
    // test/e2e/apimachinery
    "Discovery should validate PreferredVersion for each APIGroup",
    "OpenAPIV3 should round trip OpenAPI V3 for all built-in group versions",
    "server version should find the server version",
    "Server request timeout should return HTTP status code 400 if the user specifies an invalid timeout",
    "Server request timeout the request should be served with a default timeout",
    "Server request timeout default timeout should be used if the specified timeout",
    "client-go should negotiate watch and report errors with accept \"application/json\"",
    "client-go should negotiate watch and report errors with accept \"application/vnd.kubernetes.protobuf\"",
    "accept \"application/vnd.kubernetes.protobuf,application/json\"",
    "accept \"application/json,application/vnd.kubernetes.protobuf\"",
    "Table transformation should return a 406 for a backend which does not implement metadata",
    "Table transformation should return generic metadata details across all namespaces for nodes",
    "Watchers should observe add, update, and delete watch notifications on configmaps",
    "Watchers should be able to start watching from a specific resource version",
    "Watchers should be able to restart watching from the last resource version observed",
    "Watchers should observe an object deletion if it stops meeting the requirements of the selector",
    "Watchers should receive events on concurrent watches in same order",
    "should be requested by informers when WatchListClient is enabled",
    "should be requested by metadatainformer when WatchListClient is enabled",
    "should NOT be requested by client-go's List method when WatchListClient is enabled",
    "should NOT be requested by dynamic client's List method when WatchListClient is enabled",
    "should NOT be requested by metadata client's List method when WatchListClient is enabled",
    "server supports sending resources in Table format",
    "reflector doesn't support receiving resources as Tables",
    "reflector using standard List doesn't support receiving resources as Tables",
    "Namespaces should patch a Namespace",
    "Namespaces should apply changes to a namespace status",
    "Namespaces should apply an update to a Namespace",
    "Namespaces should apply a finalizer to a Namespace",
    // test/e2e/instrumentation
    "Events API should ensure that an event can be fetched, patched, deleted, and listed",
    "Events API should delete a collection of events",
    "Events should manage the lifecycle of an event",
    "Events should delete a collection of events",
    // test/e2e/common/node
    "Lease lease API should be available",
    "ConfigMap should fail to create ConfigMap with empty key",
    "ConfigMap should update ConfigMap successfully",
    "ConfigMap should run through a ConfigMap lifecycle",
    "Secrets should fail to create secret due to empty secret key",
    "Secrets should patch a secret",
];

fn run(sandbox: &Sandbox, parts: &[Part<'_>]) -> Result<Verdict> {
    let stack = Stack::start(sandbox, parts)?;
    let kubeconfig = stack.kubeconfig("admin", "/O=system:masters/CN=admin")?;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}});
    let node = sandbox.write("node.json", &node.to_string())?;
    stack.admin()?.quiet(&["create", "-f", arg(&node)])?;
    let told = outcomes(sandbox, &kubeconfig)?;
    for test in TESTS {
        let _ = sandbox.point(test, || judged(&told, test));
    }
    Ok(Verdict::Passed)
}

/// What the program told of all of them.
fn outcomes(sandbox: &Sandbox, kubeconfig: &Path) -> Result<String> {
    let mut command = sandbox.command(&peer("KUBERNETESE2E")?);
    command.arg(arg(kubeconfig)).args(TESTS);
    let mut process = sandbox.start("kubernetese2e", &mut command)?;
    let code = process.exit_code(Duration::from_secs(TESTS_SECONDS_MAX))?;
    ensure_that!(code <= 1, "it ended with {code}: {}", process.stderr());
    Ok(process.stdout())
}

/// Whether one of them passed; else why not, in its own words.
fn judged(told: &str, test: &str) -> Result<()> {
    let mut lines = told.lines().skip_while(|line| !line.contains(test));
    let line = lines
        .next()
        .with_context(|| format!("\"{test}\" did not run"))?;
    if line.starts_with("ok\t") {
        return Ok(());
    }
    let why: Vec<&str> = lines.take_while(|line| line.starts_with('\t')).collect();
    bail!("{line}\n{}", why.join("\n"))
}
