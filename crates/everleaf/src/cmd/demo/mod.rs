//! `everleaf demo`: the story of a certificate that renews although the node's clock is wrong, on
//! the production code.
//!
//! A real server over TLS, real controllers, real agents; only the nodes' clocks can be moved
//! ([`OffsetClock`]). [`stage`] is what the scenes stand on, [`scenes`] tells the story. Each claim
//! is a check that was seen to hold, or the exit code says so.
//!
//! [`OffsetClock`]: everleaf_agent::OffsetClock

mod report;
mod scenes;
mod stage;

use crate::args::DemoArgs;
use crate::failure::UsageError;
use crate::print;
use anyhow::{Result, bail};
use everleaf_pki::KeyAlgorithm;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use report::Scene;
use scenes::Told;
use stage::Stage;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

/// Certificates that are due at birth would blur the story.
const SIGNING_DURATION_MIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Tells the story; success only if every check held.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode> {
    if args.cluster_signing_duration < SIGNING_DURATION_MIN {
        let text = "--cluster-signing-duration: the story moves clocks by days; take 720h or more (shorter lifetimes \
                    work, but not in this story)";
        return Err(UsageError(text.to_owned()).into());
    }
    let place = Place::new(args.data_dir.as_deref())?;
    let runtime = super::runtime()?;
    let held = runtime.block_on(tell(
        &place.root,
        args.cluster_signing_duration,
        args.key_algorithm,
    ));
    runtime.shutdown_timeout(Duration::from_secs(1));
    place.remove();
    if held? {
        print::line("\nEverything held.");
        Ok(ExitCode::SUCCESS)
    } else {
        print::line("\nSomething did not hold: see FAIL above.");
        Ok(ExitCode::FAILURE)
    }
}

async fn tell(root: &Path, lifetime: Duration, kind: KeyAlgorithm) -> Result<bool> {
    let stage = Stage::set(root, lifetime, kind).await?;
    print::line(&format!(
        "The server's clock is right: {}. It issues for {}. Only the nodes' clocks are moved.",
        stage::seconds(stage.now()),
        everleaf_api::duration::human(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX)),
    ));
    // The scenes have nodes of their own and run at the same time; they are told in order.
    let scenes: [Pin<Box<dyn Future<Output = Told> + '_>>; 7] = [
        Box::pin(scenes::joins_and_renews(&stage)),
        Box::pin(scenes::after_the_end(&stage)),
        Box::pin(scenes::moved_while_running(&stage)),
        Box::pin(scenes::refused_with_bootstrap(&stage)),
        Box::pin(scenes::refused_without_bootstrap(&stage)),
        Box::pin(scenes::set_back(&stage)),
        Box::pin(scenes::authority_ends_first(root, lifetime, kind)),
    ];
    let mut scenes: FuturesOrdered<_> = scenes.into_iter().collect();
    let mut held = true;
    let mut number = 0;
    while let Some(told) = scenes.next().await {
        number += 1;
        held &= Scene::told(told, number);
    }
    drop(scenes);
    stage.clear().await;
    Ok(held)
}

/// Where the files of the demo are.
struct Place {
    root: PathBuf,
    is_temporary: bool,
}

impl Place {
    fn new(given: Option<&Path>) -> Result<Self> {
        if let Some(root) = given {
            let is_used = std::fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
            if is_used {
                bail!(
                    "--data-dir {}: not empty; the demo wants a directory of its own",
                    root.display()
                );
            }
            return Ok(Self {
                root: root.to_owned(),
                is_temporary: false,
            });
        }
        let name = format!("everleaf-demo-{}", crate::up::entropy::letters(8)?);
        Ok(Self {
            root: std::env::temp_dir().join(name),
            is_temporary: true,
        })
    }

    fn remove(&self) {
        if self.is_temporary {
            // Left-overs in the temporary directory harm nobody.
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }
}
