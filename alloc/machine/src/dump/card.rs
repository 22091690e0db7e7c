//! A DRM card as drm_info describes it, and its declaration.

use std::collections::BTreeMap;

use covalent_solver::constraint::{
    Constraints, Contiguity, Crop, FormatSet, Imports, Participant, Plane, PlaneKind,
    PlanePlacement, Role, Source, SourceId, SyncMechanism,
};
use covalent_solver::model::{DeviceIdentity, FormatModifier, Fourcc};

use super::evidence::Evidence;
use crate::memory_manager::{MemoryManager, limit_to_card, takes_scattered_pages};
use crate::{Declared, KernelVersion, PlaneSizes, RecordedParticipant, RecordedSource};

/// `DRM_PRIME_CAP_IMPORT` and `DRM_PRIME_CAP_EXPORT`.
const PRIME_IMPORT: u64 = 1;
const PRIME_EXPORT: u64 = 2;

/// A DRM card that a dump describes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Card {
    /// The path of the primary node, such as `/dev/dri/card0`.
    pub(super) node: String,
    /// The name of the kernel driver.
    pub(super) driver: String,
    /// The kernel's release; empty if the dump does not have it.
    pub(super) kernel: String,
    /// Whether the card is on the PCI bus.
    pub(super) is_pci: bool,
    /// The values of `DRM_CAP_`, by the name after this prefix. A capability that the driver does not support is absent.
    pub(super) caps: BTreeMap<String, u64>,
    /// The minimum and maximum width of a framebuffer.
    pub(super) widths: Option<(u32, u32)>,
    /// The minimum and maximum height of a framebuffer.
    pub(super) heights: Option<(u32, u32)>,
    pub(super) planes: Vec<CardPlane>,
}

/// A KMS plane of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CardPlane {
    pub(super) id: u32,
    pub(super) kind: PlaneKind,
    pub(super) possible_crtcs: u32,
    /// The formats that `DRM_IOCTL_MODE_GETPLANE` returned.
    pub(super) formats: Vec<Fourcc>,
    /// The pairs of format and modifier of the property `IN_FORMATS`; `None` for a plane without this property.
    pub(super) in_formats: Option<Vec<FormatModifier>>,
}

impl CardPlane {
    /// Makes an overlay plane without formats. KMS treats a plane without the property `type` as an overlay plane.
    pub(super) fn new(id: u32) -> Self {
        Self {
            id,
            kind: PlaneKind::Overlay,
            possible_crtcs: 0,
            formats: Vec::new(),
            in_formats: None,
        }
    }
}

impl Card {
    /// Returns the value of a DRM capability; 0 if the dump does not list it.
    fn cap(&self, name: &str) -> u64 {
        self.caps.get(name).copied().unwrap_or(0)
    }

    /// Returns the file name of the device node, such as `card0`. A dump does not have the bus address of a card, so this name
    /// distinguishes several cards of one driver.
    pub(super) fn location(&self) -> &str {
        self.node.rsplit('/').next().unwrap_or_default()
    }

    fn side_of_cursor(&self, name: &str) -> u32 {
        PlaneSizes::max_cursor_size(self.caps.get(name).copied())
    }

    /// Declares the card as its backend would on the machine: its planes, its import through PRIME, and its dumb buffers.
    pub(super) fn declare(&self, evidence: &Evidence, declared: &mut Declared) {
        let device = DeviceIdentity {
            driver: self.driver.clone(),
            location: self.location().to_owned(),
            node: self.node.clone(),
        };
        for plane in &self.planes {
            let own = self.plane(&device, plane);
            declared.participants.push(self.recorded(own, evidence));
        }
        let name = format!("{} import", self.driver);
        let mut importer = self.participant(&device, name, Role::Import);
        importer.for_each_choice(|own| own.image.crop = Crop::Anywhere);
        declared
            .participants
            .push(self.recorded(importer, evidence));
        declared.sources.extend(self.dumb_buffers(device, evidence));
    }

    /// Declares a KMS plane of the card as a participant.
    fn plane(&self, device: &DeviceIdentity, plane: &CardPlane) -> Participant {
        let kind = plane.kind;
        let name = format!("{} {} plane {}", self.driver, kind.label(), plane.id);
        let mut participant = self.participant(device, name, Role::Display);
        participant.plane = Some(Plane {
            kind,
            id: Some(plane.id),
            possible_crtcs: plane.possible_crtcs,
        });
        let mut sizes = PlaneSizes {
            widths: self.widths.unwrap_or((1, u32::MAX)),
            heights: self.heights.unwrap_or((1, u32::MAX)),
        };
        if kind == PlaneKind::Cursor {
            sizes.widths.1 = self.side_of_cursor("CURSOR_WIDTH");
            sizes.heights.1 = self.side_of_cursor("CURSOR_HEIGHT");
        }
        sizes.constrain(&mut participant, kind, &self.formats(plane));
        participant
    }

    /// Returns the pairs of format and modifier of a plane: those of IN_FORMATS if the card supports modifiers
    /// (`DRM_CAP_ADDFB2_MODIFIERS`). Otherwise the buffers of the card are linear, so each format has the modifier LINEAR.
    fn formats(&self, plane: &CardPlane) -> FormatSet {
        match &plane.in_formats {
            Some(pairs) if self.cap("ADDFB2_MODIFIERS") != 0 => pairs.clone().into(),
            _ => {
                let linear = plane.formats.iter().map(|own| FormatModifier::linear(*own));
                linear.collect()
            }
        }
    }

    /// Declares the card as a participant with its memory constraints and sync mechanisms.
    fn participant(&self, device: &DeviceIdentity, name: String, role: Role) -> Participant {
        let mut participant = Participant::new(name, device.clone(), role);
        let mut constraints = Constraints::default();
        constraints.memory.imports = self.imports();
        if !takes_scattered_pages(&self.driver) {
            constraints.memory.contiguity = Contiguity::Unknown;
        }
        constraints
            .sync
            .extend([SyncMechanism::Implicit, SyncMechanism::SyncFile]);
        if self.cap("SYNCOBJ_TIMELINE") != 0 {
            constraints.sync.insert(SyncMechanism::Timeline);
        }
        participant.set_constraints(constraints);
        participant
    }

    /// Returns which memory the card imports, according to its PRIME capability.
    fn imports(&self) -> Imports {
        let prime = self.cap("PRIME");
        if prime & PRIME_IMPORT == 0 {
            let reason = format!("drm_info prints DRM_CAP_PRIME = {prime}, without import");
            return Imports::Nothing { reason };
        }
        if self.driver == "virtio_gpu" {
            return Imports::Unknown {
                reason: "the dump does not state whether this virtio-gpu renders on its host"
                    .to_owned(),
            };
        }
        Imports::Any
    }

    /// Returns whether [`MemoryManager`] has an entry for this driver in the kernel of the dump.
    fn has_known_manager(&self) -> bool {
        KernelVersion::of_release(&self.kernel)
            .is_some_and(|kernel| MemoryManager::of(&self.driver, kernel).is_some())
    }

    /// Adds the provenance of its constraints to a participant of the card.
    fn recorded(&self, participant: Participant, evidence: &Evidence) -> RecordedParticipant {
        let path = "participant.constraints.memory";
        let mut provenance = evidence.reported();
        if takes_scattered_pages(&self.driver) {
            let by_name = "covalent-machine, memory_manager: by the driver's name";
            provenance = provenance.and(
                &format!("{path}.contiguity"),
                Evidence::driver_source(by_name),
            );
        } else {
            let what = "whether the card needs physically contiguous memory";
            provenance = provenance.and(&format!("{path}.contiguity"), Evidence::unknown(what));
        }
        if self.driver == "virtio_gpu" {
            let what =
                "whether this virtio-gpu renders on its host, and so imports only its own buffers";
            provenance = provenance.and(&format!("{path}.imports"), Evidence::unknown(what));
        } else if !self.has_known_manager() && self.cap("PRIME") & PRIME_IMPORT != 0 {
            let what = "whether the driver imports the memory of other devices: since Linux 6.6, DRM_CAP_PRIME reports imports for every driver";
            provenance = provenance.and(&format!("{path}.imports"), Evidence::unknown(what));
        }
        RecordedParticipant {
            provenance,
            ..RecordedParticipant::measured(participant)
        }
    }

    /// Returns the card's dumb buffers; `None` if it has none or cannot export them.
    fn dumb_buffers(&self, device: DeviceIdentity, evidence: &Evidence) -> Option<RecordedSource> {
        if self.cap("PRIME") & PRIME_EXPORT == 0 || self.cap("DUMB_BUFFER") == 0 {
            return None;
        }
        let id = SourceId::new(format!("dumb:{}@{}", self.driver, device.location));
        let mut source = Source::new(id, format!("{} dumb", self.driver));
        source.device = Some(device);
        if self.is_pci && self.driver.starts_with("nvidia") {
            // On PCI, a card with NVIDIA's driver shares its dumb buffers with no other device. The limit is set here, because
            // the general rule depends on the PCI address of the device, which is not in the dump.
            limit_to_card(&mut source);
        }
        let image = &mut source.constraints.image;
        // A dumb buffer is one dma-buf. It is declared with 32-bit pixels, because every card with dumb buffers supports these.
        image.placement = PlanePlacement::Together;
        image.stride.alignment = 4;
        let what = "whether the memory is contiguous, and how much of it is free";
        let provenance = evidence
            .reported()
            .and("source.guarantees", Evidence::unknown(what));
        Some(RecordedSource {
            provenance,
            ..RecordedSource::measured(source)
        })
    }
}
