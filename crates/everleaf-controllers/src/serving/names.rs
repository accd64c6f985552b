//! Which names and addresses no node may have a serving certificate for, whoever says so.
//!
//! A node writes its own `status.addresses`, so what stands there proves nothing about names that
//! belong to the cluster. Owns the form of names and addresses, and the names by which a cluster
//! is reached from within; it refuses to know nodes and policies.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest DNS name and label (RFC 1035 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Why a text is not a DNS name that a certificate of ours may carry.
///
/// # Errors
/// One clause that says what is wrong with it.
pub fn check_dns_name(name: &str) -> Result<(), String> {
    let quoted = quote(name);
    if name.is_empty() {
        return Err("an empty DNS name".to_owned());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("{quoted} is longer than {NAME_BYTES_MAX} bytes"));
    }
    if name.contains('*') {
        return Err(format!("{quoted} is a wildcard"));
    }
    if name.ends_with('.') {
        return Err(format!("{quoted} ends with a dot"));
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("{quoted} is not lower case"));
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.parse::<IpAddr>().is_ok() || is_number(last) {
        return Err(format!("{quoted} is an address, not a name"));
    }
    for label in name.split('.') {
        let is_inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_sound = !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-');
        if !is_sound {
            return Err(format!("{quoted} is not a DNS name"));
        }
    }
    Ok(())
}

/// What browsers and C libraries take for the last part of an IPv4 address (WHATWG URL, "ends in
/// a number").
fn is_number(label: &str) -> bool {
    let is_hex = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()))
        || label.strip_prefix("0x").is_some_and(is_hex)
}

/// Whether a well-formed name means something else to everybody in a cluster: Services, pods, the
/// API server, the machine itself.
pub fn is_cluster_name(name: &str, domains: &[String]) -> bool {
    const OTHERS: [&str; 6] = [
        "kubernetes",
        "kubernetes.default",
        "ip6-localhost",
        "ip6-loopback",
        "localhost6",
        // Where programs in a cloud get their machine's credentials.
        "metadata.google.internal",
    ];
    let is_below = |suffix: &str| {
        name == suffix
            || name
                .strip_suffix(suffix)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    let in_domain = |domain: &String| {
        is_below(&format!("svc.{domain}")) || is_below(&format!("pod.{domain}")) || name == domain
    };
    OTHERS.contains(&name)
        || is_below("svc")
        || is_below("localhost")
        || is_below("localhost.localdomain")
        || domains.iter().any(in_domain)
}

/// Where clouds tell machines their credentials: AWS, Azure, Google and most others; Alibaba;
/// Azure's second; AWS over IPv6.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Why an address is no node's own, by its form alone.
///
/// # Errors
/// One clause that says what it is instead.
pub fn check_address(address: IpAddr, allows_link_local: bool) -> Result<(), String> {
    let what = match address.to_canonical() {
        address if address.is_unspecified() => "unspecified",
        address if address.is_loopback() => "a loopback address",
        address if address.is_multicast() => "a multicast address",
        address if METADATA.contains(&address) => "the metadata service of a cloud",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "in 0.0.0.0/8",
        IpAddr::V4(v4) if v4.octets()[0] >= 240 => "in 240.0.0.0/4",
        IpAddr::V4(v4) if v4.is_link_local() && !allows_link_local => "a link-local address",
        IpAddr::V6(v6) if is_link_local(v6) && !allows_link_local => "a link-local address",
        _ => return Ok(()),
    };
    Err(format!("{address} is {what}"))
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

/// An address and the IPv4 address that reaches the same machine through it, if its form says so:
/// IPv4-compatible (RFC 4291 2.5.5.1), NAT64 (RFC 6052 2.1), 6to4 (RFC 3056 2). A rule against
/// one of them must hold against the other.
pub fn aliases(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let address = address.to_canonical();
    let within = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments();
            match [a, b, c, d, e, f] {
                [0, 0, 0, 0, 0, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => Some((g, h)),
                [0x2002, ..] => Some((b, c)),
                _ => None,
            }
        }
    };
    let within = within.map(|(high, low)| {
        let bits = (u32::from(high) << 16) | u32::from(low);
        IpAddr::V4(Ipv4Addr::from(bits))
    });
    std::iter::once(address).chain(within)
}

/// Whether one of the ranges holds the address, or what it stands for.
pub fn any_holds(ranges: &[IpNet], address: IpAddr) -> bool {
    aliases(address).any(|alias| ranges.iter().any(|range| range.contains(&alias)))
}

/// A text from a request, fit for a log line and a condition: printable ASCII, quoted, short.
pub fn quote(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    format!("\"{}\"", shown.escape_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none() {
        for name in [
            "n1",
            "n1.example.com",
            "1a",
            "a-b.c",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(check_dns_name(name), Ok(()), "{name}");
        }
        let long = format!("{}.example", "a".repeat(64));
        let longer = ["abcdefg"; 40].join(".");
        let bad = [
            "",
            "*.example.com",
            "n*",
            "N1",
            "n1.",
            ".n1",
            "a..b",
            "-n1",
            "n1-",
            "n_1",
            "n1\0",
            "n\u{f6}",
            "n 1",
            "10.0.0.1",
            "::1",
            "10.1",
            "0x7f.0x1",
            "a.1",
            "n1/evil",
            &long,
            &longer,
        ];
        for name in bad {
            assert!(check_dns_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn names_of_the_cluster() {
        let domains = ["cluster.local".to_owned()];
        let is_one = |name: &str| is_cluster_name(name, &domains);
        for name in [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "a.b.svc",
            "svc",
            "10-0-0-1.ns.pod.cluster.local",
            "localhost",
            "a.localhost",
            "cluster.local",
        ] {
            assert!(is_one(name), "{name}");
        }
        for name in [
            "n1",
            "mysvc",
            "kubernetes1",
            "n1.cluster.local",
            "svc.example",
        ] {
            assert!(!is_one(name), "{name}");
        }
    }

    #[test]
    fn addresses_of_no_machine() {
        let check = |text: &str, link_local| check_address(text.parse().unwrap(), link_local);
        for text in ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", "192.0.2.1"] {
            assert_eq!(check(text, false), Ok(()), "{text}");
        }
        for text in [
            "0.0.0.0",
            "::",
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "::ffff:127.0.0.1",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "0.1.2.3",
            "250.1.1.1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "febf::1",
        ] {
            assert!(check(text, false).is_err(), "{text}");
        }
        assert_eq!(check("169.254.1.1", true), Ok(()));
        assert!(check("169.254.169.254", true).is_err());
        assert!(check("fd00:ec2::254", false).is_err());
        assert_eq!(check("fe80::1", true), Ok(()));
        assert!(check("127.0.0.1", true).is_err());
    }

    #[test]
    fn a_range_holds_every_form_of_its_addresses() {
        let ranges: Vec<IpNet> = vec!["10.0.0.0/28".parse().unwrap()];
        let is_held = |text: &str| any_holds(&ranges, text.parse().unwrap());
        for text in [
            "10.0.0.1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:0a00:0001::1",
        ] {
            assert!(is_held(text), "{text}");
        }
        assert!(!is_held("10.0.1.1"));
        assert!(!is_held("2001:db8::a00:1"));
    }

    #[test]
    fn quoted_texts_are_harmless_and_short() {
        assert_eq!(quote("n\n\u{1b}\u{f6}"), "\"n\\n\\u{1b}\\u{f6}\"");
        assert!(quote(&"x".repeat(5000)).len() < 100);
    }
}
