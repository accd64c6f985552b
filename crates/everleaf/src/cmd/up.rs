//! `everleaf up`: starts the system, says what runs, waits for the wish to stop.

use crate::args::signing::SigningDuration;
use crate::args::up::UpArgs;
use crate::cmd::dashboard::ui;
use crate::config;
use crate::print;
use crate::service;
use crate::shutdown::Shutdown;
use crate::up;
use crate::up::authority::latest_end;
use crate::up::data_dir::{DataDir, default_root, refuse_foreign, refuse_held};
use crate::up::kubeconfigs::{ADMIN, BOOTSTRAP, NODE_CERT_DIR};
use crate::up::node;
use crate::up::system::{Settings, System};
use anyhow::Result;
use everleaf_agent::{Clock, SystemClock};
use everleaf_api::duration;
use everleaf_node::places::CA_CERTIFICATE;
use jiff::{SignedDuration, Timestamp};
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

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
        // Nothing is written before it is certain that we can listen: a failed start leaves nothing
        // behind.
        refuse_foreign(&root)?;
        let clock = Arc::new(SystemClock::new());
        let makes_authority = !root.join(CA_CERTIFICATE).exists();
        if let Some(warning) = up::clock::check(&root, clock.wall(), latest_end(), makes_authority)?
        {
            tracing::warn!("{warning}");
        }
        if let Some(approval) = &settings.serving_approval {
            approval.check()?;
        }
        let listener = match System::listen(&settings).await {
            Ok(listener) => listener,
            Err(error) => {
                // More to the point than the port that its holder listens on.
                refuse_held(&root)?;
                return Err(error);
            }
        };
        let dir = Arc::new(DataDir::open(&root)?);
        let system = System::start_on(listener, &dir, &settings, clock.clone()).await?;
        print::line(&welcome(&dir, &settings, &system, clock.wall()));
        let _alive = service::server_ready(&system.server);
        system.run(shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// What runs, where the files are, and what to try next.
fn welcome(dir: &DataDir, settings: &Settings, system: &System, now: Timestamp) -> String {
    let admin = dir.path(ADMIN);
    let mut rows = vec![
        ("API server", system.local_url.clone()),
        ("data", dir.root().display().to_string()),
        (
            "authority",
            authority(system.ca_not_after, settings.signing_duration, now),
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
        let folder = dir.path(NODE_CERT_DIR);
        let folder = folder.display();
        let row = match node::name_in_use(dir).filter(|in_use| in_use != name) {
            None => format!("{name}, in {folder}"),
            Some(in_use) => format!(
                "{name}, in {folder}; it was {in_use}: this host joins as {name} (--node-name {in_use} would keep the name)"
            ),
        };
        rows.push(("this node", row));
    }
    if settings.ui {
        rows.insert(
            1,
            ("dashboard", format!("{}{}", system.local_url, ui::PATH)),
        );
        let without = format!(
            "with a token of who may list requests; without one: everleaf dashboard --kubeconfig {}",
            shell_word(&admin.display().to_string())
        );
        rows.insert(2, ("  log in", without));
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

/// How long the authority lasts and what it issues.
fn authority(not_after: Timestamp, signing_duration: Duration, now: Timestamp) -> String {
    let lifetime = i64::try_from(signing_duration.as_secs()).unwrap_or(i64::MAX);
    let asked = duration::human(lifetime);
    let reaches_beyond = SignedDuration::try_from(signing_duration)
        .ok()
        .and_then(|lifetime| now.checked_add(lifetime).ok())
        .is_none_or(|end| end > not_after);
    if reaches_beyond {
        format!("until {not_after}; what it issues ends then, too, although {asked} are asked for")
    } else {
        format!("until {not_after}; it issues for {asked}")
    }
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

    /// Once: until when, and of the duration only what it can still mean.
    #[test]
    fn the_authority_is_described_without_contradiction() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (now, end) = (at("2026-11-29T00:00:00Z"), at("2100-01-01T00:00:00Z"));
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(
            authority(end, hours(87_600), now),
            "until 2100-01-01T00:00:00Z; it issues for 10y"
        );
        assert_eq!(
            authority(end, hours(876_000), now),
            "until 2100-01-01T00:00:00Z; what it issues ends then, too, although 100y are asked for"
        );
    }

    #[test]
    fn paths_are_quoted_when_a_shell_would_split_them() {
        assert_eq!(shell_word("/a/b-c.conf"), "/a/b-c.conf");
        assert_eq!(shell_word("/a b/it's"), r"'/a b/it'\''s'");
    }
}
