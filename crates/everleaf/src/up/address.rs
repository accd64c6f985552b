//! Under which names and addresses the API server is reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Names that every API server's certificate carries.
const SERVICE_NAMES: [&str; 5] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
];

/// What the API server's certificate says, and the URLs in kubeconfigs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// DNS names, sorted, each once.
    pub(crate) dns_names: Vec<String>,
    /// Addresses, sorted, each once.
    pub(crate) ip_addresses: Vec<IpAddr>,
    /// Where the server listens; unspecified: on all addresses.
    pub(crate) listens_on: IpAddr,
    /// Name of the host.
    pub(crate) host_name: String,
    /// URL for this host.
    pub(crate) local_url: String,
    /// URL for other hosts.
    pub(crate) public_url: String,
}

impl Addresses {
    /// From where it listens, the host's name and `--tls-san`. `primary` is the host's own address,
    /// asked for only when the server listens on all of them.
    pub(crate) fn new(
        listen: SocketAddr,
        host_name: &str,
        sans: &[String],
        primary: impl FnOnce() -> Option<IpAddr>,
    ) -> Self {
        let mut dns_names: Vec<String> = SERVICE_NAMES.map(str::to_owned).to_vec();
        let mut ip_addresses = vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        if !host_name.is_empty() {
            dns_names.push(host_name.to_owned());
        }
        let loopback = match listen.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let (local, mut public) = if listen.ip().is_unspecified() {
            let primary = primary();
            ip_addresses.extend(primary);
            (loopback, primary.unwrap_or(loopback).to_string())
        } else {
            ip_addresses.push(listen.ip());
            (listen.ip(), listen.ip().to_string())
        };
        if let Some(first) = sans.first() {
            first.clone_into(&mut public);
        }
        for san in sans {
            match san.parse::<IpAddr>() {
                Ok(address) => ip_addresses.push(address),
                Err(_) => dns_names.push(san.to_lowercase()),
            }
        }
        dns_names.sort();
        dns_names.dedup();
        ip_addresses.sort();
        ip_addresses.dedup();
        let port = listen.port();
        Self {
            dns_names,
            ip_addresses,
            listens_on: listen.ip(),
            host_name: host_name.to_owned(),
            local_url: url(&local.to_string(), port),
            public_url: url(&public, port),
        }
    }
}

fn url(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("https://[{host}]:{port}")
    } else {
        format!("https://{host}:{port}")
    }
}

/// The address that this host uses towards others. Nothing is sent: connecting a datagram socket
/// only picks a route.
pub(crate) fn primary() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // TEST-NET-1 (RFC 5737): nobody is there.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified() && !address.is_loopback()).then_some(address)
}

/// The same over IPv6.
pub(crate) fn primary_v6() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    // Documentation (RFC 3849): nobody is there.
    let nobody = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    socket.connect((nobody, 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified() && !address.is_loopback()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(listen: &str, sans: &[&str]) -> Addresses {
        let sans: Vec<String> = sans.iter().map(ToString::to_string).collect();
        Addresses::new(listen.parse().unwrap(), "host1", &sans, || {
            Some([198, 51, 100, 7].into())
        })
    }

    #[test]
    fn urls_lead_to_where_the_server_listens() {
        for (listen, sans, local, public) in [
            (
                "127.0.0.1:6443",
                &[][..],
                "https://127.0.0.1:6443",
                "https://127.0.0.1:6443",
            ),
            (
                "0.0.0.0:1",
                &[],
                "https://127.0.0.1:1",
                "https://198.51.100.7:1",
            ),
            (
                "0.0.0.0:1",
                &["Ca.Example"],
                "https://127.0.0.1:1",
                "https://Ca.Example:1",
            ),
            (
                "[::]:1",
                &["2001:db8::1"],
                "https://[::1]:1",
                "https://[2001:db8::1]:1",
            ),
            (
                "10.0.0.5:1",
                &[],
                "https://10.0.0.5:1",
                "https://10.0.0.5:1",
            ),
        ] {
            let addresses = addresses(listen, sans);
            assert_eq!(
                (addresses.local_url.as_str(), addresses.public_url.as_str()),
                (local, public)
            );
        }
    }

    #[test]
    fn every_name_is_in_the_certificate_once() {
        let addresses = addresses("127.0.0.1:1", &["10.0.0.5", "localhost", "HOST1", "::1"]);
        let names: Vec<&str> = addresses.dns_names.iter().map(String::as_str).collect();
        let mut expected = SERVICE_NAMES.to_vec();
        expected.push("host1");
        expected.sort_unstable();
        assert_eq!(names, expected);
        let ips: Vec<String> = addresses
            .ip_addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(ips, ["10.0.0.5", "127.0.0.1", "::1"]);
    }
}
