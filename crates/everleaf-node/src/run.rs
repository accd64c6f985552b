//! Runs an agent as its command line says.

use crate::adopt::{adopt, hand_back};
use crate::args::agent::{AgentArgs, AgentCommand};
use crate::config::config;
use crate::join;
use crate::profiles;
use crate::rehearse::rehearse;
use crate::service;
use crate::shutdown::{Shutdown, reload_on_hangup};
use anyhow::{Context, Result};
use everleaf_agent::{Outcome, SystemClock};
use std::process::ExitCode;
use std::sync::Arc;

/// Exit code of an agent whose credential has expired and that was told to give up.
const CREDENTIAL_EXPIRED: u8 = 3;

/// Runs until a signal, or until everything due is done (`--once`). `program` is what people type
/// to start an agent, such as `everleaf agent`: messages name it.
///
/// # Errors
/// What it is to do cannot be done: bad flags ([`UsageError`](crate::failure::UsageError)), files
/// that cannot be read or written, a cluster that cannot be joined.
pub fn run(args: &AgentArgs, program: &str) -> Result<ExitCode> {
    match &args.command {
        Some(AgentCommand::Join(how)) => {
            return match join::join(how, program)? {
                Some(agent) => run(&agent, program),
                None => Ok(ExitCode::SUCCESS),
            };
        }
        Some(AgentCommand::Rehearse(how)) => return rehearse(how),
        Some(AgentCommand::Adopt(how)) => return adopt(&how.place, program),
        Some(AgentCommand::HandBack(how)) => return hand_back(&how.place),
        None => {}
    }
    let joined = join::with_data_dir(args, program)?;
    let args = joined.as_ref().unwrap_or(args);
    if args.check_profiles {
        return profiles::check(args);
    }
    let config = config(args)?;
    if !args.ignored.0.is_empty() {
        tracing::info!(
            flags = args.ignored.0.join(","),
            "these kubelet flags have no effect here: the agent keeps certificates and nothing else"
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        let reload = reload_on_hangup()?;
        let clock = Arc::new(SystemClock::new());
        // One thread: that this is told says that nothing holds it up.
        let _alive = service::ready(|| true);
        match everleaf_agent::run(config, clock, shutdown.asked(), reload).await? {
            Outcome::CredentialExpired => Ok(ExitCode::from(CREDENTIAL_EXPIRED)),
            _ => Ok(ExitCode::SUCCESS),
        }
    })
}
