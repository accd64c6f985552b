//! Revoked certificates: whether somebody refuses them, and whether the list for others is fresh.

use super::found::Found;
use super::seen::Seen;
use super::tokens::is_good;
use super::{Fault, away, counted};
use crate::why::Known;
use everleaf_api::meta;
use everleaf_api::revocation::{Revocations, Target};
use jiff::{SignedDuration, Timestamp};

/// A list is made every day; the second that is left out is a fault.
const STALE: SignedDuration = SignedDuration::from_hours(48);

pub(super) fn look(seen: &Seen, found: &mut Found) -> String {
    let now = seen.cluster.now;
    list(seen, now, found);
    let Some(map) = found.read("kube-system/everleaf-revocations", &seen.revocations) else {
        return match seen.revocations.is_absent() {
            true => "none".to_owned(),
            false => String::new(),
        };
    };
    for key in map["data"]
        .as_object()
        .into_iter()
        .flat_map(|data| data.keys())
    {
        if Target::of_key(key).is_none() {
            found.add(Fault::RevocationUnknownEntry, format!("{key:?}"), &[]);
        }
    }
    let revocations = Revocations::of_config_map(map);
    let all = revocations.iter().filter(|(_, entry)| !entry.is_over(now));
    let all: Vec<String> = all.map(|(target, _)| target.to_string()).collect();
    if all.is_empty() {
        return "none".to_owned();
    }
    if !seen.cluster.is_everleaf() {
        for one in &all {
            found.add(Fault::RevocationsUnenforced, one.clone(), &[]);
        }
    }
    if seen.revocation_list.is_absent() {
        let line = counted(all.len(), "revocation");
        found.add(Fault::RevocationListAbsent, line, &[]);
    }
    let tokens = seen.tokens.read().into_iter().flatten();
    let good = tokens.filter(|token| is_good(token, now) && token.authenticates);
    let first = good.map(|token| token.id.clone()).next();
    if let Some(token) = first {
        let is_node = |target: &Target| matches!(target, Target::Node(_));
        for (target, _) in revocations.iter().filter(|(target, _)| is_node(target)) {
            found.add(
                Fault::RevokedWithToken,
                target.to_string(),
                &[("token", &token)],
            );
        }
    }
    counted(all.len(), "revocation")
}

fn list(seen: &Seen, now: Timestamp, found: &mut Found) {
    let published = match &seen.revocation_list {
        Known::Read(published) => published,
        Known::Absent => return,
        Known::Hidden(why) => return found.not_seen("kube-public/everleaf-revocation-list", why),
    };
    let at = |key: &str| published["data"][key].as_str().and_then(meta::parse_time);
    if let Some(end) = at("nextUpdate")
        && end <= now
    {
        let line = format!("nextUpdate {end}, {}", away(end, now));
        found.add(Fault::RevocationListLate, line, &[]);
    } else if let Some(begin) = at("thisUpdate")
        && now.duration_since(begin) > STALE
    {
        let line = format!("thisUpdate {begin}, {}", away(begin, now));
        found.add(Fault::RevocationListStale, line, &[]);
    }
}
