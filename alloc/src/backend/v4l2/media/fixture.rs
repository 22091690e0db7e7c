//! Simulated media devices for tests, with the formats of their pads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::access::{Access, Which};
use super::bus_code::BusCode;
use super::bus_format::BusFormat;
use super::error::MediaError;
use super::node_format::NodeFormat;
use super::sys;
use super::topology::{Entity, Link, Pad, Topology};
use crate::backend::v4l2::PixelFormat;
use crate::model::Extent;

pub(super) const RGB: BusCode = BusCode(0x100a);
pub(super) const BGR: BusCode = BusCode(0x1013);
pub(super) const BAYER: BusCode = BusCode(0x3014);
pub(super) const RGB3: PixelFormat = PixelFormat::of(*b"RGB3");
pub(super) const BGR3: PixelFormat = PixelFormat::of(*b"BGR3");
pub(super) const RAW: PixelFormat = PixelFormat::of(*b"RGGB");

/// A graph under construction, as the arrays that MEDIA_IOC_G_TOPOLOGY would fill.
#[derive(Default)]
pub(super) struct Graph {
    pub(super) arrays: sys::Arrays,
}

impl Graph {
    pub(super) fn topology(&self) -> Topology {
        Topology::parse(&self.arrays).unwrap()
    }

    pub(super) fn id(&self, name: &str) -> u32 {
        let is_named = |entity: &&sys::Entity| entity.name.starts_with(name.as_bytes());
        self.arrays.entities.iter().find(is_named).unwrap().id
    }

    /// Adds an entity without a device node, and returns its id. `sinks` states for each pad whether it is a sink pad.
    fn entity(&mut self, name: &str, function: u32, sinks: &[bool]) -> u32 {
        let id = self.next_id();
        let mut entity = sys::Entity::EMPTY;
        (entity.id, entity.function) = (id, function);
        entity.name[..name.len()].copy_from_slice(name.as_bytes());
        self.arrays.entities.push(entity);
        for (index, is_sink) in (0u32..).zip(sinks) {
            let pad = sys::Pad {
                id: self.next_id(),
                entity: id,
                flags: if *is_sink { 1 } else { 2 },
                index,
                ..Default::default()
            };
            self.arrays.pads.push(pad);
        }
        id
    }

    /// Adds a device node to an entity.
    fn interface(&mut self, entity: u32, (major, minor): (u32, u32)) {
        let interface = sys::Interface {
            id: self.next_id(),
            major,
            minor,
            ..Default::default()
        };
        self.arrays.interfaces.push(interface);
        let link = sys::Link {
            id: self.next_id(),
            source: interface.id,
            sink: entity,
            flags: sys::LINK_INTERFACE,
            ..Default::default()
        };
        self.arrays.links.push(link);
    }

    /// Adds a sensor with one source pad and a device node.
    pub(super) fn sensor(&mut self, name: &str) {
        let id = self.entity(name, sys::FUNCTION_CAMERA_SENSOR, &[false]);
        self.interface(id, (82, id));
    }

    /// Adds a sub-device with a node. `sinks` states for each pad whether it is a sink pad.
    pub(super) fn subdevice(&mut self, name: &str, sinks: &[bool]) {
        let id = self.entity(name, 0x4005, sinks);
        self.interface(id, (82, id));
    }

    /// Adds a video node with one sink pad.
    pub(super) fn node(&mut self, name: &str, number: (u32, u32)) {
        let id = self.entity(name, sys::FUNCTION_VIDEO_NODE, &[true]);
        self.interface(id, number);
    }

    /// Adds a data link between two pads, each given by the name of its entity and its number.
    pub(super) fn link(&mut self, source: (&str, u32), sink: (&str, u32), is_enabled: bool) {
        self.link_with(source, sink, u32::from(is_enabled));
    }

    pub(super) fn immutable_link(
        &mut self,
        source: (&str, u32),
        sink: (&str, u32),
        is_enabled: bool,
    ) {
        self.link_with(source, sink, sys::LINK_IMMUTABLE | u32::from(is_enabled));
    }

    fn link_with(&mut self, source: (&str, u32), sink: (&str, u32), flags: u32) {
        let link = sys::Link {
            id: self.next_id(),
            source: self.pad_id(source),
            sink: self.pad_id(sink),
            flags,
            ..Default::default()
        };
        self.arrays.links.push(link);
    }

    pub(super) fn pad_id(&self, (name, index): (&str, u32)) -> u32 {
        let entity = self.id(name);
        let is_wanted = |pad: &&sys::Pad| pad.entity == entity && pad.index == index;
        self.arrays.pads.iter().find(is_wanted).unwrap().id
    }

    fn next_id(&self) -> u32 {
        let arrays = &self.arrays;
        let count = arrays.entities.len() + arrays.pads.len() + arrays.links.len();
        u32::try_from(count + arrays.interfaces.len() + 1).unwrap()
    }
}

/// The graph of the kernel's driver vimc, without its lenses.
pub(super) fn vimc() -> Graph {
    let mut graph = Graph::default();
    for sensor in ["Sensor A", "Sensor B", "RGB/YUV Input"] {
        graph.sensor(sensor);
    }
    for subdevice in ["Debayer A", "Debayer B", "Scaler"] {
        graph.subdevice(subdevice, &[true, false]);
    }
    for (minor, node) in (0..).zip(["Raw Capture 0", "Raw Capture 1", "RGB/YUV Capture"]) {
        graph.node(node, (81, minor));
    }
    for (sensor, debayer, raw) in [
        ("Sensor A", "Debayer A", "Raw Capture 0"),
        ("Sensor B", "Debayer B", "Raw Capture 1"),
    ] {
        graph.immutable_link((sensor, 0), (debayer, 0), true);
        graph.immutable_link((sensor, 0), (raw, 0), true);
    }
    graph.link(("Debayer A", 1), ("Scaler", 0), true);
    graph.link(("Debayer B", 1), ("Scaler", 0), false);
    graph.link(("RGB/YUV Input", 0), ("Scaler", 0), false);
    graph.immutable_link(("Scaler", 1), ("RGB/YUV Capture", 0), true);
    graph
}

/// Returns the names of the entities along links.
pub(super) fn names<'a>(topology: &'a Topology, links: &[Link]) -> Vec<&'a str> {
    let name = |pad: Pad| topology.entity(pad.entity).unwrap().name.as_str();
    let first = links.first().map(|link| name(link.source));
    let rest = links.iter().map(|link| name(link.sink));
    first.into_iter().chain(rest).collect()
}

/// A simulated device. A pad accepts the media bus codes in `codes`, and replaces any other code by the first of them.
pub(super) struct Simulated {
    /// The active formats, by the id of the entity and the number of the pad.
    pub(super) formats: BTreeMap<(u32, u16), BusFormat>,
    pub(super) tried: BTreeMap<(u32, u16), BusFormat>,
    pub(super) nodes: BTreeMap<u32, NodeFormat>,
    /// The codes of each entity's sink pads and source pads.
    pub(super) codes: BTreeMap<u32, (Vec<BusCode>, Vec<BusCode>)>,
    /// The video nodes that another process streams from.
    pub(super) busy: Vec<u32>,
    /// The calls that changed the device, in the order in which they were made.
    pub(super) calls: Vec<String>,
}

impl Simulated {
    /// Returns a simulated vimc in the state that it has after the module was loaded.
    pub(super) fn vimc(graph: &Graph) -> Self {
        let size = Extent::new(640, 480).unwrap();
        let mut formats = BTreeMap::new();
        let mut codes = BTreeMap::new();
        for pad in &graph.arrays.pads {
            let key = (pad.entity, u16::try_from(pad.index).unwrap());
            formats.insert(key, BusFormat::new(size, RGB));
            codes.insert(pad.entity, (vec![RGB, BGR], vec![RGB, BGR]));
        }
        for sensor in ["Sensor A", "Sensor B", "RGB/YUV Input"] {
            codes.insert(graph.id(sensor), (Vec::new(), vec![RGB, BGR, BAYER]));
        }
        for debayer in ["Debayer A", "Debayer B"] {
            let id = graph.id(debayer);
            formats.insert((id, 0), BusFormat::new(size, BAYER));
            codes.insert(id, (vec![BAYER], vec![RGB, BGR]));
        }
        let node = NodeFormat {
            extent: size,
            pixel_format: RGB3,
        };
        let nodes = ["Raw Capture 0", "Raw Capture 1", "RGB/YUV Capture"];
        Self {
            tried: formats.clone(),
            formats,
            nodes: nodes.map(|name| (graph.id(name), node)).into(),
            codes,
            busy: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// Returns the media bus codes that a pad accepts.
    fn known(&self, pad: Pad) -> &[BusCode] {
        let (sinks, sources) = &self.codes[&pad.entity];
        if pad.is_sink { sinks } else { sources }
    }
}

impl Access for Simulated {
    fn pad_format(&mut self, _: &Entity, pad: Pad) -> Result<Option<BusFormat>, MediaError> {
        Ok(self.formats.get(&(pad.entity, pad.index)).copied())
    }

    fn set_pad_format(
        &mut self,
        entity: &Entity,
        pad: Pad,
        which: Which,
        wanted: BusFormat,
    ) -> Result<BusFormat, MediaError> {
        let known = self.known(pad).to_vec();
        let code = Some(wanted.code).filter(|code| known.contains(code));
        let set = wanted.with_code(code.unwrap_or(known[0]));
        let formats = match which {
            Which::Try => &mut self.tried,
            Which::Active => {
                self.calls
                    .push(format!("{}:{} {set}", entity.name, pad.index));
                &mut self.formats
            }
        };
        formats.insert((pad.entity, pad.index), set);
        Ok(set)
    }

    fn codes(&mut self, _: &Entity, pad: Pad) -> Result<Vec<BusCode>, MediaError> {
        Ok(self.known(pad).to_vec())
    }

    fn node_path(&mut self, entity: &Entity) -> Result<PathBuf, MediaError> {
        let (_, minor) = entity.node.unwrap();
        Ok(PathBuf::from(format!("/dev/video{minor}")))
    }

    fn node_format(&mut self, entity: &Entity) -> Result<Option<NodeFormat>, MediaError> {
        Ok(self.nodes.get(&entity.id).copied())
    }

    fn set_node_format(
        &mut self,
        entity: &Entity,
        wanted: NodeFormat,
    ) -> Result<NodeFormat, MediaError> {
        self.calls.push(format!("{} {wanted}", entity.name));
        self.nodes.insert(entity.id, wanted);
        Ok(wanted)
    }

    fn pixel_formats(&mut self, _: &Entity, code: BusCode) -> Result<Vec<PixelFormat>, MediaError> {
        let all = [(RGB, RGB3), (BGR, BGR3), (BAYER, RAW)];
        let deliverable = all.into_iter().filter(|(known, _)| *known == code);
        Ok(deliverable.map(|(_, format)| format).collect())
    }

    fn is_busy(&mut self, entity: &Entity) -> Result<bool, MediaError> {
        Ok(self.busy.contains(&entity.id))
    }

    fn enable(&mut self, link: Link, is_enabled: bool) -> Result<(), MediaError> {
        let (source, sink) = (link.source, link.sink);
        self.calls.push(format!(
            "link {}:{} to {}:{} {is_enabled}",
            source.entity, source.index, sink.entity, sink.index
        ));
        Ok(())
    }
}
