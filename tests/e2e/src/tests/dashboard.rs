//! `everleaf dashboard`: what it shows, whom it answers, and with whose rights it decides. What a
//! browser makes of it, `cargo xtask dashboard` sees.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Process, Sandbox, Up, arg, ensure_that, eventually, free_port, object, run, same,
};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[Test {
    name: "a_dashboard_shows_decides_and_answers_nobody_else",
    long: false,
    run: dashboard,
}];

/// A name that the API takes.
const HOSTILE: &str = "<img src=x onerror=alert(1)>";

/// A running dashboard, and a browser's side of it.
struct Dashboard {
    process: Process,
    port: u16,
    key: String,
    cookie: String,
}

/// An answer: status line and headers, body.
pub(super) struct Page {
    pub(super) head: String,
    pub(super) body: String,
}

impl Page {
    /// Of an answer as it came.
    pub(super) fn parse(answer: &str) -> Result<Self> {
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .with_context(|| answer.to_owned())?;
        Ok(Self {
            head: head
                .to_ascii_lowercase()
                .replacen("http/1.1", "HTTP/1.1", 1),
            body: body.to_owned(),
        })
    }

    pub(super) fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a field of its first form for this verdict.
    pub(super) fn field(&self, verdict: &str, name: &str) -> Result<String> {
        let form = self
            .body
            .split("<form")
            .find(|form| form.contains(&format!("id=\"{verdict}\"")));
        let form = form.with_context(|| format!("no form to {verdict}: {}", self.body))?;
        let rest = form.split(&format!("name=\"{name}\" value=\"")).nth(1);
        let value = rest.and_then(|rest| rest.split('"').next());
        Ok(value
            .with_context(|| format!("no {name}: {form}"))?
            .to_owned())
    }
}

impl Dashboard {
    fn start(sandbox: &Sandbox, kubeconfig: &Path) -> Result<Self> {
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let mut command = sandbox.everleaf(&["dashboard", "--listen", &listen]);
        let process =
            sandbox.start("dashboard", command.args(["--kubeconfig", arg(kubeconfig)]))?;
        let url = eventually("the address of the dashboard", 20, || {
            let told = process.stdout();
            let url = told.lines().find(|line| line.starts_with("http://"));
            url.map(str::to_owned).with_context(|| process.stderr())
        })?;
        let key = url.split("key=").nth(1).context("no key")?.to_owned();
        let mut dashboard = Self {
            process,
            port,
            key,
            cookie: String::new(),
        };
        let entered = dashboard.get(&format!("/enter?key={}", dashboard.key))?;
        let line = entered
            .head
            .lines()
            .find(|line| line.starts_with("set-cookie: "));
        let line = line.with_context(|| entered.head.clone())?;
        ensure_that!(line.contains("; httponly; samesite=strict"), "{line}");
        let cookie = line.trim_start_matches("set-cookie: ").split(';').next();
        dashboard.cookie = cookie.unwrap_or_default().to_owned();
        Ok(dashboard)
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// One request with these headers alone.
    fn ask(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Result<Page> {
        let mut stream = self.open(line, headers, body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Page::parse(&answer)
    }

    fn open(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.host())?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut head = format!(
            "{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        write!(stream, "{head}\r\n{body}")?;
        Ok(stream)
    }

    fn get(&self, path: &str) -> Result<Page> {
        let headers = [("Host", &*self.host()), ("Cookie", &self.cookie)];
        self.ask(&format!("GET {path}"), &headers, "")
    }

    /// A page that has to be there.
    fn page(&self, path: &str) -> Result<String> {
        let page = self.get(path)?;
        same(path, page.status(), "200")?;
        Ok(page.body)
    }

    /// Sends a form as a page of this origin.
    fn post(&self, path: &str, form: &str) -> Result<Page> {
        let (host, origin) = (self.host(), format!("http://{}", self.host()));
        let headers = [
            ("Host", &*host),
            ("Origin", &origin),
            ("Cookie", &self.cookie),
            FORM,
        ];
        self.ask(&format!("POST {path}"), &headers, form)
    }
}

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// The path of a request's page.
fn path(name: &str) -> String {
    let encoded = name
        .bytes()
        .map(|byte| match byte.is_ascii_alphanumeric() || byte == b'-' {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        });
    format!("/requests/{}", encoded.collect::<String>())
}

/// A request that waits for a person.
pub(super) fn file(sandbox: &Sandbox, up: &Up<'_>, name: &str) -> Result<()> {
    let (key, pem) = (sandbox.path("ann.key"), sandbox.path("ann.csr"));
    let make = [
        "ecparam",
        "-genkey",
        "-name",
        "prime256v1",
        "-noout",
        "-out",
    ];
    sandbox.openssl(&[&make[..], &[arg(&key)]].concat())?.ok()?;
    let make = [
        "req",
        "-new",
        "-key",
        arg(&key),
        "-subj",
        "/CN=ann<b>",
        "-out",
    ];
    sandbox.openssl(&[&make[..], &[arg(&pem)]].concat())?.ok()?;
    let usages = ["digital signature", "client auth"];
    let object = object(
        name,
        &fs::read(&pem)?,
        "kubernetes.io/kube-apiserver-client",
        &usages,
    );
    let written = sandbox.write("request.json", &object.to_string())?;
    let create = ["create", "--validate=false", "-f", arg(&written)];
    up.admin().quiet(&create).map(drop)
}

pub(super) fn request(up: &Up<'_>, name: &str) -> Result<Value> {
    up.admin().json(&["get", "csr", name])
}

fn dashboard(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let dashboard = Dashboard::start(sandbox, &up.path("admin.conf"))?;
    let live = dashboard.open(
        "GET /events",
        &[("Host", &dashboard.host()), ("Cookie", &dashboard.cookie)],
        "",
    )?;
    sandbox.point("what it serves fetches nothing from elsewhere", || {
        policy(&dashboard)
    })?;
    sandbox.point("a request that appears is told at once, as text", || {
        file(sandbox, &up, HOSTILE)?;
        appears(&dashboard, live)
    })?;
    sandbox.point("nobody else is answered, and nothing changes", || {
        strangers(&dashboard)?;
        let conditions = &request(&up, HOSTILE)?["status"]["conditions"];
        same("conditions", conditions.clone(), Value::Null)
    })?;
    sandbox.point("a person approves, and the certificate is there", || {
        approve(&up, &dashboard)
    })?;
    sandbox.point("a person denies, and says why", || {
        deny(sandbox, &up, &dashboard)
    })?;
    sandbox.point("it decides with the rights of its user alone", || {
        rights(sandbox, &up)
    })?;
    refused_at_start(sandbox, &up)?;
    let mut process = dashboard.process;
    sandbox.point("it stops when it is told to", || {
        same("code", process.stop()?, 0)
    })?;
    Ok(Verdict::Passed)
}

fn policy(dashboard: &Dashboard) -> Result<()> {
    for path in [
        "/",
        "/nodes?q=a&by=used",
        "/requests",
        "/script.js",
        "/style.css",
        "/icon.svg",
    ] {
        let page = dashboard.get(path)?;
        same(path, page.status(), "200")?;
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ] {
            ensure_that!(page.head.contains(header), "{header}: {}", page.head);
        }
        let foreign = page
            .body
            .replace("http://www.w3.org/2000/svg", "")
            .contains("http://");
        ensure_that!(!foreign, "{path}: {}", page.body);
    }
    for path in ["/nothing", "/nodes/nobody", "/requests/nobody"] {
        same(path, dashboard.get(path)?.status(), "404")?;
    }
    let overview = dashboard.page("/")?;
    ensure_that!(overview.contains("kubernetes-admin"), "{overview}");
    ensure_that!(overview.contains("CN=everleaf-ca"), "{overview}");
    Ok(())
}

/// The stream says that there is something new, and the pages have it.
fn appears(dashboard: &Dashboard, mut live: TcpStream) -> Result<()> {
    let mut told = String::new();
    let mut chunk = [0; 1024];
    while told.matches("data: ").count() < 2 {
        let length = live.read(&mut chunk).with_context(|| told.clone())?;
        ensure_that!(length > 0, "the stream ended: {told}");
        told.push_str(&String::from_utf8_lossy(&chunk[..length]));
    }
    let shown = "&lt;img src=x onerror=alert(1)&gt;";
    for path in ["/", "/requests", "/requests?q=ONERROR&state=pending"] {
        eventually(path, 15, || {
            let page = dashboard.page(path)?;
            ensure_that!(page.contains(shown) && !page.contains("<img"), "{page}");
            ensure_that!(page.contains("manual-approval"), "{page}");
            Ok(())
        })?;
    }
    let page = dashboard.page(&path(HOSTILE))?;
    for part in [
        shown,
        "manual-approval",
        "ann&lt;b&gt;",
        "certificate approve",
    ] {
        ensure_that!(page.contains(part), "{part}: {page}");
    }
    ensure_that!(!page.contains("<img") && !page.contains("<b>"), "{page}");
    Ok(())
}

/// Requests without the key, under other names, from other pages, with other forms.
fn strangers(dashboard: &Dashboard) -> Result<()> {
    let own = dashboard.host();
    let host = ("Host", &*own);
    let cookie = ("Cookie", &*dashboard.cookie);
    let other = ("Cookie", "everleaf-1=x");
    let named = ("Host", "evil.example");
    let beside = ("Sec-Fetch-Site", "same-site");
    for (what, wanted, line, headers) in [
        ("no cookie", "401", "GET /", &[host][..]),
        ("another's cookie", "401", "GET /requests", &[host, other]),
        ("a wrong key", "401", "GET /enter?key=abc", &[host]),
        ("no key", "401", "GET /enter", &[host]),
        ("another name", "421", "GET /", &[named, cookie]),
        ("another port's", "403", "GET /", &[host, cookie, beside]),
        ("another method", "405", "DELETE /", &[host, cookie]),
    ] {
        let page = dashboard.ask(line, headers, "")?;
        same(what, page.status(), wanted)?;
        let tells = page.body.contains("kubernetes-admin");
        ensure_that!(!tells, "{what}: {}", page.body);
    }
    forms(dashboard, host, cookie)
}

/// Approvals that nobody has sent from the page.
fn forms(dashboard: &Dashboard, host: (&str, &str), cookie: (&str, &str)) -> Result<()> {
    let origin = format!("http://{}", host.1);
    let from = ("Origin", &*origin);
    let foreign = ("Origin", "http://evil.example");
    let nowhere = ("Origin", "null");
    let text = ("Content-Type", "text/plain");
    let line = format!("POST {}/approve", path(HOSTILE));
    let page = dashboard.get(&path(HOSTILE))?;
    let key = page.field("approve", "key")?;
    let uid = page.field("approve", "uid")?;
    let form = format!("key={key}&uid={uid}");
    let guessed = format!("key={}&uid={uid}", "a".repeat(key.len()));
    let old = format!("key={key}&uid=other");
    for (what, wanted, headers, form) in [
        ("no cookie", "401", &[host, from, FORM][..], &*form),
        ("no origin", "403", &[host, cookie, FORM], &form),
        (
            "another origin",
            "403",
            &[host, cookie, FORM, foreign],
            &form,
        ),
        ("no origin's", "403", &[host, cookie, FORM, nowhere], &form),
        ("no key", "403", &[host, from, cookie, FORM], "uid=x"),
        (
            "a guessed key",
            "403",
            &[host, from, cookie, FORM],
            &guessed,
        ),
        ("no form", "403", &[host, from, cookie, text], &form),
        ("of another", "409", &[host, from, cookie, FORM], &old),
    ] {
        let page = dashboard.ask(&line, headers, form)?;
        same(what, page.status(), wanted)?;
    }
    Ok(())
}

fn approve(up: &Up<'_>, dashboard: &Dashboard) -> Result<()> {
    let path = path(HOSTILE);
    let page = dashboard.get(&path)?;
    let form = format!(
        "key={}&uid={}",
        page.field("approve", "key")?,
        page.field("approve", "uid")?
    );
    let answer = dashboard.post(&format!("{path}/approve"), &form)?;
    same("status", answer.status(), "303")?;
    ensure_that!(answer.head.contains("?done=approved"), "{}", answer.head);
    eventually("the certificate", 15, || {
        let request = request(up, HOSTILE)?;
        let condition = &request["status"]["conditions"][0];
        same(
            "reason",
            condition["reason"].clone(),
            json!("DashboardApprove"),
        )?;
        ensure_that!(request["status"]["certificate"].is_string(), "{request}");
        Ok(())
    })?;
    let page = dashboard.page(&format!("{path}?done=approved"))?;
    ensure_that!(page.contains("You have approved this request."), "{page}");
    ensure_that!(!page.contains("method=\"post\""), "{page}");
    let again = dashboard.post(&format!("{path}/approve"), &form)?;
    same("again", again.status(), "409")?;
    ensure_that!(again.body.contains("approved already"), "{}", again.body);
    Ok(())
}

fn deny(sandbox: &Sandbox, up: &Up<'_>, dashboard: &Dashboard) -> Result<()> {
    file(sandbox, up, "by-hand")?;
    let page = dashboard.get("/requests/by-hand")?;
    let form = format!(
        "key={}&uid={}&message=not+ours%3A+%3Cb%3E",
        page.field("deny", "key")?,
        page.field("deny", "uid")?
    );
    let answer = dashboard.post("/requests/by-hand/deny", &form)?;
    same("status", answer.status(), "303")?;
    let condition = request(up, "by-hand")?["status"]["conditions"][0].clone();
    same("type", condition["type"].clone(), json!("Denied"))?;
    same(
        "message",
        condition["message"].clone(),
        json!("not ours: <b>"),
    )?;
    eventually("the denied one", 15, || {
        let page = dashboard.page("/requests?state=denied")?;
        ensure_that!(page.contains("by-hand"), "{page}");
        Ok(())
    })
}

/// Who joins nodes may look at requests, and not decide about them.
fn rights(sandbox: &Sandbox, up: &Up<'_>) -> Result<()> {
    file(sandbox, up, "not-yours")?;
    let dashboard = Dashboard::start(sandbox, &up.path("bootstrap-kubelet.conf"))?;
    let page = dashboard.get("/requests/not-yours")?;
    let form = format!(
        "key={}&uid={}",
        page.field("approve", "key")?,
        page.field("approve", "uid")?
    );
    let answer = dashboard.post("/requests/not-yours/approve", &form)?;
    same("status", answer.status(), "403")?;
    ensure_that!(
        answer.body.contains("The API server refuses: "),
        "{}",
        answer.body
    );
    ensure_that!(answer.body.contains("forbidden"), "{}", answer.body);
    let conditions = &request(up, "not-yours")?["status"]["conditions"];
    same("conditions", conditions.clone(), Value::Null)?;
    let overview = dashboard.page("/")?;
    ensure_that!(
        overview.contains("Not seen") && overview.contains("nodes: "),
        "{overview}"
    );
    Ok(())
}

fn refused_at_start(sandbox: &Sandbox, up: &Up<'_>) -> Result<()> {
    let admin = up.path("admin.conf");
    let start = |args: &[&str]| run(sandbox.everleaf(&["dashboard"]).args(args));
    sandbox.point("it listens on addresses of this machine alone", || {
        let kubeconfig = ["--kubeconfig", arg(&admin)];
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8765"] {
            let args = [&kubeconfig[..], &["--listen", address]].concat();
            let stderr = start(&args)?.failed_with(2)?;
            ensure_that!(stderr.contains("ssh -L"), "{stderr}");
        }
        Ok(())
    })?;
    sandbox.point("without a server it says so, with code 2", || {
        let conf = fs::read_to_string(&admin)?;
        let line = conf.lines().find(|line| line.trim().starts_with("server:"));
        let away = conf.replace(
            line.context("no server")?,
            "    server: https://127.0.0.1:1",
        );
        let away = sandbox.write("away.conf", &away)?;
        start(&["--kubeconfig", arg(&away)])?
            .failed_with(2)
            .map(drop)
    })
}
