//! Name rules of Kubernetes objects (`apimachinery/pkg/util/validation`,
//! `apimachinery/pkg/api/validation/path`). Err = the text of the field error.

/// Longest DNS-1123 subdomain, in bytes.
const SUBDOMAIN_BYTES_MAX: usize = 253;
/// Longest DNS-1123 label, in bytes.
const LABEL_BYTES_MAX: usize = 63;
/// Longest name part of a qualified name, and value of a label, in bytes.
const NAME_PART_BYTES_MAX: usize = 63;

/// A path segment: what CSR and RBAC names must at least be.
pub fn path_segment(name: &str) -> Result<(), String> {
    match name {
        "." | ".." => Err(format!("may not be '{name}'")),
        _ if name.contains('/') => Err("may not contain '/'".to_owned()),
        _ if name.contains('%') => Err("may not contain '%'".to_owned()),
        _ => Ok(()),
    }
}

/// The beginning of a generated name as a name that can be judged: it may end with `-`, where a
/// name may not (`maskTrailingDash`).
pub fn beginning(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            let mut name = rest.to_owned();
            name.pop();
            name.push('a');
            name
        }
        _ => text.to_owned(),
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

/// `[domain/]name`: keys of labels and annotations, finalizers, names of controllers.
pub fn qualified(text: &str) -> Result<(), String> {
    let name = match text.split_once('/') {
        None => text,
        Some(("", _)) => return Err("prefix part must be non-empty".to_owned()),
        Some((prefix, name)) => {
            subdomain(prefix).map_err(|text| format!("prefix part {text}"))?;
            name
        }
    };
    qualified_part(name).map_err(|text| format!("name part {text}"))
}

/// Finalizers without a domain that Kubernetes knows.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// A qualified name that is a finalizer: it has a domain or is a standard one.
pub fn is_finalizer(name: &str) -> bool {
    name.contains('/') || STANDARD_FINALIZERS.contains(&name)
}

/// The name of a qualified name, or the value of a label that is not empty.
pub fn qualified_part(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends_well = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    if bytes.len() > NAME_PART_BYTES_MAX {
        return Err(format!("must be no more than {NAME_PART_BYTES_MAX} bytes"));
    }
    if ends_well(bytes.first()) && ends_well(bytes.last()) && bytes.iter().all(inner) {
        return Ok(());
    }
    Err(
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
         an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
         validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
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
    fn beginnings_are_judged_by_a_name_that_they_could_become() {
        for (text, name) in [
            ("a", "a"),
            ("a-", "a"),
            ("ab-", "aa"),
            ("a--", "aa"),
            ("-", "-"),
        ] {
            assert_eq!(beginning(text), name, "{text}");
        }
        // As kube-apiserver 1.37.2: the character before the dash is never looked at.
        assert_eq!(beginning("a_-"), "aa");
    }

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
    fn qualified_names() {
        for good in ["a", "A_b.c", "example.com/A", "kube-controller-manager"] {
            assert_eq!(qualified(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in [
            "",
            "-a",
            "a/",
            "/a",
            "A.com/a",
            "a/b/c",
            "a b",
            too_long.as_str(),
        ] {
            assert!(qualified(bad).is_err(), "{bad}");
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
