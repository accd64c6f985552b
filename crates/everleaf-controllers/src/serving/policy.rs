//! The policy file: which serving requests are approved, beyond the checks that always hold.
//!
//! Owns the format (`everleaf.io/policy/v1`, YAML), its defaults and the refusal of what it does
//! not know: a misspelt key must not silently widen what is approved. Without a file the one
//! policy is [`Policy::default`]: a node may have the names and addresses of its Node object.
//!
//! ```yaml
//! version: everleaf.io/policy/v1
//! policy:
//!   - name: workers
//!     match: { node_name_regex: 'worker-[0-9]{1,4}' }
//!     san: { allowed_cidrs: [10.20.0.0/16], max_ip: 4 }
//! ```

mod file;

use crate::serving::cel::Predicate;
use crate::serving::inventory::InventorySource;
use file::File;
use ipnet::IpNet;
use regex::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The version of the format that is understood.
pub const VERSION: &str = "everleaf.io/policy/v1";
/// Largest policy file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Largest compiled form of one regular expression.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// A leap year.
const EXPIRATION_SECONDS_MAX: i32 = 31_622_400;
/// Label prefixes that the NodeRestriction admission plugin keeps nodes from setting themselves.
const LABELS_OF_OTHERS: [&str; 2] = [
    "node-restriction.kubernetes.io/",
    "node-role.kubernetes.io/",
];

/// What to do when a request breaks a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnViolation {
    /// Leave it Pending, for others.
    Abstain,
    /// Deny it.
    #[default]
    Deny,
}

/// Whether a policy acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Its requests are not looked at.
    Abstain,
    /// Decides, tells, writes nothing.
    DryRun,
    /// Decides and writes.
    #[default]
    Enforce,
}

/// How the names and addresses of a request relate to those of its Node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    /// All of them, no other.
    Exact,
    /// Some of them, no other.
    #[default]
    Subset,
}

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum KeyAlgorithm {
    /// `ECDSA-P256`
    #[serde(rename = "ECDSA-P256")]
    EcdsaP256,
    /// `ECDSA-P384`
    #[serde(rename = "ECDSA-P384")]
    EcdsaP384,
    /// `ECDSA-P521`
    #[serde(rename = "ECDSA-P521")]
    EcdsaP521,
    /// `Ed25519`
    Ed25519,
    /// `RSA`
    #[serde(rename = "RSA")]
    Rsa,
    /// `ML-DSA-44`
    #[serde(rename = "ML-DSA-44")]
    MlDsa44,
    /// `ML-DSA-65`
    #[serde(rename = "ML-DSA-65")]
    MlDsa65,
    /// `ML-DSA-87`
    #[serde(rename = "ML-DSA-87")]
    MlDsa87,
}

/// That names must lead to the addresses in DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsCheck {
    /// Whom to ask; empty: the servers of this machine.
    pub servers: Vec<SocketAddr>,
    /// For one query.
    pub timeout: Duration,
}

/// That a node's present certificate stands in for the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalCheck {
    /// PEM file of the CAs that make serving certificates.
    pub ca_file: PathBuf,
    /// Ports at which kubelets may be dialled.
    pub ports: Vec<u16>,
}

/// One policy, checked.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name in messages.
    pub name: String,
    /// Whether it acts.
    pub mode: Mode,
    /// What a broken rule means.
    pub on_violation: OnViolation,
    /// What to do about requests that no node filed.
    pub on_other_requestor: OnViolation,
    /// How long a rule may wait for what is not there yet, before it counts as broken.
    pub wait_deadline: Duration,
    /// Nodes it is for; `None`: all.
    pub node_name: Option<Regex>,
    /// Labels that those nodes carry.
    pub node_labels: BTreeMap<String, String>,
    /// Names and addresses must be the Node's.
    pub require_node_addresses: bool,
    /// How they relate.
    pub comparison: Comparison,
    /// The node's own name is its own, whether or not its addresses tell it.
    pub allow_node_name: bool,
    /// Further names.
    pub dns_regex: Vec<Regex>,
    /// Addresses must lie in one of these, unless empty.
    pub allowed_cidrs: Vec<IpNet>,
    /// Addresses must lie in none of these.
    pub deny_cidrs: Vec<IpNet>,
    /// Most DNS names.
    pub max_dns: usize,
    /// Most addresses.
    pub max_ip: usize,
    /// Whether another Node may report the same.
    pub unique_across_nodes: bool,
    /// Whether link-local addresses are addresses.
    pub allow_link_local: bool,
    /// Names of the cluster that a node may have all the same.
    pub unsafe_allow: Vec<String>,
    /// Addresses of the API server that nodes with the control-plane role may have.
    pub control_plane_addresses: Vec<IpNet>,
    /// Domains of the cluster.
    pub cluster_domains: Vec<String>,
    /// Kinds of key.
    pub key_algorithms: Vec<KeyAlgorithm>,
    /// Shortest RSA modulus, in bits.
    pub rsa_min_bits: u32,
    /// Key encipherment only with RSA.
    pub strict_usages: bool,
    /// Labels of further PEM blocks that may follow the request.
    pub attestation_blocks: Vec<String>,
    /// Longest lifetime that may be asked for, in seconds.
    pub max_expiration_seconds: i32,
    /// Approvals per node and hour; `None`: 6, or two per lifetime.
    pub per_node_per_hour: Option<u32>,
    /// Whether the requestor must be allowed to create
    /// `certificatesigningrequests/selfnodeserver`.
    pub require_permission: bool,
    /// Where the addresses of nodes are written down.
    pub inventory: InventorySource,
    /// Whether DNS must agree.
    pub dns_resolution: Option<DnsCheck>,
    /// Whether a present certificate counts.
    pub renewal: Option<RenewalCheck>,
    /// Further conditions.
    pub cel: Vec<Predicate>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            mode: Mode::Enforce,
            on_violation: OnViolation::Deny,
            on_other_requestor: OnViolation::Deny,
            wait_deadline: Duration::from_secs(600),
            node_name: None,
            node_labels: BTreeMap::new(),
            require_node_addresses: true,
            comparison: Comparison::Subset,
            allow_node_name: true,
            dns_regex: Vec::new(),
            allowed_cidrs: Vec::new(),
            deny_cidrs: Vec::new(),
            max_dns: 8,
            max_ip: 16,
            unique_across_nodes: true,
            allow_link_local: false,
            unsafe_allow: Vec::new(),
            control_plane_addresses: Vec::new(),
            cluster_domains: vec!["cluster.local".to_owned()],
            key_algorithms: vec![
                KeyAlgorithm::EcdsaP256,
                KeyAlgorithm::EcdsaP384,
                KeyAlgorithm::EcdsaP521,
                KeyAlgorithm::Ed25519,
                KeyAlgorithm::Rsa,
                KeyAlgorithm::MlDsa44,
                KeyAlgorithm::MlDsa65,
                KeyAlgorithm::MlDsa87,
            ],
            rsa_min_bits: 2048,
            strict_usages: false,
            attestation_blocks: Vec::new(),
            max_expiration_seconds: EXPIRATION_SECONDS_MAX,
            per_node_per_hour: None,
            require_permission: false,
            inventory: InventorySource::None,
            dns_resolution: None,
            renewal: None,
            cel: Vec::new(),
        }
    }
}

/// A policy file, checked.
#[derive(Clone, Debug)]
pub struct PolicySet {
    /// In order: the first that is for a node decides.
    pub policies: Vec<Policy>,
    /// What an operator should hear about it.
    pub warnings: Vec<String>,
}

impl Default for PolicySet {
    fn default() -> Self {
        Self {
            policies: vec![Policy::default()],
            warnings: Vec::new(),
        }
    }
}

/// Why a policy file is refused; each line says where and what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct PolicyError(pub Vec<String>);

impl PolicySet {
    /// Reads a policy file.
    ///
    /// # Errors
    /// When it is not YAML of the version that is understood, or any part of it is unknown,
    /// contradictory or unsafe.
    pub fn from_yaml(text: &str) -> Result<Self, PolicyError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(PolicyError(vec![format!(
                "the file is larger than {FILE_BYTES_MAX} bytes"
            )]));
        }
        let options = serde_saphyr::options! { with_snippet: false };
        let file: File = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| PolicyError(vec![error.to_string().replace('\n', ", ")]))?;
        let mut errors = Vec::new();
        if file.version != VERSION {
            errors.push(format!(
                "version is {:?}, and this understands {VERSION}",
                file.version
            ));
        }
        if file.policy.is_empty() {
            errors.push("policy: the list is empty, so nothing would be approved".to_owned());
        }
        let mut set = Self {
            policies: Vec::new(),
            warnings: Vec::new(),
        };
        for (index, section) in file.policy.into_iter().enumerate() {
            let at = format!("policy[{index}]");
            if set.policies.iter().any(|other| other.name == section.name) {
                errors.push(format!("{at}.name: {:?} is there twice", section.name));
            }
            let policy = section.check(&at, &mut errors, &mut set.warnings);
            set.policies.push(policy);
        }
        match errors.is_empty() {
            true => Ok(set),
            false => Err(PolicyError(errors)),
        }
    }
}

#[cfg(test)]
mod tests;
