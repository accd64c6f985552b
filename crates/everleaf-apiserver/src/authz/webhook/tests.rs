//! What a webhook is asked, what is remembered, and what becomes of requests.

use super::*;
use crate::authz::condition::Condition;
use crate::authz::{Authorizer, OpenPaths, Step};
use crate::fixture::{Shelf, user};
use everleaf_api::selector::{FieldSelector, LabelSelector};

/// What it was asked, and what it answers next; an answer is an `allowed`, a `denied` or a fault.
#[derive(Clone, Default)]
struct Other {
    asked: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Mutex<Vec<&'static str>>>,
}

impl Other {
    fn says(answers: &[&'static str]) -> Self {
        let other = Self::default();
        other.answers.lock().unwrap().extend(answers);
        other
    }

    fn config(&self) -> WebhookConfig {
        let other = self.clone();
        WebhookConfig {
            name: "default".to_owned(),
            version: ReviewVersion::V1,
            authorized_ttl: Duration::from_secs(300),
            unauthorized_ttl: Duration::from_secs(30),
            timeout: Duration::from_secs(3),
            failure_policy: FailurePolicy::NoOpinion,
            conditions: Vec::new(),
            ask: Arc::new(move |review| {
                other.asked.lock().unwrap().push(review);
                let mut answers = other.answers.lock().unwrap();
                let answer = match answers.len() {
                    1 => answers[0],
                    _ => answers.remove(0),
                };
                Box::pin(async move {
                    match answer {
                        "hang" => std::future::pending().await,
                        "away" | "broken" => Err(Unanswered {
                            what: answer.to_owned(),
                            is_passing: answer == "away",
                        }),
                        word => Ok(json!({"status": {
                            "allowed": word == "allowed", "denied": word == "denied", "reason": word,
                        }})),
                    }
                })
            }),
        }
    }

    fn count(&self) -> usize {
        std::mem::take(&mut *self.asked.lock().unwrap()).len()
    }
}

fn chain(config: WebhookConfig) -> Authorizer {
    Authorizer::new(vec![Step::Webhook(config), Step::Node, Step::Rbac])
}

/// The final verdict `seconds` after the start.
async fn verdict(authorizer: &Authorizer, name: &str, seconds: i64) -> Decision {
    let shelf = Shelf::installed();
    let bob = user("bob", &[]);
    let request = Attributes {
        verb: "get",
        version: "v1",
        resource: "pods",
        namespace: "a",
        name,
        ..Attributes::of(&bob)
    };
    let now = Timestamp::from_second(1_000_000 + seconds).unwrap();
    let session = authorizer.for_request(now);
    loop {
        let decision = session.authorize(&request, &shelf);
        if !session.ask().await {
            return decision;
        }
        assert!(!decision.allowed, "allowed before it was asked");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_for_its_time() {
    let other = Other::says(&["allowed"]);
    let authorizer = chain(other.config());
    for (seconds, asked) in [(0, 1), (299, 0), (300, 1), (-5000, 1)] {
        assert!(verdict(&authorizer, "x", seconds).await.allowed);
        assert_eq!(other.count(), asked, "after {seconds} s");
    }
    let other = Other::says(&["denied"]);
    let authorizer = chain(other.config());
    for (seconds, asked) in [(0, 1), (29, 0), (30, 1)] {
        let decision = verdict(&authorizer, "x", seconds).await;
        assert_eq!(
            (decision.allowed, decision.reason.as_str()),
            (false, "denied")
        );
        assert_eq!(other.count(), asked, "after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_leaves_it_to_others() {
    let other = Other::says(&["nothing"]);
    let authorizer = chain(other.config());
    let decision = verdict(&authorizer, "x", 0).await;
    assert_eq!(
        (decision.allowed, decision.reason.as_str()),
        (false, "default: nothing")
    );
    assert_eq!(decision.error, "");
    // Those who are asked before it may have decided.
    let other = Other::says(&["denied"]);
    let last = Authorizer::new(vec![Step::Node, Step::Rbac, Step::Webhook(other.config())]);
    let shelf = Shelf::installed();
    let root = user("root", &["system:masters"]);
    assert!(last.authorize(&Attributes::of(&root), &shelf).allowed);
    assert_eq!(other.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_is_away_is_tried_again_and_counts_as_its_policy_says() {
    let other = Other::says(&["away", "hang", "allowed"]);
    assert!(verdict(&chain(other.config()), "x", 0).await.allowed);
    assert_eq!(other.count(), 3);
    for (answer, tries) in [
        ("away", TRIES_MAX as usize),
        ("hang", TRIES_MAX as usize),
        ("broken", 1),
    ] {
        let other = Other::says(&[answer]);
        let authorizer = chain(other.config());
        let decision = verdict(&authorizer, "x", 0).await;
        assert!(decision.error.contains("default"), "{answer}");
        assert_eq!(other.count(), tries, "{answer}");
        let bob = user("bob", &[]);
        let status = Authorizer::denied(&Attributes::of(&bob), &decision);
        assert_eq!(status.code, 500, "it is not that he may not");
        // It is not remembered.
        verdict(&authorizer, "x", 1).await;
        assert_eq!(other.count(), tries);
    }
    let other = Other::says(&["broken"]);
    let mut config = other.config();
    config.failure_policy = FailurePolicy::Deny;
    let decision = verdict(&chain(config), "x", 0).await;
    assert!(!decision.allowed && !decision.error.is_empty());
}

/// A probe, by somebody whom nobody knows.
async fn probe(authorizer: &Authorizer, path: &str) -> Decision {
    let (shelf, nobody) = (Shelf::installed(), User::anonymous());
    let request = Attributes {
        verb: "get",
        path,
        ..Attributes::of(&nobody)
    };
    let session = authorizer.for_request(Timestamp::from_second(1_000_000).unwrap());
    loop {
        let decision = session.authorize(&request, &shelf);
        if !session.ask().await {
            return decision;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn probes_do_not_need_the_other_server() {
    for policy in [FailurePolicy::NoOpinion, FailurePolicy::Deny] {
        let other = Other::says(&["away"]);
        let mut config = other.config();
        config.failure_policy = policy;
        let steps = vec![Step::Webhook(config), Step::Node, Step::Rbac];
        let open = OpenPaths::new(["/livez"]).unwrap();
        let authorizer = Authorizer::with_open_paths(steps, open);
        let decision = probe(&authorizer, "/livez").await;
        let reason = decision.reason;
        assert!(
            decision.allowed && reason.contains("public-info-viewer"),
            "{reason}"
        );
        assert_eq!(other.count(), 0, "it is not asked");
        let decision = probe(&authorizer, "/version/x").await;
        assert!(!decision.allowed && other.count() > 0);
    }
    // Without another server nothing is open that RBAC does not open.
    let open = OpenPaths::new(["/secret"]).unwrap();
    let authorizer = Authorizer::with_open_paths(vec![Step::Node, Step::Rbac], open);
    assert!(!probe(&authorizer, "/secret").await.allowed);
}

#[tokio::test(start_paused = true)]
async fn a_new_chain_is_for_those_who_come_after_it() {
    let (before, after) = (Other::says(&["allowed"]), Other::says(&["denied"]));
    let authorizer = chain(before.config());
    let (shelf, bob) = (Shelf::installed(), user("bob", &[]));
    let request = Attributes {
        verb: "get",
        version: "v1",
        resource: "pods",
        namespace: "a",
        name: "x",
        ..Attributes::of(&bob)
    };
    let running = authorizer.for_request(Timestamp::from_second(1_000_000).unwrap());
    assert!(!running.authorize(&request, &shelf).allowed);
    authorizer.set_steps(vec![Step::Webhook(after.config()), Step::Node, Step::Rbac]);
    assert!(running.ask().await && running.authorize(&request, &shelf).allowed);
    assert_eq!((before.count(), after.count()), (1, 0));
    let decision = verdict(&authorizer, "x", 1).await;
    assert_eq!(
        (decision.allowed, decision.reason.as_str()),
        (false, "denied"),
        "nothing that the old one said is remembered"
    );
    authorizer.set_steps(vec![Step::Node, Step::Rbac]);
    assert!(!authorizer.has_webhook());
}

#[tokio::test(start_paused = true)]
async fn conditions_say_what_it_is_asked_for() {
    for (condition, asked, fails) in [
        ("request.resourceAttributes.name == 'x'", 1, false),
        ("request.resourceAttributes.name == 'y'", 0, false),
        ("has(request.nonResourceAttributes)", 0, false),
        ("'a' in request.groups", 0, false),
        ("request.uid == '' && request.extra == {}", 1, false),
        ("request.resourceAttributes.subresource == ''", 1, false),
        ("request.extra['a'][0] == 'b'", 0, true),
    ] {
        let other = Other::says(&["allowed"]);
        let mut config = other.config();
        config.conditions = vec![Condition::compile(condition).unwrap()];
        let decision = verdict(&chain(config), "x", 0).await;
        assert_eq!(other.count(), asked, "{condition}");
        assert_eq!(decision.allowed, asked == 1, "{condition}");
        assert_eq!(!decision.error.is_empty(), fails, "{condition}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_has_a_bound() {
    let other = Other::says(&["allowed"]);
    let webhook = Webhook::new(other.config());
    let now = Timestamp::from_second(1_000_000).unwrap();
    for number in 0..REMEMBERED_MAX * 2 {
        let verdict = Verdict::Allow(String::new());
        webhook.remember(
            &number.to_string(),
            &verdict,
            now + SignedDuration::from_millis(number as i64),
        );
    }
    let length = webhook.lock().len();
    assert!(
        length <= REMEMBERED_MAX && length > REMEMBERED_MAX / 2,
        "{length}"
    );
    webhook.remember(
        &"x".repeat(QUESTION_BYTES_MAX + 1),
        &Verdict::Allow(String::new()),
        now,
    );
    assert_eq!(webhook.lock().len(), length);
}

#[test]
fn a_review_says_what_upstreams_says() {
    let mut bob = user("bob", &["dev"]);
    bob.uid = "u1".to_owned();
    bob.extra.insert("k".to_owned(), vec!["v".to_owned()]);
    let fields = FieldSelector::parse("metadata.name=x,spec.a!=b").unwrap();
    let labels = LabelSelector::parse("a in (b,c),!d,e>5").unwrap();
    let request = Attributes {
        verb: "list",
        group: "apps",
        version: "v1",
        resource: "things",
        subresource: "status",
        namespace: "n",
        name: "x",
        field_selector: Some(&fields),
        label_selector: Some(&labels),
        ..Attributes::of(&bob)
    };
    let expected = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
        "spec": {
            "user": "bob", "uid": "u1", "groups": ["dev", "system:authenticated"], "extra": {"k": ["v"]},
            "resourceAttributes": {
                "namespace": "n", "verb": "list", "group": "apps", "version": "v1",
                "resource": "things", "subresource": "status", "name": "x",
                "fieldSelector": {"requirements": [
                    {"key": "metadata.name", "operator": "In", "values": ["x"]},
                    {"key": "spec.a", "operator": "NotIn", "values": ["b"]},
                ]},
                "labelSelector": {"requirements": [
                    {"key": "a", "operator": "In", "values": ["b", "c"]},
                    {"key": "d", "operator": "DoesNotExist"},
                ]},
            },
        },
        "status": {"allowed": false},
    });
    assert_eq!(review(ReviewVersion::V1, &spec(&request)), expected);
    let path = Attributes {
        verb: "get",
        path: "/metrics",
        ..Attributes::of(&bob)
    };
    let old = review(ReviewVersion::V1beta1, &spec(&path));
    assert_eq!(
        old["spec"]["nonResourceAttributes"],
        json!({"path": "/metrics", "verb": "get"})
    );
    assert_eq!(old["spec"]["group"], json!(["dev", "system:authenticated"]));
    assert_eq!(old["apiVersion"], "authorization.k8s.io/v1beta1");
}

#[test]
fn an_answer_of_another_form_says_nothing() {
    let said = |answer: Value| read(&answer);
    for answer in [
        json!({"kind": "Pod", "status": {"allowed": true}}),
        json!({"apiVersion": "authorization.k8s.io/v9", "status": {"allowed": true}}),
        json!({"status": {"allowed": false, "denied": "true"}}),
        json!({"status": {"allowed": "true"}}),
        json!({"status": {"allowed": 1}}),
        json!({}),
        json!([]),
    ] {
        let shown = answer.to_string();
        assert!(matches!(said(answer), Verdict::Failed(_)), "{shown}");
    }
    let kind = json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "status": {"allowed": true, "denied": null}});
    assert!(matches!(said(kind), Verdict::Allow(_)));
    let both = json!({"status": {"allowed": true, "denied": true}});
    assert!(matches!(said(both), Verdict::Deny(_)));
    assert!(matches!(said(json!({"status": {}})), Verdict::NoOpinion(_)));
}
