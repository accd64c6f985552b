//! DER as a tree that can be bent: read, changed anywhere, written with lengths that fit again.
//!
//! Only as much of DER as certificates use: one-octet tags. What cannot be read as elements stays
//! bytes.

/// Constructed SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// OCTET STRING.
pub const OCTETS: u8 = 0x04;

/// One element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Identifier octet.
    pub tag: u8,
    /// What it holds.
    pub body: Body,
}

/// Content of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Anything.
    Bytes(Vec<u8>),
    /// Elements: of a constructed element, or of an OCTET STRING that wraps some.
    Nodes(Vec<Node>),
}

impl Node {
    /// An element of bytes.
    pub fn bytes(tag: u8, content: &[u8]) -> Self {
        let body = Body::Bytes(content.to_vec());
        Self { tag, body }
    }

    /// An element of elements.
    pub fn nodes(tag: u8, nodes: Vec<Self>) -> Self {
        let body = Body::Nodes(nodes);
        Self { tag, body }
    }

    /// Reads one element that is all of `der`.
    pub fn read(der: &[u8]) -> Option<Self> {
        match &mut read_all(der, 0)?[..] {
            [node] => Some(std::mem::replace(node, Self::bytes(0, &[]))),
            _ => None,
        }
    }

    /// The element as bytes.
    pub fn write(&self) -> Vec<u8> {
        element(self.tag, &self.content())
    }

    /// What stands between its length and its end.
    pub fn content(&self) -> Vec<u8> {
        match &self.body {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Nodes(nodes) => nodes.iter().flat_map(Self::write).collect(),
        }
    }

    /// Its elements; none when it is bytes.
    pub fn children(&self) -> &[Self] {
        match &self.body {
            Body::Bytes(_) => &[],
            Body::Nodes(nodes) => nodes,
        }
    }

    /// Its elements, to be changed.
    pub fn children_mut(&mut self) -> Option<&mut Vec<Self>> {
        match &mut self.body {
            Body::Bytes(_) => None,
            Body::Nodes(nodes) => Some(nodes),
        }
    }

    /// Itself and all below.
    pub fn count(&self) -> usize {
        1 + self.children().iter().map(Self::count).sum::<usize>()
    }

    /// The element with this number, counted from the top and from the left.
    pub fn nth_mut(&mut self, number: usize) -> Option<&mut Self> {
        if number == 0 {
            return Some(self);
        }
        let mut left = number - 1;
        for child in self.children_mut()? {
            let size = child.count();
            if left < size {
                return child.nth_mut(left);
            }
            left -= size;
        }
        None
    }
}

/// Nested deeper than this stays bytes.
const DEPTH_MAX: usize = 24;

fn read_all(mut der: &[u8], depth: usize) -> Option<Vec<Node>> {
    let mut nodes = Vec::new();
    while !der.is_empty() {
        let (tag, content, rest) = split(der)?;
        let is_constructed = tag & 0x20 != 0;
        let below = match content {
            [_, ..] if depth < DEPTH_MAX && (is_constructed || tag == OCTETS) => {
                read_all(content, depth + 1)
            }
            [] if is_constructed => Some(Vec::new()),
            _ => None,
        };
        nodes.push(match below {
            Some(below) => Node::nodes(tag, below),
            None => Node::bytes(tag, content),
        });
        der = rest;
    }
    Some(nodes)
}

/// Tag, content and rest of the first element; none when it is no DER.
pub fn split(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = octets
                .iter()
                .fold(0, |sum, &octet| sum << 8 | usize::from(octet));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    let is_minimal = element(tag, content).len() == der.len() - rest.len();
    (tag & 0x1f != 0x1f && is_minimal).then_some((tag, content, rest))
}

/// A whole element.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let octets = content.len().to_be_bytes();
    let zeros = octets.iter().take_while(|&&octet| octet == 0).count();
    match content.len() {
        length @ 0..=0x7f => out.push(length as u8),
        _ => {
            out.push(0x80 | (octets.len() - zeros) as u8);
            out.extend(&octets[zeros..]);
        }
    }
    out.extend(content);
    out
}
