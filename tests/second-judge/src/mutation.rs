//! Ways to break a case: bytes, elements, extensions, fields, and who stands where.

use crate::case::{Case, Form, KEYS, Member};
use crate::corpus::NOW;
use crate::der::{Body, Node};
use crate::extensions::{self, IDENTIFIERS};

/// A stream of choices from a seed (splitmix64): the same on every machine.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed, the same choices.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 when there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    /// One of a list that is not empty.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// Changes a case in one to three places; `others` lend parts.
pub fn mutate(case: &mut Case, others: &[Case], dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        let index = dice.below(case.members.len());
        let other = &others[dice.below(others.len())];
        match dice.below(20) {
            0 => case.now = moment(case.now, dice),
            1..=3 => rearrange(case, other, dice),
            4 => with_bytes(case, index, |bytes| change_bytes(bytes, dice)),
            5 => {
                // A signature that does not fit, or whose wrapping is bent.
                if let Some(member) = case.members.get_mut(index) {
                    let mut der = member.der();
                    change_bytes(&mut der, dice);
                    member.form = Form::Whole(der);
                }
            }
            6..=9 => with_tree(case, index, |tree| change_element(tree, other, dice)),
            10 | 11 => with_tree(case, index, |tbs| change_field(tbs, dice)),
            _ => with_tree(case, index, |tbs| change_extensions(tbs, other, dice)),
        }
    }
}

fn moment(now: u32, dice: &mut Dice) -> u32 {
    const YEAR: u32 = 365 * 24 * 3600;
    dice.pick(&[
        0,
        NOW,
        now.wrapping_add(1),
        now.wrapping_sub(YEAR),
        now.wrapping_add(20 * YEAR),
        u32::MAX,
    ])
}

fn with_bytes(case: &mut Case, index: usize, change: impl FnOnce(&mut Vec<u8>)) {
    if let Some(member) = case.members.get_mut(index) {
        change(member.bytes_mut());
    }
}

/// Changes what is, or will be, signed.
fn with_tree(case: &mut Case, index: usize, change: impl FnOnce(&mut Node)) {
    with_bytes(case, index, |bytes| {
        if let Some(mut tree) = Node::read(bytes) {
            change(&mut tree);
            *bytes = tree.write();
        }
    });
}

fn change_bytes(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(bytes.len());
    match dice.below(6) {
        _ if bytes.is_empty() => bytes.push(dice.byte()),
        0 | 1 => bytes[at] ^= 1 << dice.below(8),
        2 => bytes[at] = dice.byte(),
        3 => bytes.truncate(at),
        4 => bytes.insert(at, dice.byte()),
        _ => drop(bytes.remove(at)),
    }
}

const TAGS: [u8; 18] = [
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x16, 0x17, 0x18, 0x30, 0x31, 0x80, 0x82, 0xa0,
    0xa1, 0xa3,
];
const INTEGERS: [&[u8]; 9] = [
    &[0],
    &[1],
    &[0x7f],
    &[0xff],
    &[0x80, 0],
    &[0, 0xff, 0xff, 0xff, 0xff],
    &[],
    &[0, 1],
    &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
];
const DATES: [&[u8]; 9] = [
    b"240101000000Z",
    b"20240101000000Z",
    b"99991231235959Z",
    b"2401010000Z",
    b"240101000000+0100",
    b"00010101000000Z",
    b"500101000000Z",
    b"20240101000000.5Z",
    b"270115080000Z",
];

/// Around [`NOW`]: long past, just past, now, soon, far.
const NEAR_DATES: [&[u8]; 5] = [
    b"250101000000Z",
    b"270115075959Z",
    b"270115080000Z",
    b"270115080001Z",
    b"300101000000Z",
];

/// Changes any element of `tree`.
fn change_element(tree: &mut Node, other: &Case, dice: &mut Dice) {
    let number = dice.below(tree.count());
    let Some(node) = tree.nth_mut(number) else {
        return;
    };
    match (node.tag, dice.below(8)) {
        (0x01, 0..=5) => node.body = Body::Bytes(vec![dice.pick(&[0, 1, 0xff])]),
        (0x02, 0..=5) => node.body = Body::Bytes(dice.pick(&INTEGERS).to_vec()),
        (0x06, 0..=5) => node.body = Body::Bytes(dice.pick(&IDENTIFIERS).to_vec()),
        (0x17 | 0x18, 0..=5) => {
            node.body = Body::Bytes(dice.pick(&DATES).to_vec());
            node.tag = dice.pick(&[0x17, 0x18]);
        }
        (_, 0) => node.tag = dice.pick(&TAGS),
        (_, 1) => {
            let mut content = node.content();
            change_bytes(&mut content, dice);
            node.body = Body::Bytes(content);
        }
        (_, 2) => {
            if let Some(donor) = tree_of(other, dice)
                && let Some(lent) = donor.clone().nth_mut(dice.below(donor.count()))
            {
                *node = lent.clone();
            }
        }
        _ => {
            if let Some(nodes) = node.children_mut() {
                change_list(nodes, dice);
            }
        }
    }
}

/// Deletes, repeats or moves one of a list.
fn change_list(nodes: &mut Vec<Node>, dice: &mut Dice) {
    if nodes.is_empty() {
        return;
    }
    let (at, to) = (dice.below(nodes.len()), dice.below(nodes.len()));
    match dice.below(4) {
        0 | 1 => drop(nodes.remove(at)),
        2 => nodes.insert(to, nodes[at].clone()),
        _ => nodes.swap(at, to),
    }
}

fn tree_of(case: &Case, dice: &mut Dice) -> Option<Node> {
    let mut member = case.members.get(dice.below(case.members.len()))?.clone();
    Node::read(member.bytes_mut())
}

/// Changes version, serial, algorithm, names, dates or key.
fn change_field(tbs: &mut Node, dice: &mut Dice) {
    let Some(fields) = tbs.children_mut() else {
        return;
    };
    match dice.below(4) {
        // An older version, without extensions or with.
        0 => {
            const VERSION: u8 = 0xa0;
            fields.retain(|field| field.tag != VERSION);
            let version = dice.below(4) as u8;
            if version > 0 {
                fields.insert(
                    0,
                    Node::nodes(VERSION, vec![Node::bytes(0x02, &[version - 1])]),
                );
            }
            if dice.below(4) > 0 {
                fields.retain(|field| field.tag != 0xa3);
            }
        }
        1 => change_list(fields, dice),
        2 => {
            let is_date = |node: &Node| matches!(node.tag, 0x17 | 0x18);
            let mut dates = fields.iter_mut().filter_map(Node::children_mut);
            if let Some(dates) = dates.find(|dates| dates.len() == 2 && dates.iter().all(is_date)) {
                dates[dice.below(2)] = Node::bytes(0x17, dice.pick(&NEAR_DATES));
            }
        }
        _ => {
            let at = dice.below(fields.len());
            let size = fields.get(at).map_or(0, Node::count);
            let number = dice.below(size);
            let is_date = |node: &Node| matches!(node.tag, 0x17 | 0x18);
            if let Some(node) = fields.get_mut(at).and_then(|field| field.nth_mut(number)) {
                if is_date(node) {
                    node.body = Body::Bytes(dice.pick(&DATES).to_vec());
                } else if let Body::Bytes(bytes) = &mut node.body {
                    change_bytes(bytes, dice);
                }
            }
        }
    }
}

/// Puts, takes or bends extensions.
fn change_extensions(tbs: &mut Node, other: &Case, dice: &mut Dice) {
    let lent = tree_of(other, dice).and_then(|mut donor| {
        let list = extensions::list_of(&mut donor)?;
        list.get(dice.below(list.len())).cloned()
    });
    let Some(list) = extensions::list_of(tbs) else {
        return;
    };
    match dice.below(12) {
        0..=4 => extensions::put(list, extensions::any(dice)),
        5..=8 if extensions::change_name(list, dice) => {}
        5..=9 => extensions::put(list, lent.unwrap_or_else(|| extensions::any(dice))),
        10 => change_list(list, dice),
        _ => {
            // Critical, or not any more.
            let at = dice.below(list.len());
            if let Some(parts) = list.get_mut(at).and_then(Node::children_mut) {
                match parts.iter().position(|part| part.tag == 0x01) {
                    Some(index) => drop(parts.remove(index)),
                    None => parts.insert(1.min(parts.len()), Node::bytes(0x01, &[0xff])),
                }
            }
        }
    }
}

/// Changes who stands where, who signs what, and what of others stands beside.
fn rearrange(case: &mut Case, other: &Case, dice: &mut Dice) {
    let count = case.members.len();
    let (at, to) = (dice.below(count), dice.below(count));
    match dice.below(7) {
        _ if count == 0 => case.members.extend(other.members.first().cloned()),
        0 => case.members.swap(at, to),
        1 => drop(case.members.remove(at)),
        2 => case.members[at].is_anchor ^= true,
        3 => {
            let copy = Member {
                is_anchor: !case.members[at].is_anchor,
                ..case.members[at].clone()
            };
            case.members.push(copy);
        }
        4 => {
            if let Form::Signed { key, .. } = &mut case.members[at].form {
                *key = dice.below(KEYS.len()) as u8;
            }
        }
        5 => case.members[at] = other.members[dice.below(other.members.len())].clone(),
        _ => case
            .members
            .push(other.members[dice.below(other.members.len())].clone()),
    }
}
