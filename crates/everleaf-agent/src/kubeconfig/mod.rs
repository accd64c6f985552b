//! Kubeconfig files: how to reach an API server, and as whom.
//!
//! Owns reading one file (its current context only: no `$KUBECONFIG`, no home directory, no
//! merging), resolving what it names, and writing one. It refuses to know certificates and clocks:
//! whether what a kubeconfig names is still good is `crate::bootstrap`'s question.
//!
//! Parse errors never quote the file: it holds tokens and keys.

mod document;
mod exec;
mod in_cluster;
mod proxy_url;
mod write;

use crate::secret::Secret;
use everleaf_pki::pem;
use everleaf_rotation::store::dir::read_file;
use http::Uri;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use exec::{ExecPlugin, ExecVersion};
pub use proxy_url::{Login, ProxyKind, ProxyUrl};
pub use write::{Names, write_private};
pub(crate) use write::{behind_links, rewrite, write_public};

/// Largest kubeconfig that is read.
pub const KUBECONFIG_BYTES_MAX: u64 = 1 << 20;

/// What the current context of a kubeconfig says, resolved and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubeconfig {
    /// How to reach the API server.
    pub cluster: Cluster,
    /// As whom.
    pub user: User,
}

/// How to reach an API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// `https://host[:port][/prefix]`, as the file has it; rarely `http://`.
    pub server: ServerUrl,
    /// Whom to trust.
    pub trust: Trust,
    /// The name to verify in the server's certificate, if not the URL's host.
    pub tls_server_name: Option<String>,
    /// The proxy that the file names; without one the environment decides.
    pub proxy: Option<ProxyUrl>,
}

/// Whom to trust to be the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Certificates signed by an authority of this bundle (PEM).
    Bundle(Source),
    /// The kubeconfig names no authority: those that this host trusts anyway.
    System,
    /// `insecure-skip-tls-verify`: anybody. Said aloud whenever it is used.
    DangerouslyAnybody,
}

/// Bytes that a kubeconfig either names or holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An absolute path.
    File(PathBuf),
    /// The text itself.
    Inline(Secret),
}

impl Source {
    /// Reads the PEM text now, in whatever encoding a file was left; it may have changed since the
    /// last time. An error names the file.
    pub fn read(&self) -> std::io::Result<Secret> {
        match self {
            Self::File(path) => {
                let bytes = read_file(path, KUBECONFIG_BYTES_MAX).map_err(at(path))?;
                Ok(Secret::new(std::mem::take(&mut *pem::legible(&bytes))))
            }
            Self::Inline(text) => Ok(text.clone()),
        }
    }
}

/// As whom to speak to an API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// A bearer token.
    pub token: Option<Token>,
    /// A client certificate and its key.
    pub client_certificate: Option<ClientCertificate>,
    /// User and password, sent as HTTP basic authentication: no Kubernetes API server since 1.19
    /// knows them, but a proxy before one may.
    pub basic: Option<Login>,
    /// A command that gives out a token or a certificate; what the file itself holds goes before.
    pub exec: Option<ExecPlugin>,
    /// As whom else to act.
    pub impersonation: Option<Impersonation>,
}

/// Somebody else, as whom a server is asked to judge the requests: `as`, `as-uid`, `as-groups`,
/// `as-user-extra` (Kubernetes: `staging/src/k8s.io/client-go/transport/round_trippers.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonation {
    /// The entry of `users` that the context names.
    pub user: String,
    /// UID of that user.
    pub uid: Option<String>,
    /// Groups; none means those that the server gives to everybody.
    pub groups: Vec<String>,
    /// Further facts, by name.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A bearer token, in the file or beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// `token`.
    Inline(Secret),
    /// `tokenFile`: read again whenever it is used. `fallback` is the `token` given with it, which
    /// holds while the file cannot be read.
    File {
        /// Absolute path.
        path: PathBuf,
        /// The inline token, if both were given.
        fallback: Option<Secret>,
    },
}

impl Token {
    /// The token now.
    pub fn read(&self) -> std::io::Result<Secret> {
        let wrong = |which: String, what| std::io::Error::other(format!("{which} {what}"));
        match self {
            Self::Inline(token) => {
                let fits = token.fits_a_header();
                fits.map_err(|what| wrong("the one in it".to_owned(), what))?;
                Ok(token.clone())
            }
            Self::File { path, fallback } => match (read_bounded(path), fallback) {
                (Ok(text), _) if !text.trim().is_empty() => {
                    let token = Secret::new(text.trim().to_owned());
                    let fits = token.fits_a_header();
                    fits.map_err(|what| wrong(format!("token file {}", path.display()), what))?;
                    Ok(token)
                }
                (_, Some(fallback)) => Ok(fallback.clone()),
                (Ok(_), None) => Err(std::io::Error::other(format!(
                    "token file {} is empty",
                    path.display()
                ))),
                (Err(error), None) => Err(at(path)(error)),
            },
        }
    }
}

/// Where a client certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM, leaf first.
    pub certificate: Source,
    /// PEM private key; may be the same file.
    pub key: Source,
}

/// A checked `https://` URL; or `http://`, over which no credential is ever sent (`kubectl proxy`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    is_plain: bool,
    host: String,
    port: u16,
    prefix: String,
}

impl ServerUrl {
    /// Parses and checks; the error says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shown = quoted(text);
        let uri: Uri = text
            .parse()
            .map_err(|_| format!("server {shown} is not a URL"))?;
        let is_plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            _ => return Err(format!("server {shown} must start with https://")),
        };
        let scheme = if is_plain { "http" } else { "https" };
        let authority = uri
            .authority()
            .filter(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
            .ok_or_else(|| format!("server {shown} names no host"))?;
        let after_host = authority.as_str().strip_prefix(authority.host());
        let port = match after_host.and_then(|rest| rest.strip_prefix(':')) {
            None | Some("") => None,
            Some(digits) => Some(digits.parse().ok().filter(|port| *port != 0).ok_or_else(
                || format!("server {shown} has a port that is no number from 1 to 65535"),
            )?),
        };
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        Ok(Self {
            host: host.to_owned(),
            port: port.unwrap_or(if is_plain { 80 } else { 443 }),
            is_plain,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            // Query and fragment are no part of an API server's address.
            text: format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/')),
        })
    }

    /// Whether it is spoken to without TLS.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path before every API path; empty for most.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `host:port`, as a `Host` header and a CONNECT request want it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeconfigError {
    /// The file cannot be read.
    #[error("cannot read kubeconfig {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not YAML of the right shape.
    #[error("kubeconfig {} is malformed: {what}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What, and in which line; never the text itself.
        what: String,
    },
    /// Readable, but it does not say all that is needed.
    #[error("kubeconfig {} cannot be used: {}", path.display(), problems.join("; "))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Every problem found.
        problems: Vec<String>,
    },
    /// The file cannot be written.
    #[error("cannot write kubeconfig {}: {source}", path.display())]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl KubeconfigError {
    /// True when the file is simply not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

impl Kubeconfig {
    /// Reads the current context of the file at `path`. All problems are reported together.
    pub fn read(path: &Path) -> Result<Self, KubeconfigError> {
        Self::read_context(path, None)
    }

    /// As [`read`](Self::read), for the context of that name (`None`: the current one).
    pub fn read_context(path: &Path, name: Option<&str>) -> Result<Self, KubeconfigError> {
        let text = read_bounded(path).map_err(|source| KubeconfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let text = Secret::new(text);
        document::resolve(text.expose(), path, name)
    }

    /// Reads the current context of a kubeconfig's text. Relative paths in it are resolved against
    /// the directory of `origin`, which also names the kubeconfig in errors; it need not exist.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, KubeconfigError> {
        document::resolve(text, origin, None)
    }

    /// The names of all contexts of a kubeconfig's text, the current one first, whether it is there
    /// or not.
    ///
    /// # Errors
    /// The text is not YAML of the right shape.
    pub fn contexts(text: &str, origin: &Path) -> Result<Vec<String>, KubeconfigError> {
        document::contexts(text, origin)
    }

    /// As [`parse`](Self::parse), for the context of that name.
    pub fn parse_context(text: &str, origin: &Path, name: &str) -> Result<Self, KubeconfigError> {
        document::resolve(text, origin, Some(name))
    }
}

/// A short piece of a kubeconfig for an error. Wrong indentation folds whole lines, and what they
/// hold, into a value: only its first word is shown.
fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    let word = text.split_whitespace().next().unwrap_or_default();
    let shown: String = word.chars().take(SHOWN_MAX).collect();
    if shown.len() == text.len() {
        format!("{shown:?}")
    } else {
        format!("{shown:?}…")
    }
}

/// Adds to an error on which file it happened.
fn at(path: &Path) -> impl Fn(std::io::Error) -> std::io::Error {
    move |error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A text file of moderate size.
fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut bytes = read_file(path, KUBECONFIG_BYTES_MAX)?;
    String::from_utf8(std::mem::take(&mut *bytes)).map_err(|error| {
        drop(zeroize::Zeroizing::new(error.into_bytes()));
        std::io::Error::new(std::io::ErrorKind::InvalidData, "it is no UTF-8 text")
    })
}

#[cfg(test)]
mod tests;
