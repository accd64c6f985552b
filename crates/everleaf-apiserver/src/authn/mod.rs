//! Who is this? x509, static tokens, bootstrap tokens, anonymous; then the group adder and impersonation.
use crate::{objects::Objects, user::User};
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

/// Configured methods. (Owner: security.)
#[derive(Debug, Default)]
pub struct Authenticator(());
impl Authenticator {
    /// The identity behind a request after impersonation. 401 for a presented but bad credential; 403 for refused impersonation.
    pub fn authenticate(
        &self,
        _headers: &http::HeaderMap,
        _peer: &Peer,
        _objects: &dyn Objects,
        _now: Timestamp,
    ) -> Result<User, Status> {
        unimplemented!()
    }
}
