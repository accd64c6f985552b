//! Goal: the controllers do the same to the same requests, whoever carries their calls. Method:
//! each case runs twice against the real server in process, once under the production shell on
//! tokio's paused clock, once under the simulator's control plane.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use bytes::Bytes;
use everleaf_api::csr::{self, Csr};
use everleaf_apiserver::user::User;
use everleaf_controllers::Config;
use everleaf_pki::{Issuer, PrivateKey, SignerName, Subject, Template};
use everleaf_sim::control_plane::ControlPlane;
use everleaf_sim::rng::Rng;
use everleaf_time::{Monotonic, Now};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const CLIENT_USAGES: [&str; 2] = ["digital signature", "client auth"];
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const STEP: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Caller {
    Production,
    Simulator,
}

/// A server, controllers that are not running yet, and time.
struct Stage {
    caller: Caller,
    plane: ControlPlane,
    /// When virtual time began, and what the wall clocks showed.
    begun: Instant,
    origin: Timestamp,
}

impl Stage {
    fn new(caller: Caller) -> Self {
        let origin: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let token = ("simula", "0123456789abcdef");
        let year = Duration::from_secs(8760 * 3600);
        let plane = ControlPlane::new(&Rng::new(1), origin, year, token, origin + HOUR).unwrap();
        Self {
            caller,
            plane,
            begun: Instant::now(),
            origin,
        }
    }

    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    fn wall(&self) -> Timestamp {
        self.origin + SignedDuration::try_from(self.elapsed()).unwrap()
    }

    fn clock(&self) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        let (begun, origin) = (self.begun, self.origin);
        Arc::new(move || origin + SignedDuration::try_from(begun.elapsed()).unwrap())
    }

    /// Time goes by without controllers.
    async fn wait(&self, time: SignedDuration) {
        tokio::time::sleep(Duration::try_from(time).unwrap()).await;
    }

    /// Starts the production shell; the simulator works whenever time passes.
    fn start(&self) {
        if self.caller == Caller::Simulator {
            return;
        }
        let key = PrivateKey::from_ed25519_seed(&[7; 32]).unwrap();
        let (from, to) = (self.origin - HOUR, self.origin + HOUR * 24_000);
        let issuer = Issuer::self_signed("ca", key, [1; 16], from, to).unwrap();
        let mut config = Config::in_process(Arc::new(issuer));
        config.clock = self.clock();
        let whom = User::service_account("kube-system", "certificate-controller");
        let service = self.plane.server().in_process(whom, self.clock());
        let client = kube::Client::new(service, "default");
        tokio::spawn(everleaf_controllers::run(
            client,
            config,
            std::future::pending(),
        ));
    }

    /// Lets time pass while the controllers run.
    async fn pass(&mut self, seconds: f64) {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < end {
            if self.caller == Caller::Simulator {
                let (monotonic, wall) = (Monotonic::from_origin(self.elapsed()), self.wall());
                self.plane.work(Now { monotonic, wall });
            }
            tokio::time::sleep(STEP).await;
        }
    }

    async fn call(&self, user: &User, method: Method, path: &str, body: Value) -> Value {
        use tower::Service as _;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let mut service = self.plane.server().in_process(user.clone(), self.clock());
        let response = service.call(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert!(
            [StatusCode::OK, StatusCode::CREATED].contains(&head.status),
            "{body:?}"
        );
        serde_json::from_slice(&body).unwrap()
    }

    async fn file(&self, user: &User, name: &str, pem: &str, signer: &str, usages: &[&str]) {
        let object = csr::build(name, "", pem, signer, usages, None);
        self.call(user, Method::POST, CSRS, object).await;
    }

    /// A node's request for its client certificate.
    async fn file_own(&self, user: &User, name: &str) {
        let kubelet = SignerName::KUBE_APISERVER_CLIENT_KUBELET;
        self.file(user, name, &node_request(), kubelet, &CLIENT_USAGES)
            .await;
    }

    async fn approve(&self, name: &str) {
        let path = format!("{CSRS}/{name}");
        let mut object = self.call(&admin(), Method::GET, &path, Value::Null).await;
        csr::push_condition(&mut object, csr::APPROVED, "ByHand", "", None);
        let path = format!("{path}/approval");
        self.call(&admin(), Method::PUT, &path, object).await;
    }

    /// Lets these subjects create this.
    async fn grant(&self, role: &str, user: &str, resource: &str) {
        let rule = json!({"apiGroups": ["certificates.k8s.io"], "resources": [resource], "verbs": ["create"]});
        let rbac = "rbac.authorization.k8s.io";
        let role_object = json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole",
            "metadata": {"name": role}, "rules": [rule]});
        let subject = json!({"kind": "User", "name": user, "apiGroup": rbac});
        let binding = json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": role}, "subjects": [subject],
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role}});
        for (plural, object) in [
            ("clusterroles", role_object),
            ("clusterrolebindings", binding),
        ] {
            let path = format!("/apis/{rbac}/v1/{plural}");
            self.call(&admin(), Method::POST, &path, object).await;
        }
    }

    fn object(&self, name: &str) -> Option<Value> {
        let objects = self.plane.server().objects();
        let stored = objects.list("certificatesigningrequests", None);
        let mut objects = stored.iter().map(|stored| (*stored.object()).clone());
        objects.find(|object| object["metadata"]["name"] == name)
    }

    /// Reason of the Failed condition, and the version of the object.
    fn failure(&self, name: &str) -> (String, Value) {
        let object = self.object(name).unwrap();
        let mut conditions = Csr(&object).conditions().into_iter();
        let failed = conditions.find(|one| one.kind == csr::FAILED).unwrap();
        (failed.reason, object["metadata"]["resourceVersion"].clone())
    }

    fn is_issued(&self, name: &str) -> bool {
        let object = self.object(name).unwrap();
        !Csr(&object).certificate().is_empty()
    }
}

fn user(name: &str, groups: &[&str]) -> User {
    User {
        name: name.to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..User::default()
    }
}

fn admin() -> User {
    user("admin", &["system:masters", "system:authenticated"])
}

fn node() -> User {
    user("system:node:n1", &["system:nodes", "system:authenticated"])
}

fn bootstrapper() -> User {
    let groups = [
        "system:bootstrappers:kubeadm:default-node-token",
        "system:authenticated",
    ];
    user("system:bootstrap:other", &groups)
}

/// PKCS#10 for node n1.
fn node_request() -> String {
    let key = PrivateKey::from_ed25519_seed(&[3; 32]).unwrap();
    let template = Template {
        subject: Subject::node("n1"),
        ..Template::default()
    };
    template.to_request_pem(&key).unwrap()
}

/// Runs a case under both callers.
macro_rules! both {
    ($(#[doc = $what:expr] $name:ident($stage:ident) $body:block)+) => { $(
        #[doc = $what]
        #[tokio::test(start_paused = true)]
        async fn $name() {
            for caller in [Caller::Production, Caller::Simulator] {
                eprintln!("under {caller:?}");
                let mut $stage = Stage::new(caller);
                $body
            }
        }
    )+ };
}

both! {
    /// A node that asks every second is issued a dozen early certificates, then waits a minute.
    a_renewal_loop_is_held(stage) {
        stage.start();
        for number in 0..13 {
            let name = format!("loop-{number}");
            stage.file_own(&node(), &name).await;
            stage.pass(1.0).await;
            assert!(stage.is_issued(&name), "{name}");
        }
        stage.file_own(&node(), "loop-13").await;
        stage.pass(50.0).await;
        assert!(!stage.is_issued("loop-13"));
        stage.pass(20.0).await;
        assert!(stage.is_issued("loop-13"));
    }

    /// Whatever a token holder files in a node's name, the node does not wait for it.
    nobody_else_can_delay_a_nodes_own_renewal(stage) {
        stage.start();
        stage.file_own(&node(), "first").await;
        stage.pass(1.0).await;
        for number in 0..20 {
            stage.file_own(&bootstrapper(), &format!("hostile-{number}")).await;
            stage.pass(1.0).await;
        }
        assert!(!stage.is_issued("hostile-19"), "it waits for itself");
        stage.file_own(&node(), "second").await;
        stage.pass(1.0).await;
        assert!(stage.is_issued("second"));
    }

    /// Requests that are never approved begin no wait: the breaker counts what would be approved.
    what_is_not_recognized_is_not_held(stage) {
        stage.start();
        for number in 0..13 {
            stage.file_own(&node(), &format!("loop-{number}")).await;
            stage.pass(0.5).await;
        }
        let kubelet = SignerName::KUBE_APISERVER_CLIENT_KUBELET;
        stage.file(&node(), "odd", &node_request(), kubelet, &["client auth"]).await;
        stage.pass(70.0).await;
        stage.file_own(&node(), "loop-13").await;
        stage.pass(50.0).await;
        assert!(!stage.is_issued("loop-13"), "its wait began with another request");
        stage.pass(20.0).await;
        assert!(stage.is_issued("loop-13"));
    }

    /// A recognized request whose requestor may not have it is tried again: a later grant helps.
    a_grant_helps_without_any_event(stage) {
        stage.grant("may-file", "joe", "certificatesigningrequests").await;
        stage.start();
        stage.file_own(&user("joe", &["system:authenticated"]), "csr-1").await;
        stage.pass(10.0).await;
        assert!(!stage.is_issued("csr-1"));
        stage.grant("may-join", "joe", "certificatesigningrequests/nodeclient").await;
        stage.pass(30.0).await;
        assert!(stage.is_issued("csr-1"));
    }

    /// What the issuer itself refuses ends as Failed, once, where its requestor sees it.
    what_can_never_be_issued_fails(stage) {
        stage.start();
        let weak = include_str!("../../everleaf-pki/testdata/openssl/request-rsa-1024.pem");
        let kubelet = SignerName::KUBE_APISERVER_CLIENT_KUBELET;
        stage.file(&node(), "weak", weak, kubelet, &CLIENT_USAGES).await;
        stage.file(&node(), "odd", &node_request(), kubelet, &["client auth", "server auth"]).await;
        stage.approve("weak").await;
        stage.approve("odd").await;
        stage.pass(1.0).await;
        let (weak, odd) = (stage.failure("weak"), stage.failure("odd"));
        assert_eq!(weak.0, "UnsupportedKey");
        assert_eq!(odd.0, "SignerValidationFailure");
        stage.pass(30.0).await;
        assert_eq!((stage.failure("weak"), stage.failure("odd")), (weak, odd), "written once");
    }

    /// What changed after it was judged is not deleted.
    deletions_are_conditional(stage) {
        for number in 0..60 {
            let (name, pem) = (format!("old-{number:02}"), node_request());
            // One requestor may have only a few requests at once.
            let node = user(&format!("system:node:n{number}"), &["system:nodes", "system:authenticated"]);
            stage.file(&node, &name, &pem, "example.com/mine", &CLIENT_USAGES).await;
        }
        stage.wait(HOUR * 25).await;
        stage.start();
        stage.pass(0.5).await;
        assert!(stage.object("old-00").is_none() && stage.object("old-59").is_some());
        stage.approve("old-59").await;
        stage.pass(10.0).await;
        assert!(stage.object("old-58").is_none());
        assert!(stage.object("old-59").is_some(), "deleted although it has changed");
    }
}
