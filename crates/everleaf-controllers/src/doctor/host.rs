//! The machine on which it is asked: its cert dir and its kubeconfig.

use super::found::Found;
use super::seen::{Answer, Audience, KubeconfigFile, OnDisk, Seen};
use super::{Fault, away, counted, kind_of_key, moment_of};
use crate::why::Known;
use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
use everleaf_pki::{Chain, Leaf};
use jiff::{SignedDuration, Timestamp};

/// Old files of a prefix that nobody minds.
const OTHERS_MAX: usize = 20;
/// A request that has waited so long will not be answered by itself.
const PENDING_MAX: SignedDuration = SignedDuration::from_hours(1);
/// How long after its time a renewal may take.
const OVERDUE_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// The server decides what is valid, if it can be asked.
fn clock(seen: &Seen) -> Timestamp {
    match seen.server.answer {
        Answer::Yes => seen.cluster.now,
        _ => seen.cluster.local,
    }
}

pub(super) fn cert_dir(seen: &Seen, found: &mut Found) -> String {
    let host = &seen.host;
    let shown = host.cert_dir.display().to_string();
    let directory = match &host.directory {
        Known::Read(directory) => directory,
        Known::Absent => {
            found.add(Fault::CertDirAbsent, shown, &[]);
            return String::new();
        }
        Known::Hidden(why) => {
            found.unreadable(&shown, why);
            return String::new();
        }
    };
    if directory.mode & 0o022 != 0 {
        let line = format!("{shown}: mode {:04o}", directory.mode & 0o7777);
        found.add(Fault::CertDirWritable, line, &[]);
    }
    if directory.is_volatile == Some(true) {
        found.add(Fault::CertDirVolatile, shown.clone(), &[]);
    }
    let mut held = Vec::new();
    for credential in &host.credentials {
        if let Some(leaf) = on_disk(credential, seen, found) {
            let (end, key) = (leaf.not_after(), kind_of_key(leaf));
            held.push(format!("{} until {end}, key {key}", credential.prefix));
        }
    }
    match held.is_empty() {
        true => shown,
        false => format!("{shown}: {}", held.join(", ")),
    }
}

/// Judges one credential; its certificate.
fn on_disk<'d>(credential: &'d OnDisk, seen: &Seen, found: &mut Found) -> Option<&'d Leaf> {
    let now = clock(seen);
    let path = credential.path.display().to_string();
    if let Some((csr, filed)) = &credential.pending
        && now.duration_since(*filed) > PENDING_MAX
    {
        let line = format!(
            "{}: csr/{csr}, made {}",
            credential.prefix,
            away(*filed, now)
        );
        found.add(Fault::CertPendingOld, line, &[("csr", csr)]);
    }
    if credential.others > OTHERS_MAX {
        let line = format!(
            "{}: {}",
            credential.prefix,
            counted(credential.others, "old file")
        );
        found.add(Fault::CertLeftovers, line, &[]);
    }
    let chain = match &credential.chain {
        Known::Read(Ok(chain)) => chain,
        Known::Read(Err(why)) => {
            found.add(Fault::CertTorn, format!("{path}: {why}"), &[]);
            return None;
        }
        Known::Absent => {
            if credential.is_needed {
                found.add(Fault::CertAbsent, path, &[]);
            }
            return None;
        }
        Known::Hidden(why) => {
            found.unreadable(&path, why);
            return None;
        }
    };
    if credential.mode & 0o077 != 0 {
        let line = format!("{path}: mode {:04o}", credential.mode & 0o7777);
        found.add(Fault::CertReadable, line, &[("file", &path)]);
    }
    match &credential.key {
        Some(Ok(())) => {}
        Some(Err(why)) => found.add(Fault::CertOtherKey, format!("{path}: {why}"), &[]),
        None => found.add(
            Fault::CertTorn,
            format!("{path}: no private key in it"),
            &[],
        ),
    }
    dates(credential, chain, now, &path, found);
    if credential.is_needed {
        other_ca(chain, seen, &path, found);
    }
    Some(chain.leaf())
}

fn dates(credential: &OnDisk, chain: &Chain, now: Timestamp, path: &str, found: &mut Found) {
    let leaf = chain.leaf();
    let end = leaf.not_after();
    if end <= now {
        found.add(
            Fault::CertEnded,
            format!("{path}: {end}, {}", away(end, now)),
            &[],
        );
        return;
    }
    if leaf.not_before() > now {
        let line = format!(
            "{path}: it begins at {}, and it is {now}",
            leaf.not_before()
        );
        found.add(Fault::CertNotBegun, line, &[]);
    }
    if let Some(due) = credential.renews_at
        && now.duration_since(due) > OVERDUE_AFTER
    {
        let line = format!("{path}: due at {due}, {}; it ends at {end}", away(due, now));
        found.add(Fault::CertOverdue, line, &[]);
    }
}

/// Whether the kubeconfig's authority, which mostly signs for clients, too, has signed it.
fn other_ca(chain: &Chain, seen: &Seen, path: &str, found: &mut Found) {
    let mut bundles = seen.bundles.iter();
    let bundle = bundles.find(|bundle| bundle.audience == Audience::Kubeconfig);
    let Some(pem) = bundle.and_then(|bundle| bundle.pem.read()) else {
        return;
    };
    let Ok(bundle) = TrustBundle::from_pem_lenient(pem.as_bytes()) else {
        return;
    };
    let shown = Presented::from(chain);
    let moment = moment_of(chain.leaf(), &bundle);
    if let Err(refusal) = bundle.judge(&shown, Purpose::ClientAuth, moment) {
        found.add(Fault::CertOtherCa, format!("{path}: {refusal}"), &[]);
    }
}

pub(super) fn kubeconfig(seen: &Seen, found: &mut Found) -> String {
    let file = &seen.host.kubeconfig;
    let path = file.path.display().to_string();
    let names = [("file", &*path)];
    match &file.content {
        Known::Read(Ok(())) => {}
        Known::Read(Err(why)) => found.add(Fault::KubeconfigUnusable, why.clone(), &names),
        Known::Absent => found.add(Fault::KubeconfigAbsent, path.clone(), &names),
        Known::Hidden(why) => found.unreadable(&path, why),
    }
    if !matches!(file.content, Known::Read(Ok(()))) {
        return String::new();
    }
    if file.holds_secret && file.mode & 0o077 != 0 {
        let line = format!("{path}: mode {:04o}", file.mode & 0o7777);
        found.add(Fault::KubeconfigReadable, line, &names);
    }
    if file.names_no_ca {
        found.add(Fault::KubeconfigNoCa, path.clone(), &names);
    }
    if let Some(line) = other_file(file, seen) {
        found.add(Fault::KubeconfigOtherFile, line, &names);
    }
    path
}

/// How the kubeconfig's certificate is not the current one of the cert dir.
fn other_file(file: &KubeconfigFile, seen: &Seen) -> Option<String> {
    let current = seen.host.credentials.iter().find(|one| one.is_needed)?;
    let current = matches!(current.chain, Known::Read(_)).then_some(&current.path)?;
    let path = file.path.display();
    match &file.client_certificate {
        Some(named) if named == current => None,
        Some(named) => Some(format!(
            "{path} names {}, and not {}",
            named.display(),
            current.display()
        )),
        None if file.holds_certificate => Some(format!("{path} holds a certificate itself")),
        None => None,
    }
}
