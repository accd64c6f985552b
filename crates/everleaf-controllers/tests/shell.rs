//! The shell against an API server in memory: what is called, in which order, and what happens when
//! the server is slow, away, restarted or contradicts itself. Time is virtual: nothing sleeps.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "shell/authority.rs"]
mod authority;
#[path = "shell/election.rs"]
mod election;
mod support;
#[path = "shell/upkeep.rs"]
mod upkeep;

use everleaf_controllers::notice::Notice;
use everleaf_controllers::{Config, Loop, RunError, Telemetry};
use everleaf_pki::{Chain, Issuer, KeyAlgorithm, PrivateKey};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Answer, Server, node_request, status};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

fn start_of_time() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// Running controllers, their server, and what they told.
struct World {
    server: Server,
    telemetry: Arc<Telemetry>,
    notices: Arc<Mutex<Vec<Notice>>>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), RunError>>,
}

impl World {
    fn start(server: &Server) -> Self {
        Self::start_with(server, |_| {})
    }

    /// Every loop, a CA of a thousand days, a clock that follows virtual time.
    fn start_with(server: &Server, change: impl FnOnce(&mut Config)) -> Self {
        let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
        let heard = Arc::clone(&notices);
        let listener = move |notice: &Notice| heard.lock().unwrap().push(notice.clone());
        let telemetry = Arc::new(Telemetry::with_listener(listener));
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let hours = SignedDuration::from_hours;
        let (from, to) = (start_of_time() - hours(1), start_of_time() + hours(24_000));
        let issuer = Issuer::self_signed("test-ca", key, [1; 16], from, to).unwrap();
        let begun = Instant::now();
        let mut config = Config::in_process(Arc::new(issuer));
        config.telemetry = Arc::clone(&telemetry);
        config.clock =
            Arc::new(move || start_of_time() + SignedDuration::try_from(begun.elapsed()).unwrap());
        change(&mut config);
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(everleaf_controllers::run(server.client(), config, async {
            let _ = stopped.await;
        }));
        Self {
            server: server.clone(),
            telemetry,
            notices,
            stop,
            running,
        }
    }

    /// Lets virtual time pass.
    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Names of the variants of all notices so far, without those of starting up.
    fn story(&self) -> Vec<String> {
        let notices = self.notices.lock().unwrap();
        let name = |notice: &Notice| {
            let text = format!("{notice:?}");
            text.split([' ', '{']).next().unwrap_or_default().to_owned()
        };
        let is_start = |name: &String| {
            ["Starting", "WaitingForCaches", "CachesSynced"].contains(&name.as_str())
        };
        notices
            .iter()
            .map(name)
            .filter(|name| !is_start(name))
            .collect()
    }

    fn is_issued(&self, name: &str) -> bool {
        self.server
            .object(name)
            .is_some_and(|object| object["status"]["certificate"].is_string())
    }

    fn metric(&self, line: &str) -> bool {
        self.telemetry.metrics_text().lines().any(|one| one == line)
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap().unwrap();
        assert!(self.telemetry.ready().is_err());
    }
}

fn approval(name: &str) -> String {
    format!("PUT {}/{name}/approval", support::CSRS)
}

fn issuance(name: &str) -> String {
    format!("PUT {}/{name}/status", support::CSRS)
}

const REVIEW: &str = "POST /apis/authorization.k8s.io/v1/subjectaccessreviews";

/// From the create to the certificate, without a pause.
#[tokio::test(start_paused = true)]
async fn a_node_gets_its_certificate_at_once() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let world = World::start(&server);
    world.pass(1).await;
    assert_eq!(world.telemetry.ready(), Ok(()));
    let begun = Instant::now();
    server.put(node_request("csr-1", "n1"));
    while !world.is_issued("csr-1") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        begun.elapsed() < Duration::from_millis(10),
        "nothing polls: {:?}",
        begun.elapsed()
    );
    assert_eq!(
        server.work(),
        [REVIEW.to_owned(), approval("csr-1"), issuance("csr-1")]
    );
    world.pass(1).await;
    assert_eq!(world.story(), ["Approved", "Signing", "Issued"]);

    let object = server.object("csr-1").unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&object["status"]["conditions"]).unwrap());
    assert_eq!(object["metadata"]["labels"]["kept"], "yes");
    let leaf = leaf_of(&object);
    assert_eq!(leaf.leaf().subject().common_name, "system:node:n1");
    let expected = start_of_time() + SignedDuration::from_secs(1) - SignedDuration::from_mins(5);
    assert_eq!(leaf.leaf().not_before(), expected);
    assert!(world.metric(
        "everleaf_csr_issued_total{signer=\"kubernetes.io/kube-apiserver-client-kubelet\"} 1"
    ));
    world.stop().await;
}

fn leaf_of(object: &Value) -> Chain {
    let pem = everleaf_api::csr::Csr(object).certificate();
    Chain::from_pem(&pem).unwrap()
}

/// Not permitted is no end (`sarapprove_test.go`): a later grant helps without any event.
#[tokio::test(start_paused = true)]
async fn a_refused_request_waits_for_a_grant() {
    let server = Server::default();
    server.put(node_request("csr-1", "n1"));
    let world = World::start(&server);
    world.pass(1).await;
    let tried = server.work();
    assert!(
        tried.iter().all(|call| call == REVIEW),
        "nothing is written: {tried:?}"
    );
    assert!(
        (4..=6).contains(&tried.len()),
        "two reviews each time, with backoff: {tried:?}"
    );
    assert!(
        !world.story().contains(&"SyncFailed".to_owned()),
        "it is not an error"
    );
    server.allow("nodeclient");
    world.pass(10).await;
    assert!(world.is_issued("csr-1"));
    world.stop().await;
}

/// Someone else's request is left alone, approved by hand it is signed.
#[tokio::test(start_paused = true)]
async fn other_requests_are_left_to_others() {
    let server = Server::default();
    server.allow("selfnodeclient");
    server.allow("nodeclient");
    let mut serving = node_request("csr-1", "n1");
    serving["spec"]["signerName"] = json!("kubernetes.io/kube-apiserver-client");
    server.put(serving);
    let mut foreign = node_request("csr-2", "n1");
    foreign["spec"]["signerName"] = json!("example.com/mine");
    foreign["status"]["conditions"] = json!([{ "type": "Approved", "status": "True" }]);
    server.put(foreign);
    let world = World::start(&server);
    world.pass(60).await;
    assert_eq!(server.work(), Vec::<String>::new());
    server.change("csr-1", |object| {
        object["status"]["conditions"] = json!([{ "type": "Approved", "status": "True" }]);
    });
    world.pass(1).await;
    assert_eq!(server.work(), [issuance("csr-1")]);
    assert!(world.is_issued("csr-1") && !world.is_issued("csr-2"));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_breaks_the_rules_fails_visibly() {
    let server = Server::default();
    let mut request = node_request("csr-1", "n1");
    request["spec"]["usages"] = json!(["client auth", "server auth"]);
    request["status"]["conditions"] = json!([{ "type": "Approved", "status": "True" }]);
    server.put(request);
    let world = World::start(&server);
    world.pass(60).await;
    assert_eq!(server.work(), [issuance("csr-1")], "once");
    let object = server.object("csr-1").unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&object["status"]["conditions"]).unwrap());
    assert_eq!(world.story(), ["Failed"]);
    world.stop().await;
}

/// Somebody else wrote in between: read again, decide again, once.
#[tokio::test(start_paused = true)]
async fn a_conflict_is_decided_again_from_a_live_read() {
    let server = Server::default();
    server.allow("selfnodeclient");
    server.fault("/csr-1/approval", 1, || {
        status(409, "the object has been modified")
    });
    let world = World::start(&server);
    server.put(node_request("csr-1", "n1"));
    world.pass(1).await;
    let read = format!("GET {}/csr-1", support::CSRS);
    let expected = [
        REVIEW.to_owned(),
        approval("csr-1"),
        read,
        REVIEW.to_owned(),
        approval("csr-1"),
        issuance("csr-1"),
    ];
    assert_eq!(server.work(), expected);
    assert_eq!(world.story(), ["Conflict", "Approved", "Signing", "Issued"]);
    world.stop().await;
}

/// A denial that arrives between decision and write wins.
#[tokio::test(start_paused = true)]
async fn a_denial_in_between_is_respected() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let denier = server.clone();
    server.fault("/csr-1/approval", 1, move || {
        let denier = denier.clone();
        // After this answer, since the server's state is in use now.
        tokio::spawn(async move {
            denier.change("csr-1", |object| {
                object["status"]["conditions"] = json!([{ "type": "Denied", "status": "True" }]);
            });
        });
        status(409, "the object has been modified")
    });
    let world = World::start(&server);
    server.put(node_request("csr-1", "n1"));
    world.pass(5).await;
    assert_eq!(server.count("/csr-1/approval"), 1, "{:?}", server.work());
    assert!(!world.is_issued("csr-1"));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_deleted_in_between_is_done() {
    let server = Server::default();
    server.allow("selfnodeclient");
    server.fault("/csr-1/approval", 1, || status(404, "not found"));
    let world = World::start(&server);
    server.put(node_request("csr-1", "n1"));
    world.pass(600).await;
    assert_eq!(server.work(), [REVIEW.to_owned(), approval("csr-1")]);
    assert_eq!(world.story(), Vec::<String>::new());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_left_alone_as_long_as_it_asks() {
    let server = Server::default();
    server.allow("selfnodeclient");
    server.fault("/csr-1/status", 1, || Answer {
        headers: vec![("retry-after", "30".to_owned())],
        ..status(429, "too many requests")
    });
    let world = World::start(&server);
    server.put(node_request("csr-1", "n1"));
    world.pass(29).await;
    assert!(!world.is_issued("csr-1"));
    assert_eq!(server.count("/csr-1/status"), 1);
    world.pass(2).await;
    assert!(world.is_issued("csr-1"));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_watch_is_resumed_where_it_stopped() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let world = World::start(&server);
    world.pass(2).await;
    server.put(node_request("csr-1", "n1"));
    world.pass(2).await;
    server.close_watches();
    server.put(node_request("csr-2", "n2"));
    world.pass(2).await;
    assert!(world.is_issued("csr-1") && world.is_issued("csr-2"));
    assert_eq!(server.count("limit="), 1, "no second list");
    assert_eq!(server.count("watch=true"), 2);
    assert_eq!(server.count("resourceVersion=0"), 1);
    world.stop().await;
}

/// Things change while nobody watches, and the past is gone: list again, miss nothing.
#[tokio::test(start_paused = true)]
async fn after_410_everything_is_listed_again() {
    let server = Server::default();
    server.allow("selfnodeclient");
    server.put(node_request("csr-1", "n1"));
    let world = World::start(&server);
    world.pass(2).await;
    server.state().is_away = true;
    server.close_watches();
    world.pass(5).await;
    assert!(world.telemetry.ready().is_err());
    server.remove("csr-1");
    server.put(node_request("csr-2", "n2"));
    server.compact();
    server.state().is_away = false;
    world.pass(30).await;
    assert!(world.is_issued("csr-2"));
    assert_eq!(server.count("limit="), 2);
    assert_eq!(world.telemetry.ready(), Ok(()));
    let told = world
        .story()
        .iter()
        .filter(|name| *name == "ServerReachable")
        .count();
    assert_eq!(told, 2, "once lost, once back: {:?}", world.story());
    world.stop().await;
}

/// The server was restored from a backup: its resource versions went back, and it does not know
/// ours.
#[tokio::test(start_paused = true)]
async fn after_a_restore_everything_is_listed_again() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let world = World::start(&server);
    world.pass(2).await;
    for number in 0..5 {
        server.put(node_request(&format!("csr-{number}"), "n1"));
    }
    world.pass(2).await;
    let mut older = node_request("older", "n2");
    older["metadata"]["resourceVersion"] = json!("2");
    server.restore([("older".to_owned(), older)].into(), 2);
    world.pass(30).await;
    assert!(world.is_issued("older"));
    assert_eq!(server.count("limit="), 2);
    assert_eq!(world.telemetry.ready(), Ok(()));
    world.stop().await;
}

/// 410 as an event inside the stream, and lines that are no events.
#[tokio::test(start_paused = true)]
async fn errors_inside_the_stream() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let world = World::start(&server);
    world.pass(2).await;
    server.send_raw(
        "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"status\":\"Failure\",\"code\":410}}\n",
    );
    world.pass(2).await;
    assert_eq!(server.count("limit="), 2);
    server.send_raw("nonsense\n");
    world.pass(2).await;
    server
        .send_raw("{\"type\":\"ADDED\",\"object\":{\"spec\":7,\"metadata\":{\"name\":\"odd\"}}}\n");
    server.send_raw("{\"type\":\"ADDED\",\"object\":[]}\n");
    server.put(node_request("csr-1", "n1"));
    world.pass(2).await;
    assert!(world.is_issued("csr-1"));
    assert!(!world.running.is_finished());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_says_where_to_renew_it() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let path = "GET /apis/certificates.k8s.io/v1";
    server.fault(path, 5, || status(401, "Unauthorized"));
    let world = World::start(&server);
    world.pass(1).await;
    let missing = world.telemetry.ready().unwrap_err().join("\n");
    assert!(
        missing.contains("credential of the kubeconfig"),
        "{missing}"
    );
    world.pass(30).await;
    assert_eq!(world.telemetry.ready(), Ok(()));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_without_the_api_is_waited_for() {
    let server = Server::default();
    server.allow("selfnodeclient");
    server.put(node_request("csr-1", "n1"));
    let path = "GET /apis/certificates.k8s.io/v1";
    server.fault(path, 5, || {
        status(404, "the server could not find the requested resource")
    });
    let world = World::start(&server);
    world.pass(1).await;
    let missing = world.telemetry.ready().unwrap_err().join("\n");
    assert!(missing.contains("1.19"), "{missing}");
    world.pass(30).await;
    assert_eq!(world.telemetry.ready(), Ok(()));
    assert!(world.is_issued("csr-1"));
    let told = world
        .story()
        .iter()
        .filter(|name| *name == "ServerReachable")
        .count();
    assert_eq!(told, 2, "{:?}", world.story());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn lists_are_read_in_pages_and_many_requests_are_issued() {
    let server = Server::default();
    server.allow("selfnodeclient");
    for number in 0..1_100 {
        server.put(node_request(
            &format!("csr-{number:04}"),
            &format!("n{number}"),
        ));
    }
    let world = World::start(&server);
    world.pass(5).await;
    assert_eq!(server.count("limit=500"), 3);
    assert!((0..1_100).all(|number| world.is_issued(&format!("csr-{number:04}"))));
    assert_eq!(server.work().len(), 3_300, "three calls each, none twice");
    world.stop().await;
}

/// A node whose clock is far ahead renews again and again; the breaker slows it, not its neighbour.
#[tokio::test(start_paused = true)]
async fn a_renewal_loop_is_slowed_down() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let world = World::start(&server);
    for number in 0..13 {
        server.put(node_request(&format!("loop-{number}"), "n1"));
        world.pass(1).await;
        assert!(world.is_issued(&format!("loop-{number}")), "{number}");
    }
    server.put(node_request("loop-13", "n1"));
    server.put(node_request("calm-0", "n2"));
    world.pass(50).await;
    assert!(world.is_issued("calm-0") && !world.is_issued("loop-13"));
    assert!(world.story().contains(&"Held".to_owned()));
    world.pass(20).await;
    assert!(world.is_issued("loop-13"));
    world.stop().await;
}

fn old_requests(server: &Server) {
    let mut pending = node_request("pending", "n1");
    pending["spec"]["signerName"] = json!("example.com/mine");
    pending["metadata"]["creationTimestamp"] = json!("2026-11-19T10:00:00Z");
    server.put(pending);
    let mut denied = node_request("denied", "n1");
    denied["status"]["conditions"] =
        json!([{ "type": "Denied", "status": "True", "lastUpdateTime": "2026-11-20T10:00:00Z" }]);
    server.put(denied);
    let mut young = node_request("young", "n1");
    young["status"]["conditions"] =
        json!([{ "type": "Denied", "status": "True", "lastUpdateTime": "2026-11-20T11:59:00Z" }]);
    server.put(young);
}

#[tokio::test(start_paused = true)]
async fn old_requests_are_deleted_with_preconditions() {
    let server = Server::default();
    old_requests(&server);
    let world = World::start(&server);
    world.pass(60).await;
    assert!(server.object("pending").is_none() && server.object("denied").is_none());
    assert!(server.object("young").is_some());
    let preconditions = json!({ "uid": "uid-denied", "resourceVersion": "2" });
    assert_eq!(server.state().deletions[0]["preconditions"], preconditions);
    world.pass(3 * 3600).await;
    assert!(server.object("young").is_none(), "a later pass");
    assert!(world.metric("everleaf_csr_cleaned_total{state=\"denied\"} 2"));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn deletions_are_spread() {
    let server = Server::default();
    for number in 0..100 {
        let mut old = node_request(&format!("csr-{number}"), "n1");
        old["metadata"]["creationTimestamp"] = json!("2026-11-01T00:00:00Z");
        server.put(old);
    }
    let world = World::start_with(&server, |config| {
        config.loops = BTreeSet::from([Loop::Cleaner])
    });
    world.pass(1).await;
    let deleted = server.count("DELETE");
    assert!(
        (20..=45).contains(&deleted),
        "20 at once, 20 per second: {deleted}"
    );
    world.pass(5).await;
    assert_eq!(server.count("DELETE"), 100);
    world.stop().await;
}

/// The server's clock is an hour off: ages mean nothing, so nothing is deleted, and it is said.
#[tokio::test(start_paused = true)]
async fn nothing_is_deleted_while_the_clocks_disagree() {
    let server = Server::default();
    old_requests(&server);
    server.state().date = Some("Fri, 20 Nov 2026 13:00:00 GMT".to_owned());
    let world = World::start(&server);
    world.pass(120).await;
    assert_eq!(server.count("DELETE"), 0);
    let story = world.story();
    assert!(story.contains(&"CleaningSkipped".to_owned()), "{story:?}");
    assert!(story.contains(&"ClockSkew".to_owned()), "{story:?}");
    world.stop().await;
}

/// Only the loops that were asked for run.
#[tokio::test(start_paused = true)]
async fn loops_can_be_left_out() {
    let server = Server::default();
    server.allow("selfnodeclient");
    old_requests(&server);
    let world = World::start_with(&server, |config| {
        config.loops = BTreeSet::from([Loop::Approver])
    });
    server.put(node_request("csr-1", "n1"));
    world.pass(60).await;
    assert_eq!(server.work(), [REVIEW.to_owned(), approval("csr-1")]);
    world.stop().await;
}

/// The signer's randomness fails: requests wait, and are issued when it is back.
#[tokio::test(start_paused = true)]
async fn without_randomness_nothing_is_signed() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let begun = Instant::now();
    let world = World::start_with(&server, |config| {
        config.serials = Arc::new(move || match begun.elapsed().as_secs() {
            0..10 => Err("no entropy".to_owned()),
            _ => Ok([7; 16]),
        });
    });
    server.put(node_request("csr-1", "n1"));
    world.pass(9).await;
    assert!(!world.is_issued("csr-1"));
    world.pass(20).await;
    assert!(world.is_issued("csr-1"));
    assert!(world.story().contains(&"SignerUnavailable".to_owned()));
    world.stop().await;
}
