//! What stands between a node and its server: proxies, and a balancer that forgets connections.

use super::second_node::{serving_request, strings};
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict, now};
use everleaf_stage::{Agent, Certificate, Sandbox, Up, arg, ensure_that, eventually, same};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_node_joins_through_a_proxy_and_says_so",
        long: false,
        run: proxied,
    },
    Test {
        name: "a_swallowed_watch_costs_at_most_45_seconds",
        long: true,
        run: swallowed,
    },
];

/// A name of the server that only the proxy can look up.
const NAME: &str = "everleaf.test";
/// What the proxy wants: `u:p@ss`.
const LOGIN: &str = "Proxy-Authorization: Basic dTpwQHNz\r\n";

/// `everleaf up` under [`NAME`], the proxy to it, and a kubeconfig of a bootstrapping node.
struct Stage<'a> {
    sandbox: &'a Sandbox,
    up: Up<'a>,
    proxy: Proxy,
    /// The proxy's, with user and password.
    url: String,
    /// The server's, which only the proxy can look up.
    by_name: String,
    bootstrap: PathBuf,
}

fn proxied(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--tls-san", NAME])?;
    let text = fs::read_to_string(up.path("bootstrap-kubelet.conf"))?;
    let server = server_of(&text)?;
    let by_name = format!("{NAME}:{}", server.port());
    let text = text.replace(&server_text(&text), &by_name);
    let proxy = Proxy::start(server)?;
    let stage = Stage {
        sandbox,
        up,
        url: format!("http://u:p%40ss@{}", proxy.address),
        proxy,
        by_name,
        bootstrap: sandbox.write("bootstrap.conf", &text)?,
    };
    sandbox.point(
        "HTTPS_PROXY leads an agent to its server, and the log says so",
        || stage.agent(),
    )?;
    sandbox.point("proxy-url leads controllers to their server", || {
        stage.controllers()
    })?;
    sandbox.point("a proxy that wants a password says so", || {
        let bare = format!("http://{}", stage.proxy.address);
        let told = "it wants a user and a password; write them into https_proxy";
        stage.tells("n3", &[("https_proxy", &bare)], told)
    })?;
    sandbox.point("NO_PROXY leads past it", || {
        // There is no such host, but for the proxy.
        let variables = [("HTTPS_PROXY", &*stage.url), ("NO_PROXY", ".test")];
        stage.tells("n4", &variables, &format!("cannot connect to {NAME}:"))
    })?;
    Ok(Verdict::Passed)
}

impl Stage<'_> {
    fn agent(&self) -> Result<()> {
        let mut agent = Agent::bootstrapped_by(self.sandbox, self.bootstrap.clone(), "n2");
        let mut command = agent.command();
        agent.process = Some(
            self.sandbox
                .start("n2", command.env("HTTPS_PROXY", &self.url))?,
        );
        agent.certificate()?;
        self.is_told(&agent.log(), "HTTPS_PROXY")?;
        agent.stop()
    }

    fn controllers(&self) -> Result<()> {
        let admin = fs::read_to_string(self.up.path("admin.conf"))?;
        let admin = admin.replace(&server_text(&admin), &self.by_name);
        let line = format!("    proxy-url: {}\n    server:", self.url);
        let kubeconfig = self
            .sandbox
            .write("controllers.conf", &admin.replace("    server:", &line))?;
        let seen = self.proxy.tunnels();
        let mut command = self.sandbox.everleaf(&[
            "controllers",
            "--leader-elect=false",
            "--controllers=csrcleaner",
            "--kubeconfig",
            arg(&kubeconfig),
        ]);
        let mut controllers = self.sandbox.start("controllers", &mut command)?;
        eventually("the controllers have their list", 10, || {
            let log = controllers.stderr();
            self.is_told(&log, "proxy-url of the kubeconfig")?;
            ensure_that!(log.contains("caches are synced"), "{log}");
            ensure_that!(self.proxy.tunnels() > seen, "nobody asked the proxy");
            Ok(())
        })?;
        same("exit code", controllers.stop()?, 0)
    }

    /// The proxy is in the log, with where it was named, and without its password.
    fn is_told(&self, log: &str, origin: &str) -> Result<()> {
        let proxy = self.proxy.address;
        let line = format!("reached through the proxy http://{proxy} ({origin})");
        ensure_that!(log.contains(&line), "{line:?} is not in the log: {log}");
        ensure_that!(
            !log.contains("p@ss") && !log.contains("p%40ss"),
            "the password is in the log: {log}"
        );
        Ok(())
    }

    fn tells(&self, name: &str, variables: &[(&str, &str)], expected: &str) -> Result<()> {
        let agent = Agent::bootstrapped_by(self.sandbox, self.bootstrap.clone(), name);
        let mut command = agent.command();
        command.envs(variables.iter().copied());
        let mut process = self.sandbox.start(name, &mut command)?;
        let told = eventually(expected, 10, || {
            let log = process.stderr();
            ensure_that!(log.contains(expected), "{log}");
            Ok(())
        });
        process.stop()?;
        told
    }
}

fn swallowed(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--serving-approval=false"])?;
    let text = fs::read_to_string(up.path("bootstrap-kubelet.conf"))?;
    let forwarder = Forwarder::start(server_of(&text)?)?;
    let text = text.replace(&server_text(&text), &forwarder.address.to_string());
    let bootstrap = sandbox.write("bootstrap.conf", &text)?;
    let mut nodes = Vec::new();
    for (name, variables) in [("n2", &[][..]), ("n3", &[("DISABLE_HTTP2", "1")])] {
        let mut agent = Agent::bootstrapped_by(sandbox, bootstrap.clone(), name);
        agent.args = strings(&[
            "--rotate-certificates",
            "--rotate-server-certificates",
            "--node-ip",
            "127.0.0.1",
        ]);
        let mut command = agent.command();
        agent.process = Some(sandbox.start(name, command.envs(variables.iter().copied()))?);
        agent.certificate()?;
        nodes.push((serving_request(&up.admin(), name)?, agent));
    }
    // Both wait by now, with an open watch.
    std::thread::sleep(Duration::from_secs(2));
    forwarder.swallow();
    let began = now();
    for (request, _) in &nodes {
        up.admin().quiet(&["certificate", "approve", request])?;
    }
    for (_, agent) in &mut nodes {
        let what = format!("the serving certificate of {}", agent.name);
        let left = 45_u64.saturating_sub(began.elapsed().as_secs());
        eventually(&what, left, || {
            Certificate::read(sandbox, &agent.path("pki/kubelet-server-current.pem"))
        })?;
        everleaf_stage::runner::say(&format!(
            "{}: {:.1} s",
            agent.name,
            began.elapsed().as_secs_f32()
        ));
        agent.stop()?;
    }
    Ok(Verdict::Passed)
}

/// `host:port` of the server in a kubeconfig.
fn server_text(kubeconfig: &str) -> String {
    let line = kubeconfig
        .lines()
        .find_map(|line| line.trim().strip_prefix("server: https://"));
    line.unwrap_or_default().to_owned()
}

fn server_of(kubeconfig: &str) -> Result<SocketAddr> {
    let text = server_text(kubeconfig);
    let port = text.rsplit(':').next().unwrap_or_default();
    let port: u16 = port
        .parse()
        .with_context(|| format!("no port in {text:?}"))?;
    Ok(([127, 0, 0, 1], port).into())
}

/// Passes bytes on, until it swallows them.
struct Forwarder {
    address: SocketAddr,
    /// Connections of an earlier generation are silent.
    generation: Arc<AtomicUsize>,
}

impl Forwarder {
    fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let generation = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&generation);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let born = counter.load(Ordering::SeqCst);
                let counter = Arc::clone(&counter);
                let Ok(far) = TcpStream::connect(to) else {
                    continue;
                };
                let is_alive = move || counter.load(Ordering::SeqCst) == born;
                let _ = pass_both(near, far, is_alive);
            }
        });
        Ok(Self {
            address,
            generation,
        })
    }

    /// What is open now is silent from now on, and stays open.
    fn swallow(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

/// A proxy that wants a login, and takes every name for that of one server.
struct Proxy {
    address: SocketAddr,
    targets: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let targets: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&targets);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                std::thread::spawn(move || tunnel(near, to, &log));
            }
        });
        Ok(Self { address, targets })
    }

    fn tunnels(&self) -> usize {
        self.targets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

fn tunnel(mut near: TcpStream, to: SocketAddr, log: &Mutex<Vec<String>>) -> Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && near.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?;
    if !head.contains(LOGIN) {
        near.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")?;
        return Ok(());
    }
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(target);
    near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    pass_both(near, TcpStream::connect(to)?, || true)
}

/// Passes bytes on both ways for as long as `is_alive`; then it keeps both ends open.
fn pass_both(
    near: TcpStream,
    far: TcpStream,
    is_alive: impl Fn() -> bool + Clone + Send + 'static,
) -> Result<()> {
    for (mut from, mut to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        let is_alive = is_alive.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if is_alive() && to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            if is_alive() {
                let _ = to.shutdown(Shutdown::Write);
            }
        });
    }
    Ok(())
}
