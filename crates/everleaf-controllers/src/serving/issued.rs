//! What valid certificates say already: which node has which name, address and key by certificate.
//!
//! Owns the memory of leaves that were issued, by whomever, until they end: a Node may drop an
//! address while its certificate goes on telling it. What was issued and cleaned up before this
//! process began is known as far as the issuance log has it.

use crate::issuance::{self, Entry, Hash};
use crate::serving::{Claim, NODE_PREFIX};
use everleaf_pki::Chain;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::net::IpAddr;

/// Names, addresses and keys that are remembered; beyond it, only those that end are replaced.
const ENTRIES_MAX: usize = 400_000;

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct Issued {
    by_claim: BTreeMap<Claim, Holders>,
    /// By SHA-256 of `SubjectPublicKeyInfo`.
    by_key: BTreeMap<Hash, Holders>,
}

/// The nodes that hold something, each until when. Nearly always it is one, and a fleet has a
/// hundred thousand of those.
#[derive(Clone, Debug)]
enum Holders {
    One(Box<str>, Timestamp),
    Many(BTreeMap<Box<str>, Timestamp>),
}

impl Holders {
    fn note(&mut self, node: &str, until: Timestamp) {
        match self {
            Self::One(known, last) if **known == *node => *last = until.max(*last),
            Self::One(known, last) => {
                let both = [(std::mem::take(known), *last), (node.into(), until)];
                *self = Self::Many(both.into());
            }
            Self::Many(all) => {
                let last = all.entry(node.into()).or_insert(until);
                *last = until.max(*last);
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        let (one, many) = match self {
            Self::One(node, until) => (Some((&**node, *until)), None),
            Self::Many(all) => (None, Some(all)),
        };
        let many = many.into_iter().flatten();
        one.into_iter()
            .chain(many.map(|(node, until)| (&**node, *until)))
    }

    /// Until when this node holds it.
    fn until(&self, node: &str) -> Option<Timestamp> {
        match self {
            Self::One(known, until) => (**known == *node).then_some(*until),
            Self::Many(all) => all.get(node).copied(),
        }
    }

    /// Forgets whose time has ended; whether anybody is left.
    fn forget_ended(&mut self, now: Timestamp) -> bool {
        match self {
            Self::One(_, until) => *until > now,
            Self::Many(all) => {
                all.retain(|_, until| *until > now);
                !all.is_empty()
            }
        }
    }
}

impl Issued {
    /// Takes in an issued chain; what is no node's is left out.
    pub fn note(&mut self, chain: &Chain, now: Timestamp) {
        let leaf = chain.leaf();
        let common_name = &leaf.subject().common_name;
        let (Some(node), true) = (
            common_name.strip_prefix(NODE_PREFIX),
            leaf.not_after() > now,
        ) else {
            return;
        };
        if !self.has_room(now) {
            return;
        }
        let names = leaf.dns_names().iter().cloned();
        let claims = claims(names, leaf.ip_addresses());
        let key = issuance::sha256(leaf.public_key().spki_der());
        self.hold(node, claims, Some(key), leaf.not_after());
    }

    /// Takes in an entry of the issuance log; what is no node's, or has ended, is left out. False
    /// when there is no room for more.
    pub fn recall(&mut self, entry: &Entry, now: Timestamp) -> bool {
        let node = entry.cn.strip_prefix(NODE_PREFIX);
        let until = entry.ends_at().filter(|until| *until > now);
        let (Some(node), Some(until)) = (node, until) else {
            return true;
        };
        if !self.has_room(now) {
            return false;
        }
        let claims = claims(entry.dns.iter().cloned(), &entry.ips);
        self.hold(node, claims, entry.spki_hash(), until);
        true
    }

    fn has_room(&mut self, now: Timestamp) -> bool {
        let is_full = |issued: &Self| issued.by_claim.len() + issued.by_key.len() >= ENTRIES_MAX;
        if is_full(self) {
            forget_ended(&mut self.by_claim, now);
            forget_ended(&mut self.by_key, now);
        }
        !is_full(self)
    }

    fn hold(
        &mut self,
        node: &str,
        claims: impl Iterator<Item = Claim>,
        key: Option<Hash>,
        until: Timestamp,
    ) {
        for claim in claims {
            note(self.by_claim.entry(claim), node, until);
        }
        if let Some(key) = key {
            note(self.by_key.entry(key), node, until);
        }
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
        let holders = self.by_claim.get(claim);
        let until = holders.and_then(|holders| holders.until(node));
        until.is_some_and(|until| until > now)
    }

    /// Another node with a certificate for this key.
    pub fn other_holder_of_key(&self, spki: &[u8], node: &str, now: Timestamp) -> Option<&str> {
        other(self.by_key.get(&issuance::sha256(spki))?, node, now).map(|(other, _)| other)
    }
}

fn claims(
    names: impl Iterator<Item = String>,
    addresses: &[IpAddr],
) -> impl Iterator<Item = Claim> {
    let addresses = addresses
        .iter()
        .map(|address| Claim::Address(address.to_canonical()));
    names.map(Claim::Name).chain(addresses)
}

fn note<K: Ord>(slot: Slot<'_, K, Holders>, node: &str, until: Timestamp) {
    slot.and_modify(|holders| holders.note(node, until))
        .or_insert_with(|| Holders::One(node.into(), until));
}

fn other<'a>(holders: &'a Holders, node: &str, now: Timestamp) -> Option<(&'a str, Timestamp)> {
    let mut all = holders.iter();
    all.find(|(other, until)| *other != node && *until > now)
}

fn forget_ended<K: Ord>(map: &mut BTreeMap<K, Holders>, now: Timestamp) {
    map.retain(|_, holders| holders.forget_ended(now));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the log has of a valid certificate is known as if it had been seen; what has ended, or
    /// is no node's, is not.
    #[test]
    fn the_log_tells_who_holds_a_name() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let entry = |cn: &str, name: &str, end: &str| Entry {
            cn: cn.to_owned(),
            dns: vec![name.to_owned()],
            spki_sha256: "ab".repeat(32),
            not_after: end.to_owned(),
            ..Entry::default()
        };
        let mut issued = Issued::default();
        for entry in [
            entry("system:node:n1", "a.example", "2027-01-01T00:00:00Z"),
            entry("system:node:n2", "b.example", "2026-01-01T00:00:00Z"),
            entry("jane", "c.example", "2027-01-01T00:00:00Z"),
        ] {
            assert!(issued.recall(&entry, now));
        }
        let holder = |name: &str| {
            let claim = Claim::Name(name.to_owned());
            let holder = issued.other_holder(&claim, "n9", now);
            holder.map(|(node, _)| node.to_owned())
        };
        assert_eq!(holder("a.example").as_deref(), Some("n1"));
        assert_eq!(holder("b.example"), None);
        assert_eq!(holder("c.example"), None);
        assert_eq!(issued.by_key.len(), 1);
        assert!(issued.by_key.contains_key(&[0xab; 32]));
    }
}
