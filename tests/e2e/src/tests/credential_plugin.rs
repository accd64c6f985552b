//! A kubeconfig whose credential comes from a command, as kubectl uses it.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, Kubectl, Sandbox, Up, eventually};
use everleaf_stage::{ensure_that, same};
use std::fs;
use std::os::unix::fs::PermissionsExt;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_node_joins_with_a_credential_plugin",
        long: false,
        run: joins,
    },
    Test {
        name: "a_credential_plugin_that_fails_is_told_with_its_last_words",
        long: false,
        run: fails,
    },
];

/// The bootstrap kubeconfig of `up` with a plugin beside it in place of its token; the plugin is
/// this script, and finds the token in `$TOKEN`.
fn with_plugin(sandbox: &Sandbox, up: &Up<'_>, script: &str) -> Result<std::path::PathBuf> {
    let text = fs::read_to_string(up.path("bootstrap-kubelet.conf"))?;
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("token:"));
    let line = line.context("no token in bootstrap-kubelet.conf")?;
    let token = line.trim_start().trim_start_matches("token:").trim();
    let indent = &line[..line.len() - line.trim_start().len()];
    let exec = format!(
        "{indent}exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: IfAvailable, command: ./bin/plugin, \
         args: [one, 'two words'], env: [{{name: TOKEN, value: {token}}}], provideClusterInfo: true, installHint: 'ask us'}}"
    );
    let directory = sandbox.path("plugin/bin");
    fs::create_dir_all(&directory)?;
    let program = sandbox.write("plugin/bin/plugin", script)?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))?;
    sandbox.write("plugin/bootstrap.conf", &text.replace(line, &exec))
}

fn joins(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let script = "#!/bin/sh\n[ \"$1/$2\" = 'one/two words' ] || { echo wrong arguments >&2; exit 1; }\n\
                  case \"$KUBERNETES_EXEC_INFO\" in *certificate-authority-data*) ;; *) echo no info >&2; exit 1;; esac\n\
                  echo '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\
                  \"status\":{\"token\":\"'$TOKEN'\"}}'\n";
    let bootstrap = with_plugin(sandbox, &up, script)?;
    let answer = Kubectl::new(sandbox, bootstrap.clone()).run(&["auth", "whoami"])?;
    ensure_that!(
        answer.stdout.contains("system:bootstrap:"),
        "kubectl: {answer:?}"
    );
    let mut agent = Agent::bootstrapped_by(sandbox, bootstrap, "n2");
    agent.start()?;
    let certificate = agent.certificate()?;
    let subject = "O = system:nodes, CN = system:node:n2".to_owned();
    same("subject", certificate.subject, subject)?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

fn fails(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let script = "#!/bin/sh\necho $TOKEN\necho 'not logged in: run login' >&2\nexit 4\n";
    let bootstrap = with_plugin(sandbox, &up, script)?;
    let token = fs::read_to_string(&bootstrap)?;
    let token = token.split_once("value: ").context("no token")?.1;
    let token = token.split_once('}').context("no token")?.0.to_owned();
    let mut agent = Agent::bootstrapped_by(sandbox, bootstrap, "n2");
    agent.start()?;
    eventually("it says why", 15, || {
        let log = agent.log();
        ensure_that!(
            log.contains("it exited with 4: not logged in: run login"),
            "{log}"
        );
        ensure_that!(!log.contains(&token), "the token is in the log");
        Ok(())
    })?;
    agent.stop()?;
    Ok(Verdict::Passed)
}
