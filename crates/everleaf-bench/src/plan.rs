//! What is to be done: plain data, checked where it is made.

use everleaf_pki::KeyAlgorithm;
use everleaf_pki::signer::is_dns1123_subdomain;
use std::fmt;
use std::time::Duration;

/// Most nodes of one run: each has its key and its request in memory before the clock starts.
pub const NODES_MAX: u32 = 1_000_000;
/// Most nodes under way at once.
pub const IN_FLIGHT_MAX: u32 = 100_000;
/// Most shared connections.
pub const CONNECTIONS_MAX: u32 = 10_000;
/// Most renewals of each node.
pub const RENEWALS_MAX: u32 = 1_000;
/// Longest prefix: the number of the node and of its renewal come after it.
const PREFIX_CHARS_MAX: usize = 200;

/// A load.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How many nodes want a certificate.
    pub nodes: u32,
    /// When each of them comes.
    pub arrival: Arrival,
    /// Over which connections they speak.
    pub connections: Connections,
    /// How they wait.
    pub wait: Wait,
    /// Whose certificate they want.
    pub signer: Signer,
    /// How often each asks again.
    pub renewals: u32,
    /// Kind of their keys.
    pub key_algorithm: KeyAlgorithm,
    /// Longest wait for one certificate.
    pub timeout: Duration,
    /// How the names of nodes and requests begin.
    pub prefix: Prefix,
    /// What chance is made of.
    pub seed: u64,
    /// Whether the requests are deleted at the end.
    pub cleans_up: bool,
}

impl Plan {
    /// Certificates that this is to bring.
    pub fn certificates(&self) -> u64 {
        u64::from(self.nodes) * (1 + u64::from(self.renewals))
    }
}

/// When nodes come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrival {
    /// So many are under way at any time: the next one comes when one is done.
    ClosedLoop {
        /// How many.
        in_flight: u32,
    },
    /// They come at random, independent of each other, whatever becomes of those before.
    Poisson {
        /// How many, on average.
        per_second: f64,
    },
    /// All come at random moments within this time: a power cut has ended.
    Herd {
        /// How long it takes them.
        within: Duration,
    },
}

/// Over which connections nodes speak with what the kubeconfig holds. As soon as a node shows its
/// own certificate, the connection is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// All over so many, in turn.
    Shared(u32),
    /// Each over one of its own, opened when it comes and closed when it has its certificate.
    PerNode,
}

/// How a node learns of its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// By a watch on its request's name, as a kubelet does.
    Watch,
    /// One list and watch of all requests serves all nodes.
    Informer,
    /// It reads its request again and again.
    Poll {
        /// The pause before each.
        interval: Duration,
    },
}

/// Which certificate a node wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// Its client certificate: `kubernetes.io/kube-apiserver-client-kubelet`.
    Client,
    /// Its serving certificate, `kubernetes.io/kubelet-serving`, for which it needs the client
    /// certificate first.
    Serving,
}

/// How names begin: such that every name made of it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// Checks it.
    ///
    /// # Errors
    /// In words what is wrong with it.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        if text.len() > PREFIX_CHARS_MAX {
            return Err(format!(
                "it has {} characters; {PREFIX_CHARS_MAX} are the most that leave room for the numbers",
                text.len()
            ));
        }
        if !is_dns1123_subdomain(&format!("{text}-0")) {
            return Err(
                "the names of objects begin with it: write lower-case letters, digits and hyphens, such as bench-7"
                    .to_owned(),
            );
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_prefix_is_one() {
        for good in ["bench", "b", "bench-7f", "7", "a.b"] {
            assert!(Prefix::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(PREFIX_CHARS_MAX + 1);
        for bad in ["", "-a", "A", "a_b", "a b", "a/", long.as_str()] {
            assert!(Prefix::new(bad).is_err(), "{bad}");
        }
    }
}
