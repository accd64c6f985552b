//! The headers that tell a server who asks, and as whom.

use super::access::{Access, Identity};
use super::failure::Failure;
use crate::kubeconfig::{Impersonation, Login};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

const AS_USER: HeaderName = HeaderName::from_static("impersonate-user");
const AS_UID: HeaderName = HeaderName::from_static("impersonate-uid");
const AS_GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const AS_EXTRA: &str = "impersonate-extra-";

/// What the name of a header cannot hold as it is: all but RFC 9110's `tchar`, and the percent sign
/// of the escapes (Kubernetes: `staging/src/k8s.io/client-go/transport/round_trippers.go`,
/// `shouldEscape`).
const NOT_IN_A_NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'*')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Says in `headers` who asks, unless the handshake does, and as whom he acts.
pub(super) fn introduce(access: &Access, headers: &mut HeaderMap) -> Result<(), Failure> {
    let credential = match &access.identity {
        Identity::Token(token) => Some(("token", format!("Bearer {}", token.expose()))),
        Identity::Basic(login) => Some(("user or password", basic(login))),
        Identity::Certificate(_) | Identity::Exec(_) | Identity::Anonymous => None,
    };
    if let Some((what, text)) = credential {
        let mut value = value(&Zeroizing::new(text), what)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    match &access.impersonation {
        None => Ok(()),
        Some(somebody) => act_as(somebody, headers),
    }
}

fn act_as(somebody: &Impersonation, headers: &mut HeaderMap) -> Result<(), Failure> {
    headers.insert(AS_USER, value(&somebody.user, "user to act as (as)")?);
    if let Some(uid) = &somebody.uid {
        headers.insert(AS_UID, value(uid, "as-uid")?);
    }
    for group in &somebody.groups {
        headers.append(AS_GROUP, value(group, "as-groups")?);
    }
    for (name, values) in &somebody.extra {
        let name = utf8_percent_encode(name, NOT_IN_A_NAME);
        let header = HeaderName::try_from(format!("{AS_EXTRA}{name}"))
            .map_err(|_| unfit("as-user-extra"))?;
        for text in values {
            headers.append(header.clone(), value(text, "as-user-extra")?);
        }
    }
    Ok(())
}

/// RFC 7617.
pub(super) fn basic(Login { user, password }: &Login) -> String {
    let both = Zeroizing::new(format!("{}:{}", user.expose(), password.expose()));
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(both.as_bytes()));
    format!("Basic {}", *encoded)
}

fn value(text: &str, what: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| unfit(what))
}

fn unfit(what: &str) -> Failure {
    Failure::unreachable(format!(
        "the {what} of the kubeconfig holds characters that no header may"
    ))
}
