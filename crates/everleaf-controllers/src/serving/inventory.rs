//! An operator's own list of which node has which names and addresses.
//!
//! Owns the format: YAML or JSON, a map from the node's name to a list of names and addresses.
//! Where there is one, it is the authority: what a node says of itself counts only within it.
//!
//! ```yaml
//! worker-1: [10.20.0.11, worker-1.example.com]
//! worker-2: [10.20.0.12, "fd00:20::12"]
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Largest inventory file.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// Where an inventory comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum InventorySource {
    /// This file.
    File(PathBuf),
    /// There is none.
    #[default]
    None,
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory(BTreeMap<String, Vec<String>>);

impl Inventory {
    /// Reads a file's text.
    ///
    /// # Errors
    /// When it is not such a map.
    pub fn from_yaml(text: &str) -> Result<Self, String> {
        let options = serde_saphyr::options! { with_snippet: false };
        let entries: BTreeMap<String, Vec<String>> =
            serde_saphyr::from_str_with_options(text, options)
                .map_err(|error| error.to_string().replace('\n', ", "))?;
        let canonical = |entry: String| match entry.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().to_string(),
            Err(_) => entry.to_ascii_lowercase(),
        };
        let entries = entries.into_iter();
        Ok(Self(
            entries
                .map(|(node, list)| (node, list.into_iter().map(canonical).collect()))
                .collect(),
        ))
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
