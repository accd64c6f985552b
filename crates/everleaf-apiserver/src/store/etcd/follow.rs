//! The watch: whatever happens to its connection, every change once and in order.

use super::link::{Link, revision_of, signed};
use super::{Change, StoreError, Upstream};
use everleaf_etcd::Watch;
use everleaf_etcd::messages::{WatchCreateRequest, WatchResponse};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// A watch that says nothing for so long is asked how far it is, …
const QUIET: Duration = Duration::from_secs(5);
/// … and is given up when it does not say so.
const SILENT: Duration = Duration::from_secs(10);
/// Between two attempts to begin it.
const PAUSE: Duration = Duration::from_millis(500);

/// What the watch told of, and nobody has taken yet.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    /// How far it is; [`BROKEN`] when it cannot go on.
    revision: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    changes: Vec<Change>,
    revision: u64,
    is_broken: bool,
}

/// In place of a revision: wakes all who wait for one.
const BROKEN: u64 = u64::MAX;

impl Inbox {
    /// Empty, and at this revision.
    pub(super) fn reset(&self, revision: u64) {
        self.with(|state| {
            *state = State {
                revision,
                ..State::default()
            };
        });
        self.revision.send_replace(revision);
    }

    /// Takes what there is, and how far that reaches.
    pub(super) fn take(&self) -> Result<(Vec<Change>, u64), StoreError> {
        self.with(|state| match state.is_broken {
            true => Err(StoreError::Compacted),
            false => Ok((std::mem::take(&mut state.changes), state.revision)),
        })
    }

    /// Whether all up to this revision was told.
    pub(super) fn is_at(&self, revision: u64) -> Result<bool, StoreError> {
        self.with(|state| match state.is_broken {
            true => Err(StoreError::Compacted),
            false => Ok(state.revision >= revision),
        })
    }

    /// Waits until it was.
    pub(super) async fn reach(&self, revision: u64) -> Result<(), StoreError> {
        let mut reached = self.revision.subscribe();
        let reached = reached.wait_for(|reached| *reached >= revision).await;
        match reached {
            Ok(reached) if *reached != BROKEN => Ok(()),
            Ok(_) | Err(_) => Err(StoreError::Compacted),
        }
    }

    fn put(&self, changes: Vec<Change>, revision: u64) {
        let revision = self.with(|state| {
            state.changes.extend(changes);
            state.revision = state.revision.max(revision);
            state.revision
        });
        self.revision.send_replace(revision);
    }

    /// Has what comes next be unknown, until it begins anew.
    pub(super) fn break_off(&self) {
        self.with(|state| state.is_broken = true);
        self.revision.send_replace(BROKEN);
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Follows everything after `revision`, until what comes next is compacted.
pub(super) async fn run(link: Arc<Link>, upstream: Arc<Upstream>, mut revision: u64) {
    loop {
        let error = match one(&link, &upstream, &mut revision).await {
            Ended::Lost(error) => error,
            Ended::Compacted => {
                upstream.note(Some(StoreError::Compacted));
                link.inbox.break_off();
                upstream.changed();
                return;
            }
        };
        upstream.note(Some(StoreError::Unavailable { what: error }));
        sleep(PAUSE).await;
    }
}

/// How a watch ended.
enum Ended {
    /// It can be begun anew.
    Lost(String),
    /// It cannot.
    Compacted,
}

/// One watch, as long as it lasts.
async fn one(link: &Link, upstream: &Upstream, revision: &mut u64) -> Ended {
    let (key, range_end) = link.whole();
    let request = WatchCreateRequest {
        key,
        range_end,
        start_revision: signed(*revision + 1),
        progress_notify: true,
        prev_kv: true,
        fragment: true,
    };
    let mut watch = match link.client.watch(request).await {
        Ok(watch) => watch,
        Err(error) => return Ended::Lost(error.to_string()),
    };
    // A revision comes in parts, and is told whole.
    let mut parts = Vec::new();
    loop {
        let answer = match next(link, &mut watch).await {
            Ok(answer) => answer,
            Err(ended) => return ended,
        };
        if answer.canceled {
            return match answer.compact_revision {
                0 => Ended::Lost(format!("the watch ended: {}", answer.cancel_reason)),
                _ => Ended::Compacted,
            };
        }
        upstream.note(None);
        if answer.created {
            // It says how far the store is, not the watch; somebody may wait for that.
            watch.request_progress();
            continue;
        }
        let last = answer.events.last().and_then(|event| event.kv.as_ref());
        let reached = match last {
            Some(kv) => u64::try_from(kv.mod_revision).unwrap_or(0),
            None => revision_of(answer.header),
        };
        parts.extend(answer.events.iter().filter_map(|event| link.change(event)));
        if answer.fragment {
            continue;
        }
        *revision = reached.max(*revision);
        link.inbox.put(std::mem::take(&mut parts), *revision);
        upstream.changed();
    }
}

/// The next answer, asking for one when there is none.
async fn next(link: &Link, watch: &mut Watch) -> Result<WatchResponse, Ended> {
    let mut is_asked = false;
    loop {
        let patience = if is_asked { SILENT } else { QUIET };
        tokio::select! {
            answer = timeout(patience, watch.next()) => match answer {
                Ok(Ok(Some(answer))) => return Ok(answer),
                Ok(Ok(None)) => return Err(Ended::Lost("the watch ended".to_owned())),
                Ok(Err(error)) => return Err(Ended::Lost(error.to_string())),
                Err(_) if is_asked => {
                    return Err(Ended::Lost("the watch has fallen silent".to_owned()));
                }
                Err(_) => {
                    is_asked = true;
                    watch.request_progress();
                }
            },
            () = link.progress.notified() => watch.request_progress(),
        }
    }
}
