//! Who is this? x509, static tokens, bootstrap tokens, anonymous; then the group adder and impersonation.
use crate::{authz::Authorizer, objects::Objects, user::User};
use everleaf_api::Status;
use jiff::Timestamp;

/// What the transport knows about the other side.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Certificates the client presented (leaf first, DER); possession of the key was checked by TLS, nothing else.
    pub certificates: std::sync::Arc<Vec<Vec<u8>>>,
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
    /// Text of a `--token-auth-file`: `token,user,uid[,"group1,group2"]` per line; empty = none.
    pub token_auth_csv: String,
    /// `--enable-bootstrap-token-auth`.
    pub bootstrap_tokens: bool,
    /// `--anonymous-auth`: a request without any credential is `system:anonymous`.
    pub anonymous: bool,
}
/// Why a configuration is refused at start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// Configured methods.
#[derive(Debug, Default)]
pub struct Authenticator(());
impl Authenticator {
    /// Builds the methods.
    pub fn new(_config: Config) -> Result<Self, ConfigError> {
        unimplemented!()
    }
    /// Replaces the client CA bundle (renewal, reload); connections already open are judged by it from now on.
    pub fn set_client_ca(&self, _pem: &[u8]) -> Result<(), ConfigError> {
        unimplemented!()
    }
    /// The bundle in force, PEM; "" when x509 is off.
    pub fn client_ca_pem(&self) -> String {
        unimplemented!()
    }
    /// DER subjects of the client CAs, for the TLS CertificateRequest.
    pub fn client_ca_subjects(&self) -> Vec<Vec<u8>> {
        unimplemented!()
    }
    /// The real identity behind a request. 401 for a presented but bad credential, or for none when anonymous is off.
    /// The caller then strips `Authorization`, and asks [`impersonate`] for the effective identity.
    pub fn authenticate(
        &self,
        _headers: &http::HeaderMap,
        _peer: &Peer,
        _objects: &dyn Objects,
        _now: Timestamp,
    ) -> Result<User, Status> {
        unimplemented!()
    }
    /// Judges a bearer token alone (TokenReview): None when no method knows it.
    pub fn authenticate_token(
        &self,
        _token: &str,
        _objects: &dyn Objects,
        _now: Timestamp,
    ) -> Option<User> {
        unimplemented!()
    }
}
/// The effective identity: `real` itself, or whom its `Impersonate-*` headers name, when `real` may. 400 for malformed
/// headers, 403 when refused.
pub fn impersonate(
    _headers: &http::HeaderMap,
    _real: User,
    _authorizer: &Authorizer,
    _objects: &dyn Objects,
) -> Result<User, Status> {
    unimplemented!()
}
