//! What was read of a cluster, or of a machine. Whoever asks and reads fills it in, and says of
//! each piece whether it was read, is not there, or may not be seen ([`Known`]).

use super::right::Right;
use crate::upkeep::token::{Expiration, Token};
use crate::why::{Evidence, Known};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_pki::{Chain, Leaf};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What is read of a cluster for every diagnosis: clocks, version, requests, nodes, leases,
    /// pods, bindings, roles, the authorities of clients.
    pub cluster: Evidence,
    /// The API server as this machine meets it.
    pub server: Server,
    /// Bundles of authorities.
    pub bundles: Vec<Bundle>,
    /// Namespaces without a ConfigMap `kube-root-ca.crt`.
    pub without_root_ca: Known<Vec<String>>,
    /// What authorization answered.
    pub rights: BTreeMap<Right, Known<bool>>,
    /// Leases of nodes, from `kube-node-lease`.
    pub node_leases: Known<Vec<Value>>,
    /// Secrets of the tokens' type, without what is secret of them.
    pub tokens: Known<Vec<TokenFacts>>,
    /// The ConfigMap `kube-public/cluster-info`.
    pub cluster_info: Known<Value>,
    /// The ConfigMap `kube-system/everleaf-revocations`.
    pub revocations: Known<Value>,
    /// The ConfigMap `kube-public/everleaf-revocation-list`.
    pub revocation_list: Known<Value>,
    /// The machine itself, when it is asked about.
    pub host: Host,
}

/// The API server as this machine meets it.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// Its URL, as the kubeconfig has it.
    pub url: String,
    /// `host:port`, to be dialled.
    pub authority: String,
    /// The name that its certificate has to have.
    pub name: String,
    /// What came of asking it for its version.
    pub answer: Answer,
    /// Certificates that it shows, DER, its own first.
    pub shown: Known<Vec<Vec<u8>>>,
    /// What `/readyz` said: HTTP status and text.
    pub readiness: Known<(u16, String)>,
    /// The kubeconfig says that anybody may be the server.
    pub trusts_anybody: bool,
    /// The client certificate of the kubeconfig's user.
    pub credential: Option<Leaf>,
    /// The kubeconfig.
    pub kubeconfig: String,
}

/// What came of asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// It answers this user.
    #[default]
    Yes,
    /// It does not take this user's credential: its words.
    Refused(String),
    /// Nobody answers, or nobody who is believed: why.
    None(String),
    /// It was not asked.
    NotAsked,
}

/// Whom a bundle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Whoever uses the kubeconfig: whom to trust to be the API server.
    Kubeconfig,
    /// The API server: whom to trust about clients.
    Clients,
    /// Pods: `kube-root-ca.crt` of kube-system.
    Pods,
    /// Machines that join: `kube-public/cluster-info`.
    Joining,
    /// Named on the command line.
    Named,
}

/// A bundle of authorities.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Where it is from, for sentences.
    pub origin: String,
    /// Whom it is for.
    pub audience: Audience,
    /// It, PEM.
    pub pem: Known<String>,
}

/// A Secret of the tokens' type, without what is secret of it.
#[derive(Clone, Debug)]
pub struct TokenFacts {
    /// Its public part; "" when it has none.
    pub id: String,
    /// Name of the Secret.
    pub secret_name: String,
    /// Whether it has a secret part.
    pub has_secret: bool,
    /// Until when it is good.
    pub expiration: Expiration,
    /// `usage-bootstrap-authentication` is `true`.
    pub authenticates: bool,
    /// `usage-bootstrap-signing` is `true`.
    pub signs: bool,
    /// Usages with a value that is neither `true` nor `false`, which counts as `false`.
    pub odd_usages: Vec<String>,
    /// `auth-extra-groups`.
    pub groups: Vec<String>,
}

impl TokenFacts {
    /// Reads a Secret; `None`: it is of another type.
    pub fn of(secret: &Value) -> Option<Self> {
        let token = Token::read(secret)?;
        let data = |key: &str| {
            let text = secret["data"][key].as_str().unwrap_or_default();
            String::from_utf8(STANDARD.decode(text).unwrap_or_default()).unwrap_or_default()
        };
        let usage = |key: &str| (key.to_owned(), data(key));
        let usages = ["usage-bootstrap-authentication", "usage-bootstrap-signing"].map(usage);
        let is_odd = |value: &str| !["", "true", "false"].contains(&value);
        let odd = usages.iter().filter(|(_, value)| is_odd(value));
        let groups = data("auth-extra-groups");
        let groups = groups.split(',').map(str::trim);
        Some(Self {
            id: token.id.clone(),
            secret_name: token.name.clone(),
            has_secret: !token.secret.is_empty(),
            expiration: token.expiration,
            authenticates: data("usage-bootstrap-authentication") == "true",
            signs: token.may_sign,
            odd_usages: odd
                .map(|(key, value)| format!("{key}: {value:?}"))
                .collect(),
            groups: groups
                .filter(|group| !group.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// The machine on which it is asked.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The node's name, as its client certificate has it; "" when it is not known.
    pub node: String,
    /// `--cert-dir`
    pub cert_dir: PathBuf,
    /// It, or what became of looking at it.
    pub directory: Known<Directory>,
    /// The client certificate and the serving certificate.
    pub credentials: Vec<OnDisk>,
    /// The kubeconfig.
    pub kubeconfig: KubeconfigFile,
}

/// A cert dir.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Permission bits.
    pub mode: u32,
    /// It lies on a file system that a reboot empties; `None`: nobody knows.
    pub is_volatile: Option<bool>,
}

/// A credential in a cert dir, by its prefix.
#[derive(Clone, Debug, Default)]
pub struct OnDisk {
    /// As `kubelet-client`.
    pub prefix: String,
    /// Whether this node cannot do without it.
    pub is_needed: bool,
    /// The link `PREFIX-current.pem`.
    pub path: PathBuf,
    /// Permission bits of the file.
    pub mode: u32,
    /// What it holds; the inner error says why there is no chain.
    pub chain: Known<Result<Chain, String>>,
    /// Whether the key beside it fits; the error says why not.
    pub key: Option<Result<(), String>>,
    /// When it is to be renewed.
    pub renews_at: Option<Timestamp>,
    /// Files of other dates.
    pub others: usize,
    /// Name and age of the request that waits.
    pub pending: Option<(String, Timestamp)>,
}

/// A kubeconfig on a machine.
#[derive(Clone, Debug, Default)]
pub struct KubeconfigFile {
    /// Where.
    pub path: PathBuf,
    /// Whether it can be used; the inner error says why not.
    pub content: Known<Result<(), String>>,
    /// Permission bits.
    pub mode: u32,
    /// It holds a key or a token itself.
    pub holds_secret: bool,
    /// It names no authority.
    pub names_no_ca: bool,
    /// The file that it names as client certificate; `None`: it names none.
    pub client_certificate: Option<PathBuf>,
    /// It holds a client certificate itself.
    pub holds_certificate: bool,
}
