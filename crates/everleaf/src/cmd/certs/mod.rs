//! `everleaf certs`: what is in a cert dir, a kubeconfig or a PEM file.
//!
//! [`survey`] finds and reads, [`entry`] judges one certificate; here they are printed.

mod entry;
mod survey;

use crate::args::{CertsArgs, OutputFormat};
use crate::print;
use anyhow::{Result, bail};
use entry::Entry;
use everleaf_agent::Clock;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Serialize)]
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
        bail!(
            "no certificates in the usual places of this host; name a cert dir, a kubeconfig or a PEM file, \
             such as: everleaf certs /var/lib/kubelet/pki"
        );
    }
    let anchors = args.ca.as_deref().map(survey::anchors).transpose()?;
    let now = everleaf_agent::SystemClock::new().wall();
    let mut certificates = Vec::new();
    for path in &paths {
        for found in survey::survey(path, anchors.as_ref())? {
            certificates.push(Entry::of(&found, now));
        }
    }
    match args.output {
        Some(OutputFormat::Json) => print::json(&Answer { certificates })?,
        Some(OutputFormat::Yaml) => print::yaml(&Answer { certificates })?,
        Some(OutputFormat::Wide) => print_table(&certificates, true),
        None => print_table(&certificates, false),
    }
    Ok(ExitCode::SUCCESS)
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

fn print_table(certificates: &[Entry], wide: bool) {
    let mut headings = vec![
        "file", "subject", "expires", "left", "used", "renews", "standing",
    ];
    if wide {
        headings.extend(["sans", "serial", "not before", "issuer", "chain"]);
    }
    headings.push("problems");
    let rows: Vec<Vec<String>> = certificates.iter().map(|entry| entry.row(wide)).collect();
    print::table(&headings, &rows);
}
