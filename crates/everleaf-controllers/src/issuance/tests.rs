//! The log on a disk that stops at any operation, and under the hands of a forger.

mod gone;

use super::disk::Disk;
use super::*;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;

/// What survives of what was not synced.
#[derive(Clone, Copy, Debug)]
enum Crash {
    /// All of it, and half of the write that was under way.
    Kept,
    /// Nothing.
    Lost,
}

#[derive(Clone, Debug, Default)]
struct Content {
    durable: Vec<u8>,
    visible: Vec<u8>,
}

/// A disk in memory whose power fails after some operations. A sync of a file covers its bytes; a
/// sync of a directory the names in it.
#[derive(Clone, Debug, Default)]
struct Memory {
    files: Vec<Content>,
    durable_names: BTreeMap<String, usize>,
    names: BTreeMap<String, usize>,
    /// Operations until it fails.
    left: Option<usize>,
    done: usize,
}

impl Memory {
    /// Counts an operation; `Err` when the power is gone. The last one is half done.
    fn operate(&mut self) -> io::Result<bool> {
        self.done += 1;
        match &mut self.left {
            None => Ok(true),
            Some(0) => Err(io::Error::other("no power")),
            Some(left) => {
                *left -= 1;
                Ok(*left > 0)
            }
        }
    }

    fn put(&mut self, path: &str, begin: Vec<u8>, bytes: &[u8]) -> io::Result<()> {
        let is_whole = self.operate()?;
        let file = match self.names.get(path) {
            Some(file) => *file,
            None => {
                self.files.push(Content::default());
                self.names.insert(path.to_owned(), self.files.len() - 1);
                self.files.len() - 1
            }
        };
        let length = if is_whole {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        let content = &mut self.files[file];
        content.visible = [&begin, &bytes[..length]].concat();
        if !is_whole {
            return Err(io::Error::other("no power"));
        }
        content.durable = content.visible.clone();
        Ok(())
    }

    /// The same disk after the power is back.
    fn after(&self, crash: Crash) -> Self {
        let mut after = self.clone();
        after.left = None;
        match crash {
            Crash::Lost => {
                after.names = after.durable_names.clone();
                for file in &mut after.files {
                    file.visible = file.durable.clone();
                }
            }
            Crash::Kept => {
                after.durable_names = after.names.clone();
                for file in &mut after.files {
                    file.durable = file.visible.clone();
                }
            }
        }
        after
    }

    /// Writes all files into a real directory.
    fn unpack(&self, root: &Path) {
        for (path, file) in &self.names {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &self.files[*file].visible).unwrap();
        }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Disk for Memory {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = self.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(self.files[*file].visible.clone())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let first = |name: &String| name.split('/').next().map(str::to_owned);
        Ok(self.names.keys().filter_map(first).collect())
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        // As a file system does it: a new file under the name, of which nothing is durable yet.
        self.files.push(Content::default());
        self.names.insert(path.to_owned(), self.files.len() - 1);
        self.put(path, Vec::new(), bytes)
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let begin = self.read(path)?;
        self.put(path, begin, bytes)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.operate()?;
        let file = self.names.remove(from).ok_or(ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn make_directory(&mut self, _: &str) -> io::Result<()> {
        self.operate().map(drop)
    }

    fn sync_directory(&mut self, path: &str) -> io::Result<()> {
        self.operate()?;
        self.durable_names.retain(|name, _| parent(name) != path);
        let names = self.names.iter().filter(|(name, _)| parent(name) == path);
        self.durable_names
            .extend(names.map(|(name, file)| (name.clone(), *file)));
        Ok(())
    }

    fn remove_directory(&mut self, path: &str) -> io::Result<()> {
        self.operate()?;
        self.names.retain(|name, _| parent(name) != path);
        Ok(())
    }
}

fn entry(number: usize) -> Vec<u8> {
    let serial = format!("{number:04X}");
    Entry {
        serial,
        ..Entry::default()
    }
    .to_bytes()
}

/// Batches of these sizes, a checkpoint after some of them: across the end of a tile, and a start
/// in between.
const BATCHES: [(usize, bool); 6] = [
    (1, true),
    (3, false),
    (240, true),
    (20, false),
    (6, true),
    (2, false),
];

/// Writes until the power fails. Returns how many entries are owed, how many were tried, and all
/// checkpoints that anybody may have seen.
fn play(disk: &mut Memory) -> (usize, usize, Vec<Vec<u8>>) {
    let (mut owed, mut tried, mut checkpoints) = (0, 0, Vec::new());
    let Ok((mut book, _)) = Book::open(&mut *disk, "ca.example/log") else {
        return (owed, tried, checkpoints);
    };
    for (size, seals) in BATCHES {
        let batch: Vec<_> = (tried..tried + size).map(entry).collect();
        tried += size;
        if book.append(batch).is_err() {
            break;
        }
        owed = tried;
        if seals && book.seal().is_err() {
            break;
        }
        checkpoints.extend(book.disk().read(CHECKPOINT));
    }
    (owed, tried, checkpoints)
}

impl Disk for &mut Memory {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        (**self).read(path)
    }
    fn names(&self) -> io::Result<Vec<String>> {
        (**self).names()
    }
    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        (**self).write(path, bytes)
    }
    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        (**self).append(path, bytes)
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        (**self).rename(from, to)
    }
    fn make_directory(&mut self, path: &str) -> io::Result<()> {
        (**self).make_directory(path)
    }
    fn sync_directory(&mut self, path: &str) -> io::Result<()> {
        (**self).sync_directory(path)
    }
    fn remove_directory(&mut self, path: &str) -> io::Result<()> {
        (**self).remove_directory(path)
    }
}

/// Whatever operation is the last one: all that was promised is there, in order, nothing that was
/// never logged, and every checkpoint that was ever seen still holds.
#[test]
fn no_promised_entry_is_lost_wherever_the_power_fails() {
    let mut whole = Memory::default();
    let (owed, _, _) = play(&mut whole);
    assert_eq!(owed, 272);
    let operations = whole.done;
    assert!(operations > 60, "{operations}");
    for crash in [Crash::Kept, Crash::Lost] {
        for last in 0..=operations {
            let mut disk = Memory {
                left: Some(last),
                ..Memory::default()
            };
            let (owed, tried, checkpoints) = play(&mut disk);
            let mut disk = disk.after(crash);
            let case = format!("{crash:?} after {last} of {operations}");
            let (mut book, found) = Book::open(&mut disk, "ca.example/log")
                .unwrap_or_else(|error| panic!("{case}: {error}"));
            let entries = usize::try_from(found.entries).unwrap();
            assert!(
                (owed..=tried).contains(&entries),
                "{case}: {entries}, owed {owed}"
            );
            book.append(vec![entry(entries)]).unwrap();
            book.seal().unwrap();
            drop(book);

            let directory = tempfile::tempdir().unwrap();
            disk.unpack(directory.path());
            let reader = Reader::open(directory.path()).unwrap();
            let mut next = 0;
            let each = |number, bytes: &[u8]| {
                assert_eq!(number, next as u64, "{case}");
                assert_eq!(bytes, entry(next), "{case}");
                next += 1;
            };
            reader.each(each).unwrap();
            assert_eq!(next, entries + 1, "{case}");
            for older in checkpoints.iter().map(Some).chain([None]) {
                let older = older.map(|note| Checkpoint::open(note, reader.key()).unwrap());
                if let Err(error) = reader.verify(older) {
                    panic!("{case}: {error}");
                }
            }
        }
    }
}

/// What was torn is kept beside the log, and told.
#[test]
fn a_torn_batch_is_put_aside() {
    let mut disk = Memory::default();
    play(&mut disk);
    let path = PENDING.to_owned();
    let mut pending = disk.read(&path).unwrap();
    pending.extend_from_slice(b"0123 torn");
    disk.write(&path, &pending).unwrap();
    let (book, found) = Book::open(&mut disk, "other.example").unwrap();
    assert_eq!(found.torn.as_deref(), Some("torn-272"));
    assert_eq!(book.disk().read("torn-272").unwrap(), b"0123 torn");
    assert_eq!(found.entries, 272);
}

/// A log of 300 entries with a checkpoint each 100, in a directory.
fn written(directory: &Path) -> Vec<Vec<u8>> {
    let disk = Folder::lock(directory).unwrap();
    let (mut book, _) = Book::open(disk, "ca.example/log").unwrap();
    let mut checkpoints = Vec::new();
    for hundred in 0..3 {
        let batch = (hundred * 100..hundred * 100 + 100).map(entry);
        book.append(batch.collect()).unwrap();
        book.seal().unwrap();
        checkpoints.push(book.disk().read(CHECKPOINT).unwrap());
    }
    checkpoints
}

#[test]
fn a_forger_is_found_out_and_the_entry_named() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let checkpoints = written(root);
    let check = |against: Option<usize>| {
        let reader = Reader::open(root).map_err(|error| error.to_string())?;
        let open = |index: usize| Checkpoint::open(&checkpoints[index], reader.key()).unwrap();
        let verified = reader.verify(against.map(open));
        verified.map(drop).map_err(|error| error.to_string())
    };
    let fails = |against, expected: &str| {
        let error = check(against).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    for against in [None, Some(0), Some(1), Some(2)] {
        assert_eq!(check(against), Ok(()));
    }
    // Another serial in entry 7, of the same length.
    let full = "tile/entries/000";
    let forge = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(&entry(7)).into_owned();
        let at = bytes
            .windows(text.len())
            .position(|window| window == text.as_bytes());
        let other = text.replace("0007", "0BAD");
        let at = at.unwrap();
        bytes[at..at + text.len()].copy_from_slice(other.as_bytes());
    };
    let undo = change(&root.join(full), forge);
    fails(None, "entry 7 is not what was logged");
    // The leaf hash with it: then the tile above disagrees.
    let forged = String::from_utf8_lossy(&entry(7)).replace("0007", "0BAD");
    let hash = leaf_hash(forged.as_bytes());
    let undo_hash = change(&root.join("tile/0/000"), |bytes| {
        bytes[7 * 32..8 * 32].copy_from_slice(&hash)
    });
    fails(
        None,
        "tile/1/000.p/1 does not have the hashes of the entries below it",
    );
    let root_of_tile = {
        let mut tree = Tree::default();
        for number in 0..256 {
            let bytes = if number == 7 {
                forged.clone().into_bytes()
            } else {
                entry(number)
            };
            tree.push(leaf_hash(&bytes), |_, _, _| {});
        }
        tree.root()
    };
    let undo_tile = change(&root.join("tile/1/000.p/1"), |bytes| {
        *bytes = root_of_tile.to_vec()
    });
    fails(None, "they were changed together");
    undo();
    undo_hash();
    undo_tile();
    assert_eq!(check(Some(1)), Ok(()));
}

/// A file under other hands; what is returned puts it back.
fn change(path: &Path, change: impl Fn(&mut Vec<u8>)) -> Box<dyn FnOnce()> {
    let path = path.to_owned();
    let before = std::fs::read(&path).unwrap();
    let mut bytes = before.clone();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    Box::new(move || std::fs::write(&path, &before).unwrap())
}

/// What was durable is never taken for the end of a crash: neither reader nor writer passes over
/// it, and nothing is changed.
#[test]
fn damage_in_pending_is_no_torn_end() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    written(root);
    let open = || Book::open(Folder::lock(root).unwrap(), "ca.example/log");
    let (mut book, _) = open().unwrap();
    book.append((300..304).map(entry).collect()).unwrap();
    drop(book);
    let pending = root.join(PENDING);
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        lines.map(<[u8]>::to_vec).collect()
    };
    // Each line but the header, the last one as well.
    for line in 1..5 {
        let undo = change(&pending, |bytes| {
            let mut all = lines(bytes);
            all[line][80] ^= 1;
            *bytes = all.concat();
        });
        let damaged = std::fs::read(&pending).unwrap();
        let named = format!(
            "pending, line {} (entry {}) is damaged",
            line + 1,
            299 + line
        );
        let error = open().unwrap_err().to_string();
        assert!(error.starts_with(&named), "{error}");
        assert!(error.contains("put an undamaged copy"), "{error}");
        assert_eq!(std::fs::read(&pending).unwrap(), damaged);
        assert!(!root.join("torn-304").exists());

        let reader = Reader::open(root).unwrap();
        let mut read = 0;
        let error = reader.each(|_, _| read += 1).unwrap_err().to_string();
        assert!(error.starts_with(&named), "{error}");
        assert_eq!(read, 299 + line);
        let error = reader.verify(None).unwrap_err().to_string();
        assert!(error.starts_with(&named), "{error}");
        undo();
    }
    // Something behind the last line.
    for garbage in ["garbage\n", "garbage", "\0\0\0", "\n", "0123 "] {
        let undo = change(&pending, |bytes| bytes.extend(garbage.bytes()));
        let verified = Reader::open(root).unwrap().verify(None);
        let error = verified.unwrap_err().to_string();
        assert!(
            error.starts_with("pending, line 6 (entry 304)"),
            "{garbage:?}: {error}"
        );
        undo();
    }
    // A line that is being written, however far it is.
    let whole = [hex(&leaf_hash(&entry(304))).as_bytes(), b" ", &entry(304)].concat();
    for end in 0..=whole.len() {
        let undo = change(&pending, |bytes| bytes.extend(&whole[..end]));
        let verified = Reader::open(root).unwrap().verify(None).unwrap();
        let is_whole = end == whole.len();
        assert_eq!(verified.unsealed, 4 + u64::from(is_whole), "{end}");
        assert_eq!(verified.is_unfinished, end > 0 && !is_whole, "{end}");
        undo();
    }
    assert_eq!(open().unwrap().1.entries, 304);
}

#[test]
fn a_file_of_the_tree_is_as_long_as_its_name_says() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    written(root);
    for path in [
        "tile/entries/000",
        "tile/entries/001.p/44",
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
    ] {
        for more in [1, 32] {
            let undo = change(&root.join(path), |bytes| bytes.extend(vec![0; more]));
            let verified = Reader::open(root).unwrap().verify(None);
            let error = verified.unwrap_err().to_string();
            assert!(error.starts_with(path), "{path}: {error}");
            undo();
        }
    }
    assert!(Reader::open(root).unwrap().verify(None).is_ok());
}

/// With the key itself, an older checkpoint is all that is left to find it.
#[test]
fn a_forger_who_has_the_key_is_found_out_by_an_older_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let checkpoints = written(root);
    let forger = tempfile::tempdir().unwrap();
    for name in [KEY, PUBLIC_KEY] {
        std::fs::copy(root.join(name), forger.path().join(name)).unwrap();
    }
    let disk = Folder::lock(forger.path()).unwrap();
    let (mut book, _) = Book::open(disk, "ca.example/log").unwrap();
    book.append((0..150).map(|number| entry(number * 2)).collect())
        .unwrap();
    book.seal().unwrap();
    let reader = Reader::open(forger.path()).unwrap();
    let older = |index: usize| Checkpoint::open(&checkpoints[index], reader.key()).unwrap();
    assert!(reader.verify(None).is_ok());
    let rewritten = reader.verify(Some(older(0))).unwrap_err().to_string();
    assert!(
        rewritten.contains("its first 100 entries are not"),
        "{rewritten}"
    );
    let cut = reader.verify(Some(older(1))).unwrap_err().to_string();
    assert!(
        cut.contains("has 150 entries, and that checkpoint covers 200"),
        "{cut}"
    );
}

#[test]
fn what_is_missing_is_never_begun_anew() {
    for name in [CHECKPOINT, PENDING, KEY, PUBLIC_KEY, "tile/0/001.p/44"] {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path());
        std::fs::remove_file(directory.path().join(name)).unwrap();
        let disk = Folder::lock(directory.path()).unwrap();
        let error = Book::open(disk, "ca.example/log").unwrap_err().to_string();
        assert!(error.contains(name), "{name}: {error}");
    }
    let directory = tempfile::tempdir().unwrap();
    written(directory.path());
    let old = std::fs::read(directory.path().join(CHECKPOINT)).unwrap();
    let disk = Folder::lock(directory.path()).unwrap();
    let (mut book, _) = Book::open(disk, "").unwrap();
    book.append(vec![entry(300)]).unwrap();
    book.seal().unwrap();
    drop(book);
    std::fs::write(directory.path().join(CHECKPOINT), old).unwrap();
    let disk = Folder::lock(directory.path()).unwrap();
    let error = Book::open(disk, "").unwrap_err().to_string();
    assert!(
        error.contains("checkpoint is older than pending"),
        "{error}"
    );
}

#[tokio::test]
async fn many_share_a_sync_and_a_second_writer_waits_outside() {
    let directory = tempfile::tempdir().unwrap();
    let config = LogConfig {
        directory: directory.path().join("log"),
        origin: "ca.example/log".to_owned(),
    };
    let (told, standings) = std::sync::mpsc::channel();
    let tell = move |standing| told.send(standing).unwrap();
    let writer = Writer::start(config.clone(), tell).unwrap();
    assert_eq!(standings.recv().unwrap(), Standing::Open(Found::default()));

    let (told, second_standings) = std::sync::mpsc::channel();
    let second = Writer::start(config.clone(), move |one| told.send(one).unwrap()).unwrap();
    let Standing::Unavailable(error) = second_standings.recv().unwrap() else {
        panic!("two writers");
    };
    assert!(error.contains("another process writes this log"), "{error}");
    assert_eq!(second.append(entry(0)).await, Err(error));

    let writer = std::sync::Arc::new(writer);
    let mut all = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let writer = std::sync::Arc::clone(&writer);
        all.spawn(async move { writer.append(entry(number)).await });
    }
    while let Some(one) = all.join_next().await {
        assert_eq!(one.unwrap(), Ok(()));
    }
    drop(writer);
    let reader = Reader::open(&config.directory).unwrap();
    assert_eq!(reader.verify(None).unwrap().unsealed, 0);
    assert_eq!(reader.checkpoint().size, 1_000);
    assert_eq!(second.append(entry(1_000)).await, Ok(()));
}
