//! A storm: one token files very many requests at once, and a second one a hundred in the midst of
//! it. API server and controllers are processes of their own here, so that each has its memory.

use super::client::{Connection, Target};
use super::process::Server;
use super::{mebibytes, row};
use anyhow::{Context, Result, bail};
use base64::Engine;
use bytes::Bytes;
use http_body_util::BodyExt;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connections that the requests share.
const CONNECTIONS: usize = 4;
/// Requests under way on each.
const STREAMS: usize = 24;
/// The collection of requests.
const PATH: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// Requests of the flood, unless an argument says otherwise.
const REQUESTS: usize = 50_000;
/// Requests of the other token.
const OTHERS: usize = 100;
/// Longest wait for the last certificate.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// Two bootstrap tokens' users, but without Secrets behind them, and who watches.
const TOKENS: &str = "flood,system:bootstrap:flood0,,\"system:bootstrappers,system:bootstrappers:kubeadm:default-node-token\"\n\
                      other,system:bootstrap:other0,,\"system:bootstrappers,system:bootstrappers:kubeadm:default-node-token\"\n\
                      admin,admin,,\"system:masters\"\n";

/// Requests that were sent and have no certificate yet.
type Sent = Arc<Mutex<BTreeSet<String>>>;
type Bodies = Arc<Mutex<Vec<(String, Bytes)>>>;

pub(crate) async fn run(everleaf: &Path, scratch: &Path, count: Option<usize>) -> Result<()> {
    let count = count.unwrap_or(REQUESTS);
    let dir = scratch.join("storm");
    // `up` makes the authorities and kubeconfigs; then server and controllers run alone.
    drop(Server::start(everleaf, &dir, &["--no-node"])?);
    let tokens = dir.join("tokens.csv");
    std::fs::write(&tokens, TOKENS)?;
    let as_user = |token: &str| {
        let target = Target::from_kubeconfig(&dir.join("bootstrap-kubelet.conf"))?;
        let address = target.address().to_owned();
        anyhow::Ok(target.at(&address, token))
    };
    let admin = as_user("admin")?;
    let port = admin.address().rsplit(':').next().context("no port")?;
    let server = Server::api(everleaf, &dir, &tokens, port.parse()?)?;
    admin.wait().await?;
    let controllers = Server::controllers(everleaf, &dir)?;
    let (flood, others) = (bodies("flood", count)?, bodies("other", OTHERS)?);
    let watch = |sent: &Sent, count| {
        let (sent, admin) = (Arc::clone(sent), as_user("admin"));
        async move { watch_all(admin?.connect().await?, sent, count).await }
    };
    let (flood_sent, others_sent) = (Sent::default(), Sent::default());
    let flood_issued = tokio::spawn(watch(&flood_sent, count));
    let others_issued = tokio::spawn(watch(&others_sent, OTHERS));
    // Time for the controllers to lead, and for the watches to open.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let processes = [("API server", &server), ("controllers", &controllers)];
    let mut before = Vec::new();
    for (_, process) in processes {
        before.push((process.memory("VmRSS")?, process.cpu()?));
    }
    let began = Instant::now();
    let mut filing = JoinSet::new();
    file(&mut filing, &as_user("flood")?, &flood, &flood_sent).await?;
    while left(&flood) > count / 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let others_began = Instant::now();
    let ahead = left_sent(&flood_sent);
    file(&mut filing, &as_user("other")?, &others, &others_sent).await?;
    tokio::time::timeout(PATIENCE, others_issued)
        .await
        .context("the other token's requests were not issued")???;
    let others_took = others_began.elapsed().as_secs_f64();
    let waiting = left_sent(&flood_sent) + left(&flood);
    while let Some(ended) = filing.join_next().await {
        ended??;
    }
    tokio::time::timeout(PATIENCE, flood_issued)
        .await
        .context("not all of the flood was issued")???;
    let took = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let all = (count + OTHERS) as f64;
    row(
        &format!("{count} requests of one token: the last certificate after; rate"),
        &format!("{took:.1} s; {:.0} per second", all / took),
    );
    row(
        &format!(
            "{OTHERS} requests of another token, with {ahead} of the flood waiting: the last certificate after"
        ),
        &format!("{others_took:.2} s; {waiting} of the flood were still to come"),
    );
    for ((name, process), before) in processes.into_iter().zip(before) {
        tell(name, process, before, all)?;
    }
    Ok(())
}

/// What a process used since it had this memory and processor time, for `count` certificates.
fn tell(name: &str, process: &Server, (idle, cpu): (u64, Duration), count: f64) -> Result<()> {
    let used = process.cpu()?.saturating_sub(cpu).as_secs_f64();
    let peak = process.memory("VmHWM")?;
    row(
        &format!("{name}: memory before, at its peak; processor time per certificate"),
        &format!(
            "{:.1} MiB, {:.1} MiB; {:.2} ms",
            mebibytes(idle),
            mebibytes(peak),
            used * 1e3 / count
        ),
    );
    Ok(())
}

fn bodies(prefix: &str, count: usize) -> Result<Bodies> {
    let bodies = (0..count).map(|number| body(&format!("{prefix}-{number}")));
    Ok(Arc::new(Mutex::new(bodies.collect::<Result<_>>()?)))
}

/// Begins to file all of them, as fast as they are taken.
async fn file(
    filing: &mut JoinSet<Result<()>>,
    target: &Target,
    bodies: &Bodies,
    sent: &Sent,
) -> Result<()> {
    for _ in 0..CONNECTIONS {
        let connection = target.connect().await?;
        for _ in 0..STREAMS {
            let (bodies, sent) = (Arc::clone(bodies), Arc::clone(sent));
            filing.spawn(file_each(connection.clone(), bodies, sent));
        }
    }
    Ok(())
}

/// Requests that are not filed yet.
fn left(bodies: &Bodies) -> usize {
    bodies.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// Requests that were filed and have no certificate yet.
fn left_sent(sent: &Sent) -> usize {
    sent.lock().unwrap_or_else(PoisonError::into_inner).len()
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

async fn file_each(
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
            .insert(name.clone());
        let response = connection.send("POST", PATH, body).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        if status != http::StatusCode::CREATED {
            bail!("{name}: {status}: {}", String::from_utf8_lossy(&answer));
        }
    }
}

/// Watches from the beginning until `count` of those that were sent have their certificate.
async fn watch_all(mut connection: Connection, sent: Sent, count: usize) -> Result<()> {
    let path = format!("{PATH}?watch=true&resourceVersion=0");
    let mut body = connection
        .send("GET", &path, Bytes::new())
        .await?
        .into_body();
    let mut issued = 0;
    let mut pending = Vec::new();
    while issued < count {
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
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            issued += usize::from(sent.remove(name));
        }
    }
    Ok(())
}
