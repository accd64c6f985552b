//! certificate approve and deny.

use super::scene::{Scene, full};
use anyhow::Result;
use everleaf_stage::{ensure_that, same};

pub(super) fn points(scene: &Scene<'_>) {
    scene.point("certificate approve, deny: names, files, -o", decides);
    scene.point("certificate approve: the certificate is issued", issues);
    scene.point(
        "certificate approve: again, --force, after the opposite",
        decides_again,
    );
}

fn decides(scene: &Scene<'_>) -> Result<()> {
    scene.create("decide", &["yes-1", "yes-2", "yes-3", "no-1", "no-2"])?;
    let said = format!("{} approved\n{} approved", full("yes-1"), full("yes-2"));
    scene.says("certificate approve yes-1 yes-2", &said)?;
    let file = scene.file("yes-3", &scene.request("yes-3", "decide"))?;
    scene.says(
        &format!("certificate approve -f {file} -o name"),
        &full("yes-3"),
    )?;
    scene.says("certificate deny no-1", &format!("{} denied", full("no-1")))?;
    let kind = scene.json("certificate deny csr/no-2")?["kind"].clone();
    same("kind", kind.as_str(), Some("CertificateSigningRequest"))?;
    for (name, kind, reason) in [
        ("yes-1", "Approved", "KubectlApprove"),
        ("yes-3", "Approved", "KubectlApprove"),
        ("no-1", "Denied", "KubectlDeny"),
        ("no-2", "Denied", "KubectlDeny"),
    ] {
        let condition = "{.status.conditions[0]";
        let seen = scene.field(name, &format!("{condition}.type}} {condition}.reason}}"))?;
        same(name, seen, format!("{kind} {reason}"))?;
        let times = format!("{condition}.lastUpdateTime}} {condition}.lastTransitionTime}}");
        let times = scene.field(name, &times)?;
        same("times", times.matches('Z').count(), 2)?;
    }
    scene.refused(
        "certificate approve nobody",
        "Error from server (NotFound): certificatesigningrequests.certificates.k8s.io \"nobody\" not found",
    )
}

fn issues(scene: &Scene<'_>) -> Result<()> {
    scene.create("issue", &["issue"])?;
    scene.quiet("certificate approve issue")?;
    scene.decided("issue", "Approved,Issued")?;
    let certificate = scene.field("issue", "{.status.certificate}")?;
    ensure_that!(
        certificate.starts_with("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS"),
        "{certificate}"
    );
    Ok(())
}

fn decides_again(scene: &Scene<'_>) -> Result<()> {
    scene.create("again", &["again", "never"])?;
    scene.quiet("certificate approve again")?;
    scene.decided("again", "Approved,Issued")?;
    for (force, puts) in [("--force=false", 0), ("--force", 1)] {
        let answer = scene.run(&format!("certificate approve {force} again -v=6"))?;
        let lines = answer.stderr.lines();
        let puts_seen =
            lines.filter(|line| line.contains("PUT") && line.contains("/again/approval"));
        same(force, puts_seen.count(), puts)?;
        let said = format!("{} approved", full("again"));
        same("answer", answer.ok()?.trim(), said.as_str())?;
    }
    let kinds = scene.field("again", "{.status.conditions[*].type}")?;
    same("conditions", kinds.as_str(), "Approved")?;
    scene.refused("certificate deny again", "is already Approved")?;
    scene.refused("certificate deny --force again", "is already Approved")?;
    scene.quiet("certificate deny never")?;
    scene.refused("certificate approve never", "is already Denied")
}
