//! `everleaf apiserver`: the API server alone.

mod files;

use crate::args::apiserver::ApiserverArgs;
use crate::audit::Audit;
use crate::authorizers;
use crate::encryption::{self, EncryptionFile};
use crate::etcd;
use crate::failure::UsageError;
use crate::in_use::TextFile;
use crate::input;
use crate::issuers;
use crate::offer;
use crate::print;
use crate::server::{self, Offer, Storage};
use crate::service;
use crate::shutdown::Shutdown;
use crate::up::authority::{
    SERVER_CERTIFICATE, SERVER_KEY, SERVICE_ACCOUNT_KEY, ensure_front_proxy_ca,
};
use crate::up::data_dir::{DataDir, refuse_foreign, refuse_held};
use crate::up::system::wall_clock;
use anyhow::{Context, Result, anyhow, bail};
use everleaf_agent::{Clock, SystemClock};
use everleaf_apiserver::authn::{
    Config as AuthenticatorConfig, ConfigError, FrontProxyConfig, ServiceAccountConfig,
};
use everleaf_apiserver::authz::Authorizer;
use everleaf_apiserver::handler::Server;
use everleaf_apiserver::serve;
use everleaf_node::places::{CA_CERTIFICATE, STORE};
use everleaf_pki::trust::TrustBundle;
use everleaf_pki::{Leaf, PrivateKey, PublicKey, pem};
use everleaf_time::WallClock;
use files::ServingFiles;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// Largest file that a flag may name: tokens of a whole fleet fit.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Runs until a signal.
pub(crate) fn run(args: &ApiserverArgs) -> Result<ExitCode> {
    let (authorizer, authorization) = authorizers::chain(&args.authorization)?;
    let offer = offer::of(&args.offer)?;
    super::runtime()?.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        serve(args, (authorizer, authorization), offer, shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn listen(args: &ApiserverArgs, root: &Path) -> Result<TcpListener> {
    let address = SocketAddr::new(args.bind_address, args.secure_port);
    match server::listen(address, "--bind-address, --secure-port").await {
        Ok(listener) => Ok(listener),
        Err(error) => {
            // More to the point than the port that its holder listens on.
            refuse_held(root)?;
            Err(error)
        }
    }
}

async fn serve(
    args: &ApiserverArgs,
    (authorizer, authorization): (Authorizer, Option<TextFile>),
    offer: Offer,
    shutdown: Shutdown,
) -> Result<()> {
    let root = std::path::absolute(&args.data_dir)
        .with_context(|| format!("--data-dir {}", args.data_dir.display()))?;
    // Nothing is written before it is certain that we can listen: a failed start leaves nothing
    // behind.
    refuse_foreign(&root)?;
    let file = |given: &Option<PathBuf>, own: &str| given.clone().unwrap_or_else(|| root.join(own));
    let serving = ServingFiles {
        chain: file(&args.tls_cert_file, SERVER_CERTIFICATE),
        key: file(&args.tls_private_key_file, SERVER_KEY),
    };
    let client_ca_path = file(&args.client_ca_file, CA_CERTIFICATE);
    let pair = serving.read()?;
    let client_ca = files::client_ca(&client_ca_path)?;
    let tokens = args.token_auth_file.as_deref().map(token_lines);
    let tokens = tokens.transpose()?.unwrap_or_default();
    let audit = Audit::of(&args.audit)?;
    let (jwt, authentication) =
        issuers::config(&args.authentication, &args.service_account_issuer)?;
    let certificate = serving.certificate(&pair)?;
    let encryption = encryption::of(&args.storage)?;
    let listener = listen(args, &root).await?;
    let dir = DataDir::open(&root)?;
    let listen = listener
        .local_addr()
        .context("cannot see where the server listens")?;
    let clock = wall_clock(&(Arc::new(SystemClock::new()) as Arc<dyn Clock>));
    let audit = audit.map(|audit| audit.start(Arc::clone(&clock)));
    let audit = audit.transpose()?;
    let front_proxy = front_proxy(args, &client_ca, || ensure_front_proxy_ca(&dir, clock()))?;
    let authenticator = AuthenticatorConfig {
        client_ca_pem: client_ca.to_vec(),
        front_proxy: Some(front_proxy),
        service_accounts: Some(service_accounts(args, &dir)?),
        token_auth_csv: tokens.to_string(),
        bootstrap_tokens: args.enable_bootstrap_token_auth,
        anonymous: args.anonymous_auth,
        jwt,
        late_reissue: args.late_reissue.policy(),
    };
    let judges = (authenticator, authorizer);
    let storage = storage(args, dir.path(STORE), encryption.as_ref())?;
    let server = server::open(storage, judges, listen.to_string(), audit, offer)
        .map_err(|error| named(args, error))?;
    server.install(clock()).await?;
    let configs = (authentication, authorization, encryption);
    let configurations = follow_configurations(args, configs, &server, &clock);
    let follower = tokio::spawn(files::follow(
        (serving, pair, Arc::clone(&certificate)),
        (client_ca_path, client_ca),
        Arc::clone(&server),
        Arc::clone(&clock),
    ));
    print::line(&format!(
        "Everleaf API server {} listens on {listen}.",
        env!("CARGO_PKG_VERSION")
    ));
    let running = Arc::clone(&server);
    let _alive = service::server_ready(&server);
    let served = serve::run(listener, running, certificate, clock, shutdown.asked()).await;
    follower.abort();
    configurations.abort();
    server::flush_audit(&server).await;
    Ok(served?)
}

/// Reads configurations again when they change, and keeps the keys of issuers fresh.
fn follow_configurations(
    args: &ApiserverArgs,
    (authentication, authorization, encryption): (
        Option<TextFile>,
        Option<TextFile>,
        Option<EncryptionFile>,
    ),
    server: &Arc<Server>,
    clock: &WallClock,
) -> JoinHandle<()> {
    let issuers = issuers::follow(
        authentication,
        args.service_account_issuer.clone(),
        Arc::clone(server),
        Arc::clone(clock),
    );
    let authorizers = authorizers::follow(authorization, Arc::clone(server), Arc::clone(clock));
    let encryption = encryption::follow(encryption, Arc::clone(server), Arc::clone(clock));
    tokio::spawn(async {
        tokio::join!(issuers, authorizers, encryption);
    })
}

/// With the flag whose value is at fault.
fn named(args: &ApiserverArgs, error: anyhow::Error) -> anyhow::Error {
    match (&args.token_auth_file, error.downcast_ref()) {
        (Some(path), Some(ConfigError::BadTokenLine { .. })) => {
            error.context(format!("cannot use --token-auth-file {}", path.display()))
        }
        (_, Some(ConfigError::BadHeaderName { .. })) => {
            error.context("cannot use a flag --requestheader-…-headers")
        }
        _ => error,
    }
}

/// Front proxies as the flags say; without a CA of theirs, this server has one of its own for those
/// that learn from it whom to believe, and believes nobody by it.
fn front_proxy(
    args: &ApiserverArgs,
    client_ca: &[u8],
    own_ca: impl FnOnce() -> Result<String>,
) -> Result<FrontProxyConfig> {
    let Some(path) = &args.requestheader_client_ca_file else {
        return Ok(FrontProxyConfig::of_kubeadm(own_ca()?));
    };
    let flag = "--requestheader-client-ca-file";
    let bundle = read(path, flag)?;
    let proxies = TrustBundle::from_pem(&bundle).with_context(|| {
        format!(
            "{flag} {}: put the certificates of the authorities of front proxies there, PEM",
            path.display()
        )
    })?;
    let clients = TrustBundle::from_pem(client_ca)?;
    let is_shared = |proxy: &Leaf| {
        clients
            .anchors()
            .iter()
            .any(|ca| ca.public_key() == proxy.public_key())
    };
    if args.requestheader_allowed_names.is_empty() && proxies.anchors().iter().any(is_shared) {
        return Err(UsageError(format!(
            "{flag} {} and --client-ca-file have an authority in common, so any client could speak for anybody: give \
             front proxies a CA of their own, or name them with --requestheader-allowed-names",
            path.display()
        ))
        .into());
    }
    Ok(FrontProxyConfig {
        ca_pem: String::from_utf8_lossy(&bundle).into_owned(),
        allowed_names: args.requestheader_allowed_names.clone(),
        username_headers: args.requestheader_username_headers.clone(),
        uid_headers: args.requestheader_uid_headers.clone(),
        group_headers: args.requestheader_group_headers.clone(),
        extra_prefixes: args.requestheader_extra_headers_prefix.clone(),
        is_believed: true,
    })
}

/// Whose tokens of service accounts are made and believed. The keys are read once, as
/// kube-apiserver does.
fn service_accounts(args: &ApiserverArgs, dir: &DataDir) -> Result<ServiceAccountConfig> {
    let own = dir.path(SERVICE_ACCOUNT_KEY);
    let signing_key = match &args.service_account_signing_key_file {
        Some(path) => Some(signing_key(path)?),
        None if own.exists() => Some(signing_key(&own)?),
        None => None,
    };
    check_issuer(&args.service_account_issuer)?;
    let mut verification_keys = Vec::new();
    for path in &args.service_account_key_file {
        let text = read(path, "--service-account-key-file")?;
        let keys = public_keys(&text)
            .with_context(|| format!("--service-account-key-file {}", path.display()))?;
        verification_keys.extend(keys);
    }
    Ok(ServiceAccountConfig {
        issuer: args.service_account_issuer.clone(),
        audiences: args.api_audiences.clone(),
        signing_key: signing_key.map(Arc::new),
        verification_keys,
    })
}

/// As kube-apiserver: with a colon it must be a URL, without it may be any word (Kubernetes:
/// `pkg/kubeapiserver/options/authentication.go`).
fn check_issuer(issuer: &str) -> Result<(), UsageError> {
    let is_good = match issuer.split_once(':') {
        None => !issuer.is_empty(),
        // RFC 3986 section 3.1.
        Some((scheme, rest)) => {
            let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-');
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(is_letter)
                && !rest.contains(|c: char| c.is_control() || c.is_whitespace())
        }
    };
    if is_good {
        return Ok(());
    }
    Err(UsageError(format!(
        "--service-account-issuer {issuer:?}: write a URL such as {}, or a word without a colon",
        server::SERVICE_ACCOUNT_ISSUER
    )))
}

fn signing_key(path: &Path) -> Result<PrivateKey> {
    let flag = "--service-account-signing-key-file";
    let text = read(path, flag)?;
    PrivateKey::from_pem(&String::from_utf8_lossy(&text))
        .with_context(|| format!("cannot sign tokens with {} ({flag})", path.display()))
}

/// The public keys of a PEM text, and the public halves of its private keys.
fn public_keys(text: &[u8]) -> Result<Vec<PublicKey>> {
    let mut keys = Vec::new();
    for block in pem::blocks(text) {
        if block.label == "PUBLIC KEY" {
            keys.push(PublicKey::from_spki_der(&block.der)?);
        } else if block.label.ends_with("PRIVATE KEY") {
            let der = Zeroizing::new(block.der);
            keys.push(PrivateKey::from_der(&der)?.public_key().clone());
        }
    }
    if keys.is_empty() {
        bail!("no PEM block PUBLIC KEY or PRIVATE KEY in it");
    }
    Ok(keys)
}

/// A file that a flag names, or a pipe.
fn read(path: &Path, flag: &str) -> Result<Zeroizing<Vec<u8>>> {
    input::read(path, FILE_BYTES_MAX).with_context(|| {
        format!(
            "cannot read {} ({flag}); `everleaf up` makes these files, or name your own",
            path.display()
        )
    })
}

/// The text of `--token-auth-file`.
fn token_lines(path: &Path) -> Result<Zeroizing<String>> {
    let unreadable = || format!("cannot read --token-auth-file {}", path.display());
    let bytes = input::read(path, FILE_BYTES_MAX).with_context(unreadable)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| anyhow!("it is not UTF-8"));
    Ok(Zeroizing::new(text.with_context(unreadable)?.to_owned()))
}

/// Where the objects are, by the flags.
fn storage(
    args: &ApiserverArgs,
    directory: PathBuf,
    encryption: Option<&EncryptionFile>,
) -> Result<Storage> {
    let quota = args.storage.storage_quota_bytes;
    Storage::of(etcd::of(&args.etcd)?, (directory, quota), encryption)
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::KeyAlgorithm;

    #[test]
    fn keys_are_read_whichever_half_is_given() {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let public = pem::encode("PUBLIC KEY", key.public_key().spki_der());
        let both = format!("# two\n{public}{}", &*key.to_pem());
        let keys = public_keys(both.as_bytes()).unwrap();
        assert_eq!(keys, [key.public_key().clone(), key.public_key().clone()]);
        assert!(public_keys(b"nothing").is_err());
    }

    #[test]
    fn an_issuer_with_a_colon_is_a_url() {
        for (issuer, good) in [
            ("https://kubernetes.default.svc", true),
            ("kubernetes/serviceaccount", true),
            ("https://a/b?c", true),
            ("urn:a:b", true),
            ("", false),
            ("not a url:", false),
            ("a:b c", false),
            ("10.0.0.1:6443", false),
        ] {
            assert_eq!(check_issuer(issuer).is_ok(), good, "{issuer}");
        }
    }
}
