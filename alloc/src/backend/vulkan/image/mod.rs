//! Imports buffers as Vulkan images. The layout of the buffer is passed to the driver, so the driver never has to guess it.

mod sys;

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;

use ash::vk;

use super::participant::ImageFormat;
use super::purpose::Purpose;
use super::{Gpu, VulkanError};
use crate::buffer::Buffer;
use crate::model::{Extent, Fourcc, Layout, Modifier, PlaneLayout};
use sys::PlaneLayouts;
pub(super) use sys::RawImage;

/// A buffer that is imported as a VkImage. The buffer lives as long as the image.
pub struct Image {
    pub(super) gpu: Gpu,
    /// The VkImage and its memory. Pending work that uses the image holds a reference too.
    pub(super) raw: Arc<RawImage>,
    pub(super) layout: Layout,
    pub(super) usage: vk::ImageUsageFlags,
    /// The format features of images with this format and modifier.
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

/// The requirement of a driver for a layout that it accepted in a test.
pub(super) struct AcceptedLayout {
    /// The number of bytes that the driver requires after the last plane.
    pub(super) padding_bytes: u64,
}

/// Returns a layout whose strides and offset are multiples of the given powers of two and not of larger ones; `None` if no such
/// layout exists. If a driver accepts this layout, it is assumed to accept every multiple of the two powers of two.
pub(super) fn layout_with_alignment(
    extent: Extent,
    fourcc: Fourcc,
    alignment: u32,
    offset: u32,
) -> Option<Layout> {
    let least = Layout::linear(extent, fourcc, alignment, 0).ok()?;
    let stride = least.planes().first()?.stride_bytes;
    // The stride is an odd multiple of the alignment, because an even multiple would also be a multiple of the next larger
    // alignment.
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

/// Tests whether the driver accepts a layout: creates an image with that layout, and binds no memory to it.
pub(super) fn test_layout(
    gpu: &Gpu,
    kind: &ImageFormat,
    layout: &Layout,
) -> Result<AcceptedLayout, vk::Result> {
    let planes = subresources(layout);
    let size = (layout.extent().width(), layout.extent().height());
    let raw = RawImage::new(
        gpu.device(),
        kind.kind,
        size,
        &PlaneLayouts::Explicit(&planes),
    )?;
    let needed = raw.requirements(None).size_bytes;
    Ok(AcceptedLayout {
        padding_bytes: needed.saturating_sub(layout.total_bytes()),
    })
}

/// Whether the driver accepts images whose planes are in separate dma-bufs, each no larger than its plane.
///
/// VK_FORMAT_FEATURE_DISJOINT_BIT is not sufficient: lavapipe sets it, and requires for each plane a dma-buf of the size of the
/// whole image.
pub(super) fn supports_disjoint_planes(
    gpu: &Gpu,
    kind: &ImageFormat,
    extent: Extent,
    alignment: u32,
) -> bool {
    let Ok(Some(disjoint)) = gpu.disjoint(kind.clone()) else {
        return false;
    };
    let Some(layout) = layout_with_alignment(extent, kind.format.fourcc, alignment, 0) else {
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
pub(super) fn driver_layout(
    gpu: &Gpu,
    kind: &ImageFormat,
    extent: Extent,
) -> Result<Option<Layout>, vk::Result> {
    let size = (extent.width(), extent.height());
    let raw = RawImage::new(gpu.device(), kind.kind, size, &PlaneLayouts::DriverChosen)?;
    Ok(query_layout(&raw, kind, extent))
}

/// Creates an image and binds no memory to it. The image has the given layout, or, for `None`, a layout that the driver chooses.
pub(super) fn create_without_memory(
    gpu: &Gpu,
    kind: &ImageFormat,
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
pub(super) fn query_layout(raw: &RawImage, kind: &ImageFormat, extent: Extent) -> Option<Layout> {
    let format = kind.format;
    if Modifier(raw.modifier().ok()?) != format.modifier {
        return None;
    }
    let count = memory_planes(kind)?;
    let mut planes = Vec::with_capacity(count);
    for number in 0..count {
        let subresource = raw.plane(number);
        let stride_bytes = u32::try_from(subresource.row_pitch).ok()?;
        // The size that the driver reports for a linear plane can include padding after the last row, so the size is computed
        // from the rows.
        let size_bytes = if format.modifier == Modifier::LINEAR {
            let shape = format.fourcc.info()?.planes.get(number)?;
            u64::from(stride_bytes).checked_mul(shape.rows(extent.height()).into())?
        } else {
            subresource.size
        };
        planes.push(PlaneLayout {
            memory: 0,
            offset_bytes: subresource.offset,
            stride_bytes,
            size_bytes,
        });
    }
    let needed = raw.requirements(None).size_bytes;
    Layout::new(extent, format, planes, vec![needed]).ok()
}

/// Returns the number of memory planes of an image with this format and modifier.
fn memory_planes(kind: &ImageFormat) -> Option<usize> {
    if kind.format.modifier == Modifier::LINEAR {
        return Some(kind.format.fourcc.info()?.planes.len());
    }
    usize::try_from(kind.memory_planes).ok()
}

/// Returns the offset and row pitch of each plane.
fn subresources(layout: &Layout) -> Vec<vk::SubresourceLayout> {
    layout
        .planes()
        .iter()
        .map(|plane| {
            // VkSubresourceLayout::size must be 0 (VUID-VkImageDrmFormatModifierExplicitCreateInfoEXT-size-02267).
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
    /// Before the import, the function checks the format and modifier against the driver's list, the size of each dma-buf against
    /// the image's memory requirements (which can exceed the size of the pixels), and the memory types against
    /// vkGetMemoryFdPropertiesKHR.
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

    /// Imports a buffer as [`Gpu::import`] does. The image has the VkImageUsageFlags that `purpose` requires.
    ///
    /// # Errors
    /// The errors of [`Gpu::import`].
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
                "the modifier of the layout is implicit, and a Vulkan image needs an explicit one"
                    .to_owned(),
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
                "the width must be a multiple of {horizontal} and the height a multiple of {vertical}, and the maximum is {} by {} pixels",
                kind.support.width, kind.support.height
            )));
        }
        // Vulkan requires that the number of planes is that of the modifier, and drivers need not check it
        // (VUID-VkImageDrmFormatModifierExplicitCreateInfoEXT-drmFormatModifierPlaneCount-02265). Only for LINEAR it follows from
        // the format, and was checked when the layout was made.
        let expected_planes = memory_planes(&kind);
        if expected_planes != Some(layout.planes().len()) {
            return Err(unsuitable(format!(
                "the layout has {} planes, and an image with this format and modifier has {}",
                layout.planes().len(),
                expected_planes.unwrap_or(0)
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
                    "some planes share a dma-buf and others do not; all planes of an image must be in one dma-buf, or each in its own".to_owned(),
                ));
            }
            // The driver's limits for disjoint images can differ from those for images in one dma-buf, so they are queried again.
            kind = self.disjoint(kind)?.ok_or_else(|| {
                let why = if self.binds_the_first_plane_only() {
                    "lavapipe binds only the first plane of a disjoint image with a modifier"
                } else {
                    "the format has no VK_FORMAT_FEATURE_DISJOINT_BIT with this modifier, or no disjoint image of it can be imported"
                };
                unsuitable(format!("the device requires all planes in one dma-buf: {why}"))
            })?;
        }
        let mut raw =
            create_without_memory(self, &kind, extent, Some(layout)).map_err(|result| {
                unsuitable(format!(
                    "vkCreateImage returned {result} for strides of {:?} bytes",
                    layout
                        .planes()
                        .iter()
                        .map(|plane| plane.stride_bytes)
                        .collect::<Vec<_>>()
                ))
            })?;
        let requires_dedicated = kind
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
                lowest_set_bit(types & needed.type_bits).ok_or_else(|| VulkanError::Import {
                    device: self.name().to_owned(),
                    origin: buffer.source_name().to_owned(),
                    operation: "vkGetMemoryFdPropertiesKHR",
                    result: None,
                    why: format!(
                        "the dma-buf has memory types {types:#b}, and the image supports none of them ({:#b})",
                        needed.type_bits
                    ),
                })?;
            let duplicate_fd = fd
                .try_clone_to_owned()
                .map_err(|error| VulkanError::Import {
                    device: self.name().to_owned(),
                    origin: buffer.source_name().to_owned(),
                    operation: "F_DUPFD_CLOEXEC",
                    result: Some(vk::Result::ERROR_TOO_MANY_OBJECTS),
                    why: error.to_string(),
                })?;
            let dedicated = !disjoint && (requires_dedicated || needed.wants_dedicated);
            let size = if dedicated {
                needed.size_bytes
            } else {
                found_bytes
            };
            raw.import(duplicate_fd, size, memory_type, dedicated)
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

/// Whether the rows of a plane begin at multiples of `bytes`, and its dma-buf has space for the plane's height rounded up to a
/// multiple of `rows`.
fn is_renderable(layout: &Layout, plane: &PlaneLayout, bytes: u32, rows: u32) -> bool {
    let is_aligned = plane.stride_bytes.checked_rem(bytes) == Some(0)
        && plane.offset_bytes.checked_rem(bytes.into()) == Some(0);
    let end = layout
        .extent()
        .height()
        .checked_next_multiple_of(rows)
        .and_then(|rows| u64::from(rows).checked_mul(plane.stride_bytes.into()))
        .and_then(|size| size.checked_add(plane.offset_bytes));
    let dmabuf_bytes = layout.memory_sizes().get(plane.memory);
    // If `rows` is 1, the check of the plane's size when the buffer was made is sufficient.
    is_aligned
        && (rows == 1
            || end
                .zip(dmabuf_bytes)
                .is_some_and(|(end, dmabuf_bytes)| end <= *dmabuf_bytes))
}

/// Returns the index of the lowest set bit; `None` for 0.
pub(super) fn lowest_set_bit(bits: u32) -> Option<u32> {
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
            let layout = layout_with_alignment(extent, Fourcc::XRGB8888, alignment, 0).unwrap();
            assert_eq!(layout.planes()[0].stride_bytes.trailing_zeros(), power);
        }
        let layout = layout_with_alignment(extent, Fourcc::NV12, 1, 4).unwrap();
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
            (
                lowest_set_bit(0),
                lowest_set_bit(0b100),
                lowest_set_bit(1 << 31)
            ),
            (None, Some(2), Some(31))
        );
    }
}
