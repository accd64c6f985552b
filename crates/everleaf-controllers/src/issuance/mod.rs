//! The issuance log: every certificate that a signer of this process made, before anybody has it.
//!
//! A directory that only grows: entries in the order of issuance, the Merkle tree over them (RFC
//! 6962), and a signed checkpoint of its size and root, laid out as C2SP's `tlog-tiles` has it, so
//! that any web server and any client of that specification can serve and check it. Through the
//! tree each entry depends on all before it: whoever has one checkpoint can tell whether anything
//! that it covers was changed.
//!
//! [`Entry`] says what is told of a certificate. [`Book`] is the writer's side over a [`Disk`] and
//! owns durability, [`Writer`] the thread around it, [`Reader`] everybody else's. A log belongs to
//! one process: leader and follower on two machines have one each.

mod book;
mod disk;
mod entry;
mod merkle;
mod note;
mod read;
#[cfg(test)]
mod tests;
mod writer;

pub use book::{Book, BookError, CHECKPOINT, ENTRIES, Found, KEY, Known, PENDING, PUBLIC_KEY};
pub use disk::{Disk, Folder, Locked};
pub use entry::{ENTRY_BYTES_MAX, Entry};
pub use merkle::{Hash, TILE_WIDTH, Tree, leaf_hash, tile_path};
pub use note::{Checkpoint, NoteError, SigningKey, VerifyingKey, is_origin};
pub use read::{ReadError, Reader, Verified};
pub use writer::{LogConfig, Standing, Writer};

pub(crate) use note::hex;

/// SHA-256 of these bytes.
pub(crate) fn sha256_of(parts: &[&[u8]]) -> Hash {
    merkle::sha256(parts)
}

/// The same of one part.
pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    merkle::sha256(&[bytes])
}
