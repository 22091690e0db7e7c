//! Tests of the devicetrees that take the most memory and work for their length.

use covalent_machine::ReservedMemory;
use covalent_machine::devicetree::{Tree, TreeError};

use super::blob::Blob;
use super::{Bound, MIB, assert_bounded, message};

/// The memory bound that the documentation of [`Tree`] states, plus 2 MiB for the regions.
const BOUND: Bound = Bound {
    multiple: 8,
    constant: 2 * MIB,
};

/// The length of the longest name of a node, which is the longest file name in Linux.
const NAME: usize = 255;

fn read(bytes: &[u8]) -> Result<ReservedMemory, TreeError> {
    Tree::from_flat(bytes).map(|tree| ReservedMemory::of(&tree))
}

/// Makes a tree of about `bytes` bytes. While the root is the open node, `add` is called repeatedly until the tree is long
/// enough.
fn filled(bytes: usize, mut add: impl FnMut(&mut Blob, usize)) -> Vec<u8> {
    let mut blob = Blob::default();
    blob.begin("");
    let mut number = 0;
    while blob.length() < bytes {
        add(&mut blob, number);
        number += 1;
    }
    blob.end();
    blob.finish()
}

/// Opens nested nodes with the longest names.
fn descend(blob: &mut Blob, levels: usize) {
    for _ in 0..levels {
        blob.begin(&"n".repeat(NAME));
    }
}

fn regions(blob: &mut Blob, count: u32, name: &str) {
    blob.begin("reserved-memory");
    for handle in 1..=count {
        blob.begin(name);
        blob.cells("phandle", &[handle]);
        blob.end();
    }
    blob.end();
}

#[test]
fn names_that_overlap_take_memory_of_their_bytes_once() {
    // The names overlap: each name begins one byte after the previous name, and has the maximum length.
    let short = |bytes: usize| {
        let mut blob = Blob::default();
        while blob.strings.len() < bytes / 26 {
            blob.strings.extend([b'a'; NAME]);
            blob.strings.push(0);
        }
        blob.begin("");
        for place in 0..blob.strings.len() {
            if place % (NAME + 1) != NAME {
                blob.begin("");
                blob.property_at(place, &[]);
                blob.end();
            }
        }
        blob.end();
        blob.finish()
    };
    assert_bounded("short tails", BOUND, short, read).unwrap();
    // All names overlap in a single string that is longer than a name may be. The tree is refused at the first property.
    let long = |bytes: usize| {
        let mut blob = Blob {
            strings: vec![b'a'; bytes / 2],
            ..Blob::default()
        };
        blob.strings.push(0);
        blob.begin("");
        for place in 0..(bytes / 2 / 12) {
            blob.property_at(place, &[]);
        }
        blob.end();
        blob.finish()
    };
    let error = message(assert_bounded("long tails", BOUND, long, read));
    assert!(
        error.contains("at byte") && error.contains("255"),
        "{error}"
    );
}

#[test]
fn nodes_of_the_smallest_size_take_bounded_memory() {
    let bare = |bytes: usize| {
        filled(bytes.min(12 * (Tree::MAXIMUM_NODES - 2)), |blob, _| {
            blob.begin("");
            blob.end();
        })
    };
    assert_bounded("nodes", BOUND, bare, read).unwrap();
    let one_each = |bytes: usize| {
        filled(bytes, |blob, _| {
            blob.begin("a");
            blob.cells("b", &[]);
            blob.end();
        })
    };
    assert_bounded("one property each", BOUND, one_each, read).unwrap();
    let nested = |bytes: usize| {
        filled(bytes.min(12 * (Tree::MAXIMUM_NODES - 64)), |blob, _| {
            for _ in 1..Tree::MAXIMUM_DEPTH {
                blob.begin("");
            }
            for _ in 1..Tree::MAXIMUM_DEPTH {
                blob.end();
            }
        })
    };
    assert_bounded("nested", BOUND, nested, read).unwrap();
}

#[test]
fn properties_of_one_node_take_bounded_memory() {
    let many = |bytes: usize| {
        let mut blob = Blob::default();
        blob.begin("");
        let mut number = 0_usize;
        while blob.length() < bytes {
            let at = blob.strings.len();
            blob.strings.extend(format!("{number:x}\0").as_bytes());
            blob.property_at(at, &[]);
            number += 1;
        }
        blob.end();
        blob.finish()
    };
    assert_bounded("properties", BOUND, many, read).unwrap();
}

#[test]
fn users_with_long_paths_are_refused() {
    let users = |bytes: usize| {
        let mut blob = Blob::default();
        blob.begin("");
        regions(&mut blob, 1, "pool");
        descend(&mut blob, Tree::MAXIMUM_DEPTH - 2);
        while blob.length() < bytes {
            blob.begin("");
            blob.cells("memory-region", &[1]);
            blob.end();
        }
        for _ in 2..Tree::MAXIMUM_DEPTH {
            blob.end();
        }
        blob.end();
        blob.finish()
    };
    let error = message(assert_bounded("users", BOUND, users, read));
    assert!(error.contains("/nnn"), "{error}");
    assert!(error.len() < 8192, "{}", error.len());

    // A path is made only when a caller asks for it, so long paths of other nodes take no memory.
    let leaves = |bytes: usize| {
        let mut blob = Blob::default();
        blob.begin("");
        descend(&mut blob, Tree::MAXIMUM_DEPTH - 2);
        while blob.length() < bytes.min(12 * (Tree::MAXIMUM_NODES - 70)) {
            blob.begin("");
            blob.end();
        }
        for _ in 2..Tree::MAXIMUM_DEPTH {
            blob.end();
        }
        blob.end();
        blob.finish()
    };
    assert_bounded("leaves", BOUND, leaves, read).unwrap();
}

#[test]
fn many_references_to_a_region_with_a_long_name_are_refused() {
    let one_user = |bytes: usize| {
        let mut blob = Blob::default();
        blob.begin("");
        regions(&mut blob, 1, &"r".repeat(NAME));
        blob.begin("device");
        blob.cells("memory-region", &vec![1; bytes / 4]);
        blob.end();
        blob.end();
        blob.finish()
    };
    let error = message(assert_bounded("references", BOUND, one_user, read));
    assert!(error.contains("/device"), "{error}");

    let handles_again = |bytes: usize| {
        let mut blob = Blob::default();
        blob.begin("");
        blob.begin("reserved-memory");
        while blob.length() < bytes {
            blob.begin(&"r".repeat(NAME));
            blob.cells("phandle", &[7]);
            blob.end();
        }
        blob.end();
        blob.end();
        blob.finish()
    };
    let error = message(assert_bounded("regions", BOUND, handles_again, read));
    assert!(error.contains("reserved"), "{error}");
}

#[test]
fn lists_of_one_region_take_bounded_memory() {
    let region = |property: &'static str, value: fn(usize) -> Vec<u8>| {
        move |bytes: usize| {
            let mut blob = Blob::default();
            blob.begin("");
            blob.begin("reserved-memory");
            blob.cells("#address-cells", &[1]);
            blob.cells("#size-cells", &[1]);
            blob.begin("pool");
            blob.property(property, &value(bytes));
            blob.end();
            blob.end();
            blob.end();
            blob.finish()
        }
    };
    let ones = |bytes: usize| 1_u32.to_be_bytes().repeat(bytes / 4);
    let reserved = assert_bounded("reg", BOUND, region("reg", ones), read).unwrap();
    assert_eq!(reserved.regions[0].ranges.len(), MIB / 8);
    let texts = |bytes: usize| b"a\0".repeat(bytes / 2);
    let error = message(assert_bounded(
        "compatible",
        BOUND,
        region("compatible", texts),
        read,
    ));
    assert!(error.contains("/reserved-memory/pool"), "{error}");
}
