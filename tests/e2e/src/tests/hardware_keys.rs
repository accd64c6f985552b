//! A node's keys in a PKCS#11 token: SoftHSM, looked into with GnuTLS' p11tool.

use super::serving_approval::SERVING as SERVING_SIGNER;
use super::tls_endpoint::shown;
use anyhow::{Context, Result, bail};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Certificate, FakeClock, Sandbox, Up, arg, ensure_that, eventually, free_port, run, same,
};
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) const TESTS: &[Test] = &[Test {
    name: "keys_of_a_node_stay_in_a_token",
    long: false,
    run: in_a_token,
}];

const CLIENT: &str = "pki/kubelet-client-current.pem";
const SERVING: &str = "pki/kubelet-server-current.pem";

fn in_a_token(sandbox: &Sandbox) -> Result<Verdict> {
    let Some(stacks) = sandbox.tools.tls_stacks.clone() else {
        return Ok(Verdict::Skipped("SoftHSM could not be unpacked".to_owned()));
    };
    let token = Token::new(sandbox, stacks)?;
    let up = Up::start(sandbox, &["--no-node"])?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut agent = Agent::new(sandbox, &up, "n2");
    for word in [
        "--rotate-server-certificates",
        "--node-ip",
        "127.0.0.1",
        "--tls-bind-address",
        &address,
    ] {
        agent.args.push(word.to_owned());
    }
    refused(&agent, &token)?;
    let plain = agent.args.clone();
    agent.args.extend(["--key-store".to_owned(), token.uri()]);
    token.start(&mut agent, None)?;
    let client = agent.certificate()?;
    sandbox.point("both keys are in the token, and are not to be had", || {
        serving(sandbox, &up, &agent, "")?;
        stays(
            sandbox,
            &token,
            &[CLIENT, SERVING].map(|name| agent.path(name)),
        )
    })?;
    sandbox.point("TLS 1.2 and 1.3 are spoken with them", || {
        // The serving request was filed with the client certificate.
        let list = up.admin().json(&["get", "csr"])?;
        let items = list["items"].as_array().context("no requests")?;
        let by_node = items
            .iter()
            .any(|item| item["spec"]["username"] == "system:node:n2");
        ensure_that!(by_node, "{list}");
        handshakes(sandbox, &up, &address)
    })?;
    away(sandbox, &up, &token, &mut agent, &address)?;
    renewed(sandbox, &up, &token, &mut agent, &client)?;
    wrong_pin(sandbox, &up, &token, &agent)?;
    back_to_files(sandbox, &token, &mut agent, plain)?;
    Ok(Verdict::Passed)
}

/// A SoftHSM token.
struct Token<'a> {
    sandbox: &'a Sandbox,
    stacks: PathBuf,
    module: PathBuf,
    config: PathBuf,
    pin: PathBuf,
}

impl<'a> Token<'a> {
    fn new(sandbox: &'a Sandbox, stacks: PathBuf) -> Result<Self> {
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
        let token = Self {
            sandbox,
            stacks,
            module,
            config: sandbox.write("softhsm2.conf", &text)?,
            pin: sandbox.write("pin", "1357\n")?,
        };
        let mut tool = sandbox.unpacked(&token.stacks, "softhsm2-util");
        tool.arg("--module").arg(&token.module);
        tool.args(["--init-token", "--free", "--label", "node"]);
        tool.args(["--pin", "1357", "--so-pin", "2468"]);
        run(token.with(&mut tool))?.ok()?;
        Ok(token)
    }

    fn with<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("SOFTHSM2_CONF", &self.config)
    }

    fn uri(&self) -> String {
        format!(
            "pkcs11:token=node?module-path={}&pin-source=file:{}",
            self.module.display(),
            self.pin.display()
        )
    }

    fn start(&self, agent: &mut Agent<'_>, clock: Option<i64>) -> Result<()> {
        let mut command = agent.command();
        if let Some(offset) = clock {
            FakeClock::Offset(offset).apply(self.sandbox, &mut command);
        }
        agent.process = Some(self.sandbox.start(&agent.name, self.with(&mut command))?);
        Ok(())
    }

    /// The private keys, as p11tool describes them.
    fn private_keys(&self) -> Result<Vec<String>> {
        let mut tool = self.sandbox.unpacked(&self.stacks, "p11tool");
        tool.arg("--provider").arg(&self.module);
        tool.args(["--list-all-privkeys", "--login", "--set-pin", "1357"]);
        tool.arg("pkcs11:token=node");
        let text = run(self.with(&mut tool))?.ok()?;
        let objects = text.split("Object ").skip(1);
        Ok(objects.map(str::to_owned).collect())
    }

    fn holds(&self, number: usize) -> Result<()> {
        eventually("what nobody uses is deleted", 20, || {
            let keys = self.private_keys()?;
            ensure_that!(keys.len() == number, "{number} keys expected: {keys:?}");
            Ok(())
        })
    }
}

/// The serving certificate that is not `before`; a person approves what waits meanwhile.
fn serving(sandbox: &Sandbox, up: &Up<'_>, agent: &Agent<'_>, before: &str) -> Result<Certificate> {
    let admin = up.admin();
    eventually("the serving certificate", 20, || {
        let list = admin.json(&["get", "csr"])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let waiting = items.iter().filter(|item| {
            item["spec"]["signerName"] == SERVING_SIGNER && item["status"]["conditions"].is_null()
        });
        for name in waiting.filter_map(|item| item["metadata"]["name"].as_str()) {
            // It may be given up by now.
            let _ = admin.quiet(&["certificate", "approve", name]);
        }
        let certificate = Certificate::read(sandbox, &agent.path(SERVING))?;
        ensure_that!(certificate.serial != before, "still {before}");
        Ok(certificate)
    })
}

/// What is said before anything is done.
fn refused(agent: &Agent<'_>, token: &Token<'_>) -> Result<()> {
    let with = |words: &[&str]| {
        let mut command = agent.command();
        command.args(words);
        run(token.with(&mut command))
    };
    let uri = token.uri();
    let told = with(&[
        "--key-store",
        &uri,
        "--client-certificate-key-algorithm",
        "RSA-2048",
    ])?;
    let told = told.failed_with(2)?;
    ensure_that!(told.contains("choose ECDSA-P256 or ECDSA-P384"), "{told}");
    let shown = format!("{uri}&pin-value=8642");
    let told = with(&["--key-store", &shown])?.failed_with(2)?;
    ensure_that!(
        told.contains("put it into a file") && !told.contains("8642"),
        "{told}"
    );
    let missing = uri.replace("libsofthsm2.so", "absent.so");
    let told = with(&["--key-store", &missing, "--once"])?.failed_with(1)?;
    ensure_that!(told.contains("absent.so cannot be used"), "{told}");
    Ok(())
}

/// The files name keys of the token, which are as many, and marked as they should be.
fn stays(sandbox: &Sandbox, token: &Token<'_>, files: &[PathBuf]) -> Result<()> {
    for file in files {
        let text = fs::read_to_string(file)?;
        ensure_that!(
            text.contains("BEGIN PKCS#11 PROVIDER URI") && !text.contains("PRIVATE KEY"),
            "{text}"
        );
    }
    let dir = sandbox.path("n2/pki");
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        ensure_that!(!text.contains("PRIVATE KEY"), "{}: {text}", path.display());
    }
    token.holds(files.len())?;
    for key in token.private_keys()? {
        let marks = ["CKA_SENSITIVE", "CKA_NEVER_EXTRACTABLE"];
        ensure_that!(marks.iter().all(|mark| key.contains(mark)), "{key}");
        ensure_that!(key.contains("everleaf-n2-kubelet-"), "{key}");
    }
    Ok(())
}

fn handshakes(sandbox: &Sandbox, up: &Up<'_>, address: &str) -> Result<()> {
    let ca = up.path("pki/ca.crt");
    for version in ["-tls1_2", "-tls1_3"] {
        let connect = ["s_client", version, "-connect", address];
        let verify = ["-CAfile", arg(&ca), "-verify_hostname", "n2"];
        let args = [&connect[..], &verify, &["-verify_return_error"]].concat();
        sandbox.openssl_fed(&args, Path::new("/dev/null"))?.ok()?;
    }
    Ok(())
}

/// A token that is pulled out, while the agent runs and when it starts.
fn away(
    sandbox: &Sandbox,
    up: &Up<'_>,
    token: &Token<'_>,
    agent: &mut Agent<'_>,
    address: &str,
) -> Result<()> {
    let (place, drawer) = (sandbox.path("tokens"), sandbox.path("tokens.away"));
    let pull = || -> Result<()> {
        fs::rename(&place, &drawer)?;
        Ok(fs::create_dir(&place)?)
    };
    let put_back = || -> Result<()> {
        fs::remove_dir_all(&place)?;
        Ok(fs::rename(&drawer, &place)?)
    };
    let before = Certificate::read(sandbox, &agent.path(SERVING))?;
    sandbox.point(
        "a token that is away is told, and is used when it is back",
        || {
            pull()?;
            ensure_that!(handshakes(sandbox, up, address).is_err(), "without a key?");
            eventually("the log says so", 10, || {
                let log = agent.log();
                let words = "the token does not sign";
                ensure_that!(
                    log.contains(words) && log.contains("no token fits"),
                    "{log}"
                );
                Ok(())
            })?;
            put_back()?;
            handshakes(sandbox, up, address)
        },
    )?;
    sandbox.point(
        "an agent that starts without it waits, and loses nothing",
        || {
            agent.stop()?;
            pull()?;
            token.start(agent, None)?;
            eventually("the log says so", 10, || {
                let log = agent.log();
                ensure_that!(log.contains("the token cannot be used now"), "{log}");
                Ok(())
            })?;
            ensure_that!(shown(sandbox, address).is_err(), "without a key?");
            put_back()?;
            eventually("the endpoint", 10, || handshakes(sandbox, up, address))?;
            let after = shown(sandbox, address)?;
            same("serial", &after.serial, &before.serial)?;
            stays(
                sandbox,
                token,
                &[CLIENT, SERVING].map(|name| agent.path(name)),
            )
        },
    )
}

/// A new key for each certificate; what is used no more is deleted, by whomever it was left.
#[expect(
    clippy::disallowed_methods,
    reason = "offsets for faketime are counted from the present"
)]
fn renewed(
    sandbox: &Sandbox,
    up: &Up<'_>,
    token: &Token<'_>,
    agent: &mut Agent<'_>,
    client: &Certificate,
) -> Result<()> {
    let moved = client
        .not_after
        .checked_sub(SignedDuration::from_hours(8 * 24))?;
    let offset = moved.duration_since(Timestamp::now()).as_secs();
    let before = &Certificate::read(sandbox, &agent.path(SERVING))?.serial;
    sandbox.point("the key before is deleted when the next is in use", || {
        agent.kill();
        token.start(agent, Some(offset))?;
        agent.renewed(client, 20)?;
        serving(sandbox, up, agent, before)?;
        token.holds(2)?;
        stays(
            sandbox,
            token,
            &[CLIENT, SERVING].map(|name| agent.path(name)),
        )
    })?;
    sandbox.point("so is one that a crash has left", || {
        agent.kill();
        for entry in fs::read_dir(agent.path("pki"))? {
            let path = entry?.path();
            if path.display().to_string().contains("kubelet-server") {
                fs::remove_file(&path)?;
            }
        }
        token.start(agent, None)?;
        serving(sandbox, up, agent, before)?;
        token.holds(2)
    })
}

fn wrong_pin(sandbox: &Sandbox, up: &Up<'_>, token: &Token<'_>, agent: &Agent<'_>) -> Result<()> {
    sandbox.point(
        "the PIN is in no log, and a wrong one is told without it",
        || {
            let log = agent.log();
            ensure_that!(!log.contains("1357"), "{log}");
            sandbox.write("pin", "8642\n")?;
            let mut other = Agent::new(sandbox, up, "n3");
            other.args.extend(["--key-store".to_owned(), token.uri()]);
            let mut command = other.command();
            command.arg("--once");
            let told = run(token.with(&mut command))?.failed_with(1)?;
            ensure_that!(
                told.contains("the token refuses the PIN in") && !told.contains("8642"),
                "{told}"
            );
            sandbox.write("pin", "1357\n")?;
            Ok(())
        },
    )
}

/// Nobody falls from a token to files without having said so.
#[expect(
    clippy::disallowed_methods,
    reason = "offsets for faketime are counted from the present"
)]
fn back_to_files(
    sandbox: &Sandbox,
    token: &Token<'_>,
    agent: &mut Agent<'_>,
    plain: Vec<String>,
) -> Result<()> {
    sandbox.point("only `--key-store file` leads back to files", || {
        agent.stop()?;
        agent.args = plain;
        let told = run(token.with(&mut agent.command()))?.failed_with(1)?;
        ensure_that!(
            told.contains("in a token") && told.contains("--key-store file"),
            "{told}"
        );
        agent
            .args
            .extend(["--key-store", "file"].map(str::to_owned));
        let client = agent.certificate_now()?;
        let moved = client
            .not_after
            .checked_sub(SignedDuration::from_hours(8 * 24))?;
        let offset = moved.duration_since(Timestamp::now()).as_secs();
        token.start(agent, Some(offset))?;
        agent.renewed(&client, 20)?;
        let text = fs::read_to_string(agent.path(CLIENT))?;
        ensure_that!(text.contains("BEGIN EC PRIVATE KEY"), "{text}");
        agent.stop()
    })
}
