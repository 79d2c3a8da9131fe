//! The Merkle root is RFC 6962's, and no two lists share one.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use spindle::blockchain::block::merkle_root;
use spindle::primitives::hash::Hash;

fn ids(count: u8) -> Vec<Hash> {
    (0..count).map(|n| Hash::sha256d(&[n])).collect()
}

/// RFC 6962 §2.1 once more, the other way round: leaves come one by one, and two neighbouring trees of one
/// size become one (a binary counter); at the end the trees are folded from the right.
fn root_by_counting(ids: &[Hash]) -> Hash {
    let node = |left: [u8; 32], right: [u8; 32]| -> [u8; 32] {
        Sha256::digest([&[1][..], &left[..], &right[..]].concat()).into()
    };
    let mut trees: Vec<(usize, [u8; 32])> = Vec::new();
    for id in ids {
        let mut tree = (1, Sha256::digest([&[0][..], &id.0[..]].concat()).into());
        while let Some(&(size, left)) = trees.last().filter(|&&(size, _)| size == tree.0) {
            trees.pop();
            tree = (size * 2, node(left, tree.1));
        }
        trees.push(tree);
    }
    let Some((_, mut root)) = trees.pop() else { return Hash(Sha256::digest([]).into()) };
    while let Some((_, left)) = trees.pop() {
        root = node(left, root);
    }
    Hash(root)
}

/// Goal: the roots of lists of ids are fixed for ever.
/// Method: figures of a third implementation (recursive, in another language) over sha256d of 0, 1, 2 …
#[test]
fn roots_are_the_pinned_ones() {
    let pinned = [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "2f8d55da3394f56c3e42c09d3effcdc4211d092fc3bbaeca64293397457db2da"),
        (2, "e9cec649b03636762668b8372beec21e39a72771627546c68cb90dd169e36975"),
        (3, "f572536cf32a063e01e1c71bd00ca088317244dd07bb428f407064f352d54f3e"),
        (4, "945a110fec3bfd0f1ae3427ada8fb142b43bb959bca621bc4e6d93f61c2820a2"),
        (5, "761bfb2e2951c3c26520e924a5c66e7cd8f60bcdb4b1db5060e06a02ff6ae82d"),
        (7, "c24321736fa353a6a9ab702276fe325d40ce09a31b0579c771f1221eba0c900f"),
        (8, "17c2263053bf2b0acfbbd6c365dd575db22848ea92638452e9cc3548fcb92bb0"),
        (9, "a309b64da2a6759b23fa26316e79163e5f9f69ecf4496c75e4cdc59b4a46bb5e"),
        (200, "6affa87d62af44a224ca77fe7b3b80483491f48075dc77ae769aa5bb42b8861d"),
    ];
    for (count, root) in pinned {
        assert_eq!(merkle_root(&ids(count)).to_string(), root, "{count} leaves");
    }
}

/// Goal: every number of leaves up to a full block's gives the root that an independent implementation gives.
#[test]
fn roots_equal_an_independent_implementation() {
    let all: Vec<Hash> = (0..4_619_u32).map(|n| Hash::sha256d(&n.to_le_bytes())).collect();
    for count in (0..=130).chain([1_023, 1_024, 1_025, 4_095, 4_096, 4_097, 4_619]) {
        assert_eq!(merkle_root(&all[..count]), root_by_counting(&all[..count]), "{count} leaves");
    }
}

/// Goal: no twin. Where a tree repeats its last leaf to fill a level, a list and the list with that leaf
/// twice have one root (CVE-2012-2459); here they never do. Method: every list of up to 64 leaves, with its
/// last 1, 2, 4 … leaves repeated, in other orders, and cut: all roots differ.
#[test]
fn no_list_shares_its_root_with_a_twin() {
    let mut roots = BTreeSet::new();
    let mut lists = BTreeSet::new();
    let mut insert = |list: Vec<Hash>| {
        if lists.insert(list.clone()) {
            assert!(roots.insert(merkle_root(&list)), "{list:?} shares its root with another list");
        }
    };
    for count in 0..=64 {
        let list = ids(count);
        insert(list.clone());
        for tail in [1, 2, 4, 8, 16, 32] {
            if let Some(start) = list.len().checked_sub(tail) {
                insert([&list[..], &list[start..]].concat());
            }
        }
        for place in 1..list.len() {
            let mut swapped = list.clone();
            swapped.swap(place - 1, place);
            insert(swapped);
        }
    }
}

/// Goal: an inner node is never a leaf. Method: the nodes of a tree's second level given as its leaves.
#[test]
fn nodes_cannot_pose_as_leaves() {
    let leaves = ids(4);
    let nodes = [merkle_root(&leaves[..2]), merkle_root(&leaves[2..])];
    assert_ne!(merkle_root(&nodes), merkle_root(&leaves));
    assert_ne!(merkle_root(&[merkle_root(&leaves)]), merkle_root(&leaves));
}
