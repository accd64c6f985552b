//! Acting as somebody else: `Impersonate-*` headers, each item authorized for the real user
//! (`apiserver/pkg/endpoints/filters/impersonation`).
//!
//! There are several ways, tried in turn. The constrained ones ask for the right to do this very
//! request so (`impersonate-on:MODE:VERB`) and for the right to be that user so
//! (`impersonate:MODE`). The last one is that of old: who may `impersonate` may do all that the
//! other may. When all refuse, what was asked first is told.

mod headers;
mod mode;
#[cfg(test)]
mod tests;

pub(super) use self::headers::extra_key;

use self::mode::{Impersonator, Mode};
use crate::{
    authz::{Attributes, Authorizer},
    objects::Objects,
    user::User,
};
use everleaf_api::Status;
use http::HeaderMap;
use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

/// Users whose last way is remembered; one more, and all are forgotten. That costs nothing but a
/// few questions.
const REMEMBERED_MAX: usize = 10_000;

/// Whom somebody acts as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impersonated {
    /// The other identity.
    pub user: User,
    /// The verb of the constrained way that allowed it; "" for the one of old.
    pub constraint: String,
}

/// Impersonation, with a memory of what served each user last: that is tried first and told first,
/// as upstream.
pub struct Impersonation {
    modes: &'static [Mode],
    last: Mutex<HashMap<String, Mode>>,
}

impl Impersonation {
    /// In all ways, or, without the constrained ones, in that of old.
    pub fn new(is_constrained: bool) -> Self {
        let modes: &[Mode] = match is_constrained {
            true => &Mode::ALL,
            false => &[Mode::Legacy],
        };
        Self {
            modes,
            last: Mutex::default(),
        }
    }

    /// Whom the `Impersonate-*` headers name, when the user of `request` may make it as them; None
    /// when they name nobody. 400 for malformed headers, 403 when refused.
    pub fn effective(
        &self,
        headers: &HeaderMap,
        request: &Attributes<'_>,
        authorizer: &Authorizer,
        objects: &dyn Objects,
    ) -> Result<Option<Impersonated>, Status> {
        let Some(wanted) = headers::wanted(headers)? else {
            return Ok(None);
        };
        let impersonator = Impersonator {
            wanted: &wanted,
            request,
            authorizer,
            objects,
        };
        let last = self.last(&request.user.name);
        let all = self.modes.iter().copied();
        let others = all.filter(|mode| Some(*mode) != last);
        let mut first_refusal = None;
        for mode in last.into_iter().chain(others) {
            if !mode.suits(&wanted, request.user) {
                continue;
            }
            match impersonator.become_by(mode) {
                Ok(user) => {
                    if last != Some(mode) {
                        self.remember(&request.user.name, mode);
                    }
                    let constraint = mode.constraint();
                    return Ok(Some(Impersonated { user, constraint }));
                }
                Err(refusal) => first_refusal = first_refusal.or(Some(refusal)),
            }
        }
        Err(first_refusal.unwrap_or_else(|| Status::internal("no way of impersonation fits")))
    }

    fn last(&self, name: &str) -> Option<Mode> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(name).copied()
    }

    fn remember(&self, name: &str, mode: Mode) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= REMEMBERED_MAX {
            last.clear();
        }
        last.insert(name.to_owned(), mode);
    }
}

impl Default for Impersonation {
    fn default() -> Self {
        Self::new(true)
    }
}

impl fmt::Debug for Impersonation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Impersonation")
    }
}
