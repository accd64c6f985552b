mod foreign;
mod long_logs;
mod unreadable;

use super::*;
use crate::registry::configmaps::CONFIG_MAPS;
use crate::registry::csr::CERTIFICATE_SIGNING_REQUESTS;
use crate::store::{Change, Embedded, Memory, Position};
use crate::watch_cache::{Next, Scope, Start};
use futures_util::FutureExt as _;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

fn put(name: &str, value: &str, expected: Expected) -> Proposal {
    let object = json!({"kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "ns"}, "data": {"key": value}});
    Proposal {
        descriptor: &CONFIG_MAPS,
        namespace: "ns".to_owned(),
        name: name.to_owned(),
        expected,
        operation: Operation::Put {
            bytes: CONFIG_MAPS.r#type.encode_protobuf(&object).into(),
            object,
        },
        tally_max: None,
    }
}

fn delete(name: &str, revision: u64) -> Proposal {
    Proposal {
        operation: Operation::Delete,
        ..put(name, "", Expected::Revision(revision))
    }
}

fn inline(store: impl Store + 'static) -> (Writer, Arc<Cache>) {
    Writer::start(Box::new(store), Mode::Inline, Arc::default()).unwrap()
}

fn propose(writer: &Writer, proposal: Proposal) -> Outcome {
    writer
        .propose(proposal)
        .now_or_never()
        .expect("inline is ready at once")
}

fn committer(store: impl Store + 'static) -> (Committer, Arc<Cache>) {
    let mut store: Box<dyn Store> = Box::new(store);
    let cache = Arc::new(recovery::recover(store.as_mut(), &Encryption::default()).unwrap());
    let committer = Committer::new(store, &cache, Arc::default());
    (committer, cache)
}

/// Commits a batch; the outcomes in order, `Ok` as the revision.
fn batch(committer: &mut Committer, proposals: Vec<Proposal>) -> Vec<Result<u64, Refusal>> {
    let (queued, answers): (Vec<Queued>, Vec<_>) = proposals
        .into_iter()
        .map(|proposal| {
            let (sender, receiver) = oneshot::channel();
            ((proposal, sender), receiver)
        })
        .unzip();
    committer.commit(queued);
    answers
        .into_iter()
        .map(|mut answer| answer.try_recv().unwrap().map(|stored| stored.revision))
        .collect()
}

/// A store that fails when told to, and lets a test look in on a commit.
struct Probe {
    inner: Memory,
    full: Arc<AtomicBool>,
    /// What another server commits just before the next batch.
    foreign: Arc<Mutex<Vec<Txn>>>,
}

impl Store for Probe {
    fn position(&self) -> Position {
        self.inner.position()
    }
    fn replay(&mut self, visit: &mut dyn FnMut(Change)) -> Result<(), StoreError> {
        self.inner.replay(visit)
    }
    fn changes(&mut self) -> Result<Vec<Change>, StoreError> {
        self.inner.changes()
    }
    fn commit(&mut self, batch: Vec<Txn>) -> Result<Vec<Verdict>, StoreError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(StoreError::NoSpace);
        }
        let foreign = std::mem::take(&mut *self.foreign.lock().unwrap());
        self.inner.commit(foreign)?;
        self.inner.commit(batch)
    }
    fn compact(&mut self, floor: u64) -> Result<(), StoreError> {
        self.inner.compact(floor)
    }
}

#[test]
fn preconditions_see_what_is_earlier_in_the_batch() {
    let (mut committer, cache) = committer(Memory::new());
    let outcomes = batch(
        &mut committer,
        vec![
            put("a", "1", Expected::Absent),
            put("a", "2", Expected::Absent),
            put("a", "2", Expected::Revision(1)),
            put("a", "3", Expected::Revision(1)),
            delete("a", 2),
            delete("a", 2),
            put("a", "4", Expected::Absent),
            put("b", "1", Expected::Revision(9)),
        ],
    );
    assert_eq!(
        outcomes,
        [
            Ok(1),
            Err(Refusal::Exists),
            Ok(2),
            Err(Refusal::Changed),
            Ok(3),
            Err(Refusal::Changed),
            Ok(4),
            Err(Refusal::Changed),
        ]
    );
    let object = cache.get("configmaps", "ns", "a").unwrap();
    assert_eq!((object.revision, object.created), (4, 4));
    assert_eq!(object.object()["metadata"]["resourceVersion"], "4");
    assert_eq!(cache.revision(), 4);
}

#[test]
fn a_failed_batch_leaves_no_trace() {
    let full = Arc::new(AtomicBool::new(false));
    let (mut committer, cache) = committer(Probe {
        inner: Memory::new(),
        full: Arc::clone(&full),
        foreign: Arc::default(),
    });
    batch(&mut committer, vec![put("a", "1", Expected::Absent)]);
    let mut feed = cache
        .watch("configmaps", Scope::default(), Start::Now)
        .unwrap();
    full.store(true, Ordering::Relaxed);
    let outcomes = batch(
        &mut committer,
        vec![
            put("b", "1", Expected::Absent),
            // Refused by something that is then dropped: not this one's fault either.
            put("b", "2", Expected::Absent),
            put("a", "2", Expected::Revision(1)),
        ],
    );
    assert!(
        outcomes
            .iter()
            .all(|outcome| *outcome == Err(Refusal::Store(StoreError::NoSpace)))
    );
    assert_eq!(cache.revision(), 1);
    assert!(cache.get("configmaps", "ns", "b").is_none());
    full.store(false, Ordering::Relaxed);
    let outcomes = batch(&mut committer, vec![put("b", "3", Expected::Absent)]);
    assert_eq!(outcomes, [Ok(2)]);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Next::Event(event)) = feed.poll_next(&mut context) else {
        panic!("the watcher hears of the second attempt");
    };
    assert_eq!(event.revision(), 2);
    assert!(feed.poll_next(&mut context).is_pending());
}

#[test]
fn accounts_are_limited_within_a_batch_too() {
    let csr = |name: &str, user: &str, max: usize| {
        let signer = "kubernetes.io/kube-apiserver-client-kubelet";
        let spec = json!({"username": user, "signerName": signer});
        let object = json!({"metadata": {"name": name}, "spec": spec});
        Proposal {
            descriptor: &CERTIFICATE_SIGNING_REQUESTS,
            namespace: String::new(),
            name: name.to_owned(),
            expected: Expected::Absent,
            operation: Operation::Put {
                bytes: CERTIFICATE_SIGNING_REQUESTS
                    .r#type
                    .encode_protobuf(&object)
                    .into(),
                object,
            },
            tally_max: Some(max),
        }
    };
    let gone = Proposal {
        operation: Operation::Delete,
        expected: Expected::Revision(1),
        ..csr("a", "n1", 2)
    };
    let (mut committer, cache) = committer(Memory::new());
    let outcomes = batch(
        &mut committer,
        vec![
            csr("a", "n1", 2),
            csr("b", "n1", 2),
            csr("c", "n1", 2),
            csr("d", "n2", 2),
            gone,
            csr("e", "n1", 2),
        ],
    );
    let full = Refusal::TallyFull {
        account: "n1".to_owned(),
        max: 2,
    };
    assert_eq!(outcomes, [Ok(1), Ok(2), Err(full), Ok(3), Ok(4), Ok(5)]);
    assert_eq!(cache.tally("certificatesigningrequests", "n1"), 2);
    assert_eq!(cache.tally("certificatesigningrequests", "n2"), 1);
}

/// Sixteen that were denied weigh as much as one that may still be decided.
#[test]
fn denied_requests_weigh_little_and_not_nothing() {
    let csr = |name: &str, is_denied: bool| {
        let mut object = json!({ "metadata": { "name": name }, "spec": { "username": "n1" } });
        if is_denied {
            object["status"] = json!({ "conditions": [{ "type": "Denied", "status": "True" }] });
        }
        Proposal {
            descriptor: &CERTIFICATE_SIGNING_REQUESTS,
            namespace: String::new(),
            name: name.to_owned(),
            expected: Expected::Absent,
            operation: Operation::Put {
                bytes: CERTIFICATE_SIGNING_REQUESTS
                    .r#type
                    .encode_protobuf(&object)
                    .into(),
                object,
            },
            tally_max: (!is_denied).then_some(2),
        }
    };
    let (mut committer, _) = committer(Memory::new());
    let denied = |range: std::ops::Range<usize>| {
        range
            .map(|number| csr(&format!("d{number}"), true))
            .collect::<Vec<_>>()
    };
    batch(&mut committer, denied(0..15));
    let one = batch(&mut committer, vec![csr("a", false)]);
    assert!(one[0].is_ok(), "{one:?}");
    let mut last = denied(15..16);
    last.push(csr("b", false));
    let outcomes = batch(&mut committer, last);
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    assert!(
        matches!(outcomes[1], Err(Refusal::TallyFull { .. })),
        "{outcomes:?}"
    );
}

#[test]
fn a_restart_finds_state_history_and_revision() {
    let directory = tempfile::tempdir().unwrap();
    let open = || inline(Embedded::open(directory.path()).unwrap());
    let before = {
        let (writer, cache) = open();
        propose(&writer, put("a", "1", Expected::Absent)).unwrap();
        propose(&writer, put("b", "1", Expected::Absent)).unwrap();
        propose(&writer, put("a", "2", Expected::Revision(1))).unwrap();
        propose(&writer, delete("b", 2)).unwrap();
        cache.list("configmaps", None)
    };
    let (writer, cache) = open();
    let after = cache.list("configmaps", None);
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].object(), before[0].object());
    assert_eq!((after[0].revision, after[0].created), (3, 1));
    assert_eq!(
        cache.revision(),
        4,
        "also when the last change was a delete"
    );

    // A watch from before the restart goes on.
    let mut feed = cache
        .watch("configmaps", Scope::default(), Start::After(2))
        .unwrap();
    propose(&writer, put("c", "1", Expected::Absent)).unwrap();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut story = Vec::new();
    while let std::task::Poll::Ready(Next::Event(event)) = feed.poll_next(&mut context) {
        story.push((
            event.object.name.to_string(),
            event.revision(),
            event.deleted,
        ));
    }
    assert_eq!(
        story,
        [
            ("a".to_owned(), 3, false),
            ("b".to_owned(), 4, true),
            ("c".to_owned(), 5, false)
        ]
    );
}

#[test]
fn history_beyond_its_bound_is_compacted_and_gone() {
    let directory = tempfile::tempdir().unwrap();
    let changes = HISTORY_REVISIONS + COMPACTION_STEP + 10;
    {
        let (mut committer, _) = committer(Embedded::open(directory.path()).unwrap());
        let mut proposals = vec![put("a", "0", Expected::Absent)];
        for revision in 1..changes {
            proposals.push(put("a", "1", Expected::Revision(revision)));
            if proposals.len() == BATCH_MAX || revision == changes - 1 {
                let outcomes = batch(&mut committer, std::mem::take(&mut proposals));
                assert!(outcomes.iter().all(Result::is_ok));
            }
        }
        let floor = committer.store.position().floor;
        assert!(
            (changes - HISTORY_REVISIONS - BATCH_MAX as u64..=changes).contains(&floor),
            "{floor}"
        );
    }
    let (_, cache) = inline(Embedded::open(directory.path()).unwrap());
    assert_eq!(cache.revision(), changes);
    let too_old = cache.watch("configmaps", Scope::default(), Start::After(1));
    assert!(too_old.is_err());
}

#[test]
fn an_object_that_does_not_decode_stops_the_start() {
    let mut store = Memory::new();
    let change = Change {
        revision: 1,
        key: "/registry/configmaps/ns/a".to_owned(),
        value: Some(Bytes::from_static(b"garbage")),
        created: 1,
        replaces: 0,
    };
    store.commit(vec![Txn::of(&change)]).unwrap();
    let error = Writer::start(Box::new(store), Mode::Inline, Arc::default()).unwrap_err();
    assert!(
        error.to_string().contains("/registry/configmaps/ns/a"),
        "{error}"
    );
}

/// Whichever version of a resource wrote it, it is read, and is the same object.
#[test]
fn objects_of_every_version_are_read() {
    use crate::registry::clustertrustbundles::{
        ALPHA_CLUSTER_TRUST_BUNDLES, BETA_CLUSTER_TRUST_BUNDLES, CLUSTER_TRUST_BUNDLES,
    };
    let object = |name: &str| {
        json!({
            "metadata": {"name": name, "uid": "u"},
            "spec": {"signerName": "example.com/one", "trustBundle": "pem"},
        })
    };
    let versions = [
        &ALPHA_CLUSTER_TRUST_BUNDLES,
        &BETA_CLUSTER_TRUST_BUNDLES,
        &CLUSTER_TRUST_BUNDLES,
    ];
    let mut store = Memory::new();
    for (revision, version) in (1..).zip(versions) {
        let bytes = version.r#type.encode_protobuf(&object("a"));
        let change = Change {
            revision,
            key: format!("/registry/clustertrustbundles/a{revision}"),
            value: Some(bytes.into()),
            created: revision,
            replaces: 0,
        };
        store.commit(vec![Txn::of(&change)]).unwrap();
    }
    let (_, cache) = inline(store);
    let stored = cache.list("clustertrustbundles", None);
    assert_eq!(stored.len(), 3);
    for one in stored {
        let read = one.object();
        assert_eq!(read["apiVersion"], "certificates.k8s.io/v1beta1");
        assert_eq!(read["spec"], object("a")["spec"]);
        assert_eq!(
            one.bytes,
            BETA_CLUSTER_TRUST_BUNDLES
                .r#type
                .encode_protobuf(&object("a"))
        );
    }
}

#[test]
fn keys_of_others_are_left_alone() {
    let mut store = Memory::new();
    let foreign = |revision, key: &str| Change {
        revision,
        key: key.to_owned(),
        value: Some(Bytes::from_static(b"x")),
        created: revision,
        replaces: 0,
    };
    let changes = [
        foreign(1, "/registry/pods/ns/a"),
        foreign(2, "/registry/configmaps/too/deep/a"),
        foreign(3, "compact_rev_key"),
        foreign(4, "/registry/minions/"),
    ];
    store.commit(changes.iter().map(Txn::of).collect()).unwrap();
    let (_, cache) = inline(store);
    assert_eq!(cache.revision(), 4);
    assert!(cache.counts().iter().all(|(_, count)| *count == 0));
}

/// A store whose commits wait for the test, and tell how large they were.
struct Gate {
    inner: Memory,
    sizes: Sender<usize>,
    open: Receiver<()>,
}

impl Store for Gate {
    fn position(&self) -> Position {
        self.inner.position()
    }
    fn replay(&mut self, visit: &mut dyn FnMut(Change)) -> Result<(), StoreError> {
        self.inner.replay(visit)
    }
    fn changes(&mut self) -> Result<Vec<Change>, StoreError> {
        self.inner.changes()
    }
    fn commit(&mut self, batch: Vec<Txn>) -> Result<Vec<Verdict>, StoreError> {
        self.sizes.send(batch.len()).unwrap();
        self.open.recv().unwrap();
        self.inner.commit(batch)
    }
    fn compact(&mut self, floor: u64) -> Result<(), StoreError> {
        self.inner.compact(floor)
    }
}

#[test]
fn what_arrives_during_a_sync_is_one_batch_and_the_queue_is_bounded() {
    let (sizes, seen) = channel();
    let (key, gate) = channel();
    let store = Gate {
        inner: Memory::new(),
        sizes,
        open: gate,
    };
    let (writer, cache) = Writer::start(Box::new(store), Mode::Thread, Arc::default()).unwrap();
    // Dropped before the writer, so that a failing assertion does not leave it waiting.
    let open = key;
    let mut waiting = Vec::new();
    let mut ask = |name: String| {
        let mut outcome = Box::pin(writer.propose(put(&name, "1", Expected::Absent)));
        let early = outcome.as_mut().now_or_never();
        waiting.push(outcome);
        early
    };
    assert!(ask("first".to_owned()).is_none());
    assert_eq!(seen.recv().unwrap(), 1);
    assert_eq!(cache.revision(), 0, "nobody sees what is not synced");
    for index in 0..QUEUE_MAX {
        assert!(ask(format!("n{index}")).is_none());
    }
    assert_eq!(
        ask("one too many".to_owned()).unwrap().unwrap_err(),
        Refusal::Busy
    );
    waiting.pop();
    let mut batches = Vec::new();
    open.send(()).unwrap();
    while batches.iter().sum::<usize>() < QUEUE_MAX {
        batches.push(seen.recv().unwrap());
        open.send(()).unwrap();
    }
    assert!(batches.iter().all(|size| *size <= BATCH_MAX), "{batches:?}");
    assert_eq!(batches.len(), QUEUE_MAX.div_ceil(BATCH_MAX), "{batches:?}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for (index, outcome) in waiting.into_iter().enumerate() {
        let stored = runtime.block_on(outcome).unwrap();
        assert_eq!(stored.revision, index as u64 + 1, "answers keep the order");
    }
    assert!(writer.is_alive());
}

const CHILD: &str = "EVERLEAF_TEST_CHILD_STORE";

/// The child of the next test: creates and acknowledges until it is killed.
#[test]
fn child_that_creates_until_killed() {
    let Ok(directory) = std::env::var(CHILD) else {
        return;
    };
    let store = Embedded::open(std::path::Path::new(&directory)).unwrap();
    let (writer, _) = Writer::start(Box::new(store), Mode::Thread, Arc::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for index in 0..1000 {
        let name = format!("n{index}");
        let stored = runtime
            .block_on(writer.propose(put(&name, "1", Expected::Absent)))
            .unwrap();
        println!("ACK {name} {}", stored.revision);
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    for kill_after in [1, 77, 500] {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "writer::tests::child_that_creates_until_killed",
                "--nocapture",
            ])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged: Vec<(String, u64)> = lines
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| {
                // The test runner may print on the same line.
                let rest = line.split_once("ACK ")?.1.to_owned();
                let (name, revision) = rest.split_once(' ')?;
                Some((name.to_owned(), revision.parse().unwrap()))
            })
            .take(kill_after)
            .collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(acknowledged.len(), kill_after);

        let (writer, cache) = inline(Embedded::open(directory.path()).unwrap());
        for (name, revision) in &acknowledged {
            let stored = cache.get("configmaps", "ns", name).expect(name);
            assert_eq!(stored.revision, *revision, "{name}");
        }
        let last = cache.revision();
        let next = propose(&writer, put("after", "1", Expected::Absent)).unwrap();
        assert_eq!(next.revision, last + 1);
    }
}
