//! Who owns what a request writes: the manager by which it is known, and where it writes.

use super::Call;
use super::query::Query;
use crate::registry::Descriptor;
use everleaf_api::fields::is_printable;
use everleaf_api::managed::{self, Endpoint, Write};
use everleaf_api::meta;
use everleaf_api::schema::Type;
use http::HeaderMap;
use http::header::USER_AGENT;
use jiff::Timestamp;
use serde_json::Value;

/// The manager of what the server installs of its own accord, as upstream's.
pub(super) const SERVER: &str = "kube-apiserver";
/// Longest name of a manager, in bytes.
pub(super) const MANAGER_BYTES_MAX: usize = 128;

/// What a client calls itself: its `User-Agent` up to the first slash
/// (`apiserver/pkg/endpoints/handlers/create.go`: `prefixFromUserAgent`).
pub(super) fn agent(headers: &HeaderMap) -> String {
    let value = headers
        .get(USER_AGENT)
        .map_or(&b""[..], |value| value.as_bytes());
    let text = String::from_utf8_lossy(value);
    let mut name = String::new();
    for c in text.split('/').next().unwrap_or("").chars() {
        if !is_printable(c) {
            continue;
        }
        if name.len() + c.len_utf8() > MANAGER_BYTES_MAX {
            break;
        }
        name.push(c);
    }
    name
}

impl Call<'_> {
    /// See [`manager`].
    pub(super) fn manager(&self) -> &str {
        manager(self.query, self.agent)
    }

    /// Notes in `new`, decoded as it came, which of its fields this request owns.
    pub(super) fn track(&self, old: Option<&Value>, new: &mut Value) {
        let write = (self.manager(), self.now);
        track(self.descriptor, self.subresource, (old, new), write);
    }
}

/// The manager that a request names, else what the client calls itself.
pub(super) fn manager<'a>(query: &'a Query, agent: &'a str) -> &'a str {
    let named = query.value("fieldManager");
    named.filter(|name| !name.is_empty()).unwrap_or(agent)
}

/// The same for what is answered and never stored.
pub(super) fn track_review(
    r#type: &'static Type,
    review: &mut Value,
    (manager, now): (&str, Timestamp),
) {
    let now = meta::format_time(now);
    let write = Write { manager, now: &now };
    let endpoint = Endpoint {
        r#type,
        versions: &[],
        subresource: "",
        resets: &[],
    };
    managed::update(&endpoint, None, review, &write);
}

/// The same for whoever writes without a request.
pub(super) fn track(
    descriptor: &'static Descriptor,
    subresource: &str,
    (old, new): (Option<&Value>, &mut Value),
    (manager, now): (&str, Timestamp),
) {
    let now = meta::format_time(now);
    let write = Write { manager, now: &now };
    with_endpoint(descriptor, subresource, |endpoint| {
        managed::update(endpoint, old, new, &write);
    });
}

/// Where a write of this resource goes.
pub(super) fn with_endpoint<T>(
    descriptor: &'static Descriptor,
    subresource: &str,
    write: impl FnOnce(&Endpoint<'_>) -> T,
) -> T {
    let stored = descriptor.stored();
    let versions: Vec<&'static Type> = descriptor.versions().map(|one| one.r#type).collect();
    write(&Endpoint {
        r#type: descriptor.r#type,
        versions: &versions,
        subresource,
        resets: (stored.resets)(subresource),
    })
}
