//! The file of a PIN.

use rustix::fs::OFlags;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Longest file of a PIN.
const PIN_FILE_BYTES_MAX: u64 = 4096;

/// First line of the file. One that is no regular file is refused: opening a FIFO would wait for
/// its writer.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    let fail =
        |what: &dyn std::fmt::Display| format!("cannot read the PIN in {}: {what}", path.display());
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| fail(&error))?;
    let metadata = file.metadata().map_err(|error| fail(&error))?;
    if !metadata.is_file() {
        return Err(fail(&"it is not a regular file"));
    }
    if metadata.len() > PIN_FILE_BYTES_MAX {
        return Err(fail(&format!(
            "it is too large: more than {PIN_FILE_BYTES_MAX} bytes"
        )));
    }
    // Reserved at once, so that no copy of it is left behind by a growing buffer.
    let capacity = usize::try_from(PIN_FILE_BYTES_MAX).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(PIN_FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(&error))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| fail(&"it is not UTF-8"))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(fail(&"it is empty"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}
