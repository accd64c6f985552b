//! Which IP address a host has toward its cluster, where neither `--node-ip` nor the Node object
//! says.
//!
//! Owns a kubelet's rules (`pkg/kubelet/nodestatus/setters.go`, NodeAddress without a cloud
//! provider): a name that is an address is that address; else what the name resolves to, if an
//! interface of this host has it, IPv4 first; else the address from which this host reaches others.

use crate::identity::parse_ip;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs, UdpSocket};

/// Looks at this host. Waits for the resolver: not for the loop.
pub(crate) fn detect(node_name: &str) -> Option<IpAddr> {
    let resolved = (node_name, 0).to_socket_addrs();
    let resolved: Vec<IpAddr> = resolved
        .map(|found| found.map(|address| address.ip().to_canonical()).collect())
        .unwrap_or_default();
    // Nothing can be bound to an address of another host.
    let is_local = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
    choose(node_name, &resolved, is_local, outbound)
}

fn choose(
    node_name: &str,
    resolved: &[IpAddr],
    is_local: impl Fn(IpAddr) -> bool,
    outbound: impl Fn() -> Option<IpAddr>,
) -> Option<IpAddr> {
    let of_a_node = |ip: &IpAddr| is_of_a_node(*ip);
    if let Some(ip) = parse_ip(node_name) {
        return Some(ip);
    }
    let mut usable: Vec<IpAddr> = resolved
        .iter()
        .copied()
        .filter(|ip| is_of_a_node(*ip) && is_local(*ip))
        .collect();
    usable.sort_by_key(IpAddr::is_ipv6);
    let first = usable.first().copied();
    first.or_else(|| outbound().filter(of_a_node))
}

/// What `validateNodeIP` lets through.
fn is_of_a_node(ip: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || is_link_local)
}

/// The address that the routes of this host give packets to others. Nothing is sent.
fn outbound() -> Option<IpAddr> {
    // Documentation addresses (RFC 5737, RFC 3849): routed like any other.
    let peers: [(IpAddr, IpAddr); 2] = [
        (
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 0, 2, 1).into(),
        ),
        (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        ),
    ];
    peers.into_iter().find_map(|(any, peer)| {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((peer, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip().to_canonical())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_a_kubelets() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let local = [
            ip("10.0.0.7"),
            ip("fd00::7"),
            ip("127.0.1.1"),
            ip("169.254.1.1"),
        ];
        let check = |name: &str, resolved: &[&str], outbound: Option<&str>| {
            let resolved: Vec<IpAddr> = resolved.iter().map(|text| ip(text)).collect();
            choose(
                name,
                &resolved,
                |ip| local.contains(&ip),
                || outbound.map(ip),
            )
            .map(|ip| ip.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(check("192.0.2.9", &["10.0.0.7"], None), some("192.0.2.9"));
        assert_eq!(
            check("n1", &["fd00::7", "10.0.0.7"], None),
            some("10.0.0.7")
        );
        assert_eq!(check("n1", &["fd00::7"], Some("10.0.0.7")), some("fd00::7"));
        // As Debian's /etc/hosts has it; and an address of another host.
        assert_eq!(
            check("n1", &["127.0.1.1"], Some("10.0.0.7")),
            some("10.0.0.7")
        );
        assert_eq!(
            check("n1", &["10.9.9.9"], Some("10.0.0.7")),
            some("10.0.0.7")
        );
        assert_eq!(check("n1", &["169.254.1.1"], Some("127.0.0.1")), None);
        assert_eq!(check("n1", &[], None), None);
    }
}
