//! patch, in its three types and on subresources.

use super::scene::{Release, Scene, full};
use anyhow::Result;
use everleaf_stage::same;
use serde_json::{Value, json};

pub(super) fn points(scene: &Scene<'_>) {
    scene.point("patch --type=merge, strategic, json", patches);
    scene.point("patch: refusals", refuses);
    if scene.release >= Release::V1_34 {
        scene.point("patch --subresource=status, approval", subresources);
    }
}

fn patches(scene: &Scene<'_>) -> Result<()> {
    scene.create("patches", &["patched"])?;
    let patch = |kind: &str, body: &Value, word: &str| {
        let line = format!("patch csr patched --type={kind} -p {body}");
        scene.says(&line, &format!("{} {word}", full("patched")))
    };
    let labels = |labels: Value| json!({"metadata": {"labels": labels}});
    patch("merge", &labels(json!({"m": "1", "gone": "1"})), "patched")?;
    patch("merge", &labels(json!({"m": "1"})), "patched (no change)")?;
    patch(
        "strategic",
        &labels(json!({"s": "1", "gone": null})),
        "patched",
    )?;
    for name in ["example.com/a", "example.com/b"] {
        let finalizers = json!({"metadata": {"finalizers": [name]}});
        patch("strategic", &finalizers, "patched")?;
    }
    let found = scene.field("patched", "{.metadata.finalizers[*]}")?;
    let mut found: Vec<&str> = found.split(' ').collect();
    found.sort_unstable();
    let both = vec!["example.com/a", "example.com/b"];
    same("finalizers, which strategic patches merge", found, both)?;
    let less = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}});
    patch("strategic", &less, "patched")?;
    let found = scene.field("patched", "{.metadata.finalizers[*]}")?;
    same("finalizers", found.as_str(), "example.com/b")?;
    patch(
        "merge",
        &json!({"metadata": {"finalizers": null}}),
        "patched",
    )?;
    let spec = json!({"spec": {"usages": ["any"]}});
    patch("strategic", &spec, "patched (no change)")?;
    let operations = json!([
        {"op": "test", "path": "/metadata/labels/m", "value": "1"},
        {"op": "replace", "path": "/metadata/labels/m", "value": "2"},
        {"op": "add", "path": "/metadata/labels/j", "value": "1"},
        {"op": "remove", "path": "/metadata/labels/s"},
    ]);
    patch("json", &operations, "patched")?;
    let labels = scene.field("patched", "{.metadata.labels}")?;
    same(
        "labels",
        labels.as_str(),
        r#"{"group":"patches","j":"1","m":"2"}"#,
    )
}

fn refuses(scene: &Scene<'_>) -> Result<()> {
    scene.create("unpatched", &["unpatched"])?;
    let refused = |kind: &str, body: &Value, words: &str| {
        scene.refused(
            &format!("patch csr unpatched --type={kind} -p {body}"),
            words,
        )
    };
    let fails = json!([{"op": "test", "path": "/metadata/name", "value": "other"}]);
    refused("json", &fails, "The request is invalid")?;
    let renames = json!({"metadata": {"name": "other"}});
    refused("merge", &renames, "the name of the object")?;
    let stale = json!({"metadata": {"resourceVersion": "1", "labels": {"x": "y"}}});
    refused("strategic", &stale, "the object has been modified")?;
    scene.refused("patch csr nobody -p {}", "NotFound")
}

fn subresources(scene: &Scene<'_>) -> Result<()> {
    scene.create("subresources", &["sub-1", "sub-2", "sub-3"])?;
    let noted = json!([{"type": "Noted", "status": "True", "reason": "Test"}]);
    let list = json!({"status": {"conditions": noted}});
    let operation = json!([{"op": "add", "path": "/status/conditions", "value": noted}]);
    let on_status = "--subresource=status --type";
    for (name, kind, body) in [
        ("sub-1", "merge", &list),
        ("sub-2", "strategic", &list),
        ("sub-3", "json", &operation),
    ] {
        scene.quiet(&format!("patch csr {name} {on_status}={kind} -p {body}"))?;
        let kinds = scene.field(name, "{.status.conditions[*].type}")?;
        same(name, kinds.as_str(), "Noted")?;
    }
    let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
    let by_status = format!("patch csr sub-1 {on_status}=merge -p {approved}");
    scene.refused(&by_status, "status.conditions: Forbidden")?;
    scene.quiet(&format!(
        "patch csr sub-1 --subresource=approval --type=merge -p {approved}"
    ))?;
    scene.decided("sub-1", "Approved,Issued")?;
    let removed = json!({"status": {"conditions": null}});
    scene.refused(
        &format!("patch csr sub-1 {on_status}=merge -p {removed}"),
        "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"",
    )?;
    let changed = json!({"status": {"conditions": null}});
    let line = format!("patch csr sub-2 --type=merge -p {changed}");
    scene.says(&line, &format!("{} patched (no change)", full("sub-2")))?;
    scene.says("get csr sub-2 --subresource=status -o name", &full("sub-2"))
}
