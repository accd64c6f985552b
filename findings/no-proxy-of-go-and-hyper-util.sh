#!/usr/bin/env bash
# golang.org/x/net v0.61.0 http/httpproxy (Go 1.26.8; every Kubernetes program) and hyper-util
# 0.1.21 client::proxy::matcher (Rust: what reqwest and others stand on), the same HTTPS_PROXY and
# NO_PROXY. Three settings that work for kubectl do not for a client on hyper-util, all without a
# word: an entry with a port (api.example:6443) never matches; https://127.0.0.1:6443 goes to the
# proxy (Go never sends loopback there); an address in NO_PROXY does not cover the same address
# written IPv4-mapped. One goes the other way: .example also means example itself, which Go sends to
# the proxy.
# Seen (go/hyper-util): port direct/proxy; loopback direct/proxy; mapped direct/proxy; dot
# proxy/direct
set -euo pipefail
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT; cd "$dir"
cat > cases.txt <<'TXT'
port https://api.example:6443 api.example:6443
loopback https://127.0.0.1:6443 other.example
mapped https://[::ffff:10.0.0.1]:6443 10.0.0.1
dot https://api.example:6443 .api.example
TXT
mkdir go rust; cat > go/main.go <<'GO'
package main

import (
	"fmt"
	"net/url"

	"golang.org/x/net/http/httpproxy"
)

func main() {
	var name, server, except string
	for {
		if _, err := fmt.Scan(&name, &server, &except); err != nil {
			return
		}
		target, err := url.Parse(server)
		if err != nil {
			panic(err)
		}
		config := httpproxy.Config{HTTPSProxy: "http://proxy.example:3128", NoProxy: except}
		proxy, err := config.ProxyFunc()(target)
		if err != nil {
			panic(err)
		}
		way := "direct"
		if proxy != nil {
			way = "proxy"
		}
		fmt.Println(name, way)
	}
}
GO
(cd go && export GOTOOLCHAIN=go1.26.8 GOFLAGS=-mod=mod && go mod init example.com/x >/dev/null 2>&1 && go get golang.org/x/net@v0.61.0 >/dev/null 2>&1 \
  && go run . < ../cases.txt > ../go.txt)
mkdir rust/src; cat > rust/Cargo.toml <<'TOML'
[package]
name = "x"
version = "0.1.0"
edition = "2021"

[dependencies]
hyper-util = { version = "=0.1.21", default-features = false, features = ["client-proxy"] }
http = "1"

[workspace]
TOML
cat > rust/src/main.rs <<'RUST'
use hyper_util::client::proxy::matcher::Matcher;

fn main() {
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let matcher = Matcher::builder().https("http://proxy.example:3128").no(words[2]).build();
        let taken = matcher.intercept(&words[1].parse::<http::Uri>().unwrap());
        println!("{} {}", words[0], if taken.is_some() { "proxy" } else { "direct" });
    }
}
RUST
(cd rust && CARGO_TARGET_DIR="$dir/target" cargo run --quiet < ../cases.txt > ../rust.txt)
paste -d' ' go.txt rust.txt | tee seen.txt
diff seen.txt - <<'TXT'
port direct port proxy
loopback direct loopback proxy
mapped direct mapped proxy
dot proxy dot direct
TXT
