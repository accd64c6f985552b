//! The policy file and the inventories that it names, as they stand on disk.
//!
//! Owns reading them and seeing that they changed. A file that cannot be used leaves in force what
//! was read before, and is told once per change.

use crate::notice::Notice;
use crate::run::RunError;
use crate::serving::{Inventory, InventorySource, PolicySet, State, inventory, policy};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What tells one state of a file from another without reading it.
type Stamp = Option<(SystemTime, u64)>;

/// See the module documentation.
pub(crate) struct PolicyFiles {
    policy: PathBuf,
    /// The text as it was read last, or why it could not be.
    seen: Result<String, String>,
    inventories: BTreeMap<PathBuf, Stamp>,
}

impl PolicyFiles {
    /// Reads the policy file for the first time.
    pub(crate) fn load(path: PathBuf) -> Result<(Self, PolicySet, Vec<Notice>), RunError> {
        let refused = |error| RunError::Policy {
            file: path.display().to_string(),
            error,
        };
        let text = read(&path, policy::FILE_BYTES_MAX).map_err(refused)?;
        let policies = PolicySet::from_yaml(&text).map_err(|error| refused(error.to_string()))?;
        let notice = loaded(&path, &policies);
        let files = Self {
            policy: path,
            seen: Ok(text),
            inventories: BTreeMap::new(),
        };
        Ok((files, policies, vec![notice]))
    }

    /// Looks again. True when something else is in force now.
    pub(crate) fn look(&mut self, state: &State) -> (bool, Vec<Notice>) {
        let mut notices = Vec::new();
        let mut changed = false;
        let text = read(&self.policy, policy::FILE_BYTES_MAX);
        if text != self.seen {
            let policies = match &text {
                Ok(text) => PolicySet::from_yaml(text).map_err(|error| error.to_string()),
                Err(error) => Err(error.clone()),
            };
            self.seen = text;
            match policies {
                Ok(policies) => {
                    notices.push(loaded(&self.policy, &policies));
                    state.set_policies(policies);
                    changed = true;
                }
                Err(error) => notices.push(refused("policy", &self.policy, error)),
            }
        }
        let policies = state.policies();
        let mut named = Vec::new();
        for policy in &policies.policies {
            if let InventorySource::File(path) = &policy.inventory {
                named.push(path.clone());
            }
        }
        self.inventories.retain(|path, _| named.contains(path));
        for path in named {
            changed |= self.look_at_inventory(path, state, &mut notices);
        }
        (changed, notices)
    }

    fn look_at_inventory(
        &mut self,
        path: PathBuf,
        state: &State,
        notices: &mut Vec<Notice>,
    ) -> bool {
        let stamp = stamp(&path);
        if self.inventories.get(&path) == Some(&stamp) {
            return false;
        }
        self.inventories.insert(path.clone(), stamp);
        let text = read(&path, inventory::FILE_BYTES_MAX);
        let inventory = text.and_then(|text| Inventory::from_yaml(&text));
        let is_usable = inventory.is_ok();
        notices.push(match &inventory {
            Ok(inventory) => Notice::PolicyLoaded {
                what: "inventory",
                file: path.display().to_string(),
                entries: inventory.len(),
                warnings: Vec::new(),
            },
            Err(error) => refused("inventory", &path, error.clone()),
        });
        state.set_inventory(path, inventory.map(std::sync::Arc::new));
        is_usable
    }
}

fn loaded(path: &Path, policies: &PolicySet) -> Notice {
    Notice::PolicyLoaded {
        what: "policy",
        file: path.display().to_string(),
        entries: policies.policies.len(),
        warnings: policies.warnings.clone(),
    }
}

fn refused(what: &'static str, path: &Path, error: String) -> Notice {
    Notice::PolicyRefused {
        what,
        file: path.display().to_string(),
        error,
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The text of a file, or why there is none.
pub(crate) fn read(path: &Path, bytes_max: usize) -> Result<String, String> {
    let words = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this process may not read it".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::InvalidData => "it is not text (UTF-8)".to_owned(),
        _ => error.to_string(),
    };
    let file = File::open(path).map_err(words)?;
    let mut text = String::new();
    file.take(bytes_max as u64 + 1)
        .read_to_string(&mut text)
        .map_err(words)?;
    match text.len() > bytes_max {
        true => Err(format!("it is larger than {bytes_max} bytes")),
        false => Ok(text),
    }
}
