//! Forgetting history, together with whoever else serves this etcd (`etcd3/compact.go`).
//!
//! All of them try, each interval, to write the present revision under one key; who does so first
//! compacts to the revision that he saw an interval before. So history reaches back for one to two
//! intervals, however many take part.

use super::StoreError;
use super::link::{Link, revision_of, unreachable};
use bytes::Bytes;
use everleaf_etcd::messages::{
    Compare, CompareTarget, Op, PutRequest, RangeRequest, RequestOp, TxnRequest, Union,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// kube-apiserver's key, below no prefix.
const KEY: &[u8] = b"compact_rev_key";

/// What was seen the last time.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// How often the key was written.
    version: i64,
    /// Where the store was.
    revision: u64,
}

/// Compacts for ever.
pub(super) async fn run(link: Arc<Link>, interval: Duration) {
    let mut seen = Seen::default();
    loop {
        sleep(interval).await;
        match turn(&link, seen).await {
            Ok(now) => seen = now,
            Err(error) => {
                tracing::warn!(%error, "history was not compacted; it will be tried again");
            }
        }
    }
}

async fn turn(link: &Link, seen: Seen) -> Result<Seen, StoreError> {
    let step = |op| RequestOp { request: Some(op) };
    let key = Bytes::from_static(KEY);
    let request = TxnRequest {
        compare: vec![Compare {
            target: CompareTarget::Version.into(),
            key: key.clone(),
            union: Some(Union::Version(seen.version)),
        }],
        success: vec![step(Op::Put(PutRequest {
            key: key.clone(),
            value: Bytes::from(seen.revision.to_string()),
            lease: 0,
        }))],
        failure: vec![step(Op::Range(RangeRequest {
            key,
            ..RangeRequest::default()
        }))],
    };
    let answer = link.client.txn(&request).await.map_err(unreachable)?;
    let revision = revision_of(answer.header);
    if !answer.succeeded {
        // Another was first.
        let range = answer.responses.first().and_then(|one| one.range.as_ref());
        let version = range.and_then(|range| range.kvs.first());
        let version = version.map_or(0, |kv| kv.version);
        return Ok(Seen { version, revision });
    }
    if seen.revision > 0 {
        link.compact(seen.revision).await?;
    }
    let version = seen.version + 1;
    Ok(Seen { version, revision })
}
