//! An operator's own list of which node has which names and addresses.
//!
//! Owns the format, YAML or JSON, a map from the node's name to a list of names and addresses, and
//! where it may stand.
//! Where there is one, it is the authority: what a node says of itself counts only within it.
//!
//! ```yaml
//! worker-1: [10.20.0.11, worker-1.example.com]
//! worker-2: [10.20.0.12, "fd00:20::12"]
//! ```

use crate::call::segment;
use crate::serving::names::{check_dns_name, quote};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// Largest inventory file.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// The key of a ConfigMap under which an inventory stands.
pub const KEY: &str = "inventory.yaml";

/// Where an inventory comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum InventorySource {
    /// [`KEY`] of this ConfigMap.
    ConfigMap {
        /// `metadata.namespace`.
        namespace: String,
        /// `metadata.name`.
        name: String,
    },
    /// This file.
    File(PathBuf),
    /// There is none.
    #[default]
    None,
}

impl InventorySource {
    /// Path of the ConfigMap, if it is one.
    pub fn path(&self) -> Option<String> {
        match self {
            Self::ConfigMap { namespace, name } => Some(format!(
                "/api/v1/namespaces/{}/configmaps/{}",
                segment(namespace),
                segment(name)
            )),
            Self::File(_) | Self::None => None,
        }
    }
}

impl fmt::Display for InventorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMap { namespace, name } => write!(f, "ConfigMap {namespace}/{name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::None => f.write_str("none"),
        }
    }
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory(BTreeMap<String, Vec<String>>);

impl Inventory {
    /// Reads a file's text.
    ///
    /// # Errors
    /// When it is not such a map, or an entry is neither an address nor a name. Nothing at all is
    /// no inventory: a file that is being written may look so.
    pub fn from_yaml(text: &str) -> Result<Self, String> {
        let is_blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if text.lines().all(is_blank) {
            return Err("it is empty; write {} if no node shall be known".to_owned());
        }
        let options = serde_saphyr::options! { with_snippet: false };
        let entries: BTreeMap<String, Vec<String>> =
            serde_saphyr::from_str_with_options(text, options)
                .map_err(|error| error.to_string().replace('\n', ", "))?;
        let mut inventory = Self::default();
        for (node, list) in entries {
            let canonical = list.iter().map(|entry| canonical(&node, entry));
            let list = canonical.collect::<Result<_, _>>()?;
            inventory.0.insert(node, list);
        }
        Ok(inventory)
    }

    /// Reads a ConfigMap.
    ///
    /// # Errors
    /// When it holds no such map under [`KEY`].
    pub fn from_config_map(object: &Value) -> Result<Self, String> {
        match object["data"][KEY].as_str() {
            Some(text) => Self::from_yaml(text),
            None => {
                let keys = object["data"].as_object().into_iter().flatten();
                let keys: Vec<&str> = keys.map(|(key, _)| key.as_str()).collect();
                let keys = match keys.is_empty() {
                    true => "none".to_owned(),
                    false => keys.join(", "),
                };
                Err(format!("it has no key {KEY} (keys: {keys})"))
            }
        }
    }

    /// What it says of a node, addresses in canonical form; `None`: it does not know it.
    pub fn of(&self, node: &str) -> Option<&[String]> {
        self.0.get(node).map(Vec::as_slice)
    }

    /// Nodes in it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it knows no node.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An entry as requests are compared with it.
fn canonical(node: &str, entry: &str) -> Result<String, String> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Ok(address.to_canonical().to_string());
    }
    let name = entry.to_ascii_lowercase();
    check_dns_name(&name).map_err(|fault| {
        format!(
            "{node}: {} is neither an address nor a name: {fault}",
            quote(entry)
        )
    })?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_no_request_could_ask_for_is_a_fault() {
        for entry in [
            "10.0.0.999",
            "10.0.0.0/24",
            "10.0.0.05",
            "'*.x.y'",
            "'5'",
            "a b",
            "''",
        ] {
            let text = format!("n1: [10.0.0.1, {entry}]\n");
            let error = Inventory::from_yaml(&text).unwrap_err();
            assert!(error.starts_with("n1: "), "{entry}: {error}");
        }
        for text in ["", " \n", "# nothing yet\n\n"] {
            let error = Inventory::from_yaml(text).unwrap_err();
            assert!(error.starts_with("it is empty"), "{error}");
        }
        assert!(Inventory::from_yaml("{}").unwrap().is_empty());
    }

    #[test]
    fn a_config_map_holds_one_under_its_key() {
        let map = json!({ "data": { KEY: "n1: [10.0.0.1, N1.example.com]\n" } });
        let inventory = Inventory::from_config_map(&map).unwrap();
        assert_eq!(inventory.of("n1").unwrap(), ["10.0.0.1", "n1.example.com"]);
        for (map, why) in [
            (json!({}), "it has no key inventory.yaml (keys: none)"),
            (json!({ "data": { "a": "", "b": "" } }), "(keys: a, b)"),
            (json!({ "data": { KEY: "[1]" } }), "expected"),
        ] {
            let error = Inventory::from_config_map(&map).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_config_map_is_asked_for_by_its_path() {
        let source = InventorySource::ConfigMap {
            namespace: "kube-system".to_owned(),
            name: "a/b".to_owned(),
        };
        assert_eq!(
            source.path().unwrap(),
            "/api/v1/namespaces/kube-system/configmaps/a%2Fb"
        );
        assert_eq!(InventorySource::File("/x".into()).path(), None);
    }
}
