//! What will break in a cluster, or is broken: every rule asked at once.
//!
//! [`examine`] is a function of [`Seen`], what was read of a cluster and of this machine, and names
//! what it finds in terms of the catalogue ([`Fault`]). It looks at a cluster as a whole; why one
//! request waits, or one node has no certificate, [`crate::why`] knows in more detail, to which
//! findings lead. No I/O; nothing here decides about a certificate.

mod authorities;
mod catalogue;
mod controllers;
mod entry;
mod found;
mod host;
mod nodes;
mod requests;
mod revocations;
mod right;
mod rights;
mod seen;
mod server;
mod signers;
#[cfg(test)]
mod tests;
mod tokens;
mod versions;

use crate::why::Known;
use everleaf_api::meta;
use everleaf_pki::{KeyAlgorithm, Leaf, TrustBundle};
use found::Found;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

pub use catalogue::Fault;
pub use entry::{Entry, Section, Severity};
pub use found::Finding;
pub use right::Right;
pub use seen::{
    Answer, Audience, Bundle, Directory, Host, KubeconfigFile, OnDisk, Seen, Server, TokenFacts,
};

/// What was found, section by section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The API server's URL.
    pub server: String,
    /// What it says that it is; "" when nobody knows.
    pub version: String,
    /// The instant by which it was judged, in whole seconds.
    pub at: String,
    /// Whose clock that is: `api-server`, or `this-machine` where the server could not be asked.
    pub clock: &'static str,
    /// The sections that were asked for.
    pub sections: Vec<Part>,
}

/// A section, and what was found in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Which.
    pub section: Section,
    /// What was looked at, in a few words.
    pub looked_at: String,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// All findings.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.sections.iter().flat_map(|part| &part.findings)
    }

    /// The worst of what was found, apart from what was not looked at.
    pub fn worst(&self) -> Option<Severity> {
        let found = self.findings().filter(|one| one.fault != Fault::NotSeen);
        found.map(|one| one.severity).max()
    }

    /// Whether all was looked at.
    pub fn is_complete(&self) -> bool {
        self.findings().all(|one| one.fault != Fault::NotSeen)
    }
}

/// Says what is wrong in these sections.
pub fn examine(seen: &Seen, sections: &[Section]) -> Report {
    let mut context = crate::why::Context::on(seen.cluster.is_everleaf());
    context.set("host", &seen.server.authority);
    context.set("file", &seen.server.kubeconfig);
    context.set("node", &seen.host.node);
    context.set("dir", &seen.host.cert_dir.display().to_string());
    let deaf = deaf(seen);
    let part = |section: Section| {
        let mut found = Found::new(section, context.clone());
        // What it would be judged by was not read, because nobody answered: said once.
        let needs_server = !matches!(
            section,
            Section::Server | Section::Ca | Section::CertDir | Section::Kubeconfig
        );
        let looked_at = match &deaf {
            Some(why) if needs_server => {
                found.unasked("all of it", why);
                String::new()
            }
            _ => look(section, seen, &mut found),
        };
        // The authorities of a kubeconfig are not all, unless it is a node's.
        let is_partial = matches!(seen.without_root_ca, Known::Hidden(_))
            || seen.bundles.is_empty()
            || !sections.contains(&Section::Server);
        if let (Section::Ca, Some(why), true) = (section, &deaf, is_partial) {
            found.unasked("what the cluster itself trusts", why);
        }
        Part {
            section,
            looked_at,
            findings: found.into_findings(),
        }
    };
    let (clock, instant) = match seen.server.answer {
        Answer::Yes | Answer::Refused(_) => ("api-server", seen.cluster.now),
        Answer::None(_) | Answer::NotAsked => ("this-machine", seen.cluster.local),
    };
    Report {
        server: seen.server.url.clone(),
        version: seen.cluster.version.read().cloned().unwrap_or_default(),
        at: meta::format_time(instant),
        clock,
        sections: sections.iter().copied().map(part).collect(),
    }
}

/// Why nothing can be asked of the API server; `None`: it answers.
fn deaf(seen: &Seen) -> Option<String> {
    match &seen.server.answer {
        Answer::Yes => None,
        Answer::Refused(why) => Some(format!(
            "the API server does not take this user's credential: {why}"
        )),
        Answer::None(why) => Some(format!("the API server cannot be asked: {why}")),
        Answer::NotAsked => Some(not_asked(seen).to_owned()),
    }
}

/// Why the API server was not asked.
fn not_asked(seen: &Seen) -> &'static str {
    match &seen.host.kubeconfig.content {
        Known::Absent => "there is no kubeconfig that names an API server",
        Known::Hidden(_) => "this user may not read the kubeconfig, or a file that it names",
        Known::Read(_) => "the kubeconfig cannot be used: the section `kubeconfig` says why",
    }
}

fn look(section: Section, seen: &Seen, found: &mut Found) -> String {
    match section {
        Section::Server => server::look(seen, found),
        Section::Ca => authorities::look(seen, found),
        Section::Signers => signers::look(seen, found),
        Section::Rights => rights::look(seen, found),
        Section::Controllers => controllers::look(seen, found),
        Section::Requests => requests::look(seen, found),
        Section::Nodes => nodes::look(seen, found),
        Section::Tokens => tokens::look(seen, found),
        Section::Versions => versions::look(seen, found),
        Section::Revocations => revocations::look(seen, found),
        Section::CertDir => host::cert_dir(seen, found),
        Section::Kubeconfig => host::kubeconfig(seen, found),
    }
}

/// The catalogue as a table in Markdown, by section.
pub fn catalogue_table() -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for section in Section::ALL {
        let (name, title) = (section.name(), section.title());
        let _ = write!(
            text,
            "\n### `{name}`: {title}\n\n| finding | | what | what follows | what to do |\n|---|---|---|---|---|\n"
        );
        let rows = Fault::ALL.iter().map(|fault| fault.entry());
        for row in rows.filter(|row| row.section == *section && row.fault != Fault::NotSeen) {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} |",
                row.id, row.severity, row.title, row.consequence, row.remedy
            );
        }
    }
    text
}

/// Less than a tenth of its life is left, or a month of a long one; nothing when it has ended.
fn ends_soon(leaf: &Leaf, now: Timestamp) -> bool {
    const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);
    let tenth = SignedDuration::from_secs(leaf.lifetime().seconds / 10);
    let left = leaf.not_after().duration_since(now);
    !left.is_negative() && left < tenth.min(MONTH)
}

/// A moment at which dates are no reason to refuse it: certificates begin a little before they are
/// issued, which may be before their authority began.
fn moment_of(leaf: &Leaf, authorities: &TrustBundle) -> Timestamp {
    let mut anchors = authorities.anchors().iter();
    let issuer = anchors.find(|anchor| leaf.is_signed_by(anchor));
    issuer.map_or(leaf.not_before(), |issuer| {
        leaf.not_before().max(issuer.not_before())
    })
}

/// `in 3d` or `3d ago`.
fn away(then: Timestamp, now: Timestamp) -> String {
    let distance = then.duration_since(now);
    let span = everleaf_api::duration::span(distance.unsigned_abs());
    match distance.is_negative() {
        true => format!("{span} ago"),
        false => format!("in {span}"),
    }
}

/// The kinds of their keys, with their strength and how many have them:
/// `2 ECDSA P-256 (128 bits), 1 ML-DSA-65 (category 3, post-quantum)`.
fn kinds_of_keys<'l>(leaves: impl IntoIterator<Item = &'l Leaf>) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for leaf in leaves {
        *kinds.entry(kind_of_key(leaf)).or_default() += 1;
    }
    let kinds = kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
    kinds.collect::<Vec<_>>().join(", ")
}

fn kind_of_key(leaf: &Leaf) -> String {
    let key = leaf.public_key();
    let known = key.algorithm().map(KeyAlgorithm::with_strength);
    known.unwrap_or_else(|_| key.kind().to_string())
}

/// A number of things, in words: `1 node`, `3 nodes`.
fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
