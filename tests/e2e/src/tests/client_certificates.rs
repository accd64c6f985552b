//! Who is let in by certificate, as an attacker with openssl and an owner with a bundle find out.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Process, Sandbox, Up, arg, ensure_that, eventually, same};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "who_is_no_authority_in_the_client_ca_file_issues_no_identity",
        long: false,
        run: pinned_leaf,
    },
    Test {
        name: "a_client_that_keeps_tls_sessions_goes_on_as_its_renewed_certificate",
        long: false,
        run: kept_sessions,
    },
];

const WHO_AM_I: &str = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;

/// `everleaf apiserver` on the data of an `up` that has stopped, believing this bundle.
fn apiserver(sandbox: &Sandbox, client_ca: &str) -> Result<(Process, String)> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    up.process.stop()?;
    let bundle = fs::read_to_string(up.path("pki/ca.crt"))? + client_ca;
    let bundle = sandbox.write("client-ca.crt", &bundle)?;
    let port = everleaf_stage::free_port()?.to_string();
    let flags = [
        "apiserver",
        "--data-dir",
        "data",
        "--bind-address",
        "127.0.0.1",
        "--secure-port",
        &port,
        "--client-ca-file",
        arg(&bundle),
    ];
    let server = sandbox.start("apiserver", &mut sandbox.everleaf(&flags))?;
    let address = format!("127.0.0.1:{port}");
    eventually("the API server is ready", 10, || {
        let answer = ask(sandbox, &address, "GET /readyz HTTP/1.1", "", &[])?;
        ensure_that!(answer.contains("200 OK"), "{answer}");
        Ok(())
    })?;
    Ok((server, address))
}

/// One request over a connection of openssl's own; what came back, with openssl's remarks.
fn ask(
    sandbox: &Sandbox,
    address: &str,
    line: &str,
    body: &str,
    options: &[&str],
) -> Result<String> {
    let length = body.len();
    let request = format!(
        "{line}\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let request = sandbox.write("request.http", &request)?;
    let fixed = [
        "s_client",
        "-connect",
        address,
        "-CAfile",
        "data/pki/ca.crt",
    ];
    let answer = sandbox.openssl_fed(&[&fixed[..], &["-ign_eof"], options].concat(), &request)?;
    Ok(answer.stdout + &answer.stderr)
}

/// The status line, and the document if there is one, of a SelfSubjectReview.
fn who_am_i(sandbox: &Sandbox, address: &str, options: &[&str]) -> Result<(String, String)> {
    let line = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1";
    let answer = ask(sandbox, address, line, WHO_AM_I, options)?;
    let status = answer
        .lines()
        .find(|line| line.starts_with("HTTP/1.1"))
        .with_context(|| format!("no answer: {answer}"))?;
    Ok((status.trim().to_owned(), answer))
}

/// A key of its own and a self-signed certificate.
fn self_signed(sandbox: &Sandbox, name: &str, subject: &str, extensions: &[&str]) -> Result<()> {
    let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
    let fixed = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        subject,
        "-keyout",
        &key,
        "-out",
        &certificate,
    ];
    let extensions = extensions.iter().flat_map(|text| ["-addext", *text]);
    let args: Vec<&str> = fixed.into_iter().chain(extensions).collect();
    sandbox.openssl(&args)?.ok()?;
    Ok(())
}

/// A pinned leaf, what its key signs, and a pinned certificate with a short RSA key.
fn make_pinned(sandbox: &Sandbox) -> Result<()> {
    let leaf_only = ["basicConstraints=critical,CA:FALSE"];
    self_signed(sandbox, "pinned", "/CN=pinned", &leaf_only)?;
    self_signed(
        sandbox,
        "request",
        "/O=system:masters/CN=mallory",
        &leaf_only,
    )?;
    sandbox
        .openssl(&[
            "x509",
            "-in",
            "request.crt",
            "-CA",
            "pinned.crt",
            "-CAkey",
            "pinned.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-out",
            "forged.crt",
        ])?
        .ok()?;
    sandbox
        .openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:1024",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=short",
            "-keyout",
            "short.key",
            "-out",
            "short.crt",
        ])?
        .ok()?;
    Ok(())
}

fn pinned_leaf(sandbox: &Sandbox) -> Result<Verdict> {
    make_pinned(sandbox)?;
    let pinned = fs::read_to_string(sandbox.path("pinned.crt"))?;
    let short = fs::read_to_string(sandbox.path("short.crt"))?;
    let (mut server, address) = apiserver(sandbox, &(pinned + &short))?;
    let with = |name: &str| [format!("{name}.crt"), format!("{name}.key")];
    let show = |certificate: &str, key: &str| {
        who_am_i(sandbox, &address, &["-cert", certificate, "-key", key])
    };
    let (status, _) = show("forged.crt", "request.key")?;
    same("forged", status.as_str(), "HTTP/1.1 401 Unauthorized")?;
    let [certificate, key] = with("pinned");
    let (status, answer) = show(&certificate, &key)?;
    same("pinned", status.as_str(), "HTTP/1.1 201 Created")?;
    ensure_that!(answer.contains(r#""username":"pinned""#), "{answer}");
    // A key of 1024 bits is believed where its signature can be checked: over TLS 1.2.
    let old = |version| {
        let weak = ["-cipher", "DEFAULT@SECLEVEL=0", version];
        let pair = ["-cert", "short.crt", "-key", "short.key"];
        who_am_i(sandbox, &address, &[&weak[..], &pair[..]].concat())
    };
    let (status, answer) = old("-tls1_2")?;
    same("short RSA key", status.as_str(), "HTTP/1.1 201 Created")?;
    ensure_that!(answer.contains(r#""username":"short""#), "{answer}");
    ensure_that!(old("-tls1_3").is_err(), "TLS 1.3 has no such signature");
    let log = server.stderr();
    ensure_that!(
        log.contains("CN=pinned: it is no CA certificate"),
        "nobody was told: {log}"
    );
    let refusals: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("a client certificate is refused"))
        .collect();
    let named = "WARN a client certificate is refused (CN=mallory,O=system:masters, serial number";
    ensure_that!(
        matches!(refusals[..], [line] if line.contains(named)),
        "whose was refused is told once: {refusals:?}"
    );
    server.stop()?;
    Ok(Verdict::Passed)
}

/// Seconds that the old certificate has left when it is used first.
const OLD_SECONDS: u64 = 8;

fn kept_sessions(sandbox: &Sandbox) -> Result<Verdict> {
    let ca = [
        "basicConstraints=critical,CA:TRUE",
        "keyUsage=critical,keyCertSign",
    ];
    self_signed(sandbox, "own-ca", "/CN=own-ca", &ca)?;
    let authority = fs::read_to_string(sandbox.path("own-ca.crt"))?;
    let (mut server, address) = apiserver(sandbox, &authority)?;
    for version in ["-tls1_3", "-tls1_2"] {
        let end = now() + Duration::from_secs(OLD_SECONDS);
        issue(sandbox, "old", end)?;
        issue(sandbox, "renewed", end + Duration::from_secs(3600))?;
        let ask = |name: &str, session: &str| {
            let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
            let session = [session, "session.pem"];
            let options = [version, "-cert", &certificate, "-key", &key];
            // Without a first session there is nothing to bring along.
            let has_session = session[0] == "-sess_out" || sandbox.path("session.pem").exists();
            let session = if has_session { &session[..] } else { &[] };
            who_am_i(sandbox, &address, &[&options[..], session].concat())
        };
        let (status, _) = ask("old", "-sess_out")?;
        same("old", status.as_str(), "HTTP/1.1 201 Created")?;
        let fingerprint = fingerprint(sandbox, Path::new("renewed.crt"))?;
        let as_renewed = || {
            let (status, answer) = ask("renewed", "-sess_in")?;
            same(version, status.as_str(), "HTTP/1.1 201 Created")?;
            ensure_that!(
                answer.contains(&fingerprint),
                "went on as the old one: {answer}"
            );
            ensure_that!(
                !answer.contains("Reused,"),
                "the session was resumed: {answer}"
            );
            Ok(())
        };
        as_renewed()?;
        eventually("the old certificate has ended", 2 * OLD_SECONDS, || {
            let (status, _) = ask("old", "-sess_out")?;
            same("old", status.as_str(), "HTTP/1.1 401 Unauthorized")
        })?;
        as_renewed()?;
        let _ = fs::remove_file(sandbox.path("session.pem"));
    }
    server.stop()?;
    Ok(Verdict::Passed)
}

#[expect(
    clippy::disallowed_methods,
    reason = "openssl and the server have the real time"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// SHA-256 as the API server tells it.
fn fingerprint(sandbox: &Sandbox, certificate: &Path) -> Result<String> {
    let args = [
        "x509",
        "-in",
        arg(certificate),
        "-noout",
        "-fingerprint",
        "-sha256",
    ];
    let text = sandbox.openssl(&args)?.ok()?;
    let (_, hex) = text.trim().split_once('=').context("a fingerprint")?;
    Ok(hex.replace(':', "").to_lowercase())
}

/// A client certificate of `own-ca` that ends then: `openssl ca` alone can say when.
fn issue(sandbox: &Sandbox, name: &str, end: SystemTime) -> Result<()> {
    let config = "[ca]\ndefault_ca = own\n[own]\nnew_certs_dir = .\ndatabase = index.txt\nrand_serial = yes\n\
                  unique_subject = no\npolicy = any\ndefault_md = sha256\nx509_extensions = client\n\
                  [any]\ncommonName = supplied\n[client]\nextendedKeyUsage = clientAuth\n";
    sandbox.write("ca.cnf", config)?;
    sandbox.write("index.txt", "")?;
    let (key, request, certificate) = (
        format!("{name}.key"),
        format!("{name}.csr"),
        format!("{name}.crt"),
    );
    sandbox
        .openssl(&[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=renewing",
            "-keyout",
            &key,
            "-out",
            &request,
        ])?
        .ok()?;
    let seconds = end.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let end = jiff::Timestamp::from_second(i64::try_from(seconds)?)?;
    let end = end.strftime("%y%m%d%H%M%SZ").to_string();
    sandbox
        .openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-config",
            "ca.cnf",
            "-cert",
            "own-ca.crt",
            "-keyfile",
            "own-ca.key",
            "-startdate",
            "200101000000Z",
            "-enddate",
            &end,
            "-in",
            &request,
            "-out",
            &certificate,
        ])?
        .ok()?;
    Ok(())
}
