//! An answer that comes before the request's body has been read reaches clients that are still
//! sending it.

use super::super::run;
use super::fixture::{NOW, TestServer, read, time};
use bytes::Bytes;
use everleaf_time::WallClock;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Sizes of bodies, in bytes: from one to more than the server takes.
const SIZES: [usize; 5] = [1, 10 << 10, 200 << 10, 1 << 20, (3 << 20) + 1];
/// A client's pause in the middle of a body.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends a body in two halves over HTTP/2: the answer's code, and whether all of it was wanted.
async fn upload(fixture: &TestServer, token: &str, bytes: usize) -> (StatusCode, bool) {
    let (finished, is_finished) = tokio::sync::oneshot::channel::<()>();
    let mut halves = vec![bytes / 2, bytes - bytes / 2].into_iter();
    let mut finished = Some(finished);
    let halves = futures_util::stream::unfold((), move |()| {
        let half = halves.next();
        if half.is_none() {
            let _ = finished.take().map(|finished| finished.send(()));
        }
        async move {
            tokio::time::sleep(PAUSE).await;
            let frame = Frame::data(Bytes::from(vec![b'x'; half?]));
            Some((Ok::<_, Infallible>(frame), ()))
        }
    });
    let request = Request::post(format!("https://everleaf.test{CONFIG_MAPS}"))
        .header("Authorization", format!("Bearer {token}"))
        .body(StreamBody::new(Box::pin(halves)))
        .unwrap();
    let stream = fixture
        .connect(&Arc::new(fixture.client(None, "h2")))
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let code = read(sender.send_request(request).await.unwrap()).await.0;
    (code, is_finished.await.is_ok())
}

#[tokio::test(start_paused = true)]
async fn over_http2_no_upload_is_reset() {
    let fixture = TestServer::new();
    for bytes in SIZES {
        let (code, is_finished) = upload(&fixture, "wrong", bytes).await;
        assert_eq!((code.as_u16(), is_finished), (401, true), "{bytes} bytes");
    }
    let (code, is_finished) = upload(&fixture, "t", SIZES[4]).await;
    assert_eq!((code.as_u16(), is_finished), (413, true));
}

/// As monitors and balancers ask whether somebody is there.
#[tokio::test]
async fn a_head_is_answered_with_a_length_and_no_body() {
    let fixture = TestServer::new();
    for (path, code) in [
        ("/livez", 200),
        ("/version", 200),
        (CONFIG_MAPS, 405),
        ("/nope", 404),
    ] {
        for protocol in ["h2", "http/1.1"] {
            let request = Request::head(format!("https://everleaf.test{path}"))
                .header("Authorization", "Bearer t")
                .header("Host", "everleaf.test")
                .body(http_body_util::Empty::<Bytes>::new())
                .unwrap();
            let config = Arc::new(fixture.client(None, protocol));
            let stream = TokioIo::new(fixture.connect(&config).await.unwrap());
            let response = if protocol == "h2" {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                        .await
                        .unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            } else {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            };
            let length = response.headers().get("content-length").cloned();
            let length: usize = length.unwrap().to_str().unwrap().parse().unwrap();
            let (found, body) = read(response).await;
            assert_eq!(found.as_u16(), code, "{path} over {protocol}");
            assert!(length > 1 && body.is_null(), "{path}: {length}");
        }
    }
}

/// Sends a whole body over HTTP/1.1 and reads only then.
async fn upload_first(fixture: &TestServer, token: &str, bytes: usize, is_chunked: bool) -> String {
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let mut stream = fixture.connect(&config).await.unwrap();
    let framing = if is_chunked {
        "Transfer-Encoding: chunked".to_owned()
    } else {
        format!("Content-Length: {bytes}")
    };
    let head = format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: e\r\nAuthorization: Bearer {token}\r\n{framing}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(PAUSE).await;
    let mut body = vec![b'x'; bytes];
    if is_chunked {
        body.splice(0..0, format!("{bytes:x}\r\n").into_bytes());
        body.extend_from_slice(b"\r\n0\r\n\r\n");
    }
    for part in body.chunks(100_000) {
        stream.write_all(part).await.unwrap();
        stream.flush().await.unwrap();
    }
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn over_http1_whoever_sends_first_reads_the_answer() {
    let fixture = TestServer::new();
    for bytes in SIZES {
        for is_chunked in [false, true] {
            let answer = upload_first(&fixture, "wrong", bytes, is_chunked).await;
            assert_eq!(answer, "HTTP/1.1 401", "{bytes} bytes, {is_chunked}");
        }
    }
    for is_chunked in [false, true] {
        let answer = upload_first(&fixture, "t", SIZES[4], is_chunked).await;
        assert_eq!(answer, "HTTP/1.1 413", "{is_chunked}");
        let answer = upload_first(&fixture, "t", 8 * SIZES[4], is_chunked).await;
        assert_eq!(answer, "HTTP/1.1 413", "{is_chunked}");
    }
}

/// A refusal costs no connection when the body is small.
#[tokio::test(start_paused = true)]
async fn a_connection_outlives_a_refused_upload() {
    let fixture = TestServer::new();
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let mut stream = fixture.connect(&config).await.unwrap();
    for _ in 0..3 {
        let head =
            format!("POST {CONFIG_MAPS} HTTP/1.1\r\nHost: e\r\nContent-Length: 100000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(PAUSE).await;
        stream.write_all(&vec![b'x'; 100_000]).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
}

/// Who asks before sending is answered before sending.
#[tokio::test(start_paused = true)]
async fn who_expects_a_word_first_sends_nothing() {
    let fixture = TestServer::new();
    let config = Arc::new(fixture.client(None, "http/1.1"));
    let mut stream = fixture.connect(&config).await.unwrap();
    let head = format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: e\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

/// A kernel that resets a connection forgets what its client has not read; a pipe in memory does
/// not. So: over a socket, a client that sends on and on reads the refusal all the same.
#[tokio::test]
async fn over_a_socket_the_refusal_is_read() {
    const BYTES: usize = 40 << 20;
    let fixture = TestServer::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let clock: WallClock = Arc::new(|| time(NOW));
    let (server, certificate) = (&fixture.server, &fixture.certificate);
    let (server, certificate) = (Arc::clone(server), Arc::clone(certificate));
    let forever = std::future::pending();
    tokio::spawn(run(listener, server, certificate, clock, forever));
    let connect = async |alpn: &str| {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("everleaf.test").unwrap();
        let config = Arc::new(fixture.client(None, alpn));
        let connector = TlsConnector::from(config);
        connector.connect(name, stream).await.unwrap()
    };
    let mut stream = connect("http/1.1").await;
    let head = format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: e\r\nAuthorization: Bearer t\r\nContent-Length: {BYTES}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..BYTES / 1024 {
        stream.write_all(&[b'x'; 1024]).await.unwrap();
    }
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");

    let stream = TokioIo::new(connect("h2").await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("https://everleaf.test{CONFIG_MAPS}"))
        .header("Authorization", "Bearer t")
        .body(Full::<Bytes>::from(vec![b'x'; BYTES]))
        .unwrap();
    assert_eq!(
        read(sender.send_request(request).await.unwrap()).await.0,
        413
    );
}
