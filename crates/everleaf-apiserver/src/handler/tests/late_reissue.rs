//! Late re-issue through the whole walk: certificates as TLS would show them, and attacks.

use super::fixture::{Answer, CSRS, World, block_on};
use crate::authn::{self, Peer};
use crate::fixture::{csr, request_pem};
use crate::late_reissue::{PATH, Policy};
use crate::writer::Mode;
use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey, Subject, Template, Usage};
use futures_util::future::join_all;
use http::Request;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

const SECRET: &str = "/api/v1/namespaces/kube-system/secrets/late-reissue.n1";
const NODES: &str = "/api/v1/nodes";
const YEAR: i64 = 365 * 86_400;

fn ca(serial: u8) -> Issuer {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let (from, to) = ("2020-01-01T00:00:00Z", "2060-01-01T00:00:00Z");
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    Issuer::self_signed("kubernetes", key, [serial; 16], from, to).unwrap()
}

const POLICY: Policy = Policy {
    age_max: SignedDuration::from_hours(24 * 365 * 6),
    recoveries_max: 2,
};

/// A server that lets nodes come back, its authority, and the node n1.
struct Late {
    world: World,
    ca: Issuer,
    serial: u8,
}

impl Late {
    fn new() -> Self {
        Self::with(Mode::Inline, Some(POLICY))
    }

    fn with(writer: Mode, late_reissue: Option<Policy>) -> Self {
        let ca = ca(1);
        let pem = ca.certificate_pem().into_bytes();
        let world = World::believing(writer, |config: &mut authn::Config| {
            config.client_ca_pem = pem;
            config.late_reissue = late_reissue;
        });
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
        block_on(world.server.put("nodes", node, world.now)).expect("a node");
        Self {
            world,
            ca,
            serial: 1,
        }
    }

    /// What a holder of a certificate of `name` shows, which ends in so many seconds, and was dated
    /// back, as Kubernetes' signers do.
    fn shown(&mut self, name: &str, group: &str, seconds: i64) -> Peer {
        self.serial += 1;
        let end = self.world.now + SignedDuration::from_secs(seconds);
        let begin = self.world.now - SignedDuration::from_mins(5);
        of(&self.ca, name, group, (begin, end), self.serial)
    }

    fn node(&mut self) -> Peer {
        self.shown("system:node:n1", "system:nodes", 3600)
    }

    fn call(&self, peer: &Peer, path: &str, token: &str, body: &str) -> Answer {
        block_on(self.begin(peer, path, token, body))
    }

    async fn begin(&self, peer: &Peer, path: &str, token: &str, body: &str) -> Answer {
        let mut request = Request::post(path);
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let request = request.body(body.to_owned().into()).unwrap();
        Answer::of(
            self.world
                .server
                .handle(request, peer, self.world.now)
                .await,
        )
    }

    fn knock(&self, peer: &Peer, state: &str, attempt: &str) -> Answer {
        let body = json!({"state": state, "attempt": attempt});
        self.call(peer, PATH, "", &body.to_string())
    }

    /// Registers; the join state.
    fn register(&self, peer: &Peer, state: &str, attempt: &str) -> String {
        let answer = self.knock(peer, state, attempt).expect(200);
        assert!(answer.json["token"].is_null(), "{}", answer.text);
        text(&answer.json["state"])
    }

    fn file(&self, token: &str, name: &str, node: &str) -> Answer {
        let common_name = format!("system:node:{node}");
        let signer = "kubernetes.io/kube-apiserver-client-kubelet";
        let mut object = csr(signer, &request_pem(&common_name, &["system:nodes"]));
        object["metadata"]["name"] = name.into();
        self.call(&Peer::default(), CSRS, token, &object.to_string())
    }

    fn metric(&self, result: &str) -> String {
        let text = self.world.get("/metrics").expect(200).text.clone();
        let name = format!("everleaf_late_reissue_total{{result=\"{result}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_default().to_owned()
    }
}

fn of(
    ca: &Issuer,
    name: &str,
    group: &str,
    (from, to): (Timestamp, Timestamp),
    serial: u8,
) -> Peer {
    let template = Template {
        subject: Subject {
            common_name: name.to_owned(),
            organizations: vec![group.to_owned()],
        },
        ..Template::default()
    };
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let usages = [Usage::DigitalSignature, Usage::ClientAuth];
    let chain = ca
        .issue_own(&template, key.public_key(), &usages, [serial; 16], from, to)
        .unwrap();
    let ders = chain.certificates().iter().map(|leaf| leaf.der().to_vec());
    Peer {
        certificates: Arc::new(ders.collect()),
        ..Peer::default()
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

#[test]
fn a_node_comes_back_and_files_its_request_as_itself() {
    let mut late = Late::new();
    let node = late.node();
    let state = late.register(&node, "", "a1");
    late.world.pass(YEAR);
    // The certificate is good for nothing else, and not for nobody either.
    let elsewhere = late.call(&node, CSRS, "", "{}").expect(401);
    assert_eq!(elsewhere.message(), "Unauthorized");
    let answer = late.knock(&node, &state, "a2").expect(200);
    assert_eq!(answer.json["recoveriesLeft"], 1);
    let token = text(&answer.json["token"]);
    let filed = late.file(&token, "late", "n1").expect(201);
    assert_eq!(filed.json["spec"]["username"], "system:node:n1");
    assert_eq!(
        filed.json["spec"]["extra"]["everleaf.io/late-reissue"],
        json!(["2"])
    );
    late.file(&token, "other", "n2").expect(403);
    let asked = late.call(&Peer::default(), NODES, &token, "{}").expect(401);
    assert_eq!(asked.message(), "Unauthorized");
    // Nobody who is asked about the token says that it is good.
    let review = json!({"spec": {"token": token}});
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let reviewed = late.world.post(path, &review).expect(201);
    assert!(reviewed.json["status"]["authenticated"].is_null());
    // Not for ever.
    late.world.pass(600);
    late.file(&token, "later", "n1").expect(401);
    // The answer was lost: another token, and no other count.
    let again = late.knock(&node, &state, "a2").expect(200);
    assert_eq!(again.json["recoveriesLeft"], 1);
    let newer = text(&again.json["token"]);
    late.file(&newer, "later", "n1").expect(201);
    // It registers with what it was issued; then the token has done its work.
    let renewed = late.node();
    let next = late.register(&renewed, &state, "a2");
    assert_ne!(next, state);
    late.file(&newer, "last", "n1").expect(401);
    for (result, count) in [
        ("registered", "2"),
        ("recovered", "1"),
        ("recovered_again", "1"),
    ] {
        assert_eq!(late.metric(result), count, "{result}");
    }
    let events = late
        .world
        .get("/api/v1/namespaces/default/events")
        .expect(200);
    assert_eq!(events.json["items"][0]["reason"], "LateReissue");
    // The second is the last.
    late.world.pass(YEAR);
    late.knock(&renewed, &next, "a3").expect(200);
    assert_eq!(late.metric("recovered_last"), "1");
    let third = late.node();
    let state = late.register(&third, &next, "a3");
    late.world.pass(YEAR);
    let refused = late.knock(&third, &state, "a4").expect(403);
    assert!(
        refused.message().contains("--late-reissue-max-recoveries"),
        "{}",
        refused.message()
    );
    // An operator's one line.
    let reset = json!({"stringData": {"recoveries": "0"}});
    late.world.patch(SECRET, &reset).expect(200);
    late.knock(&third, &state, "a4").expect(200);
}

#[test]
fn what_is_replayed_or_comes_twice_locks_the_node_and_revokes_what_may_be_a_thiefs() {
    let mut late = Late::new();
    let node = late.node();
    let state = late.register(&node, "", "a1");
    late.world.pass(YEAR);
    // A copy is first.
    let stolen = text(&late.knock(&node, &state, "thief").expect(200).json["token"]);
    let of_thief = late.node();
    late.world.be("nobody");
    let before = late.call(
        &of_thief,
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        "",
        "{}",
    );
    before.expect(201);
    // Then comes the node.
    let refused = late.knock(&node, &state, "a2").expect(403);
    assert!(
        refused.message().contains("two copies"),
        "{}",
        refused.message()
    );
    late.file(&stolen, "late", "n1").expect(401);
    late.world.be("admin");
    let record = late.world.get(SECRET).expect(200);
    assert_ne!(record.json["data"]["locked"], "");
    // What the thief was issued is refused, and so is all that it asks for.
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    late.call(&of_thief, path, "", "{}").expect(401);
    late.knock(&of_thief, &state, "thief").expect(401);
    let events = late
        .world
        .get("/api/v1/namespaces/default/events")
        .expect(200);
    let reasons: Vec<_> = events.json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| text(&event["reason"]))
        .collect();
    assert!(
        reasons.contains(&"LateReissueLocked".to_owned()),
        "{reasons:?}"
    );
    assert_eq!(late.metric("locked"), "1");
    // What an operator takes back stays so, although the node is locked.
    let maps = "/api/v1/namespaces/kube-system/configmaps";
    late.world
        .delete(&format!("{maps}/everleaf-revocations"))
        .expect(200);
    late.knock(&of_thief, "", "again").expect(403);
    late.call(&of_thief, path, "", "{}").expect(201);
}

#[test]
fn an_old_copy_locks_late_reissue_and_leaves_a_good_node_alone() {
    let mut late = Late::new();
    let old = late.node();
    let state = late.register(&old, "", "a1");
    late.world.pass(3000);
    let renewed = late.node();
    late.register(&renewed, &state, "a2");
    late.world.pass(1000);
    late.knock(&old, &state, "thief").expect(403);
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    late.call(&renewed, path, "", "{}").expect(201);
    // Unlocked by deleting the record: the node registers anew.
    late.world.delete(SECRET).expect(200);
    late.register(&renewed, &state, "a3");
}

#[test]
fn who_is_no_node_or_another_one_comes_to_nothing() {
    let mut late = Late::new();
    let node = late.node();
    let state = late.register(&node, "", "a1");
    let user = late.shown("alice", "system:nodes", 60);
    let admin = late.shown("admin", "system:masters", 60);
    let no_group = late.shown("system:node:n1", "others", 60);
    let nameless = late.shown("system:node:", "system:nodes", 60);
    let absent = late.shown("system:node:n2", "system:nodes", 60);
    // While they are good: who is no node may not, whatever else they may.
    late.knock(&user, &state, "a").expect(403);
    late.knock(&no_group, &state, "a").expect(403);
    late.knock(&admin, &state, "a").expect(403);
    late.knock(&absent, &state, "a").expect(403);
    late.world.be("admin");
    let by_token = late.call(&Peer::default(), PATH, "t-node", r#"{"attempt": "a"}"#);
    by_token.expect(405);
    late.world.pass(YEAR);
    let now = late.world.now;
    let other_ca = ca(1);
    let from = now - SignedDuration::from_secs(YEAR);
    let span = (from, from + SignedDuration::from_secs(60));
    let forged = of(&other_ca, "system:node:n1", "system:nodes", span, 7);
    let future = of(
        &late.ca,
        "system:node:n1",
        "system:nodes",
        (
            now + SignedDuration::from_secs(60),
            now + SignedDuration::from_secs(90),
        ),
        8,
    );
    for (what, peer) in [
        ("a user", &user),
        ("an administrator", &admin),
        ("no group", &no_group),
        ("no name", &nameless),
        ("another authority", &forged),
        ("not yet valid", &future),
        ("nobody", &Peer::default()),
    ] {
        let answer = late.knock(peer, &state, "a");
        let expected = if what == "nobody" { 403 } else { 401 };
        assert_eq!(answer.code, expected, "{what}: {}", answer.text);
    }
    // Who is a node by something else does not come by a certificate that nobody believes.
    let body = json!({"state": state, "attempt": "a"}).to_string();
    for peer in [&forged, &user, &no_group] {
        late.call(peer, PATH, "t-node", &body).expect(403);
    }
    // Another node's certificate does not help with this one's join state.
    let answer = late.knock(&absent, &state, "a").expect(403);
    assert!(
        answer.message().contains("no Node object n2"),
        "{}",
        answer.message()
    );
    late.world
        .post(NODES, &json!({"metadata": {"name": "n2"}}))
        .expect(201);
    let answer = late.knock(&absent, &state, "a").expect(403);
    assert!(
        answer.message().contains("never registered"),
        "{}",
        answer.message()
    );
    // Nobody has been locked by all that.
    late.knock(&node, &state, "a2").expect(200);
}

#[test]
fn a_node_that_is_gone_or_revoked_does_not_come_back() {
    let mut late = Late::new();
    let node = late.node();
    let state = late.register(&node, "", "a1");
    late.world.pass(YEAR);
    let revocations =
        json!({"metadata": {"name": "everleaf-revocations"}, "data": {"node.n1": "{}"}});
    let maps = "/api/v1/namespaces/kube-system/configmaps";
    late.world.post(maps, &revocations).expect(201);
    late.knock(&node, &state, "a2").expect(401);
    late.world
        .delete(&format!("{maps}/everleaf-revocations"))
        .expect(200);
    late.world.delete(&format!("{NODES}/n1")).expect(200);
    let refused = late.knock(&node, &state, "a2").expect(403);
    assert!(
        refused.message().contains("no Node object n1"),
        "{}",
        refused.message()
    );
    late.world
        .post(NODES, &json!({"metadata": {"name": "n1"}}))
        .expect(201);
    let refused = late.knock(&node, &state, "a2").expect(403);
    assert!(
        refused.message().contains("made anew"),
        "{}",
        refused.message()
    );
}

#[test]
fn a_body_that_is_none_changes_nothing() {
    let mut late = Late::new();
    let node = late.node();
    let state = late.register(&node, "", "a1");
    let before = late.world.get(SECRET).expect(200).json;
    late.world.pass(YEAR);
    let long = "x".repeat(129);
    let huge = json!({"attempt": "a", "state": "x".repeat(5000)}).to_string();
    for (body, code) in [
        (String::new(), 400),
        ("{".to_owned(), 400),
        ("[]".to_owned(), 400),
        ("\u{0}\u{1}".to_owned(), 400),
        (json!({"state": state}).to_string(), 400),
        (json!({"state": state, "attempt": 1}).to_string(), 400),
        (json!({"state": state, "attempt": long}).to_string(), 400),
        (huge, 413),
        (json!({"state": {"a": []}, "attempt": "a"}).to_string(), 403),
        ("[".repeat(4000), 400),
    ] {
        let answer = late.call(&node, PATH, "", &body);
        assert_eq!(answer.code, code, "{body:.40} {}", answer.text);
    }
    assert_eq!(late.world.get(SECRET).expect(200).json, before);
    // Impersonation does not make a node of anybody.
    late.knock(&node, &state, "a2").expect(200);
}

#[test]
fn without_a_policy_there_is_no_such_thing() {
    let mut late = Late::with(Mode::Inline, None);
    let node = late.node();
    late.knock(&node, "", "a").expect(405);
    late.world.pass(YEAR);
    late.knock(&node, "", "a").expect(401);
    assert_eq!(late.metric("registered"), "");
}

/// Whichever way their steps fall between one another: what one was decided on is not what another
/// has stored meanwhile.
#[test]
fn of_copies_that_come_at_once_one_is_let_in_and_the_node_is_locked() {
    let mut late = Late::with(Mode::Thread, Some(POLICY));
    let node = late.node();
    let state = late.register(&node, "", "a1");
    late.world.pass(YEAR);
    let bodies: Vec<String> = (0..5)
        .map(|copy| json!({"state": state, "attempt": format!("copy {copy}")}).to_string())
        .collect();
    let knocks = bodies.iter().map(|body| late.begin(&node, PATH, "", body));
    let answers = block_on(join_all(knocks));
    let codes: Vec<u16> = answers.iter().map(|answer| answer.code).collect();
    let let_in = codes.iter().filter(|code| **code == 200).count();
    assert_eq!(let_in, 1, "{codes:?}");
    // Who is looked at after the first was caught is revoked already.
    let is_usual = |code: &u16| matches!(code, 200 | 401 | 403);
    assert!(codes.iter().all(is_usual), "{codes:?}");
    assert!(codes.contains(&403), "{codes:?}");
    let token = answers
        .iter()
        .find_map(|answer| answer.json["token"].as_str());
    late.file(token.expect("a token"), "late", "n1").expect(401);
}
