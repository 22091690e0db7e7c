//! Pixels in and out of an image, by the device: what proves that both sides mean the same bytes.

mod sys;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ash::vk;

use super::image::Image;
use super::ownership::{Contents, ImageAccess};
use super::sync::{Commands, Submission, Submitted, submit};
use super::{Gpu, VulkanError};
pub(super) use sys::{OneTime, Staging};
use sys::{Owned, Region, Way};

/// How long a copy may take that nobody holds back: drivers that do it on an emulated processor need seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a plane begins in the memory between: a multiple of every texel's size that begins there.
///
/// # References
/// VUID-vkCmdCopyBufferToImage-dstImage-07975 and -07978: multiples of the texel block and of 4.
const PLANE_STEP: u64 = 16;

/// A copy that goes on. What it uses lives until it is over, also when this value is dropped before.
pub struct Copying {
    submitted: Submitted,
    gpu: Gpu,
    staging: Arc<Staging>,
    /// Where each plane lies in the memory between; of pixels that come out.
    planes: Vec<(u64, u64)>,
}

impl fmt::Debug for Copying {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Copying")
            .field("gpu", &self.gpu)
            .finish_non_exhaustive()
    }
}

impl Copying {
    /// What the device was given: how far it is, and the moment at which it is over.
    pub fn submitted(&mut self) -> &mut Submitted {
        &mut self.submitted
    }

    /// Waits until it is over; `false` when it is not by then. Not for an event loop.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn wait(&self, patience: Duration) -> Result<bool, VulkanError> {
        self.submitted.wait(patience)
    }

    /// The pixels that were read, for each plane its rows without padding; none of a copy that wrote.
    ///
    /// # Errors
    /// [`VulkanError::Call`] with `NOT_READY` while it goes on.
    pub fn pixels(&self) -> Result<Vec<Vec<u8>>, VulkanError> {
        if !self.submitted.is_over()? {
            return Err(self.gpu.failed("vkGetFenceStatus of a copy")(
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
        if self.wait(PATIENCE)? {
            Ok(())
        } else {
            Err(self.gpu.failed("vkWaitForFences of a copy")(
                vk::Result::TIMEOUT,
            ))
        }
    }
}

impl Image {
    /// Writes every pixel: for each plane its rows, one after another without padding.
    ///
    /// Returns when the device is done.
    ///
    /// # Errors
    /// [`VulkanError::Pixels`] for planes of another size, [`VulkanError::Unsuitable`] where the device writes no such images,
    /// [`VulkanError::Call`].
    pub fn write(&self, planes: &[Vec<u8>]) -> Result<(), VulkanError> {
        self.begin_write(planes, Submission::default())?.finish()
    }

    /// Reads every pixel: for each plane its rows, one after another without padding.
    ///
    /// # Errors
    /// As [`Image::write`].
    pub fn read(&self) -> Result<Vec<Vec<u8>>, VulkanError> {
        let copying = self.begin_read(Submission::default())?;
        copying.finish()?;
        copying.pixels()
    }

    /// As [`Image::write`], between moments: returns at once, and the device writes when it may.
    ///
    /// # Errors
    /// As [`Image::write`] and [`Gpu::submit`].
    pub fn begin_write(
        &self,
        planes: &[Vec<u8>],
        submission: Submission,
    ) -> Result<Copying, VulkanError> {
        self.needs(
            vk::ImageUsageFlags::TRANSFER_DST,
            "it writes no such images",
        )?;
        let regions = self.regions()?;
        for (plane, region) in regions.iter().enumerate() {
            let given = planes.get(plane).map_or(0, Vec::len);
            let found_bytes = u64::try_from(given).unwrap_or(u64::MAX);
            if found_bytes != region.size_bytes {
                return Err(self.wrong_size(plane, region.size_bytes, found_bytes));
            }
        }
        let staging = self.staging(&regions)?;
        for (pixels, region) in planes.iter().zip(&regions) {
            staging.write(region.offset_bytes, pixels);
        }
        self.begin(staging, &regions, Way::IntoImage, submission)
    }

    /// As [`Image::read`], between moments: returns at once, and the device reads when it may.
    ///
    /// # Errors
    /// As [`Image::write`] and [`Gpu::submit`].
    pub fn begin_read(&self, submission: Submission) -> Result<Copying, VulkanError> {
        self.needs(vk::ImageUsageFlags::TRANSFER_SRC, "it reads no such images")?;
        let regions = self.regions()?;
        let staging = self.staging(&regions)?;
        let mut copying = self.begin(staging, &regions, Way::OutOfImage, submission)?;
        copying.planes = regions
            .iter()
            .map(|region| (region.offset_bytes, region.size_bytes))
            .collect();
        Ok(copying)
    }

    fn begin(
        &self,
        staging: Staging,
        regions: &[Region],
        way: Way,
        submission: Submission,
    ) -> Result<Copying, VulkanError> {
        let gpu: &Gpu = &self.gpu;
        let owned = Owned {
            acquire: self.acquire(ImageAccess::COPY, Contents::Keep)?,
            release: self.release(ImageAccess::COPY)?,
        };
        let (raw, recorded) = sys::recorded(&self.raw, staging, regions, way, &owned)
            .map_err(gpu.failed("recording a copy"))?;
        let staging = Arc::clone(&recorded.staging);
        let commands = Commands {
            raw,
            uses: Box::new(recorded),
        };
        Ok(Copying {
            submitted: submit(gpu, submission, Some(commands))?,
            gpu: gpu.clone(),
            staging,
            planes: Vec::new(),
        })
    }

    fn staging(&self, regions: &[Region]) -> Result<Staging, VulkanError> {
        let size = regions
            .last()
            .map_or(0, |last| last.offset_bytes.saturating_add(last.size_bytes));
        Staging::new(self.gpu.device(), size)
            .map_err(self.gpu.failed("vkAllocateMemory for a copy"))
    }

    fn regions(&self) -> Result<Vec<Region>, VulkanError> {
        let (extent, fourcc) = (self.layout.extent(), self.layout.format().fourcc);
        let info = fourcc
            .info()
            .ok_or_else(|| self.unsuitable("its layout is not known"))?;
        let several = info.planes.len() > 1;
        let mut offset_bytes = 0_u64;
        let mut regions = Vec::new();
        for (plane, shape) in info.planes.iter().enumerate() {
            let too_large = || self.wrong_size(plane, u64::MAX, 0);
            let row = shape.row_bytes(extent.width()).ok_or_else(too_large)?;
            let rows = shape.rows(extent.height());
            let size_bytes = u64::from(row)
                .checked_mul(rows.into())
                .ok_or_else(too_large)?;
            regions.push(Region {
                aspect: match (several, plane) {
                    (false, _) => vk::ImageAspectFlags::COLOR,
                    (true, 0) => vk::ImageAspectFlags::PLANE_0,
                    (true, 1) => vk::ImageAspectFlags::PLANE_1,
                    (true, _) => vk::ImageAspectFlags::PLANE_2,
                },
                offset_bytes,
                size_bytes,
                // Packed 4:2:2 is one plane of whole pixels, two of which are one block of texels.
                width: if several {
                    extent.width().div_ceil(shape.hsub)
                } else {
                    extent.width()
                },
                height: rows,
            });
            offset_bytes = offset_bytes
                .checked_add(size_bytes)
                .and_then(|end| end.checked_next_multiple_of(PLANE_STEP))
                .ok_or_else(too_large)?;
        }
        Ok(regions)
    }

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
