//! The cases of the specification by their numbers, and the machines against scripted answers.

use super::bootstrap_signer::signed;
use super::token::{Expiration, Token};
use super::token_cleaner::{Action, decide};
use super::*;
use crate::call::CallError;
use crate::fixture::now;
mod pod_certificate_cleaner;
mod revocation_list;
mod root_ca;
mod trust_bundles;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use everleaf_api::{Status, meta};
use everleaf_pki::jws;
use http::Method;
use serde_json::{Value, json};

pub(super) const SECOND: SignedDuration = SignedDuration::from_secs(1);
pub(super) const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A machine, the clocks, and what it told.
pub(super) struct Bench {
    pub(super) machine: Machine,
    pub(super) moment: Moment,
    pub(super) told: Vec<Kept>,
}

impl Bench {
    /// The machine that sees these objects, whole lists, at the fixture's time.
    pub(super) fn new(rules: impl Rules + 'static, seen: &[(Watched, Value)]) -> Self {
        let mut machine = Machine::new(rules);
        for watched in machine.rules().watches() {
            machine.take(*watched, Delta::ListBegins, Monotonic::default());
            for (_, object) in seen.iter().filter(|(of, _)| of == watched) {
                machine.take(*watched, Delta::Put(object.clone()), Monotonic::default());
            }
            assert!(matches!(
                machine.step(at(SignedDuration::ZERO)),
                Step::Wait(None)
            ));
            machine.take(*watched, Delta::ListEnds, Monotonic::default());
        }
        let (moment, told) = (at(SignedDuration::ZERO), Vec::new());
        Self {
            machine,
            moment,
            told,
        }
    }

    /// Both clocks go on, and the offset stays.
    pub(super) fn pass(&mut self, by: SignedDuration) {
        let Now { wall, monotonic } = self.moment.now;
        self.moment.now = Now {
            wall: wall + by,
            monotonic: monotonic + by.unsigned_abs(),
        };
    }

    pub(super) fn take(&mut self, watched: Watched, delta: Delta) {
        self.machine.take(watched, delta, self.moment.now.monotonic);
    }

    /// The next call, if there is one before it waits.
    pub(super) fn call(&mut self) -> Option<Call> {
        loop {
            match self.machine.step(self.moment) {
                Step::Call(call) => return Some(call),
                Step::Tell(notice) => match *notice {
                    Notice::Kept(kept) => self.told.push(kept),
                    other => panic!("{other:?}"),
                },
                Step::Log(entry) => panic!("{entry:?}"),
                Step::Wait(_) => return None,
            }
        }
    }

    /// The next call as a line.
    pub(super) fn line(&mut self) -> String {
        let call = self.call();
        call.map_or_else(String::new, |call| format!("{} {}", call.method, call.path))
    }

    pub(super) fn answer(&mut self, answer: &Answer) {
        self.machine.answer(answer, self.moment);
    }

    /// Until when it waits.
    pub(super) fn waits(&mut self) -> Option<Duration> {
        assert_eq!(self.call(), None);
        match self.machine.step(self.moment) {
            Step::Wait(until) => until.map(|at| at.since(self.moment.now.monotonic)),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn at(offset: SignedDuration) -> Moment {
    Moment {
        now: Now {
            wall: now(),
            monotonic: Monotonic::default(),
        },
        offset: Some(offset),
    }
}

pub(super) fn done() -> Answer {
    Ok(Bytes::from_static(b"{}"))
}

pub(super) fn refused(code: u16, details: Option<Value>) -> Answer {
    let status = json!({"kind": "Status", "code": code, "message": "no", "details": details});
    Err(CallError::Refused {
        status: Box::new(Status::from_value(&status).unwrap()),
        retry_after: Duration::ZERO,
    })
}

/// The Secret of a token as kubeadm makes it; `""` leaves a key out.
pub(super) fn token(name: &str, data: &[(&str, &str)]) -> Value {
    let id = name.trim_start_matches("bootstrap-token-");
    let mut fields = json!({});
    let usual = [
        ("token-id", id),
        ("token-secret", "tokenSecret"),
        ("usage-bootstrap-signing", "true"),
    ];
    for (key, text) in usual.iter().chain(data) {
        fields[*key] = STANDARD.encode(text).into();
    }
    for (key, _) in data.iter().filter(|(_, text)| text.is_empty()) {
        fields.as_object_mut().unwrap().remove(*key);
    }
    json!({
        "metadata": {"name": name, "namespace": "kube-system", "uid": "u-1", "resourceVersion": "7"},
        "type": "bootstrap.kubernetes.io/token",
        "data": fields,
    })
}

pub(super) fn expiring(by: SignedDuration) -> (&'static str, String) {
    ("expiration", meta::format_time(now() + by))
}

const NAME: &str = "bootstrap-token-abc123";
const DELETE: &str = "DELETE /api/v1/namespaces/kube-system/secrets/bootstrap-token-abc123";

fn cleaner(data: &[(&str, &str)]) -> Bench {
    let secret = token(NAME, data);
    Bench::new(TokenCleaner::default(), &[(Watched::Tokens, secret)])
}

/// Cases 107 to 109, and what else expires or does not.
#[test]
fn tokens_are_cleaned_when_they_have_expired() {
    let hour_ago = meta::format_time(now() - HOUR);
    let in_an_hour = meta::format_time(now() + HOUR);
    for (case, expiration, is_deleted) in [
        ("107: no expiration", "", false),
        ("108: expired 1h ago", &*hour_ago, true),
        ("109: expires in 1h", &*in_an_hour, false),
        ("an expiration that nobody can read", "garbage", true),
        ("now is not before now", &meta::format_time(now()), true),
    ] {
        let mut bench = cleaner(&[("expiration", expiration)]);
        let expected = if is_deleted { DELETE } else { "" };
        assert_eq!(bench.line(), expected, "{case}");
        let told = bench.told.len();
        assert_eq!(told, usize::from(is_deleted), "{case}");
    }
}

/// Case 110: kept first, deleted by the timer; and then not once more.
#[test]
fn case_110_a_token_is_deleted_on_time() {
    let (key, end) = expiring(SECOND * 2);
    let mut bench = cleaner(&[(key, &end)]);
    assert_eq!(bench.waits(), Some(Duration::from_secs(2)));
    bench.pass(SECOND * 2);
    let call = bench.call().unwrap();
    assert_eq!(format!("{} {}", call.method, call.path), DELETE);
    let preconditions = &call.body.unwrap()["preconditions"];
    assert_eq!(
        *preconditions,
        json!({"uid": "u-1", "resourceVersion": "7"})
    );
    bench.answer(&done());
    bench.take(
        Watched::Tokens,
        Delta::Deleted(format!("kube-system/{NAME}")),
    );
    assert_eq!(bench.waits(), None, "nothing is left to do");
}

/// Where upstream waits for the next event, whatever it was, this comes back.
#[test]
fn a_deletion_that_fails_is_tried_again() {
    for (code, wait, told) in [(500, 5, 2), (403, 5, 2), (404, 60_000, 1), (409, 60_000, 1)] {
        let mut bench = cleaner(&[("expiration", "garbage")]);
        assert_eq!(bench.line(), DELETE);
        bench.answer(&refused(code, None));
        assert_eq!(bench.waits(), Some(Duration::from_millis(wait)), "{code}");
        assert_eq!(bench.told.len(), told, "{code}: {:?}", bench.told);
        bench.pass(SECOND * 60);
        assert_eq!(bench.line(), DELETE, "{code}");
    }
}

/// A token is kept while the clocks are further apart than it is overdue.
#[test]
fn clocks_that_disagree_delete_nothing() {
    for (overdue, offset, expected) in [
        (600, -599, true),
        (600, -600, true),
        (600, -601, false),
        (600, 601, false),
        (0, -1, false),
        (0, 0, true),
    ] {
        let end = now() - SECOND * overdue;
        let offset = SECOND * offset;
        let action = decide(Expiration::At(end), now(), offset);
        assert_eq!(action == Action::Delete, expected, "{overdue} {offset}");
    }
    let (key, end) = expiring(-HOUR);
    let mut bench = cleaner(&[(key, &end)]);
    bench.moment.offset = Some(-HOUR - SECOND * 90);
    assert_eq!(bench.waits(), Some(LOOK_INTERVAL));
    assert!(matches!(bench.told[..], [Kept::TokenDoubted { .. }]));
    bench.pass(SECOND * 60);
    assert_eq!(bench.waits(), Some(Duration::from_secs(30)));
    assert_eq!(bench.told.len(), 1, "said once");
    bench.pass(SECOND * 30);
    assert_eq!(bench.line(), DELETE);
}

/// Before anything is deleted the server is asked for its time.
#[test]
fn without_the_servers_time_it_is_asked_first() {
    let (key, end) = expiring(-SECOND);
    let get = "GET /version";
    let unknown = || {
        let mut bench = cleaner(&[(key, &end)]);
        bench.moment.offset = None;
        bench
    };
    // It answers with its time, which is behind; without any; or not at all.
    let mut bench = unknown();
    assert_eq!(bench.line(), get);
    bench.moment.offset = Some(-HOUR);
    bench.answer(&done());
    assert_eq!(bench.line(), "");
    let mut bench = unknown();
    assert_eq!(bench.line(), get);
    bench.answer(&done());
    assert_eq!(bench.line(), DELETE);
    let mut bench = unknown();
    assert_eq!(bench.line(), get);
    bench.answer(&Err(CallError::Unreachable("away".to_owned())));
    assert_eq!(bench.line(), "");
    bench.pass(SECOND);
    assert_eq!(bench.line(), get);
}

/// A clock that is set shows within a minute, or at once when somebody noticed.
#[test]
fn a_clock_step_has_all_tokens_judged_again() {
    let (key, end) = expiring(HOUR);
    for noticed in [true, false] {
        let mut bench = cleaner(&[(key, &end)]);
        assert_eq!(bench.waits(), Some(LOOK_INTERVAL));
        bench.moment.now.wall += HOUR * 2;
        assert_eq!(bench.line(), "");
        match noticed {
            true => bench.machine.look_again(bench.moment.now.monotonic),
            false => bench.pass(SECOND * 60),
        }
        assert_eq!(bench.line(), DELETE);
    }
}

/// Other Secrets are nobody's business, and a list that lacks a token ends it.
#[test]
fn only_secrets_of_the_type_are_tokens() {
    let mut bench = cleaner(&[("expiration", "garbage")]);
    let mut opaque = token(NAME, &[("expiration", "garbage")]);
    opaque["type"] = "Opaque".into();
    bench.take(Watched::Tokens, Delta::Put(opaque));
    assert_eq!(bench.waits(), None);
    let mut bench = cleaner(&[("expiration", "garbage")]);
    bench.take(Watched::Tokens, Delta::ListBegins);
    bench.take(Watched::Tokens, Delta::ListEnds);
    assert_eq!(bench.waits(), None);
}

// === bootstrapsigner ===

const KUBECONFIG: &str = "payload";
const SIGNATURE: &str =
    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiYzEyMyJ9..QSxpUG7Q542CirTI2ECPSZjvBOJURUW5a7XqFpNI958";
const PUT: &str = "PUT /api/v1/namespaces/kube-public/configmaps/cluster-info";

fn cluster_info(data: &Value) -> Value {
    json!({
        "metadata": {"name": "cluster-info", "namespace": "kube-public", "resourceVersion": "3"},
        "data": data,
        "binaryData": {"kept": "AA=="},
    })
}

/// A signer that sees an unsigned cluster-info and this token.
fn signer(data: &[(&str, &str)]) -> Bench {
    let unsigned = cluster_info(&json!({"kubeconfig": KUBECONFIG}));
    let secret = token(NAME, data);
    let seen = [(Watched::ClusterInfo, unsigned), (Watched::Tokens, secret)];
    Bench::new(BootstrapSigner::default(), &seen)
}

/// Cases 93 to 97 and 106: the call that follows, and the data that it writes.
#[test]
fn cluster_info_is_signed() {
    let key = "jws-kubeconfig-abc123";
    let right = json!({"kubeconfig": KUBECONFIG, key: SIGNATURE});
    let unsigned = json!({"kubeconfig": KUBECONFIG});
    let wrong = json!({"kubeconfig": KUBECONFIG, key: "old"});
    let foo = json!({"kubeconfig": KUBECONFIG, key: format!("{SIGNATURE}foo")});
    let bare = json!({key: "old"});
    for (case, before, has_token, after) in [
        ("93: no ConfigMap", None, true, None),
        ("no kubeconfig", Some(&bare), true, None),
        ("94: no signature", Some(&unsigned), true, Some(&right)),
        ("95: already right", Some(&right), true, None),
        ("96: an old one is wrong", Some(&wrong), true, Some(&right)),
        ("97: without a token", Some(&right), false, Some(&unsigned)),
        ("106: foo behind it", Some(&foo), true, Some(&right)),
    ] {
        let mut seen = Vec::new();
        seen.extend(before.map(|data| (Watched::ClusterInfo, cluster_info(data))));
        seen.extend(has_token.then(|| (Watched::Tokens, token(NAME, &[]))));
        let mut bench = Bench::new(BootstrapSigner::default(), &seen);
        let Some(after) = after else {
            assert_eq!(bench.line(), "", "{case}");
            continue;
        };
        let call = bench.call().expect(case);
        assert_eq!(format!("{} {}", call.method, call.path), PUT, "{case}");
        let mut expected = cluster_info(after);
        expected["apiVersion"] = "v1".into();
        expected["kind"] = "ConfigMap".into();
        assert_eq!(call.body, Some(expected), "{case}");
        bench.answer(&done());
        bench.take(Watched::ClusterInfo, Delta::Put(cluster_info(after)));
        assert_eq!(bench.line(), "", "{case}");
    }
}

/// Cases 98 to 102: which tokens sign.
#[test]
fn tokens_that_may_sign() {
    let in_an_hour = meta::format_time(now() + HOUR);
    let hour_ago = meta::format_time(now() - HOUR);
    let no_prefix = "bootstrap-tokenxabc123";
    let flag = "usage-bootstrap-signing";
    let check = |case: &str, name: &str, data: &[(&str, &str)], expected: bool| {
        let token = Token::read(&token(name, data)).unwrap();
        assert_eq!(token.is_valid_for_signing(now()), expected, "{case}");
        let text = format!("{token:?}");
        assert!(!text.contains("tokenSecret"), "{text}");
    };
    check("98: no expiry", NAME, &[], true);
    check("98: +1h", NAME, &[("expiration", &in_an_hour)], true);
    check("99: -1h", NAME, &[("expiration", &hour_ago)], false);
    check("99: garbage", NAME, &[("expiration", "garbage")], false);
    check("100: flag empty", NAME, &[(flag, "")], false);
    check("100: not exactly true", NAME, &[(flag, "True")], false);
    check("101: no id", NAME, &[("token-id", "")], false);
    check("101: no secret", NAME, &[("token-secret", "")], false);
    check(
        "102: no prefix",
        no_prefix,
        &[("token-id", "abc123")],
        false,
    );
    check("102: id mismatch", NAME, &[("token-id", "abc124")], false);
    check("capitals", "bootstrap-token-ABC123", &[], false);
    check("too long", "bootstrap-token-abc1234", &[], false);
}

/// Cases 103 and 104 by a token; 105 has no secret, so no token signs so.
#[test]
fn signatures_of_a_token() {
    let data = [("token-secret", "my voice is my passcode")];
    let token = Token::read(&token("bootstrap-token-joshua", &data)).unwrap();
    let hello = "Hello from the other side. I must have called a thousand times.";
    for (case, content, mac) in [
        ("103", hello, "VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"),
        ("104", "", "7Ui1ALizW4jXphVUB7xUqC9vLYLL9RZeOFfVLoB7Tgk"),
    ] {
        let data = json!({"kubeconfig": content});
        let data = data.as_object().unwrap();
        let data = signed(data, [&token].into_iter(), now()).unwrap();
        let expected = format!("eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..{mac}");
        assert_eq!(data["jws-kubeconfig-joshua"], expected, "{case}");
    }
    let keyless = jws::detached("joshua", b"", hello.as_bytes());
    let mac = "..UfkqvDGiIFxrMnFseDj9LYJOLNrvjW8aHhF71mvvAs8";
    assert!(keyless.ends_with(mac), "105");
}

/// The end of a token ends its signature, by the server's clock, without an event.
#[test]
fn a_signature_ends_with_its_token() {
    let (key, end) = expiring(SECOND * 50);
    let mut bench = signer(&[(key, &end)]);
    bench.moment.offset = Some(SECOND * 20);
    let mut stored = bench.call().unwrap().body.unwrap();
    stored["metadata"]["resourceVersion"] = "4".into();
    // Decided on from the answer, before the watch brings it.
    bench.answer(&Ok(Bytes::from(stored.to_string())));
    assert_eq!(bench.waits(), Some(Duration::from_secs(30)));
    assert_eq!(bench.told, [Kept::ClusterInfoSigned { signatures: 1 }]);
    bench.pass(SECOND * 30);
    let body = bench.call().unwrap().body.unwrap();
    assert_eq!(body["data"], json!({"kubeconfig": KUBECONFIG}));
    assert_eq!(body["metadata"]["resourceVersion"], "4");
}

/// Upstream waits for the next event; a conflict is no news.
#[test]
fn a_write_that_fails_is_tried_again() {
    for (code, told) in [(500, 1), (403, 1), (404, 0), (409, 0)] {
        let mut bench = signer(&[]);
        assert_eq!(bench.line(), PUT);
        bench.answer(&refused(code, None));
        assert_eq!(bench.waits(), Some(Duration::from_millis(5)), "{code}");
        assert_eq!(bench.told.len(), told, "{code}");
        bench.pass(SECOND);
        assert_eq!(bench.line(), PUT, "{code}");
    }
}
