//! The whole agent against a small API server in process: real TLS, real files, a movable clock.

use super::*;
use crate::bootstrap::client_current;
use crate::config::Bootstrap;
use crate::kubeconfig::{Kubeconfig, Names};
use crate::testing::api::{Api, CLIENT_SIGNER};
use crate::testing::{Seen, Server, TestClock, hours, with_file, with_inline, with_token};
use everleaf_api::csr::{self, Csr};
use everleaf_api::meta;
use everleaf_pki::Credential;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

mod exec;
mod kubeconfig;
mod profiles;
mod serving;

use serving::serving;

/// No step of a test may take longer; only a hung one does.
const PATIENCE: Duration = Duration::from_secs(60);

/// An API server, a directory, a clock: what outlives an agent.
struct World {
    api: Arc<Api>,
    server: Server,
    home: tempfile::TempDir,
    clock: Arc<TestClock>,
}

/// A running agent and what it told.
struct Agent {
    notices: mpsc::UnboundedReceiver<(CertificateId, Notice)>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<Outcome, AgentError>>,
}

impl World {
    async fn new() -> Self {
        let (api, server) = Api::start().await;
        Self {
            api,
            server,
            home: tempfile::tempdir().unwrap(),
            clock: TestClock::new(),
        }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubelet.conf")
    }

    fn pki(&self) -> PathBuf {
        self.home.path().join("pki")
    }

    /// A client certificate only, with the bootstrap token.
    fn config(&self) -> Config {
        let mut config = Config::for_node("n1", self.kubeconfig(), self.pki());
        config.serving = false;
        let bootstrap = with_token(self.server.cluster(&self.api.ca), "token");
        config.bootstrap = Some(Bootstrap::InMemory(Arc::new(Mutex::new(bootstrap))));
        config
    }

    fn start(&self, config: Config) -> Agent {
        let (tell, notices) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let shutdown = async move {
            let _ = stopped.await;
        };
        let observer = move |id: &CertificateId, notice: &Notice| {
            let _ = tell.send((id.clone(), notice.clone()));
        };
        let task = tokio::spawn(run_with(config, clock, shutdown, observer, |_| {}));
        Agent {
            notices,
            stop,
            task,
        }
    }

    /// Leaves a usable client certificate behind, as a first start does.
    async fn enrol(&self) -> Credential {
        let mut agent = self.start(self.config());
        agent.until_accepted().await;
        agent.stop().await;
        self.current()
    }

    fn current(&self) -> Credential {
        let pem = std::fs::read(client_current(&self.pki())).unwrap();
        Credential::from_pem(&pem).unwrap()
    }

    fn serials_of_reviews(&self) -> Vec<String> {
        let reviews = self.server.requests().into_iter();
        reviews
            .filter(|seen| seen.path.ends_with("selfsubjectreviews"))
            .filter_map(|seen| Some(seen.leaf?.serial().to_string()))
            .collect()
    }

    fn creates(&self) -> Vec<Seen> {
        let requests = self.server.requests().into_iter();
        requests
            .filter(|seen| seen.method == "POST" && seen.path.ends_with("requests"))
            .collect()
    }
}

impl Agent {
    /// Waits for a notice; returns it and everything told before it.
    async fn until(&mut self, wanted: impl Fn(&CertificateId, &Notice) -> bool) -> Vec<Notice> {
        let mut before = Vec::new();
        loop {
            let next = tokio::time::timeout(PATIENCE, self.notices.recv()).await;
            let Ok(Some((id, notice))) = next else {
                panic!("the agent went silent; it told {before:#?}");
            };
            before.push(notice);
            if before.last().is_some_and(|notice| wanted(&id, notice)) {
                return before;
            }
        }
    }

    /// Until the server accepted a client certificate and nothing is left to do.
    async fn until_accepted(&mut self) -> Vec<Notice> {
        let mut told = self
            .until(|id, notice| id.renews_itself() && matches!(notice, Notice::Confirmed { .. }))
            .await;
        told.extend(
            self.until(|id, notice| id.renews_itself() && matches!(notice, Notice::Waiting { .. }))
                .await,
        );
        told
    }

    async fn stop(self) -> Outcome {
        let _ = self.stop.send(());
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("the agent stops").unwrap().unwrap()
    }

    async fn end(self) -> Result<Outcome, AgentError> {
        // The sender must live: dropping it is a wish to stop.
        let Self { stop, task, .. } = self;
        let ended = tokio::time::timeout(PATIENCE, task).await;
        drop(stop);
        ended.expect("the agent ends by itself").unwrap()
    }
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_first_certificate() {
    let world = World::new().await;
    let credential = world.enrol().await;
    assert_eq!(credential.leaf().subject().common_name, "system:node:n1");
    assert_eq!(credential.leaf().subject().organizations, ["system:nodes"]);

    let [create] = &world.creates()[..] else {
        panic!("one request: {:#?}", world.creates());
    };
    assert_eq!(create.token.as_deref(), Some("token"));
    assert_eq!(create.leaf.as_ref().map(|leaf| leaf.serial()), None);
    assert!(!create.body.contains("PRIVATE KEY"));
    let requests = world.api.requests();
    let csr = Csr(&requests[0]);
    assert!(csr.name().starts_with("node-csr-"), "{}", csr.name());
    assert_eq!(csr.signer_name(), CLIENT_SIGNER);
    assert_eq!(csr.usages(), ["digital signature", "client auth"]);
    assert_eq!(csr.expiration_seconds(), None);

    let serial = credential.leaf().serial().to_string();
    assert_eq!(
        world.serials_of_reviews(),
        [serial],
        "used before it counts"
    );
    let names = files(&world.pki());
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(names[1], "kubelet-client-current.pem");
    assert_eq!(mode(&world.pki().join(&names[0])), 0o600);
    let target = std::fs::read_link(client_current(&world.pki())).unwrap();
    assert_eq!(target, world.pki().join(&names[0]));

    assert_eq!(mode(&world.kubeconfig()), 0o600);
    let kubeconfig = Kubeconfig::read(&world.kubeconfig()).unwrap();
    let cluster = world.server.cluster(&world.api.ca);
    assert_eq!(
        kubeconfig,
        with_file(cluster, &client_current(&world.pki()))
    );
}

/// The wish for a spread reaches the machine, which finds the place by the certificate.
#[tokio::test]
async fn the_first_renewal_is_due_where_the_spread_puts_it() {
    let world = World::new().await;
    let timing = everleaf_rotation::Timing::default();
    let timing = timing.with_first_spread(90).unwrap();
    let mut config = world.config();
    config.timing = timing;
    let mut agent = world.start(config);
    let told = agent.until_accepted().await;
    agent.stop().await;
    let installed = told.iter().find_map(|notice| match notice {
        Notice::Installed { leaf, .. } => Some(leaf.deadline),
        _ => None,
    });
    let current = world.current();
    assert_eq!(installed, Some(timing.deadline(current.leaf(), true)));
    let usual = everleaf_rotation::rotation_deadline(current.leaf());
    assert!(installed < Some(usual), "spread before the window");
}

#[tokio::test]
async fn a_restart_asks_for_nothing() {
    let world = World::new().await;
    let before = world.enrol().await;
    let mut config = world.config();
    config.bootstrap = None;
    let mut agent = world.start(config);
    agent.until_accepted().await;
    assert_eq!(agent.stop().await, Outcome::Stopped);
    assert_eq!(world.creates().len(), 1);
    assert_eq!(
        world.current().leaf().fingerprint(),
        before.leaf().fingerprint()
    );
}

/// The user's own test: eight days before the end of ten years, the agent restarted.
#[tokio::test]
async fn eight_days_before_the_end_it_renews_at_once() {
    let world = World::new().await;
    let first = world.enrol().await;
    world
        .clock
        .set_wall(first.leaf().not_after() - hours(8 * 24));
    let mut agent = world.start(world.config());
    let told = agent.until_accepted().await;
    let second = world.current();
    assert_ne!(second.leaf().fingerprint(), first.leaf().fingerprint());
    assert_eq!(
        world.serials_of_reviews().last(),
        Some(&second.leaf().serial().to_string())
    );
    // The new leaf is within its window by the node's clock: said once, and no loop.
    let skews = told
        .iter()
        .filter(|n| matches!(n, Notice::ClockSkew { .. }));
    assert_eq!(skews.count(), 1, "{told:#?}");
    agent.stop().await;
    assert_eq!(world.creates().len(), 2);
    let last = &world.creates()[1];
    assert_eq!(
        last.leaf.as_ref().map(|leaf| leaf.serial()),
        Some(first.leaf().serial())
    );
    assert_eq!(files(&world.pki()).len(), 3, "the old file stays");
}

#[tokio::test]
async fn a_clock_moved_while_running_needs_no_restart() {
    let world = World::new().await;
    let mut agent = world.start(world.config());
    agent.until_accepted().await;
    let first = world.current();
    // Renewals are spaced; a moment has passed since the first.
    world.clock.pass(Duration::from_secs(20));
    world
        .clock
        .set_wall(first.leaf().not_after() - hours(8 * 24));
    let told = agent.until_accepted().await;
    assert!(
        told.iter()
            .any(|n| matches!(n, Notice::ClockStepped { .. })),
        "{told:#?}"
    );
    assert_ne!(
        world.current().leaf().fingerprint(),
        first.leaf().fingerprint()
    );
    // Closed by the swap: an unused connection would stay open for longer.
    let closed = world.server.until_unused(first.leaf());
    let soon = Duration::from_secs(15);
    tokio::time::timeout(soon, closed).await.expect("closed");
    agent.stop().await;
}

/// The server's clock decides: what only we call expired is presented, and renews.
#[tokio::test]
async fn a_day_after_expiry_by_our_clock_it_still_renews() {
    let world = World::new().await;
    let first = world.enrol().await;
    world.clock.set_wall(first.leaf().not_after() + hours(24));
    let mut config = world.config();
    config.bootstrap = None;
    let mut agent = world.start(config);
    agent.until_accepted().await;
    agent.stop().await;
    let last = world.creates().pop().unwrap();
    assert_eq!(
        last.leaf.as_ref().map(|leaf| leaf.serial()),
        Some(first.leaf().serial())
    );
    assert_ne!(
        world.current().leaf().fingerprint(),
        first.leaf().fingerprint()
    );
}

#[tokio::test]
async fn before_not_before_it_keeps_working_and_says_so() {
    let world = World::new().await;
    let first = world.enrol().await;
    world.clock.set_wall(first.leaf().not_before() - hours(24));
    let mut agent = world.start(world.config());
    agent
        .until(|_, notice| matches!(notice, Notice::NotYetValid { .. }))
        .await;
    agent.stop().await;
    assert_eq!(world.creates().len(), 1, "no new request");
}

/// Expired by every clock, and a bootstrap credential is there.
#[tokio::test]
async fn an_expired_node_comes_back_with_its_bootstrap_credential() {
    let world = World::new().await;
    world.api.state.lock().unwrap().lifetime = hours(1);
    let first = world.enrol().await;
    let serial = first.leaf().serial().to_string();
    world.api.state.lock().unwrap().refused.insert(serial);
    world.clock.set_wall(first.leaf().not_after() + hours(1));
    let mut agent = world.start(world.config());
    agent.until_accepted().await;
    agent.stop().await;
    let tokens: Vec<_> = world.creates().into_iter().map(|seen| seen.token).collect();
    let token = Some("token".to_owned());
    assert_eq!(
        tokens,
        [token.clone(), None, token],
        "its own certificate first"
    );
}

/// Nothing left to try: says so, deletes nothing, and goes on as soon as a credential works.
#[tokio::test]
async fn without_any_credential_it_waits_for_help() {
    let world = World::new().await;
    world.api.state.lock().unwrap().tokens.clear();
    let mut config = world.config();
    let file = world.home.path().join("bootstrap.conf");
    let cluster = world.server.cluster(&world.api.ca);
    let write = |token: &str| {
        let bootstrap = with_token(cluster.clone(), token);
        bootstrap.write(&file, &Names::BOOTSTRAP).unwrap();
    };
    write("wrong");
    config.bootstrap = Some(Bootstrap::File(file.clone()));
    let mut agent = world.start(config);
    agent
        .until(|_, notice| matches!(notice, Notice::Stuck { .. }))
        .await;
    write("new");
    world
        .api
        .state
        .lock()
        .unwrap()
        .tokens
        .insert("new".to_owned());
    world.clock.pass(Duration::from_secs(2 * 3600));
    agent.until_accepted().await;
    agent.stop().await;
}

#[tokio::test]
async fn an_unreachable_server_is_tried_again() {
    let mut world = World::new().await;
    let config = world.config();
    let address = world.server.address;
    let (_, other) = Api::start().await;
    drop(std::mem::replace(&mut world.server, other));
    let mut agent = world.start(config);
    let told = agent
        .until(|_, notice| matches!(notice, Notice::Failed { .. }))
        .await;
    let Some(Notice::Failed { message, .. }) = told.last() else {
        unreachable!()
    };
    assert!(message.contains(&address.to_string()), "{message}");
    world.clock.pass(Duration::from_secs(600));
    agent
        .until(|_, notice| matches!(notice, Notice::Failed { failures, .. } if *failures > 1))
        .await;
    agent.stop().await;
}

/// A request nobody has decided is taken up again after a restart, under the same name.
#[tokio::test]
async fn an_undecided_request_survives_a_restart() {
    let world = World::new().await;
    world.api.state.lock().unwrap().approves.clear();
    let submitted =
        |_: &CertificateId, notice: &Notice| matches!(notice, Notice::RequestSubmitted { .. });
    let mut agent = world.start(world.config());
    agent.until(submitted).await;
    agent.stop().await;
    let requests = world.api.requests();
    assert_eq!(requests.len(), 1);
    let mut agent = world.start(world.config());
    agent
        .until(|_, notice| matches!(notice, Notice::RequestResumed { .. }))
        .await;
    world.api.decide(meta::name(&requests[0]), csr::APPROVED);
    agent.until_accepted().await;
    agent.stop().await;
    assert_eq!(world.api.requests().len(), 1);
    let names = files(&world.pki());
    assert!(
        !names.iter().any(|name| name.contains("pending")),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_denied_request_is_not_repeated_at_once() {
    let world = World::new().await;
    world.api.state.lock().unwrap().approves.clear();
    let mut agent = world.start(world.config());
    agent
        .until(|_, notice| matches!(notice, Notice::RequestSubmitted { .. }))
        .await;
    let requests = world.api.requests();
    world.api.decide(meta::name(&requests[0]), csr::DENIED);
    let told = agent
        .until(|_, notice| matches!(notice, Notice::RequestDecided { .. }))
        .await;
    let Some(Notice::RequestDecided { wait, message, .. }) = told.last() else {
        unreachable!()
    };
    assert!(*wait >= Duration::from_secs(240), "{wait:?}");
    assert_eq!(message, "because");
    agent.stop().await;
    assert_eq!(world.api.requests().len(), 1);
}

/// What `kubeadm init` leaves: a certificate inside the kubeconfig. It renews, and the kubeconfig
/// follows, with a copy kept.
#[tokio::test]
async fn an_inline_certificate_is_renewed_and_the_kubeconfig_follows() {
    let world = World::new().await;
    let inline = world.api.ca.node("n1", 100);
    let kubeconfig = with_inline(world.server.cluster(&world.api.ca), &inline);
    kubeconfig
        .write(&world.kubeconfig(), &Names::BOOTSTRAP)
        .unwrap();
    let mut config = world.config();
    config.bootstrap = None;
    let mut agent = world.start(config);
    agent.until_accepted().await;
    agent.stop().await;
    let create = world.creates().pop().unwrap();
    assert_eq!(
        create.leaf.unwrap().fingerprint(),
        inline.leaf().fingerprint()
    );
    let copy = world.home.path().join("kubelet.conf.bak");
    assert_eq!(Kubeconfig::read(&copy).unwrap(), kubeconfig);
    assert_eq!(mode(&copy), 0o600);
    let cluster = world.server.cluster(&world.api.ca);
    let expected = with_file(cluster, &client_current(&world.pki()));
    assert_eq!(Kubeconfig::read(&world.kubeconfig()).unwrap(), expected);
}

/// A certificate in files of its own that the kubeconfig names is used until it is due.
#[tokio::test]
async fn a_certificate_that_the_kubeconfig_names_is_used() {
    let world = World::new().await;
    let credential = world.api.ca.node("n1", 100);
    let file = world.home.path().join("own.pem");
    std::fs::write(&file, credential.to_pem().as_bytes()).unwrap();
    with_file(world.server.cluster(&world.api.ca), &file)
        .write(&world.kubeconfig(), &Names::BOOTSTRAP)
        .unwrap();
    let mut config = world.config();
    config.bootstrap = None;
    let mut agent = world.start(config);
    agent.until_accepted().await;
    agent.stop().await;
    assert_eq!(world.creates().len(), 0, "nothing was due");
    let serial = credential.leaf().serial().to_string();
    assert_eq!(world.serials_of_reviews(), [serial]);
}

#[tokio::test]
async fn two_agents_never_share_a_cert_dir() {
    let world = World::new().await;
    let mut agent = world.start(world.config());
    agent.until_accepted().await;
    let error = world
        .start(world.config())
        .end()
        .await
        .unwrap_err()
        .to_string();
    let pid = std::process::id().to_string();
    assert!(error.contains(&pid), "{error}");
    agent.stop().await;
}

#[tokio::test]
async fn a_start_without_anything_to_work_with_says_what_is_missing() {
    let world = World::new().await;
    let mut config = world.config();
    config.bootstrap = None;
    let error = world
        .start(config.clone())
        .end()
        .await
        .unwrap_err()
        .to_string();
    let path = world.kubeconfig();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    assert!(error.contains("--bootstrap-kubeconfig"), "{error}");
    config.bootstrap = Some(Bootstrap::File(world.home.path().join("none.conf")));
    let error = world.start(config).end().await.unwrap_err().to_string();
    assert!(error.contains("none.conf"), "{error}");
    assert!(!path.exists() && !world.pki().exists(), "nothing was made");
}

#[tokio::test]
async fn once_does_what_is_due_and_leaves() {
    let world = World::new().await;
    let mut config = serving(&world);
    config.once = true;
    let outcome = world.start(config.clone()).end().await.unwrap();
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(
        world.current().leaf().subject().common_name,
        "system:node:n1"
    );
    assert_eq!(
        world.api.requests().len(),
        2,
        "the serving request stays pending"
    );
    let outcome = world.start(config.clone()).end().await.unwrap();
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(world.api.requests().len(), 2);
    let refused = world.current().leaf().serial().to_string();
    world.api.state.lock().unwrap().refused.insert(refused);
    world.api.state.lock().unwrap().tokens.clear();
    let error = world.start(config).end().await.unwrap_err();
    assert!(matches!(error, AgentError::NotDone { .. }), "{error}");
}

/// The kubelet's exit policy, when asked for.
#[tokio::test]
async fn an_agent_can_be_told_to_leave_when_nothing_works() {
    let world = World::new().await;
    world.api.state.lock().unwrap().tokens.clear();
    let mut config = world.config();
    config.exit_on_expired_client_cert = true;
    let mut agent = world.start(config);
    agent
        .until(|_, notice| matches!(notice, Notice::Stuck { .. }))
        .await;
    world.clock.pass(Duration::from_secs(301));
    assert_eq!(agent.end().await.unwrap(), Outcome::CredentialExpired);
}
