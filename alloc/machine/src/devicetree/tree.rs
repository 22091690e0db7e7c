//! A devicetree as flat lists: nodes in the order of the file, and their properties by node and name.

use std::fmt;

use super::TreeError;

/// A devicetree, of which names and values are kept as they were written.
///
/// # Memory
/// One of `n` bytes takes at most 8 `n`, also while it is read. A node knows its parent's place and no path, and names and values
/// are ranges of one piece of text: names that share their tails in the file share them here too. Reading takes `n log n` steps,
/// since properties are sorted by their names.
///
/// # Limits
/// [`Tree::MAXIMUM_BYTES`], [`Tree::MAXIMUM_NODES`], [`Tree::MAXIMUM_DEPTH`] and [`Tree::MAXIMUM_NAME_BYTES`]; and those of
/// [`ReservedMemory`](crate::ReservedMemory), which a tree is held against when it is read.
#[derive(Clone)]
pub struct Tree {
    /// What names and values are ranges of.
    text: Vec<u8>,
    /// Parents stand before their children, and the root first.
    nodes: Vec<NodeEntry>,
    /// In the order of their nodes, and of their names within one.
    properties: Vec<PropertyEntry>,
}

/// A part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    length: u32,
}

#[derive(Clone, Copy)]
struct NodeEntry {
    name: Span,
    /// The place of the node above; the root's is its own.
    parent: u32,
    /// The first place behind its descendants.
    end: u32,
    /// The place of its first property.
    first_property: u32,
}

#[derive(Clone, Copy)]
struct PropertyEntry {
    node: u32,
    name: Span,
    value: Span,
}

/// A node of a tree: a device, a bus, or a group of such.
#[derive(Clone, Copy)]
pub struct Node<'tree> {
    tree: &'tree Tree,
    place: usize,
}

impl Tree {
    /// The longest flattened tree that is read, in bytes.
    pub const MAXIMUM_BYTES: usize = 16 << 20;
    /// The most nodes of a tree, and the most properties of all.
    pub const MAXIMUM_NODES: usize = 1 << 16;
    /// The deepest that a node lies.
    pub const MAXIMUM_DEPTH: usize = 64;
    /// The longest name of a node or property. Linux gives each out as a file, and no file's name is longer.
    pub const MAXIMUM_NAME_BYTES: usize = 255;

    /// Returns the root, whose name is empty.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node {
            tree: self,
            place: 0,
        }
    }

    /// Lists every node, parents first.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.nodes.len()).map(|place| Node { tree: self, place })
    }

    fn bytes(&self, span: Span) -> &[u8] {
        bytes(&self.text, span)
    }

    /// The properties of one node.
    fn properties_of(&self, place: usize) -> &[PropertyEntry] {
        let begin = index(self.nodes[place].first_property);
        let behind = self.nodes.get(place.saturating_add(1));
        let end = behind.map_or(self.properties.len(), |node| index(node.first_property));
        &self.properties[begin..end]
    }
}

/// Trees are equal that have the same nodes with the same properties, wherever in the file these stand.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        let is_same = |(one, two): (Node<'_>, Node<'_>)| {
            one.name() == two.name()
                && one.behind() == two.behind()
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
        &self.tree.nodes[self.place]
    }

    /// Returns its name, with the address behind an `@` where it has one.
    #[must_use]
    pub fn name(&self) -> &'tree str {
        text(self.tree.bytes(self.entry().name))
    }

    /// Returns the node above; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let place = index(self.entry().parent);
        (place != self.place).then_some(Self { place, ..*self })
    }

    /// Writes its path, such as `/soc/isp@40000000`; that of the root is `/`.
    #[must_use]
    pub fn path(&self) -> String {
        let above = std::iter::successors(Some(*self), Self::parent);
        let named = above.filter(|node| node.parent().is_some());
        let mut names: Vec<&str> = named.map(|node| node.name()).collect();
        names.reverse();
        format!("/{}", names.join("/"))
    }

    /// Returns how many bytes [`Node::path`] has.
    pub(super) fn path_bytes(&self) -> usize {
        let above = std::iter::successors(Some(*self), Self::parent);
        above.fold(0, |sum, node| {
            node.name().len().saturating_add(1).saturating_add(sum)
        })
    }

    /// Lists the nodes directly below, in the order of the file.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<'tree> {
        let tree = self.tree;
        let end = self.behind();
        let within = move |place: usize| (place < end).then_some(Self { tree, place });
        std::iter::successors(within(self.place.saturating_add(1)), move |child| {
            within(child.behind())
        })
    }

    /// The first place behind its descendants.
    pub(super) fn behind(&self) -> usize {
        index(self.entry().end)
    }

    /// Its place in [`Tree::nodes`].
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// Returns the node below of this name; where it has none of an address, of the name before the `@`.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<Self> {
        self.children()
            .find(|child| child.name() == name)
            .or_else(|| {
                self.children()
                    .find(|child| child.name().split('@').next() == Some(name))
            })
    }

    /// Lists its properties by name, whose bytes only their names tell the meaning of.
    pub fn properties(&self) -> impl Iterator<Item = (&'tree str, &'tree [u8])> + use<'tree> {
        let tree = self.tree;
        tree.properties_of(self.place)
            .iter()
            .map(|property| (text(tree.bytes(property.name)), tree.bytes(property.value)))
    }

    /// Returns the bytes of a property; `None` where it is not there.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'tree [u8]> {
        let own = self.tree.properties_of(self.place);
        let name_of = |property: &PropertyEntry| self.tree.bytes(property.name);
        let found = own.binary_search_by(|property| name_of(property).cmp(name.as_bytes()));
        found.ok().map(|place| self.tree.bytes(own[place].value))
    }

    /// Returns whether there is such a property, whatever is in it.
    #[must_use]
    pub fn has(&self, property: &str) -> bool {
        self.property(property).is_some()
    }

    /// Reads a property as numbers of 32 bits; `None` where it is not there, or is no such list.
    #[must_use]
    pub fn cells(&self, property: &str) -> Option<impl Iterator<Item = u32> + Clone + use<'tree>> {
        let chunks = self.property(property)?.chunks_exact(4);
        let is_whole = chunks.remainder().is_empty();
        is_whole.then(|| chunks.map(cell))
    }

    /// Returns a property as one number of 32 bits.
    #[must_use]
    pub fn cell(&self, property: &str) -> Option<u32> {
        let mut cells = self.cells(property)?;
        let one = cells.next()?;
        cells.next().is_none().then_some(one)
    }

    /// Lists the texts of a property; none where it is not there. What is no text is left out.
    pub fn texts(&self, property: &str) -> impl Iterator<Item = &'tree str> + use<'tree> {
        self.property(property)
            .into_iter()
            .flat_map(|bytes| bytes.split(|byte| *byte == 0))
            .filter(|text| !text.is_empty())
            .filter_map(|text| std::str::from_utf8(text).ok())
    }

    /// Returns whether the device is in use: it says nothing, or that it is okay.
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

/// Makes a tree of nodes and properties in the order in which they are met.
pub struct TreeBuilder {
    tree: Tree,
    /// The places of the node that is open and of those above it.
    open: Vec<u32>,
}

/// What a tree has too much of, or twice; whoever builds it knows where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// More of something than [`Tree`] may have.
    Many {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// A property of this value that its node has already.
    Twice {
        /// The later of both values.
        value: Span,
    },
}

impl TreeBuilder {
    /// Begins a tree whose names and values are ranges of this text.
    pub fn over(text: Vec<u8>) -> Self {
        Self {
            tree: Tree {
                text,
                nodes: Vec::new(),
                properties: Vec::new(),
            },
            open: Vec::new(),
        }
    }

    /// Names a part of the text.
    pub fn span(start: usize, length: usize) -> Span {
        let (Ok(start), Ok(length)) = (u32::try_from(start), u32::try_from(length)) else {
            unreachable!("a tree's text has at most 16 MiB, and its own lengths 32 bits")
        };
        Span { start, length }
    }

    /// Opens a node below the one that is open.
    pub fn begin(&mut self, name: Span) -> Result<(), Excess> {
        let most = Tree::MAXIMUM_DEPTH;
        if self.open.len() >= most {
            let what = "levels";
            return Err(Excess::Many { what, most });
        }
        debug_assert!(is_name(self.tree.bytes(name)), "the reader checks names");
        let place = room(self.tree.nodes.len(), "nodes")?;
        self.tree.nodes.push(NodeEntry {
            name,
            // The root is its own.
            parent: self.open.last().copied().unwrap_or(place),
            end: 0,
            first_property: 0,
        });
        self.open.push(place);
        Ok(())
    }

    /// Adds a property to the node that is open; there has to be one.
    pub fn property(&mut self, name: Span, value: Span) -> Result<(), Excess> {
        room(self.tree.properties.len(), "properties")?;
        debug_assert!(is_name(self.tree.bytes(name)), "the reader checks names");
        let Some(node) = self.open.last().copied() else {
            unreachable!("the reader adds properties to nodes")
        };
        self.tree
            .properties
            .push(PropertyEntry { node, name, value });
        Ok(())
    }

    /// Closes the node that is open; says whether there was one.
    pub fn end(&mut self) -> bool {
        let behind = number(self.tree.nodes.len());
        let Some(place) = self.open.pop() else {
            return false;
        };
        self.tree.nodes[index(place)].end = behind;
        true
    }

    /// Returns how many nodes are open.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Sorts what was added.
    pub fn finish(self) -> Result<Tree, Excess> {
        let Tree {
            text,
            mut nodes,
            mut properties,
        } = self.tree;
        properties.sort_unstable_by(|one, two| {
            let names = || bytes(&text, one.name).cmp(bytes(&text, two.name));
            one.node.cmp(&two.node).then_with(names)
        });
        let twice = properties.windows(2).find_map(|pair| match pair {
            [one, two] if one.node == two.node => {
                let is_same = bytes(&text, one.name) == bytes(&text, two.name);
                is_same.then_some((one.value, two.value))
            }
            _ => None,
        });
        if let Some((one, two)) = twice {
            let value = if one.start > two.start { one } else { two };
            return Err(Excess::Twice { value });
        }
        debug_assert!(!nodes.is_empty(), "the reader begins with the root");
        for (place, node) in nodes.iter_mut().enumerate() {
            let first = properties.partition_point(|property| index(property.node) < place);
            node.first_property = number(first);
        }
        Ok(Tree {
            text,
            nodes,
            properties,
        })
    }

    /// The text, for a reader that adds to it.
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.tree.text
    }
}

impl Span {
    /// Where it begins in the text.
    pub fn start(self) -> usize {
        index(self.start)
    }

    /// How many bytes it has.
    pub fn length(self) -> usize {
        index(self.length)
    }
}

/// Returns whether a path can be made of this name, and no terminal be moved by it.
pub fn is_name(bytes: &[u8]) -> bool {
    bytes.len() <= Tree::MAXIMUM_NAME_BYTES
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_graphic() && *byte != b'/')
}

impl Tree {
    /// Holds a tree against what is read of regions, so that nothing that is made of it can grow beyond it.
    ///
    /// # Errors
    /// [`TreeError::TooMany`].
    pub fn checked(self) -> Result<Self, TreeError> {
        super::reserved::check(&self)?;
        Ok(self)
    }
}

fn room(count: usize, what: &'static str) -> Result<u32, Excess> {
    let most = Tree::MAXIMUM_NODES;
    if count < most {
        Ok(number(count))
    } else {
        Err(Excess::Many { what, most })
    }
}

/// The number of a node or property, of which there are at most [`Tree::MAXIMUM_NODES`].
fn number(place: usize) -> u32 {
    let Ok(number) = u32::try_from(place) else {
        unreachable!("there are at most {} of a kind", Tree::MAXIMUM_NODES)
    };
    number
}

const _: () = assert!(usize::BITS >= u32::BITS, "a number of 32 bits is a place");

const fn index(number: u32) -> usize {
    number as usize
}

fn bytes(text: &[u8], span: Span) -> &[u8] {
    let start = index(span.start);
    &text[start..start.saturating_add(index(span.length))]
}

fn text(bytes: &[u8]) -> &str {
    let Ok(text) = std::str::from_utf8(bytes) else {
        unreachable!("names are looked at when they are read, and are ASCII")
    };
    text
}

fn cell(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}
