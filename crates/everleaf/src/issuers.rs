//! Issuers of tokens as the flags have them, and how their keys are fetched.

use crate::args::authentication::AuthenticationArgs;
use crate::failure::UsageError;
use crate::in_use::{Look, TextFile};
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
use std::sync::Arc;
use std::time::Duration;

/// The flag of the file.
const FILE_FLAG: &str = "--authentication-config";
/// How often the file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Longest answer of an issuer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Whom to believe, as the flags say, and the file that says it. `own_issuer` signs the tokens of
/// service accounts.
///
/// # Errors
/// A file cannot be read, or what it says cannot be used.
pub(crate) fn config(
    args: &AuthenticationArgs,
    own_issuer: &str,
) -> Result<(JwtConfig, Option<TextFile>)> {
    let path = args.authentication_config.as_deref();
    let file = path
        .map(|path| TextFile::read(FILE_FLAG, path))
        .transpose()?;
    let config = match &file {
        Some(file) => parse(file.text(), &file.named(), own_issuer)?,
        None => by_flags(args, own_issuer)?,
    };
    warn(&config);
    Ok((config, file))
}

/// Tells what whoever wrote a configuration should know.
fn warn(config: &JwtConfig) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
}

fn by_flags(args: &AuthenticationArgs, own_issuer: &str) -> Result<JwtConfig> {
    let Some(url) = &args.oidc_issuer_url else {
        return Ok(JwtConfig::default());
    };
    let authority_pem = match &args.oidc_ca_file {
        None => String::new(),
        Some(path) => TextFile::read("--oidc-ca-file", path)?.text().to_owned(),
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

fn parse(text: &str, named: &str, own_issuer: &str) -> Result<JwtConfig> {
    JwtConfig::parse(text, own_issuer).with_context(|| named.to_owned())
}

/// Keeps the keys of issuers fresh, for ever, and reads the file of them again when it changes.
pub(crate) async fn follow(
    file: Option<TextFile>,
    own_issuer: String,
    server: Arc<Server>,
    wall: WallClock,
) {
    let keys = jwt::keep_keys(server.authenticator(), fetch());
    let reread = async {
        let Some(file) = file else { return };
        let named = file.named();
        let take = |text: &str| {
            let config = parse(text, &named, &own_issuer)?;
            warn(&config);
            server.authenticator().set_jwt(config);
            Ok(())
        };
        let told = |look| server.reloaded(ConfigFile::Authentication, look == Look::Taken, wall());
        let what = "authentication configuration";
        file.follow(what, LOOK_INTERVAL, take, told).await;
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
