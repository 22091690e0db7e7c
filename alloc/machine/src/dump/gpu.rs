//! A Vulkan device that vulkaninfo describes, and its declaration.

use std::collections::BTreeSet;

use covalent_solver::constraint::{
    Constraints, Crop, FormatSet, Interface, Participant, Role, SyncMechanism,
};
use covalent_solver::model::{DeviceIdentity, FormatModifier, Fourcc};

use super::card::Card;
use super::evidence::Evidence;
use crate::{Declared, MissingDevice, RecordedParticipant};

/// The number of images that a renderer holds: the one that it reads, and the next one.
const BUFFERS_HELD: u32 = 2;

/// The extensions that a device needs to import dma-bufs as images.
const REQUIRED_EXTENSIONS: [&str; 2] = [
    "VK_EXT_external_memory_dma_buf",
    "VK_EXT_image_drm_format_modifier",
];

/// DRM formats with the names of the Vulkan formats that have the same bytes. The backend `vulkan` of covalent-alloc has the same
/// table.
///
/// # References
/// Vulkan, "Format Definition"; `drm_fourcc.h`.
const FORMATS: [(Fourcc, &str); 17] = [
    (Fourcc::XRGB8888, "B8G8R8A8_UNORM"),
    (Fourcc::ARGB8888, "B8G8R8A8_UNORM"),
    (Fourcc::XBGR8888, "R8G8B8A8_UNORM"),
    (Fourcc::ABGR8888, "R8G8B8A8_UNORM"),
    (Fourcc::RGB888, "B8G8R8_UNORM"),
    (Fourcc::BGR888, "R8G8B8_UNORM"),
    (Fourcc::RGB565, "R5G6B5_UNORM_PACK16"),
    (Fourcc::R8, "R8_UNORM"),
    (Fourcc::YUYV, "G8B8G8R8_422_UNORM"),
    (Fourcc::UYVY, "B8G8R8G8_422_UNORM"),
    (Fourcc::NV12, "G8_B8R8_2PLANE_420_UNORM"),
    (Fourcc::NV21, "G8_B8R8_2PLANE_420_UNORM"),
    (Fourcc::NV16, "G8_B8R8_2PLANE_422_UNORM"),
    (Fourcc::NV61, "G8_B8R8_2PLANE_422_UNORM"),
    (Fourcc::YUV420, "G8_B8_R8_3PLANE_420_UNORM"),
    (Fourcc::YVU420, "G8_B8_R8_3PLANE_420_UNORM"),
    (Fourcc::YUV422, "G8_B8_R8_3PLANE_422_UNORM"),
];

/// A Vulkan device that a dump describes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gpu {
    pub(super) name: String,
    /// `VkPhysicalDeviceDriverProperties::driverName`; empty if the dump does not have it.
    pub(super) driver: String,
    /// The extensions that a declaration depends on; `None` for a dump by `vulkaninfo --summary`, which lists no extensions.
    pub(super) extensions: Option<BTreeSet<String>>,
    /// The formats whose linear images the device can sample, render to or copy.
    pub(super) linear: BTreeSet<Fourcc>,
    /// Whether the dump lists formats.
    pub(super) has_formats: bool,
    /// The minor number of the primary node, and then that of the render node.
    pub(super) primary: Option<u32>,
    pub(super) render: Option<u32>,
    /// Whether `hasPrimary` is false. The dump may then have 0 as the minor number of the primary node.
    pub(super) lacks_primary: bool,
    /// Whether `hasRender` is false.
    pub(super) lacks_render: bool,
    pub(super) is_cpu: bool,
}

impl Gpu {
    /// Adds an extension. Extensions on which no declaration depends are ignored.
    pub(super) fn add_extension(&mut self, name: &str) {
        let extensions = self.extensions.get_or_insert_default();
        if REQUIRED_EXTENSIONS.contains(&name) || name == "VK_KHR_external_semaphore_fd" {
            extensions.insert(name.to_owned());
        }
    }

    /// Adds the DRM formats that have the same bytes as a Vulkan format, if linear images of that format have a used feature. The
    /// name of the Vulkan format may have its prefix `VK_FORMAT_` or not.
    pub(super) fn add_format(&mut self, name: &str, has_features: bool) {
        self.has_formats = true;
        let name = name.strip_prefix("VK_").unwrap_or(name);
        let name = name.strip_prefix("FORMAT_").unwrap_or(name);
        let same = FORMATS
            .iter()
            .filter(|(_, own)| has_features && *own == name);
        self.linear.extend(same.map(|(fourcc, _)| *fourcc));
    }

    /// Returns whether Covalent uses a format feature on imported linear images.
    pub(super) fn is_used_feature(name: &str) -> bool {
        let features = [
            "SAMPLED_IMAGE",
            "COLOR_ATTACHMENT",
            "TRANSFER_SRC",
            "TRANSFER_DST",
        ];
        let is_blend = name.contains("BLEND") || name.contains("FILTER");
        !is_blend && features.iter().any(|own| name.contains(own))
    }

    /// Declares the images that the device imports. If it imports none, adds the device and the reason to the missing devices.
    pub(super) fn declare(
        &self,
        cards: &[(Card, Evidence)],
        evidence: &Evidence,
        declared: &mut Declared,
    ) {
        let Some(extensions) = &self.extensions else {
            declared.missing.push(MissingDevice {
                name: self.name.clone(),
                reason: "the summary has no extensions and no formats: vulkaninfo without --summary prints them".to_owned(),
                provenance: Some(evidence.here()),
                ..MissingDevice::default()
            });
            return;
        };
        if let Some(lacks) = REQUIRED_EXTENSIONS
            .iter()
            .find(|own| !extensions.contains(**own))
        {
            declared.missing.push(MissingDevice {
                name: self.name.clone(),
                reason: format!("the device imports no images, because it lacks {lacks}"),
                provenance: Some(evidence.here()),
                ..MissingDevice::default()
            });
            return;
        }
        let device = self.identity(cards);
        let name = format!("{} image", device.driver);
        let mut participant = Participant::new(name, device, Role::Import);
        participant.interface = Some(Interface::Vulkan);
        participant.maps = self.is_cpu;
        let linear = self.linear.iter().map(|own| FormatModifier::linear(*own));
        let mut constraints = Constraints {
            formats: Some(linear.collect::<FormatSet>()),
            buffers_held: BUFFERS_HELD,
            ..Constraints::default()
        };
        constraints.image.crop = Crop::Anywhere;
        if extensions.contains("VK_KHR_external_semaphore_fd") {
            constraints.sync.insert(SyncMechanism::SyncFile);
        }
        participant.set_constraints(constraints);
        let path = |name: &str| format!("participant.constraints.{name}");
        let mut provenance = evidence.reported();
        let formats = if self.has_formats {
            "which modifiers the device imports, and whether LINEAR is among them: vulkaninfo prints only the formats of linear images"
        } else {
            "which formats and modifiers the device imports: the text has no formats"
        };
        let image = "which strides, offsets and sizes the driver accepts";
        provenance = provenance
            .and(&path("formats"), Evidence::unknown(formats))
            .and(&path("image"), Evidence::unknown(image));
        declared.participants.push(RecordedParticipant {
            provenance,
            ..RecordedParticipant::measured(participant)
        });
    }

    /// Returns the identity of the device's card if another dump describes the card. Otherwise the identity has the Vulkan
    /// driver's name and the render node.
    fn identity(&self, cards: &[(Card, Evidence)]) -> DeviceIdentity {
        let node = |minor: u32| format!("/dev/dri/card{minor}");
        let primary = self.primary.filter(|_| !self.lacks_primary).map(node);
        let mut cards = cards.iter().map(|(own, _)| own);
        let card = cards.find(|card| Some(&card.node) == primary.as_ref());
        let render = self.render.filter(|_| !self.lacks_render);
        let render = render.map(|minor| format!("/dev/dri/renderD{minor}"));
        let own_node = render.or(primary).unwrap_or_default();
        if let Some(card) = card {
            return DeviceIdentity {
                driver: card.driver.clone(),
                location: card.location().to_owned(),
                node: own_node,
            };
        }
        let driver = if self.driver.is_empty() {
            "vulkan"
        } else {
            &self.driver
        };
        DeviceIdentity {
            driver: driver.to_owned(),
            location: self.name.clone(),
            node: own_node,
        }
    }
}
