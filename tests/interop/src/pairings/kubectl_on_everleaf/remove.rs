//! delete. The last group, for `--all`.

use super::scene::{Scene, full};
use anyhow::Result;
use everleaf_stage::{ensure_that, eventually, same};
use serde_json::json;
use std::time::Duration;

pub(super) fn points(scene: &Scene<'_>) {
    scene.point(
        "delete: names, -f, -l, --field-selector, --cascade",
        deletes,
    );
    scene.point("delete: waits for finalizers", waits);
    scene.point("delete --dry-run=server", dry_runs);
    scene.point("delete --all", deletes_all);
}

fn gone(scene: &Scene<'_>, name: &str) -> Result<()> {
    scene.says(&format!("get csr {name} --ignore-not-found"), "")
}

/// What kubectl says of a signing request that it deleted.
fn gone_line(name: &str) -> String {
    format!("certificatesigningrequest.certificates.k8s.io \"{name}\" deleted")
}

fn deletes(scene: &Scene<'_>) -> Result<()> {
    let names = "del-1 del-2 del-3 del-4 del-5 del-6 del-7 del-8";
    let names: Vec<&str> = names.split(' ').collect();
    scene.create("deletes", &names)?;
    let deleted = |line: &str, name: &str| scene.says(line, &gone_line(name));
    deleted("delete csr del-1", "del-1")?;
    let both = format!("{}\n{}", full("del-2"), full("del-3"));
    scene.says("delete csr/del-2 csr/del-3 -o name", &both)?;
    let file = scene.file("del-4", &scene.request("del-4", "deletes"))?;
    deleted(&format!("delete -f {file} --now"), "del-4")?;
    deleted("delete csr --field-selector=metadata.name=del-5", "del-5")?;
    scene.run("delete csr del-6 --cascade=orphan")?.ok()?;
    scene
        .run("delete csr del-7 --grace-period=0 --force")?
        .ok()?;
    deleted("delete csr -l group=deletes", "del-8")?;
    scene.says("get csr -l group=deletes -o name", "")?;
    scene.refused(
        "delete csr del-1",
        "Error from server (NotFound): certificatesigningrequests.certificates.k8s.io \"del-1\" not found",
    )?;
    scene.says("delete csr del-1 --ignore-not-found", "")?;
    scene.create("deletes", &["raw"])?;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests/raw";
    scene.shows(&format!("delete --raw {path}"), r#""Success""#)?;
    gone(scene, "raw")
}

fn waits(scene: &Scene<'_>) -> Result<()> {
    let mut request = scene.request("held", "held");
    request["metadata"]["finalizers"] = json!(["example.com/hold"]);
    scene.create_all("held", vec![request])?;
    let mut waiting = scene.watch("delete csr held")?;
    eventually("a deletion timestamp", 10, || {
        let time = scene.field("held", "{.metadata.deletionTimestamp}")?;
        ensure_that!(time.ends_with('Z'), "deletionTimestamp is {time:?}");
        Ok(())
    })?;
    let freed = json!({"metadata": {"finalizers": null}});
    scene.quiet(&format!("patch csr held --type=merge -p {freed}"))?;
    let code = waiting.exit_code(Duration::from_secs(10))?;
    same("exit code of delete", code, 0)?;
    gone(scene, "held")
}

fn dry_runs(scene: &Scene<'_>) -> Result<()> {
    scene.create("kept", &["kept"])?;
    let said = scene.quiet("delete csr kept --dry-run=server")?;
    ensure_that!(said.ends_with("deleted (server dry run)"), "{said}");
    scene.says("get csr kept -o name", &full("kept"))
}

/// A collection in one request first, then what is left one by one.
fn deletes_all(scene: &Scene<'_>) -> Result<()> {
    scene.create("all", &["all-1", "all-2"])?;
    let others = "?labelSelector=group!=all";
    let path = format!("/apis/certificates.k8s.io/v1/certificatesigningrequests{others}");
    scene.shows(
        &format!("delete --raw {path}"),
        "CertificateSigningRequestList",
    )?;
    let said = format!("{}\n{}", gone_line("all-1"), gone_line("all-2"));
    scene.says("delete csr --all", &said)?;
    scene.says("get csr -o name", "")
}
