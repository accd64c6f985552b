//! A node whose certificate has ended, and that has no bootstrap credential, comes back by proof of
//! its old key: late re-issue. Off unless a policy is given.
//!
//! While its certificate is good, a node *registers* with it, again after each renewal: server and
//! node then share a counter, which the node holds as a **join state**, a text that only this
//! server could have signed. When the certificate has ended, the node *recovers*: TLS proves the
//! old key, the join state proves that no other copy of it has been here since. Every step counts
//! the counter on, durably, before it is answered. What is shown twice was copied: the node is
//! locked until an operator has looked.
//!
//! Owns the rules, as one function of (record, knock, policy, now), and the record, a Secret
//! `kube-system/late-reissue.NODE`. It refuses to know how an answer is carried; that is
//! [`crate::handler`]'s. What is granted is a token for a few minutes, good for filing signing
//! requests and nothing else: approval, signing and log are the ordinary ones.

mod decide;
mod record;

#[cfg(test)]
mod tests;

pub(crate) use decide::{Decision, Knock, decide};
pub(crate) use record::{Record, digest, hex};

use crate::objects::Objects;
use crate::user::{NODE_PREFIX, NODES, User};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Where nodes register and recover, by POST.
pub(crate) const PATH: &str = "/pki/late-reissue";
/// Group of whoever shows the ended certificate of a node, at [`PATH`] and nowhere else.
pub(crate) const EXPIRED_NODES: &str = "everleaf:expired-nodes";
/// Key of [`User::extra`] that says that a node came by such a token; its signing requests carry
/// it, too.
const EXTRA: &str = "everleaf.io/late-reissue";
/// How long a token is good.
pub(crate) const TOKEN_LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// What it begins with: no other kind of token does.
const TOKEN_PREFIX: &str = "late-reissue/";
/// What it is good for, and what is below that: filing a request and waiting for its certificate.
const TOKEN_PATHS: [&str; 3] = [
    "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    "/version",
];

/// Who may come back late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long ago a certificate may have ended.
    pub age_max: SignedDuration,
    /// How often one node may recover, until an operator sets its count back.
    pub recoveries_max: u32,
}

/// The text of a token for this node.
pub(crate) fn token(node: &str, secret: &str) -> String {
    format!("{TOKEN_PREFIX}{node}/{secret}")
}

/// The node behind a token that is shown at `path`; None: it is no such token, or not good there.
pub(crate) fn token_user(
    token: &str,
    path: &str,
    objects: &dyn Objects,
    now: Timestamp,
) -> Option<User> {
    let (node, secret) = token.strip_prefix(TOKEN_PREFIX)?.rsplit_once('/')?;
    let is_below = |own: &str| {
        let rest = path.strip_prefix(own);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !TOKEN_PATHS.into_iter().any(is_below) {
        return None;
    }
    let record = Record::find(objects, node)?;
    let is_good = record.locked.is_empty()
        && record.token_until.is_some_and(|until| now < until)
        && node_uid(objects, node).is_some_and(|uid| uid == record.node_uid);
    let is_same = verify_slices_are_equal(digest(secret).as_bytes(), record.token.as_bytes());
    (is_good && is_same.is_ok()).then(|| User {
        name: format!("{NODE_PREFIX}{node}"),
        groups: vec![NODES.to_owned()],
        extra: BTreeMap::from([(EXTRA.to_owned(), vec![record.counter.to_string()])]),
        ..User::default()
    })
}

/// UID of the Node object of this name, if there is one.
pub(crate) fn node_uid(objects: &dyn Objects, node: &str) -> Option<String> {
    let stored = objects.get("nodes", "", node)?;
    Some(everleaf_api::meta::uid(&stored.object()).to_owned())
}
