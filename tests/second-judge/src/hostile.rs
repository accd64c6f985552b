//! Chains that are made to cost much, from what fits into a TLS message: 128 intermediates, 60 KiB.

use crate::case::{KEYS, sign};
use crate::der::element;
use rcgen::PublicKeyData;

/// A chain and whom it wants to be believed by.
pub struct Hostile {
    /// The only anchor.
    pub root: Vec<u8>,
    /// Leaf first.
    pub shown: Vec<Vec<u8>>,
}

const ED25519: [usize; 3] = [0, 1, 2];
/// Signature algorithms of the keys.
const ALGORITHMS: [&[u8]; 5] = [
    b"\x30\x05\x06\x03\x2b\x65\x70",
    b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
    b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
    b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04",
    b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00",
];
const CA: (&[u8], &[u8]) = (b"\x55\x1d\x13", b"\x30\x03\x01\x01\xff");

fn name(text: &str) -> Vec<u8> {
    let value = [
        &b"\x06\x03\x55\x04\x03"[..],
        &element(0x0c, text.as_bytes()),
    ]
    .concat();
    element(0x30, &element(0x31, &element(0x30, &value)))
}

/// A certificate of that key, signed with the other.
fn certificate(
    subject: &str,
    key: usize,
    issuer: &str,
    signer: usize,
    extensions: &[(&[u8], &[u8])],
) -> Vec<u8> {
    let dates = [
        element(0x17, b"240101000000Z"),
        element(0x17, b"440101000000Z"),
    ]
    .concat();
    let list: Vec<u8> = extensions
        .iter()
        .flat_map(|(id, value)| {
            let parts = [element(0x06, id), element(0x04, value)].concat();
            element(0x30, &parts)
        })
        .collect();
    let tbs = [
        element(0xa0, &[2, 1, 2]),
        vec![2, 1, 1],
        ALGORITHMS[signer.saturating_sub(7)].to_vec(),
        name(issuer),
        element(0x30, &dates),
        name(subject),
        KEYS[key].subject_public_key_info(),
        element(0xa3, &element(0x30, &list)),
    ];
    sign(&element(0x30, &tbs.concat()), signer)
}

fn names(names: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    element(0x30, &names.flatten().collect::<Vec<u8>>())
}

/// Levels of five CAs, each of which may have been signed by each of the level above: all checks
/// that are allowed are made.
pub fn tree(key: usize) -> Hostile {
    let root = certificate("root", ED25519[0], "root", ED25519[0], &[CA]);
    let mut shown = vec![certificate("leaf", ED25519[1], "level 0", key, &[])];
    for level in 0..4 {
        let (subject, issuer) = (format!("level {level}"), format!("level {}", level + 1));
        for number in 0..5 {
            let names = names([element(0x82, &[b'a' + number])].into_iter());
            let extensions = [CA, (b"\x55\x1d\x11", &names[..])];
            shown.push(certificate(&subject, key, &issuer, key, &extensions));
        }
    }
    Hostile { root, shown }
}

/// Intermediates of one name and key, told apart by their names, as many as fit.
pub fn crowd(key: usize) -> Hostile {
    let root = certificate("root", ED25519[0], "root", ED25519[0], &[CA]);
    let mut shown = vec![certificate("leaf", ED25519[1], "crowd", key, &[])];
    let mut left = 60 * 1024;
    for number in 0..128_u8 {
        let names = names([element(0x82, &[b'a' + number / 26, b'a' + number % 26])].into_iter());
        let der = certificate("crowd", key, "crowd", key, &[CA, (b"\x55\x1d\x11", &names)]);
        if der.len() > left {
            break;
        }
        left -= der.len();
        shown.push(der);
    }
    Hostile { root, shown }
}

/// `ways` ways over a CA with these constraints to a leaf with these names.
fn limited(ways: u8, limits: &[u8], names_of_leaf: &[u8]) -> Hostile {
    let root = certificate("root", ED25519[0], "root", ED25519[0], &[CA]);
    let limits: (&[u8], &[u8]) = (b"\x55\x1d\x1e", limits);
    let names_of_leaf: (&[u8], &[u8]) = (b"\x55\x1d\x11", names_of_leaf);
    let mut shown = vec![certificate(
        "leaf",
        3,
        "middle",
        ED25519[2],
        &[names_of_leaf],
    )];
    for number in 0..ways {
        let names = names([element(0x82, &[b'A' + number])].into_iter());
        let extensions = [CA, (b"\x55\x1d\x11", &names[..])];
        shown.push(certificate(
            "middle",
            ED25519[2],
            "limited",
            ED25519[1],
            &extensions,
        ));
    }
    shown.push(certificate(
        "limited",
        ED25519[1],
        "root",
        ED25519[0],
        &[CA, limits],
    ));
    Hostile { root, shown }
}

/// Excluded bases and names that each base is compared with: so many of each, or half of the room
/// for each.
pub fn quadratic(ways: u8, most: usize, tag: u8, base: &[u8], name: &[u8]) -> Hostile {
    let room = (60 * 1024 - 300 * (usize::from(ways) + 2)) / 2;
    let base = element(0x30, &element(tag, base));
    let limits = base.repeat(most.min(room / base.len()));
    let name = element(tag, name);
    let names_of_leaf = name.repeat(most.min(room / name.len()));
    let limits = element(0x30, &element(0xa1, &limits));
    limited(ways, &limits, &element(0x30, &names_of_leaf))
}

/// Many policies at the top, carried down by "any policy", with mappings of all to all.
pub fn with_policies(depth: u8, policies: u16, mapped: u16) -> Hostile {
    let policy = |number: u16| {
        let [high, low] = [(number >> 7) as u8 + 1, (number & 0x7f) as u8];
        element(0x06, &[0x2a, 3, 0x80 | high, low])
    };
    let any = element(0x30, &element(0x06, &[0x55, 0x1d, 32, 0]));
    let list: Vec<u8> = (0..policies)
        .flat_map(|number| element(0x30, &policy(number)))
        .collect();
    let mappings: Vec<u8> = (0..mapped)
        .flat_map(|number| {
            element(
                0x30,
                &[policy(number % policies), policy(number / 7)].concat(),
            )
        })
        .collect();
    let root = certificate("root", ED25519[0], "root", ED25519[0], &[CA]);
    let (list, mappings) = (element(0x30, &list), element(0x30, &mappings));
    let any_only = element(0x30, &any);
    let top = [
        CA,
        (b"\x55\x1d\x20", &list[..]),
        (b"\x55\x1d\x21", &mappings[..]),
    ];
    let top = &top[..if mapped == 0 { 2 } else { 3 }];
    let below = [CA, (b"\x55\x1d\x20", &any_only[..])];
    let mut shown = vec![certificate("top", ED25519[1], "root", ED25519[0], top)];
    let mut issuer = "top".to_owned();
    for number in 0..depth {
        let subject = format!("below {number}");
        shown.push(certificate(
            &subject, ED25519[1], &issuer, ED25519[1], &below,
        ));
        issuer = subject;
    }
    shown.push(certificate("leaf", 3, &issuer, ED25519[1], &below[1..]));
    shown.reverse();
    Hostile { root, shown }
}
