//! A store made of a snapshot.

use super::{Change, Embedded, INSERT, StoreError, row, signed};
use crate::store::snapshot::{self, Failure, Summary};
use std::io::BufRead;
use std::path::Path;

/// Highest revision that a restored log may begin at: far from what no client could count to.
const REVISION_MAX: u64 = 1 << 62;

/// Takes a change into the store that is made.
pub(in crate::store) type Put<'a> = &'a mut dyn FnMut(Change) -> Result<(), Failure>;

impl Embedded {
    /// Makes a store in `directory`, which must hold none, of a snapshot. Its log stands `bump`
    /// revisions above the snapshot's, and remembers nothing from below: so whoever goes on with a
    /// revision from before or after the snapshot is told to list anew, as with `etcdutl snapshot
    /// restore --bump-revision --mark-compacted`.
    ///
    /// # Errors
    /// What was read is no snapshot, or is damaged: then the store is empty. Or the disk fails.
    pub fn restore(
        directory: &Path,
        input: &mut dyn BufRead,
        bump: u64,
    ) -> Result<Summary, Failure> {
        Self::fill(directory, bump, &mut |put| snapshot::read(input, put))
    }

    /// The same of what `source` hands out, in the order of the revisions.
    pub(in crate::store) fn fill(
        directory: &Path,
        bump: u64,
        source: &mut dyn FnMut(Put<'_>) -> Result<Summary, Failure>,
    ) -> Result<Summary, Failure> {
        let mut store = Self::open(directory)?;
        if store.position.revision > 0 {
            return Err(Failure::NotEmpty(directory.display().to_string()));
        }
        let path = store.path.clone();
        let explain = |error: &rusqlite::Error| Failure::Store(super::explain_open(error, &path));
        let transaction = store.connection.transaction().map_err(|e| explain(&e))?;
        let summary = {
            let mut statement = transaction
                .prepare_cached(INSERT)
                .map_err(|error| explain(&error))?;
            source(&mut |change: Change| {
                row::insert(&mut statement, &change).map_err(|error| explain(&error))
            })?
        };
        if !summary.damaged.is_empty() {
            return Err(Failure::Damaged(summary.damaged));
        }
        let reached = summary.header.revision.checked_add(bump);
        let reached = reached.filter(|revision| *revision <= REVISION_MAX);
        let revision = reached.ok_or(Failure::Bump(REVISION_MAX))?;
        transaction
            .execute(
                "UPDATE position SET floor = ?1, revision = ?1",
                [signed(revision)],
            )
            .and_then(|_| transaction.commit())
            .map_err(|error| explain(&error))?;
        store.position.revision = revision;
        store.position.floor = revision;
        store.stored_floor = revision;
        // What is on disk is whole without the journal.
        store
            .connection
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
            .map_err(|error| explain(&error))?;
        Ok(summary)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
