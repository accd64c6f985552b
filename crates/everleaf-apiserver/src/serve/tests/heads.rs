//! Large heads: what an impersonation in thousands of groups needs, and the word for what is too
//! large.

use super::super::heads::{HEAD_BYTES_MAX, HEAD_LINES_MAX, WIDE_STRANGERS_MAX};
use super::fixture::{ENDS, TestServer, credential, read, whoami_request};
use everleaf_pki::Usage;
use http::{HeaderValue, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Lines that hyper's client or the test adds by itself, with some air.
const OTHER_LINES: usize = 16;

/// Who the server says it was, asked over `alpn` as somebody in `groups` groups whose names have
/// `bytes` bytes.
async fn impersonate(
    fixture: &TestServer,
    alpn: &str,
    groups: usize,
    bytes: usize,
) -> (StatusCode, Value) {
    let mut request = whoami_request();
    let headers = request.headers_mut();
    headers.insert("Authorization", HeaderValue::from_static("Bearer t"));
    headers.insert("Impersonate-User", HeaderValue::from_static("jane"));
    for group in 0..groups {
        let name = format!("{group:0bytes$}");
        headers.append("Impersonate-Group", name.parse().unwrap());
    }
    let config = Arc::new(fixture.client(None, alpn));
    let stream = TokioIo::new(fixture.connect(&config).await.unwrap());
    let response = if alpn == "h2" {
        *request.uri_mut() = format!("https://everleaf.test{}", request.uri())
            .parse()
            .unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                .await
                .unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    read(response).await
}

#[tokio::test(start_paused = true)]
async fn who_is_in_many_groups_can_be_impersonated() {
    let fixture = TestServer::new();
    for alpn in ["http/1.1", "h2"] {
        for groups in [1_000, HEAD_LINES_MAX - OTHER_LINES] {
            let (code, body) = impersonate(&fixture, alpn, groups, 8).await;
            assert_eq!(code, 201, "{alpn}, {groups} groups: {body}");
            let told = body["status"]["userInfo"]["groups"].as_array().unwrap();
            assert_eq!(told.len(), groups + 1, "{alpn}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_told_so() {
    let fixture = TestServer::new();
    for alpn in ["http/1.1", "h2"] {
        let (code, _) = impersonate(&fixture, alpn, HEAD_LINES_MAX / 2, 200).await;
        assert_eq!(code, 431, "{alpn}, too many bytes");
    }
    let (code, _) = impersonate(&fixture, "http/1.1", HEAD_LINES_MAX + 1, 8).await;
    assert_eq!(code, 431, "too many lines");
}

/// Whoever reads only after having sent all reads the answer, too.
#[tokio::test(start_paused = true)]
async fn the_refusal_of_a_head_waits_for_a_client_that_still_sends() {
    let fixture = TestServer::new();
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let mut stream = fixture.connect(&config).await.unwrap();
    let line = format!("X-Padding: {}\r\n", "x".repeat(1_000));
    let mut head = b"GET /version HTTP/1.1\r\nHost: e\r\n".to_vec();
    while head.len() < 3 * HEAD_BYTES_MAX {
        head.extend_from_slice(line.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    stream.write_all(&head).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// The memory that those can take who have proven nothing is bounded, and others do not suffer from
/// it.
#[tokio::test(start_paused = true)]
async fn among_very_many_strangers_only_those_with_a_certificate_have_large_heads() {
    let fixture = TestServer::new();
    let strangers = fixture.shared.heads.strangers();
    let taken = strangers
        .try_acquire_many_owned(WIDE_STRANGERS_MAX.try_into().unwrap())
        .unwrap();
    let (code, _) = impersonate(&fixture, "http/1.1", 2_000, 8).await;
    assert_eq!(code, 431);
    let alice = credential(&fixture.client_ca, "alice", Usage::ClientAuth, ENDS);
    let config = Arc::new(fixture.client(Some(&alice), "http/1.1"));
    let stream = fixture.connect(&config).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = whoami_request();
    for index in 0..2_000 {
        request.headers_mut().append("X-Padding", index.into());
    }
    assert_eq!(
        read(sender.send_request(request).await.unwrap()).await.0,
        201
    );
    drop(taken);
    assert_eq!(impersonate(&fixture, "http/1.1", 2_000, 8).await.0, 201);
}

/// Room for a large head is made when it comes: after small ones, after bodies, and in pieces.
#[tokio::test(start_paused = true)]
async fn a_connection_makes_room_when_it_needs_it() {
    let fixture = TestServer::new();
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let stream = fixture.connect(&config).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    for lines in [1, 99, 0, 5_000, 0, 120, 16_000, 1] {
        let mut request = whoami_request();
        let headers = request.headers_mut();
        headers.insert("Authorization", HeaderValue::from_static("Bearer t"));
        headers.insert("Impersonate-User", HeaderValue::from_static("jane"));
        for line in 0..lines {
            headers.append("Impersonate-Group", line.into());
        }
        let (code, body) = read(sender.send_request(request).await.unwrap()).await;
        assert_eq!(code, 201, "{lines} lines: {body}");
        let told = body["status"]["userInfo"]["groups"].as_array().unwrap();
        assert_eq!(told.len(), lines + 1);
        sender.ready().await.unwrap();
    }
}

/// Bytes of bodies are none of heads, and requests that do not wait for answers are answered in
/// turn.
#[tokio::test(start_paused = true)]
async fn bodies_and_requests_in_a_row_count_for_no_head() {
    let fixture = TestServer::new();
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let mut stream = fixture.connect(&config).await.unwrap();
    let body = format!("{{\"spec\":{{{}}}}}", "\n".repeat(50_000));
    let post = format!(
        "POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1\r\nHost: e\r\n\
         Authorization: Bearer t\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let get = "GET /readyz HTTP/1.1\r\nHost: e\r\n\r\n";
    let last = "GET /readyz HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n";
    let all = [post.as_str(), get, get, get, &post, get, last].concat();
    stream.write_all(all.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).await.unwrap();
    let answers = String::from_utf8_lossy(&answers);
    let codes: Vec<&str> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect();
    assert_eq!(codes, ["201", "200", "200", "200", "201", "200", "200"]);
}

/// A large head that comes while an answer is still underway costs that answer nothing.
#[tokio::test(start_paused = true)]
async fn no_answer_is_lost_for_a_head_that_comes_early() {
    let fixture = TestServer::new();
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let mut stream = fixture.connect(&config).await.unwrap();
    let watch = "GET /api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=5 HTTP/1.1\r\n\
                 Host: e\r\nAuthorization: Bearer t\r\n\r\n";
    stream.write_all(watch.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let early = "X-Padding: x\r\n".repeat(1_000);
    let early = format!("GET /readyz HTTP/1.1\r\nHost: e\r\nConnection: close\r\n{early}\r\n");
    stream.write_all(early.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).await.unwrap();
    let answers = String::from_utf8_lossy(&answers);
    let (first, second) = answers.split_once("\r\n0\r\n\r\n").unwrap();
    assert!(first.starts_with("HTTP/1.1 200 "), "{answers}");
    assert!(second.starts_with("HTTP/1.1 431 "), "{answers}");
}
