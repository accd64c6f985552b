//! A storm, and what is left of it in memory once the cleaner has deleted all requests.

use super::client::Target;
use super::load::Load;
use super::process::Server;
use super::{Build, load_average, mebibytes, row};
use anyhow::{Result, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Requests, unless an argument says otherwise.
const REQUESTS: usize = 100_000;
/// Age at which the cleaner deletes them.
const AGE: &str = "--csr-ttl-issued=2m";
/// How often it is looked whether it has, and for how long at the most.
const LOOK: Duration = Duration::from_secs(5);
const LOOKS_MAX: usize = 1_000;
/// Minutes after which memory is told: history is forgotten after ten and some.
const MINUTES: [u64; 3] = [0, 1, 12];
const PATH: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// More than the text of an empty list, and less than that of one with a request.
const LIST_BEGINS_BYTES: usize = 512;

pub(crate) async fn run(builds: &[Build], scratch: &Path, count: Option<usize>) -> Result<()> {
    let count = count.unwrap_or(REQUESTS);
    // Of another build only one that has the flag.
    for (number, (name, everleaf)) in builds.iter().enumerate() {
        let dir = scratch.join(format!("cleaning-{number}"));
        one(name, everleaf, &builds[0].1, &dir, count).await?;
    }
    load_average();
    Ok(())
}

async fn one(
    name: &str,
    everleaf: &Path,
    generator: &Path,
    dir: &Path,
    count: usize,
) -> Result<()> {
    let server = Server::start(everleaf, dir, &["--no-node", AGE])?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = server.memory("VmRSS")?;
    row(
        &format!("{name}: memory before"),
        &format!("{:.1} MiB", mebibytes(before)),
    );
    let load = Load {
        everleaf: generator,
        dir,
        nodes: count,
        args: &[],
    };
    load.run(&server)?;
    row(
        &format!("{name}: after {count} certificates; peak until then"),
        &format!(
            "{:.1}, {:.1} MiB",
            mebibytes(server.memory("VmRSS")?),
            mebibytes(server.memory("VmHWM")?)
        ),
    );
    wait_until_empty(dir).await?;
    let mut waited = 0;
    for minutes in MINUTES {
        tokio::time::sleep(Duration::from_secs((minutes - waited) * 60)).await;
        waited = minutes;
        let now = server.memory("VmRSS")?;
        row(
            &format!("{name}: {minutes} minutes after the last one was deleted; more than before"),
            &format!(
                "{:.1} MiB; {:.1} MiB",
                mebibytes(now),
                mebibytes(now.saturating_sub(before))
            ),
        );
    }
    Ok(())
}

async fn wait_until_empty(dir: &Path) -> Result<()> {
    let target = Target::from_kubeconfig(&dir.join("bootstrap-kubelet.conf"))?;
    for _ in 0..LOOKS_MAX {
        let mut connection = target.connect().await?;
        let answer = connection.send("GET", PATH, Bytes::new()).await?;
        // The beginning says it. The rest is not read, and no page is asked for: the server would
        // keep what the next one needs.
        let (mut body, mut text) = (answer.into_body(), Vec::new());
        while text.len() < LIST_BEGINS_BYTES
            && let Some(frame) = body.frame().await
        {
            text.extend(frame?.into_data().unwrap_or_default());
        }
        let list = serde_json::from_slice::<Value>(&text).ok();
        if list.is_some_and(|list| list["items"].as_array().is_some_and(Vec::is_empty)) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("the cleaner did not delete all")
}
