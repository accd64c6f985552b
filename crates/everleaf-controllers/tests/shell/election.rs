//! One of several processes: what is written while it leads, and that nothing is while it does not.

use super::support::{CSRS, LEASES, Server, node_request, status};
use super::{REVIEW, approval, issuance, start_of_time};
use everleaf_controllers::{
    CaFiles, Config, ElectionConfig, ElectionOptions, IssuerSource, RunError, Telemetry,
    run_elected,
};
use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// One process, running.
struct Process {
    identity: String,
    telemetry: Arc<Telemetry>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), RunError>>,
}

impl Process {
    fn start(server: &Server, number: u8) -> Self {
        Self::start_with(server, number, |_| {})
    }

    fn start_with(server: &Server, number: u8, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_as(server, number, &ElectionOptions::default(), change)
    }

    fn start_as(
        server: &Server,
        number: u8,
        options: &ElectionOptions,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let hours = SignedDuration::from_hours;
        let (from, to) = (start_of_time() - hours(1), start_of_time() + hours(24_000));
        let issuer = Issuer::self_signed("test-ca", key, [1; 16], from, to).unwrap();
        let begun = Instant::now();
        let mut config = Config::in_process(Arc::new(issuer));
        config.clock =
            Arc::new(move || start_of_time() + SignedDuration::try_from(begun.elapsed()).unwrap());
        change(&mut config);
        let telemetry = Arc::clone(&config.telemetry);
        let election: ElectionConfig = options.enter("host", [number; 16]).unwrap();
        let identity = election.identity.clone();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(run_elected(server.client(), config, election, async {
            let _ = stopped.await;
        }));
        Self {
            identity,
            telemetry,
            stop: Some(stop),
            running,
        }
    }

    async fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        (&mut self.running).await.unwrap().unwrap();
    }

    fn is_leading(&self) -> bool {
        let line = "leader_election_master_status{name=\"kube-controller-manager\"} 1";
        let text = self.telemetry.metrics_text();
        text.lines().any(|one| one == line)
    }
}

fn held_by(holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": "kube-controller-manager", "namespace": "kube-system", "uid": "u-lease" },
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-11-20T09:00:00.000000Z",
            "renewTime": "2026-11-20T09:00:00.000000Z",
            "leaseTransitions": 3,
        },
    })
}

fn holder(server: &Server) -> String {
    let lease = server.state().lease.clone().unwrap();
    lease["spec"]["holderIdentity"].as_str().unwrap().to_owned()
}

/// Writes that were made, the lease's and Kubernetes Events excepted.
fn work(server: &Server) -> Vec<String> {
    let of_election = |call: &String| call.contains(LEASES) || call.contains("/events");
    let work = server.work().into_iter();
    work.filter(|call| !of_election(call)).collect()
}

async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_leader_works_and_frees_the_lease_on_its_way_out() {
    let server = Server::default();
    server.allow("selfnodeclient");
    server.put(node_request("csr-1", "n1"));
    let mut process = Process::start(&server, 1);
    pass(1.0).await;
    assert_eq!(holder(&server), process.identity);
    assert_eq!(process.telemetry.ready(), Ok(()));
    assert_eq!(process.telemetry.standing_by(), None);
    assert!(process.is_leading());
    let done = [REVIEW.to_owned(), approval("csr-1"), issuance("csr-1")];
    assert_eq!(work(&server), done);
    pass(600.0).await;
    assert_eq!(holder(&server), process.identity);
    process.stop().await;
    let calls = server.state().calls.clone();
    let tail = ["GET", "PUT"].map(|verb| format!("{verb} {LEASES}/kube-controller-manager"));
    assert_eq!(calls[calls.len() - 3..calls.len() - 1], tail);
    assert_eq!(holder(&server), "");
    assert!(!process.is_leading());
    let said =
        ["became leader", "stopped leading"].map(|what| format!("{} {what}", process.identity));
    assert_eq!(server.state().messages, said);
}

#[tokio::test(start_paused = true)]
async fn a_standby_is_ready_writes_nothing_and_takes_over_at_once() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let mut first = Process::start(&server, 1);
    pass(1.0).await;
    let mut second = Process::start(&server, 2);
    pass(1.0).await;
    assert_eq!(second.telemetry.ready(), Ok(()));
    assert_eq!(second.telemetry.standing_by(), Some(first.identity.clone()));
    let lists = server.count(&format!("GET {CSRS}"));
    pass(60.0).await;
    assert!(!second.is_leading());
    assert_eq!(
        server.count(&format!("GET {CSRS}")),
        lists,
        "it does not even look"
    );
    first.stop().await;
    server.put(node_request("csr-1", "n1"));
    pass(4.4).await;
    assert_eq!(holder(&server), second.identity);
    assert_eq!(second.telemetry.standing_by(), None);
    let done = [REVIEW.to_owned(), approval("csr-1"), issuance("csr-1")];
    assert_eq!(work(&server), done);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_vanished_is_waited_for() {
    let server = Server::default();
    server.state().store_lease(held_by("kcm"));
    let mut process = Process::start(&server, 1);
    pass(15.0).await;
    assert_eq!(holder(&server), "kcm");
    pass(4.5).await;
    assert_eq!(holder(&server), process.identity);
    let transitions = server.state().lease.as_ref().unwrap()["spec"]["leaseTransitions"].clone();
    assert_eq!(transitions, 4);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_stops_every_write_and_ends_the_process() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let process = Process::start(&server, 1);
    pass(1.0).await;
    server.state().store_lease(held_by("kcm"));
    pass(2.0).await;
    server.put(node_request("csr-1", "n1"));
    let error = process.running.await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "leader election lost: kcm holds the lease now"
    );
    pass(60.0).await;
    assert_eq!(work(&server), [""; 0]);
    assert_eq!(holder(&server), "kcm");
    assert!(process.telemetry.ready().is_err());
}

/// A worker is in the middle of a signature, on another thread, while the lease is lost: the
/// process waits for it, and what it signed is not written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_under_way_writes_nothing_after_the_loss() {
    let server = Server::default();
    server.allow("selfnodeclient");
    server.put(node_request("csr-1", "n1"));
    let (signing, is_signing) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let may_go_on = Mutex::new(may_go_on);
    let options = ElectionOptions {
        retry_period: Duration::from_millis(100),
        ..ElectionOptions::default()
    };
    let process = Process::start_as(&server, 1, &options, |config| {
        config.serials = Arc::new(move || {
            signing.send(()).unwrap();
            may_go_on.lock().unwrap().recv().unwrap();
            Ok([7; 16])
        });
    });
    let until_signing = move || is_signing.recv().unwrap();
    tokio::task::spawn_blocking(until_signing).await.unwrap();
    server.state().store_lease(held_by("kcm"));
    let lost = || {
        let missing = process.telemetry.ready().unwrap_err();
        missing.iter().any(|one| one == "leader election: lost")
    };
    // Without a limit: the suite's own ends a process that never hears of its loss.
    while process.telemetry.ready().is_ok() || !lost() {
        pass(0.01).await;
    }
    pass(0.05).await;
    assert!(!process.running.is_finished(), "a task is still under way");
    go_on.send(()).unwrap();
    let error = process.running.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("kcm holds the lease now"), "{error}");
    assert_eq!(work(&server), [REVIEW.to_owned(), approval("csr-1")]);
}

/// An Event that waits for its answer is not sent again, nor at all, once the lease is lost.
#[tokio::test(start_paused = true)]
async fn an_event_under_way_ends_with_the_leadership() {
    let server = Server::default();
    server.delay("/events", Duration::from_secs(1));
    let options = ElectionOptions {
        retry_period: Duration::from_millis(100),
        ..ElectionOptions::default()
    };
    let process = Process::start_as(&server, 1, &options, |_| {});
    pass(0.5).await;
    server.state().store_lease(held_by("kcm"));
    let error = process.running.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("kcm holds the lease now"), "{error}");
    pass(10.0).await;
    assert_eq!(server.state().messages, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_ends_the_process_before_others_may_lead() {
    let server = Server::default();
    let process = Process::start(&server, 1);
    pass(1.0).await;
    let begun = Instant::now();
    server.state().is_away = true;
    let error = process.running.await.unwrap().unwrap_err().to_string();
    assert!(
        error.starts_with(
            "leader election lost: the lease could not be renewed in time: cannot get the lease"
        ),
        "{error}"
    );
    let elapsed = begun.elapsed();
    assert!(
        elapsed > Duration::from_secs(10) && elapsed < Duration::from_secs(12),
        "{elapsed:?}"
    );
}

/// As after a sleep: the monotonic clock did not count it, and the lease may be another's.
#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_renews_before_it_writes() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let slept = Arc::new(AtomicI64::new(0));
    let mut process = Process::start_with(&server, 1, |config| {
        let (clock, slept) = (Arc::clone(&config.clock), Arc::clone(&slept));
        config.clock =
            Arc::new(move || clock() + SignedDuration::from_secs(slept.load(Ordering::SeqCst)));
    });
    pass(1.0).await;
    slept.store(3_600, Ordering::SeqCst);
    // The server is slow: the next renewal, due at 2 s, is answered at 5 s.
    server.delay(LEASES, Duration::from_secs(3));
    server.put(node_request("csr-1", "n1"));
    pass(3.9).await;
    assert_eq!(work(&server), [""; 0]);
    pass(0.5).await;
    let done = [REVIEW.to_owned(), approval("csr-1"), issuance("csr-1")];
    assert_eq!(work(&server), done);
    process.stop().await;
}

/// A write whose answer does not come while the lease runs out is given up, and made again under
/// the next permission, not both.
#[tokio::test(start_paused = true)]
async fn a_write_under_way_ends_with_its_permission() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let mut process = Process::start(&server, 1);
    pass(1.0).await;
    server.fault(LEASES, 2, || status(500, "broken"));
    server.delay("/approval", Duration::from_secs(2));
    server.put(node_request("csr-1", "n1"));
    // Renewed at 2 s, which fails, and again at 4 s.
    pass(2.5).await;
    assert_eq!(work(&server), [REVIEW.to_owned()]);
    let text = process.telemetry.metrics_text();
    assert!(
        text.contains("\neverleaf_writes_stopped_total 1\n"),
        "{text}"
    );
    pass(0.4).await;
    assert_eq!(work(&server), [REVIEW.to_owned()]);
    pass(10.0).await;
    let writes = work(&server);
    let approvals = writes.iter().filter(|call| **call == approval("csr-1"));
    assert_eq!(approvals.count(), 1, "{writes:?}");
    assert!(writes.contains(&issuance("csr-1")), "{writes:?}");
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_told_with_its_cure() {
    let server = Server::default();
    server.fault(LEASES, 3, || status(403, "leases is forbidden"));
    let mut process = Process::start(&server, 1);
    pass(1.0).await;
    let reasons = process.telemetry.ready().unwrap_err().join("\n");
    for expected in [
        "leader election: cannot get the lease kube-system/kube-controller-manager",
        "leases is forbidden",
        "grant get, create and update on leases",
        "--leader-elect=false",
    ] {
        assert!(reasons.contains(expected), "{reasons}");
    }
    pass(20.0).await;
    assert_eq!(process.telemetry.ready(), Ok(()));
    assert!(process.is_leading());
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn unusable_ca_files_show_at_start_and_not_when_it_leads() {
    let server = Server::default();
    server.state().store_lease(held_by("kcm"));
    let process = Process::start_with(&server, 1, |config| {
        for source in config.issuers.values_mut() {
            *source = IssuerSource::Files(CaFiles {
                certificate: "missing.crt".into(),
                key: "missing.key".into(),
                chain: None,
                password: None,
            });
        }
    });
    let error = process.running.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("missing.crt"), "{error}");
    assert_eq!(server.state().calls, [""; 0]);
}
