//! `everleaf ca log`: what was issued, and whether the log of it holds.

use crate::args::OutputFormat;
use crate::args::ca::{CaCommand, LogArgs};
use crate::up::data_dir;
use crate::{input, print};
use anyhow::{Context, Result, anyhow};
use everleaf_agent::Clock;
use everleaf_controllers::issuance::{Checkpoint, Entry, ReadError, Reader, Verified};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Largest checkpoint that is read.
const CHECKPOINT_BYTES_MAX: u64 = 1 << 20;

/// Dispatches.
pub(crate) fn run(command: &CaCommand) -> Result<ExitCode> {
    match command {
        CaCommand::Log(args) => log(args),
        CaCommand::Revoke(args) => super::revoke::revoke(args),
        CaCommand::Unrevoke(args) => super::revoke::unrevoke(args),
        CaCommand::Revocations(args) => super::revoke::list(args),
        CaCommand::Status(args) => super::ca_status::run(args),
        CaCommand::Renew(args) => super::ca_renew::run(args),
        CaCommand::Roll(command) => super::roll::run(command),
    }
}

fn log(args: &LogArgs) -> Result<ExitCode> {
    let directory = match &args.dir {
        Some(directory) => directory.clone(),
        None => default_directory()?,
    };
    let reader = Reader::open(&directory).map_err(|error| {
        let is_absent = matches!(error, ReadError::Absent(_));
        let what = match is_absent && args.dir.is_none() {
            true => "name the log with --dir, as in --issuance-log of the controllers".to_owned(),
            false => directory.display().to_string(),
        };
        anyhow::Error::new(error).context(what)
    })?;
    let answered = match args.verify {
        true => verify(&reader, args),
        false => list(&reader, args),
    };
    answered.map_err(|error| match error.is::<ReadError>() {
        true => error.context(directory.display().to_string()),
        false => error,
    })
}

pub(super) fn default_directory() -> Result<PathBuf> {
    Ok(data_dir::default_root()?.join(data_dir::ISSUANCE_LOG))
}

fn list(reader: &Reader, args: &LogArgs) -> Result<ExitCode> {
    let now = everleaf_agent::SystemClock::new().wall();
    let mut found = Vec::new();
    let mut all = 0;
    let mut unreadable = None;
    let read = reader.each(|number, bytes| {
        all = number + 1;
        match Entry::from_bytes(bytes) {
            Ok(entry) if is_wanted(&entry, args, now) => found.push((number, entry)),
            Ok(_) => {}
            Err(error) => unreadable = unreadable.take().or(Some((number, error))),
        }
    });
    let as_json = || found.iter().map(|(number, entry)| numbered(*number, entry));
    match args.output {
        Some(OutputFormat::Json) => print::json(&as_json().collect::<Value>())?,
        Some(OutputFormat::Yaml) => print::yaml(&as_json().collect::<Value>())?,
        Some(OutputFormat::Wide) => show(&found, true)?,
        None => show(&found, false)?,
    }
    // Now that what can be read was shown.
    read?;
    if let Some((number, error)) = unreadable {
        return Err(anyhow!("entry {number} cannot be read: {error}"));
    }
    if found.is_empty() {
        eprintln!("everleaf: {}", nothing_found(all));
    }
    Ok(ExitCode::SUCCESS)
}

/// What to say instead of an empty table.
fn nothing_found(all: u64) -> String {
    match all {
        0 => "the log has no entries yet".to_owned(),
        _ => format!("none of the {all} entries of the log is such a one"),
    }
}

fn is_wanted(entry: &Entry, args: &LogArgs, now: Timestamp) -> bool {
    let is_nodes = |node: &String| entry.cn.strip_prefix("system:node:") == Some(node);
    let is_signer = |signer: &String| [&entry.signer, &short(&entry.signer)].contains(&signer);
    // The flag's is in upper case and begins with no zero.
    let is_serial = |serial: &String| serial == entry.serial.trim_start_matches('0');
    let ends = entry.ends_at();
    let ends_soon = |within: &std::time::Duration| {
        ends.is_some_and(|end| end > now && now.duration_until(end).unsigned_abs() <= *within)
    };
    args.node.as_ref().is_none_or(is_nodes)
        && args.signer.as_ref().is_none_or(is_signer)
        && args.serial.as_ref().is_none_or(is_serial)
        && args.expiring_within.as_ref().is_none_or(ends_soon)
}

/// A signer's name as the table has it.
fn short(signer: &str) -> String {
    signer.replace("kubernetes.io/", "")
}

fn numbered(number: u64, entry: &Entry) -> Value {
    let mut object = json!(entry);
    object["index"] = json!(number);
    object
}

fn show(found: &[(u64, Entry)], is_wide: bool) -> Result<()> {
    let mut headings = vec![
        "index",
        "time",
        "signer",
        "cn",
        "serial",
        "not after",
        "csr",
    ];
    if is_wide {
        headings.extend(["names", "requester", "approval"]);
    }
    let rows = found.iter().map(|(number, entry)| {
        let mut row = vec![
            number.to_string(),
            entry.time.clone(),
            short(&entry.signer),
            entry.cn.clone(),
            entry.serial.clone(),
            entry.not_after.clone(),
            entry.csr.clone(),
        ];
        if is_wide {
            let addresses = entry.ips.iter().map(ToString::to_string);
            let names = entry
                .dns
                .iter()
                .chain(&entry.uris)
                .chain(&entry.emails)
                .cloned();
            row.push(names.chain(addresses).collect::<Vec<_>>().join(","));
            row.push(entry.requester.clone());
            row.push(format!("{}: {}", entry.approved_by, entry.approval));
        }
        row.iter().map(|cell| print::harmless_line(cell)).collect()
    });
    print::table(&headings, &rows.collect::<Vec<_>>())
}

fn verify(reader: &Reader, args: &LogArgs) -> Result<ExitCode> {
    let against = match &args.against {
        None => None,
        Some(path) => {
            let note = input::read(path, CHECKPOINT_BYTES_MAX)
                .with_context(|| format!("--against {}", path.display()))?;
            let older = Checkpoint::open(&note, reader.key());
            Some(older.with_context(|| format!("--against {}", path.display()))?)
        }
    };
    let verified = reader.verify(against)?;
    match args.output {
        Some(OutputFormat::Json) => print::json(&verdict(reader, &verified))?,
        Some(OutputFormat::Yaml) => print::yaml(&verdict(reader, &verified))?,
        Some(OutputFormat::Wide) | None => {
            let checkpoint = &verified.checkpoint;
            print::answer(&format!(
                "{}: all agrees with the checkpoint and its signature; entries: {}",
                checkpoint.origin, checkpoint.size
            ))?;
            if let Some(older) = &verified.against {
                let size = older.size;
                print::answer(&format!(
                    "the first {size} of them are those of the older checkpoint"
                ))?;
            }
            if verified.unsealed > 0 {
                let more = verified.unsealed;
                print::answer(&format!("{more} more have no checkpoint yet"))?;
            }
            if verified.is_unfinished {
                print::answer(
                    "the last line of pending is unfinished: it is being written, or was when its writer stopped",
                )?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn verdict(reader: &Reader, verified: &Verified) -> Value {
    json!({
        "origin": verified.checkpoint.origin,
        "key": reader.key().to_string(),
        "size": verified.checkpoint.size,
        "against": verified.against.as_ref().map(|older| older.size),
        "unsealed": verified.unsealed,
        "unfinished": verified.is_unfinished,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn wants(flags: &str, entry: &Entry) -> bool {
        let line = format!("everleaf ca log {flags}");
        let cli = Cli::try_parse_from(line.split_whitespace()).expect(flags);
        let Command::Ca(CaCommand::Log(args)) = cli.command else {
            panic!("{flags}");
        };
        is_wanted(entry, &args, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_filter_takes_what_the_table_shows_and_what_other_tools_print() {
        let entry = Entry {
            signer: "kubernetes.io/kube-apiserver-client-kubelet".to_owned(),
            cn: "system:node:n1".to_owned(),
            serial: "0A333369DE".to_owned(),
            ..Entry::default()
        };
        for flags in [
            "",
            "--node n1",
            "--signer kube-apiserver-client-kubelet",
            "--signer kubernetes.io/kube-apiserver-client-kubelet",
            "--serial 0A333369DE",
            "--serial a333369de --node n1",
            "--serial 0x0a333369de",
            "--serial 0A:33:33:69:DE",
        ] {
            assert!(wants(flags, &entry), "{flags}");
        }
        for flags in [
            "--node n",
            "--signer kubelet",
            "--signer kubelet-serving",
            "--serial 333369DE",
            "--serial A333369DE --node n2",
        ] {
            assert!(!wants(flags, &entry), "{flags}");
        }
        assert!(nothing_found(7).contains("none of the 7 entries"));
        assert!(nothing_found(0).contains("no entries yet"));
    }
}
