//! What people read on stdout: plain lines, JSON, YAML.

use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// An answer that did not arrive, such as on a full disk.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to stdout: {0}; the answer is not whole there")]
pub struct Unwritten(pub io::Error);

/// Writes one line to stdout, for a program that goes on whatever becomes of it.
pub fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Writes a command's answer to stdout. A reader that went away (`| head`) is not an error.
///
/// # Errors
/// [`Unwritten`].
pub fn answer(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Unwritten(error).into()),
        _ => Ok(()),
    }
}

/// Writes a value as indented JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    answer(&serde_json::to_string_pretty(value)?)
}

/// Writes a value as YAML.
pub fn yaml(value: &impl Serialize) -> anyhow::Result<()> {
    answer(serde_saphyr::to_string(value)?.trim_end())
}

/// Whether stdout is to be coloured: a terminal's, unless `NO_COLOR` says otherwise (no-color.org).
pub fn has_colour() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    io::stdout().is_terminal() && !is_unwanted
}

/// Words of others without what a terminal obeys or what turns the order of letters round; line
/// breaks stay.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let is_command = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_command) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_command(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The same in one line, for a cell of a table.
pub fn harmless_line(text: &str) -> String {
    harmless(text).replace('\n', "\\n")
}
