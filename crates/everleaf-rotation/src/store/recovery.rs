//! Opening a cert dir, whatever state it was left in.
//!
//! Look-up order and the finishing of an interrupted swap are client-go's
//! (`util/certificate/certificate_store.go`, `Current` and `recover`). Beyond that, a corrupt or
//! dangling `-current` does not stop anything: the file is set aside and the newest usable one
//! takes its place.

use super::disk::{Disk, Node};
use super::layout::{
    Content, Dated, Layout, PendingError, credential_in, failed, is_of_no_use, usable_newest_first,
};
use super::{Finding, Opened, StoreError};
use everleaf_pki::Credential;
use jiff::Timestamp;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A credential and the file it came from, if that is one of ours.
struct Held {
    path: Option<PathBuf>,
    credential: Credential,
}

impl<D: Disk> Layout<D> {
    pub(super) fn recover(&mut self, now: Timestamp) -> Result<Opened, StoreError> {
        let mut findings = Vec::new();
        self.remove_temporaries();
        self.finish_swap(&mut findings)?;
        let current = self.find_current(now, &mut findings)?;
        self.find_files_for_links(&mut findings)?;
        let current_path = current.as_ref().and_then(|held| held.path.clone());
        let last_accepted = self.find_last_accepted(now, current_path.as_deref())?;
        self.last_accepted = last_accepted.as_ref().map(|dated| dated.path.clone());
        let pending = match self.read_pending() {
            Ok(Some((record, _))) => Some(record),
            Ok(None) => {
                self.remove_key_without_record();
                None
            }
            Err(PendingError::Store(error)) => return Err(error),
            Err(PendingError::Unusable(reason)) => {
                findings.push(Finding::UnusablePending { reason });
                None
            }
        };
        let last_accepted = last_accepted.map(|dated| Arc::new(dated.credential));
        let current = current.map(|held| Arc::new(held.credential));
        Ok(Opened {
            is_first: self.dated_names()?.len() <= 1,
            current,
            last_accepted,
            pending,
            findings,
        })
    }

    /// Removes files that an interrupted write of ours left; best effort.
    fn remove_temporaries(&mut self) {
        let start = format!(".{}-", self.prefix);
        for name in self.disk.list(&self.dir).unwrap_or_default() {
            let is_ours = name
                .to_str()
                .is_some_and(|name| name.starts_with(&start) && name.ends_with(".tmp"));
            if is_ours {
                let _ = self.disk.remove(&self.dir.join(name));
            }
        }
    }

    /// Removes the key of a request whose record was not written yet, or is gone already: nobody
    /// needs it, and it may be that of the current certificate. Best effort.
    fn remove_key_without_record(&mut self) {
        let key = self.pending_key();
        if self.disk.exists(&key).unwrap_or_default() {
            let _ = self.disk.remove(&key);
        }
    }

    /// When `-current` leads nowhere and `-updated` is a link, an update was interrupted: finish
    /// it.
    fn finish_swap(&mut self, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        let (current, updated) = (self.current_link(), self.updated_link());
        if self.exists(&current)? {
            return Ok(());
        }
        match self
            .disk
            .node(&updated)
            .map_err(failed("look at", &updated))?
        {
            None => Ok(()),
            Some(Node::File) => Err(StoreError::NotASymlink { path: updated }),
            Some(Node::Link(target)) => {
                self.rename(&updated, &current)?;
                findings.push(Finding::FinishedSwap {
                    target: self.dir.join(target),
                });
                Ok(())
            }
        }
    }

    fn find_current(
        &mut self,
        now: Timestamp,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Held>, StoreError> {
        let link = self.current_link();
        if self.exists(&link)? {
            match self.read_credential(&link)? {
                Ok(credential) => {
                    let path = Some(self.target(&link)?.unwrap_or(link));
                    return Ok(Some(Held { path, credential }));
                }
                Err(reason) => self.set_aside(&link, reason, now, findings)?,
            }
        } else if self.target(&link)?.is_none() {
            // No link at all: an operator who removes it wants to start afresh.
            return self.find_elsewhere(findings);
        }
        match self.relink(now, findings)? {
            Some(held) => Ok(Some(held)),
            None => self.find_elsewhere(findings),
        }
    }

    /// A file of somebody's where a link belongs is never overwritten: better said now than when
    /// the next certificate cannot be put in its place.
    fn find_files_for_links(&self, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        for path in [self.current_link(), self.updated_link()] {
            if self.disk.node(&path).map_err(failed("look at", &path))? == Some(Node::File) {
                findings.push(Finding::NotALink { path });
            }
        }
        Ok(())
    }

    /// A credential, or what is wrong with its file. Only a failure to read is an error.
    fn read_credential(&self, path: &Path) -> Result<Result<Credential, String>, StoreError> {
        match self.disk.read(path) {
            Ok(bytes) => Ok(credential_in(&bytes).map_err(|error| error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                Ok(Err("it is larger than any certificate".to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Err(StoreError::NotAFile {
                    path: path.to_owned(),
                    what: error.to_string(),
                })
            }
            Err(error) => Err(failed("read", path)(error)),
        }
    }

    /// Renames the file that `link` leads to, so that nobody takes it for a credential again.
    fn set_aside(
        &mut self,
        link: &Path,
        reason: String,
        now: Timestamp,
        findings: &mut Vec<Finding>,
    ) -> Result<(), StoreError> {
        // A target outside the directory is not ours to rename; the link is.
        let target = self
            .target(link)?
            .filter(|target| target.parent() == Some(&self.dir));
        let bad = target.unwrap_or_else(|| link.to_owned());
        let moved_to = self.free_aside(&bad, now)?;
        match self.rename(&bad, &moved_to) {
            Ok(()) => findings.push(Finding::Quarantined { reason, moved_to }),
            Err(error) => findings.push(Finding::NotRepaired {
                path: bad,
                reason: format!("{reason}; and it could not be set aside: {error}"),
            }),
        }
        Ok(())
    }

    /// `<name>.corrupt-<UTC>`, with a suffix if that is taken.
    fn free_aside(&self, bad: &Path, now: Timestamp) -> Result<PathBuf, StoreError> {
        let name = bad.file_name().unwrap_or_default().to_string_lossy();
        let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut path = self.dir.join(format!("{name}.corrupt-{stamp}"));
        let mut suffix = 0_u32;
        while self
            .disk
            .node(&path)
            .map_err(failed("look at", &path))?
            .is_some()
        {
            suffix += 1;
            path = self.dir.join(format!("{name}.corrupt-{stamp}-{suffix}"));
        }
        Ok(path)
    }

    /// Makes the newest usable dated file current: one that our clock does not call expired, else
    /// the newest at all (the server's clock decides). It is used and not linked while a file whose
    /// name is no earlier cannot be read: that may be the newest.
    fn relink(
        &mut self,
        now: Timestamp,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Held>, StoreError> {
        let mut files = self.dated_files()?;
        let unread = files
            .extract_if(.., |(_, content)| matches!(content, Content::Unread(_)))
            .last();
        let unread = match unread {
            Some((path, Content::Unread(error))) => Some((path, error)),
            _ => None,
        };
        let dated = newest(usable_newest_first(files), now);
        let dated = match (dated, unread) {
            (None, None) => return Ok(None),
            (None, Some((path, error))) => return Err(failed("read", &path)(error)),
            (Some(dated), Some((path, error)))
                if self.second_of(&path) >= self.second_of(&dated.path) =>
            {
                findings.push(Finding::NotRepaired {
                    path: self.current_link(),
                    reason: failed("read", &path)(error).to_string(),
                });
                return Ok(Some(Held {
                    path: Some(dated.path),
                    credential: dated.credential,
                }));
            }
            (Some(dated), _) => dated,
        };
        match self.make_current(&dated.path) {
            Ok(()) => findings.push(Finding::Relinked {
                target: dated.path.clone(),
            }),
            Err(error) => findings.push(Finding::NotRepaired {
                path: self.current_link(),
                reason: error.to_string(),
            }),
        }
        Ok(Some(Held {
            path: Some(dated.path),
            credential: dated.credential,
        }))
    }

    /// Look-up places 2 and 3: the configured pair, then the names from before Kubernetes 1.11.
    fn find_elsewhere(&self, findings: &mut Vec<Finding>) -> Result<Option<Held>, StoreError> {
        let legacy = (self.path(".crt"), self.path(".key"));
        for (certificate, key) in self.configured.iter().chain([&legacy]) {
            if !self.exists(certificate)? || !self.exists(key)? {
                continue;
            }
            let mut text = self.read(certificate)?;
            text.push(b'\n');
            text.extend_from_slice(&self.read(key)?);
            match credential_in(&text) {
                Ok(credential) => {
                    return Ok(Some(Held {
                        path: None,
                        credential,
                    }));
                }
                Err(error) => findings.push(Finding::NotRepaired {
                    path: certificate.clone(),
                    reason: format!("it cannot be used with {}: {error}", key.display()),
                }),
            }
        }
        Ok(None)
    }

    /// The credential that the server accepted last. A kubelet's directory does not say; then it is
    /// the newest other one that our clock does not call expired.
    fn find_last_accepted(
        &self,
        now: Timestamp,
        current: Option<&Path>,
    ) -> Result<Option<Dated>, StoreError> {
        if let Some(path) = self.target(&self.accepted_link())? {
            match self.disk.read(&path) {
                Ok(bytes) => {
                    if let Ok(credential) = credential_in(&bytes) {
                        return Ok(Some(Dated { path, credential }));
                    }
                }
                Err(error) if is_of_no_use(&error) => {}
                // It still is the accepted one: no other may be put in its place.
                Err(_) => return Ok(None),
            }
        }
        let others = usable_newest_first(self.dated_files()?).into_iter();
        let mut others = others.filter(|dated| Some(dated.path.as_path()) != current);
        Ok(others.find(|dated| now <= dated.credential.leaf().not_after()))
    }
}

/// The first that `now` does not call expired, else the first.
fn newest(mut newest_first: Vec<Dated>, now: Timestamp) -> Option<Dated> {
    if newest_first.is_empty() {
        return None;
    }
    let valid = newest_first
        .iter()
        .position(|dated| now <= dated.credential.leaf().not_after());
    Some(newest_first.swap_remove(valid.unwrap_or(0)))
}
