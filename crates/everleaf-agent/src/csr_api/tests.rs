use super::*;
use crate::client::access::Presentable;
use crate::client::{Answer, Failure, FailureClass};
use crate::clock::SystemClock;
use crate::testing::{self, Answerer, Body, Ca, Server, failure, hours, now};
use everleaf_api::csr;
use everleaf_api::meta;
use everleaf_api::watch::EventType;
use everleaf_pki::{KeyAlgorithm, PrivateKey, SignerName, Subject, Template, Usage};
use everleaf_rotation::{KeyForm, Order, RefusalClass, RequestName, RequestUid};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod decisions;

/// Real pauses, but short ones; a limit that only a lost wait reaches.
const HASTE: Patience = Patience {
    pause_min: Duration::from_millis(1),
    pause_max: Duration::from_millis(4),
    limit: Duration::from_secs(60),
    silence: None,
};

const SIGNER: &str = SignerName::KUBE_APISERVER_CLIENT_KUBELET;

fn pending(uid: Option<&str>) -> PendingRequest {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let order = Order {
        template: Template {
            subject: Subject::node("n1"),
            ..Template::default()
        },
        signer_name: SignerName::new(SIGNER),
        usages: vec![Usage::DigitalSignature, Usage::ClientAuth],
        expiration_seconds: None,
        key: KeyForm::Configured,
    };
    let pem = order.template.to_request_pem(&key).unwrap();
    let name = RequestName::new("node-csr-x_y");
    let mut pending = PendingRequest::new(order, name, pem, key.public_key().clone(), now());
    pending.uid = uid.map(RequestUid::new);
    pending
}

/// The object of a request, with these conditions and this certificate.
fn object(pending: &PendingRequest, uid: &str, conditions: &[&str], pem: &str) -> Value {
    let usages: Vec<_> = pending.usages.iter().map(|usage| usage.as_str()).collect();
    let name = pending.name.as_str();
    let mut object = csr::build(name, "", &pending.request_pem, SIGNER, &usages, None);
    meta::set(&mut object, "uid", uid);
    for condition in conditions {
        csr::push_condition(&mut object, condition, "R", "M", None);
    }
    if !pem.is_empty() {
        csr::set_certificate(&mut object, pem);
    }
    object
}

/// What an outcome is, in a word.
fn word(outcome: Option<&AwaitOutcome>) -> &'static str {
    match outcome {
        None => "wait",
        Some(AwaitOutcome::Issued { .. }) => "issued",
        Some(AwaitOutcome::Denied { .. }) => "denied",
        Some(AwaitOutcome::Failed { .. }) => "failed",
        Some(AwaitOutcome::Gone) => "gone",
        Some(AwaitOutcome::Refused(_)) => "refused",
        Some(AwaitOutcome::TimedOut) => "timed out",
        Some(AwaitOutcome::Unreadable { .. }) => "unreadable",
        Some(_) => "unknown",
    }
}

/// A server that answers as `script` says, told how many requests of each kind came before; and a
/// client certificate to speak to it with.
struct Stage {
    server: Server,
    access: Access,
    client: ApiClient,
    ca: Ca,
}

/// What a request is, and how many of its kind came before it.
type Script = Box<dyn Fn(&str, usize) -> Response<Body> + Send + Sync>;

impl Stage {
    async fn new(script: Script) -> Self {
        let ca = Ca::new("ca");
        let counts: Mutex<BTreeMap<&str, usize>> = Mutex::default();
        let answerer: Answerer = Arc::new(move |seen| {
            let kind = match (seen.method.as_str(), seen.path.contains("watch=true")) {
                ("GET", true) => "watch",
                ("GET", false) => "list",
                _ => "create",
            };
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(kind).or_default();
            *count += 1;
            script(kind, *count - 1)
        });
        let serving = ca.server(now() - hours(1), now() + hours(1));
        let server = Server::start(&serving, answerer).await;
        let presentable = Presentable::new(&ca.node("n1", 1)).unwrap();
        Self {
            access: Access::new(
                Arc::new(server.cluster(&ca)),
                Identity::Certificate(presentable),
            ),
            client: ApiClient::new(Arc::new(SystemClock::new())),
            server,
            ca,
        }
    }

    async fn wait(&self, pending: &PendingRequest) -> &'static str {
        let waiter = Waiter::Fixed(self.access.clone());
        word(Some(
            &await_verdict(&self.client, waiter, pending, &HASTE).await,
        ))
    }

    fn count(&self, part: &str) -> usize {
        let requests = self.server.requests();
        requests
            .iter()
            .filter(|seen| seen.path.contains(part))
            .count()
    }
}

fn list(item: Option<&Value>) -> Response<Body> {
    let list = json!({"metadata": {"resourceVersion": "7"}, "items": item.into_iter().collect::<Vec<_>>()});
    testing::json(StatusCode::OK, &list)
}

fn text(text: String) -> Response<Body> {
    let mut response = testing::json(StatusCode::OK, &json!({}));
    *response.body_mut() = Full::from(text).boxed_unsync();
    response
}

fn frame(kind: EventType, object: &Value) -> String {
    let bytes = everleaf_api::watch::json_frame(kind, object.to_string().as_bytes());
    String::from_utf8(bytes).unwrap()
}

/// Never ends, never says anything.
fn silence() -> Response<Body> {
    let mut response = testing::json(StatusCode::OK, &json!({}));
    let nothing = futures_util::stream::pending();
    *response.body_mut() = http_body_util::StreamBody::new(nothing).boxed_unsync();
    response
}

/// A request, and its object undecided and issued.
fn story() -> (PendingRequest, Value, Value) {
    let pending = pending(Some("u"));
    let pem = Ca::new("ca").node("n1", 1).chain().to_pem();
    let undecided = object(&pending, "u", &[], "");
    let issued = object(&pending, "u", &[csr::APPROVED], &pem);
    (pending, undecided, issued)
}

#[tokio::test]
async fn a_verdict_comes_by_list_or_by_watch() {
    let (pending, undecided, issued) = story();
    let at_once = issued.clone();
    let stage = Stage::new(Box::new(move |_, _| list(Some(&at_once)))).await;
    assert_eq!(stage.wait(&pending).await, "issued");
    assert_eq!(stage.count("watch"), 0);
    let stage = Stage::new(Box::new(move |kind, _| match kind {
        "watch" => text(
            frame(EventType::Bookmark, &json!({"metadata": {}}))
                + &frame(EventType::Modified, &undecided)
                + &frame(EventType::Modified, &issued),
        ),
        _ => list(Some(&undecided)),
    }))
    .await;
    assert_eq!(stage.wait(&pending).await, "issued");
    let path = &stage.server.requests()[1].path;
    for part in [
        "fieldSelector=metadata%2Ename%3Dnode%2Dcsr%2Dx%5Fy",
        "resourceVersion=7",
        "timeoutSeconds=",
    ] {
        assert!(path.contains(part), "{path} lacks {part}");
    }
}

#[tokio::test]
async fn deleted_or_absent_is_gone() {
    let (pending, undecided, _) = story();
    let stage = Stage::new(Box::new(|_, _| list(None))).await;
    assert_eq!(stage.wait(&pending).await, "gone");
    let stage = Stage::new(Box::new(move |kind, _| match kind {
        "watch" => text(frame(EventType::Deleted, &undecided)),
        _ => list(Some(&undecided)),
    }))
    .await;
    assert_eq!(stage.wait(&pending).await, "gone");
}

/// E8: whatever happens to a watch, the wait lists again and goes on.
#[tokio::test]
async fn a_disturbed_wait_goes_on() {
    let expired = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "old"});
    let disturbances: Vec<(&str, Response<Body>)> = vec![
        ("closed", text(String::new())),
        ("410", text(frame(EventType::Error, &expired))),
        ("garbled", text("{\"type\":\n".to_owned())),
        ("no Status", text(frame(EventType::Error, &json!(5)))),
        ("forbidden", failure(403, "Forbidden", "not yet")),
        ("busy", failure(429, "TooManyRequests", "later")),
        ("broken", failure(500, "InternalError", "oh")),
    ];
    for (what, disturbance) in disturbances {
        let (pending, undecided, issued) = story();
        let disturbance = Mutex::new(Some(disturbance));
        let stage = Stage::new(Box::new(move |kind, count| match (kind, count) {
            ("watch", 0) => disturbance.lock().unwrap().take().unwrap(),
            ("watch", _) => text(frame(EventType::Modified, &issued)),
            _ => list(Some(&undecided)),
        }))
        .await;
        assert_eq!(stage.wait(&pending).await, "issued", "{what}");
        assert_eq!(stage.count("watch"), 2, "{what}");
    }
}

#[tokio::test]
async fn a_refused_list_is_tried_for_minutes() {
    let (pending, _, issued) = story();
    let stage = Stage::new(Box::new(move |_, count| match count {
        0..20 => failure(403, "Forbidden", "roles are not there yet"),
        _ => list(Some(&issued)),
    }))
    .await;
    assert_eq!(stage.wait(&pending).await, "issued");
    assert_eq!(stage.count("fieldSelector"), 21);
}

#[tokio::test]
async fn a_401_ends_the_wait_and_silence_too() {
    let (pending, undecided, _) = story();
    let stage = Stage::new(Box::new(|_, _| failure(401, "Unauthorized", "no"))).await;
    assert_eq!(stage.wait(&pending).await, "refused");
    let stage = Stage::new(Box::new(move |kind, _| match kind {
        "watch" => silence(),
        _ => list(Some(&undecided)),
    }))
    .await;
    let impatient = Patience {
        limit: Duration::from_millis(50),
        ..HASTE
    };
    let waiter = Waiter::Fixed(stage.access.clone());
    let outcome = await_verdict(&stage.client, waiter, &pending, &impatient).await;
    assert_eq!(word(Some(&outcome)), "timed out");
}

/// The client certificate is rotated while a serving request waits: the wait goes on with the new
/// one.
#[tokio::test]
async fn a_wait_follows_the_client_certificate() {
    let (pending, undecided, issued) = story();
    let (watching, mut is_watching) = watch::channel(());
    let stage = Stage::new(Box::new(move |kind, count| match (kind, count) {
        ("watch", 0) => {
            watching.send_replace(());
            silence()
        }
        ("watch", _) => text(frame(EventType::Modified, &issued)),
        _ => list(Some(&undecided)),
    }))
    .await;
    let (swap, current) = watch::channel(Some(stage.access.clone()));
    let second = stage.ca.node("n1", 1);
    let identity = Identity::Certificate(Presentable::new(&second).unwrap());
    let rotated = stage.access.with_identity(identity);
    let wait = await_verdict(&stage.client, Waiter::Following(current), &pending, &HASTE);
    let rotate = async {
        is_watching.changed().await.unwrap();
        swap.send_replace(Some(rotated));
    };
    let (outcome, ()) = tokio::join!(wait, rotate);
    assert_eq!(word(Some(&outcome)), "issued");
    let last = stage.server.requests().pop().unwrap();
    let serial = last.leaf.map(|leaf| leaf.serial().clone());
    assert_eq!(serial.as_ref(), Some(second.leaf().serial()));
}

/// The answers of `script` to a dialogue that somebody else carries, without a network.
async fn carried<D: Dialogue>(mut dialogue: D, script: &Script) -> D::Outcome {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    loop {
        let kind = match dialogue.call().method {
            Method::GET => "list",
            _ => "create",
        };
        let count = counts.entry(kind).or_default();
        let (head, body) = script(kind, *count).into_parts();
        *count += 1;
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer::read(&"server", head.status, &head.headers, &body);
        if let Some(outcome) = dialogue.answer(answer) {
            return outcome;
        }
    }
}

/// A certificate ends with the first of its chain, whoever carried the call.
#[tokio::test]
async fn an_existing_request_is_found_and_ends_with_its_chain() {
    let ca = Ca::new("ca");
    let (long, short) = (ca.node("n1", 30), ca.node("n1", 1));
    let pem = long.chain().to_pem() + &short.chain().to_pem();
    let ours = pending(None);
    let found = object(&ours, "u", &[csr::APPROVED], &pem);
    let script = move || -> Script {
        let found = found.clone();
        Box::new(move |kind, _| match kind {
            "create" => failure(409, "AlreadyExists", "it is there"),
            _ => testing::json(StatusCode::OK, &found),
        })
    };
    let stage = Stage::new(script()).await;
    for outcome in [
        submit(&stage.client, &stage.access, &ours).await,
        carried(Submit::new(ours.clone()), &script()).await,
    ] {
        let SubmitOutcome::AlreadyExists(existing) = outcome else {
            panic!("{outcome:?}");
        };
        let ends = existing.certificate_not_after;
        assert_eq!(ends, Some(short.leaf().not_after()));
    }
}

fn review(name: &'static str) -> impl Fn() -> Response<Body> {
    move || {
        let review = json!({"status": {"userInfo": {"username": name}}});
        testing::json(StatusCode::CREATED, &review)
    }
}

#[tokio::test]
async fn only_an_answer_to_us_confirms() {
    type Answer = Box<dyn Fn() -> Response<Body> + Send + Sync>;
    let status = |code, reason: &'static str, message: &'static str| -> Answer {
        Box::new(move || failure(code, reason, message))
    };
    let page = || -> Answer { Box::new(|| text("<html>".to_owned())) };
    let empty = || -> Answer { Box::new(|| list(None)) };
    let anonymous = "User \"system:anonymous\" cannot create";
    let unused = empty;
    let cases: Vec<(&str, Answer, Answer, Option<RefusalClass>)> = vec![
        ("us", Box::new(review("system:node:n1")), unused(), None),
        (
            "another",
            Box::new(review("system:anonymous")),
            unused(),
            Some(RefusalClass::Unauthorized),
        ),
        ("forbidden", status(403, "Forbidden", "no"), unused(), None),
        (
            "forbidden to anonymous",
            status(403, "Forbidden", anonymous),
            unused(),
            Some(RefusalClass::Unauthorized),
        ),
        (
            "refused",
            status(401, "Unauthorized", "no"),
            unused(),
            Some(RefusalClass::Unauthorized),
        ),
        (
            "an old server",
            status(404, "NotFound", "no"),
            empty(),
            None,
        ),
        ("an old server's page", page(), empty(), None),
        ("a proxy", page(), page(), Some(RefusalClass::Unexpected)),
        (
            "down",
            status(503, "ServiceUnavailable", "no"),
            unused(),
            Some(RefusalClass::Other),
        ),
    ];
    for (what, to_review, to_list, expected) in cases {
        let answers = Arc::new((to_review, to_list));
        let script = move || -> Script {
            let answers = Arc::clone(&answers);
            Box::new(move |kind, _| match kind {
                "create" => answers.0(),
                _ => answers.1(),
            })
        };
        let stage = Stage::new(script()).await;
        let presented = Some("system:node:n1".to_owned());
        for outcome in [
            confirm(&stage.client, &stage.access).await,
            carried(Confirm::new(presented), &script()).await,
        ] {
            let class = match outcome {
                ConfirmOutcome::Confirmed { .. } => None,
                ConfirmOutcome::Refused(refusal) => Some(refusal.class),
                _ => unreachable!(),
            };
            assert_eq!(class, expected, "{what}");
        }
    }
}

/// A balancer that swallows an open watch: the verdict is there within 45 s of the last sign of
/// life, whatever is spoken.
#[tokio::test]
async fn a_swallowed_watch_costs_at_most_45_seconds() {
    use crate::testing::api::Api;
    use crate::testing::way::{Forwarder, hurried};
    for protocol in ["h2", "http/1.1"] {
        let (api, server) = Api::start_speaking(&[protocol]).await;
        api.state.lock().unwrap().approves.clear();
        let forwarder = Forwarder::start(server.address).await;
        let mut cluster = server.cluster(&api.ca);
        let url = format!("https://{}", forwarder.address);
        cluster.server = crate::kubeconfig::ServerUrl::parse(&url).unwrap();
        let token = crate::secret::Secret::new("token".to_owned());
        let access = Access::new(Arc::new(cluster), Identity::Token(token));
        let client = ApiClient::new(Arc::new(SystemClock::new()));
        let pending = pending(None);
        submit(&client, &access, &pending).await;
        let (waiter, patience) = (Waiter::Fixed(access), Patience::USUAL);
        let waiting = await_verdict(&client, waiter, &pending, &patience);
        let mut waiting = std::pin::pin!(waiting);
        while !server
            .requests()
            .iter()
            .any(|seen| seen.path.contains("watch=true"))
        {
            let turn = Duration::from_millis(10);
            tokio::time::timeout(turn, &mut waiting).await.unwrap_err();
        }
        forwarder.swallow();
        api.decide(pending.name.as_str(), csr::APPROVED);
        let (outcome, took) = hurried(waiting).await;
        assert!(
            matches!(outcome, AwaitOutcome::Issued { .. }),
            "{protocol}: {outcome:?}"
        );
        assert!(took <= Duration::from_secs(45), "{protocol}: {took:?}");
    }
}
