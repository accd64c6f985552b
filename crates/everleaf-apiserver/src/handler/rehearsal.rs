//! What would become of a request: who asks, and whether they may, decided as for one that is made.
//!
//! Whoever serves something beside the API asks here whom to show it. Nothing is read, counted
//! against limits, or told to the audit log, for nothing was asked of the API.

use super::query::Query;
use super::route::Target;
use super::{Judges, Server};
use crate::authn::Peer;
use crate::user::{ANONYMOUS, User};
use everleaf_api::Status;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{HeaderMap, Method, Request};
use jiff::Timestamp;
use std::fmt;

/// What somebody outside came with: what the transport saw, or a bearer token.
#[derive(Clone)]
pub struct Credential {
    pub(crate) peer: Peer,
    pub(crate) authorization: Option<HeaderValue>,
}

/// Why somebody would not be served.
#[derive(Debug, Clone, PartialEq)]
pub enum NotAdmitted {
    /// They came with nothing that proves anything.
    Stranger,
    /// What they came with is not believed, or not any more (401).
    Unproven,
    /// They may not (403): who they are, and the server's words.
    Forbidden(Box<User>, Box<Status>),
    /// It cannot be decided: another status.
    Undecided(Box<Status>),
}

impl Credential {
    /// Of the other side of a connection. Identities that are given are none that it could have.
    pub fn of(peer: &Peer) -> Self {
        Self {
            peer: Peer {
                in_process: None,
                ..peer.clone()
            },
            authorization: None,
        }
    }

    /// Of a bearer token, and of nothing else that the other side of the connection shows; None: no
    /// token looks like this.
    pub fn of_token(peer: &Peer, token: &str) -> Option<Self> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(Self {
            peer: Peer {
                address: peer.address,
                ..Peer::default()
            },
            authorization: Some(value),
        })
    }

    fn headers(&self) -> HeaderMap {
        let token = self.authorization.clone();
        token
            .map(|token| (AUTHORIZATION, token))
            .into_iter()
            .collect()
    }
}

/// Never a token.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("certificates", &self.peer.certificates.len())
            .field("has_token", &self.authorization.is_some())
            .finish()
    }
}

impl Server {
    /// As whom this credential would be let in to GET each of `uris` (path and query) at `now`; for
    /// nobody is anonymous, whatever they may.
    ///
    /// # Errors
    /// They would not.
    pub async fn rehearse(
        &self,
        credential: &Credential,
        uris: &[&str],
        now: Timestamp,
    ) -> Result<User, NotAdmitted> {
        let mut known = None;
        for uri in uris {
            let mut request = Request::new(());
            *request.uri_mut() = uri.parse().map_err(|_| {
                let status = Status::bad_request(format!("{uri} is no path"));
                NotAdmitted::Undecided(Box::new(status))
            })?;
            *request.headers_mut() = credential.headers();
            let parts = request.into_parts().0;
            let judges = self.judges_for(&parts, &credential.peer, now).await;
            let Judges {
                known: user,
                authorizer,
            } = judges;
            let user = user.map_err(|status| match status.code {
                401 => NotAdmitted::Unproven,
                _ => NotAdmitted::Undecided(Box::new(status)),
            })?;
            if user.name == ANONYMOUS {
                return Err(NotAdmitted::Stranger);
            }
            let query = Query::parse(parts.uri.query().unwrap_or(""));
            let nothing = Query::default();
            let target = query.as_ref().unwrap_or(&nothing);
            let target = Target::parse(&Method::GET, parts.uri.path(), target);
            let verdict = self.may(&user, &parts, (&query, &target), &authorizer, None);
            if let Err(status) = verdict {
                return Err(match status.code {
                    403 => NotAdmitted::Forbidden(Box::new(user), Box::new(status)),
                    _ => NotAdmitted::Undecided(Box::new(status)),
                });
            }
            known = Some(user);
        }
        known.ok_or(NotAdmitted::Stranger)
    }
}
