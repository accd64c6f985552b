use super::access::{Access, Identity, Presentable};
use super::*;
use crate::clock::{OffsetClock, SystemClock};
use crate::kubeconfig::{Cluster, Source, Trust};
use crate::secret::Secret;
use crate::testing::{self, Answerer, Ca, Server, failure, hours, in_turn, now};
use everleaf_pki::{Credential, Template, Usage};
use http::StatusCode;
use jiff::SignedDuration;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use serde_json::json;
use std::sync::Arc;

fn ok() -> Answerer {
    Arc::new(|_| testing::json(StatusCode::OK, &json!({"kind": "Thing"})))
}

async fn serve(ca: &Ca, answerer: Answerer) -> Server {
    let credential = ca.server(now() - hours(1), now() + hours(1));
    Server::start(&credential, answerer).await
}

fn client() -> ApiClient {
    ApiClient::new(Arc::new(SystemClock::new()))
}

fn access(cluster: Cluster, identity: Identity) -> Access {
    Access::new(Arc::new(cluster), identity)
}

fn presenting(credential: &Credential) -> Identity {
    Identity::Certificate(Presentable::new(credential).unwrap())
}

fn serials(server: &Server) -> Vec<(usize, Option<String>)> {
    let serial = |seen: testing::Seen| {
        let serial = seen.leaf.map(|leaf| leaf.serial().to_string());
        (seen.connection, serial)
    };
    server.requests().into_iter().map(serial).collect()
}

/// Upstream case 92: after the swap a new connection presents the second certificate.
#[tokio::test]
async fn a_swapped_certificate_means_a_new_connection() {
    let ca = Ca::new("ca");
    let server = serve(&ca, ok()).await;
    let client = client();
    let (first, second) = (ca.node("n1", 1), ca.node("n1", 1));
    let old = access(server.cluster(&ca), presenting(&first));
    let new = old.with_identity(presenting(&second));
    for _ in 0..2 {
        client.get(&old, "/x").await.unwrap();
    }
    assert_eq!(client.close_others(&new), 1);
    client.get(&new, "/x").await.unwrap();
    let serial = |credential: &Credential| Some(credential.leaf().serial().to_string());
    assert_eq!(
        serials(&server),
        [
            (0, serial(&first)),
            (0, serial(&first)),
            (1, serial(&second))
        ]
    );
    assert_eq!(client.close_others(&new), 0, "the new one stays open");
}

#[tokio::test]
async fn identities_never_share_a_connection() {
    let ca = Ca::new("ca");
    let server = serve(&ca, ok()).await;
    let client = client();
    let cluster = server.cluster(&ca);
    let token = |text: &str| Identity::Token(Secret::new(text.to_owned()));
    for identity in [
        Identity::Anonymous,
        token("a"),
        token("b"),
        presenting(&ca.node("n1", 1)),
        token("a"),
    ] {
        let access = access(cluster.clone(), identity);
        client.get(&access, "/x").await.unwrap();
    }
    let seen: Vec<_> = server
        .requests()
        .into_iter()
        .map(|seen| (seen.connection, seen.token, seen.leaf.is_some()))
        .collect();
    let token = |text: &str| Some(text.to_owned());
    assert_eq!(
        seen,
        [
            (0, None, false),
            (1, token("a"), false),
            (2, token("b"), false),
            (3, None, true),
            (1, token("a"), false),
        ]
    );
}

#[tokio::test]
async fn a_fresh_client_opens_a_new_connection() {
    let ca = Ca::new("ca");
    let server = serve(&ca, ok()).await;
    let client = client();
    let access = access(server.cluster(&ca), Identity::Anonymous);
    client.get(&access, "/x").await.unwrap();
    client.fresh().get(&access, "/x").await.unwrap();
    let connections: Vec<_> = server.requests().iter().map(|s| s.connection).collect();
    assert_eq!(connections, [0, 1]);
}

#[tokio::test]
async fn objects_go_out_with_their_content_type_and_come_back() {
    let ca = Ca::new("ca");
    let server = serve(&ca, ok()).await;
    let mut cluster = server.cluster(&ca);
    let url = format!("https://{}/prefix/", server.address);
    cluster.server = crate::kubeconfig::ServerUrl::parse(&url).unwrap();
    let access = access(cluster, Identity::Anonymous);
    let client = client();
    let answer = client
        .create(&access, "/a", &json!({"x": 1}))
        .await
        .unwrap();
    assert_eq!(answer.object, json!({"kind": "Thing"}));
    let date = answer.server_time.expect("hyper sends a Date");
    assert!(now().duration_since(date).abs() < SignedDuration::from_mins(1));
    client.get(&access, "/b?c=d").await.unwrap();
    let seen: Vec<_> = server
        .requests()
        .into_iter()
        .map(|seen| format!("{} {} {}", seen.method, seen.path, seen.body))
        .collect();
    assert_eq!(seen, [r#"POST /prefix/a {"x":1}"#, "GET /prefix/b?c=d "]);
}

async fn failure_of(answer: fn() -> Response<testing::Body>) -> Failure {
    let ca = Ca::new("ca");
    let server = serve(&ca, in_turn([answer])).await;
    let access = access(server.cluster(&ca), Identity::Anonymous);
    client().get(&access, "/x").await.unwrap_err()
}

#[tokio::test]
async fn an_answer_that_is_no_api_answer_is_told_apart() {
    let html = || {
        let mut response = testing::json(StatusCode::OK, &json!({}));
        *response.body_mut() = Full::from("<html>").boxed_unsync();
        response
    };
    assert_eq!(failure_of(html).await.class, FailureClass::NotAnApi);
    let unauthorized = || failure(401, "Unauthorized", "Unauthorized");
    let answer = failure_of(unauthorized).await;
    assert_eq!(answer.class, FailureClass::Unauthorized);
    assert!(answer.server_time.is_some());
    let huge = || {
        let text = format!("\"{}\"", "x".repeat(ANSWER_BYTES_MAX));
        let mut response = testing::json(StatusCode::OK, &json!({}));
        *response.body_mut() = Full::from(text).boxed_unsync();
        response
    };
    assert_eq!(failure_of(huge).await.class, FailureClass::Unreachable);
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let ca = Ca::new("ca");
    let server = serve(&ca, ok()).await;
    let cluster = server.cluster(&ca);
    let address = server.address;
    drop(server);
    // The listener is closed once its task has ended.
    tokio::task::yield_now().await;
    let access = access(cluster, Identity::Anonymous);
    let failure = client().get(&access, "/x").await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unreachable);
    assert!(failure.message.contains(&address.to_string()), "{failure}");
}

#[tokio::test]
async fn a_server_of_another_ca_or_name_is_not_spoken_to() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let server = serve(&ca, ok()).await;
    let stranger = access(server.cluster(&other), Identity::Anonymous);
    let failure = client().get(&stranger, "/x").await.unwrap_err();
    assert!(
        failure.message.contains("certificate-authority"),
        "{failure}"
    );
    let mut cluster = server.cluster(&ca);
    cluster.tls_server_name = Some("else.example".to_owned());
    let failure = client()
        .get(&access(cluster.clone(), Identity::Anonymous), "/x")
        .await
        .unwrap_err();
    assert!(
        failure
            .message
            .contains("is not for \"else.example\", but for localhost"),
        "{failure}"
    );
    cluster.tls_server_name = Some("localhost".to_owned());
    let named = access(cluster, Identity::Anonymous);
    client().get(&named, "/x").await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn insecure_skips_the_authority_but_not_the_key() {
    let ca = Ca::new("ca");
    let server = serve(&ca, ok()).await;
    let mut cluster = server.cluster(&ca);
    cluster.trust = Trust::DangerouslyAnybody;
    cluster.tls_server_name = Some("else.example".to_owned());
    let genuine = access(cluster.clone(), Identity::Anonymous);
    client().get(&genuine, "/x").await.unwrap();
    // Somebody who shows such a certificate, and holds another key.
    let certificate = || ca.server(now() - hours(1), now() + hours(1));
    let (shown, held) = (certificate(), certificate());
    let presentable = |credential| Presentable::new(credential).unwrap().certified_key();
    let chain = presentable(&shown).cert.clone();
    let forged = CertifiedKey::new(chain, Arc::clone(&presentable(&held).key));
    let mut config = testing::server_config(&shown);
    config.cert_resolver = Arc::new(SingleCertAndKey::from(forged));
    let server = Server::start_with(config, ok()).await;
    cluster.server = server.cluster(&ca).server;
    let forged = access(cluster, Identity::Anonymous);
    let failure = client().get(&forged, "/x").await.unwrap_err();
    assert!(failure.message.contains("signature"), "{failure}");
}

/// The agent's own clock judges the server's certificate; both dates are named, nothing is skipped.
#[tokio::test]
async fn a_server_certificate_out_of_date_names_both_dates() {
    let ca = Ca::new("ca");
    let (begin, end) = (now() - hours(1), now() + hours(1));
    let credential = ca.server(begin, end);
    let server = Server::start(&credential, ok()).await;
    let access = access(server.cluster(&ca), Identity::Anonymous);
    let clock = Arc::new(OffsetClock::new(Arc::new(SystemClock::new())));
    let client = ApiClient::new(Arc::clone(&clock) as Arc<dyn Clock>);
    for (offset, date) in [
        (48, credential.leaf().not_after()),
        (-48, credential.leaf().not_before()),
    ] {
        clock.set_offset(hours(offset));
        let failure = client.get(&access, "/x").await.unwrap_err();
        assert_eq!(failure.class, FailureClass::ServerCertificateDates);
        let message = failure.message;
        assert!(
            message.contains(&date.to_string()),
            "{message} lacks {date}"
        );
        let day = clock.wall().to_string();
        assert!(message.contains(&day[..10]), "{message} lacks {day}");
    }
    clock.set_offset(SignedDuration::ZERO);
    client.get(&access, "/x").await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_replaced_ca_file_needs_no_restart() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let server = serve(&ca, ok()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.crt");
    let mut cluster = server.cluster(&ca);
    cluster.trust = Trust::Bundle(Source::File(file.clone()));
    let access = access(cluster, Identity::Anonymous);
    let client = client();
    let missing = client.get(&access, "/x").await.unwrap_err();
    let expected = format!(
        "cannot read certificate-authority: {}: No such file",
        file.display()
    );
    assert!(missing.message.contains(&expected), "{missing}");
    std::fs::write(&file, "no certificate").unwrap();
    let empty = client.get(&access, "/x").await.unwrap_err();
    assert!(empty.message.contains("no certificate"), "{empty}");
    std::fs::write(&file, other.issuer.certificate_pem()).unwrap();
    client.get(&access, "/x").await.unwrap_err();
    std::fs::write(&file, ca.issuer.certificate_pem()).unwrap();
    client.get(&access, "/x").await.unwrap();
    // While it is being replaced, what it held before counts.
    client.transport.close_idle();
    std::fs::write(&file, "").unwrap();
    client.get(&access, "/x").await.unwrap();
    assert_eq!(server.requests().last().unwrap().connection, 2);
}

#[tokio::test]
async fn a_connection_that_died_idle_is_replaced() {
    let ca = Ca::new("ca");
    let closing = || {
        let mut response = testing::json(StatusCode::OK, &json!({}));
        response
            .headers_mut()
            .insert("connection", "close".parse().unwrap());
        response
    };
    let credential = ca.server(now() - hours(1), now() + hours(1));
    let answerer = in_turn([closing as fn() -> _]);
    let server = Server::start_speaking(&["http/1.1"], &credential, answerer).await;
    let access = access(server.cluster(&ca), Identity::Anonymous);
    let client = client();
    for _ in 0..3 {
        client.get(&access, "/x").await.unwrap();
    }
    let connections: Vec<_> = server.requests().iter().map(|s| s.connection).collect();
    assert_eq!(connections, [0, 1, 2]);
}

/// A certificate goes before a token, and a token before nothing; what cannot be read is said.
#[test]
fn an_identity_is_what_the_user_stanza_holds() {
    use crate::kubeconfig::{ClientCertificate, Token, User};
    let ca = Ca::new("ca");
    let inline = |text: &str| Source::Inline(Secret::new(text.to_owned()));
    let pem = inline(&ca.node("n1", 1).to_pem());
    let pair = |certificate: &Source, key: &Source| {
        Some(ClientCertificate {
            certificate: certificate.clone(),
            key: key.clone(),
        })
    };
    let other = inline(&ca.node("n1", 1).to_pem());
    let missing = Source::File("/nonexistent/x.pem".into());
    let token = Some(Token::Inline(Secret::new("t".to_owned())));
    for (client_certificate, token, expected) in [
        (pair(&pem, &pem), token.clone(), "certificate"),
        (pair(&pem, &pem), None, "certificate"),
        (pair(&missing, &missing), token.clone(), "token"),
        (None, token, "token"),
        (None, None, "anonymous"),
        (
            pair(&missing, &pem),
            None,
            "cannot read the client certificate",
        ),
        (pair(&pem, &missing), None, "cannot read the client key"),
        (pair(&pem, &other), None, "client certificate and key"),
        (pair(&inline("x"), &pem), None, "client certificate:"),
        (pair(&pem, &inline("x")), None, "client key:"),
    ] {
        let user = User {
            token,
            client_certificate,
            ..User::default()
        };
        let found = match Identity::from_user(&user) {
            Ok(Identity::Certificate(_)) => "certificate".to_owned(),
            Ok(Identity::Token(_)) => "token".to_owned(),
            Ok(Identity::Basic(_)) => "basic".to_owned(),
            Ok(Identity::Exec(_)) => "exec".to_owned(),
            Ok(Identity::Anonymous) => "anonymous".to_owned(),
            Err(error) => error,
        };
        assert!(found.starts_with(expected), "{found:?} is not {expected:?}");
    }
}

#[test]
fn a_key_of_any_kind_can_be_presented() {
    let ca = Ca::new("ca");
    let template = Template::default();
    let credential = ca.credential(
        &template,
        Usage::ClientAuth,
        now() - hours(1),
        now() + hours(1),
    );
    let presentable = Presentable::new(&credential).unwrap();
    assert_eq!(presentable.fingerprint(), credential.leaf().fingerprint());
    let debug = format!("{presentable:?}");
    assert!(debug.starts_with("Presentable(Fingerprint("), "{debug}");
}

/// What died while nobody used it, or swallows what it is given, costs the requests on it, and no
/// others.
mod swallowed {
    use super::*;
    use crate::testing::way::{Forwarder, hurried};

    async fn through_forwarder(
        protocols: &[&str],
        ca: &Ca,
        answerer: Answerer,
    ) -> (Server, Forwarder, Access) {
        let credential = ca.server(now() - hours(1), now() + hours(1));
        let server = Server::start_speaking(protocols, &credential, answerer).await;
        let forwarder = Forwarder::start(server.address).await;
        let mut cluster = server.cluster(ca);
        cluster.server =
            crate::kubeconfig::ServerUrl::parse(&format!("https://{}", forwarder.address)).unwrap();
        (server, forwarder, access(cluster, Identity::Anonymous))
    }

    #[tokio::test]
    async fn a_request_fails_within_its_time_and_the_next_one_goes_another_way() {
        for protocols in [&["h2"][..], &["http/1.1"]] {
            let ca = Ca::new("ca");
            let (server, forwarder, access) = through_forwarder(protocols, &ca, ok()).await;
            let client = client();
            client.get(&access, "/x").await.unwrap();
            forwarder.swallow();
            let (answer, took) = hurried(client.get(&access, "/x")).await;
            let failure = answer.unwrap_err();
            assert!(
                failure.message.contains("no answer within 30 s"),
                "{failure}"
            );
            assert!(took <= Duration::from_secs(31), "{protocols:?}: {took:?}");
            client.get(&access, "/x").await.unwrap();
            let connections: Vec<_> = server.requests().iter().map(|s| s.connection).collect();
            assert_eq!(connections, [0, 1], "{protocols:?}");
        }
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_leaves_no_dead_connection_to_others() {
        let ca = Ca::new("ca");
        let (server, forwarder, access) = through_forwarder(&["h2"], &ca, ok()).await;
        let client = client();
        client.get(&access, "/x").await.unwrap();
        forwarder.swallow();
        let given_up = tokio::time::timeout(Duration::from_millis(1), client.get(&access, "/x"));
        given_up.await.unwrap_err();
        client.get(&access, "/x").await.unwrap();
        assert_eq!(server.requests().last().unwrap().connection, 1);
    }
}

/// Over HTTP/2 requests share a connection, and ending one ends no other.
#[tokio::test]
async fn requests_of_one_identity_share_a_connection() {
    let (api, server) = testing::api::Api::start().await;
    let token = Identity::Token(Secret::new("token".to_owned()));
    let access = access(server.cluster(&api.ca), token);
    let client = client();
    let csrs = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let path = format!("{csrs}?watch=true&resourceVersion=1&timeoutSeconds=300");
    let first = client.watch(&access, &path).await.unwrap();
    let second = client.watch(&access, &path).await.unwrap();
    client.get(&access, csrs).await.unwrap();
    drop(first);
    client.get(&access, csrs).await.unwrap();
    drop(second);
    let seen = server.requests();
    assert!(seen.iter().all(|seen| seen.connection == 0), "{seen:?}");
    // A server that is asked for long watches over HTTP/2 is left with them.
    assert!(seen[0].path.contains("timeoutSeconds=300"), "{seen:?}");
}

/// `kubectl proxy` and its kin: no TLS, and so no credential.
#[tokio::test]
async fn a_plain_server_gets_no_credential() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prefix", listener.local_addr().unwrap());
    let cluster = Cluster {
        server: crate::kubeconfig::ServerUrl::parse(&url).unwrap(),
        trust: Trust::System,
        tls_server_name: None,
        proxy: None,
    };
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(answer).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    let nobody = access(cluster, Identity::Anonymous);
    let token = Identity::Token(Secret::new("s3cr3t".to_owned()));
    let failure = client()
        .get(&nobody.with_identity(token), "/x")
        .await
        .unwrap_err();
    assert!(
        failure.message.contains("only sent over https"),
        "{failure}"
    );
    client().get(&nobody, "/x").await.unwrap();
    let head = serving.await.unwrap();
    assert!(head.starts_with("GET /prefix/x HTTP/1.1"), "{head}");
}
