//! Bootstrap tokens, and what machines read that join with them.

use super::found::Found;
use super::seen::{Seen, TokenFacts};
use super::{Fault, away, counted};
use crate::upkeep::token::Expiration;
use crate::why::Known;
use jiff::{SignedDuration, Timestamp};

/// The cleaner of tokens needs a moment.
const DELETED_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// What a group of a token begins with (kubernetes `cluster-bootstrap/token/api`).
const GROUP_PREFIX: &str = "system:bootstrappers:";

pub(super) fn look(seen: &Seen, found: &mut Found) -> String {
    let now = seen.cluster.now;
    let announced = found.read("kube-public/cluster-info", &seen.cluster_info);
    if matches!(seen.cluster_info, Known::Absent) {
        let line = "kube-public has none".to_owned();
        found.add(Fault::ClusterInfoAbsent, line, &[]);
    }
    let Some(tokens) = found.read("bootstrap tokens", &seen.tokens) else {
        return String::new();
    };
    for token in tokens {
        judge(token, now, found);
        let signed = |token: &TokenFacts| {
            let key = format!("jws-kubeconfig-{}", token.id);
            announced.is_none_or(|map| map["data"][key].is_string())
        };
        if is_good(token, now) && token.signs && !signed(token) {
            found.add(Fault::TokenUnsigned, format!("token {}", token.id), &[]);
        }
    }
    if !tokens
        .iter()
        .any(|token| is_good(token, now) && token.authenticates)
    {
        let line = format!("{} in kube-system", counted(tokens.len(), "token"));
        found.add(Fault::TokensNone, line, &[]);
    }
    counted(tokens.len(), "token")
}

/// Whether it has its parts, and has not ended.
pub(super) fn is_good(token: &TokenFacts, now: Timestamp) -> bool {
    is_whole(token) && !token.expiration.is_past(now)
}

fn is_whole(token: &TokenFacts) -> bool {
    let id = token.secret_name.strip_prefix("bootstrap-token-");
    !token.id.is_empty() && id == Some(&*token.id) && token.has_secret
}

fn judge(token: &TokenFacts, now: Timestamp, found: &mut Found) {
    if !is_whole(token) {
        let line = format!("Secret kube-system/{}", token.secret_name);
        return found.add(Fault::TokenMalformed, line, &[]);
    }
    let names = [("token", &*token.id)];
    let line = |what: &str| format!("token {}: {what}", token.id);
    match token.expiration {
        Expiration::Never => found.add(Fault::TokenForEver, line("no expiration"), &names),
        Expiration::Unreadable => {
            found.add(
                Fault::TokenEnded,
                line("its expiration cannot be read, and counts as past"),
                &names,
            );
        }
        Expiration::At(end) => {
            let left = end.duration_since(now);
            let text = line(&format!("{end}, {}", away(end, now)));
            if left < -DELETED_WITHIN {
                found.add(Fault::TokenEnded, text, &names);
            } else if !left.is_negative() && left < SignedDuration::from_hours(1) {
                found.add(Fault::TokenEndsSoon, text, &names);
            }
        }
    }
    if token.expiration.is_past(now) {
        return;
    }
    if let Some(usage) = token.odd_usages.first() {
        found.add(Fault::TokenUsageValue, line(usage), &names);
    } else if !token.authenticates && !token.signs {
        let text = line("neither authentication nor signing");
        found.add(Fault::TokenNoUsage, text, &names);
    }
    let mut groups = token.groups.iter();
    if let Some(group) = groups.find(|group| !group.starts_with(GROUP_PREFIX)) {
        found.add(
            Fault::TokenGroups,
            line(&format!("group {group:?}")),
            &names,
        );
    }
}
