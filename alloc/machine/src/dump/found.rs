//! The devices that the dumps of one machine describe together, and the recorded machine that is made of them.

use std::collections::{BTreeMap, BTreeSet};

use covalent_solver::model::Extent;
use covalent_solver::text::printable_within;

use super::card::Card;
use super::error::DumpError;
use super::evidence::Evidence;
use super::exporters;
use super::gpu::Gpu;
use super::video::Video;
use super::wayland_text::Compositor;
use crate::devicetree::Tree;
use crate::{Declared, Machine, MissingDevice, ReservedMemory};

/// The maximum number of sizes for which one queue is declared.
const MAXIMUM_SIZES: usize = 64;

/// The devices of all dumps, each with the files that describe it.
#[derive(Default)]
pub(super) struct DumpedDevices {
    cards: Vec<(Card, Evidence)>,
    videos: Vec<(Video, Evidence)>,
    gpus: Vec<(Gpu, Evidence)>,
    compositors: Vec<(Compositor, Evidence)>,
    /// The names of the heaps, and of udmabuf, that have exported dma-bufs.
    exporters: BTreeMap<String, Evidence>,
    tree: Option<Tree>,
    names: Vec<String>,
}

impl DumpedDevices {
    /// Adds the name of a file to the names that the origin of the machine lists.
    pub(super) fn add_file(&mut self, evidence: &Evidence) {
        self.names.push(evidence.0.clone());
    }

    /// Adds a card. If another dump already describes the card, that description is kept.
    pub(super) fn add_card(&mut self, card: Card, evidence: &Evidence) {
        let is_known = self.cards.iter().any(|(own, _)| own.node == card.node);
        if !is_known {
            self.cards.push((card, evidence.clone()));
        }
    }

    /// Adds a video device. If another dump describes the same device, the values of both are merged. A list of formats without
    /// the name of a device belongs to the device of the other dump, if the other dumps describe only one video device.
    pub(super) fn add_video(&mut self, video: Video, evidence: &Evidence) {
        let alone = self.videos.len() == 1;
        let same = self.videos.iter_mut().find(|(own, _)| {
            let is_named = own.node.is_some() && own.node == video.node;
            let is_part = own.driver.is_empty() || video.driver.is_empty();
            let can_be = own.node.is_none() || video.node.is_none();
            let is_device = own.driver == video.driver && own.bus == video.bus;
            is_named || alone && can_be && (is_part || is_device)
        });
        match same {
            Some((own, known_evidence)) => {
                own.merge(video);
                if known_evidence != evidence {
                    known_evidence.0 = format!("{} and {}", known_evidence.0, evidence.0);
                }
            }
            None => self.videos.push((video, evidence.clone())),
        }
    }

    /// Adds a Vulkan device that no other dump describes.
    pub(super) fn add_gpu(&mut self, gpu: Gpu, evidence: &Evidence) {
        if self.gpus.iter().all(|(own, _)| own.name != gpu.name) {
            self.gpus.push((gpu, evidence.clone()));
        }
    }

    /// Adds the compositor. Only the first compositor is kept, because a machine has one.
    pub(super) fn add_compositor(&mut self, compositor: Compositor, evidence: &Evidence) {
        if self.compositors.is_empty() {
            self.compositors.push((compositor, evidence.clone()));
        }
    }

    /// Adds the heaps, and udmabuf, that have exported dma-bufs.
    pub(super) fn add_exporters(&mut self, names: BTreeSet<String>, evidence: &Evidence) {
        for name in names {
            self.exporters
                .entry(name)
                .or_insert_with(|| evidence.clone());
        }
    }

    /// Adds the devicetree. Only the first devicetree is kept, because a machine has one.
    pub(super) fn add_tree(&mut self, tree: Tree) {
        self.tree.get_or_insert(tree);
    }

    /// Makes the recorded machine of all devices that were added.
    pub(super) fn into_machine(mut self) -> Result<Machine, DumpError> {
        self.name_nodes();
        let mut machine = Machine::new(
            self.name(),
            format!("covalent import, {}", self.names.join("; ")),
        );
        machine.environment.kernel = self.kernel();
        let mut every_size = Declared::default();
        for (card, evidence) in &self.cards {
            card.declare(evidence, &mut every_size);
        }
        for (gpu, evidence) in &self.gpus {
            gpu.declare(&self.cards, evidence, &mut every_size);
        }
        for (name, evidence) in &self.exporters {
            exporters::declare(name, evidence, &mut every_size);
        }
        for (compositor, evidence) in std::mem::take(&mut self.compositors) {
            compositor.declare(&evidence, &mut every_size);
        }
        let mut sized: Vec<Declared> = Vec::new();
        for (video, evidence) in &self.videos {
            declare_video(video, evidence, &mut every_size, &mut sized);
        }
        machine.declared = std::iter::once(every_size).chain(sized).collect();
        machine
            .declared
            .retain(|own| own.size.is_none() || !own.participants.is_empty());
        if let Some(tree) = &self.tree {
            add_reserved_memory(tree, &mut machine);
        }
        // A recorded machine is valid only if its lists are within the limits and its names are unique.
        machine.check()?;
        Ok(machine)
    }

    /// Gives each video device without a node the lowest free node. The first is `/dev/video0`, which v4l2-ctl opens by default.
    fn name_nodes(&mut self) {
        let named = self.videos.iter().filter_map(|(own, _)| own.node.clone());
        let mut taken: BTreeSet<String> = named.collect();
        let mut free = (0_u32..).map(|number| format!("/dev/video{number}"));
        for (video, _) in &mut self.videos {
            if video.driver.is_empty() {
                video.driver = "unknown".to_owned();
            }
            if video.node.is_none() {
                video.node = free.find(|node| taken.insert(node.clone()));
            }
        }
    }

    fn name(&self) -> String {
        let root = self.tree.as_ref().map(Tree::root);
        let model = root.and_then(|root| root.texts("model").next());
        if let Some(model) = model {
            return printable_within(model, 120);
        }
        let cards = self.cards.iter().map(|(own, _)| own.driver.as_str());
        let videos = self.videos.iter().map(|(own, _)| own.driver.as_str());
        let gpus = self.gpus.iter().map(|(own, _)| own.name.as_str());
        let drivers: BTreeSet<&str> = cards.chain(videos).chain(gpus).collect();
        if drivers.is_empty() {
            return "a machine without known devices".to_owned();
        }
        let drivers: Vec<&str> = drivers.into_iter().take(8).collect();
        format!("a machine with {}", drivers.join(", "))
    }

    /// Returns the kernel's release; empty if no dump has it.
    fn kernel(&self) -> String {
        let cards = self.cards.iter().map(|(own, _)| &own.kernel);
        let videos = self.videos.iter().map(|(own, _)| &own.kernel);
        let mut all = cards.chain(videos).filter(|release| !release.is_empty());
        all.next().cloned().unwrap_or_default()
    }
}

/// Declares the queues of a V4L2 device at each size that the dump names.
fn declare_video(
    video: &Video,
    evidence: &Evidence,
    every_size: &mut Declared,
    sized: &mut Vec<Declared>,
) {
    if video.queues.is_empty() {
        every_size.missing.push(MissingDevice {
            name: format!(
                "{} {}",
                video.driver,
                video.node.as_deref().unwrap_or_default()
            ),
            reason: "the dump lists no formats of the device: v4l2-ctl --all --list-formats-ext prints them"
                .to_owned(),
            provenance: Some(evidence.here()),
            ..MissingDevice::default()
        });
    }
    for queue in &video.queues {
        let sizes = queue.sizes();
        if sizes.is_empty() {
            let (participant, source) = video.declare(queue, None, evidence);
            every_size.participants.push(participant);
            every_size.sources.extend(source);
        }
        for size in sizes.into_iter().take(MAXIMUM_SIZES) {
            let (participant, source) = video.declare(queue, Some(size), evidence);
            let declared = at_size(sized, size);
            declared.participants.push(participant);
            declared.sources.extend(source);
        }
    }
}

/// Returns the declarations for a size. If there are none yet, an empty declaration is added.
fn at_size(sized: &mut Vec<Declared>, size: Extent) -> &mut Declared {
    let at = sized.iter().position(|own| own.size == Some(size));
    let at = at.unwrap_or_else(|| {
        sized.push(Declared {
            size: Some(size),
            ..Declared::default()
        });
        sized.len().saturating_sub(1)
    });
    &mut sized[at]
}

/// Adds the reserved memory of a devicetree. Each V4L2 device whose bus information names a node gets the path of that node.
/// `platform:32e00000.isi` is the device of the node `isi@32e00000`.
fn add_reserved_memory(tree: &Tree, machine: &mut Machine) {
    machine.devicetree = Some(ReservedMemory::of(tree));
    let mut paths: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for node in tree.nodes().filter(|node| node.name().contains('@')) {
        // If two nodes have the same name, the name identifies neither node.
        let path = paths.entry(node.name());
        path.and_modify(|own| *own = None)
            .or_insert_with(|| Some(node.path()));
    }
    for recorded in machine
        .declared
        .iter_mut()
        .flat_map(|own| &mut own.participants)
    {
        let location = &recorded.participant.device.location;
        let device = location.strip_prefix("platform:").unwrap_or(location);
        let name = device
            .split_once('.')
            .map(|(address, name)| format!("{name}@{address}"));
        let path = name.and_then(|name| paths.get(name.as_str()).cloned().flatten());
        recorded.tree_node = path;
    }
}
