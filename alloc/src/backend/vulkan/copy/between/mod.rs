//! Copies from one image to another on the device, with a conversion between formats if the device can blit them.

mod sys;

use std::sync::Arc;

use ash::vk;

use super::sys::{OwnershipTransfers, Region};
use super::{TIMEOUT, timed_out};
use crate::backend::vulkan::copier::{CopyMethod, copy_method};
use crate::backend::vulkan::image::Image;
use crate::backend::vulkan::ownership::{Contents, ImageAccess};
use crate::backend::vulkan::sync::{Commands, Submission, Submitted, submit};
use crate::backend::vulkan::{Gpu, VulkanError, format};
use crate::model::{Extent, Fourcc, Rect};

impl Gpu {
    /// Copies the picture of one image to another image on this device. The visible rectangles of both images must have the same
    /// size, and pixels outside of the rectangle are not written. The formats may differ as [`Gpu::copiers`] declares.
    ///
    /// The call returns when the device has finished.
    ///
    /// # Errors
    /// [`VulkanError::Copy`] if an image belongs to another device, if both images are the same, if their pictures differ in
    /// size, or if the device cannot convert between their formats; [`VulkanError::Call`].
    pub fn copy(&self, from: &Image, to: &Image) -> Result<(), VulkanError> {
        let copy = self.begin_copy(from, to, Submission::default())?;
        if copy.wait(TIMEOUT)? {
            Ok(())
        } else {
            Err(timed_out(self))
        }
    }

    /// Submits a copy as [`Gpu::copy`] does and returns without waiting. The copy waits for the fences in `submission`, which
    /// must include the fence of the last writer of `from` and those of the last readers of `to`. [`Submitted::export`] returns
    /// the fence of the copy, for which readers of `to` and the next writer of `from` wait.
    ///
    /// # Errors
    /// The errors of [`Gpu::copy`] and [`Gpu::submit`].
    ///
    /// # References
    /// Vulkan, vkCmdCopyImage and vkCmdBlitImage.
    pub fn begin_copy(
        &self,
        from: &Image,
        to: &Image,
        submission: Submission,
    ) -> Result<Submitted, VulkanError> {
        let refused = |why: &str| VulkanError::Copy {
            device: self.name().to_owned(),
            from: from.layout.format(),
            to: to.layout.format(),
            why: why.to_owned(),
        };
        if !self.is_same(&from.gpu) || !self.is_same(&to.gpu) {
            return Err(refused(
                "one of the images belongs to another device; import both buffers into this device",
            ));
        }
        if Arc::ptr_eq(&from.raw, &to.raw) {
            return Err(refused("the source and the destination are the same image"));
        }
        let method = copy_method(from.layout.format().fourcc, to.layout.format().fourcc);
        let method = method.map_err(refused)?;
        if let Some(why) = self.unsupported_reason(method, from, to) {
            return Err(refused(why));
        }
        let (read, written) = (from.regions()?, to.regions()?);
        let is_whole = |image: &Image| {
            let (visible, extent) = (image.layout.visible(), image.layout.extent());
            has_whole_blocks(image.layout.format().fourcc, visible, extent)
        };
        let sizes = |regions: &[Region]| -> Vec<(u32, u32)> {
            let sizes = regions.iter().map(|region| (region.width, region.height));
            sizes.collect()
        };
        let picture = |image: &Image| image.layout.visible().extent();
        if picture(from) != picture(to) {
            return Err(refused(&format!(
                "the pictures have {} and {}, and a copy does not scale",
                picture(from),
                picture(to)
            )));
        }
        if !is_whole(from)
            || !is_whole(to)
            || (method == CopyMethod::Copy && sizes(&read) != sizes(&written))
        {
            return Err(refused(
                "the picture of an image begins or ends between pixels that share a chroma sample; crop at multiples of the chroma subsampling",
            ));
        }
        let transfers = |image: &Image| -> Result<OwnershipTransfers, VulkanError> {
            Ok(OwnershipTransfers {
                acquire: image.acquire(ImageAccess::COPY, Contents::Keep)?,
                release: image.release(ImageAccess::COPY)?,
            })
        };
        let transfers = [transfers(from)?, transfers(to)?];
        let regions: Vec<(Region, Region)> = read.into_iter().zip(written).collect();
        let (raw, recorded) = sys::record_copy(&from.raw, &to.raw, method, &regions, &transfers)
            .map_err(self.failed("recording a copy"))?;
        let commands = Commands {
            raw,
            uses: Box::new(recorded),
        };
        submit(self, submission, Some(commands))
    }

    /// Returns why the images or the device do not support a copy by this method; `None` if they support it.
    fn unsupported_reason(
        &self,
        method: CopyMethod,
        from: &Image,
        to: &Image,
    ) -> Option<&'static str> {
        let reads = from.usage.contains(vk::ImageUsageFlags::TRANSFER_SRC);
        let writes = to.usage.contains(vk::ImageUsageFlags::TRANSFER_DST);
        let converts = from.features.contains(vk::FormatFeatureFlags::BLIT_SRC)
            && to.features.contains(vk::FormatFeatureFlags::BLIT_DST);
        if !reads || !writes {
            Some(
                "an image has no TRANSFER usage; import both with Purpose::Copy, if the device can copy their formats",
            )
        } else if method == CopyMethod::Copy {
            None
        } else if !converts {
            Some("the device does not blit these formats with these modifiers; copy by the CPU")
        } else if !self.has_graphics() {
            Some("a conversion requires a queue with graphics, and the device has none")
        } else {
            None
        }
    }
}

/// Whether a picture begins and ends at texel blocks of its image. A texel block of packed 4:2:2 has two pixels. For other
/// formats the check is not needed, because their blocks are single samples and each region of a plane consists of whole samples.
///
/// # References
/// VUID-vkCmdCopyImage-srcOffset and -extent: multiples of the texel block, or up to the image's edge.
fn has_whole_blocks(fourcc: Fourcc, visible: Rect, extent: Extent) -> bool {
    let is_packed = fourcc.info().is_some_and(|info| info.planes.len() == 1);
    let (columns, _) = format::size_multiples(fourcc);
    let end = visible.x().saturating_add(visible.width());
    let is_multiple = |side: u32| side.checked_rem(columns) == Some(0);
    !is_packed || (is_multiple(visible.x()) && (is_multiple(end) || end == extent.width()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_that_splits_a_packed_pair_of_pixels_has_no_whole_blocks() {
        let extent = Extent::new(64, 48).unwrap();
        let at = |x: u32, width: u32| Rect::new(x, 0, Extent::new(width, 48).unwrap());
        assert!(has_whole_blocks(Fourcc::YUYV, at(2, 60), extent));
        assert!(has_whole_blocks(Fourcc::YUYV, at(0, 64), extent));
        assert!(!has_whole_blocks(Fourcc::YUYV, at(1, 60), extent));
        assert!(!has_whole_blocks(Fourcc::YUYV, at(2, 59), extent));
        assert!(has_whole_blocks(Fourcc::XRGB8888, at(1, 59), extent));
        assert!(has_whole_blocks(Fourcc::NV12, at(1, 59), extent));
    }
}
