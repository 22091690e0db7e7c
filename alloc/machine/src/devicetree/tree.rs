//! A devicetree as flat lists: nodes in the order of the file, and their properties sorted by node and name.

use std::fmt;

use super::TreeError;

/// A devicetree. Names and values of properties are kept as they were written.
///
/// # Memory
/// A tree of `n` bytes takes at most 8 `n` bytes, also while it is read. A node stores the index of its parent instead of a path.
/// Names and values are ranges of one text, so names that overlap in the file overlap here too. Reading takes time proportional
/// to `n log n`, because properties are sorted by name.
///
/// # Limits
/// [`Tree::MAXIMUM_BYTES`], [`Tree::MAXIMUM_NODES`], [`Tree::MAXIMUM_DEPTH`], [`Tree::MAXIMUM_NAME_BYTES`], and those of
/// [`ReservedMemory`](crate::ReservedMemory), which are checked when a tree is read.
#[derive(Clone)]
pub struct Tree {
    /// The bytes of all names and values. Each [`Span`] is a range of it.
    text: Vec<u8>,
    /// The nodes in the order of the file: the root is first, and each node precedes its children.
    nodes: Vec<NodeEntry>,
    /// The properties of all nodes, sorted by node, and by name within a node.
    properties: Vec<PropertyEntry>,
}

/// A range of a tree's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    length: u32,
}

#[derive(Clone, Copy)]
struct NodeEntry {
    name: Span,
    /// The index of the parent node. The root has its own index here.
    parent: u32,
    /// The index after the node's last descendant.
    end: u32,
    /// The index of the node's first property.
    first_property: u32,
}

#[derive(Clone, Copy)]
struct PropertyEntry {
    node: u32,
    name: Span,
    value: Span,
}

/// A node of a tree: a device, a bus, or a group of nodes.
#[derive(Clone, Copy)]
pub struct Node<'tree> {
    tree: &'tree Tree,
    index: usize,
}

impl Tree {
    /// The longest flattened tree that is read, in bytes.
    pub const MAXIMUM_BYTES: usize = 16 << 20;
    /// The maximum number of nodes of a tree, and the maximum number of properties of all its nodes together.
    pub const MAXIMUM_NODES: usize = 1 << 16;
    /// The maximum number of levels of nested nodes.
    pub const MAXIMUM_DEPTH: usize = 64;
    /// The longest name of a node or property, in bytes. `/proc/device-tree` shows each as a file name, and file names have the
    /// same limit.
    pub const MAXIMUM_NAME_BYTES: usize = 255;

    /// Returns the root, whose name is empty.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node {
            tree: self,
            index: 0,
        }
    }

    /// Returns every node; a parent comes before its children.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.nodes.len()).map(|index| Node { tree: self, index })
    }

    fn bytes(&self, span: Span) -> &[u8] {
        bytes(&self.text, span)
    }

    /// Returns the properties of the node with this index.
    fn properties_of(&self, node: usize) -> &[PropertyEntry] {
        let begin = index(self.nodes[node].first_property);
        let next = self.nodes.get(node.saturating_add(1));
        let end = next.map_or(self.properties.len(), |node| index(node.first_property));
        &self.properties[begin..end]
    }
}

/// Two trees are equal if they have the same nodes with the same properties. The layout of their text may differ.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        let is_same = |(one, two): (Node<'_>, Node<'_>)| {
            one.name() == two.name()
                && one.end() == two.end()
                && one.properties().eq(two.properties())
        };
        self.nodes.len() == other.nodes.len() && self.nodes().zip(other.nodes()).all(is_same)
    }
}

impl Eq for Tree {}

impl fmt::Debug for Tree {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tree")
            .field("nodes", &self.nodes.len())
            .field("properties", &self.properties.len())
            .finish_non_exhaustive()
    }
}

impl<'tree> Node<'tree> {
    fn entry(&self) -> &'tree NodeEntry {
        &self.tree.nodes[self.index]
    }

    /// Returns the name of the node, with `@` and the unit address if it has one.
    #[must_use]
    pub fn name(&self) -> &'tree str {
        text(self.tree.bytes(self.entry().name))
    }

    /// Returns the parent of the node; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let parent = index(self.entry().parent);
        (parent != self.index).then_some(Self {
            index: parent,
            ..*self
        })
    }

    /// Returns the path of the node, such as `/soc/isp@40000000`. The path of the root is `/`.
    #[must_use]
    pub fn path(&self) -> String {
        let ancestors = std::iter::successors(Some(*self), Self::parent);
        let named = ancestors.filter(|node| node.parent().is_some());
        let mut names: Vec<&str> = named.map(|node| node.name()).collect();
        names.reverse();
        format!("/{}", names.join("/"))
    }

    /// Returns the length of [`Node::path`] in bytes, without allocating the path.
    pub(super) fn path_bytes(&self) -> usize {
        let ancestors = std::iter::successors(Some(*self), Self::parent);
        ancestors.fold(0, |sum, node| {
            node.name().len().saturating_add(1).saturating_add(sum)
        })
    }

    /// Returns the children of the node in the order of the file.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<'tree> {
        let tree = self.tree;
        let end = self.end();
        let within = move |index: usize| (index < end).then_some(Self { tree, index });
        std::iter::successors(within(self.index.saturating_add(1)), move |child| {
            within(child.end())
        })
    }

    /// Returns the index after the node's last descendant.
    pub(super) fn end(&self) -> usize {
        index(self.entry().end)
    }

    /// Returns the index of the node in [`Tree::nodes`].
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Returns the child with this name. If there is none, returns the first child whose name is this text with a unit address.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<Self> {
        self.children()
            .find(|child| child.name() == name)
            .or_else(|| {
                self.children()
                    .find(|child| child.name().split('@').next() == Some(name))
            })
    }

    /// Returns the names and values of the node's properties, sorted by name.
    pub fn properties(&self) -> impl Iterator<Item = (&'tree str, &'tree [u8])> + use<'tree> {
        let tree = self.tree;
        tree.properties_of(self.index)
            .iter()
            .map(|property| (text(tree.bytes(property.name)), tree.bytes(property.value)))
    }

    /// Returns the value of a property; `None` if the node does not have it.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'tree [u8]> {
        let own = self.tree.properties_of(self.index);
        let name_of = |property: &PropertyEntry| self.tree.bytes(property.name);
        let found = own.binary_search_by(|property| name_of(property).cmp(name.as_bytes()));
        found.ok().map(|number| self.tree.bytes(own[number].value))
    }

    /// Returns whether the node has a property, with any value.
    #[must_use]
    pub fn has(&self, property: &str) -> bool {
        self.property(property).is_some()
    }

    /// Returns the value of a property as cells, which are 32-bit numbers; `None` if there is no such property, or its length is
    /// not a multiple of 4 bytes.
    #[must_use]
    pub fn cells(&self, property: &str) -> Option<impl Iterator<Item = u32> + Clone + use<'tree>> {
        let chunks = self.property(property)?.chunks_exact(4);
        let is_whole = chunks.remainder().is_empty();
        is_whole.then(|| chunks.map(cell))
    }

    /// Returns the value of a property that consists of exactly one cell; `None` for any other property.
    #[must_use]
    pub fn cell(&self, property: &str) -> Option<u32> {
        let mut cells = self.cells(property)?;
        let one = cells.next()?;
        cells.next().is_none().then_some(one)
    }

    /// Returns the strings of a property. Empty strings and those that are not UTF-8 are left out.
    pub fn texts(&self, property: &str) -> impl Iterator<Item = &'tree str> + use<'tree> {
        self.property(property)
            .into_iter()
            .flat_map(|bytes| bytes.split(|byte| *byte == 0))
            .filter(|text| !text.is_empty())
            .filter_map(|text| std::str::from_utf8(text).ok())
    }

    /// Returns whether the device is enabled: `status` is absent, `okay` or `ok`.
    ///
    /// # References
    /// Devicetree specification, `status`.
    #[must_use]
    pub(crate) fn is_enabled(&self) -> bool {
        self.texts("status")
            .next()
            .is_none_or(|status| status == "okay" || status == "ok")
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Node").field(&self.path()).finish()
    }
}

/// Builds a tree from nodes and properties in the order in which a reader finds them.
pub struct TreeBuilder {
    tree: Tree,
    /// The indices of the open node and of its ancestors.
    open: Vec<u32>,
}

/// Why [`TreeBuilder`] refuses a node or property. The reader converts it into a [`TreeError`], which has a line or byte offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeBuildError {
    /// A tree would have more nodes, properties or levels than a [`Tree`] may have.
    TooMany {
        /// The kind of entry, such as `properties`.
        what: &'static str,
        /// The maximum number of entries of this kind that a tree may have.
        most: usize,
    },
    /// A node has two properties of one name.
    Duplicate {
        /// The value of the second of the two properties.
        value: Span,
    },
}

impl TreeBuilder {
    /// Begins a tree. Its names and values will be ranges of this text.
    pub fn new(text: Vec<u8>) -> Self {
        Self {
            tree: Tree {
                text,
                nodes: Vec::new(),
                properties: Vec::new(),
            },
            open: Vec::new(),
        }
    }

    /// Makes a range of the text from its start and length in bytes.
    pub fn span(start: usize, length: usize) -> Span {
        let (Ok(start), Ok(length)) = (u32::try_from(start), u32::try_from(length)) else {
            unreachable!("offsets and lengths in a tree of at most 16 MiB fit into 32 bits")
        };
        Span { start, length }
    }

    /// Opens a node as a child of the open node.
    ///
    /// # Errors
    /// [`TreeBuildError::TooMany`] for more than [`Tree::MAXIMUM_DEPTH`] levels or [`Tree::MAXIMUM_NODES`] nodes.
    pub fn begin(&mut self, name: Span) -> Result<(), TreeBuildError> {
        let most = Tree::MAXIMUM_DEPTH;
        if self.open.len() >= most {
            let what = "levels";
            return Err(TreeBuildError::TooMany { what, most });
        }
        debug_assert!(
            is_name(self.tree.bytes(name)),
            "the reader has checked the name"
        );
        let index = next_index(self.tree.nodes.len(), "nodes")?;
        self.tree.nodes.push(NodeEntry {
            name,
            // The root is its own parent.
            parent: self.open.last().copied().unwrap_or(index),
            end: 0,
            first_property: 0,
        });
        self.open.push(index);
        Ok(())
    }

    /// Adds a property to the open node.
    ///
    /// # Errors
    /// [`TreeBuildError::TooMany`] for more than [`Tree::MAXIMUM_NODES`] properties.
    ///
    /// # Panics
    /// If no node is open.
    pub fn property(&mut self, name: Span, value: Span) -> Result<(), TreeBuildError> {
        next_index(self.tree.properties.len(), "properties")?;
        debug_assert!(
            is_name(self.tree.bytes(name)),
            "the reader has checked the name"
        );
        let Some(node) = self.open.last().copied() else {
            unreachable!("the reader opens a node before it adds a property")
        };
        self.tree
            .properties
            .push(PropertyEntry { node, name, value });
        Ok(())
    }

    /// Closes the open node and returns whether there was one.
    pub fn end(&mut self) -> bool {
        let end = number(self.tree.nodes.len());
        let Some(node) = self.open.pop() else {
            return false;
        };
        self.tree.nodes[index(node)].end = end;
        true
    }

    /// Returns the nesting depth: the number of nodes that were begun and not yet ended.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Sorts the properties and returns the tree.
    ///
    /// # Errors
    /// [`TreeBuildError::Duplicate`] for a node with two properties of one name.
    pub fn finish(self) -> Result<Tree, TreeBuildError> {
        let Tree {
            text,
            mut nodes,
            mut properties,
        } = self.tree;
        properties.sort_unstable_by(|one, two| {
            let names = || bytes(&text, one.name).cmp(bytes(&text, two.name));
            one.node.cmp(&two.node).then_with(names)
        });
        let duplicate = properties.windows(2).find_map(|pair| match pair {
            [one, two] if one.node == two.node => {
                let is_same = bytes(&text, one.name) == bytes(&text, two.name);
                is_same.then_some((one.value, two.value))
            }
            _ => None,
        });
        if let Some((one, two)) = duplicate {
            let value = if one.start > two.start { one } else { two };
            return Err(TreeBuildError::Duplicate { value });
        }
        debug_assert!(!nodes.is_empty(), "the reader has added the root node");
        for (node_index, node) in nodes.iter_mut().enumerate() {
            let first = properties.partition_point(|property| index(property.node) < node_index);
            node.first_property = number(first);
        }
        Ok(Tree {
            text,
            nodes,
            properties,
        })
    }

    /// Returns the text, so that a reader can append names and values to it.
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.tree.text
    }
}

impl Span {
    /// Returns the offset of the range in the text, in bytes.
    pub fn start(self) -> usize {
        index(self.start)
    }

    /// Returns the length of the range in bytes.
    pub fn length(self) -> usize {
        index(self.length)
    }
}

/// Returns whether a name is safe in a path and on a terminal: at most [`Tree::MAXIMUM_NAME_BYTES`] bytes of printable ASCII
/// without `/`.
pub fn is_name(bytes: &[u8]) -> bool {
    bytes.len() <= Tree::MAXIMUM_NAME_BYTES
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_graphic() && *byte != b'/')
}

impl Tree {
    /// Checks the limits of [`ReservedMemory`](crate::ReservedMemory), so that reading the regions from the tree takes bounded
    /// memory.
    ///
    /// # Errors
    /// [`TreeError::TooMany`] for a tree with more regions or users, or longer lists or paths, than a recording may have.
    pub fn checked(self) -> Result<Self, TreeError> {
        super::reserved::check(&self)?;
        Ok(self)
    }
}

/// Returns the index of a new node or property, of which `count` exist already.
fn next_index(count: usize, what: &'static str) -> Result<u32, TreeBuildError> {
    let most = Tree::MAXIMUM_NODES;
    if count < most {
        Ok(number(count))
    } else {
        Err(TreeBuildError::TooMany { what, most })
    }
}

/// Converts an index of a node or property, which is at most [`Tree::MAXIMUM_NODES`].
fn number(index: usize) -> u32 {
    let Ok(number) = u32::try_from(index) else {
        unreachable!(
            "a tree has at most {} nodes or properties",
            Tree::MAXIMUM_NODES
        )
    };
    number
}

const _: () = assert!(usize::BITS >= u32::BITS, "a u32 fits into a usize");

const fn index(number: u32) -> usize {
    number as usize
}

fn bytes(text: &[u8], span: Span) -> &[u8] {
    let start = index(span.start);
    &text[start..start.saturating_add(index(span.length))]
}

fn text(bytes: &[u8]) -> &str {
    let Ok(text) = std::str::from_utf8(bytes) else {
        unreachable!("the reader has checked that names are ASCII")
    };
    text
}

fn cell(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}
