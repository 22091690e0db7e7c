//! Flattened devicetrees for tests: committed ones that `dtc` compiled, and a writer of trees that `dtc` would not write.

use std::collections::BTreeMap;

use covalent_machine::devicetree::Node;

/// A node that the writer writes, with its descendants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeText {
    pub name: String,
    pub properties: BTreeMap<String, Vec<u8>>,
    pub children: Vec<NodeText>,
}

impl NodeText {
    /// Copies a node of a parsed tree, with its descendants.
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

/// Reads a flattened tree of the folder `trees`. The files contain hexadecimal digits (`xxd -plain` writes them, `xxd -revert
/// -plain` reads them), because the repository has no binary files other than pictures.
pub fn compiled(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("trees");
    let text = std::fs::read_to_string(folder.join(name).with_extension("dtb.hex")).unwrap();
    let digits: Vec<u32> = text
        .chars()
        .filter(|sign| !sign.is_whitespace())
        .map(|sign| sign.to_digit(16).unwrap())
        .collect();
    assert_eq!(digits.len() % 2, 0, "{name} ends in the middle of a byte");
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

/// Writes a flattened tree of version 17.
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
    // The memory reservation block is empty.
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
