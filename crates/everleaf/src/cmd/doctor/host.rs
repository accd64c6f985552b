//! Reads what the rules judge this machine by: its cert dir, its kubeconfig, and the server that it
//! names.

use super::gather::{bundle_of, meet, named, server};
use crate::args::doctor::DoctorArgs;
use crate::cmd::why::gather::Api;
use crate::failure::chain;
use crate::kube_client::{self, Connected};
use anyhow::Result;
use everleaf_agent::kubeconfig::{Kubeconfig, KubeconfigError, Source, Trust};
use everleaf_agent::{Clock, SystemClock};
use everleaf_controllers::doctor::{Answer, Directory, Host, KubeconfigFile, OnDisk, Seen};
use everleaf_controllers::why::Known;
use everleaf_node::places::default_root_of;
use everleaf_pki::{Chain, Credential, pem};
use everleaf_rotation::rotation_deadline;
use everleaf_rotation::store::dir::{is_volatile, read_file};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A client certificate, without which a node is nobody; a serving certificate, which it may have.
const PREFIXES: [(&str, bool); 2] = [("kubelet-client", true), ("kubelet-server", false)];

/// Everything about this machine.
pub(super) async fn node(args: &DoctorArgs) -> Result<Seen> {
    let places = Places::of(args);
    let mut seen = Seen::default();
    seen.cluster.local = SystemClock::new().wall();
    seen.cluster.now = seen.cluster.local;
    seen.without_root_ca = Known::Absent;
    named(args, &mut seen)?;
    seen.host = Host {
        directory: directory(&places.cert_dir),
        credentials: PREFIXES
            .iter()
            .map(|(prefix, is_needed)| on_disk(&places.cert_dir, prefix, *is_needed))
            .collect(),
        cert_dir: places.cert_dir,
        ..Host::default()
    };
    seen.host.node = node_name(&seen.host).unwrap_or_default();
    let context = args.server.context.as_deref();
    let read = Kubeconfig::read_context(&places.kubeconfig, context);
    seen.host.kubeconfig = kubeconfig_file(&places.kubeconfig, &read);
    seen.server.answer = Answer::NotAsked;
    let Ok(kubeconfig) = read else {
        return Ok(seen);
    };
    seen.server = server(&kubeconfig, &places.kubeconfig);
    seen.bundles
        .extend(bundle_of(&kubeconfig, &places.kubeconfig));
    if let Some(why) = unreadable(&kubeconfig) {
        seen.host.kubeconfig.content = Known::Hidden(why);
        return Ok(seen);
    }
    match kube_client::connect_context(&places.kubeconfig, context) {
        Ok(Connected { client, .. }) => meet(&Api::new(client), &kubeconfig, &mut seen).await,
        Err(error) => {
            seen.server.answer = Answer::NotAsked;
            seen.host.kubeconfig.content = Known::Read(Err(chain(&error)));
        }
    }
    Ok(seen)
}

/// Where this machine keeps its certificates, and its kubeconfig.
struct Places {
    cert_dir: PathBuf,
    kubeconfig: PathBuf,
}

impl Places {
    fn of(args: &DoctorArgs) -> Self {
        let found = match &args.data_dir {
            Some(root) => Self::below(root),
            None => Self::usual(),
        };
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Self {
            cert_dir: absolute(args.cert_dir.as_ref().unwrap_or(&found.cert_dir)),
            kubeconfig: absolute(args.server.kubeconfig.as_ref().unwrap_or(&found.kubeconfig)),
        }
    }

    /// `up` keeps its own node's apart from its authority's.
    fn below(root: &Path) -> Self {
        let of_up = root.join("node");
        Self {
            cert_dir: match of_up.exists() {
                true => of_up.join("pki"),
                false => root.join("pki"),
            },
            kubeconfig: root.join("kubelet.conf"),
        }
    }

    /// An agent's that has joined, `up`'s, a kubelet's: the first that is there.
    fn usual() -> Self {
        let roots = ["everleaf-agent", "everleaf"].into_iter();
        let roots = roots.filter_map(|name| default_root_of(name).ok());
        let ours = roots.map(|root| Self::below(&root));
        let kubelet = |kubeconfig: &str| Self {
            cert_dir: PathBuf::from("/var/lib/kubelet/pki"),
            kubeconfig: PathBuf::from(kubeconfig),
        };
        let kubelets = [
            "/etc/kubernetes/kubelet.conf",
            "/var/lib/kubelet/kubeconfig",
        ];
        let mut all = ours.chain(kubelets.map(kubelet));
        all.find(|places| places.cert_dir.exists() && places.kubeconfig.exists())
            .unwrap_or_else(|| kubelet("/etc/kubernetes/kubelet.conf"))
    }
}

fn directory(path: &Path) -> Known<Directory> {
    match fs::metadata(path) {
        Ok(found) => Known::Read(Directory {
            mode: found.mode(),
            is_volatile: is_volatile(path),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Known::Absent,
        Err(error) => Known::Hidden(error.to_string()),
    }
}

fn on_disk(dir: &Path, prefix: &str, is_needed: bool) -> OnDisk {
    let path = dir.join(format!("{prefix}-current.pem"));
    let mut found = OnDisk {
        prefix: prefix.to_owned(),
        is_needed,
        others: others(dir, prefix),
        pending: pending(dir, prefix),
        path,
        ..OnDisk::default()
    };
    let bytes = match read_file(&found.path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => {
            // A link that leads nowhere is there, and is not a certificate.
            let is_link = fs::symlink_metadata(&found.path).is_ok();
            found.chain = match error.kind() {
                ErrorKind::NotFound if is_link => {
                    Known::Read(Err("the link leads nowhere".to_owned()))
                }
                ErrorKind::NotFound => Known::Absent,
                ErrorKind::PermissionDenied => Known::Hidden(error.to_string()),
                _ => Known::Read(Err(error.to_string())),
            };
            return found;
        }
    };
    found.mode = fs::metadata(&found.path).map_or(0, |found| found.mode());
    let text = pem::legible(&bytes);
    let chain = Chain::from_pem(text.as_bytes()).map_err(|error| error.to_string());
    if text.contains("PRIVATE KEY-----") {
        let pair = Credential::from_pem(text.as_bytes());
        found.key = Some(pair.map(drop).map_err(|error| error.to_string()));
    }
    found.renews_at = chain
        .as_ref()
        .ok()
        .map(|chain| rotation_deadline(chain.leaf()));
    found.chain = Known::Read(chain);
    found
}

/// Dated files of this prefix besides the one that is current.
fn others(dir: &Path, prefix: &str) -> usize {
    let begin = format!("{prefix}-2");
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let dated = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&begin));
    dated.count().saturating_sub(1)
}

/// The request that waits, as our agent keeps it.
fn pending(dir: &Path, prefix: &str) -> Option<(String, jiff::Timestamp)> {
    let bytes = read_file(&dir.join(format!("{prefix}-pending.json")), FILE_BYTES_MAX).ok()?;
    let record: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let created = record["created"].as_str()?.parse().ok()?;
    Some((record["name"].as_str()?.to_owned(), created))
}

fn node_name(host: &Host) -> Option<String> {
    let client = host.credentials.iter().find(|one| one.is_needed)?;
    let chain = client.chain.read()?.as_ref().ok()?;
    let name = chain.leaf().subject().common_name.clone();
    name.strip_prefix("system:node:").map(str::to_owned)
}

/// A file that the kubeconfig names and that this user may not read, and what the system says.
fn unreadable(kubeconfig: &Kubeconfig) -> Option<String> {
    let pair = kubeconfig.user.client_certificate.as_ref();
    let trust = match &kubeconfig.cluster.trust {
        Trust::Bundle(source) => Some(source),
        _ => None,
    };
    let pair = pair.map(|pair| [&pair.certificate, &pair.key]);
    let mut sources = pair.into_iter().flatten().chain(trust);
    sources.find_map(|source| {
        let Source::File(path) = source else {
            return None;
        };
        let error = fs::File::open(path).err()?;
        let is_denied = error.kind() == ErrorKind::PermissionDenied;
        is_denied.then(|| format!("it names {}: {error}", path.display()))
    })
}

fn kubeconfig_file(path: &Path, read: &Result<Kubeconfig, KubeconfigError>) -> KubeconfigFile {
    let mut file = KubeconfigFile {
        path: path.to_owned(),
        mode: fs::metadata(path).map_or(0, |found| found.mode()),
        ..KubeconfigFile::default()
    };
    let kubeconfig = match read {
        Ok(kubeconfig) => kubeconfig,
        Err(error) if error.is_absent() => {
            file.content = Known::Absent;
            return file;
        }
        Err(KubeconfigError::Unreadable { source, .. })
            if source.kind() == ErrorKind::PermissionDenied =>
        {
            file.content = Known::Hidden(source.to_string());
            return file;
        }
        Err(error) => {
            file.content = Known::Read(Err(error.to_string()));
            return file;
        }
    };
    let user = &kubeconfig.user;
    let pair = user.client_certificate.as_ref();
    let is_inline = |source: &Source| matches!(source, Source::Inline(_));
    file.content = Known::Read(Ok(()));
    file.holds_secret = pair.is_some_and(|pair| is_inline(&pair.key)) || user.token.is_some();
    file.names_no_ca = matches!(kubeconfig.cluster.trust, Trust::System);
    file.holds_certificate = pair.is_some_and(|pair| is_inline(&pair.certificate));
    file.client_certificate = pair.and_then(|pair| match &pair.certificate {
        Source::File(path) => Some(path.clone()),
        Source::Inline(_) => None,
    });
    file
}
