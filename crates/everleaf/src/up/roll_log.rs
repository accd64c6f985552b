//! What a roll learns from the issuance log: who has certificates, and of which CA.

use anyhow::{Context, Result};
use everleaf_api::csr::is_rehearsal;
use everleaf_api::meta;
use everleaf_api::revocation::{Facts, Revocations};
use everleaf_controllers::issuance::{Entry, ReadError, Reader};
use everleaf_controllers::roll::{Fleet, Holder, Issued};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::path::Path;

/// Subjects of nodes' certificates.
const NODE_PREFIX: &str = "system:node:";

/// By what it is judged whether the server accepts a certificate.
pub(super) struct Accepted {
    /// Key identifier of the CA that goes.
    pub(super) goes: String,
    /// Key identifier of the CA that comes.
    pub(super) comes: String,
    /// What is revoked.
    pub(super) revoked: Revocations,
}

impl Accepted {
    fn has(&self, entry: &Entry) -> bool {
        let is_trusted = entry.ca_ski == self.goes || entry.ca_ski == self.comes;
        let facts = Facts {
            serial: &entry.serial,
            credential: &entry.cert_sha256,
            common_name: &entry.cn,
            // Where nobody can tell, it counts as issued after every revocation.
            not_before: meta::parse_time(&entry.not_before).unwrap_or(Timestamp::MAX),
        };
        is_trusted && self.revoked.refuses(facts).is_none()
    }
}

/// Who has certificates that have not ended.
pub(super) fn logged(directory: &Path, accepted: &Accepted, now: Timestamp) -> Result<Fleet> {
    let reader = match Reader::open(directory) {
        Err(ReadError::Absent(_)) => return Ok(Fleet::default()),
        other => other.with_context(|| directory.display().to_string())?,
    };
    let mut count = Count::default();
    let read = reader.each(|_, bytes| {
        if let Ok(entry) = Entry::from_bytes(bytes) {
            count.take(&entry, accepted, now);
        }
    });
    read.with_context(|| directory.display().to_string())?;
    Ok(count.fleet())
}

/// What was counted so far.
#[derive(Default)]
struct Count {
    fleet: Fleet,
    /// Nodes with a client certificate that is accepted.
    connected: BTreeSet<String>,
}

impl Count {
    /// Takes in a certificate; they come in the order in which they were signed. That of a
    /// rehearsal is no sign that the node has renewed.
    fn take(&mut self, entry: &Entry, accepted: &Accepted, now: Timestamp) {
        if is_rehearsal(&entry.csr) {
            return;
        }
        let Some(until) = entry.ends_at().filter(|until| *until > now) else {
            return;
        };
        let is_accepted = accepted.has(entry);
        let is_old = entry.ca_ski == accepted.goes;
        let is_client = entry.usages.iter().any(|usage| usage == "client auth");
        let Some(node) = entry.cn.strip_prefix(NODE_PREFIX) else {
            if is_old && is_client && is_accepted {
                let users = &mut self.fleet.users;
                let end = users.entry(entry.cn.clone()).or_insert(until);
                *end = until.max(*end);
            }
            return;
        };
        let node = node.to_owned();
        if !is_accepted {
            self.fleet.refused.insert(node);
            return;
        }
        if is_client {
            self.connected.insert(node.clone());
        }
        let holder: &mut Holder = self.fleet.nodes.entry(node).or_default();
        if is_old {
            holder.old_until = holder.old_until.max(Some(until));
        }
        let issued = Issued {
            key_id: entry.ca_ski.clone(),
            at: meta::parse_time(&entry.time).unwrap_or(now),
        };
        holder.newest.insert(entry.signer.clone(), issued);
    }

    fn fleet(mut self) -> Fleet {
        let connected = &self.connected;
        self.fleet.refused.retain(|name| !connected.contains(name));
        self.fleet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn counted(lines: &[&str]) -> Fleet {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let revoked = r#"{"at": "2029-06-01T00:00:00Z"}"#;
        let revoked = json!({"data": {"node.revoked": revoked, "serial.5B": "{}"}});
        let accepted = Accepted {
            goes: "old".to_owned(),
            comes: "new".to_owned(),
            revoked: Revocations::of_config_map(&revoked),
        };
        let mut count = Count::default();
        for line in lines {
            let words: Vec<_> = line.split('|').collect();
            let (cn, signer, ca_ski, not_after, usage) =
                (words[0], words[1], words[2], words[3], words[4]);
            let entry = Entry {
                cn: cn.to_owned(),
                signer: signer.to_owned(),
                ca_ski: ca_ski.to_owned(),
                not_after: not_after.to_owned(),
                usages: vec![usage.to_owned()],
                time: "2029-01-01T00:00:00Z".to_owned(),
                not_before: words.get(5).map_or("", |text| text).to_owned(),
                serial: words.get(6).map_or("1", |text| text).to_owned(),
                csr: words.get(7).map_or("", |text| text).to_owned(),
                ..Entry::default()
            };
            count.take(&entry, &accepted, now);
        }
        count.fleet()
    }

    #[test]
    fn the_log_says_who_has_what() {
        let fleet = counted(&[
            "system:node:a|client|old|2031-01-01T00:00:00Z|client auth",
            "system:node:a|serving|old|2032-01-01T00:00:00Z|server auth",
            "system:node:a|client|new|2033-01-01T00:00:00Z|client auth",
            "system:node:gone|client|old|2029-12-31T00:00:00Z|client auth",
            "system:node:b|client|new|2031-01-01T00:00:00Z|client auth",
            "alice|client|old|2031-01-01T00:00:00Z|client auth",
            "alice|client|old|2030-06-01T00:00:00Z|client auth",
            "bob|client|new|2031-01-01T00:00:00Z|client auth",
            "service|x|old|2031-01-01T00:00:00Z|server auth",
            "system:node:b|client|old|2031-01-01T00:00:00Z|client auth||2|everleaf-rehearsal-x",
        ]);
        let names: Vec<_> = fleet.nodes.keys().collect();
        assert_eq!(names, ["a", "b"]);
        let a = &fleet.nodes["a"];
        assert_eq!(a.old_until.unwrap().to_string(), "2032-01-01T00:00:00Z");
        assert_eq!(a.newest["client"].key_id, "new");
        assert_eq!(a.newest["serving"].key_id, "old");
        assert_eq!(fleet.nodes["b"].old_until, None);
        assert_eq!(fleet.users.len(), 1);
        assert_eq!(fleet.users["alice"].to_string(), "2031-01-01T00:00:00Z");
        assert_eq!(fleet.refused, BTreeSet::new());
    }

    /// Nodes whose client certificates are revoked, or of CAs of rolls before this one.
    #[test]
    fn the_log_says_who_is_refused_already() {
        let fleet = counted(&[
            "system:node:dropped|client|older|2031-01-01T00:00:00Z|client auth",
            "system:node:joined|client|older|2031-01-01T00:00:00Z|client auth",
            "system:node:joined|client|old|2031-01-01T00:00:00Z|client auth",
            "system:node:revoked|client|old|2031-01-01T00:00:00Z|client auth|2029-01-01T00:00:00Z",
            "system:node:revoked|serving|old|2031-01-01T00:00:00Z|server auth",
            "system:node:serial|client|old|2031-01-01T00:00:00Z|client auth|2029-01-01T00:00:00Z|5B",
            "system:node:serving|serving|old|2031-01-01T00:00:00Z|server auth",
            "alice|client|old|2031-01-01T00:00:00Z|client auth|2029-01-01T00:00:00Z|5B",
        ]);
        let refused: Vec<_> = fleet.refused.iter().collect();
        assert_eq!(refused, ["dropped", "revoked", "serial"]);
        assert!(fleet.nodes.contains_key("joined") && fleet.nodes.contains_key("serving"));
        assert!(fleet.users.is_empty());
    }
}
