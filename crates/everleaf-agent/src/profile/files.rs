//! The files of a profile: what should be in them, and putting it there.
//!
//! Every file is replaced as a whole, by a rename. Those of one output are written out first, with
//! owner and mode, and then renamed one right after the other: the authorities, the key, the
//! certificate. A link in the place of a file is replaced, and never followed: the directory may be
//! the program's, and what it links to need not.

use super::{Account, Form, Output, Profile};
use crate::kubeconfig::{ClientCertificate, Cluster, Kubeconfig, Names, Source, Trust, User};
use crate::secret::Secret;
use everleaf_pki::{Credential, pem, pkcs12};
use everleaf_rotation::store::dir::{read_file, special};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Largest file that is read: one of ours, or one that is copied from.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Largest file with a password.
const PASSWORD_BYTES_MAX: u64 = 4 << 10;
/// The label of a certificate's PEM block.
const CERTIFICATE: &str = "CERTIFICATE";
/// Mode of files without a key.
const PUBLIC_MODE: u32 = 0o644;
/// Mode of directories that are missing.
const DIRECTORY_MODE: u32 = 0o755;
/// Bits of a mode that are compared.
const MODE_MASK: u32 = 0o7777;

/// A file as it should be.
struct Wanted<'a> {
    path: &'a Path,
    bytes: Zeroizing<Vec<u8>>,
    mode: u32,
}

/// The files of one output, in the order of their renames.
struct Group<'a> {
    files: Vec<Wanted<'a>>,
    owner: Option<u32>,
    group: Option<u32>,
}

/// What tells that a file is the same as at the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    place: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The files as they were when they were last found good, and from what they were made.
#[derive(Debug)]
pub(super) struct Sight {
    credential: Arc<Credential>,
    cluster: Arc<Cluster>,
    stamps: Vec<Option<Stamp>>,
}

impl Sight {
    pub(super) fn of(
        profile: &Profile,
        credential: &Arc<Credential>,
        cluster: &Arc<Cluster>,
    ) -> Self {
        let authorities = profile.authorities.iter();
        let clusters = match &cluster.trust {
            Trust::Bundle(Source::File(path)) => Some(path),
            _ => None,
        };
        let outputs = || profile.outputs.iter();
        let sources = outputs().filter_map(|output| output.form.source());
        let paths = outputs().flat_map(|output| output.form.paths());
        Self {
            credential: Arc::clone(credential),
            cluster: Arc::clone(cluster),
            stamps: paths
                .chain(sources)
                .chain(authorities)
                .chain(clusters)
                .map(|path| stamp(path))
                .collect(),
        }
    }

    /// Whether nothing was changed since.
    pub(super) fn is_unchanged(
        &self,
        profile: &Profile,
        credential: &Arc<Credential>,
        cluster: &Arc<Cluster>,
    ) -> bool {
        Arc::ptr_eq(&self.credential, credential)
            && Arc::ptr_eq(&self.cluster, cluster)
            && self.stamps.iter().all(Option::is_some)
            && self.stamps == Self::of(profile, credential, cluster).stamps
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    fs::symlink_metadata(path)
        .ok()
        .map(|metadata| Stamp::of(&metadata))
}

/// The same of what links lead to.
pub(super) fn stamp_of_target(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            place: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What a look at the files of a profile is about to do: nothing is written yet.
pub(super) struct Plan<'a> {
    groups: Vec<Group<'a>>,
}

impl<'a> Plan<'a> {
    /// Compares what is there with what should be.
    ///
    /// # Errors
    /// What is missing to make the files.
    pub(super) fn make(
        profile: &'a Profile,
        credential: &Credential,
        cluster: &Cluster,
    ) -> Result<Self, String> {
        let mut groups = Vec::new();
        for output in &profile.outputs {
            let files = wanted(profile, output, credential, cluster)?;
            let group = Group {
                files,
                owner: id(output.owner.as_ref(), "/etc/passwd", "user")?,
                group: id(output.group.as_ref(), "/etc/group", "group")?,
            };
            if !group.is_there() {
                groups.push(group);
            }
        }
        Ok(Self { groups })
    }

    /// Whether everything is there.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Puts everything there. Each output is tried; the first error is returned.
    pub(super) fn carry_out(&self) -> Result<(), String> {
        let mut first = Ok(());
        for group in &self.groups {
            let written = group.write();
            if first.is_ok() {
                first = written;
            }
        }
        first
    }
}

impl Group<'_> {
    fn is_there(&self) -> bool {
        self.files.iter().all(|file| {
            let is_right = fs::symlink_metadata(file.path).is_ok_and(|found| {
                found.is_file()
                    && found.mode() & MODE_MASK == file.mode
                    && self.owner.is_none_or(|owner| owner == found.uid())
                    && self.group.is_none_or(|group| group == found.gid())
            });
            is_right && read_file(file.path, FILE_BYTES_MAX).is_ok_and(|bytes| bytes == file.bytes)
        })
    }

    fn write(&self) -> Result<(), String> {
        for file in &self.files {
            refuse_other_than_files(file.path)?;
        }
        let mut temporaries = Vec::new();
        let written = self.files.iter().try_for_each(|file| {
            let temporary = self.write_aside(file);
            temporaries.push((
                temporary.map_err(|error| cannot_write(file.path, &error))?,
                file,
            ));
            Ok(())
        });
        let renamed = written.and_then(|()| {
            temporaries.iter().try_for_each(|(temporary, file)| {
                fs::rename(temporary, file.path).map_err(|error| cannot_write(file.path, &error))
            })
        });
        for (temporary, file) in &temporaries {
            if renamed.is_err() {
                // Some may have got their names already; the first error is the one to tell.
                let _ = fs::remove_file(temporary);
            } else if let Some(parent) = file.path.parent() {
                sync(parent).map_err(|error| cannot_write(file.path, &error))?;
            }
        }
        renamed
    }

    /// Writes a file beside its place, durable, with owner and mode.
    fn write_aside(&self, file: &Wanted<'_>) -> io::Result<PathBuf> {
        let parent = file.path.parent().unwrap_or(Path::new("/"));
        make_directories(parent)?;
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = parent.join(format!(".{name}.everleaf-tmp"));
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut open = OpenOptions::new()
            .write(true)
            // Never through a link that somebody has put there.
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let written = open
            .write_all(&file.bytes)
            .and_then(|()| match (self.owner, self.group) {
                (None, None) => Ok(()),
                (owner, group) => fchown(&open, owner, group),
            })
            .and_then(|()| open.set_permissions(fs::Permissions::from_mode(file.mode)))
            .and_then(|()| open.sync_all());
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        }
        written.map(|()| temporary)
    }
}

/// Makes what is missing of the directories of a path. The mode is given to each by itself: a
/// service's umask may be so strict that a file's owner could not reach it.
fn make_directories(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|part| !part.exists()).collect();
    for directory in missing.into_iter().rev() {
        fs::create_dir(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(DIRECTORY_MODE))?;
    }
    Ok(())
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Refuses what no file or link is: a device or a FIFO in its place is somebody's, and by a
/// directory the key would be replaced and the certificate not.
fn refuse_other_than_files(path: &Path) -> Result<(), String> {
    let kind = fs::symlink_metadata(path).map(|found| found.file_type());
    match kind
        .ok()
        .filter(|kind| !kind.is_symlink())
        .and_then(special)
    {
        None => Ok(()),
        Some(what) => Err(format!(
            "{} cannot be written: it is a {what}, and only files and links are replaced",
            path.display()
        )),
    }
}

/// Refuses files in the agent's own directory, whatever links lead there.
pub(super) fn refuse_own(profile: &Profile, cert_dir: &Path) -> Result<(), String> {
    let Ok(own) = fs::canonicalize(cert_dir) else {
        return Ok(());
    };
    let paths = profile
        .outputs
        .iter()
        .flat_map(|output| output.form.paths());
    for path in paths {
        let parent = path.parent().map(fs::canonicalize);
        if matches!(parent, Some(Ok(parent)) if parent.starts_with(&own)) {
            return Err(format!(
                "{} is in the agent's own directory {}: choose another place",
                path.display(),
                own.display()
            ));
        }
    }
    Ok(())
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the agent needs the right to write there, and to give a file to its owner"
        }
        io::ErrorKind::AlreadyExists => "; one of its directories is a link that leads nowhere",
        _ => "",
    };
    format!("{} cannot be written: {error}{hint}", path.display())
}

/// What should be in the files of an output, in the order of their renames.
fn wanted<'a>(
    profile: &Profile,
    output: &'a Output,
    credential: &Credential,
    cluster: &Cluster,
) -> Result<Vec<Wanted<'a>>, String> {
    let secret = |path: &'a Path, text: &str| Wanted {
        path,
        bytes: Zeroizing::new(text.as_bytes().to_vec()),
        mode: output.mode,
    };
    let public = |path: &'a Path, text: &str| Wanted {
        mode: PUBLIC_MODE,
        ..secret(path, text)
    };
    Ok(match &output.form {
        Form::Pem(path) => vec![secret(path, &credential.to_pem())],
        Form::Pkcs12 {
            path,
            password_file,
        } => {
            let password = password(password_file)?;
            let bytes = pkcs12::encode(credential, &profile.name, password.expose())
                .map_err(|error| format!("{}: {error}", path.display()))?;
            vec![Wanted {
                path,
                bytes,
                mode: output.mode,
            }]
        }
        Form::Kubeconfig(path) => {
            let text = kubeconfig(&profile.name, credential, cluster)?;
            vec![secret(path, &text)]
        }
        Form::Files {
            certificate,
            key,
            ca,
        } => {
            let mut files = Vec::new();
            if let Some(ca) = ca {
                files.push(public(ca, authorities(profile, cluster)?.expose()));
            }
            files.push(secret(key, &credential.key().to_pem()));
            files.push(public(certificate, &credential.chain().to_pem()));
            files
        }
    })
}

/// The first line of a file.
fn password(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let bytes = read_file(path, PASSWORD_BYTES_MAX)
        .map_err(|error| format!("passwordFile {shown} cannot be read: {error}"))?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| format!("passwordFile {shown} is not UTF-8"))?;
    Ok(Secret::new(
        text.lines().next().unwrap_or_default().to_owned(),
    ))
}

/// The CA certificates for a `ca` file.
fn authorities(profile: &Profile, cluster: &Cluster) -> Result<Secret, String> {
    if let Some(path) = &profile.authorities {
        let shown = path.display();
        let bytes = read_file(path, FILE_BYTES_MAX)
            .map_err(|error| format!("authoritiesFile {shown} cannot be read: {error}"))?;
        let text = pem::legible(&bytes);
        let mut certificates = String::new();
        for block in pem::blocks(text.as_bytes()) {
            if block.label != CERTIFICATE {
                // A key beside them would be for everybody to read.
                return Err(format!(
                    "authoritiesFile {shown} holds something else than certificates"
                ));
            }
            certificates.push_str(&pem::encode(CERTIFICATE, &block.der));
        }
        return match certificates.as_str() {
            "" => Err(format!("authoritiesFile {shown} holds no certificate")),
            _ => Ok(Secret::new(certificates)),
        };
    }
    match &cluster.trust {
        Trust::Bundle(source) => source
            .read()
            .map_err(|error| format!("the cluster's CA cannot be read: {error}")),
        Trust::System | Trust::DangerouslyAnybody => Err(
            "the node's kubeconfig names no CA to put into the ca file: name one in authoritiesFile"
                .to_owned(),
        ),
    }
}

fn kubeconfig(
    name: &str,
    credential: &Credential,
    cluster: &Cluster,
) -> Result<Zeroizing<String>, String> {
    let mut cluster = cluster.clone();
    if let Trust::Bundle(source) = &cluster.trust {
        let text = source
            .read()
            .map_err(|error| format!("the cluster's CA cannot be read: {error}"))?;
        // Whoever reads the kubeconfig need not be able to read the node's files.
        cluster.trust = Trust::Bundle(Source::Inline(text));
    }
    let inline = |text: &str| Source::Inline(Secret::new(text.to_owned()));
    let user = User {
        client_certificate: Some(ClientCertificate {
            certificate: inline(&credential.chain().to_pem()),
            key: inline(&credential.key().to_pem()),
        }),
        ..User::default()
    };
    let names = Names {
        cluster: "default-cluster",
        user: name,
        context: "default-context",
        namespace: "default",
    };
    Ok(Kubeconfig { cluster, user }.to_yaml(&names))
}

/// The number of an account, looked up in a file of that form; users that only a directory service
/// knows are named by number.
fn id(account: Option<&Account>, file: &str, what: &str) -> Result<Option<u32>, String> {
    let name = match account {
        None => return Ok(None),
        Some(Account::Id(id)) => return Ok(Some(*id)),
        Some(Account::Name(name)) => name,
    };
    let bytes = read_file(Path::new(file), FILE_BYTES_MAX)
        .map_err(|error| format!("{file} cannot be read: {error}"))?;
    let text = String::from_utf8_lossy(&bytes);
    let number = text.lines().find_map(|line| {
        let mut parts = line.split(':');
        let is_it = parts.next() == Some(name);
        let number = parts.nth(1)?;
        is_it.then(|| number.parse().ok()).flatten()
    });
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(format!(
            "{file} has no {what} {name:?}; name its number if it is known elsewhere"
        )),
    }
}

#[cfg(test)]
mod tests;
