//! Tells a program that its certificate is another one: runs a command, or sends a signal.

use super::Action;
use crate::command;
use everleaf_rotation::store::dir::read_file;
use rustix::process::{Pid, kill_process};
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// Longest file with the number of a process.
const PID_FILE_BYTES_MAX: u64 = 64;

/// Variable by which a command is told whose files were written.
const PROFILE_VARIABLE: &str = "EVERLEAF_PROFILE";

/// Carries the action out; the error is for people, and goes on from the action's name.
pub(super) async fn carry_out(action: Action, profile: String) -> Result<(), String> {
    match action {
        Action::Run { command, timeout } => {
            let (program, arguments) = command.split_first().ok_or("no program is named")?;
            let found = command::find(Path::new(program)).ok_or("it is not in PATH")?;
            let mut command = Command::new(found);
            command
                .args(arguments)
                .env(PROFILE_VARIABLE, profile)
                .stdin(Stdio::null());
            let run = command::run(&mut command, |why| format!("it cannot be started: {why}"));
            match tokio::time::timeout(timeout, run).await {
                Ok(ended) => ended.map(drop),
                Err(_) => Err(format!(
                    "it did not end within {} s, and was killed",
                    timeout.as_secs()
                )),
            }
        }
        Action::Signal {
            signal,
            pid_file,
            process_name,
        } => {
            let pid = process_in(&pid_file, process_name.as_deref())?;
            kill_process(pid, signal).map_err(|error| {
                format!(
                    "the signal cannot be sent to process {}: {error}",
                    pid.as_raw_nonzero()
                )
            })
        }
    }
}

/// The process whose number the file holds, if it has that name.
fn process_in(file: &Path, name: Option<&str>) -> Result<Pid, String> {
    let shown = file.display();
    let bytes = read_file(file, PID_FILE_BYTES_MAX)
        .map_err(|error| format!("{shown} cannot be read: {error}; is the program running?"))?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse::<i32>().ok()).flatten();
    // 0 is this process's group, 1 the system's first process: neither is in a file of a daemon's.
    let pid = number.filter(|number| *number > 1).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| format!("{shown} holds no number of a process"))?;
    let Some(name) = name else {
        return Ok(pid);
    };
    let number = pid.as_raw_nonzero();
    let comm = std::fs::read_to_string(format!("/proc/{number}/comm"))
        .map_err(|_| format!("{shown} names process {number}, which is not running"))?;
    if comm.trim_end() != name {
        return Err(format!(
            "{shown} names process {number}, which is {:?} and not {name:?}: the file is an old one",
            comm.trim_end()
        ));
    }
    Ok(pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::Signal;
    use std::time::Duration;

    fn run(words: &[&str]) -> Action {
        Action::Run {
            command: words.iter().map(ToString::to_string).collect(),
            timeout: Duration::from_secs(1),
        }
    }

    #[tokio::test]
    async fn a_command_runs_without_a_shell_and_says_how_it_failed() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("a; b $HOME");
        let words = ["touch", file.to_str().unwrap()];
        carry_out(run(&words), "web".to_owned()).await.unwrap();
        assert!(file.is_file());
        let words = ["sh", "-c", "test $EVERLEAF_PROFILE = web"];
        carry_out(run(&words), "web".to_owned()).await.unwrap();
        let words = ["sh", "-c", "echo no such unit >&2; exit 4"];
        let error = carry_out(run(&words), "web".to_owned()).await.unwrap_err();
        assert_eq!(error, "it exited with 4: no such unit");
        let error = carry_out(run(&["no-such-program"]), String::new()).await;
        assert_eq!(error.unwrap_err(), "it is not in PATH");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_given_up() {
        let error = carry_out(run(&["sleep", "1000"]), String::new()).await;
        assert!(error.unwrap_err().contains("within 1 s, and was killed"));
    }

    #[tokio::test]
    async fn a_signal_goes_to_the_process_meant_and_to_no_other() {
        let home = tempfile::tempdir().unwrap();
        let pid_file = home.path().join("pid");
        let signal = |process_name: Option<&str>| Action::Signal {
            signal: Signal::TERM,
            pid_file: pid_file.clone(),
            process_name: process_name.map(str::to_owned),
        };
        let sent = carry_out(signal(None), String::new()).await;
        assert!(sent.unwrap_err().contains("is the program running?"));
        for text in ["", "0", "1", "-1", "+7", "7 8", "x", "99999999999"] {
            std::fs::write(&pid_file, text).unwrap();
            let sent = carry_out(signal(None), String::new()).await;
            assert!(sent.unwrap_err().contains("holds no number"), "{text}");
        }
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        std::fs::write(&pid_file, format!("{}\n", child.id())).unwrap();
        let sent = carry_out(signal(Some("nginx")), String::new()).await;
        assert!(sent.unwrap_err().contains("not \"nginx\""));
        carry_out(signal(Some("sleep")), String::new())
            .await
            .unwrap();
        assert!(!child.wait().unwrap().success());
        let sent = carry_out(signal(Some("sleep")), String::new()).await;
        assert!(sent.unwrap_err().contains("not running"));
    }
}
