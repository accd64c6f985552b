//! Whom a machine that joins believes.

use super::*;
use crate::clock::SystemClock;
use crate::testing::{self, Answerer, Ca, Seen, Server};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use everleaf_pki::jws;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::json;

const TOKEN: &str = "abcdef.0123456789abcdef";

fn token() -> BootstrapToken {
    BootstrapToken::parse(TOKEN).unwrap()
}

fn cluster_info(authorities: &[&Ca], secret: &str) -> Value {
    let pem: String = authorities
        .iter()
        .map(|ca| ca.issuer.certificate_pem())
        .collect();
    let data = BASE64_STANDARD.encode(pem);
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: \"\"\n  cluster:\n    server: https://a.example:6443\n    \
         certificate-authority-data: {data}\ncontexts: null\ncurrent-context: \"\"\nusers: null\n"
    );
    let signature = jws::detached("abcdef", secret.as_bytes(), text.as_bytes());
    json!({"data": {"kubeconfig": text, "jws-kubeconfig-abcdef": signature}})
}

fn answerer(code: StatusCode, body: Value) -> Answerer {
    Arc::new(move |_: &Seen| {
        let body = Full::new(Bytes::from(body.to_string()));
        let mut response = Response::new(body.boxed_unsync());
        *response.status_mut() = code;
        response
    })
}

/// What comes of joining the server that has a certificate of `server` and says `info`.
async fn joining(
    server: &Ca,
    (code, info): (StatusCode, Value),
    pins: &[&Ca],
) -> (Result<Announced, DiscoveryError>, Vec<Seen>) {
    let hour = testing::hours(1);
    let credential = server.server(testing::now() - hour, testing::now() + hour);
    let server = Server::start(&credential, answerer(code, info)).await;
    let url = format!("https://127.0.0.1:{}", server.address.port());
    let pins = pins.iter().map(|ca| CaPin::of(ca.issuer.certificate()));
    let invitation = Invitation {
        server: ServerUrl::parse(&url).unwrap(),
        token: token(),
        pins: pins.collect(),
    };
    let client = ApiClient::new(Arc::new(SystemClock::new()));
    let joined = invitation.discover(&client, Duration::ZERO, |_| {}).await;
    let seen = server.seen.lock().unwrap().clone();
    (joined, seen)
}

const SECRET: &str = "0123456789abcdef";

#[tokio::test]
async fn a_pinned_and_signed_authority_that_the_server_proves_is_believed() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    // Others in the bundle, as while an authority is rolled, are believed along with it.
    for authorities in [&[&ca][..], &[&other, &ca]] {
        let info = cluster_info(authorities, SECRET);
        let (joined, seen) = joining(&ca, (StatusCode::OK, info), &[&ca]).await;
        let joined = joined.unwrap();
        assert_eq!(joined.server, "https://a.example:6443");
        assert_eq!(joined.pins().len(), authorities.len());
        assert_eq!(seen.len(), 2, "asked twice, the second time proven");
        for seen in seen {
            assert_eq!(seen.token, None, "the token is sent to nobody");
        }
    }
}

#[tokio::test]
async fn whoever_lacks_one_of_the_three_is_not() {
    let (ca, rogue) = (Ca::new("ca"), Ca::new("ca"));
    let ok = StatusCode::OK;
    // Another authority.
    let info = cluster_info(&[&rogue], SECRET);
    let (joined, _) = joining(&rogue, (ok, info), &[&ca]).await;
    let found = CaPin::of(rogue.issuer.certificate()).to_string();
    assert_eq!(
        joined.unwrap_err(),
        DiscoveryError::OtherAuthority { found }
    );
    // Somebody without the token's secret.
    let info = cluster_info(&[&ca], "another0another0");
    let (joined, _) = joining(&ca, (ok, info), &[&ca]).await;
    assert_eq!(
        joined.unwrap_err(),
        DiscoveryError::WrongSignature("abcdef".to_owned())
    );
    // Somebody with it, and the right certificate beside his own, whose key he lacks.
    let info = cluster_info(&[&rogue, &ca], SECRET);
    let (joined, _) = joining(&rogue, (ok, info), &[&ca]).await;
    let error = joined.unwrap_err();
    assert!(matches!(error, DiscoveryError::NotProven(_)), "{error}");
    assert!(!error.may_pass());
}

#[tokio::test]
async fn what_is_not_there_yet_may_come() {
    let ca = Ca::new("ca");
    let mut unsigned = cluster_info(&[&ca], SECRET);
    unsigned["data"]
        .as_object_mut()
        .unwrap()
        .remove("jws-kubeconfig-abcdef");
    let status = |code: u16, reason: &str| json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "told"});
    for (code, body, expected, passes) in [
        (200, unsigned, "not signed for the token abcdef", true),
        (404, status(404, "NotFound"), "has no ConfigMap", true),
        (403, status(403, "Forbidden"), "--anonymous-auth", false),
        (401, status(401, "Unauthorized"), "--anonymous-auth", false),
        (200, json!({"data": {}}), "has no kubeconfig", false),
    ] {
        let code = StatusCode::from_u16(code).unwrap();
        let (joined, _) = joining(&ca, (code, body), &[&ca]).await;
        let error = joined.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.may_pass(), passes, "{error}");
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
}

#[test]
fn a_hash_is_kubeadms() {
    for text in [
        "",
        "sha256:",
        "sha1:0a",
        "0a",
        "sha256:0",
        &format!("sha256:{}", "0g".repeat(32)),
        &format!("sha256:{}", "0a".repeat(33)),
    ] {
        assert!(CaPin::parse(text).is_err(), "{text}");
    }
    let upper = format!("sha256:{}", "0A".repeat(32));
    assert_eq!(
        CaPin::parse(&upper).unwrap().to_string(),
        upper.to_lowercase().replace("SHA", "sha")
    );
}
