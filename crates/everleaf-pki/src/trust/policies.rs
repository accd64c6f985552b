//! Certificate policies (RFC 5280 6.1 as RFC 9618 corrects it): most chains have none, and pass; a
//! CA that asks for an explicit policy gets one, or the chain is refused.
//!
//! Nobody here asks for a policy: the initial set is "any policy", nothing is inhibited at the
//! start (`crypto/x509/verify.go`, policiesValid).

use super::Refusal;
use super::effort::Effort;
use crate::asn1;
use crate::certificate::CertificateBody;
use crate::extension::{ExtensionError, for_each_sequence};
use der::asn1::ObjectIdentifier;
use der::{Reader, SliceReader, Tag};
use std::collections::{BTreeMap, BTreeSet};

/// anyPolicy, 2.5.29.32.0
const ANY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32.0");

/// Comparisons of names that the visit of one node or edge is worth: each is several look-ups in
/// ordered sets.
const WEIGHT: usize = 4;

/// What the four policy extensions of one certificate say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policies {
    policies: Vec<ObjectIdentifier>,
    /// Issuer's policy, subject's policy.
    mappings: Vec<(ObjectIdentifier, ObjectIdentifier)>,
    require_explicit: Option<u64>,
    inhibit_mapping: Option<u64>,
    inhibit_any: Option<u64>,
}

impl Policies {
    fn size(&self) -> usize {
        self.policies.len() + self.mappings.len()
    }

    /// certificatePolicies: `SEQUENCE OF` policy and qualifiers.
    pub(crate) fn read_policies(&mut self, value: &[u8]) -> Result<(), ExtensionError> {
        let mut seen = BTreeSet::new();
        for_each_sequence(value, |member| {
            let policy = asn1::read_oid(member)?;
            if !seen.insert(policy) {
                return Err(member.error(Tag::ObjectIdentifier.value_error()));
            }
            self.policies.push(policy);
            Ok(())
        })?;
        Ok(())
    }

    /// policyMappings: `SEQUENCE OF` pairs.
    pub(crate) fn read_mappings(&mut self, value: &[u8]) -> Result<(), ExtensionError> {
        for_each_sequence(value, |member| {
            let issuer = asn1::read_oid(member)?;
            let subject = asn1::read_oid(member)?;
            self.mappings.push((issuer, subject));
            Ok(())
        })?;
        Ok(())
    }

    /// policyConstraints: two optional counters.
    pub(crate) fn read_constraints(&mut self, value: &[u8]) -> Result<(), ExtensionError> {
        let mut reader = SliceReader::new(value)?;
        let mut body = SliceReader::new(asn1::read_content(&mut reader, Tag::Sequence)?)?;
        reader.finish()?;
        for (tag, counter) in [
            (0x80, &mut self.require_explicit),
            (0x81, &mut self.inhibit_mapping),
        ] {
            if body.peek_byte() == Some(tag) {
                *counter = Some(read_implicit(asn1::read_element(&mut body)?.content)?);
            }
        }
        body.finish()?;
        Ok(())
    }

    /// inhibitAnyPolicy: a counter.
    pub(crate) fn read_inhibit_any(&mut self, value: &[u8]) -> Result<(), ExtensionError> {
        let mut reader = SliceReader::new(value)?;
        self.inhibit_any = Some(asn1::read_counter(&mut reader)?);
        reader.finish()?;
        Ok(())
    }
}

fn read_implicit(content: &[u8]) -> der::Result<u64> {
    const INTEGER: u8 = 0x02;
    let integer = asn1::element(INTEGER, content);
    asn1::read_counter(&mut SliceReader::new(&integer)?)
}

/// A valid policy at one depth of the graph.
#[derive(Debug)]
struct Node {
    expected: BTreeSet<ObjectIdentifier>,
    /// Policies at the depth above.
    parents: BTreeSet<ObjectIdentifier>,
}

/// The valid policies at each depth, from the anchor (any policy) on.
struct Graph {
    depths: Vec<BTreeMap<ObjectIdentifier, Node>>,
}

/// Counters of RFC 5280 6.1.2 (d) to (f): certificates until something is required or forbidden.
struct Counters {
    explicit: u64,
    mapping: u64,
    any: u64,
}

/// Whether the policies along a chain, leaf first and anchor last, hold.
///
/// # Errors
/// [`Refusal::TooManyComparisons`].
pub(super) fn are_valid(chain: &[&CertificateBody], effort: &mut Effort) -> Result<bool, Refusal> {
    let Some((_anchor, below)) = chain.split_last() else {
        return Ok(false);
    };
    let length = below.len() as u64;
    if length == 0 {
        return Ok(true);
    }
    let mut graph = Some(Graph::new());
    let mut left = Counters {
        explicit: length + 1,
        mapping: length + 1,
        any: length + 1,
    };
    for (index, certificate) in below.iter().enumerate().rev() {
        let is_last = index == 0;
        let policies = &certificate.policies;
        let is_self_issued = certificate.issuer_der == certificate.subject_der;
        if policies.policies.is_empty() {
            graph = None;
        }
        if left.explicit == 0 && graph.is_none() {
            return Ok(false);
        }
        if let Some(graph) = &mut graph {
            effort.spend(WEIGHT * (graph.size() + policies.size()))?;
            let any_counts = left.any > 0 || (!is_last && is_self_issued);
            graph.extend(&policies.policies, any_counts);
            if !is_last && !graph.map(&policies.mappings, left.mapping > 0) {
                return Ok(false);
            }
        }
        if !is_last {
            left.pass(policies, is_self_issued);
        }
    }
    left.explicit = left.explicit.saturating_sub(1);
    if below[0].policies.require_explicit == Some(0) {
        left.explicit = 0;
    }
    Ok(left.explicit > 0 || graph.is_some_and(|graph| graph.has_valid_policy()))
}

impl Counters {
    /// RFC 5280 6.1.4 (h) to (j).
    fn pass(&mut self, policies: &Policies, is_self_issued: bool) {
        for (counter, limit) in [
            (&mut self.explicit, policies.require_explicit),
            (&mut self.mapping, policies.inhibit_mapping),
            (&mut self.any, policies.inhibit_any),
        ] {
            if !is_self_issued {
                *counter = counter.saturating_sub(1);
            }
            *counter = limit.map_or(*counter, |limit| limit.min(*counter));
        }
    }
}

impl Graph {
    fn new() -> Self {
        let anchor = Node {
            expected: BTreeSet::from([ANY]),
            parents: BTreeSet::new(),
        };
        Self {
            depths: vec![BTreeMap::from([(ANY, anchor)])],
        }
    }

    /// Its nodes and edges, of which each may be visited when a certificate is added.
    fn size(&self) -> usize {
        let nodes = self.depths.iter().flat_map(BTreeMap::values);
        nodes
            .map(|node| node.expected.len() + node.parents.len())
            .sum()
    }

    /// RFC 9618 5.2, 6.1.3 (d): the next certificate's policies below those that expect them.
    fn extend(&mut self, policies: &[ObjectIdentifier], any_counts: bool) {
        let above = self.depths.last().expect("invariant: never empty");
        let mut expecting: BTreeMap<ObjectIdentifier, BTreeSet<ObjectIdentifier>> = BTreeMap::new();
        for (policy, node) in above {
            for expected in &node.expected {
                expecting.entry(*expected).or_default().insert(*policy);
            }
        }
        let mut next: BTreeMap<ObjectIdentifier, Node> = BTreeMap::new();
        let mut add = |policy: ObjectIdentifier, parents: BTreeSet<ObjectIdentifier>| {
            let expected = BTreeSet::from([policy]);
            next.insert(policy, Node { expected, parents });
        };
        for policy in policies.iter().filter(|policy| **policy != ANY) {
            if let Some(parents) = expecting.get(policy) {
                add(*policy, parents.clone());
            } else if above.contains_key(&ANY) {
                add(*policy, BTreeSet::from([ANY]));
            }
        }
        if policies.contains(&ANY) && any_counts {
            let named: BTreeSet<_> = policies.iter().copied().collect();
            for (expected, parents) in expecting {
                if expected == ANY || !named.contains(&expected) {
                    add(expected, parents);
                }
            }
        }
        self.depths.push(next);
        self.prune();
    }

    /// RFC 9618 5.2, 6.1.4 (b): what a policy of the issuer is called below. False: a mapping of
    /// any policy.
    fn map(&mut self, mappings: &[(ObjectIdentifier, ObjectIdentifier)], is_allowed: bool) -> bool {
        let mut renamed: BTreeMap<ObjectIdentifier, BTreeSet<ObjectIdentifier>> = BTreeMap::new();
        let leaves = self.depths.last_mut().expect("invariant: never empty");
        for (issuer, subject) in mappings {
            if !is_allowed {
                leaves.remove(issuer);
            } else if *issuer == ANY || *subject == ANY {
                return false;
            } else {
                renamed.entry(*issuer).or_default().insert(*subject);
            }
        }
        for (issuer, expected) in renamed {
            if let Some(node) = leaves.get_mut(&issuer) {
                node.expected = expected;
            } else if leaves.contains_key(&ANY) {
                let parents = BTreeSet::from([ANY]);
                leaves.insert(issuer, Node { expected, parents });
            }
        }
        self.prune();
        true
    }

    /// Removes what has nothing below it.
    fn prune(&mut self) {
        for depth in (1..self.depths.len().saturating_sub(1)).rev() {
            let (upper, lower) = self.depths.split_at_mut(depth + 1);
            let wanted: BTreeSet<ObjectIdentifier> = lower[0]
                .values()
                .flat_map(|node| node.parents.iter().copied())
                .collect();
            upper[depth].retain(|policy, _| wanted.contains(policy));
        }
    }

    /// RFC 9618 5.2, 6.1.5 (g): some policy, or any, holds from the anchor to the leaf.
    fn has_valid_policy(&self) -> bool {
        let leaves = self.depths.last().expect("invariant: never empty");
        let only_any = BTreeSet::from([ANY]);
        leaves.contains_key(&ANY)
            || self.depths.iter().any(|nodes| {
                nodes
                    .iter()
                    .any(|(policy, node)| *policy != ANY && node.parents == only_any)
            })
    }
}
