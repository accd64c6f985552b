//! Which profiles an agent keeps, by what their files hold now and what it keeps already: decisions
//! only.
//!
//! A profile that cannot be used is left out and told of; it keeps none of the others from running.
//! What runs of a file that is wrong now goes on as it was: a slip of the pen must not end a
//! renewal.

use super::{Profile, ProfileProblem};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most profiles of one agent.
const PROFILES_MAX: usize = 1000;

/// A profile, and the file that it is from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) origin: Arc<Path>,
    pub(crate) profile: Arc<Profile>,
}

/// What a file holds, or what is wrong with a directory.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) origin: Arc<Path>,
    pub(super) is_directory: bool,
    pub(super) profiles: Vec<Profile>,
    pub(super) problems: Vec<ProfileProblem>,
    /// It could not be read: the next look may, though the file is the same.
    pub(super) is_unread: bool,
}

impl Reading {
    pub(super) fn of(origin: &Path) -> Self {
        Self {
            origin: origin.into(),
            is_directory: false,
            profiles: Vec::new(),
            problems: Vec::new(),
            is_unread: false,
        }
    }

    /// Whether it may be by mistake that a profile of `origin` is not in it.
    fn is_doubtful(&self, origin: &Path) -> bool {
        let is_of_it = match self.is_directory {
            true => origin.parent() == Some(&*self.origin),
            false => origin == &*self.origin,
        };
        is_of_it && !self.problems.is_empty()
    }
}

/// What an agent is to keep, and what is wrong.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) kept: Vec<Kept>,
    pub(super) problems: Vec<ProfileProblem>,
}

/// The choice between what was read and what runs. No two profiles have one name, and no two write
/// one file: what runs unchanged goes first, then the order of the files decides.
pub(super) fn choose(readings: Vec<Reading>, running: &[Kept]) -> Choice {
    let mut doubtful: BTreeSet<Arc<Path>> = BTreeSet::new();
    for Kept { origin, .. } in running {
        if readings.iter().any(|reading| reading.is_doubtful(origin)) {
            doubtful.insert(Arc::clone(origin));
        }
    }
    let running: BTreeMap<&str, &Kept> = running
        .iter()
        .map(|kept| (kept.profile.name.as_str(), kept))
        .collect();
    let mut problems = Vec::new();
    let (mut same, mut other) = (Vec::new(), Vec::new());
    for reading in readings {
        problems.extend(reading.problems);
        for profile in reading.profiles {
            let before = running.get(profile.name.as_str());
            let before = before.filter(|kept| *kept.profile == profile);
            let is_same = before.is_some();
            let kept = Kept {
                origin: Arc::clone(&reading.origin),
                profile: before.map_or_else(|| Arc::new(profile), |kept| Arc::clone(&kept.profile)),
            };
            if is_same { &mut same } else { &mut other }.push(kept);
        }
    }
    let count = same.len() + other.len();
    if count > PROFILES_MAX {
        problems.push(ProfileProblem(format!(
            "there are {count} profiles; one agent keeps {PROFILES_MAX} at most"
        )));
    }
    let mut kept = Vec::new();
    let mut claims = Claims::default();
    for wanted in same.into_iter().chain(other).take(PROFILES_MAX) {
        match claims.claim(&wanted.profile) {
            Ok(()) => kept.push(wanted),
            Err(refused) => {
                problems.extend(refused.into_iter().map(ProfileProblem));
                doubtful.insert(wanted.origin);
            }
        }
    }
    for (_, before) in running {
        let is_left_out = doubtful.contains(&before.origin) && kept.len() < PROFILES_MAX;
        if is_left_out && claims.claim(&before.profile).is_ok() {
            kept.push(before.clone());
        }
    }
    Choice { kept, problems }
}

/// The names and files that are taken.
#[derive(Default)]
struct Claims {
    names: BTreeSet<String>,
    paths: BTreeMap<PathBuf, String>,
}

impl Claims {
    /// Takes those of a profile, or says all that is taken already.
    fn claim(&mut self, profile: &Profile) -> Result<(), Vec<String>> {
        let name = &profile.name;
        let mut refused = Vec::new();
        if self.names.contains(name) {
            refused.push(format!("two profiles have the name \"{name}\""));
        }
        let mut own = BTreeSet::new();
        let outputs = profile.outputs.iter();
        for path in outputs.flat_map(|output| output.form.paths()) {
            let other = self.paths.get(path);
            let other = other.or_else(|| (!own.insert(path)).then_some(name));
            if let Some(other) = other {
                refused.push(format!(
                    "{} is written twice: by the profiles \"{other}\" and \"{name}\"",
                    path.display()
                ));
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        self.names.insert(name.clone());
        let own = own.into_iter().map(|path| (path.clone(), name.clone()));
        self.paths.extend(own);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
