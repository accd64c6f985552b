//! The dashboard at `/ui` of `up`, as curl sees it: who comes in, with whose rights it decides, and
//! when it ends.

mod forged;

use super::dashboard::{Page, file, request};
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict, now};
use everleaf_stage::{
    Certificate, Kubectl, Process, Sandbox, Up, arg, ensure_that, eventually, run, same,
    signing_request,
};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "up_shows_its_dashboard_to_who_may_read_requests",
        long: false,
        run: shown,
    },
    Test {
        name: "a_dashboard_of_up_ends_with_the_identity_that_looks",
        long: false,
        run: ended,
    },
];

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// Longest time until a stream of a refused identity is cut.
const CUT_MAX: Duration = Duration::from_secs(5);
/// The server gives up on connections that do not end after ten seconds.
const STOP_MAX: Duration = Duration::from_secs(8);
const APPROVER: &str = "system:serviceaccount:default:approver";

/// A browser: a cookie jar, and perhaps a client certificate.
struct Browser<'a> {
    sandbox: &'a Sandbox,
    origin: String,
    name: &'static str,
    identity: Vec<String>,
}

impl<'a> Browser<'a> {
    fn new(sandbox: &'a Sandbox, up: &Up<'_>, name: &'static str) -> Result<Self> {
        let admin = fs::read_to_string(up.path("admin.conf"))?;
        let server = admin
            .lines()
            .find_map(|line| line.trim().strip_prefix("server: "));
        let origin = server.context("no server")?.trim_matches('"').to_owned();
        Ok(Self {
            sandbox,
            origin,
            name,
            identity: Vec::new(),
        })
    }

    /// Shows `NAME.crt` with `NAME.key`.
    fn with_certificate(mut self) -> Self {
        let file = |end: &str| self.sandbox.path(&format!("{}.{end}", self.name));
        for (flag, end) in [("--cert", "crt"), ("--key", "key")] {
            self.identity
                .extend([flag.to_owned(), arg(&file(end)).to_owned()]);
        }
        self
    }

    fn jar(&self) -> PathBuf {
        self.sandbox.path(&format!("{}.jar", self.name))
    }

    fn curl(&self, path: &str, args: &[&str]) -> std::process::Command {
        let mut command = self.sandbox.command("curl".as_ref());
        let authority = self.sandbox.path("data/pki/ca.crt");
        let jar = self.jar();
        command.args(["-sS", "--max-time", "60", "--cacert", arg(&authority)]);
        command.args(["-b", arg(&jar), "-c", arg(&jar)]);
        command.args(&self.identity).args(args);
        command.arg(format!("{}{path}", self.origin));
        command
    }

    fn ask(&self, path: &str, args: &[&str]) -> Result<Page> {
        let answer = run(self.curl(path, args).arg("-i"))?;
        Page::parse(&answer.ok()?)
    }

    fn get(&self, path: &str) -> Result<Page> {
        self.ask(path, &[])
    }

    fn page(&self, path: &str) -> Result<String> {
        let page = self.get(path)?;
        same(path, page.status(), "200")?;
        Ok(page.body)
    }

    /// Sends a form as a page of this origin.
    fn post(&self, path: &str, form: &[&str]) -> Result<Page> {
        let origin = format!("Origin: {}", self.origin);
        self.post_with(path, form, &["-H", &origin])
    }

    fn post_with(&self, path: &str, form: &[&str], args: &[&str]) -> Result<Page> {
        let mut all = args.to_vec();
        for field in form {
            all.extend(["--data-urlencode", field]);
        }
        self.ask(path, &all)
    }

    fn log_in(&self, token: &str) -> Result<Page> {
        self.post("/ui/login", &[&format!("token={token}")])
    }

    /// The fields of a request's form.
    fn form(&self, verdict: &str, name: &str) -> Result<Vec<String>> {
        let page = self.get(&format!("/ui/requests/{name}"))?;
        let field = |field: &str| Ok(format!("{field}={}", page.field(verdict, field)?));
        ["key", "uid"].into_iter().map(field).collect()
    }

    fn decide(&self, verdict: &str, name: &str, message: &str) -> Result<Page> {
        let form = self.form(verdict, name)?;
        let message = format!("message={message}");
        let fields: Vec<&str> = form.iter().map(String::as_str).chain([&*message]).collect();
        self.post(&format!("/ui/requests/{name}/{verdict}"), &fields)
    }

    /// A stream of events that has begun.
    fn follow(&self) -> Result<Process> {
        let mut command = self.curl("/ui/events", &["-N"]);
        let stream = self
            .sandbox
            .start(&format!("stream-{}", self.name), &mut command)?;
        eventually("the stream begins", 20, || {
            let told = stream.stdout();
            ensure_that!(told.starts_with("data: "), "{told} {}", stream.stderr());
            Ok(())
        })?;
        Ok(stream)
    }
}

/// A service account with these rights on requests, and its token.
fn account(admin: &Kubectl<'_>, name: &str, may_decide: bool) -> Result<String> {
    admin.quiet(&["create", "serviceaccount", name])?;
    let requests = "--resource=certificatesigningrequests";
    let role = |role: &str, args: &[&str]| -> Result<()> {
        admin.quiet(&[&["create", "clusterrole", role][..], args].concat())?;
        let account = format!("--serviceaccount=default:{name}");
        let role_flag = format!("--clusterrole={role}");
        let bind = ["create", "clusterrolebinding", role, &role_flag, &account];
        admin.quiet(&bind).map(drop)
    };
    let looks = format!("{name}-looks");
    role(&looks, &["--verb=get,list,watch", requests])?;
    if may_decide {
        let subresource = format!("{requests}/approval");
        let writes = ["--verb=update", &*subresource];
        role(&format!("{name}-writes"), &writes)?;
        // kubectl makes no role about what it cannot discover, but extends one.
        let signs = json!([{"op": "add", "path": "/rules/-", "value": {
            "apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
            "resourceNames": [SIGNER], "verbs": ["approve"],
        }}]);
        let (patched, patch) = (format!("{name}-writes"), signs.to_string());
        let add = [
            "patch",
            "clusterrole",
            &patched,
            "--type=json",
            "-p",
            &patch,
        ];
        admin.quiet(&add)?;
    }
    token(admin, name)
}

fn token(admin: &Kubectl<'_>, name: &str) -> Result<String> {
    let token = admin.quiet(&["create", "token", name])?;
    Ok(token.trim().to_owned())
}

/// A user with a client certificate, `NAME.crt` and `NAME.key`.
fn user(sandbox: &Sandbox, up: &Up<'_>, name: &str) -> Result<Certificate> {
    let admin = up.admin();
    let subject = format!("/CN={name}");
    let object = signing_request(sandbox, name, &subject, SIGNER, &["client auth"])?;
    admin.quiet(&["create", "--validate=false", "-f", arg(&object)])?;
    admin.quiet(&["certificate", "approve", name])?;
    let pem = eventually("the certificate", 15, || {
        let template = "go-template={{.status.certificate | base64decode}}";
        let pem = admin.quiet(&["get", "csr", name, "-o", template])?;
        ensure_that!(pem.contains("BEGIN CERTIFICATE"), "{pem}");
        Ok(pem)
    })?;
    let path = sandbox.write(&format!("{name}.crt"), &pem)?;
    Certificate::read(sandbox, &path)
}

/// Who may look, and no more.
fn viewer(admin: &Kubectl<'_>, name: &str) -> Result<()> {
    let role = format!("{name}-looks");
    let looks = [
        "create",
        "clusterrole",
        &role,
        "--verb=get,list,watch",
        "--resource=certificatesigningrequests,nodes",
    ];
    admin.quiet(&looks)?;
    let (role_flag, user) = (format!("--clusterrole={role}"), format!("--user={name}"));
    let bind = ["create", "clusterrolebinding", &role, &role_flag, &user];
    admin.quiet(&bind).map(drop)
}

/// Starts it with an audit log, and with people.
fn stage<'a>(sandbox: &'a Sandbox, log: &Path) -> Result<(Up<'a>, String)> {
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";
    let policy = sandbox.write("policy.yaml", policy)?;
    let audit = ["--audit-policy-file", arg(&policy), "--audit-log-path"];
    let flags = [&["--no-node"], &audit[..], &[arg(log)]].concat();
    let up = Up::start(sandbox, &flags)?;
    let admin = up.admin();
    let approver = account(&admin, "approver", true)?;
    admin.quiet(&["create", "serviceaccount", "nobody"])?;
    user(sandbox, &up, "bob")?;
    viewer(&admin, "bob")?;
    file(sandbox, &up, "laptop")?;
    file(sandbox, &up, "phone")?;
    Ok((up, approver))
}

fn shown(sandbox: &Sandbox) -> Result<Verdict> {
    let log = sandbox.path("audit.log");
    let (up, approver) = stage(sandbox, &log)?;
    let stranger = Browser::new(sandbox, &up, "stranger")?;
    let bob = Browser::new(sandbox, &up, "bob")?.with_certificate();
    let by_token = Browser::new(sandbox, &up, "token")?;
    sandbox.point("its address is told at the start", || {
        let line = format!("  dashboard   {}/ui\n", stranger.origin);
        let told = up.process.stdout();
        ensure_that!(told.contains(&line), "{told}");
        Ok(())
    })?;
    sandbox.point(
        "a stranger sees a form for a token, and nothing else",
        || strangers(&stranger),
    )?;
    sandbox.point(
        "a token that nobody gave, or without rights, is none",
        || {
            tokens(&stranger, &token(&up.admin(), "nobody")?)?;
            join_token(&up, &stranger)
        },
    )?;
    sandbox.point(
        "a token opens it, by a cookie that no page can read",
        || log_in(&by_token, &approver),
    )?;
    sandbox.point("a client certificate opens it as its user", || {
        let page = bob.page("/ui/")?;
        ensure_that!(page.contains("<strong>bob</strong>"), "{page}");
        ensure_that!(!page.contains("Log out"), "{page}");
        let page = bob.page("/ui/requests")?;
        ensure_that!(page.contains("href=\"/ui/requests/laptop\""), "{page}");
        Ok(())
    })?;
    sandbox.point(
        "pages of other origins decide nothing, whoever looks",
        || {
            forged::forgeries(&bob, &by_token)?;
            undecided(&up, "laptop")
        },
    )?;
    sandbox.point("who may not approve is refused by the API itself", || {
        refused(&up, &bob)
    })?;
    sandbox.point("who may approves and denies", || decided(&up, &by_token))?;
    sandbox.point("the audit log tells who did, from where", || audited(&log))?;
    sandbox.point("who has logged out is not known any more", || {
        log_out(sandbox, &by_token)
    })?;
    sandbox.point("--no-ui serves none", || without(up, &stranger))?;
    Ok(Verdict::Passed)
}

fn refused(up: &Up<'_>, browser: &Browser<'_>) -> Result<()> {
    for verdict in ["approve", "deny"] {
        let page = browser.decide(verdict, "laptop", "")?;
        same(verdict, page.status(), "403")?;
        let words = "The API server refuses: certificatesigningrequests.certificates.k8s.io";
        ensure_that!(page.body.contains(words), "{}", page.body);
    }
    undecided(up, "laptop")
}

fn without(mut up: Up<'_>, stranger: &Browser<'_>) -> Result<()> {
    let page = |up: &Up<'_>| up.admin().run(&["get", "--raw", "/ui/"]);
    same("the admin's page", page(&up)?.code, Some(0))?;
    same("code", up.process.stop()?, 0)?;
    up.restart_with(&["--no-ui"])?;
    ensure_that!(!up.process.stdout().contains("/ui\n"), "it is told");
    same("page", stranger.get("/ui/")?.status(), "403")?;
    let answer = page(&up)?;
    ensure_that!(answer.stderr.contains("NotFound"), "{answer:?}");
    Ok(())
}

fn strangers(stranger: &Browser<'_>) -> Result<()> {
    for path in [
        "/ui/",
        "/ui/nodes",
        "/ui/requests/laptop",
        "/ui/events",
        "/ui/nothing",
        "/ui/requests/a%2Fb",
    ] {
        let page = stranger.get(path)?;
        same(path, page.status(), "401")?;
        ensure_that!(page.body.contains("action=\"/ui/login\""), "{}", page.body);
        for secret in ["laptop", "kubernetes-admin", "everleaf-ca"] {
            ensure_that!(!page.body.contains(secret), "{secret}: {}", page.body);
        }
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "x-frame-options: deny",
            "cache-control: no-store",
        ] {
            ensure_that!(page.head.contains(header), "{header}: {}", page.head);
        }
    }
    let root = stranger.get("/ui")?;
    ensure_that!(root.head.contains("location: /ui/"), "{}", root.head);
    for path in ["/ui/login", "/ui/style.css", "/ui/script.js"] {
        same(path, stranger.get(path)?.status(), "200")?;
    }
    let posted = stranger.post("/ui/requests/laptop/approve", &["key=", "uid=x"])?;
    same("a form", posted.status(), "401")?;
    let beside = stranger.get("/uid")?;
    same("what is not below it", beside.status(), "403")?;
    ensure_that!(beside.body.contains("\"Status\""), "{}", beside.body);
    forged::odd_requests(stranger)?;
    let headed = run(stranger.curl("/ui/", &["-I"]).arg("-f"))?;
    ensure_that!(headed.code != Some(0), "{headed:?}");
    Ok(())
}

fn tokens(stranger: &Browser<'_>, nobody: &str) -> Result<()> {
    for token in ["", "wrong", "a b", "\r\nX: y"] {
        let page = stranger.log_in(token)?;
        same(token, page.status(), "401")?;
        ensure_that!(!page.head.contains("set-cookie"), "{}", page.head);
    }
    let page = stranger.log_in(nobody)?;
    same("nobody", page.status(), "403")?;
    ensure_that!(!page.head.contains("set-cookie"), "{}", page.head);
    for part in [
        "system:serviceaccount:default:nobody",
        "cannot list resource &quot;certificatesigningrequests&quot; in API group &quot;certificates.k8s.io&quot;",
    ] {
        ensure_that!(page.body.contains(part), "{part}: {}", page.body);
    }
    same("then", stranger.get("/ui/")?.status(), "401")
}

/// A join token may list requests through the API, and looks at no page all the same.
fn join_token(up: &Up<'_>, stranger: &Browser<'_>) -> Result<()> {
    let text = fs::read_to_string(up.path("bootstrap-kubelet.conf"))?;
    let token = text.split_once("token: ").context("no token")?.1;
    let page = stranger.log_in(token.lines().next().unwrap_or_default())?;
    same("a join token", page.status(), "403")?;
    ensure_that!(page.body.contains("not for nodes"), "{}", page.body);
    Ok(())
}

fn log_in(browser: &Browser<'_>, token: &str) -> Result<()> {
    let foreign = ["-H", "Origin: https://evil.example"];
    let page = browser.post_with("/ui/login", &[&format!("token={token}")], &foreign)?;
    same("from elsewhere", page.status(), "403")?;
    let page = browser.log_in(token)?;
    same("status", page.status(), "303")?;
    let cookie = page
        .head
        .lines()
        .find(|line| line.starts_with("set-cookie: "));
    let cookie = cookie.with_context(|| page.head.clone())?;
    ensure_that!(
        cookie.starts_with("set-cookie: __host-everleaf-"),
        "{cookie}"
    );
    let ends = "; max-age=28800; path=/; secure; httponly; samesite=strict";
    ensure_that!(cookie.ends_with(ends), "{cookie}");
    ensure_that!(!cookie.contains(&token.to_lowercase()), "{cookie}");
    let page = browser.page("/ui/")?;
    for part in [APPROVER, "Log out", "Not seen", "nodes is forbidden"] {
        ensure_that!(page.contains(part), "{part}: {page}");
    }
    ensure_that!(!page.contains(token), "the token is in the page");
    Ok(())
}

fn undecided(up: &Up<'_>, name: &str) -> Result<()> {
    let conditions = &request(up, name)?["status"]["conditions"];
    same("conditions", conditions.clone(), Value::Null)
}

fn decided(up: &Up<'_>, browser: &Browser<'_>) -> Result<()> {
    let page = browser.decide("approve", "laptop", "")?;
    same("approve", page.status(), "303")?;
    let to = "location: /ui/requests/laptop?done=approved";
    ensure_that!(page.head.contains(to), "{}", page.head);
    eventually("the certificate", 15, || {
        let request = request(up, "laptop")?;
        let reason = request["status"]["conditions"][0]["reason"].clone();
        same("reason", reason, json!("DashboardApprove"))?;
        ensure_that!(request["status"]["certificate"].is_string(), "{request}");
        Ok(())
    })?;
    let page = browser.decide("deny", "phone", "not ours: <b>")?;
    same("deny", page.status(), "303")?;
    let condition = request(up, "phone")?["status"]["conditions"][0].clone();
    same("type", condition["type"].clone(), json!("Denied"))?;
    let message = condition["message"].clone();
    same("message", message, json!("not ours: <b>"))
}

fn audited(log: &Path) -> Result<()> {
    for (who, name, code) in [
        (APPROVER, "laptop", 200),
        (APPROVER, "phone", 200),
        ("bob", "laptop", 403),
    ] {
        let event = eventually("the audit log tells it", 10, || {
            let text = fs::read_to_string(log)?;
            let mut events = text
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let found = events.find(|event| {
                event["verb"] == "update"
                    && event["stage"] == "ResponseComplete"
                    && event["objectRef"]["subresource"] == "approval"
                    && event["objectRef"]["name"] == name
                    && event["user"]["username"] == who
            });
            found.with_context(|| format!("no decision of {who} about {name}"))
        })?;
        same("code", event["responseStatus"]["code"].clone(), json!(code))?;
        same("from", event["sourceIPs"].clone(), json!(["127.0.0.1"]))?;
    }
    Ok(())
}

fn log_out(sandbox: &Sandbox, browser: &Browser<'_>) -> Result<()> {
    let kept = fs::read(browser.jar())?;
    let form = browser.form("approve", "bob").err();
    ensure_that!(form.is_some(), "a decided request has a form");
    let page = browser.get("/ui/")?;
    let key = page.field("leave", "key")?;
    let forged = browser.post("/ui/logout", &["key=x"])?;
    same("forged", forged.status(), "403")?;
    same("still in", browser.get("/ui/")?.status(), "200")?;
    let page = browser.post("/ui/logout", &[&format!("key={key}")])?;
    same("status", page.status(), "303")?;
    ensure_that!(page.head.contains("max-age=0"), "{}", page.head);
    same("then", browser.get("/ui/")?.status(), "401")?;
    let kept = String::from_utf8_lossy(&kept).into_owned();
    sandbox.write("token.jar", &kept)?;
    same("the old cookie", browser.get("/ui/")?.status(), "401")
}

fn ended(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let admin = up.admin();
    let approver = account(&admin, "approver", false)?;
    let certificate = user(sandbox, &up, "bob")?;
    viewer(&admin, "bob")?;
    let bob = Browser::new(sandbox, &up, "bob")?.with_certificate();
    let by_token = Browser::new(sandbox, &up, "token")?;
    let pasted = format!("Bearer {approver}");
    same("login", by_token.log_in(&pasted)?.status(), "303")?;
    let (mut of_bob, mut of_token) = (bob.follow()?, by_token.follow()?);
    sandbox.point("what happens is told at once", || {
        file(sandbox, &up, "laptop")?;
        eventually("the stream tells it", 15, || {
            let told = of_bob.stdout();
            ensure_that!(told.matches("data: ").count() > 1, "{told}");
            Ok(())
        })
    })?;
    sandbox.point(
        "a revoked certificate is refused, and its stream cut",
        || {
            revoked(sandbox, &up, (&bob, &certificate), &mut of_bob)?;
            ensure_that!(of_token.is_running(), "another's stream is cut, too");
            Ok(())
        },
    )?;
    let name = "a right that is taken away ends it, and one given back lets in";
    sandbox.point(name, || disallowed(&admin, &by_token, &mut of_token))?;
    let name = "a token that is worth nothing any more ends its session";
    sandbox.point(name, || {
        let mut stream = by_token.follow()?;
        admin.quiet(&["delete", "serviceaccount", "approver"])?;
        stream.exit_code(CUT_MAX)?;
        let page = by_token.get("/ui/")?;
        same("then", page.status(), "401")?;
        let words = "not accepted any more";
        ensure_that!(page.body.contains(words), "{}", page.body);
        Ok(())
    })?;
    let name = "an open stream does not keep the server from stopping";
    sandbox.point(name, || stopped(sandbox, up))?;
    Ok(Verdict::Passed)
}

fn revoked(
    sandbox: &Sandbox,
    up: &Up<'_>,
    (browser, certificate): (&Browser<'_>, &Certificate),
    stream: &mut Process,
) -> Result<()> {
    let conf = up.path("admin.conf");
    let serial = &certificate.serial;
    let mut revoke = sandbox.everleaf(&["ca", "revoke", "--serial", serial]);
    run(revoke.args(["--kubeconfig", arg(&conf)]))?.ok()?;
    stream.exit_code(CUT_MAX)?;
    let page = browser.get("/ui/")?;
    same("then", page.status(), "401")?;
    let words = "does not accept the certificate";
    ensure_that!(page.body.contains(words), "{}", page.body);
    Ok(())
}

fn disallowed(admin: &Kubectl<'_>, browser: &Browser<'_>, stream: &mut Process) -> Result<()> {
    let binding = ["clusterrolebinding", "approver-looks"];
    admin.quiet(&[&["delete"][..], &binding].concat())?;
    stream.exit_code(CUT_MAX)?;
    let page = browser.get("/ui/requests")?;
    same("then", page.status(), "403")?;
    ensure_that!(page.body.contains(APPROVER), "{}", page.body);
    ensure_that!(page.body.contains("Log out"), "{}", page.body);
    let role = "--clusterrole=approver-looks";
    let give = [role, "--serviceaccount=default:approver"];
    admin.quiet(&[&["create"][..], &binding, &give].concat())?;
    browser.page("/ui/requests").map(drop)
}

fn stopped(sandbox: &Sandbox, mut up: Up<'_>) -> Result<()> {
    user(sandbox, &up, "eve")?;
    viewer(&up.admin(), "eve")?;
    let eve = Browser::new(sandbox, &up, "eve")?.with_certificate();
    let mut stream = eve.follow()?;
    let begun = now();
    same("code", up.process.stop()?, 0)?;
    let took = begun.elapsed();
    ensure_that!(took < STOP_MAX, "{took:?}");
    stream.exit_code(CUT_MAX).map(drop)
}
