//! Profiles as files: YAML documents of `agent.everleaf.dev/v1alpha1`, kind `CertificateProfile`.
//!
//! Strict: what is not understood is refused, with the nearest name, since a profile that means
//! less than it says is found out when the certificate has ended. Every problem of every file is
//! told at once; [`choice`](super::choice) says what becomes of the rest.

mod fields;
mod spec;

use super::choice::{Reading, choose};
use super::{Profile, ProfileFiles};
use everleaf_pki::signer::is_dns1123_subdomain;
use everleaf_rotation::store::dir::read_file;
use fields::Fields;
use serde_json::{Map, Value};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `apiVersion` of a profile.
const API_VERSION: &str = "agent.everleaf.dev/v1alpha1";
/// `kind` of a profile.
const KIND: &str = "CertificateProfile";

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most files of a directory that are read.
const FILES_MAX: usize = 1000;
/// Longest name of a profile.
const NAME_CHARS_MAX: usize = 63;
/// Names of the node's own certificates in metrics and log lines.
const TAKEN_NAMES: [&str; 2] = ["client", "serving"];
/// How the names of the files of a directory end.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Something in the profiles that must be repaired before all of them are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileProblem(pub(super) String);

impl ProfileProblem {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for ProfileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProfileProblem {}

/// Reads the profiles of these files, and of the files of the directory that end in `.yaml`, `.yml`
/// or `.json`, for a node of that name.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn read_profiles(
    files: &ProfileFiles,
    node_name: &str,
) -> Result<Vec<Profile>, Vec<ProfileProblem>> {
    let choice = choose(read_each(files, node_name), &[]);
    if !choice.problems.is_empty() {
        return Err(choice.problems);
    }
    let profiles = choice.kept.into_iter();
    Ok(profiles
        .map(|kept| Arc::unwrap_or_clone(kept.profile))
        .collect())
}

/// What each of the files holds, and what is wrong with it.
pub(super) fn read_each(files: &ProfileFiles, node_name: &str) -> Vec<Reading> {
    let mut readings: Vec<_> = files
        .files
        .iter()
        .map(|file| read_one(file, node_name))
        .collect();
    if let Some(directory) = &files.directory {
        match paths_in(directory) {
            Ok(paths) => readings.extend(paths.iter().map(|path| read_one(path, node_name))),
            Err(problem) => readings.push(Reading {
                is_directory: true,
                problems: vec![problem],
                is_unread: true,
                ..Reading::of(directory)
            }),
        }
    }
    readings
}

/// The files of a directory that are read, in the order of their names, which decides between two
/// profiles that exclude each other.
pub(super) fn paths_in(directory: &Path) -> Result<Vec<PathBuf>, ProfileProblem> {
    let shown = directory.display();
    let entries = std::fs::read_dir(directory).and_then(|entries| {
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect::<Result<Vec<PathBuf>, _>>()
    });
    let mut paths = entries
        .map_err(|error| ProfileProblem(format!("cannot read --profile-dir {shown}: {error}")))?;
    paths.retain(|path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !is_hidden && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
    });
    if paths.len() > FILES_MAX {
        return Err(ProfileProblem(format!(
            "--profile-dir {shown} holds {} files; {FILES_MAX} are read at most",
            paths.len()
        )));
    }
    paths.sort();
    Ok(paths)
}

fn read_one(path: &Path, node_name: &str) -> Reading {
    let shown = path.display();
    let mut reading = Reading::of(path);
    let text = match read_file(path, FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) => {
            reading.is_unread = true;
            let problem = format!("cannot read the profile {shown}: {error}");
            reading.problems.push(ProfileProblem(problem));
            return reading;
        }
    };
    let text = std::str::from_utf8(&text).map_err(|_| "it is not UTF-8".to_owned());
    let documents = text.and_then(crate::yaml::documents::<Map<String, Value>>);
    let documents = match documents {
        Ok(documents) if !documents.is_empty() => documents,
        Ok(_) => {
            let problem = ProfileProblem(format!("{shown} holds no profile"));
            reading.problems.push(problem);
            return reading;
        }
        Err(what) => {
            let problem = ProfileProblem(format!("{shown} is malformed: {what}"));
            reading.problems.push(problem);
            return reading;
        }
    };
    for (number, members) in documents.iter().enumerate() {
        let place = match documents.len() {
            1 => shown.to_string(),
            _ => format!("{shown}, document {}", number + 1),
        };
        let mut problems = Vec::new();
        match profile(&place, members, node_name, &mut problems) {
            Some(profile) if problems.is_empty() => reading.profiles.push(profile),
            _ => reading
                .problems
                .extend(problems.into_iter().map(ProfileProblem)),
        }
    }
    reading
}

/// The profile of one document; `None`, and why, where it cannot be one.
fn profile(
    place: &str,
    members: &Map<String, Value>,
    node_name: &str,
    problems: &mut Vec<String>,
) -> Option<Profile> {
    let mut document = Fields::new(place, "", members, problems);
    document.expect("apiVersion", API_VERSION);
    document.expect("kind", KIND);
    let name = document.within("metadata", &["name"], |metadata| {
        let name = metadata.required_text("name")?;
        let is_name = is_dns1123_subdomain(&name) && name.len() <= NAME_CHARS_MAX;
        if !is_name {
            metadata.problem(
                "name",
                &format!(
                    "{name:?} cannot name a profile: lower-case letters, digits, '-' and '.', at most {NAME_CHARS_MAX}, each part \
                     beginning and ending with a letter or digit"
                ),
            );
        } else if TAKEN_NAMES.contains(&name.as_str()) {
            metadata.problem(
                "name",
                &format!("{name:?} is a certificate of the node itself; choose another name"),
            );
        }
        Some(name)
    });
    let profile = document.within("spec", spec::FIELDS, |spec| spec::read(spec, node_name));
    document.check_names(&["apiVersion", "kind", "metadata", "spec"]);
    Some(Profile {
        name: name??,
        ..profile??
    })
}

#[cfg(test)]
mod tests;
