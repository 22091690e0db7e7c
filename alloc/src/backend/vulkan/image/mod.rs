//! A buffer as a Vulkan image. It is imported with its own layout, never with a layout that the driver guesses.

mod sys;

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;

use ash::vk;

use super::participant::Kind;
use super::purpose::Purpose;
use super::{Gpu, VulkanError};
use crate::buffer::Buffer;
use crate::model::{Extent, Fourcc, Layout, Modifier, PlaneLayout};
use sys::PlaneLayouts;
pub(super) use sys::RawImage;

/// A buffer that is imported as a VkImage. The buffer lives as long as the image.
pub struct Image {
    pub(super) gpu: Gpu,
    /// Shared with pending work.
    pub(super) raw: Arc<RawImage>,
    pub(super) layout: Layout,
    pub(super) usage: vk::ImageUsageFlags,
    /// What the device does with images of this format and modifier.
    pub(super) features: vk::FormatFeatureFlags,
    buffer: Buffer,
}

impl fmt::Debug for Image {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Image")
            .field("gpu", &self.gpu)
            .field("buffer", &self.buffer)
            .finish_non_exhaustive()
    }
}

/// The result of an image that was created with a trial layout.
pub(super) struct Trial {
    /// Bytes that the driver requires after the last plane.
    pub(super) padding_bytes: u64,
}

/// Returns a layout whose strides and offset are multiples of these alignments and of no larger power of two. A driver that
/// accepts it therefore accepts every multiple. `None` if no such layout exists.
pub(super) fn aligned(
    extent: Extent,
    fourcc: Fourcc,
    alignment: u32,
    offset: u32,
) -> Option<Layout> {
    let least = Layout::linear(extent, fourcc, alignment, 0).ok()?;
    let stride = least.planes().first()?.stride_bytes;
    // An even multiple would also be a multiple of the next alignment.
    let odd = stride.checked_div(alignment)? & 1 == 1;
    let stride = if odd {
        stride
    } else {
        stride.checked_add(alignment)?
    };
    let layout = Layout::linear(extent, fourcc, alignment, stride).ok()?;
    let moved: Vec<PlaneLayout> = layout
        .planes()
        .iter()
        .map(|plane| {
            Some(PlaneLayout {
                offset_bytes: plane.offset_bytes.checked_add(offset.into())?,
                ..*plane
            })
        })
        .collect::<Option<_>>()?;
    let size = layout.total_bytes().checked_add(offset.into())?;
    Layout::new(extent, layout.format(), moved, vec![size]).ok()
}

/// Creates an image with this layout, without memory, to test whether the driver accepts it.
pub(super) fn attempt(gpu: &Gpu, kind: &Kind, layout: &Layout) -> Result<Trial, vk::Result> {
    let planes = subresources(layout);
    let size = (layout.extent().width(), layout.extent().height());
    let raw = RawImage::new(
        gpu.device(),
        kind.kind,
        size,
        &PlaneLayouts::Explicit(&planes),
    )?;
    let needed = raw.requirements(None).size_bytes;
    Ok(Trial {
        padding_bytes: needed.saturating_sub(layout.total_bytes()),
    })
}

/// Whether the driver accepts each plane in a dma-buf of its own, no larger than the plane.
///
/// The feature bit is not sufficient: lavapipe sets it, and requires the size of the whole image for each plane.
pub(super) fn supports_disjoint_planes(
    gpu: &Gpu,
    kind: &Kind,
    extent: Extent,
    alignment: u32,
) -> bool {
    let Ok(Some(disjoint)) = gpu.disjoint(kind.clone()) else {
        return false;
    };
    let Some(layout) = aligned(extent, kind.format.fourcc, alignment, 0) else {
        return false;
    };
    let planes: Vec<vk::SubresourceLayout> = layout
        .planes()
        .iter()
        .map(|plane| vk::SubresourceLayout::default().row_pitch(plane.stride_bytes.into()))
        .collect();
    let size = (extent.width(), extent.height());
    let several = layout.planes().len() > 1;
    let image = RawImage::new(
        gpu.device(),
        disjoint.kind,
        size,
        &PlaneLayouts::Explicit(&planes),
    );
    image.is_ok_and(|image| {
        let fits = |(number, plane): (usize, &PlaneLayout)| {
            image.requirements(Some(number)).size_bytes <= plane.size_bytes
        };
        several && layout.planes().iter().enumerate().all(fits)
    })
}

/// Returns the layout that the driver chooses for an image; `None` if the reported layout is inconsistent.
pub(super) fn chosen(gpu: &Gpu, kind: &Kind, extent: Extent) -> Result<Option<Layout>, vk::Result> {
    let size = (extent.width(), extent.height());
    let raw = RawImage::new(gpu.device(), kind.kind, size, &PlaneLayouts::DriverChosen)?;
    Ok(read_back(&raw, kind, extent))
}

/// Creates an image without memory, with the given layout or with one that the driver chooses.
pub(super) fn unbacked(
    gpu: &Gpu,
    kind: &Kind,
    extent: Extent,
    layout: Option<&Layout>,
) -> Result<RawImage, vk::Result> {
    let size = (extent.width(), extent.height());
    let planes = layout.map(subresources);
    let plane_layouts = planes
        .as_deref()
        .map_or(PlaneLayouts::DriverChosen, PlaneLayouts::Explicit);
    RawImage::new(gpu.device(), kind.kind, size, &plane_layouts)
}

/// Queries the layout of an image's planes; `None` if the reported layout is inconsistent.
pub(super) fn read_back(raw: &RawImage, kind: &Kind, extent: Extent) -> Option<Layout> {
    let format = kind.format;
    if Modifier(raw.modifier().ok()?) != format.modifier {
        return None;
    }
    let count = memory_planes(kind)?;
    let mut planes = Vec::with_capacity(count);
    for number in 0..count {
        let found = raw.plane(number);
        let stride_bytes = u32::try_from(found.row_pitch).ok()?;
        // Padding after the last row is the driver's; the size of a linear plane is that of its rows.
        let size_bytes = if format.modifier == Modifier::LINEAR {
            let shape = format.fourcc.info()?.planes.get(number)?;
            u64::from(stride_bytes).checked_mul(shape.rows(extent.height()).into())?
        } else {
            found.size
        };
        planes.push(PlaneLayout {
            memory: 0,
            offset_bytes: found.offset,
            stride_bytes,
            size_bytes,
        });
    }
    let needed = raw.requirements(None).size_bytes;
    Layout::new(extent, format, planes, vec![needed]).ok()
}

/// Returns the number of memory planes of images of a kind.
fn memory_planes(kind: &Kind) -> Option<usize> {
    if kind.format.modifier == Modifier::LINEAR {
        return Some(kind.format.fourcc.info()?.planes.len());
    }
    usize::try_from(kind.memory_planes).ok()
}

fn subresources(layout: &Layout) -> Vec<vk::SubresourceLayout> {
    layout
        .planes()
        .iter()
        .map(|plane| {
            // The size must be 0 (VUID-VkImageDrmFormatModifierExplicitCreateInfoEXT-size-02267).
            vk::SubresourceLayout::default()
                .offset(plane.offset_bytes)
                .row_pitch(plane.stride_bytes.into())
        })
        .collect()
}

impl Gpu {
    /// Imports a buffer as an image with the buffer's own layout. A buffer whose planes lie in separate dma-bufs becomes a
    /// disjoint image, if the driver supports that.
    ///
    /// The driver only receives what it has declared to accept: the format and modifier from its list, the size from the image's
    /// memory requirements (which can be more than the pixels), and the memory types from vkGetMemoryFdPropertiesKHR.
    ///
    /// The driver can end the process during this call (Mesa's Venus does for a virtio dumb buffer); try it in a child process
    /// first.
    ///
    /// # Errors
    /// [`VulkanError::Unsuitable`], [`VulkanError::TooSmall`], [`VulkanError::Import`].
    ///
    /// # References
    /// Vulkan, "Importing External Device Memory" and VK_EXT_image_drm_format_modifier.
    pub fn import(&self, buffer: &Buffer) -> Result<Image, VulkanError> {
        self.import_for(Purpose::Copy, buffer)
    }

    /// Imports a buffer as [`Gpu::import`] does, as an image with the usage of a purpose.
    ///
    /// # Errors
    /// As [`Gpu::import`].
    pub fn import_for(&self, purpose: Purpose, buffer: &Buffer) -> Result<Image, VulkanError> {
        let layout = buffer.layout();
        let (extent, format) = (layout.extent(), layout.format());
        let unsuitable = |why: String| VulkanError::Unsuitable {
            device: self.name().to_owned(),
            extent,
            format,
            why,
        };
        let refused = |operation: &'static str| {
            move |result: vk::Result| VulkanError::Import {
                device: self.name().to_owned(),
                origin: buffer.source_name().to_owned(),
                operation,
                result: Some(result),
                why: result.to_string(),
            }
        };
        if format.modifier.is_implicit() {
            return Err(unsuitable(
                "its tiling is implicit, and images require an explicit modifier".to_owned(),
            ));
        }
        let mut kind = self
            .kind(format, purpose)?
            .filter(|kind| {
                kind.support
                    .memory
                    .contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE)
            })
            .ok_or_else(|| {
                unsuitable("the device imports no images with this format and modifier".to_owned())
            })?;
        let (horizontal, vertical) = super::format::size_multiples(format.fourcc);
        if extent.width().checked_rem(horizontal) != Some(0)
            || extent.height().checked_rem(vertical) != Some(0)
            || extent.width() > kind.support.width
            || extent.height() > kind.support.height
        {
            return Err(unsuitable(format!(
                "the width must be a multiple of {horizontal} and the height of {vertical}, up to {} by {} pixels",
                kind.support.width, kind.support.height
            )));
        }
        let (bytes, rows) = self.render_alignment(&kind);
        if !layout
            .planes()
            .iter()
            .all(|plane| is_renderable(layout, plane, bytes, rows))
        {
            return Err(unsuitable(format!(
                "to render, the driver needs rows that begin at multiples of {bytes} bytes, and memory for a multiple of {rows} rows, even if vkCreateImage accepts other layouts"
            )));
        }
        let disjoint = buffer.dmabuf_count() > 1;
        if disjoint {
            let is_disjoint = buffer.dmabuf_count() == layout.planes().len()
                && layout
                    .planes()
                    .iter()
                    .enumerate()
                    .all(|(number, plane)| plane.memory == number);
            if !is_disjoint {
                return Err(unsuitable(
                    "some planes share a dma-buf and others do not; an image has one dma-buf for all planes, or one for each".to_owned(),
                ));
            }
            // The limits of images in one dma-buf need not hold for disjoint images.
            kind = self.disjoint(kind)?.ok_or_else(|| {
                let why = if self.binds_the_first_plane_only() {
                    "lavapipe binds only the first plane of a disjoint image with a modifier"
                } else {
                    "the format has no VK_FORMAT_FEATURE_DISJOINT_BIT with this modifier, or no disjoint image of it can be imported"
                };
                unsuitable(format!("the device requires all planes in one dma-buf: {why}"))
            })?;
        }
        let mut raw = unbacked(self, &kind, extent, Some(layout)).map_err(|result| {
            unsuitable(format!(
                "vkCreateImage returned {result} for strides of {:?} bytes",
                layout
                    .planes()
                    .iter()
                    .map(|plane| plane.stride_bytes)
                    .collect::<Vec<_>>()
            ))
        })?;
        let wants_own = kind
            .support
            .memory
            .contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY);
        for (memory, found_bytes) in layout.memory_sizes().iter().copied().enumerate() {
            let needed = raw.requirements(disjoint.then_some(memory));
            if needed.size_bytes > found_bytes {
                return Err(VulkanError::TooSmall {
                    device: self.name().to_owned(),
                    origin: buffer.source_name().to_owned(),
                    memory,
                    needed_bytes: needed.size_bytes,
                    found_bytes,
                });
            }
            let Some(fd) = buffer.dmabuf_fd(memory) else {
                return Err(unsuitable(
                    "the buffer has no dma-buf for one of its planes".to_owned(),
                ));
            };
            let types = self
                .device()
                .types_of_fd(fd.as_fd())
                .map_err(refused("vkGetMemoryFdPropertiesKHR"))?;
            let memory_type =
                first(types & needed.type_bits).ok_or_else(|| VulkanError::Import {
                    device: self.name().to_owned(),
                    origin: buffer.source_name().to_owned(),
                    operation: "vkGetMemoryFdPropertiesKHR",
                    result: None,
                    why: format!(
                        "the dma-buf has memory types {types:#b}, and the image supports none of them ({:#b})",
                        needed.type_bits
                    ),
                })?;
            let own = fd
                .try_clone_to_owned()
                .map_err(|error| VulkanError::Import {
                    device: self.name().to_owned(),
                    origin: buffer.source_name().to_owned(),
                    operation: "F_DUPFD_CLOEXEC",
                    result: Some(vk::Result::ERROR_TOO_MANY_OBJECTS),
                    why: error.to_string(),
                })?;
            let dedicated = !disjoint && (wants_own || needed.wants_dedicated);
            let size = if dedicated {
                needed.size_bytes
            } else {
                found_bytes
            };
            raw.import(own, size, memory_type, dedicated)
                .map_err(refused("vkAllocateMemory"))?;
        }
        raw.bind(disjoint).map_err(refused("vkBindImageMemory2"))?;
        Ok(Image {
            gpu: self.clone(),
            raw: Arc::new(raw),
            layout: layout.clone(),
            usage: kind.kind.usage,
            features: kind.features,
            buffer: buffer.clone(),
        })
    }
}

impl Image {
    /// Returns the buffer that was imported.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Whether the device can copy pixels out of the image.
    #[must_use]
    pub(crate) fn is_readable(&self) -> bool {
        self.usage.contains(vk::ImageUsageFlags::TRANSFER_SRC)
    }
}

/// Whether a plane's rows begin at multiples of `bytes`, and its dma-buf contains a multiple of `rows` rows.
fn is_renderable(layout: &Layout, plane: &PlaneLayout, bytes: u32, rows: u32) -> bool {
    let begins = plane.stride_bytes.checked_rem(bytes) == Some(0)
        && plane.offset_bytes.checked_rem(bytes.into()) == Some(0);
    let end = layout
        .extent()
        .height()
        .checked_next_multiple_of(rows)
        .and_then(|rows| u64::from(rows).checked_mul(plane.stride_bytes.into()))
        .and_then(|size| size.checked_add(plane.offset_bytes));
    let found = layout.memory_sizes().get(plane.memory);
    // With single rows the size of the plane has been checked already.
    begins && (rows == 1 || end.zip(found).is_some_and(|(end, found)| end <= *found))
}

/// Returns the index of the lowest set bit; `None` for 0.
pub(super) fn first(bits: u32) -> Option<u32> {
    (bits != 0).then(|| bits.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_layout_is_a_multiple_of_no_larger_power_of_two() {
        let extent = Extent::new(640, 480).unwrap();
        for power in 0..=12 {
            let alignment = 1_u32 << power;
            let layout = aligned(extent, Fourcc::XRGB8888, alignment, 0).unwrap();
            assert_eq!(layout.planes()[0].stride_bytes.trailing_zeros(), power);
        }
        let layout = aligned(extent, Fourcc::NV12, 1, 4).unwrap();
        assert_eq!(layout.planes()[0].offset_bytes, 4);
    }

    #[test]
    fn plane_is_renderable_only_when_its_blocks_are_complete() {
        let extent = Extent::new(322, 243).unwrap();
        let drawn = |stride: u32, bytes: u32, rows: u32, more: u64| {
            let layout = Layout::linear(extent, Fourcc::XRGB8888, 1, stride).unwrap();
            let size = layout.total_bytes() + more;
            let layout = layout.with_memory_sizes(vec![size]).unwrap();
            is_renderable(&layout, &layout.planes()[0], bytes, rows)
        };
        assert!(!drawn(1288, 64, 1, 0) && drawn(1288, 1, 1, 0));
        assert!(!drawn(1344, 64, 4, 0) && drawn(1344, 64, 4, 1344));
    }

    #[test]
    fn first_set_bit_of_zero_is_none() {
        assert_eq!(
            (first(0), first(0b100), first(1 << 31)),
            (None, Some(2), Some(31))
        );
    }
}
