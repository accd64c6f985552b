//! CAs of `everleaf controllers`: renewed, replaced, and with a key in a token.

use super::second_node::{CLIENT_USAGES, KUBELET_CLIENT};
use anyhow::{Context, Result, bail};
use base64::Engine;
use everleaf_stage::page::{self, Mark};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Certificate, Kubectl, Process, Sandbox, Up, arg, ensure_that, eventually, run, same,
    signing_request,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_ca_is_renewed_with_its_key_and_another_key_under_its_name_is_refused",
        long: true,
        run: renewal,
    },
    Test {
        name: "a_ca_key_in_a_token_signs_and_does_so_again_after_the_token_was_away",
        long: true,
        run: token,
    },
];

/// The controllers look at files once a minute.
const RELOAD_SECONDS_MAX: u64 = 90;
const DOCUMENT: &str = include_str!("../../../../docs/ca.md");

/// The command that docs/ca.md gives for renewing a CA with its key, in the directory of `ca.crt`
/// and `ca.key`.
pub(super) fn renew(sandbox: &Sandbox, directory: &Path) -> Result<()> {
    let renewal = page::read(DOCUMENT)?.blocks.into_iter().find(
        |block| matches!(&block.mark, Some(Mark::Tested { name: Some(name), .. }) if name == "renewal"),
    );
    let script = renewal.context("docs/ca.md lacks the command")?.commands();
    let mut shell = sandbox.command(Path::new("/bin/sh"));
    shell.current_dir(directory);
    run(shell.args(["-e", "-c", &script]))?.ok()?;
    Ok(())
}

/// An API server without controllers, on the data of an `up` that has stopped.
pub(super) fn apiserver<'a>(sandbox: &'a Sandbox) -> Result<(Up<'a>, Process)> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    let listen = up
        .args_mut()
        .iter()
        .find_map(|arg| arg.strip_prefix("127.0.0.1:"));
    let port = listen.context("up listens nowhere")?.to_owned();
    up.process.stop()?;
    let flags = [
        "apiserver",
        "--data-dir",
        "data",
        "--bind-address",
        "127.0.0.1",
    ];
    let mut command = sandbox.everleaf(&flags);
    command.args(["--secure-port", &port]);
    command.arg("--client-ca-file").arg(up.path("pki/ca.crt"));
    let server = sandbox.start("apiserver", &mut command)?;
    eventually("the API server is ready", 20, || {
        up.admin().quiet(&["get", "--raw", "/readyz"])
    })?;
    Ok((up, server))
}

/// `everleaf controllers` with this CA, as the administrator.
fn controllers(sandbox: &Sandbox, up: &Up<'_>, key: &str, flags: &[&str]) -> Command {
    let mut command = sandbox.everleaf(&["controllers", "--leader-elect=false", "--kubeconfig"]);
    command.arg(up.path("admin.conf"));
    command.args(["--cluster-signing-cert-file", "ca.crt"]);
    command.args(["--cluster-signing-key-file", key]);
    command.args(flags);
    command
}

/// A self-signed CA, `ca.crt`, of a key that is there.
fn self_signed(sandbox: &Sandbox, key: &str, days: &str, out: &str) -> Result<()> {
    let fixed = ["req", "-x509", "-subj", "/CN=kubernetes", "-addext"];
    let usage = [
        "keyUsage=critical,keyCertSign,cRLSign",
        "-key",
        key,
        "-days",
        days,
        "-out",
        out,
    ];
    sandbox.openssl(&[&fixed[..], &usage].concat())?.ok()?;
    Ok(())
}

fn new_key(sandbox: &Sandbox, out: &str) -> Result<()> {
    let args = ["ecparam", "-name", "prime256v1", "-genkey", "-out", out];
    sandbox.openssl(&args)?.ok()?;
    Ok(())
}

/// `encrypted.key` of a key, with the password in `password`.
fn encrypt(sandbox: &Sandbox, key: &str) -> Result<()> {
    let args = ["pkcs8", "-topk8", "-in", key, "-out", "encrypted.key"];
    let password = ["-passout", "file:password"];
    sandbox.openssl(&[&args[..], &password].concat())?.ok()?;
    Ok(())
}

/// Files a node's request and approves it by hand.
fn file(sandbox: &Sandbox, admin: &Kubectl<'_>, name: &str) -> Result<()> {
    let subject = format!("/O=system:nodes/CN=system:node:{name}");
    let request = signing_request(sandbox, name, &subject, KUBELET_CLIENT, CLIENT_USAGES)?;
    admin.quiet(&["create", "--validate=false", "-f", arg(&request)])?;
    admin.quiet(&["certificate", "approve", name])?;
    Ok(())
}

/// Its certificate, once there is one, as a file.
fn issued(sandbox: &Sandbox, admin: &Kubectl<'_>, name: &str, seconds: u64) -> Result<PathBuf> {
    let text = eventually(&format!("the certificate of {name}"), seconds, || {
        let path = ["get", "csr", name, "-o", "jsonpath={.status.certificate}"];
        let text = admin.quiet(&path)?;
        ensure_that!(!text.is_empty(), "not issued");
        Ok(text)
    })?;
    let pem = base64::engine::general_purpose::STANDARD.decode(text)?;
    sandbox.write(&format!("{name}.crt"), std::str::from_utf8(&pem)?)
}

fn verify(sandbox: &Sandbox, ca: &str, leaf: &Path) -> Result<()> {
    let args = ["verify", "-purpose", "sslclient", "-CAfile", ca, arg(leaf)];
    sandbox.openssl(&args)?.ok()?;
    Ok(())
}

/// Waits for an Event that `kubectl get events -A` shows.
fn noted(admin: &Kubectl<'_>, reason: &str, words: &str) -> Result<()> {
    eventually(reason, RELOAD_SECONDS_MAX, || {
        let events = admin.quiet(&["get", "events", "-A", "--no-headers"])?;
        let line = events.lines().find(|line| line.contains(reason));
        let line = line.with_context(|| format!("not among {events}"))?;
        ensure_that!(line.contains("namespace/kube-system"), "{line}");
        ensure_that!(line.contains(words), "{line}");
        Ok(())
    })
}

fn logged(process: &Process, words: &str, seconds_max: u64) -> Result<()> {
    eventually(words, seconds_max, || {
        let log = process.stderr();
        ensure_that!(log.contains(words), "{log}");
        Ok(())
    })
}

fn renewal(sandbox: &Sandbox) -> Result<Verdict> {
    let (up, _server) = apiserver(sandbox)?;
    let admin = up.admin();
    new_key(sandbox, "ca.key")?;
    self_signed(sandbox, "ca.key", "20", "ca.crt")?;
    sandbox.write("password", "open sesame\n")?;
    encrypt(sandbox, "ca.key")?;
    let flags = ["--cluster-signing-key-password-file", "password"];
    let mut command = controllers(sandbox, &up, "encrypted.key", &flags);
    let process = sandbox.start("controllers", &mut command)?;
    let first = sandbox.point(
        "an encrypted key signs; a CA that ends soon, and what it cuts short, are Events",
        || {
            file(sandbox, &admin, "n1")?;
            let first = issued(sandbox, &admin, "n1", 20)?;
            let ca = Certificate::read(sandbox, &sandbox.path("ca.crt"))?;
            same(
                "end",
                Certificate::read(sandbox, &first)?.not_after,
                ca.not_after,
            )?;
            noted(&admin, "SignerCAExpiring", "renew it with the same key")?;
            noted(&admin, "CertificateLifetimeTruncated", "end with their CA")?;
            ensure_that!(
                !process.stderr().contains("sesame"),
                "the password is in the log"
            );
            Ok(first)
        },
    )?;
    sandbox.point(
        "the documented command renews the CA with its key; what it signed before stays good",
        || {
            fs::copy(sandbox.path("ca.crt"), sandbox.path("old.crt"))?;
            renew(sandbox, &sandbox.path(""))?;
            logged(
                &process,
                "the CA was renewed with its key",
                RELOAD_SECONDS_MAX,
            )?;
            verify(sandbox, "ca.crt", &first)?;
            file(sandbox, &admin, "n2")?;
            let second = issued(sandbox, &admin, "n2", 20)?;
            verify(sandbox, "ca.crt", &second)?;
            verify(sandbox, "old.crt", &second)?;
            let year = Certificate::read(sandbox, &second)?.lifetime();
            same("lifetime", year.as_hours(), 8760)
        },
    )?;
    sandbox.point(
        "another key under its name is refused, and the old CA signs",
        || {
            fs::copy(sandbox.path("ca.crt"), sandbox.path("old.crt"))?;
            new_key(sandbox, "other.key")?;
            self_signed(sandbox, "other.key", "3650", "other.crt")?;
            encrypt(sandbox, "other.key")?;
            fs::copy(sandbox.path("other.crt"), sandbox.path("ca.crt"))?;
            noted(&admin, "CAReloadFailed", "and another key")?;
            file(sandbox, &admin, "n3")?;
            verify(sandbox, "old.crt", &issued(sandbox, &admin, "n3", 20)?)
        },
    )?;
    Ok(Verdict::Passed)
}

fn token(sandbox: &Sandbox) -> Result<Verdict> {
    let Some(stacks) = sandbox.tools.tls_stacks.clone() else {
        return Ok(Verdict::Skipped("SoftHSM could not be unpacked".to_owned()));
    };
    let (up, _server) = apiserver(sandbox)?;
    let admin = up.admin();
    new_key(sandbox, "ca.key")?;
    self_signed(sandbox, "ca.key", "3650", "ca.crt")?;
    let (module, config) = soft_token(sandbox, &stacks)?;
    let pin = sandbox.write("pin", "1357\n")?;
    let uri = format!(
        "pkcs11:token=ca;object=signing?module-path={}&pin-source=file:{}",
        module.display(),
        pin.display()
    );
    let with_token = |uri: &str| {
        let mut command = controllers(sandbox, &up, uri, &[]);
        command.env("SOFTHSM2_CONF", &config);
        command
    };
    let process = sandbox.start("controllers", &mut with_token(&uri))?;
    sandbox.point("the key in the token signs", || {
        file(sandbox, &admin, "n1")?;
        verify(sandbox, "ca.crt", &issued(sandbox, &admin, "n1", 20)?)
    })?;
    sandbox.point(
        "while the token is away, requests wait, and the log says why",
        || {
            fs::rename(sandbox.path("tokens"), sandbox.path("tokens.away"))?;
            fs::create_dir(sandbox.path("tokens"))?;
            file(sandbox, &admin, "n2")?;
            logged(&process, "error auto signing csr", 20)?;
            let conditions = ["get", "csr", "n2", "-o", "jsonpath={.status}"];
            let status = admin.quiet(&conditions)?;
            ensure_that!(
                !status.contains("Failed") && !status.contains("certificate\":"),
                "{status}"
            );
            Ok(())
        },
    )?;
    sandbox.point("it signs again when the token is back", || {
        fs::remove_dir_all(sandbox.path("tokens"))?;
        fs::rename(sandbox.path("tokens.away"), sandbox.path("tokens"))?;
        verify(sandbox, "ca.crt", &issued(sandbox, &admin, "n2", 60)?)
    })?;
    wrong(sandbox, &uri, &process.stderr(), with_token)?;
    Ok(Verdict::Passed)
}

/// What is said when the PIN, the URI or the certificate is another.
fn wrong(
    sandbox: &Sandbox,
    uri: &str,
    log: &str,
    with_token: impl Fn(&str) -> Command,
) -> Result<()> {
    sandbox.point(
        "the PIN is in no log, and a wrong one is told without it",
        || {
            ensure_that!(!log.contains("1357"), "{log}");
            sandbox.write("pin", "8642\n")?;
            let error = run(&mut with_token(uri))?.failed_with(1)?;
            ensure_that!(error.contains("the token refuses the PIN in"), "{error}");
            ensure_that!(!error.contains("8642"), "{error}");
            let shown = with_token("pkcs11:object=signing?module-path=/m.so&pin-value=8642");
            let error = run(&mut { shown })?.failed_with(2)?;
            ensure_that!(
                error.contains("put it into a file") && !error.contains("8642"),
                "{error}"
            );
            Ok(())
        },
    )?;
    sandbox.point(
        "a key that is another than the certificate's is refused",
        || {
            sandbox.write("pin", "1357\n")?;
            new_key(sandbox, "other.key")?;
            self_signed(sandbox, "other.key", "3650", "ca.crt")?;
            let error = run(&mut with_token(uri))?.failed_with(1)?;
            ensure_that!(
                error.contains("does not match the CA certificate"),
                "{error}"
            );
            Ok(())
        },
    )?;
    Ok(())
}

/// SoftHSM with a token "ca" that holds the key of `ca.key` as "signing", which then is nowhere
/// else. The library, and its settings.
fn soft_token(sandbox: &Sandbox, stacks: &Path) -> Result<(PathBuf, PathBuf)> {
    let module = stacks.join("usr/lib/softhsm/libsofthsm2.so");
    if !module.is_file() {
        bail!("no {}", module.display());
    }
    let tokens = sandbox.path("tokens");
    fs::create_dir(&tokens)?;
    let text = format!(
        "directories.tokendir = {}\nlog.level = ERROR\n",
        tokens.display()
    );
    let config = sandbox.write("softhsm2.conf", &text)?;
    let plain = [
        "pkcs8",
        "-topk8",
        "-nocrypt",
        "-in",
        "ca.key",
        "-out",
        "plain.key",
    ];
    sandbox.openssl(&plain)?.ok()?;
    let tool = |args: &[&str]| -> Result<()> {
        let mut command = sandbox.unpacked(stacks, "softhsm2-util");
        command.env("SOFTHSM2_CONF", &config);
        command.arg("--module").arg(&module).args(args);
        run(&mut command)?.ok()?;
        Ok(())
    };
    let pins = ["--pin", "1357", "--so-pin", "2468"];
    tool(&[&["--init-token", "--free", "--label", "ca"][..], &pins].concat())?;
    let import = [
        "--import",
        "plain.key",
        "--token",
        "ca",
        "--label",
        "signing",
    ];
    tool(&[&import[..], &["--id", "01", "--pin", "1357"]].concat())?;
    fs::remove_file(sandbox.path("plain.key"))?;
    fs::remove_file(sandbox.path("ca.key"))?;
    Ok((module, config))
}
