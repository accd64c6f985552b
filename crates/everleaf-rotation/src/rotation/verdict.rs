//! Whether an issued certificate may be installed.
//!
//! Upstream trusts what comes back; here the leaf must carry our key and our subject, and be valid
//! at the server's date. Other differences are told and accepted: signers may have their reasons.

use crate::store::PendingRequest;
use crate::time::whole_seconds;
use everleaf_pki::{Leaf, Usage};
use jiff::Timestamp;
use std::time::Duration;

/// The judgement on an issued leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Install it; here is how it differs from the request.
    Install(Vec<String>),
    /// Never install it.
    Reject(String),
    /// It begins later than the server's date: ask for it again after this long.
    TooEarly(Duration),
}

/// Judges `leaf` as the answer to `pending`, at `server_date`.
pub fn judge(pending: &PendingRequest, leaf: &Leaf, server_date: Timestamp) -> Verdict {
    if leaf.public_key() != &pending.public_key {
        return Verdict::Reject("it was issued for another key".to_owned());
    }
    let wanted = &pending.template.subject;
    let subject = leaf.subject();
    if subject.common_name != wanted.common_name {
        return Verdict::Reject(format!(
            "its common name is {:?}, asked for was {:?}",
            subject.common_name, wanted.common_name
        ));
    }
    if let Some(missing) = wanted
        .organizations
        .iter()
        .find(|organization| !subject.organizations.contains(organization))
    {
        return Verdict::Reject(format!("it lacks the organization {missing:?}"));
    }
    if leaf.not_after() < server_date {
        return Verdict::Reject(format!(
            "it ended at {}, before the server's date {}",
            leaf.not_after(),
            whole_seconds(server_date)
        ));
    }
    if server_date < leaf.not_before() {
        let wait = Duration::try_from(leaf.not_before().duration_since(server_date));
        return Verdict::TooEarly(wait.unwrap_or(Duration::ZERO));
    }
    Verdict::Install(differences(pending, leaf))
}

fn differences(pending: &PendingRequest, leaf: &Leaf) -> Vec<String> {
    let template = &pending.template;
    let mut differences = Vec::new();
    for organization in &leaf.subject().organizations {
        if !template.subject.organizations.contains(organization) {
            differences.push(format!("it has the further organization {organization:?}"));
        }
    }
    if let Err(lack) = leaf.satisfies(template) {
        differences.push(lack);
    }
    for name in leaf.dns_names() {
        if !template.dns_names.contains(name) {
            differences.push(format!("it has the further DNS name {name:?}"));
        }
    }
    for address in leaf.ip_addresses() {
        if !template.ip_addresses.contains(address) {
            differences.push(format!("it has the further IP address {address}"));
        }
    }
    for (usage, is_allowed, what) in [
        (Usage::ClientAuth, leaf.allows_client_auth(), "client"),
        (Usage::ServerAuth, leaf.allows_server_auth(), "serving"),
    ] {
        if pending.usages.contains(&usage) && !is_allowed {
            differences.push(format!("it does not allow use as a {what} certificate"));
        }
    }
    differences
}
