//! Issuers of tokens as the flags have them, and how their keys are fetched.

use crate::args::authentication::AuthenticationArgs;
use crate::failure::UsageError;
use crate::in_use::{InUse, Look};
use crate::input;
use anyhow::{Context, Result};
use bytes::Bytes;
use everleaf_agent::client::Transport;
use everleaf_agent::client::access::{Access, Identity};
use everleaf_agent::kubeconfig::{Cluster, ServerUrl, Source, Trust};
use everleaf_agent::{Secret, SystemClock};
use everleaf_apiserver::authn::jwt::{self, Fetch, JwtConfig, OidcFlags};
use everleaf_apiserver::handler::{ConfigFile, Server};
use everleaf_time::WallClock;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The flag of the file.
const FILE_FLAG: &str = "--authentication-config";
/// Largest file that a flag may name.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How often the file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Longest answer of an issuer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Whom to believe, as the flags say. `own_issuer` signs the tokens of service accounts.
///
/// # Errors
/// A file cannot be read, or what it says cannot be used.
pub(crate) fn config(args: &AuthenticationArgs, own_issuer: &str) -> Result<JwtConfig> {
    let config = of_args(args, own_issuer)?;
    warn(&config);
    Ok(config)
}

/// Tells what whoever wrote a configuration should know.
fn warn(config: &JwtConfig) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
}

fn of_args(args: &AuthenticationArgs, own_issuer: &str) -> Result<JwtConfig> {
    if let Some(path) = &args.authentication_config {
        return read(path, own_issuer);
    }
    let Some(url) = &args.oidc_issuer_url else {
        return Ok(JwtConfig::default());
    };
    let authority_pem = match &args.oidc_ca_file {
        None => String::new(),
        Some(path) => text(path, "--oidc-ca-file")?,
    };
    let claims = args.oidc_required_claim.iter().map(|claim| {
        let pair = claim.split_once('=');
        pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
            .ok_or_else(|| UsageError(format!("--oidc-required-claim {claim}: write CLAIM=VALUE")))
    });
    let flags = OidcFlags {
        issuer_url: url.clone(),
        client_id: args.oidc_client_id.clone().unwrap_or_default(),
        username_claim: args.oidc_username_claim.clone(),
        username_prefix: args.oidc_username_prefix.clone(),
        groups_claim: args.oidc_groups_claim.clone().unwrap_or_default(),
        groups_prefix: args.oidc_groups_prefix.clone().unwrap_or_default(),
        authority_pem,
        required_claims: claims.collect::<Result<_, _>>()?,
        signing_algorithms: args.oidc_signing_algs.clone(),
    };
    JwtConfig::of_flags(flags, own_issuer).context("the flags --oidc-…")
}

/// Reads an AuthenticationConfiguration.
///
/// # Errors
/// It cannot be read, or what it says cannot be used.
fn read(path: &Path, own_issuer: &str) -> Result<JwtConfig> {
    parse(&text(path, FILE_FLAG)?, path, own_issuer)
}

fn parse(text: &str, path: &Path, own_issuer: &str) -> Result<JwtConfig> {
    JwtConfig::parse(text, own_issuer).with_context(|| format!("{FILE_FLAG} {}", path.display()))
}

fn text(path: &Path, flag: &str) -> Result<String> {
    let unreadable = || format!("cannot read {flag} {}", path.display());
    let bytes = input::read(path, FILE_BYTES_MAX).with_context(unreadable)?;
    let text = std::str::from_utf8(&bytes).with_context(unreadable)?;
    Ok(text.to_owned())
}

/// Keeps the keys of issuers fresh, for ever, and reads the file of them again when it changes.
pub(crate) async fn follow(
    file: Option<PathBuf>,
    own_issuer: String,
    server: Arc<Server>,
    wall: WallClock,
) {
    let keys = jwt::keep_keys(server.authenticator(), fetch());
    let reread = async {
        let Some(file) = file else {
            return std::future::pending().await;
        };
        let what = format!("authentication configuration {}", file.display());
        let mut in_use = InUse::new(what, text(&file, FILE_FLAG).unwrap_or_default());
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let look = in_use.look(
                Instant::now(),
                || text(&file, FILE_FLAG),
                |text| {
                    let config = parse(text, &file, &own_issuer)?;
                    warn(&config);
                    server.authenticator().set_jwt(config);
                    Ok(())
                },
            );
            if look != Look::Same {
                let is_in_force = look == Look::Taken;
                server.reloaded(ConfigFile::Authentication, is_in_force, wall());
            }
        }
    };
    tokio::join!(keys, reread);
}

/// Fetches over TLS, by the connections that the agent has, proxies included.
fn fetch() -> Fetch {
    let transport = Transport::new(Arc::new(SystemClock::new()));
    Arc::new(move |url, authority_pem| {
        let transport = transport.clone();
        Box::pin(async move { get(&transport, &url, authority_pem).await })
    })
}

async fn get(transport: &Transport, url: &str, authority_pem: String) -> Result<Bytes, String> {
    let uri: Uri = url.parse().map_err(|_| "it is not a URL".to_owned())?;
    let host = uri.authority().ok_or("it names no host")?;
    let cluster = Cluster {
        server: ServerUrl::parse(&format!("https://{host}"))?,
        trust: match authority_pem.as_str() {
            "" => Trust::System,
            _ => Trust::Bundle(Source::Inline(Secret::new(authority_pem))),
        },
        tls_server_name: None,
        proxy: None,
    };
    let access = Access::new(Arc::new(cluster), Identity::Anonymous);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("everleaf/", env!("CARGO_PKG_VERSION")))
        .body(Full::default())
        .map_err(|error| error.to_string())?;
    let response = transport.send(&access, request).await;
    let response = response.map_err(|failure| failure.message)?;
    if response.status() != StatusCode::OK {
        return Err(format!("it answered {}", response.status()));
    }
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
    let body = body
        .await
        .map_err(|error| format!("its answer broke off: {error}"))?;
    Ok(body.to_bytes())
}
