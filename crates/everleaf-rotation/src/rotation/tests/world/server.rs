//! The API server and the signer of the tests' world.

use crate::event::RefusalClass;
use crate::rotation::tests::world::hours;
use crate::store::conformance::Authority;
use crate::store::{PendingRequest, RequestName, RequestUid};
use everleaf_pki::{Chain, Leaf, Usage};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A request object on the server.
pub(in crate::rotation::tests) struct Object {
    pub(in crate::rotation::tests) uid: RequestUid,
    pub(in crate::rotation::tests) pending: PendingRequest,
    pub(in crate::rotation::tests) condition: Option<(&'static str, &'static str)>,
    pub(in crate::rotation::tests) chain: Option<Chain>,
    /// What the condition says.
    pub(in crate::rotation::tests) message: String,
}

/// The API server and the signer, with one clock.
pub(in crate::rotation::tests) struct Server {
    pub(in crate::rotation::tests) authority: Authority,
    pub(in crate::rotation::tests) ca_not_after: Timestamp,
    pub(in crate::rotation::tests) ttl: Duration,
    pub(in crate::rotation::tests) approves: bool,
    pub(in crate::rotation::tests) objects: BTreeMap<RequestName, Object>,
    /// When each object was created, and what remained at birth of the certificate it got.
    pub(in crate::rotation::tests) created: Vec<(Timestamp, Option<Duration>)>,
    pub(in crate::rotation::tests) is_reachable: bool,
    pub(in crate::rotation::tests) accepts_bootstrap: bool,
    pub(in crate::rotation::tests) accepts_kubeconfig: bool,
    /// What is asked for one node with the certificate of another is answered 403 (NodeRestriction,
    /// since 1.21).
    pub(in crate::rotation::tests) forbids_strangers: bool,
    /// Certificates refused although they are valid.
    pub(in crate::rotation::tests) distrusted: Vec<Leaf>,
    /// Answers to the next submissions, in place of the ordinary ones.
    pub(in crate::rotation::tests) submit_script: VecDeque<RefusalClass>,
    /// The next create is carried out, but its answer is lost.
    pub(in crate::rotation::tests) loses_answers: u32,
    /// Fixed dates for the next certificates, in place of the signer's.
    pub(in crate::rotation::tests) dates: Option<(Timestamp, Timestamp)>,
    /// Every certificate issued from now on is refused.
    pub(in crate::rotation::tests) distrusts_new: bool,
    /// IP addresses are left out of certificates.
    pub(in crate::rotation::tests) drops_addresses: bool,
    /// Minor version, if it tells.
    pub(in crate::rotation::tests) minor: Option<u32>,
    /// As a controller manager before 1.25: requests without key encipherment are overlooked.
    pub(in crate::rotation::tests) wants_key_encipherment: bool,
    /// Names that it does not give to anybody, and says so.
    pub(in crate::rotation::tests) refuses: Vec<&'static str>,
    pub(super) uids: u32,
}

impl Server {
    pub(in crate::rotation::tests) fn accepts(&self, leaf: Option<&Leaf>, now: Timestamp) -> bool {
        leaf.is_some_and(|leaf| {
            leaf.is_signed_by(self.authority.issuer().certificate())
                && leaf.not_before() <= now
                && now <= leaf.not_after()
                && now <= self.ca_not_after
                && !self
                    .distrusted
                    .iter()
                    .any(|other| other.fingerprint() == leaf.fingerprint())
        })
    }

    pub(super) fn create(&mut self, pending: &PendingRequest, now: Timestamp) -> RequestUid {
        self.uids += 1;
        let uid = RequestUid::new(format!("uid-{}", self.uids));
        self.created.push((now, None));
        let object = Object {
            uid: uid.clone(),
            pending: pending.clone(),
            condition: None,
            chain: None,
            message: "test message".to_owned(),
        };
        self.objects.insert(pending.name.clone(), object);
        let is_overlooked =
            self.wants_key_encipherment && !pending.usages.contains(&Usage::KeyEncipherment);
        let ips = pending
            .template
            .ip_addresses
            .iter()
            .map(ToString::to_string);
        let mut names = pending.template.dns_names.iter().cloned().chain(ips);
        let refused: Vec<_> = names
            .by_ref()
            .filter(|n| self.refuses.contains(&n.as_str()))
            .collect();
        if !refused.is_empty() {
            let object = self.objects.get_mut(&pending.name).expect("just made");
            object.condition = Some(("Denied", "NotAllowed"));
            object.message = format!("not allowed: {refused:?}");
        } else if self.approves && !is_overlooked {
            self.approve(&pending.name, now);
        }
        uid
    }

    /// Approves and signs, if the authority still lives.
    pub(in crate::rotation::tests) fn approve(&mut self, name: &RequestName, now: Timestamp) {
        let object = self.objects.get_mut(name).expect("the object exists");
        object.condition = Some(("Approved", "AutoApproved"));
        if now >= self.ca_not_after {
            return;
        }
        let (not_before, not_after) = self.dates.unwrap_or_else(|| {
            let start = now - SignedDuration::from_mins(5);
            // Upstream counts short lifetimes from now, others from notBefore.
            let from = if self.ttl < hours(8) { now } else { start };
            let end = from + SignedDuration::try_from(self.ttl).unwrap();
            (start, end.min(self.ca_not_after))
        });
        let round = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap();
        let mut asked = object.pending.clone();
        if self.drops_addresses {
            asked.template.ip_addresses.clear();
        }
        let chain = self
            .authority
            .issue(&asked, round(not_before), round(not_after));
        if self.distrusts_new {
            self.distrusted.push(chain.leaf().clone());
        }
        let life = Duration::try_from(not_after.duration_since(now)).unwrap_or_default();
        object.chain = Some(chain);
        if let Some(last) = self.created.last_mut() {
            last.1 = Some(life);
        }
    }
}
