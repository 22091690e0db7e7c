//! A devicetree as plain data.

use std::collections::BTreeMap;

/// A devicetree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Its root, whose name is empty.
    pub root: Node,
}

/// A node: a device, a bus, or a group of such.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name, with the address behind an `@` where it has one.
    pub name: String,
    /// Its properties, whose bytes only their names tell the meaning of.
    pub properties: BTreeMap<String, Vec<u8>>,
    /// The nodes below it.
    pub children: Vec<Node>,
}

impl Tree {
    /// The longest flattened tree that is read, in bytes.
    pub const MAXIMUM_BYTES: usize = 16 << 20;
    /// The most nodes of a tree, and the most properties of all.
    pub const MAXIMUM_NODES: usize = 1 << 16;
    /// The deepest that a node lies.
    pub const MAXIMUM_DEPTH: usize = 64;

    /// Lists every node with its path, parents first. The root's path is `/`.
    #[must_use]
    pub fn nodes(&self) -> Vec<(String, &Node)> {
        let mut found = Vec::new();
        let mut left = vec![(String::new(), &self.root)];
        while let Some((path, node)) = left.pop() {
            for child in node.children.iter().rev() {
                left.push((format!("{path}/{}", child.name), child));
            }
            let path = if path.is_empty() {
                "/".to_owned()
            } else {
                path
            };
            found.push((path, node));
        }
        found
    }
}

impl Node {
    /// Returns the node below of this name; where it has none of an address, of the name before the `@`.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children
            .iter()
            .find(|child| child.name == name)
            .or_else(|| {
                self.children
                    .iter()
                    .find(|child| child.name.split('@').next() == Some(name))
            })
    }

    /// Returns whether there is such a property, whatever is in it.
    #[must_use]
    pub fn has(&self, property: &str) -> bool {
        self.properties.contains_key(property)
    }

    /// Returns a property as numbers of 32 bits; `None` where it is not there, or is no such list.
    #[must_use]
    pub fn cells(&self, property: &str) -> Option<Vec<u32>> {
        let bytes = self.properties.get(property)?;
        let chunks = bytes.chunks_exact(4);
        if !chunks.remainder().is_empty() {
            return None;
        }
        chunks
            .map(|chunk| Some(u32::from_be_bytes(chunk.try_into().ok()?)))
            .collect()
    }

    /// Returns a property as one number of 32 bits.
    #[must_use]
    pub fn cell(&self, property: &str) -> Option<u32> {
        match self.cells(property)?.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// Returns a property as texts; empty where it is not there. What is no text is left out.
    #[must_use]
    pub fn texts(&self, property: &str) -> Vec<String> {
        self.properties
            .get(property)
            .into_iter()
            .flat_map(|bytes| bytes.split(|byte| *byte == 0))
            .filter(|text| !text.is_empty())
            .filter_map(|text| String::from_utf8(text.to_vec()).ok())
            .collect()
    }

    /// Returns whether the device is in use: it says nothing, or that it is okay.
    ///
    /// # References
    /// Devicetree specification, `status`.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        match self.texts("status").first() {
            Some(status) => status == "okay" || status == "ok",
            None => true,
        }
    }
}
