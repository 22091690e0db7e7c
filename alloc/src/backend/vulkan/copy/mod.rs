//! Copies of pixels on the device. Copies into and out of an image show in trials whether the device and the CPU agree on the
//! layout. Copies from one image to another are those that a solution plans between participants that cannot share a buffer
//! ([`Split`](crate::solve::Split)).

mod between;
mod sys;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ash::vk;

use super::image::Image;
use super::ownership::{Contents, ImageAccess};
use super::sync::{Commands, Submission, Submitted, submit};
use super::{Gpu, VulkanError};
use sys::{Direction, OwnershipTransfers, Region};
pub(super) use sys::{OneTimeCommands, Staging};

/// The timeout of a copy that does not wait for a fence. Drivers that render on an emulated CPU need seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The alignment of planes in the staging buffer, in bytes: a multiple of the texel block size of every format.
///
/// # References
/// VUID-vkCmdCopyBufferToImage-dstImage-07975 and -07978: multiples of the texel block size and of 4.
const PLANE_ALIGNMENT: u64 = 16;

/// A submitted copy. If this value is dropped before the copy has finished, the device keeps the objects that the copy uses until
/// then.
pub struct PendingCopy {
    submitted: Submitted,
    gpu: Gpu,
    staging: Arc<Staging>,
    /// The offset and size, in bytes, of each plane in the staging buffer, for a copy out of the image.
    planes: Vec<(u64, u64)>,
}

impl fmt::Debug for PendingCopy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PendingCopy")
            .field("gpu", &self.gpu)
            .finish_non_exhaustive()
    }
}

impl PendingCopy {
    /// Returns the submitted work, with which a caller queries whether the copy has finished, or exports its fence.
    pub fn submitted(&mut self) -> &mut Submitted {
        &mut self.submitted
    }

    /// Waits until the copy has finished; returns `false` after `timeout`. It blocks, so an event loop must not call it.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn wait(&self, timeout: Duration) -> Result<bool, VulkanError> {
        self.submitted.wait(timeout)
    }

    /// Returns the pixels that were copied out of the image: for each plane its rows without padding. The list is empty for a
    /// copy into the image.
    ///
    /// # Errors
    /// [`VulkanError::Call`] with `NOT_READY` while the copy is pending.
    pub fn pixels(&self) -> Result<Vec<Vec<u8>>, VulkanError> {
        if !self.submitted.is_finished()? {
            return Err(self.gpu.failed("vkGetFenceStatus (copy)")(
                vk::Result::NOT_READY,
            ));
        }
        let planes = self.planes.iter().map(|(offset_bytes, size_bytes)| {
            let mut pixels = vec![0; usize::try_from(*size_bytes).unwrap_or(0)];
            self.staging.read(*offset_bytes, &mut pixels);
            pixels
        });
        Ok(planes.collect())
    }

    fn finish(&self) -> Result<(), VulkanError> {
        if self.wait(TIMEOUT)? {
            Ok(())
        } else {
            Err(timed_out(&self.gpu))
        }
    }
}

/// Returns the error for a copy that has not finished after the timeout.
fn timed_out(gpu: &Gpu) -> VulkanError {
    gpu.failed("vkWaitForFences (copy)")(vk::Result::TIMEOUT)
}

impl Image {
    /// Writes the pixels of the visible rectangle. `planes` has for each plane its rows, one after another without padding.
    ///
    /// The call returns when the device has finished.
    ///
    /// # Errors
    /// [`VulkanError::Pixels`] for planes of another size, [`VulkanError::Unsuitable`] if the device cannot copy into such
    /// images, [`VulkanError::Call`].
    pub fn write(&self, planes: &[Vec<u8>]) -> Result<(), VulkanError> {
        self.begin_write(planes, Submission::default())?.finish()
    }

    /// Reads the pixels of the visible rectangle. Returns for each plane its rows, one after another without padding.
    ///
    /// # Errors
    /// The errors of [`Image::write`].
    pub fn read(&self) -> Result<Vec<Vec<u8>>, VulkanError> {
        let copy = self.begin_read(Submission::default())?;
        copy.finish()?;
        copy.pixels()
    }

    /// Submits a copy as [`Image::write`] does and returns without waiting. The copy waits for the fences and points that
    /// `submission` lists, and then signals its fence and points.
    ///
    /// # Errors
    /// The errors of [`Image::write`] and [`Gpu::submit`].
    pub fn begin_write(
        &self,
        planes: &[Vec<u8>],
        submission: Submission,
    ) -> Result<PendingCopy, VulkanError> {
        self.needs(
            vk::ImageUsageFlags::TRANSFER_DST,
            "the image has no TRANSFER_DST usage, so the device cannot copy into it",
        )?;
        let regions = self.regions()?;
        for (plane, region) in regions.iter().enumerate() {
            let passed = planes.get(plane).map_or(0, Vec::len);
            let found_bytes = u64::try_from(passed).unwrap_or(u64::MAX);
            if found_bytes != region.size_bytes {
                return Err(self.wrong_size(plane, region.size_bytes, found_bytes));
            }
        }
        let staging = self.staging(&regions)?;
        for (pixels, region) in planes.iter().zip(&regions) {
            staging.write(region.offset_bytes, pixels);
        }
        self.begin(staging, &regions, Direction::IntoImage, submission)
    }

    /// Submits a copy as [`Image::read`] does and returns without waiting. The copy waits for the fences and points that
    /// `submission` lists, and then signals its fence and points.
    ///
    /// # Errors
    /// The errors of [`Image::write`] and [`Gpu::submit`].
    pub fn begin_read(&self, submission: Submission) -> Result<PendingCopy, VulkanError> {
        self.needs(
            vk::ImageUsageFlags::TRANSFER_SRC,
            "the image has no TRANSFER_SRC usage, so the device cannot copy out of it",
        )?;
        let regions = self.regions()?;
        let staging = self.staging(&regions)?;
        let mut copy = self.begin(staging, &regions, Direction::OutOfImage, submission)?;
        copy.planes = regions
            .iter()
            .map(|region| (region.offset_bytes, region.size_bytes))
            .collect();
        Ok(copy)
    }

    /// Records a copy between the image and a staging buffer, and submits it.
    fn begin(
        &self,
        staging: Staging,
        regions: &[Region],
        direction: Direction,
        submission: Submission,
    ) -> Result<PendingCopy, VulkanError> {
        let gpu: &Gpu = &self.gpu;
        let transfers = OwnershipTransfers {
            acquire: self.acquire(ImageAccess::COPY, Contents::Keep)?,
            release: self.release(ImageAccess::COPY)?,
        };
        let (raw, recorded) = sys::record_copy(&self.raw, staging, regions, direction, &transfers)
            .map_err(gpu.failed("recording a copy"))?;
        let staging = Arc::clone(&recorded.staging);
        let commands = Commands {
            raw,
            uses: Box::new(recorded),
        };
        Ok(PendingCopy {
            submitted: submit(gpu, submission, Some(commands))?,
            gpu: gpu.clone(),
            staging,
            planes: Vec::new(),
        })
    }

    /// Allocates a staging buffer that holds all regions.
    fn staging(&self, regions: &[Region]) -> Result<Staging, VulkanError> {
        let size = regions
            .last()
            .map_or(0, |last| last.offset_bytes.saturating_add(last.size_bytes));
        Staging::new(self.gpu.device(), size)
            .map_err(self.gpu.failed("vkAllocateMemory (staging buffer)"))
    }

    /// Returns the regions of the visible picture, one for each colour plane, with their offsets in the staging buffer.
    fn regions(&self) -> Result<Vec<Region>, VulkanError> {
        let (visible, fourcc) = (self.layout.visible(), self.layout.format().fourcc);
        let unknown = || self.unsuitable("the layout of the format is not known");
        let info = fourcc.info().ok_or_else(unknown)?;
        let several = info.planes.len() > 1;
        let mut offset_bytes = 0_u64;
        let mut regions = Vec::new();
        for (plane, shape) in info.planes.iter().enumerate() {
            let too_large = || self.wrong_size(plane, u64::MAX, 0);
            let picture = self.layout.visible_bytes(plane).ok_or_else(unknown)?;
            let size_bytes = u64::from(picture.row_bytes)
                .checked_mul(picture.rows.into())
                .ok_or_else(too_large)?;
            // Packed 4:2:2 has one plane, whose regions are counted in pixels and not in texel blocks of two pixels.
            let hsub = if several { shape.hsub.max(1) } else { 1 };
            let blocks = |pixels: u32| pixels.checked_div(hsub).unwrap_or(pixels);
            let end = visible.x().saturating_add(visible.width());
            let columns = (blocks(visible.x()), end.div_ceil(hsub));
            regions.push(Region {
                aspect: match (several, plane) {
                    (false, _) => vk::ImageAspectFlags::COLOR,
                    (true, 0) => vk::ImageAspectFlags::PLANE_0,
                    (true, 1) => vk::ImageAspectFlags::PLANE_1,
                    (true, _) => vk::ImageAspectFlags::PLANE_2,
                },
                offset_bytes,
                size_bytes,
                corner: (columns.0, picture.first_row),
                width: columns.1.saturating_sub(columns.0),
                height: picture.rows,
            });
            offset_bytes = offset_bytes
                .checked_add(size_bytes)
                .and_then(|end| end.checked_next_multiple_of(PLANE_ALIGNMENT))
                .ok_or_else(too_large)?;
        }
        Ok(regions)
    }

    /// Returns an error with the reason `why` if the image does not have this usage.
    fn needs(&self, usage: vk::ImageUsageFlags, why: &str) -> Result<(), VulkanError> {
        if self.usage.contains(usage) {
            Ok(())
        } else {
            Err(self.unsuitable(why))
        }
    }

    fn unsuitable(&self, why: &str) -> VulkanError {
        VulkanError::Unsuitable {
            device: self.gpu.name().to_owned(),
            extent: self.layout.extent(),
            format: self.layout.format(),
            why: why.to_owned(),
        }
    }

    fn wrong_size(&self, plane: usize, expected_bytes: u64, found_bytes: u64) -> VulkanError {
        VulkanError::Pixels {
            device: self.gpu.name().to_owned(),
            plane,
            expected_bytes,
            found_bytes,
        }
    }
}
