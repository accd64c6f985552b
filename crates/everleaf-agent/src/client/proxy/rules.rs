//! Which proxy the environment wants for a server: Go's rules (`golang.org/x/net/http/httpproxy`),
//! which are those of every Kubernetes program. hyper-util has a matcher, too, but by curl's rules:
//! there `.example` means `example` as well, and a port in `NO_PROXY` nothing.
//!
//! One difference: entries of `NO_PROXY` that are not ASCII are compared as they are, without
//! punycode.

use crate::kubeconfig::ProxyUrl;
use crate::secret::Secret;
use std::net::IpAddr;

/// The variables that count, read once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    http: Option<Variable>,
    https: Option<Variable>,
    exceptions: Vec<Exception>,
}

/// A variable that names a proxy.
#[derive(Clone, Debug)]
struct Variable {
    name: &'static str,
    value: Secret,
}

/// One entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    Network {
        address: IpAddr,
        bits: u8,
    },
    Address {
        address: IpAddr,
        port: String,
    },
    /// `suffix` begins with a dot; `with_itself`: what stands after the dot is meant, too.
    Domain {
        suffix: String,
        with_itself: bool,
        port: String,
    },
}

/// A proxy that the environment names.
pub(super) struct Named {
    /// By which variable.
    pub(super) variable: &'static str,
    /// Or why it cannot be used.
    pub(super) proxy: Result<ProxyUrl, String>,
}

impl Environment {
    /// As this process has it. Capital letters go first, as in Go's `net/http`.
    pub(crate) fn of_process() -> Self {
        let read = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
                let value = Secret::new(value);
                Some(Variable { name, value })
            })
        };
        Self {
            http: read(["HTTP_PROXY", "http_proxy"]),
            https: read(["HTTPS_PROXY", "https_proxy"]),
            exceptions: read(["NO_PROXY", "no_proxy"])
                .map_or_else(Vec::new, |list| exceptions(list.value.expose())),
        }
    }

    /// The proxy for a server, if there is one for it.
    pub(super) fn proxy_for(&self, is_plain: bool, host: &str, port: u16) -> Option<Named> {
        let variable = if is_plain { &self.http } else { &self.https };
        let variable = variable.as_ref()?;
        self.is_meant(host, port).then(|| Named {
            variable: variable.name,
            proxy: ProxyUrl::parse_lenient(variable.value.expose()),
        })
    }

    fn is_meant(&self, host: &str, port: u16) -> bool {
        if host == "localhost" {
            return false;
        }
        let address = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        if address.is_some_and(|address| address.is_loopback()) {
            return false;
        }
        let (host, port) = (host.to_ascii_lowercase(), port.to_string());
        let is_excepted = |exception: &Exception| exception.covers(&host, address, &port);
        !self.exceptions.iter().any(is_excepted)
    }
}

impl Exception {
    fn covers(&self, host: &str, ip: Option<IpAddr>, at: &str) -> bool {
        let is_at = |port: &str| port.is_empty() || port == at;
        match self {
            Self::Everything => true,
            Self::Network { address, bits } => ip.is_some_and(|ip| contains(*address, *bits, ip)),
            Self::Address { address, port } => ip == Some(*address) && is_at(port),
            Self::Domain {
                suffix,
                with_itself,
                port,
            } => {
                let is_itself = *with_itself && suffix.strip_prefix('.') == Some(host);
                ip.is_none() && (is_itself || host.ends_with(suffix)) && is_at(port)
            }
        }
    }
}

/// What cannot be understood is passed over.
fn exceptions(list: &str) -> Vec<Exception> {
    let mut found = Vec::new();
    for entry in list.split(',') {
        let entry = entry.trim().to_lowercase();
        if entry == "*" {
            return vec![Exception::Everything];
        }
        if let Some((address, bits)) = network(&entry) {
            found.push(Exception::Network { address, bits });
            continue;
        }
        let (host, port) = split_host_port(&entry).unwrap_or((&entry, ""));
        if let Ok(address) = host.parse::<IpAddr>() {
            found.push(Exception::Address {
                address: address.to_canonical(),
                port: port.to_owned(),
            });
            continue;
        }
        if host.is_empty() {
            continue;
        }
        let host = if host.starts_with("*.") {
            &host[1..]
        } else {
            host
        };
        let with_itself = !host.starts_with('.');
        found.push(Exception::Domain {
            suffix: if with_itself {
                format!(".{host}")
            } else {
                host.to_owned()
            },
            with_itself,
            port: port.to_owned(),
        });
    }
    found
}

/// `10.0.0.0/8`, in its canonical family.
fn network(entry: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bits: u8 = bits.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    if bits > width {
        return None;
    }
    match address.to_canonical() {
        // An IPv4 address inside an IPv6 one, with all that makes it one.
        canonical @ IpAddr::V4(_) if address.is_ipv6() => match bits.checked_sub(96) {
            Some(bits) => Some((canonical, bits)),
            None => Some((address, bits)),
        },
        canonical => Some((canonical, bits)),
    }
}

fn contains(network: IpAddr, bits: u8, ip: IpAddr) -> bool {
    match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            network.to_bits() & mask == ip.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            network.to_bits() & mask == ip.to_bits() & mask
        }
        _ => false,
    }
}

/// `host:port` or `[host]:port`; `None` for everything else, as Go's `net.SplitHostPort` refuses
/// it.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':')?)
        }
        None => text
            .rsplit_once(':')
            .filter(|(host, _)| !host.contains(':'))?,
    };
    let is_odd = |text: &str| text.contains(['[', ']', ':']);
    (!is_odd(port) && !host.contains(['[', ']'])).then_some((host, port))
}

#[cfg(test)]
impl Environment {
    /// As if the variables held these texts.
    pub(crate) fn new(http: &str, https: &str, exceptions_text: &str) -> Self {
        let variable = |name, value: &str| {
            let value = Secret::new(value.to_owned());
            (!value.expose().is_empty()).then_some(Variable { name, value })
        };
        Self {
            http: variable("HTTP_PROXY", http),
            https: variable("HTTPS_PROXY", https),
            exceptions: exceptions(exceptions_text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row of what Go's own code answered.
    #[test]
    fn the_environment_means_what_it_means_to_go() {
        let rows = include_str!("go-httpproxy.txt").lines();
        let rows = rows.filter(|row| !row.is_empty() && !row.starts_with('#'));
        let mut tried = 0;
        for row in rows {
            let cells: Vec<&str> = row.split(" | ").map(|cell| cell.trim()).collect();
            let cell = |at: usize| if cells[at] == "-" { "" } else { cells[at] };
            let server: http::Uri = cells[0].parse().unwrap();
            let is_plain = server.scheme_str() == Some("http");
            let host = server.host().unwrap().trim_matches(['[', ']']);
            let usual = if is_plain { 80 } else { 443 };
            let port = server.port_u16().unwrap_or(usual);
            let environment = Environment::new(cell(1), cell(2), cell(3));
            let found = environment.proxy_for(is_plain, host, port);
            let found = found.map(|named| named.proxy.unwrap());
            let expected = match cells[4] {
                "direct" => None,
                url => Some(ProxyUrl::parse_lenient(url).unwrap()),
            };
            let facts = |proxy: &ProxyUrl| (proxy.to_string(), proxy.login().cloned());
            assert_eq!(
                found.as_ref().map(facts),
                expected.as_ref().map(facts),
                "{row}"
            );
            tried += 1;
        }
        assert!(tried >= 40, "{tried}");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_not_passed_over() {
        let environment = Environment::new("", "ftp://s3cr3t", "");
        let named = environment.proxy_for(false, "h", 1).unwrap();
        assert_eq!(named.variable, "HTTPS_PROXY");
        named.proxy.unwrap_err();
        assert!(!format!("{environment:?}").contains("s3cr3t"));
    }
}
