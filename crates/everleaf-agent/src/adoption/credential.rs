//! With which certificate a node goes on when it changes hands.

use super::{CLIENT_PREFIX, Place, in_file};
use crate::bootstrap::{client_current, names_current};
use crate::client::access::read_credential;
use crate::kubeconfig::{KUBECONFIG_BYTES_MAX, User};
use everleaf_pki::{Credential, Leaf};
use everleaf_rotation::store::dir::read_file;
use jiff::Timestamp;
use std::path::Path;

/// Subjects of nodes' certificates, and the group that the node authorizer wants.
const NODE_PREFIX: &str = "system:node:";
const NODES_GROUP: &str = "system:nodes";

/// The credential to go on with.
pub(super) struct Found {
    pub(super) node: String,
    pub(super) credential: Credential,
    /// The cert dir's current one is it.
    pub(super) is_current: bool,
    /// The kubeconfig names the cert dir's current one.
    pub(super) is_named: bool,
    /// What is wrong with the cert dir's current one, if it is there.
    pub(super) instead_of: Option<String>,
}

/// The one that ends last of those that the kubeconfig has and that the cert dir has, of those that
/// are good now.
pub(super) fn find_credential(place: &Place, user: &User, now: Timestamp) -> Result<Found, String> {
    let pair = user.client_certificate.as_ref().ok_or_else(|| {
        let path = place.kubeconfig.display();
        format!("kubeconfig {path} has no client certificate; a node without one joins by `join` or a bootstrap kubeconfig")
    })?;
    let current_path = client_current(&place.cert_dir);
    let judged = |credential: Result<Credential, String>| {
        let credential = credential?;
        let node = judge(credential.leaf(), now)?;
        Ok::<_, String>((node, credential))
    };
    let current = judged(read_current(&current_path));
    let is_named = names_current(user, &place.cert_dir) && pair.key == pair.certificate;
    let own = match is_named {
        true => Err(String::new()),
        false => judged(read_credential(pair)),
    };
    let found = |(node, credential), is_current, instead_of| Found {
        node,
        credential,
        is_current,
        is_named,
        instead_of,
    };
    if current_path.is_file() && !current_path.is_symlink() {
        return Err(format!(
            "{} must be a link, and is a file (copied without keeping links?): rename it to {CLIENT_PREFIX}-DATE.pem, \
             and link it",
            current_path.display()
        ));
    }
    match (current, own) {
        (Ok(current), Ok(own)) if current.0 != own.0 => Err(format!(
            "kubeconfig {} is of node {}, {} of node {}: move away what is not this node's",
            place.kubeconfig.display(),
            own.0,
            current_path.display(),
            current.0
        )),
        (Ok(current), Ok(own)) if own.1.leaf().not_after() > current.1.leaf().not_after() => {
            let ends = current.1.leaf().not_after();
            Ok(found(
                own,
                false,
                Some(format!("a certificate that ends at {ends}")),
            ))
        }
        (Ok(current), _) => Ok(found(current, true, None)),
        (Err(_), Ok(own)) if !current_path.exists() => Ok(found(own, false, None)),
        (Err(why), Ok(own)) => Ok(found(own, false, Some(why))),
        (Err(why), Err(_)) if is_named => Err(in_file(&current_path, &why)),
        (Err(_), Err(why)) => Err(in_file(&place.kubeconfig, &why)),
    }
}

pub(super) fn node_of(leaf: &Leaf) -> Option<String> {
    let name = leaf.subject().common_name.strip_prefix(NODE_PREFIX)?;
    (!name.is_empty()).then(|| name.to_owned())
}

pub(super) fn read_current(path: &Path) -> Result<Credential, String> {
    let bytes = read_file(path, KUBECONFIG_BYTES_MAX).map_err(|error| error.to_string())?;
    Credential::from_pem(&bytes).map_err(|error| error.to_string())
}

/// Whether a node can go on with it; returns the node's name.
fn judge(leaf: &Leaf, now: Timestamp) -> Result<String, String> {
    if leaf.not_after() < now {
        return Err(format!(
            "the certificate ended at {}; give the node a new one first (kubeadm: `kubeadm token create`, and `kubeadm \
             join` anew)",
            leaf.not_after()
        ));
    }
    if leaf.not_before() > now {
        return Err(format!(
            "the certificate begins at {} only; look at this machine's clock",
            leaf.not_before()
        ));
    }
    let subject = leaf.subject();
    node_of(leaf)
        .filter(|_| {
            subject
                .organizations
                .iter()
                .any(|group| group == NODES_GROUP)
        })
        .ok_or_else(|| {
            format!(
                "the certificate is {}'s, which is no node",
                leaf.subject_text()
            )
        })
}
