//! What is served beside the API: which paths, to whom, by either protocol; and the door for those
//! who ask on behalf of somebody.

use super::super::{Beside, Page, PageBody, Pages, Shared};
use super::fixture::{ENDS, NOW, TestServer, credential, read, time};
use crate::authn::Peer;
use crate::handler::Credential;
use bytes::Bytes;
use everleaf_pki::Usage;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::Service as _;

/// Tells whom it has seen.
struct Mirror;

impl Pages for Mirror {
    fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Page {
        let (certificates, address) = (peer.certificates.len(), peer.address);
        Box::pin(async move {
            let told = json!({
                "path": request.uri().path(),
                "certificates": certificates,
                "address": address.map(|address| address.to_string()),
            });
            let body: PageBody = Full::new(Bytes::from(told.to_string())).boxed_unsync();
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::IM_A_TEAPOT;
            response
        })
    }
}

fn with_pages() -> TestServer {
    let mut fixture = TestServer::new();
    let clock = Arc::clone(&fixture.shared.clock);
    let server = Arc::clone(&fixture.server);
    let shared = Shared::new(server, &fixture.certificate, clock).unwrap();
    fixture.shared = Arc::new(Shared {
        beside: Some(Beside {
            path: "/ui",
            pages: Arc::new(Mirror),
        }),
        ..shared
    });
    fixture
}

async fn get(fixture: &TestServer, alpn: &str, path: &str) -> (StatusCode, Value) {
    let ann = credential(&fixture.client_ca, "ann", Usage::ClientAuth, ENDS);
    let config = Arc::new(fixture.client(Some(&ann), alpn));
    let stream = TokioIo::new(fixture.connect(&config).await.unwrap());
    let request = Request::get(format!("https://everleaf.test{path}"));
    let request = request.header("Host", "everleaf.test");
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let response = if alpn == "h2" {
        let executor = TokioExecutor::new();
        let made = hyper::client::conn::http2::handshake(executor, stream).await;
        let (mut sender, connection) = made.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let made = hyper::client::conn::http1::handshake(stream).await;
        let (mut sender, connection) = made.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    read(response).await
}

#[tokio::test(start_paused = true)]
async fn what_is_below_the_path_is_theirs_and_nothing_else() {
    let fixture = with_pages();
    for alpn in ["h2", "http/1.1"] {
        for path in ["/ui", "/ui/", "/ui/a/b", "/ui/../api"] {
            let (code, told) = get(&fixture, alpn, path).await;
            assert_eq!(code, StatusCode::IM_A_TEAPOT, "{alpn} {path}");
            assert_eq!(told["certificates"], 1);
            assert_eq!(told["address"], "192.0.2.7");
        }
        for path in ["/uix", "/", "/api/ui", "/version", "/UI"] {
            let (code, told) = get(&fixture, alpn, path).await;
            assert_ne!(code, StatusCode::IM_A_TEAPOT, "{alpn} {path}: {told}");
        }
    }
    let without = TestServer::new();
    let (code, _) = get(&without, "h2", "/ui/").await;
    assert_eq!(code, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn on_behalf_of_somebody_is_as_they_themselves() {
    let fixture = TestServer::new();
    let ann = credential(&fixture.client_ca, "ann", Usage::ClientAuth, ENDS);
    let of_ann = ann.chain().certificates();
    let peer = Peer {
        address: Some([192, 0, 2, 9].into()),
        certificates: Arc::new(of_ann.iter().map(|one| one.der().to_vec()).collect()),
        in_process: None,
    };
    let hands = Arc::clone(&fixture.clock);
    for (credential, code, name) in [
        (Some(Credential::of(&peer)), 201, "ann"),
        (Credential::of_token(&peer, "t"), 201, "admin"),
        (Credential::of_token(&peer, "other"), 401, ""),
        (Some(Credential::of(&Peer::default())), 403, ""),
    ] {
        let hands = Arc::clone(&hands);
        let clock = Arc::new(move || *hands.lock().unwrap());
        let mut door = fixture.server.on_behalf(credential.unwrap(), clock);
        let answer = door.call(super::fixture::whoami_request()).await.unwrap();
        assert_eq!(answer.status(), code, "{name}");
        let told: Value = serde_json::from_slice(answer.into_body().as_bytes().unwrap()).unwrap();
        let user = &told["status"]["userInfo"]["username"];
        assert_eq!(user.as_str().unwrap_or_default(), name, "{told}");
    }
    // Its end is the end of what is asked with it.
    *fixture.clock.lock().unwrap() = time("2091-01-01T00:00:00Z");
    let clock = Arc::new(move || *hands.lock().unwrap());
    let mut door = fixture.server.on_behalf(Credential::of(&peer), clock);
    let late = door.call(super::fixture::whoami_request()).await.unwrap();
    assert_eq!(late.status(), 401, "after {NOW} and {ENDS}");
}
