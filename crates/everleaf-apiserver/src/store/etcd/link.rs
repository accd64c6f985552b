//! Our keys and questions in etcd's words.

use super::super::upstream::{Revision, Source};
use super::{Change, Inbox, KEY_PREFIX, Rejection, StoreError, Txn, Verdict};
use bytes::Bytes;
use everleaf_etcd::messages::{
    Compare, CompareTarget, DeleteRangeRequest, Event, Header, KeyValue, Op, PutRequest,
    RangeRequest, RequestOp, TxnRequest, Union,
};
use everleaf_etcd::{Client, Error};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// Objects in one answer to a list.
const PAGE: i64 = 500;
/// Between two questions how far the watch is.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// `WatchResponse.events[].type` of a delete.
const DELETE: i32 = 1;

/// The connection, and what comes in on it.
pub(super) struct Link {
    pub(super) client: Client,
    /// With a slash at its end.
    prefix: String,
    directories: Vec<&'static str>,
    pub(super) inbox: Inbox,
    /// Somebody wants to know how far the watch is.
    pub(super) progress: Notify,
}

impl Link {
    pub(super) fn new(client: Client, prefix: &str, directories: Vec<&'static str>) -> Self {
        Self {
            client,
            prefix: format!("/{}/", prefix.trim_matches('/')),
            directories,
            inbox: Inbox::default(),
            progress: Notify::new(),
        }
    }

    /// Our key in etcd.
    pub(super) fn outside(&self, key: &str) -> Bytes {
        let rest = key.strip_prefix(KEY_PREFIX).unwrap_or(key);
        Bytes::from(format!("{}{rest}", self.prefix))
    }

    /// etcd's key as ours; None: it is below none of our directories.
    pub(super) fn inside(&self, key: &[u8]) -> Option<String> {
        let rest = key.strip_prefix(self.prefix.as_bytes())?;
        let rest = std::str::from_utf8(rest).ok()?;
        let is_ours = |directory: &&str| {
            let name = rest.strip_prefix(*directory);
            name.is_some_and(|name| name.starts_with('/'))
        };
        self.directories
            .iter()
            .any(is_ours)
            .then(|| format!("{KEY_PREFIX}{rest}"))
    }

    /// All keys that may be ours.
    pub(super) fn whole(&self) -> (Bytes, Bytes) {
        below(&self.prefix)
    }

    /// The revision of the last change; nothing that was acknowledged before is later.
    pub(super) async fn revision(&self) -> Result<u64, StoreError> {
        let request = RangeRequest {
            key: Bytes::from(format!("{}health", self.prefix)),
            count_only: true,
            ..RangeRequest::default()
        };
        let answer = self.client.range(&request).await.map_err(unreachable)?;
        Ok(revision_of(answer.header))
    }

    /// Whether every change after this revision is still there.
    pub(super) async fn has_history(&self, revision: u64) -> Result<bool, StoreError> {
        let request = RangeRequest {
            key: Bytes::from(format!("{}health", self.prefix)),
            count_only: true,
            // 0 would be the present.
            revision: signed(revision.max(1)),
            ..RangeRequest::default()
        };
        match self.client.range(&request).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_compacted() => Ok(false),
            Err(error) => Err(unreachable(error)),
        }
    }

    /// What was there at this revision, in the order of the revisions.
    pub(super) async fn list(&self, revision: u64) -> Result<Vec<Change>, StoreError> {
        let mut changes = Vec::new();
        if revision == 0 {
            return Ok(changes);
        }
        for directory in &self.directories {
            let (mut key, range_end) = below(&format!("{}{directory}/", self.prefix));
            loop {
                let request = RangeRequest {
                    key: key.clone(),
                    range_end: range_end.clone(),
                    limit: PAGE,
                    revision: signed(revision),
                    ..RangeRequest::default()
                };
                let answer = self.client.range(&request).await;
                let page = answer.map_err(|error| match error.is_compacted() {
                    true => StoreError::Compacted,
                    false => unreachable(error),
                })?;
                if let Some(last) = page.kvs.last() {
                    let mut next = last.key.to_vec();
                    next.push(0);
                    key = next.into();
                }
                changes.extend(page.kvs.iter().filter_map(|kv| self.put(kv, None)));
                if !page.more {
                    break;
                }
            }
        }
        changes.sort_by_key(|change| change.revision);
        Ok(changes)
    }

    fn put(&self, kv: &KeyValue, previous: Option<&KeyValue>) -> Option<Change> {
        Some(Change {
            revision: unsigned(kv.mod_revision),
            key: self.inside(&kv.key)?,
            // Of its own: it would keep the whole answer in memory.
            value: Some(Bytes::copy_from_slice(&kv.value)),
            created: unsigned(kv.create_revision),
            replaces: previous.map_or(0, |previous| unsigned(previous.mod_revision)),
        })
    }

    /// What a watch told of; None: of a key that is not ours.
    pub(super) fn change(&self, event: &Event) -> Option<Change> {
        let kv = event.kv.as_ref()?;
        let previous = event.prev_kv.as_ref();
        if event.kind != DELETE {
            return self.put(kv, previous);
        }
        Some(Change {
            revision: unsigned(kv.mod_revision),
            key: self.inside(&kv.key)?,
            value: None,
            created: previous.map_or(0, |previous| unsigned(previous.create_revision)),
            replaces: previous.map_or(0, |previous| unsigned(previous.mod_revision)),
        })
    }

    /// Tries a transaction; the verdict, and the revision up to which the watch has to tell before
    /// all that it was judged by is known.
    pub(super) async fn try_txn(&self, txn: Txn, lease: i64) -> (Verdict, u64) {
        let key = self.outside(&txn.key);
        let step = |op| RequestOp { request: Some(op) };
        let change = match txn.value {
            Some(value) => Op::Put(PutRequest {
                key: key.clone(),
                value,
                lease,
            }),
            // A key that is not there has revision 0, and nothing to be deleted.
            None if txn.follows == 0 => return (Err(Rejection::Conflict { present: 0 }), 0),
            None => Op::Delete(DeleteRangeRequest { key: key.clone() }),
        };
        let request = TxnRequest {
            compare: vec![Compare {
                target: CompareTarget::Mod.into(),
                key: key.clone(),
                union: Some(Union::ModRevision(signed(txn.follows))),
            }],
            success: vec![step(change)],
            failure: vec![step(Op::Range(RangeRequest {
                key,
                ..RangeRequest::default()
            }))],
        };
        match self.client.txn(&request).await {
            Ok(answer) => {
                let revision = revision_of(answer.header);
                if answer.succeeded {
                    return (Ok(revision), revision);
                }
                let range = answer.responses.first().and_then(|one| one.range.as_ref());
                let present = range.and_then(|range| range.kvs.first());
                let present = present.map_or(0, |kv| unsigned(kv.mod_revision));
                (Err(Rejection::Conflict { present }), revision)
            }
            Err(error) => (Err(Rejection::Failed(failed(error))), 0),
        }
    }

    /// Waits until the watch has told everything up to a revision.
    pub(super) async fn told(&self, revision: u64, patience: Duration) -> Result<(), StoreError> {
        if self.inbox.is_at(revision)? {
            return Ok(());
        }
        // What changed none of our keys is in no event. A watch that is behind does not answer the
        // question, so it is asked again.
        let ask = async {
            loop {
                self.progress.notify_one();
                sleep(ASK_AGAIN).await;
            }
        };
        let reached = async {
            tokio::select! {
                reached = self.inbox.reach(revision) => reached,
                () = ask => Ok(()),
            }
        };
        timeout(patience, reached)
            .await
            .unwrap_or(Err(StoreError::Behind))
    }

    /// Has history up to a revision forgotten.
    pub(super) async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        match self.client.compact(signed(revision)).await {
            Err(error) if !error.is_compacted() => Err(unreachable(error)),
            _ => Ok(()),
        }
    }
}

impl Source for Arc<Link> {
    fn latest(&self) -> Revision<'_> {
        Box::pin(self.revision())
    }

    fn request_progress(&self) {
        self.progress.notify_one();
    }
}

/// Everything whose key begins so, as a range.
fn below(prefix: &str) -> (Bytes, Bytes) {
    let mut end = prefix.as_bytes().to_vec();
    // It ends with a slash, after which comes the digit zero.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    (Bytes::copy_from_slice(prefix.as_bytes()), end.into())
}

pub(super) fn revision_of(header: Option<Header>) -> u64 {
    header.map_or(0, |header| unsigned(header.revision))
}

/// Of a call that changes nothing.
pub(super) fn unreachable(error: Error) -> StoreError {
    StoreError::Unavailable {
        what: error.to_string(),
    }
}

/// Of a write.
fn failed(error: Error) -> StoreError {
    let what = error.to_string();
    if error.is_no_space() {
        StoreError::NoSpace
    } else if error.is_ambiguous() {
        StoreError::Unknown { what }
    } else {
        StoreError::Unavailable { what }
    }
}

pub(super) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_etcd::Config;

    #[test]
    fn keys_have_the_prefix_and_others_are_not_ours() {
        let config = Config {
            endpoints: Vec::new(),
            tls: None,
        };
        let link = Link::new(
            Client::new(config),
            "kubernetes.io",
            vec!["secrets", "services/specs"],
        );
        let outside = |key: &str| link.outside(key).to_vec();
        assert_eq!(
            outside("/registry/secrets/a/b"),
            b"/kubernetes.io/secrets/a/b"
        );
        let inside = |key: &str| link.inside(key.as_bytes());
        let ours = Some("/registry/secrets/a/b".to_owned());
        assert_eq!(inside("/kubernetes.io/secrets/a/b"), ours);
        let ours = Some("/registry/services/specs/a/b".to_owned());
        assert_eq!(inside("/kubernetes.io/services/specs/a/b"), ours);
        for foreign in [
            "/registry/secrets/a/b",
            "/kubernetes.io/secretstores/a",
            "compact_rev_key",
        ] {
            assert_eq!(inside(foreign), None);
        }
        let (first, end) = link.whole();
        assert_eq!(
            (&first[..], &end[..]),
            (&b"/kubernetes.io/"[..], &b"/kubernetes.io0"[..])
        );
    }
}
