//! The embedded store: one SQLite database laid out as a revision log.
//!
//! Keyed by revision, every insert lands at the end of the B-tree, and one transaction with one
//! sync carries a whole batch. WAL with `synchronous=FULL`: a commit that returned survives power
//! loss; one that did not is absent or whole, never half. One process writes, by [lock]; others may
//! [read](Reader) what is committed at one instant. Each row has a checksum of its own.

mod lock;
mod reader;
mod restore;
mod room;
mod row;

pub use reader::{Figures, Reader, Rows};
pub use row::Row;
pub(super) use row::checksum_of;

use super::{Change, Garbage, Index, Position, Rejection, Store, StoreError, Txn, Verdict};
use lock::Lock;
use room::{Room, Shortage};
use row::columns;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, ffi, params,
};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// File name below the store's directory.
const FILE_NAME: &str = "log.db";
/// `PRAGMA application_id`: "evlf".
const APPLICATION_ID: i64 = 0x6576_6c66;
/// `PRAGMA user_version`: the layout below.
const LAYOUT: i64 = 2;
/// Makes the present layout of the first one: rows get a checksum from then on.
const UPGRADE: &str = "ALTER TABLE log ADD COLUMN checksum INTEGER; PRAGMA user_version = 2;";
/// Pages after which SQLite folds the WAL into the database (12 MiB): as many as the first piece of
/// its index has room for, so that the index asks a full disk for nothing.
const WAL_PAGES_MAX: i64 = 3072;
/// Length to which the WAL is cut when it was longer, for somebody read it for long.
const WAL_BYTES_KEPT: i64 = 64 << 20;
/// Garbage rows deleted along with a batch: two for each of its changes, which is what a change can
/// make, and some more. So garbage is gone some time after a compaction, and never has a
/// transaction, and a sync, of its own.
const GARBAGE_PER_CHANGE: usize = 2;
const GARBAGE_PER_BATCH: usize = 64;
/// How long to wait for a lock before calling the directory in use: a predecessor may be closing.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

const INSERT: &str = "INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const SCHEMA: &str = "
    CREATE TABLE log (
        revision INTEGER PRIMARY KEY,
        key TEXT NOT NULL,
        value BLOB,
        created INTEGER NOT NULL,
        replaces INTEGER NOT NULL,
        checksum INTEGER
    ) STRICT;
    CREATE TABLE position (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        floor INTEGER NOT NULL,
        revision INTEGER NOT NULL
    ) STRICT;
    INSERT INTO position VALUES (0, 0, 0);
";

/// The log in a SQLite database.
#[derive(Debug)]
pub struct Embedded {
    connection: Connection,
    path: PathBuf,
    index: Index,
    garbage: Garbage,
    position: Position,
    /// Committed, and not told by [`Store::changes`] yet.
    untold: Vec<Change>,
    /// The floor on disk; what lies at or below it in memory alone is garbage there already.
    stored_floor: u64,
    /// Bytes that it may have; 0: any number.
    quota: u64,
    page_bytes: u64,
    /// What there is too little of, as of the last commit.
    shortage: Option<Shortage>,
    /// Set by a failure that leaves the state on disk unknown.
    failed: Option<StoreError>,
    /// Released last: by then the connection is closed.
    _lock: Lock,
}

impl Embedded {
    /// The name of its file in the directory that [`open`](Self::open) is given; SQLite keeps its
    /// journal beside it.
    pub const FILE_NAME: &'static str = FILE_NAME;

    /// Opens the log below `directory`, creating both when absent (directory 0700, file 0600).
    ///
    /// # Errors
    /// In use by another process, not our file, written by a newer version, damaged, unreachable.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        make_directory(directory)?;
        // Before the file is opened for the first time: to close it again would take SQLite's locks
        // from another store of this process.
        let lock = Lock::take(directory)?;
        make_file(&path)?;
        let explain = |error| explain_open(&error, &path);
        let connection = connect(&path).map_err(explain)?;
        // Looked at before anything is changed: a foreign file stays as it is.
        let layout = identify(&connection, &path)?;
        make_durable(&connection).map_err(explain)?;
        match layout {
            None => create_layout(&connection).map_err(explain)?,
            Some(LAYOUT) => {}
            Some(_) => connection
                .execute_batch(&format!("BEGIN; {UPGRADE} COMMIT"))
                .map_err(explain)?,
        }
        let position = position(&connection).map_err(explain)?;
        let page_bytes = number(&connection, "PRAGMA page_size").map_err(explain)?;
        let mut store = Self {
            connection,
            path,
            index: Index::default(),
            garbage: Garbage::default(),
            untold: Vec::new(),
            stored_floor: position.floor,
            position,
            quota: 0,
            page_bytes,
            shortage: None,
            failed: None,
            _lock: lock,
        };
        let (mut index, mut garbage) = (Index::default(), Garbage::default());
        store.replay_keys(&mut |change| {
            index.note(change);
            garbage.note(change);
        })?;
        (store.index, store.garbage) = (index, garbage);
        Ok(store)
    }

    /// Refuses what makes it larger once it has `quota` bytes in use; 0: never.
    #[must_use]
    pub fn with_quota(mut self, quota: u64) -> Self {
        self.quota = quota;
        self
    }

    /// Forgets all history, and gives what the file does not need back to the disk. It takes a
    /// while, and up to as much room again as the file has: it is for a store that serves nobody.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn shrink(mut self) -> Result<(), StoreError> {
        self.position.floor = self.position.revision;
        let garbage: Vec<u64> = self.garbage.up_to(self.position.floor).collect();
        let (position, stored_floor) = (self.position, self.stored_floor);
        let shrunk = self.connection.transaction().and_then(|transaction| {
            collect(&transaction, &garbage, position, stored_floor)?;
            transaction.commit()
        });
        let shrunk = shrunk.and_then(|()| {
            self.garbage.clear(garbage.len());
            self.stored_floor = position.floor;
            self.connection
                .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
        });
        shrunk.map_err(|error| self.explain_write(&error))
    }

    /// Reads every row without its value.
    fn replay_keys(&self, visit: &mut dyn FnMut(&Change)) -> Result<(), StoreError> {
        self.select(
            "SELECT revision, key, CASE WHEN value IS NULL THEN NULL ELSE x'' END, created, replaces, NULL
             FROM log ORDER BY revision",
            &mut |row| {
                visit(&row.change);
                Ok(())
            },
        )
    }

    fn select(
        &self,
        sql: &str,
        visit: &mut dyn FnMut(Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let explain = |error: rusqlite::Error| explain_open(&error, &self.path);
        let mut statement = self.connection.prepare(sql).map_err(explain)?;
        let mut rows = statement.query([]).map_err(explain)?;
        while let Some(row) = rows.next().map_err(explain)? {
            visit(Row::read(row).map_err(explain)?)?;
        }
        Ok(())
    }

    fn append(&mut self, batch: &[Change]) -> rusqlite::Result<()> {
        let most = batch.len() * GARBAGE_PER_CHANGE + GARBAGE_PER_BATCH;
        let floor = self.position.floor;
        let garbage: Vec<u64> = self.garbage.up_to(floor).take(most).collect();
        let transaction = self.connection.transaction()?;
        collect(&transaction, &garbage, self.position, self.stored_floor)?;
        {
            let mut statement = transaction.prepare_cached(INSERT)?;
            for change in batch {
                row::insert(&mut statement, change)?;
            }
        }
        transaction.commit()?;
        self.garbage.clear(garbage.len());
        self.stored_floor = floor;
        Ok(())
    }

    /// Looks at the room, says so when a shortage begins or ends, and keeps no history during one.
    fn look_at_room(&mut self) {
        let room = match self.room() {
            Ok(room) => room,
            Err(error) => {
                tracing::warn!(%error, "how much room the store has is not known");
                return;
            }
        };
        let before = self.shortage.take();
        self.shortage = room.shortage(self.quota, before.is_some());
        match (before, self.shortage) {
            (None, Some(shortage)) => {
                let reason = StoreError::from(shortage);
                tracing::error!(%reason, "the store refuses to become larger; reads go on");
            }
            (Some(_), None) => tracing::info!("the store has room again"),
            _ => {}
        }
        if self.shortage.is_some() {
            self.position.floor = self.position.revision;
        }
    }

    fn room(&self) -> rusqlite::Result<Room> {
        let pages = number(&self.connection, "PRAGMA page_count")?;
        let free = number(&self.connection, "PRAGMA freelist_count")?;
        let disk = rustix::fs::statvfs(&self.path).ok();
        Ok(Room {
            used: pages.saturating_sub(free).saturating_mul(self.page_bytes),
            reusable: free.saturating_mul(self.page_bytes),
            disk: disk.map(|disk| {
                let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
                (bytes(disk.f_bavail), bytes(disk.f_blocks))
            }),
        })
    }

    /// Whether `txn` is done although there is a shortage.
    fn spares(&self, txn: &Txn) -> rusqlite::Result<bool> {
        let replaced = self
            .connection
            .prepare_cached("SELECT length(value) FROM log WHERE revision = ?1 AND key = ?2")?
            .query_row(params![signed(txn.follows), txn.key], |row| row.get(0))
            .optional()?;
        Ok(Shortage::spares(txn, replaced.map(unsigned)))
    }

    /// Takes out what makes the store larger, which it has no room for: the places of those.
    fn refuse_growth(&self, batch: &mut Vec<Txn>) -> rusqlite::Result<Vec<bool>> {
        let spared: Vec<bool> = batch
            .iter()
            .map(|txn| self.spares(txn))
            .collect::<Result<_, _>>()?;
        let mut place = spared.iter();
        batch.retain(|_| place.next().is_some_and(|is_spared| *is_spared));
        Ok(spared)
    }

    /// Commits what there is room for.
    fn commit_spared(
        &mut self,
        mut batch: Vec<Txn>,
        shortage: Shortage,
    ) -> Result<Vec<Verdict>, StoreError> {
        let spared = match self.refuse_growth(&mut batch) {
            Ok(spared) => spared,
            Err(error) => return Err(self.explain_write(&error)),
        };
        let refused = || Err(Rejection::Failed(shortage.into()));
        let mut verdicts = self.commit_all(batch)?.into_iter();
        let next = |is_spared: bool| is_spared.then(|| verdicts.next()).flatten();
        let spared = spared.into_iter().map(next);
        Ok(spared
            .map(|verdict| verdict.unwrap_or_else(refused))
            .collect())
    }

    fn commit_all(&mut self, batch: Vec<Txn>) -> Result<Vec<Verdict>, StoreError> {
        let (changes, verdicts) = self.index.judge(batch, self.position.revision);
        let Some(last) = changes.last() else {
            return Ok(verdicts);
        };
        let revision = last.revision;
        if let Err(error) = self.append(&changes) {
            self.index.undo(&changes);
            return Err(self.explain_write(&error));
        }
        for change in &changes {
            self.garbage.note(change);
        }
        self.position.revision = revision;
        self.untold.extend(changes);
        Ok(verdicts)
    }

    /// Rows in the file, garbage included.
    #[cfg(test)]
    pub(super) fn rows(&self) -> u64 {
        self.connection
            .query_row("SELECT count(*) FROM log", [], |row| row.get(0))
            .map(unsigned)
            .unwrap()
    }

    /// Makes the disk look full at `pages` pages.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: i64) {
        self.connection
            .pragma_update(None, "max_page_count", pages)
            .unwrap();
    }

    /// Turns a failed write into an error, and remembers one after which nothing is certain.
    fn explain_write(&mut self, error: &rusqlite::Error) -> StoreError {
        match error.sqlite_error() {
            Some(cause) if is_full(cause) => StoreError::NoSpace,
            _ => {
                let failure = StoreError::Failed {
                    what: error.to_string(),
                };
                self.failed = Some(failure.clone());
                failure
            }
        }
    }
}

impl Store for Embedded {
    fn position(&self) -> Position {
        self.position
    }

    fn replay(&mut self, visit: &mut dyn FnMut(Change)) -> Result<(), StoreError> {
        self.untold.clear();
        let garbage: BTreeSet<u64> = self.garbage.up_to(self.position.floor).collect();
        let columns = columns(LAYOUT);
        self.select(
            &format!("SELECT {columns} FROM log ORDER BY revision"),
            &mut |row| {
                if garbage.contains(&row.change.revision) {
                    return Ok(());
                }
                if !row.is_whole() {
                    return Err(StoreError::Damaged {
                        path: self.path.display().to_string(),
                        key: row.change.key,
                        revision: row.change.revision,
                    });
                }
                visit(row.change);
                Ok(())
            },
        )
    }

    fn commit(&mut self, batch: Vec<Txn>) -> Result<Vec<Verdict>, StoreError> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        self.look_at_room();
        let Some(shortage) = self.shortage else {
            return self.commit_all(batch);
        };
        let before = self.position.revision;
        let verdicts = self.commit_spared(batch, shortage)?;
        // What was deleted makes room also when nothing else is written.
        if self.position.revision == before
            && let Err(error) = self.append(&[])
        {
            tracing::debug!(%error, "old history was left in the store");
        }
        Ok(verdicts)
    }

    fn changes(&mut self) -> Result<Vec<Change>, StoreError> {
        Ok(std::mem::take(&mut self.untold))
    }

    fn compact(&mut self, floor: u64) -> Result<(), StoreError> {
        // The disk follows with the next batches. After a crash in between, the old floor holds, or
        // rows linger below the new one: superseded ones and tombstones, noted again at the next
        // start.
        self.position.floor = self.position.floor.max(floor.min(self.position.revision));
        Ok(())
    }
}

impl Drop for Embedded {
    /// What garbage is left goes now, when nobody waits for it.
    fn drop(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let garbage: Vec<u64> = self.garbage.up_to(self.position.floor).collect();
        let (position, stored_floor) = (self.position, self.stored_floor);
        let collected = self.connection.transaction().and_then(|transaction| {
            collect(&transaction, &garbage, position, stored_floor)?;
            transaction.commit()
        });
        if let Err(error) = collected {
            tracing::debug!(%error, "old history was left in the store; the next start knows it");
        }
    }
}

/// Deletes garbage, and moves the floor.
fn collect(
    transaction: &Transaction<'_>,
    garbage: &[u64],
    position: Position,
    stored_floor: u64,
) -> rusqlite::Result<()> {
    let mut delete = transaction.prepare_cached("DELETE FROM log WHERE revision = ?1")?;
    for revision in garbage {
        delete.execute([signed(*revision)])?;
    }
    if !garbage.is_empty() || stored_floor < position.floor {
        // The revision, too: the row that has it may be among the garbage.
        transaction.execute(
            "UPDATE position SET floor = ?1, revision = ?2",
            [signed(position.floor), signed(position.revision)],
        )?;
    }
    Ok(())
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    connection
        .query_row(sql, [], |row| row.get(0))
        .map(unsigned)
}

/// Where the log in a database stands.
fn position(connection: &Connection) -> rusqlite::Result<Position> {
    connection.query_row(
        "SELECT floor, max(revision, (SELECT ifnull(max(revision), 0) FROM log)) FROM position",
        [],
        |row| {
            Ok(Position {
                floor: unsigned(row.get(0)?),
                revision: unsigned(row.get(1)?),
            })
        },
    )
}

fn unreachable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unreachable {
        path: path.display().to_string(),
        what: error.to_string(),
    }
}

fn make_directory(directory: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| unreachable(directory, &error))
}

/// SQLite gives its side files the mode of the main one.
fn make_file(file: &Path) -> Result<(), StoreError> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(file)
        .map(drop)
        .map_err(|error| unreachable(file, &error))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LOCK_PATIENCE)?;
    Ok(connection)
}

fn make_durable(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")
}

fn create_layout(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {LAYOUT};
         {SCHEMA} COMMIT"
    ))
}

/// The layout of a file of ours; None: it holds nothing yet.
fn identify(connection: &Connection, path: &Path) -> Result<Option<i64>, StoreError> {
    let read = || -> rusqlite::Result<(i64, i64, i64)> {
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get(0));
        Ok((
            number("PRAGMA application_id")?,
            number("PRAGMA user_version")?,
            number("SELECT count(*) FROM sqlite_schema")?,
        ))
    };
    let path_text = || path.display().to_string();
    match read().map_err(|error| explain_open(&error, path))? {
        (0, 0, 0) => Ok(None),
        (APPLICATION_ID, found @ 1..=LAYOUT, _) => Ok(Some(found)),
        (APPLICATION_ID, found, _) if found > LAYOUT => Err(StoreError::Newer {
            path: path_text(),
            found,
            known: LAYOUT,
        }),
        _ => Err(StoreError::Foreign {
            path: path_text(),
            found: "a database of another application".to_owned(),
        }),
    }
}

/// The disk has no room, also not for the index of a journal that outgrew the first piece of it
/// while somebody read. That index is not extended for another reason: its file is there.
fn is_full(cause: &ffi::Error) -> bool {
    cause.code == ErrorCode::DiskFull || cause.extended_code == ffi::SQLITE_IOERR_SHMSIZE
}

fn explain_open(error: &rusqlite::Error, path: &Path) -> StoreError {
    let path = path.display().to_string();
    let what = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse {
            path,
            holder: "another process".to_owned(),
        },
        Some(ErrorCode::NotADatabase) => StoreError::Foreign {
            path,
            found: "not a database at all".to_owned(),
        },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Corrupt { path, what },
        Some(_) if error.sqlite_error().is_some_and(is_full) => StoreError::Unreachable {
            path,
            what: "no space is left on the device".to_owned(),
        },
        Some(_) => StoreError::Unreachable { path, what },
        // A row of an unexpected type or a negative number: not something we wrote.
        None => StoreError::Corrupt { path, what },
    }
}

/// SQLite integers are signed; revisions never come near the limit.
fn signed(revision: u64) -> i64 {
    i64::try_from(revision).expect("invariant: revisions stay below 2^63")
}

fn unsigned(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}
