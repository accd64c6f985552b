//! The rules, in the order in which they are tried.
//!
//! Each is a function of one request's [`Case`] and says what it found, with the offending value
//! and what was expected. None of them decides alone: [`decide`](super::decide) sums up.

use crate::index::OpenRequest;
use crate::serving::names::{
    aliases, any_holds, check_address, check_dns_name, is_cluster_name, quote,
};
use crate::serving::policy::{Comparison, KeyAlgorithm, Policy};
use crate::serving::{
    Claim, Facts, Finding, Inventory, NodeFacts, PERMISSION, Step, environment, expiration_seconds,
    key_of, requestor,
};
use everleaf_api::csr::{APPROVED, Csr, DENIED, FAILED};
use everleaf_pki::signer::{are_serving_usages, is_dns1123_subdomain};
use everleaf_pki::{PublicKeyKind, RequestError, SignerName, VerifiedRequest, pem};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Longest request, in bytes of PEM.
const PEM_BYTES_MAX: usize = 16 << 10;
/// A kubelet may file its request a moment before its Node is there (its times are whole seconds).
const NODE_RACE: SignedDuration = SignedDuration::from_secs(10);
/// A request that a newer one has replaced for so long is denied.
const SUPERSEDED_AFTER: Duration = Duration::from_secs(15 * 60);
/// Requests of one node that are looked at, newest first.
const PENDING_MAX: usize = 3;
/// The API's own minimum of `expirationSeconds`.
const EXPIRATION_SECONDS_MIN: i64 = 600;

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// S1: the kubelet serving signer.
    Signer,
    /// S2: neither decided nor being deleted.
    State,
    /// S3: one PEM block, a request whose signature fits its key.
    Pem,
    /// S4: a strong key of an allowed kind.
    Key,
    /// S5: filed by a node.
    Requestor,
    /// S6: in the groups of nodes.
    Groups,
    /// S7: the subject is that node and nothing else.
    Subject,
    /// S8: the usages of a kubelet's server.
    Usages,
    /// S9: nothing is asked for but DNS names and addresses.
    Extensions,
    /// S10: some of them, not too many.
    Count,
    /// S11: names that a node can have.
    DnsNames,
    /// S12: addresses that a node can have.
    Addresses,
    /// S13: the Node exists, and existed before.
    Node,
    /// S14: the names are the Node's.
    NodeNames,
    /// S15: the addresses are the Node's.
    NodeAddresses,
    /// S16: no other Node has them.
    Unique,
    /// S17: the addresses lie in the allowed ranges.
    Ranges,
    /// S18: the inventory knows them.
    Inventory,
    /// S21: no longer life than allowed.
    Lifetime,
    /// S22: the operator's expressions.
    Expressions,
    /// S23: the requestor has the permission.
    Permission,
    /// S24: within the limits.
    Limits,
    /// S25: the node has not filed a newer one.
    Superseded,
}

/// A rule's function.
type Try = fn(&Case<'_>) -> Finding;

/// All rules with their names, in order.
const RULES: [(Rule, &str, &str, Try); 23] = [
    (Rule::Signer, "S1", "signer", signer),
    (Rule::State, "S2", "state", state),
    (Rule::Pem, "S3", "pem", one_block),
    (Rule::Key, "S4", "key", key),
    (Rule::Requestor, "S5", "requestor", requested_by_node),
    (Rule::Groups, "S6", "groups", groups),
    (Rule::Subject, "S7", "subject", subject),
    (Rule::Usages, "S8", "usages", usages),
    (Rule::Extensions, "S9", "extensions", extensions),
    (Rule::Count, "S10", "count", count),
    (Rule::DnsNames, "S11", "dns_names", dns_names),
    (Rule::Addresses, "S12", "addresses", addresses),
    (Rule::Node, "S13", "node", node),
    (Rule::NodeNames, "S14", "node_names", node_names),
    (Rule::NodeAddresses, "S15", "node_addresses", node_addresses),
    (Rule::Unique, "S16", "unique", unique),
    (Rule::Ranges, "S17", "ranges", ranges),
    (Rule::Inventory, "S18", "inventory", inventory),
    (Rule::Lifetime, "S21", "lifetime", lifetime),
    (Rule::Expressions, "S22", "cel", expressions),
    (Rule::Permission, "S23", "permission", permission),
    (Rule::Limits, "S24", "limits", limits),
    (Rule::Superseded, "S25", "superseded", superseded),
];

impl Rule {
    /// Its number.
    pub fn id(self) -> &'static str {
        self.row().1
    }

    /// Its name in messages, logs and metrics.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (Self, &'static str, &'static str, Try) {
        // Every variant has a row: a test holds it.
        let mut rows = RULES.into_iter();
        rows.find(|row| row.0 == self).unwrap_or(RULES[0])
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One request, and everything that is known about it.
struct Case<'a> {
    csr: Csr<'a>,
    request: Result<&'a VerifiedRequest, &'a RequestError>,
    /// Name of the node that filed it; "" when no node did.
    node_name: &'a str,
    node: Option<&'a NodeFacts>,
    facts: &'a Facts<'a>,
    policy: &'a Policy,
}

impl Case<'_> {
    fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.request.iter().flat_map(|request| request.dns_names());
        names.map(String::as_str)
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let lists = self.request.iter().map(|request| request.ip_addresses());
        lists.flatten().map(IpAddr::to_canonical)
    }

    fn claims(&self) -> impl Iterator<Item = Claim> {
        let names = self.names().map(|name| Claim::Name(name.to_owned()));
        names.chain(self.addresses().map(Claim::Address))
    }

    /// Whether the requestor was seen to connect from there.
    fn comes_from(&self, address: IpAddr) -> bool {
        let origin = self.facts.origin;
        origin.is_some_and(|origin| origin.addresses.contains(&address))
    }

    /// Whether everything is where the requestor connects from, under its own name: then it needs
    /// no Node to say so.
    fn is_proved_by_origin(&self) -> bool {
        let mut addresses = self.addresses().peekable();
        addresses.peek().is_some()
            && addresses.all(|address| self.comes_from(address))
            && self.names().all(|name| name == self.node_name)
    }
}

/// Tries all rules. A request that cannot be read ends the list: the others ask about its contents.
pub(super) fn try_all(request: &OpenRequest, facts: &Facts<'_>, policy: &Policy) -> Vec<Step> {
    let csr = request.csr();
    let node_name = requestor(csr).unwrap_or_default();
    let case = Case {
        csr,
        request: request.request(),
        node_name,
        node: facts.cluster.node(node_name),
        facts,
        policy,
    };
    let mut trace = Vec::with_capacity(RULES.len());
    for (rule, _, _, look) in RULES {
        let finding = look(&case);
        let ends = matches!(
            (rule, &finding),
            (Rule::Signer | Rule::State, Finding::Foreign(_)) | (Rule::Pem, Finding::Violated(_))
        );
        trace.push(Step { rule, finding });
        if ends {
            break;
        }
    }
    trace
}

fn violated(why: impl Into<String>) -> Finding {
    Finding::Violated(why.into())
}

/// Waits for what should be there soon; broken when it is not by the deadline.
fn waiting(why: impl Into<String>) -> Finding {
    Finding::Waiting {
        why: why.into(),
        ends: true,
        delay: None,
    }
}

/// Waits for as long as it takes: nothing about the request is wrong.
fn holding(why: impl Into<String>, delay: Option<Duration>) -> Finding {
    Finding::Waiting {
        why: why.into(),
        ends: false,
        delay,
    }
}

fn holds(is_so: bool, why: impl FnOnce() -> String) -> Finding {
    match is_so {
        true => Finding::Passed,
        false => Finding::Violated(why()),
    }
}

fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    const SHOWN_MAX: usize = 8;
    let mut items = items.into_iter();
    let mut shown: Vec<String> = items
        .by_ref()
        .take(SHOWN_MAX)
        .map(|item| item.to_string())
        .collect();
    match items.count() {
        0 if shown.is_empty() => return "none".to_owned(),
        0 => {}
        more => shown.push(format!("and {more} more")),
    }
    shown.join(", ")
}

fn signer(case: &Case<'_>) -> Finding {
    match case.csr.signer_name() == SignerName::KUBELET_SERVING {
        true => Finding::Passed,
        false => Finding::Foreign(format!(
            "the signer is {}, not {}",
            quote(case.csr.signer_name()),
            SignerName::KUBELET_SERVING
        )),
    }
}

fn state(case: &Case<'_>) -> Finding {
    let decided = [APPROVED, DENIED, FAILED];
    if let Some(kind) = decided.iter().find(|kind| case.csr.has_condition(kind)) {
        return Finding::Foreign(format!("the request is {kind} already"));
    }
    if case.csr.is_issued() {
        return Finding::Foreign("the certificate is issued already".to_owned());
    }
    let deleted = &case.csr.0["metadata"]["deletionTimestamp"];
    if deleted.as_str().is_some_and(|at| !at.is_empty()) {
        return Finding::Foreign("the request is being deleted".to_owned());
    }
    Finding::Passed
}

fn one_block(case: &Case<'_>) -> Finding {
    let text = case.csr.request();
    if text.len() > PEM_BYTES_MAX {
        return violated(format!(
            "the request has {} bytes, more than {PEM_BYTES_MAX}",
            text.len()
        ));
    }
    let blocks: Vec<_> = pem::blocks(&text).collect();
    let further = blocks.iter().skip(1);
    let foreign = further
        .map(|block| &block.label)
        .find(|label| !case.policy.attestation_blocks.contains(label));
    if let Some(label) = foreign {
        return violated(format!("a second PEM block follows: {}", quote(label)));
    }
    // What we skip as damaged, another reader may take for the request.
    let begun = text
        .windows(11)
        .filter(|text| text == b"-----BEGIN ")
        .count();
    if begun > blocks.len() {
        return violated("a damaged PEM block stands beside the request");
    }
    if blocks.iter().any(|block| block.has_headers) {
        return violated("the PEM block has headers");
    }
    match case.request {
        Ok(_) => Finding::Passed,
        Err(error) => violated(error.to_string()),
    }
}

fn key(case: &Case<'_>) -> Finding {
    let Ok(request) = case.request else {
        return Finding::Skipped("no request");
    };
    let key = request.public_key();
    if let Err(error) = key.check_strength() {
        return violated(error.to_string());
    }
    if request.is_sha1_signed() {
        return violated("the request is signed with SHA-1");
    }
    let allowed = &case.policy.key_algorithms;
    let kind = match key.kind() {
        PublicKeyKind::EcdsaP256 => KeyAlgorithm::EcdsaP256,
        PublicKeyKind::EcdsaP384 => KeyAlgorithm::EcdsaP384,
        PublicKeyKind::EcdsaP521 => KeyAlgorithm::EcdsaP521,
        PublicKeyKind::Ed25519 => KeyAlgorithm::Ed25519,
        PublicKeyKind::Rsa { bits } if *bits < case.policy.rsa_min_bits => {
            return violated(format!(
                "RSA with {bits} bits; at least {} are asked for",
                case.policy.rsa_min_bits
            ));
        }
        PublicKeyKind::Rsa { .. } => KeyAlgorithm::Rsa,
        other => return violated(format!("keys of kind {other} are not allowed")),
    };
    holds(allowed.contains(&kind), || {
        format!("keys of kind {} are not allowed", key_of(key).0)
    })
}

fn requested_by_node(case: &Case<'_>) -> Finding {
    holds(is_dns1123_subdomain(case.node_name), || {
        format!(
            "filed by {}, who is no node (system:node:NAME)",
            quote(case.csr.username())
        )
    })
}

fn groups(case: &Case<'_>) -> Finding {
    let groups = case.csr.groups();
    let missing = ["system:nodes", "system:authenticated"]
        .into_iter()
        .find(|group| !groups.iter().any(|has| has == group));
    match missing {
        None => Finding::Passed,
        Some(group) => violated(format!("the requestor is not in the group {group}")),
    }
}

fn subject(case: &Case<'_>) -> Finding {
    let Ok(request) = case.request else {
        return Finding::Skipped("no request");
    };
    let subject = request.subject();
    if subject.common_name != case.csr.username() {
        return violated(format!(
            "the common name is {}, and {} filed the request",
            quote(&subject.common_name),
            quote(case.csr.username())
        ));
    }
    if subject.organizations != ["system:nodes"] {
        let organizations = subject.organizations.iter().map(|one| quote(one));
        return violated(format!(
            "the organizations are {}, and only \"system:nodes\" is allowed",
            list(organizations)
        ));
    }
    holds(!request.has_unusual_subject(), || {
        "the subject holds more than one common name and organization".to_owned()
    })
}

fn usages(case: &Case<'_>) -> Finding {
    let usages = case.csr.usages();
    if !are_serving_usages(&usages) {
        return violated(format!(
            "the usages are {}; allowed are digital signature, server auth and, besides, key encipherment",
            list(usages.iter().map(|usage| quote(usage)))
        ));
    }
    let is_rsa = case
        .request
        .is_ok_and(|request| matches!(request.public_key().kind(), PublicKeyKind::Rsa { .. }));
    let enciphers = usages.iter().any(|usage| usage == "key encipherment");
    holds(!case.policy.strict_usages || is_rsa || !enciphers, || {
        "key encipherment is for RSA keys only (strict_usages)".to_owned()
    })
}

fn extensions(case: &Case<'_>) -> Finding {
    let Ok(request) = case.request else {
        return Finding::Skipped("no request");
    };
    if let Some(uri) = request.uris().first() {
        return violated(format!("it asks for the URI {}", quote(uri)));
    }
    if let Some(email) = request.email_addresses().first() {
        return violated(format!("it asks for the email address {}", quote(email)));
    }
    if request.other_san_count() > 0 {
        return violated("it asks for a name that is neither DNS name nor address");
    }
    if let Some(id) = request.other_extensions().next() {
        return violated(format!(
            "it asks for the extension {id} besides names and usages"
        ));
    }
    holds(!request.has_unread_extensions(), || {
        "it carries extensions where Go does not look for them".to_owned()
    })
}

fn count(case: &Case<'_>) -> Finding {
    let (names, addresses) = (case.names().count(), case.addresses().count());
    if names + addresses == 0 {
        return violated("it asks for no DNS name and no address");
    }
    if names > case.policy.max_dns {
        return violated(format!(
            "{names} DNS names, more than {}",
            case.policy.max_dns
        ));
    }
    holds(addresses <= case.policy.max_ip, || {
        format!("{addresses} addresses, more than {}", case.policy.max_ip)
    })
}

fn dns_names(case: &Case<'_>) -> Finding {
    for name in case.names() {
        if let Err(why) = check_dns_name(name) {
            return violated(why);
        }
        if case
            .policy
            .unsafe_allow
            .iter()
            .any(|allowed| allowed == name)
        {
            continue;
        }
        if is_cluster_name(name, &case.policy.cluster_domains) {
            return violated(format!(
                "{} means something else in every cluster",
                quote(name)
            ));
        }
        if case
            .facts
            .cluster
            .is_api_server(&Claim::Name(name.to_owned()))
            && !is_server_host_by_name(case, name)
        {
            return violated(format!("{} is a name of the API server", quote(name)));
        }
    }
    Finding::Passed
}

/// The machine on which the API server runs has its host's name in common with it. A Node's word
/// is not enough: whoever forwards connections on that machine makes every node come from there.
fn is_server_host_by_name(case: &Case<'_>, name: &str) -> bool {
    let origin = case.facts.origin;
    name == case.node_name && origin.is_some_and(|origin| origin.is_server_host)
}

/// A node may have an address of the API server when it runs it, as far as somebody else than the
/// node says so: it connects from that very machine, or an administrator made it a control-plane
/// node and wrote the address down.
fn may_be_api_server(case: &Case<'_>, address: IpAddr) -> bool {
    let is_listed = any_holds(&case.policy.control_plane_addresses, address);
    let inventory = case.facts.inventory.and_then(Result::ok);
    let entry = inventory.and_then(|inventory| inventory.of(case.node_name));
    let is_in_inventory = entry.is_some_and(|entry| entry.contains(&address.to_string()));
    let is_control_plane = case.node.is_some_and(NodeFacts::is_control_plane);
    let origin = case.facts.origin;
    let is_server_host = origin.is_some_and(|origin| origin.is_server_host);
    (is_server_host && case.comes_from(address))
        || (is_control_plane && (is_listed || is_in_inventory))
}

fn addresses(case: &Case<'_>) -> Finding {
    for address in case.addresses() {
        for alias in aliases(address) {
            if let Err(why) = check_address(alias, case.policy.allow_link_local) {
                return violated(why);
            }
            if case.facts.cluster.is_service_address(alias) {
                return violated(format!("{address} is the address of a Service"));
            }
            let claim = Claim::Address(alias);
            if case.facts.cluster.is_api_server(&claim) && !may_be_api_server(case, alias) {
                return of_api_server(case, address);
            }
        }
    }
    match case.facts.cluster.missing() {
        None => Finding::Passed,
        Some(source) => holding(
            format!("the addresses of the cluster are not known yet ({source:?})"),
            None,
        ),
    }
}

/// A control-plane node asks for it with good reason, and only the operator can say that it may.
fn of_api_server(case: &Case<'_>, address: IpAddr) -> Finding {
    let why = format!("{address} is an address of the API server");
    match case.node.is_some_and(NodeFacts::is_control_plane) {
        true => Finding::Foreign(format!(
            "{why}; for a control-plane node, list it under control_plane_addresses of the policy, or approve by hand"
        )),
        false => violated(why),
    }
}

fn created(csr: Csr<'_>) -> Option<Timestamp> {
    let text = csr.0["metadata"]["creationTimestamp"].as_str()?;
    text.parse().ok()
}

fn node(case: &Case<'_>) -> Finding {
    let Some(node) = case.node else {
        return match case.is_proved_by_origin() {
            true => Finding::Skipped("it connects from the addresses that it asks for"),
            false => waiting(format!("there is no Node {}", quote(case.node_name))),
        };
    };
    if let (Some(filed), Some(begun)) = (created(case.csr), node.created) {
        let race = match node.is_recreated {
            true => SignedDuration::ZERO,
            false => NODE_RACE,
        };
        if begun.duration_since(filed) > race {
            return violated(format!(
                "the request is of {filed}, and the Node {} was made after it, at {begun}",
                quote(&node.name)
            ));
        }
    }
    Finding::Passed
}

fn node_names(case: &Case<'_>) -> Finding {
    if !case.policy.require_node_addresses {
        return Finding::Skipped("require_node_addresses is off");
    }
    let known = case.node.map(|node| &node.names);
    let is_own = |name: &str| {
        (case.policy.allow_node_name && name == case.node_name)
            || known.is_some_and(|known| known.contains(name))
            || case
                .policy
                .dns_regex
                .iter()
                .any(|regex| regex.is_match(name))
    };
    if let Some(name) = case.names().find(|name| !is_own(name)) {
        return waiting(format!(
            "{} is no name of the node; its Node names {}",
            quote(name),
            list(known.into_iter().flatten())
        ));
    }
    if case.policy.comparison == Comparison::Exact {
        let asked: BTreeSet<&str> = case.names().collect();
        let missing = known.into_iter().flatten();
        let missing = missing.filter(|name| !asked.contains(name.as_str()));
        let missing: Vec<_> = missing.collect();
        if !missing.is_empty() {
            return waiting(format!(
                "it does not ask for {}, which its Node names (comparison: exact)",
                list(missing)
            ));
        }
    }
    Finding::Passed
}

fn node_addresses(case: &Case<'_>) -> Finding {
    if !case.policy.require_node_addresses {
        return Finding::Skipped("require_node_addresses is off");
    }
    let known = case.node.map(|node| &node.addresses);
    let is_own = |address: &IpAddr| {
        known.is_some_and(|known| known.contains(address))
            || (case.node.is_none() && case.comes_from(*address))
    };
    if let Some(address) = case.addresses().find(|address| !is_own(address)) {
        return waiting(format!(
            "{address} is no address of the node; its Node has {}",
            list(known.into_iter().flatten())
        ));
    }
    if case.policy.comparison == Comparison::Exact {
        let asked: BTreeSet<IpAddr> = case.addresses().collect();
        let missing = known.into_iter().flatten();
        let missing: Vec<_> = missing.filter(|address| !asked.contains(address)).collect();
        if !missing.is_empty() {
            return waiting(format!(
                "it does not ask for {}, which its Node has (comparison: exact)",
                list(missing)
            ));
        }
    }
    Finding::Passed
}

fn unique(case: &Case<'_>) -> Finding {
    if !case.policy.unique_across_nodes {
        return Finding::Skipped("unique_across_nodes is off");
    }
    for claim in case.claims() {
        let forms: Vec<Claim> = match &claim {
            Claim::Address(address) => aliases(*address).map(Claim::Address).collect(),
            Claim::Name(_) => vec![claim.clone()],
        };
        let mut others = forms.iter().filter_map(|form| {
            let other = case.facts.cluster.other_claimant(form, case.node_name)?;
            Some((form, other))
        });
        if let Some((form, other)) = others.next() {
            return violated(format!("the Node {} has {form}, too", quote(other)));
        }
        // A name that is another Node's own, whatever that one's addresses say.
        if let Claim::Name(name) = &claim
            && name != case.node_name
            && case.facts.cluster.node(name).is_some()
        {
            return violated(format!("{} is the name of another Node", quote(name)));
        }
    }
    Finding::Passed
}

fn ranges(case: &Case<'_>) -> Finding {
    let policy = case.policy;
    if policy.allowed_cidrs.is_empty() && policy.deny_cidrs.is_empty() {
        return Finding::Skipped("no ranges are given");
    }
    for address in case.addresses() {
        if any_holds(&policy.deny_cidrs, address) {
            return violated(format!(
                "{address} lies in a denied range ({})",
                list(&policy.deny_cidrs)
            ));
        }
        // Every form of it must be allowed.
        let is_allowed = |alias: IpAddr| {
            let mut ranges = policy.allowed_cidrs.iter();
            ranges.any(|range| range.contains(&alias))
        };
        if !policy.allowed_cidrs.is_empty() && !is_allowed(address) {
            return violated(format!(
                "{address} lies in none of the allowed ranges ({})",
                list(&policy.allowed_cidrs)
            ));
        }
    }
    Finding::Passed
}

fn inventory(case: &Case<'_>) -> Finding {
    let inventory: &Inventory = match case.facts.inventory {
        None => return Finding::Skipped("the policy names none"),
        Some(Err(error)) => {
            return holding(format!("the inventory cannot be read: {error}"), None);
        }
        Some(Ok(inventory)) => inventory,
    };
    let Some(entry) = inventory.of(case.node_name) else {
        return violated(format!(
            "the inventory does not know the node {}",
            quote(case.node_name)
        ));
    };
    for claim in case.claims() {
        let text = claim.to_string();
        if text != case.node_name && !entry.contains(&text) {
            return violated(format!(
                "{claim} is not the node's by the inventory, which has {}",
                list(entry)
            ));
        }
    }
    Finding::Passed
}

fn lifetime(case: &Case<'_>) -> Finding {
    let Some(asked) = expiration_seconds(case.csr) else {
        return Finding::Passed;
    };
    let allowed = EXPIRATION_SECONDS_MIN..=i64::from(case.policy.max_expiration_seconds);
    let is_allowed = asked.as_i64().is_some_and(|asked| allowed.contains(&asked));
    holds(is_allowed, || {
        format!(
            "expirationSeconds is {}; allowed are {} to {}",
            quote(&asked.to_string()),
            allowed.start(),
            allowed.end()
        )
    })
}

fn expressions(case: &Case<'_>) -> Finding {
    let Ok(request) = case.request else {
        return Finding::Skipped("no request");
    };
    if case.policy.cel.is_empty() {
        return Finding::Skipped("the policy has none");
    }
    let environment = environment(case.csr, request, case.facts, case.node);
    for predicate in &case.policy.cel {
        if let Err(why) = predicate.check(&environment) {
            return violated(why);
        }
    }
    Finding::Passed
}

fn permission(case: &Case<'_>) -> Finding {
    if !case.policy.require_permission {
        return Finding::Skipped("require_permission is off");
    }
    let mut reviews = case.facts.reviews.iter();
    match reviews.find(|review| review.permission == PERMISSION) {
        None => Finding::Unreviewed,
        Some(review) if review.allowed => Finding::Passed,
        Some(_) => Finding::Foreign(format!(
            "{} may not create certificatesigningrequests/{PERMISSION}",
            quote(case.csr.username())
        )),
    }
}

fn superseded(case: &Case<'_>) -> Finding {
    let (newer, age) = (case.facts.newer, case.facts.age);
    if newer > 0 && age > SUPERSEDED_AFTER {
        return violated("the node has filed a newer request");
    }
    match newer >= PENDING_MAX {
        true => holding(
            format!("the node has {newer} newer requests, which come first"),
            None,
        ),
        false => Finding::Passed,
    }
}

fn limits(case: &Case<'_>) -> Finding {
    match case.facts.limited {
        None => Finding::Passed,
        Some(limited) => holding(limited.what, Some(limited.delay)),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn every_rule_has_one_row_in_order() {
        let rules: Vec<Rule> = RULES.iter().map(|row| row.0).collect();
        assert!(rules.is_sorted(), "{rules:?}");
        let names: BTreeSet<_> = RULES.iter().map(|row| row.2).collect();
        assert_eq!(names.len(), RULES.len());
        for rule in rules {
            assert_eq!(rule.row().0, rule);
        }
    }
}
