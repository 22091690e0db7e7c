//! The graph of a media device: entities, their pads, and the links between pads.
//!
//! The kernel's answer is checked once, when it is read: every id that a pad or link names belongs to an element that exists. A
//! graph can have cycles, so functions that follow links record the entities that they have visited.

use std::collections::BTreeMap;

use thiserror::Error;

use super::super::device::text;
use super::sys;

/// The maximum number of elements of each kind that are read. The largest devices, image processors of phones, have a few
/// hundred.
pub(super) const MAXIMUM_ELEMENTS: u32 = 4096;

/// The id of an entity or a pad in the kernel.
pub(super) type Id = u32;

/// Why the answer of MEDIA_IOC_G_TOPOLOGY is not a graph.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// There are too many elements.
    #[error("it has {count} {what}, and at most {MAXIMUM_ELEMENTS} are read")]
    TooMany {
        /// The kind of elements, such as `links`.
        what: &'static str,
        /// The number of elements that the kernel reported.
        count: u32,
    },
    /// Two elements have the same id.
    #[error("two {what} have the id {id}")]
    Duplicate {
        /// The kind of elements, such as `pads`.
        what: &'static str,
        /// The id that both elements have.
        id: u32,
    },
    /// An element refers to another element that does not exist.
    #[error("{what} {id} is named, and does not exist")]
    Missing {
        /// The kind of element that is missing, such as `pad`.
        what: &'static str,
        /// The id to which another element refers.
        id: u32,
    },
    /// The number of a pad is too large for MEDIA_IOC_SETUP_LINK.
    #[error("pad {id} has the number {index}")]
    PadNumber {
        /// The id of the pad.
        id: u32,
        /// The number of the pad in its entity.
        index: u32,
    },
}

/// An entity of a media device, such as a sensor, a scaler or a video node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entity {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) function: u32,
    /// The major and minor number of the device node; `None` if the entity has no node.
    pub(super) node: Option<(u32, u32)>,
    /// The ids of the pads, in the order of their numbers.
    pub(super) pads: Vec<Id>,
}

impl Entity {
    /// Returns whether the entity is a V4L2 video node, which reads or writes memory.
    pub(super) fn is_video_node(&self) -> bool {
        self.function == sys::FUNCTION_VIDEO_NODE
    }

    pub(super) fn is_sensor(&self) -> bool {
        self.function == sys::FUNCTION_CAMERA_SENSOR
    }
}

/// A pad of an entity. Links connect pads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pad {
    pub(super) id: Id,
    pub(super) entity: Id,
    pub(super) index: u16,
    pub(super) is_sink: bool,
    /// Whether the pipeline cannot start while no link of this pad is enabled.
    pub(super) must_connect: bool,
}

/// A data link from a source pad to a sink pad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) source: Pad,
    pub(super) sink: Pad,
    pub(super) is_enabled: bool,
    pub(super) is_immutable: bool,
    /// The flags that programs cannot change, such as MEDIA_LNK_FL_DYNAMIC.
    pub(super) fixed_flags: u32,
}

impl Link {
    /// Returns the flags with which MEDIA_IOC_SETUP_LINK enables or disables the link. The kernel returns EINVAL if any flag
    /// except MEDIA_LNK_FL_ENABLED differs from the flags of the link.
    ///
    /// # References
    /// Linux, `drivers/media/mc/mc-entity.c`, `__media_entity_setup_link`.
    pub(super) fn flags(self, is_enabled: bool) -> u32 {
        match is_enabled {
            true => self.fixed_flags | sys::LINK_ENABLED,
            false => self.fixed_flags,
        }
    }
}

/// The graph of a media device: its entities, pads and links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topology {
    entities: BTreeMap<Id, Entity>,
    pads: BTreeMap<Id, Pad>,
    links: Vec<Link>,
}

impl Topology {
    /// Builds the graph from the arrays of MEDIA_IOC_G_TOPOLOGY, and checks that they are consistent.
    pub(super) fn parse(arrays: &sys::Arrays) -> Result<Self, TopologyError> {
        let mut topology = Self::default();
        let mut nodes: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        for entity in limited("entities", &arrays.entities)? {
            let parsed = Entity {
                id: entity.id,
                name: text(&entity.name),
                function: entity.function,
                node: None,
                pads: Vec::new(),
            };
            insert(&mut topology.entities, "entities", entity.id, parsed)?;
        }
        for interface in limited("interfaces", &arrays.interfaces)? {
            let number = (interface.major, interface.minor);
            insert(&mut nodes, "interfaces", interface.id, number)?;
        }
        for pad in limited("pads", &arrays.pads)? {
            let parsed = Pad {
                id: pad.id,
                entity: pad.entity,
                index: u16::try_from(pad.index).map_err(|_| TopologyError::PadNumber {
                    id: pad.id,
                    index: pad.index,
                })?,
                is_sink: pad.flags & sys::PAD_SINK != 0,
                must_connect: pad.flags & sys::PAD_MUST_CONNECT != 0,
            };
            insert(&mut topology.pads, "pads", pad.id, parsed)?;
            topology.entity_mut(pad.entity)?.pads.push(pad.id);
        }
        for link in limited("links", &arrays.links)? {
            match link.flags & sys::LINK_TYPE {
                sys::LINK_DATA => {
                    let parsed = Link {
                        source: topology.pad(link.source)?,
                        sink: topology.pad(link.sink)?,
                        is_enabled: link.flags & sys::LINK_ENABLED != 0,
                        is_immutable: link.flags & sys::LINK_IMMUTABLE != 0,
                        fixed_flags: link.flags & !sys::LINK_ENABLED,
                    };
                    topology.links.push(parsed);
                }
                sys::LINK_INTERFACE => {
                    let node = nodes.get(&link.source).ok_or(TopologyError::Missing {
                        what: "interface",
                        id: link.source,
                    })?;
                    topology.entity_mut(link.sink)?.node = Some(*node);
                }
                // An ancillary link connects a lens or a flash with a sensor, and carries no pictures.
                _ => {}
            }
        }
        let pads = &topology.pads;
        for entity in topology.entities.values_mut() {
            let number = |id: &Id| pads.get(id).map(|pad| pad.index);
            entity.pads.sort_by_key(number);
        }
        Ok(topology)
    }

    /// Returns the entity with this id.
    pub(super) fn entity(&self, id: Id) -> Result<&Entity, TopologyError> {
        self.entities
            .get(&id)
            .ok_or(TopologyError::Missing { what: "entity", id })
    }

    /// Returns the entity whose device node has this number.
    pub(super) fn entity_of_node(&self, number: (u32, u32)) -> Option<Id> {
        let mut entities = self.entities.iter();
        let found = entities.find(|(_, entity)| entity.node == Some(number));
        found.map(|(id, _)| *id)
    }

    /// Returns the pads of an entity, by number.
    pub(super) fn pads_of(&self, entity: Id) -> impl Iterator<Item = Pad> {
        let pads = self.entities.get(&entity).map(|entity| &entity.pads);
        pads.into_iter()
            .flatten()
            .filter_map(|id| self.pads.get(id).copied())
    }

    /// Returns the links that end at a pad, the enabled ones first.
    pub(super) fn links_to(&self, pad: Pad) -> Vec<Link> {
        self.links_where(|link| link.sink.id == pad.id)
    }

    /// Returns the links that begin at a pad, the enabled ones first.
    pub(super) fn links_from(&self, pad: Pad) -> Vec<Link> {
        self.links_where(|link| link.source.id == pad.id)
    }

    fn links_where(&self, is_wanted: impl Fn(&Link) -> bool) -> Vec<Link> {
        let mut links: Vec<Link> = self.links.iter().copied().filter(is_wanted).collect();
        links.sort_by_key(|link| !link.is_enabled);
        links
    }

    /// Records that a link was enabled or disabled.
    pub(super) fn set_enabled(&mut self, changed: Link, is_enabled: bool) {
        let is_changed =
            |link: &&mut Link| (link.source, link.sink) == (changed.source, changed.sink);
        if let Some(link) = self.links.iter_mut().find(is_changed) {
            link.is_enabled = is_enabled;
        }
    }

    fn pad(&self, id: Id) -> Result<Pad, TopologyError> {
        let pad = self.pads.get(&id).copied();
        pad.ok_or(TopologyError::Missing { what: "pad", id })
    }

    fn entity_mut(&mut self, id: Id) -> Result<&mut Entity, TopologyError> {
        self.entities
            .get_mut(&id)
            .ok_or(TopologyError::Missing { what: "entity", id })
    }
}

/// Returns the elements, or an error if there are more than [`MAXIMUM_ELEMENTS`].
fn limited<'a, T>(what: &'static str, elements: &'a [T]) -> Result<&'a [T], TopologyError> {
    let count = u32::try_from(elements.len()).unwrap_or(u32::MAX);
    if count > MAXIMUM_ELEMENTS {
        return Err(TopologyError::TooMany { what, count });
    }
    Ok(elements)
}

fn insert<T>(
    map: &mut BTreeMap<Id, T>,
    what: &'static str,
    id: Id,
    element: T,
) -> Result<(), TopologyError> {
    match map.insert(id, element) {
        None => Ok(()),
        Some(_) => Err(TopologyError::Duplicate { what, id }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Graph, vimc};
    use super::*;

    #[test]
    fn node_of_an_entity_is_found_by_its_number() {
        let topology = Topology::parse(&vimc().arrays).unwrap();
        let capture = topology.entity_of_node((81, 2)).unwrap();
        assert_eq!(topology.entity(capture).unwrap().name, "RGB/YUV Capture");
        assert_eq!(topology.entity_of_node((81, 99)), None);
    }

    #[test]
    fn id_that_does_not_exist_is_an_error() {
        let mut graph = vimc();
        let mut links = graph.arrays.links.iter_mut();
        let data = links.find(|link| link.flags & sys::LINK_TYPE == sys::LINK_DATA);
        data.unwrap().sink = 999;
        assert_eq!(
            Topology::parse(&graph.arrays),
            Err(TopologyError::Missing {
                what: "pad",
                id: 999
            })
        );
        let mut graph = vimc();
        graph.arrays.pads[0].entity = 998;
        let error = Topology::parse(&graph.arrays).unwrap_err();
        assert_eq!(error.to_string(), "entity 998 is named, and does not exist");
        let mut graph = vimc();
        let interface = graph.arrays.links.iter_mut();
        let interface = interface
            .rev()
            .find(|link| link.flags == sys::LINK_INTERFACE);
        interface.unwrap().source = 997;
        assert_eq!(
            Topology::parse(&graph.arrays),
            Err(TopologyError::Missing {
                what: "interface",
                id: 997
            })
        );
    }

    #[test]
    fn link_is_set_up_with_the_flags_that_the_driver_gave_it() {
        let mut graph = vimc();
        let debayer = graph.pad_id(("Debayer A", 1));
        let mut links = graph.arrays.links.iter_mut();
        let link = links.find(|link| link.source == debayer);
        // MEDIA_LNK_FL_DYNAMIC.
        link.unwrap().flags |= 4;
        let topology = graph.topology();
        let scaler = topology.pads_of(graph.id("Scaler")).next().unwrap();
        let links = topology.links_to(scaler);
        let flags = |link: Link| (link.flags(true), link.flags(false));
        assert_eq!((flags(links[0]), flags(links[1])), ((5, 4), (1, 0)));
    }

    #[test]
    fn two_elements_with_one_id_are_an_error() {
        let mut graph = vimc();
        graph.arrays.entities[1].id = graph.arrays.entities[0].id;
        assert!(matches!(
            Topology::parse(&graph.arrays),
            Err(TopologyError::Duplicate {
                what: "entities",
                ..
            })
        ));
    }

    #[test]
    fn more_elements_than_the_limit_are_an_error() {
        let mut graph = Graph::default();
        let count = MAXIMUM_ELEMENTS + 1;
        graph.arrays.entities = vec![sys::Entity::EMPTY; count as usize];
        assert_eq!(
            Topology::parse(&graph.arrays),
            Err(TopologyError::TooMany {
                what: "entities",
                count
            })
        );
    }

    #[test]
    fn pad_number_that_a_link_cannot_name_is_an_error() {
        let mut graph = vimc();
        graph.arrays.pads[0].index = 0x1_0000;
        assert!(matches!(
            Topology::parse(&graph.arrays),
            Err(TopologyError::PadNumber {
                index: 0x1_0000,
                ..
            })
        ));
    }
}
