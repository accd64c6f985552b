//! get in all its forms, describe, wait, explain.

use super::scene::{Release, Scene, full};
use crate::pairings::server::CLIENT;
use anyhow::{Result, bail};
use everleaf_stage::{Process, ensure_that, eventually, same};
use serde_json::json;
use std::time::Duration;

pub(super) fn points(scene: &Scene<'_>) {
    scene.point(
        "get: table, wide, names, a file, several kinds, not found",
        tables,
    );
    scene.point(
        "get -o json, yaml, jsonpath, custom-columns, go-template",
        outputs,
    );
    scene.point("get: -l, --field-selector", selects);
    scene.point("get: --sort-by, -L, --show-labels", sorts);
    scene.point("get: --chunk-size follows continue tokens", pages);
    scene.point("get --watch, --watch-only, --output-watch-events", watches);
    scene.point("describe", describes);
    scene.point("events of an object", events);
    scene.point("wait: a condition, deletion, timeout", waits);
    scene.point("explain", explains);
}

fn cells(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn tables(scene: &Scene<'_>) -> Result<()> {
    scene.create("tables", &["row-1", "row-2"])?;
    for line in ["get csr -l group=tables", "get csr -l group=tables -o wide"] {
        let table = scene.quiet(line)?;
        let lines: Vec<Vec<&str>> = table.lines().map(cells).collect();
        let header = cells("NAME AGE SIGNERNAME REQUESTOR REQUESTEDDURATION CONDITION");
        same("lines", lines.len(), 3)?;
        same("header", &lines[0], &header)?;
        let [name, _, signer, requestor, duration, condition] = lines[1][..] else {
            bail!("{:?}", lines[1]);
        };
        let row = [name, signer, requestor, duration, condition];
        same("row", row, ["row-1", CLIENT, "admin", "<none>", "Pending"])?;
    }
    let both = format!("{}\n{}", full("row-1"), full("row-2"));
    scene.says("get csr -l group=tables -o name", &both)?;
    scene.says("get csr/row-1 csr/row-2 -o name", &both)?;
    scene.says(
        "get certificatesigningrequests.v1.certificates.k8s.io row-1 -o name",
        &full("row-1"),
    )?;
    scene.says("get -f tables-list.json -o name", &both)?;
    let plain = scene.quiet("get csr -l group=tables --server-print=false")?;
    let header = plain.lines().next().map(cells);
    same(
        "header of kubectl's own table",
        header,
        Some(vec!["NAME", "AGE"]),
    )?;
    scene.shows(
        "get csr,ns -o name",
        &format!("{}|namespace/kube-system", full("row-1")),
    )?;
    scene.refused(
        "get csr nobody",
        "Error from server (NotFound): certificatesigningrequests.certificates.k8s.io \"nobody\" not found",
    )?;
    scene.says("get csr nobody --ignore-not-found", "")
}

fn outputs(scene: &Scene<'_>) -> Result<()> {
    scene.create("outputs", &["out-1", "out-2"])?;
    let list = scene.json("get csr -l group=outputs")?;
    same("items", list["items"].as_array().map(Vec::len), Some(2))?;
    let one = scene.json("get csr out-1")?;
    same(
        "kind",
        one["kind"].as_str(),
        Some("CertificateSigningRequest"),
    )?;
    same(
        "version",
        one["apiVersion"].as_str(),
        Some("certificates.k8s.io/v1"),
    )?;
    same("status", &one["status"], &json!({}))?;
    scene.shows(
        "get csr out-1 -o yaml",
        "kind: CertificateSigningRequest\n|    group: outputs\n|  username: admin|  - client auth|status: {}",
    )?;
    let outputs = |output: &str, text: &str| {
        scene.says(&format!("get csr -l group=outputs -o {output}"), text)
    };
    outputs("jsonpath={.items[*].metadata.name}", "out-1 out-2")?;
    outputs("'go-template={{len .items}}'", "2")?;
    outputs(
        "custom-columns=N:.metadata.name --no-headers",
        "out-1\nout-2",
    )
}

fn selects(scene: &Scene<'_>) -> Result<()> {
    tiers(scene, "selects", ["sel-1", "sel-2", "sel-3"])?;
    for (flags, wanted) in [
        ("-l tier=b,group=selects", "sel-2"),
        ("-l 'tier in (a,c),group=selects'", "sel-1 sel-3"),
        ("-l 'group=selects,tier notin (a)'", "sel-1 sel-2"),
        ("-l group=selects,!tier", ""),
        ("--field-selector=metadata.name=sel-3", "sel-3"),
        (
            "-l group=selects --field-selector=spec.signerName!=example.com/x,metadata.name!=sel-1",
            "sel-2 sel-3",
        ),
        (
            "-l group=selects --field-selector=spec.signerName=example.com/x",
            "",
        ),
    ] {
        let wanted: Vec<String> = cells(wanted).into_iter().map(full).collect();
        scene.says(&format!("get csr {flags} -o name"), &wanted.join("\n"))?;
    }
    let unknown = "get csr --field-selector=spec.username=admin";
    scene.refused(unknown, "field label not supported: spec.username")
}

/// Names rise while the label and the duration fall.
fn tiers(scene: &Scene<'_>, group: &str, names: [&str; 3]) -> Result<()> {
    let tiers = [("c", 10_800), ("b", 7_200), ("a", 3_600)];
    let requests = names.into_iter().zip(tiers).map(|(name, (tier, seconds))| {
        let mut request = scene.request(name, group);
        request["metadata"]["labels"]["tier"] = json!(tier);
        request["spec"]["expirationSeconds"] = json!(seconds);
        request
    });
    scene.create_all(group, requests.collect())
}

fn sorts(scene: &Scene<'_>) -> Result<()> {
    tiers(scene, "sorts", ["sort-1", "sort-2", "sort-3"])?;
    let get = "get csr -l group=sorts --no-headers";
    for by in ["{.metadata.labels.tier}", "spec.expirationSeconds"] {
        let rows = scene.quiet(&format!("{get} --sort-by={by}"))?;
        let names: Vec<&str> = rows.lines().map(|row| cells(row)[0]).collect();
        same("sorted", names, vec!["sort-3", "sort-2", "sort-1"])?;
    }
    let rows = scene.quiet(&format!("{get} -L tier"))?;
    let last = rows.lines().filter_map(|row| cells(row).last().copied());
    same("-L", last.collect(), vec!["c", "b", "a"])?;
    scene
        .shows("get csr sort-1 --show-labels", "LABELS|group=sorts,tier=c")
        .map(drop)
}

fn pages(scene: &Scene<'_>) -> Result<()> {
    scene.create("pages", &["page-1", "page-2", "page-3", "page-4", "page-5"])?;
    for (size, wanted) in [(2, 2), (0, 0)] {
        let answer = scene.run(&format!(
            "get csr -l group=pages --no-headers -v=6 --chunk-size={size}"
        ))?;
        // Newer ones log structured.
        let answered = |line: &&str| line.contains("200 OK") || line.contains("status=\"200");
        let answers = answer.stderr.lines().filter(answered);
        let continued = answers.filter(|line| line.contains("continue="));
        same("further pages", continued.count(), wanted)?;
        same("rows", answer.ok()?.lines().count(), 5)?;
    }
    Ok(())
}

fn watches(scene: &Scene<'_>) -> Result<()> {
    scene.create("watches", &["early"])?;
    let table = scene.watch("get csr -l group=watches --no-headers -w")?;
    let names = scene.watch("get csr -l group=watches -o name --watch-only")?;
    scene.create("watches", &["watched"])?;
    told(&table, "Pending", 2)?;
    let events = scene.start("get csr watched --no-headers -w --output-watch-events")?;
    told(&events, "ADDED", 1)?;
    scene.quiet("certificate approve watched")?;
    told(&table, "Approved", 1)?;
    told(&table, "Approved,Issued", 1)?;
    let said = told(&table, "early", 1)?;
    // The watch goes on from the list's version.
    same(
        "lines about what was there",
        said.matches("early").count(),
        1,
    )?;
    told(&events, "MODIFIED", 2)?;
    scene.quiet("delete csr watched")?;
    let story = told(&events, "DELETED", 1)?;
    let others = story.lines().filter(|line| !line.contains("watched"));
    same("lines about others", others.collect(), Vec::<&str>::new())?;
    let said = told(&names, "watched", 4)?;
    same("line", said.lines().next(), Some(full("watched").as_str()))
}

/// Waits until a process has written so many lines with this text; all it has written.
fn told(process: &Process, text: &str, lines: usize) -> Result<String> {
    eventually(text, 15, || {
        let said = process.stdout();
        let seen = said.lines().filter(|line| line.contains(text)).count();
        let error = process.stderr();
        ensure_that!(seen >= lines, "{seen} lines with it in {said:?}: {error}");
        Ok(said)
    })
}

fn describes(scene: &Scene<'_>) -> Result<()> {
    scene.create("describes", &["described"])?;
    let texts = "Name:|described|Labels:|group=describes|CreationTimestamp:|Requesting User:|admin|Signer:|Status:|Pending|\
                 Subject:|Common Name:|jane|Organization:|staff|Events:";
    scene.shows("describe csr described", &format!("{texts}|{CLIENT}"))?;
    scene
        .shows("describe csr -l group=describes", "jane")
        .map(drop)
}

fn events(scene: &Scene<'_>) -> Result<()> {
    scene.create("events", &["seen"])?;
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "seen.1", "namespace": "default"},
        "involvedObject": {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "name": "seen",
            "uid": scene.field("seen", "{.metadata.uid}")?,
        },
        "type": "Warning",
        "reason": "SeenByATest",
        "message": "somebody looked at it",
        "count": 3,
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "source": {"component": "tests"},
    });
    scene.create_all("event", vec![event])?;
    scene.shows("describe csr seen", "SeenByATest|somebody looked at it")?;
    let columns = "LAST SEEN|TYPE|REASON|OBJECT|MESSAGE";
    let row = "Warning|SeenByATest|certificatesigningrequest/seen|somebody";
    scene.shows("get events", &format!("{columns}|{row}"))?;
    let selector = "--field-selector=involvedObject.name=seen,reason=SeenByATest";
    scene.shows(&format!("get events -A {selector}"), "somebody")?;
    if scene.release >= Release::V1_34 {
        scene.shows("events --for=csr/seen", "SeenByATest")?;
    }
    scene
        .shows("describe event seen.1", "somebody looked at it")
        .map(drop)
}

fn waits(scene: &Scene<'_>) -> Result<()> {
    scene.create("waits", &["awaited", "doomed"])?;
    let mut approved = scene.watch("wait --for=condition=Approved csr/awaited --timeout=20s")?;
    let mut deleted = scene.watch("wait --for=delete csr/doomed --timeout=20s")?;
    scene.quiet("certificate approve awaited")?;
    scene.quiet("delete csr doomed --wait=false")?;
    let limit = Duration::from_secs(15);
    same("waiting for Approved", approved.exit_code(limit)?, 0)?;
    same("waiting for deletion", deleted.exit_code(limit)?, 0)?;
    let met = format!("{} condition met", full("awaited"));
    same("what it said", approved.stdout().trim(), met.as_str())?;
    scene.says("wait --for=condition=Approved=True csr/awaited", &met)?;
    if scene.release >= Release::V1_34 {
        let issued = "wait --for=jsonpath={.status.certificate} csr/awaited --timeout=10s";
        scene.says(issued, &met)?;
        scene.quiet("wait --for=create csr/awaited --timeout=5s")?;
    }
    let denied = "wait --for=condition=Denied csr/awaited --timeout=1s";
    scene.refused(denied, "timed out waiting for the condition")
}

fn explains(scene: &Scene<'_>) -> Result<()> {
    let all = "CertificateSigningRequest|certificates.k8s.io|signerName|usages|expirationSeconds";
    scene.shows("explain csr --recursive", all)?;
    scene.shows("explain csr.spec", "signerName|<string>|-required-")?;
    scene.refused("explain csr.spec.nothing", "does not exist")
}
