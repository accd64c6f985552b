//! The Merkle tree of RFC 6962 (section 2.1), and its hashes as tiles (C2SP `tlog-tiles`).
//!
//! Owns hashes and the names of tiles. A [`Tree`] keeps no more than the tiles at its right edge:
//! enough to grow, and to know its root.

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// Hashes in a full tile, and entries in a full bundle.
pub const TILE_WIDTH: usize = 256;
/// log2 of [`TILE_WIDTH`].
const TILE_HEIGHT: u32 = 8;
/// Levels of the largest tree: sizes have 64 bits.
const LEVELS_MAX: usize = 8;

/// What is put before a leaf and before two nodes, so that one never passes for the other.
const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// Hash of an entry.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256(&[&LEAF, entry])
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&NODE, left, right])
}

/// SHA-256 of what these parts are together.
pub(super) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Root over nodes of one height, of which the last may be lower; `None` for no nodes.
fn root_over(nodes: &[Hash]) -> Option<Hash> {
    match nodes {
        [] => None,
        [one] => Some(*one),
        _ => {
            // The largest power of two below their number.
            let half = nodes.len().next_power_of_two() / 2;
            let (left, right) = nodes.split_at(half);
            Some(node_hash(&root_over(left)?, &root_over(right)?))
        }
    }
}

/// A tree that grows at its right edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// The tile at the right edge of each level, as long as it is not full.
    edge: Vec<Vec<Hash>>,
}

impl Tree {
    /// A tree of `size` entries; `tile` reads the tile of a level, an index and a width.
    ///
    /// # Errors
    /// Of `tile`, which has to return just as many hashes as it is asked for.
    pub fn read<E>(
        size: u64,
        mut tile: impl FnMut(usize, u64, usize) -> Result<Vec<Hash>, E>,
    ) -> Result<Self, E> {
        let mut edge = Vec::new();
        let mut left = size;
        for level in 0..LEVELS_MAX {
            if left == 0 {
                break;
            }
            let width = low_byte(left);
            left >>= TILE_HEIGHT;
            edge.push(match width {
                0 => Vec::new(),
                _ => tile(level, left, width)?,
            });
        }
        Ok(Self { size, edge })
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry. `full` gets each tile that is full now: level, index, hashes.
    pub fn push(&mut self, leaf: Hash, mut full: impl FnMut(usize, u64, &[Hash])) {
        self.size += 1;
        let mut carried = Some(leaf);
        let mut index = self.size;
        for level in 0..LEVELS_MAX {
            let Some(hash) = carried.take() else { return };
            if self.edge.len() == level {
                self.edge.push(Vec::new());
            }
            let tile = &mut self.edge[level];
            tile.push(hash);
            index >>= TILE_HEIGHT;
            if tile.len() == TILE_WIDTH {
                full(level, index - 1, tile);
                carried = root_over(tile);
                tile.clear();
            }
        }
    }

    /// The tiles that are not full, with level and index.
    pub fn partial_tiles(&self) -> impl Iterator<Item = (usize, u64, &[Hash])> {
        let mut index = self.size;
        let tiles = self.edge.iter().enumerate().map(move |(level, tile)| {
            index >>= TILE_HEIGHT;
            (level, index, tile.as_slice())
        });
        tiles.filter(|(_, _, tile)| !tile.is_empty())
    }

    /// The root; for no entries the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut lower = None;
        for tile in &self.edge {
            let nodes: Vec<Hash> = tile.iter().copied().chain(lower).collect();
            lower = root_over(&nodes);
        }
        lower.unwrap_or_else(|| sha256(&[]))
    }
}

/// Entries in the bundle at the right edge of a tree of this size.
pub(super) fn low_byte(size: u64) -> usize {
    usize::from(size.to_le_bytes()[0])
}

/// Path of a tile below a log's directory: `stem` is `tile/LEVEL` or `tile/entries`. A `width`
/// below 256 names a tile that is not full.
pub fn tile_path(stem: &str, index: u64, width: usize) -> String {
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.reverse();
    let path = format!("{stem}/{}", groups.join("/"));
    match width {
        TILE_WIDTH => path,
        _ => format!("{path}.p/{width}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// RFC 6962 section 2.1, to the letter.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => sha256(&[]),
            1 => leaves[0],
            n => {
                let mut k = 1;
                while k * 2 < n {
                    k *= 2;
                }
                node_hash(&by_definition(&leaves[..k]), &by_definition(&leaves[k..]))
            }
        }
    }

    fn hex(hash: Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Roots of growing trees from the tests of certificate-transparency's reference implementation
    /// (`merkletree/merkle_tree_test.cc`).
    #[test]
    fn roots_that_others_computed() {
        let inputs: [&[u8]; 3] = [b"", &[0], &[0x10]];
        let expected = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        ];
        let mut tree = Tree::default();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(tree.root()), empty);
        for (input, expected) in inputs.iter().zip(expected) {
            tree.push(leaf_hash(input), |_, _, _| {});
            assert_eq!(hex(tree.root()), expected);
        }
    }

    #[test]
    fn a_tree_of_tiles_is_the_tree_of_the_definition() {
        let mut tree = Tree::default();
        let mut leaves = Vec::new();
        let mut tiles = BTreeMap::new();
        for number in 0_u32..1_100 {
            let leaf = leaf_hash(&number.to_be_bytes());
            leaves.push(leaf);
            tree.push(leaf, |level, index, hashes| {
                assert_eq!(hashes.len(), TILE_WIDTH);
                tiles.insert((level, index), hashes.to_vec());
            });
            let near_an_edge = (tree.size() + 3) % 256 < 6;
            if near_an_edge || number < 40 {
                assert_eq!(tree.root(), by_definition(&leaves), "{number}");
            }
        }
        assert_eq!(
            tiles.keys().copied().collect::<Vec<_>>(),
            [(0, 0), (0, 1), (0, 2), (0, 3)]
        );
        assert_eq!(tiles[&(0, 3)], leaves[768..1024]);
        let partial: Vec<_> = tree
            .partial_tiles()
            .map(|(l, n, t)| (l, n, t.len()))
            .collect();
        assert_eq!(partial, [(0, 4, 76), (1, 0, 4)]);

        let read = Tree::read(tree.size(), |level, index, width| {
            let found = tree
                .partial_tiles()
                .find(|(l, n, _)| (*l, *n) == (level, index));
            found.map(|(_, _, tile)| tile[..width].to_vec()).ok_or(())
        });
        assert_eq!(read, Ok(tree));
    }

    /// The example of the specification: a tree of 70,000 entries.
    #[test]
    fn tiles_of_the_specifications_example() {
        let mut asked = Vec::new();
        let _ = Tree::read(70_000, |level, index, width| {
            asked.push((level, index, width));
            Ok::<_, ()>(vec![[0; 32]; width])
        });
        assert_eq!(asked, [(0, 273, 112), (1, 1, 17), (2, 0, 1)]);
        assert_eq!(tile_path("tile/0", 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(tile_path("tile/entries", 5, 7), "tile/entries/005.p/7");
        assert_eq!(tile_path("tile/1", 1_000, 256), "tile/1/x001/000");
    }
}
