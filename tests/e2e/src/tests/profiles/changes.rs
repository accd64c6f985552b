//! Profiles that are wrong, come, change and go while the agent runs.

use super::{profile, sign_all, written};
use anyhow::{Context, Result};
use everleaf_stage::runner::Verdict;
use everleaf_stage::{
    Agent, Certificate, Sandbox, Up, arg, ensure_that, eventually, free_port, http_get, run, same,
};
use serde_json::{Value, json};
use std::fs;

pub(super) fn followed(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let metrics = format!("127.0.0.1:{}", free_port()?);
    let mut agent = Agent::new(sandbox, &up, "n2");
    let directory = sandbox.path("profiles");
    let words = ["--profile-dir", arg(&directory), "--metrics-bind-address"];
    let words = words.into_iter().chain([metrics.as_str()]);
    agent.args.extend(words.map(str::to_owned));
    let web = |output: &str| spec(sandbox, output);
    let mut wrong = web("other/tls.pem");
    wrong["dnsName"] = json!(["x"]);
    profile(sandbox, "other", &wrong)?;
    profile(sandbox, "web", &web("web/tls.pem"))?;
    agent.start()?;
    let claim = "a wrong profile is told once, and keeps nothing else from running";
    let first = sandbox.point(claim, || {
        sign_all(sandbox, &up.admin(), 1)?;
        written(
            sandbox,
            &["n2/pki/kubelet-client-current.pem", "web/tls.pem"],
        )?;
        counted(&metrics, 1)?;
        let log = agent.process.as_ref().context("it runs")?.stderr();
        same(
            "times told",
            log.matches("did you mean dnsNames?").count(),
            1,
        )?;
        ensure_that!(http_get(&metrics, "/readyz").is_ok(), "it is not ready");
        Certificate::read(sandbox, &sandbox.path("web/tls.pem"))
    })?;
    let reload = || agent.process.as_ref().context("it runs")?.hang_up();
    sandbox.point("SIGHUP: the repaired one is taken up", || {
        profile(sandbox, "other", &web("other/tls.pem"))?;
        reload()?;
        sign_all(sandbox, &up.admin(), 2)?;
        written(sandbox, &["other/tls.pem"])?;
        counted(&metrics, 0)
    })?;
    sandbox.point("a changed one goes on with its certificate", || {
        profile(sandbox, "web", &web("moved/tls.pem"))?;
        reload()?;
        written(sandbox, &["moved/tls.pem"])?;
        let moved = Certificate::read(sandbox, &sandbox.path("moved/tls.pem"))?;
        same("serial", moved.serial, first.serial)
    })?;
    sandbox.point("of one that is taken away the files stay", || {
        fs::remove_file(directory.join("web.json"))?;
        reload()?;
        eventually("it is not kept any more", 10, || {
            let text = http_get(&metrics, "/metrics")?;
            ensure_that!(!text.contains("kind=\"web\""), "{text}");
            ensure_that!(text.contains("kind=\"other\""), "{text}");
            Ok(())
        })?;
        written(
            sandbox,
            &["moved/tls.pem", "n2/pki/profiles/web-current.pem"],
        )
    })?;
    agent.stop()?;
    sandbox.point("--once does all else, and exits with 1", || {
        profile(sandbox, "other", &wrong)?;
        let mut once = agent.command();
        let told = run(once.arg("--once"))?.failed_with(1)?;
        ensure_that!(told.contains("did you mean dnsNames?"), "{told}");
        Ok(())
    })?;
    Ok(Verdict::Passed)
}

fn spec(sandbox: &Sandbox, output: &str) -> Value {
    json!({
        "signerName": "kubernetes.io/kubelet-serving",
        "subject": {"commonName": "system:node:{node}", "organizations": ["system:nodes"]},
        "dnsNames": ["{node}"],
        "usages": ["digital signature", "server auth"],
        "outputs": [{"pem": sandbox.path(output)}],
    })
}

fn counted(metrics: &str, problems: usize) -> Result<()> {
    let wanted = format!("everleaf_agent_profile_problems {problems}");
    eventually("the problems are counted", 10, || {
        let text = http_get(metrics, "/metrics")?;
        ensure_that!(text.lines().any(|line| line == wanted), "{text}");
        Ok(())
    })
}
