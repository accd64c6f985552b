//! What a [move](crate::store::migrate) asks of an etcd that no server writes to.

use super::link::{revision_of, signed, unreachable};
use super::{Change, Etcd, KEY_PREFIX, Rejection, StoreError, Txn};
use bytes::Bytes;
use everleaf_etcd::messages::{
    DeleteRangeRequest, Op, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use futures_util::future::{join_all, try_join_all};

/// Keys in one answer.
const PAGE: i64 = 500;
/// Writes that raise the revision, at a time.
const RAISED_AT_ONCE: u64 = 512;
/// Revisions after which those before are forgotten, so that etcd does not grow by them.
const FORGOTTEN_EACH: u64 = 50_000;
/// The key that is written to raise the revision; it is gone when all is moved.
const MARKER: &str = "everleaf-migration";

/// Is shown keys and values.
type Visit<'a, E> = dyn FnMut(&str, &[u8]) -> Result<(), E> + 'a;

impl Etcd {
    /// The revision of its last change.
    pub(in crate::store) fn latest(&self) -> Result<u64, StoreError> {
        self.runtime().block_on(self.link.revision())
    }

    /// What it holds of ours, in the order of the revisions, and at which revision that is.
    pub(in crate::store) fn contents(&self) -> Result<(u64, Vec<Change>), StoreError> {
        self.runtime().block_on(async {
            let revision = self.link.revision().await?;
            Ok((revision, self.link.list(revision).await?))
        })
    }

    /// Whether a key is one of ours.
    pub(in crate::store) fn holds(&self, key: &str) -> bool {
        let outside = self.link.outside(key);
        self.link.inside(&outside).is_some()
    }

    /// Visits everything under the prefix, whosever it is, under the keys that ours would have.
    pub(in crate::store) fn survey<E: From<StoreError>>(
        &self,
        visit: &mut Visit<'_, E>,
    ) -> Result<(), E> {
        let (mut key, range_end) = self.link.whole();
        let (prefix, marker) = (key.len(), self.marker());
        let mut revision = 0;
        loop {
            let request = RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                limit: PAGE,
                revision: signed(revision),
                ..RangeRequest::default()
            };
            let answer = self.runtime().block_on(self.link.client.range(&request));
            let page = answer.map_err(unreachable)?;
            if revision == 0 {
                revision = revision_of(page.header);
            }
            for kv in page.kvs.iter().filter(|kv| kv.key != marker) {
                let rest = String::from_utf8_lossy(&kv.key[prefix..]);
                visit(&format!("{KEY_PREFIX}{rest}"), &kv.value)?;
            }
            match page.kvs.last() {
                Some(last) if page.more => {
                    let mut next = last.key.to_vec();
                    next.push(0);
                    key = next.into();
                }
                _ => return Ok(()),
            }
        }
    }

    /// Writes objects where there are none.
    pub(in crate::store) fn put_new(&self, txns: Vec<Txn>) -> Result<(), StoreError> {
        let tries = txns
            .into_iter()
            .enumerate()
            .map(|(place, txn)| self.attempt(place, txn));
        let tries = self.runtime().block_on(join_all(tries));
        for (_, verdict, _) in tries {
            verdict.map_err(|rejection| match rejection {
                Rejection::Failed(error) => error,
                Rejection::Conflict { .. } => StoreError::Unavailable {
                    what: "something else writes to it".to_owned(),
                },
            })?;
        }
        Ok(())
    }

    /// Raises its revision some way towards more than this one; how far it is.
    pub(in crate::store) fn raise(&self, revision: u64) -> Result<u64, StoreError> {
        let latest = self.latest()?;
        let count = (revision + 1).saturating_sub(latest).min(RAISED_AT_ONCE);
        let put = || {
            Op::Put(PutRequest {
                key: self.marker(),
                value: Bytes::from_static(b"the objects of an Everleaf store are being moved here"),
                lease: 0,
            })
        };
        let requests: Vec<TxnRequest> = (0..count).map(|_| sole(put())).collect();
        self.runtime().block_on(async {
            let sent = requests.iter().map(|request| self.link.client.txn(request));
            try_join_all(sent).await.map_err(unreachable)
        })?;
        let reached = self.latest()?;
        if reached / FORGOTTEN_EACH > latest / FORGOTTEN_EACH {
            self.runtime().block_on(self.link.compact(latest))?;
        }
        Ok(reached)
    }

    /// Takes away what was needed for the move, history included; the revision in the end.
    pub(in crate::store) fn forget_move(&self) -> Result<u64, StoreError> {
        let delete = Op::Delete(DeleteRangeRequest { key: self.marker() });
        self.runtime().block_on(async {
            let gone = self.link.client.txn(&sole(delete)).await;
            let revision = revision_of(gone.map_err(unreachable)?.header);
            self.link.compact(revision).await?;
            Ok(revision)
        })
    }

    fn marker(&self) -> Bytes {
        self.link.outside(&format!("{KEY_PREFIX}{MARKER}"))
    }
}

fn sole(op: Op) -> TxnRequest {
    TxnRequest {
        compare: Vec::new(),
        success: vec![RequestOp { request: Some(op) }],
        failure: Vec::new(),
    }
}
