//! With which kubeconfig an agent works, and when it writes one (the kubelet's background
//! rotation).
//!
//! Owns the choice between the kubeconfig K and the bootstrap kubeconfig B at start, the judgement
//! whether K still holds a usable credential, and the kubeconfig that names the store's `current`.
//! It refuses to know how a certificate is asked for: that is rotation's.

use crate::client::access::read_credential;
use crate::config::{Bootstrap, Config};
use crate::kubeconfig::{
    ClientCertificate, Cluster, KUBECONFIG_BYTES_MAX, Kubeconfig, KubeconfigError, Names, Source,
    User, behind_links, write_private,
};
use everleaf_pki::{Chain, Credential, Leaf, Subject};
use everleaf_rotation::store::dir::read_file;
use jiff::Timestamp;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What was found at start.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The API server to speak to with the node's own certificates.
    pub(crate) cluster: Cluster,
    /// What happened, for the log.
    pub(crate) told: Vec<Told>,
}

/// A line for the log about the choice; the first words are those that operators search for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Logged at `info`: a bootstrap goes on as expected.
    Info(String),
    /// Probably not intended.
    Warning(String),
}

/// What [`choose`] would say of a new node that no kubeconfig helps, before a cert dir is made for
/// it.
pub(crate) fn check(config: &Config) -> Result<(), String> {
    check_apart(config)?;
    if config.cert_dir.exists() {
        return Ok(());
    }
    let Err(error) = Kubeconfig::read(&config.kubeconfig) else {
        return Ok(());
    };
    let Some(bootstrap) = &config.bootstrap else {
        return Err(no_kubeconfig(&error));
    };
    let reason = (!error.is_absent()).then(|| error.to_string());
    match bootstrap.read() {
        Ok(_) => Ok(()),
        Err(error) => without_bootstrap(None, None, bootstrap, reason, &error).map(|_| ()),
    }
}

/// K is written and what it held is kept beside it: B must be neither file.
fn check_apart(config: &Config) -> Result<(), String> {
    let Some(Bootstrap::File(bootstrap)) = &config.bootstrap else {
        return Ok(());
    };
    let written = [config.kubeconfig.clone(), copy_of(&config.kubeconfig)];
    match written.iter().find(|path| is_same_file(path, bootstrap)) {
        None => Ok(()),
        Some(path) => Err(format!(
            "--bootstrap-kubeconfig {} is the same file as {}, which this agent writes (--kubeconfig); give the \
             kubeconfig a path of its own: it need not exist",
            bootstrap.display(),
            path.display()
        )),
    }
}

/// One file, by whatever path or link; for what is not there yet: one place.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    match (identity(a), identity(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => match (behind_links(a), behind_links(b)) {
            (Ok(a), Ok(b)) => is_same_place(&a, &b),
            _ => false,
        },
        _ => false,
    }
}

/// K is all there could be, and it is of no use.
fn no_kubeconfig(error: &KubeconfigError) -> String {
    format!(
        "unable to load kubeconfig: {error}; give a kubeconfig of this node, or a bootstrap \
         kubeconfig (--bootstrap-kubeconfig) to make one"
    )
}

/// Chooses, and writes K when it is missing or useless and B can replace it; a credential or a text
/// that it held is kept beside it. `current` is the leaf
/// of the store's current credential, which must already have been opened and recovered.
pub(crate) fn choose(
    config: &Config,
    current: Option<&Leaf>,
    now: Timestamp,
) -> Result<Choice, String> {
    let path = &config.kubeconfig;
    let found = Kubeconfig::read(path);
    let Some(bootstrap) = &config.bootstrap else {
        return match found {
            Ok(kubeconfig) => Ok(Choice {
                cluster: kubeconfig.cluster,
                told: vec![Told::Info(
                    "No bootstrapping requested: the kubeconfig is used as it is".to_owned(),
                )],
            }),
            Err(error) => Err(no_kubeconfig(&error)),
        };
    };
    let reason = match &found {
        Ok(kubeconfig) => match check_valid(kubeconfig, &config.node_name, now) {
            Ok(()) => {
                return Ok(Choice {
                    cluster: kubeconfig.cluster.clone(),
                    told: vec![Told::Info(format!(
                        "kubeconfig {} is still valid, no bootstrap needed",
                        path.display()
                    ))],
                });
            }
            Err(reason) => Some(format!("kubeconfig {}: {reason}", path.display())),
        },
        Err(error) if error.is_absent() => None,
        // Neither absent nor merely wrong: overwriting what we may not read would hide the cause.
        Err(error @ KubeconfigError::Unreadable { .. }) => return Err(error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    // A kubeconfig that only awaits its first certificate is in order.
    let awaits_first = current.is_none()
        && found
            .as_ref()
            .is_ok_and(|kubeconfig| names_current(&kubeconfig.user, &config.cert_dir));
    let mut told = Vec::new();
    if let Some(reason) = reason.clone().filter(|_| !awaits_first) {
        told.push(Told::Warning(reason));
    }
    match bootstrap.read() {
        Ok(source) => {
            if is_worth_a_copy(&found, &config.cert_dir) {
                let copy = keep_copy(path)?;
                let text = format!("what it held is kept in {}", copy.display());
                told.push(Told::Info(text));
            }
            replaced_by(config, bootstrap, source.cluster, told)
        }
        Err(error) => without_bootstrap(found.ok(), current, bootstrap, reason, &error),
    }
}

/// K leads where B leads from now on, and names the store's current credential, there or not yet.
fn replaced_by(
    config: &Config,
    bootstrap: &Bootstrap,
    cluster: Cluster,
    mut told: Vec<Told>,
) -> Result<Choice, String> {
    let path = &config.kubeconfig;
    let written = pointing_at_current(cluster, &config.cert_dir);
    written
        .write(path, &Names::BOOTSTRAP)
        .map_err(|error| error.to_string())?;
    told.push(Told::Info(format!(
        "Use the bootstrap credentials of {}; wrote kubeconfig {}",
        bootstrap.origin().display(),
        path.display()
    )));
    Ok(Choice {
        cluster: written.cluster,
        told,
    })
}

/// B is of no use. A certificate in the store is all that is needed, if K still tells the server.
fn without_bootstrap(
    found: Option<Kubeconfig>,
    current: Option<&Leaf>,
    bootstrap: &Bootstrap,
    reason: Option<String>,
    error: &KubeconfigError,
) -> Result<Choice, String> {
    match (found, current) {
        (Some(kubeconfig), Some(leaf)) => Ok(Choice {
            cluster: kubeconfig.cluster,
            told: vec![Told::Warning(format!(
                "{}; unable to load bootstrap kubeconfig: {error}; going on with the certificate \
                 in the cert dir, valid until {}",
                reason.unwrap_or_else(|| "the kubeconfig is not usable".to_owned()),
                leaf.not_after()
            ))],
        }),
        _ => Err(format!(
            "{}unable to load bootstrap kubeconfig: {error}; give the node a new bootstrap \
             kubeconfig at {}, or a kubeconfig that works",
            reason
                .map(|reason| format!("{reason}; "))
                .unwrap_or_default(),
            bootstrap.origin().display()
        )),
    }
}

/// Whether K holds a client certificate that can be tried (`isClientConfigStillValid`, and our two
/// additions: the name and the key must be right). The error says why not.
fn check_valid(kubeconfig: &Kubeconfig, node_name: &str, now: Timestamp) -> Result<(), String> {
    let Some(pair) = &kubeconfig.user.client_certificate else {
        return Err("it holds no client certificate".to_owned());
    };
    let text = pair
        .certificate
        .read()
        .map_err(|error| format!("cannot read its client certificate: {error}"))?;
    let chain = Chain::from_pem(text.expose().as_bytes())
        .map_err(|error| format!("its client certificate: {error}"))?;
    if let Some(expired) = chain.certificates().iter().find(|c| c.not_after() < now) {
        return Err(format!(
            "the existing bootstrap client certificate in it has expired at {}",
            expired.not_after()
        ));
    }
    read_credential(pair)?;
    let wanted = Subject::node(node_name).common_name;
    let name = &chain.leaf().subject().common_name;
    if *name != wanted {
        return Err(format!(
            "its client certificate is for {name:?}, not for {wanted:?}"
        ));
    }
    Ok(())
}

/// The store's `current` of the client certificate: a symlink, always whole.
pub(crate) fn client_current(cert_dir: &Path) -> PathBuf {
    cert_dir.join("kubelet-client-current.pem")
}

/// The kubeconfig that follows every rotation by itself: it names the symlink.
pub(crate) fn pointing_at_current(cluster: Cluster, cert_dir: &Path) -> Kubeconfig {
    let current = Source::File(client_current(cert_dir));
    Kubeconfig {
        cluster,
        user: User {
            client_certificate: Some(ClientCertificate {
                certificate: current.clone(),
                key: current,
            }),
            ..User::default()
        },
    }
}

/// The credential that K holds by itself, if it does: not one that names the store's `current`.
pub(crate) fn own_user<'a>(kubeconfig: &'a Kubeconfig, cert_dir: &Path) -> Option<&'a User> {
    let user = &kubeconfig.user;
    (*user != User::default() && !names_current(user, cert_dir)).then_some(user)
}

pub(crate) fn names_current(user: &User, cert_dir: &Path) -> bool {
    let current = client_current(cert_dir);
    user.client_certificate.as_ref().is_some_and(
        |pair| matches!(&pair.certificate, Source::File(path) if is_same_place(path, &current)),
    )
}

/// The certificate and key files that K names, if it names files: where a kubelet looks when its
/// cert dir has no `current`.
pub(crate) fn named_files(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let pair = Kubeconfig::read(path).ok()?.user.client_certificate?;
    match (pair.certificate, pair.key) {
        (Source::File(certificate), Source::File(key)) => Some((certificate, key)),
        _ => None,
    }
}

/// The same path, or the same name in what is the same directory by another path.
fn is_same_place(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let directory = path.parent()?.canonicalize().ok()?;
        Some(directory.join(path.file_name()?))
    };
    a == b || matches!((place(a), place(b)), (Some(a), Some(b)) if a == b)
}

/// After a rotation: a kubeconfig that holds a client certificate of this node inline (as `kubeadm
/// init` writes its first one) would go stale. It is made to name `current`, and kept beside as
/// `.bak`. Returns the path of the copy, or `None` when there was nothing to do.
pub(crate) fn adopt_current(config: &Config) -> Result<Option<PathBuf>, String> {
    let path = &config.kubeconfig;
    let Ok(kubeconfig) = Kubeconfig::read(path) else {
        return Ok(None);
    };
    let Some(user) = own_user(&kubeconfig, &config.cert_dir) else {
        return Ok(None);
    };
    if !is_this_nodes(user, &config.node_name) {
        return Ok(None);
    }
    let copy = keep_copy(path)?;
    pointing_at_current(kubeconfig.cluster, &config.cert_dir)
        .write(path, &Names::BOOTSTRAP)
        .map_err(|error| error.to_string())?;
    Ok(Some(copy))
}

/// Whether K, about to be replaced, holds what is nowhere else: a credential of its own, useless
/// only as far as we know, or what somebody has mistyped.
fn is_worth_a_copy(found: &Result<Kubeconfig, KubeconfigError>, cert_dir: &Path) -> bool {
    match found {
        Ok(kubeconfig) => own_user(kubeconfig, cert_dir).is_some(),
        Err(error) => !error.is_absent(),
    }
}

fn copy_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".bak");
    path.with_file_name(name)
}

/// Keeps the file at `path` beside it, as `.bak`; returns where.
pub(crate) fn keep_copy(path: &Path) -> Result<PathBuf, String> {
    let copy = copy_of(path);
    let old = read_file(path, KUBECONFIG_BYTES_MAX)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    write_private(&copy, &old)
        .map_err(|error| format!("cannot write {}: {error}", copy.display()))?;
    Ok(copy)
}

fn is_this_nodes(user: &User, node_name: &str) -> bool {
    let credential: Option<Credential> = user
        .client_certificate
        .as_ref()
        .and_then(|pair| read_credential(pair).ok());
    let wanted = Subject::node(node_name).common_name;
    credential.is_some_and(|credential| credential.leaf().subject().common_name == wanted)
}

#[cfg(test)]
mod tests;
