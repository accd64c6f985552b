//! `everleaf certs`: what is in a cert dir, a kubeconfig or a PEM file.
//!
//! [`survey`] finds and reads, [`entry`] judges one certificate; here they are printed.

mod entry;
mod survey;
mod table;

use crate::args::{CertsArgs, OutputFormat};
use crate::print;
use anyhow::{Result, bail};
use entry::Entry;
use everleaf_agent::Clock;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Default, Serialize)]
struct Answer {
    certificates: Vec<Entry>,
}

/// Prints every certificate found.
pub(crate) fn run(args: &CertsArgs) -> Result<ExitCode> {
    let paths = if args.paths.is_empty() {
        usual_places()
    } else {
        args.paths.clone()
    };
    if paths.is_empty() {
        match args.output {
            Some(OutputFormat::Json) => print::json(&Answer::default())?,
            Some(OutputFormat::Yaml) => print::yaml(&Answer::default())?,
            None | Some(OutputFormat::Wide) => {}
        }
        bail!(
            "no certificates in the usual places of this host; name a cert dir, a kubeconfig or a PEM file, \
             such as: everleaf certs /var/lib/kubelet/pki"
        );
    }
    let anchors = args.ca.as_deref().map(survey::anchors).transpose()?;
    let now = everleaf_agent::SystemClock::new().wall();
    let mut certificates = Vec::new();
    let mut is_whole = true;
    for path in &paths {
        match survey::survey(path, anchors.as_ref()) {
            Ok(found) => {
                let entries = found.iter();
                certificates
                    .extend(entries.map(|found| Entry::of(found, now, args.expires_within)));
            }
            // One bad path does not hide the others.
            Err(error) => {
                is_whole = false;
                eprintln!(
                    "everleaf: {}",
                    print::harmless(&crate::failure::chain(&error))
                );
            }
        }
    }
    let is_good = is_whole && !certificates.iter().any(Entry::is_bad);
    match args.output {
        None | Some(OutputFormat::Wide) if certificates.is_empty() => {}
        Some(OutputFormat::Json) => print::json(&Answer { certificates })?,
        Some(OutputFormat::Yaml) => print::yaml(&Answer { certificates })?,
        Some(OutputFormat::Wide) => print_wide(&certificates)?,
        None => print::answer(&table::of(&certificates, print::has_colour()))?,
    }
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What `up`, the agent, the kubelet and kubeadm keep on this host, as far as it is there.
fn usual_places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Ok(root) = crate::up::data_dir::default_root() {
        places.extend(["pki", "admin.conf", "node/pki"].map(|name| root.join(name)));
    }
    places.extend(
        [
            "/var/lib/kubelet/pki",
            "/etc/kubernetes/pki",
            "/etc/kubernetes/admin.conf",
        ]
        .map(PathBuf::from),
    );
    places.retain(|place| place.exists());
    places
}

fn print_wide(certificates: &[Entry]) -> Result<()> {
    let headings = [
        "file",
        "subject",
        "expires",
        "left",
        "used",
        "renews",
        "standing",
        "sans",
        "serial",
        "not before",
        "issuer",
        "key",
        "chain",
        "problems",
        "remarks",
    ];
    let rows: Vec<Vec<String>> = certificates.iter().map(Entry::row).collect();
    print::table(&headings, &rows)
}
