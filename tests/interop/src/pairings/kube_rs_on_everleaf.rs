//! kube-rs and its runtime, linked into the suite, on `everleaf up`.

mod requests;
mod runtime;

use super::Pairing;
use super::server::{CLIENT, CLIENT_USAGES, Server};
use anyhow::{Context, Result, bail};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Sandbox, object, signing_request};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use std::fs;
use std::path::Path;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-rs 5",
    ours: "`everleaf up`",
    test: Test {
        name: "kube_rs_on_everleaf",
        long: false,
        run: |sandbox| run(sandbox, Server::Everleaf),
    },
};

/// The same on real Kubernetes.
pub(crate) const CONTROL: Test = Test {
    name: "kube_rs_on_kubernetes",
    long: false,
    run: |sandbox| run(sandbox, Server::Kubernetes),
};

/// Longest that an event, a condition or an answer may take, in seconds.
const SECONDS_MAX: u64 = 20;

fn run(sandbox: &Sandbox, server: Server) -> Result<Verdict> {
    let stack = server.start(sandbox)?;
    let kubeconfig = stack.kubeconfig("admin", "/O=system:masters/CN=admin")?;
    let scene = Scene::new(sandbox, &kubeconfig)?;
    requests::points(&scene);
    runtime::points(&scene);
    requests::last_points(&scene);
    Ok(Verdict::Passed)
}

/// A client and what the requests are made of.
struct Scene<'a> {
    sandbox: &'a Sandbox,
    runtime: tokio::runtime::Runtime,
    client: Client,
    api: Api<CertificateSigningRequest>,
    /// PKCS#10 of `/O=staff/CN=jane`.
    request: Vec<u8>,
}

impl<'a> Scene<'a> {
    fn new(sandbox: &'a Sandbox, kubeconfig: &Path) -> Result<Self> {
        signing_request(sandbox, "kube-rs", "/O=staff/CN=jane", CLIENT, &[])?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let client = runtime.block_on(async {
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
            anyhow::Ok(Client::try_from(config)?)
        })?;
        Ok(Self {
            sandbox,
            runtime,
            api: Api::all(client.clone()),
            client,
            request: fs::read(sandbox.path("kube-rs.csr"))?,
        })
    }

    /// A claim; the scene goes on when it does not hold.
    fn point(&self, claim: &str, check: impl AsyncFnOnce(&Self) -> Result<()>) {
        // The table says why, and the test is red.
        let _ = self.sandbox.point(claim, || self.play(check));
    }

    fn play(&self, check: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<()> {
        let limit = std::time::Duration::from_secs(SECONDS_MAX);
        self.runtime.block_on(async {
            tokio::time::timeout(limit, check(self))
                .await
                .with_context(|| format!("not within {SECONDS_MAX} s"))?
        })
    }

    /// A signing request of a group, which is a label.
    fn request(&self, name: &str, group: &str) -> serde_json::Result<CertificateSigningRequest> {
        let mut request = object(name, &self.request, CLIENT, CLIENT_USAGES);
        request["metadata"]["labels"] = json!({"group": group, "client": "kube-rs"});
        serde_json::from_value(request)
    }

    async fn create(&self, name: &str, group: &str) -> kube::Result<CertificateSigningRequest> {
        let request = self.request(name, group).map_err(kube::Error::SerdeError)?;
        self.api.create(&Default::default(), &request).await
    }
}

/// The call was refused with this reason.
fn refused<T>(answer: kube::Result<T>, reason: &str) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.reason == reason => Ok(()),
        Err(other) => bail!("refused, but not as {reason}: {other:?}"),
        Ok(_) => bail!("accepted, not refused as {reason}"),
    }
}
