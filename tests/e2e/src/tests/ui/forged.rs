//! What no page of ours sends.

use super::Browser;
use anyhow::Result;
use everleaf_stage::{arg, ensure_that, run, same};

/// Nothing that is sent too large, or twice, leaves anybody waiting, or unsaid.
pub(super) fn odd_requests(stranger: &Browser<'_>) -> Result<()> {
    let large = stranger.sandbox.write("large", &"a".repeat(4 << 20))?;
    let large = format!("@{}", arg(&large));
    for protocol in ["--http2", "--http1.1"] {
        let body = [
            protocol,
            "-X",
            "GET",
            "-H",
            "Expect:",
            "--data-binary",
            &large,
        ];
        let mut command = stranger.curl("/ui/style.css", &body);
        command.args(["--max-time", "8", "-o", "/dev/null", "-w", "%{http_code}"]);
        let answer = run(&mut command)?;
        same(protocol, answer.stdout.as_str(), "413")?;
    }
    let origin = format!("Origin: {}", stranger.origin);
    let twice = ["-H", &origin, "-H", &origin];
    let page = stranger.post_with("/ui/login", &["token=x"], &twice)?;
    same("two origins", page.status(), "403")?;
    let page = stranger.log_in(&"x".repeat(20 << 10))?;
    same("a long token", page.status(), "413")?;
    ensure_that!(page.body.contains("longer than 16 KiB"), "{}", page.body);
    Ok(())
}

/// Approvals of `laptop` that no page of ours has sent, for a certificate and for a session.
pub(super) fn forgeries(bob: &Browser<'_>, token: &Browser<'_>) -> Result<()> {
    for (browser, other) in [(bob, token), (token, bob)] {
        let form = browser.form("approve", "laptop")?;
        let others = other.form("approve", "laptop")?;
        let (key, uid) = (&*form[0], &*form[1]);
        let own = format!("Origin: {}", browser.origin);
        let own = ["-H", &*own];
        let cross = [&own[..], &["-H", "Sec-Fetch-Site: cross-site"]].concat();
        let text = [&own[..], &["-H", "Content-Type: text/plain"]].concat();
        for (what, args, fields) in [
            ("no origin", &[][..], [key, uid]),
            (
                "another",
                &["-H", "Origin: https://evil.example"],
                [key, uid],
            ),
            ("no origin's", &["-H", "Origin: null"], [key, uid]),
            (
                "plain HTTP's",
                &["-H", "Origin: http://127.0.0.1"],
                [key, uid],
            ),
            ("another site", &cross, [key, uid]),
            ("no form", &text, [key, uid]),
            ("no key", &own, ["key=", uid]),
            ("a guessed key", &own, ["key=abc", uid]),
            ("another's key", &own, [&*others[0], uid]),
        ] {
            let path = "/ui/requests/laptop/approve";
            let page = browser.post_with(path, &fields, args)?;
            same(&format!("{}: {what}", browser.name), page.status(), "403")?;
        }
    }
    Ok(())
}
