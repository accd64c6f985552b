//! Log lines: to stderr, as text or JSON, never with colour codes when stderr is not a terminal.

use crate::args::{LogArgs, LogFormat};
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// From here on `-v` shows the steps of each attempt.
const VERBOSITY_DEBUG: u32 = 2;
/// From here on `-v` shows everything, other crates' lines included.
const VERBOSITY_TRACE: u32 = 4;

/// Installs the subscriber for the process. A command that tells its own story is `quiet`: it logs
/// only when asked to.
pub fn start(args: &LogArgs, quiet: bool) {
    let verbosity: u32 = args.verbosity.iter().copied().map(u32::from).sum();
    let (ours, others) = match (quiet, verbosity) {
        (true, 0) => (LevelFilter::OFF, LevelFilter::OFF),
        _ => levels(verbosity),
    };
    // The client library cries at each failed attempt; we say once what changed.
    let client = match verbosity {
        VERBOSITY_TRACE.. => others,
        _ => LevelFilter::OFF,
    };
    let targets = Targets::new()
        .with_default(others)
        .with_target("kube_client", client)
        .with_target("everleaf", ours);
    let registry = tracing_subscriber::registry().with(targets);
    match args.log_format {
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false)
                    .with_writer(std::io::stderr),
            )
            .init(),
        LogFormat::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_target(verbosity >= VERBOSITY_DEBUG)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_writer(std::io::stderr),
            )
            .init(),
    }
}

/// Levels of our own lines and of other crates' lines.
fn levels(verbosity: u32) -> (LevelFilter, LevelFilter) {
    match verbosity {
        VERBOSITY_TRACE.. => (LevelFilter::TRACE, LevelFilter::DEBUG),
        VERBOSITY_DEBUG.. => (LevelFilter::DEBUG, LevelFilter::WARN),
        _ => (LevelFilter::INFO, LevelFilter::WARN),
    }
}
