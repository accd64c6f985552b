//! Reads of many requests: what they cost those who read, those who write meanwhile, and the
//! server's memory.

use super::client::{Connection, Target};
use super::process::{Server, children_cpu};
use super::{mebibytes, row, storm};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::time::Instant;

/// Requests stored, unless an argument says otherwise.
const REQUESTS: usize = 200_000;
/// Of them those that kubectl lists, and half as many before.
const LISTED: usize = 60_000;
/// Creates under way while the store is filled.
const FILLING: usize = 64;
/// Creates that are timed, one after the other.
const CREATES: usize = 1_000;
/// Clients of each way to read.
const READERS: usize = 8;
/// Lists of everything that one token has open at once, and does not read.
const LISTS: usize = 400;
/// Streams of one connection.
const STREAMS: usize = 100;
/// How long those lists stay.
const STAY: Duration = Duration::from_secs(5);
const PATH: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// A bootstrap token's user, but without a Secret behind it.
const TOKENS: &str = "load,system:bootstrap:measur,,\"system:bootstrappers,system:bootstrappers:kubeadm:default-node-token\"\n\
                      write,writer,,\"system:bootstrappers:kubeadm:default-node-token\"\n\
                      admin,admin,,\"system:masters\"\n";

pub(crate) async fn run(everleaf: &Path, scratch: &Path, count: Option<usize>) -> Result<()> {
    let count = count.unwrap_or(REQUESTS);
    let dir = scratch.join("reads");
    // `up` makes the authorities and certificates; the server then runs alone, and nobody signs.
    drop(Server::start(everleaf, &dir, &["--no-node"])?);
    let tokens = dir.join("tokens.csv");
    std::fs::write(&tokens, TOKENS)?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let server = Server::api(everleaf, &dir, &tokens, port)?;
    let address = format!("127.0.0.1:{port}");
    let as_user = |token: &str| {
        let target = Target::from_kubeconfig(&dir.join("bootstrap-kubelet.conf"));
        target.map(|target| Arc::new(target.at(&address, token)))
    };
    let target = as_user("load")?;
    target.wait().await?;
    let (_, body) = storm::body("load")?;
    let store = Store {
        target,
        writer: as_user("write")?,
        body: serde_json::from_slice(&body)?,
        next: Arc::new(AtomicUsize::new(0)),
    };
    row("server's memory, empty", &memory(&server, "VmRSS")?);
    for listed in [LISTED / 2, LISTED] {
        store.fill(listed.min(count)).await?;
        for pages in ["--chunk-size=500", "--chunk-size=0"] {
            kubectl(
                &dir,
                &address,
                &server,
                &format!("{}, {pages}", listed.min(count)),
                pages,
            )?;
        }
    }
    let began = Instant::now();
    let rest = count.saturating_sub(LISTED);
    store.fill(count).await?;
    let per_second = ratio(rest, began.elapsed());
    row(
        &format!("{count} requests: filled"),
        &format!("{per_second:.0} per second"),
    );
    row(
        "the objects as stored",
        &format!("{:.0} MiB", mebibytes(store.bytes().await?)),
    );
    row("server's memory, filled", &memory(&server, "VmRSS")?);
    row("peak until then", &memory(&server, "VmHWM")?);
    timed_creates(&store, "create, nobody else: median, 99th of 100, slowest").await?;
    readers(&store).await?;
    row("peak until then", &memory(&server, "VmHWM")?);
    lists_at_once(&store, &server).await
}

/// What is stored, and how more is.
#[derive(Clone)]
struct Store {
    target: Arc<Target>,
    /// Who creates while others read.
    writer: Arc<Target>,
    body: Value,
    next: Arc<AtomicUsize>,
}

impl Store {
    /// Creates requests until there are `count`.
    async fn fill(&self, count: usize) -> Result<()> {
        let mut clients = tokio::task::JoinSet::new();
        let connection = self.target.connect().await?;
        for _ in 0..FILLING {
            let (store, mut connection) = (self.clone(), connection.clone());
            clients.spawn(async move {
                while store.next.load(Ordering::Relaxed) < count {
                    store.create(&mut connection).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn create(&self, connection: &mut Connection) -> Result<()> {
        let mut body = self.body.clone();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        body["metadata"]["name"] = format!("load-{number:07}").into();
        let body = Bytes::from(serde_json::to_vec(&body)?);
        let response = connection.send("POST", PATH, body).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        if status != http::StatusCode::CREATED {
            bail!("{status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    }

    /// How large all objects are in protobuf: each as the first.
    async fn bytes(&self) -> Result<u64> {
        let path = format!("{PATH}/load-0000000");
        let accept = "application/vnd.kubernetes.protobuf";
        let mut connection = self.target.connect().await?.accept(accept);
        let response = connection.send("GET", &path, Bytes::new()).await?;
        let one = response.into_body().collect().await?.to_bytes().len();
        Ok((one * self.next.load(Ordering::Relaxed)) as u64)
    }
}

/// Times creates one after the other, on a thread of its own: what this program's readers do is
/// not in the figures, as a node shares no thread with those who read.
async fn timed_creates(store: &Store, what: &str) -> Result<()> {
    let store = store.clone();
    let took = tokio::task::spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(creates(&store))
    });
    let took = took.await??;
    let at = |share: usize| took[CREATES * share / 100];
    row(
        what,
        &format!(
            "{:.1}, {:.1} and {:.1} ms",
            at(50),
            at(99),
            took[CREATES - 1]
        ),
    );
    Ok(())
}

/// How long each create took, in milliseconds, the fastest first.
async fn creates(store: &Store) -> Result<Vec<f64>> {
    let mut connection = store.writer.connect().await?;
    let mut took = Vec::with_capacity(CREATES);
    for _ in 0..CREATES {
        let began = Instant::now();
        store.create(&mut connection).await?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}

/// What a reader does again and again.
#[derive(Clone, Copy)]
enum Way {
    /// Lists those of one signer.
    Signer,
    /// Lists all in pages of 500.
    Pages,
    /// Opens watches of one name.
    Names,
}

/// Times creates while others read, each way alone and all together.
async fn readers(store: &Store) -> Result<()> {
    use Way::{Names, Pages, Signer};
    for (who, ways) in [
        ("eight list by signer", vec![Signer; READERS]),
        ("eight page through", vec![Pages; READERS]),
        ("eight open watches by name", vec![Names; READERS]),
        (
            "eight do one of each",
            [Signer, Pages, Names]
                .into_iter()
                .cycle()
                .take(READERS)
                .collect(),
        ),
    ] {
        let stop = Arc::new(AtomicBool::new(false));
        let read = Arc::new(AtomicUsize::new(0));
        let mut readers = tokio::task::JoinSet::new();
        for way in ways {
            readers.spawn(reader(
                store.clone(),
                way,
                Arc::clone(&stop),
                Arc::clone(&read),
            ));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let began = Instant::now();
        let before = read.load(Ordering::Relaxed);
        timed_creates(store, &format!("create, while {who}: the same")).await?;
        let answers = read.load(Ordering::Relaxed) - before;
        row(
            "bytes they read meanwhile",
            &format!("{:.0} MB per second", ratio(answers, began.elapsed()) / 1e6),
        );
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = readers.join_next().await {
            ended??;
        }
    }
    Ok(())
}

async fn reader(
    store: Store,
    way: Way,
    stop: Arc<AtomicBool>,
    read: Arc<AtomicUsize>,
) -> Result<()> {
    let mut connection = store.target.connect().await?;
    let (mut token, mut number) = (String::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let path = match way {
            Way::Signer => format!("{PATH}?fieldSelector=spec.signerName%3D{SIGNER}"),
            Way::Pages => format!("{PATH}?limit=500&continue={token}"),
            Way::Names => {
                format!("{PATH}?watch=true&fieldSelector=metadata.name%3Dload-{number:07}")
            }
        };
        let response = connection.send("GET", &path, Bytes::new()).await?;
        let mut body = response.into_body();
        let mut page = Vec::new();
        while let Some(frame) = body.frame().await {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let data = frame?.into_data().unwrap_or_default();
            read.fetch_add(data.len(), Ordering::Relaxed);
            match way {
                Way::Signer => {}
                Way::Pages if page.is_empty() => page = data.to_vec(),
                Way::Pages => {}
                // The object that is there.
                Way::Names => break,
            }
        }
        token = continue_of(&page);
    }
    Ok(())
}

/// The continue token of a list's metadata, which comes first.
fn continue_of(page: &[u8]) -> String {
    let text = String::from_utf8_lossy(page);
    let token = text.split_once("\"continue\":\"").map(|(_, rest)| rest);
    let token = token.and_then(|rest| rest.split_once('"'));
    token.map_or(String::new(), |(token, _)| token.to_owned())
}

/// One token asks for everything, many times at once, and takes its time.
async fn lists_at_once(store: &Store, server: &Server) -> Result<()> {
    let before = server.memory("VmRSS")?;
    let mut answers = Vec::new();
    for _ in 0..LISTS / STREAMS {
        let mut connection = store.target.connect().await?;
        for _ in 0..STREAMS {
            answers.push(connection.send("GET", PATH, Bytes::new()).await?);
        }
    }
    let served = answers
        .iter()
        .filter(|answer| answer.status() == http::StatusCode::OK);
    row(
        "lists of everything open at once, unread",
        &format!("{}", served.count()),
    );
    tokio::time::sleep(STAY).await;
    let grown = server.memory("VmRSS")?.saturating_sub(before);
    row("memory they take", &format!("{:.0} MiB", mebibytes(grown)));
    timed_creates(store, "create meanwhile: median, 99th of 100, slowest").await?;
    row("peak until then", &memory(server, "VmHWM")?);
    drop(answers);
    Ok(())
}

/// What a user sees, if there is kubectl: the time it takes, and how much of it is its own.
/// kubectl sends five requests per second after the first ten, whatever the server does.
fn kubectl(dir: &Path, address: &str, server: &Server, what: &str, pages: &str) -> Result<()> {
    let Some(kubectl) = std::env::var_os("KUBECTL") else {
        return Ok(());
    };
    let began = Instant::now();
    let before = (children_cpu()?, server.cpu()?);
    let status = Command::new(kubectl)
        .args(["get", "csr", pages, "--token=admin"])
        .arg(format!("--server=https://{address}"))
        .arg("--certificate-authority")
        .arg(dir.join("pki/ca.crt"))
        .env("HOME", dir)
        .env_remove("KUBECONFIG")
        .stdout(Stdio::null())
        .status()
        .context("kubectl did not start")?;
    if !status.success() {
        bail!("kubectl failed");
    }
    let took = began.elapsed().as_secs_f64();
    let own = children_cpu()?.saturating_sub(before.0).as_secs_f64();
    let served = server.cpu()?.saturating_sub(before.1).as_secs_f64();
    row(
        &format!("kubectl get csr of {what}: time; processor time of kubectl, of the server"),
        &format!("{took:.1} s; {own:.1} s, {served:.2} s"),
    );
    Ok(())
}

fn memory(server: &Server, field: &str) -> Result<String> {
    Ok(format!("{:.0} MiB", mebibytes(server.memory(field)?)))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn ratio(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
