//! Encryption at rest of the store in the data directory: what is on disk, what a wrong key means,
//! how a new one comes.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{HOST, Kubectl, Sandbox, arg, ensure_that, eventually, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_store_is_encrypted_and_its_key_is_changed_while_it_serves",
        long: false,
        run: rotation,
    },
    Test {
        name: "an_encryption_configuration_that_cannot_be_used_stops_the_start",
        long: false,
        run: refused,
    },
];

const FLAG: &str = "--encryption-provider-config";

/// A file by which these providers, each with a key of that name, encrypt Secrets.
fn config(sandbox: &Sandbox, providers: &[&str]) -> Result<String> {
    let mut text = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
                    resources:\n- resources: [secrets]\n  providers:\n"
        .to_owned();
    for provider in providers {
        match *provider {
            "identity" => text.push_str("  - identity: {}\n"),
            key => text.push_str(&format!(
                "  - secretbox: {{keys: [{{name: {key}, secret: {}}}]}}\n",
                secret(key)
            )),
        }
    }
    let path = sandbox.write("encryption.yaml", &text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(arg(&path).to_owned())
}

fn secret(key: &str) -> String {
    STANDARD.encode(&key.repeat(32)[..32])
}

/// Whether a text lies in any file of the store.
fn is_on_disk(sandbox: &Sandbox, text: &str) -> Result<bool> {
    for file in fs::read_dir(sandbox.path("data/store"))? {
        let bytes = fs::read(file?.path())?;
        if bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn rotation(sandbox: &Sandbox) -> Result<Verdict> {
    let path = config(sandbox, &["first", "identity"])?;
    let args = [
        "up",
        "--data-dir",
        "data",
        "--listen",
        "127.0.0.1:0",
        "--node-name",
        HOST,
        FLAG,
        &path,
        "--encryption-provider-config-automatic-reload",
    ];
    let mut process = sandbox.start("up", &mut sandbox.everleaf(&args))?;
    let admin = Kubectl::new(sandbox, sandbox.path("data/admin.conf"));
    let ready = || admin.quiet(&["get", "--raw", "/readyz"]);
    eventually("ready", 15, ready)?;
    let create = |name: &str, value: &str| {
        let literal = format!("--from-literal=a={value}");
        admin.quiet(&["create", "secret", "generic", name, &literal])
    };
    create("s", "in-the-dark")?;
    admin.quiet(&["create", "configmap", "c", "--from-literal=a=in-the-light"])?;
    ensure_that!(
        !is_on_disk(sandbox, "in-the-dark")?,
        "the Secret is on disk in clear"
    );
    ensure_that!(
        is_on_disk(sandbox, "in-the-light")?,
        "the ConfigMap should be there"
    );
    ensure_that!(
        is_on_disk(sandbox, "k8s:enc:secretbox:v1:first:")?,
        "no prefix"
    );

    // A second key, and all is written by it.
    let stale = || -> Result<String> {
        let metrics = admin.quiet(&["get", "--raw", "/metrics"])?;
        let line = "everleaf_storage_stale_objects{resource=\"secrets\"} ";
        let found = metrics.lines().find_map(|found| found.strip_prefix(line));
        Ok(found.unwrap_or("none").to_owned())
    };
    ensure_that!(stale()? == "0", "{} are stale before", stale()?);
    config(sandbox, &["second", "first"])?;
    eventually("the new file is read", 15, || {
        ensure_that!(stale()? != "0", "it is not");
        Ok(())
    })?;
    let all = admin.quiet(&["get", "secrets", "-A", "-o", "json"])?;
    let all = sandbox.write("all.json", &all)?;
    admin.quiet(&["replace", "-f", arg(&all)])?;
    ensure_that!(stale()? == "0", "{} are stale", stale()?);
    process.stop()?;

    lacking(sandbox, &admin, &args)?;
    Ok(Verdict::Passed)
}

/// With the first key alone, Secrets are there and cannot be read, the rest is; then the second
/// comes back.
fn lacking(sandbox: &Sandbox, admin: &Kubectl<'_>, args: &[&str]) -> Result<()> {
    config(sandbox, &["first"])?;
    let mut process = sandbox.start("up-first", &mut sandbox.everleaf(args))?;
    eventually("ready", 15, || admin.quiet(&["get", "--raw", "/readyz"]))?;
    let told = admin.run(&["get", "secret", "s"])?.failed_with(1)?;
    let reason = "/registry/secrets/default/s: it is encrypted by secretbox:second";
    ensure_that!(told.contains(reason), "{told}");
    admin.quiet(&["get", "configmap", "c"])?;
    let said = process.stderr();
    ensure_that!(
        said.contains(reason) || said.contains("/registry/secrets/"),
        "{said}"
    );
    for key in ["first", "second"] {
        ensure_that!(!said.contains(&secret(key)), "a secret is in the log");
    }
    // The key comes back while it runs.
    config(sandbox, &["second"])?;
    eventually("it is read", 15, || admin.quiet(&["get", "secret", "s"]))?;
    process.stop()?;
    Ok(())
}

fn refused(sandbox: &Sandbox) -> Result<Verdict> {
    let path = config(sandbox, &["first"])?;
    let good = fs::read_to_string(&path)?;
    let args = [
        "up",
        "--data-dir",
        "data",
        "--listen",
        "127.0.0.1:0",
        "--node-name",
        HOST,
        FLAG,
        &path,
    ];
    for (text, expected) in [
        (
            good.replace("secretbox:", "kms:"),
            "KMS plugins are not supported",
        ),
        (
            good.replace("secrets", "Secrets"),
            "should not contain capital letters",
        ),
        (
            good.replace("secretbox", "aescbc")
                .replace(&secret("first"), "YWJj"),
            "got 3, expected one of [16 24 32]",
        ),
        (good.replace("  providers", "  provider"), "provider"),
        (String::new(), "EncryptionConfiguration"),
    ] {
        fs::write(&path, &text)?;
        let told = run(&mut sandbox.everleaf(&args))?;
        let (code, told) = (told.code, format!("{}{}", told.stdout, told.stderr));
        ensure_that!(
            code != Some(0) && told.contains(expected),
            "{code:?} {told}"
        );
        ensure_that!(told.contains(FLAG), "{told}");
        ensure_that!(!told.contains(&secret("first")), "{told}");
    }
    ensure_that!(
        !sandbox.path("data/store").exists(),
        "something was written"
    );
    Ok(Verdict::Passed)
}
