//! Files that options name. One that is no regular file is refused: opening a FIFO would wait for
//! its writer, and a device may never end.

use rustix::fs::OFlags;
use std::fs::{FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use zeroize::Zeroizing;

/// What is in a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// What the system says; `InvalidInput` for anything else than a regular file; `FileTooLarge`.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let metadata = file.metadata()?;
    if let Some(what) = special(metadata.file_type()) {
        let text = format!("it is a {what}, which is not a regular file");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let length = metadata.len();
    let too_large = || {
        let text = format!("it is too large: more than {bytes_max} bytes");
        io::Error::new(io::ErrorKind::FileTooLarge, text)
    };
    if length > bytes_max {
        return Err(too_large());
    }
    // Reserved at once, so that no copy of a key is left behind by a growing buffer.
    let capacity = usize::try_from(length).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large());
    }
    Ok(bytes)
}

/// What it is, if no regular file.
fn special(kind: FileType) -> Option<&'static str> {
    match kind {
        _ if kind.is_file() => None,
        _ if kind.is_dir() => Some("directory"),
        _ if kind.is_fifo() => Some("FIFO"),
        _ if kind.is_socket() => Some("socket"),
        _ => Some("device"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, mkfifoat};

    #[test]
    fn only_regular_files_are_read_and_nothing_waits() {
        let home = tempfile::tempdir().expect("a directory");
        let path = |name: &str| home.path().join(name);
        std::fs::write(path("file"), "1234").expect("written");
        mkfifoat(CWD, path("fifo"), Mode::RUSR | Mode::WUSR).expect("a FIFO");
        let said = |path: &Path, max| match read(path, max) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(said(&path("file"), 4), "1234");
        for (path, why) in [
            (path("file"), "it is too large: more than 3 bytes"),
            (path("fifo"), "it is a FIFO, which is not a regular file"),
            (path(""), "it is a directory, which is not a regular file"),
            (
                "/dev/zero".into(),
                "it is a device, which is not a regular file",
            ),
        ] {
            assert_eq!(said(&path, 3), why, "{}", path.display());
        }
    }
}
