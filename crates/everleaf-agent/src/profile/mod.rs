//! Certificate profiles: further certificates that this agent keeps, for programs of the node.
//!
//! A profile says what to ask of which signer, where the certificate goes, and what is done when it
//! is another one. The certificate itself is kept by a rotation machine like the node's own two,
//! in a store of its own; what is here begins once that has a current certificate.
//!
//! ```text
//! file ──document──▶ Profile ──▶ machine (everleaf-rotation) ──▶ current certificate
//!                       │                                             │
//!                       └──▶ upkeep (what is to be done, and when) ◀──┘
//!                               │ look                 │ run
//!                             files (outputs)        action (the program is told)
//! ```
//!
//! [`watch`] sees when the files of profiles change, and [`choice`] says what follows from that.

mod action;
mod choice;
mod document;
mod files;
mod keeper;
mod upkeep;
mod watch;

pub(crate) use choice::Kept;
pub use document::{ProfileProblem, read_profiles};
pub(crate) use keeper::{Keeper, Looked};
pub(crate) use upkeep::Told;
pub(crate) use watch::{Changes, ProfileWatch};

use everleaf_pki::{KeyAlgorithm, SignerName, Template, Usage};
use everleaf_rotation::Timing;
use rustix::process::Signal;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where profiles are: absolute paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileFiles {
    /// Each `--profile`.
    pub files: Vec<PathBuf>,
    /// `--profile-dir`.
    pub directory: Option<PathBuf>,
}

impl ProfileFiles {
    /// Whether there are to be profiles at all.
    pub fn are_given(&self) -> bool {
        !self.files.is_empty() || self.directory.is_some()
    }
}

/// A certificate that the agent keeps besides the node's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name: a DNS name of at most 63 characters, unique in its agent.
    pub name: String,
    /// Who should sign.
    pub signer_name: SignerName,
    /// Subject and SANs.
    pub template: Template,
    /// Usages, in the order asked for.
    pub usages: Vec<Usage>,
    /// Kind of the key.
    pub key: KeyAlgorithm,
    /// `spec.expirationSeconds`.
    pub expiration_seconds: Option<i32>,
    /// When it is renewed.
    pub timing: Timing,
    /// Where the CA certificates of `ca` outputs are; `None`: the kubeconfig's.
    pub authorities: Option<PathBuf>,
    /// Files.
    pub outputs: Vec<Output>,
    /// What is done when files were written.
    pub after: Option<Action>,
}

/// Files that are replaced together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Which.
    pub form: Form,
    /// Whose they are; `None`: the agent's.
    pub owner: Option<Account>,
    /// Whose group they have.
    pub group: Option<Account>,
    /// Mode of those that hold the key.
    pub mode: u32,
}

/// What is in the files of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Leaf, intermediates and key in one, as a kubelet has them.
    Pem(PathBuf),
    /// One for each.
    Files {
        /// Leaf and intermediates.
        certificate: PathBuf,
        /// The key (PEM, PKCS#8 or SEC 1).
        key: PathBuf,
        /// The authorities.
        ca: Option<PathBuf>,
    },
    /// Key, leaf and intermediates in one encrypted file, for Java and others.
    Pkcs12 {
        /// The file.
        path: PathBuf,
        /// The file whose first line is the password.
        password_file: PathBuf,
    },
    /// A kubeconfig for the cluster of the node's own, with certificate and key in it.
    Kubeconfig(PathBuf),
}

impl Form {
    /// Every path that is written.
    pub fn paths(&self) -> Vec<&PathBuf> {
        match self {
            Self::Pem(path) | Self::Kubeconfig(path) | Self::Pkcs12 { path, .. } => vec![path],
            Self::Files {
                certificate,
                key,
                ca,
            } => [certificate, key].into_iter().chain(ca).collect(),
        }
    }
}

impl Form {
    /// The path that is read to make it.
    pub(crate) fn source(&self) -> Option<&PathBuf> {
        match self {
            Self::Pkcs12 { password_file, .. } => Some(password_file),
            Self::Pem(_) | Self::Files { .. } | Self::Kubeconfig(_) => None,
        }
    }
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// By number.
    Id(u32),
    /// By its name in `/etc/passwd` or `/etc/group`.
    Name(String),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// The signals by which daemons are told to read their files again.
const SIGNALS: [(&str, Signal); 5] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
];

/// What is done when the files of a profile were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A program is run, without a shell.
    Run {
        /// The program and its arguments.
        command: Vec<String>,
        /// After this it is killed.
        timeout: Duration,
    },
    /// A signal is sent.
    Signal {
        /// Which.
        signal: Signal,
        /// The file that holds the number of the process.
        pid_file: PathBuf,
        /// The name that the process must have: a number in an old file may be another's.
        process_name: Option<String>,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { command, .. } => write!(f, "{}", command.join(" ")),
            Self::Signal {
                signal,
                pid_file,
                process_name,
            } => {
                let known = SIGNALS.iter().find(|(_, known)| known == signal);
                let signal = known.map_or("the signal", |(name, _)| name);
                let process = process_name.as_deref().unwrap_or("the process");
                write!(f, "{signal} to {process} in {}", pid_file.display())
            }
        }
    }
}
