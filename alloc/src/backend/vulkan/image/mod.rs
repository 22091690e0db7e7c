//! A buffer as a Vulkan image: imported with its own layout, never with one that the driver guesses.

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
use sys::Arrangement;
pub(super) use sys::RawImage;

/// A buffer that a Vulkan device uses as an image. The buffer lives as long as the image.
pub struct Image {
    pub(super) gpu: Gpu,
    /// Shared with work that goes on.
    pub(super) raw: Arc<RawImage>,
    pub(super) layout: Layout,
    pub(super) usage: vk::ImageUsageFlags,
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

/// What a driver made of a layout that it was asked for.
pub(super) struct Trial {
    /// Bytes that it wants behind the last plane.
    pub(super) padding_bytes: u64,
}

/// A layout whose strides and offset are multiples of these alignments and of nothing more, so that a driver that takes it
/// takes every multiple; `None` where there is none.
pub(super) fn aligned(
    extent: Extent,
    fourcc: Fourcc,
    alignment: u32,
    offset: u32,
) -> Option<Layout> {
    let least = Layout::linear(extent, fourcc, alignment, 0).ok()?;
    let stride = least.planes().first()?.stride_bytes;
    // An even multiple would also be one of the next alignment.
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

/// Asks the driver for an image with this layout, without memory.
pub(super) fn attempt(gpu: &Gpu, kind: &Kind, layout: &Layout) -> Result<Trial, vk::Result> {
    let planes = subresources(layout);
    let size = (layout.extent().width(), layout.extent().height());
    let raw = RawImage::new(gpu.device(), kind.kind, size, &Arrangement::Given(&planes))?;
    let needed = raw.requirements(None).size_bytes;
    Ok(Trial {
        padding_bytes: needed.saturating_sub(layout.total_bytes()),
    })
}

/// Whether the driver takes each plane in a dma-buf of its own, no larger than the plane.
///
/// The feature bit alone does not tell: lavapipe has it, and asks for the whole picture's bytes behind each plane.
pub(super) fn takes_planes_apart(gpu: &Gpu, kind: &Kind, extent: Extent, alignment: u32) -> bool {
    let Ok(Some(apart)) = gpu.apart(kind.clone()) else {
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
    let image = RawImage::new(gpu.device(), apart.kind, size, &Arrangement::Given(&planes));
    image.is_ok_and(|image| {
        let fits = |(number, plane): (usize, &PlaneLayout)| {
            image.requirements(Some(number)).size_bytes <= plane.size_bytes
        };
        several && layout.planes().iter().enumerate().all(fits)
    })
}

/// The layout that the driver chooses for itself; `None` where its numbers contradict each other.
pub(super) fn chosen(gpu: &Gpu, kind: &Kind, extent: Extent) -> Result<Option<Layout>, vk::Result> {
    let size = (extent.width(), extent.height());
    let raw = RawImage::new(gpu.device(), kind.kind, size, &Arrangement::Chosen)?;
    Ok(read_back(&raw, kind, extent))
}

/// An image of the driver's own arrangement, or with the layout that is given.
pub(super) fn unbacked(
    gpu: &Gpu,
    kind: &Kind,
    extent: Extent,
    layout: Option<&Layout>,
) -> Result<RawImage, vk::Result> {
    let size = (extent.width(), extent.height());
    let planes = layout.map(subresources);
    let arrangement = planes
        .as_deref()
        .map_or(Arrangement::Chosen, Arrangement::Given);
    RawImage::new(gpu.device(), kind.kind, size, &arrangement)
}

/// Where the driver says that the planes lie; `None` where that cannot be.
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
        // What lies behind the last row is the driver's affair; a linear plane is its rows.
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

/// How many memory planes images of a kind have.
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
            // The size is to be 0 (VUID-VkImageDrmFormatModifierExplicitCreateInfoEXT-size-02267).
            vk::SubresourceLayout::default()
                .offset(plane.offset_bytes)
                .row_pitch(plane.stride_bytes.into())
        })
        .collect()
}

impl Gpu {
    /// Imports a buffer as an image with the buffer's own layout. Planes in dma-bufs of their own become a disjoint image, where
    /// the driver has those.
    ///
    /// Nothing is sent to the driver that it has not said to take: the format by its list, the size by what it asks for (which
    /// can be more than the picture), the memory by vkGetMemoryFdPropertiesKHR.
    ///
    /// A driver may end the process here (Mesa's Venus does for a virtio dumb buffer): try it in a child process first.
    ///
    /// # Errors
    /// [`VulkanError::Unsuitable`], [`VulkanError::TooSmall`], [`VulkanError::Import`].
    ///
    /// # References
    /// Vulkan, "Importing External Device Memory" and VK_EXT_image_drm_format_modifier.
    pub fn import(&self, buffer: &Buffer) -> Result<Image, VulkanError> {
        self.import_for(Purpose::Copy, buffer)
    }

    /// Imports a buffer as [`Gpu::import`] does, as an image for a purpose.
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
            move |answer: vk::Result| VulkanError::Import {
                device: self.name().to_owned(),
                origin: buffer.source_name().to_owned(),
                operation,
                answer: Some(answer),
                why: answer.to_string(),
            }
        };
        if format.modifier.is_implicit() {
            return Err(unsuitable(
                "its arrangement is implicit, and images have an explicit one".to_owned(),
            ));
        }
        let mut kind = self
            .kind(format, purpose)?
            .filter(|kind| {
                kind.support
                    .memory
                    .contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE)
            })
            .ok_or_else(|| unsuitable("it imports no images of that kind".to_owned()))?;
        let (horizontal, vertical) = super::format::steps(format.fourcc);
        if extent.width().checked_rem(horizontal) != Some(0)
            || extent.height().checked_rem(vertical) != Some(0)
            || extent.width() > kind.support.width
            || extent.height() > kind.support.height
        {
            return Err(unsuitable(format!(
                "its sides are multiples of {horizontal} and {vertical}, up to {} and {}",
                kind.support.width, kind.support.height
            )));
        }
        let (bytes, rows) = self.drawn_steps(&kind);
        if !layout
            .planes()
            .iter()
            .all(|plane| is_drawn_to(layout, plane, bytes, rows))
        {
            return Err(unsuitable(format!(
                "it draws to rows that begin at multiples of {bytes} bytes, with memory for a multiple of {rows} of them, whatever vkCreateImage takes"
            )));
        }
        let disjoint = buffer.dmabuf_count() > 1;
        if disjoint {
            let apart = buffer.dmabuf_count() == layout.planes().len()
                && layout
                    .planes()
                    .iter()
                    .enumerate()
                    .all(|(number, plane)| plane.memory == number);
            if !apart {
                return Err(unsuitable(
                    "its planes share some dma-bufs, and images have one or one each".to_owned(),
                ));
            }
            // What holds of images in one memory need not hold of those.
            kind = self.apart(kind)?.ok_or_else(|| {
                let why = if self.binds_the_first_plane_only() {
                    "lavapipe binds no plane but the first one of a disjoint image with a modifier"
                } else {
                    "the format has no VK_FORMAT_FEATURE_DISJOINT_BIT with this modifier, or no disjoint image of it is imported"
                };
                unsuitable(format!("it takes all planes in one dma-buf only: {why}"))
            })?;
        }
        let mut raw = unbacked(self, &kind, extent, Some(layout)).map_err(|answer| {
            unsuitable(format!(
                "vkCreateImage answered {answer} to strides of {:?} bytes",
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
                return Err(unsuitable("it has no memory".to_owned()));
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
                    answer: None,
                    why: format!(
                        "memory types {types:#b}, of which the image takes none ({:#b})",
                        needed.type_bits
                    ),
                })?;
            let own = fd
                .try_clone_to_owned()
                .map_err(|error| VulkanError::Import {
                    device: self.name().to_owned(),
                    origin: buffer.source_name().to_owned(),
                    operation: "F_DUPFD_CLOEXEC",
                    answer: Some(vk::Result::ERROR_TOO_MANY_OBJECTS),
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
            buffer: buffer.clone(),
        })
    }
}

impl Image {
    /// The buffer that it is.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Whether the device copies out of such images.
    #[must_use]
    pub(crate) fn is_readable(&self) -> bool {
        self.usage.contains(vk::ImageUsageFlags::TRANSFER_SRC)
    }
}

/// Whether a plane's rows begin at multiples of so many bytes, and its memory has room for a multiple of so many rows.
fn is_drawn_to(layout: &Layout, plane: &PlaneLayout, bytes: u32, rows: u32) -> bool {
    let begins = plane.stride_bytes.checked_rem(bytes) == Some(0)
        && plane.offset_bytes.checked_rem(bytes.into()) == Some(0);
    let end = layout
        .extent()
        .height()
        .checked_next_multiple_of(rows)
        .and_then(|rows| u64::from(rows).checked_mul(plane.stride_bytes.into()))
        .and_then(|size| size.checked_add(plane.offset_bytes));
    let found = layout.memory_sizes().get(plane.memory);
    // Where one row is as good as another, the plane's own size has been checked.
    begins && (rows == 1 || end.zip(found).is_some_and(|(end, found)| end <= *found))
}

/// The lowest bit that is set.
pub(super) fn first(bits: u32) -> Option<u32> {
    (bits != 0).then(|| bits.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_layout_is_a_multiple_of_no_larger_power() {
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
    fn plane_is_drawn_to_where_its_blocks_are_whole() {
        let extent = Extent::new(322, 243).unwrap();
        let drawn = |stride: u32, bytes: u32, rows: u32, more: u64| {
            let layout = Layout::linear(extent, Fourcc::XRGB8888, 1, stride).unwrap();
            let size = layout.total_bytes() + more;
            let layout = layout.with_memory_sizes(vec![size]).unwrap();
            is_drawn_to(&layout, &layout.planes()[0], bytes, rows)
        };
        assert!(!drawn(1288, 64, 1, 0) && drawn(1288, 1, 1, 0));
        assert!(!drawn(1344, 64, 4, 0) && drawn(1344, 64, 4, 1344));
    }

    #[test]
    fn first_bit_of_none_is_none() {
        assert_eq!(
            (first(0), first(0b100), first(1 << 31)),
            (None, Some(2), Some(31))
        );
    }
}
