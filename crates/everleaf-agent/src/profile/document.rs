//! Profiles as files: YAML documents of `agent.everleaf.dev/v1alpha1`, kind `CertificateProfile`.
//!
//! Strict: what is not understood is refused, with the nearest name, since a profile that means
//! less than it says is found out when the certificate has ended. Every problem of every file is
//! told at once.

mod fields;
mod spec;

use super::Profile;
use everleaf_pki::signer::is_dns1123_subdomain;
use everleaf_rotation::store::dir::read_file;
use fields::Fields;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// `apiVersion` of a profile.
const API_VERSION: &str = "agent.everleaf.dev/v1alpha1";
/// `kind` of a profile.
const KIND: &str = "CertificateProfile";

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most files of a directory that are read.
const FILES_MAX: usize = 1000;
/// Most profiles of one agent.
const PROFILES_MAX: usize = 1000;
/// Longest name of a profile.
const NAME_CHARS_MAX: usize = 63;
/// Names of the node's own certificates in metrics and log lines.
const TAKEN_NAMES: [&str; 2] = ["client", "serving"];
/// How the names of the files of a directory end.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Something in the profiles that must be repaired before the agent can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileProblem(pub(super) String);

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
    files: &[PathBuf],
    directory: Option<&Path>,
    node_name: &str,
) -> Result<Vec<Profile>, Vec<ProfileProblem>> {
    let mut all = All {
        node_name,
        profiles: Vec::new(),
        problems: Vec::new(),
    };
    for file in files {
        all.read_file(file);
    }
    if let Some(directory) = directory {
        all.read_directory(directory);
    }
    all.check_together();
    if all.problems.is_empty() {
        Ok(all.profiles)
    } else {
        Err(all.problems)
    }
}

struct All<'a> {
    node_name: &'a str,
    profiles: Vec<Profile>,
    problems: Vec<ProfileProblem>,
}

impl All<'_> {
    fn problem(&mut self, text: String) {
        self.problems.push(ProfileProblem(text));
    }

    fn read_directory(&mut self, directory: &Path) {
        let shown = directory.display();
        let entries = std::fs::read_dir(directory).and_then(|entries| {
            let paths = entries.map(|entry| entry.map(|entry| entry.path()));
            paths.collect::<Result<Vec<PathBuf>, _>>()
        });
        let mut paths = match entries {
            Ok(paths) => paths,
            Err(error) => {
                return self.problem(format!("cannot read --profile-dir {shown}: {error}"));
            }
        };
        paths.retain(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            let is_hidden = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            !is_hidden && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
        });
        if paths.len() > FILES_MAX {
            return self.problem(format!(
                "--profile-dir {shown} holds {} files; {FILES_MAX} are read at most",
                paths.len()
            ));
        }
        // The order decides nothing but that of the log lines.
        paths.sort();
        for path in paths {
            self.read_file(&path);
        }
    }

    fn read_file(&mut self, path: &Path) {
        let shown = path.display();
        let text = match read_file(path, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(error) => return self.problem(format!("cannot read the profile {shown}: {error}")),
        };
        let text = std::str::from_utf8(&text).map_err(|_| "it is not UTF-8".to_owned());
        let documents = text.and_then(crate::yaml::documents::<Map<String, Value>>);
        let documents = match documents {
            Ok(documents) if documents.is_empty() => {
                return self.problem(format!("{shown} holds no profile"));
            }
            Ok(documents) => documents,
            Err(what) => return self.problem(format!("{shown} is malformed: {what}")),
        };
        for (number, members) in documents.iter().enumerate() {
            let place = match documents.len() {
                1 => shown.to_string(),
                _ => format!("{shown}, document {}", number + 1),
            };
            self.read_document(place, members);
        }
    }

    fn read_document(&mut self, place: String, members: &Map<String, Value>) {
        let mut problems = Vec::new();
        let profile = profile(&place, members, self.node_name, &mut problems);
        match profile {
            Some(profile) if problems.is_empty() => self.profiles.push(profile),
            _ => self
                .problems
                .extend(problems.into_iter().map(ProfileProblem)),
        }
    }

    /// No two profiles of one name, and no file that two write.
    fn check_together(&mut self) {
        if self.profiles.len() > PROFILES_MAX {
            let count = self.profiles.len();
            self.problem(format!(
                "there are {count} profiles; one agent keeps {PROFILES_MAX} at most"
            ));
        }
        let mut names = BTreeSet::new();
        let mut paths: BTreeMap<&Path, &str> = BTreeMap::new();
        let mut problems = Vec::new();
        for profile in &self.profiles {
            if !names.insert(&profile.name) {
                problems.push(format!("two profiles have the name \"{}\"", profile.name));
            }
            for path in profile
                .outputs
                .iter()
                .flat_map(|output| output.form.paths())
            {
                if let Some(other) = paths.insert(path, &profile.name) {
                    problems.push(format!(
                        "{} is written twice: by the profiles \"{other}\" and \"{}\"",
                        path.display(),
                        profile.name
                    ));
                }
            }
        }
        self.problems
            .extend(problems.into_iter().map(ProfileProblem));
    }
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
