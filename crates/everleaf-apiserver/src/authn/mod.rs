//! Who is this? Front proxies, client certificates, static tokens, tokens of service accounts,
//! bootstrap tokens, and anonymous as the last resort; then, as a step of its own, impersonation.
//!
//! The methods form a union: an error of one does not stop another from accepting. When nobody
//! accepts, a credential that was shown and found bad is 401; it never becomes anonymous
//! (`apiserver/pkg/authentication/request/union`). This module refuses to know what anybody may do,
//! except that impersonation asks.

mod bootstrap_token;
mod front_proxy;
mod impersonation;
mod jws;
pub mod jwt;
mod refusals;
mod revocation;
mod service_account;
mod static_token;
mod x509;

use self::front_proxy::FrontProxies;
use self::jwt::{Issuers, JwtConfig};
use self::refusals::{COUNTED_AS, Refusals, clipped};
use self::revocation::Revoked;
use self::service_account::ServiceAccounts;
use self::static_token::StaticTokens;
use self::x509::ClientCa;
use crate::late_reissue::{self, Policy};
use crate::objects::Objects;
use crate::user::User;
use arc_swap::{ArcSwap, ArcSwapOption};
use everleaf_api::Status;
use everleaf_observe::text::{Kind, Text};
use everleaf_pki::trust::BundleError;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

pub use self::front_proxy::FrontProxyConfig;
pub use self::impersonation::{Impersonated, Impersonation};
pub use self::service_account::ServiceAccountConfig;
pub(crate) use self::service_account::{Binding, Claims, Reference};
pub(crate) use self::x509::{CREDENTIAL_ID, credential_id};

/// What the transport knows about the other side.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Where it connects from; None for a caller inside this process.
    pub address: Option<IpAddr>,
    /// Certificates the client presented (leaf first, DER); possession of the key was checked by
    /// TLS, nothing else.
    pub certificates: Arc<Vec<Vec<u8>>>,
    /// A caller inside this process. Private constructor: no header can make one.
    pub in_process: Option<InProcessIdentity>,
}

/// Identity of an in-process caller.
#[derive(Debug, Clone)]
pub struct InProcessIdentity {
    user: User,
}

impl InProcessIdentity {
    /// Only the server's in-process door makes one.
    pub(crate) fn new(user: User) -> Self {
        Self { user }
    }
    /// The identity.
    pub fn user(&self) -> &User {
        &self.user
    }
}

/// What a server accepts as proof of identity.
#[derive(Default)]
pub struct Config {
    /// PEM bundle of the authorities whose client certificates are believed; empty = x509 is off.
    pub client_ca_pem: Vec<u8>,
    /// Front proxies, for this server and for those who learn from it whom to believe
    /// ([`Authenticator::published`]); None = there are none.
    pub front_proxy: Option<FrontProxyConfig>,
    /// Text of a `--token-auth-file`: `token,user,uid[,"group1,group2"]` per line; empty = none.
    pub token_auth_csv: String,
    /// Tokens of service accounts; None = they are neither made nor believed.
    pub service_accounts: Option<ServiceAccountConfig>,
    /// `--enable-bootstrap-token-auth`.
    pub bootstrap_tokens: bool,
    /// `--anonymous-auth`: a request without any credential is `system:anonymous`.
    pub anonymous: bool,
    /// Issuers of tokens besides this server; what it says of anonymous goes before `anonymous`.
    pub jwt: JwtConfig,
    /// Which nodes may come back whose certificate has ended; None: none.
    pub late_reissue: Option<Policy>,
}

/// Says which methods are on; never a token.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("x509", &!self.client_ca_pem.is_empty())
            .field("front_proxy", &self.front_proxy.is_some())
            .field("static_tokens", &!self.token_auth_csv.is_empty())
            .field("service_accounts", &self.service_accounts.is_some())
            .field("bootstrap_tokens", &self.bootstrap_tokens)
            .field("anonymous", &self.anonymous)
            .field("issuers", &self.jwt.issuers.len())
            .field("late_reissue", &self.late_reissue)
            .finish()
    }
}

/// Why a configuration is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The client CA bundle cannot be read, or is not empty but holds no certificate.
    #[error("client CA bundle: {0}")]
    BadClientCa(BundleError),
    /// The bundle of front proxies' authorities, likewise.
    #[error("front proxy CA bundle: {0}")]
    BadFrontProxyCa(BundleError),
    /// A header in which front proxies were to tell something.
    #[error("{name:?} cannot be the name of a header")]
    BadHeaderName {
        /// What was given.
        name: String,
    },
    /// A key of service-account tokens cannot be used.
    #[error("service account key: {fault}")]
    BadServiceAccountKey {
        /// What is wrong.
        fault: String,
    },
    /// A line of the token file.
    #[error("token file: line {line}: {reason}")]
    BadTokenLine {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Configured methods.
#[derive(Default)]
pub struct Authenticator {
    client_ca: ArcSwapOption<ClientCa>,
    /// Counts the bundles of client CAs that were in force.
    client_ca_revision: AtomicU64,
    refused_certificates: Refusals,
    revoked: Revoked,
    front_proxy: Option<FrontProxyConfig>,
    front_proxies: Option<FrontProxies>,
    static_tokens: StaticTokens,
    service_accounts: Option<ServiceAccounts>,
    bootstrap_tokens: bool,
    anonymous: bool,
    issuers: ArcSwap<Issuers>,
    issuers_changed: Notify,
    refused_tokens: Refusals,
    late_reissue: Option<Policy>,
}

/// What components that delegate authentication to this server read of it, in the ConfigMap
/// [`EXTENSION_APISERVER_AUTHENTICATION`](crate::bootstrap::EXTENSION_APISERVER_AUTHENTICATION).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Bundle of the authorities whose client certificates are believed; "" for none.
    pub client_ca_pem: String,
    /// Front proxies; None: there are none.
    pub front_proxy: Option<FrontProxyConfig>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("x509", &self.client_ca.load().is_some())
            .field("static_tokens", &!self.static_tokens.is_empty())
            .field("service_accounts", &self.service_accounts.is_some())
            .field("bootstrap_tokens", &self.bootstrap_tokens)
            .field("anonymous", &self.anonymous)
            .field("issuers", &!self.issuers.load().is_empty())
            .finish()
    }
}

impl Authenticator {
    /// Builds the methods.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let authenticator = Self {
            client_ca: ArcSwapOption::empty(),
            client_ca_revision: AtomicU64::new(0),
            refused_certificates: Refusals::default(),
            revoked: Revoked::default(),
            front_proxies: match &config.front_proxy {
                Some(proxies) if proxies.is_believed => Some(FrontProxies::new(proxies)?),
                _ => None,
            },
            front_proxy: config.front_proxy,
            static_tokens: StaticTokens::from_csv(&config.token_auth_csv)?,
            service_accounts: config
                .service_accounts
                .map(ServiceAccounts::new)
                .transpose()?,
            bootstrap_tokens: config.bootstrap_tokens,
            anonymous: config.anonymous,
            issuers: ArcSwap::from_pointee(Issuers::new(config.jwt, &Issuers::default())),
            issuers_changed: Notify::new(),
            refused_tokens: Refusals::default(),
            late_reissue: config.late_reissue,
        };
        authenticator.set_client_ca(&config.client_ca_pem)?;
        Ok(authenticator)
    }

    /// Replaces the client CA bundle (renewal, reload); connections already open are judged by it
    /// from now on. On error the old bundle stays.
    pub fn set_client_ca(&self, pem: &[u8]) -> Result<(), ConfigError> {
        let client_ca = match pem {
            [] => None,
            pem => Some(Arc::new(
                ClientCa::from_pem(pem).map_err(ConfigError::BadClientCa)?,
            )),
        };
        self.client_ca.store(client_ca);
        self.client_ca_revision.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Changes whenever the client CA bundle does.
    pub(crate) fn client_ca_revision(&self) -> u64 {
        self.client_ca_revision.load(Ordering::Acquire)
    }

    /// Replaces the issuers of tokens, and who needs no credential; the keys of issuers that stay
    /// are kept.
    pub fn set_jwt(&self, config: JwtConfig) {
        let issuers = Issuers::new(config, &self.issuers.load());
        self.issuers.store(Arc::new(issuers));
        self.issuers_changed.notify_one();
    }

    fn issuers(&self) -> Arc<Issuers> {
        self.issuers.load_full()
    }

    /// Waits until there are other issuers.
    async fn issuers_change(&self) {
        self.issuers_changed.notified().await;
    }

    /// Is a request to `path` let in without any credential?
    fn allows_anonymous(&self, path: &str) -> bool {
        match &self.issuers.load().anonymous {
            Some(anonymous) => anonymous.allows(path),
            None => self.anonymous,
        }
    }

    /// Whether the certificate that `peer` came with has been revoked.
    pub(crate) fn has_revoked(&self, peer: &Peer, objects: &dyn Objects) -> bool {
        let leaf = peer.certificates.first();
        leaf.is_some_and(|leaf| self.revoked.refuses(leaf, objects).is_some())
    }

    /// Changes whenever other certificates are revoked; what changed is told.
    pub(crate) fn revocations_revision(&self, objects: &dyn Objects, now: Timestamp) -> u64 {
        self.revoked.look(objects, now)
    }

    /// The bundle in force, PEM; "" when x509 is off.
    pub fn client_ca_pem(&self) -> String {
        self.client_ca
            .load()
            .as_ref()
            .map_or_else(String::new, |ca| ca.pem())
    }

    /// What others may read of it.
    pub fn published(&self) -> Published {
        Published {
            client_ca_pem: self.client_ca_pem(),
            front_proxy: self.front_proxy.clone(),
        }
    }

    /// Subjects of the client CAs, and of front proxies' that are believed, for the TLS
    /// CertificateRequest: Go clients pick their certificate by it.
    pub fn client_ca_subjects(&self) -> Vec<rustls::DistinguishedName> {
        let clients = self.client_ca.load();
        let mut subjects = clients.as_ref().map_or_else(Vec::new, |ca| ca.subjects());
        subjects.extend(self.front_proxies.iter().flat_map(FrontProxies::subjects));
        subjects
    }

    /// The real identity behind a request to `path`. 401 for a presented but bad credential, or for
    /// none when anonymous is off there. The caller then strips `Authorization`, and asks
    /// [`Impersonation::effective`] for the effective identity.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        path: &str,
        peer: &Peer,
        objects: &dyn Objects,
        now: Timestamp,
    ) -> Result<User, Status> {
        if let Some(identity) = &peer.in_process {
            return Ok(identity.user.clone().into_authenticated());
        }
        let mut refused = false;
        let mut no_proxy = None;
        let mut certificates = peer.certificates.split_first();
        if let Some((leaf, _)) = certificates
            && let Some(by) = self.revoked.refuses(leaf, objects)
        {
            self.tell_refused(leaf, &x509::Refusal::Revoked(by), now);
            refused = true;
            certificates = None;
        }
        if let (Some(proxies), Some((leaf, intermediates))) = (&self.front_proxies, certificates) {
            match proxies.authenticate(headers, leaf, intermediates, now) {
                Ok(Some(user)) => return Ok(user.into_authenticated()),
                Ok(None) => {}
                // Perhaps somebody who comes for himself, whatever the headers say.
                Err(error) => no_proxy = Some((leaf, error)),
            }
        }
        if let (Some(ca), Some((leaf, intermediates))) = (self.client_ca.load_full(), certificates)
        {
            match ca.authenticate(leaf, intermediates, now) {
                Ok(Some(user)) => return Ok(user.into_authenticated()),
                Ok(None) => {}
                Err(error) => {
                    if let Some(user) = self.late_user(&ca, (leaf, intermediates), path, now) {
                        return Ok(user);
                    }
                    let no_proxy = no_proxy.take().map(|(_, error)| error);
                    self.tell_refused(leaf, &no_proxy.unwrap_or(error), now);
                    refused = true;
                }
            }
        }
        match bearer_token(headers) {
            Bearer::None => {}
            Bearer::Unreadable => refused = true,
            Bearer::Token(token) => match self.user_of_token(token, path, objects, now) {
                Some(user) => return Ok(user),
                None => refused = true,
            },
        }
        if let Some((leaf, error)) = no_proxy {
            self.tell_refused(leaf, &error, now);
            refused = true;
        }
        if !refused && self.allows_anonymous(path) {
            return Ok(User::anonymous());
        }
        Err(Status::unauthorized())
    }

    /// Which nodes may come back whose certificate has ended.
    pub(crate) fn late_reissue(&self) -> Option<&Policy> {
        self.late_reissue.as_ref()
    }

    /// The node whose certificate was good until it ended, where that is asked for and nowhere
    /// else. It is no member of any group that others know, and not taken for authenticated.
    fn late_user(
        &self,
        ca: &ClientCa,
        (leaf, intermediates): (&[u8], &[Vec<u8>]),
        path: &str,
        now: Timestamp,
    ) -> Option<User> {
        self.late_reissue.filter(|_| path == late_reissue::PATH)?;
        let ended = everleaf_pki::Leaf::from_der(leaf).ok()?.not_after();
        if ended >= now {
            return None;
        }
        let user = ca.authenticate(leaf, intermediates, ended).ok()??;
        user.node_name()?;
        Some(User {
            groups: vec![late_reissue::EXPIRED_NODES.to_owned()],
            ..user
        })
    }

    /// The user of a bearer token that is shown at this path.
    fn user_of_token(
        &self,
        token: &str,
        path: &str,
        objects: &dyn Objects,
        now: Timestamp,
    ) -> Option<User> {
        let late = self
            .late_reissue
            .and_then(|_| late_reissue::token_user(token, path, objects, now));
        match late {
            Some(user) => Some(user.into_authenticated()),
            None => self.authenticate_token(token, objects, now),
        }
    }

    /// Tells whose certificate was refused, and why: its holder only ever sees a 401.
    fn tell_refused(&self, leaf: &[u8], refusal: &x509::Refusal, now: Timestamp) {
        let digest = x509::digest_of_all(leaf, &[]);
        let reason = refusal.reason();
        let certificates = &self.refused_certificates;
        certificates.tell((digest, now), reason, "certificates", || {
            let refusal = clipped(&refusal.to_string());
            format!(
                "a client certificate is refused{}: {refusal}",
                x509::whose(leaf)
            )
        });
    }

    /// Judges a bearer token alone, shown to this server: None when no method accepts it.
    pub fn authenticate_token(
        &self,
        token: &str,
        objects: &dyn Objects,
        now: Timestamp,
    ) -> Option<User> {
        self.review_token(token, &[], objects, now)
            .map(|(user, _)| user)
    }

    /// Judges a token that was shown to somebody who answers to `audiences` (empty: to this
    /// server), and says to which of them it is good. Only tokens of service accounts are meant for
    /// somebody; the others are good here alone
    /// (`apiserver/pkg/authentication/authenticator/audagnostic.go`).
    pub fn review_token(
        &self,
        token: &str,
        audiences: &[String],
        objects: &dyn Objects,
        now: Timestamp,
    ) -> Option<(User, Vec<String>)> {
        let own = self.audiences();
        let audiences = if audiences.is_empty() { own } else { audiences };
        let (user, meant) = match &self.service_accounts {
            Some(accounts) => match accounts.authenticate(token, audiences, objects, now) {
                Ok((user, meant)) => (Some(user), meant),
                Err(refusal) => {
                    tracing::debug!(%refusal, "token refused");
                    (None, Vec::new())
                }
            },
            None => (None, Vec::new()),
        };
        if let Some(user) = user {
            return Some((user.into_authenticated(), meant));
        }
        let here = |audience: &&String| own.contains(audience);
        let meant: Vec<String> = audiences.iter().filter(here).cloned().collect();
        if meant.is_empty() && !audiences.is_empty() {
            return None;
        }
        let user = self
            .static_tokens
            .user(token)
            .or_else(|| self.bootstrap_user(token, objects, now))
            .or_else(|| self.foreign_user(token, now));
        Some((user?.into_authenticated(), meant))
    }

    fn bootstrap_user(&self, token: &str, objects: &dyn Objects, now: Timestamp) -> Option<User> {
        if !self.bootstrap_tokens {
            return None;
        }
        match bootstrap_token::authenticate(token, objects, now) {
            Ok(user) => Some(user),
            Err(refusal) => {
                tracing::debug!(%refusal, "bootstrap token refused");
                None
            }
        }
    }

    /// The user behind a token of another issuer. Why one of a known issuer is refused is told: its
    /// holder only ever sees a 401.
    fn foreign_user(&self, token: &str, now: Timestamp) -> Option<User> {
        let refusal = match self.issuers.load().authenticate(token, now) {
            Ok(user) => return Some(user),
            Err(refusal) => refusal,
        };
        if let jwt::Refusal::Bad { fault, .. } = &refusal {
            let digest = x509::digest_of_all(token.as_bytes(), &[]);
            let reason = fault.reason.as_str();
            self.refused_tokens
                .tell((digest, now), reason, "tokens", || {
                    format!("refused: {}", clipped(&refusal.to_string()))
                });
        }
        None
    }

    /// To be awaited before a request is judged: newer keys are had when its token seems to be
    /// signed by them.
    pub(crate) async fn freshen(&self, headers: &HeaderMap, peer: &Peer) {
        if peer.in_process.is_some() {
            return;
        }
        if let Bearer::Token(token) = bearer_token(headers) {
            self.freshen_for(token, &[]).await;
        }
    }

    /// To be awaited before [`Self::review_token`], likewise: whoever asks about a token learns
    /// what its holder would.
    pub(crate) async fn freshen_for(&self, token: &str, audiences: &[String]) {
        if self.issuers.load().is_empty() || !self.is_good_here(audiences) {
            return;
        }
        self.issuers().freshen(token).await;
    }

    /// May tokens that are not of service accounts be good to one of `audiences`?
    fn is_good_here(&self, audiences: &[String]) -> bool {
        let own = self.audiences();
        audiences.is_empty() || audiences.iter().any(|audience| own.contains(audience))
    }

    /// What it counts.
    pub(crate) fn write_metrics(&self, text: &mut Text) {
        let help = "Credentials that were refused, by what they were and why.";
        let mut family = text.family(COUNTED_AS, Kind::Counter, help);
        for (credential, refusals) in [
            ("client_certificate", &self.refused_certificates),
            ("token", &self.refused_tokens),
        ] {
            for (reason, count) in refusals.counts() {
                family.count(&[("credential", credential), ("reason", reason)], count);
            }
        }
    }

    /// As whom this server reads tokens; empty when it knows no service accounts.
    pub(crate) fn audiences(&self) -> &[String] {
        self.service_accounts
            .as_ref()
            .map_or(&[], ServiceAccounts::audiences)
    }

    /// What others need to read tokens of service accounts without asking: the provider document,
    /// which says that the keys are at `keys_url`, and the keys. None when this server knows no
    /// service accounts.
    pub(crate) fn issuer_documents(&self, keys_url: &str) -> Option<[serde_json::Value; 2]> {
        let accounts = self.service_accounts.as_ref()?;
        Some([accounts.provider_document(keys_url), accounts.key_set()])
    }

    /// Signs a token for a service account; None when there is no key to sign with.
    pub(crate) fn issue_token(&self, claims: &Claims) -> Option<Result<String, String>> {
        self.service_accounts.as_ref()?.issue(claims)
    }
}

enum Bearer<'a> {
    /// No header, another scheme, or an empty token: no credential at all.
    None,
    /// A header that no method can read.
    Unreadable,
    Token(&'a str),
}

/// The bearer token of the first `Authorization` header. The scheme word is case-insensitive; what
/// follows a blank after the token is ignored (`apiserver/pkg/authentication/request/bearertoken`).
fn bearer_token(headers: &HeaderMap) -> Bearer<'_> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Bearer::None;
    };
    let bytes = value.as_bytes().trim_ascii();
    let (scheme, rest) = match bytes.iter().position(|&byte| byte == b' ') {
        Some(blank) => (&bytes[..blank], &bytes[blank + 1..]),
        None => return Bearer::None,
    };
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Bearer::None;
    }
    let token = rest.split(|&byte| byte == b' ').next().unwrap_or_default();
    match std::str::from_utf8(token) {
        Ok("") => Bearer::None,
        Ok(token) => Bearer::Token(token),
        Err(_) => Bearer::Unreadable,
    }
}

#[cfg(test)]
mod tests;
