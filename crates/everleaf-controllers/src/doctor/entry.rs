//! What a finding is, in words; and the sections of the list.

use super::catalogue::Fault;
use serde::Serialize;
use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; nothing has to be done.
    Note,
    /// It will break, or breaks something that is not needed now.
    Warning,
    /// It is broken, or about to be.
    Error,
}

impl Severity {
    /// For programs and people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

macro_rules! sections {
    ($($section:ident $name:literal $title:literal;)*) => {
        /// A part of the list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Section {
            $(#[doc = $title] $section,)*
        }

        impl Section {
            /// All of them, in the order in which they are told.
            pub const ALL: &'static [Self] = &[$(Self::$section),*];

            /// Its name for programs: what `--section` takes.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$section => $name,)* }
            }

            /// Its name for people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$section => $title,)* }
            }
        }
    };
}

sections! {
    Server "server" "The API server, and the way to it";
    Ca "ca" "Certificate authorities";
    Signers "signers" "What was issued, held against the authorities";
    Rights "rbac" "Rights to join and to renew";
    Controllers "controllers" "Controllers: running, leading, complete";
    Requests "requests" "Certificate signing requests";
    Nodes "nodes" "Nodes and their certificates";
    Tokens "tokens" "Bootstrap tokens, and what new nodes read";
    Versions "versions" "Versions that have to go together";
    Revocations "revocations" "Revoked certificates";
    CertDir "cert-dir" "This node's cert dir";
    Kubeconfig "kubeconfig" "This node's kubeconfig";
}

impl Section {
    /// Those about a cluster.
    pub fn of_cluster() -> impl Iterator<Item = Self> {
        let all = Self::ALL.iter().copied();
        all.filter(|section| !matches!(section, Self::CertDir | Self::Kubeconfig))
    }

    /// Those about the machine on which they are looked at.
    pub const OF_NODE: [Self; 4] = [Self::CertDir, Self::Kubeconfig, Self::Server, Self::Ca];

    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.name() == name)
    }
}

impl Serialize for Section {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().id)
    }
}

/// One fault, in words.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The fault.
    pub fault: Fault,
    /// Its name for programs, lower case with dashes.
    pub id: &'static str,
    /// Where it is looked for.
    pub section: Section,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub title: &'static str,
    /// What follows from it.
    pub consequence: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// It as commands; `{…}` stand for names.
    pub commands: &'static [&'static str],
}
