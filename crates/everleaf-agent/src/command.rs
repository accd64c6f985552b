//! Runs a program for its effect or its output: never through a shell, never without an end.
//!
//! Owns the pipes and the process group. Whoever stops waiting kills the program and everything
//! that it started.

use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use zeroize::Zeroizing;

/// How long its output may stay open after it has ended.
const AFTERMATH_MAX: Duration = Duration::from_secs(1);
/// Most that it may write to its standard output.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// What is kept of the end of its standard error.
const WORDS_BYTES_MAX: usize = 4 << 10;
/// Longest last word of a command that is shown.
const WORDS_CHARS_MAX: usize = 200;
/// Shorter pieces of the output are no secrets.
const SECRET_CHARS_MIN: usize = 8;

/// Runs it to its end and returns what it wrote to its standard output, which no error ever shows.
/// `not_started` puts into words why it cannot be started.
///
/// # Errors
/// How it failed, with the last line of its standard error.
pub(crate) async fn run(
    command: &mut Command,
    not_started: impl FnOnce(&str) -> String,
) -> Result<Zeroizing<Vec<u8>>, String> {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| not_started(&why(&error)))?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    // Its id is that of its group, and stays so until it has been waited for.
    let mut group = Group(id.and_then(Pid::from_raw));
    let (pipe, words_pipe) = (child.stdout.take(), child.stderr.take());
    let (mut output, mut words) = (Zeroizing::default(), Zeroizing::default());
    let status = {
        let reading = async {
            tokio::try_join!(
                read_output(pipe, &mut output),
                read_words(words_pipe, &mut words)
            )
        };
        let mut reading = std::pin::pin!(reading);
        let status = tokio::select! {
            read = &mut reading => {
                read?;
                child.wait().await
            }
            status = child.wait() => {
                // What it has started may hold its output open; what it wrote itself is there
                // already.
                if let Ok(read) = tokio::time::timeout(AFTERMATH_MAX, reading).await {
                    read?;
                }
                status
            }
        };
        status.map_err(|error| format!("it cannot be waited for: {error}"))?
    };
    group.0 = None;
    if status.success() {
        return Ok(output);
    }
    let how = ended(status);
    Err(match last_words(&words, &output) {
        Some(words) => format!("{how}: {words}"),
        None => how,
    })
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => {
            "it is no file that may be executed; see its path and mode".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Everything that a command started: killed when it does not end by itself, or nobody waits for it
/// any more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended this moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it, which somebody else sent"),
        (None, None) => "it was ended".to_owned(),
    }
}

/// Where the command is: by itself if it is a path, else in the absolute directories of `PATH`, as
/// Go looks.
pub(crate) fn find(command: &Path) -> Option<PathBuf> {
    if command.is_absolute() {
        return Some(command.to_owned());
    }
    find_in(command, &std::env::var_os("PATH")?)
}

pub(crate) fn find_in(command: &Path, path: &OsStr) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(command))
        .find(|path| {
            path.metadata()
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

pub(crate) fn in_one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

async fn read_output(
    output: Option<impl AsyncRead + Unpin>,
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    bytes.reserve(64 << 10);
    if let Some(output) = output {
        let mut output = output.take(OUTPUT_BYTES_MAX as u64 + 1);
        let read = output.read_to_end(bytes).await;
        read.map_err(|error| format!("its output cannot be read: {error}"))?;
    }
    if bytes.len() > OUTPUT_BYTES_MAX {
        return Err("it wrote more than 1 MiB, and was killed".to_owned());
    }
    Ok(())
}

/// The end of what it had to say.
async fn read_words(
    words: Option<impl AsyncRead + Unpin>,
    end: &mut Vec<u8>,
) -> Result<(), String> {
    let Some(mut words) = words else {
        return Ok(());
    };
    let mut piece = [0; 1024];
    // A pipe that breaks has nothing more to say.
    while let Ok(count @ 1..) = words.read(&mut piece).await {
        end.extend_from_slice(&piece[..count]);
        let surplus = end.len().saturating_sub(WORDS_BYTES_MAX);
        end.drain(..surplus);
    }
    Ok(())
}

/// The last line of standard error, unless it repeats what went to standard output.
pub(crate) fn last_words(words: &[u8], output: &[u8]) -> Option<String> {
    let words = String::from_utf8_lossy(words);
    let line = words.lines().rev().find(|line| !line.trim().is_empty())?;
    let output = Zeroizing::new(String::from_utf8_lossy(output).into_owned());
    let mut pieces = output.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\\'));
    if pieces.any(|piece| piece.len() >= SECRET_CHARS_MIN && line.contains(piece)) {
        return Some("(its last words repeat its output, and are not shown)".to_owned());
    }
    Some(
        in_one_line(line.trim())
            .chars()
            .take(WORDS_CHARS_MAX)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for what `look` finds.
    async fn soon<T>(look: impl Fn() -> Option<T>) -> T {
        for _ in 0..2000 {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it does not come");
    }

    #[tokio::test]
    async fn who_stops_waiting_kills_a_command_and_what_it_started() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("pid");
        let script = "sleep 1000 & echo $! > pid.new; mv pid.new pid; wait";
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(home.path());
        let pid = tokio::select! {
            _ = run(&mut command, str::to_owned) => panic!("it does not end"),
            pid = soon(|| std::fs::read_to_string(&file).ok()) => pid,
        };
        let stat = format!("/proc/{}/stat", pid.trim());
        let is_alive = || std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z "));
        soon(|| (!is_alive()).then_some(())).await;
    }

    #[test]
    fn commands_are_looked_for_where_go_looks() {
        let path = OsStr::new(":.:relative:/no/such:/etc:/bin");
        let found = |name: &str| find_in(Path::new(name), path);
        assert_eq!(found("sh"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(
            found("passwd"),
            Some("/bin/passwd".into()).filter(|p: &PathBuf| p.exists())
        );
        assert_eq!(found("no-such-command"), None);
    }
}
