//! Leases for what ends by itself (`etcd3/lease_manager.go`): one serves many objects that end at
//! about the same time.

use super::StoreError;
use super::link::{Link, unreachable};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A lease is given to new objects for so long at most, …
const REUSE_MAX: Duration = Duration::from_secs(60);
/// … and for no more than this part of its time.
const REUSE_PART: u32 = 20;
/// Objects that share one.
const OBJECTS_MAX: usize = 1000;

/// The lease in use.
#[derive(Default)]
pub(super) struct Leases {
    current: Mutex<Option<Lease>>,
}

struct Lease {
    id: i64,
    ttl_s: u32,
    granted: Instant,
    objects: usize,
}

impl Leases {
    /// A lease for an object that ends after so many seconds, or somewhat later; 0: it does not,
    /// and none is needed.
    pub(super) async fn of(&self, link: &Link, ttl_s: u32) -> Result<i64, StoreError> {
        if ttl_s == 0 {
            return Ok(0);
        }
        let reuse = REUSE_MAX.min(Duration::from_secs(ttl_s.into()) / REUSE_PART);
        let mut current = self.current.lock().await;
        if let Some(lease) = current.as_mut()
            && lease.ttl_s == ttl_s
            && lease.objects < OBJECTS_MAX
            && lease.granted.elapsed() < reuse
        {
            lease.objects += 1;
            return Ok(lease.id);
        }
        let granted = Instant::now();
        // The last to get it is to have all its time.
        let whole = u64::from(ttl_s) + reuse.as_secs();
        let whole = i64::try_from(whole).unwrap_or(i64::MAX);
        let id = link.client.grant(whole).await.map_err(unreachable)?;
        *current = Some(Lease {
            id,
            ttl_s,
            granted,
            objects: 1,
        });
        Ok(id)
    }
}
