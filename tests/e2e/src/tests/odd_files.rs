//! Files that are none: pipes with and without a writer, bundles of several certificates, a full
//! disk behind stdout.

use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Sandbox, Up, arg, ensure_that, eventually, free_port, run};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "no_start_waits_for_a_file_that_nobody_writes",
        long: false,
        run: fifos,
    },
    Test {
        name: "a_bundle_is_looked_at_as_a_whole",
        long: false,
        run: bundles,
    },
    Test {
        name: "an_answer_that_does_not_arrive_is_a_failure",
        long: false,
        run: full_stdout,
    },
];

/// Longest time for a start that fails; one that waits for a writer never ends.
const START_MAX: Duration = Duration::from_secs(8);

fn fifos(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    up.process.stop()?;
    let fifo = sandbox.path("fifo");
    run(Command::new("mkfifo").arg(&fifo))?.ok()?;
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";
    let policy = sandbox.write("policy.yaml", policy)?;
    let port = free_port()?.to_string();
    let fixed = [
        "apiserver",
        "--data-dir",
        "data",
        "--bind-address",
        "127.0.0.1",
        "--secure-port",
        &port,
    ];
    let pipe = arg(&fifo);
    for given in [
        &["--client-ca-file", pipe][..],
        &[
            "--tls-cert-file",
            pipe,
            "--tls-private-key-file",
            "data/pki/apiserver.key",
        ],
        &[
            "--tls-private-key-file",
            pipe,
            "--tls-cert-file",
            "data/pki/apiserver.crt",
        ],
        &["--service-account-key-file", pipe],
        &[
            "--audit-log-path",
            pipe,
            "--audit-policy-file",
            arg(&policy),
        ],
    ] {
        let flag = given[0];
        let flags = [&fixed[..], given].concat();
        let mut server = sandbox.start("apiserver", &mut sandbox.everleaf(&flags))?;
        let code = server.exit_code(START_MAX)?;
        let said = server.stderr();
        ensure_that!(code == 1 && said.contains(flag), "{flag}: {code}, {said}");
    }
    refused_by_the_others(sandbox, pipe)?;
    // A pipe that somebody writes to is as good as a file.
    let line = format!(
        "exec '{}' {} --client-ca-file <(cat data/pki/ca.crt)",
        sandbox.tools.everleaf.display(),
        fixed.join(" ")
    );
    let mut command = sandbox.command(Path::new("bash"));
    let mut server = sandbox.start("apiserver", command.args(["-c", &line]))?;
    eventually("it serves with the CA of a pipe", 10, || {
        let said = server.stdout();
        ensure_that!(said.contains("listens on"), "{said} {}", server.stderr());
        Ok(())
    })?;
    server.stop()?;
    Ok(Verdict::Passed)
}

/// Whatever reads a file again when it changes wants one.
fn refused_by_the_others(sandbox: &Sandbox, pipe: &str) -> Result<()> {
    let controllers = ["controllers", "--kubeconfig", "data/admin.conf"];
    let agent = [
        "agent",
        "--kubeconfig",
        "data/admin.conf",
        "--cert-dir",
        "certs",
    ];
    for (program, given) in [
        (&controllers[..], &["--serving-approval-policy", pipe][..]),
        (&controllers, &["--root-ca-file", pipe]),
        (
            &controllers,
            &[
                "--cluster-signing-cert-file",
                pipe,
                "--cluster-signing-key-file",
                "data/pki/ca.key",
            ],
        ),
        (&agent, &["--config", pipe]),
    ] {
        let line = [program, given].concat();
        let mut process = sandbox.start(program[0], &mut sandbox.everleaf(&line))?;
        let code = process.exit_code(START_MAX)?;
        let said = process.stderr();
        ensure_that!(
            code != 0 && said.contains(pipe) && said.contains("it is a FIFO"),
            "{line:?}: {code}, {said}"
        );
    }
    Ok(())
}

/// A certificate of its own that lasts `days`; its PEM.
fn self_signed(sandbox: &Sandbox, name: &str, days: &str, extension: &str) -> Result<String> {
    let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
    let subject = format!("/CN={name}");
    let args = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        days,
        "-subj",
        &subject,
        "-keyout",
        &key,
        "-out",
        &certificate,
        "-addext",
        extension,
    ];
    sandbox.openssl(&args)?.ok()?;
    Ok(fs::read_to_string(sandbox.path(&certificate))?)
}

fn bundles(sandbox: &Sandbox) -> Result<Verdict> {
    let ca = "basicConstraints=critical,CA:TRUE";
    let long = self_signed(sandbox, "long", "3650", ca)?;
    let short = self_signed(sandbox, "short", "10", ca)?;
    let leaf = self_signed(
        sandbox,
        "leaf",
        "3650",
        "basicConstraints=critical,CA:FALSE",
    )?;
    for (name, text) in [
        ("authorities.pem", format!("{long}{short}")),
        ("chain.pem", format!("{leaf}{short}")),
    ] {
        let bundle = sandbox.write(name, &text)?;
        let mut good = sandbox.everleaf(&["certs", arg(&bundle)]);
        let said = run(&mut good)?.ok()?;
        let mut near = sandbox.everleaf(&["certs", arg(&bundle), "--expires-within", "720h"]);
        let answer = run(&mut near)?;
        ensure_that!(answer.code == Some(1), "{name}: {answer:?}");
        ensure_that!(
            answer.stdout.contains("short") && answer.stdout.contains("within 30d"),
            "{name}: {}",
            answer.stdout
        );
        let is_listed = said.contains("authorities.pem (2 of 2)");
        ensure_that!(is_listed == (name == "authorities.pem"), "{name}: {said}");
    }
    Ok(Verdict::Passed)
}

fn full_stdout(sandbox: &Sandbox) -> Result<Verdict> {
    self_signed(sandbox, "long", "3650", "basicConstraints=critical,CA:TRUE")?;
    for args in [
        &["certs", "long.crt"][..],
        &["certs", "long.crt", "-o", "json"],
        &["certs", "long.crt", "-o", "wide"],
        &["version"],
        &["completion", "bash"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full")?;
        let output = sandbox.everleaf(args).stdout(full).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure_that!(
            output.status.code() == Some(4) && said.contains("cannot write to stdout"),
            "{args:?}: {} {said}",
            output.status
        );
    }
    Ok(Verdict::Passed)
}
