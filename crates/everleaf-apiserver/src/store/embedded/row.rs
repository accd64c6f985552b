//! A row of the log, and its checksum.

use super::{Change, signed, unsigned};
use bytes::Bytes;
use rusqlite::{CachedStatement, params};

/// The columns, in the order in which [`Row::read`] takes them; of a log of the first layout.
const COLUMNS_1: &str = "revision, key, value, created, replaces, NULL";
/// The same of the present one.
const COLUMNS_2: &str = "revision, key, value, created, replaces, checksum";

/// What is read in place of a row of a log of `layout`.
pub(super) fn columns(layout: i64) -> &'static str {
    if layout < 2 { COLUMNS_1 } else { COLUMNS_2 }
}

/// A change as it is on disk.
#[derive(Debug, Clone)]
pub struct Row {
    /// The change.
    pub change: Change,
    /// What was written as its checksum; None: by a version that wrote none.
    pub checksum: Option<u32>,
}

impl Row {
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            change: Change {
                revision: unsigned(row.get(0)?),
                key: row.get(1)?,
                value: row.get::<_, Option<Vec<u8>>>(2)?.map(Bytes::from),
                created: unsigned(row.get(3)?),
                replaces: unsigned(row.get(4)?),
            },
            checksum: row.get(5)?,
        })
    }

    /// False: it is not what was written.
    pub fn is_whole(&self) -> bool {
        self.checksum
            .is_none_or(|checksum| checksum == checksum_of(&self.change))
    }
}

/// CRC-32 over all that a change is: it tells damage, not forgery.
pub(in crate::store) fn checksum_of(change: &Change) -> u32 {
    let mut crc = flate2::Crc::new();
    for number in [change.revision, change.created, change.replaces] {
        crc.update(&number.to_le_bytes());
    }
    crc.update(&(change.key.len() as u64).to_le_bytes());
    crc.update(change.key.as_bytes());
    crc.update(&[u8::from(change.value.is_some())]);
    crc.update(change.value.as_deref().unwrap_or_default());
    crc.sum()
}

/// Writes a change at the end of the log.
pub(super) fn insert(statement: &mut CachedStatement<'_>, change: &Change) -> rusqlite::Result<()> {
    statement.execute(params![
        signed(change.revision),
        change.key,
        change.value.as_deref(),
        signed(change.created),
        signed(change.replaces),
        checksum_of(change),
    ])?;
    Ok(())
}
