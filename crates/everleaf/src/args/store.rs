//! `everleaf store`.

use super::OutputFormat;
use super::etcd::EtcdArgs;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Show what a store holds, also while a server runs on it
    Stat(StatArgs),
    /// Read all of a store, or of a snapshot, and name what is damaged; also while a server runs
    Verify(VerifyArgs),
    /// Write all objects, as they are at one instant, to a file; also while a server runs
    Snapshot(SnapshotArgs),
    /// Make a store of a snapshot
    Restore(RestoreArgs),
    /// Forget all history and give free space back to the disk, while no server runs
    Compact(CompactArgs),
    /// Move all objects into an etcd, or back into a data directory, while no server runs
    Migrate(MigrateArgs),
}

/// Which store.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Data directory of `up` or `apiserver` [default: that of `up`]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Flags of `store stat`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf store stat\n  everleaf store stat --data-dir ./data -o json"
)]
pub(crate) struct StatArgs {
    /// Which store.
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
}

/// Flags of `store verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf store verify\n  everleaf store verify everleaf.snapshot    # a snapshot in place of the store\n\nExit code 1: something is damaged, or it cannot be read."
)]
pub(crate) struct VerifyArgs {
    /// A snapshot, `-` for stdin [default: the store]
    #[arg(value_name = "FILE", conflicts_with = "data_dir")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Which store.
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Flags of `store snapshot`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf store snapshot everleaf.snapshot\n  everleaf store snapshot - | gzip | age -r age1… > everleaf.snapshot.gz.age\n\nIt holds Secrets and tokens as the store does (in clear, unless encrypted: docs/encryption.md), is written with mode 0600, and appears whole or not at all. The authority (pki/) is not in\nit: docs/backup.md says what else to keep."
)]
pub(crate) struct SnapshotArgs {
    /// Where to; `-` for stdout. A snapshot that is there is replaced, another file is not
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Leave damaged records out, and name them, instead of failing at the first
    #[arg(long)]
    pub(crate) skip_damaged: bool,
    /// Leave out the object with this key in the store, as /registry/secrets/default/a: one that
    /// cannot be read, as the server's log names it; may be given several times
    #[arg(long, value_name = "KEY")]
    pub(crate) leave_out: Vec<String>,
    /// Which store.
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Flags of `store restore`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf store restore everleaf.snapshot --data-dir ./data    # ./data/store must not be there\n  gunzip < everleaf.snapshot.gz | everleaf store restore - --data-dir ./data\n\nThe data directory may hold the authority and all else, but no store. Clients that go on with what they knew are told to list\nanew (410), and do."
)]
pub(crate) struct RestoreArgs {
    /// The snapshot; `-` for stdin
    #[arg(value_name = "FILE")]
    pub(crate) snapshot: PathBuf,
    /// By how much revisions jump: more than were given out since the snapshot was made, so that
    /// none is given out twice
    #[arg(long, value_name = "N", default_value_t = 1_000_000_000)]
    pub(crate) bump_revision: u64,
    /// Data directory to put it into [default: that of `up`]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Flags of `store compact`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  systemctl stop everleaf; everleaf store compact; systemctl start everleaf\n\nA running server forgets history by itself, and uses the space again; this is for a file that was once much larger."
)]
pub(crate) struct CompactArgs {
    /// Which store.
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Where objects are moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Destination {
    /// From the data directory into the etcd
    Etcd,
    /// From the etcd into the data directory
    DataDir,
}

/// Flags of `store migrate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf store migrate --to etcd --data-dir ./data --etcd-servers http://127.0.0.1:2379\n  everleaf store migrate --to data-dir --data-dir ./data --etcd-servers http://127.0.0.1:2379\n\nNo API server may run on either side. What was interrupted goes on when it is called again. The source stays as it is:\ndocs/etcd.md says what to do with it."
)]
pub(crate) struct MigrateArgs {
    /// Where to
    #[arg(long, value_enum, value_name = "WHERE")]
    pub(crate) to: Destination,
    /// The data directory.
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The etcd.
    #[command(flatten)]
    pub(crate) etcd: EtcdArgs,
}
