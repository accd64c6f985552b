//! The agent's TLS endpoint, as openssl sees it.

use super::serving_approval::SERVING;
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Certificate, FakeClock, Sandbox, Up, arg, ensure_that, eventually, free_port, same,
};
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "the_tls_endpoint_follows_the_serving_certificate",
        long: false,
        run: follows,
    },
    Test {
        name: "a_tls_endpoint_without_a_serving_certificate_is_self_signed",
        long: false,
        run: self_signed,
    },
];

/// As a kubelet without a serving certificate, but that it does not end.
fn self_signed(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut agent = Agent::new(sandbox, &up, "n2");
    let words = ["--tls-bind-address", &address, "--node-ip", "127.0.0.1"];
    agent.args.extend(words.map(str::to_owned));
    agent.start()?;
    let first = sandbox.point("the pair is a kubelet's: names, files, modes", || {
        let first = eventually("the endpoint", 15, || shown(sandbox, &address))?;
        ensure_that!(first.subject.contains("n2@"), "{}", first.subject);
        let mode = |name: &str| -> Result<u32> {
            let path = agent.path(&format!("pki/{name}"));
            Ok(fs::metadata(path)?.permissions().mode() & 0o777)
        };
        same(
            "modes",
            (mode("kubelet.crt")?, mode("kubelet.key")?),
            (0o644, 0o600),
        )?;
        let crt = agent.path("pki/kubelet.crt");
        let names = ["-verify_hostname", "n2", "-verify_ip", "127.0.0.1"];
        let mut args = vec!["s_client", "-connect", &address, "-verify_return_error"];
        args.extend(["-CAfile", arg(&crt)]);
        args.extend(names);
        sandbox.openssl_fed(&args, Path::new("/dev/null"))?.ok()?;
        agent.certificate()?;
        Ok(first)
    })?;
    agent.stop()?;
    for (days, is_same) in [(280, true), (300, false)] {
        let claim = format!("after {days} days the same: {is_same}");
        sandbox.point(&claim, || {
            agent.start_at(&FakeClock::Offset(days * 86_400))?;
            let shown = eventually("the endpoint", 15, || shown(sandbox, &address))?;
            same("sameness", shown.serial == first.serial, is_same)?;
            agent.stop()
        })?;
    }
    Ok(Verdict::Passed)
}

#[expect(
    clippy::disallowed_methods,
    reason = "offsets for faketime are counted from the present"
)]
fn follows(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let ca = up.path("pki/ca.crt");
    let mut agent = Agent::new(sandbox, &up, "n2");
    for word in [
        "--rotate-certificates",
        "--rotate-server-certificates",
        "--node-ip",
        "127.0.0.1",
        "--tls-bind-address",
        &address,
        "--tls-client-ca-file",
        arg(&ca),
    ] {
        agent.args.push(word.to_owned());
    }
    agent.start()?;
    let client = agent.certificate()?;
    sandbox.point("without a certificate there is no handshake", || {
        let said = shown(sandbox, &address);
        ensure_that!(said.is_err(), "a certificate before there is one");
        Ok(())
    })?;
    approve(&up)?;
    let first = sandbox.point("it shows the serving certificate", || {
        followed(sandbox, &agent, &address, "")
    })?;
    verified(sandbox, &address, &ca)?;
    told(sandbox, &agent, &address)?;

    agent.stop()?;
    let ends = client.not_after.min(first.not_after);
    let moved = ends.checked_sub(SignedDuration::from_hours(8 * 24))?;
    let offset = moved.duration_since(Timestamp::now()).as_secs();
    agent.start_at(&FakeClock::Offset(offset))?;
    let mut old = sandbox.point("a restarted agent shows the same one", || {
        let shown = eventually("the endpoint", 15, || shown(sandbox, &address))?;
        same("serial", &shown.serial, &first.serial)?;
        Connection::open(sandbox, &address)
    })?;
    approve(&up)?;
    sandbox.point("new connections see the renewed one, old ones live", || {
        eventually("the next certificate", 20, || {
            old.ask()?;
            let shown = shown(sandbox, &address)?;
            ensure_that!(shown.serial != first.serial, "still {}", shown.serial);
            Ok(())
        })?;
        followed(sandbox, &agent, &address, &first.serial)?;
        old.ask()
    })?;
    drop(old);
    agent.stop()?;
    Ok(Verdict::Passed)
}

/// Has a person approve the serving request that waits.
fn approve(up: &Up<'_>) -> Result<()> {
    let admin = up.admin();
    let name = eventually("the serving request", 20, || {
        let list = admin.json(&["get", "csr"])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let waits = items.iter().find(|item| {
            item["spec"]["signerName"] == SERVING && item["status"]["conditions"].is_null()
        });
        let name = waits.and_then(|item| item["metadata"]["name"].as_str());
        name.map(ToOwned::to_owned).context("none waits")
    })?;
    admin.quiet(&["certificate", "approve", &name]).map(drop)
}

/// The certificate that the endpoint shows.
pub(super) fn shown(sandbox: &Sandbox, address: &str) -> Result<Certificate> {
    let args = ["s_client", "-connect", address];
    let answer = sandbox.openssl_fed(&args, Path::new("/dev/null"))?;
    let file = sandbox.write("shown.pem", &answer.stdout)?;
    Certificate::read(sandbox, &file)
}

/// The endpoint shows what the cert dir holds, which is not `before`.
fn followed(
    sandbox: &Sandbox,
    agent: &Agent<'_>,
    address: &str,
    before: &str,
) -> Result<Certificate> {
    eventually("the certificate of the cert dir", 15, || {
        let path = agent.path("pki/kubelet-server-current.pem");
        let on_disk = Certificate::read(sandbox, &path)?;
        let shown = shown(sandbox, address)?;
        same("serial", &shown.serial, &on_disk.serial)?;
        ensure_that!(shown.serial != before, "still the one before");
        Ok(shown)
    })
}

fn verified(sandbox: &Sandbox, address: &str, ca: &Path) -> Result<()> {
    sandbox.point("TLS 1.2 and 1.3 verify it by the cluster's CA", || {
        for version in ["-tls1_2", "-tls1_3"] {
            let args = [
                "s_client",
                version,
                "-connect",
                address,
                "-CAfile",
                arg(ca),
                "-verify_hostname",
                "n2",
                "-verify_return_error",
            ];
            sandbox.openssl_fed(&args, Path::new("/dev/null"))?.ok()?;
        }
        Ok(())
    })
}

/// What is told to whom.
fn told(sandbox: &Sandbox, agent: &Agent<'_>, address: &str) -> Result<()> {
    sandbox
        .openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            "other.key",
            "-out",
            "other.crt",
            "-days",
            "2",
            "-subj",
            "/O=system:masters/CN=admin",
        ])?
        .ok()?;
    let own = agent.path("pki/kubelet-client-current.pem");
    let (nobody, own) = ([].as_slice(), ["-cert", arg(&own), "-key", arg(&own)]);
    let other = ["-cert", "other.crt", "-key", "other.key"];
    sandbox.point("strangers learn yes or no, clients of the CA all", || {
        for (who, path, status, word) in [
            (nobody, "/healthz", "200", "ok"),
            (nobody, "/readyz", "200", "ok"),
            (nobody, "/metrics", "403", "none was shown"),
            (&other, "/metrics", "403", "signed by no authority"),
            (&other, "/healthz", "200", "ok"),
            (&own, "/metrics", "200", "everleaf_agent_certificate_expiry"),
        ] {
            let answer = get(sandbox, address, path, who)?;
            let head = format!("HTTP/1.1 {status} ");
            ensure_that!(answer.contains(&head), "{who:?} {path}: {answer}");
            ensure_that!(answer.contains(word), "{who:?} {path}: {answer}");
            ensure_that!(!answer.contains("PRIVATE"), "{answer}");
        }
        Ok(())
    })
}

fn get(sandbox: &Sandbox, address: &str, path: &str, who: &[&str]) -> Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: n2\r\nConnection: close\r\n\r\n");
    let request = sandbox.write("request", &request)?;
    let mut args = vec!["s_client", "-quiet", "-connect", address];
    args.extend(who);
    Ok(sandbox.openssl_fed(&args, &request)?.stdout)
}

/// One connection that stays.
struct Connection {
    openssl: Child,
    requests: ChildStdin,
    lines: Receiver<String>,
}

impl Connection {
    fn open(sandbox: &Sandbox, address: &str) -> Result<Self> {
        let mut openssl = sandbox
            .command(&sandbox.tools.openssl)
            .args(["s_client", "-quiet", "-connect", address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(fs::File::create(sandbox.path("old.log"))?))
            .spawn()?;
        let requests = openssl.stdin.take().context("no stdin")?;
        let output = BufReader::new(openssl.stdout.take().context("no stdout")?);
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut connection = Self {
            openssl,
            requests,
            lines,
        };
        connection.ask()?;
        Ok(connection)
    }

    /// Asks over the same connection once more.
    fn ask(&mut self) -> Result<()> {
        self.requests
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: n2\r\n\r\n")?;
        // The answer before has no newline at its end.
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(5));
            if line
                .context("the old connection does not answer")?
                .contains("HTTP/1.1 200 ")
            {
                return Ok(());
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.openssl.kill();
        let _ = self.openssl.wait();
    }
}
