//! The policy file, and the inventories that it names, on disk or in ConfigMaps.
//!
//! Owns reading them and seeing that they changed; whoever calls fetches ConfigMaps. What cannot be
//! used leaves in force what was read before, and is told once per change.

use crate::call::{Answer, CallError, parse};
use crate::input;
use crate::notice::Notice;
use crate::run::RunError;
use crate::serving::inventory::{self, KEY};
use crate::serving::{Inventory, InventorySource, PolicySet, State, policy};
use everleaf_api::meta;
use everleaf_pki::Leaf;
use everleaf_pki::trust::TrustBundle;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What tells one state of a file from another without reading it.
type Stamp = Option<(SystemTime, u64)>;

/// What tells one state of an inventory from another.
#[derive(PartialEq, Eq)]
enum Seen {
    /// Its resource version, or why it cannot be read.
    ConfigMap(String),
    File(Stamp),
}

/// See the module documentation.
pub(crate) struct PolicyFiles {
    policy: PathBuf,
    /// The text as it was read last, or why it could not be.
    seen: Result<String, String>,
    seen_inventories: BTreeMap<InventorySource, Seen>,
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
            seen_inventories: BTreeMap::new(),
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
                Err(error) => {
                    let file = self.policy.display().to_string();
                    notices.push(refused("policy", file, error));
                }
            }
        }
        let named: Vec<_> = named(state).collect();
        self.seen_inventories
            .retain(|source, _| named.contains(source));
        for source in named {
            if let InventorySource::File(path) = &source {
                let stamp = stamp(path);
                let text = || read(path, inventory::FILE_BYTES_MAX);
                let read = || text().and_then(|text| Inventory::from_yaml(&text));
                changed |= self.take(&source, Seen::File(stamp), read, state, &mut notices);
            }
        }
        (changed, notices)
    }

    /// Takes in the answer to a call for a ConfigMap. True when something else is in force now.
    pub(crate) fn answer(
        &mut self,
        source: &InventorySource,
        answer: &Answer,
        state: &State,
    ) -> (bool, Vec<Notice>) {
        let object = match answer {
            // That the server is away is told by the client.
            Err(CallError::Unreachable(_)) => return (false, Vec::new()),
            Err(error) if error.code() == 404 => Err(format!(
                "there is none: make it with the key {KEY} (kubectl create configmap --from-file={KEY})"
            )),
            Err(error) => {
                Err(error.advised(&format!("the policy's inventory needs get on the {source}")))
            }
            Ok(body) => parse(body).map_err(|error| error.to_string()),
        };
        let seen = match &object {
            Ok(object) => meta::resource_version(object).to_owned(),
            Err(error) => error.clone(),
        };
        let read = || object.and_then(|object| Inventory::from_config_map(&object));
        let mut notices = Vec::new();
        let changed = self.take(source, Seen::ConfigMap(seen), read, state, &mut notices);
        (changed, notices)
    }

    fn take(
        &mut self,
        source: &InventorySource,
        seen: Seen,
        read: impl FnOnce() -> Result<Inventory, String>,
        state: &State,
        notices: &mut Vec<Notice>,
    ) -> bool {
        if self.seen_inventories.get(source) == Some(&seen) {
            return false;
        }
        self.seen_inventories.insert(source.clone(), seen);
        let inventory = read();
        let is_usable = inventory.is_ok();
        let file = source.to_string();
        notices.push(match &inventory {
            Ok(inventory) => Notice::PolicyLoaded {
                what: "inventory",
                file,
                entries: inventory.len(),
                warnings: Vec::new(),
            },
            Err(error) => refused("inventory", file, error.clone()),
        });
        state.set_inventory(source.clone(), inventory.map(Arc::new));
        is_usable
    }
}

/// The inventories that the policies in force name.
pub(crate) fn named(state: &State) -> impl Iterator<Item = InventorySource> {
    let policies = state.policies();
    let all = policies
        .policies
        .iter()
        .map(|policy| policy.inventory.clone());
    let all: BTreeSet<InventorySource> = all.collect();
    all.into_iter()
        .filter(|source| *source != InventorySource::None)
}

fn loaded(path: &Path, policies: &PolicySet) -> Notice {
    Notice::PolicyLoaded {
        what: "policy",
        file: path.display().to_string(),
        entries: policies.policies.len(),
        warnings: policies
            .warnings
            .iter()
            .cloned()
            .chain(doubts(policies))
            .collect(),
    }
}

/// What is wrong now with the CA files that policies name. They are read anew whenever a kubelet is
/// looked at, so it may be right by then.
pub fn doubts(policies: &PolicySet) -> impl Iterator<Item = String> + '_ {
    policies.policies.iter().filter_map(|policy| {
        let path = &policy.renewal.as_ref()?.ca_file;
        let error = authorities(path).err()?;
        Some(format!(
            "policy {:?}: renewal.ca_file {}: {error}; until that is mended, no certificate that a kubelet shows counts",
            policy.name,
            path.display()
        ))
    })
}

/// Largest file of CAs.
const CA_BYTES_MAX: usize = 1 << 20;

/// The CAs of a file by which certificates that kubelets show are judged.
pub(crate) fn authorities(path: &Path) -> Result<TrustBundle, String> {
    let text = read(path, CA_BYTES_MAX)?;
    let bundle = TrustBundle::from_pem(text.as_bytes()).map_err(|error| error.to_string())?;
    if bundle.anchors().iter().any(Leaf::is_ca) {
        return Ok(bundle);
    }
    Err("none of its certificates is an authority".to_owned())
}

fn refused(what: &'static str, file: String, error: String) -> Notice {
    Notice::PolicyRefused { what, file, error }
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
        _ => error.to_string(),
    };
    let bytes = input::read(path, bytes_max as u64).map_err(words)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not text (UTF-8)".to_owned())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::read_answer;
    use crate::fixture::{authority, now};
    use everleaf_pki::{KeyAlgorithm, PrivateKey, Template, Usage};
    use http::{HeaderMap, StatusCode};
    use jiff::SignedDuration;
    use serde_json::json;

    /// Each change is told once, in people's words; that the server is away is nobody's fault here.
    #[test]
    fn what_is_wrong_with_a_file_of_cas_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (from, to) = (now(), now() + SignedDuration::from_hours(1));
        let usages = [Usage::ServerAuth];
        let issuer = authority(SignedDuration::from_hours(2));
        let template = Template::default();
        let leaf = issuer.issue_own(&template, key.public_key(), &usages, [9; 16], from, to);
        let leaf = leaf.unwrap().to_pem();
        fs::write(dir.path().join("leaf"), leaf).unwrap();
        fs::write(dir.path().join("text"), "nothing").unwrap();
        for (name, fault) in [
            ("none", "there is no such file"),
            ("text", "CERTIFICATE"),
            ("leaf", "none of its certificates is an authority"),
        ] {
            let mut policies = PolicySet::default();
            policies.policies[0].renewal = Some(policy::RenewalCheck {
                ca_file: dir.path().join(name),
                ports: vec![10_250],
            });
            let told: Vec<String> = doubts(&policies).collect();
            assert!(told.len() == 1 && told[0].contains(fault), "{told:?}");
        }
    }

    #[test]
    fn a_config_map_is_told_once_per_change() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let policy = "version: everleaf.io/policy/v1\npolicy: [{name: a, inventory: {kind: configmap, ref: default/nodes}}]\n";
        fs::write(file.path(), policy).unwrap();
        let (mut files, policies, _) = PolicyFiles::load(file.path().to_owned()).unwrap();
        let state = State::new(policies, None, []);
        let sources: Vec<_> = named(&state).collect();
        let [source] = &sources[..] else {
            panic!("{sources:?}");
        };
        let map = |version: &str, text: &str| -> Answer {
            let metadata = json!({ "resourceVersion": version });
            let map = json!({ "metadata": metadata, "data": { KEY: text } });
            Ok(map.to_string().into())
        };
        let refusal = |code: u16| {
            let code = StatusCode::from_u16(code).unwrap();
            read_answer(code, &HeaderMap::new(), "{}".into())
        };
        let away = || Err(CallError::Unreachable("away".to_owned()));
        for (answer, changes, told) in [
            (refusal(404), false, "kubectl create configmap"),
            (refusal(404), false, ""),
            (
                refusal(403),
                false,
                "needs get on the ConfigMap default/nodes",
            ),
            (map("1", "n1: [10.0.0.1]\n"), true, "1 nodes"),
            (map("1", "n1: [10.0.0.1]\n"), false, ""),
            (away(), false, ""),
            (map("2", "["), false, "ConfigMap default/nodes"),
            (map("3", "{}"), true, "0 nodes"),
        ] {
            let (changed, notices) = files.answer(source, &answer, &state);
            let words: Vec<String> = notices
                .iter()
                .map(|notice| match notice {
                    Notice::PolicyLoaded { entries, .. } => format!("{entries} nodes"),
                    Notice::PolicyRefused { file, error, .. } => format!("{file}: {error}"),
                    other => format!("{other:?}"),
                })
                .collect();
            assert_eq!(changed, changes, "{words:?}");
            assert_eq!(words.is_empty(), told.is_empty(), "{words:?}");
            assert!(words.concat().contains(told), "{words:?}");
        }
    }
}
