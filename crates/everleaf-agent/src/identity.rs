//! Who the node is: the subject of its certificates, and the names and addresses of its serving
//! certificate.
//!
//! Owns the rules that turn a Node object's addresses into SANs. It refuses to know where the
//! object comes from and when to look again.

use everleaf_pki::{Subject, Template};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// What the client certificate should say: the subject alone; the signer refuses SANs.
pub fn client_template(node_name: &str) -> Template {
    Template {
        subject: Subject::node(node_name),
        ..Template::default()
    }
}

/// One entry of a Node's `status.addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// `Hostname`, `InternalIP`, `ExternalIP`, `InternalDNS`, `ExternalDNS`.
    pub kind: String,
    /// The address.
    pub address: String,
}

/// The addresses in a Node object; anything malformed is left out.
pub fn addresses_of(node: &Value) -> Vec<NodeAddress> {
    let entries = node.pointer("/status/addresses").and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            Some(NodeAddress {
                kind: entry.get("type")?.as_str()?.to_owned(),
                address: entry.get("address")?.as_str()?.to_owned(),
            })
        })
        .collect()
}

/// True while a cloud provider has yet to fill in the Node's addresses.
pub fn is_awaiting_cloud(node: &Value) -> bool {
    let taints = node.pointer("/spec/taints").and_then(Value::as_array);
    taints.into_iter().flatten().any(|taint| {
        taint.get("key").and_then(Value::as_str)
            == Some("node.cloudprovider.kubernetes.io/uninitialized")
    })
}

/// The addresses of a node that has no Node object: its name, and `--node-ip`.
pub fn addresses_without_node(node_name: &str, node_ips: &[IpAddr]) -> Vec<NodeAddress> {
    let hostname = NodeAddress {
        kind: "Hostname".to_owned(),
        address: node_name.to_owned(),
    };
    let ips = node_ips.iter().map(|address| NodeAddress {
        kind: "InternalIP".to_owned(),
        address: address.to_string(),
    });
    std::iter::once(hostname).chain(ips).collect()
}

/// Why no serving certificate can be asked for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTemplate {
    /// No address at all.
    #[error("the node has no addresses yet")]
    NoAddress,
    /// Names, but no IP address; Kubernetes wants one since 1.31.
    #[error(
        "the node has no IP address: its name resolves to none of this host, and no route leads out; give --node-ip, or let \
             the Node object name one"
    )]
    NoIp,
    /// The cloud provider has not filled in the addresses.
    #[error("the cloud provider has not initialized the Node object yet")]
    AwaitingCloud,
}

/// What the serving certificate should say.
///
/// Names and addresses are de-duplicated and sorted, names by their bytes and addresses by their
/// text (`addressesToHostnamesAndIPs` of pkg/kubelet/certificate), so that the same node always
/// asks for the same thing.
pub fn serving_template(
    node_name: &str,
    addresses: &[NodeAddress],
) -> Result<Template, NoTemplate> {
    let mut names = BTreeSet::new();
    let mut ips = BTreeSet::new();
    for NodeAddress { kind, address } in addresses {
        if address.is_empty() {
            continue;
        }
        match (kind.as_str(), parse_ip(address)) {
            ("Hostname" | "InternalIP" | "ExternalIP", Some(ip)) => {
                ips.insert((ip.to_string(), ip));
            }
            ("Hostname" | "InternalDNS" | "ExternalDNS", _) if address.is_ascii() => {
                names.insert(address.clone());
            }
            // An IP entry that is none, a type of a later version, or what no certificate can hold.
            _ => {}
        }
    }
    match (names.is_empty(), ips.is_empty()) {
        (true, true) => Err(NoTemplate::NoAddress),
        (false, true) => Err(NoTemplate::NoIp),
        _ => Ok(Template {
            subject: Subject::node(node_name),
            dns_names: names.into_iter().collect(),
            ip_addresses: ips.into_iter().map(|(_, ip)| ip).collect(),
            uris: Vec::new(),
        }),
    }
}

/// DNS names that no certificate can hold (its names are ASCII): they are left out.
pub(crate) fn impossible_names(addresses: &[NodeAddress]) -> Vec<&str> {
    let names = addresses.iter().filter(|entry| !entry.address.is_ascii());
    let names = names.filter(|entry| !entry.kind.ends_with("IP"));
    names.map(|entry| entry.address.as_str()).collect()
}

/// Parses an IP address as Kubernetes does: IPv4 parts may have leading zeros and are decimal all
/// the same (`netutils.ParseIPSloppy`); an IPv4 address in IPv6 form is the IPv4 address.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts
        .next()
        .is_none()
        .then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[(&str, &str)]) -> Vec<NodeAddress> {
        list.iter()
            .map(|(kind, address)| NodeAddress {
                kind: (*kind).to_owned(),
                address: (*address).to_owned(),
            })
            .collect()
    }

    fn check(list: &[(&str, &str)], names: &[&str], ips: &[&str]) {
        let template = serving_template("n1", &addresses(list)).expect("a template");
        let found: Vec<_> = template
            .ip_addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(template.dns_names, names, "{list:?}");
        assert_eq!(found, ips, "{list:?}");
        assert_eq!(template.subject, Subject::node("n1"));
    }

    /// Upstream cases 73 to 78 of `TestAddressesToHostnamesAndIPs`, with an IP where one is needed.
    #[test]
    fn addresses_become_sorted_unique_names_and_ips() {
        check(
            &[("Hostname", ""), ("InternalIP", "1.1.1.1")],
            &[],
            &["1.1.1.1"],
        );
        check(
            &[
                ("InternalIP", "1.2"),
                ("ExternalIP", "3.4"),
                ("Hostname", "10.0.0.1"),
            ],
            &[],
            &["10.0.0.1"],
        );
        check(
            &[
                ("Hostname", "hostname"),
                ("ExternalDNS", "hostname"),
                ("InternalDNS", "hostname"),
                ("ExternalIP", "1.1.1.1"),
                ("InternalIP", "1.1.1.1"),
            ],
            &["hostname"],
            &["1.1.1.1"],
        );
        check(
            &[
                ("Hostname", "hostname-2"),
                ("ExternalDNS", "hostname-1"),
                ("InternalDNS", "hostname-3"),
                ("ExternalIP", "2.2.2.2"),
                ("InternalIP", "1.1.1.1"),
                ("InternalIP", "3.3.3.3"),
            ],
            &["hostname-1", "hostname-2", "hostname-3"],
            &["1.1.1.1", "2.2.2.2", "3.3.3.3"],
        );
        check(
            &[("Hostname", "hostname"), ("Hostname", "1.1.1.1")],
            &["hostname"],
            &["1.1.1.1"],
        );
    }

    #[test]
    fn the_order_is_textual_and_spellings_collapse() {
        check(
            &[("InternalIP", "9.0.0.1"), ("InternalIP", "10.0.0.1")],
            &[],
            &["10.0.0.1", "9.0.0.1"],
        );
        check(
            &[
                ("InternalIP", "010.000.000.001"),
                ("InternalIP", "10.0.0.1"),
                ("InternalIP", "::ffff:10.0.0.1"),
                ("InternalIP", "FD00::1"),
                ("ExternalIP", "fd00:0::1"),
            ],
            &[],
            &["10.0.0.1", "fd00::1"],
        );
        check(
            &[
                ("InternalDNS", "1.2.3.4"),
                ("InternalIP", "1.2.3.4"),
                ("Later", "x"),
                ("InternalDNS", "knötchen"),
                ("InternalIP", "１.2.3.4"),
            ],
            &["1.2.3.4"],
            &["1.2.3.4"],
        );
    }

    #[test]
    fn names_that_are_not_ascii_are_impossible() {
        let list = addresses(&[
            ("Hostname", "n1"),
            ("InternalDNS", "knötchen"),
            ("InternalIP", "１.2.3.4"),
        ]);
        assert_eq!(impossible_names(&list), ["knötchen"]);
    }

    /// Upstream cases 79 to 86, with the gate AllowDNSOnlyNodeCSR off (it exists only to be off).
    #[test]
    fn a_serving_certificate_needs_an_ip() {
        for (list, expected) in [
            (vec![], Err(NoTemplate::NoAddress)),
            (vec![("InternalIP", "1.2")], Err(NoTemplate::NoAddress)),
            (vec![("Hostname", "h")], Err(NoTemplate::NoIp)),
            (vec![("InternalIP", "10.0.0.1")], Ok((0, 1))),
            (
                vec![("Hostname", "h"), ("InternalIP", "10.0.0.1")],
                Ok((1, 1)),
            ),
        ] {
            let template = serving_template("n1", &addresses(&list));
            let counts = template.map(|t| (t.dns_names.len(), t.ip_addresses.len()));
            assert_eq!(counts, expected, "{list:?}");
        }
    }

    #[test]
    fn sloppy_addresses_are_decimal_and_nonsense_is_not_an_address() {
        for (text, expected) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("010.1.2.003", Some("10.1.2.3")),
            ("::1", Some("::1")),
            ("::ffff:1.2.3.4", Some("1.2.3.4")),
            ("1.2.3", None),
            ("1.2.3.4.5", None),
            ("1.2.3.256", None),
            ("1.2.3.+4", None),
            ("1.2.3.", None),
            ("", None),
            ("host", None),
        ] {
            let found = parse_ip(text).map(|ip| ip.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_node_object_is_read_leniently() {
        let node = serde_json::json!({
            "spec": {"taints": [{"key": "node.cloudprovider.kubernetes.io/uninitialized"}]},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "10.0.0.1"}, {"type": 7}, "x", {"type": "Hostname"},
            ]},
        });
        assert_eq!(
            addresses_of(&node),
            addresses(&[("InternalIP", "10.0.0.1")])
        );
        assert!(is_awaiting_cloud(&node));
        for node in [
            serde_json::json!({}),
            serde_json::json!({"status": {"addresses": 5}}),
        ] {
            assert_eq!(addresses_of(&node), []);
            assert!(!is_awaiting_cloud(&node));
        }
    }
}
