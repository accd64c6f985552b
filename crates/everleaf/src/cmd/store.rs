//! `everleaf store`: the store in a data directory, looked at, saved, and made of what was saved.

mod migrate;

use crate::args::OutputFormat;
use crate::args::store::{
    CompactArgs, PlaceArgs, RestoreArgs, SnapshotArgs, StatArgs, StoreCommand, VerifyArgs,
};
use crate::failure::UsageError;
use crate::print;
use crate::up::data_dir::{DataDir, LOCK, default_root};
use anyhow::{Context, Result, bail};
use everleaf_apiserver::registry::DESCRIPTORS;
use everleaf_apiserver::store::snapshot::{self, Header, Omission, Summary};
use everleaf_apiserver::store::{Embedded, KEY_PREFIX, Reader, Rows, StoreError};
use everleaf_node::places::STORE;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where a store is made before it takes its place.
const UNFINISHED: &str = ".store.tmp";
/// Damaged records that are named.
const NAMED_MAX: usize = 100;

/// Dispatches.
pub(crate) fn run(command: &StoreCommand) -> Result<ExitCode> {
    match command {
        StoreCommand::Stat(args) => stat(args),
        StoreCommand::Verify(args) => verify(args),
        StoreCommand::Snapshot(args) => take_snapshot(args),
        StoreCommand::Restore(args) => restore(args),
        StoreCommand::Compact(args) => compact(args),
        StoreCommand::Migrate(args) => migrate::run(args),
    }
}

fn root(data_dir: Option<&Path>) -> Result<PathBuf> {
    data_dir.map_or_else(default_root, |root| Ok(root.to_owned()))
}

/// The store of a data directory, which must have one.
fn existing(data_dir: Option<&Path>) -> Result<PathBuf> {
    let directory = root(data_dir)?.join(STORE);
    let file = directory.join(Embedded::FILE_NAME);
    let shown = file.display();
    match fs::metadata(&file) {
        Ok(_) => Ok(directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "there is no store at {shown} (name the directory with --data-dir; with --etcd-servers the objects are in that etcd)"
        ),
        Err(error) => Err(error).with_context(|| format!("cannot look at the store {shown}")),
    }
}

fn open(place: &PlaceArgs) -> Result<Reader> {
    let directory = existing(place.data_dir.as_deref())?;
    Reader::open(&directory)
        .with_context(|| format!("cannot open the store in {}", directory.display()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stat {
    path: String,
    /// Who has it open; null: no server.
    in_use_by: Option<String>,
    layout: i64,
    revision: u64,
    compact_revision: u64,
    objects: u64,
    bytes: u64,
    /// Records, superseded ones and those of deletions included.
    records: u64,
    records_without_checksum: u64,
    file_bytes: u64,
    free_bytes: u64,
    journal_bytes: u64,
    resources: BTreeMap<String, Share>,
}

#[derive(Serialize, Default)]
struct Share {
    objects: u64,
    bytes: u64,
}

fn stat(args: &StatArgs) -> Result<ExitCode> {
    let reader = open(&args.place)?;
    let mut resources: BTreeMap<String, Share> = BTreeMap::new();
    let (mut objects, mut bytes) = (0, 0);
    reader.rows::<StoreError>(Rows::Alive, &mut |row| {
        let size = row.change.value.map_or(0, |value| value.len() as u64);
        let share = resources.entry(resource(&row.change.key)).or_default();
        share.objects += 1;
        share.bytes += size;
        objects += 1;
        bytes += size;
        Ok(())
    })?;
    let (figures, position) = (reader.figures()?, reader.position());
    let stat = Stat {
        path: reader.path().display().to_string(),
        in_use_by: reader.holder(),
        layout: figures.layout,
        revision: position.revision,
        compact_revision: position.floor,
        objects,
        bytes,
        records: figures.rows,
        records_without_checksum: figures.without_checksum,
        file_bytes: figures.file_bytes,
        free_bytes: figures.free_bytes,
        journal_bytes: figures.journal_bytes,
        resources,
    };
    drop(reader);
    match args.output {
        Some(OutputFormat::Json) => print::json(&stat)?,
        Some(OutputFormat::Yaml) => print::yaml(&stat)?,
        Some(OutputFormat::Wide) | None => show(&stat)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(stat: &Stat) -> Result<()> {
    let holder = stat.in_use_by.as_deref().unwrap_or("no server");
    let superseded = stat.records.saturating_sub(stat.objects);
    print::answer(&format!(
        "{} (layout {}), in use by {holder}\n\
         Revision: {}; history since: {}\n\
         Objects: {} ({} bytes); records: {}, of them {superseded} history\n\
         File: {} bytes, of them {} free; journal: {} bytes\n",
        stat.path,
        stat.layout,
        stat.revision,
        stat.compact_revision,
        stat.objects,
        stat.bytes,
        stat.records,
        stat.file_bytes,
        stat.free_bytes,
        stat.journal_bytes,
    ))?;
    let rows: Vec<Vec<String>> = stat
        .resources
        .iter()
        .map(|(name, share)| {
            vec![
                print::harmless_line(name),
                share.objects.to_string(),
                share.bytes.to_string(),
            ]
        })
        .collect();
    print::table(&["resource", "objects", "bytes"], &rows)
}

/// What a key's object is, as the key says it.
fn resource(key: &str) -> String {
    let rest = key.strip_prefix(KEY_PREFIX).unwrap_or(key);
    let known = DESCRIPTORS.iter().find(|descriptor| {
        rest.strip_prefix(descriptor.storage)
            .is_some_and(|rest| rest.starts_with('/'))
    });
    let first = || rest.split('/').next().unwrap_or_default();
    known.map_or_else(first, |one| one.storage).to_owned()
}

fn verify(args: &VerifyArgs) -> Result<ExitCode> {
    let (what, summary, damaged) = match &args.snapshot {
        Some(path) => verify_snapshot(path)?,
        None => verify_store(&args.place)?,
    };
    if damaged.is_empty() {
        print::answer(&format!("{what}: {summary}; nothing is damaged"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{what}: {summary}; damaged:");
    for line in &damaged {
        text.push_str("\n  ");
        text.push_str(&print::harmless_line(line));
    }
    print::answer(&text)?;
    Ok(ExitCode::FAILURE)
}

fn verify_snapshot(path: &Path) -> Result<(String, String, Vec<String>)> {
    let (name, mut input) = input(path)?;
    let summary = snapshot::read(&mut *input, &mut |_| Ok(())).context(name.clone())?;
    Ok((name, words(&summary), summary.damaged))
}

fn verify_store(place: &PlaceArgs) -> Result<(String, String, Vec<String>)> {
    let reader = open(place)?;
    let mut damaged = reader.faults()?;
    let (mut records, mut unchecked) = (0_u64, 0_u64);
    let read = reader.rows::<StoreError>(Rows::All, &mut |row| {
        records += 1;
        unchecked += u64::from(row.checksum.is_none());
        if !row.is_whole() && damaged.len() < NAMED_MAX {
            let (key, revision) = (&row.change.key, row.change.revision);
            damaged.push(format!("the record of {key} at revision {revision}"));
        }
        Ok(())
    });
    if let Err(error) = read {
        damaged.push(format!("after {records} records: {error}"));
    }
    let mut summary = format!(
        "{records} records up to revision {}",
        reader.position().revision
    );
    if unchecked > 0 {
        summary.push_str(&format!(
            ", {unchecked} of them of a version without checksums"
        ));
    }
    Ok((reader.path().display().to_string(), summary, damaged))
}

fn words(summary: &Summary) -> String {
    let (header, trailer) = (&summary.header, &summary.trailer);
    format!(
        "{} objects ({} bytes) at revision {}, of {}, by everleaf {}",
        trailer.objects,
        trailer.bytes,
        header.revision,
        print::harmless_line(&header.time),
        print::harmless_line(&header.everleaf)
    )
}

fn take_snapshot(args: &SnapshotArgs) -> Result<ExitCode> {
    let reader = open(&args.place)?;
    let revision = reader.position().revision;
    let header = Header::new(env!("CARGO_PKG_VERSION"), now(), revision);
    let write = |reader: &Reader, out: &mut dyn Write| {
        let omission = Omission {
            damaged: args.skip_damaged,
            keys: &args.leave_out,
        };
        snapshot::write(reader, header.clone(), omission, out)
    };
    let summary = if args.file == Path::new("-") {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return Err(UsageError(
                "a snapshot holds secrets and is not for a terminal: name a file, or pipe it on"
                    .to_owned(),
            )
            .into());
        }
        let mut kept = nameless()?;
        let mut out = BufWriter::new(&mut kept);
        let summary = write(&reader, &mut out)?;
        drop(out);
        // Whoever reads stdout may stand still; the journal grows for as long as the store is read.
        drop(reader);
        pass_on(&mut kept, &mut stdout.lock())?;
        summary
    } else {
        replace(&args.file, &mut |out| write(&reader, out))
            .with_context(|| format!("nothing was written to {}", args.file.display()))?
    };
    for record in &summary.damaged {
        let record = print::harmless_line(record);
        eprintln!("everleaf: warning: left out, damaged: {record}");
    }
    let (text, sum) = (words(&summary), &summary.trailer.sha256);
    eprintln!("{}: {text}; SHA-256 {sum}", args.file.display());
    Ok(ExitCode::SUCCESS)
}

/// A file below `TMPDIR` that nobody else can open, and that is gone with this process.
fn nameless() -> Result<File> {
    let directory = std::env::temp_dir();
    let path = directory.join(format!(".everleaf-snapshot.{}", std::process::id()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(file)
}

/// Writes all of `kept` to `out`.
fn pass_on(kept: &mut File, out: &mut dyn Write) -> Result<()> {
    kept.rewind()?;
    io::copy(kept, out)
        .and_then(|_| out.flush())
        .context("cannot write the snapshot to stdout")
}

/// Writes a file that appears whole, or not at all; only its owner may read it.
fn replace(
    path: &Path,
    write: &mut dyn FnMut(&mut dyn Write) -> Result<Summary, snapshot::Failure>,
) -> Result<Summary> {
    if let Ok(meta) = fs::symlink_metadata(path) {
        if !meta.is_file() {
            bail!("there is something else than a file; `-` writes to stdout");
        }
        // The store itself, say, or a key.
        if meta.len() > 0 && !is_snapshot(path)? {
            bail!(
                "another file is there, which is no snapshot: move it away, or choose another name"
            );
        }
    }
    let name = path.file_name().context("it is not the name of a file")?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{}.tmp", std::process::id()));
    let unfinished = directory.join(unfinished);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .with_context(|| format!("cannot make {}", unfinished.display()))?;
    let written = (|| {
        let mut out = BufWriter::new(&mut file);
        let summary = write(&mut out)?;
        out.flush()?;
        drop(out);
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(directory)?.sync_all()?;
        anyhow::Ok(summary)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

fn is_snapshot(path: &Path) -> Result<bool> {
    let read = File::open(path).and_then(|file| snapshot::begins(&mut BufReader::new(file)));
    read.with_context(|| format!("cannot read {}, which is there", path.display()))
}

fn input(path: &Path) -> Result<(String, Box<dyn BufRead>)> {
    if path == Path::new("-") {
        return Ok(("stdin".to_owned(), Box::new(BufReader::new(io::stdin()))));
    }
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    Ok((name, Box::new(BufReader::new(file))))
}

fn restore(args: &RestoreArgs) -> Result<ExitCode> {
    let (name, mut input) = input(&args.snapshot)?;
    let root = root(args.data_dir.as_deref())?;
    let summary = make(&root, &mut |unfinished| {
        Embedded::restore(unfinished, &mut *input, args.bump_revision)
            .with_context(|| format!("cannot restore {name}"))
    })?;
    let revision = summary.header.revision + args.bump_revision;
    print::answer(&format!(
        "{}: {}; revisions go on after {revision}",
        root.join(STORE).display(),
        words(&summary)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the store of a data directory that has none: it appears whole, or not at all, and the
/// directory neither unless it was there. `fill` is given the path to fill.
fn make<T>(root: &Path, fill: &mut dyn FnMut(&Path) -> Result<T>) -> Result<T> {
    let new = Made::look(root);
    let dir = DataDir::open(root)?;
    let made = make_in(&dir, fill);
    if made.is_err() {
        // While the lock is held: nobody else has begun there.
        new.remove(&dir);
    }
    made
}

fn make_in<T>(dir: &DataDir, fill: &mut dyn FnMut(&Path) -> Result<T>) -> Result<T> {
    let (unfinished, place) = (dir.path(UNFINISHED), dir.path(STORE));
    let is_taken = fs::read_dir(&place).is_ok_and(|mut entries| entries.next().is_some());
    if is_taken {
        bail!(
            "{} holds a store already: move it away, or choose another --data-dir",
            place.display()
        );
    }
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", unfinished.display()));
        }
        _ => {}
    }
    let made = fill(&unfinished).and_then(|made| {
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, &place)?;
        File::open(dir.root())?.sync_all()?;
        Ok(made)
    });
    if made.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    made
}

/// What opening a data directory makes, to be taken away again when nothing comes of it.
struct Made {
    /// Directories that were missing, the lowest first.
    directories: Vec<PathBuf>,
    has_lock: bool,
}

impl Made {
    fn look(root: &Path) -> Self {
        let parts = root.ancestors().filter(|part| !part.as_os_str().is_empty());
        Self {
            directories: parts
                .take_while(|part| !part.exists())
                .map(Path::to_owned)
                .collect(),
            has_lock: root.join(LOCK).exists(),
        }
    }

    /// Leaves what cannot be removed: the error that brought us here is the one to tell.
    fn remove(&self, dir: &DataDir) {
        if !self.has_lock {
            let _ = fs::remove_file(dir.path(LOCK));
        }
        for directory in &self.directories {
            let _ = fs::remove_dir(directory);
        }
    }
}

fn compact(args: &CompactArgs) -> Result<ExitCode> {
    let place = existing(args.place.data_dir.as_deref())?;
    // What is no store, an empty file, say, is told and not made one.
    drop(open(&args.place)?);
    let _dir = DataDir::open(&root(args.place.data_dir.as_deref())?)?;
    let size = || fs::metadata(place.join(Embedded::FILE_NAME)).map(|meta| meta.len());
    let before = size()?;
    Embedded::open(&place)
        .and_then(Embedded::shrink)
        .with_context(|| format!("cannot compact the store in {}", place.display()))?;
    let after = size()?;
    print::answer(&format!(
        "{}: {before} bytes before, {after} now",
        place.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::disallowed_methods, reason = "a command reads the clock once")]
fn now() -> Timestamp {
    Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::MIN)
}
