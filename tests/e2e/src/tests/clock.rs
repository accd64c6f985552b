//! The user's test: the node's clock is wrong, and its certificate renews all the same.

use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, Certificate, FakeClock, Sandbox, Up, eventually};
use everleaf_stage::{ensure_that, same};
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::time::Duration;

/// Longest nap of an agent plus what a busy machine needs.
const NAP_SECONDS_MAX: u64 = 65;
/// How long a test watches for a loop. The rule is two requests in two minutes; a loop shows within
/// seconds.
const LOOP_WATCH: Duration = Duration::from_secs(40);

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "eight_days_before_the_end_it_renews_at_once",
        long: true,
        run: eight_days,
    },
    Test {
        name: "a_day_after_the_end_without_bootstrap_it_renews",
        long: false,
        run: after_the_end,
    },
    Test {
        name: "a_clock_moved_while_it_runs_is_noticed",
        long: true,
        run: moved_while_running,
    },
    Test {
        name: "a_clock_set_back_changes_nothing",
        long: false,
        run: set_back,
    },
    Test {
        name: "a_year_ahead_with_one_year_certificates_does_not_loop",
        long: true,
        run: no_loop,
    },
    Test {
        name: "a_first_start_in_1970_is_refused_and_leaves_nothing",
        long: false,
        run: first_start_in_1970,
    },
    Test {
        name: "a_first_start_years_ahead_heals_when_the_clock_is_set",
        long: false,
        run: first_start_ahead,
    },
];

/// The clock that only tests may read.
#[expect(
    clippy::disallowed_methods,
    reason = "offsets for faketime are counted from the present"
)]
fn wall() -> Timestamp {
    Timestamp::now()
}

fn offset_to(instant: Timestamp) -> i64 {
    instant.duration_since(wall()).as_secs()
}

/// `up` with ten-year certificates and a node that has bootstrapped and stopped.
fn joined<'a>(sandbox: &'a Sandbox, args: &[&str]) -> Result<(Up<'a>, Agent<'a>, Certificate)> {
    let up = Up::start(sandbox, args)?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent.start()?;
    let certificate = agent.certificate()?;
    agent.stop()?;
    Ok((up, agent, certificate))
}

fn requests_of(up: &Up<'_>, node: &str) -> Result<usize> {
    let list = up.admin().json(&["get", "csr"])?;
    let user = format!("system:node:{node}");
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .iter()
        .filter(|item| item["spec"]["username"] == user.as_str())
        .count())
}

fn eight_days(sandbox: &Sandbox) -> Result<Verdict> {
    let (up, mut agent, old) = joined(sandbox, &["--cluster-signing-duration", "87600h0m0s"])?;
    let old_target = fs::read_link(agent.path("pki/kubelet-client-current.pem"))?;
    let moved = old
        .not_after
        .checked_sub(SignedDuration::from_hours(8 * 24))?;
    agent.start_at(&FakeClock::Offset(offset_to(moved)))?;
    let renewed = agent.renewed(&old, 10)?;
    let target = fs::read_link(agent.path("pki/kubelet-client-current.pem"))?;
    ensure_that!(
        target != old_target,
        "the link still points to the old file"
    );
    ensure_that!(old_target.exists(), "the old file is gone");
    // The dates are the server's: five minutes before its present, for ten years.
    let behind = wall().duration_since(renewed.not_before).as_secs();
    ensure_that!(
        (300..320).contains(&behind),
        "notBefore lies {behind} s back"
    );
    same(
        "lifetime",
        renewed.lifetime(),
        SignedDuration::from_hours(87_600),
    )?;
    let review = agent.kubectl().json(&["auth", "whoami"])?;
    let credential =
        &review["status"]["userInfo"]["extra"]["authentication.kubernetes.io/credential-id"][0];
    same(
        "credential in use",
        credential.as_str(),
        Some(format!("X509SHA256={}", renewed.sha256).as_str()),
    )?;
    std::thread::sleep(LOOP_WATCH);
    let made = requests_of(&up, "n2")?;
    ensure_that!(
        (1..=2).contains(&made),
        "{made} requests after the clock was moved"
    );
    ensure_that!(
        agent.dated_files().len() >= 2,
        "files: {:?}",
        agent.dated_files()
    );
    agent.stop()?;
    Ok(Verdict::Passed)
}

fn after_the_end(sandbox: &Sandbox) -> Result<Verdict> {
    let (up, mut agent, old) = joined(sandbox, &["--cluster-signing-duration", "87600h0m0s"])?;
    agent.forget_bootstrap();
    let moved = old.not_after.checked_add(SignedDuration::from_hours(24))?;
    agent.start_at(&FakeClock::Offset(offset_to(moved)))?;
    let renewed = agent.renewed(&old, 15)?;
    same("subject", renewed.subject, old.subject)?;
    let made = requests_of(&up, "n2")?;
    ensure_that!((1..=2).contains(&made), "{made} requests");
    agent.kubectl().quiet(&["get", "csr"])?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

fn moved_while_running(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--cluster-signing-duration", "87600h0m0s"])?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    let clock = sandbox.write("clock", &FakeClock::text(0))?;
    agent.start_at(&FakeClock::File(clock))?;
    let old = agent.certificate()?;
    let moved = old
        .not_after
        .checked_sub(SignedDuration::from_hours(8 * 24))?;
    sandbox.write("clock", &FakeClock::text(offset_to(moved)))?;
    agent.renewed(&old, NAP_SECONDS_MAX)?;
    agent.kubectl().quiet(&["get", "csr"])?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

fn set_back(sandbox: &Sandbox) -> Result<Verdict> {
    let (up, mut agent, old) = joined(sandbox, &[])?;
    let before = requests_of(&up, "n2")?;
    let moved = old
        .not_before
        .checked_sub(SignedDuration::from_hours(400 * 24))?;
    agent.start_at(&FakeClock::Offset(offset_to(moved)))?;
    eventually("it says that the clock is behind", 15, || {
        let log = agent.log();
        ensure_that!(
            log.to_lowercase().contains("not yet valid") || log.contains("behind"),
            "{log}"
        );
        Ok(())
    })?;
    std::thread::sleep(Duration::from_secs(5));
    same("serial", agent.certificate_now()?.serial, old.serial)?;
    same("requests", requests_of(&up, "n2")?, before)?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

/// Only the node's clock is a year ahead: each new certificate is past its deadline at birth, by
/// the node's clock.
fn no_loop(sandbox: &Sandbox) -> Result<Verdict> {
    let (up, mut agent, old) = joined(sandbox, &[])?;
    let moved = old
        .not_after
        .checked_sub(SignedDuration::from_hours(8 * 24))?;
    agent.start_at(&FakeClock::Offset(offset_to(moved)))?;
    agent.renewed(&old, 10)?;
    std::thread::sleep(LOOP_WATCH);
    let made = requests_of(&up, "n2")?;
    ensure_that!((1..=2).contains(&made), "{made} requests in {LOOP_WATCH:?}");
    let warnings = agent.log().matches("clock").count();
    ensure_that!(warnings >= 1, "no word about the clock: {}", agent.log());
    agent.stop()?;
    Ok(Verdict::Passed)
}

/// `everleaf up` under a clock that is off by this much.
fn up_at(sandbox: &Sandbox, offset: i64, args: &[&str]) -> std::process::Command {
    let mut command = sandbox.everleaf(args);
    FakeClock::Offset(offset).apply(sandbox, &mut command);
    command
}

const UP: [&str; 6] = [
    "up",
    "--data-dir",
    "data",
    "--no-node",
    "--listen",
    "127.0.0.1:0",
];

fn first_start_in_1970(sandbox: &Sandbox) -> Result<Verdict> {
    let offset = offset_to(Timestamp::from_second(3_600)?);
    let said = everleaf_stage::run(&mut up_at(sandbox, offset, &UP))?.failed_with(1)?;
    for words in ["1970-01-01", "set the clock"] {
        ensure_that!(said.contains(words), "no {words:?} in {said}");
    }
    ensure_that!(!sandbox.path("data").exists(), "a directory is left behind");
    Ok(Verdict::Passed)
}

/// Eleven years ahead at the first start; then right: everybody connects, with files of now.
fn first_start_ahead(sandbox: &Sandbox) -> Result<Verdict> {
    let offset = SignedDuration::from_hours(11 * 365 * 24).as_secs();
    let admin = sandbox.path("data/admin.conf");
    let mut ahead = sandbox.start("up", &mut up_at(sandbox, offset, &UP))?;
    eventually("it is ready", 15, || {
        ensure_that!(ahead.stdout().contains("is ready"), "{}", ahead.stderr());
        Ok(())
    })?;
    let ca = Certificate::read(sandbox, &sandbox.path("data/pki/ca.crt"))?;
    ensure_that!(ca.not_before < wall(), "the authority begins in the future");
    ahead.stop()?;
    let right = sandbox.start("up", &mut sandbox.everleaf(&UP))?;
    let kubectl = everleaf_stage::Kubectl::new(sandbox, admin);
    eventually("kubectl connects", 15, || {
        ensure_that!(right.stdout().contains("is ready"), "{}", right.stderr());
        kubectl.quiet(&["get", "--raw", "/readyz"])
    })?;
    Ok(Verdict::Passed)
}
