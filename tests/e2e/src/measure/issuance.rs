//! The issuance run: requests over shared connections, one watch until each has its certificate.

use super::client::{Connection, Target};
use super::process::Server;
use anyhow::{Context, Result, bail};
use base64::Engine;
use bytes::Bytes;
use http_body_util::BodyExt;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Connections that the requests share.
pub(super) const CONNECTIONS: usize = 4;
/// Requests under way on each.
pub(super) const STREAMS: usize = 24;
/// The collection of requests.
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// Longest wait for the last certificate.
const PATIENCE: Duration = Duration::from_secs(300);

/// What was measured.
pub(crate) struct Figures {
    /// Processor time of the server per certificate.
    pub(crate) cpu_ms: f64,
    /// Certificates per second.
    pub(crate) per_second: f64,
    /// From the request's first byte to the watch event with the certificate.
    pub(crate) latency_median_ms: f64,
    /// The same, 99th of 100.
    pub(crate) latency_p99_ms: f64,
}

/// When each request was sent.
pub(super) type Sent = Arc<Mutex<BTreeMap<String, Instant>>>;

/// Files `count` requests of as many nodes and waits until all are issued.
pub(crate) async fn run(dir: &Path, server: &Server, count: usize) -> Result<Figures> {
    let target = Target::from_kubeconfig(&dir.join("bootstrap-kubelet.conf"))?;
    let bodies: Vec<(String, Bytes)> = (0..count)
        .map(|number| body(&format!("load-{number}")))
        .collect::<Result<_>>()?;
    let bodies = Arc::new(Mutex::new(bodies));
    let sent: Sent = Arc::default();
    let watch = tokio::spawn(watch(target.connect().await?, Arc::clone(&sent), count));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let cpu_before = server.cpu()?;
    let started = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let connection = target.connect().await?;
        for _ in 0..STREAMS {
            clients.spawn(file(
                connection.clone(),
                Arc::clone(&bodies),
                Arc::clone(&sent),
            ));
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let mut latencies = tokio::time::timeout(PATIENCE, watch)
        .await
        .context("not all were issued")???;
    let took = started.elapsed().as_secs_f64();
    let cpu = server.cpu()?.saturating_sub(cpu_before).as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let certificates = count as f64;
    Ok(Figures {
        cpu_ms: cpu * 1e3 / certificates,
        per_second: certificates / took,
        latency_median_ms: latencies[latencies.len() / 2],
        latency_p99_ms: latencies[latencies.len() * 99 / 100],
    })
}

/// A request as a node makes it: its own key, its own name.
pub(super) fn body(name: &str) -> Result<(String, Bytes)> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:nodes");
    params
        .distinguished_name
        .push(DnType::CommonName, format!("system:node:{name}"));
    let request = params.serialize_request(&KeyPair::generate()?)?.pem()?;
    let object = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64::engine::general_purpose::STANDARD.encode(request),
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "usages": ["digital signature", "client auth"],
        },
    });
    Ok((name.to_owned(), Bytes::from(serde_json::to_vec(&object)?)))
}

pub(super) async fn file(
    mut connection: Connection,
    bodies: Arc<Mutex<Vec<(String, Bytes)>>>,
    sent: Sent,
) -> Result<()> {
    loop {
        let next = bodies.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some((name, body)) = next else {
            return Ok(());
        };
        sent.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), Instant::now());
        let response = connection.send("POST", REQUESTS, body).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        if status != http::StatusCode::CREATED {
            bail!("{name}: {status}: {}", String::from_utf8_lossy(&answer));
        }
    }
}

/// Watches from the beginning until `count` of those that were sent have their certificate; the
/// latency of each in milliseconds.
pub(super) async fn watch(
    mut connection: Connection,
    sent: Sent,
    count: usize,
) -> Result<Vec<f64>> {
    let path = format!("{REQUESTS}?watch=true&resourceVersion=0");
    let mut body = connection
        .send("GET", &path, Bytes::new())
        .await?
        .into_body();
    let mut latencies = Vec::with_capacity(count);
    let mut pending = Vec::new();
    while latencies.len() < count {
        let frame = body.frame().await.context("the watch ended")??;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line)?;
            let object = &event["object"];
            if event["type"] != "MODIFIED" || !object["status"]["certificate"].is_string() {
                continue;
            }
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let sent = sent
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(name);
            if let Some(sent) = sent {
                latencies.push(sent.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    Ok(latencies)
}
