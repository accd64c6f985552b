//! Tokens as people make them, and a machine that joins by the line that is printed.

use super::second_node::strings;
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Answer, Certificate, Kubectl, Process, Sandbox, Up, arg, ensure_that, eventually, run, same,
};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "tokens_are_made_listed_and_deleted",
        long: false,
        run: life_of_a_token,
    },
    Test {
        name: "a_machine_joins_by_the_printed_line",
        long: false,
        run: joins,
    },
    Test {
        name: "a_machine_does_not_join_somebody_else",
        long: false,
        run: joins_nobody_else,
    },
    Test {
        name: "an_authority_that_is_gone_is_not_replaced_by_another",
        long: false,
        run: lost_authority,
    },
];

const TOKEN: &str = "abcdef.0123456789abcdef";

/// `everleaf token …` as the admin.
fn token(sandbox: &Sandbox, up: &Up<'_>, args: &[&str]) -> Result<Answer> {
    let admin = up.path("admin.conf");
    let mut command = sandbox.everleaf(&["token"]);
    command.args(args).args(["--kubeconfig", arg(&admin)]);
    run(&mut command)
}

/// A kubeconfig of `up` with this token.
fn kubeconfig(sandbox: &Sandbox, up: &Up<'_>, token: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(up.path("bootstrap-kubelet.conf"))?;
    let lines = text.lines().map(|line| match line.split_once("token:") {
        Some((indent, _)) => format!("{indent}token: {token}\n"),
        None => format!("{line}\n"),
    });
    sandbox.write("token.conf", &lines.collect::<String>())
}

fn life_of_a_token(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let generated = run(&mut sandbox.everleaf(&["token", "generate"]))?.ok()?;
    same("a generated token", generated.trim().len(), 23)?;
    let made = token(
        sandbox,
        &up,
        &["create", TOKEN, "--ttl", "90m", "--description", "rack 7"],
    )?;
    same("what is printed", made.ok()?.trim(), TOKEN)?;
    is_kubeadms(&up.admin())?;
    let by_token = Kubectl::new(sandbox, kubeconfig(sandbox, &up, TOKEN)?);
    let whoami = by_token.json(&["auth", "whoami"])?;
    let user = &whoami["status"]["userInfo"];
    same(
        "who it is",
        &user["username"],
        &json!("system:bootstrap:abcdef"),
    )?;
    let list = token(sandbox, &up, &["list"])?.ok()?;
    let row = list.lines().find(|line| line.starts_with("abcdef "));
    let row = row.with_context(|| format!("no row of it: {list}"))?;
    ensure_that!(
        row.contains("rack 7") && (row.contains("89m") || row.contains(" 90m")),
        "{row}"
    );
    ensure_that!(!list.contains("0123456789abcdef"), "a secret in {list}");
    let list = token(sandbox, &up, &["list", "-o", "json", "--show-secrets"])?.ok()?;
    let list: serde_json::Value = serde_json::from_str(&list)?;
    let own = list.as_array().into_iter().flatten();
    let own: Vec<_> = own.filter(|token| token["id"] == "abcdef").collect();
    same("in JSON", &own[0]["token"], &json!(TOKEN))?;
    wrong_usage(sandbox, &up)?;
    token(sandbox, &up, &["delete", TOKEN])?.ok()?;
    let absent = token(sandbox, &up, &["delete", "abcdef"])?.failed_with(1)?;
    ensure_that!(absent.contains("no token abcdef"), "{absent}");
    let refused = by_token.run(&["get", "csr"])?.failed_with(1)?;
    ensure_that!(
        refused.contains("Unauthorized") || refused.contains("logged in"),
        "{refused}"
    );
    let lacks = run(sandbox
        .everleaf(&["token", "list", "--kubeconfig"])
        .arg(up.path("bootstrap-kubelet.conf")))?;
    let lacks = lacks.failed_with(1)?;
    ensure_that!(
        lacks.contains("cannot list the tokens: secrets is forbidden"),
        "{lacks}"
    );
    Ok(Verdict::Passed)
}

/// Its Secret has the members that kubeadm gives it, and no others.
fn is_kubeadms(admin: &Kubectl<'_>) -> Result<()> {
    let secret = ["-n", "kube-system", "get", "secret"];
    let secret = admin.json(&[&secret[..], &["bootstrap-token-abcdef"]].concat())?;
    same(
        "its type",
        &secret["type"],
        &json!("bootstrap.kubernetes.io/token"),
    )?;
    let keys = secret["data"].as_object().context("no data")?.keys();
    let wanted = [
        "auth-extra-groups",
        "description",
        "expiration",
        "token-id",
        "token-secret",
        "usage-bootstrap-authentication",
        "usage-bootstrap-signing",
    ];
    same(
        "its keys",
        keys.collect::<Vec<_>>(),
        wanted
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .iter()
            .collect(),
    )?;
    Ok(())
}

/// What cannot be meant; no secret is repeated.
fn wrong_usage(sandbox: &Sandbox, up: &Up<'_>) -> Result<()> {
    let again = token(sandbox, up, &["create", TOKEN])?.failed_with(1)?;
    ensure_that!(again.contains("there is a token abcdef already"), "{again}");
    for wrong in [
        &["create", "abcdef.short"][..],
        &["create", "--usages", "sign"],
        &["create", "--groups", "system:masters"],
        &["create", "--print-join-command", "--usages", "signing"],
        &["delete", "0123456789abcdef"],
    ] {
        let told = token(sandbox, up, wrong)?.failed_with(2)?;
        ensure_that!(!told.contains("0123456789abcdef"), "a secret: {told}");
    }
    Ok(())
}

/// The words of the printed line after the program.
fn printed_line(sandbox: &Sandbox, up: &Up<'_>) -> Result<Vec<String>> {
    let line = token(sandbox, up, &["create", "--print-join-command"])?.ok()?;
    same("lines", line.trim().lines().count(), 1)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    same(
        "it begins with",
        &words[..3],
        &["everleaf", "agent", "join"],
    )?;
    Ok(strings(&words[1..]))
}

/// Runs the line with more arguments, in the background.
fn start(sandbox: &Sandbox, line: &[String], more: &[&str]) -> Result<Process> {
    let mut command = sandbox.everleaf(&[]);
    command.args(line).args(more);
    sandbox.start("join", &mut command)
}

/// Runs the line with more arguments to its end.
fn ended(sandbox: &Sandbox, line: &[String], more: &[&str]) -> Result<Answer> {
    run(sandbox.everleaf(&[]).args(line).args(more))
}

const NODE: &[&str] = &["--data-dir", "n2", "--hostname-override", "n2"];

fn joins(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let line = printed_line(sandbox, &up)?;
    leaves_no_half(sandbox, &line)?;
    let mut agent = start(sandbox, &line, NODE)?;
    let current = sandbox.path("n2/pki/kubelet-client-current.pem");
    let first = eventually("the node's certificate", 15, || {
        Certificate::read(sandbox, &current)
    })?;
    let subject = "O = system:nodes, CN = system:node:n2".to_owned();
    same("subject", &first.subject, &subject)?;
    for name in ["bootstrap-kubelet.conf", "agent.yaml", "kubelet.conf"] {
        let mode = fs::metadata(sandbox.path("n2").join(name))?.mode() & 0o777;
        same(name, mode, 0o600)?;
    }
    let node = Kubectl::new(sandbox, sandbox.path("n2/kubelet.conf"));
    let whoami = node.json(&["auth", "whoami"])?;
    same(
        "who it is",
        &whoami["status"]["userInfo"]["username"],
        &json!("system:node:n2"),
    )?;
    same("exit code on SIGTERM", agent.stop()?, 0)?;
    // After a restart it goes on, with the name that it had.
    let mut again = sandbox.everleaf(&["agent", "--data-dir", "n2", "--once"]);
    run(&mut again)?.ok()?;
    let kept = Certificate::read(sandbox, &current)?;
    same("the same certificate", &kept.serial, &first.serial)?;
    // The same line does not overwrite it.
    let told = ended(sandbox, &line, NODE)?.failed_with(1)?;
    ensure_that!(
        told.contains("holds an identity already (system:node:n2"),
        "{told}"
    );
    same(
        "nothing is changed",
        Certificate::read(sandbox, &current)?.serial,
        kept.serial,
    )?;
    // While an agent runs on it, nobody puts it aside.
    let mut command = sandbox.everleaf(&["agent", "--data-dir", "n2"]);
    let mut running = sandbox.start("agent", &mut command)?;
    eventually("the agent runs", 10, || {
        ensure_that!(running.stderr().contains("is on"), "{}", running.stderr());
        Ok(())
    })?;
    let replace = [NODE, &["--replace", "--no-start"]].concat();
    let told = ended(sandbox, &line, &replace)?.failed_with(1)?;
    ensure_that!(told.contains("cannot put the identity aside"), "{told}");
    same("exit code on SIGTERM", running.stop()?, 0)?;
    let told = ended(sandbox, &line, &replace)?.ok()?;
    ensure_that!(told.contains("put aside"), "{told}");
    ensure_that!(!current.exists(), "the identity is still there");
    let aside = fs::read_dir(sandbox.path("n2"))?.flatten();
    let mut aside =
        aside.filter(|entry| entry.file_name().to_string_lossy().starts_with("replaced-"));
    let aside = aside.next().context("nothing is put aside")?.path();
    ensure_that!(aside.join("pki").exists(), "the old certificates are gone");
    let mut command = sandbox.everleaf(&["agent", "--data-dir", "n2", "--once"]);
    run(&mut command)?.ok()?;
    let second = Certificate::read(sandbox, &current)?;
    ensure_that!(second.serial != first.serial, "the old certificate");
    Ok(Verdict::Passed)
}

/// A file that cannot be written ends it, and no token is left behind.
fn leaves_no_half(sandbox: &Sandbox, line: &[String]) -> Result<()> {
    let in_the_way = sandbox.path("n2/agent.yaml");
    fs::create_dir_all(in_the_way.join("x"))?;
    let told = ended(sandbox, line, NODE)?.failed_with(1)?;
    ensure_that!(
        told.contains("cannot write") && told.contains("agent.yaml"),
        "{told}"
    );
    let left = sandbox.path("n2/bootstrap-kubelet.conf");
    ensure_that!(!left.exists(), "a token is left behind");
    Ok(fs::remove_dir_all(in_the_way)?)
}

/// A machine does not join in the directory of an authority.
fn leaves_authorities_alone(sandbox: &Sandbox, up: &Up<'_>) -> Result<()> {
    let hash = format!("sha256:{}", "0a".repeat(32));
    for directory in [up.path(""), up.path("pki")] {
        let mut command = sandbox.everleaf(&["agent", "join", "https://127.0.0.1:1"]);
        command
            .args(["--token", TOKEN, "--ca-cert-hash", &hash, "--replace"])
            .args(["--timeout", "1s", "--data-dir", arg(&directory)]);
        let told = run(&mut command)?.failed_with(1)?;
        ensure_that!(told.contains("directory of an authority"), "{told}");
    }
    fs::metadata(up.path("pki/ca.key")).context("the authority's key")?;
    Ok(())
}

fn joins_nobody_else(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    leaves_authorities_alone(sandbox, &up)?;
    let line = printed_line(sandbox, &up)?;
    let place = |name: &str| {
        line.iter()
            .position(|word| word == name)
            .unwrap_or_default()
            + 1
    };
    let with = |name: &str, value: &str| {
        let mut line = line.clone();
        line[place(name)] = value.to_owned();
        line
    };
    let id = line[place("--token")][..6].to_owned();
    let other_hash = format!("sha256:{}", "0a".repeat(32));
    let own_hash = &line[place("--ca-cert-hash")];
    for (line, code, expected) in [
        (with("--ca-cert-hash", &other_hash), 1, own_hash.as_str()),
        (
            with("--token", &format!("{id}.0123456789abcdef")),
            1,
            "does not fit the token",
        ),
        (
            with("--token", TOKEN),
            1,
            "is not signed for the token abcdef",
        ),
        (with("--token", "abcdef"), 2, "a token is six"),
        (with("--ca-cert-hash", "sha256:0a"), 2, "64 hex digits"),
        (
            with("join", "http://127.0.0.1:1"),
            2,
            "must start with https://",
        ),
        (with("join", "https://127.0.0.1:1"), 1, "refused"),
    ] {
        let told = ended(sandbox, &line, &[NODE, &["--timeout", "1s"]].concat())?;
        let told = told.failed_with(code)?;
        ensure_that!(told.contains(expected), "{told} lacks {expected:?}");
        ensure_that!(!told.contains("0123456789abcdef"), "a secret: {told}");
        ensure_that!(!sandbox.path("n2").exists(), "it has left files: {told}");
    }
    Ok(Verdict::Passed)
}

/// Without its key, or without the certificate, or without both.
fn lost_authority(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    same("exit code on SIGTERM", up.process.stop()?, 0)?;
    let [certificate, key] = ["pki/ca.crt", "pki/ca.key"].map(|name| up.path(name));
    let (own, own_key) = (fs::read(&certificate)?, fs::read(&key)?);
    for (gone, expected) in [
        (
            &[&key][..],
            "pki/ca.key is missing, although there has been one",
        ),
        (
            &[&certificate],
            "certificate-authority-data}' | base64 -d >",
        ),
        (&[&certificate, &key], "are missing, although"),
    ] {
        for file in gone {
            fs::remove_file(file)?;
        }
        let start = [
            "up",
            "--data-dir",
            "data",
            "--no-node",
            "--listen",
            "127.0.0.1:0",
        ];
        let told = run(&mut sandbox.everleaf(&start))?.failed_with(1)?;
        ensure_that!(told.contains(expected), "{told}");
        for file in gone {
            ensure_that!(!file.exists(), "{} is made anew", file.display());
        }
        fs::write(&certificate, &own)?;
        fs::write(&key, &own_key)?;
    }
    // As the message says: out of a kubeconfig.
    fs::remove_file(&certificate)?;
    let get = "jsonpath={.clusters[0].cluster.certificate-authority-data}";
    let data = up.admin().quiet(&["config", "view", "--raw", "-o", get])?;
    let encoded = sandbox.write("ca.base64", &data)?;
    let decode = [
        "base64",
        "-d",
        "-A",
        "-in",
        arg(&encoded),
        "-out",
        arg(&certificate),
    ];
    sandbox.openssl(&decode)?.ok()?;
    up.restart()?;
    same("the authority", fs::read(&certificate)?, own)?;
    Ok(Verdict::Passed)
}
