//! The file of a log, and the old ones beside it, named and kept as kube-apiserver does
//! (lumberjack): `audit.log`, and of old `audit-2030-01-02T03-04-05.678.log`.

use super::log::Destination;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rustix::fs::OFlags;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

/// Of whoever writes the log, and of nobody else: it tells what is in Secrets if the policy says
/// so.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// The time in the name of an old file.
const NAME_TIME: &str = "%Y-%m-%dT%H-%M-%S.%3f";
const SUFFIX_GZIP: &str = ".gz";

/// When a file is full, and what becomes of old ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Longest file, in bytes; 0: it is never full.
    pub bytes_max: u64,
    /// Old files that are kept; 0: all.
    pub files_max: usize,
    /// Days for which they are kept; 0: for ever.
    pub days_max: u64,
    /// They are compressed.
    pub compress: bool,
}

/// What lines are written to.
pub(super) struct Sink {
    destination: Destination,
    rotation: Rotation,
    output: Option<Output>,
    /// Which file it is, by device and inode; None for what is no file.
    identity: Option<(u64, u64)>,
    /// Bytes in the file.
    length: u64,
    /// The last write broke off in a line.
    is_torn: bool,
    keeper: Option<JoinHandle<()>>,
}

type Output = Box<dyn Write + Send>;

impl Sink {
    /// Opens the file, so that a path which cannot be used is told at the start.
    pub(super) fn open(destination: &Destination, rotation: Rotation) -> io::Result<Self> {
        let mut sink = Self {
            destination: destination.clone(),
            rotation,
            output: None,
            identity: None,
            length: 0,
            is_torn: false,
            keeper: None,
        };
        sink.reopen()?;
        Ok(sink)
    }

    #[cfg(test)]
    pub(super) fn of(output: impl Write + Send + 'static) -> Self {
        Self {
            destination: Destination::Stdout,
            rotation: Rotation::default(),
            output: Some(Box::new(output)),
            identity: None,
            length: 0,
            is_torn: false,
            keeper: None,
        }
    }

    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    fn reopen(&mut self) -> io::Result<()> {
        let Destination::File(path) = &self.destination else {
            self.output = Some(Box::new(io::stdout()));
            return Ok(());
        };
        if let Some(directory) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(DIR_MODE).create(directory)?;
        }
        let file = open_regular(path)?;
        let metadata = file.metadata()?;
        self.length = metadata.len();
        self.identity = Some((metadata.dev(), metadata.ino()));
        // Whoever wrote it before may have been stopped in a line.
        let mut last = [b'\n'];
        if self.length > 0 {
            // A file that can only be written is good, too.
            let _ = file.read_exact_at(&mut last, self.length - 1);
        }
        self.is_torn = last != [b'\n'];
        self.output = Some(Box::new(file));
        Ok(())
    }

    /// Closes a file that is not at its path any more: what is written into it would be lost.
    fn leave_removed(&mut self) {
        let (Destination::File(path), Some(identity), Some(_)) =
            (&self.destination, self.identity, &self.output)
        else {
            return;
        };
        let found = fs::metadata(path).map(|found| (found.dev(), found.ino()));
        let what = match found {
            Ok(found) if found == identity => return,
            Ok(_) => "was replaced: the new file is written from now on",
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                "was removed or renamed: it is begun anew"
            }
            // Who cannot look cannot tell.
            Err(_) => return,
        };
        tracing::warn!("the audit log {} {what}", path.display());
        self.output = None;
    }

    /// Writes lines, in a new file when the old one is full. How many of them are lost, and why:
    /// the last ones.
    pub(super) fn write(&mut self, lines: &[&str], now: Timestamp) -> Option<(usize, io::Error)> {
        let mut done = 0;
        if !lines.is_empty() {
            self.leave_removed();
        }
        while done < lines.len() {
            let room = self.rotation.bytes_max;
            let is_full = |length: u64| room > 0 && length > room;
            if self.length > 0
                && is_full(self.length + lines[done].len() as u64)
                && let Err(error) = self.rotate(now)
            {
                return Some((lines.len() - done, error));
            }
            let mut batch = String::new();
            let from = done;
            while done < lines.len()
                && (done == from
                    || !is_full(self.length + (batch.len() + lines[done].len()) as u64))
            {
                batch.push_str(lines[done]);
                done += 1;
            }
            if let Err(error) = self.append(batch.as_bytes()) {
                return Some((lines.len() - from, error));
            }
        }
        None
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        if self.output.is_none() {
            self.reopen()?;
        }
        if self.is_torn {
            self.put(b"\n")?;
            self.is_torn = false;
        }
        self.put(text)?;
        self.output.as_mut().map_or(Ok(()), Write::flush)
    }

    /// All of it, or the output is closed.
    fn put(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            let output = self.output.as_mut();
            let output = output.ok_or_else(|| io::Error::other("it is closed"))?;
            match output.write(text) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.length += taken as u64;
                    self.is_torn = text[taken - 1] != b'\n';
                    text = &text[taken..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.output = None;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let Destination::File(path) = self.destination.clone() else {
            return Ok(());
        };
        self.output = None;
        let mut at = now;
        let mut old = Name::of(&path).old(at);
        while old.exists() || gzipped(&old).exists() {
            at += SignedDuration::from_millis(1);
            old = Name::of(&path).old(at);
        }
        match fs::rename(&path, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.reopen()?,
        }
        if self.keeper.as_ref().is_none_or(JoinHandle::is_finished) {
            let rotation = self.rotation;
            let keeper = thread::Builder::new().name("audit-keep".to_owned());
            self.keeper = keeper
                .spawn(move || {
                    if let Err(error) = keep(&path, rotation, now) {
                        let path = path.display();
                        tracing::warn!(
                            "old files of the audit log {path} are left as they are: {error}"
                        );
                    }
                })
                .ok();
        }
        Ok(())
    }
}

/// Opens a file to append to it, and makes it if need be. What is no file is refused, and not
/// waited for: a pipe without a reader would stop the server before it has begun.
fn open_regular(path: &Path) -> io::Result<File> {
    let check = |found: &fs::Metadata| {
        let found = found.file_type();
        let what = match () {
            () if found.is_file() => return Ok(()),
            () if found.is_dir() => "a directory",
            () if found.is_fifo() => "a named pipe",
            () if found.is_socket() => "a socket",
            () => "a device",
        };
        let what = format!("it is {what}; name a file, or - for standard output");
        Err(io::Error::new(io::ErrorKind::InvalidInput, what))
    };
    match fs::metadata(path) {
        Ok(found) => check(&found)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // What has come there meanwhile is not waited for either.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let open = |is_read: bool| {
        let mut options = OpenOptions::new();
        options.append(true).read(is_read).create(true);
        options.mode(FILE_MODE).custom_flags(flags).open(path)
    };
    let file = match open(true) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(false)?,
        outcome => outcome?,
    };
    check(&file.metadata()?)?;
    Ok(file)
}

/// The parts of a log's name.
struct Name<'a> {
    directory: &'a Path,
    stem: String,
    extension: String,
}

impl<'a> Name<'a> {
    fn of(path: &'a Path) -> Self {
        let text = |part: Option<&std::ffi::OsStr>| {
            part.map_or(String::new(), |part| part.to_string_lossy().into_owned())
        };
        let extension = text(path.extension());
        Self {
            directory: path.parent().unwrap_or(Path::new("")),
            stem: format!("{}-", text(path.file_stem())),
            extension: if extension.is_empty() {
                extension
            } else {
                format!(".{extension}")
            },
        }
    }

    fn old(&self, at: Timestamp) -> PathBuf {
        let time = at.strftime(NAME_TIME);
        self.directory
            .join(format!("{}{time}{}", self.stem, self.extension))
    }

    /// The time in the name of an old file; None for any other file.
    fn time_of(&self, name: &str) -> Option<Timestamp> {
        let name = name.strip_suffix(SUFFIX_GZIP).unwrap_or(name);
        let time = name
            .strip_prefix(&self.stem)?
            .strip_suffix(&self.extension)?;
        let time = DateTime::strptime("%Y-%m-%dT%H-%M-%S%.f", time).ok()?;
        let at = TimeZone::UTC.to_timestamp(time).ok()?;
        Some(at)
    }
}

fn gzipped(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SUFFIX_GZIP);
    PathBuf::from(name)
}

/// Removes old files, compresses the rest.
fn keep(path: &Path, rotation: Rotation, now: Timestamp) -> io::Result<()> {
    let name = Name::of(path);
    let directory = match name.directory {
        directory if directory.as_os_str().is_empty() => Path::new("."),
        directory => directory,
    };
    let mut old = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(at) = name.time_of(&entry.file_name().to_string_lossy()) {
            old.push((at, entry.path()));
        }
    }
    old.sort();
    old.reverse();
    let hours = i64::try_from(rotation.days_max.saturating_mul(24)).unwrap_or(i64::MAX);
    let oldest = (rotation.days_max > 0)
        .then(|| now.checked_sub(SignedDuration::from_hours(hours.min(10_000_000))));
    let oldest = oldest.and_then(Result::ok);
    for (place, (at, path)) in old.into_iter().enumerate() {
        let is_beyond = rotation.files_max > 0 && place >= rotation.files_max;
        if is_beyond || oldest.is_some_and(|oldest| at < oldest) {
            fs::remove_file(path)?;
        } else if rotation.compress && !path.to_string_lossy().ends_with(SUFFIX_GZIP) {
            compress(&path)?;
        }
    }
    Ok(())
}

fn compress(path: &Path) -> io::Result<()> {
    let mut partial = gzipped(path).into_os_string();
    partial.push(".tmp");
    let mut options = OpenOptions::new();
    let output = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&partial)?;
    let mut encoder = GzEncoder::new(output, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(&partial, gzipped(path))?;
    fs::remove_file(path)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Read;
    use std::sync::mpsc::Receiver;

    /// Takes nothing until the other end is dropped.
    pub(crate) struct Hanging(pub(crate) Receiver<()>);

    impl Write for Hanging {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A disk with so much room.
    struct Full(usize, std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= taken;
            self.1.lock().unwrap().extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_makes_room_for_a_new_one_and_no_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/audit.log");
        let rotation = Rotation {
            bytes_max: 10,
            files_max: 2,
            days_max: 0,
            compress: true,
        };
        let file = Destination::File(path.clone());
        let mut sink = Sink::open(&file, rotation).unwrap();
        let now = at("2030-01-02T03:04:05.678Z");
        // The second and third fit into one file, the others do not.
        let lines = [
            "12345678\n",
            "1234\n",
            "123\n",
            "longer than a file\n",
            "1\n",
        ];
        assert!(sink.write(&lines, now).is_none());
        if let Some(keeper) = sink.keeper.take() {
            keeper.join().unwrap();
        }
        keep(&path, rotation, now).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        let old = names(path.parent().unwrap());
        let expected = [
            "audit-2030-01-02T03-04-05.679.log.gz",
            "audit-2030-01-02T03-04-05.680.log.gz",
            "audit.log",
        ];
        assert_eq!(old, expected);
        let mut text = String::new();
        let file = File::open(path.with_file_name(expected[0])).unwrap();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "1234\n123\n");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, FILE_MODE);
    }

    #[test]
    fn old_files_go_after_their_days_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "audit-2030-01-01T00-00-00.000.log",
            "audit-2030-01-30T00-00-00.000.log.gz",
            "audit-of-somebody.log",
            "other.log",
        ] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let rotation = Rotation {
            days_max: 7,
            ..Rotation::default()
        };
        let now = at("2030-02-01T00:00:00Z");
        keep(&dir.path().join("audit.log"), rotation, now).unwrap();
        let expected = [
            "audit-2030-01-30T00-00-00.000.log.gz",
            "audit-of-somebody.log",
            "other.log",
        ];
        assert_eq!(names(dir.path()), expected);
    }

    #[test]
    fn a_full_disk_loses_what_does_not_fit_and_the_next_line_is_whole() {
        let disk = std::sync::Arc::default();
        let mut sink = Sink::of(Full(7, std::sync::Arc::clone(&disk)));
        let now = at("2030-01-01T00:00:00Z");
        let (lost, error) = sink.write(&["12\n", "3456789\n", "x\n"], now).unwrap();
        // All three went in one go: how much of it is there is not known for certain.
        assert_eq!((lost, error.kind()), (3, io::ErrorKind::StorageFull));
        sink.output = Some(Box::new(Full(100, std::sync::Arc::clone(&disk))));
        assert!(sink.write(&["next\n"], now).is_none());
        let text = String::from_utf8(disk.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "12\n3456\nnext\n");
    }

    fn at_path(path: &Path) -> io::Result<Sink> {
        Sink::open(&Destination::File(path.to_owned()), Rotation::default())
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
        let socket = dir.path().join("socket");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        for (path, expected) in [
            (fifo.as_path(), "it is a named pipe"),
            (&link, "it is a named pipe"),
            (dir.path(), "it is a directory"),
            (&socket, "it is a socket"),
            (Path::new("/dev/null"), "it is a device"),
        ] {
            let path = path.to_owned();
            let (told, outcome) = std::sync::mpsc::channel();
            // A thread of its own: what waits for a reader waits for ever.
            thread::spawn(move || told.send(at_path(&path).map(drop)));
            let outcome = outcome.recv_timeout(std::time::Duration::from_secs(20));
            let error = outcome.expect("it waits").unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(error.contains("- for standard output"), "{error}");
        }
        // A link to a file is one.
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let link = dir.path().join("good");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(at_path(&link).is_ok());
    }

    #[test]
    fn a_log_that_is_removed_or_replaced_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (home, now) = (dir.path().join("logs"), at("2030-01-01T00:00:00Z"));
        let path = home.join("audit.log");
        let read = || fs::read_to_string(&path).unwrap();
        let mut sink = at_path(&path).unwrap();
        let mut write = |line: &str| sink.write(&[line], now).map(|(_, error)| error.to_string());
        assert_eq!((write("1\n"), read()), (None, "1\n".to_owned()));
        fs::remove_file(&path).unwrap();
        assert_eq!((write("2\n"), read()), (None, "2\n".to_owned()));
        fs::remove_dir_all(&home).unwrap();
        assert_eq!((write("3\n"), read()), (None, "3\n".to_owned()));
        fs::rename(&path, home.join("moved")).unwrap();
        assert_eq!((write("4\n"), read()), (None, "4\n".to_owned()));
        // By somebody who made the next file himself.
        fs::rename(&path, home.join("moved")).unwrap();
        fs::write(&path, "other\n").unwrap();
        assert_eq!((write("5\n"), read()), (None, "other\n5\n".to_owned()));
        assert_eq!(fs::read_to_string(home.join("moved")).unwrap(), "4\n");
        // What cannot be used is said, and tried again.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(write("6\n").unwrap().contains("a directory"));
        fs::remove_dir(&path).unwrap();
        assert_eq!((write("7\n"), read()), (None, "7\n".to_owned()));
    }

    #[test]
    fn a_line_that_was_cut_by_a_crash_is_ended_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let (path, now) = (dir.path().join("audit.log"), at("2030-01-01T00:00:00Z"));
        fs::write(&path, "whole\nhal").unwrap();
        let mut sink = at_path(&path).unwrap();
        assert!(sink.write(&["next\n"], now).is_none());
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "whole\nhal\nnext\n");
    }
}
