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

use crate::serving::cel::Predicate;
use crate::serving::inventory::InventorySource;
use ipnet::IpNet;
use jiff::SignedDuration;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
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
    /// Further conditions.
    pub cel: Vec<Predicate>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            mode: Mode::Enforce,
            on_violation: OnViolation::Deny,
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
            ],
            rsa_min_bits: 2048,
            strict_usages: false,
            attestation_blocks: Vec::new(),
            max_expiration_seconds: EXPIRATION_SECONDS_MAX,
            per_node_per_hour: None,
            require_permission: false,
            inventory: InventorySource::None,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    policy: Vec<Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    name: String,
    #[serde(default)]
    signer: Option<String>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    on_violation: OnViolation,
    wait_deadline: Option<String>,
    #[serde(default, rename = "match")]
    matches: Match,
    #[serde(default)]
    san: San,
    #[serde(default)]
    key: Key,
    #[serde(default)]
    lifetime: Lifetime,
    #[serde(default)]
    rate: Rate,
    #[serde(default)]
    inventory: InventorySection,
    #[serde(default)]
    cel: Vec<CelSection>,
    #[serde(default)]
    strict_usages: bool,
    #[serde(default)]
    allow_attestation_blocks: Vec<String>,
    #[serde(default)]
    require_permission: bool,
    #[serde(default)]
    unsafe_allow: Vec<String>,
    #[serde(default)]
    control_plane_addresses: Vec<String>,
    cluster_domains: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Match {
    node_name_regex: Option<String>,
    #[serde(default)]
    node_labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct San {
    require_node_addresses: Option<bool>,
    #[serde(default)]
    comparison: Comparison,
    allow_node_name: Option<bool>,
    #[serde(default)]
    dns_regex: Vec<String>,
    #[serde(default)]
    allowed_cidrs: Vec<String>,
    #[serde(default)]
    deny_cidrs: Vec<String>,
    max_dns: Option<usize>,
    max_ip: Option<usize>,
    unique_across_nodes: Option<bool>,
    #[serde(default)]
    allow_link_local: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    algorithms: Option<Vec<KeyAlgorithm>>,
    rsa_min_bits: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lifetime {
    max_expiration_seconds: Option<i32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    per_node_per_hour: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct InventorySection {
    #[serde(default)]
    kind: InventoryKind,
    #[serde(rename = "ref")]
    reference: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum InventoryKind {
    File,
    #[default]
    None,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CelSection {
    expr: String,
    #[serde(default)]
    message: String,
}

/// Where in the file something stands, and where its faults are collected.
struct Checker<'a> {
    at: &'a str,
    errors: &'a mut Vec<String>,
}

impl Checker<'_> {
    fn fault(&mut self, key: &str, what: impl std::fmt::Display) {
        self.errors.push(format!("{}.{key}: {what}", self.at));
    }

    fn cidrs(&mut self, key: &str, texts: &[String]) -> Vec<IpNet> {
        let mut ranges = Vec::new();
        for text in texts {
            match parse_range(text) {
                Ok(range) => ranges.push(range),
                Err(error) => self.fault(key, error),
            }
        }
        ranges
    }

    /// Always anchored: an expression that is not would match any name that contains it.
    fn regex(&mut self, key: &str, text: &str) -> Option<Regex> {
        let built = RegexBuilder::new(&format!("^(?:{text})$"))
            .size_limit(REGEX_BYTES_MAX)
            .build();
        match built {
            Ok(regex) => Some(regex),
            Err(regex::Error::CompiledTooBig(_)) => {
                self.fault(key, format!("{text:?} is too large an expression"));
                None
            }
            Err(_) => {
                self.fault(key, format!("{text:?} is not a regular expression"));
                None
            }
        }
    }
}

/// A range such as `10.0.0.0/16`, or one address. Bits beyond the prefix are a slip of the pen
/// that widens or narrows what was meant, so they are refused, as is an IPv4 range in IPv6 form.
fn parse_range(text: &str) -> Result<IpNet, String> {
    let range: IpNet = match (text.parse(), text.parse::<IpAddr>()) {
        (Ok(range), _) => range,
        (Err(_), Ok(address)) => IpNet::from(address),
        _ => return Err(format!("{text:?} is not a range such as 10.0.0.0/16")),
    };
    if let IpAddr::V6(v6) = range.addr()
        && v6.to_ipv4_mapped().is_some()
    {
        return Err(format!("{text:?}: write it as an IPv4 range"));
    }
    if range.addr() != range.network() {
        return Err(format!(
            "{text:?} has bits beyond its prefix: {} was meant?",
            range.trunc()
        ));
    }
    Ok(range)
}

impl Section {
    fn check(self, at: &str, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Policy {
        let default = Policy::default();
        let mut checker = Checker { at, errors };
        if self.name.is_empty() {
            checker.fault("name", "give the policy a name: messages tell it");
        }
        if let Some(signer) = &self.signer
            && signer != everleaf_pki::SignerName::KUBELET_SERVING
        {
            checker.fault(
                "signer",
                format!(
                    "{signer:?}: only {} has such a policy",
                    everleaf_pki::SignerName::KUBELET_SERVING
                ),
            );
        }
        let wait_deadline = match self.wait_deadline.as_deref().map(parse_duration) {
            None => default.wait_deadline,
            Some(Ok(duration)) => duration,
            Some(Err(error)) => {
                checker.fault("wait_deadline", error);
                default.wait_deadline
            }
        };
        for label in self.matches.node_labels.keys() {
            if !LABELS_OF_OTHERS.iter().any(|own| label.starts_with(own)) {
                warnings.push(format!(
                    "policy {:?}: nodes can set the label {label:?} themselves and so choose this policy; match labels that \
                     start with {}",
                    self.name,
                    LABELS_OF_OTHERS.join(" or ")
                ));
            }
        }
        let require_node_addresses = self.san.require_node_addresses.unwrap_or(true);
        let allowed_cidrs = checker.cidrs("san.allowed_cidrs", &self.san.allowed_cidrs);
        let has_inventory = self.inventory.kind != InventoryKind::None;
        if !require_node_addresses && allowed_cidrs.is_empty() && !has_inventory {
            checker.fault(
                "san.require_node_addresses",
                "switched off, nothing says which addresses a node may have: give allowed_cidrs or an inventory",
            );
        }
        let regexes = self.san.dns_regex.iter();
        let dns_regex = regexes
            .filter_map(|text| checker.regex("san.dns_regex", text))
            .collect();
        Policy {
            node_name: self
                .matches
                .node_name_regex
                .as_deref()
                .and_then(|text| checker.regex("match.node_name_regex", text)),
            dns_regex,
            deny_cidrs: checker.cidrs("san.deny_cidrs", &self.san.deny_cidrs),
            control_plane_addresses: checker
                .cidrs("control_plane_addresses", &self.control_plane_addresses),
            key_algorithms: self.key.algorithms.unwrap_or(default.key_algorithms),
            rsa_min_bits: positive(
                &mut checker,
                "key.rsa_min_bits",
                self.key.rsa_min_bits,
                2048,
            ),
            max_expiration_seconds: seconds(&mut checker, self.lifetime.max_expiration_seconds),
            inventory: inventory(&mut checker, self.inventory),
            cel: predicates(&mut checker, &self.cel),
            name: self.name,
            mode: self.mode,
            on_violation: self.on_violation,
            wait_deadline,
            node_labels: self.matches.node_labels,
            require_node_addresses,
            comparison: self.san.comparison,
            allow_node_name: self.san.allow_node_name.unwrap_or(true),
            allowed_cidrs,
            max_dns: self.san.max_dns.unwrap_or(default.max_dns),
            max_ip: self.san.max_ip.unwrap_or(default.max_ip),
            unique_across_nodes: self.san.unique_across_nodes.unwrap_or(true),
            allow_link_local: self.san.allow_link_local,
            unsafe_allow: self.unsafe_allow,
            cluster_domains: self.cluster_domains.unwrap_or(default.cluster_domains),
            strict_usages: self.strict_usages,
            attestation_blocks: self.allow_attestation_blocks,
            per_node_per_hour: self.rate.per_node_per_hour,
            require_permission: self.require_permission,
        }
    }
}

fn positive(checker: &mut Checker<'_>, key: &str, given: Option<u32>, least: u32) -> u32 {
    let value = given.unwrap_or(least);
    if value < least {
        checker.fault(key, format!("{value}: nothing below {least} is approved"));
    }
    value
}

fn seconds(checker: &mut Checker<'_>, given: Option<i32>) -> i32 {
    /// The API's own minimum (kubernetes 1.37 `pkg/apis/certificates/validation`).
    const LEAST: i32 = 600;
    let value = given.unwrap_or(EXPIRATION_SECONDS_MAX);
    if value < LEAST {
        checker.fault(
            "lifetime.max_expiration_seconds",
            format!("{value}: no request may ask for less than {LEAST}"),
        );
    }
    value
}

fn inventory(checker: &mut Checker<'_>, section: InventorySection) -> InventorySource {
    match (section.kind, section.reference) {
        (InventoryKind::None, None) => InventorySource::None,
        (InventoryKind::None, Some(_)) => {
            checker.fault("inventory.ref", "there is one, but kind is none");
            InventorySource::None
        }
        (InventoryKind::File, Some(path)) if !path.is_empty() => InventorySource::File(path.into()),
        (InventoryKind::File, _) => {
            checker.fault("inventory.ref", "which file?");
            InventorySource::None
        }
    }
}

fn predicates(checker: &mut Checker<'_>, sections: &[CelSection]) -> Vec<Predicate> {
    let mut predicates = Vec::new();
    for (index, CelSection { expr, message }) in sections.iter().enumerate() {
        match Predicate::compile(expr, message) {
            Ok(predicate) => predicates.push(predicate),
            Err(error) => checker.fault(&format!("cel[{index}].expr"), error),
        }
    }
    predicates
}

/// A duration such as `1h30m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration: Option<SignedDuration> = text.parse().ok();
    let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| format!("{text:?} is not a duration such as 10m or 1h30m"))
}

#[cfg(test)]
mod tests;
