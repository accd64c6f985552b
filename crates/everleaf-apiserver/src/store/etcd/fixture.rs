//! A real etcd of its own for each test, with this store on it.

use super::super::conformance::Backend;
use super::super::{Change, Position, Store, StoreError, Txn, Verdict};
use super::{Etcd, EtcdConfig};
use everleaf_etcd::Config;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// An etcd with one member; gone with this.
pub(crate) struct Member {
    directory: tempfile::TempDir,
    port: u16,
    process: Child,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Member {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let process = run(&directory, port);
        Self {
            directory,
            port,
            process,
        }
    }

    /// Ends it, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again, on what it had.
    pub(crate) fn restart(&mut self) {
        self.process = run(&self.directory, self.port);
    }

    /// A store on it, once it answers.
    pub(crate) fn open(&self) -> Etcd {
        let mut attempts = 0..100;
        loop {
            let endpoint = format!("http://127.0.0.1:{}", self.port);
            let config = EtcdConfig {
                connection: Config {
                    endpoints: vec![endpoint.parse().unwrap()],
                    tls: None,
                },
                prefix: "/registry".to_owned(),
                directories: vec!["test"],
            };
            match Etcd::open(config) {
                Ok(store) => return store,
                // The client has paused between its own attempts.
                Err(error) => assert!(attempts.next().is_some(), "{error}"),
            }
        }
    }
}

fn run(directory: &tempfile::TempDir, port: u16) -> Child {
    let etcd = std::env::var("ETCD").expect("ETCD names an etcd");
    let url = |port| format!("http://127.0.0.1:{port}");
    let peer = url(free_port());
    Command::new(etcd)
        .arg("--data-dir")
        .arg(directory.path())
        .args(["--listen-client-urls", &url(port)])
        .args(["--advertise-client-urls", &url(port)])
        .args(["--listen-peer-urls", &peer])
        .args(["--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A member for a conformance case.
pub(in super::super) struct InEtcd(Member);

impl InEtcd {
    pub(in super::super) fn new() -> Self {
        Self(Member::start())
    }
}

impl Backend for InEtcd {
    fn open(&mut self) -> Box<dyn Store> {
        let mut inner = self.0.open();
        inner.replay(&mut |_| ()).unwrap();
        let base = inner.position().revision;
        Box::new(FromOne {
            inner,
            base,
            followed: BTreeMap::new(),
        })
    }
}

/// Has revisions begin with 1, keys be anything, and transactions come one after another: side by
/// side, their revisions are in any order. What a change up to the floor replaced, etcd does not
/// know any more, and nobody asks; the list of cases does, so this remembers it.
struct FromOne {
    inner: Etcd,
    base: u64,
    /// What each revision replaced.
    followed: BTreeMap<u64, u64>,
}

const DIRECTORY: &str = "/registry/test";

impl FromOne {
    fn told(&self, change: Change) -> Change {
        Change {
            revision: change.revision - self.base,
            key: change.key.strip_prefix(DIRECTORY).unwrap().to_owned(),
            created: change.created - self.base,
            replaces: match change.replaces {
                0 if change.revision <= self.inner.position().floor => {
                    self.followed.get(&change.revision).copied().unwrap_or(0)
                }
                replaces => replaces,
            }
            .saturating_sub(self.base),
            ..change
        }
    }
}

impl Store for FromOne {
    fn position(&self) -> Position {
        let Position { revision, floor } = self.inner.position();
        Position {
            revision: revision - self.base,
            floor: floor.saturating_sub(self.base),
        }
    }

    fn replay(&mut self, visit: &mut dyn FnMut(Change)) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        self.inner.replay(&mut |change| changes.push(change))?;
        let told = changes.into_iter().map(|change| self.told(change));
        told.for_each(visit);
        Ok(())
    }

    fn commit(&mut self, batch: Vec<Txn>) -> Result<Vec<Verdict>, StoreError> {
        let mut verdicts = Vec::new();
        for mut txn in batch {
            txn.key = format!("{DIRECTORY}{}", txn.key);
            if txn.follows > 0 {
                txn.follows += self.base;
            }
            let follows = txn.follows;
            let verdict = self.inner.commit(vec![txn])?.remove(0);
            if let Ok(revision) = verdict {
                self.followed.insert(revision, follows);
            }
            verdicts.push(verdict);
        }
        let verdict = |verdict: Verdict| match verdict {
            Ok(revision) => Ok(revision - self.base),
            Err(super::Rejection::Conflict { present }) => Err(super::Rejection::Conflict {
                present: present.saturating_sub(self.base),
            }),
            Err(failed) => Err(failed),
        };
        Ok(verdicts.into_iter().map(verdict).collect())
    }

    fn changes(&mut self) -> Result<Vec<Change>, StoreError> {
        let changes = self.inner.changes()?;
        Ok(changes
            .into_iter()
            .map(|change| self.told(change))
            .collect())
    }

    fn compact(&mut self, floor: u64) -> Result<(), StoreError> {
        self.inner.compact(floor.saturating_add(self.base))
    }
}
