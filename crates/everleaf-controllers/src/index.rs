//! All signing requests, as the watch last told them.
//!
//! The index owns the answer to "what is the newest state of this request, and who may have work
//! on it?" Watch events become plain calls ([`Index::apply`], [`Index::delete`], and a list between
//! [`Index::begin_list`] and [`Index::end_list`])
//! that return the [`Stage`] of what changed; it refuses to know queues, clients and time.

use crate::builtin::BuiltinSigner;
use crate::notice::signer_label;
use crate::record::{IssuedChain, Packed, Record};
use everleaf_api::csr::{APPROVED, Condition, Csr, DENIED, FAILED};
use everleaf_api::meta;
use everleaf_pki::{RecentRequests, RequestError, SignerName, VerifiedRequest};
use everleaf_time::Monotonic;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How far a request has come, that is: whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Approved and waiting for this signer (`None`: a signer that is not built in).
    Approved(Option<BuiltinSigner>),
    /// Issued, denied or failed: only the cleaner will touch it.
    Closed,
    /// Waiting for an approver.
    Undecided,
}

/// An object that somebody may still have to work on.
#[derive(Debug)]
pub struct OpenRequest {
    object: Value,
    recent: RecentRequests,
    /// The parsed and verified request, made on first use and shared by all versions of the
    /// object: `spec` cannot change, and checking its signature costs more than all the rest.
    request: Arc<OnceLock<Result<VerifiedRequest, RequestError>>>,
    /// When it was first worked on; shared like `request`.
    begun: Arc<OnceLock<Monotonic>>,
}

impl OpenRequest {
    /// Wraps an object that does not come from the index (a live read).
    pub fn new(object: Value) -> Self {
        Self::among(object, RecentRequests::default())
    }

    /// Wraps an object whose request somebody in this process may have verified.
    fn among(object: Value, recent: RecentRequests) -> Self {
        Self {
            object,
            recent,
            request: Arc::default(),
            begun: Arc::default(),
        }
    }

    /// The object.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// A view of the object.
    pub fn csr(&self) -> Csr<'_> {
        Csr(&self.object)
    }

    /// The parsed request with its signature checked, or why it is no such thing.
    pub fn request(&self) -> Result<&VerifiedRequest, &RequestError> {
        self.request
            .get_or_init(|| self.recent.from_pem(&self.csr().request()))
            .as_ref()
    }

    /// How long it has been worked on.
    pub(crate) fn age(&self, now: Monotonic) -> Duration {
        now.since(*self.begun.get_or_init(|| now))
    }

    /// Takes over what is known of `older`, if the two carry the same bytes.
    pub(crate) fn inherit(&mut self, older: &Self) {
        if self.object["spec"]["request"] == older.object["spec"]["request"] {
            self.request = Arc::clone(&older.request);
            self.begun = Arc::clone(&older.begun);
        }
    }
}

/// One request in the index.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Done with, but for its deletion.
    Closed(Packed),
    /// Still to be decided, or to be signed.
    Open(Arc<OpenRequest>),
}

impl Entry {
    /// The facts that age, of the request with this name.
    pub fn record(&self, name: &str) -> Record {
        match self {
            Self::Closed(packed) => packed.record(name),
            Self::Open(open) => Record::of(open.csr()),
        }
    }
}

/// What a change amounted to.
#[derive(Clone, Debug)]
pub struct Change {
    /// `metadata.name`.
    pub name: String,
    /// Where the request stands now.
    pub stage: Stage,
    /// Set when this change, and no earlier one, showed the request as closed.
    pub closed: Option<Arc<Record>>,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Index {
    entries: BTreeMap<String, Entry>,
    /// While a list is read: the entries that it has not shown so far.
    unlisted: BTreeSet<String>,
    /// Undecided requests for serving certificates by requestor, oldest first.
    serving: BTreeMap<String, BTreeSet<Filed>>,
    recent: RecentRequests,
}

/// When a request was filed, and its name: newer requests are greater.
type Filed = (String, String);

impl Index {
    /// An empty one, for requests that somebody in this process may have verified.
    pub fn among(recent: RecentRequests) -> Self {
        Self {
            recent,
            ..Self::default()
        }
    }

    /// Takes a new or changed object. `None` when it has no name, so it is not a request.
    pub fn apply(&mut self, object: Value) -> Option<Change> {
        let issued = IssuedChain::of(Csr(&object));
        self.apply_read(object, &issued)
    }

    /// The same, with its certificate read.
    pub(crate) fn apply_read(&mut self, object: Value, issued: &IssuedChain) -> Option<Change> {
        let name = meta::name(&object).to_owned();
        if name.is_empty() {
            return None;
        }
        self.unlisted.remove(&name);
        self.forget_serving(&name);
        let csr = Csr(&object);
        let stage = stage(csr);
        if stage == Stage::Undecided && csr.signer_name() == SignerName::KUBELET_SERVING {
            let requests = self.serving.entry(csr.username().to_owned()).or_default();
            requests.insert(filed(csr));
        }
        if stage == Stage::Closed {
            let record = Arc::new(Record::with(csr, issued));
            let known = matches!(
                self.entries.get(&name),
                Some(Entry::Closed(older)) if older.uid(&name) == record.uid
            );
            let packed = Packed::of(&record);
            self.entries.insert(name.clone(), Entry::Closed(packed));
            return Some(Change {
                name,
                stage,
                closed: (!known).then_some(record),
            });
        }
        let mut open = OpenRequest::among(object, self.recent.clone());
        if let Some(Entry::Open(older)) = self.entries.get(&name) {
            open.inherit(older);
        }
        self.entries
            .insert(name.clone(), Entry::Open(Arc::new(open)));
        Some(Change {
            name,
            stage,
            closed: None,
        })
    }

    /// Forgets a deleted object.
    pub fn delete(&mut self, name: &str) {
        self.forget_serving(name);
        self.entries.remove(name);
    }

    fn forget_serving(&mut self, name: &str) {
        let Some(Entry::Open(open)) = self.entries.get(name) else {
            return;
        };
        let csr = open.csr();
        if let Some(requests) = self.serving.get_mut(csr.username()) {
            requests.remove(&filed(csr));
            if requests.is_empty() {
                self.serving.remove(csr.username());
            }
        }
    }

    /// How many newer undecided requests for serving certificates the requestor of this one has.
    pub fn newer(&self, csr: Csr<'_>) -> usize {
        let after = (Bound::Excluded(filed(csr)), Bound::Unbounded);
        let requests = self.serving.get(csr.username());
        requests.map_or(0, |requests| requests.range(after).count())
    }

    /// Names of the undecided requests for serving certificates of this user, or of each (`None`):
    /// the newest `most` of them.
    pub fn serving(&self, username: Option<&str>, most: usize) -> Vec<String> {
        let lists: Vec<_> = match username {
            Some(username) => self.serving.get(username).into_iter().collect(),
            None => self.serving.values().collect(),
        };
        let newest = lists
            .into_iter()
            .flat_map(|list| list.iter().rev().take(most));
        newest.map(|(_, name)| name.clone()).collect()
    }

    /// A complete list begins: from here to [`Index::end_list`] every object is applied once more.
    pub fn begin_list(&mut self) {
        self.unlisted = self.entries.keys().cloned().collect();
    }

    /// The list is complete; what was not in it was deleted unseen.
    pub fn end_list(&mut self) {
        for name in std::mem::take(&mut self.unlisted) {
            self.delete(&name);
        }
    }

    /// A request that somebody may still have to work on; `None` when it is gone or closed.
    pub fn open(&self, name: &str) -> Option<Arc<OpenRequest>> {
        match self.entries.get(name) {
            Some(Entry::Open(open)) => Some(Arc::clone(open)),
            Some(Entry::Closed(_)) | None => None,
        }
    }

    /// Whether this request was seen to be done with.
    pub fn is_closed(&self, name: &str) -> bool {
        matches!(self.entries.get(name), Some(Entry::Closed(_)))
    }

    /// All requests in order of their names.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (&**name, entry))
    }

    /// Requests that are not closed, by signer as metrics name it; every name appears.
    pub fn open_counts(&self) -> BTreeMap<&'static str, usize> {
        let names = BuiltinSigner::ALL
            .map(BuiltinSigner::name)
            .into_iter()
            .chain(["other"]);
        let mut counts: BTreeMap<_, _> = names.map(|name| (name, 0)).collect();
        for entry in self.entries.values() {
            if let Entry::Open(open) = entry {
                *counts
                    .entry(signer_label(open.csr().signer_name()))
                    .or_default() += 1;
            }
        }
        counts
    }
}

fn filed(csr: Csr<'_>) -> Filed {
    let created = csr.0["metadata"]["creationTimestamp"].as_str();
    (
        created.unwrap_or_default().to_owned(),
        csr.name().to_owned(),
    )
}

/// Where a request stands. A condition counts by its presence, except that `Failed` must be
/// `True` (or empty) to end a request (kubernetes 1.37
/// `pkg/controller/certificates/certificate_controller_utils.go`).
pub fn stage(csr: Csr<'_>) -> Stage {
    let has_certificate = csr
        .0
        .pointer("/status/certificate")
        .and_then(Value::as_str)
        .is_some_and(|pem| !pem.is_empty());
    if has_certificate || csr.has_condition(DENIED) || is_failed(csr) {
        Stage::Closed
    } else if csr.has_condition(APPROVED) {
        Stage::Approved(BuiltinSigner::parse(csr.signer_name()).ok())
    } else {
        Stage::Undecided
    }
}

/// Whether a condition's status says that it is so; empty counts, from before statuses existed.
pub fn holds(condition: &Condition) -> bool {
    matches!(condition.status.as_str(), "True" | "")
}

fn is_failed(csr: Csr<'_>) -> bool {
    csr.has_condition(FAILED)
        && csr
            .conditions()
            .iter()
            .any(|condition| condition.kind == FAILED && holds(condition))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{authority, kubelet_client, kubelet_serving};
    use jiff::SignedDuration;
    use proptest::prelude::*;

    fn named(mut object: Value, name: &str) -> Value {
        object["metadata"]["name"] = name.into();
        object
    }

    /// A complete list.
    fn reset(index: &mut Index, objects: Vec<Value>) -> Vec<Change> {
        index.begin_list();
        let changes = objects.into_iter().filter_map(|one| index.apply(one));
        let changes = changes.collect();
        index.end_list();
        changes
    }

    fn names(index: &Index) -> Vec<&str> {
        index.entries.keys().map(String::as_str).collect()
    }

    #[test]
    fn stages() {
        let stage_of = |object: Value| stage(Csr(&object));
        let serving = BuiltinSigner::KubeletServing;
        let request = || kubelet_serving("n1").request("-");
        assert_eq!(stage_of(request().object()), Stage::Undecided);
        assert_eq!(
            stage_of(request().approved().object()),
            Stage::Approved(Some(serving))
        );
        assert_eq!(
            stage_of(request().for_signer("example.com/x").approved().object()),
            Stage::Approved(None)
        );
        assert_eq!(
            stage_of(request().approved().condition("Denied", "True").object()),
            Stage::Closed
        );
        assert_eq!(
            stage_of(request().approved().condition("Failed", "").object()),
            Stage::Closed
        );
        assert_eq!(
            stage_of(request().approved().condition("Failed", "False").object()),
            Stage::Approved(Some(serving))
        );
        assert_eq!(
            stage_of(request().approved().certificate("x").object()),
            Stage::Closed
        );
        assert_eq!(
            stage_of(Value::Null),
            Stage::Undecided,
            "hostile, but no panic"
        );
    }

    #[test]
    fn a_request_is_verified_once_for_all_versions_of_its_object() {
        let mut index = Index::default();
        let object = kubelet_client("n1").object();
        index.apply(object.clone());
        let first = index.open("csr-abcde").unwrap();
        let verified: *const VerifiedRequest = first.request().unwrap();
        let mut approved = object.clone();
        approved["status"]["conditions"] = serde_json::json!([{ "type": "Approved" }]);
        index.apply(approved);
        let second = index.open("csr-abcde").unwrap();
        assert_eq!(second.request().unwrap() as *const _, verified);
        // Deleted and created again under the same name, with other bytes.
        index.apply(kubelet_client("n2").object());
        let third = index.open("csr-abcde").unwrap();
        assert_eq!(
            third.request().unwrap().subject().common_name,
            "system:node:n2"
        );
    }

    #[test]
    fn closing_is_seen_once_and_leaves_a_record() {
        let mut index = Index::default();
        let ca = authority(SignedDuration::from_hours(1)).certificate_pem();
        let issued = kubelet_client("n1")
            .approved()
            .certificate(&ca)
            .request("-")
            .object();
        index.apply(kubelet_client("n1").request("-").object());
        let record = index.apply(issued.clone()).unwrap().closed.unwrap();
        assert_eq!(record.leaf().unwrap().common_name, "test-ca");
        assert_eq!(record.uid, "11111111-2222-3333-4444-555555555555");
        assert!(index.open("csr-abcde").is_none());
        assert!(
            index.apply(issued.clone()).unwrap().closed.is_none(),
            "a resync"
        );
        assert!(
            reset(&mut index, vec![issued])[0].closed.is_none(),
            "a relist"
        );
        assert!(index.open_counts().values().all(|count| *count == 0));
    }

    #[test]
    fn a_relist_replaces_everything() {
        let mut index = Index::default();
        let object = kubelet_client("n1").request("-").object();
        index.apply(named(object.clone(), "a"));
        index.apply(named(object.clone(), "b"));
        let changes = reset(
            &mut index,
            vec![named(object.clone(), "b"), named(object.clone(), "c")],
        );
        assert_eq!(changes.len(), 2);
        assert_eq!(names(&index), ["b", "c"]);
        assert_eq!(
            index.open_counts()["kubernetes.io/kube-apiserver-client-kubelet"],
            2
        );
        index.delete("b");
        assert_eq!(names(&index), ["c"]);
        assert!(index.apply(Value::Null).is_none());
    }

    #[derive(Clone, Debug)]
    enum Event {
        Put(u8, u8),
        Delete(u8),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (0..4_u8, 0..4_u8).prop_map(|(name, state)| Event::Put(name, state)),
            1 => (0..4_u8).prop_map(Event::Delete),
        ]
    }

    fn in_state(name: u8, state: u8) -> Value {
        let request = kubelet_client("n1").request("-");
        let request = match state {
            0 => request,
            1 => request.approved(),
            2 => request.condition("Denied", "True"),
            _ => request.approved().certificate("-"),
        };
        named(request.object(), &name.to_string())
    }

    fn shape(index: &Index) -> Vec<(&String, Option<Stage>)> {
        let stage_of = |entry: &Entry| match entry {
            Entry::Closed(_) => None,
            Entry::Open(open) => Some(stage(open.csr())),
        };
        index
            .entries
            .iter()
            .map(|(name, entry)| (name, stage_of(entry)))
            .collect()
    }

    proptest! {
        /// A watch is a list plus events: wherever a relist falls, the index ends up the same.
        #[test]
        fn events_and_lists_agree(
            events in proptest::collection::vec(event(), 0..30),
            relist_after in 0..30_usize,
        ) {
            let mut objects: BTreeMap<String, Value> = BTreeMap::new();
            let (mut watched, mut relisted) = (Index::default(), Index::default());
            let was_relisted = relist_after < events.len();
            for (number, event) in events.into_iter().enumerate() {
                match event {
                    Event::Put(name, state) => {
                        let object = in_state(name, state);
                        objects.insert(name.to_string(), object.clone());
                        watched.apply(object.clone());
                        if number > relist_after {
                            relisted.apply(object);
                        }
                    }
                    Event::Delete(name) => {
                        objects.remove(&name.to_string());
                        watched.delete(&name.to_string());
                        if number > relist_after {
                            relisted.delete(&name.to_string());
                        }
                    }
                }
                if number == relist_after {
                    reset(&mut relisted, objects.values().cloned().collect());
                }
            }
            let mut listed = Index::default();
            reset(&mut listed, objects.into_values().collect());
            prop_assert_eq!(shape(&watched), shape(&listed));
            if was_relisted {
                prop_assert_eq!(shape(&relisted), shape(&listed));
            }
        }
    }
}
