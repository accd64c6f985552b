//! Name rules of Kubernetes objects (`apimachinery/pkg/util/validation`,
//! `apimachinery/pkg/api/validation/path`). Err = the text of the field error.

/// Longest DNS-1123 subdomain, in bytes.
const SUBDOMAIN_BYTES_MAX: usize = 253;
/// Longest DNS-1123 label, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A path segment: what CSR and RBAC names must at least be.
pub fn path_segment(name: &str) -> Result<(), String> {
    match name {
        "." | ".." => Err(format!("may not be '{name}'")),
        _ if name.contains('/') => Err("may not contain '/'".to_owned()),
        _ if name.contains('%') => Err("may not contain '%'".to_owned()),
        _ => Ok(()),
    }
}

/// A DNS-1123 subdomain: lower case labels joined by dots, at most 253 bytes.
pub fn subdomain(name: &str) -> Result<(), String> {
    if name.len() > SUBDOMAIN_BYTES_MAX {
        return Err(format!(
            "must be no more than {SUBDOMAIN_BYTES_MAX} characters"
        ));
    }
    if name.split('.').all(is_label_text) {
        return Ok(());
    }
    Err(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
         or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex \
         used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            .to_owned(),
    )
}

/// A DNS-1123 label: what namespace names are.
pub fn label(name: &str) -> Result<(), String> {
    if name.len() > LABEL_BYTES_MAX {
        return Err(format!("must be no more than {LABEL_BYTES_MAX} characters"));
    }
    if is_label_text(name) {
        return Ok(());
    }
    Err(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
         and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
         regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            .to_owned(),
    )
}

fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match (bytes.first(), bytes.last()) {
        (Some(&first), Some(&last)) => {
            alphanumeric(first)
                && alphanumeric(last)
                && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_segments() {
        for good in ["a", "A b:c", "system:node", "..a"] {
            assert_eq!(path_segment(good), Ok(()), "{good}");
        }
        for bad in [".", "..", "a/b", "a%b"] {
            assert!(path_segment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn subdomains() {
        let longest = format!("{}a", "a.".repeat(126));
        for good in ["a", "a-b", "a.b-c.0", longest.as_str()] {
            assert_eq!(subdomain(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(254);
        for bad in ["", "A", "-a", "a-", "a..b", ".a", "a_b", too_long.as_str()] {
            assert!(subdomain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels() {
        let (longest, too_long) = ("a".repeat(63), "a".repeat(64));
        for good in ["a", "kube-system", longest.as_str()] {
            assert_eq!(label(good), Ok(()), "{good}");
        }
        for bad in ["", "a.b", "A", too_long.as_str()] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }
}
