//! Watchers: each lists once, then goes on from revision to revision, at one server after another.

use crate::history::{Event, Stretch};
use crate::load::{Load, OBJECTS, key_of, locked, present, revision};
use anyhow::{Context, Result, bail};
use http_body_util::BodyExt;
use serde_json::Value;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// After this a server ends a watch, and the watcher goes on at the next one.
const WATCH_SECONDS: u32 = 4;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest line of a watch.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Longest silence: well beyond [`WATCH_SECONDS`], and beyond the longest pause of a server.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What one watcher has been told.
#[derive(Default)]
pub(crate) struct Watcher {
    stretches: Mutex<Vec<Stretch>>,
}

/// How a watch ended.
enum Ended {
    /// It goes on where it was.
    Interrupted,
    /// The server has forgotten what came after the last revision.
    Forgotten,
}

impl Watcher {
    /// Until the run is over. `first` is the server to begin with.
    pub(crate) async fn run(&self, load: &Load, first: usize) {
        let mut place = first;
        let mut is_listed = false;
        while !load.is_over.load(Ordering::Relaxed) {
            let port = load.ports[place % load.ports.len()];
            place += 1;
            let turn = async {
                if !is_listed {
                    self.list(load, port).await?;
                    is_listed = true;
                }
                self.follow(load, port).await
            };
            match turn.await {
                Ok(Ended::Forgotten) => is_listed = false,
                Ok(Ended::Interrupted) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// How far it has come.
    pub(crate) fn position(&self) -> u64 {
        locked(&self.stretches).last().map_or(0, |last| last.to)
    }

    /// What it was told.
    pub(crate) fn stretches(&self) -> Vec<Stretch> {
        locked(&self.stretches).clone()
    }

    async fn list(&self, load: &Load, port: u16) -> Result<()> {
        let mut connection = load.access.connect(port).await?;
        let (200, told) = connection.ask("GET", OBJECTS, None).await? else {
            bail!("no list");
        };
        let from = revision(&told).context("a list without a revision")?;
        locked(&self.stretches).push(Stretch {
            from,
            to: from,
            events: Vec::new(),
        });
        Ok(())
    }

    async fn follow(&self, load: &Load, port: u16) -> Result<Ended> {
        let position = self.position();
        let path = format!(
            "{OBJECTS}?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={position}"
        );
        let connection = load.access.connect(port).await?;
        let mut body = match connection.watch(&path).await {
            Err(error) if error.to_string() == "410" => return Ok(Ended::Forgotten),
            opened => opened?,
        };
        let mut line = Vec::new();
        loop {
            let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await?;
            let Some(Ok(frame)) = frame else {
                // A line that is cut off is told again from where we are.
                return Ok(Ended::Interrupted);
            };
            for byte in frame.into_data().unwrap_or_default() {
                if byte != b'\n' {
                    line.push(byte);
                    if line.len() > LINE_BYTES_MAX {
                        bail!("a line without an end");
                    }
                    continue;
                }
                let told: Value = serde_json::from_slice(&line)?;
                line.clear();
                if let Some(ended) = self.take(load, &told) {
                    return Ok(ended);
                }
            }
        }
    }

    /// One event; `Some`: no further one comes.
    fn take(&self, load: &Load, told: &Value) -> Option<Ended> {
        let object = &told["object"];
        let kind = told["type"].as_str().unwrap_or_default();
        if kind == "ERROR" {
            return Some(match object["code"].as_u64() {
                Some(410) => Ended::Forgotten,
                _ => Ended::Interrupted,
            });
        }
        let mut stretches = locked(&self.stretches);
        let (Some(revision), Some(stretch)) = (revision(object), stretches.last_mut()) else {
            locked(&load.odd).push(format!("a watch said {told}"));
            return Some(Ended::Interrupted);
        };
        if let (Some(key), true) = (key_of(object), kind != "BOOKMARK") {
            let value = match kind {
                "DELETED" => None,
                _ => present(object).map(|one| one.value),
            };
            stretch.events.push(Event {
                key,
                revision,
                value,
            });
        }
        stretch.to = stretch.to.max(revision);
        None
    }
}
