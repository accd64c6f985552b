//! Reading a store beside the process that writes to it.
//!
//! All that one [`Reader`] tells is of one instant: SQLite keeps it in place in the journal, which
//! grows by what is written meanwhile, and holds up no writer.

use super::row::{Row, columns};
use super::{FILE_NAME, LOCK_PATIENCE, Position, StoreError, explain_open, identify, lock};
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};

/// Faults of the file's structure that are told.
const FAULTS_MAX: usize = 100;

/// Which rows of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// The last change of each key that is there.
    Alive,
    /// Superseded ones and tombstones, too.
    All,
}

/// What the file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Layout number.
    pub layout: i64,
    /// Rows, superseded ones and tombstones included.
    pub rows: u64,
    /// Rows of a version that wrote no checksums.
    pub without_checksum: u64,
    /// Bytes of the database, and of its journal.
    pub file_bytes: u64,
    /// Bytes of the database that hold nothing, and are used for what is written next.
    pub free_bytes: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
}

/// A store at one instant, to be read.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
    directory: PathBuf,
    layout: i64,
    position: Position,
}

impl Reader {
    /// Opens the store in `directory`, which a server may have open, too. Nothing is written.
    ///
    /// # Errors
    /// There is none, it is not ours, written by a newer version, damaged, unreachable.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        let explain = |error: rusqlite::Error| explain_open(&error, &path);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(explain)?;
        connection.busy_timeout(LOCK_PATIENCE).map_err(explain)?;
        connection
            .execute_batch("PRAGMA temp_store = MEMORY; BEGIN")
            .map_err(explain)?;
        let Some(layout) = identify(&connection, &path)? else {
            return Err(StoreError::Foreign {
                path: path.display().to_string(),
                found: "an empty file".to_owned(),
            });
        };
        let position = super::position(&connection).map_err(explain)?;
        Ok(Self {
            connection,
            path,
            directory: directory.to_owned(),
            layout,
            position,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Who has it open; None: no server.
    pub fn holder(&self) -> Option<String> {
        lock::holder(&self.directory)
    }

    /// Visits rows in revision order, damaged ones, too, until `visit` fails.
    ///
    /// # Errors
    /// The file cannot be read, or what `visit` says.
    pub fn rows<E: From<StoreError>>(
        &self,
        which: Rows,
        visit: &mut dyn FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let of_which = match which {
            Rows::All => "",
            Rows::Alive => {
                "WHERE revision IN (SELECT max(revision) FROM log GROUP BY key) AND value IS NOT NULL"
            }
        };
        let columns = columns(self.layout);
        let sql = format!("SELECT {columns} FROM log {of_which} ORDER BY revision");
        let explain = |error: rusqlite::Error| E::from(explain_open(&error, &self.path));
        let mut statement = self.connection.prepare(&sql).map_err(explain)?;
        let mut rows = statement.query([]).map_err(explain)?;
        while let Some(row) = rows.next().map_err(explain)? {
            visit(Row::read(row).map_err(explain)?)?;
        }
        Ok(())
    }

    /// What is wrong with the file's structure; empty: nothing.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub fn faults(&self) -> Result<Vec<String>, StoreError> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let sql = format!("PRAGMA integrity_check({FAULTS_MAX})");
            let mut statement = self.connection.prepare(&sql)?;
            let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
            lines.collect()
        };
        let mut faults = read().map_err(|error| explain_open(&error, &self.path))?;
        faults.retain(|line| line != "ok");
        Ok(faults)
    }

    /// What the file is made of.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn figures(&self) -> Result<Figures, StoreError> {
        let number = |sql: &str| -> Result<u64, StoreError> {
            self.connection
                .query_row(sql, [], |row| row.get(0))
                .map(super::unsigned)
                .map_err(|error| explain_open(&error, &self.path))
        };
        let without_checksum = if self.layout < 2 {
            "SELECT count(*) FROM log"
        } else {
            "SELECT count(*) FROM log WHERE checksum IS NULL"
        };
        let page_bytes = number("PRAGMA page_size")?;
        let journal = self.directory.join(format!("{FILE_NAME}-wal"));
        Ok(Figures {
            layout: self.layout,
            rows: number("SELECT count(*) FROM log")?,
            without_checksum: number(without_checksum)?,
            file_bytes: number("PRAGMA page_count")?.saturating_mul(page_bytes),
            free_bytes: number("PRAGMA freelist_count")?.saturating_mul(page_bytes),
            journal_bytes: std::fs::metadata(journal).map_or(0, |meta| meta.len()),
        })
    }
}
