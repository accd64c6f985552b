//! Whether a certificate is a server's of that name (RFC 6125, as Go's `VerifyHostname` reads it).
//!
//! Only alternative names count, never the common name. A wildcard stands for one whole first
//! label. Names that are no host names (Kubernetes has such) match only when they are equal, case
//! aside.

use crate::certificate::Leaf;
use std::net::IpAddr;

/// Whether `leaf` names `host`, a DNS name or an IP address; the address may stand in brackets.
pub(super) fn is_named(leaf: &Leaf, host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return leaf.ip_addresses().contains(&address.to_canonical());
    }
    let absolute = host.strip_suffix('.').unwrap_or(host);
    leaf.dns_names().iter().any(|name| {
        if is_host(absolute, false) && is_host(name, true) {
            matches(name, absolute)
        } else {
            !matches!(name.as_str(), "" | ".") && name.eq_ignore_ascii_case(host)
        }
    })
}

fn matches(pattern: &str, host: &str) -> bool {
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(parent), Some((_, of_host))) => parent.eq_ignore_ascii_case(of_host),
        (Some(_), None) => false,
        (None, _) => pattern.eq_ignore_ascii_case(host),
    }
}

/// Labels of letters, digits, underscores and dashes (not first); a pattern may begin with a `*`
/// label.
fn is_host(name: &str, is_pattern: bool) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let rest = match name.strip_prefix("*.") {
        Some(rest) if is_pattern => rest,
        _ => name,
    };
    rest.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_one_first_label() {
        for (pattern, host, expected) in [
            ("example.com", "EXAMPLE.com", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*", "a", false),
            ("a.*.com", "a.b.com", false),
            ("w*.example.com", "www.example.com", false),
        ] {
            let seen = is_host(pattern, true) && is_host(host, false) && matches(pattern, host);
            assert_eq!(seen, expected, "{pattern} {host}");
        }
        assert!(is_host("worker_1", false));
        for bad in ["", "-a", "a..b", "a b", "*"] {
            assert!(!is_host(bad, false), "{bad}");
        }
    }
}
