//! The story. Each scene has a node of its own and checks what it claims.

use super::report::Scene;
use super::stage::{Node, Stage, seconds, who_am_i};
use crate::up::entropy;
use anyhow::{Context, Result};
use everleaf_agent::Clock;
use everleaf_agent::kubeconfig::write_private;
use everleaf_pki::{Credential, Issuer, KeyAlgorithm, Leaf, PrivateKey, Subject, Template, Usage};
use everleaf_rotation::{Notice, rotation_deadline};
use jiff::{SignedDuration, Timestamp};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

/// The user's own number.
const EIGHT_DAYS: SignedDuration = SignedDuration::from_hours(8 * 24);
/// A day.
const ONE_DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long a scene watches for what must not happen. A loop makes a request a second.
const LOOP_WATCH: Duration = Duration::from_millis(2500);
/// Backdating of every signer.
const BACKDATE_SECONDS: i64 = 300;

/// A scene, and why it was cut short if it was.
pub(super) type Told = (Scene, Result<()>);

/// A node joins; its clock is set to eight days before the end of its certificate; it renews at
/// once, and only once.
pub(super) async fn joins_and_renews(stage: &Stage) -> Told {
    let mut scene = Scene::new(
        "A node joins. Its clock is set to eight days before the end, the agent restarted.",
    );
    let mut node = stage.node("restarted");
    let outcome = async {
        let from = stage.resource_version().await?;
        let watched = stage.watch_conditions("restarted", &from);
        let (conditions, old) = tokio::join!(watched, join(&mut node));
        let (conditions, old) = (conditions?, old?);
        let path = conditions.join(" → ");
        scene.check(
            format!("kubectl get csr -w shows {path}"),
            path == "Pending → Approved → Approved,Issued",
        );
        scene.certificate("first certificate ", &old);
        scene.check(
            "it lives as long as was asked for",
            lives(&old, stage.lifetime),
        );
        let old_file = node.current_file()?;
        node.stop().await?;

        let moved = old.not_after() - EIGHT_DAYS;
        node.clock.set_wall(moved);
        scene.step(format!("the node's clock now reads {}", seconds(moved)));
        node.start();
        let new = node.renewed().await?;
        scene.certificate("second certificate", &new);
        scene.check(
            "renewed at once, with a new serial number",
            new.serial() != old.serial(),
        );
        scene.check(
            "the old file stays as a fallback",
            old_file.exists() && node.current_file()? != old_file,
        );
        let (name, credential) = who_am_i(&node.kubeconfig()).await?;
        let fingerprint = format!("X509SHA256={}", new.fingerprint());
        scene.check(
            "the node's connection uses it",
            name == node.identity() && credential == fingerprint,
        );
        scene.check(
            "its dates are the server's, not the node's",
            dated_by(stage.now(), &new),
        );
        let skewed = node.has_told(|notice| matches!(notice, Notice::ClockSkew { .. }));
        scene.check(
            "it is due already by the node's clock: said once, as clock skew",
            skewed,
        );
        scene.check("no request loop", quiet(stage, &node, 1).await?);
        node.stop().await
    };
    let outcome = outcome.await;
    (scene, outcome)
}

/// Past the end by its own clock, and nothing left to bootstrap with: the server's clock decides.
pub(super) async fn after_the_end(stage: &Stage) -> Told {
    let mut scene = Scene::new(
        "A node's clock reads a day after the end, and it has no bootstrap credential left.",
    );
    let mut node = stage.node("late");
    let outcome = async {
        let old = join(&mut node).await?;
        node.stop().await?;
        node.forget_bootstrap();
        node.clock.set_wall(old.not_after() + ONE_DAY);
        scene.step(format!(
            "the node's clock now reads {}",
            seconds(node.clock.wall())
        ));
        node.start();
        let new = node.renewed().await?;
        scene.certificate("renewed certificate", &new);
        scene.check(
            "the server's clock decides: it presents its certificate and renews",
            new.serial() != old.serial(),
        );
        scene.check("no request loop", quiet(stage, &node, 1).await?);
        node.stop().await
    };
    let outcome = outcome.await;
    (scene, outcome)
}

/// Nobody restarts anything.
pub(super) async fn moved_while_running(stage: &Stage) -> Told {
    let mut scene = Scene::new("A node's clock moves while the agent runs; nobody restarts it.");
    let mut node = stage.node("running");
    let outcome = async {
        let old = join(&mut node).await?;
        // Two rotations of one process lie ten seconds apart; a new process has rotated nothing
        // yet.
        node.stop().await?;
        node.start();
        node.told("nothing is due", |notice| {
            matches!(notice, Notice::Waiting { .. })
        })
        .await?;
        let deadline = rotation_deadline(&old);
        scene.step(format!("due at {}", seconds(deadline)));
        node.clock.set_wall(old.not_after() - EIGHT_DAYS);
        scene.step(format!(
            "the node's clock jumps to {}",
            seconds(node.clock.wall())
        ));
        let new = node.renewed().await?;
        let stepped = node.has_told(|notice| matches!(notice, Notice::ClockStepped { .. }));
        scene.check("the step is noticed", stepped);
        scene.certificate("renewed certificate", &new);
        scene.check("renewed without a restart", new.serial() != old.serial());
        node.stop().await
    };
    let outcome = outcome.await;
    (scene, outcome)
}

/// A certificate that really has expired, and a bootstrap kubeconfig: it joins again.
pub(super) async fn refused_with_bootstrap(stage: &Stage) -> Told {
    let mut scene =
        Scene::new("A node slept past the end by every clock. It has a bootstrap credential.");
    let mut node = stage.node("lapsed");
    let outcome = async {
        let old = join(&mut node).await?;
        node.stop().await?;
        let lapsed = put_lapsed(stage, &node, &old)?;
        scene.certificate("lapsed certificate", &lapsed);
        node.start();
        let new = node.renewed().await?;
        scene.certificate("new certificate   ", &new);
        scene.check(
            "the server refuses the old one; the node joins again by itself",
            new.not_after() > stage.now(),
        );
        node.stop().await
    };
    let outcome = outcome.await;
    (scene, outcome)
}

/// The same without one: only a person can help, and is told how.
pub(super) async fn refused_without_bootstrap(stage: &Stage) -> Told {
    let mut scene = Scene::new("The same, without a bootstrap credential.");
    let mut node = stage.node("stuck");
    let outcome = async {
        let old = join(&mut node).await?;
        node.stop().await?;
        let lapsed = put_lapsed(stage, &node, &old)?;
        node.forget_bootstrap();
        node.start();
        node.told("only a person can help", |notice| {
            matches!(notice, Notice::Stuck { .. })
        })
        .await?;
        scene.check("it says that only a person can help, and what to do", true);
        tokio::time::sleep(Duration::from_millis(300)).await;
        scene.check(
            "it deletes nothing",
            node.leaf()?.serial() == lapsed.serial(),
        );
        node.stop().await?;
        scene.check(
            "it keeps trying until it is stopped, and stops in good order",
            true,
        );
        Ok(())
    };
    let outcome = outcome.await;
    (scene, outcome)
}

/// The clock moves back before the beginning.
pub(super) async fn set_back(stage: &Stage) -> Told {
    let mut scene = Scene::new("A node's clock is set back to before its certificate begins.");
    let mut node = stage.node("behind");
    let outcome = async {
        let old = join(&mut node).await?;
        let made = stage.requests_of(&node.identity()).await?;
        node.stop().await?;
        node.clock
            .set_wall(old.not_before() - SignedDuration::from_hours(400 * 24));
        scene.step(format!(
            "the node's clock now reads {}",
            seconds(node.clock.wall())
        ));
        node.start();
        let behind = |notice: &Notice| matches!(notice, Notice::NotYetValid { .. });
        node.told("the certificate is not yet valid by this clock", behind)
            .await?;
        scene.check("it says so", true);
        let (name, _) = who_am_i(&node.kubeconfig()).await?;
        scene.check(
            "the certificate stays in use",
            name == node.identity() && node.leaf()?.serial() == old.serial(),
        );
        scene.check("no new request", quiet(stage, &node, made).await?);
        node.stop().await
    };
    let outcome = outcome.await;
    (scene, outcome)
}

/// An authority that ends before the certificates it is asked for.
pub(super) async fn authority_ends_first(
    root: &Path,
    lifetime: Duration,
    kind: KeyAlgorithm,
) -> Told {
    let mut scene = Scene::new("Another authority ends before the lifetime that was asked for.");
    let outcome = async {
        let root = root.join("short-authority");
        let now = everleaf_agent::SystemClock::new().wall();
        let half = SignedDuration::try_from(lifetime / 2).context("a lifetime of ages")?;
        let key = PrivateKey::generate(kind)?;
        let key_pem = key.to_pem();
        let issuer = Issuer::self_signed(
            "short-authority",
            key,
            entropy::bytes()?,
            now - ONE_DAY,
            now + half,
        )?;
        write_private(&root.join("pki/ca.key"), key_pem.as_bytes())?;
        write_private(
            &root.join("pki/ca.crt"),
            issuer.certificate_pem().as_bytes(),
        )?;
        let stage = Stage::set(&root, lifetime, kind).await?;
        scene.certificate("authority         ", issuer.certificate());
        let mut node = stage.node("capped");
        let leaf = join(&mut node).await?;
        scene.certificate("node's certificate", &leaf);
        scene.check(
            "it ends with its authority, not after it",
            leaf.not_after() == issuer.certificate().not_after(),
        );
        node.stop().await?;
        stage.clear().await;
        Ok(())
    };
    let outcome = outcome.await;
    (scene, outcome)
}

/// Starts a node for the first time and waits until it has joined.
async fn join(node: &mut Node) -> Result<Leaf> {
    node.start();
    node.renewed().await
}

fn lives(leaf: &Leaf, wanted: Duration) -> bool {
    u64::try_from(leaf.lifetime().seconds).is_ok_and(|seconds| seconds == wanted.as_secs())
}

/// The signer dates from five minutes before its present.
fn dated_by(now: Timestamp, leaf: &Leaf) -> bool {
    let age = now.duration_since(leaf.not_before()).as_secs();
    (BACKDATE_SECONDS..BACKDATE_SECONDS + 60).contains(&age)
}

/// No more than `requests_max` requests by a node's own identity, although there was time for a
/// loop.
async fn quiet(stage: &Stage, node: &Node, requests_max: usize) -> Result<bool> {
    tokio::time::sleep(LOOP_WATCH).await;
    Ok(stage.requests_of(&node.identity()).await? <= requests_max)
}

/// Replaces a node's credential by one of the same authority that ended an hour ago: what a long
/// sleep leaves behind.
fn put_lapsed(stage: &Stage, node: &Node, like: &Leaf) -> Result<Leaf> {
    let certificate = std::fs::read(stage.authority_file("ca.crt"))?;
    let key = std::fs::read_to_string(stage.authority_file("ca.key"))?;
    let issuer = Issuer::from_pem(&certificate, &key)?;
    let key = PrivateKey::generate(stage.key)?;
    let template = Template {
        subject: Subject {
            common_name: like.subject().common_name.clone(),
            organizations: like.subject().organizations.clone(),
        },
        ..Template::default()
    };
    let hour_ago = stage.now() - SignedDuration::from_hours(1);
    let chain = issuer.issue_own(
        &template,
        key.public_key(),
        &[Usage::DigitalSignature, Usage::ClientAuth],
        entropy::bytes()?,
        hour_ago - EIGHT_DAYS,
        hour_ago,
    )?;
    let credential = Credential::new(chain, key)?;
    for entry in std::fs::read_dir(node.cert_dir())?.flatten() {
        std::fs::remove_file(entry.path())?;
    }
    let file = node
        .cert_dir()
        .join("kubelet-client-2020-01-01-00-00-00.pem");
    write_private(&file, credential.to_pem().as_bytes())?;
    symlink(&file, node.cert_dir().join("kubelet-client-current.pem"))?;
    Ok(credential.leaf().clone())
}
