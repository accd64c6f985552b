//! Performs what [`Retention`](crate::registry::retention::Retention) says: objects that are
//! forgotten by themselves. And how many objects are removed together, whyever.

use super::Server;
use crate::objects::{Objects, Stored};
use crate::registry::retention::Facts;
use crate::registry::{DESCRIPTORS, Descriptor};
use crate::writer::Refusal;
use futures_util::future::join_all;
use jiff::Timestamp;
use std::sync::Arc;

/// Removals proposed at once: they share a sync, and leave room in the writer's queue for requests.
pub(super) const REMOVALS_AT_ONCE_MAX: usize = 128;

impl Server {
    /// Removes what is forgotten at `now`, what was to be deleted and is there still, and history
    /// that is old. To be called once a minute.
    pub async fn forget(&self, now: Timestamp) {
        self.finish_containers(now).await;
        self.cache.age();
        // Others may have more of them, and such a store forgets by itself.
        if self.writer.upstream().is_some() {
            return;
        }
        for descriptor in DESCRIPTORS {
            if let Some(retention) = descriptor.retention {
                let all = self.facts_of(descriptor, |stored| {
                    (retention.last_seen)(&stored.object(), now)
                });
                let gone = retention.forgotten(all, now);
                self.remove_all(descriptor, &gone).await;
            }
        }
    }

    /// Makes room when an object just written was too much.
    pub(super) async fn make_room(&self, descriptor: &'static Descriptor) {
        let is_shared = self.writer.upstream().is_some();
        let Some(retention) = descriptor.retention.filter(|_| !is_shared) else {
            return;
        };
        let (objects, bytes) = self.cache.size(descriptor.resource);
        if retention.is_exceeded(objects, bytes) {
            let gone = retention.crowded_out(self.facts_of(descriptor, |_| None));
            self.remove_all(descriptor, &gone).await;
        }
    }

    fn facts_of(
        &self,
        descriptor: &'static Descriptor,
        last_seen: impl Fn(&Stored) -> Option<Timestamp>,
    ) -> Vec<(Facts, Arc<Stored>)> {
        let all = self.cache.list(descriptor.resource, None).into_iter();
        all.map(|stored| {
            let facts = Facts {
                revision: stored.revision,
                bytes: stored.bytes.len(),
                last_seen: last_seen(&stored),
            };
            (facts, stored)
        })
        .collect()
    }

    /// Some removals at once, at most [`REMOVALS_AT_ONCE_MAX`]. Whoever else removes many waits for
    /// them, so that all together do not fill the writer's queue.
    pub(super) async fn remove_together<R: Future>(
        &self,
        removals: impl Iterator<Item = R>,
    ) -> Vec<R::Output> {
        let _turn = self.removing.lock().await;
        join_all(removals).await
    }

    /// Best effort: what changed meanwhile stays, and what the store refuses is tried again in a
    /// minute.
    async fn remove_all(&self, descriptor: &'static Descriptor, gone: &[Arc<Stored>]) {
        for some in gone.chunks(REMOVALS_AT_ONCE_MAX) {
            let removals = some
                .iter()
                .map(|stored| self.propose_delete(descriptor, stored));
            for outcome in self.remove_together(removals).await {
                if let Err(refusal) = outcome
                    && refusal != Refusal::Changed
                {
                    let resource = descriptor.resource;
                    tracing::debug!(%refusal, resource, "forgotten objects were not removed");
                    return;
                }
            }
        }
    }
}
