//! How the store is encrypted, as the flags say.

use crate::args::storage::StorageArgs;
use crate::in_use::{InUse, Look};
use crate::input;
use anyhow::{Context, Result, anyhow};
use everleaf_apiserver::encryption::{Encryption, Rules, config};
use everleaf_apiserver::handler::{ConfigFile, Server};
use everleaf_time::WallClock;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// The flag of the file.
const FLAG: &str = "--encryption-provider-config";
/// Largest file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How often it is looked at: whoever rotates keys waits for it.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Permission of all others to read.
const OTHERS_READ: u32 = 0o004;

/// The file, as it was read. It holds secrets, and shows none.
#[derive(Clone)]
pub(crate) struct EncryptionFile {
    path: PathBuf,
    text: Zeroizing<String>,
    /// `--encryption-provider-config-automatic-reload`
    is_followed: bool,
}

/// Reads the file that the flags name; None: nothing is encrypted.
///
/// # Errors
/// It cannot be read, or says what cannot be.
pub(crate) fn of(args: &StorageArgs) -> Result<Option<EncryptionFile>> {
    let Some(path) = &args.encryption_provider_config else {
        return Ok(None);
    };
    let file = EncryptionFile {
        path: path.clone(),
        text: read(path)?,
        is_followed: args.encryption_provider_config_automatic_reload && !input::is_pipe(path),
    };
    parse(path, &file.text)?;
    let is_open = fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OTHERS_READ != 0);
    if is_open {
        let path = path.display();
        tracing::warn!("{FLAG} {path} holds keys and can be read by everybody: chmod 600 {path}");
    }
    Ok(Some(file))
}

/// What it says, for a store whose keys begin with `prefix`.
///
/// # Errors
/// None that [`of`] would not have had.
pub(crate) fn encryption(file: Option<&EncryptionFile>, prefix: &str) -> Result<Encryption> {
    let rules = match file {
        Some(file) => parse(&file.path, &file.text)?,
        None => Rules::default(),
    };
    Ok(Encryption::new(rules, prefix))
}

/// Reads it again when it changes, if that is wanted; it never ends. What cannot be used leaves the
/// keys in force that were.
pub(crate) async fn follow(file: Option<EncryptionFile>, server: Arc<Server>, wall: WallClock) {
    let Some(file) = file.filter(|file| file.is_followed) else {
        return std::future::pending().await;
    };
    let EncryptionFile { path, text, .. } = file;
    let what = format!("encryption configuration {}", path.display());
    let mut in_use = InUse::new(what, text);
    let take = |text: &Zeroizing<String>| {
        let lost = server.encrypt_by(parse(&path, text)?);
        if lost > 0 {
            tracing::error!(
                objects = lost,
                "{FLAG} {} has not all keys any more by which the store is encrypted: these objects are served until the \
                 next start; put the old keys back until all is written anew",
                path.display()
            );
        }
        Ok(())
    };
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let look = in_use.look(Instant::now(), || read(&path), take);
        if look != Look::Same {
            server.reloaded(ConfigFile::Encryption, look == Look::Taken, wall());
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>> {
    let unreadable = || format!("cannot read {FLAG} {}", path.display());
    let bytes = input::read(path, FILE_BYTES_MAX).with_context(unreadable)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| anyhow!("it is not UTF-8"));
    Ok(Zeroizing::new(text.with_context(unreadable)?.to_owned()))
}

fn parse(path: &Path, text: &str) -> Result<Rules> {
    config::parse(text).with_context(|| format!("{FLAG} {}", path.display()))
}
