//! create, apply, diff, replace, label, annotate, edit.

use super::scene::{Release, Scene, full};
use anyhow::Result;
use everleaf_stage::{ensure_that, same};
use serde_json::{Value, json};

const LAST_APPLIED: &str =
    r"{.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}";

pub(super) fn points(scene: &Scene<'_>) {
    scene.point(
        "create -f: a file, stdin, a directory, generateName",
        creates,
    );
    scene.point("create: refusals", refuses);
    scene.point(
        "apply: created, unchanged, configured, last applied",
        applies,
    );
    scene.point("apply: of what was created otherwise; --prune", adopts);
    scene.point("apply: beside another's changes", applies_beside_others);
    scene.point("replace, replace --force", replaces);
    scene.point("label", labels);
    scene.point("annotate", annotates);
    scene.point("edit", edits);
    scene.point("create, apply, edit: the file is validated", validates);
    scene.point("--dry-run=server, diff", dry_runs);
    scene.point("apply --server-side", applies_on_the_server);
}

fn creates(scene: &Scene<'_>) -> Result<()> {
    let file = scene.file("cr-1", &scene.request("cr-1", "creates"))?;
    let create = format!("create -f {file}");
    let said = format!("{} created", full("cr-1"));
    scene.says(
        &format!("{create} --dry-run=client"),
        &format!("{said} (dry run)"),
    )?;
    scene.says(&format!("{create} --save-config"), &said)?;
    let saved = scene.field("cr-1", LAST_APPLIED)?;
    ensure_that!(saved.contains("signerName"), "--save-config: {saved:?}");
    let file = scene.file("cr-2", &scene.request("cr-2", "creates"))?;
    let stdin = "create -f - -o jsonpath={.spec.username}";
    same("answer", scene.fed(stdin, &file)?.as_str(), "admin")?;
    for name in ["cr-3", "cr-4"] {
        scene.file(&format!("dir/{name}"), &scene.request(name, "creates"))?;
    }
    let said = format!("{} created\n{} created", full("cr-3"), full("cr-4"));
    scene.says("create -f dir", &said)?;
    let mut request = scene.request("", "creates");
    request["metadata"] = json!({"generateName": "cr-generated-"});
    let file = scene.file("generated", &request)?;
    let said = scene.quiet(&format!("create -f {file} -o name"))?;
    let suffix = said.strip_prefix(&full("cr-generated-"));
    same(
        "length of the generated part",
        suffix.map(str::len),
        Some(5),
    )
}

fn refuses(scene: &Scene<'_>) -> Result<()> {
    let mut request = scene.request("cr-twice", "refuses");
    let file = scene.file("cr-twice", &request)?;
    let create = format!("create -f {file}");
    scene.quiet(&create)?;
    scene.refused(&create, "Error from server (AlreadyExists)")?;
    request["metadata"]["name"] = json!("cr-bad");
    request["spec"]["usages"] = json!([]);
    scene.file("cr-twice", &request)?;
    let words = "The CertificateSigningRequest \"cr-bad\" is invalid: spec.usages: Required value";
    scene.refused(&create, words)?;
    request["metadata"]["name"] = json!("../up");
    request["spec"]["usages"] = json!(["client auth"]);
    scene.file("cr-twice", &request)?;
    scene.refused(&create, "metadata.name: Invalid value: \"../up\"")?;
    request["kind"] = json!("CertificateWish");
    scene.file("cr-twice", &request)?;
    scene.refused(&create, "no matches for kind \"CertificateWish\"")
}

fn applies(scene: &Scene<'_>) -> Result<()> {
    let with = |label: &str| {
        let mut request = scene.request("applied", "applies");
        request["metadata"]["labels"][label] = json!("x");
        scene.file(&format!("apply-{label}"), &request)
    };
    let (first, second) = (with("one")?, with("two")?);
    let applied = |file: &str, word: &str| {
        let said = format!("{} {word}", full("applied"));
        scene.says(&format!("apply -f {file}"), &said)
    };
    applied(&format!("{first} --dry-run=client"), "created (dry run)")?;
    applied(&first, "created")?;
    applied(&first, "unchanged")?;
    applied(&second, "configured")?;
    let labels = scene.json("get csr applied")?["metadata"]["labels"].clone();
    same("labels", labels, json!({"group": "applies", "two": "x"}))?;
    let last = "apply view-last-applied csr/applied";
    scene.shows(last, "group: applies|two: x")?;
    scene.quiet(&format!("apply set-last-applied -f {first}"))?;
    scene.shows(last, "one: x").map(drop)
}

/// What another one added stays; what the file no longer says goes.
fn applies_beside_others(scene: &Scene<'_>) -> Result<()> {
    let apply = |data: Value, word: &str| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": data});
        let file = scene.file("shared", &map)?;
        let said = format!("configmap/shared {word}");
        scene.says(&format!("apply -f {file}"), &said)
    };
    apply(json!({"one": "1", "two": "2"}), "created")?;
    let other = json!({"data": {"other": "x"}});
    scene.quiet(&format!("patch cm shared --type=merge -p {other}"))?;
    apply(json!({"one": "1", "three": "3"}), "configured")?;
    let data = r#"{"one":"1","other":"x","three":"3"}"#;
    scene.says("get cm shared -o jsonpath={.data}", data)
}

fn adopts(scene: &Scene<'_>) -> Result<()> {
    scene.create("adopts", &["adopted"])?;
    let others = scene.file("left", &scene.request("left", "adopts"))?;
    scene.quiet(&format!("apply -f {others}"))?;
    let file = scene.file("adopted", &scene.request("adopted", "adopts"))?;
    let apply = format!("apply -f {file}");
    let answer = scene.run(&apply)?;
    let words = "is missing the kubectl.kubernetes.io/last-applied-configuration annotation";
    ensure_that!(answer.stderr.contains(words), "{answer:?}");
    let said = format!("{} configured", full("adopted"));
    same("answer", answer.ok()?.trim(), said.as_str())?;
    let allow = match scene.release {
        Release::V1_20 | Release::V1_21 => "--prune-whitelist",
        _ => "--prune-allowlist",
    };
    let allow = format!("{allow}=certificates.k8s.io/v1/CertificateSigningRequest");
    let pruned = scene
        .run(&format!("{apply} --prune -l group=adopts {allow}"))?
        .ok()?;
    let said = format!("{} pruned", full("left"));
    ensure_that!(pruned.contains(&said), "{pruned}");
    scene.says("get csr left --ignore-not-found", "")
}

fn replaces(scene: &Scene<'_>) -> Result<()> {
    scene.create("replaces", &["replaced"])?;
    let uid = scene.field("replaced", "{.metadata.uid}")?;
    let mut request = scene.request("replaced", "replaces");
    request["metadata"]["annotations"] = json!({"note": "new"});
    let file = scene.file("replaced", &request)?;
    let replace = format!("replace -f {file}");
    scene.says(&replace, &format!("{} replaced", full("replaced")))?;
    let seen = scene.field("replaced", "{.metadata.annotations.note} {.metadata.uid}")?;
    same("note and uid", seen, format!("new {uid}"))?;
    let mut stale: Value = scene.json("get csr replaced")?;
    scene.quiet("annotate csr replaced note=newer --overwrite")?;
    stale["metadata"]["annotations"]["note"] = json!("late");
    let stale = scene.file("stale", &stale)?;
    let words = "the object has been modified; please apply your changes to the latest version";
    scene.refused(&format!("replace -f {stale}"), words)?;
    let said = scene.quiet(&format!("{replace} --force"))?;
    ensure_that!(
        said.contains("deleted") && said.contains("replaced"),
        "{said}"
    );
    let new = scene.field("replaced", "{.metadata.uid}")?;
    ensure_that!(new != uid, "--force kept the object");
    let nobody = scene.file("nobody", &scene.request("nobody", "replaces"))?;
    scene.refused(&format!("replace -f {nobody}"), "NotFound")
}

fn labels(scene: &Scene<'_>) -> Result<()> {
    scene.create("labels", &["lab-1", "lab-2"])?;
    scene.says("label csr lab-1 x=y", &format!("{} labeled", full("lab-1")))?;
    scene.refused("label csr lab-1 x=z", "--overwrite is false")?;
    scene.quiet("label csr lab-1 x=z --overwrite")?;
    same(
        "label",
        scene.field("lab-1", "{.metadata.labels.x}")?.as_str(),
        "z",
    )?;
    scene.quiet("label csr lab-1 x-")?;
    let both = format!("{} labeled\n{} labeled", full("lab-1"), full("lab-2"));
    scene.says("label csr -l group=labels both=1", &both)?;
    let labels = scene.field("lab-1", "{.metadata.labels}")?;
    same(
        "labels",
        labels.as_str(),
        r#"{"both":"1","group":"labels"}"#,
    )?;
    let stale = "label csr lab-1 y=1 --resource-version=1";
    scene.refused(stale, "the object has been modified")
}

fn annotates(scene: &Scene<'_>) -> Result<()> {
    scene.create("annotates", &["noted"])?;
    scene.says(
        "annotate csr noted note=hi",
        &format!("{} annotated", full("noted")),
    )?;
    scene.refused("annotate csr noted note=ho", "--overwrite is false")?;
    scene.quiet("annotate csr noted note=ho more=1 --overwrite")?;
    scene.quiet("annotate csr noted more-")?;
    let annotations = scene.field("noted", "{.metadata.annotations}")?;
    same("annotations", annotations.as_str(), r#"{"note":"ho"}"#)
}

fn edits(scene: &Scene<'_>) -> Result<()> {
    scene.create("edits", &["edited"])?;
    let edit = "edit csr edited";
    let said = scene.edited("sed -i s/group:.edits/group:\\ changed/", edit)?;
    same("answer", said, format!("{} edited", full("edited")))?;
    let label = scene.field("edited", "{.metadata.labels.group}")?;
    same("label", label.as_str(), "changed")?;
    let said = scene.edited("true", edit)?;
    ensure_that!(said.contains("no changes made"), "{said}");
    Ok(())
}

/// By a person's kubectl as it is, without `--validate=false`.
fn validates(scene: &Scene<'_>) -> Result<()> {
    let mut request = scene.request("validated", "validates");
    let good = scene.file("validated", &request)?;
    scene.says(
        &format!("apply -f {good}"),
        &format!("{} created", full("validated")),
    )?;
    scene.says(
        &format!("apply -f {good}"),
        &format!("{} unchanged", full("validated")),
    )?;
    request["metadata"]["name"] = json!("misspelt");
    request["spec"]["usage"] = json!(["client auth"]);
    let bad = scene.file("misspelt", &request)?;
    let answer = scene.run(&format!("create -f {bad}"))?.failed_with(1)?;
    ensure_that!(answer.contains("unknown field"), "{answer}");
    if scene.release >= Release::V1_34 {
        let answer = scene.run(&format!("create --validate=warn -f {bad}"))?;
        let warned = answer.stderr.contains("unknown field \"spec.usage\"");
        ensure_that!(warned, "{answer:?}");
        answer.ok()?;
    }
    let editor = "sed -i s/group:.validates/group:\\ changed/";
    let said = scene.edited(editor, "edit csr validated")?;
    same("edit", said, format!("{} edited", full("validated")))
}

fn dry_runs(scene: &Scene<'_>) -> Result<()> {
    let file = scene.file("dry", &scene.request("dry", "dry"))?;
    let create = format!("create --dry-run=server -f {file}");
    let uid = scene.quiet(&format!("{create} -o jsonpath={{.metadata.uid}}"))?;
    same("length of the uid of a dry run", uid.len(), 36)?;
    scene.says("get csr dry --ignore-not-found", "")?;
    let diff = format!("diff -f {file}");
    let differs = scene.run(&diff)?;
    same("exit code of a difference", differs.code, Some(1))?;
    ensure_that!(differs.stdout.contains("+  username: admin"), "{differs:?}");
    scene.quiet(&format!("apply -f {file}"))?;
    scene.says(&diff, "")?;
    // Only newer ones add "(server dry run)".
    let said = scene.quiet("label csr dry x=y --dry-run=server")?;
    let labeled = said.starts_with(&format!("{} labeled", full("dry")));
    ensure_that!(labeled, "{said}");
    let labels = scene.field("dry", "{.metadata.labels}")?;
    same("labels", labels.as_str(), r#"{"group":"dry"}"#)
}

fn applies_on_the_server(scene: &Scene<'_>) -> Result<()> {
    let mut request = scene.request("on-server", "server");
    let file = scene.file("on-server", &request)?;
    let apply = format!("apply --server-side -f {file}");
    let said = format!("{} serverside-applied", full("on-server"));
    scene.says(&apply, &said)?;
    request["metadata"]["labels"]["group"] = json!("other");
    scene.file("on-server", &request)?;
    let other = format!("{apply} --field-manager=somebody");
    scene.refused(&other, "conflict with \"kubectl\"")?;
    scene.says(&format!("{other} --force-conflicts"), &said)?;
    let label = scene.field("on-server", "{.metadata.labels.group}")?;
    same("label", label.as_str(), "other")
}
