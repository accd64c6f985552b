//! The life of connections: swaps, streams, limits, the end.

use super::super::{
    HANDSHAKE_TIMEOUT, HANDSHAKE_TURN, HANDSHAKES_MAX, HEAD_TIMEOUT, REQUEST_TIMEOUT, TlsError, run,
};
use super::fixture::{ENDS, NOW, TestServer, credential, read, time, whoami_request};
use crate::handler::{Chance, Server};
use crate::store::Memory;
use crate::user::User;
use bytes::Bytes;
use everleaf_pki::Usage;
use everleaf_time::WallClock;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tower::ServiceExt as _;

#[tokio::test(start_paused = true)]
async fn the_serving_certificate_is_swapped_under_way() {
    let fixture = TestServer::new();
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let seen = async |config: &Arc<ClientConfig>| {
        let stream = fixture.connect(config).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let before = seen(&config).await;
    assert!(
        fixture
            .certificate
            .replace(b"nonsense", b"nonsense")
            .is_err()
    );
    assert_eq!(seen(&config).await, before);
    let next = credential(&fixture.serving_ca, "next", Usage::ServerAuth, ENDS);
    let other = credential(&fixture.serving_ca, "other", Usage::ServerAuth, ENDS);
    let mismatch = fixture.certificate.replace(
        next.chain().to_pem().as_bytes(),
        other.key().to_pem().as_bytes(),
    );
    assert!(
        matches!(mismatch, Err(TlsError::Mismatch { .. })),
        "{mismatch:?}"
    );
    let pem = next.to_pem();
    fixture
        .certificate
        .replace(pem.as_bytes(), pem.as_bytes())
        .unwrap();
    // A client without a ticket of the old one.
    let fresh = Arc::new(fixture.client(None, "http/1.1"));
    assert_eq!(seen(&fresh).await, next.leaf().der());
}

#[tokio::test(start_paused = true)]
async fn a_watch_streams_and_ends_with_the_server() {
    let fixture = TestServer::new();
    let config = Arc::new(fixture.client(None, "h2"));
    let stream = fixture.connect(&config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = |method: &str, path: &str, body: String| {
        Request::builder()
            .method(method)
            .uri(format!("https://everleaf.test{path}"))
            .header("Authorization", "Bearer t")
            .body(Full::<Bytes>::from(body))
            .unwrap()
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    let watch = request("GET", &format!("{maps}?watch=true"), String::new());
    let mut events = sender.send_request(watch).await.unwrap().into_body();
    let body = json!({"metadata": {"name": "a"}}).to_string();
    let created = sender
        .send_request(request("POST", maps, body))
        .await
        .unwrap();
    assert_eq!(read(created).await.0, 201);
    let frame = events.frame().await.unwrap().unwrap().into_data().unwrap();
    let event: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(event["object"]["metadata"]["name"], "a");

    fixture.server.stop();
    let rest = events.collect().await.expect("the stream ends cleanly");
    assert_eq!(rest.to_bytes(), "");
    fixture.stop.finish().await;
    connection.await.unwrap().unwrap();
}

/// A request of the administrator.
fn of_admin(method: &str, path: &str, body: String) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("https://everleaf.test{path}"))
        .header("Authorization", "Bearer t")
        .body(Full::from(body))
        .unwrap()
}

/// A connection over HTTP/2, and its end.
async fn http2(
    fixture: &TestServer,
) -> (
    hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    tokio::task::JoinHandle<hyper::Result<()>>,
) {
    let config = Arc::new(fixture.client(None, "h2"));
    let stream = fixture.connect(&config).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    (sender, tokio::spawn(connection))
}

/// Asks until the client has been told to ask for nothing more on this connection.
async fn until_sent_away(sender: &mut hyper::client::conn::http2::SendRequest<Full<Bytes>>) {
    for _ in 0..100 {
        let list = of_admin("GET", CONFIG_MAPS, String::new());
        if sender.ready().await.is_err() || sender.send_request(list).await.is_err() {
            return;
        }
    }
    panic!("nobody sent it away");
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Whoever is sent away takes what is under way to its end, and asks for nothing more on this
/// connection.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_sent_away_loses_nothing() {
    // Every draw is zero, but for one bit that keeps names apart: it strikes.
    let mut drawn = 0_u8;
    let fixture = TestServer::with(|config| {
        config.limits.goaway = Chance::new(0.02).unwrap();
        config.random = Box::new(move |bytes| {
            drawn = drawn.wrapping_add(1);
            bytes.fill(0);
            bytes[0] = drawn;
        });
    });
    let (mut sender, connection) = http2(&fixture).await;
    let watch = of_admin("GET", &format!("{CONFIG_MAPS}?watch=true"), String::new());
    let mut events = sender.send_request(watch).await.unwrap().into_body();
    until_sent_away(&mut sender).await;

    // Another connection is served, once.
    let (mut other, gone) = http2(&fixture).await;
    let body = json!({"metadata": {"name": "a"}}).to_string();
    let created = other
        .send_request(of_admin("POST", CONFIG_MAPS, body))
        .await;
    assert_eq!(read(created.unwrap()).await.0, 201);
    gone.await.unwrap().expect("it ends cleanly");
    let frame = events.frame().await.unwrap().unwrap().into_data().unwrap();
    let event: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(event["object"]["metadata"]["name"], "a");
    fixture.server.stop();
    events.collect().await.expect("the stream ends cleanly");
    connection.await.unwrap().expect("so does the connection");
}

/// HTTP/1.1 has no such word, and whoever the draw spares stays.
#[tokio::test(start_paused = true)]
async fn others_are_not_sent_away() {
    let fixture = TestServer::with(|config| {
        config.limits.goaway = Chance::new(0.02).unwrap();
        config.random = Box::new(|bytes| bytes.fill(0));
    });
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let stream = fixture.connect(&config).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        sender.ready().await.unwrap();
        let list = Request::get(CONFIG_MAPS)
            .header("Host", "everleaf.test")
            .header("Authorization", "Bearer t")
            .body(Full::<Bytes>::default())
            .unwrap();
        let answer = sender.send_request(list).await.unwrap();
        assert_eq!(answer.headers().get("connection"), None);
        assert_eq!(read(answer).await.0, 200);
    }
    // Each byte a seven is more than a fiftieth of all.
    let fixture = TestServer::with(|config| config.limits.goaway = Chance::new(0.02).unwrap());
    let (mut sender, _connection) = http2(&fixture).await;
    for _ in 0..3 {
        sender.ready().await.unwrap();
        let list = of_admin("GET", CONFIG_MAPS, String::new());
        assert_eq!(read(sender.send_request(list).await.unwrap()).await.0, 200);
    }
}

/// A stop says so before it ends the watches: their clients connect to another server by then.
#[tokio::test(start_paused = true)]
async fn a_stop_sends_clients_away_and_then_ends_their_watches() {
    let fixture = TestServer::new();
    let (mut sender, connection) = http2(&fixture).await;
    let watch = of_admin("GET", &format!("{CONFIG_MAPS}?watch=true"), String::new());
    let events = sender.send_request(watch).await.unwrap().into_body();
    sender.ready().await.expect("it still takes requests");
    let finish = fixture.stop.finish();
    tokio::pin!(finish);
    tokio::select! {
        () = &mut finish => panic!("a watch is open"),
        away = sender.ready() => assert!(away.is_ok()),
    }
    tokio::select! {
        () = &mut finish => panic!("a watch is open"),
        () = until_sent_away(&mut sender) => {}
    }
    fixture.server.stop();
    let rest = events.collect().await.expect("the stream ends cleanly");
    assert_eq!(rest.to_bytes(), "");
    finish.await;
    connection.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_at_its_timeout() {
    let fixture = TestServer::new();
    let began = Instant::now();
    let stream = fixture
        .connect(&Arc::new(fixture.client(None, "http/1.1")))
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let watch = Request::get("/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=500")
        .header("Host", "everleaf.test")
        .header("Authorization", "Bearer t")
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = sender.send_request(watch).await.unwrap();
    assert_eq!(read(response).await.0, 200);
    assert_eq!(
        began.elapsed().as_secs(),
        500,
        "longer than a request may take"
    );
}

/// Whoever says hello and then nothing costs others a moment, not their handshake.
#[tokio::test(start_paused = true)]
async fn those_who_stall_in_the_handshake_do_not_keep_others_out() {
    let fixture = TestServer::new();
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let name = ServerName::try_from("everleaf.test").unwrap();
    let mut hello = Vec::new();
    rustls::ClientConnection::new(Arc::clone(&config), name)
        .unwrap()
        .write_tls(&mut hello)
        .unwrap();
    let mut stalled = Vec::new();
    for _ in 0..HANDSHAKES_MAX {
        let mut stream = fixture.accept();
        stream.write_all(&hello).await.unwrap();
        stalled.push(stream);
    }
    let began = Instant::now();
    fixture.connect(&config).await.unwrap();
    assert!(began.elapsed() <= HANDSHAKE_TURN, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_dawdles_is_let_go() {
    let fixture = TestServer::new();
    // Says nothing at all.
    let began = Instant::now();
    let mut silent = fixture.accept();
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.unwrap();
    assert_eq!(began.elapsed(), HANDSHAKE_TIMEOUT);

    // Finishes the handshake, then never a request.
    let began = Instant::now();
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let mut idle = fixture.connect(&config).await.unwrap();
    let _ = idle.read_to_end(&mut rest).await;
    assert_eq!(began.elapsed(), HEAD_TIMEOUT);

    // Promises a body and does not send it.
    let began = Instant::now();
    let mut slow = fixture.connect(&config).await.unwrap();
    let head = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: e\r\n\
                Authorization: Bearer t\r\nContent-Length: 10\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 504");
    assert_eq!(began.elapsed(), REQUEST_TIMEOUT);

    // It counts, with the time that it took.
    let metrics = fixture.server.metrics_text();
    let line = |name: &str, labels: &[&str]| {
        let has =
            |line: &&str| line.starts_with(name) && labels.iter().all(|one| line.contains(one));
        metrics.lines().find(has).map(str::to_owned)
    };
    let what = ["resource=\"configmaps\"", "verb=\"POST\""];
    for name in [
        "apiserver_request_total{",
        "apiserver_request_terminations_total{",
    ] {
        let line = line(name, &[&what[..], &["code=\"504\""]].concat()).expect(name);
        assert!(line.ends_with(" 1"), "{line}");
    }
    let sum = line("apiserver_request_duration_seconds_sum{", &what).expect("a duration");
    assert!(
        sum.ends_with(&format!(" {}", REQUEST_TIMEOUT.as_secs())),
        "{sum}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_announced_too_long_is_refused_unread() {
    let fixture = TestServer::new();
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let mut stream = fixture.connect(&config).await.unwrap();
    let head = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: e\r\n\
                Authorization: Bearer t\r\nContent-Length: 4000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test(start_paused = true)]
async fn callers_in_this_process_need_no_socket_and_get_no_shortcut() {
    let fixture = TestServer::new();
    let service = |name: &str| {
        let identity = User {
            name: name.to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            ..User::default()
        };
        fixture.server.in_process(identity, Arc::new(|| time(NOW)))
    };
    let controller = service("system:serviceaccount:kube-system:certificate-controller");
    let response = controller.clone().oneshot(whoami_request()).await.unwrap();
    assert_eq!(response.status(), 201);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let user = &body["status"]["userInfo"]["username"];
    assert_eq!(
        *user,
        "system:serviceaccount:kube-system:certificate-controller"
    );

    let get = |path: &str| Request::get(path).body(Full::<Bytes>::default()).unwrap();
    let allowed = get("/apis/certificates.k8s.io/v1/certificatesigningrequests");
    assert_eq!(
        controller.clone().oneshot(allowed).await.unwrap().status(),
        200
    );
    let refused = controller.oneshot(get("/api/v1/secrets")).await.unwrap();
    assert_eq!(refused.status(), 403);
    let stranger = service("nobody in particular")
        .oneshot(get("/api/v1/secrets"))
        .await;
    assert_eq!(stranger.unwrap().status(), 403);
}

#[tokio::test(start_paused = true)]
async fn a_defect_costs_one_request_and_not_the_server() {
    let fixture = TestServer::new();
    // The random source is where a test can make a request panic.
    let mut config = TestServer::config(&fixture.client_ca);
    let mut uids = 0;
    config.random = Box::new(move |bytes| {
        uids += 1;
        assert!(uids != 40, "the fortieth draw is the defect");
        bytes.fill(uids);
    });
    let server = Arc::new(Server::new(config, Box::new(Memory::new())).unwrap());
    let identity = User {
        name: "admin".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..User::default()
    };
    let service = server.in_process(identity, Arc::new(|| time(NOW)));
    let mut codes = Vec::new();
    for index in 0..42 {
        let body = json!({"metadata": {"name": format!("r{index}")}, "rules": []});
        let request = Request::post("/apis/rbac.authorization.k8s.io/v1/clusterroles")
            .body(Full::<Bytes>::from(body.to_string()))
            .unwrap();
        codes.push(
            service
                .clone()
                .oneshot(request)
                .await
                .unwrap()
                .status()
                .as_u16(),
        );
    }
    let expected: Vec<u16> = (0..42)
        .map(|index| if index == 39 { 500 } else { 201 })
        .collect();
    assert_eq!(codes, expected);
}

#[tokio::test]
async fn the_listener_serves_and_stops() {
    let fixture = TestServer::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let clock: WallClock = Arc::new(|| time(NOW));
    let certificate = Arc::clone(&fixture.certificate);
    let running = tokio::spawn(run(
        listener,
        Arc::clone(&fixture.server),
        certificate,
        clock,
        async {
            let _ = stopped.await;
        },
    ));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("everleaf.test").unwrap();
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("/readyz")
        .header("Host", "everleaf.test")
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
