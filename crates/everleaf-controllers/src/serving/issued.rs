//! What valid certificates say already: which node has which name, address and key by certificate.
//!
//! Owns the memory of leaves that were issued, by whomever, until they end: a Node may drop an
//! address while its certificate goes on telling it. What was issued and cleaned up before this
//! process began is not known to it.

use crate::serving::{Claim, NODE_PREFIX};
use everleaf_pki::{Chain, Leaf};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Names, addresses and keys that are remembered; beyond it, only those that end are replaced.
const ENTRIES_MAX: usize = 400_000;

/// The nodes that hold something, each until when.
type Holders = BTreeMap<String, Timestamp>;

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct Issued {
    by_claim: BTreeMap<Claim, Holders>,
    /// By `SubjectPublicKeyInfo`.
    by_key: BTreeMap<Vec<u8>, Holders>,
}

impl Issued {
    /// Takes in an issued chain, in PEM; what is no node's is left out.
    pub fn note(&mut self, chain: &[u8], now: Timestamp) {
        let Ok(chain) = Chain::from_pem(chain) else {
            return;
        };
        let leaf = chain.leaf();
        let common_name = &leaf.subject().common_name;
        let (Some(node), true) = (
            common_name.strip_prefix(NODE_PREFIX),
            leaf.not_after() > now,
        ) else {
            return;
        };
        if self.by_claim.len() + self.by_key.len() >= ENTRIES_MAX {
            forget_ended(&mut self.by_claim, now);
            forget_ended(&mut self.by_key, now);
            if self.by_claim.len() + self.by_key.len() >= ENTRIES_MAX {
                return;
            }
        }
        for claim in claims(leaf) {
            note(self.by_claim.entry(claim).or_default(), node, leaf);
        }
        let key = leaf.public_key().spki_der().to_vec();
        note(self.by_key.entry(key).or_default(), node, leaf);
    }

    /// Another node with a certificate that tells this, and until when it is valid.
    pub fn other_holder(
        &self,
        claim: &Claim,
        node: &str,
        now: Timestamp,
    ) -> Option<(&str, Timestamp)> {
        other(self.by_claim.get(claim)?, node, now)
    }

    /// Whether this node has a certificate that tells this.
    pub fn is_holder(&self, claim: &Claim, node: &str, now: Timestamp) -> bool {
        let until = self
            .by_claim
            .get(claim)
            .and_then(|holders| holders.get(node));
        until.is_some_and(|until| *until > now)
    }

    /// Another node with a certificate for this key.
    pub fn other_holder_of_key(&self, spki: &[u8], node: &str, now: Timestamp) -> Option<&str> {
        other(self.by_key.get(spki)?, node, now).map(|(other, _)| other)
    }
}

fn claims(leaf: &Leaf) -> impl Iterator<Item = Claim> {
    let names = leaf.dns_names().iter().cloned().map(Claim::Name);
    let addresses = leaf.ip_addresses().iter();
    names.chain(addresses.map(|address| Claim::Address(address.to_canonical())))
}

fn note(holders: &mut Holders, node: &str, leaf: &Leaf) {
    let until = holders.entry(node.to_owned()).or_insert(leaf.not_after());
    *until = leaf.not_after().max(*until);
}

fn other<'a>(holders: &'a Holders, node: &str, now: Timestamp) -> Option<(&'a str, Timestamp)> {
    let mut others = holders.iter();
    others
        .find(|(other, until)| *other != node && **until > now)
        .map(|(other, until)| (other.as_str(), *until))
}

fn forget_ended<K: Ord>(map: &mut BTreeMap<K, Holders>, now: Timestamp) {
    map.retain(|_, holders| {
        holders.retain(|_, until| *until > now);
        !holders.is_empty()
    });
}
