//! Name constraints (RFC 5280 4.2.1.10), with the liberties that Go documents: a host in a
//! constraint covers what is below it for e-mail and URI, too; a leading dot means only what is
//! below; names that cannot be compared are refused by anybody who limits names at all; what a
//! wildcard stands for is excluded with it.

use x509_parser::extensions::GeneralName;

/// Whether a CA with these limits (permitted, excluded) lets that name pass.
pub(crate) fn check(
    name: &GeneralName<'_>,
    [permitted, excluded]: &[Vec<&GeneralName<'_>>; 2],
) -> Result<(), String> {
    check_comparable(name)?;
    let of_its_form =
        |base: &&&GeneralName<'_>| std::mem::discriminant(**base) == std::mem::discriminant(name);
    let mut bases = permitted.iter().filter(of_its_form).peekable();
    if bases.peek().is_some() && !bases.any(|base| covers(base, name) && permits_mapped(base, name))
    {
        return Err(format!("{name} is not permitted"));
    }
    let mut bases = excluded.iter().filter(of_its_form);
    if bases.any(|base| covers(base, name) || may_stand_for(base, name)) {
        return Err(format!("{name} is excluded"));
    }
    Ok(())
}

fn check_comparable(name: &GeneralName<'_>) -> Result<(), String> {
    let host = match name {
        GeneralName::DNSName(host) => (*host).to_owned(),
        GeneralName::RFC822Name(mailbox) => match mailbox.split_once('@') {
            Some((local, host)) if !local.is_empty() => host.to_owned(),
            _ => return Err(format!("{name} is no mailbox")),
        },
        GeneralName::URI(uri) => match host_of(uri) {
            Some(host) if host.parse::<std::net::IpAddr>().is_err() => host,
            _ => return Err(format!("{name} has no host to compare")),
        },
        _ => return Ok(()),
    };
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || host.split('.').all(is_label) {
        return Ok(());
    }
    Err(format!("{name} is malformed"))
}

fn covers(base: &GeneralName<'_>, name: &GeneralName<'_>) -> bool {
    match (base, name) {
        (GeneralName::DNSName(base), GeneralName::DNSName(name)) => is_within(name, base),
        (GeneralName::URI(base), GeneralName::URI(uri)) => {
            host_of(uri).is_some_and(|host| is_within(&host, base))
        }
        (GeneralName::RFC822Name(base), GeneralName::RFC822Name(name)) => {
            let Some((local, host)) = name.split_once('@') else {
                return false;
            };
            match base.split_once('@') {
                Some((wanted, base)) => local == wanted && host.eq_ignore_ascii_case(base),
                None => is_within(host, base),
            }
        }
        (GeneralName::IPAddress(base), GeneralName::IPAddress(address)) => {
            let (network, mask) = base.split_at(base.len() / 2);
            let mut octets = address.iter().zip(network).zip(mask);
            network.len() == address.len()
                && octets.all(|((octet, network), mask)| octet & mask == network & mask)
        }
        _ => false,
    }
}

/// An IPv4 address in 16 octets is an IPv4 address to whoever compares it with a host: networks of
/// IPv6 do not permit it.
fn permits_mapped(base: &GeneralName<'_>, name: &GeneralName<'_>) -> bool {
    const MAPPED: &[u8] = b"\0\0\0\0\0\0\0\0\0\0\xff\xff";
    match (base, name) {
        (GeneralName::IPAddress(base), GeneralName::IPAddress(address)) => {
            address.len() == 4 || !address.starts_with(MAPPED) || base.starts_with(MAPPED)
        }
        _ => true,
    }
}

fn is_within(host: &str, base: &str) -> bool {
    let (host, base) = (host.to_ascii_lowercase(), base.to_ascii_lowercase());
    if base.is_empty() || host == base {
        return true;
    }
    let tail = if base.starts_with('.') {
        base
    } else {
        format!(".{base}")
    };
    host.ends_with(&tail)
}

/// `*.example.com` may be `www.example.com`.
fn may_stand_for(base: &GeneralName<'_>, name: &GeneralName<'_>) -> bool {
    let (GeneralName::DNSName(base), GeneralName::DNSName(name)) = (base, name) else {
        return false;
    };
    match (name.strip_prefix("*."), base.split_once('.')) {
        (Some(parent), Some((_, of_base))) => parent.eq_ignore_ascii_case(of_base),
        _ => false,
    }
}

/// `scheme://user@host:port/…`
fn host_of(uri: &str) -> Option<String> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    if host.starts_with('[') {
        return None;
    }
    let host = host.split(':').next()?;
    (!host.is_empty()).then(|| host.to_owned())
}
