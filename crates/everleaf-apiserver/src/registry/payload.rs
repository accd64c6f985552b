//! What Secrets and ConfigMaps have in common: keys with values, a size limit, `immutable`
//! (`pkg/apis/core/validation/validation.go`).

use everleaf_api::fields::{FieldError, quote};
use serde_json::Value;

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 253;
/// All keys and values together, in bytes, decoded: 1 MiB.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Checks the keys of `member` of an object.
pub(super) fn check_keys(object: &Value, member: &str, errors: &mut Vec<FieldError>) {
    for key in object[member]
        .as_object()
        .into_iter()
        .flat_map(|map| map.keys())
    {
        if let Err(text) = check_key(key) {
            let path = format!("{member}[{key}]");
            errors.push(FieldError::invalid(&path, &quote(key), &text));
        }
    }
}

fn check_key(key: &str) -> Result<(), String> {
    if key.len() > KEY_BYTES_MAX {
        return Err(format!("must be no more than {KEY_BYTES_MAX} bytes"));
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.is_empty() || !key.bytes().all(good) {
        return Err(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
             'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
             '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    match key {
        "." | ".." => Err(format!("must not be '{key}'")),
        _ if key.starts_with("..") => Err("must not start with '..'".to_owned()),
        _ => Ok(()),
    }
}

/// Checks the size of `text` (plain values) and `binary` (base64 values) members together.
pub(super) fn check_size(
    object: &Value,
    text: Option<&str>,
    binary: &str,
    errors: &mut Vec<FieldError>,
) {
    let members = |member: &str| object[member].as_object().into_iter().flatten();
    let length = |value: &Value| value.as_str().map_or(0, str::len);
    let mut bytes: usize = members(binary)
        .map(|(_, value)| decoded_length(value.as_str().unwrap_or("")))
        .sum();
    if let Some(text) = text {
        bytes += members(text).map(|(_, value)| length(value)).sum::<usize>();
        bytes += members(text).map(|(key, _)| key.len()).sum::<usize>();
    }
    if bytes > PAYLOAD_BYTES_MAX {
        // Text and binary values are of the object; upstream's path to it prints so.
        let path = if text.is_some() { "[]" } else { binary };
        errors.push(FieldError::too_long(path, PAYLOAD_BYTES_MAX));
    }
}

/// Bytes behind padded base64 text.
fn decoded_length(base64: &str) -> usize {
    let padding = base64
        .bytes()
        .rev()
        .take_while(|byte| *byte == b'=')
        .count();
    (base64.len() / 4 * 3).saturating_sub(padding)
}

/// What `immutable: true` forbids: to be unset, and changes of `members`.
pub(super) fn check_immutable(
    new: &Value,
    old: &Value,
    members: &[&str],
    errors: &mut Vec<FieldError>,
) {
    if old["immutable"] != Value::Bool(true) {
        return;
    }
    let mut forbid = |member: &str| {
        errors.push(FieldError::forbidden(
            member,
            "field is immutable when `immutable` is set",
        ));
    };
    if new["immutable"] != Value::Bool(true) {
        forbid("immutable");
    }
    for member in members
        .iter()
        .filter(|member| new[**member] != old[**member])
    {
        forbid(member);
    }
}

/// Number of entries of some members together: the Data column.
pub(super) fn entries(object: &Value, members: &[&str]) -> Value {
    let count = |member: &&str| object[*member].as_object().map_or(0, serde_json::Map::len);
    members.iter().map(count).sum::<usize>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for good in ["a", "A.b-c_d", ".hidden", "a..b"] {
            assert_eq!(check_key(good), Ok(()), "{good}");
        }
        let long = "k".repeat(254);
        for bad in ["", ".", "..", "..a", "a b", "ü", "a/b", long.as_str()] {
            assert!(check_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lengths() {
        for (base64, bytes) in [("", 0), ("YQ==", 1), ("YWI=", 2), ("YWJj", 3)] {
            assert_eq!(decoded_length(base64), bytes, "{base64}");
        }
    }
}
