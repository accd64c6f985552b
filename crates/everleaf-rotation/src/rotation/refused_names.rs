//! Which names of a request a decision against it is about.
//!
//! Approvers and signers say in free text what they do not like. A name counts as refused when that
//! text holds it as a word of its own; nothing else is concluded from it. Two kinds of names need
//! more, because such texts are full of them without meaning the name in the request: plain words
//! (`worker`) count in quotes only, and the node's own name counts in quotes or after `DNS`, and
//! only where no other name is meant. What is called a node is one, and not a name in the request.
//! Where names stand in quotes, those alone are meant: what else such a text holds may be what is
//! allowed.

use crate::notice::RefusedNames;
use everleaf_pki::Template;

/// What `text`, which came with a decision against a request for `asked`, says about the names in
/// it, and the names that are left to ask for.
pub(super) fn judge(asked: &Template, text: &str) -> (RefusedNames, Option<Template>) {
    let text = text.to_ascii_lowercase();
    let own = asked.subject.common_name.strip_prefix("system:node:");
    let is_own = |name: &str| own.is_some_and(|own| own.eq_ignore_ascii_case(name));
    let ips: Vec<String> = asked.ip_addresses.iter().map(ToString::to_string).collect();
    let names: Vec<&String> = asked.dns_names.iter().chain(&ips).collect();
    let named = |strictness: fn(&str, bool) -> Option<Strictness>| -> Vec<&String> {
        let is_meant = |name: &&String| {
            let strictness = strictness(name, is_own(name));
            strictness.is_some_and(|strictness| is_named(&text, name, strictness))
        };
        names.iter().copied().filter(is_meant).collect()
    };
    let refused = [
        named(|_, is_own| {
            Some(if is_own {
                Strictness::OwnQuoted
            } else {
                Strictness::Quoted
            })
        }),
        named(|name, is_own| (!is_own).then(|| Strictness::of(name))),
        named(|_, is_own| is_own.then_some(Strictness::Own)),
    ];
    let Some(refused) = refused.into_iter().find(|refused| !refused.is_empty()) else {
        return (RefusedNames::Unnamed, None);
    };
    if refused.len() == names.len() {
        return (RefusedNames::All, None);
    }
    let is_left = |name: &String| !refused.contains(&name);
    let rest = Template {
        subject: asked.subject.clone(),
        dns_names: asked
            .dns_names
            .iter()
            .filter(|n| is_left(n))
            .cloned()
            .collect(),
        ip_addresses: asked
            .ip_addresses
            .iter()
            .filter(|ip| is_left(&ip.to_string()))
            .copied()
            .collect(),
        uris: asked.uris.clone(),
    };
    let refused = refused.into_iter().cloned().collect();
    (RefusedNames::LeftOut(refused), Some(rest))
}

/// Where a name has to stand for it to be meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strictness {
    /// Anywhere, as a word of its own.
    Bare,
    /// In quotes, or after `DNS` or `DNS name`.
    Own,
    /// In quotes, and called a name.
    OwnQuoted,
    /// In quotes.
    Quoted,
}

impl Strictness {
    /// Letters and blanks alone may be an ordinary word of the text.
    fn of(name: &str) -> Self {
        let is_plain = |c: char| c.is_alphabetic() || c == ' ';
        if name.chars().all(is_plain) {
            Self::Quoted
        } else {
            Self::Bare
        }
    }
}

/// Whether `text` (in lower case) holds `name` where it counts.
fn is_named(text: &str, name: &str, strictness: Strictness) -> bool {
    let name = name.to_ascii_lowercase();
    if name.trim().is_empty() {
        return false;
    }
    text.match_indices(&name).any(|(start, found)| {
        let (before, after) = (&text[..start], &text[start + found.len()..]);
        let is_quoted = is_in_quotes(before, after);
        let is_word = is_start_of_word(before) && is_end_of_word(after);
        let role = role(before);
        match strictness {
            _ if role == "node" => false,
            Strictness::Bare => is_quoted || is_word,
            Strictness::Own if role == "dns" => is_quoted || is_word,
            Strictness::OwnQuoted => is_quoted && (role == "dns" || last_word(before) == "name"),
            Strictness::Own | Strictness::Quoted => is_quoted,
        }
    })
}

fn is_in_quotes(before: &str, after: &str) -> bool {
    let quote = before.chars().next_back();
    // A text that was quoted once more has a backslash before each quote.
    let after = after.strip_prefix('\\').unwrap_or(after);
    match quote {
        Some(quote @ ('"' | '\'' | '`')) => after.starts_with(quote) || after.starts_with('\''),
        Some('“' | '„') => after.starts_with(['”', '“']),
        Some('‘') => after.starts_with('’'),
        _ => false,
    }
}

/// What may be part of a longer name, address, path or identity.
fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(
            c,
            '.' | '-' | '_' | ':' | '/' | '@' | '*' | '%' | '+' | '\\'
        )
}

fn is_start_of_word(before: &str) -> bool {
    match before.chars().next_back() {
        Some(':') => matches!(last_word(before), "dns" | "ip" | "address" | "name"),
        Some(c) => !is_of_a_name(c),
        None => true,
    }
}

fn is_end_of_word(after: &str) -> bool {
    // A full stop or a colon may end the sentence instead.
    let rest = after.strip_prefix(['.', ':']).unwrap_or(after);
    !rest.chars().next().is_some_and(is_of_a_name)
}

/// What a text calls what comes next: the word before, and the one before that of `DNS name` or
/// `node name`.
fn role(before: &str) -> &str {
    match last_word(before) {
        name @ ("name" | "names") => {
            let before = before.trim_end_matches(|c: char| !c.is_alphanumeric());
            last_word(&before[..before.len() - name.len()])
        }
        word => word,
    }
}

/// The last run of letters before what is looked at.
fn last_word(before: &str) -> &str {
    let before = before.trim_end_matches(|c: char| !c.is_alphanumeric());
    let start = before.rfind(|c: char| !c.is_alphabetic());
    let start = start.map_or(0, |at| {
        at + before[at..].chars().next().map_or(0, char::len_utf8)
    });
    &before[start..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::Subject;

    fn asked() -> Template {
        Template {
            subject: Subject::node("n1"),
            dns_names: ["n1", "n1.example.com", "worker", "my host", "a_b"]
                .map(ToOwned::to_owned)
                .to_vec(),
            ip_addresses: ["10.0.0.1", "10.0.0.11", "fd00::1"]
                .map(|ip| ip.parse().unwrap())
                .to_vec(),
            ..Template::default()
        }
    }

    fn refused(text: &str) -> Vec<String> {
        match judge(&asked(), text) {
            (RefusedNames::LeftOut(names), Some(_)) => names,
            (RefusedNames::Unnamed, None) => Vec::new(),
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_name_is_refused_when_the_text_holds_it() {
        for (text, expected) in [
            (r#"DNS name "a_b" is not allowed"#, &["a_b"][..]),
            ("Policy DNS name a_b is not allowed", &["a_b"]),
            ("the DNS name 'my host' is malformed", &["my host"]),
            (r#"x509: "my host" cannot be encoded"#, &["my host"]),
            (r#"admission: \"a_b\" is refused"#, &["a_b"]),
            ("10.0.0.1 is no address of this node", &["10.0.0.1"]),
            ("not allowed: 10.0.0.11.", &["10.0.0.11"]),
            ("not allowed: [10.0.0.1, FD00::1]", &["10.0.0.1", "fd00::1"]),
            (
                "IP Address:10.0.0.1 and DNS:N1.Example.com",
                &["n1.example.com", "10.0.0.1"],
            ),
            ("‘worker’ is nobody's name", &["worker"]),
            (r#"DNS name "n1" is taken"#, &["n1"]),
            ("DNS:n1 is taken", &["n1"]),
            ("the SAN DNS name n1 does not resolve", &["n1"]),
            (
                "One of the SAN IP addresses, 10.0.0.11, is not part of the allowed IP Prefixes/Subnets, denying the CSR",
                &["10.0.0.11"],
            ),
            // The node is who asks; what it may not have is the address.
            (r#"node "n1" may not have 10.0.0.1"#, &["10.0.0.1"]),
            (r#""n1" may not have 10.0.0.1"#, &["10.0.0.1"]),
            // What may be had instead is not refused.
            (
                r#"the name "n1" is not allowed by policy; use 10.0.0.1"#,
                &["n1"],
            ),
            (
                r#""a_b" is not allowed; allowed are n1.example.com and 10.0.0.1"#,
                &["a_b"],
            ),
        ] {
            assert_eq!(refused(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_concluded_otherwise() {
        for text in [
            "",
            "This CSR was denied by kubectl certificate deny.",
            "no such worker, my host",
            "node n1 is not known",
            r#"node "n1" is not known"#,
            "system:node:n1 may not ask for that",
            "n1 is not known",
            "the node name n1 is not known",
            r#"node name "n1" is not known"#,
            "node n1.example.com is not ready",
            "10.0.0.0/8 is not ours, nor 10.0.0.1/32",
            "110.0.0.1, 10.0.0.111 and 10.0.0.1.2 are refused",
            "names must end in .n1.example.com or x.n1.example.com",
            "see https://n1.example.com/policy",
            "a_b_c and n1.example.com.evil",
            "fd00::11",
        ] {
            assert_eq!(refused(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_is_left_is_asked_for_and_never_nothing() {
        let (_, rest) = judge(&asked(), r#"neither "a_b" nor "10.0.0.11""#);
        let rest = rest.unwrap();
        assert_eq!(
            rest.dns_names,
            ["n1", "n1.example.com", "worker", "my host"]
        );
        assert_eq!(rest.ip_addresses.len(), 2);
        assert_eq!(rest.subject, asked().subject);
        let few = Template {
            dns_names: vec!["a_b".to_owned()],
            ip_addresses: vec!["10.0.0.1".parse().unwrap()],
            ..asked()
        };
        let (refused, rest) = judge(&few, "neither a_b nor 10.0.0.1");
        assert_eq!((refused, rest), (RefusedNames::All, None));
    }
}
