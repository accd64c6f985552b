//! What is looked at outside the API server before a request is approved, and what was seen.
//!
//! Plain data: a rule that lacks a fact asks for a [`Look`]; whoever carries it out hands in what
//! it [`Saw`], and the request is decided again. Rules never look by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The certificate that a kubelet shows now.
    Kubelet {
        /// Where.
        address: SocketAddr,
        /// PEM file of the CAs that make serving certificates.
        ca_file: PathBuf,
    },
    /// The addresses of names, in DNS.
    Names {
        /// Which.
        names: BTreeSet<String>,
        /// Whom to ask; empty: the servers of this machine.
        servers: Vec<SocketAddr>,
        /// For one query.
        timeout: Duration,
    },
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saw {
    /// At a kubelet.
    Kubelet(Present),
    /// In DNS, by name.
    Names(BTreeMap<String, Resolved>),
}

/// The certificate that a kubelet shows now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Present {
    /// It cannot be judged, since our own file of CAs cannot be used.
    Blind(String),
    /// A certificate of one of the CAs, in force, whose key it holds.
    Believed {
        /// Its subject's common name.
        common_name: String,
        /// Its DNS names.
        names: BTreeSet<String>,
        /// Its addresses, canonical.
        addresses: BTreeSet<IpAddr>,
    },
    /// None that the CAs of the file made and that is in force. Not more: who asks reads it.
    Refused,
    /// It could not be dialled.
    Unreached,
}

/// What DNS says of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Its addresses, canonical.
    pub addresses: BTreeSet<IpAddr>,
    /// There is no such name (NXDOMAIN).
    pub is_absent: bool,
    /// Why this may not be all: no answer, or a server's failure.
    pub trouble: Option<String>,
}

impl Look {
    /// What is seen where nobody can look.
    pub fn in_vain(&self) -> Saw {
        match self {
            Self::Kubelet { .. } => Saw::Kubelet(Present::Unreached),
            Self::Names { names, .. } => {
                let unseen = || Resolved {
                    trouble: Some("not looked at".to_owned()),
                    ..Resolved::default()
                };
                let names = names.iter();
                Saw::Names(names.map(|name| (name.clone(), unseen())).collect())
            }
        }
    }
}

impl std::fmt::Display for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kubelet { address, .. } => {
                write!(f, "the certificate that the kubelet shows at {address}")
            }
            Self::Names { names, .. } => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                write!(f, "the addresses of {} in DNS", names.join(", "))
            }
        }
    }
}
