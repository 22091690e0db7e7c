//! Writes flattened devicetrees, so that their reader is tried on trees that nobody compiled.

use std::collections::BTreeMap;

use covalent_alloc::machine::devicetree::Node;

/// A node that is to be written, with all that is below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeText {
    pub name: String,
    pub properties: BTreeMap<String, Vec<u8>>,
    pub children: Vec<NodeText>,
}

impl NodeText {
    /// Takes a node of a tree that was read.
    pub fn of(node: Node<'_>) -> Self {
        let properties = node.properties();
        Self {
            name: node.name().to_owned(),
            properties: properties
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .collect(),
            children: node.children().map(Self::of).collect(),
        }
    }
}

/// Writes a tree of version 17.
pub fn flattened(root: &NodeText) -> Vec<u8> {
    let (mut structure, mut strings) = (Vec::new(), Vec::new());
    node(root, &mut structure, &mut strings);
    word(&mut structure, 9);
    let begin = 40 + 16;
    let strings_at = begin + structure.len();
    let mut bytes = Vec::new();
    for number in [
        0xd00d_feed,
        strings_at + strings.len(),
        begin,
        strings_at,
        40,
        17,
        16,
        0,
        strings.len(),
        structure.len(),
    ] {
        word(&mut bytes, number as u32);
    }
    // No memory is kept from the loader.
    bytes.extend([0; 16]);
    bytes.extend(structure);
    bytes.extend(strings);
    bytes
}

fn node(own: &NodeText, structure: &mut Vec<u8>, strings: &mut Vec<u8>) {
    word(structure, 1);
    structure.extend(own.name.as_bytes());
    structure.push(0);
    align(structure);
    for (name, value) in &own.properties {
        for number in [3, value.len() as u32, strings.len() as u32] {
            word(structure, number);
        }
        strings.extend(name.as_bytes());
        strings.push(0);
        structure.extend(value);
        align(structure);
    }
    for child in &own.children {
        node(child, structure, strings);
    }
    word(structure, 2);
}

fn word(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend(number.to_be_bytes());
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
