//! Extensions as somebody might write them, from sound to absurd.

use crate::der::{Node, OCTETS, SEQUENCE, element};
use crate::mutation::Dice;

pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
pub(crate) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
pub(crate) const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];
pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 30];
const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 14];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 35];
const POLICIES: &[u8] = &[0x55, 0x1d, 32];
const POLICY_MAPPINGS: &[u8] = &[0x55, 0x1d, 33];
const POLICY_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 36];
const INHIBIT_ANY: &[u8] = &[0x55, 0x1d, 54];
const CRL_POINTS: &[u8] = &[0x55, 0x1d, 31];
const ISSUER_NAMES: &[u8] = &[0x55, 0x1d, 18];
const AUTHORITY_INFO: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x01\x01";
const UNKNOWN: &[u8] = &[0x2a, 3, 4];
const LOOKALIKE: &[u8] = &[0x55, 0x1d, 15, 1];

/// Contents of object identifiers: what may be put in place of another.
pub(crate) const IDENTIFIERS: [&[u8]; 22] = [
    BASIC_CONSTRAINTS,
    KEY_USAGE,
    EXTENDED_KEY_USAGE,
    ALTERNATIVE_NAMES,
    NAME_CONSTRAINTS,
    POLICIES,
    POLICY_MAPPINGS,
    POLICY_CONSTRAINTS,
    INHIBIT_ANY,
    CRL_POINTS,
    ISSUER_NAMES,
    UNKNOWN,
    LOOKALIKE,
    // clientAuth, serverAuth, anyExtendedKeyUsage.
    b"\x2b\x06\x01\x05\x05\x07\x03\x02",
    b"\x2b\x06\x01\x05\x05\x07\x03\x01",
    b"\x55\x1d\x25\x00",
    // Ed25519, ecdsa-with-SHA256, ecdsa-with-SHA1, sha256WithRSA, sha1WithRSA, id-ecPublicKey.
    b"\x2b\x65\x70",
    b"\x2a\x86\x48\xce\x3d\x04\x03\x02",
    b"\x2a\x86\x48\xce\x3d\x04\x01",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05",
    b"\x2a\x86\x48\xce\x3d\x02\x01",
];

const HOSTS: [&[u8]; 20] = [
    b"example.com",
    b"www.example.com",
    b"mail.example.com",
    b"xexample.com",
    b"",
    b"example.com",
    b".example.com",
    b"www.example.com",
    b"a.b.example.com",
    b"EXAMPLE.com",
    b"*.example.com",
    b"example.net",
    b"com",
    b"example.com.",
    b"a..b",
    b"n1",
    b"xexample.com",
    b"www.example.com:1",
    b"ex ample.com",
    b"*",
];
const MAILBOXES: [&[u8]; 9] = [
    b"jane@example.com",
    b"JANE@example.com",
    b"x@a.EXAMPLE.com",
    b"example.com",
    b".example.com",
    b"a@b@c",
    b"\"q\"@example.com",
    b"@example.com",
    b"jane@",
];
const URIS: [&[u8]; 14] = [
    b"spiffe://example.com/a",
    b"https://www.example.com:8443/",
    b"urn:x:y",
    b"https://10.0.0.1/",
    b"https://[::1]/",
    b"http://u@example.net?x",
    b"https://EXAMPLE.com",
    b"https://a..b/",
    b"https://example.com.evil/",
    b"https:example.com",
    b"https://a:b/",
    b"//example.com",
    b"",
    b"https://example.net/@example.com",
];
const ADDRESSES: [&[u8]; 6] = [
    &[10, 1, 2, 3],
    &[192, 168, 0, 1],
    &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3],
    &[10, 1, 2],
    &[],
];
const NETWORKS: [&[u8]; 8] = [
    &[10, 0, 0, 0, 255, 0, 0, 0],
    &[10, 1, 0, 0, 255, 255, 0, 0],
    &[0, 0, 0, 0, 0, 0, 0, 0],
    &[10, 0, 0, 0, 255, 0, 255, 0],
    &[10, 0, 0, 0],
    &[0; 32],
    b"\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
];

/// A name of any form; `is_base`: as it stands in name constraints.
pub(crate) fn name(dice: &mut Dice, is_base: bool) -> Vec<u8> {
    match dice.below(12) {
        0..=3 => element(0x82, dice.pick(&HOSTS)),
        4 if is_base => element(0x81, dice.pick(&HOSTS)),
        4 | 5 => element(0x81, dice.pick(&MAILBOXES)),
        6 | 7 => element(0x86, dice.pick(if is_base { &HOSTS[..] } else { &URIS })),
        8 | 9 => element(
            0x87,
            dice.pick(if is_base { &NETWORKS[..] } else { &ADDRESSES }),
        ),
        10 => element(0xa4, &element(SEQUENCE, &[])),
        _ => element(0x88, UNKNOWN),
    }
}

/// Base and name, of each form that is compared, both as elements.
pub(crate) fn pairs() -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let boxes = MAILBOXES.iter().chain(&HOSTS).copied().collect();
    let mailboxes = of_form(0x81, boxes, &MAILBOXES);
    let hosts = of_form(0x82, HOSTS.to_vec(), &HOSTS);
    let uris = of_form(0x86, HOSTS.to_vec(), &URIS);
    let addresses = of_form(0x87, NETWORKS.to_vec(), &ADDRESSES);
    mailboxes.chain(hosts).chain(uris).chain(addresses)
}

fn of_form(
    tag: u8,
    bases: Vec<&'static [u8]>,
    names: &'static [&'static [u8]],
) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    bases.into_iter().flat_map(move |base| {
        let names = names.iter();
        names.map(move |name| (element(tag, base), element(tag, name)))
    })
}

/// `GeneralSubtrees` or `GeneralNames` of up to three.
fn list(dice: &mut Dice, tag: u8, is_base: bool) -> Vec<u8> {
    let count = dice.below(4);
    let names: Vec<u8> = (0..count)
        .flat_map(|_| {
            let name = name(dice, is_base);
            if is_base {
                element(SEQUENCE, &name)
            } else {
                name
            }
        })
        .collect();
    element(tag, &names)
}

fn name_constraints(dice: &mut Dice) -> Vec<u8> {
    let mut body = Vec::new();
    for tag in [0xa0, 0xa1] {
        if dice.below(3) > 0 {
            body.extend(list(dice, tag, true));
        }
    }
    element(SEQUENCE, &body)
}

fn extended_key_usage(dice: &mut Dice) -> Vec<u8> {
    let purposes = &IDENTIFIERS[11..16];
    let list: Vec<u8> = (0..dice.below(3))
        .flat_map(|_| element(0x06, dice.pick(purposes)))
        .collect();
    element(SEQUENCE, &list)
}

fn policies(dice: &mut Dice) -> Vec<u8> {
    const POLICIES: [&[u8]; 3] = [&[0x55, 0x1d, 32, 0], &[0x2a, 1], &[0x2a, 2]];
    let list: Vec<u8> = (0..dice.below(3))
        .flat_map(|_| element(SEQUENCE, &element(0x06, dice.pick(&POLICIES))))
        .collect();
    element(SEQUENCE, &list)
}

const BASICS: [&[u8]; 10] = [
    &[],
    &[1, 1, 0xff],
    &[1, 1, 0xff, 2, 1, 0],
    &[1, 1, 0xff, 2, 1, 1],
    &[1, 1, 0xff, 2, 1, 0x80],
    &[1, 1, 0],
    &[1, 1, 1],
    &[2, 1, 0],
    &[1, 1, 0xff, 2, 5, 0, 0xff, 0xff, 0xff, 0xff],
    &[
        1, 1, 0xff, 2, 9, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ],
];
const USAGES: [&[u8]; 8] = [
    &[7, 0x80],
    &[2, 0x04],
    &[1, 0x06],
    &[7, 0],
    &[0],
    &[5, 0xa0],
    &[7, 0, 0x80],
    &[0, 0xff],
];

/// Any extension.
pub(crate) fn any(dice: &mut Dice) -> Node {
    let (id, value): (&[u8], Vec<u8>) = match dice.below(20) {
        0..=2 => (BASIC_CONSTRAINTS, element(SEQUENCE, dice.pick(&BASICS))),
        3..=5 => (KEY_USAGE, element(0x03, dice.pick(&USAGES))),
        6 | 7 => (EXTENDED_KEY_USAGE, extended_key_usage(dice)),
        8..=10 => (NAME_CONSTRAINTS, name_constraints(dice)),
        11 | 12 => (ALTERNATIVE_NAMES, list(dice, SEQUENCE, false)),
        13 => (POLICIES, policies(dice)),
        14 => (
            POLICY_CONSTRAINTS,
            element(SEQUENCE, &[0x80, 1, dice.byte() & 1]),
        ),
        15 => (INHIBIT_ANY, element(0x02, &[0])),
        16 => (CRL_POINTS, element(SEQUENCE, &element(SEQUENCE, &[]))),
        17 => (SUBJECT_KEY_ID, element(OCTETS, &[dice.byte()])),
        18 => (
            AUTHORITY_KEY_ID,
            element(SEQUENCE, &element(0x80, &[dice.byte()])),
        ),
        _ => {
            let others = [UNKNOWN, LOOKALIKE, ISSUER_NAMES, AUTHORITY_INFO];
            (dice.pick(&others), element(SEQUENCE, &[]))
        }
    };
    let is_critical = dice.below(2) == 0;
    extension(id, is_critical, &value)
}

/// `Extension`.
pub(crate) fn extension(id: &[u8], is_critical: bool, value: &[u8]) -> Node {
    let mut parts = vec![Node::bytes(0x06, id)];
    if is_critical {
        parts.push(Node::bytes(0x01, &[0xff]));
    }
    parts.push(Node::bytes(OCTETS, value));
    Node::nodes(SEQUENCE, parts)
}

/// The list of extensions in a `TBSCertificate`.
pub(crate) fn list_of(tbs: &mut Node) -> Option<&mut Vec<Node>> {
    const EXTENSIONS: u8 = 0xa3;
    let fields = tbs.children_mut()?;
    let wrapper = fields.iter_mut().find(|field| field.tag == EXTENSIONS)?;
    wrapper.children_mut()?.first_mut()?.children_mut()
}

/// Changes one alternative name, or one in name constraints; false when there is none.
pub(crate) fn change_name(list: &mut [Node], dice: &mut Dice) -> bool {
    let wanted = dice.pick(&[ALTERNATIVE_NAMES, NAME_CONSTRAINTS]);
    let is_wanted = |extension: &&mut Node| {
        let id = extension.children().first();
        id.is_some_and(|id| id.content() == wanted)
    };
    let value = list
        .iter_mut()
        .find(is_wanted)
        .and_then(|extension| extension.children_mut()?.last_mut());
    let Some(names) = value.and_then(|octets| octets.children_mut()?.first_mut()?.children_mut())
    else {
        return false;
    };
    if wanted == ALTERNATIVE_NAMES {
        let at = dice.below(names.len());
        let name = Node::read(&name(dice, false));
        return names
            .get_mut(at)
            .zip(name)
            .map(|(old, new)| *old = new)
            .is_some();
    }
    let at = dice.below(names.len());
    let Some(trees) = names.get_mut(at).and_then(Node::children_mut) else {
        return false;
    };
    let at = dice.below(trees.len());
    let tree = Node::nodes(
        SEQUENCE,
        Node::read(&name(dice, true)).into_iter().collect(),
    );
    trees.get_mut(at).map(|old| *old = tree).is_some()
}

/// Puts an extension into the list, in place of one with the same identifier.
pub(crate) fn put(list: &mut Vec<Node>, extension: Node) {
    let is_same = |other: &Node| other.children().first() == extension.children().first();
    match list.iter().position(is_same) {
        Some(index) => list[index] = extension,
        None => list.push(extension),
    }
}
