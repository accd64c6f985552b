//! The kubeconfigs of a data directory: the admin's, the new nodes', and this host's node's.

use super::authority::{Authority, is_worn, issue_admin};
use super::data_dir::DataDir;
use super::token;
use anyhow::{Result, anyhow};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use everleaf_agent::join::BootstrapToken;
use everleaf_agent::kubeconfig::{
    ClientCertificate, Cluster, Names, ServerUrl, Source, Token, Trust, User,
};
use everleaf_agent::{Kubeconfig, Secret};
use everleaf_apiserver::bootstrap::{CLUSTER_INFO, cluster_info};
use everleaf_apiserver::handler::Server;
use everleaf_pki::Credential;
use jiff::{SignedDuration, Timestamp};

/// Can do everything.
pub(crate) const ADMIN: &str = "admin.conf";
/// Can file a first request.
pub(crate) const BOOTSTRAP: &str = "bootstrap-kubelet.conf";
/// Is this host's node.
pub(crate) const NODE: &str = "kubelet.conf";
/// This host's node's cert dir.
pub(crate) const NODE_CERT_DIR: &str = "node/pki";

/// Life of the token in `bootstrap-kubelet.conf`.
const BOOTSTRAP_HOURS: i64 = 24;
/// A start with less left than this replaces it.
const BOOTSTRAP_LEFT_MIN: SignedDuration = SignedDuration::from_hours(1);

/// Names in `admin.conf`, as kubeadm gives them.
const ADMIN_NAMES: Names<'static> = Names {
    cluster: "everleaf",
    user: "kubernetes-admin",
    context: "kubernetes-admin@everleaf",
    namespace: "default",
};

/// How to reach the server at `url`.
pub(crate) fn cluster(url: &str, ca_pem: &str) -> Result<Cluster> {
    Ok(Cluster {
        server: ServerUrl::parse(url).map_err(|why| anyhow!(why))?,
        trust: Trust::Bundle(Source::Inline(Secret::new(ca_pem.to_owned()))),
        tls_server_name: None,
        proxy: None,
    })
}

/// Writes `admin.conf` when it is missing, worn, of another authority, or leads elsewhere.
pub(crate) fn ensure_admin(
    dir: &DataDir,
    authority: &Authority,
    url: &str,
    now: Timestamp,
) -> Result<()> {
    let issuer = &authority.issuer;
    let wanted = cluster(url, &authority.ca_pem)?;
    let path = dir.path(ADMIN);
    if let Ok(present) = Kubeconfig::read(&path)
        && present.cluster == wanted
        && let Some(credential) = inline_credential(&present.user)
        && credential.key().algorithm() == authority.key_algorithm
        && !is_worn(credential.leaf(), issuer, now)
    {
        return Ok(());
    }
    let credential = issue_admin(issuer, authority.key_algorithm, now)?;
    let user = User {
        client_certificate: Some(ClientCertificate {
            certificate: Source::Inline(Secret::new(credential.chain().to_pem())),
            key: Source::Inline(Secret::new(credential.key().to_pem().to_string())),
        }),
        ..User::default()
    };
    Ok(Kubeconfig {
        cluster: wanted,
        user,
    }
    .write(&path, &ADMIN_NAMES)?)
}

/// Says in kube-public, to everybody, where the server is and how it is recognized.
pub(crate) async fn publish(
    server: &Server,
    url: &str,
    ca_pem: &str,
    now: Timestamp,
) -> Result<()> {
    let stored = server
        .objects()
        .get("configmaps", "kube-public", CLUSTER_INFO);
    let stored = stored.as_ref().map(|stored| stored.object());
    let Some(object) = cluster_info(stored.as_deref(), &public_document(url, ca_pem)) else {
        return Ok(());
    };
    server
        .put("configmaps", object, now)
        .await
        .map(drop)
        .map_err(|why| anyhow!("cannot write the ConfigMap kube-public/{CLUSTER_INFO}: {why}"))
}

/// A kubeconfig without users, as kubeadm writes it there.
fn public_document(url: &str, ca_pem: &str) -> String {
    format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: {url}\n  name: \"\"\n\
         contexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {{}}\nusers: null\n",
        BASE64_STANDARD.encode(ca_pem)
    )
}

fn inline_credential(user: &User) -> Option<Credential> {
    let pair = user.client_certificate.as_ref()?;
    let certificate = pair.certificate.read().ok()?;
    let key = pair.key.read().ok()?;
    let both = Secret::new(format!("{}\n{}", certificate.expose(), key.expose()));
    Credential::from_pem(both.expose().as_bytes()).ok()
}

/// Writes `bootstrap-kubelet.conf`, with its token when that is still good, with a new one
/// otherwise. Returns until when the token is good. One that was made by a clock that was ahead
/// would be good for too long: it is cut to the usual time.
pub(crate) async fn ensure_bootstrap(
    dir: &DataDir,
    server: &Server,
    cluster: Cluster,
    now: Timestamp,
) -> Result<Timestamp> {
    let path = dir.path(BOOTSTRAP);
    let written_down = Kubeconfig::read(&path)
        .ok()
        .and_then(|present| match present.user.token {
            Some(Token::Inline(text)) => BootstrapToken::parse(text.expose()),
            _ => None,
        });
    let still_good = written_down.and_then(|token| {
        let until = token::accepted_until(&token, server)?;
        (until.duration_since(now) >= BOOTSTRAP_LEFT_MIN).then_some((token, until))
    });
    let usual = token::lasting(BOOTSTRAP_HOURS, now);
    let (token, until) = match still_good {
        Some((token, until)) if until <= usual => (token, until),
        other => {
            let token = match other {
                Some((token, _)) => token,
                None => token::generate()?,
            };
            let description = "for new nodes, in bootstrap-kubelet.conf";
            token::grant(&token, server, usual, description, now).await?;
            (token, usual)
        }
    };
    dir.write_if_changed(
        BOOTSTRAP,
        &with_token(cluster, &token).to_yaml(&Names::BOOTSTRAP),
    )?;
    Ok(until)
}

/// Whether a token that is good until then should be looked at again: it ends soon, or was given by
/// a clock that was ahead.
pub(crate) fn bootstrap_is_stale(until: Timestamp, now: Timestamp) -> bool {
    let left = until.duration_since(now);
    let usual = SignedDuration::from_hours(BOOTSTRAP_HOURS) + BOOTSTRAP_LEFT_MIN;
    left < BOOTSTRAP_LEFT_MIN || left > usual
}

/// A kubeconfig that authenticates with a bootstrap token.
pub(crate) fn with_token(cluster: Cluster, token: &BootstrapToken) -> Kubeconfig {
    let user = User {
        token: Some(Token::Inline(token.bearer())),
        ..User::default()
    };
    Kubeconfig { cluster, user }
}

/// Writes `kubelet.conf`, which names the current credential of this host's node, there or not yet.
pub(crate) fn ensure_node(dir: &DataDir, cluster: Cluster) -> Result<()> {
    let current = dir.path(NODE_CERT_DIR).join("kubelet-client-current.pem");
    let user = User {
        client_certificate: Some(ClientCertificate {
            certificate: Source::File(current.clone()),
            key: Source::File(current),
        }),
        ..User::default()
    };
    dir.write_if_changed(
        NODE,
        &Kubeconfig { cluster, user }.to_yaml(&Names::BOOTSTRAP),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever takes the file at any moment has an hour to join with it.
    #[test]
    fn a_bootstrap_token_is_looked_at_before_it_ends() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let minutes = |minutes: i64| now + SignedDuration::from_mins(minutes);
        for (until, stale) in [
            (-1, true),
            (59, true),
            (60, false),
            (24 * 60, false),
            (25 * 60, false),
            (26 * 60, true),
        ] {
            assert_eq!(bootstrap_is_stale(minutes(until), now), stale, "{until}");
        }
    }
}
