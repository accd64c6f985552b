//! Profiles that are wrong, come, change and go while the agent runs.

use super::*;
use crate::profile::ProfileFiles;
use everleaf_observe::Observed;
use std::fs;

/// A signer of the test's, which approves by itself.
const SIGNER: &str = "example.com/web";

/// A directory of profiles, and an agent that keeps them and its own certificate.
struct Following {
    world: World,
    agent: Agent,
    reload: Reload,
    observed: Arc<dyn Observed>,
}

impl Following {
    async fn start(files: Vec<PathBuf>, write: impl FnOnce(&World)) -> Self {
        let world = World::new().await;
        world.api.state.lock().unwrap().approves.insert(SIGNER);
        fs::create_dir(world.home.path().join("profiles")).unwrap();
        write(&world);
        let mut config = world.config();
        config.profiles = ProfileFiles {
            files,
            directory: Some(world.home.path().join("profiles")),
        };
        let (tell, notices) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (show, shown) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let observer = move |id: &CertificateId, notice: &Notice| {
            let _ = tell.send((id.clone(), notice.clone()));
        };
        let reload = Reload::default();
        let task = tokio::spawn(run_reloadable(
            config,
            Arc::clone(&world.clock) as Arc<dyn Clock>,
            shutdown,
            reload.clone(),
            observer,
            |observed| drop(show.send(observed)),
        ));
        let agent = Agent {
            notices,
            stop,
            task,
        };
        Self {
            world,
            agent,
            reload,
            observed: shown.await.unwrap(),
        }
    }

    async fn until_installed(&mut self, name: &str) {
        self.agent
            .until(|id, notice| id.name() == name && matches!(notice, Notice::Installed { .. }))
            .await;
    }

    /// Until the metrics hold all that begins with `+`, and nothing of what begins with `-`.
    async fn until_metrics(&self, wanted: &[&str]) {
        let holds = |text: &str| {
            wanted.iter().all(|part| match part.split_at(1) {
                ("+", part) => text.contains(part),
                (_, part) => !text.contains(part),
            })
        };
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds(&self.observed.metrics_text()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let waited = waited.await;
        assert!(
            waited.is_ok(),
            "{wanted:?}: {}",
            self.observed.metrics_text()
        );
    }
}

impl World {
    fn put_profile(&self, file: &str, name: &str, output: &str) {
        let output = self.home.path().join(output);
        let text = format!(
            "apiVersion: agent.everleaf.dev/v1alpha1\nkind: CertificateProfile\nmetadata: {{name: {name}}}\nspec:\n  \
             signerName: {SIGNER}\n  dnsNames: [{name}.example.com]\n  usages: [server auth]\n  \
             outputs: [{{pem: {}}}]\n",
            output.display()
        );
        self.put(file, &text);
    }

    fn put(&self, file: &str, text: &str) {
        let directory = self.home.path().join("profiles");
        fs::write(directory.join(".new"), text).unwrap();
        fs::rename(directory.join(".new"), directory.join(file)).unwrap();
    }
}

/// One is wrong, one cannot be read: the node's own certificate and the good one are kept. Then
/// each kind of change is taken up, within a minute or when that is asked for.
#[tokio::test]
async fn profiles_are_followed_and_a_wrong_one_holds_nothing_up() {
    let missing = vec!["/nowhere/p.yaml".into()];
    let mut following = Following::start(missing, |world| {
        world.put("wrong.yaml", "kind: [");
        world.put_profile("web.yaml", "web", "web.pem");
    })
    .await;
    following.until_installed("client").await;
    following.until_installed("web").await;
    let path = |name: &str| following.world.home.path().join(name);
    let (web, moved, other) = (path("web.pem"), path("moved.pem"), path("other.pem"));
    let wrong = path("profiles/wrong.yaml");
    let web_yaml = path("profiles/web.yaml");
    following
        .until_metrics(&[
            "+everleaf_agent_profile_problems 2",
            "+profile_files_total{kind=\"web\",result=\"written\"} 1",
        ])
        .await;
    assert!(web.is_file());
    assert_eq!(following.observed.check_ready(), Ok(()));
    let remark = following.observed.remark().unwrap();
    assert!(remark.contains("2 things are wrong"), "{remark}");

    // Another place for its file: the certificate stays, nothing is asked for.
    let requests = following.world.creates().len();
    following.world.put_profile("web.yaml", "web", "moved.pem");
    fs::remove_file(wrong).unwrap();
    following.reload.ask();
    let news = "+everleaf_agent_profile_problems 1";
    following.until_metrics(&[news]).await;
    following
        .until_metrics(&["+profile_files_total{kind=\"web\",result=\"written\"} 1"])
        .await;
    assert_eq!(fs::read(&moved).unwrap(), fs::read(&web).unwrap());
    assert_eq!(following.world.creates().len(), requests);

    // A new one, seen by itself.
    following
        .world
        .put_profile("other.yaml", "other", "other.pem");
    following.world.clock.pass(Duration::from_secs(60));
    following.until_installed("other").await;
    following
        .until_metrics(&["+profile_files_total{kind=\"other\",result=\"written\"} 1"])
        .await;
    assert!(other.is_file());

    // One is taken away, one is broken: the broken one goes on as it was.
    fs::remove_file(web_yaml).unwrap();
    following.world.put("other.yaml", "kind: [");
    following.reload.ask();
    following
        .until_metrics(&[
            "+everleaf_agent_profile_problems 2",
            "-kind=\"web\"",
            "+kind=\"other\"",
        ])
        .await;
    assert!(moved.is_file() && path_of_store(&following.world, "web").is_file());
    following.agent.stop().await;
}

fn path_of_store(world: &World, name: &str) -> PathBuf {
    world.pki().join(format!("profiles/{name}-current.pem"))
}

/// A request that was under way when its profile was changed is taken up again, not made anew.
#[tokio::test]
async fn a_change_while_a_request_waits_asks_for_nothing_more() {
    let mut following = Following::start(Vec::new(), |world| {
        world.api.state.lock().unwrap().approves.remove(SIGNER);
        world.put_profile("web.yaml", "web", "web.pem");
    })
    .await;
    following
        .agent
        .until(|id, notice| id.name() == "web" && matches!(notice, Notice::RequestSubmitted { .. }))
        .await;
    following.world.put_profile("web.yaml", "web", "moved.pem");
    following.reload.ask();
    following
        .agent
        .until(|id, notice| id.name() == "web" && matches!(notice, Notice::RequestResumed { .. }))
        .await;
    let requests = following.world.api.requests();
    let waiting: Vec<_> = requests
        .iter()
        .filter(|object| Csr(object).signer_name() == SIGNER)
        .collect();
    let [request] = &waiting[..] else {
        panic!("one request: {waiting:#?}");
    };
    following
        .world
        .api
        .decide(meta::name(request), csr::APPROVED);
    following.until_installed("web").await;
    following
        .until_metrics(&["+profile_files_total{kind=\"web\",result=\"written\"} 1"])
        .await;
    assert!(following.world.home.path().join("moved.pem").is_file());
    following.agent.stop().await;
}

/// An action that runs when its profile is changed is left to its end, and the next one waits for
/// it.
#[tokio::test]
async fn one_action_of_a_profile_runs_at_a_time_though_it_changes() {
    let action = |world: &World, output: &str| {
        let log = world.home.path().join("log");
        let script = format!("echo begin >> {0}; sleep 1; echo end >> {0}", log.display());
        world.put_profile("web.yaml", "web", output);
        let path = world.home.path().join("profiles/web.yaml");
        let text = fs::read_to_string(path).unwrap();
        let after = format!("  afterRenewal: {{command: [sh, -c, \"{script}\"]}}\n");
        world.put("web.yaml", &(text + &after));
        log
    };
    let mut following = Following::start(Vec::new(), |world| {
        action(world, "web.pem");
    })
    .await;
    following.until_installed("web").await;
    let log = action(&following.world, "moved.pem");
    while !log.is_file() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    following.reload.ask();
    // What is counted from then on is the changed one's.
    let moved = following.world.home.path().join("moved.pem");
    while !moved.is_file() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    following
        .until_metrics(&[
            "+profile_actions_total{kind=\"web\",result=\"done\"} 1",
            "+profile_action_owed{kind=\"web\"} 0",
        ])
        .await;
    following.agent.stop().await;
    let ran = fs::read_to_string(log).unwrap();
    assert_eq!(
        ran.lines().collect::<Vec<_>>(),
        ["begin", "end", "begin", "end"]
    );
}

/// Everything else is done first.
#[tokio::test]
async fn once_fails_because_of_a_wrong_profile_when_all_else_is_done() {
    let world = World::new().await;
    fs::create_dir(world.home.path().join("profiles")).unwrap();
    world.put("wrong.yaml", "kind: [");
    let mut config = world.config();
    config.once = true;
    config.profiles.directory = Some(world.home.path().join("profiles"));
    let error = world.start(config).end().await.unwrap_err();
    assert!(
        error.to_string().contains("wrong.yaml is malformed"),
        "{error}"
    );
    assert_eq!(
        world.current().leaf().subject().common_name,
        "system:node:n1"
    );
}
