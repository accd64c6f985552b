//! `agent adopt` and `agent hand-back`: what they do is [`everleaf_agent::adoption`]'s; here is how
//! it is told.

use crate::args::agent::PlaceArgs;
use crate::print;
use anyhow::{Context, Result};
use everleaf_agent::adoption::{self, Change, Place, Plan};
use everleaf_agent::{Clock as _, SystemClock};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Takes over, or says what that would change.
pub(crate) fn adopt(args: &PlaceArgs, program: &str) -> Result<ExitCode> {
    let place = place(args)?;
    let now = SystemClock::new().wall();
    let plan = match args.dry_run {
        true => adoption::plan_adoption(&place, now),
        false => adoption::adopt(&place, now),
    };
    let plan = plan.context("the certificate stays with the kubelet")?;
    let mut text = told(&plan, args.dry_run);
    if !args.dry_run {
        let _ = write!(
            text,
            "Node {}, certificate until {}. Start the agent, then the kubelet:\n  {program} --kubeconfig {} --cert-dir {} \
             --rotate-certificates --hostname-override {}",
            plan.node,
            plan.not_after,
            place.kubeconfig.display(),
            place.cert_dir.display(),
            plan.node
        );
    }
    print::answer(&print::harmless(text.trim_end()))?;
    Ok(ExitCode::SUCCESS)
}

/// Gives back, or says what that would change.
pub(crate) fn hand_back(args: &PlaceArgs) -> Result<ExitCode> {
    let place = place(args)?;
    let now = SystemClock::new().wall();
    let plan = match args.dry_run {
        true => adoption::plan_hand_back(&place, now),
        false => adoption::hand_back(&place, now),
    };
    let plan = plan.context("the certificate stays with the agent")?;
    let mut text = told(&plan, args.dry_run);
    if !args.dry_run {
        let _ = write!(
            text,
            "Node {}, certificate until {}. The kubelet renews it from its next start on: `systemctl restart kubelet`",
            plan.node, plan.not_after
        );
    }
    print::answer(&print::harmless(text.trim_end()))?;
    Ok(ExitCode::SUCCESS)
}

fn place(args: &PlaceArgs) -> Result<Place> {
    let absolute =
        |path: &Path| std::path::absolute(path).with_context(|| path.display().to_string());
    let below = |given: &Option<PathBuf>, name: &str| {
        absolute(
            &given
                .clone()
                .unwrap_or_else(|| args.kubelet_root.join(name)),
        )
    };
    Ok(Place {
        kubeconfig: absolute(&args.kubeconfig)?,
        cert_dir: below(&args.cert_dir, "pki")?,
        kubelet_config: below(&args.config, "config.yaml")?,
    })
}

/// The changes as a diff, file by file, and the notes.
fn told(plan: &Plan, is_dry: bool) -> String {
    let mut text = String::new();
    match (plan.changes.is_empty(), is_dry) {
        (true, _) => text.push_str("Nothing is to be changed.\n"),
        (false, true) => text.push_str("Would be changed:\n"),
        (false, false) => text.push_str("Changed:\n"),
    }
    for change in &plan.changes {
        text.push_str(&difference(change));
    }
    for note in &plan.notes {
        let _ = writeln!(text, "Note: {note}");
    }
    text
}

fn difference(change: &Change) -> String {
    let mut text = format!("{}\n", change.path.display());
    for (mark, line) in [("-", &change.before), ("+", &change.after)] {
        if let Some(line) = line {
            let _ = writeln!(text, "  {mark} {line}");
        }
    }
    text
}
