//! Serving certificates and keys that cannot be used, as the API server tells of them.

use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Sandbox, ensure_that, run};

pub(super) const TESTS: &[Test] = &[Test {
    name: "wrong_serving_files_are_told_in_words",
    long: false,
    run: serving_files,
}];

/// Each is named, with what is wrong; and no library's debug text is shown.
fn serving_files(sandbox: &Sandbox) -> Result<Verdict> {
    for (key, certificate) in [("a.key", "a.crt"), ("b.key", "b.crt")] {
        let made = sandbox.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            key,
            "-out",
            certificate,
            "-days",
            "2",
            "-subj",
            "/CN=server",
        ])?;
        made.ok()?;
    }
    sandbox.write("empty", "")?;
    sandbox.write("text", "hello\n")?;
    for (certificate, key, words) in [
        ("a.crt", "b.key", ["a.crt", "b.key", "not the one"]),
        ("a.key", "a.crt", ["a.key", "--tls-cert-file", "swapped"]),
        ("empty", "a.key", ["empty", "--tls-cert-file", "is empty"]),
        (
            "a.crt",
            "text",
            ["text", "--tls-private-key-file", "not PEM"],
        ),
    ] {
        let args = [
            "apiserver",
            "--data-dir",
            "x",
            "--secure-port",
            "0",
            "--client-ca-file",
            "a.crt",
            "--tls-cert-file",
            certificate,
            "--tls-private-key-file",
            key,
        ];
        let said = run(&mut sandbox.everleaf(&args))?.failed_with(1)?;
        for word in words {
            ensure_that!(said.contains(word), "{args:?}: no {word:?} in {said}");
        }
        for mark in ["Error(", "Other(", " { ", "Some("] {
            ensure_that!(!said.contains(mark), "{args:?}: {said}");
        }
    }
    Ok(Verdict::Passed)
}
