//! The files of profiles, looked at again and again.
//!
//! A look costs one call of the system for each file, and reads them only when one of them is
//! another one than at the last look.

use super::choice::{Choice, Kept, choose};
use super::document::{paths_in, read_each};
use super::files::{Stamp, stamp_of_target};
use super::{ProfileFiles, ProfileProblem};
use everleaf_rotation::Monotonic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a look counts. It is no reason to wake up: the agent does so every minute anyway
/// ([`NAP_MAX`](everleaf_rotation::NAP_MAX)).
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// What changes in the profiles that an agent keeps.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// Names of those that are not kept any more, or not as they were.
    pub(crate) ended: Vec<String>,
    /// Those that are new, or other than they were.
    pub(crate) begun: Vec<Kept>,
    /// Names of those that are the same in another file.
    pub(crate) moved: Vec<(String, Arc<Path>)>,
    /// All that is wrong now.
    pub(crate) problems: Vec<ProfileProblem>,
}

/// The watch over them.
pub(crate) struct ProfileWatch {
    files: ProfileFiles,
    node_name: String,
    look_at: Monotonic,
    /// The files as they were when they were last read; `None`: read them whatever they are.
    seen: Option<Vec<(PathBuf, Option<Stamp>)>>,
}

impl ProfileWatch {
    /// A first look is due at once.
    pub(crate) fn new(files: ProfileFiles, node_name: &str, now: Monotonic) -> Self {
        Self {
            files,
            node_name: node_name.to_owned(),
            look_at: now,
            seen: None,
        }
    }

    /// Whether it is time to look.
    pub(crate) fn wants_look(&self, now: Monotonic) -> bool {
        self.files.are_given() && self.look_at <= now
    }

    /// Has the next look read everything, at once.
    pub(crate) fn read_again(&mut self, now: Monotonic) {
        self.look_at = now;
        self.seen = None;
    }

    /// Has the next look, when it is time for it, read everything.
    pub(crate) fn distrust(&mut self) {
        self.seen = None;
    }

    /// What has changed against what is kept; `None` while the files are the same.
    pub(crate) fn look(&mut self, now: Monotonic, running: &[Kept]) -> Option<Changes> {
        self.look_at = now + LOOK_INTERVAL;
        // Taken before: what is changed from here on is seen at the next look.
        let seen = self.stamps();
        if self.seen.as_ref() == Some(&seen) {
            return None;
        }
        let readings = read_each(&self.files, &self.node_name);
        let is_whole = !readings.iter().any(|reading| reading.is_unread);
        self.seen = is_whole.then_some(seen);
        Some(changes(choose(readings, running), running))
    }

    fn stamps(&self) -> Vec<(PathBuf, Option<Stamp>)> {
        let directory = self.files.directory.as_ref();
        // What keeps it from being listed is told when it is read.
        let listed = directory.and_then(|directory| paths_in(directory).ok());
        let paths = self.files.files.iter().cloned();
        paths
            .chain(listed.unwrap_or_default())
            .map(|path| {
                let stamp = stamp_of_target(&path);
                (path, stamp)
            })
            .collect()
    }
}

fn changes(choice: Choice, running: &[Kept]) -> Changes {
    let mut changes = Changes {
        problems: choice.problems,
        ..Changes::default()
    };
    let is_among = |all: &[Kept], kept: &Kept| {
        let mut others = all.iter();
        others.any(|other| Arc::ptr_eq(&other.profile, &kept.profile))
    };
    for before in running {
        if !is_among(&choice.kept, before) {
            changes.ended.push(before.profile.name.clone());
        }
    }
    for kept in choice.kept {
        if !is_among(running, &kept) {
            changes.begun.push(kept);
        } else if !running.contains(&kept) {
            changes.moved.push((kept.profile.name.clone(), kept.origin));
        }
    }
    changes
}

#[cfg(test)]
mod tests;
