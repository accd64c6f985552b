//! Name constraints (RFC 5280 4.2.1.10): which names a CA's certificates may carry.
//!
//! Read and applied as Go 1.26 does (`crypto/x509/constraints.go`), which differs from the RFC in
//! three ways: a host name in a URI or e-mail constraint covers its subdomains, too; a leading dot
//! means "subdomains only" for all three; and a name that cannot be compared (a URI without host or
//! with an address for one) is refused under any constraint. Forms that are not compared (directory
//! names, other names) make a critical extension unhandled. An IPv4 address written in 16 octets is
//! permitted only by networks of such addresses, and excluded by what excludes either form.

use crate::asn1::{self, Element};
use crate::extension::ExtensionError;
use der::{Reader, SliceReader, Tag};
use std::net::{IpAddr, Ipv6Addr};

const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;
const PERMITTED: u8 = 0xa0;
const EXCLUDED: u8 = 0xa1;

/// The extension, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameConstraints {
    permitted: Subtrees,
    excluded: Subtrees,
    has_other_forms: bool,
}

/// Bases of one list, by form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Subtrees {
    dns: Vec<String>,
    emails: Vec<String>,
    uris: Vec<String>,
    networks: Vec<Network>,
}

/// Address and mask, each of 4 or 16 octets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Network {
    address: Vec<u8>,
    mask: Vec<u8>,
}

/// Alternative names as constraints compare them.
#[derive(Debug, Default)]
pub(super) struct ComparableNames {
    dns: Vec<String>,
    emails: Vec<Mailbox>,
    /// Each URI with its host.
    uris: Vec<(String, String)>,
    addresses: Vec<Vec<u8>>,
}

/// An e-mail address; the domain is in lower case.
#[derive(Debug, PartialEq, Eq)]
struct Mailbox {
    local: String,
    domain: String,
}

impl NameConstraints {
    /// Reads the extension's value.
    pub(crate) fn from_der(value: &[u8]) -> Result<Self, ExtensionError> {
        let mut reader = SliceReader::new(value)?;
        let mut body = SliceReader::new(asn1::read_content(&mut reader, Tag::Sequence)?)?;
        reader.finish()?;
        let mut constraints = Self::default();
        let mut is_empty = true;
        for (tag, is_permitted) in [(PERMITTED, true), (EXCLUDED, false)] {
            if body.peek_byte() != Some(tag) {
                continue;
            }
            let list = asn1::read_element(&mut body)?.content;
            is_empty &= list.is_empty();
            let (subtrees, has_other_forms) = Subtrees::from_der(list)?;
            constraints.has_other_forms |= has_other_forms;
            if is_permitted {
                constraints.permitted = subtrees;
            } else {
                constraints.excluded = subtrees;
            }
        }
        body.finish()?;
        if is_empty {
            return Err(refused("they name nothing".into()));
        }
        Ok(constraints)
    }

    /// Some form in it is not compared.
    pub(crate) fn has_other_forms(&self) -> bool {
        self.has_other_forms
    }

    /// How many comparisons [`Self::check`] makes at most.
    pub(super) fn comparisons(&self, names: &ComparableNames) -> usize {
        let lists = [&self.permitted, &self.excluded];
        let of_list = |list: &Subtrees| {
            list.dns.len() * names.dns.len()
                + list.emails.len() * names.emails.len()
                + list.uris.len() * names.uris.len()
                + list.networks.len() * names.addresses.len()
        };
        lists.into_iter().map(of_list).sum()
    }

    /// Checks all names of a certificate below.
    ///
    /// # Errors
    /// The name that is not covered, or is excluded.
    pub(super) fn check(&self, names: &ComparableNames) -> Result<(), String> {
        let (permitted, excluded) = (&self.permitted, &self.excluded);
        for octets in &names.addresses {
            let is_in = |networks: &[Network], octets: &[u8]| {
                networks.iter().any(|network| network.contains(octets))
            };
            let mapped = ipv4_mapped(octets);
            judge(
                "IP address",
                &shown_address(octets),
                permitted.networks.is_empty() || is_permitted(&permitted.networks, octets),
                is_in(&excluded.networks, octets)
                    || mapped.is_some_and(|octets| is_in(&excluded.networks, octets)),
            )?;
        }
        for name in &names.dns {
            let covered = covered_by(&permitted.dns, name);
            judge("DNS name", name, covered, excludes(&excluded.dns, name))?;
        }
        for (uri, host) in &names.uris {
            let covered = covered_by(&permitted.uris, host);
            judge("URI", uri, covered, excludes(&excluded.uris, host))?;
        }
        for mailbox in &names.emails {
            let name = format!("{}@{}", mailbox.local, mailbox.domain);
            let is_in = |bases: &[String]| bases.iter().any(|base| mailbox.is_below(base));
            judge(
                "e-mail address",
                &name,
                permitted.emails.is_empty() || is_in(&permitted.emails),
                is_in(&excluded.emails) || excludes(domains(&excluded.emails), &mailbox.domain),
            )?;
        }
        Ok(())
    }
}

fn judge(kind: &str, name: &str, is_permitted: bool, is_excluded: bool) -> Result<(), String> {
    match (is_permitted, is_excluded) {
        (true, false) => Ok(()),
        (false, _) => Err(format!("{kind} {name:?} is not among those permitted")),
        (true, true) => Err(format!("{kind} {name:?} is excluded")),
    }
}

impl Subtrees {
    /// Reads `GeneralSubtrees`; also whether some are of forms that are not compared. Distances are
    /// ignored, as Go does.
    fn from_der(list: &[u8]) -> Result<(Self, bool), ExtensionError> {
        let mut subtrees = Self::default();
        let mut has_other_forms = false;
        let mut list = SliceReader::new(list)?;
        while !list.is_finished() {
            let mut subtree = SliceReader::new(asn1::read_content(&mut list, Tag::Sequence)?)?;
            let base = asn1::read_element(&mut subtree)?;
            match base.identifier {
                DNS => subtrees.dns.push(domain(base.content)?),
                EMAIL => subtrees.emails.push(email_base(base.content)?),
                URI => subtrees.uris.push(uri_base(base.content)?),
                IP => subtrees.networks.push(Network::from_octets(base.content)?),
                _ => has_other_forms = true,
            }
        }
        Ok((subtrees, has_other_forms))
    }
}

impl Network {
    fn from_octets(octets: &[u8]) -> Result<Self, ExtensionError> {
        if octets.len() != 8 && octets.len() != 32 {
            return Err(refused(format!("a network of {} octets", octets.len())));
        }
        let (address, mask) = octets.split_at(octets.len() / 2);
        let mut ones = mask
            .iter()
            .flat_map(|&byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
        // Behind the first zero only zeros.
        if ones.by_ref().any(|one| !one) && ones.any(|one| one) {
            return Err(refused("a mask with holes".into()));
        }
        Ok(Self {
            address: address.to_vec(),
            mask: mask.to_vec(),
        })
    }

    fn contains(&self, octets: &[u8]) -> bool {
        octets.len() == self.address.len()
            && octets
                .iter()
                .zip(&self.address)
                .zip(&self.mask)
                .all(|((octet, base), mask)| octet & mask == base & mask)
    }
}

/// An address in 16 octets that is an IPv4 address needs a network of such; and of several networks
/// only those count that do not begin above the address, which matters where host bits are set in
/// their addresses.
fn is_permitted(networks: &[Network], octets: &[u8]) -> bool {
    let is_mapped = |octets: &[u8]| ipv4_mapped(octets).is_some();
    networks.iter().any(|network| {
        network.contains(octets)
            && (!is_mapped(octets) || is_mapped(&network.address))
            && (networks.len() == 1 || network.address.as_slice() <= octets)
    })
}

impl ComparableNames {
    /// Reads a subject alternative name for comparison.
    ///
    /// # Errors
    /// The name that no constraint can be compared with.
    pub(super) fn from_der(value: &[u8]) -> Result<Self, String> {
        let mut names = Self::default();
        let unreadable = |_: der::Error| "the alternative names cannot be read".to_owned();
        let mut reader = SliceReader::new(value).map_err(unreadable)?;
        let content = asn1::read_content(&mut reader, Tag::Sequence).map_err(unreadable)?;
        let mut list = SliceReader::new(content).map_err(unreadable)?;
        while !list.is_finished() {
            let Element {
                identifier,
                content,
            } = asn1::read_element(&mut list).map_err(unreadable)?;
            let text = || String::from_utf8_lossy(content).into_owned();
            match identifier {
                IP => names.addresses.push(content.to_vec()),
                DNS if is_domain(content, false) => names.dns.push(text()),
                DNS => return Err(format!("DNS name {:?} is malformed", text())),
                URI => {
                    let host = uri_host(&text())?;
                    names.uris.push((text(), host));
                }
                EMAIL => {
                    let mailbox = Mailbox::parse(&text());
                    let mailbox =
                        mailbox.ok_or_else(|| format!("e-mail address {:?} is malformed", text()));
                    names.emails.push(mailbox?);
                }
                _ => {}
            }
        }
        Ok(names)
    }
}

impl Mailbox {
    /// `local@domain` (RFC 5321 4.1.2) with a plain local part; quoted ones are not compared.
    fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.split_once('@')?;
        let is_atom_character =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        let is_local = local
            .split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_character));
        (is_local && is_domain(domain.as_bytes(), false)).then(|| Self {
            local: local.to_owned(),
            domain: domain.to_ascii_lowercase(),
        })
    }

    fn is_below(&self, base: &str) -> bool {
        match Self::parse(base) {
            Some(mailbox) => *self == mailbox,
            None => is_below(base, &self.domain),
        }
    }
}

/// The bases that are domains and not mailboxes.
fn domains(bases: &[String]) -> impl Iterator<Item = &String> {
    bases.iter().filter(|base| !base.contains('@'))
}

fn covered_by(permitted: &[String], name: &str) -> bool {
    permitted.is_empty() || permitted.iter().any(|base| is_below(base, name))
}

/// Also what a wildcard may stand for: `*.example.com` holds `www.example.com`.
fn excludes<'a>(excluded: impl IntoIterator<Item = &'a String>, name: &str) -> bool {
    excluded.into_iter().any(|base| {
        is_below(base, name)
            || name.starts_with('*') && !parent(base).is_empty() && {
                parent(base).eq_ignore_ascii_case(parent(name))
            }
    })
}

/// From the first dot on, with it; empty without one.
fn parent(name: &str) -> &str {
    name.find('.').map_or("", |dot| &name[dot..])
}

/// `name` is `base` or below it; below it only when `base` begins with a dot; everything is below
/// "".
fn is_below(base: &str, name: &str) -> bool {
    let Some(start) = name.len().checked_sub(base.len()) else {
        return false;
    };
    if !name.is_char_boundary(start) || !name[start..].eq_ignore_ascii_case(base) {
        return false;
    }
    base.is_empty() || base.starts_with('.') || start == 0 || name[..start].ends_with('.')
}

/// ASCII without blanks, labels not empty, no dot at the end; "" and, in a constraint, a leading
/// dot are fine.
pub(crate) fn is_domain(text: &[u8], is_constraint: bool) -> bool {
    let text = match text {
        [b'.', rest @ ..] if is_constraint => rest,
        [] => return true,
        text => text,
    };
    text.split(|&byte| byte == b'.')
        .all(|label| !label.is_empty() && label.iter().all(u8::is_ascii_graphic))
}

fn domain(content: &[u8]) -> Result<String, ExtensionError> {
    let text = String::from_utf8_lossy(content).into_owned();
    if is_domain(content, true) {
        Ok(text)
    } else {
        Err(refused(format!("{text:?} is no domain")))
    }
}

fn email_base(content: &[u8]) -> Result<String, ExtensionError> {
    let text = String::from_utf8_lossy(content).into_owned();
    if !text.contains('@') {
        return domain(content);
    }
    match Mailbox::parse(&text) {
        Some(_) => Ok(text),
        None => Err(refused(format!("{text:?} is no e-mail address"))),
    }
}

fn uri_base(content: &[u8]) -> Result<String, ExtensionError> {
    let text = domain(content)?;
    if text.parse::<IpAddr>().is_ok() {
        return Err(refused(format!(
            "{text:?} is an address, no domain of URIs"
        )));
    }
    Ok(text)
}

/// The host of an absolute URI, without port, in lower case.
fn uri_host(uri: &str) -> Result<String, String> {
    let refused = |what: &str| Err(format!("URI {uri:?} {what}"));
    let authority = uri
        .split_once(':')
        .and_then(|(_, rest)| rest.strip_prefix("//"))
        .map_or("", |rest| rest.split(['/', '?', '#']).next().unwrap_or(""));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    if host.is_empty() {
        return refused("has no host that could be compared");
    }
    if host.contains(['[', ']', '%']) {
        return refused("has a host that cannot be compared");
    }
    let name = match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        Some(_) => return refused("has a malformed host"),
        None => host,
    };
    if name.is_empty() || name.parse::<IpAddr>().is_ok() || !is_domain(name.as_bytes(), false) {
        return refused("has a host that cannot be compared");
    }
    Ok(name.to_ascii_lowercase())
}

/// The IPv4 octets of an IPv4-mapped IPv6 address.
fn ipv4_mapped(octets: &[u8]) -> Option<&[u8]> {
    let octets: &[u8; 16] = octets.try_into().ok()?;
    Ipv6Addr::from(*octets)
        .to_ipv4_mapped()
        .is_some()
        .then_some(&octets[12..])
}

fn shown_address(octets: &[u8]) -> String {
    match (<[u8; 4]>::try_from(octets), <[u8; 16]>::try_from(octets)) {
        (Ok(octets), _) => IpAddr::from(octets).to_string(),
        (_, Ok(octets)) => IpAddr::from(octets).to_string(),
        _ => format!("of {} octets", octets.len()),
    }
}

fn refused(what: String) -> ExtensionError {
    ExtensionError::NameConstraints(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn general_name(tag: u8, content: &[u8]) -> Vec<u8> {
        asn1::element(tag, content)
    }

    fn subtrees(tag: u8, bases: &[(u8, &[u8])]) -> Vec<u8> {
        let list: Vec<u8> = bases
            .iter()
            .flat_map(|(tag, content)| asn1::element(asn1::SEQUENCE, &general_name(*tag, content)))
            .collect();
        asn1::element(tag, &list)
    }

    fn constraints(
        permitted: &[(u8, &[u8])],
        excluded: &[(u8, &[u8])],
    ) -> Result<NameConstraints, ExtensionError> {
        let mut body = Vec::new();
        if !permitted.is_empty() {
            body.extend(subtrees(PERMITTED, permitted));
        }
        if !excluded.is_empty() {
            body.extend(subtrees(EXCLUDED, excluded));
        }
        NameConstraints::from_der(&asn1::element(asn1::SEQUENCE, &body))
    }

    fn names(names: &[(u8, &[u8])]) -> Result<ComparableNames, String> {
        let list: Vec<u8> = names
            .iter()
            .flat_map(|(tag, content)| general_name(*tag, content))
            .collect();
        ComparableNames::from_der(&asn1::element(asn1::SEQUENCE, &list))
    }

    /// Whether a name passes a permitted, and an excluded, base.
    fn check(tag: u8, base: &[u8], name: &[u8]) -> (bool, bool) {
        let passes = |constraints: Result<NameConstraints, ExtensionError>| {
            names(&[(tag, name)])
                .and_then(|names| constraints.unwrap().check(&names))
                .is_ok()
        };
        (
            passes(constraints(&[(tag, base)], &[])),
            passes(constraints(&[], &[(tag, base)])),
        )
    }

    const INSIDE: (bool, bool) = (true, false);
    const OUTSIDE: (bool, bool) = (false, true);
    const REFUSED: (bool, bool) = (false, false);

    #[test]
    fn domains_cover_what_is_below_them() {
        for (base, name, expected) in [
            ("example.com", "example.com", INSIDE),
            ("example.com", "WWW.Example.COM", INSIDE),
            ("example.com", "testexample.com", OUTSIDE),
            ("example.com", "com", OUTSIDE),
            (".example.com", "a.example.com", INSIDE),
            (".example.com", "example.com", OUTSIDE),
            ("", "anything", INSIDE),
            ("example.com", "*.example.com", INSIDE),
            ("www.example.com", "*.example.com", REFUSED),
            ("example.com", "example.com.", REFUSED),
            ("example.com", "a..b", REFUSED),
        ] {
            let seen = check(DNS, base.as_bytes(), name.as_bytes());
            assert_eq!(seen, expected, "{base} {name}");
        }
    }

    #[test]
    fn uris_are_compared_by_their_host() {
        for (name, expected) in [
            ("spiffe://example.org/ns/a", INSIDE),
            ("spiffe://sub.example.org:8443/", INSIDE),
            ("https://user@EXAMPLE.org?x", INSIDE),
            ("spiffe://example.net/", OUTSIDE),
            ("https://example.org.evil.net/", OUTSIDE),
            ("https://evil.net/@example.org", OUTSIDE),
            ("urn:uuid:1", REFUSED),
            ("https://10.0.0.1/", REFUSED),
            ("https://[::1]/", REFUSED),
            ("https://a%2eb/", REFUSED),
        ] {
            assert_eq!(
                check(URI, b"example.org", name.as_bytes()),
                expected,
                "{name}"
            );
        }
        assert!(constraints(&[(URI, b"10.0.0.1")], &[]).is_err());
        // A name that cannot be compared is refused, whatever form is constrained.
        let dns_only = constraints(&[(DNS, b"example.org")], &[]).unwrap();
        assert!(names(&[(URI, b"urn:x")]).is_err());
        assert_eq!(
            dns_only.check(&names(&[(DNS, b"example.org")]).unwrap()),
            Ok(())
        );
    }

    #[test]
    fn mailboxes_and_their_domains() {
        for (base, name, expected) in [
            ("a@example.com", "a@EXAMPLE.com", INSIDE),
            ("a@example.com", "A@example.com", OUTSIDE),
            ("example.com", "x@example.com", INSIDE),
            ("example.com", "x@sub.example.com", INSIDE),
            (".example.com", "x@example.com", OUTSIDE),
            ("example.com", "x", REFUSED),
            ("example.com", "x..y@example.com", REFUSED),
        ] {
            let seen = check(EMAIL, base.as_bytes(), name.as_bytes());
            assert_eq!(seen, expected, "{base} {name}");
        }
    }

    #[test]
    fn networks_and_addresses() {
        let ten = [10, 0, 0, 0, 255, 0, 0, 0];
        assert_eq!(check(IP, &ten, &[10, 1, 2, 3]), INSIDE);
        assert_eq!(check(IP, &ten, &[11, 1, 2, 3]), OUTSIDE);
        let mapped = Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1]).octets();
        assert_eq!(check(IP, &ten, &mapped), REFUSED, "in 16 octets");
        assert_eq!(check(IP, &[0; 32], &mapped), REFUSED, "IPv6 is not IPv4");
        let mut mapped_ten = [0; 32];
        mapped_ten[..13].copy_from_slice(&mapped[..13]);
        mapped_ten[16..29].fill(0xff);
        assert_eq!(check(IP, &mapped_ten, &mapped), INSIDE);
        let mut six = [0; 32];
        six[0] = 0xfd;
        six[16] = 0xff;
        let mut address = [0; 16];
        address[0] = 0xfd;
        assert_eq!(check(IP, &six, &address), INSIDE);
        assert_eq!(check(IP, &six, &[10, 0, 0, 1]), OUTSIDE);
        assert!(constraints(&[(IP, &[10, 0, 0, 0, 255, 0, 255, 0])], &[]).is_err());
        assert!(constraints(&[(IP, &[10, 0, 0, 0, 255])], &[]).is_err());
    }

    #[test]
    fn what_is_not_compared_is_told() {
        let other = constraints(&[(0xa0, b"\x06\x01\x2a")], &[]).unwrap();
        assert!(other.has_other_forms());
        assert!(!constraints(&[], &[(DNS, b"x")]).unwrap().has_other_forms());
        assert!(NameConstraints::from_der(&[0x30, 0]).is_err(), "empty");
        assert!(
            NameConstraints::from_der(&[0x30, 2, 0xa0, 0]).is_err(),
            "empty"
        );
        assert!(constraints(&[(DNS, b"a b")], &[]).is_err());
    }
}
