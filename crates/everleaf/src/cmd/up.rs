//! `everleaf up`: starts the system, says what runs, waits for the wish to stop.

use crate::args::signing::SigningDuration;
use crate::args::up::UpArgs;
use crate::config;
use crate::print;
use crate::shutdown::Shutdown;
use crate::up;
use crate::up::authority::{CA_CERTIFICATE, latest_end};
use crate::up::data_dir::{DataDir, default_root};
use crate::up::kubeconfigs::{ADMIN, BOOTSTRAP, NODE_CERT_DIR};
use crate::up::system::{Settings, System};
use anyhow::Result;
use everleaf_agent::{Clock, SystemClock};
use everleaf_api::duration;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs until a signal.
pub(crate) fn run(args: &UpArgs) -> Result<ExitCode> {
    if args.signing.deprecated_name_used {
        tracing::warn!("{}", SigningDuration::DEPRECATION);
    }
    let settings = config::up(args)?;
    let root = match &args.data_dir {
        Some(root) => root.clone(),
        None => default_root()?,
    };
    super::runtime()?.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        let clock = Arc::new(SystemClock::new());
        let makes_authority = !root.join(CA_CERTIFICATE).exists();
        if let Some(warning) = up::clock::check(&root, clock.wall(), latest_end(), makes_authority)?
        {
            tracing::warn!("{warning}");
        }
        let dir = Arc::new(DataDir::open(&root)?);
        let system = System::start(&dir, &settings, clock).await?;
        print::line(&welcome(&dir, &settings, &system));
        system.run(shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// What runs, where the files are, and what to try next.
fn welcome(dir: &DataDir, settings: &Settings, system: &System) -> String {
    let admin = dir.path(ADMIN);
    let lifetime = i64::try_from(settings.signing_duration.as_secs()).unwrap_or(i64::MAX);
    let mut rows = vec![
        ("API server", system.local_url.clone()),
        ("data", dir.root().display().to_string()),
        (
            "authority",
            format!(
                "until {}; it issues for {}",
                system.ca_not_after,
                duration::human(lifetime)
            ),
        ),
        ("admin", admin.display().to_string()),
        (
            "new nodes",
            format!(
                "{} (until {})",
                dir.path(BOOTSTRAP).display(),
                system.bootstrap_until
            ),
        ),
    ];
    if let Some(name) = &settings.node_name {
        rows.push((
            "this node",
            format!("{name}, in {}", dir.path(NODE_CERT_DIR).display()),
        ));
    }
    let mut text = format!("Everleaf {} is ready.\n\n", env!("CARGO_PKG_VERSION"));
    for (what, value) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {what:11} {value}");
    }
    let _ = write!(
        text,
        "\nTry:\n  kubectl --kubeconfig {} get csr",
        shell_word(&admin.display().to_string())
    );
    text
}

/// Quoted for a shell when it needs to be.
fn shell_word(text: &str) -> String {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:@".contains(&byte));
    if plain {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_when_a_shell_would_split_them() {
        assert_eq!(shell_word("/a/b-c.conf"), "/a/b-c.conf");
        assert_eq!(shell_word("/a b/it's"), r"'/a b/it'\''s'");
    }
}
