//! kubectl on a server that asks another one what requests may do.

use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, Process, Sandbox, Up, arg, ensure_that, eventually};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub(super) const TESTS: &[Test] = &[Test {
    name: "another_server_says_what_a_request_may_do",
    long: false,
    run: asked,
}];

const TOKENS: &str = "t-root,root,,system:masters\nt-jane,jane,\nt-eve,eve,\n";

/// The other server: jane may read, eve may nothing, and nobody else is known to it.
struct Other {
    port: u16,
    asked: Arc<Mutex<Vec<Value>>>,
    is_broken: Arc<AtomicBool>,
}

impl Other {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let other = Self {
            port: listener.local_addr()?.port(),
            asked: Arc::default(),
            is_broken: Arc::default(),
        };
        let (asked, is_broken) = (Arc::clone(&other.asked), Arc::clone(&other.is_broken));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that breaks off is the other end's affair.
                let _ = answer(stream, &asked, &is_broken);
            }
        });
        Ok(other)
    }

    fn count(&self, user: &str) -> usize {
        let asked = self.asked.lock().map(|asked| asked.clone());
        let asked = asked.unwrap_or_default();
        asked
            .iter()
            .filter(|review| review["spec"]["user"] == user)
            .count()
    }
}

fn answer(mut stream: TcpStream, asked: &Mutex<Vec<Value>>, is_broken: &AtomicBool) -> Result<()> {
    let mut text = Vec::new();
    let review: Value = loop {
        let mut some = [0; 4096];
        let count = stream.read(&mut some)?;
        anyhow::ensure!(count > 0, "it broke off");
        text.extend(&some[..count]);
        let body = text.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(review) = body.and_then(|at| serde_json::from_slice(&text[at + 4..]).ok()) {
            break review;
        }
    };
    anyhow::ensure!(
        text.starts_with(b"POST /authorize HTTP/1.1\r\n"),
        "another path"
    );
    let (user, verb) = (
        &review["spec"]["user"],
        &review["spec"]["resourceAttributes"]["verb"],
    );
    let status = json!({
        "allowed": user == "jane" && (verb == "get" || verb == "list"),
        "denied": user == "eve",
        "reason": "so says the other",
    });
    let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "status": status});
    if let Ok(mut asked) = asked.lock() {
        asked.push(review);
    }
    let body = body.to_string();
    let code = if is_broken.load(Ordering::Acquire) {
        "403 Forbidden"
    } else {
        "200 OK"
    };
    write!(
        stream,
        "HTTP/1.1 {code}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}

/// The data of an `up` that has stopped, served by `apiserver` with these flags.
fn apiserver(sandbox: &Sandbox, flags: &[&str]) -> Result<(Process, u16)> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    up.process.stop()?;
    let port = everleaf_stage::free_port()?;
    let tokens = sandbox.write("tokens.csv", TOKENS)?;
    let text = port.to_string();
    let fixed = [
        "apiserver",
        "--data-dir",
        "data",
        "--bind-address",
        "127.0.0.1",
        "--secure-port",
        &text,
    ];
    let fixed = [&fixed[..], &["--token-auth-file", arg(&tokens)], flags].concat();
    let server = sandbox.start("apiserver", &mut sandbox.everleaf(&fixed))?;
    let root = kubectl(sandbox, port, "root")?;
    eventually("the API server is ready", 10, || {
        root.quiet(&["get", "--raw", "/readyz"]).map(|_| ())
    })?;
    Ok((server, port))
}

fn kubectl<'a>(sandbox: &'a Sandbox, port: u16, user: &str) -> Result<Kubectl<'a>> {
    let ca = sandbox.path("data/pki/ca.crt");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nclusters: [{{name: c, cluster: {{server: \"https://127.0.0.1:{port}\", certificate-authority: \"{}\"}}}}]\nusers: [{{name: u, user: {{token: t-{user}}}}}]\n",
        ca.display()
    );
    Ok(Kubectl::new(
        sandbox,
        sandbox.write(&format!("{user}.conf"), &text)?,
    ))
}

fn asked(sandbox: &Sandbox) -> Result<Verdict> {
    let other = Other::start()?;
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nclusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{}/authorize\"}}}}]\nusers: [{{name: u, user: {{}}}}]\n",
        other.port
    );
    let kubeconfig = sandbox.write("webhook.conf", &kubeconfig)?;
    let flags = [
        "--authorization-mode=Webhook,Node,RBAC",
        "--authorization-webhook-config-file",
        arg(&kubeconfig),
        "--authorization-webhook-version=v1",
    ];
    let (server, port) = apiserver(sandbox, &flags)?;
    let (root, jane, eve) = (
        kubectl(sandbox, port, "root")?,
        kubectl(sandbox, port, "jane")?,
        kubectl(sandbox, port, "eve")?,
    );
    root.quiet(&["create", "configmap", "m"])?;
    jane.quiet(&["get", "configmap", "m"])?;
    let first = other.count("jane");
    jane.quiet(&["get", "configmap", "m"])?;
    ensure_that!(other.count("jane") == first, "a yes is not remembered");
    let refused = jane.run(&["delete", "configmap", "m"])?;
    let words = "default: so says the other";
    ensure_that!(refused.stderr.contains(words), "{}", refused.stderr);
    // The other server goes before roles, and its no is final.
    root.quiet(&[
        "create",
        "clusterrolebinding",
        "eve",
        "--clusterrole=cluster-admin",
        "--user=eve",
    ])?;
    let refused = eve.run(&["get", "configmap", "m"])?;
    ensure_that!(refused.stderr.contains("Forbidden"), "{}", refused.stderr);
    ensure_that!(other.count("root") == 0, "system:masters are asked about");
    ensure_that!(jane.can_i(&["list", "secrets"])?, "a review asks nobody");
    // What cannot be asked is told as that, and nobody is let in by it.
    other.is_broken.store(true, Ordering::Release);
    let failed = jane.run(&["get", "configmap", "other"])?;
    ensure_that!(
        failed.stderr.contains("could not be decided"),
        "{}",
        failed.stderr
    );
    // A probe is nobody's question.
    let before = other.count("jane");
    jane.quiet(&["get", "--raw", "/livez"])?;
    ensure_that!(other.count("jane") == before, "a probe is asked about");
    ensure_that!(
        server.stderr().contains("gave no answer"),
        "nothing is told"
    );
    Ok(Verdict::Passed)
}
