//! Changing what is there with kubectl, new and old: patch, label, annotate, edit, apply.

use super::second_node::{CLIENT, CLIENT_USAGES};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, Sandbox, Up, arg, ensure_that, same, signing_request};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "kubectl_1_37_changes_objects_in_every_way",
        long: false,
        run: |sandbox| changes(sandbox, false),
    },
    Test {
        name: "kubectl_1_20_changes_objects_in_every_way",
        long: false,
        run: |sandbox| changes(sandbox, true),
    },
];

fn changes(sandbox: &Sandbox, old: bool) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let admin = if old { up.admin().old() } else { up.admin() };
    admin.quiet(&["create", "configmap", "paint", "--from-literal=colour=red"])?;
    patches(&admin)?;
    labels_and_annotations(&admin)?;
    edits(sandbox, &admin)?;
    applies(sandbox, &admin)?;
    signing_requests(sandbox, &admin)?;
    nodes(sandbox, &admin)?;
    Ok(Verdict::Passed)
}

/// `kubectl patch` of a kind, and what it says.
fn patch(admin: &Kubectl<'_>, what: &[&str], kind: &str, body: &str) -> Result<String> {
    let kind = format!("--type={kind}");
    let mut args = vec!["patch"];
    args.extend(what);
    args.extend([kind.as_str(), "-p", body]);
    admin.quiet(&args)
}

fn data(admin: &Kubectl<'_>, name: &str) -> Result<String> {
    let map = admin.json(&["get", "configmap", name])?;
    Ok(map["data"].to_string())
}

fn patches(admin: &Kubectl<'_>) -> Result<()> {
    let what = ["configmap", "paint"];
    let metadata = |body: &str| format!(r#"{{"metadata":{{{body}}}}}"#);
    for (kind, body, left) in [
        (
            "strategic",
            r#"{"data":{"shape":"round"}}"#.to_owned(),
            r#"{"colour":"red","shape":"round"}"#,
        ),
        (
            "strategic",
            metadata(r#""finalizers":["example.com/a"]"#),
            r#"{"colour":"red","shape":"round"}"#,
        ),
        (
            "strategic",
            metadata(r#""$deleteFromPrimitiveList/finalizers":["example.com/a"]"#),
            r#"{"colour":"red","shape":"round"}"#,
        ),
        (
            "merge",
            r#"{"data":{"shape":null}}"#.to_owned(),
            r#"{"colour":"red"}"#,
        ),
        (
            "json",
            r#"[{"op":"test","path":"/data/colour","value":"red"},{"op":"add","path":"/data/size","value":"big"}]"#
                .to_owned(),
            r#"{"colour":"red","size":"big"}"#,
        ),
    ] {
        let said = patch(admin, &what, kind, &body)?;
        same(&body, said.as_str(), "configmap/paint patched")?;
        same(&body, data(admin, "paint")?.as_str(), left)?;
    }
    let nothing = patch(admin, &what, "strategic", r#"{"data":{"colour":"red"}}"#)?;
    let unchanged = "configmap/paint patched (no change)";
    same("a patch of nothing", nothing.as_str(), unchanged)?;
    let failing = r#"[{"op":"test","path":"/data/colour","value":"blue"}]"#;
    let args = ["patch", "configmap", "paint", "--type=json", "-p", failing];
    let said = admin.run(&args)?.failed_with(1)?;
    ensure_that!(said.contains("The request is invalid"), "{said}");
    let map = admin.json(&["get", "configmap", "paint"])?;
    let finalizers = map["metadata"].get("finalizers").is_none();
    ensure_that!(finalizers, "finalizers are left: {map}");
    Ok(())
}

fn labels_and_annotations(admin: &Kubectl<'_>) -> Result<()> {
    for args in [
        ["label", "configmap", "paint", "gloss=low"].as_slice(),
        &["label", "configmap", "paint", "gloss=high", "--overwrite"],
        &["annotate", "configmap", "paint", "note=wet"],
        &["annotate", "configmap", "paint", "note-", "hint=dry"],
    ] {
        admin.quiet(args)?;
    }
    let map = admin.json(&["get", "configmap", "paint"])?;
    let meta = &map["metadata"];
    same(
        "labels",
        meta["labels"].to_string().as_str(),
        r#"{"gloss":"high"}"#,
    )?;
    same(
        "annotations",
        meta["annotations"].to_string().as_str(),
        r#"{"hint":"dry"}"#,
    )?;
    admin.quiet(&["label", "configmap", "paint", "gloss-"])?;
    let listed = admin.quiet(&["get", "configmap", "-l", "gloss", "-o", "name"])?;
    same("by label", listed.as_str(), "")
}

/// Without a schema to check against, `--validate=false` is needed.
fn edits(sandbox: &Sandbox, admin: &Kubectl<'_>) -> Result<()> {
    let editor = "#!/bin/sh\nexec sed -i 's/colour: red/colour: edited/' \"$1\"\n";
    let editor = sandbox.write("editor.sh", editor)?;
    let editor = format!("sh {}", editor.display());
    let said = admin.with("KUBE_EDITOR", &editor).run(&[
        "edit",
        "configmap",
        "paint",
        "--validate=false",
    ])?;
    let said = said.ok()?;
    ensure_that!(said.contains("configmap/paint edited"), "{said}");
    let edited = r#"{"colour":"edited","size":"big"}"#;
    same("data", data(admin, "paint")?.as_str(), edited)
}

fn applies(sandbox: &Sandbox, admin: &Kubectl<'_>) -> Result<()> {
    let file = |labels: &str, data: &str| {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: applied, labels: {labels}}}\ndata: {data}\n"
        );
        sandbox.write("applied.yaml", &text)
    };
    let apply = |said: &str| {
        let path = sandbox.path("applied.yaml");
        let args = ["apply", "--validate=false", "-f", arg(&path)];
        let expected = format!("configmap/applied {said}");
        same("apply", admin.quiet(&args)?.as_str(), expected.as_str())
    };
    file("{kind: first}", "{one: '1', two: '2'}")?;
    apply("created")?;
    apply("unchanged")?;
    // What another added stays; what the file no longer says goes.
    patch(
        admin,
        &["configmap", "applied"],
        "merge",
        r#"{"data":{"by-another":"x"}}"#,
    )?;
    file("{}", "{one: '1', three: '3'}")?;
    apply("configured")?;
    let left = r#"{"by-another":"x","one":"1","three":"3"}"#;
    same("data", data(admin, "applied")?.as_str(), left)?;
    let map = admin.json(&["get", "configmap", "applied"])?;
    let labels = map["metadata"].get("labels").is_none();
    ensure_that!(labels, "labels are left: {map}");
    Ok(())
}

fn signing_requests(sandbox: &Sandbox, admin: &Kubectl<'_>) -> Result<()> {
    let path = signing_request(sandbox, "jo", "/O=staff/CN=jo", CLIENT, CLIENT_USAGES)?;
    let args = ["apply", "--validate=false", "-f", arg(&path)];
    let said = admin.quiet(&args)?;
    ensure_that!(said.ends_with("/jo created"), "{said}");
    admin.quiet(&["label", "csr", "jo", "team=blue"])?;
    admin.quiet(&["annotate", "csr", "jo", "why=because"])?;
    let spec = admin.json(&["get", "csr", "jo"])?["spec"].clone();
    let body = r#"{"spec":{"usages":["any"]},"metadata":{"labels":{"team":"red"}}}"#;
    patch(admin, &["csr", "jo"], "strategic", body)?;
    let found = admin.json(&["get", "csr", "jo"])?;
    ensure_that!(found["spec"] == spec, "a spec changed: {found}");
    same(
        "label",
        found["metadata"]["labels"]["team"].as_str(),
        Some("red"),
    )
}

fn nodes(sandbox: &Sandbox, admin: &Kubectl<'_>) -> Result<()> {
    let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n9"}}"#;
    let path = sandbox.write("node.json", node)?;
    admin.quiet(&["create", "--validate=false", "-f", arg(&path)])?;
    for args in [
        ["label", "node", "n9", "zone=a"].as_slice(),
        &["cordon", "n9"],
        &["taint", "node", "n9", "who=me:NoSchedule"],
    ] {
        admin.quiet(args)?;
    }
    let found = admin.json(&["get", "node", "n9"])?;
    same(
        "label",
        found["metadata"]["labels"]["zone"].as_str(),
        Some("a"),
    )?;
    let cordoned = found["spec"]["unschedulable"] == true;
    ensure_that!(cordoned, "not cordoned: {found}");
    let taints = found["spec"]["taints"].as_array().into_iter().flatten();
    let tainted = taints.filter(|taint| taint["key"] == "who").count();
    same("taints", tainted, 1)?;
    admin.quiet(&["uncordon", "n9"])?;
    admin.quiet(&["taint", "node", "n9", "who-"])?;
    let found = admin.json(&["get", "node", "n9"])?;
    let schedulable = found["spec"].get("unschedulable").is_none();
    ensure_that!(schedulable, "still cordoned: {found}");
    Ok(())
}
