//! Whom the headers name.

use crate::user::User;
use everleaf_api::Status;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

pub(super) const USER: HeaderName = HeaderName::from_static("impersonate-user");
pub(super) const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// Whom the headers name; None without any.
pub(super) fn wanted(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let mut wanted = User {
        name: single(headers, &USER)?.unwrap_or_default(),
        uid: single(headers, &UID)?.unwrap_or_default(),
        groups: headers
            .get_all(&GROUP)
            .iter()
            .map(|value| text(&GROUP, value))
            .collect::<Result<_, _>>()?,
        extra: BTreeMap::new(),
    };
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            let values = wanted.extra.entry(extra_key(key)).or_default();
            values.push(text(name, value)?);
        }
    }
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted == User::default() {
        return Ok(None);
    }
    Err(Status::bad_request(
        "impersonation: groups, extra or uid without a user; send Impersonate-User too",
    ))
}

/// Header names are lower case; what a key loses by that it keeps by percent-encoding. An
/// undecodable key is itself.
pub(in crate::authn) fn extra_key(key: &str) -> String {
    percent_decode_str(key)
        .decode_utf8()
        .map_or_else(|_| key.to_owned(), |decoded| decoded.into_owned())
}

/// The one value of a header. Two would be read differently by different proxies on the way, so
/// they are refused.
fn single(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Status> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| text(name, value)).transpose()?;
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Status::bad_request(format!(
            "impersonation: header {name} given more than once"
        ))),
    }
}

fn text(name: &HeaderName, value: &http::HeaderValue) -> Result<String, Status> {
    std::str::from_utf8(value.as_bytes())
        .map(str::to_owned)
        .map_err(|_| Status::bad_request(format!("impersonation: header {name} is not UTF-8")))
}
