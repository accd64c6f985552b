//! `everleaf status -w`: a fleet that is followed, shown anew when something has changed.

use super::live::Live;
use super::{Answer, Seen, shown};
use crate::args::OutputFormat;
use crate::print::Unwritten;
use anyhow::Result;
use everleaf_fleet::Fleet;
use jiff::Timestamp;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use tokio::signal::unix::{SignalKind, signal};

/// Shows the fleet until somebody ends it, or nobody reads any more.
pub(super) async fn run(seen: Seen, output: Option<OutputFormat>) -> Result<()> {
    let mut live = Live::follow(seen);
    let mut last = None;
    let mut resized = signal(SignalKind::window_change())?;
    while draw(&live, output, &mut last)? {
        tokio::select! {
            () = live.change() => {}
            _ = resized.recv() => {}
        }
    }
    Ok(())
}

/// Shows what is new; false: nobody reads it any more. `last`: what is shown, without its moment.
fn draw(live: &Live, output: Option<OutputFormat>, last: &mut Option<Fleet>) -> Result<bool> {
    let mut fleet = live.fleet();
    let text = match output {
        Some(OutputFormat::Json) => serde_json::to_string(&Answer::of(&fleet, live.seen()))?,
        output => shown(&fleet, live.seen(), output)?,
    };
    let is_terminal = std::io::stdout().is_terminal();
    // That time goes by is no news.
    fleet.now = Timestamp::UNIX_EPOCH;
    let before = last.replace(fleet);
    if !is_terminal && before == *last {
        return Ok(true);
    }
    let mut stdout = std::io::stdout().lock();
    let written = match (is_terminal, output) {
        // Cursor home, and clear what is below (ECMA-48).
        (true, None | Some(OutputFormat::Wide)) => writeln!(stdout, "\u{1b}[H\u{1b}[2J{text}"),
        (_, Some(OutputFormat::Json)) => writeln!(stdout, "{text}"),
        (_, Some(OutputFormat::Yaml)) => writeln!(stdout, "---\n{text}"),
        _ => writeln!(stdout, "{text}\n"),
    };
    let written = written.and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Unwritten(error).into()),
        Ok(()) => Ok(true),
    }
}
