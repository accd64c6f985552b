//! A kubelet's configuration, with its directory of drop-ins, given to the agent.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, Sandbox, Up, arg, ensure_that, eventually, run};

pub(super) const TESTS: &[Test] = &[Test {
    name: "a_kubelets_configuration_and_its_drop_ins_are_followed",
    long: false,
    run: merged,
}];

/// What kubeadm writes for a kubelet of 1.34, but without rotation.
const KUBEADM: &str =
    include_str!("../../../../crates/everleaf-agent/src/config/stock/kubeadm.yaml");

const TYPE: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

fn merged(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    let config = KUBEADM.replace("rotateCertificates: true", "rotateCertificates: false");
    let config = sandbox.write("kubelet/config.yaml", &config)?;
    let drop_in = |name: &str, text: &str| {
        let path = format!("kubelet/conf.d/{name}");
        sandbox.write(&path, &format!("{TYPE}{text}"))
    };
    drop_in(
        "20-rotate.conf",
        "rotateCertificates: true\nserverTLSBootstrap: true\n",
    )?;
    drop_in("10-key.conf", "clientCertificateKeyAlgorithm: RSA-2048\n")?;
    drop_in("30-key.conf", "clientCertificateKeyAlgorithm: ECDSA-P384\n")?;
    drop_in("40-old.yaml", "clientCertificateKeyAlgorithm: RSA-4096\n")?;
    let directory = sandbox.path("kubelet/conf.d");
    let words = [
        "--config",
        arg(&config),
        "--config-dir",
        arg(&directory),
        "-v=2",
    ];
    agent.args = words.map(str::to_owned).to_vec();
    agent.start()?;
    sandbox.point(
        "the drop-ins switch both certificates on, and the last word counts",
        || {
            agent.certificate()?;
            let pem = agent.path("pki/kubelet-client-current.pem");
            let text = sandbox
                .openssl(&["x509", "-in", arg(&pem), "-noout", "-text"])?
                .ok()?;
            ensure_that!(text.contains("NIST CURVE: P-384"), "{text}");
            eventually("the serving request", 15, || {
                let list = up.admin().json(&["get", "csr"])?;
                let items = list["items"].as_array().cloned().unwrap_or_default();
                let is_serving = |item: &serde_json::Value| {
                    item["spec"]["signerName"] == "kubernetes.io/kubelet-serving"
                };
                items
                    .iter()
                    .find(|item| is_serving(item))
                    .map(drop)
                    .context("none")
            })
        },
    )?;
    sandbox.point("what is not read and what is let be is named", || {
        let log = agent.log();
        ensure_that!(log.contains("40-old.yaml is not read"), "{log}");
        let is_named =
            |line: &str| line.contains("DEBUG") && line.contains("clusterDNS,clusterDomain");
        ensure_that!(log.lines().any(is_named), "{log}");
        Ok(())
    })?;
    agent.stop()?;
    sandbox.point(
        "a slip in a drop-in ends the start, and its file is named",
        || {
            drop_in("50-slip.conf", "rotateCertificate: false\n")?;
            let told = run(&mut agent.command())?.failed_with(2)?;
            ensure_that!(told.contains("50-slip.conf: there is no field"), "{told}");
            ensure_that!(told.contains("did you mean rotateCertificates?"), "{told}");
            Ok(())
        },
    )?;
    Ok(Verdict::Passed)
}
