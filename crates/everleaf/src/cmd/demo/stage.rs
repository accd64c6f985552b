//! What the scenes stand on: the running system, nodes with movable clocks, and a look through the
//! API.

use crate::shutdown::Shutdown;
use crate::up::data_dir::DataDir;
use crate::up::kubeconfigs::{ADMIN, BOOTSTRAP};
use crate::up::system::{Keys, LOOPS, Settings, System};
use anyhow::{Context, Result, anyhow, bail};
use everleaf_agent::{Bootstrap, Clock, Config, OffsetClock, SystemClock};
use everleaf_apiserver::authn::jwt::JwtConfig;
use everleaf_controllers::cleaner::Ages;
use everleaf_pki::{Credential, KeyAlgorithm, Leaf};
use everleaf_rotation::{CertificateId, Notice};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Longest wait for anything in a scene.
const PATIENCE: Duration = Duration::from_secs(6);
/// The collection of requests.
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// The running system.
pub(super) struct Stage {
    root: PathBuf,
    system: System,
    admin: kube::Client,
    clock: Arc<SystemClock>,
    /// Longest lifetime of certificates.
    pub(super) lifetime: Duration,
    /// Kind of all keys.
    pub(super) key: KeyAlgorithm,
}

impl Stage {
    /// Starts server and controllers below `root`.
    pub(super) async fn set(root: &Path, lifetime: Duration, key: KeyAlgorithm) -> Result<Self> {
        let dir = Arc::new(DataDir::open(root)?);
        let settings = Settings {
            etcd: None,
            storage_quota_bytes: 0,
            encryption: None,
            listen: ([127, 0, 0, 1], 0).into(),
            sans: Vec::new(),
            signing_duration: lifetime,
            loops: LOOPS.into(),
            ages: Ages::default(),
            serving_approval: None,
            pod_signer: None,
            node_name: None,
            ui: false,
            keys: Keys::all(key),
            audit: None,
            jwt: JwtConfig::default(),
            late_reissue: None,
            authentication_config: None,
            host_name: "demo".into(),
        };
        let clock = Arc::new(SystemClock::new());
        let system = System::start(&dir, &settings, clock.clone()).await?;
        let admin = client(&dir.path(ADMIN))?;
        Ok(Self {
            root: dir.root().to_owned(),
            system,
            admin,
            clock,
            lifetime,
            key,
        })
    }

    /// The server's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// The authority's files, to make certificates that no server would issue.
    pub(super) fn authority_file(&self, name: &str) -> PathBuf {
        self.root.join("pki").join(name)
    }

    /// A node that has not started.
    pub(super) fn node(&self, name: &'static str) -> Node {
        Node {
            name,
            directory: self.root.join("nodes").join(name),
            bootstrap: Some(self.root.join(BOOTSTRAP)),
            clock: Arc::new(OffsetClock::new(self.clock.clone())),
            key: self.key,
            running: None,
            was_told: Vec::new(),
        }
    }

    /// How many requests this identity has made.
    pub(super) async fn requests_of(&self, username: &str) -> Result<usize> {
        let list: Value = self
            .admin
            .request(http::Request::get(REQUESTS).body(Vec::new())?)
            .await?;
        let items = list["items"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        Ok(items
            .iter()
            .filter(|item| item["spec"]["username"] == username)
            .count())
    }

    /// The state of all requests now, as a point from which to watch.
    pub(super) async fn resource_version(&self) -> Result<String> {
        let request = http::Request::get(format!("{REQUESTS}?limit=1")).body(Vec::new())?;
        let list: Value = self.admin.request(request).await?;
        let version = list["metadata"]["resourceVersion"].as_str();
        Ok(version
            .context("a list without a resource version")?
            .to_owned())
    }

    /// The conditions that a watcher sees of the requests of a node since `from`, in order, until
    /// one is issued.
    pub(super) async fn watch_conditions(&self, node: &str, from: &str) -> Result<Vec<String>> {
        use futures_util::TryStreamExt;
        let wanted = format!("system:node:{node}");
        let path = format!("{REQUESTS}?watch=true&resourceVersion={from}");
        let events = self
            .admin
            .request_events::<Value>(http::Request::get(path).body(Vec::new())?);
        let mut events = Box::pin(events.await?);
        let mut seen = Vec::new();
        let wait = async {
            while let Some(event) = events.try_next().await? {
                let (kube::core::WatchEvent::Added(request)
                | kube::core::WatchEvent::Modified(request)) = event
                else {
                    continue;
                };
                if !names_node(&request, &wanted) {
                    continue;
                }
                let condition = condition(&request);
                let is_issued = condition.ends_with("Issued");
                seen.push(condition);
                if is_issued {
                    return Ok(seen);
                }
            }
            bail!("the watch ended after {seen:?}")
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .map_err(|_| anyhow!("no request of {node} was issued"))?
    }

    /// Ends it.
    pub(super) async fn clear(self) {
        drop(self.admin);
        self.system.stop().await;
    }
}

/// A client with a kubeconfig's identity.
fn client(kubeconfig: &Path) -> Result<kube::Client> {
    Ok(crate::kube_client::connect(kubeconfig)?.client)
}

/// As whom, and with which certificate, the server sees the holder of a kubeconfig.
pub(super) async fn who_am_i(kubeconfig: &Path) -> Result<(String, String)> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let request = http::Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&review)?)?;
    let answer: Value = client(kubeconfig)?.request(request).await?;
    let user = &answer["status"]["userInfo"];
    let credential = &user["extra"]["authentication.kubernetes.io/credential-id"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok((text(&user["username"]), text(credential)))
}

fn names_node(request: &Value, subject: &str) -> bool {
    use base64::Engine;
    let pem = request["spec"]["request"].as_str().unwrap_or_default();
    base64::engine::general_purpose::STANDARD
        .decode(pem)
        .ok()
        .and_then(|pem| everleaf_pki::VerifiedRequest::from_pem(&pem).ok())
        .is_some_and(|request| request.subject().common_name == subject)
}

/// The word in the last column of `kubectl get csr`.
fn condition(request: &Value) -> String {
    let has = |kind: &str| {
        let conditions = request["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|condition| condition["type"] == kind))
    };
    let mut text = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (_, true) => "Approved",
        _ => "Pending",
    }
    .to_owned();
    if has("Failed") {
        text.push_str(",Failed");
    }
    if request["status"]["certificate"].is_string() {
        text.push_str(",Issued");
    }
    text
}

/// An instant without its fraction of a second.
pub(super) fn seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
    notices: mpsc::UnboundedReceiver<Notice>,
}

/// A node: files, a clock, and the agent when it runs.
pub(super) struct Node {
    name: &'static str,
    directory: PathBuf,
    bootstrap: Option<PathBuf>,
    key: KeyAlgorithm,
    /// Its clock, movable.
    pub(super) clock: Arc<OffsetClock>,
    running: Option<Running>,
    was_told: Vec<Notice>,
}

impl Node {
    /// `system:node:…`
    pub(super) fn identity(&self) -> String {
        format!("system:node:{}", self.name)
    }

    /// Takes its bootstrap kubeconfig away.
    pub(super) fn forget_bootstrap(&mut self) {
        self.bootstrap = None;
    }

    /// Its kubeconfig.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubelet.conf")
    }

    /// Its cert dir.
    pub(super) fn cert_dir(&self) -> PathBuf {
        self.directory.join("pki")
    }

    /// Where the link to the current credential leads.
    pub(super) fn current_file(&self) -> Result<PathBuf> {
        let link = self.cert_dir().join("kubelet-client-current.pem");
        std::fs::read_link(&link).with_context(|| format!("cannot read {}", link.display()))
    }

    /// The leaf in use.
    pub(super) fn leaf(&self) -> Result<Leaf> {
        let pem = std::fs::read(self.current_file()?)?;
        Ok(Credential::from_pem(&pem)?.leaf().clone())
    }

    /// Starts the agent.
    pub(super) fn start(&mut self) {
        let mut config = Config::for_node(self.name, self.kubeconfig(), self.cert_dir());
        config.serving = false;
        config.client_key = self.key;
        config.bootstrap = self.bootstrap.clone().map(Bootstrap::File);
        let (stop, shutdown) = Shutdown::by_hand();
        let (sender, notices) = mpsc::unbounded_channel();
        let observe = move |_: &CertificateId, notice: &Notice| {
            // A scene that has ended listens no more.
            let _ = sender.send(notice.clone());
        };
        let agent = everleaf_agent::run_with(
            config,
            self.clock.clone(),
            shutdown.asked(),
            observe,
            |_| {},
        );
        let task = tokio::spawn(async move {
            agent.await?;
            Ok(())
        });
        self.running = Some(Running {
            stop,
            task,
            notices,
        });
    }

    /// Stops the agent in good order.
    pub(super) async fn stop(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        running.stop.send_replace(true);
        tokio::time::timeout(PATIENCE, running.task)
            .await
            .context("the agent does not stop")??
    }

    /// Waits for a notice that fits; what it told on the way is remembered.
    pub(super) async fn told(
        &mut self,
        what: &str,
        fits: impl Fn(&Notice) -> bool,
    ) -> Result<Notice> {
        let running = self.running.as_mut().context("the agent does not run")?;
        let was_told = &mut self.was_told;
        let wait = async {
            while let Some(notice) = running.notices.recv().await {
                was_told.push(notice.clone());
                if fits(&notice) {
                    return Ok(notice);
                }
            }
            bail!("the agent ended before it said: {what}")
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .map_err(|_| anyhow!("the agent did not say: {what}"))?
    }

    /// Waits until a new credential is installed and the server has accepted it.
    pub(super) async fn renewed(&mut self) -> Result<Leaf> {
        self.told("a new certificate is in use", |notice| {
            matches!(notice, Notice::Installed { .. })
        })
        .await?;
        self.told("the server accepts it", |notice| {
            matches!(notice, Notice::Confirmed { .. })
        })
        .await?;
        self.leaf()
    }

    /// Whether it ever told something that fits, up to now.
    pub(super) fn has_told(&mut self, fits: impl Fn(&Notice) -> bool) -> bool {
        if let Some(running) = &mut self.running {
            while let Ok(notice) = running.notices.try_recv() {
                self.was_told.push(notice);
            }
        }
        self.was_told.iter().any(fits)
    }
}
