//! The data directory: who holds it, its modes, and how files in it are replaced.
//!
//! Owns the layout of names, the lock and atomic writes. Refuses to know what the files mean.

use anyhow::{Context, Result, anyhow, bail};
use everleaf_agent::kubeconfig::write_private;
use everleaf_node::places::STORE;
use everleaf_rotation::store::dir::read_file;
use rustix::fs::FlockOperation;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file whose lock says that a process holds the directory; it contains the holder's pid.
pub(crate) const LOCK: &str = "lock";
/// What the certificate authority has issued.
pub(crate) const ISSUANCE_LOG: &str = "issuance-log";
/// Certificates and keys.
const PKI: &str = "pki";
/// What may be there before the first start: an authority to begin with, and what the servers of
/// one cluster have in common.
pub(super) const BROUGHT_ALONG: [&str; 4] = [
    "pki/ca.crt",
    "pki/ca.key",
    "pki/sa.key",
    "pki/front-proxy-ca.crt",
];
/// Names at the top of a data directory, and what a file system puts there by itself.
const OWN_NAMES: [&str; 9] = [
    LOCK,
    STORE,
    PKI,
    ISSUANCE_LOG,
    "node",
    "admin.conf",
    "bootstrap-kubelet.conf",
    "kubelet.conf",
    "lost+found",
];
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Mode of the directory and of those below it: its owner only.
const DIRECTORY_MODE: u32 = 0o700;
/// Bits that let others in.
const OTHERS: u32 = 0o077;

/// A data directory held by this process.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// Released by the kernel when the process ends, however it ends.
    _lock: fs::File,
}

impl DataDir {
    /// Makes the directory when absent (0700), takes its lock, and sets umask 077 for the process,
    /// so that nothing which is made from here on is readable by others for an instant.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(OTHERS));
        let root =
            std::path::absolute(root).with_context(|| format!("--data-dir {}", root.display()))?;
        refuse_foreign(&root)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(&root)
            .with_context(|| {
                format!(
                    "cannot make the data directory {}; make its parent writable, or choose another --data-dir",
                    root.display()
                )
            })?;
        tighten(&root)?;
        let lock = lock(&root)?;
        Ok(Self { root, _lock: lock })
    }

    /// A file or folder in it, absolute.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The directory itself, absolute.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The text of a file; none when it does not exist.
    pub(crate) fn read(&self, name: &str) -> Result<Option<zeroize::Zeroizing<String>>> {
        let path = self.path(name);
        match read_file(&path, FILE_BYTES_MAX) {
            // What is no text is no less readable than text that makes no sense: whoever wants it
            // says so.
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                Ok(Some(zeroize::Zeroizing::new(text)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Replaces a file as a whole, mode 0600: a reader sees the old text or the new one, also after
    /// a crash.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        write_private(&path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Like [`write`](Self::write), but leaves a file that already says so alone.
    pub(crate) fn write_if_changed(&self, name: &str, text: &str) -> Result<()> {
        let same = self
            .read(name)?
            .is_some_and(|present| present.as_str() == text);
        if same { Ok(()) } else { self.write(name, text) }
    }
}

/// Refuses what is no directory, or somebody else's. Nothing is written.
pub(crate) fn refuse_foreign(root: &Path) -> Result<()> {
    if root.exists() && !root.is_dir() {
        bail!(
            "--data-dir {}: not a directory; choose another one",
            root.display()
        );
    }
    let unreadable = || format!("cannot look into the data directory {}", root.display());
    let is_there = |name: &str| root.join(name).exists();
    if !root.exists() || is_there(STORE) && (is_there(LOCK) || is_there(PKI)) {
        return Ok(());
    }
    // A start that was killed has left nothing but our names, the lock first. Without lock and
    // store these names are kubeadm's as well: only an authority to begin with may be there.
    let has_begun = is_there(LOCK) || is_there(STORE);
    if !has_begun {
        refuse_other_authoritys_files(root)?;
    }
    for entry in fs::read_dir(root).with_context(unreadable)? {
        let name = entry.with_context(unreadable)?.file_name();
        let text = name.to_string_lossy();
        let temporary = text
            .strip_prefix('.')
            .and_then(|rest| rest.strip_suffix(".tmp"));
        if !OWN_NAMES.contains(&temporary.unwrap_or(&text)) {
            bail!(
                "--data-dir {}: it holds other files ({text}) and no store of Everleaf's; choose an empty directory, such as {}",
                root.display(),
                root.join("everleaf").display()
            );
        }
    }
    Ok(())
}

/// Kubeconfigs, and files of `pki` besides those that one brings along, in a directory in which
/// nobody of us began.
fn refuse_other_authoritys_files(root: &Path) -> Result<()> {
    let in_pki = fs::read_dir(root.join(PKI)).into_iter().flatten().flatten();
    let of_pki = in_pki
        .map(|entry| format!("{PKI}/{}", entry.file_name().to_string_lossy()))
        .filter(|name| !BROUGHT_ALONG.contains(&name.as_str()));
    let own = OWN_NAMES.iter().filter(|name| name.ends_with(".conf"));
    let kubeconfigs = own
        .filter(|name| root.join(name).exists())
        .map(|name| (*name).to_owned());
    match kubeconfigs.chain(of_pki).min() {
        None => Ok(()),
        Some(found) => bail!(
            "--data-dir {}: it holds other files ({found}), and nothing says that Everleaf made them; choose an empty directory, such as {}, or leave \
             only pki/ca.crt and pki/ca.key here to go on with that authority ({}, for another server of a cluster)",
            root.display(),
            root.join("everleaf").display(),
            BROUGHT_ALONG.join(", "),
        ),
    }
}

/// Refuses a directory that another process holds. Nothing is written.
pub(crate) fn refuse_held(root: &Path) -> Result<()> {
    let Ok(mut file) = fs::File::open(root.join(LOCK)) else {
        return Ok(());
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(held(root, &mut file)),
        // What else can go wrong here is told when the lock is taken.
        _ => Ok(()),
    }
}

/// Says who holds the directory.
fn held(root: &Path, lock: &mut fs::File) -> anyhow::Error {
    let mut holder = String::new();
    let _ = Read::by_ref(lock).take(64).read_to_string(&mut holder);
    let since = lock.metadata().and_then(|meta| meta.modified()).ok();
    let since = since.and_then(|time| jiff::Timestamp::try_from(time).ok());
    let holder = match (holder.trim(), since) {
        ("", _) => "another process".to_owned(),
        (pid, Some(since)) => format!("process {pid} (since {since:.0})"),
        (pid, None) => format!("process {pid}"),
    };
    anyhow!(
        "the data directory {} is in use by {holder}; stop it, or choose another --data-dir",
        root.display()
    )
}

/// Closes the directory to others when it is ours to close: new, empty, or a data directory
/// already.
fn tighten(root: &Path) -> Result<()> {
    let unreadable = || format!("cannot look into the data directory {}", root.display());
    let meta = fs::metadata(root).with_context(unreadable)?;
    if meta.mode() & OTHERS == 0 {
        return Ok(());
    }
    let is_empty = fs::read_dir(root)
        .with_context(unreadable)?
        .next()
        .is_none();
    let is_ours = root.join(LOCK).exists() && root.join(STORE).exists();
    if is_empty || is_ours {
        fs::set_permissions(root, fs::Permissions::from_mode(DIRECTORY_MODE)).with_context(
            || {
                format!(
                    "cannot set the mode of the data directory {} to 0700",
                    root.display()
                )
            },
        )?;
        return Ok(());
    }
    let shared = rustix::fs::Mode::from_raw_mode(meta.mode());
    if shared.intersects(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH) {
        bail!(
            "--data-dir {}: others may write into it (mode {:o}) and it holds other files; choose a directory of its own",
            root.display(),
            meta.mode() & 0o7777
        );
    }
    Ok(())
}

/// Takes the lock, or says who has it.
fn lock(root: &Path) -> Result<fs::File> {
    let path = root.join(LOCK);
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open the lock file {}", path.display()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(held(root, &mut file));
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .with_context(|| {
            format!(
                "cannot write the lock file {} (is the disk full?)",
                path.display()
            )
        })?;
    Ok(file)
}

/// Where `up` keeps its files when no `--data-dir` is given.
pub(crate) fn default_root() -> Result<PathBuf> {
    everleaf_node::places::default_root_of("everleaf")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_directory_is_held_by_one() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("a/b");
        let held = DataDir::open(&root).unwrap();
        assert_eq!(mode(&root), 0o700);
        let refused = DataDir::open(&root).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("in use by process {}", std::process::id())),
            "{refused}"
        );
        drop(held);
        DataDir::open(&root).unwrap();
    }

    #[test]
    fn what_cannot_be_a_directory_is_refused_with_a_way_out() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("file");
        fs::write(&file, "theirs").unwrap();
        for root in [file.clone(), file.join("below")] {
            let refused = DataDir::open(&root).unwrap_err().to_string();
            assert!(refused.contains("choose another"), "{refused}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
    }

    #[test]
    fn files_are_replaced_as_a_whole_and_private() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temporary.path()).unwrap();
        assert_eq!(dir.read("pki/x").unwrap(), None);
        dir.write("pki/x", "one").unwrap();
        dir.write_if_changed("pki/x", "two").unwrap();
        assert_eq!(dir.read("pki/x").unwrap().unwrap().as_str(), "two");
        assert_eq!(mode(&dir.path("pki/x")), 0o600);
        assert_eq!(mode(&dir.path("pki")), 0o700);
    }

    /// `--data-dir /etc` where there is an /etc/pki must not close /etc to everybody.
    #[test]
    fn somebody_elses_directory_keeps_its_mode() {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("pki")).unwrap();
        fs::write(temporary.path().join(LOCK), "").unwrap();
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
        drop(DataDir::open(temporary.path()).unwrap());
        assert_eq!(mode(temporary.path()), 0o755);
        fs::create_dir(temporary.path().join(STORE)).unwrap();
        DataDir::open(temporary.path()).unwrap();
        assert_eq!(mode(temporary.path()), 0o700);
    }

    #[test]
    fn a_shared_directory_with_other_files_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("pki")).unwrap();
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let refused = DataDir::open(temporary.path()).unwrap_err().to_string();
        assert!(refused.contains("others may write"), "{refused}");
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
        DataDir::open(temporary.path()).unwrap();
        assert_eq!(mode(temporary.path()), 0o755);
    }

    #[test]
    fn somebody_elses_directory_is_refused_and_left_alone() {
        let open = |names: &[&str]| {
            let temporary = tempfile::tempdir().unwrap();
            for name in names {
                match name.strip_suffix('/') {
                    Some(folder) => fs::create_dir(temporary.path().join(folder)).unwrap(),
                    None => fs::write(temporary.path().join(name), "").unwrap(),
                }
            }
            let opened = DataDir::open(temporary.path()).map(drop);
            let has_lock = temporary.path().join(LOCK).exists();
            assert_eq!(
                has_lock,
                opened.is_ok() || names.contains(&LOCK),
                "{names:?}"
            );
            opened.map_err(|error| error.to_string())
        };
        for ours in [
            &[][..],
            &["lost+found/"],
            // Somebody's own authority.
            &["pki/"],
            &["pki/", "pki/ca.crt", "pki/ca.key"],
            // Another server's.
            &[
                "pki/",
                "pki/ca.crt",
                "pki/ca.key",
                "pki/sa.key",
                "pki/front-proxy-ca.crt",
            ],
            // A first start that was killed.
            &["lock", "pki/", ".admin.conf.tmp"],
            // Notes beside our files, with the lock left out of a backup, or not.
            &["lock", "store/", "notes"],
            &["pki/", "store/", "notes"],
        ] {
            assert_eq!(open(ours), Ok(()), "{ours:?}");
        }
        for theirs in [
            &["notes"][..],
            // kubeadm's.
            &["admin.conf"],
            &["pki/", "pki/ca.crt", "pki/apiserver.key"],
            &[".bashrc"],
            &["pki/", "passwd"],
            &["lock", "run/"],
            &["store/", "notes"],
        ] {
            let refused = open(theirs).unwrap_err();
            assert!(
                refused.contains("holds other files") && refused.contains("choose an empty"),
                "{refused}"
            );
        }
    }
}
