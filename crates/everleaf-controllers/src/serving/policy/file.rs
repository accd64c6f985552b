//! The sections of a policy file as they stand in it, and their check.

use super::{
    Comparison, DnsCheck, EXPIRATION_SECONDS_MAX, KeyAlgorithm, LABELS_OF_OTHERS, Mode,
    OnViolation, Policy, REGEX_BYTES_MAX, RenewalCheck,
};
use crate::serving::cel::Predicate;
use crate::serving::inventory::InventorySource;
use crate::serving::names::check_dns_name;
use ipnet::IpNet;
use jiff::SignedDuration;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) version: String,
    pub(super) policy: Vec<Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    pub(super) name: String,
    #[serde(default)]
    signer: Option<String>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    on_violation: OnViolation,
    #[serde(default)]
    on_other_requestor: OnViolation,
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
    renewal: RenewalSection,
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
    #[serde(default)]
    dns_resolution: DnsSection,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DnsSection {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    servers: Vec<String>,
    timeout: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewalSection {
    #[serde(default)]
    enabled: bool,
    ca_file: Option<PathBuf>,
    ports: Option<Vec<u16>>,
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
    #[serde(rename = "configmap")]
    ConfigMap,
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
        let build = |text: &str| RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
        // By itself first: half an expression could close the brackets around it.
        match build(text).and_then(|_| build(&format!("^(?:{text})$"))) {
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
    /// Labels that nodes can give themselves, and so choose their policy.
    fn label_warnings(&self) -> impl Iterator<Item = String> {
        let labels = self.matches.node_labels.keys();
        let own = labels.filter(|label| {
            let mut prefixes = LABELS_OF_OTHERS.iter();
            !prefixes.any(|prefix| label.starts_with(prefix))
        });
        own.map(|label| {
            format!(
                "policy {:?}: nodes can set the label {label:?} themselves and so choose this policy; match labels that \
                 start with {}",
                self.name,
                LABELS_OF_OTHERS.join(" or ")
            )
        })
    }

    fn check_head(&self, checker: &mut Checker<'_>) {
        if self
            .allow_attestation_blocks
            .iter()
            .any(|label| label.contains("REQUEST"))
        {
            checker.fault(
                "allow_attestation_blocks",
                "a second request is never allowed: parsers differ on which one counts",
            );
        }
        for (key, names) in [
            ("unsafe_allow", Some(&self.unsafe_allow)),
            ("cluster_domains", self.cluster_domains.as_ref()),
        ] {
            for error in names
                .into_iter()
                .flatten()
                .filter_map(|name| check_dns_name(name).err())
            {
                checker.fault(key, error);
            }
        }
        if self.key.algorithms.as_ref().is_some_and(Vec::is_empty) {
            checker.fault("key.algorithms", "without any, nothing would be approved");
        }
        if self.rate.per_node_per_hour == Some(0) {
            checker.fault(
                "rate.per_node_per_hour",
                "with 0, nothing would be approved",
            );
        }
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
    }

    pub(super) fn check(
        self,
        at: &str,
        errors: &mut Vec<String>,
        warnings: &mut Vec<String>,
    ) -> Policy {
        let default = Policy::default();
        let mut checker = Checker { at, errors };
        self.check_head(&mut checker);
        let wait_deadline = wait_deadline(&mut checker, self.wait_deadline.as_deref());
        warnings.extend(self.label_warnings());
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
            dns_resolution: dns_resolution(&mut checker, &self.san.dns_resolution),
            renewal: renewal(&mut checker, self.renewal, has_inventory),
            cel: predicates(&mut checker, &self.cel),
            name: self.name,
            mode: self.mode,
            on_violation: self.on_violation,
            on_other_requestor: self.on_other_requestor,
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

fn wait_deadline(checker: &mut Checker<'_>, given: Option<&str>) -> Duration {
    let default = Policy::default().wait_deadline;
    match given.map(parse_duration) {
        None => default,
        Some(Ok(duration)) => duration,
        Some(Err(error)) => {
            checker.fault("wait_deadline", error);
            default
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
        (InventoryKind::ConfigMap, reference) => {
            let parts = reference.as_deref().and_then(|text| text.split_once('/'));
            let (namespace, name) = parts.unwrap_or_default();
            for (part, what) in [(namespace, "namespace"), (name, "name")] {
                if !everleaf_pki::signer::is_dns1123_subdomain(part) {
                    checker.fault(
                        "inventory.ref",
                        format!("{part:?} is no {what}: write NAMESPACE/NAME of the ConfigMap"),
                    );
                }
            }
            InventorySource::ConfigMap {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }
        }
        (InventoryKind::File, Some(path)) if !path.is_empty() => InventorySource::File(path.into()),
        (InventoryKind::File, _) => {
            checker.fault("inventory.ref", "which file?");
            InventorySource::None
        }
    }
}

fn dns_resolution(checker: &mut Checker<'_>, section: &DnsSection) -> Option<DnsCheck> {
    /// One query must not use up the time for all.
    const MOST: Duration = Duration::from_secs(3);
    let mut check = DnsCheck {
        servers: Vec::new(),
        timeout: Duration::from_secs(1),
    };
    for text in &section.servers {
        let address = text.parse::<IpAddr>();
        let server = address.map(|address| SocketAddr::new(address, 53));
        match server.or_else(|_| text.parse()) {
            Ok(server) => check.servers.push(server),
            Err(_) => checker.fault(
                "san.dns_resolution.servers",
                format!("{text:?} is not an address such as 10.0.0.53 or 10.0.0.53:53"),
            ),
        }
    }
    match section.timeout.as_deref().map(parse_duration) {
        None => {}
        Some(Ok(timeout)) if !timeout.is_zero() && timeout <= MOST => check.timeout = timeout,
        Some(Ok(_)) => checker.fault("san.dns_resolution.timeout", "more than 0 and at most 3s"),
        Some(Err(error)) => checker.fault("san.dns_resolution.timeout", error),
    }
    section.enabled.then_some(check)
}

fn renewal(
    checker: &mut Checker<'_>,
    section: RenewalSection,
    has_inventory: bool,
) -> Option<RenewalCheck> {
    if !section.enabled {
        return None;
    }
    if !has_inventory {
        checker.fault(
            "renewal",
            "a present certificate stands in for an inventory, and there is none",
        );
    }
    let ca_file = section.ca_file.filter(|path| !path.as_os_str().is_empty());
    let Some(ca_file) = ca_file else {
        checker.fault("renewal.ca_file", "which CAs make serving certificates?");
        return None;
    };
    let ports = section.ports.unwrap_or_else(|| vec![10250]);
    if ports.is_empty() || ports.contains(&0) {
        checker.fault("renewal.ports", "give the ports at which kubelets serve");
    }
    Some(RenewalCheck { ca_file, ports })
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
