//! Certificates of pods, from `everleaf up`.

use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    POD_SIGNER_FLAGS, Sandbox, Up, arg, ensure_that, eventually, pod_authority, pod_is_granted,
    pod_is_refused, pod_request, run, same,
};
use serde_json::json;

pub(super) const TESTS: &[Test] = &[Test {
    name: "a_pod_gets_a_certificate_of_the_signer_that_up_was_told_to_run",
    long: false,
    run: play,
}];

fn play(sandbox: &Sandbox) -> Result<Verdict> {
    pod_authority(sandbox)?;
    let mut flags = vec!["--no-node"];
    flags.extend(POD_SIGNER_FLAGS);
    let up = Up::start(sandbox, &flags)?;
    let admin = up.admin();
    sandbox.point(
        "a request is granted: openssl verifies the chain, its names and its key",
        || {
            let p256 = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
            pod_is_granted(sandbox, &admin, "web", &p256)
        },
    )?;
    sandbox.point("what the signer does not know is denied", || {
        let annotated = json!({"unverifiedUserAnnotations": {"example.com/role": "admin"}});
        let expected = ("Denied", "InvalidUnverifiedUserAnnotations");
        pod_is_refused(sandbox, &admin, ("odd", annotated), expected)
    })?;
    sandbox.point("who does not hold the key gets no request filed", || {
        let request = pod_request(sandbox, "stolen", &["-algorithm", "ed25519"], json!({}))?;
        let text = std::fs::read_to_string(&request)?;
        let mut object: serde_json::Value = serde_json::from_str(&text)?;
        let stub = object["spec"]["stubPKCS10Request"]
            .as_str()
            .unwrap_or_default();
        // Its signature is of other bytes now.
        object["spec"]["stubPKCS10Request"] = forged(stub).into();
        let forged = sandbox.write("stolen.json", &object.to_string())?;
        let refused = admin.run(&["create", "-f", arg(&forged)])?.failed_with(1)?;
        ensure_that!(refused.contains("stubPKCS10Request"), "{refused}");
        Ok(())
    })?;
    sandbox.point(
        "others' requests wait, and the log has what was issued",
        || {
            let other = json!({"signerName": "example.com/other"});
            let request = pod_request(sandbox, "other", &["-algorithm", "ed25519"], other)?;
            admin.quiet(&["create", "-f", arg(&request)])?;
            let log = eventually("an entry of the log", 20, || {
                let mut command = sandbox.everleaf(&["ca", "log", "-o", "json", "--dir"]);
                let log = run(command.arg(up.path("issuance-log")))?.ok()?;
                ensure_that!(
                    log.contains("spiffe://example.org/ns/default/sa/shop"),
                    "{log}"
                );
                Ok(log)
            })?;
            ensure_that!(log.contains("default/web"), "{log}");
            let state = admin.json(&["get", "podcertificaterequest", "other"])?;
            same("the other's status", &state["status"], &json!({}))
        },
    )?;
    Ok(Verdict::Passed)
}

/// Base64 with another byte in the middle of a signature.
fn forged(stub: &str) -> String {
    let at = stub.len() - 20;
    let other = if stub.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    format!("{}{other}{}", &stub[..at], &stub[at + 1..])
}
