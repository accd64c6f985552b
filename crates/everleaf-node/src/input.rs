//! Files and pipes that a command line names, read without ever waiting for a writer that may not
//! come.

use everleaf_rotation::store::dir::{read_file, too_large};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Longest wait for what comes through a pipe next. Its other end is a command that is already
/// running.
const PIPE_WAIT: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// What is in a regular file, or comes through a pipe such as `<(command)`; at most `bytes_max`. A
/// pipe that nobody writes to is empty.
///
/// # Errors
/// What the system says; `FileTooLarge`; `InvalidInput` for a directory, socket or device;
/// `TimedOut` for a pipe whose writer is silent.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    fs::metadata(path)?;
    if !is_pipe(path) {
        return read_file(path, bytes_max);
    }
    // Opened without waiting for a writer; then each read waits in `poll`, which can be told how
    // long.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut pipe = Pipe(File::from(rustix::fs::open(path, flags, Mode::empty())?));
    to_end(&mut pipe, bytes_max)
}

/// Whether what is there comes once: it cannot be read again.
pub fn is_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Reads to the end, or fails at the limit.
pub fn to_end(stream: &mut impl Read, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    stream.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(bytes)
}

/// A pipe, open and not blocking.
struct Pipe(File);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            let mut waited_for = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut waited_for, Some(&PIPE_WAIT)) {
                Ok(0) => {
                    let text = format!(
                        "it is a pipe, and nothing came through it for {} s",
                        PIPE_WAIT.tv_sec
                    );
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_pipe_gives_what_its_writer_sends_also_late_and_in_parts() {
        let (reader, mut writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let sender = std::thread::spawn(move || {
            for part in ["first ", "second"] {
                std::thread::sleep(std::time::Duration::from_millis(50));
                writer.write_all(part.as_bytes()).unwrap();
            }
        });
        assert_eq!(*read(Path::new(&path), 12).unwrap(), b"first second");
        sender.join().unwrap();
    }

    #[test]
    fn a_fifo_that_nobody_writes_to_is_empty_and_a_directory_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let fifo = home.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        assert_eq!(*read(&fifo, 12).unwrap(), b"");
        let error = read(home.path(), 12).unwrap_err().to_string();
        assert_eq!(error, "it is a directory, not a file");
    }

    #[test]
    fn too_much_is_refused_from_a_file_and_from_a_pipe() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "1234").unwrap();
        assert_eq!(*read(&file, 4).unwrap(), b"1234");
        let too_large = |error: io::Error| error.kind() == io::ErrorKind::FileTooLarge;
        assert!(too_large(read(&file, 3).unwrap_err()));
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"1234").unwrap();
        drop(writer);
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        assert!(too_large(read(Path::new(&path), 3).unwrap_err()));
    }
}
