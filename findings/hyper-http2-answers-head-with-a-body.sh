#!/usr/bin/env bash
# hyper 1.12.0: one service, whose answer to every request has a body of two bytes, asked by HEAD.
# Over HTTP/1.1 hyper's server keeps the length and leaves the body out; over HTTP/2 it sends the
# body as well, and clients end the stream with an error (hyper's own; curl says "stream was not
# closed cleanly: PROTOCOL_ERROR"). So a service that leaves HEAD to hyper breaks as soon as a
# monitor or a balancer speaks HTTP/2.
# Seen: http1 200, body read: 0 bytes; http2 200, body read: stream error
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
mkdir src; cat > Cargo.toml <<'TOML'
[package]
name = "x"
version = "0.1.0"
edition = "2021"

[dependencies]
hyper = { version = "=1.12.0", features = ["client", "server", "http1", "http2"] }
hyper-util = { version = "0.1", features = ["tokio"] }
http-body-util = "0.1"
tokio = { version = "1", features = ["rt", "macros", "io-util"] }

[workspace]
TOML
cat > src/main.rs <<'RUST'
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
}

async fn show(protocol: &str, response: hyper::Result<Response<Incoming>>) {
    let response = response.expect("there is a head");
    let code = response.status().as_u16();
    match response.into_body().collect().await {
        Ok(body) => println!("{protocol} {code}, body read: {} bytes", body.to_bytes().len()),
        Err(_) => println!("{protocol} {code}, body read: stream error"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let head = || Request::head("http://localhost/").body(Empty::<Bytes>::new()).unwrap();
    let (client, server) = tokio::io::duplex(1 << 16);
    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service_fn(answer)));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    show("http1", sender.send_request(head()).await).await;

    let (client, server) = tokio::io::duplex(1 << 16);
    tokio::spawn(
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(server), service_fn(answer)),
    );
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    show("http2", sender.send_request(head()).await).await;
}
RUST
CARGO_TARGET_DIR="$dir/target" cargo run --quiet > seen.txt
cat seen.txt
diff seen.txt - <<'TXT'
http1 200, body read: 0 bytes
http2 200, body read: stream error
TXT
