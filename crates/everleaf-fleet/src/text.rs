//! Times as JSON and people have them.

use everleaf_api::duration::span;
use everleaf_api::meta;
use jiff::Timestamp;
use serde::Serializer;

pub(crate) fn time<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&meta::format_time(*at))
}

pub(crate) fn maybe<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// An instant in a sentence, to the minute.
pub(crate) fn minute(at: Timestamp) -> String {
    let text = meta::format_time(at);
    match text.get(..16) {
        Some(minute) => format!("{}Z", minute.replace('T', " ")),
        None => text,
    }
}

/// How long ago, or how long until.
pub(crate) fn apart(one: Timestamp, other: Timestamp) -> String {
    span(one.duration_since(other).unsigned_abs())
}
