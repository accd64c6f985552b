//! The controllers' Kubernetes client: kube's, by the agent's kubeconfig reader and over the
//! agent's connections.
//!
//! So that one kubeconfig means the same to both ends: whom to trust, proxies, what is read again
//! while the process runs, how a dead connection is found out, and the words for all that goes
//! wrong.

use crate::failure::UsageError;
use anyhow::{Context, Result};
use bytes::Bytes;
use everleaf_agent::client::access::{Access, Identity};
use everleaf_agent::client::{Body, Failure, Transport};
use everleaf_agent::kubeconfig::{Kubeconfig, KubeconfigError, Source, Trust, User};
use everleaf_agent::{Secret, SystemClock};
use everleaf_controllers::upkeep::RootCaSource;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tower::BoxError;

/// A client, and the `host[:port]` that it speaks to, as the kubeconfig has it.
pub(crate) struct Connected {
    pub(crate) client: kube::Client,
    pub(crate) host: String,
    /// Whom it trusts to be that server, if the kubeconfig says so.
    pub(crate) authority: Option<RootCaSource>,
}

/// Connects by the kubeconfig at `path`.
///
/// # Errors
/// A kubeconfig, or a credential that it names, which cannot be used. A server that is away is
/// none.
pub(crate) fn connect(path: &Path) -> Result<Connected> {
    connect_context(path, None)
}

/// As [`connect`], by the context of that name.
///
/// # Errors
/// As [`connect`].
pub(crate) fn connect_context(path: &Path, context: Option<&str>) -> Result<Connected> {
    let kubeconfig = Kubeconfig::read_context(path, context).map_err(|error| match error {
        KubeconfigError::Unreadable { path, source } => {
            anyhow::Error::new(source).context(format!(
                "cannot read kubeconfig {}; give one that names the API server (--kubeconfig)",
                path.display()
            ))
        }
        error => error.into(),
    })?;
    connect_by(kubeconfig, path)
}

/// Connects as the service account of the pod that this is.
///
/// # Errors
/// As [`connect`], and when this is no pod.
pub(crate) fn connect_in_cluster() -> Result<Connected> {
    let (kubeconfig, origin) = Kubeconfig::in_cluster().map_err(|what| {
        anyhow::anyhow!("{what}; give a kubeconfig that names the API server (--kubeconfig)")
    })?;
    connect_by(kubeconfig, &origin)
}

fn connect_by(kubeconfig: Kubeconfig, path: &Path) -> Result<Connected> {
    let shown = path.display();
    match kubeconfig.cluster.trust {
        Trust::Bundle(_) => {}
        Trust::System if kubeconfig.cluster.server.is_plain() => {}
        Trust::System if path.is_dir() => tracing::warn!(
            "the service account of this pod has no {shown}/ca.crt: the server's certificate must be signed by an authority that \
             this host trusts anyway; mount the cluster's there"
        ),
        Trust::System => tracing::warn!(
            "kubeconfig {shown} names no certificate-authority: the server's certificate must be signed by an authority \
             that this host trusts anyway; name the cluster's in certificate-authority-data"
        ),
        Trust::DangerouslyAnybody => tracing::warn!(
            "kubeconfig {shown} says insecure-skip-tls-verify: whoever answers is taken for the API server"
        ),
    }
    let server = kubeconfig.cluster.server.to_string();
    let bare = server.split_once("://").map_or(&*server, |(_, bare)| bare);
    let host = bare.split('/').next().unwrap_or_default().to_owned();
    let authority = match &kubeconfig.cluster.trust {
        Trust::Bundle(Source::File(path)) => Some(RootCaSource::File(path.clone())),
        Trust::Bundle(Source::Inline(text)) => Some(RootCaSource::Memory(text.expose().to_owned())),
        _ => None,
    };
    let speaker = Arc::new(Speaker::new(kubeconfig, path)?);
    let service = tower::service_fn(move |request| {
        let speaker = Arc::clone(&speaker);
        async move { speaker.send(request).await }
    });
    let client = kube::Client::new(service, "default");
    Ok(Connected {
        client,
        host,
        authority,
    })
}

/// The kubeconfig that is given; else the one that kubectl would take; of several in `$KUBECONFIG`,
/// the first that is there.
///
/// # Errors
/// Nothing says where one is.
pub(crate) fn usual_kubeconfig(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let listed: Vec<PathBuf> = std::env::split_paths(&listed)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if let Some(first) = listed.first() {
        let there = listed.iter().find(|path| path.exists());
        return Ok(there.unwrap_or(first).clone());
    }
    match std::env::var_os("HOME") {
        Some(home) if !home.is_empty() => Ok(PathBuf::from(home).join(".kube/config")),
        _ => Err(UsageError(
            "there is no $KUBECONFIG and no $HOME: name a kubeconfig (--kubeconfig)".to_owned(),
        )
        .into()),
    }
}

/// Speaks to the server of a kubeconfig, as its user.
struct Speaker {
    kubeconfig: Kubeconfig,
    origin: PathBuf,
    transport: Transport,
    last: Mutex<Seen>,
}

/// What the files of the user held, and what came of it.
struct Seen {
    files: Files,
    access: Access,
}

impl Speaker {
    fn new(kubeconfig: Kubeconfig, origin: &Path) -> Result<Self> {
        let files = Files::read(&kubeconfig.user);
        let access = Access::from_kubeconfig(&kubeconfig, origin).map_err(anyhow::Error::msg)?;
        if let Trust::Bundle(source) = &kubeconfig.cluster.trust {
            source.read().with_context(|| {
                let origin = origin.display();
                format!("kubeconfig {origin}: cannot read the certificate authority")
            })?;
        }
        let transport = Transport::new(Arc::new(SystemClock::new()));
        warn_of_end(&access, origin, transport.now());
        Ok(Self {
            kubeconfig,
            origin: origin.to_owned(),
            transport,
            last: Mutex::new(Seen { files, access }),
        })
    }

    async fn send(&self, request: Request<kube::client::Body>) -> Result<Response<Body>, BoxError> {
        let (head, body) = request.into_parts();
        let body = Full::new(body.collect_bytes().await?);
        let request = Request::from_parts(head, body);
        let access = self.access();
        let whom = access.resolved(self.transport.now()).await?;
        let response = self.send_as(&whom, request.clone()).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(other) = access.renewed(&whom).await?
        {
            // What a command gave out has ended before its time: what it gives out now is tried
            // once.
            return self.send_as(&other, request).await;
        }
        Ok(response)
    }

    async fn send_as(
        &self,
        access: &Access,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Body>, BoxError> {
        let sent = self.transport.send(access, request).await;
        sent.map_err(|failure| self.without_server(failure).into())
    }

    /// With what to speak now. Files that cannot be used, which may be half replaced, leave what
    /// was there last.
    fn access(&self) -> Access {
        let files = Files::read(&self.kubeconfig.user);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if files == last.files {
            return last.access.clone();
        }
        match Access::from_kubeconfig(&self.kubeconfig, &self.origin) {
            Ok(access) => {
                if matches!(access.identity, Identity::Certificate(_)) {
                    self.transport.close_others(&access);
                }
                warn_of_end(&access, &self.origin, self.transport.now());
                *last = Seen { files, access };
            }
            Err(error) => {
                tracing::warn!("{error}; what it held before is used until it can be");
                last.files = files;
            }
        }
        last.access.clone()
    }

    /// The controllers say themselves which server they cannot reach.
    fn without_server(&self, failure: Failure) -> Failure {
        let prefix = format!("{}: ", self.kubeconfig.cluster.server);
        match failure.message.strip_prefix(&prefix) {
            None => failure,
            Some(message) => Failure {
                message: message.to_owned(),
                ..failure
            },
        }
    }
}

/// A server may take who shows such a certificate for anonymous, and say nothing of it.
fn warn_of_end(access: &Access, origin: &Path, now: Timestamp) {
    if let Identity::Certificate(shown) = &access.identity
        && shown.leaf().not_after() < now
    {
        let (origin, end) = (origin.display(), shown.leaf().not_after());
        tracing::warn!(
            "the client certificate of kubeconfig {origin} ended at {end}: no server takes it; renew it there"
        );
    }
}

/// What the files of a user hold; an error counts as content.
#[derive(PartialEq, Eq)]
struct Files([Option<Result<Secret, io::ErrorKind>>; 3]);

impl Files {
    fn read(user: &User) -> Self {
        let source = |source: &Source| match source {
            Source::File(_) => Some(source.read().map_err(|error| error.kind())),
            Source::Inline(_) => None,
        };
        let pair = user.client_certificate.as_ref();
        Self([
            pair.and_then(|pair| source(&pair.certificate)),
            pair.and_then(|pair| source(&pair.key)),
            user.token
                .as_ref()
                .map(|token| token.read().map_err(|error| error.kind())),
        ])
    }
}

#[cfg(test)]
mod tests;
