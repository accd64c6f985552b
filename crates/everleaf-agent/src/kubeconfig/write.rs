//! Kubeconfigs out: the document, and the file, which is whole or not there and readable by its
//! owner only.

use super::{Kubeconfig, KubeconfigError, ProxyUrl, Source, Token, Trust};
use crate::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use everleaf_pki::pem;
use serde::Serialize;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A secret on its way into the file, the one place where it is written out.
#[derive(Default)]
struct Shown(Zeroizing<String>);

impl Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The names inside a kubeconfig. They mean nothing to a server; people see them in `kubectl
/// config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    /// Cluster entry.
    pub cluster: &'a str,
    /// User entry.
    pub user: &'a str,
    /// Context entry, made current.
    pub context: &'a str,
    /// The context's namespace.
    pub namespace: &'a str,
}

impl Names<'static> {
    /// The names the kubelet gives (`writeKubeconfigFromBootstrapping`).
    pub const BOOTSTRAP: Self = Self {
        cluster: "default-cluster",
        user: "default-auth",
        context: "default-context",
        namespace: "default",
    };
}

impl From<&ProxyUrl> for Shown {
    fn from(proxy: &ProxyUrl) -> Self {
        // It may hold a password.
        Self(Zeroizing::new(proxy.expose().to_owned()))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    clusters: [NamedCluster<'a>; 1],
    contexts: [NamedContext<'a>; 1],
    #[serde(rename = "current-context")]
    current_context: &'a str,
    users: [NamedUser<'a>; 1],
}

#[derive(Serialize)]
struct NamedCluster<'a> {
    name: &'a str,
    cluster: ClusterStanza,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterStanza {
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority_data: Option<Shown>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure_skip_tls_verify: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_server_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_url: Option<Shown>,
}

#[derive(Serialize)]
struct NamedContext<'a> {
    name: &'a str,
    context: ContextStanza<'a>,
}

#[derive(Serialize)]
struct ContextStanza<'a> {
    cluster: &'a str,
    namespace: &'a str,
    user: &'a str,
}

#[derive(Serialize)]
struct NamedUser<'a> {
    name: &'a str,
    user: UserStanza,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "kebab-case")]
struct UserStanza {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate_data: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key_data: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Shown>,
    #[serde(rename = "tokenFile", skip_serializing_if = "Option::is_none")]
    token_file: Option<String>,
}

impl Kubeconfig {
    /// The YAML document. Paths are written as they are (absolute), inline texts as `…-data`. A
    /// command that gives out a credential is not written: what Everleaf writes names certificates
    /// and tokens.
    pub fn to_yaml(&self, names: &Names<'_>) -> Zeroizing<String> {
        let (certificate_authority, certificate_authority_data) = match &self.cluster.trust {
            Trust::Bundle(source) => members(source),
            Trust::System | Trust::DangerouslyAnybody => (None, None),
        };
        let mut user = UserStanza::default();
        if let Some(pair) = &self.user.client_certificate {
            (user.client_certificate, user.client_certificate_data) = members(&pair.certificate);
            (user.client_key, user.client_key_data) = members(&pair.key);
        }
        let expose = |secret: &Secret| Shown(Zeroizing::new(secret.expose().to_owned()));
        match &self.user.token {
            None => {}
            Some(Token::Inline(token)) => user.token = Some(expose(token)),
            Some(Token::File { path, fallback }) => {
                user.token = fallback.as_ref().map(expose);
                user.token_file = Some(path.display().to_string());
            }
        }
        let document = Document {
            api_version: "v1",
            kind: "Config",
            clusters: [NamedCluster {
                name: names.cluster,
                cluster: ClusterStanza {
                    server: self.cluster.server.to_string(),
                    certificate_authority,
                    certificate_authority_data,
                    insecure_skip_tls_verify: self.cluster.trust == Trust::DangerouslyAnybody,
                    tls_server_name: self.cluster.tls_server_name.clone(),
                    proxy_url: self.cluster.proxy.as_ref().map(Shown::from),
                },
            }],
            contexts: [NamedContext {
                name: names.context,
                context: ContextStanza {
                    cluster: names.cluster,
                    namespace: names.namespace,
                    user: names.user,
                },
            }],
            current_context: names.context,
            users: [NamedUser {
                name: names.user,
                user,
            }],
        };
        // Each value on its key's line, as kubectl writes it: many a script takes it from there
        // with grep.
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        let text = serde_saphyr::to_string_with_options(&document, options)
            .expect("invariant: a document of strings and booleans serializes");
        Zeroizing::new(text)
    }

    /// Writes the document to `path`: parent directories 0755 when absent, the file 0600, replaced
    /// as a whole.
    pub fn write(&self, path: &Path, names: &Names<'_>) -> Result<(), KubeconfigError> {
        write_private(path, self.to_yaml(names).as_bytes()).map_err(|source| {
            KubeconfigError::Unwritable {
                path: path.to_owned(),
                source,
            }
        })
    }
}

/// The key before the authorities that a kubeconfig holds.
const BUNDLE_KEY: &str = "certificate-authority-data:";

impl Kubeconfig {
    /// Puts other authorities (PEM) in the place of those that the file at `path` holds, and
    /// changes nothing else in it.
    ///
    /// # Errors
    /// What stands in the way: the file, or how it is written.
    pub(crate) fn replace_bundle(path: &Path, pem: &str) -> Result<(), String> {
        let before = Self::read(path).map_err(|error| error.to_string())?;
        let shown = path.display();
        let Trust::Bundle(Source::Inline(held)) = &before.cluster.trust else {
            return Err(format!("{shown} holds no authorities itself"));
        };
        let text = super::read_bounded(path).map_err(|error| format!("{shown}: {error}"))?;
        let text = Zeroizing::new(text);
        let new = BASE64_STANDARD.encode(pem);
        let mut changed = Zeroizing::new(String::with_capacity(text.len() + new.len()));
        for line in text.split_inclusive('\n') {
            let value = line.split_once(BUNDLE_KEY).map(|(_, value)| value.trim());
            let value = value.map(|value| value.trim_matches(['"', '\'']));
            let is_held = |value: &&str| {
                let bytes = BASE64_STANDARD.decode(value);
                bytes.is_ok_and(|bytes| *pem::legible(&bytes) == *held.expose())
            };
            match value.filter(is_held) {
                Some(value) => changed.push_str(&line.replace(value, &new)),
                None => changed.push_str(line),
            }
        }
        let wanted = Self {
            cluster: super::Cluster {
                trust: Trust::Bundle(Source::Inline(Secret::new(pem.to_owned()))),
                ..before.cluster
            },
            user: before.user,
        };
        let is_right = Self::parse(&changed, path).is_ok_and(|after| after == wanted);
        if !is_right {
            return Err(format!(
                "{shown} is written in a way that is not changed by itself: put the authorities of the ConfigMap \
                 kube-public/everleaf-authorities, base64, on the line of {BUNDLE_KEY}"
            ));
        }
        write_private(path, changed.as_bytes()).map_err(|error| format!("{shown}: {error}"))
    }
}

fn members(source: &Source) -> (Option<String>, Option<Shown>) {
    match source {
        Source::File(path) => (Some(path.display().to_string()), None),
        Source::Inline(text) => (
            None,
            Some(Shown(Zeroizing::new(BASE64_STANDARD.encode(text.expose())))),
        ),
    }
}

/// Links behind links that are followed, as Linux does.
const LINKS_MAX: u32 = 40;

/// Where `path` leads, through links; what it leads to need not exist.
pub(crate) fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut place = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&place) {
            Ok(target) => {
                let directory = place.parent().unwrap_or(Path::new("")).to_owned();
                place = directory.join(target);
            }
            // No link, or nothing there.
            Err(_) => return Ok(place),
        }
    }
    Err(io::Error::other("its links lead in a circle"))
}

/// Replaces the file at `path` (what a link there leads to: the link stays) with `bytes`, mode 0600
/// whatever the umask or the old file's mode: a temporary file in the same directory, synced,
/// renamed over it, and the directory synced. On failure the old file is as it was.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o600)
}

/// The same for a file without a secret, mode 0644.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o644)
}

/// The same for a file that is there and keeps its mode.
pub(crate) fn rewrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    replace(path, bytes, mode & 0o777)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = &behind_links(path)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)?;
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(".tmp");
    let temporary = directory.join(temporary_name);
    // One left over by a crash is ours to remove; create_new below then refuses to follow a link
    // put in its place.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
