//! The rules, in the order in which they are tried.
//!
//! Each is a function of one request's `Case` and says what it found, with the offending value
//! and what was expected. None of them decides alone: [`decide`](super::decide) sums up.

mod asked;
mod outside;
mod owned;

use crate::index::OpenRequest;
use crate::serving::policy::Policy;
use crate::serving::{Claim, Facts, Finding, NodeFacts, Step, requestor};
use everleaf_api::csr::Csr;
use everleaf_pki::{RequestError, VerifiedRequest};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Requests of one node that are looked at, newest first.
pub(crate) const PENDING_MAX: usize = 3;

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
    /// S19: DNS leads from the names to the addresses.
    DnsResolution,
    /// S20: the node's present certificate stands in for the inventory.
    Renewal,
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
const RULES: [(Rule, &str, &str, Try); 25] = [
    (Rule::Signer, "S1", "signer", asked::signer),
    (Rule::State, "S2", "state", asked::state),
    (Rule::Pem, "S3", "pem", asked::one_block),
    (Rule::Key, "S4", "key", asked::key),
    (Rule::Requestor, "S5", "requestor", asked::requested_by_node),
    (Rule::Groups, "S6", "groups", asked::groups),
    (Rule::Subject, "S7", "subject", asked::subject),
    (Rule::Usages, "S8", "usages", asked::usages),
    (Rule::Extensions, "S9", "extensions", asked::extensions),
    (Rule::Count, "S10", "count", asked::count),
    (Rule::DnsNames, "S11", "dns_names", asked::dns_names),
    (Rule::Addresses, "S12", "addresses", asked::addresses),
    (Rule::Node, "S13", "node", owned::node),
    (Rule::NodeNames, "S14", "node_names", owned::node_names),
    (
        Rule::NodeAddresses,
        "S15",
        "node_addresses",
        owned::node_addresses,
    ),
    (Rule::Unique, "S16", "unique", owned::unique),
    (Rule::Ranges, "S17", "ranges", owned::ranges),
    (Rule::Inventory, "S18", "inventory", outside::inventory),
    (
        Rule::DnsResolution,
        "S19",
        "dns_resolution",
        outside::dns_resolution,
    ),
    (Rule::Renewal, "S20", "renewal", outside::renewal),
    (Rule::Lifetime, "S21", "lifetime", asked::lifetime),
    (Rule::Expressions, "S22", "cel", owned::expressions),
    (Rule::Permission, "S23", "permission", owned::permission),
    (Rule::Limits, "S24", "limits", owned::limits),
    (Rule::Superseded, "S25", "superseded", owned::superseded),
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

    /// The rule with this number, such as `S15`.
    pub fn by_id(id: &str) -> Option<Self> {
        let mut rows = RULES.iter();
        rows.find(|row| row.1 == id).map(|row| row.0)
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

#[cfg(test)]
mod unit {
    use super::*;
    use std::collections::BTreeSet;

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
